#!/usr/bin/python3
"""Configuration from outside: layers, what is wrong with them, printing, reloading.

The daemon is $VARBOSD. Files are in a folder of the test's own (--config-dir)."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import unittest

DAEMON = os.environ["VARBOSD"]
DEADLINE_S = 12


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="varbos-config-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.socket = self.path("sock")

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # At once: a daemon that reads meanwhile sees the old or the new.
        with open(path + "~", "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path + "~", mode)
        os.rename(path + "~", path)
        return path

    def environment(self, **more):
        kept = {k: v for k, v in os.environ.items()
                if not k.startswith("VARBOS_") or k == "VARBOS_MUTANT"}
        return {**kept, **more}

    def varbosd(self, *args, folder=True, cwd=None, **env):
        """Exit status, standard output, lines of standard error."""
        args = [*args] + (["--config-dir", self.folder] if folder else [])
        run = subprocess.run([DAEMON, *args], env=self.environment(**env), cwd=cwd, text=True,
                             capture_output=True, timeout=DEADLINE_S, errors="replace")
        return run.returncode, run.stdout, run.stderr.splitlines()

    def check(self, *args, **more):
        status, out, err = self.varbosd("--check-config", "--socket", self.socket, *args, **more)
        self.assertEqual(out, "")
        return status, err

    def printed(self, *args, **more):
        status, out, err = self.varbosd("--print-config", *args, **more)
        self.assertEqual(status, 0, err)
        return out

    def wrong(self, text, *said):
        """The file's text is refused, by these lines without the path before them."""
        path = self.write("varbosd.toml", text)
        status, err = self.check()
        self.assertEqual(status, 1)
        self.assertEqual([line.split(": error: ", 1)[1].replace(path + ":", "")
                          for line in err], list(said))


class Layers(Case):
    def test_later_layers_win_and_each_value_says_where_it_came_from(self):
        main = self.write("varbosd.toml", '[memory]\nsize = "32M"\npages = "4K"\n'
                          '[log]\nlevel = "error"\n[socket]\npath = "/run/a"\n')
        self.write("varbosd.toml.d/20-b.toml", 'socket.path = "/run/b"\nlog.level = "notice"\n')
        first = self.write("varbosd.toml.d/10-a.toml", 'socket.path = "/run/no"\n'
                           'memory.size = "34M"\n')
        self.write("varbosd.toml.d/30-not.toml.bak", "!")
        self.write("varbosd.toml.d/.30-not.toml", "!")
        own = self.write("own.toml", 'log.level = "warning"\n')
        out = self.printed("--config", own, "--socket=/run/flag", VARBOS_LOG_LEVEL="info")
        told = tomllib.loads(out)
        self.assertEqual(told["memory"]["size"], "34M")
        self.assertEqual(told["memory"]["pages"], "4K")
        self.assertEqual(told["log"]["level"], "info")
        self.assertEqual(told["socket"]["path"], "/run/flag")
        for line in (f'size = "34M" # {first}:2:15', f'pages = "4K" # {main}:3:9',
                     'level = "info" # VARBOS_LOG_LEVEL', 'path = "/run/flag" # --socket'):
            self.assertIn(line, out.splitlines())
        told = tomllib.loads(self.printed("--config", own))
        self.assertEqual(told["log"]["level"], "warning")
        self.assertEqual(told["socket"]["path"], "/run/b")

    def test_what_is_printed_means_the_same_when_it_is_read(self):
        name = self.write('odd "name" \n \x1b \udcff.toml'.encode(errors="surrogateescape")
                          .decode("latin-1"), 'socket.path = "/run/\\"q\\\\ é"\nmemory.size = 4194304\n')
        first = self.printed("--config", name, "--memory.pages", "4K")
        again = self.printed("--config", self.write("again", first), folder=False)
        self.assertEqual(tomllib.loads(first), tomllib.loads(again))
        self.assertEqual(tomllib.loads(first)["memory"]["size"], "4M")
        self.assertEqual(self.check("--config", self.path("again")), (0, []))
        self.assertNotIn("\x1b", first)
        again = again.replace(self.path("again"), "F")
        self.assertIn('pages = "4K" # F:6:9', again)

    def test_what_is_printed_contradicts_nothing(self):
        out = self.printed("--no-config", "--limits.connections=32", folder=False)
        self.assertIn("waiting = 32 # built-in", out.splitlines())
        self.write("varbosd.toml", out)
        self.assertEqual(self.check(), (0, []))

    def test_no_folder_is_read_with_a_lifeline_or_when_told_so(self):
        self.write("varbosd.toml", "!")
        self.assertEqual(self.check()[0], 1)
        self.assertEqual(self.check("--no-config", folder=False)[0], 0)
        self.assertEqual(self.varbosd("--print-config", "--socket=x", "--lifeline=0",
                                      folder=False, XDG_CONFIG_HOME=self.folder)[0], 0)

    def test_a_folder_that_was_named_is_there(self):
        status, out, err = self.varbosd("--check-config", "--socket=x", "--config-dir",
                                        self.path("typo"), folder=False)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err, [f"varbosd: error: {self.path('typo')}: No such file or directory"])
        status, _, err = self.varbosd("--check-config", "--config-dir", "", folder=False)
        self.assertEqual(status, 2)
        self.assertIn("--config-dir needs a folder; --no-config reads none", err[0])

    def test_what_stands_where_a_file_should_is_never_passed_over(self):
        os.symlink("nowhere", self.path("varbosd.toml"))
        self.write("varbosd.toml.d", "memory.size = '64M'\n")
        status, err = self.check()
        self.assertEqual(status, 1)
        self.assertEqual(err, [
            f"varbosd: error: {self.path('varbosd.toml')}: is a link to what is not there",
            f"varbosd: error: {self.path('varbosd.toml.d')}: Not a directory"])

    def test_what_could_not_be_printed_is_a_failure(self):
        for what in "--print-config", "--help", "--version":
            with open("/dev/full", "wb") as full:
                run = subprocess.run([DAEMON, what, "--no-config", "--socket=x"], stdout=full,
                                     stderr=subprocess.PIPE, env=self.environment(), text=True)
            self.assertEqual((run.returncode, run.stderr), (
                1, "varbosd: error: standard output: No space left on device\n"))

    @unittest.skipIf(os.geteuid(), "another uid is needed: this is for root")
    def test_an_ordinary_users_folder_is_that_users(self):
        os.chmod(self.folder, 0o755)
        self.write("varbos/varbosd.toml", 'memory.size = "6M"\n')
        for env in ({"XDG_CONFIG_HOME": self.folder}, {"HOME": self.folder + "/home"}):
            if "HOME" in env:
                os.renames(self.path("varbos"), self.path("home/.config/varbos"))
            run = subprocess.run([DAEMON, "--print-config"], user=65534, group=65534,
                                 extra_groups=[], cwd="/", text=True, capture_output=True,
                                 env={"XDG_RUNTIME_DIR": "/run/x", **env, "VARBOS_MUTANT":
                                      os.environ.get("VARBOS_MUTANT", "")})
            self.assertEqual(run.returncode, 0, run.stderr)
            told = tomllib.loads(run.stdout)
            self.assertEqual(told["memory"]["size"], "6M")
            self.assertEqual(told["socket"]["path"], "/run/x/varbos/varbos.sock")

    def test_the_environment_of_other_programs_is_left_alone(self):
        status, err = self.check(VARBOS_SEED="1", VARBOS_DEBUG="x", VARBOS_SIZ="4M")
        self.assertEqual(status, 0)
        self.assertEqual(err, ["varbosd: warning: VARBOS_SIZ is not a variable of varbosd; the "
                               "nearest is VARBOS_SIZE"])


class Wrong(Case):
    def test_an_unknown_key_is_named_with_its_place_and_the_nearest(self):
        self.wrong('[memory]\n  sise = "4M"\n[lgo]\nlevel = "info"\n',
                   "2:3: there is no key memory.sise; the nearest is memory.size",
                   "4:1: there is no key lgo.level; the nearest is log.level")
        self.wrong('size = "4M"\n[memory.size]\nx = 1\n[memry]\n',
                   "1:1: there is no key size; the nearest is memory.size",
                   "2:1: memory.size: a table given, a size from 2 MiB to 1 PiB, a multiple of "
                   "2 MiB is wanted",
                   "4:2: there is no section memry; the nearest is memory")

    def test_all_that_is_wrong_is_said_at_once(self):
        self.wrong('[memory]\nsize = -2097152\npages = 2\n[log]\nlevel = nan\n[socket]\n'
                   'path = ""\n',
                   "2:8: memory.size: -2097152 given, a size from 2 MiB to 1 PiB, a multiple of "
                   "2 MiB is wanted",
                   "3:9: memory.pages: 2 is none of auto, 4K, 2M, 1G",
                   "5:9: log.level: a number with a fraction, or none at all is none of error, "
                   "warning, notice, info",
                   "7:8: socket.path: a path of 1 to 101 bytes is wanted, this one has 0")

    def test_sizes_are_bytes_or_have_a_unit(self):
        good = self.write("varbosd.toml", "memory.size = 4194304\n")
        self.assertEqual(self.check(), (0, []))
        self.write("varbosd.toml", 'memory.size = "4MiB"\n')
        self.assertEqual(self.check(), (0, []))
        self.assertTrue(good)
        for text in '"4X"', '"-4M"', "4.0", "inf", "true", "[4194304]", "1979-05-27", "{}":
            with self.subTest(text):
                self.write("varbosd.toml", f"memory.size = {text}\n")
                status, err = self.check()
                self.assertEqual((status, len(err)), (1, 1))
                self.assertIn("varbosd.toml:1:15: memory.size: ", err[0])

    def test_a_doubled_key_and_bad_syntax_have_their_place(self):
        for text, place in (('[memory]\nsize = "4M"\nsize = "8M"\n', ":3:"),
                            ('[memory]\nsize = "4M\n', ":2:"), ("[log]\n[log]\n", ":2:"),
                            ("\0", ":1:"), (b"\xff\xfe", ":1:"), ("a = 1\r\rb", ":1:"),
                            # What toml++ did not think of.
                            ("[memory]\n\n[[[x]\n[log]\n", ":3:1: this line is no TOML"),
                            ("\nsocket.\u0249 = 1\n", ":2:")):
            with self.subTest(text):
                self.write("varbosd.toml", text)
                status, err = self.check()
                self.assertEqual((status, len(err)), (1, 1))
                self.assertIn("varbosd.toml" + place, err[0])

    def test_a_node_that_does_not_exist_is_told_with_those_that_do(self):
        status, err = self.check("--memory.nodes=0,63")
        self.assertEqual(status, 1)
        self.assertRegex(err[0], "memory.nodes: there is no node 63; there are 0")
        self.assertEqual(self.check("--memory.nodes=0:4M"), (0, []))
        status, _, err = self.varbosd("--socket", self.socket, "--memory.nodes=0:4M,63:2M")
        self.assertEqual(status, 1)
        self.assertRegex(err[-1], "memory.nodes: there is no node 63; there are 0")

    def test_depth_is_bounded(self):
        for text in ("[" + "a." * 100000 + "a]\n", "a=" + "[" * 100000, "a." * 20000 + "b=1",
                     "a=" + "{b=" * 50000, "a = [" + '{"x.y".b.c=[' * 2000):
            with self.subTest(text[:20]):
                self.write("varbosd.toml", text)
                status, err = self.check()
                self.assertEqual((status, len(err)), (1, 1))
        self.write("varbosd.toml", "# " + "." * 5000 + "\nsocket.path = '" + "." * 90 + "'\n")
        self.assertEqual(self.check("--memory.size=4M"), (0, []))

    def test_files_that_are_no_files_are_refused_and_cost_nothing(self):
        os.mkfifo(self.path("fifo"))
        huge = self.write("huge", "")
        os.truncate(huge, 1 << 30)
        for path, said in (("/dev/zero", "is not a plain file"), (self.path("fifo"), "plain file"),
                           (self.folder, "is a folder"), (huge, "is larger than 256 KiB"),
                           (self.path("missing"), "No such file"),
                           (self.write("open.toml", "", mode=0o666), "everybody may write")):
            with self.subTest(path):
                run = subprocess.run(
                    ["/bin/sh", "-c", 'ulimit -t 20; exec "$@"', "-", DAEMON, "--check-config",
                     "--socket=x", "--config", path], env=self.environment(),
                    capture_output=True, text=True, timeout=DEADLINE_S)
                self.assertEqual(run.returncode, 1)
                self.assertIn(f"error: {path}: ", run.stderr)
                self.assertIn(said, run.stderr)

    @unittest.skipIf(os.geteuid(), "another uid is needed: this is for root")
    def test_a_file_or_folder_that_cannot_be_read_is_an_error(self):
        os.chmod(self.folder, 0o755)
        for name in "varbosd.toml", "varbosd.toml.d/a.toml":
            os.chmod(self.write(name, ""), 0)
        for _ in range(2):
            run = subprocess.run([DAEMON, "--check-config", "--socket=x", "--config-dir",
                                  self.folder], user=65534, group=65534, extra_groups=[], cwd="/",
                                 capture_output=True, text=True, env={})
            self.assertEqual(run.returncode, 1)
            self.assertEqual(run.stderr.count("Permission denied"), 2, run.stderr)
            os.chmod(self.path("varbosd.toml.d"), 0)

    def test_what_contradicts_is_said_with_both_files(self):
        main = self.write("varbosd.toml", "[limits]\nconnections = 32\n")
        more = self.write("varbosd.toml.d/more.toml", "limits.waiting = 100\n")
        said = (f"varbosd: error: {more}:1:18: limits.waiting = 100 contradicts "
                f"limits.connections = 32 ({main}:2:15): whoever has not said hello is connected, "
                "too; at most 32 is right, or more of the other")
        self.assertEqual(self.check(), (1, [said]))
        self.assertEqual(self.varbosd("--socket", self.socket), (2, "", [said]))
        self.assertFalse(os.path.exists(self.socket))
        self.assertEqual(self.check("--limits.waiting=32"), (0, []))

    def test_two_files_or_folders_where_one_is_read_are_refused(self):
        for args, said in ((["--config", "a", "--config=b"], "--config is a or b, not both"),
                           (["--config-dir", "a", "--config-dir", "b"],
                            "--config-dir is a or b, not both"),
                           (["--no-config", "--config-dir", "a"],
                            "--no-config and --config-dir a contradict each other"),
                           (["--config-dir", "a", "--no-config"], "contradict each other")):
            with self.subTest(args):
                status, out, err = self.varbosd(*args, folder=False)
                self.assertEqual((status, out, len(err)), (2, "", 1))
                self.assertIn(said, err[0])

    def test_a_daemon_does_not_start_with_a_wrong_configuration(self):
        self.write("varbosd.toml", "memory.size = 1\n")
        status, out, err = self.varbosd("--socket", self.socket)
        self.assertEqual((status, out, len(err)), (2, "", 1))
        self.assertFalse(os.path.exists(self.socket))

    def test_nothing_is_printed_of_a_wrong_configuration(self):
        self.write("varbosd.toml", "memory.size = 1\n")
        status, out, err = self.varbosd("--print-config")
        self.assertEqual((status, out, len(err)), (1, "", 1))

    def test_a_flag_has_its_whole_name_and_its_value(self):
        for args, said in ((["--memory.siz=4M"], "the nearest is --memory.size"),
                           (["--siz=4M"], "the nearest is --size"),
                           (["--check-confg"], "the nearest is --check-config"),
                           (["--size"], "--size needs a value"),
                           (["--version=1"], "--version takes no value"),
                           (["size=4M"], "unexpected argument 'size=4M'")):
            status, out, err = self.varbosd(*args, folder=False)
            self.assertEqual((status, out), (2, ""))
            self.assertIn(said, err[0])


class Serving(Case):
    def environment(self, **more):
        # What the machine's pool has is what another test has borrowed.
        return super().environment(**{"VARBOS_MEMORY_PAGES": "4K", **more})

    def start(self, *args, **env):
        self.log = self.path("log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [DAEMON, "--socket", self.socket, "--config-dir", self.folder, *args],
                stderr=log, env=self.environment(**env))
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        self.await_log("serving ")

    def lines(self):
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read().splitlines()

    def await_log(self, part, after=0):
        deadline = time.monotonic() + DEADLINE_S
        while not any(part in line for line in self.lines()[after:]):
            self.assertIsNone(self.process.poll(), self.lines())
            self.assertLess(time.monotonic(), deadline, f"no '{part}' in {self.lines()}")
            time.sleep(0.02)

    def reload(self, ends_with):
        before = len(self.lines())
        self.process.send_signal(signal.SIGHUP)
        self.await_log(ends_with, before)
        return self.lines()[before:]

    def test_a_reload_changes_what_can_change_and_says_what_cannot(self):
        path = self.write("varbosd.toml", 'memory.size = "8M"\n')
        self.start("--memory.pages=4K")
        self.write("varbosd.toml", '[memory]\nsize = "16M"\n[log]\nlevel = "notice"\n')
        self.assertEqual(self.reload("reloaded: "), [
            f'varbosd: warning: memory.size cannot change while running: "8M" is kept, not "16M" '
            f"({path}:2:8)",
            f'varbosd: notice: log.level: "info" -> "notice" ({path}:4:9)',
            "varbosd: notice: reloaded: 1 changed, 1 kept"])
        # What was kept is told again, what has changed is not.
        self.assertEqual(len(self.reload("reloaded: 0 changed, 1 kept")), 2)
        self.write("varbosd.toml", 'memory.size = "8M"\n')
        self.assertIn('"notice" -> "info" (built-in)', self.reload("reloaded: 1 changed, 0 kept")[0])

    def test_a_level_hides_what_is_less_urgent(self):
        self.write("varbosd.toml", 'log.level = "info"\n')
        self.start("--memory.size=8M")
        self.write("varbosd.toml", 'log.level = "error"\n')
        self.process.send_signal(signal.SIGHUP)
        self.await_log('"info" -> "error"')
        self.process.send_signal(signal.SIGHUP)
        self.process.terminate()
        self.assertEqual(self.process.wait(DEADLINE_S), 0)
        self.assertFalse([line for line in self.lines() if "ending" in line])

    def test_a_bad_file_changes_nothing_and_says_so(self):
        path = self.write("varbosd.toml", 'log.level = "info"\n')
        self.start("--memory.size=8M")
        self.write("varbosd.toml.d/b.toml", 'log.level = "error"\nmemory.size = 5\n')
        said = self.reload("stays as it was")
        self.assertEqual(len(said), 2)
        self.assertIn("b.toml:2:15: memory.size: 5 given", said[0])
        self.assertIn("reload: the configuration stays as it was: 1 thing is wrong", said[1])
        os.unlink(self.path("varbosd.toml.d/b.toml"))
        os.unlink(path)
        os.mkdir(path)
        self.assertIn("is a folder", self.reload("stays as it was")[0])
        os.rmdir(path)
        self.reload("reloaded: 0 changed, 0 kept")

    def test_what_contradicts_changes_nothing(self):
        path = self.write("varbosd.toml", "limits.connections = 32\n")
        self.start("--memory.size=8M")
        self.write("varbosd.toml", 'log.level = "notice"\n[limits]\nconnections = 50\n'
                   "waiting = 51\n")
        said = self.reload("stays as it was")
        self.assertEqual(len(said), 2)
        self.assertIn(f"{path}:4:11: limits.waiting = 51 contradicts limits.connections = 50 "
                      f"({path}:3:15)", said[0])
        self.write("varbosd.toml", "limits.connections = 32\n")
        self.reload("reloaded: 0 changed, 0 kept")

    def test_many_reloads_at_once_end_with_the_last_file(self):
        self.start("--memory.size=8M")
        for i in range(50):
            self.write("varbosd.toml", 'log.level = "%s"\n' % ("info", "notice")[i % 2])
            self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + DEADLINE_S
        while not [line for line in self.lines() if "log.level" in line][-1:] or \
                '-> "notice"' not in [line for line in self.lines() if "log.level" in line][-1]:
            self.assertLess(time.monotonic(), deadline, self.lines())
            time.sleep(0.02)
        self.process.terminate()
        self.assertEqual(self.process.wait(DEADLINE_S), 0)

    def test_lines_are_for_the_journal_only_if_standard_error_is_it(self):
        self.start("--memory.size=8M", JOURNAL_STREAM="1:2")
        self.assertTrue(self.lines()[-1].startswith("varbosd: info: "))
        self.process.terminate()
        self.process.wait(DEADLINE_S)
        with open(self.log, "wb") as log:
            info = os.fstat(log.fileno())
            self.process = subprocess.Popen(
                [DAEMON, "--socket", self.socket, "--no-config", "--memory.size=8M"], stderr=log,
                env=self.environment(JOURNAL_STREAM=f"{info.st_dev}:{info.st_ino}"))
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        self.await_log("serving ")
        for line in self.lines():
            self.assertRegex(line, r"^<[3-6]>[^<]")

    def test_without_its_terminal_it_ends_and_with_nohup_it_does_not(self):
        for ignores in False, True:
            self.log = self.path("log-nohup" if ignores else "log")
            pid, terminal = pty.fork()
            if not pid:
                if ignores:
                    signal.signal(signal.SIGHUP, signal.SIG_IGN)
                log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(log, 2)
                os.execve(DAEMON, [DAEMON, "--socket", self.socket, "--no-config",
                                   "--memory.size=8M"], self.environment())
            try:
                self.process = subprocess.Popen(["/bin/true"])  # what await_log() looks at
                self.process.poll = lambda: None
                self.await_log("serving ")
                os.kill(pid, signal.SIGHUP)
                self.await_log("reloaded: 0 changed")
                seen = len(self.lines())
                os.close(terminal)
                if ignores:
                    self.await_log("reloaded: 0 changed", seen)
                    os.kill(pid, signal.SIGTERM)
            finally:
                deadline = time.monotonic() + DEADLINE_S
                while os.waitpid(pid, os.WNOHANG) == (0, 0):
                    if time.monotonic() > deadline:
                        os.kill(pid, signal.SIGKILL)
                    time.sleep(0.02)
                self.process.wait()
            self.assertIn("ending: " + ("SIGTERM" if ignores else "its terminal is gone"),
                          self.lines()[-1])


class Manual(Case):
    """What is made of the table for people: checked against what the daemon itself says."""

    def keys(self):
        told = tomllib.loads(self.printed(VARBOS_SOCKET="/x"))
        return [(section, key) for section in told for key in told[section]]

    def test_the_example_is_the_defaults_commented_out(self):
        with open(os.environ["CONFIG_EXAMPLE"], encoding="utf-8") as file:
            example = file.read()
        self.assertEqual(sum(map(len, tomllib.loads(example).values())), 0)
        shown = tomllib.loads(re.sub(r"(?m)^#(?=\w)", "", example))
        told = tomllib.loads(self.printed("--no-config", folder=False))
        for section, key in self.keys():
            if key in shown[section]:
                self.assertEqual(shown[section][key], told[section][key])
            else:
                self.assertIn(f"\n## {key} = ...\n", example)
        self.write("varbosd.toml", re.sub(r"(?m)^#(?=\w)", "", example))
        self.assertEqual(self.check(), (0, []))

    def test_the_manual_page_has_every_key_in_its_section(self):
        with open(os.environ["CONFIG_MAN"], encoding="utf-8") as file:
            sections = dict(re.findall(r"(?ms)^\.Sh The section (\w+)\n(.*?)(?=^\.Sh)", file.read()))
        for section, key in self.keys():
            self.assertIn(f".It Sy {key}\n", sections[section])
        self.assertEqual(len(self.keys()), sum(map(lambda s: s.count(".It Sy "), sections.values())))

    def test_the_help_has_every_key(self):
        out = self.varbosd("--help", folder=False)[1]
        for section, key in self.keys():
            self.assertIn(f"\n  --{section}.{key}\n", out)

    def test_the_help_keeps_its_margins(self):
        for line in self.varbosd("--help", folder=False)[1].splitlines():
            self.assertEqual(line, line.rstrip())
            if line.startswith(18 * " "):
                self.assertLessEqual(len(line), 88)
                self.assertNotIn("  ", line.lstrip())


class Version(Case):
    def test_it_names_build_protocol_and_layout(self):
        status, out, _ = self.varbosd("--version", folder=False)
        self.assertEqual(status, 0)
        self.assertRegex(out, r"^varbosd \d+\.\d+\.\d+ \(protocol \d+, layout \d+\)\n"
                              r"built from \S+ by (gcc|clang) \d+\.[^,]+, \w+.*\n$")


if __name__ == "__main__":
    # Who starts this under nohup does not mean the daemons: they inherit what is ignored.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    sys.stdout = sys.stderr
    unittest.main(verbosity=2)
