#!/usr/bin/python3
"""tests/mutants.def, the code and the tests agree: mutants.py ROOT, or --self-test"""

import os
import re
import sys
import tempfile

import tree

LISTED = re.compile(r'\bMUTANT\(\s*(\w+)\s*,\s*"([^"]+)"\s*,\s*"')
USED = re.compile(r"\bmutant\(\s*(\w+)\s*\)")
CODE = ("base/", "proto/", "client/", "daemon/")


def listed(root):
    """[(name, the test program that catches it)]"""
    return LISTED.findall(tree.uncommented(tree.text(root, "tests/mutants.def")))


def check(root):
    problems = []
    mutants = listed(root)
    names = [name for name, _ in mutants]
    used = {}
    for path in tree.files(root, (".c", ".h")):
        if path.startswith(CODE) and path != "base/base.h":
            for name in USED.findall(tree.uncommented(tree.text(root, path))):
                used.setdefault(name, path)
    programs = {os.path.splitext(os.path.basename(path))[0]
                for path in tree.files(root, (".c", ".py")) if path.startswith("tests/")}

    problems += [f"{name}: twice in the list" for name in set(names) if names.count(name) > 1]
    problems += [f"{name}: in the list, not in the code" for name in names if name not in used]
    problems += [f"{used[name]}: mutant {name} is not in tests/mutants.def"
                 for name in sorted(used) if name not in names]
    problems += [f"{name}: there is no test program {program}"
                 for name, program in mutants if os.path.splitext(program)[0] not in programs]
    return len(mutants), problems


def self_test():
    files = {
        "tests/mutants.def": ('MUTANT(good, "test_a",\n       "text")\n/* MUTANT(no, "x", "y") */\n'
                              'MUTANT(unused, "test_a", "t")\nMUTANT(homeless, "test_b", "t")\n'
                              'MUTANT(twice, "test_a", "t")\nMUTANT(twice, "test_a", "t")\n'),
        "tests/unit/test_a.c": "",
        "base/a.c": ("int f(void) { return mutant(good) || mutant(twice) || mutant(homeless); }\n"
                     "/* mutant(unused) */ int g(void) { return mutant(unlisted); }\n"),
    }
    with tempfile.TemporaryDirectory() as root:
        for path, content in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(content)
        _, problems = check(root)
    want = ["unused: in the list", "homeless: there is no", "twice: twice", "mutant unlisted"]
    wrong = [f"{text}: went unseen" for text in want if not any(text in p for p in problems)]
    wrong += [f"{len(problems)} problems, not {len(want)}"] if len(problems) != len(want) else []
    tree.verdict("mutants, tried on themselves", len(want), wrong)


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test()
    tree.verdict("mutants", *check(sys.argv[1]))
