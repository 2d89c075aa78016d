#!/usr/bin/python3
"""The daemon of today, and the libraries and varbosctl of other versions: it is told what was recorded of each
(spoken.py), and answers what they would take; also when it is killed meanwhile and follows itself, or is upgraded.
A message that a recording shows to be no longer understood is a change that breaks programs: mend that, not the
recording. record.py says how to record what is said today, which has to go along with proto/schema.def."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import spoken
import teller

CTL = os.environ["VARBOSCTL"]
DAEMON = os.environ["VARBOSD"]
DEADLINE_S = 60
POLL_S = 0.01
REFERENCE = 4  # of proto/errors.def
TODAY = os.path.join(spoken.HERE, "today.txt")


def each(test):
    def run(self):
        for path in spoken.recordings():
            with self.subTest(os.path.basename(path)):
                test(self, path)
    return run


class Words(unittest.TestCase):
    """What can be seen without a daemon."""

    def setUp(self):
        self.now = spoken.schema_of(spoken.SCHEMA)

    @each
    def test_what_it_may_say_is_still_known_and_nothing_more_is_demanded(self, path):
        then = spoken.Recording(path).schema
        for name, (params, _) in then.methods.items():
            self.assertIn(name, self.now.methods)
            shape, known = then.shapes[params], self.now.shapes[self.now.methods[name][0]]
            for field, (kind, _) in shape.items():
                self.assertIn(field, known, f"{name} no longer takes it")
                self.assertEqual(known[field][0], kind, f"{name}: {field}")
            for field, (_, need) in known.items():
                self.assertFalse(need and not shape.get(field, (None, False))[1],
                                 f"{name} demands {field}, which may be absent")

    @each
    def test_methods_keep_their_numbers(self, path):
        """A ledger says them so, of what was asked and not answered yet."""
        then = list(spoken.Recording(path).schema.methods)
        self.assertEqual(list(self.now.methods)[:len(then)], then)

    @each
    def test_what_it_has_to_be_answered_is_still_mandatory(self, path):
        then = spoken.Recording(path).schema
        for name, shape in then.shapes.items():
            for field, (kind, need) in shape.items():
                known = self.now.shapes.get(name, {}).get(field)
                self.assertTrue(known or not need, f"{name}: {field} is gone")
                if known:
                    self.assertEqual(known[0].strip("[]"), kind.strip("[]"), f"{name}: {field}")
                    self.assertTrue(known[1] or not need, f"{name}: {field} may be absent")

    def test_what_is_said_today_is_recorded(self):
        recording = spoken.Recording(TODAY)
        self.assertEqual(list(recording.schema.lines()), list(self.now.lines()),
                         "today.txt is of another proto/schema.def: record it anew, as record.py says")
        said = {method for method, _ in recording.said()}
        heard = {rest[0][1] for _, what, rest in recording.events
                 if what == "<" and rest[0][0] == spoken.NOTE}
        self.assertEqual(set(self.now.methods) - said - heard, spoken.MUTE)

    def test_what_breaks_a_reader_is_seen(self):
        recording = spoken.Recording(TODAY)
        welcome = {"protocol": 1, "layout": 1, "session": 1, "epoch": 1, "inflight": 1, "message_max": 4096}
        self.assertEqual(recording.schema.faults("welcome", {**welcome, "more": 1}, "w"), [])
        self.assertEqual(recording.schema.faults("welcome", {**welcome, "epoch": "x"}, "w"),
                         ["w.epoch is no u64"])
        self.assertEqual(recording.schema.faults("space_rows", {"rows": [{}]}, "w")[0],
                         "w.rows.space is missing")
        del welcome["session"]
        self.assertEqual(recording.schema.faults("welcome", welcome, "w"), ["w.session is missing"])


class Story(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="varbos-older-")
        self.lifeline, self.daemon, self.teller, self.control = None, None, None, None

    def tearDown(self):
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def end(self):
        if self.control:
            self.control.close()
        if self.teller:
            self.teller.stdin.close()
            self.teller.stdout.close()
            self.teller.wait(DEADLINE_S)
        if self.lifeline:
            self.lifeline.close()
            self.daemon.wait(DEADLINE_S)
        self.lifeline = self.teller = self.control = None

    def start(self, path, *arguments):
        """A daemon, and who is going to tell it that."""
        self.end()
        where = tempfile.mkdtemp(dir=self.folder)
        self.path = os.path.join(where, "varbos.sock")
        program = os.path.join(where, "varbosd")
        shutil.copy(DAEMON, program)
        self.lifeline, theirs = socket.socketpair()
        with theirs, open(os.path.join(self.folder, "log"), "ab") as log:
            self.daemon = subprocess.Popen(
                [program, *arguments, "--socket", self.path, "--lifeline", "0", "--size", "256M",
                 "--pages", "4K"], stdin=theirs, stdout=log, stderr=log)
        self.lifeline.settimeout(DEADLINE_S)
        self.assertEqual(self.lifeline.recv(100), b"READY\n", self.said())
        self.teller = subprocess.Popen([sys.executable, teller.__file__, path, self.path],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def said(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as log:
            return log.read()

    def tell(self, *words):
        self.teller.stdin.write(" ".join(words) + "\n")
        self.teller.stdin.flush()
        line = self.teller.stdout.readline()
        self.assertTrue(line, self.said())
        answer = json.loads(line)
        self.assertEqual(answer["wrong"], [])
        return answer

    def connect(self):
        if self.control:
            self.control.close()
        self.control = teller.Connection(self.path, False)
        fault, _ = self.control.ask("hello", {"protocol": 1, "layout_min": 1, "layout_max": 1})
        self.assertIsNone(fault)

    def ask(self, method, **params):
        fault, result = self.control.ask(method, params)
        self.assertIsNone(fault, fault)
        return result

    def row(self, method, key, value):
        return next((row for row in self.ask(method)["rows"] if row[key] == value), None)

    def until(self, condition, what):
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            self.assertLess(time.monotonic(), deadline, what + self.said())
            time.sleep(POLL_S)

    @each
    def test_what_it_says_is_understood(self, path):
        self.start(path)
        self.tell("all")
        self.end()

    def holds_on(self, path, follow):
        """It does not come back to its session: that is its process's, and what it shared the space's."""
        self.start(path, "--keep")
        former = self.tell("half")
        self.connect()
        epoch = self.ask("status")["epoch"]
        before = self.row("space.list", "name", "s")["used"]
        follow(self.ask("status")["pid"])
        self.connect()
        self.assertNotEqual(self.ask("status")["epoch"], epoch)

        anew = self.tell("again")
        self.assertEqual(anew["former"], former["session"])
        self.assertNotEqual(anew["hello"]["session"], former["session"])
        self.assertFalse(anew["hello"].get("resumed"))
        self.assertIsNone(anew["touched"][0], "a value is gone")
        self.assertEqual(anew["freed"][0]["code"], REFERENCE)
        row = self.row("client.list", "session", former["session"])
        self.assertTrue(row["absent"])
        self.assertGreater(row["used"], 0)
        self.assertGreater(self.row("space.list", "name", "s")["used"], row["used"])
        self.tell("all", "-behind")

        self.teller.stdin.close()
        self.teller.stdout.close()
        self.teller.wait(DEADLINE_S)
        self.teller = None
        self.until(lambda: not self.row("client.list", "session", former["session"]), "its session stays")
        self.until(lambda: not self.row("space.list", "name", "s")["sessions"], "its space is open")
        self.until(lambda: self.row("space.list", "name", "s")["used"] < before, "its memory stays")
        space = self.ask("space.open", name="s", read_only=True)["space"]
        sent = self.ask("block.who", space=space, ref=self.sent(path, former["given"]))
        self.assertEqual((sent["kind"], sent["state"]), ("shared", "sent"))
        self.assertGreater(self.row("cache.list", "name", "c")["values"], 0)
        self.end()

    @staticmethod
    def sent(path, given):
        """The reference by which it asked who has what it had sent, as this daemon gave it."""
        recording = spoken.Recording(path)
        asked = next(params["ref"] for method, params in recording.said() if method == "block.who")
        tag = asked >> teller.OFFSET_BITS
        return given[f"tag {tag}"] << teller.OFFSET_BITS | asked & (1 << teller.OFFSET_BITS) - 1

    @each
    def test_a_daemon_that_is_killed_keeps_what_it_shared(self, path):
        self.holds_on(path, lambda pid: os.kill(pid, signal.SIGKILL))

    @each
    def test_a_daemon_that_is_upgraded_keeps_what_it_shared(self, path):
        def upgrade(_):
            done = subprocess.run([CTL, "--socket", self.path, "--timeout", str(DEADLINE_S), "upgrade"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                                  timeout=2 * DEADLINE_S)
            self.assertEqual(done.returncode, 0, done.stdout)
        self.holds_on(path, upgrade)


if __name__ == "__main__":
    unittest.main()
