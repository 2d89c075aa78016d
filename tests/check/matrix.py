#!/usr/bin/python3
"""docs/crashes.md names tests that exist: matrix.py ROOT, or --self-test

A row is | what happens | what becomes of it | shown by |, the last as `PROGRAM: NAME`, one or more.
PROGRAM is a file of tests/, of which ".c" is not said. NAME is a test there: START_TEST(NAME), def NAME, a
case test_NAME(), or, of single steps, a string of its table.
"""

import os
import re
import sys
import tempfile

import tree

PAGE = "docs/crashes.md"
SHOWN = re.compile(r"`([^`:]+): ([^`]+)`")


def rows(text):
    """[(line, cells)] of all tables, without their heads."""
    found, head = [], True
    for number, line in enumerate(text.split("\n"), 1):
        if not line.startswith("|"):
            head = True
        elif head:
            head = set(line) > set("|-") or "-" not in line
        else:
            found.append((number, [cell.strip() for cell in line.strip("|").split("|")]))
    return found


def has(path, text, name):
    name = re.escape(name)
    if path.startswith("tests/step/"):
        return re.search(rf'(?:{{|\] = )"{name}"', tree.uncommented(text))
    if path.endswith(".c"):
        return re.search(rf"^START_TEST\({name}\)", tree.uncommented(text), re.M)
    if path.endswith(".py"):
        return re.search(rf"^ *def {name}\(", text, re.M)
    return re.search(rf"^test_{name}\(\)", text, re.M)


def check(root):
    paths = {}
    for path in tree.files(root, (".c", ".py", ".sh")):
        if path.startswith("tests/"):
            paths[os.path.basename(path).removesuffix(".c")] = path
    problems, names = [], 0
    for number, cells in rows(tree.text(root, PAGE)):
        where = f"{PAGE}:{number}: {cells[0]}"
        if len(cells) != 3 or not all(cells):
            problems.append(f"{where}: {len(cells)} cells, or one of them is empty")
            continue
        shown = SHOWN.findall(cells[2])
        if "<br>".join(f"`{program}: {name}`" for program, name in shown) != cells[2]:
            problems.append(f"{where}: what shows it is not `PROGRAM: NAME`, parted by <br>")
        if not shown:
            problems.append(f"{where}: no test shows it")
        for program, name in shown:
            names += 1
            if program not in paths:
                problems.append(f"{where}: there is no {program}")
            elif not has(paths[program], tree.text(root, paths[program]), name):
                problems.append(f"{where}: {paths[program]} has no {name}")
    return names, problems


def self_test():
    files = {
        "tests/unit/test_a.c": "START_TEST(there)\n/*\nSTART_TEST(was_there)\n*/\n",
        "tests/integration/b.py": "    def test_there(self):\n        test_called()\n",
        "tests/vm/c.sh": "test_there() {\n\ttest_called\n}\n",
        "tests/step/test_d.c": ('x[] = {{"an act", f}, /* {"no act", f}, */};\n'
                                'y[] = {[ACT] = "another", say("no act")};\n'),
        PAGE: ("# Table\n\n| what | then | shown |\n|---|---|---|\n"
               "| good | so | `test_a: there`<br>`b.py: test_there`<br>`c.sh: there`"
               "<br>`test_d: an act`<br>`test_d: another` |\n"
               "| bare | so | |\n| unshown | so | later |\n| short | so |\n"
               "| one | so | `test_a: was_there` |\n| two | so | `b.py: test_called` |\n"
               "| three | so | `c.sh: called` |\n| four | so | `test_d: no act` |\n"
               "| five | so | `test_e: there` |\n| six | so | `test_a: there` and more |\n\n"
               "| another | head | `x` |\n|---|---|---|\n| seven | so | `test_a: gone` |\n"),
    }
    want = ["bare: 3 cells", "unshown: what shows", "unshown: no test", "short: 2 cells",
            "one: tests/unit/test_a.c has no was_there", "two: tests/integration/b.py has no",
            "three: tests/vm/c.sh has no", "four: tests/step/test_d.c has no",
            "five: there is no test_e", "six: what shows", "seven: tests/unit/test_a.c has no gone"]
    with tempfile.TemporaryDirectory() as root:
        for path, content in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(content)
        _, problems = check(root)
    wrong = [f"{text}: went unseen" for text in want if not any(text in p for p in problems)]
    wrong += [f"{p}: is none" for p in problems if not any(text in p for text in want)]
    tree.verdict("matrix, tried on itself", len(want), wrong)


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test()
    tree.verdict("matrix", *check(sys.argv[1]))
