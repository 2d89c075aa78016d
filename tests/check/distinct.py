#!/usr/bin/python3
"""What clang-tidy has to look at: distinct.py BUILD FOLDER

Prints the sources that BUILD compiles and did not make, those first that will take longest. clang-tidy
looks at a source once for each time that it is compiled, and many go into several programs; so
FOLDER gets a compile_commands.json that has each only as often as the preprocessor makes something
else of it. --self-test CC: tries that.
"""

import collections
import concurrent.futures
import json
import os
import shlex
import subprocess
import sys
import tempfile

import tree


def source(entry):
    return os.path.normpath(os.path.join(entry["directory"], entry["file"]))


def text(entry):
    """What the compiler would read, or None: that cannot be said here."""
    words = shlex.split(entry["command"])
    words[words.index("-o") + 1] = "-"
    run = subprocess.run([*words, "-E", "-P"], cwd=entry["directory"], check=False,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return None if run.returncode else run.stdout


def distinct(entries, pool):
    by_source = collections.defaultdict(list)
    for entry in entries:
        by_source[source(entry)].append(entry)
    several = [entry for same in by_source.values() if len(same) > 1 for entry in same]
    texts = dict(zip(map(id, several), pool.map(text, several)))
    for same in by_source.values():
        seen = set()
        for entry in same:
            found = texts.get(id(entry))
            if found is None or found not in seen:
                yield entry
            seen.add(found)


def cost(path):
    """Templates take longest, then what is long."""
    return path.endswith(".c"), -os.path.getsize(path)


def main(build, folder):
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        made = os.path.abspath(build) + os.sep
        entries = [entry for entry in json.load(file) if not source(entry).startswith(made)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        entries = list(distinct(entries, pool))
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "compile_commands.json"), "w", encoding="utf-8") as file:
        json.dump(entries, file)
    for path in sorted({source(entry) for entry in entries}, key=cost):
        print(os.path.relpath(path))


def self_test(cc):
    files = {"a.h": "#ifdef TRACE\nint traced;\n#endif\n", "a.c": '#include "a.h"\nint a;\n',
             "b.c": "int b;\n", "none.c": '#include "none.h"\n'}
    compiled = ["a.c", "a.c -DTRACE", "a.c -DOTHER", "b.c", "none.c", "none.c"]
    with tempfile.TemporaryDirectory() as root:
        for name, content in files.items():
            with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                file.write(content)
        entries = [{"directory": root, "file": words.split()[0],
                    "command": f"{' '.join(cc)} -MD -MQ x.o -MF x.d -o x.o -c {words}"}
                   for words in compiled]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            found = [compiled[entries.index(entry)] for entry in distinct(entries, pool)]
    want = ["a.c", "a.c -DTRACE", "b.c", "none.c", "none.c"]
    tree.verdict("distinct, tried on itself", len(compiled),
                 [] if found == want else [f"{found}, not {want}"])


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test(sys.argv[2:])
    else:
        main(*sys.argv[1:])
