#!/usr/bin/python3
"""Counts of a meson test run, in one line: tally.py LOG SUITE... <NAMES

Passed are the tests that passed, failed all others but the skipped ones. NAMES are the lines of
`meson test --list`: what stands there and not in the log was never run, and has failed; and a
suite that was asked for and has no test counts as a failure, for it proves nothing. Third comes what was
skipped: tests, and the parts of tests that said so in a line that begins with "SKIPPED:". On
standard error they are named.
"""

import json
import sys

GOOD = {"OK", "EXPECTEDFAIL"}


def main():
    log, suites = sys.argv[1], sys.argv[2:]
    passed = failed = skipped = 0
    missing = {line.strip() for line in sys.stdin if " / " in line}
    seen = set()
    try:
        with open(log, encoding="utf-8") as file:
            for line in file:
                test = json.loads(line)
                missing.discard(test["name"])
                # "project:suite+suite / name"
                seen |= set(test["name"].split(" / ")[0].split(":")[-1].split("+"))
                passed += test["result"] in GOOD
                failed += test["result"] not in GOOD | {"SKIP"}
                said = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
                parts = [text for text in said.splitlines() if text.startswith("SKIPPED:")]
                if test["result"] == "SKIP" and not parts:
                    parts = ["SKIPPED: all of it"]
                skipped += len(parts)
                for part in parts:
                    print(f"{test['name']}: {part}", file=sys.stderr)
    except FileNotFoundError:
        pass
    for name in sorted(missing):
        print(f"{name}: was not run", file=sys.stderr)
        failed += 1
    for suite in suites:
        if suite not in seen:
            print(f"suite {suite}: not one test ran", file=sys.stderr)
            failed += 1
    print(f"{passed} {failed} {skipped}")


if __name__ == "__main__":
    main()
