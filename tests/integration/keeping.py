#!/usr/bin/python3
"""What outlives varbosd, with a keeper, with another binary in its place, with neither.

The daemon is a copy of $VARBOSD, the tool $VARBOSCTL."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

CTL = os.environ["VARBOSCTL"]
DAEMON = os.environ["VARBOSD"]
DEADLINE_S = 30
NOBODY = 65534


class Keeping(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="varbos-keeping-")
        os.chmod(self.folder, 0o755)
        self.path = os.path.join(self.folder, "varbos.sock")
        self.program = os.path.join(self.folder, "varbosd")
        shutil.copy(DAEMON, self.program)
        self.lifeline, self.started = None, []

    def tearDown(self):
        # The end of its lifeline ends the daemon and all keepers that it ever had.
        if self.lifeline:
            self.lifeline.close()
        for process in self.started:
            process.wait(DEADLINE_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, *arguments, **env):
        # It goes with the lifeline.
        self.path = os.path.join(tempfile.mkdtemp(dir=self.folder), "varbos.sock")
        self.lifeline, theirs = socket.socketpair()
        with theirs, open(os.path.join(self.folder, "log"), "ab") as log:
            process = subprocess.Popen(
                [self.program, *arguments, "--lifeline", "0", "--socket", self.path,
                 "--size", "64M", "--pages", "4K", "--log.level=info"],
                stdin=theirs, stdout=log, stderr=log, env={**os.environ, **env})
        self.started.append(process)
        self.lifeline.settimeout(DEADLINE_S)
        self.assertEqual(self.lifeline.recv(100), b"READY\n", self.said())
        return process

    def said(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as log:
            return log.read()

    def ctl(self, *arguments, **how):
        return subprocess.run([CTL, "--socket", self.path, "--timeout", str(DEADLINE_S), *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=2 * DEADLINE_S, check=False, **how)

    def asks(self, *arguments):
        done = self.ctl(*arguments)
        self.assertEqual(done.returncode, 0, done.stdout + self.said())
        return done.stdout

    def daemon(self):
        return json.loads(self.asks("status", "--json"))["pid"]

    def keeper(self, former=None):
        """Who holds it all: the daemon's parent, or the child that it started. What was killed as
        `former` may be there for a moment yet."""
        daemon = self.daemon()
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{pid}/stat") as stat:
                        name, rest = stat.read().rsplit(") ", 1)
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if not name.endswith("(varbosd-keeper"):
                    continue
                with open(f"/proc/{daemon}/stat") as stat:
                    parent = int(stat.read().rsplit(") ", 1)[1].split()[1])
                if rest[0] not in "ZX" and int(pid) != former and (
                        int(rest.split()[1]) == daemon or int(pid) == parent):
                    return int(pid)
            time.sleep(0.01)
        self.fail("there is no keeper: " + self.said())

    def has_space(self):
        self.assertIn("kept", self.asks("spaces"))

    def silent(self):
        """READY is said once."""
        self.lifeline.settimeout(0.1)
        with self.assertRaises(TimeoutError):
            self.lifeline.recv(1)

    def test_a_killed_daemon_is_followed_by_another_at_the_same_socket(self):
        self.start("--keep")
        self.asks("spaces", "create", "kept", "--limit", "8M", "--reserve", "2M")
        inode = os.stat(self.path).st_ino
        for _ in range(3):
            former = self.daemon()
            os.kill(former, signal.SIGKILL)
            self.assertNotEqual(self.daemon(), former)
            self.has_space()
        self.assertEqual(os.stat(self.path).st_ino, inode)
        self.silent()

    def test_a_stopped_daemon_is_ended_by_the_watchdog_and_followed_by_another(self):
        self.start("--keep", WATCHDOG_USEC="5000000")
        self.asks("spaces", "create", "kept", "--limit", "8M", "--reserve", "2M")
        former = self.daemon()
        os.kill(former, signal.SIGSTOP)
        self.assertNotEqual(self.daemon(), former)
        self.has_space()
        self.assertIn(f"(pid {former}) has not been heard of", self.said())

    def test_a_socket_file_that_is_gone_is_bound_anew(self):
        self.start("--keep")
        self.asks("spaces", "create", "kept", "--limit", "8M")
        former = self.daemon()
        os.kill(former, signal.SIGSTOP)
        os.unlink(self.path)
        os.kill(former, signal.SIGKILL)
        deadline = time.monotonic() + DEADLINE_S
        # It is there a moment before it listens.
        while self.ctl("ping", "-n1").returncode and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertNotEqual(self.daemon(), former)
        self.has_space()

    def test_a_killed_keeper_is_followed_by_another_and_then_the_daemon_too(self):
        self.start("--keep")
        self.asks("spaces", "create", "kept", "--limit", "8M")
        for _ in range(2):
            keeper, daemon = self.keeper(), self.daemon()
            os.kill(keeper, signal.SIGKILL)
            deadline = time.monotonic() + DEADLINE_S
            while "another keeper holds" not in self.said() and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertEqual(self.daemon(), daemon)
            self.keeper(keeper)
            self.has_space()
            os.truncate(os.path.join(self.folder, "log"), 0)
            os.kill(daemon, signal.SIGKILL)
            self.assertNotEqual(self.daemon(), daemon)
            self.has_space()
        self.silent()

    def test_the_end_of_the_lifeline_ends_both_and_leaves_no_folder(self):
        process = self.start("--keep")
        os.kill(self.daemon(), signal.SIGKILL)
        self.daemon()
        self.lifeline.shutdown(socket.SHUT_RDWR)
        self.assertEqual(process.wait(DEADLINE_S), 0, self.said())
        self.assertFalse(os.path.exists(os.path.dirname(self.path)))

    def test_who_fails_again_and_again_ends_with_its_lifeline(self):
        process = self.start("--keep")
        daemon = self.daemon()
        shutil.rmtree(os.path.dirname(self.path))
        os.kill(daemon, signal.SIGKILL)
        deadline = time.monotonic() + DEADLINE_S
        while "cannot be served" not in self.said() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertIsNone(process.poll(), self.said())
        self.lifeline.shutdown(socket.SHUT_RDWR)
        try:
            # The next try is five seconds away at most.
            self.assertEqual(process.wait(DEADLINE_S / 2), 0, self.said())
        finally:
            process.terminate() # or it would go on for ever

    def test_a_lifeline_where_the_kept_descriptors_go_is_refused(self):
        with open(os.devnull) as null:
            done = subprocess.run([self.program, "--keep", "--lifeline", "7"], stdin=null,
                                  capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("descriptor 0, 1 or 2", done.stderr)

    def test_a_keeper_of_a_keeper_is_refused(self):
        done = subprocess.run([self.program, "--keep", "--keep"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--keep comes once", done.stderr)

    @staticmethod
    def inherited(pid):
        """What is not close-on-exec, besides the standard descriptors."""
        found = []
        for fd in os.listdir(f"/proc/{pid}/fdinfo"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                with open(f"/proc/{pid}/fdinfo/{fd}") as info:
                    flags = int(info.read().split("flags:")[1].split()[0], 8)
                if int(fd) > 2 and not flags & os.O_CLOEXEC:
                    found.append(fd)
        return found

    def descriptors(self, most):
        """That the daemon keeps: those of who has just gone are closed by and by."""
        pid, begun = self.daemon(), time.monotonic()
        least = len(os.listdir(f"/proc/{pid}/fd"))
        while time.monotonic() - begun < (DEADLINE_S if most and least > most else 0.2):
            time.sleep(0.01)
            least = min(least, len(os.listdir(f"/proc/{pid}/fd")))
        return least

    def upgraded(self):
        before = self.daemon()
        line = json.loads(self.asks("upgrade", "--json"))
        self.assertEqual(line["pid"], before)
        self.assertEqual(self.daemon(), before)

    def test_another_binary_takes_over_in_the_same_process(self):
        for arguments in ((), ("--keep",)):
            with self.subTest(arguments=arguments):
                process = self.start(*arguments)
                self.asks("spaces", "create", "kept", "--limit", "8M", "--reserve", "2M")
                epoch = json.loads(self.asks("status", "--json"))["epoch"]
                descriptors = None
                for _ in range(3):
                    shutil.copy(DAEMON, self.program + ".new")
                    os.rename(self.program + ".new", self.program)
                    self.upgraded()
                    self.has_space()
                    with open(f"/proc/{self.daemon()}/maps") as maps:
                        self.assertIn(self.program + "\n", maps.read())
                    n = self.descriptors(descriptors)
                    self.assertLessEqual(n, descriptors or n, self.said())
                    descriptors = n
                self.assertNotEqual(json.loads(self.asks("status", "--json"))["epoch"], epoch)
                self.silent()
                if arguments:
                    os.kill(self.daemon(), signal.SIGKILL)
                    self.has_space()
                self.lifeline.close()
                self.assertEqual(process.wait(DEADLINE_S), 0, self.said())

    def test_another_binary_goes_on_with_the_keeper_that_the_daemon_started(self):
        self.start("--keep")
        self.asks("spaces", "create", "kept", "--limit", "8M")
        former = self.keeper()
        os.kill(former, signal.SIGKILL)
        keeper = self.keeper(former)
        self.upgraded()
        self.assertEqual(self.keeper(), keeper)
        os.kill(self.daemon(), signal.SIGKILL)
        self.has_space()

    def test_a_binary_that_does_not_run_is_not_put_in_place(self):
        self.start()
        self.asks("spaces", "create", "kept", "--limit", "8M")
        epoch = json.loads(self.asks("status", "--json"))["epoch"]
        os.rename(self.program, self.program + ".old")
        for text, why in (("#!/bin/sh\necho no such library\nexit 3\n", "status 3: no such library"),
                          ("no program", "Exec format error"), (None, "No such file")):
            if text:
                with open(self.program, "w") as program:
                    program.write(text)
                os.chmod(self.program, 0o755)
            else:
                os.unlink(self.program)
            done = self.ctl("upgrade")
            self.assertEqual(done.returncode, 1)
            self.assertIn(why, done.stdout)
        self.assertEqual(json.loads(self.asks("status", "--json"))["epoch"], epoch)
        self.has_space()
        os.rename(self.program + ".old", self.program)
        self.upgraded()

    def test_a_binary_that_goes_silent_and_does_not_end_is_given_up(self):
        self.start()
        os.rename(self.program, self.program + ".old")
        with open(self.program, "w") as program:
            program.write("#!/bin/sh\nexec >/dev/null 2>&1\nsleep 20\nexit 7\n")
        os.chmod(self.program, 0o755)
        done = self.ctl("upgrade")
        self.assertEqual(done.returncode, 1, done.stdout + self.said())
        self.assertIn("timed out", done.stdout)
        os.rename(self.program + ".old", self.program)
        self.upgraded()

    def test_a_configuration_that_is_wrong_by_now_is_no_end_of_the_daemon(self):
        path = os.path.join(self.folder, "varbosd.toml")
        with open(path, "w") as config:
            config.write('[memory]\nsize = "64M"\npages = "4K"\n')
        self.path = os.path.join(self.folder, "varbos.sock")
        with open(os.path.join(self.folder, "log"), "ab") as log:
            process = subprocess.Popen(
                [self.program, "--no-config", "--config", path, "--socket", self.path],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + DEADLINE_S
            while self.ctl("ping", "-n1").returncode and time.monotonic() < deadline:
                time.sleep(0.01)
            self.asks("spaces", "create", "kept", "--limit", "8M")
            with open(path, "a") as config:
                config.write("nonsense = 1\n")
            done = self.ctl("upgrade")
            self.assertEqual(done.returncode, 1, done.stdout + self.said())
            self.assertIn("--check-config ended with status 1: ", done.stdout)
            self.assertIn("nonsense", done.stdout)
            self.has_space()
            with open(path, "w") as config:
                config.write('[memory]\nsize = "64M"\npages = "4K"\n')
            self.upgraded()
            self.has_space()
        finally:
            process.terminate()
            self.assertEqual(process.wait(DEADLINE_S), 0, self.said())

    def test_a_binary_that_is_gone_between_trial_and_exec_leaves_the_daemon_serving(self):
        self.start()
        self.asks("spaces", "create", "kept", "--limit", "8M")
        # Tried, it takes itself away.
        os.rename(self.program, self.program + ".old")
        with open(self.program, "w") as program:
            program.write('#!/bin/sh\nrm "$0"\necho varbosd 9\n')
        os.chmod(self.program, 0o755)
        done = self.ctl("upgrade")
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot be executed: No such file", done.stdout)
        self.has_space()
        self.assertEqual(self.inherited(self.daemon()), [])
        os.rename(self.program + ".old", self.program)
        self.upgraded()
        self.has_space()

    def test_an_upgrade_is_for_root_and_the_daemons_uid_alone(self):
        if os.getuid():
            self.skipTest("SKIPPED: only root is two users")
        self.start()
        os.chmod(os.path.dirname(self.path), 0o755)
        os.chmod(self.path, 0o666)
        pid = self.daemon()
        done = self.ctl("upgrade", user=NOBODY, group=NOBODY, extra_groups=[])
        self.assertEqual(done.returncode, 5, done.stdout)
        self.assertIn(f"not for uid {NOBODY}", done.stdout)
        self.assertEqual(self.daemon(), pid)


if __name__ == "__main__":
    unittest.main()
