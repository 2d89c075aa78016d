#!/usr/bin/python3
"""Real traces through the policies, held to the table of README.md: replay.py VARBOSCTL TRACE..."""

import json
import lzma
import os
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(os.path.abspath(__file__))
EXACT = {"fifo", "clock", "lru", "lfu", "sieve", "belady"}
DETAILS = {"2q", "s3fifo"}  # may differ by TOLERANCE
TOLERANCE = 0.005
OURS = {"wtinylfu"}  # its window finds its own size
# Where a fixed window is far from lru, half of the way is to be made up.
FAR = {("orm-busy", 763), ("orm-night", 864)}


def reference():
    """{(trace, capacity): {"requests": N, policy: miss ratio}}"""
    with open(os.path.join(FOLDER, "README.md"), encoding="utf-8") as file:
        rows = [[cell.strip() for cell in line.strip().strip("|").split("|")]
                for line in file if line.startswith("|")]
    head, cells = rows[0], [row for row in rows[1:] if row[1].isdigit()]
    return {(row[0], int(row[2])): {"requests": int(row[1]),
                                    **{name: float(text) for name, text in zip(head[3:], row[3:])}}
            for row in cells}


def replay(varbosctl, trace, capacities, policies):
    """{(policy, capacity): what sim says}"""
    with tempfile.NamedTemporaryFile() as file:
        with lzma.open(os.path.join(FOLDER, trace + ".trace.xz")) as packed:
            file.write(packed.read())
        file.flush()
        said = subprocess.run([varbosctl, "sim", "--policy", ",".join(policies), "--belady",
                               "--capacity", ",".join(map(str, capacities)), "--json",
                               "--format", "u32be", file.name],
                              check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout
    return {(line["policy"], line["capacity"]): line
            for line in map(json.loads, said.splitlines())}


def allowed(policy, place, wanted):
    """The bounds within which the miss ratio, of four digits, must lie."""
    if policy in EXACT:
        return wanted[policy], wanted[policy]
    if policy in DETAILS:
        return 0, wanted[policy] + TOLERANCE
    if place in FAR:
        return 0, (wanted[policy] + wanted["lru"]) / 2
    return 0, wanted[policy]


def main():
    varbosctl, traces = sys.argv[1], sys.argv[2:]
    table = reference()
    compared = wrong = 0
    for trace in traces:
        places = [place for place in table if place[0] == trace]
        found = replay(varbosctl, trace, [capacity for _, capacity in places],
                       sorted((EXACT | DETAILS | OURS) - {"belady"}))
        for place in places:
            wanted = table[place]
            for policy in sorted(EXACT | DETAILS | OURS):
                line = found[policy, place[1]]
                ratio = round(line["misses"] / line["requests"], 4)
                least, most = allowed(policy, place, wanted)
                good = (least <= ratio <= most and line["requests"] == wanted["requests"]
                        and abs(line["miss_ratio"] - ratio) <= 0.00005)
                compared += 1
                wrong += not good
                print(f"{'ok    ' if good else 'WRONG '} {trace:9} {place[1]:5} {policy:8} "
                      f"{ratio:.4f}, in the table {wanted[policy]:.4f}, may be {most:.4f}")
    print(f"{compared} compared, {wrong} wrong")
    sys.exit(1 if wrong or not compared else 0)


if __name__ == "__main__":
    main()
