#!/usr/bin/python3
"""Does each public header stand alone, as C11 and C++17, optimized or not: headers.py ROOT, or
--self-test"""

import os
import shutil
import subprocess
import sys
import tempfile

import tree

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fsyntax-only"]
# Some functions are there with optimization only.
LEVELS = ["-O0", "-O2"]


def compile_header(folder, root, compiler, standard, language, header):
    source = os.path.join(folder, "alone." + language)
    with open(source, "w", encoding="utf-8") as file:
        # Twice: it guards itself. The second declaration keeps the unit from being empty.
        file.write(f"#include <{header}>\n#include <{header}>\nextern int alone;\n")
    for level in LEVELS:
        run = subprocess.run([compiler, f"-std={standard}", level, *STRICT, "-I",
                              os.path.join(root, "include"), source],
                             text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if run.returncode:
            return f"{level}: {run.stdout}"
    return None


def check(root):
    ways = [(c, "c11", "c") for c in ("gcc", "clang") if shutil.which(c)]
    ways += [(c, "c++17", "cc") for c in ("g++", "clang++") if shutil.which(c)]
    languages = {language for _, _, language in ways}
    problems = [] if languages == {"c", "cc"} else ["a C and a C++ compiler are needed"]
    seen = 0
    with tempfile.TemporaryDirectory() as folder:
        for header in tree.files(os.path.join(root, "include"), (".h",)):
            for compiler, standard, language in ways:
                seen += 1
                wrong = compile_header(folder, root, compiler, standard, language, header)
                if wrong:
                    problems.append(f"{header}: {compiler} -std={standard}:\n{wrong}")
    return seen, problems


def self_test():
    bad = {
        "needs.h": "size_t too_little_included(void);",
        "twice.h": "struct twice { int a; };",
        "gnu.h": "#define G(x) ({ x; })\nstatic inline int g(void) { return G(1); }",
        "new.h": "struct n { int class; };\nint f(struct n *restrict a);",
        "inner.h": "#pragma once\n#ifdef __OPTIMIZE__\nstruct o { struct i { int a; } *to; };\n"
                   "static inline int f(struct o *o) { struct i *i = o->to; return i->a; }\n#endif",
    }
    with tempfile.TemporaryDirectory() as root:
        os.mkdir(os.path.join(root, "include"))
        for name, content in {**bad, "good.h": "#pragma once\nint f(void);"}.items():
            with open(os.path.join(root, "include", name), "w", encoding="utf-8") as file:
                file.write(content + "\n")
        seen, problems = check(root)
    found = {problem.split(":")[0] for problem in problems}
    wrong = [f"{name}: went unseen" for name in bad if name not in found]
    wrong += [f"{name}: was refused" for name in found if name not in bad]
    tree.verdict("headers, tried on themselves", seen, wrong)


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test()
    tree.verdict("headers", *check(sys.argv[1]))
