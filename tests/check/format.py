#!/usr/bin/python3
"""Is the tree formatted as .clang-format says: format.py ROOT, or format.py --self-test ROOT."""

import os
import shutil
import subprocess
import sys
import tempfile

import tree

SKIP = 77  # what meson calls a skipped test


def unformatted(root, paths):
    run = subprocess.run(["clang-format", "--dry-run", "-Werror", "--style=file", *paths],
                         cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return [] if not run.returncode else run.stdout.splitlines()


def main():
    if not shutil.which("clang-format"):
        print("SKIPPED: there is no clang-format: nobody looked at the format")
        sys.exit(SKIP)
    if sys.argv[1] == "--self-test":
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(os.path.join(sys.argv[2], ".clang-format"), folder)
            with open(os.path.join(folder, "a.c"), "w", encoding="utf-8") as file:
                file.write("int  a( void )\n{ return 1; }\n")
            wrong = [] if unformatted(folder, ["a.c"]) else ["a bad file went unseen"]
        tree.verdict("format, tried on itself", 1, wrong)
    paths = tree.files(sys.argv[1], (".c", ".h"))
    tree.verdict("format", len(paths), unformatted(sys.argv[1], paths))


if __name__ == "__main__":
    main()
