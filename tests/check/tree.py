"""What the checks have in common: the tree's files, C without its comments, and a verdict."""

import os
import re
import sys

SKIPPED = {"build", "__pycache__", "corpus"}


def files(root, suffixes):
    """Paths of the tree, relative to its root, sorted; no build folder, nothing hidden."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [d for d in folders if d not in SKIPPED and not d.startswith((".", "build-"))]
        for name in names:
            if name.endswith(suffixes):
                found.append(os.path.relpath(os.path.join(folder, name), root))
    return sorted(found)


def text(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def blank(match):
    """What a comment leaves behind: its line ends, so that numbers of lines stay true."""
    return match[0] if match[0].startswith(('"', "'")) else re.sub(r"[^\n]", " ", match[0])


def uncommented(c):
    string = r'"(?:\\.|[^"\\\n])*"|' + r"'(?:\\.|[^'\\\n])*'"
    return re.sub(string + r"|/\*.*?\*/|//[^\n]*", blank, c, flags=re.S)


def verdict(name, looked_at, problems):
    """Say it, and end: a check that looked at nothing has failed."""
    for problem in problems:
        print(problem)
    if not looked_at:
        print(f"{name}: there was nothing to look at")
    else:
        print(f"{name}: {looked_at} looked at, {len(problems)} wrong")
    sys.exit(1 if problems or not looked_at else 0)
