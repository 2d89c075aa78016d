#!/usr/bin/python3
"""What varbosd and a service manager tell each other: $NOTIFY_SOCKET, $WATCHDOG_USEC, passed sockets.

The manager is this test. The daemon is $VARBOSD, the tool $VARBOSCTL."""

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import unittest

CTL = os.environ["VARBOSCTL"]
DAEMON = os.environ["VARBOSD"]
DEADLINE_S = 30
PROMPT_S = 10  # for an answer that takes microseconds


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="varbos-service-")
        self.path = os.path.join(self.folder, "varbos.sock")
        self.daemons = []

    def tearDown(self):
        for daemon in self.daemons:
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGCONT)
                daemon.kill()
            daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, *arguments, env=None, fds=(), own_pid=()):
        """The daemon with `fds` as descriptors 3, 4, ..., its pid in the variables `own_pid`."""
        numbers = " ".join(f"{3 + i}<&{100 + i}" for i in range(len(fds)))
        exports = "".join(f"export {name}=$$; " for name in own_pid)
        close = " ".join(f"{100 + i}<&-" for i in range(len(fds)))
        command = f'{exports}exec "$0" "$@" {numbers} {close}'
        taken = []
        try:
            for i, fd in enumerate(fds):
                taken.append(os.dup2(fd, 100 + i, inheritable=True))
            log = open(os.path.join(self.folder, "log"), "ab")
            with log:
                daemon = subprocess.Popen(
                    ["/bin/bash", "-c", command, DAEMON, "--size", "64M", "--pages", "4K",
                     *arguments],
                    env={**os.environ, **(env or {})}, stdout=log, stderr=log,
                    close_fds=True, pass_fds=taken)
        finally:
            for fd in taken:
                os.close(fd)
        self.daemons.append(daemon)
        return daemon

    def said(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as log:
            return log.read()

    def ctl(self, *arguments, path=None):
        done = subprocess.run([CTL, "--socket", path or self.path, "--timeout", str(PROMPT_S),
                               *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=DEADLINE_S, check=False)
        return done.returncode, done.stdout.decode()

    def serves(self, daemon, path=None):
        deadline = time.monotonic() + DEADLINE_S
        while self.ctl("ping", "-n1", path=path)[0]:
            if daemon.poll() is not None or time.monotonic() > deadline:
                self.fail("the daemon does not serve: " + self.said())
            time.sleep(0.02)

    def ends(self, daemon, status=0):
        self.assertEqual(daemon.wait(DEADLINE_S), status, self.said())

    def refuses(self, words, *arguments, **how):
        before = len(self.said()) if os.path.exists(os.path.join(self.folder, "log")) else 0
        self.ends(self.start(*arguments, **how), 2)
        self.assertIn(words, self.said()[before:])


class Streams(Folder):
    """Whoever starts a program may have closed 0, 1 and 2: no socket and no memory has these numbers."""

    def closed(self, *command):
        return subprocess.Popen(["/bin/bash", "-c", 'exec "$0" "$@" <&- >&- 2>&-', *command],
                                close_fds=True)

    def test_a_daemon_without_standard_descriptors_logs_into_nothing_else(self):
        daemon = self.closed(DAEMON, "--size", "64M", "--pages", "4K", "--socket", self.path)
        self.daemons.append(daemon)
        self.serves(daemon)
        self.assertEqual([os.readlink(f"/proc/{daemon.pid}/fd/{fd}") for fd in range(3)],
                         ["/dev/null"] * 3)
        daemon.send_signal(signal.SIGHUP)  # it logs that
        self.serves(daemon)
        daemon.terminate()
        self.assertEqual(daemon.wait(DEADLINE_S), 0)

    def test_a_demo_without_standard_output_says_that_and_nothing_else(self):
        daemon = self.start("--socket", self.path)
        self.serves(daemon)
        demo = subprocess.run(["/bin/bash", "-c", 'exec "$0" "$@" >&-', CTL, "demo", "--socket",
                               self.path], stderr=subprocess.PIPE, timeout=DEADLINE_S)
        self.assertEqual((demo.returncode, demo.stderr), (
            1, b"varbosctl: standard output: Bad file descriptor\n"))


class Notify(Folder):
    def setUp(self):
        super().setUp()
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(os.path.join(self.folder, "notify"))
        self.manager.settimeout(DEADLINE_S)
        self.env = {"NOTIFY_SOCKET": os.path.join(self.folder, "notify")}

    def tearDown(self):
        self.manager.close()
        super().tearDown()

    def hears(self):
        """The next message, as a dictionary."""
        text = self.manager.recv(4096).decode()
        return dict(line.split("=", 1) for line in text.splitlines())

    def hears_nothing(self, seconds):
        self.manager.settimeout(seconds)
        with self.assertRaises(TimeoutError):
            self.fail(f"heard {self.hears()}")
        self.manager.settimeout(DEADLINE_S)

    def test_ready_then_what_changes_then_stopping(self):
        daemon = self.start("--socket", self.path, env=self.env)
        first = self.hears()
        self.assertEqual(first["READY"], "1")
        self.assertEqual(first["STATUS"],
                         "64 MiB in pages of 4 KiB, 0 B used; spaces 0, sessions 0")
        # It serves when it says so.
        self.assertEqual(self.ctl("spaces", "create", "images", "--limit", "8M")[0], 0)
        said = self.hears()
        while "spaces 1, sessions 0" not in said["STATUS"]:
            self.assertEqual(list(said), ["STATUS"])
            said = self.hears()
        self.hears_nothing(3)
        daemon.terminate()
        self.assertEqual(self.hears()["STOPPING"], "1")
        self.ends(daemon)
        self.hears_nothing(0.1)

    def reloads(self, daemon):
        """SIGHUP, and what the manager hears of it; status in between does not count."""
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        daemon.send_signal(signal.SIGHUP)
        said = self.hears()
        while list(said) == ["STATUS"]:
            said = self.hears()
        self.assertEqual(set(said), {"RELOADING", "MONOTONIC_USEC"})
        self.assertEqual(said["RELOADING"], "1")
        # When it began, by the clock that the manager has, too: later than the signal.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.assertTrue(before <= int(said["MONOTONIC_USEC"]) <= now, said)
        said = self.hears()
        self.assertEqual((set(said), said["READY"]), ({"READY", "STATUS"}, "1"))

    def test_a_reload_is_told_and_its_end_as_well_when_the_file_is_bad(self):
        path = os.path.join(self.folder, "varbosd.toml")

        def write(text):
            with open(path + "~", "w") as file:
                file.write(text)
            os.rename(path + "~", path)

        write("limits.waiting = 10\n")
        daemon = self.start("--socket", self.path, "--config-dir", self.folder, env=self.env)
        self.assertEqual(self.hears()["READY"], "1")
        write("limits.waiting = 11\n")
        self.reloads(daemon)
        self.assertIn(f"limits.waiting: 10 -> 11 ({path}:1:18)", self.said())
        write("limits.waiting = 12\nlimits.wating = 1\n")
        self.reloads(daemon)
        self.assertIn(f"{path}:2:8: there is no key limits.wating", self.said())
        self.assertNotIn("11 -> 12", self.said())
        # It serves on, with what it had.
        self.assertEqual(self.ctl("ping", "-n1")[0], 0)
        write("limits.waiting = 13\n")
        self.reloads(daemon)
        self.assertIn("limits.waiting: 11 -> 13", self.said())

    def test_a_daemon_that_cannot_start_is_never_ready(self):
        daemon = self.start("--socket", os.path.join(self.folder, "nowhere", "s"), env=self.env)
        self.ends(daemon, 1)
        self.hears_nothing(0.1)

    def test_the_watchdog_is_fed_from_the_loop(self):
        daemon = self.start("--socket", self.path, env={**self.env, "WATCHDOG_USEC": "400000"},
                            own_pid=["WATCHDOG_PID"])
        self.assertEqual(self.hears()["READY"], "1")
        for _ in range(5):
            self.assertEqual(self.hears(), {"WATCHDOG": "1"})
        os.kill(daemon.pid, signal.SIGSTOP)
        self.manager.settimeout(0.5)
        with self.assertRaises(TimeoutError):
            while True:
                self.hears()

    def test_somebody_elses_watchdog_is_not_fed(self):
        self.start("--socket", self.path,
                   env={**self.env, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"})
        self.assertEqual(self.hears()["READY"], "1")
        self.hears_nothing(0.5)

    def test_an_abstract_address_is_told(self):
        name = f"varbos-test-{os.getpid()}"
        self.manager.close()
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind("\0" + name)
        self.manager.settimeout(DEADLINE_S)
        self.start("--socket", self.path, env={"NOTIFY_SOCKET": "@" + name})
        self.assertEqual(self.hears()["READY"], "1")

    def test_a_senseless_address_is_said_and_nothing_else(self):
        daemon = self.start("--socket", self.path, env={"NOTIFY_SOCKET": "varbos"})
        self.serves(daemon)
        self.assertIn("$NOTIFY_SOCKET is no address of a Unix socket: varbos", self.said())

    def test_a_manager_that_does_not_read_delays_nobody(self):
        """Its queue is full: clients are served; the state is told once there is room."""
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        filler.setblocking(False)
        with filler, contextlib.suppress(BlockingIOError):
            while True:
                filler.sendto(b"FILLED=1", self.env["NOTIFY_SOCKET"])
        daemon = self.start("--socket", self.path, env={**self.env, "WATCHDOG_USEC": "20000"},
                            own_pid=["WATCHDOG_PID"])
        self.serves(daemon)
        self.assertEqual(self.ctl("demo")[0], 0)
        said = self.hears()
        while said != {"WATCHDOG": "1"} and "READY" not in said:
            self.assertEqual(said, {"FILLED": "1"})
            said = self.hears()
        while "READY" not in said:
            self.assertEqual(said, {"WATCHDOG": "1"})
            said = self.hears()
        self.assertIn("STATUS", said)
        daemon.terminate()
        self.ends(daemon)

    def test_a_daemon_with_a_lifeline_does_not_speak_for_its_starter(self):
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                daemon = self.start("--socket", self.path, "--lifeline", "3", env=self.env,
                                    fds=[theirs.fileno()])
            ours.settimeout(DEADLINE_S)
            self.assertEqual(ours.recv(100), b"READY\n")
            self.hears_nothing(1.5)
            daemon.terminate()
            self.ends(daemon)
        self.hears_nothing(0.1)


class Log(Folder):
    def test_who_is_dropped_is_named(self):
        daemon = self.start("--socket", self.path, "--limits.hello=100ms")
        self.serves(daemon)
        words = (f"notice: dropped a connection of pid {os.getpid()}, uid {os.getuid()}: "
                 "it did not say hello in time; [0-9]+ connections so far")
        deadline = time.monotonic() + DEADLINE_S
        # On a busy machine the tool that looked whether it serves may have been another, and only the first
        # of a second is named.
        while not re.search(words, self.said()) and time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
                silent.settimeout(DEADLINE_S)
                silent.connect(self.path)
                self.assertEqual(silent.recv(1), b"")
        self.assertRegex(self.said(), words)


class Activation(Folder):
    ENV = {"LISTEN_FDS": "1"}

    def listener(self, kind=socket.SOCK_SEQPACKET, path=None):
        listener = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(listener.close)
        listener.bind(path or self.path)
        return listener

    def activated(self, *listeners, arguments=(), env=None, own_pid=("LISTEN_PID",)):
        return self.start(*arguments, env={**self.ENV, **(env or {})}, own_pid=own_pid,
                          fds=[listener.fileno() for listener in listeners])

    def test_a_passed_socket_is_served_and_outlives_the_daemon(self):
        listener = self.listener()
        listener.listen(64)
        inode = os.stat(self.path).st_ino
        for _ in range(2):
            # Whoever comes before the daemon waits in the queue, and is answered.
            early = subprocess.Popen([CTL, "--socket", self.path, "--timeout", str(DEADLINE_S),
                                      "ping", "-n1"], stdout=subprocess.DEVNULL)
            daemon = self.activated(listener)
            self.assertEqual(early.wait(DEADLINE_S), 0, self.said())
            self.assertTrue(os.path.exists(self.path + ".stats"))
            self.assertTrue(os.path.exists(self.path + ".lock"))
            self.assertEqual(self.ctl("demo")[0], 0)
            daemon.terminate()
            self.ends(daemon)
            self.assertEqual(os.stat(self.path).st_ino, inode)
            self.assertEqual(sorted(os.listdir(self.folder)), ["log", "varbos.sock"])

    def test_a_blocking_socket_does_not_block_the_daemon(self):
        listener = self.listener()
        listener.listen(64)
        listener.setblocking(True)
        daemon = self.activated(listener)
        self.serves(daemon)
        flags = None
        with open(f"/proc/{daemon.pid}/fdinfo/3") as info:
            for line in info:
                if line.startswith("flags:"):
                    flags = int(line.split()[1], 8)
        self.assertTrue(flags & os.O_NONBLOCK)
        self.assertTrue(flags & os.O_CLOEXEC)

    def test_the_statistics_are_for_whoever_may_connect(self):
        listener = self.listener()
        listener.listen(64)
        if os.geteuid() == 0:
            os.chown(self.path, -1, 12345)
        group = os.stat(self.path).st_gid
        os.chmod(self.path, 0o660)
        self.serves(self.activated(listener))
        info = os.stat(self.path + ".stats")
        self.assertEqual((info.st_gid, stat.S_IMODE(info.st_mode)), (group, 0o640))

    def test_told_the_same_path_it_agrees(self):
        listener = self.listener()
        listener.listen(64)
        self.serves(self.activated(listener, arguments=["--socket", self.path]))

    def test_told_another_path_it_refuses(self):
        listener = self.listener()
        listener.listen(64)
        other = os.path.join(self.folder, "other")
        self.refuses(f"told to serve {other}, but passed the socket at {self.path}",
                     "--socket", other, env=self.ENV, own_pid=["LISTEN_PID"],
                     fds=[listener.fileno()])

    def test_what_was_passed_to_another_process_is_not_taken(self):
        other = os.path.join(self.folder, "other")
        listener = self.listener(path=other)
        listener.listen(64)
        daemon = self.activated(listener, arguments=["--socket", self.path],
                                env={"LISTEN_PID": "1"}, own_pid=())
        self.serves(daemon)

    def test_two_daemons_do_not_serve_one_passed_socket(self):
        listener = self.listener()
        listener.listen(64)
        self.serves(self.activated(listener))
        second = self.activated(listener)
        self.ends(second, 1)
        self.assertIn("another varbosd serves this socket", self.said())

    def check_refused(self, listener, words):
        self.refuses(words, env=self.ENV, own_pid=["LISTEN_PID"], fds=[listener.fileno()])

    def test_a_stream_socket_is_refused(self):
        listener = self.listener(socket.SOCK_STREAM)
        listener.listen(64)
        self.check_refused(listener, "not a Unix socket of sequential packets")

    def test_a_datagram_socket_is_refused(self):
        self.check_refused(self.listener(socket.SOCK_DGRAM),
                           "not a Unix socket of sequential packets")

    def test_an_internet_socket_is_refused(self):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        self.check_refused(listener, "not a Unix socket of sequential packets")

    def test_a_file_is_refused(self):
        with open(os.path.join(self.folder, "file"), "w") as file:
            self.check_refused(file, "not a Unix socket of sequential packets")

    def test_a_connection_is_refused(self):
        """That is what Accept=yes passes."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            self.check_refused(theirs, "does not listen (Accept=no is wanted)")

    def test_a_socket_that_does_not_listen_is_refused(self):
        self.check_refused(self.listener(), "does not listen")

    def test_an_abstract_socket_is_refused(self):
        listener = self.listener(path=f"\0varbos-test-{os.getpid()}")
        listener.listen(64)
        self.check_refused(listener, "has no place in the file system")

    def test_a_path_without_room_for_the_files_beside_it_is_refused(self):
        path = self.folder + "/" + "x" * (105 - len(self.folder))
        listener = self.listener(path=path)
        listener.listen(64)
        self.check_refused(listener, "path has 106 bytes, and 101 at most")

    def test_two_sockets_are_refused(self):
        listeners = [self.listener(), self.listener(path=self.path + "2")]
        for listener in listeners:
            listener.listen(64)
        self.refuses("2 descriptors were passed", env={"LISTEN_FDS": "2"},
                     own_pid=["LISTEN_PID"], fds=[listener.fileno() for listener in listeners])

    def test_a_descriptor_that_is_not_open_is_refused(self):
        self.refuses("what was passed is unclear", env=self.ENV, own_pid=["LISTEN_PID"])


if __name__ == "__main__":
    unittest.main()
