#!/usr/bin/python3
"""libvarbos.so exports what its headers declare, and no more: exported.py ROOT LIBRARY, or --self-test"""

import re
import subprocess
import sys

import tree

FUNCTION = re.compile(r"\b(varbos_\w+)\s*\([^;{}]*\)\s*;")
VARIABLE = re.compile(r"\bextern\s+__thread\s[^;(){}]*\b(varbos_\w+)\s+__attribute__")


def declared(text):
    """Functions that a header declares: a name, its arguments, a semicolon; and variables."""
    text = tree.uncommented(text)
    return set(FUNCTION.findall(text)) | set(VARIABLE.findall(text))


def exported(nm_output):
    """Names without their version; the versions themselves are absolute symbols."""
    names = set()
    for line in nm_output.splitlines():
        words = line.split()
        if len(words) >= 2 and words[1] != "A":
            names.add(words[0].split("@")[0])
    return names


def compare(want, have):
    return ([f"{name}: declared, not exported" for name in sorted(want - have)] +
            [f"{name}: exported, not declared" for name in sorted(have - want)])


def check(root, library):
    want = set()
    for path in tree.files(root, (".h",)):
        if path.startswith("include/"):
            want |= declared(tree.text(root, path))
    out = subprocess.run(["nm", "-D", "-P", "--defined-only", library], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    return len(want), compare(want, exported(out))


def self_test():
    header = ("int varbos_one(struct varbos_two *two);\n/* varbos_no(); */\nvoid\n"
              "varbos_three(void);\nstruct varbos_four { int a; };\n"
              "void varbos_five(int a,\n\t\t int b);\n"
              "extern __thread struct varbos_four varbos_six\n\t__attribute__((unused));\n"
              "int other_varbos_one(int a) __asm__(\"varbos_one\");\n")
    nm_output = ("varbos_one@@VARBOS_1 T 1 1\nVARBOS_1 A 0\nvarbos_three T 1 1\nhelper T 1 1\n"
                 "varbos_data D 8 8\n")
    want = [] if declared(header) == {"varbos_one", "varbos_three", "varbos_five",
                                           "varbos_six"} else ["header"]
    found = {problem.split(":")[0] for problem in compare(declared(header), exported(nm_output))}
    want += [] if found == {"varbos_five", "varbos_six", "helper", "varbos_data"} else [f"found {found}"]
    tree.verdict("exported symbols, tried on themselves", 2, want)


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test()
    tree.verdict("exported symbols", *check(sys.argv[1], sys.argv[2]))
