#!/usr/bin/python3
"""The manual pages: mandoc has nothing to say against them, they refer to no page of ours that is
not there, and they name every verb, option and exit status that the programs do.

manual.py VARBOSCTL VARBOSD PAGE...; or manual.py --self-test."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import tree

# What mandoc says about the machine that it runs on.
ABOUT_THE_MACHINE = re.compile(r"referenced manual not found|outdated mandoc\.db")


def said(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode(errors="replace")


def judge_syntax(path):
    lines = said("mandoc", "-Tlint", "-Wstyle", path).splitlines()
    return [line for line in lines if not ABOUT_THE_MACHINE.search(line)]


def judge_references(path, pages):
    with open(path, encoding="utf-8") as file:
        page = file.read()
    found = re.findall(r"^\.Xr (varbos\S*) (\d)", page, re.M)
    problems = [f"{path}: refers to {name}({number}), which is not there"
                for name, number in found if f"{name}.{number}" not in pages]
    return problems + [f"{path}: {line} was never filled in"
                       for line in re.findall(r"^@\w+@$", page, re.M)]


def rendered(path):
    """The page as it is read, without line breaks."""
    plain = re.sub(r".\x08", "", said("mandoc", "-Tascii", "-Owidth=200", path))
    return " ".join(plain.split())


def judge_lists(path, wanted, what):
    page = rendered(path)
    return [f"{path}: {what} {name} is missing" for name in wanted
            if not re.search(r"(?<![\w-])" + re.escape(name) + r"(?![\w-])", page)]


def verbs(help_text):
    listed = help_text.split("\nVerbs:\n")[1].split("\n\n")[0]
    return re.findall(r"^  ([a-z]+(?: [a-z]+)*) ", listed, re.M)


def options(help_text):
    return re.findall(r"(?<![\w-])--[a-z][a-z-]*(?![\w.-])", help_text)


def judge_statuses(path, help_text):
    listed = re.search(r"^Exit: (.*?)\. ", help_text, re.M | re.S)[1]
    with open(path, encoding="utf-8") as file:
        section = file.read().split(".Sh EXIT STATUS")[1].split(".Sh")[0]
    in_help = set(re.findall(r"\b\d+\b", listed))
    in_page = set(re.findall(r"^\.It (\d+)$", section, re.M))
    return [f"{path}: status {status} is in one of page and help only"
            for status in in_help ^ in_page]


def check(ctl, daemon, paths):
    pages = {os.path.basename(path): path for path in paths}
    problems = []
    for path in paths:
        problems += judge_syntax(path) + judge_references(path, pages)
    general = said(ctl, "help")
    page = pages["varbosctl.1"]
    problems += judge_lists(page, verbs(general), "verb")
    problems += judge_lists(page, options(general), "option")
    for verb in verbs(general):
        problems += judge_lists(page, options(said(ctl, "help", *verb.split())), "option")
    problems += judge_statuses(page, general)
    listed = options(said(daemon, "--help"))
    problems += judge_lists(pages["varbosd.8"], listed, "option")
    if len(verbs(general)) < 9 or "--socket" not in listed:
        problems.append("the programs' help names too little: is it read rightly?")
    return len(paths), problems


def self_test():
    wrong = []
    with tempfile.TemporaryDirectory(prefix="varbos-manual-") as folder:
        path = os.path.join(folder, "varbos.1")

        def refuses(page, words, judge):
            with open(path, "w", encoding="utf-8") as file:
                file.write(".Dd November 21, 2026\n.Dt VARBOS 1\n.Os\n.Sh NAME\n.Nm varbos\n"
                           ".Nd a page\n" + page)
            if not any(words in problem for problem in judge()):
                wrong.append(f"{words}: went unseen")

        refuses(".Sh DESCRIPTION\n.Bl -tag -width Ds\n.It a\nb\n", "Bl",
                lambda: judge_syntax(path))
        refuses(".Sh DESCRIPTION\n.Xr varbosx 9\n", "varbosx(9)",
                lambda: judge_references(path, {}))
        refuses(".Sh DESCRIPTION\n@VERBS@\n", "@VERBS@", lambda: judge_references(path, {}))
        refuses(".Sh DESCRIPTION\n.Fl -limits\n", "--limit is missing",
                lambda: judge_lists(path, ["--limit"], "option"))
        refuses(".Sh EXIT STATUS\n.Bl -tag\n.It 0\nb\n.El\n", "status 7",
                lambda: judge_statuses(path, "Exit: 0 done, 7 worse. \n"))
    tree.verdict("the manual, tried on itself", 5, wrong)


if __name__ == "__main__":
    if not shutil.which("mandoc"):
        print("SKIPPED: there is no mandoc")
        sys.exit(77)
    if sys.argv[1] == "--self-test":
        self_test()
    tree.verdict("the manual", *check(sys.argv[1], sys.argv[2], sys.argv[3:]))
