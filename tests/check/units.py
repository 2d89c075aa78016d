#!/usr/bin/python3
"""The systemd units: known to systemd without a complaint, the daemon's exposure at most 1.0, and
what the daemon needs left to it. units.py SOURCE BUILD, two folders; or units.py --self-test."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import tree

EXPOSURE_MAX = 1.0
UNITS = ("varbosd.service", "varbosd.socket", "varbos-hugepages.service")
USER_UNITS = {"user-varbosd.service": "varbosd.service", "user/varbosd.socket": "varbosd.socket"}

# A namespace of its own would hide from the daemon who its clients are, a dynamic user would not
# be the `varbos` that clients trust.
FORBIDDEN = (r"PrivateUsers=(?!no)", r"DynamicUser=(?!no)", r"ProtectProc=(?!default)",
             r"ProcSubset=(?!all)", r"PrivatePIDs=(?!no)")
NEEDED = {"SystemCallFilter": {"mbind", "set_mempolicy", "get_mempolicy", "move_pages"},
          "RestrictAddressFamilies": {"AF_UNIX"}, "User": {"varbos"},
          "Group": {"varbos-clients"}, "StartLimitIntervalSec": {"0"},
          "WatchdogSec": None, "MemoryMax": None, "OOMScoreAdjust": None}


def analyze(*arguments, path=None):
    environment = dict(os.environ)
    if path:
        environment.update(SYSTEMD_UNIT_PATH=path + ":", XDG_RUNTIME_DIR=path)
    done = subprocess.run(["systemd-analyze", *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=environment, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def exposure(path):
    """The figure, or None with what was said instead."""
    _, said = analyze("security", "--offline=true", "--no-pager", path)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    return (float(found[1]), said) if found else (None, said)


def judge_exposure(path):
    figure, said = exposure(path)
    if figure is None:
        return [f"{path}: systemd-analyze names no exposure: {said}"]
    print(f"exposure of {os.path.basename(path)}: {figure}")
    if figure > EXPOSURE_MAX:
        return [line for line in said.splitlines() if line.startswith("✗")] + \
            [f"{path}: exposure {figure}, at most {EXPOSURE_MAX} is wanted"]
    return []


def judge_needs(path):
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    problems = [f"{path}: {line} takes from the daemon what it needs"
                for line in lines for pattern in FORBIDDEN if re.match(pattern, line)]
    for key, words in NEEDED.items():
        said = [set(line[len(key) + 1:].split()) for line in lines if line.startswith(key + "=")]
        if not said or words and not any(words <= values for values in said):
            problems.append(f"{path}: no {key}={' '.join(sorted(words or ()))}")
    return problems


# What systemd knows from a later version on than the one that is here: 254.
LATER = re.compile(r"Unknown key (name )?"
                   r"'(FileDescriptorStorePreserve|RestartSteps|RestartMaxDelaySec)' in section")


def judge_syntax(folder, units, manager):
    status, said = analyze("verify", "--man=no", manager, *(os.path.join(folder, unit)
                                                            for unit in units), path=folder)
    # What is said of the machine's own units is not about ours.
    lines = [line for line in said.splitlines() if "varbos" in line and not LATER.search(line)]
    if status and not lines:
        lines = [f"systemd-analyze verify {manager}: {said.strip()}"]
    return lines


def runnable(text):
    """Verifying looks for the programs: any will do."""
    return re.sub(r"^(ExecStart=)\S*/(varbosd|hugepages)\b", r"\1/bin/true", text, flags=re.M)


def check(source, build):
    problems = judge_exposure(os.path.join(build, "varbosd.service"))
    problems += judge_needs(os.path.join(build, "varbosd.service"))
    with tempfile.TemporaryDirectory(prefix="varbos-units-") as folder:
        for name, units in (("system", {unit: unit for unit in UNITS}), ("user", USER_UNITS)):
            os.mkdir(os.path.join(folder, name))
            for unit, target in units.items():
                origin = os.path.join(build, unit)
                if not os.path.exists(origin):
                    origin = os.path.join(source, unit)
                with open(origin, encoding="utf-8") as file, \
                        open(os.path.join(folder, name, target), "w", encoding="utf-8") as copy:
                    copy.write(runnable(file.read()))
            problems += judge_syntax(os.path.join(folder, name), units.values(), "--" + name)
    return len(UNITS) + len(USER_UNITS), problems


def self_test():
    wrong = []
    with tempfile.TemporaryDirectory(prefix="varbos-units-") as folder:
        path = os.path.join(folder, "varbosd.service")

        def refuses(judge, text, what):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            if not any(what in problem for problem in judge()):
                wrong.append(f"{what}: went unseen")

        bare = "[Service]\nExecStart=/bin/true\nUser=varbos\nPrivateTmp=yes\n"
        refuses(lambda: judge_exposure(path), bare, "at most 1.0 is wanted")
        refuses(lambda: judge_needs(path), bare, "no SystemCallFilter=get_mempolicy")
        refuses(lambda: judge_needs(path), bare + "PrivateUsers=yes\n", "PrivateUsers=yes takes")
        refuses(lambda: judge_syntax(folder, ["varbosd.service"], "--system"),
                bare + "PrivateTemp=yes\n", "PrivateTemp")
        refuses(lambda: judge_syntax(folder, ["varbosd.service"], "--system"),
                bare.replace("/bin/true", "/nowhere/varbosd"), "/nowhere/varbosd")
    tree.verdict("units, tried on themselves", 5, wrong)


if __name__ == "__main__":
    if not shutil.which("systemd-analyze"):
        print("SKIPPED: there is no systemd-analyze")
        sys.exit(77)
    if sys.argv[1] == "--self-test":
        self_test()
    tree.verdict("units", *check(sys.argv[1], sys.argv[2]))
