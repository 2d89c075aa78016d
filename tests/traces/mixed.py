#!/usr/bin/python3
"""Sizes from 64 bytes to 1 MiB: gdsf, which knows them, misses fewer objects than lru: mixed.py VARBOSCTL"""

import json
import random
import subprocess
import sys

KEYS, REQUESTS = 20000, 200000
SEEDS = (1, 2, 3)
CAPACITIES = ("5%", "20%")


def trace(seed):
    """Lines of key,size: popularity falls as 1/rank, sizes go by powers of two and say nothing of it."""
    rng = random.Random(seed)
    sizes = [int(2 ** rng.uniform(6, 20)) for _ in range(KEYS)]
    weights = [1 / rank for rank in range(1, KEYS + 1)]
    keys = rng.choices(range(KEYS), weights, k=REQUESTS)
    return "".join(f"{key},{sizes[key]}\n" for key in keys)


def main():
    compared = wrong = 0
    for seed in SEEDS:
        said = subprocess.run([sys.argv[1], "sim", "--policy", "gdsf,lru", "--capacity",
                               ",".join(CAPACITIES), "--bytes", "--json", "--format", "lines", "-"],
                              input=trace(seed), check=True, stdout=subprocess.PIPE, text=True,
                              timeout=300).stdout
        lines = list(map(json.loads, said.splitlines()))
        ratios = {(line["policy"], line["capacity"]): line["miss_ratio"] for line in lines}
        for capacity in sorted({line["capacity"] for line in lines}):
            good = ratios["gdsf", capacity] < ratios["lru", capacity]
            compared += 1
            wrong += not good
            print(f"{'ok    ' if good else 'WRONG '} seed {seed} capacity {capacity}: gdsf "
                  f"{ratios['gdsf', capacity]:.4f}, lru {ratios['lru', capacity]:.4f}")
    print(f"{compared} compared, {wrong} wrong")
    sys.exit(1 if wrong or compared != len(SEEDS) * len(CAPACITIES) else 0)


if __name__ == "__main__":
    main()
