#!/usr/bin/python3
"""Counts of a log in TAP, in one line: tap.py LOG SUITE STATUS.

Passed and failed are the `ok` and `not ok` lines, skipped those with a `# SKIP`. A log may hold
several plans (`1..N`, one for each machine that ran): what they promised and nobody reported has
failed, and so has a suite without a plan, a machine (`# machine: NAME`) without one, and a suite that
ended with a STATUS other than 0 for no reason that it named. On standard error what was skipped or is missing is
named.
"""

import re
import sys

PLAN = re.compile(r"1\.\.(\d+)\s*$")
RESULT = re.compile(r"(not )?ok\b(.*)$")


def main():
    log, suite, status = sys.argv[1:]
    promised = passed = failed = skipped = 0
    plans = machines = 0
    with open(log, encoding="utf-8", errors="replace") as file:
        for line in file:
            line = line.rstrip("\r\n")
            if plan := PLAN.match(line):
                plans += 1
                promised += int(plan[1])
            elif line.startswith("# machine: "):
                machines += 1
            elif result := RESULT.match(line):
                if result[1]:
                    failed += 1
                elif "# SKIP" in result[2]:
                    skipped += 1
                    print(f"{suite}: SKIPPED:{result[2]}", file=sys.stderr)
                else:
                    passed += 1
    missing = promised - passed - failed - skipped
    if missing > 0:
        print(f"{suite}: {missing} cases did not come to their end", file=sys.stderr)
        failed += missing
    if not plans or not promised:
        print(f"{suite}: not one test ran", file=sys.stderr)
        failed += 1
    if plans < machines:
        print(f"{suite}: {machines} machines, {plans} of them said what they would try",
              file=sys.stderr)
        failed += machines - plans
    if status != "0" and not failed:
        print(f"{suite}: it ended with status {status}", file=sys.stderr)
        failed += 1
    print(f"{passed} {failed} {skipped}")


if __name__ == "__main__":
    main()
