#!/usr/bin/python3
"""varbosctl sim from outside: files and pipes, text and JSON, curves, and how it refuses.

The tool is $VARBOSCTL, the tree $VARBOS_SOURCE. There is no daemon."""

import json
import lzma
import os
import pty
import random
import resource
import select
import shlex
import signal
import struct
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree

CTL = os.environ["VARBOSCTL"]
SOURCE = os.environ["VARBOS_SOURCE"]
DEADLINE_S = 60
POLICIES = ["s3fifo", "lru", "lfu", "fifo", "clock", "sieve", "2q", "wtinylfu", "gdsf"]
KEYS = ["policy", "capacity", "requests", "misses", "miss_ratio", "byte_miss_ratio"]


def numbers(count, below, seed=1):
    """Keys of which small ones are frequent."""
    chance = random.Random(seed)
    return [int(below * chance.random() ** 3) for _ in range(count)]


def u32be(keys):
    return struct.pack(f">{len(keys)}I", *keys)


def sim(*args, stdin=b"", before=None):
    """Run it; (status, stdout, stderr)."""
    done = subprocess.run([CTL, "sim", *args], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=DEADLINE_S, preexec_fn=before)
    return done.returncode, done.stdout.decode("ascii"), done.stderr.decode("ascii")


def available():
    """Bytes of memory"""
    with open("/proc/meminfo", encoding="ascii") as file:
        kib, = (line.split()[1] for line in file if line.startswith("MemAvailable:"))
    return int(kib) * 1024


def lru(keys, capacity):
    held, misses = {}, 0
    for key in keys:
        misses += key not in held
        held.pop(key, None)
        held[key] = True
        if len(held) > capacity:
            del held[next(iter(held))]
    return misses


class Sim(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="varbos-sim-")
        self.addCleanup(self.folder.cleanup)

    def file(self, name, data):
        path = os.path.join(self.folder.name, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    @staticmethod
    def all_of(terminal):
        """What it still has to show, whose other side is closed: it comes in pieces."""
        said = b""
        try:
            while more := os.read(terminal, 65536):
                said += more
        except OSError:
            pass
        os.close(terminal)
        return said

    def rows(self, *args, **how):
        status, out, err = sim(*args, "--json", **how)
        self.assertEqual((status, err), (0, ""))
        rows = [json.loads(line) for line in out.splitlines()]
        for row in rows:
            self.assertEqual(list(row), KEYS)
        return rows

    def refused(self, status, *args, say, **how):
        got, out, err = sim(*args, **how)
        self.assertEqual((got, out), (status, ""), err)
        self.assertEqual(err.count("\n"), 1, err)
        for word in say:
            self.assertIn(word, err)

    def test_each_policy_at_each_capacity_is_a_line_of_json(self):
        keys = numbers(5000, 1000)
        distinct = len(set(keys))
        path = self.file("trace", u32be(keys))
        rows = self.rows("--format", "u32be", "--capacity", "30,10%", path)
        self.assertEqual([row["policy"] for row in rows], POLICIES * 2)
        self.assertEqual([row["capacity"] for row in rows], [30] * 9 + [distinct // 10] * 9)
        for row in rows:
            self.assertEqual(row["requests"], 5000)
            self.assertAlmostEqual(row["miss_ratio"], row["misses"] / 5000, places=8)
            self.assertEqual(row["miss_ratio"], row["byte_miss_ratio"])
        self.assertEqual(rows[1]["misses"], lru(keys, 30))
        self.assertEqual(rows[10]["misses"], lru(keys, distinct // 10))

    def test_a_pipe_a_redirection_and_a_file_give_the_same(self):
        data = u32be(numbers(30000, 3000))
        path = self.file("trace", data)
        for more in ["--capacity=100"], ["--capacity=1%,10%", "--belady"], ["--curve"]:
            args = ["--format=u32be", *more]
            of_file = self.rows(*args, path)
            self.assertEqual(self.rows(*args, "-", stdin=data), of_file)
            with open(path, "rb") as file:
                done = subprocess.run([CTL, "sim", *args, "--json", "-"], stdin=file,
                                      stdout=subprocess.PIPE, timeout=DEADLINE_S, check=True)
            self.assertEqual([json.loads(line) for line in done.stdout.splitlines()], of_file)

    def test_all_formats_of_one_trace_give_the_same(self):
        keys = numbers(5000, 800)
        data = {
            "u32be": u32be(keys),
            "u64be": struct.pack(f">{len(keys)}Q", *keys),
            "lines": b"".join(b"%d\n" % key for key in keys),
            "oracleGeneral": b"".join(struct.pack("<IQIq", i // 9, key, 100, -1)
                                      for i, key in enumerate(keys)),
        }
        wanted = None
        for name, trace in data.items():
            rows = self.rows("--format", name, "--capacity=5%", "-", "--belady", stdin=trace)
            for row in rows: # what depends on hashes differs in details between lines and others
                if name == "lines" and row["policy"] in ("s3fifo", "2q", "wtinylfu"):
                    row.clear()
            wanted = wanted or rows
            self.assertEqual(len(rows), len(wanted))
            for row, other in zip(rows, wanted):
                self.assertIn(row, ({}, other))

    def test_bytes_count_what_objects_take(self):
        # a is asked for more often, b is larger: 2 of 5 requests miss, and 110 of 140 bytes.
        data = b"a,10\nb,100\na,10\na,10\na,10\n"
        row, = self.rows("--format=lines", "--bytes", "--capacity=1K", "--policy=lru", "-",
                         stdin=data)
        self.assertEqual((row["capacity"], row["misses"]), (1024, 2))
        self.assertAlmostEqual(row["miss_ratio"], 2 / 5)
        self.assertAlmostEqual(row["byte_miss_ratio"], 110 / 140, places=8)
        row, = self.rows("--format=lines", "--bytes", "--capacity=50%", "--policy=lru", "-",
                         stdin=data)
        self.assertEqual((row["capacity"], row["misses"]), (55, 2)) # b never comes in
        row, = self.rows("--format=lines", "--bytes", "--capacity=109", "--policy=lru", "-",
                         stdin=data)
        self.assertEqual(row["misses"], 3) # b takes a's place, and a takes b's

    def test_without_policy_and_capacity_it_is_all_at_a_tenth(self):
        rows = self.rows("--format=lines", "-", stdin=b"".join(b"%d\n" % i for i in range(50)))
        self.assertEqual([(row["policy"], row["capacity"]) for row in rows],
                         [(name, 5) for name in POLICIES])

    def test_in_a_pipe_it_is_a_table_between_tabs(self):
        status, out, _ = sim("--format=u32be", "--policy=lru,fifo", "--capacity=2", "-",
                             stdin=u32be([1, 2, 1, 3, 1, 2]))
        self.assertEqual(status, 0)
        self.assertEqual(out.splitlines(), [
            "POLICY\tCAPACITY\tREQUESTS\tMISSES\tMISS\tBYTE MISS",
            "lru\t2\t6\t4\t0.666666667\t0.666666667",
            "fifo\t2\t6\t5\t0.833333333\t0.833333333"])

    def test_on_a_terminal_it_is_what_the_README_shows(self):
        with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as file:
            blocks = file.read().split("```")[1::2]
        block, = (block for block in blocks if "varbosctl sim" in block)
        command, wanted = block.strip().split("\n", 1)
        self.assertTrue(command.startswith("$ xz -dc "), command)
        words = shlex.split(command)
        with lzma.open(os.path.join(SOURCE, words[3])) as file:
            trace = file.read()
        main, side = pty.openpty()
        subprocess.run([CTL, *words[words.index("sim"):]], input=trace, stdout=side,
                       env=dict(os.environ, TERM="dumb"), timeout=DEADLINE_S, check=True)
        os.close(side)
        said = self.all_of(main).decode("ascii").replace("\r\n", "\n")
        self.assertEqual(said, wanted + "\n")

    def test_a_curve_is_ten_capacities_a_plot_and_a_drawing(self):
        keys = numbers(40000, 4000)
        path, svg = self.file("a<b&c", u32be(keys)), os.path.join(self.folder.name, "curve.svg")
        status, out, err = sim("--format=u32be", "--curve", "--belady", "--svg", svg, path)
        self.assertEqual(status, 0)
        self.assertEqual(err, f"varbosctl: the curve is drawn in {svg}\n")
        table, plot = out.split("\n\n", 1)
        self.assertEqual(len(table.splitlines()), 1 + 10 * 10)
        shares = [len(set(keys)) * share // 1000
                  for share in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)]
        self.assertEqual(plot.split("\n  ")[-2].split(), [str(share) for share in shares])
        self.assertLess(max(len(line) for line in plot.splitlines()), 77)
        self.assertIn("L lru", plot)

        root = xml.etree.ElementTree.parse(svg).getroot()
        space = "{http://www.w3.org/2000/svg}"
        self.assertEqual(root.tag, space + "svg")
        self.assertEqual(len(root.findall(f".//{space}polyline")), 10)
        texts = [text.text for text in root.iter(space + "text")]
        for word in ["a<b&c, 40000 requests", "miss ratio", "belady", str(shares[4])]:
            self.assertIn(word, texts)
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["a<b&c", "curve.svg"])
        self.assertEqual(os.stat(svg).st_mode & 0o777, os.stat(path).st_mode & 0o777)

    def test_a_curve_of_few_keys_has_fewer_points(self):
        rows = self.rows("--format=lines", "--curve", "--policy=lru", "-", stdin=b"a\nb\na\n")
        self.assertEqual([row["capacity"] for row in rows], [1, 2])
        status, out, _ = sim("--format=lines", "--curve", "-", stdin=b"a\n")
        self.assertEqual(status, 0)
        self.assertIn("1.0 + SLFIC+", out)

    def test_a_drawing_that_cannot_be_is_refused_before_the_work(self):
        self.refused(1, "--format=u32be", "--curve", "--svg=/nowhere/x.svg", "-", stdin=b"bad",
                     say=["--svg /nowhere/x.svg", "No such file"])
        self.refused(1, "--format=u32be", "--curve", "--svg", self.folder.name, "-",
                     say=["Is a directory"])
        self.assertEqual(os.listdir(self.folder.name), [])

    def test_what_is_no_trace_is_refused_with_its_position(self):
        bad = self.file("bad", b"a,1\nb,x\n")
        self.refused(1, "--format=lines", bad, say=[bad + ": line 2, column 3: this is no digit"])
        for more in [], ["--capacity=5"]: # found in the survey, and in the replay
            self.refused(1, "--format=u64be", "-", *more, stdin=b"12345678abc",
                         say=["standard input: record 2, at byte 8: it ends after 3 of its 8"])
            self.refused(1, "--format=lines", "-", *more, say=["standard input: there are no requests in it"])
        packed = self.file("trace.xz", b"\xfd7zXZ\0\0\4....")
        self.refused(1, "--format=u32be", packed, say=[f"xz -dc {packed} | varbosctl sim ... -"])
        with open(packed, "rb") as file:
            self.refused(1, "--format=u32be", "-", stdin=file.read(), say=['"xz -dc |" before'])

    def test_a_file_that_cannot_be_read_is_refused(self):
        self.refused(3, "--format=u32be", "/nowhere/trace", say=["/nowhere/trace: No such file"])
        self.refused(2, "--format=u32be", self.folder.name, say=["it is a folder"])
        if os.geteuid():
            path = self.file("closed", b"1234")
            os.chmod(path, 0)
            self.refused(5, "--format=u32be", path, say=["Permission denied"])

    def test_a_command_line_without_sense_is_refused(self):
        for args, say in (
                (["-"], ["--format: u32be, u64be, lines or oracleGeneral"]),
                (["--format=oraclegeneral", "-"], ['nearest is "oracleGeneral"']),
                (["--format=oracle", "-"], ['nearest is "oracleGeneral"']),
                (["--format=line", "-"], ['nearest is "lines"']),
                (["--format=lines", "--policy=s3", "-"], ['nearest is "s3fifo"']),
                (["--format=lines", "--policy=lruu", "-"], ['no policy "lruu"', '"lru"']),
                (["--format=lines", "--policy=lru,lru", "-"], ["lru is named twice"]),
                (["--format=lines", "--policy=lru,,fifo", "-"], ['"" is no name']),
                (["--format=lines", "--capacity=0", "-"], ['"0" is not a number of objects']),
                (["--format=lines", "--capacity=5,", "-"], ['"" is not a capacity']),
                (["--format=lines", "--capacity=64M", "-"], ["sizes go with --bytes"]),
                (["--format=lines", "--capacity=101%", "-"], ["up to 100%"]),
                (["--format=lines", "--capacity=7,07", "-"], ["07 is said twice"]),
                (["--format=lines", "--capacity=" + ",".join(map(str, range(1, 34))), "-"],
                 ["more than 32"]),
                (["--format=lines", "--bytes", "--capacity=0M", "-"], ["a size (64M, 2GiB)"]),
                (["--format=u32be", "--bytes", "-"], ["u32be has no sizes"]),
                (["--format=lines", "--curve", "--capacity=5", "-"], ["leave out --capacity"]),
                (["--format=lines", "--svg=x", "-"], ["--svg goes with --curve"]),
                (["--format=lines"], ["sim needs FILE"])):
            self.refused(2, *args, say=say)

    def test_a_terminal_is_not_waited_for(self):
        main, side = pty.openpty()
        done = subprocess.run([CTL, "sim", "--format=u32be", "-"], stdin=side,
                              stderr=subprocess.PIPE, timeout=DEADLINE_S, check=False)
        os.close(main)
        os.close(side)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"standard input: it is a terminal", done.stderr)

    @unittest.skipIf(os.environ.get("VARBOS_SANITIZED"), "its shadow is beyond any limit")
    def test_too_little_memory_is_an_answer(self):
        def little():
            resource.setrlimit(resource.RLIMIT_AS, (64 << 20, 64 << 20))

        data = struct.pack(">2000000I", *range(2000000))
        for more in "--capacity=10%", "--capacity=1500000":
            self.refused(6, "--format=u32be", "--policy=lru", more, "-", stdin=data,
                         before=little, say=["sim: out of memory; it takes at most half"])

    @unittest.skipIf(os.environ.get("VARBOS_SANITIZED"), "its shadow is beyond any limit")
    def test_what_a_pipe_brings_counts_as_memory(self):
        # Half of what is available; and for a pipe that is read twice, half of that is kept.
        for more, most in ("--capacity=9", 0.6), ("--capacity=10%", 0.35):
            before = available()
            process = subprocess.Popen([CTL, "sim", "--format=u32be", more, "-"],
                                       stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            process.stdin.write(u32be(range(40000))) # more than a pipe holds: it reads
            process.stdin.flush()
            with open(f"/proc/{process.pid}/limits", encoding="ascii") as file:
                limit, = (line.split()[3] for line in file if "address space" in line)
            process.communicate(timeout=DEADLINE_S)
            self.assertEqual(process.returncode, 0)
            self.assertLess(int(limit), most * max(before, available()) + (64 << 20))

    def test_a_long_one_tells_a_terminal_how_far_it_has_come(self):
        main, side = pty.openpty()
        process = subprocess.Popen([CTL, "sim", "--format=u32be", "--capacity=9", "--json", "-"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=side)
        os.close(side)
        said, deadline = b"", time.monotonic() + DEADLINE_S
        while b"M/s" not in said and time.monotonic() < deadline:
            process.stdin.write(u32be(range(1000)))
            process.stdin.flush()
            if select.select([main], [], [], 0.05)[0]:
                said += os.read(main, 4096)
        out, _ = process.communicate(timeout=DEADLINE_S)
        said += self.all_of(main)
        self.assertRegex(said, rb"\rreplaying: [0-9.]+ M requests, [0-9.]+ M/s\x1b\[K")
        self.assertTrue(said.endswith(b"\r\x1b[K"), said)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(len(out.splitlines()), len(POLICIES))

    def test_a_signal_ends_it_and_nothing_is_printed(self):
        svg = os.path.join(self.folder.name, "x.svg")
        for number in signal.SIGINT, signal.SIGTERM:
            process = subprocess.Popen(
                [CTL, "sim", "--format=u32be", "--curve", "--svg", svg, "-"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            process.stdin.write(u32be(range(40000))) # more than a pipe holds: it reads
            process.stdin.flush()
            process.send_signal(number)
            process.wait(DEADLINE_S)
            process.stdin.close()
            self.assertEqual(process.returncode, -number)
            self.assertEqual(process.stdout.read() + process.stderr.read(), b"")
            process.stdout.close()
            process.stderr.close()
        self.assertEqual(os.listdir(self.folder.name), [])


if __name__ == "__main__":
    unittest.main()
