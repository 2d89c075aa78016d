#!/usr/bin/python3
"""Record what a version says: record.py FOLDER SCHEMA SPEAKER TEXT... >tests/integration/spoken/NAME.txt

FOLDER is where that version was built, SCHEMA its proto/schema.def, SPEAKER the speaker of any version (it takes
the library from FOLDER), TEXT a line for the head that says which version it is. For today's:

    ./dev build && ninja -C build/main tests/integration/speaker
    tests/integration/spoken/record.py build/main proto/schema.def build/main/tests/integration/speaker \\
        "0.1.0 as it is now" >tests/integration/spoken/today.txt

and once a version has been released, its today.txt stays, under another name."""

import fcntl
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import spoken

KINDS = {"space.open": ["root"], "window.open": ["data", "map"], "returns.open": ["ring"],
         "words.open": ["words"], "cache.index": ["index"], "lanes.open": ["lanes", "bell"]}
OBJECT_WORDS = 16  # that are kept of each
SHIFT = 34
F_GET_SEALS = 1034
SIZE_SEALS = 7  # others depend on the kernel
MESSAGE_MAX = 65536

IN_A_CHANNEL = [["who", "{ref}", "s"], ["clients"], ["stats", "--classes"]]
ALL_THERE = [
    ["status"], ["spaces"], ["numa"], ["clients"], ["caches"], ["caches", "show", "s", "c"],
    ["keys", "s", "c"], ["get", "s", "c", "key"], ["evict", "s", "c", "64K"],
    ["spaces", "create", "t", "--limit", "8M", "--reserve", "2M"], ["spaces", "chmod", "0640", "t"],
    ["budget", "set", "t", "--weight", "50"], ["budget", "get", "t"],
    ["caches", "create", "t", "d", "--policy", "fifo"], ["caches", "set", "t", "d", "--policy", "sieve"],
    ["caches", "remove", "t", "d"], ["spaces", "remove", "t"]]


class Relay:
    """Between clients and the daemon; it writes down all that passes."""

    def __init__(self, path, daemon):
        self.daemon, self.out, self.letters, self.open = daemon, [], 0, 0
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen(64)
        self.poll = select.poll()
        self.poll.register(self.listener, select.POLLIN)
        self.said = set()
        self.other, self.letter, self.asked = {}, {}, {}
        self.known, self.files, self.windows = {}, {}, {}  # by inode; number: kind, fd, size, words; (letter, space, window): fd
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def say(self, line):
        self.out.append(line)

    def run(self):
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.listener.fileno():
                    self.accept()
                elif fd in self.other:
                    self.pass_on(fd)

    def settle(self, connections):
        """Until so many are open, and the daemon has heard of it."""
        while self.open != connections:
            time.sleep(0.01)
        time.sleep(0.1)

    def accept(self):
        ours, _ = self.listener.accept()
        theirs, stand = spoken.stand_in(self.daemon)
        letter = chr(ord("a") + self.letters) if self.letters < 26 else f"a{self.letters}"
        self.letters += 1
        self.open += 1
        self.say(f"{letter} connect")
        for one, other, client in (ours, theirs, True), (theirs, ours, False):
            self.other[one.fileno()] = (one, other)
            self.letter[one.fileno()] = (letter, client, stand)
            self.poll.register(one, select.POLLIN)

    def pass_on(self, fd):
        one, other = self.other[fd]
        letter, client, stand = self.letter[fd]
        data, fds, _, _ = socket.recv_fds(one, MESSAGE_MAX, 8)
        if not data:
            self.say(f"{letter} close")
            for end in one, other:
                self.poll.unregister(end)
                del self.other[end.fileno()], self.letter[end.fileno()]
                end.close()
            spoken.stand_down(stand)
            self.open -= 1
            return
        if client:
            assert not fds
            self.heard(letter, data)
        else:
            self.answered(letter, data, fds)
        socket.send_fds(other, [data], fds)
        for number in fds:
            os.close(number)

    def message(self, data):
        message = spoken.unpack(data)
        if message[0] != spoken.RESPONSE:
            self.said.add(message[-2])
        assert spoken.pack(message) == data  # what JSON says is what was said, byte for byte
        return message, json.dumps(message, separators=(",", ":"))

    def heard(self, letter, data):
        if len(data) == 1:
            self.say(f"{letter} > wake")
            return
        message, text = self.message(data)
        if message[0] == spoken.REQUEST:
            self.asked[letter, message[1]] = message[2:]
            self.look("words")
            if message[2] == "cache.publish":
                self.object(letter, message[3])
        self.say(f"{letter} > {text}")

    def object(self, letter, params):
        window, offset = params["offset"] >> SHIFT, params["offset"] & (1 << SHIFT) - 1
        data = os.pread(self.windows[letter, params["space"], window],
                        min(8 * OBJECT_WORDS, params["size"]), offset)
        self.say(" ".join([f"{letter} ! {params['offset']}"] +
                          [f"{word:x}" for word in spoken.words_of(data)]))

    def answered(self, letter, data, fds):
        message, text = self.message(data)
        method, params = self.asked.get((letter, message[1]), (None, None))
        numbers = [self.file(letter, params, kind, fd)
                   for kind, fd in zip(KINDS.get(method, []), fds, strict=True)] if fds else []
        self.look("root", "map", "index")
        self.say(" ".join([f"{letter} < {text}"] + numbers))

    def file(self, letter, params, kind, fd):
        fd = os.dup(fd)
        if kind == "data":
            self.windows[letter, params["space"], params["window"]] = fd
        status = os.fstat(fd)
        known = self.known.setdefault(status.st_ino, len(self.files))
        if known == len(self.files):
            self.files[known] = [kind, fd, status.st_size, None]
            self.say(f"file {known} {kind} {status.st_size} {fcntl.fcntl(fd, F_GET_SEALS) & SIZE_SEALS}")
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
        return f"{known}{'rw' if mode == os.O_RDWR else 'ro'}"

    def look(self, *kinds):
        """What has changed in files of these kinds."""
        for number, entry in self.files.items():
            kind, fd, size, before = entry
            if kind in kinds:
                entry[3] = spoken.words_of(os.pread(fd, size, 0))
                for line in spoken.changes(before, entry[3]):
                    self.say(f"{number} {line}")


class Tool:
    def __init__(self, folder, path, relay, library):
        self.program = os.path.join(folder, "client/ctl/varbosctl")
        self.path, self.relay, self.library = path, relay, library

    def run(self, ref, words):
        self.relay.say("ctl " + " ".join(words))
        subprocess.run([self.program, "--socket", self.path, *[word.format(ref=ref) for word in words]],
                       env=self.library, stdout=subprocess.DEVNULL, check=True)
        self.relay.settle(1)
        self.relay.say("ctl.")


def speak(speaker, path, relay, tool, env):
    process = subprocess.Popen([speaker, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True, env=env)
    ref = None
    while True:
        line = process.stdout.readline().strip()
        if line.startswith("sent "):
            ref = line.split()[1]
            continue
        if line in ("alone", ""):
            break
        relay.say(f"step {line}")
        if line == "all is there":
            relay.say("ctl none")
            subprocess.run([speaker, path], env={**env, "VARBOS_LANE": "none"}, check=True)
            relay.settle(1)
            relay.say("ctl.")
        for words in {"in a channel": IN_A_CHANNEL, "all is there": ALL_THERE}[line]:
            tool.run(ref, words)
        process.stdin.write("\n")
        process.stdin.flush()
    process.stdin.close()
    process.wait()
    assert line == "alone"


def by_hand(path, schema):
    """What the speaker does not say: a free of what is not there, the end, and that it comes back."""
    hello = {"protocol": 1, "layout_min": 1, "layout_max": 1, "image": 5}
    said = [[0, 1, "hello", hello], [0, 2, "space.create", {"name": "u", "limit": 4 << 20}],
            [0, 3, "space.open", {"name": "u"}],
            [0, 4, "channel.list", {"space": None}],
            [2, "extent.free", {"space": None, "offset": 65536, "tag": 1}],
            [0, 5, "space.remove", {"name": "u", "force": True}], [0, 6, "bye", {}]]
    handle = None
    for messages in said, [[0, 1, "hello", {**hello, "resume": 99}]]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(path)
            for message in messages:
                if "space" in message[-1]:
                    message[-1]["space"] = handle
                client.send(spoken.pack(message))
                answer, fds, _, _ = socket.recv_fds(client, MESSAGE_MAX, 8)
                answer = spoken.unpack(answer)
                handle = answer[3].get("space", handle) if answer[0] == 1 and answer[3] else handle
                for fd in fds:
                    os.close(fd)


def main(folder, schema, speaker, *text):
    schema = spoken.schema_of(schema)
    where = tempfile.mkdtemp(prefix="varbos-record-")
    daemon, path = os.path.join(where, "daemon"), os.path.join(where, "relay")
    env = {**os.environ, "LD_LIBRARY_PATH": os.path.join(folder, "client"), "VARBOS_QUIET": "1",
           "VARBOS_LANE": "off"}
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen([os.path.join(folder, "daemon/server/varbosd"), "--socket", daemon,
                                    "--lifeline", "0", "--size", "64M", "--pages", "4K"],
                                   stdin=theirs)
    assert ours.recv(100) == b"READY\n"
    relay = Relay(path, daemon)
    speak(speaker, path, relay, Tool(folder, path, relay, env), env)
    relay.say("step by hand")
    by_hand(path, schema)
    ours.close()
    process.wait()
    shutil.rmtree(where)

    welcome = next(json.loads(line[4:])[3] for line in relay.out if line.startswith("a < "))
    print("#", *text)
    print(f"# protocol {welcome['protocol']}, layout {welcome['layout']}; see spoken.py and record.py")
    silent = set(schema.methods) - relay.said - spoken.MUTE
    if silent:
        sys.exit("nobody has said: " + " ".join(sorted(silent)))
    print(*schema.lines(), sep="\n")
    print(*relay.out, sep="\n")


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
