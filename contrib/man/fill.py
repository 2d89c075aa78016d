#!/usr/bin/python3
"""Writes a manual page: fill.py PROGRAM TEMPLATE OUT.

PROGRAM, varbosd or varbosctl as just built, says itself which verbs and options it has: where the
template has the line @VERBS@ or @OPTIONS@, what its help says comes in as mdoc. So the lists
cannot be other than the program's."""

import os
import re
import subprocess
import sys
import textwrap


def said(program, *arguments):
    environment = dict(os.environ, LC_ALL="C")
    done = subprocess.run([program, *arguments], stdout=subprocess.PIPE, env=environment,
                          check=True)
    return done.stdout.decode().splitlines()


def text(line):
    """A line of text: nothing in it is a macro or an escape."""
    line = line.replace("\\", "\\e").replace("'", "\\(aq").replace("`", "\\(ga")
    return "\\&" + line if line.startswith(".") else line


def words(line):
    """Arguments of a macro: a word of two letters may be one itself, and stands for itself."""
    return " ".join("\\&" + text(word) if re.fullmatch(r"[A-Z%][A-Za-z0-9]", word) or
                    re.fullmatch(r"[.,:;()\[\]?!|]", word) else text(word)
                    for word in line.split())


def sentence(parts):
    whole = " ".join(" ".join(parts).split())
    whole = whole[:1].upper() + whole[1:] + ("" if whole.endswith(".") else ".")
    return "\n".join(text(line) for line in textwrap.wrap(whole, 72, break_on_hyphens=False))


def flag(word):
    """--name, -n, either with =VALUE, [=VALUE] or a value behind it."""
    name, bracket, value = re.fullmatch(r"-([-\w.]+)(\[?=?)(.*)", word).groups()
    if bracket == "[=":
        return f"Fl {name} Ns Op Ns = Ns Ar {value.rstrip(']')}"
    return f"Fl {name}" + (f" Ns = Ns Ar {value}" if value else "")


def option_head(head):
    """-s, --socket PATH"""
    macros = []
    for form in head.split(", "):
        name, *value = form.split()
        macros.append(flag(name) + (f" Ar {words(' '.join(value))}" if value else ""))
    return " , ".join(macros)


def options_of(lines):
    """[(head, text)] of the lines that begin with an option, and those that go on with it."""
    found = []
    for line in lines:
        match = re.match(r" {2,6}(-\S.*?)(?: {2,}(.*))?$", line)
        if match:
            found.append((match[1], [match[2] or ""]))
        elif found and line.startswith("   "):
            found[-1][1].append(line.strip())
        elif found and not line.strip():
            found.append((None, []))
    return [(head, body) for head, body in found if head]


def option_list(options, compact=False):
    lines = [".Bl -tag -width Ds" + (" -compact" if compact else "")]
    for head, body in options:
        lines.append(f".It {option_head(head)}")
        if any(body):
            lines.append(sentence(body))
    return lines + [".El"]


def section(lines, title):
    """The lines below "Title:", to the next empty one."""
    start = lines.index(title) + 1
    end = lines.index("", start) if "" in lines[start:] else len(lines)
    return lines[start:end]


def verbs(program):
    general = said(program, "help")
    common = {head for head, _ in options_of(section(general, "Options:"))}
    page = [".Bl -tag -width Ds"]
    for line in section(general, "Verbs:"):
        name, about = re.match(r"  (\S.*?)  +(.*)$", line).groups()
        verb = " ".join(re.findall(r"(?<!\S)[a-z]+(?!\S)", name))
        values = name[len(verb):].strip()
        page.append(f".It Cm {words(verb)}")
        for value in values.split():
            page[-1] += f" Op Ar {value[1:-1]}" if value.startswith("[") else f" Ar {value}"
        page.append(sentence([about]))
        own = [option for option in options_of(section(said(program, "help", *verb.split()),
                                                       "Options:")) if option[0] not in common]
        if own:
            page += [".Pp", *option_list(own, compact=True)]
    return page + [".El"]


def options(program):
    if os.path.basename(program) == "varbosctl":
        return option_list(options_of(section(said(program, "help"), "Options:")))
    # What has a dot in its name is a key of the configuration, and in a page of its own.
    return option_list([option for option in options_of(said(program, "--help"))
                        if not re.match(r"--\w+\.", option[0])])


def main():
    program, template, out = sys.argv[1:]
    with open(template, encoding="utf-8") as file:
        lines = file.read().splitlines()
    page = []
    for line in lines:
        if line == "@VERBS@":
            page += verbs(program)
        elif line == "@OPTIONS@":
            page += options(program)
        else:
            page.append(line)
    with open(out, "w", encoding="utf-8") as file:
        file.write("\n".join(page) + "\n")


main()
