#!/usr/bin/python3
"""Who may include whom: layers.py ROOT, or layers.py --self-test."""

import os
import re
import sys
import tempfile

import tree

# What the core may know of libc: no I/O, no clock, no thread.
PURE = {"assert.h", "errno.h", "inttypes.h", "limits.h", "stdalign.h", "stdatomic.h",
        "stdbool.h", "stddef.h", "stdint.h", "stdlib.h", "string.h"}
# What a program that includes ours may be asked to have.
PUBLIC = {"stddef.h", "stdint.h"}

# Libraries beyond libc, and who may include them; a folder stands for all below it.
LIBRARIES = {
    "uv.h": ("daemon/server/",),
    "uv/": ("daemon/server/",),
    "msgpack": ("proto/wire", "tests/"),
    "numa": ("daemon/sys/", "tests/"),
    "systemd/": ("daemon/server/", "tests/"),
    "check.h": ("tests/",),
    "xxhash.h": ("client/view.c", "client/ctl/sim_trace.c", "tests/"),
}

# Folder: what of the tree its files may include, and which headers of libc (None: any). The
# longest folder that matches counts.
LAYERS = {
    "include/": (("include/",), PUBLIC),
    "base/": (("base/",), None),
    "proto/": (("base/", "proto/"), None),
    "client/": (("include/", "base/", "proto/", "client/!client/ctl/"), None),
    "client/ctl/": (("include/", "base/", "proto/", "client/ctl/"), None),
    "client/ctl/doctor": (("base/", "client/ctl/", "daemon/sys/"), None),
    "client/ctl/sim": (("base/", "client/ctl/", "daemon/core/policy/", "daemon/core/wheel.h"), None),
    "daemon/core/": (("base/", "proto/layout.h", "proto/lane.h", "daemon/core/"), PURE),
    "daemon/core/cache/": (("base/", "proto/layout.h", "proto/object.h", "proto/index.h", "proto/lane.h",
                            "daemon/core/wheel.h", "daemon/core/policy/", "daemon/core/cache/"), PURE),
    "daemon/core/cache/index": (("base/", "proto/index.h", "daemon/core/cache/index"), PURE),
    # Vectors call nothing.
    "daemon/core/cache/index_table.h": (("base/", "daemon/core/cache/index.h"), PURE | {"emmintrin.h"}),
    "daemon/core/policy/ghost.c": (("base/", "daemon/core/policy/"), PURE | {"emmintrin.h"}),
    "daemon/core/policy/": (("base/", "daemon/core/policy/"), PURE),
    "daemon/sys/": (("base/", "proto/layout.h", "proto/block_word.h", "proto/ring.h", "daemon/sys/"), None),
    # Of the core, what a thing takes of a limit: a limit too small for another is refused.
    "daemon/config/": (("base/", "proto/", "daemon/core/quota.h", "daemon/config/"), None),
    "daemon/server/": (("base/", "proto/", "daemon/"), None),
    "bench/": (("include/", "base/", "proto/", "daemon/core/", "bench/"), None),
    "examples/": (("include/",), None),
    "tests/": (("",), None),
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)


def allows(allowed, target):
    """An entry is a folder or a file; after '!' the part of it that is not meant."""
    for entry in allowed:
        part, _, but = entry.partition("!")
        if target.startswith(part) and not (but and target.startswith(but)):
            return True
    return False


def resolve(root, path, name):
    """The tree's file that this name means, or None: from the root, beside, or public."""
    for candidate in (name, os.path.join(os.path.dirname(path), name), "include/" + name):
        if os.path.isfile(os.path.join(root, candidate)):
            return os.path.normpath(candidate)
    return None


def judge(root, path, quote, name):
    """What is wrong with one include, or None."""
    folder = max((f for f in LAYERS if path.startswith(f)), key=len, default=None)
    if folder is None:
        return "in no layer: add its folder to the table of tests/check/layers.py"
    allowed, libc = LAYERS[folder]
    target = resolve(root, path, name)
    if target:
        return None if allows(allowed, target) else f"{folder} may not include {target}"
    if quote == '"':
        return f"{name} is nowhere in the tree"
    for library, users in LIBRARIES.items():
        if name.startswith(library):
            return None if path.startswith(users) else f"<{name}> is for {', '.join(users)} only"
    if libc is not None and name not in libc:
        return f"{folder} may not include <{name}>"
    return None


def check(root):
    seen, problems = 0, []
    for path in tree.files(root, (".c", ".h")):
        text = tree.uncommented(tree.text(root, path))
        for match in INCLUDE.finditer(text):
            seen += 1
            wrong = judge(root, path, match[1], match[2])
            if wrong:
                line = text.count("\n", 0, match.start()) + 1
                problems.append(f"{path}:{line}: {wrong}")
    return seen, problems


def self_test():
    good = {
        "include/varbos/varbos.h": "#include <stdint.h>\n",
        "base/base.h": "#include <stdlib.h>\n",
        "proto/layout.h": "",
        "proto/wire.h": '#include <msgpack.h>\n#include "schema.def"\n',
        "proto/schema.def": "",
        "client/space.h": '#include <varbos/varbos.h>\n#include "proto/wire.h"\n',
        "client/ctl/table.h": '#include "base/base.h"\n',
        "client/ctl/doctor.h": '#include "daemon/sys/sys.h"\n',
        "daemon/core/core.h": '#include "proto/layout.h"\n#include <string.h>\n',
        "daemon/sys/sys.h": '#include <sys/mman.h>\n',
        "daemon/server/server.c": '#include <uv.h>\n#include "daemon/sys/sys.h"\n',
        "tests/unit/test_x.c": '#include <check.h>\n#include "daemon/core/core.h"\n',
        "bench/rtt.c": '/* #include <uv.h> */\n// #include <uv.h>\n#include "proto/wire.h"\n',
    }
    bad = {
        "include/varbos/bad1.h": "#include <pthread.h>",
        "include/varbos/bad2.h": '#include "base/base.h"',
        "base/bad.c": '#include "proto/layout.h"',
        "proto/bad1.c": '#include "daemon/core/core.h"',
        "proto/bad2.c": "#include <msgpack.h>",
        "client/bad1.c": '#include "daemon/core/core.h"',
        "client/bad2.c": '#include "client/ctl/table.h"',
        "client/ctl/bad1.c": '#include "client/space.h"',
        "client/ctl/bad2.c": "#include <uv.h>",
        "client/ctl/bad3.c": '#include "daemon/sys/sys.h"',
        "client/ctl/doctor_bad.c": '#include "daemon/core/core.h"',
        "daemon/core/bad1.c": "#include <time.h>",
        "daemon/core/bad2.c": '#include "proto/wire.h"',
        "daemon/core/bad3.h": '#  include "daemon/sys/sys.h"',
        "daemon/sys/bad1.c": '#include "proto/wire.h"',
        "daemon/sys/bad2.c": "#include <uv.h>",
        "daemon/server/bad.c": '#include "client/space.h"',
        "tests/unit/bad1.c": "#include <uv.h>",
        "tests/unit/bad2.c": '#include "tests/nowhere.h"',
        "bench/bad.c": '#include "daemon/sys/sys.h"',
        "elsewhere/bad.c": "#include <stdio.h>",
    }
    with tempfile.TemporaryDirectory() as root:
        for path, content in {**good, **bad}.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(content)
        _, problems = check(root)
    found = {problem.split(":")[0] for problem in problems}
    wrong = [f"{p}: a bad include went unseen" for p in sorted(set(bad) - found)]
    wrong += [f"{p}: a good include was refused" for p in sorted(found - set(bad))]
    tree.verdict("layers, tried on themselves", len(good) + len(bad), wrong)


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test()
    tree.verdict("layers", *check(sys.argv[1]))
