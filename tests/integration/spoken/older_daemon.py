#!/usr/bin/python3
"""The library and the varbosctl of today, and the daemons of other versions: each answers as it was recorded
(spoken.py), and then is there no more. record.py says how to record what is said today."""

import os
import shutil
import subprocess
import tempfile
import time
import unittest

import fake
import spoken

CTL = os.environ["VARBOSCTL"]
SPEAKER = os.environ["SPEAKER"]
DEADLINE_S = 60
GONE = "VARBOS_E_UNAVAILABLE/socket/"
LOST = "VARBOS_E_UNAVAILABLE/session/"


class Story(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="varbos-older-")

    def tearDown(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def run_ctl(self, daemon, words, ref):
        command = [CTL, "--timeout", str(DEADLINE_S), "--socket", self.path, *[word.format(ref=ref) for word in words]]
        env = dict(os.environ, VARBOS_LANE="off")
        if words == ["none"]:
            command, env = [SPEAKER, self.path], dict(os.environ, VARBOS_LANE="none")
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=DEADLINE_S, check=False)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stdout!r} {daemon.strange}")

    def hear(self, process, daemon):
        """The next step; and what was sent before, or said."""
        said = ""
        while True:
            line = process.stdout.readline()
            if not line:
                self.fail(f"the speaker has ended: {process.communicate()[1]} {daemon.strange}")
            if line.startswith("sent "):
                said = line.split()[1]
                continue
            return line.strip(), said

    @staticmethod
    def go_on(process):
        process.stdin.write("\n")
        process.stdin.flush()

    def tell_story(self, process, daemon):
        ref, waits = None, False
        for _, what, rest in daemon.recording.events:
            if (what, rest) == ("step", "by hand"):
                break
            if what == "step":
                if waits:
                    self.go_on(process)
                step, said = self.hear(process, daemon)
                self.assertEqual(step, rest)
                ref, waits = said or ref, True
            elif what == "ctl":
                self.run_ctl(daemon, rest.split(), ref)
        self.go_on(process)
        self.assertEqual(self.hear(process, daemon)[0], "alone")
        self.assertEqual(daemon.strange, [])

    def ask(self, process, daemon):
        self.go_on(process)
        return self.hear(process, daemon)[0]

    def end_daemon(self, process, daemon):
        daemon.go_away()
        said = self.ask(process, daemon)
        self.assertTrue(said.startswith(GONE) and "is away: nobody answers there" in said, said)
        # Another of its kind comes: it knows nothing of this session, whether or not of coming back.
        daemon.listen()
        deadline = time.monotonic() + DEADLINE_S
        while said.startswith(GONE) and time.monotonic() < deadline:
            said = self.ask(process, daemon)
        for said in said, self.ask(process, daemon):
            self.assertTrue(said.startswith(LOST), said)
            self.assertIn("what is mapped can still be read, and no more", said)
        self.assertEqual(daemon.strange, [])

    def test_what_was_not_recorded_is_seen(self):
        self.path = os.path.join(self.folder, "varbos.sock")
        daemon = fake.Fake(spoken.Recording(os.path.join(spoken.HERE, "without-resume.txt")), self.path)
        hello = {"protocol": 1, "layout_min": 1, "layout_max": 1, "image": 5}
        for params, code in ({**hello, "image": 6}, 0), ({**hello, "resume": 6}, fake.INVALID):
            answer, _ = daemon.answer("a", [spoken.REQUEST, 1, "hello", params])
            self.assertEqual(answer[2]["code"] if answer[2] else 0, code)
        self.assertEqual(daemon.strange, [])
        for method, params in ("hello", hello), ("hello", {**hello, "newer": 1}), ("newer", {}), ("ping", 5):
            answer, _ = daemon.answer("a", [spoken.REQUEST, 1, method, params])
            self.assertTrue(answer[2])
        self.assertEqual(len(daemon.strange), 4)
        daemon.close()

    def test_with_each_it_works_and_says_so_when_it_is_gone(self):
        for path in spoken.recordings():
            with self.subTest(os.path.basename(path)):
                self.path = os.path.join(self.folder, os.path.basename(path))
                daemon = fake.Fake(spoken.Recording(path), self.path)
                env = dict(os.environ, VARBOS_LANE="off", VARBOS_QUIET="1")
                with subprocess.Popen([SPEAKER, self.path], text=True, env=env, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                    self.tell_story(process, daemon)
                    self.end_daemon(process, daemon)
                    process.stdin.close()
                    process.wait(DEADLINE_S)
                daemon.close()


if __name__ == "__main__":
    unittest.main()
