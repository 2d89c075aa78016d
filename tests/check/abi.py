#!/usr/bin/python3
"""Programs linked against the last release still run: abi.py ROOT LIBRARY CACHE, or --self-test.

The library of the last tag v* that leads here is built from that tag, once, in CACHE; abidiff
compares it with LIBRARY by what the public headers show. Additions are welcome. Whatever else
differs wants another soversion. Without such a tag, or without a clone, there is nothing that could
be broken, and that is said."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import tree


class Failed(Exception):
    pass


def said(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode(errors="replace")
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {text.strip()}")
    return text


def git(root, *arguments):
    return said("git", "-c", f"safe.directory={root}", "-C", root, *arguments).strip()


def last_release(root):
    """(tag, None) or (None, why there is none)"""
    try:
        top = git(root, "rev-parse", "--show-toplevel")
    except (Failed, FileNotFoundError) as error:
        return None, f"this is no clone ({str(error).splitlines()[-1]})"
    if os.path.realpath(top) != os.path.realpath(root):
        return None, f"this is a folder in the clone {top}"
    tags = git(root, "tag", "--list", "v[0-9]*", "--merged", "HEAD",
               "--sort=-version:refname").split()
    if tags:
        return tags[0], None
    if git(root, "rev-parse", "--is-shallow-repository") == "true":
        return None, "no tag v* is in this shallow clone (git fetch --unshallow --tags)"
    return None, "there is no tag v* yet"


def library_of(build):
    """The shared library, relative to its build folder."""
    for target in json.loads(said("meson", "introspect", "--targets", build)):
        if target["name"] == "varbos" and target["type"] == "shared library":
            return os.path.relpath(target["filename"][0], os.path.realpath(build))
    raise Failed(f"{build}: builds no libvarbos")


def build_release(root, tag, cache):
    """The folder of that tag's headers and library."""
    commit = git(root, "rev-parse", tag + "^{commit}")
    folder = os.path.join(cache, f"{tag}-{commit[:12]}")
    if os.path.exists(os.path.join(folder, "library")):
        return folder
    os.makedirs(cache, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as made:
        source, build = os.path.join(made, "source"), os.path.join(made, "build")
        os.mkdir(source)
        git(root, "archive", "--output", os.path.join(made, "tar"), commit)
        said("tar", "-xf", os.path.join(made, "tar"), "-C", source)
        said("meson", "setup", build, source, "--buildtype=debugoptimized", "-Dtests=disabled")
        library = library_of(build)
        said("ninja", "-C", build, library)
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        shutil.copytree(os.path.join(source, "include"), os.path.join(folder, "include"))
        shutil.copy(os.path.join(build, library), os.path.join(folder, "part"))
        os.rename(os.path.join(folder, "part"), os.path.join(folder, "library"))
    return folder


def soname(library):
    found = re.search(r"SONAME.*\[(.*)\]", said("readelf", "-d", library))
    if not found:
        raise Failed(f"{library}: has no soname")
    return found[1]


def differences(old, old_headers, new, new_headers):
    for library in (old, new):
        if ".debug_info" not in said("readelf", "-SW", library):
            raise Failed(f"{library}: was built without -g, and its types are not to be seen")
    if soname(old) != soname(new):
        print(f"{soname(old)} has become {soname(new)}: what was linked stays with the old one")
        return []
    done = subprocess.run(["abidiff", "--no-added-syms", "--drop-private-types",
                           "--headers-dir1", old_headers, "--headers-dir2", new_headers,
                           old, new], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    if not done.returncode:
        return []
    return done.stdout.decode(errors="replace").splitlines() + \
        ["programs that were linked against the last release may break: keep what they know, or "
         "raise soversion in client/meson.build"]


def check(root, library, cache):
    tag, why = last_release(root)
    if not tag:
        print(f"no release to compare with: {why}")
        return 1, []
    print(f"compared with {tag}")
    try:
        release = build_release(root, tag, cache)
        return 1, differences(os.path.join(release, "library"), os.path.join(release, "include"),
                              library, os.path.join(root, "include"))
    except Failed as error:
        return 1, [str(error)]


HEADER = "struct options { int size; };\nint varbos_open(struct options *options);\n"
SOURCE = '#include "../include/varbos.h"\nint varbos_open(struct options *o) { return o->size; }\n'
BUILD = ("project('varbos', 'c')\noption = get_option('tests')\n"
         "shared_library('varbos', 'client/varbos.c', soversion: '0')\n")
OPTIONS = "option('tests', type: 'feature', value: 'auto')\n"


def self_test():
    wrong = []
    with tempfile.TemporaryDirectory(prefix="varbos-abi-") as top:
        root, build, cache = (os.path.join(top, name) for name in ("root", "build", "cache"))

        def write(path, text):
            path = os.path.join(root, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)

        def compare(header=HEADER, source=SOURCE, project=BUILD):
            write("include/varbos.h", header)
            write("client/varbos.c", source)
            write("meson.build", project)
            said("meson", "setup", "--buildtype=debugoptimized",
                 *(["--wipe"] if os.path.exists(build) else []), build, root)
            library = library_of(build)
            said("ninja", "-C", build, library)
            return check(root, os.path.join(build, library), cache)[1]

        def expect(problems, words, what):
            if not any(words in problem for problem in problems) if words else problems:
                wrong.append(f"{what}: {problems or 'went unseen'}")

        write("meson_options.txt", OPTIONS)
        expect(compare(), None, "no clone")
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        git(root, "init", "--quiet")
        git(root, "add", "--all")
        git(root, *identity, "commit", "--quiet", "--message", "x")
        expect(compare(HEADER.replace("int size", "long size")), None, "no tag")
        git(root, *identity, "tag", "v0.1.0")
        git(root, *identity, "tag", "unrelated")
        expect(compare(), None, "the same")
        expect(compare(HEADER + "void varbos_more(void);\n",
                       SOURCE + "void varbos_more(void) {}\n"), None, "a new function")
        longer = HEADER.replace("int size", "long size")
        expect(compare(longer), "struct options", "a member of another size")
        expect(compare(HEADER, SOURCE.replace("varbos_open", "varbos_begin")),
               "Removed", "a function that is gone")
        expect(compare(longer, project=BUILD.replace("'0')", "'1')")), None, "another soname")
        shutil.rmtree(cache)
        git(root, *identity, "commit", "--quiet", "--all", "--message", "y")
        git(root, *identity, "tag", "v0.10.0")
        tag, _ = last_release(root)
        if tag != "v0.10.0":
            wrong.append(f"v0.10.0 is later than v0.1.0, but {tag} was taken")
        said("cc", "-shared", "-Wl,-soname,libvarbos.so.1", "-o", os.path.join(top, "plain.so"),
             os.path.join(root, "client/varbos.c"))
        expect(check(root, os.path.join(top, "plain.so"), cache)[1], "without -g", "no types")
    tree.verdict("the ABI, tried on itself", 9, wrong)


if __name__ == "__main__":
    if not shutil.which("abidiff"):
        print("SKIPPED: there is no abidiff")
        sys.exit(77)
    if sys.argv[1] == "--self-test":
        self_test()
    tree.verdict("the ABI", *check(*sys.argv[1:]))
