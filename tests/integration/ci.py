#!/usr/bin/python3
"""What counts as failed: .ci/run over a `./dev` of this test's, and those that count for `./dev`."""

import contextlib
import os
import pwd
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TOP = os.path.abspath(sys.argv.pop(1))
DEADLINE_S = 60
STAGES = ["default", "asan", "tsan", "clang", "lint", "container", "trixie", "vm", "fresh",
          "mutants"]


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="varbos-ci-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)
        return path

    def say(self, *command, text="", env=None):
        run = subprocess.run(command, input=text, env=env, text=True, timeout=DEADLINE_S,
                             capture_output=True, check=False)
        return run.returncode, run.stdout, run.stderr


class Run(Case):
    def ci(self, stage="", other="echo 2 passed, 0 failed"):
        """.ci/run beside a dev that does `stage` for vm and `other` for all else."""
        os.makedirs(os.path.join(self.folder, ".ci"), exist_ok=True)
        path = os.path.join(self.folder, ".ci/run")
        shutil.copy(os.path.join(TOP, ".ci/run"), path)
        self.write("dev", f'#!/bin/bash\nif [[ ${{2:-}} == vm ]]; then {stage or other}; '
                          f'else {other}; fi\n')
        return path

    def ends(self, stage, passed, failed, status):
        """`passed` of the stage vm; each other one has two."""
        last = f"{2 * (len(STAGES) - 1) + passed} passed, {failed} failed"
        found, out, _ = self.say(self.ci(stage))
        self.assertEqual((out.splitlines()[-1], found), (last, status))
        return out

    def test_all_that_passed_has_passed(self):
        out = self.ends("", 2, 0, 0)
        self.assertEqual([line.split()[0] for line in out.splitlines()[-len(STAGES) - 1:-1]], STAGES)

    def test_a_failure_of_one_stage_is_one_of_the_whole(self):
        self.ends("echo 1 passed, 3 failed; exit 1", 1, 3, 1)

    def test_what_is_skipped_has_failed(self):
        self.ends("echo 4 skipped: each is named above; echo 1 passed, 0 failed", 1, 4, 1)

    def test_a_stage_that_dies_has_failed(self):
        self.ends("kill -KILL $$", 0, 1, 1)
        self.ends("exit 0", 0, 1, 1)
        self.ends("echo 5 passed, 0 failed; kill -KILL $$", 5, 1, 1)

    def kill(self, pids):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def test_its_stages_end_with_it(self):
        pids = os.path.join(self.folder, "pids")
        run = subprocess.Popen(
            [self.ci(other=f"echo $$ >{pids}~; (echo $BASHPID >>{pids}~; mv {pids}~ {pids}; exec sleep 1000)")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE_S
        while not os.path.exists(pids):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        with open(pids, encoding="utf-8") as file:
            started = [int(line) for line in file]
        self.addCleanup(self.kill, started)
        run.send_signal(signal.SIGTERM)
        self.assertEqual(run.wait(DEADLINE_S), 143)
        for pid in started:
            while os.path.exists(f"/proc/{pid}"):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.02)


class Tally(Case):
    def tally(self, log, names):
        path = self.write("log.json", log)
        return self.say(os.path.join(TOP, "tests/tally.py"), path, "unit", text=names)

    def test_a_test_that_was_never_run_has_failed(self):
        one = '{"name": "varbos:unit / one", "result": "OK"}\n'
        names = "varbos:unit / one\nvarbos:unit / two\n"
        self.assertEqual(self.tally(one, names)[1:], ("1 1 0\n", "varbos:unit / two: was not run\n"))
        self.assertEqual(self.tally(one + one.replace("one", "two"), names)[1:], ("2 0 0\n", ""))
        self.assertEqual(self.tally("", "")[1], "0 1 0\n")


class Tap(Case):
    def tap(self, log, status=0):
        path = self.write("log", log)
        return self.say(os.path.join(TOP, "tests/tap.py"), path, "vm", str(status))[1]

    def test_what_a_suite_did_not_come_to_has_failed(self):
        good = "# machine: one\n1..2\nok 1 - a\nok 2 - b\n"
        self.assertEqual(self.tap(good), "2 0 0\n")
        self.assertEqual(self.tap(good, 1), "2 1 0\n")
        self.assertEqual(self.tap(good + "# machine: two\n"), "2 1 0\n")
        self.assertEqual(self.tap(good + "# machine: two\n1..1\n"), "2 1 0\n")
        self.assertEqual(self.tap(good + "# machine: two\n1..1\nnot ok 1 - c\n", 1), "2 1 0\n")
        self.assertEqual(self.tap(good + "# machine: two\n1..1\nok 1 - c # SKIP no\n"), "2 0 1\n")
        self.assertEqual(self.tap(""), "0 1 0\n")


class Mutants(Case):
    def run_one(self, script):
        runner = runpy.run_path(os.path.join(TOP, "tests/mutants-runner"))
        program = self.write("program", f"#!/bin/bash\nexec 9>$CK_TAP_LOG_FILE_NAME\n{script}\n")
        return runner["run"]({"cmd": [program], "env": {"A": "b"}}, "name")[:3]

    def test_a_program_is_ended_by_its_first_test_that_fails(self):
        self.assertEqual(self.run_one("""
            echo "ok 1 - ../a.c:some tests:good: Passed" >&9
            echo "not ok 2 - ../a.c:some tests:bad: Assertion '0' failed" >&9
            exec sleep 1000"""), ("failed", "bad", ""))

    def test_a_program_that_ends_says_itself_how(self):
        self.assertEqual(self.run_one("echo $VARBOS_MUTANT $A"), ("passed", "", "name b\n"))
        self.assertEqual(self.run_one("exec 9>&-; sleep 0.1; exit 1"), ("failed", "", ""))
        self.assertEqual(self.run_one("kill -SEGV $$"), ("failed", "", ""))


class Surroundings(Case):
    def sh(self, script, *arguments, **env):
        return self.say("bash", "-euc", f". {TOP}/tests/vm/debian.sh; {script}", "sh", *arguments,
                        env={"PATH": os.environ["PATH"], **env})

    def test_without_a_home_the_images_are_in_that_of_the_user(self):
        status, out, err = self.sh("echo $VM_CACHE")
        self.assertEqual((status, err), (0, ""))
        home = pwd.getpwuid(os.geteuid()).pw_dir
        self.assertEqual(out.strip(), os.path.join(home, ".cache/varbos-vm"))

    def test_a_tree_of_somebody_else_is_cloned(self):
        if os.geteuid():
            print("SKIPPED: a tree of another owner needs root", file=sys.stderr)
            return
        tree = os.path.join(self.folder, "tree")
        for command in (["init", "--quiet", tree],
                        ["-C", tree, "-c", "user.name=a", "-c", "user.email=a@b", "commit",
                         "--quiet", "--allow-empty", "-m", "one"]):
            subprocess.run(["git", *command], check=True)
        for folder, _, names in os.walk(tree):
            for name in (folder, *(os.path.join(folder, name) for name in names)):
                os.chown(name, 65534, 65534)
        self.assertIn("dubious ownership", self.say("git", "clone", tree, tree + "1")[2])
        status, _, err = self.sh('clone_tree "$1" "$2"', tree, tree + "2", HOME=self.folder)
        self.assertEqual((status, err), (0, ""))


if __name__ == "__main__":
    sys.stdout = sys.stderr
    unittest.main(verbosity=2)
