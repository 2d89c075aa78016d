"""A conversation that was recorded: what a library and a varbosctl said to the daemon of their version, what it
answered, and what stood in the files that it handed over. As text, a line each:

    shape NAME FIELD:TYPE[!]...      of that version; ! is mandatory, a TYPE in brackets is a list of that shape
    method NAME PARAMS RESULT
    ctl WORD...                      varbosctl, until `ctl.`; {ref} is what the speaker has sent to anyone
    step NAME                        the speaker has come so far
    A connect, A close               a connection, by its letter
    A > MESSAGE                      what the client says, as JSON; `wake` is the one byte that wakes
    A ! OFFSET WORD...               before that: what stands there in the client's memory, words in hex
    A < MESSAGE [FILE...]            what the daemon says, with these files: Nrw, Nro
    file N KIND SIZE SEALS           that is handed over next, with what is in it:
    N @OFFSET [xCOUNT+STRIDE] WORD   a word that changes, or so many of them (of `words`: by the client)
"""

import array
import json
import os
import re
import socket

import msgpack

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA = os.path.join(HERE, "../../../proto/schema.def")
MUTE = {"upgrade"}  # its answer is the connection's end: nobody can go on speaking
REQUEST, RESPONSE, NOTE = range(3)


def recordings():
    return sorted(os.path.join(HERE, name) for name in os.listdir(HERE) if name.endswith(".txt"))


def stand_in(path):
    """A connection of a process that ends with it, as a client's: sessions are their processes'. And who ends it."""
    ours, theirs = socket.socketpair()
    process = os.fork()
    if not process:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
                connection.connect(path)
                socket.send_fds(theirs, [b"x"], [connection.fileno()])
            os.closerange(0, theirs.fileno())
            os.closerange(theirs.fileno() + 1, 1024)
            theirs.recv(1)
        finally:
            os._exit(0)
    theirs.close()
    _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    return socket.socket(fileno=fds[0]), (process, ours)


def stand_down(stand):
    process, ours = stand
    ours.close()
    os.waitpid(process, 0)


def pack(message):
    return msgpack.packb(message)


def unpack(data):
    return msgpack.unpackb(data, strict_map_key=False)


class Schema:
    """Shapes by name, {field: (type, mandatory)}; methods by name, (params, result)."""

    def __init__(self):
        self.shapes, self.methods = {}, {}

    def lines(self):
        used, ahead = [], [name for pair in self.methods.values() for name in pair] + ["fault"]
        while ahead:
            name = ahead.pop(0)
            if name in used:
                continue
            used.append(name)
            ahead += [kind[1:-1] for kind, _ in self.shapes[name].values() if kind[0] == "["]
        for name in sorted(used):
            yield " ".join([f"shape {name}"] + [f"{field}:{kind}{'!' * need}"
                                                for field, (kind, need) in self.shapes[name].items()])
        for name, pair in self.methods.items():
            yield " ".join(["method", name, *pair])

    def take(self, line):
        word, name, *rest = line.split()
        if word == "method":
            self.methods[name] = tuple(rest)
        else:
            self.shapes[name] = {}
            for field in rest:
                field, kind = field.rstrip("!").split(":")
                self.shapes[name][field] = (kind, f"{field}:{kind}!" in rest)

    def faults(self, shape, value, where):
        """What a reader of this schema would find wrong; it skips what it does not know."""
        if not isinstance(value, dict):
            return [f"{where}: no map"]
        found = []
        for field, (kind, need) in self.shapes[shape].items():
            here = f"{where}.{field}"
            if field not in value:
                if need:
                    found.append(f"{here} is missing")
            elif kind[0] == "[":
                if not isinstance(value[field], list):
                    found.append(f"{here} is no list")
                else:
                    for row in value[field]:
                        found += self.faults(kind[1:-1], row, here)
            elif type(value[field]) is not {"u64": int, "bool": bool, "str": str}[kind]:
                found.append(f"{here} is no {kind}")
        return found

    def unknown(self, shape, value):
        """Fields that it does not know: a daemon refuses them."""
        return [field for field in value if field not in self.shapes[shape]] if isinstance(value, dict) else []


def schema_of(path):
    """As a schema.def says."""
    schema = Schema()
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for word, rest in re.findall(r"^(SHAPE|FIELD|LIST)\(([^\")]*)", text, re.M):
        shape, *parts = [part.strip() for part in rest.split(",")]
        fields = schema.shapes.setdefault(shape, {})
        if word == "FIELD":
            fields[parts[1]] = (parts[0].lower(), parts[2] == "REQUIRED")
        elif word == "LIST":
            fields[parts[1]] = (f"[{parts[0]}]", False)
    for name, params, result in re.findall(r'^METHOD\(\w+, "([^"]+)",\s*(\w+),\s*(\w+)', text, re.M):
        schema.methods[name] = (params, result)
    return schema


# ---- words of files ----

def words_of(data):
    words = array.array("Q")
    words.frombytes(data + bytes(-len(data) % 8))
    return words


def changes(before, after):
    """Lines `@OFFSET [xCOUNT+STRIDE] WORD` that make the one of the other."""
    changed = {}
    for at, word in enumerate(after):
        if word != (before[at] if before and at < len(before) else 0):
            changed.setdefault(word, []).append(8 * at)
    for word, places in changed.items():
        while places:
            stride = places[1] - places[0] if len(places) > 1 else 0
            count = 1
            while count < len(places) and places[count] == places[0] + count * stride:
                count += 1
            yield f"@{places[0]} {f'x{count}+{stride} ' if count > 1 else ''}{word:x}"
            places = places[count:]


def apply(line, write):
    """`write` is told of each word, and of where it goes."""
    offset, *times, word = line.split()
    count, stride = map(int, times[0][1:].split("+")) if times else (1, 0)
    for i in range(count):
        write(int(offset[1:]) + i * stride, int(word, 16).to_bytes(8, "little"))


class File:
    def __init__(self, line):
        number, self.kind, size, seals = line.split()
        self.number, self.size, self.seals = int(number), int(size), int(seals)


class Recording:
    """The lines of its conversation, as tuples: (letter, what, rest)."""

    def __init__(self, path):
        self.path, self.name = path, os.path.basename(path)
        self.schema, self.events, self.files = Schema(), [], {}
        with open(path, encoding="ascii") as file:
            for line in file:
                line = line.rstrip("\n")
                word = line.split(" ", 1)[0]
                if not line or word == "#":
                    continue
                if word in ("shape", "method"):
                    self.schema.take(line)
                elif word == "file":
                    opened = File(line.split(" ", 1)[1])
                    self.files[opened.number] = opened
                else:
                    self.events.append(self.event(line))

    @staticmethod
    def event(line):
        word, rest = line.split(" ", 1) if " " in line else (line, "")
        if word.isdigit():
            return (int(word), "words", rest)
        if word in ("ctl", "ctl.", "step"):
            return (None, word, rest)
        what, rest = rest.split(" ", 1) if " " in rest else (rest, "")
        if what == "!":
            offset, *words = rest.split()
            return (word, "!", (int(offset), b"".join(int(one, 16).to_bytes(8, "little")
                                                      for one in words)))
        if what == ">":
            return (word, ">", None if rest == "wake" else json.loads(rest))
        if what == "<":
            message, end = json.JSONDecoder().raw_decode(rest)
            return (word, "<", (message, [(int(file[:-2]), file[-2:] == "rw") for file in rest[end:].split()]))
        return (word, what, rest)

    def said(self):
        """(method, params) of all that was said."""
        for _, what, message in self.events:
            if what == ">" and message:
                yield (message[2], message[3]) if message[0] == REQUEST else (message[1], message[2])
