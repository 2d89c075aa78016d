"""A daemon that gives the answers of a recording (spoken.py), and nothing else: what it is asked has to be among
what was recorded, and its files say what they said then."""

import fcntl
import os
import socket
import threading

import spoken

MESSAGE_MAX = 65536
F_ADD_SEALS = 1033
METHOD, INVALID = 8, 6  # of proto/errors.def
# What is another number each time it is said.
LOOSE = {"born", "image", "expiry", "token"}


class Exchange:
    def __init__(self, method, params):
        self.method, self.params, self.used = method, params, False
        self.answer, self.files, self.at = None, [], 0

    def alike(self, params):
        return {key: value for key, value in self.params.items() if key not in LOOSE} == {
            key: value for key, value in params.items() if key not in LOOSE}


class Fake:
    def __init__(self, recording, path):
        self.recording, self.path = recording, path
        self.strange = []  # what was asked that it has no answer to
        self.exchanges = self.read()
        self.files = {number: self.make(file) for number, file in recording.files.items()}
        self.at = 0  # up to which event its files say what they said
        self.lock = threading.Lock()
        self.letters = iter(list(self.exchanges))
        self.listen()

    def read(self):
        """By letter, in the order in which these connected."""
        exchanges, asked = {}, {}
        for at, (letter, what, rest) in enumerate(self.recording.events):
            if what == "connect":
                exchanges[letter] = []
            elif what == ">" and rest:
                one = Exchange(*rest[-2:])
                exchanges[letter].append(one)
                if rest[0] == spoken.REQUEST:
                    asked[letter, rest[1]] = one
            elif what == "<" and rest[0][0] == spoken.RESPONSE:
                one = asked[letter, rest[0][1]]
                one.answer, one.files, one.at = *rest, at
        return exchanges

    @staticmethod
    def make(file):
        fd = os.memfd_create(file.kind, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.truncate(fd, file.size)
        fcntl.fcntl(fd, F_ADD_SEALS, file.seals)
        return fd

    # ---- being there, and not ----

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.open = []
        self.thread = threading.Thread(target=self.accept, args=(self.listener,), daemon=True)
        self.thread.start()

    def go_away(self):
        os.unlink(self.path)
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        for connection, thread in self.open:
            connection.shutdown(socket.SHUT_RDWR)
            thread.join()
            connection.close()

    def close(self):
        self.go_away()
        for fd in self.files.values():
            os.close(fd)

    def accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            letter = next(self.letters, None)
            thread = threading.Thread(target=self.serve, args=(connection, letter), daemon=True)
            self.open.append((connection, thread))
            thread.start()

    # ---- answering ----

    def serve(self, connection, letter):
        while True:
            data = connection.recv(MESSAGE_MAX)
            if not data:
                return
            if len(data) == 1:
                continue
            message = spoken.unpack(data)
            with self.lock:
                answer, files = self.answer(letter, message)
                if answer:
                    fds = [self.hand_over(*file) for file in files]
                    socket.send_fds(connection, [spoken.pack(answer)], fds)
                    for fd in fds:
                        os.close(fd)

    def hand_over(self, number, writable):
        access = os.O_RDWR if writable else os.O_RDONLY
        return os.open(f"/proc/self/fd/{self.files[number]}", access | os.O_CLOEXEC)

    def answer(self, letter, message):
        method, params = message[-2:]
        number = message[1] if message[0] == spoken.REQUEST else None
        refusal = self.refusal(method, params)
        if refusal:
            if refusal.get("which") != "resume":  # that it knows nothing of that is known
                self.strange.append(f"{method} {params}: {refusal['message']}")
            return ([spoken.RESPONSE, number, refusal, None], []) if number is not None else (None, [])
        if method == "ping":
            return [spoken.RESPONSE, number, None, params], []
        one = self.find(letter, method, params)
        if not one or number is not None and not one.answer:
            self.strange.append(f"{letter}: {method} {params}: nobody has asked that")
            one = None
        if number is None:
            return None, []
        if not one:
            return [spoken.RESPONSE, number, {"code": METHOD, "message": "nobody has asked that"}, None], []
        self.catch_up(one.at)
        return [spoken.RESPONSE, number, *one.answer[2:]], one.files

    def refusal(self, method, params):
        """As a daemon of that version refuses what it has never heard of."""
        schema = self.recording.schema
        if method not in schema.methods:
            return {"code": METHOD, "message": "there is no such method", "which": method}
        shape = schema.methods[method][0]
        for field in schema.unknown(shape, params):
            return {"code": INVALID, "message": "there is no such field", "which": field}
        for fault in schema.faults(shape, params, method):
            return {"code": INVALID, "message": fault}
        return None

    def find(self, letter, method, params):
        if method == "hello" and params.get("resume"):
            every = [one for list_ in self.exchanges.values() for one in list_ if one.params.get("resume")]
            return every[0] if every else None
        same = [one for one in self.exchanges.get(letter, []) if one.method == method and not one.used]
        alike = [one for one in same if one.alike(params)] or same
        if not alike:
            return None
        alike[0].used = True
        return alike[0]

    def catch_up(self, at):
        """What the files said when that was answered."""
        for number, what, line in self.recording.events[self.at:at]:
            if what == "words" and self.recording.files[number].kind != "words":
                spoken.apply(line, lambda offset, word, number=number:
                             os.pwrite(self.files[number], word, offset))
        self.at = max(self.at, at)
