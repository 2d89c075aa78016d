#!/usr/bin/python3
"""Check a model of tests/spin with spin, as it is and with each of its rules broken: run.py MODEL

As it is, every state is visited: no assertion may fail. Broken, one must. VARBOS_SPIN=full tries
more processes as well, which takes minutes and some GiB.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(os.path.abspath(__file__))
MEMORY_MIB = 3000


class Model:
    def __init__(self, world, quick, full, where=None):
        self.quick, self.full = ([world(*numbers) for numbers in each] for each in (quick, full))
        # Where the broken rule has to show, if that is not the first.
        self.where = {name: world(*numbers) for name, numbers in (where or {}).items()}


def channel(senders, receivers, sends, deaths, restarts):
    return {"SENDERS": senders, "RECEIVERS": receivers, "SENDS": sends, "DEATHS": deaths,
            "RESTARTS": restarts}


def bell(one_puts, other_puts, jobs):
    return {"ONE_PUTS": one_puts, "OTHER_PUTS": other_puts, "JOBS": jobs}


MODELS = {
    "channel": Model(
        channel, quick=[(1, 1, 2, 1, 0), (1, 1, 1, 2, 0), (1, 1, 1, 1, 1)],
        full=[(2, 1, 1, 0, 0), (1, 2, 1, 0, 0), (1, 1, 1, 2, 1), (1, 1, 2, 2, 0)],
        where={
            "COMPLETION_SKIPPED": (1, 1, 1, 2, 0),
            "LOCKS_UNSWEPT": (1, 1, 1, 1, 1),
            "REUSED_EARLY": (1, 1, 1, 1, 1),
            "TURN_KEPT": (1, 1, 2, 1, 1),
            "SWEEP_ONE": (1, 1, 1, 2, 0),
            "TAKES_LIVING": (1, 1, 2, 1, 1),
            "SLOT_LATE": (1, 1, 1, 2, 0),
            "DEATH_SILENT": (1, 1, 1, 2, 0),
        }),
    "bell": Model(bell, quick=[(2, 0, 1), (1, 1, 0)], full=[(3, 0, 1), (1, 1, 1), (2, 1, 0)]),
}


def must(*command, cwd):
    run = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    if run.returncode:
        sys.exit(f"{' '.join(command)}:\n{run.stdout}")


def search(folder, settings, broken=0):
    """(the first assertion that fails or None, states)"""
    environment = {**os.environ, **{name: str(n) for name, n in settings.items()},
                   "BROKEN": str(broken)}
    # -E: who sleeps for good is no error by itself; the model's walker judges that.
    out = subprocess.run(["./pan", "-E", "-m100000"], cwd=folder, env=environment, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    found = re.search(r"assertion violated (.*) \(at depth", out)
    states = re.search(r"(\d+) states, stored\n", out)
    errors = re.search(r"errors: (\d+)", out)
    if not states or not errors or "max search depth too small" in out or \
            "out of memory" in out or (int(errors[1]) > 0) != bool(found):
        sys.exit(f"the search did not come to its end:\n{out}")
    return found[1] if found else None, int(states[1])


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in MODELS:
        sys.exit(f"run.py {'|'.join(MODELS)}")
    for tool in ("spin", "gcc"):
        if not shutil.which(tool):
            print(f"SKIPPED: there is no {tool}")
            sys.exit(77)
    source, model = sys.argv[1] + ".pml", MODELS[sys.argv[1]]
    with open(os.path.join(FOLDER, source), encoding="utf-8") as file:
        text = file.read()
    rules = {name: int(n) for name, n in
             re.findall(r"^#define ([A-Z_]+) (\d+)$", text[:text.index("byte broken;")], re.M)}
    del rules["NOTHING"]
    unused = [name for name in rules if not re.search(rf"broken [!=]= {name}\b", text)]
    if unused:
        sys.exit(f"in the table, not in the model: {unused}")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(os.path.join(FOLDER, source), folder)
        must("spin", "-a", source, cwd=folder)
        must("gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MIB}", "-o", "pan",
             "pan.c", cwd=folder)
        worlds = model.quick + (model.full if os.environ.get("VARBOS_SPIN") == "full" else [])
        total = 0
        for settings in worlds:
            wrong, states = search(folder, settings)
            total += states
            said = ", ".join(f"{n} {name.lower()}" for name, n in settings.items())
            print(f"{said}: {states} states" + (f": {wrong} does not hold" if wrong else ""))
            failed += bool(wrong)
        caught = 0
        for name, n in sorted(rules.items()):
            wrong, states = search(folder, model.where.get(name, model.quick[0]), n)
            caught += bool(wrong)
            if not wrong:
                print(f"{name} is not found, in {states} states")
    print(f"{total} states, {caught} of {len(rules)} broken rules found")
    sys.exit(bool(failed) or caught != len(rules))


if __name__ == "__main__":
    main()
