"""A client that says again what was recorded (spoken.py), in its own process: teller.py RECORDING SOCKET.

What an earlier answer has given it, handles, offsets and the like, it says as this daemon gave it. It does what
it is told by lines of standard input, and answers each with a line of JSON:

    all NAMES    say all, with NAMES behind the names of spaces: what a reader of that time would find wrong
    half         until the step "all is there", and hold it all
    again        wait for the connection's end; then begin anew, as who knows of no coming back
"""

import fcntl
import json
import os
import socket
import struct
import sys
import time

import spoken

DEADLINE_S = 60
MESSAGE_MAX = 65536
F_GET_SEALS = 1034
TAG_SHIFT = 12  # of the words of blocks
OFFSET_BITS = 44
POLL_S = 0.005
# Given by an answer, and said again.
GIVEN = ("space", "cache", "id", "token")
# The same on every machine.
SAME = {"protocol", "layout", "inflight", "message_max", "limit", "page", "capacity", "policy", "size", "roles",
        "ttl_ms", "kind", "state", "code", "which", "pins", "requested", "max"}


class Connection:
    def __init__(self, path, apart):
        if apart:
            self.socket, self.stand = spoken.stand_in(path)
        else:
            self.socket, self.stand = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET), None
            self.socket.connect(path)
        self.socket.settimeout(DEADLINE_S)
        self.answers, self.notes = {}, []
        self.session, self.number = None, 1 << 40

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.socket, MESSAGE_MAX, 8)
        if not data:
            raise EOFError
        message = spoken.unpack(data)
        if message[0] == spoken.NOTE:
            self.notes.append(message)
        else:
            self.answers[message[1]] = (message, fds)

    def answer(self, number):
        while number not in self.answers:
            self.receive()
        return self.answers.pop(number)

    def note(self):
        while not self.notes:
            self.receive()
        return self.notes.pop(0)

    def ask(self, method, params):
        """(fault, result), of what is asked beside what was recorded."""
        self.number += 1
        self.socket.send(spoken.pack([spoken.REQUEST, self.number, method, params]))
        message, fds = self.answer(self.number)
        for fd in fds:
            os.close(fd)
        return message[2:]

    def close(self):
        self.socket.close()
        if self.stand:
            spoken.stand_down(self.stand)


class Teller:
    def __init__(self, recording, path):
        self.recording, self.path = recording, path
        self.control = None  # of the process that it is itself

    def begin(self, names):
        if not self.control:
            self.control = Connection(self.path, False)
            self.control.ask("hello", {"protocol": 1, "layout_min": 1, "layout_max": 1})
        self.names, self.wrong = names, []
        self.connections, self.asked = {}, {}
        self.given, self.extents, self.own = {}, [], {}  # own: what it may write, by number

    # ---- what it says ----

    def offset(self, old):
        for begin, size, now in self.extents:
            if begin <= old < begin + size:
                return now + old - begin
        return old

    def translate(self, method, params):
        said = {key: self.given.get((key, value), value) if key in GIVEN or key == "tag" else value
                for key, value in params.items()}
        if "offset" in params:
            said["offset"] = self.offset(params["offset"])
        if "ref" in params:
            tag, offset = params["ref"] >> OFFSET_BITS, params["ref"] & (1 << OFFSET_BITS) - 1
            said["ref"] = self.given.get(("tag", tag), tag) << OFFSET_BITS | self.offset(offset)
        if method.startswith("space.") and "name" in params:
            said["name"] += self.names
        return said

    def say(self, letter, message):
        method, params = message[-2:]
        said = self.translate(method, params)
        if message[0] == spoken.REQUEST:
            self.asked[letter, message[1]] = method
        self.connections[letter].socket.send(spoken.pack([*message[:-1], said]))

    def write(self, place):
        """What it put there, before it says so."""
        offset = self.offset(place[0])
        data = next(fd for number, fd in self.own.items() if self.recording.files[number].kind == "data")
        os.pwrite(data, place[1], offset)

    def write_word(self, number, line):
        """Of who holds what. A shared extent's bears its tag."""
        def write(offset, word):
            word = int.from_bytes(word, "little")
            tag = word >> TAG_SHIFT
            word = word & (1 << TAG_SHIFT) - 1 | self.given.get(("tag", tag), tag) << TAG_SHIFT
            os.pwrite(self.own[number], word.to_bytes(8, "little"), offset)
        spoken.apply(line, write)

    # ---- what it is answered ----

    def fault(self, where, text):
        self.wrong.append(f"{where}: {text}")

    def compare(self, where, then, now):
        for key, value in then.items():
            if isinstance(value, list):
                if value and not now.get(key):
                    self.fault(where, f"{key} is empty")
            elif key in SAME and now.get(key) != value:
                self.fault(where, f"{key} is {now.get(key)!r}, not {value!r}")

    def hear(self, letter, then, files):
        connection = self.connections[letter]
        if then[0] == spoken.NOTE:
            note = connection.note()
            if note[1] != then[1]:
                self.fault(note[1], f"not {then[1]}")
            self.wrong += self.recording.schema.faults(self.recording.schema.methods[then[1]][0], note[2],
                                                       note[1])
            return
        method = self.asked[letter, then[1]]
        where, schema = f"{letter} {then[1]} {method}", self.recording.schema
        now, fds = connection.answer(then[1])
        if bool(now[2]) != bool(then[2]):
            self.fault(where, f"{now[2:]}, not {then[2:]}")
        elif then[2]:
            self.wrong += schema.faults("fault", now[2], where)
            self.compare(where, then[2], now[2])
        else:
            self.wrong += schema.faults(schema.methods[method][1], now[3], where)
            self.compare(where, then[3], now[3])
            self.learn(connection, method, then[3], now[3])
        self.look_at(where, files, fds, now[3])

    def learn(self, connection, method, then, now):
        if method == "hello":
            connection.session = now["session"]
        if method == "ping":
            return
        for key in (*GIVEN, "tag"):
            if key in then and key in now:
                self.given[key, then[key]] = now[key]
        if "offset" in then and "size" in then and "tag" in then:
            self.extents.insert(0, (then["offset"], then["size"], now["offset"]))

    def look_at(self, where, files, fds, result):
        if len(fds) != len(files):
            self.fault(where, f"{len(fds)} descriptors, not {len(files)}")
        for (number, writable), fd in zip(files, fds):
            file = self.recording.files[number]
            here = f"{where} {file.kind}"
            if (fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR) != writable:
                self.fault(here, "its access is not what it was")
            self.look_at_file(here, file, fd, result)
            if writable:
                os.close(self.own.get(number, os.dup(fd)))
                self.own[number] = fd
            else:
                os.close(fd)

    def look_at_file(self, where, file, fd, result):
        size = os.fstat(fd).st_size
        if file.kind in ("data", "words", "lanes", "index") and size < result["size"]:
            self.fault(where, f"{size} bytes, not {result['size']}")
        if fcntl.fcntl(fd, F_GET_SEALS) & file.seals != file.seals:
            self.fault(where, "it is not sealed as it was")
        if file.kind not in ("root", "index"):
            return
        first = [line for number, what, line in self.recording.events
                 if what == "words" and number == file.number][:2]
        for line, bits in zip(first, (64, 32)):  # its magic; its layout, and what differs
            at, word = line.split()
            now = struct.unpack("<Q", os.pread(fd, 8, int(at[1:])))[0]
            if (now ^ int(word, 16)) & (1 << bits) - 1:
                self.fault(where, f"{at} is {now:x}, not {word}")

    # ---- the story ----

    def connect(self, letter):
        self.connections[letter] = Connection(self.path, letter != "a")

    def close(self, letter):
        """And until the daemon has heard of it: what comes next may need it to be over."""
        session = self.connections.pop(letter)
        session.close()
        deadline = time.monotonic() + DEADLINE_S
        while letter != "a" and time.monotonic() < deadline:
            fault, result = self.control.ask("client.list", {})
            if not fault and session.session not in [row["session"] for row in result["rows"]]:
                break
            time.sleep(POLL_S)

    def tell(self, until):
        # Who comes back is asked nothing here: daemons that know of it have other answers.
        back = {letter for letter, what, rest in self.recording.events
                if what == ">" and rest and "resume" in rest[-1]}
        for letter, what, rest in self.recording.events:
            if letter in back:
                continue
            if (what, rest) == ("step", until):
                return
            if what == "connect":
                self.connect(letter)
            elif what == "close":
                self.close(letter)
            elif what == ">" and rest:
                self.say(letter, rest)
            elif what == ">":
                self.connections[letter].socket.send(b"w")
            elif what == "!":
                self.write(rest)
            elif what == "words" and self.recording.files[letter].kind == "words":
                self.write_word(letter, rest)
            elif what == "<":
                self.hear(letter, *rest)

    # ---- what it is told ----

    def all(self, names=""):
        self.begin(names)
        self.tell(None)
        return {"wrong": self.wrong}

    def half(self):
        self.begin("")
        self.tell("all is there")
        return {"wrong": self.wrong, "session": self.connections["a"].session,
                "given": {f"{key} {value}": now for (key, value), now in self.given.items()}}

    def again(self):
        """With the words of its first connection."""
        former = self.connections.pop("a")
        try:
            while True:
                former.receive()
        except (EOFError, ConnectionResetError):
            former.close()
        self.control.close()
        self.control = None
        said = dict(self.first("hello"))
        now = Connection(self.path, False)
        hello = now.ask("hello", said)[1]
        now.ask("space.open", self.translate("space.open", {"name": "s"}))
        now.ask("cache.open", self.translate("cache.open", {**self.first("cache.open"), "existing": True}))
        key = {field: self.first("cache.publish")[field] for field in ("space", "cache", "hash")}
        touched = now.ask("cache.touch", self.translate("cache.touch", {**key, "how": 2}))
        freed = now.ask("extent.free", self.translate("extent.free", self.own_extent()))
        now.close()
        return {"hello": hello, "former": former.session, "touched": touched, "freed": freed,
                "wrong": self.recording.schema.faults("welcome", hello, "hello")}

    def first(self, method, **which):
        return next(params for said, params in self.recording.said()
                    if said == method and which.items() <= params.items())

    def own_extent(self):
        """The private one that it still has: of those that began the window, the last."""
        for letter, what, rest in reversed(self.recording.events):
            if what == "<" and letter == "a" and rest[0][0] == spoken.RESPONSE and rest[0][3]:
                result = rest[0][3]
                if result.get("offset") == 0 and "tag" in result:
                    return {"space": self.first("extent.alloc")["space"], "offset": 0, "tag": result["tag"]}
        raise AssertionError("it has none")


def main(path, socket_path):
    teller = Teller(spoken.Recording(path), socket_path)
    for line in sys.stdin:
        verb, *arguments = line.split()
        print(json.dumps(getattr(teller, verb)(*arguments)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
