#!/usr/bin/python3
"""Counts of a meson test run, in one line: tally.py LOG SUITE...

Passed are the tests that passed, failed all others but the skipped ones; a suite that was
asked for and has no test counts as a failure, for it proves nothing.
"""

import json
import sys

GOOD = {"OK", "EXPECTEDFAIL"}


def main():
    log, suites = sys.argv[1], sys.argv[2:]
    passed = failed = 0
    seen = set()
    try:
        with open(log, encoding="utf-8") as file:
            for line in file:
                test = json.loads(line)
                # "project:suite+suite / name"
                seen |= set(test["name"].split(" / ")[0].split(":")[-1].split("+"))
                passed += test["result"] in GOOD
                failed += test["result"] not in GOOD | {"SKIP"}
    except FileNotFoundError:
        pass
    for suite in suites:
        if suite not in seen:
            print(f"suite {suite}: not one test ran", file=sys.stderr)
            failed += 1
    print(f"{passed} {failed}")


if __name__ == "__main__":
    main()
