#!/usr/bin/python3
"""What the core's archive needs from outside: core_symbols.py ARCHIVE..., or --self-test CC..."""

import os
import re
import subprocess
import sys
import tempfile

import tree

ALLOWED = [
    r"malloc|calloc|realloc|free|aligned_alloc",
    r"mem[a-z]+|str[a-z]+",
    r"__assert_fail|abort",
    # What the compiler adds by itself: arithmetic that the processor lacks, stack protector,
    # fortified copies, sanitizers, coverage.
    r"__(popcount|parity|ctz|clz|ffs|bswap|u?div|u?mod|mul|ashl|ashr|lshr)[sdt]i[234]?",
    r"__(mem|str)[a-z]+_chk|__stack_chk_fail|__chk_fail|_GLOBAL_OFFSET_TABLE_",
    r"__(asan|ubsan|tsan|sanitizer|gcov|llvm)_\w+|__fentry__|mcount",
    # The build with mutants asks which one is picked.
    r"mutant_is",
]
# They match, and yet: a locale, a static buffer, an allocation out of sight.
FORBIDDEN = {"strftime", "strptime", "strtok", "strerror", "strsignal", "strcoll", "strxfrm"}


def symbols(archive):
    """Names defined and names missing over all members."""
    out = subprocess.run(["nm", "-P", "-g", archive], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    defined, missing = set(), set()
    for line in out.splitlines():
        words = line.split()
        if len(words) < 2 or line.endswith(":"):
            continue
        (missing if words[1] in "Uwv" else defined).add(words[0])
    return defined, missing


def check(archives):
    defined, missing = set(), set()
    for archive in archives:
        d, m = symbols(archive)
        defined |= d
        missing |= m
    allowed = re.compile("|".join(f"(?:{pattern})" for pattern in ALLOWED))
    outside = missing - defined
    problems = [f"{name}: the core may not call it" for name in sorted(outside)
                if name in FORBIDDEN or not allowed.fullmatch(name)]
    return len(defined), problems


def self_test(compiler):
    bad = ["printf", "open", "clock_gettime", "strtok", "pthread_mutex_lock", "getenv"]
    good = ["memcpy", "malloc", "strlen", "__assert_fail", "own"]
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "a.c")
        with open(source, "w", encoding="utf-8") as file:
            file.write("void own(void) {}\n")
            for name in bad + good:
                file.write(f"extern void {name}(void); void (*p_{name})(void) = {name};\n")
        subprocess.run([*compiler, "-w", "-fno-builtin", "-c", "-o", source[:-1] + "o", source],
                       check=True)
        _, problems = check([source[:-1] + "o"])
    found = {problem.split(":")[0] for problem in problems}
    wrong = [f"{name}: went unseen" for name in bad if name not in found]
    wrong += [f"{name}: was refused" for name in good if name in found]
    tree.verdict("core symbols, tried on themselves", len(bad) + len(good), wrong)


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test(sys.argv[2:])
    tree.verdict("core symbols", *check(sys.argv[1:]))
