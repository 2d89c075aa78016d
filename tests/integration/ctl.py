#!/usr/bin/python3
"""varbosctl from outside: every verb, every exit status, on a terminal, in a pipe, as JSON.

The daemon is $VARBOSD, the tool $VARBOSCTL. A second, fake daemon answers with what a real one
says rarely."""

import json
import mmap
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import msgpack

CTL = os.environ["VARBOSCTL"]
DAEMON = os.environ["VARBOSD"]
ERRORS_DEF = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../proto/errors.def")
DEADLINE_S = 30
REGION = 512 << 20  # what limits may add up to; the tests commit a few MiB of it


class Folder:
    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="varbos-ctl-")
        self.socket = os.path.join(self.path, "sock")

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


def wait_for(condition, what):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain: " + what)
        time.sleep(0.02)


def ctl(*args, path=None, env=None, stdout=subprocess.PIPE):
    """Run varbosctl; returns (status, stdout, stderr)."""
    command = [CTL, *args] + (["--socket", path] if path else [])
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=env,
                          timeout=DEADLINE_S)
    return done.returncode, (done.stdout or b"").decode("ascii"), done.stderr.decode("ascii")


class Daemon:
    def __init__(self, size=REGION):
        self.folder = Folder()
        self.path = self.folder.socket
        self.log = open(os.path.join(self.folder.path, "log"), "wb")
        self.process = subprocess.Popen(
            [DAEMON, "--no-config", "--socket", self.path, "--size", str(size), "--pages", "4K"],
            stdout=self.log, stderr=self.log)
        wait_for(lambda: self.process.poll() is not None or
                 ctl("ping", "-n1", path=self.path)[0] == 0, "the daemon's start")
        if self.process.poll() is not None:
            raise AssertionError("the daemon did not start: " + self.said())

    def said(self):
        with open(self.log.name, errors="replace") as log:
            return log.read()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        self.folder.remove()


class Client:
    """The protocol of proto/README.md, as little of it as is needed here."""

    def __init__(self, path, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(path)
        self.next = 0
        self.ask("hello", protocol=1, layout_min=1, layout_max=1, name=name)

    def ask(self, method, keep=None, **params):
        self.next += 1
        self.socket.send(msgpack.packb([0, self.next, method, params]))
        while True:
            data, fds, _, _ = socket.recv_fds(self.socket, 65536, 4)
            for fd in fds:
                if keep is None:
                    os.close(fd)
                else:
                    keep.append(fd)
            message = msgpack.unpackb(data)
            if message[0] == 1 and message[1] == self.next:
                break
        if message[2]:
            raise AssertionError("%s: %s" % (method, message[2]))
        return message[3]

    def close(self):
        self.socket.close()


class FakeDaemon:
    """Says hello, then gives `answer(id, method)` as it is; None: says nothing."""

    def __init__(self, answer, hello=True):
        self.folder = Folder()
        self.path = self.folder.socket
        self.answer = answer
        self.hello = hello
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(8)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                peer, _ = self.listener.accept()
                self.serve(peer)
            except OSError:
                return

    def serve(self, peer):
        with peer:
            while True:
                data = peer.recv(65536)
                if not data:
                    return
                _, number, method, _ = msgpack.unpackb(data)
                if method == "hello" and self.hello:
                    answer = msgpack.packb([1, number, None, {
                        "protocol": 1, "layout": 1, "session": 1, "epoch": 1, "inflight": 16,
                        "message_max": 65536}])
                else:
                    answer = self.answer(number, method)
                for datagram in answer if isinstance(answer, list) else [answer]:
                    if datagram is not None:
                        peer.send(datagram)
                if answer == b"":
                    return

    def stop(self):
        self.listener.close()
        self.folder.remove()


def fault(number, code, **more):
    return msgpack.packb([1, number, {"code": code, "message": "so it is", **more}, None])


class WithoutDaemon(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.remove)

    def refused(self, status, *args, say=()):
        code, out, err = ctl(*args, path=self.folder.socket)
        self.assertEqual(code, status, err)
        self.assertEqual(out, "")
        self.assertTrue(err.startswith("varbosctl: "), err)
        for words in say:
            self.assertIn(words, err)

    def test_alone_and_with_help_it_explains_itself(self):
        for args in [], ["--json"], ["help"], ["--help"]:
            code, out, err = ctl(*args)
            asked = bool(args) and "help" in args[0]
            self.assertEqual((code, err if asked else out), (0 if asked else 2, ""))
            for verb in ("stats", "status", "spaces create NAME", "clients", "ping", "demo"):
                self.assertIn(verb, out if asked else err)

    def test_help_of_a_verb_names_its_options(self):
        for args in ["help", "spaces", "create"], ["spaces", "create", "--help"]:
            code, out, _ = ctl(*args)
            self.assertEqual(code, 0)
            self.assertIn("spaces create NAME", out)
            self.assertIn("--client-limit SIZE", out)
            self.assertNotIn("--watch", out)

    def test_version_is_printed(self):
        code, out, _ = ctl("--version")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^varbosctl \d+\.\d+\.\d+\n$")

    def test_what_it_does_not_know_it_refuses_and_names_the_nearest(self):
        self.refused(2, "stast", say=['"stats"'])
        self.refused(2, "spaces", "crete", "x", say=['"spaces create"'])
        self.refused(2, "help", "statsu", say=["nearest"])
        self.refused(2, "stats", "--jason", say=["--json"])
        self.refused(2, "\033[31m", say=["nearest"])

    def test_what_does_not_fit_the_verb_is_a_usage_error(self):
        self.refused(2, "stats", "extra", say=["extra"])
        self.refused(2, "spaces", "create", say=["NAME"])
        self.refused(2, "spaces", "create", "a", "b", say=['"b"'])
        self.refused(2, "spaces", "create", "a", "--watch", say=["--watch"])
        self.refused(2, "spaces", "remove", "a", "--limit", "1M", say=["--limit"])
        self.refused(2, "spaces", "create", "a", "--limit", "0", say=["--limit"])
        self.refused(2, "spaces", "create", "a", "--limit", "1Q", say=["1Q"])
        self.refused(2, "ping", "-n", "0", say=["--count"])
        self.refused(2, "ping", "--timeout", "0", say=["--timeout"])
        self.refused(2, "who", say=["REF"])
        for number in "", "x", "12z", " -1", "0", "4096", "0x1ffffffffffffffff":
            self.refused(2, "who", number, say=["64 bits"])
        self.refused(2, "who", "0x100000000000", "x" * 300, say=["1 to 63"])

    def test_where_no_daemon_is_the_status_is_4(self):
        for verb in (["status"], ["stats"], ["spaces"], ["clients"], ["ping"], ["demo"],
                     ["spaces", "create", "x"], ["spaces", "remove", "x"],
                     ["spaces", "chmod", "0640", "x"], ["spaces", "chown", "0", "x"],
                     ["budget", "get"], ["budget", "get", "x"], ["caches"], ["caches", "x"],
                     ["caches", "create", "x", "y"], ["caches", "remove", "x", "y"],
                     ["caches", "set", "x", "y", "--ttl", "1"],
                     ["get", "x", "y", "k"], ["put", "x", "y", "k", "/dev/null"],
                     ["del", "x", "y", "k"], ["evict", "x", "y", "1"],
                     ["budget", "set", "x", "--limit", "1M"],
                     ["who", "0x100000000000"], ["who", "0x100000000000", "x"]):
            self.refused(4, *verb, say=[self.folder.socket])

    def test_a_stale_socket_file_is_no_daemon(self):
        stale = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stale.bind(self.folder.socket)
        stale.close()
        self.refused(4, "status")

    def test_a_path_too_long_for_a_socket_is_said_to_be(self):
        self.folder.socket = "/tmp/" + "x" * 200
        self.refused(2, "status", say=["107"])

    def test_the_socket_is_found_in_the_environment(self):
        base = {k: v for k, v in os.environ.items()
                if k not in ("VARBOS_SOCKET", "XDG_RUNTIME_DIR")}
        _, _, err = ctl("status", env={**base, "VARBOS_SOCKET": "/nowhere/one"})
        self.assertIn("/nowhere/one", err)
        os.makedirs(self.folder.path + "/varbos")
        open(self.folder.path + "/varbos/varbos.sock", "w").close()
        _, _, err = ctl("status", env={**base, "XDG_RUNTIME_DIR": self.folder.path})
        self.assertIn(self.folder.path + "/varbos/varbos.sock", err)

    def test_a_short_statistics_file_is_refused(self):
        with open(self.folder.socket + ".stats", "wb") as file:
            file.write(b"VRBSTAT1" + b"\1\0\0\0")
        self.refused(1, "stats")
        with open(self.folder.socket + ".stats", "wb") as file:
            file.write(b"VRBSTAT1" + b"\2\0\0\0" + b"\0" * 8192)
        self.refused(9, "stats", say=["layout 2"])

    def test_a_folder_that_may_not_be_entered_is_a_matter_of_permission(self):
        if os.geteuid() == 0:
            tool = shutil.copy(CTL, self.folder.path)
            inner = os.path.join(self.folder.path, "inner")
            os.mkdir(inner, 0o700)
            os.chmod(self.folder.path, 0o755)
            libs = os.path.join(self.folder.path, "libs")
            os.mkdir(libs, 0o755)
            ldd = subprocess.run(["ldd", CTL], stdout=subprocess.PIPE, check=True).stdout
            for library in re.findall(r"libvarbos\S* => (\S+)", ldd.decode()):
                shutil.copy(library, libs)
            done = subprocess.run([tool, "status", "--socket", inner + "/sock"], user=65534,
                                  group=65534, extra_groups=[], stderr=subprocess.PIPE,
                                  env={**os.environ, "LD_LIBRARY_PATH": libs}, cwd="/",
                                  check=False)
            code, err = done.returncode, done.stderr.decode()
        else:
            os.chmod(self.folder.path, 0)
            code, _, err = ctl("status", path=self.folder.socket)
            os.chmod(self.folder.path, 0o700)
        self.assertEqual(code, 5, err)


class Doctor(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.remove)

    def doctor(self, *args, path=None, **env):
        done = subprocess.run([CTL, "--socket", path or self.folder.socket, "doctor", "--json", *args],
                              env={**os.environ, "VARBOS_DAEMON": DAEMON, **env},
                              capture_output=True, text=True, timeout=60, check=False)
        code, out, err = done.returncode, done.stdout, done.stderr
        page = json.loads(out)
        for row in page["findings"]:
            self.assertEqual(list(row), ["check", "result", "text", "todo"])
            self.assertIn(row["result"], ("OK", "note", "warning", "FAIL"))
            self.assertEqual(row["todo"] == "", row["result"] == "OK", row)
        failed = [r for r in page["findings"] if r["result"] == "FAIL"]
        self.assertEqual((code, page["failures"]), (1 if failed else 0, len(failed)), err)
        return {(r["check"], r["result"]): r for r in page["findings"]}

    def test_it_needs_no_daemon(self):
        found = self.doctor("--pages", "4K", "--size", "64M")
        self.assertIn("no daemon answers", found["daemon", "note"]["text"])
        self.assertIn("free to be served", found["socket", "OK"]["text"])
        self.assertIn("available", found["memory", "OK"]["text"])

    def test_it_takes_what_the_daemon_would_be_told(self):
        found = self.doctor(VARBOS_SIZE="1024T", VARBOS_MEMORY_PAGES="4K")
        self.assertIn("1 PiB (VARBOS_SIZE), pages 4K (VARBOS_MEMORY_PAGES)",
                      found["config", "OK"]["text"])
        self.assertIn("memory", [check for check, result in found if result == "FAIL"])
        found = self.doctor("--size", "64M", VARBOS_SIZE="1024T", VARBOS_SOCKET="/run/x")
        self.assertIn("64 MiB (asked for here)", found["config", "OK"]["text"])
        self.assertIn("told to serve /run/x", found["config", "note"]["text"])
        self.assertIn("VARBOS_SIZE: 'lots' is not a size",
                      self.doctor(VARBOS_SIZE="lots")["config", "FAIL"]["text"])
        self.assertIn("no varbosd is found",
                      self.doctor(VARBOS_DAEMON="/nowhere")["config", "warning"]["text"])

    def test_what_would_fail_makes_it_fail(self):
        found = self.doctor("--pages", "4K", "--size", "1024T")
        self.assertIn("1 PiB are asked" if "1 PiB" in found["memory", "FAIL"]["text"] else
                      "1024 TiB are asked", found["memory", "FAIL"]["text"])
        found = self.doctor(path="/tmp/" + "x" * 200)
        self.assertIn("205 bytes, a socket's at most 107", found["socket", "FAIL"]["text"])
        with open(self.folder.socket, "w", encoding="ascii"):
            pass
        self.assertIn("no varbosd's socket", self.doctor()["socket", "FAIL"]["text"])

    def test_it_sees_a_stale_socket(self):
        stale = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stale.bind(self.folder.socket)
        stale.close()
        self.assertIn("left by a daemon", self.doctor()["socket", "warning"]["text"])

    def test_it_asks_the_daemon_that_runs(self):
        daemon = Daemon(64 << 20)
        self.addCleanup(daemon.stop)
        found = self.doctor(path=daemon.path)
        self.assertIn("64 MiB in pages of 4 KiB", found["daemon", "OK"]["text"])

    def test_in_a_pipe_it_is_a_table(self):
        _, out, _ = ctl("doctor", path=self.folder.socket)
        self.assertTrue(out.startswith("CHECK\tRESULT\tFINDING\tTO DO\n"), out)
        self.assertRegex(out, r"(?m)^kernel\t")
        self.assertRegex(out, r"(?m)^FAILURES\t\d+$")

    def test_what_is_wanted_is_checked(self):
        code, _, err = ctl("doctor", "--pages", "3M", path=self.folder.socket)
        self.assertEqual(code, 2)
        self.assertIn("none of auto, 4K, 2M, 1G", err)


class WithFakeDaemon(unittest.TestCase):
    def fake(self, answer, hello=True):
        daemon = FakeDaemon(answer, hello)
        self.addCleanup(daemon.stop)
        return daemon.path

    def test_every_refusal_has_the_exit_status_of_the_error_table(self):
        with open(ERRORS_DEF) as table:
            rows = re.findall(r"^ERROR\((\w+), (\d+), (\d+),", table.read(), re.M)
        self.assertGreater(len(rows), 10)
        for name, code, status in rows:
            path = self.fake(lambda number, _, code=code: fault(
                number, int(code), requested=1 << 30, which="some\u202elimit"))
            got, _, err = ctl("spaces", "create", "x", path=path)
            self.assertEqual(got, int(status), name)
            self.assertIn("so it is (%s: some\\xe2\\x80\\xaelimit, requested " % name, err)

    def test_hot_keys_and_who_pins_stand_in_lines(self):
        said = {"space.open": {"space": 1, "limit": 1 << 20, "page": 4096},
                "cache.open": {"cache": 2, "capacity": 1 << 20, "policy": "lru"},
                "cache.detail": {
                    "hot": [{"key": "k", "size": 1, "hash": 5, "count": 90, "over": 2},
                            {"size": 0, "hash": 6, "count": 1}],
                    "pins": [{"session": 3, "bytes": 65536, "ms": 1500, "pid": 77, "uid": 0,
                              "name": "slow\u202e"}]}}
        path = self.fake(lambda number, method: msgpack.packb([1, number, None, said[method]]))
        code, out, err = ctl("caches", "show", "s", "c", path=path)
        self.assertEqual((code, err), (0, ""))
        lines = [line.split("\t") for line in out.splitlines() if line]
        self.assertEqual(lines[:3], [["HOTTEST KEYS", "ACCESSES"], ["k", "90"], ["", "1"]])
        self.assertEqual(lines[3:], [["SESSION", "PID", "NAME", "USER", "PINS", "SINCE"],
                                     ["3", "77", "slow\\xe2\\x80\\xae", "root", "65536", "1500"]])
        page = json.loads(ctl("caches", "show", "s", "c", "--json", path=path)[1])
        self.assertEqual(page["hot"][0],
                         {"key": "k", "count": 90, "over": 2, "size": 1, "hash": 5})
        self.assertEqual(page["pins"][0]["ms"], 1500)

    def test_a_code_from_the_future_is_a_failure(self):
        path = self.fake(lambda number, _: fault(number, 999))
        code, _, err = ctl("status", path=path)
        self.assertEqual(code, 1)
        self.assertIn("999", err)

    def test_a_refused_hello_is_a_matter_of_version(self):
        path = self.fake(lambda number, _: fault(number, 9, max=7), hello=False)
        self.assertEqual(ctl("status", path=path)[0], 9)

    def test_silence_is_a_timeout(self):
        path = self.fake(lambda number, _: None)
        code, _, err = ctl("status", "--timeout", "0.2", path=path)
        self.assertEqual(code, 8)
        self.assertIn("0.200 s", err)

    def test_a_closed_session_is_an_unreachable_daemon(self):
        path = self.fake(lambda number, _: b"")
        self.assertEqual(ctl("status", path=path)[0], 4)

    def test_nonsense_is_not_understood_and_not_followed(self):
        for nonsense in (b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x94\x01", b"[1]", b"\x91" * 60):
            path = self.fake(lambda number, _, nonsense=nonsense: nonsense)
            self.assertEqual(ctl("status", path=path)[0], 9, nonsense)

    def test_a_list_that_goes_in_circles_ends(self):
        path = self.fake(lambda number, _: msgpack.packb(
            [1, number, None, {"rows": [], "next": 5}]))
        code, _, err = ctl("clients", path=path)
        self.assertEqual(code, 9)
        self.assertIn("circles", err)

    def test_answers_to_nobody_and_notes_are_passed_over(self):
        def answer(number, _):
            return [msgpack.packb([2, "extent.refused", {
                        "space": 1, "offset": 0, "tag": 1, "code": 4, "message": "x"}]),
                    msgpack.packb([1, number, None, {"token": number - 1, "new": [1, {}]}])]
        code, _, err = ctl("ping", "-n", "3", path=self.fake(answer))
        self.assertEqual(code, 0, err)

    def test_the_answer_to_another_ping_fails(self):
        path = self.fake(lambda number, _: msgpack.packb([1, number, None, {"token": 77}]))
        self.assertEqual(ctl("ping", path=path)[0], 1)


class WithDaemon(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.addClassCleanup(cls.daemon.stop)
        cls.path = cls.daemon.path

    def ok(self, *args):
        code, out, err = ctl(*args, path=self.path)
        self.assertEqual((code, err), (0, ""), self.daemon.said())
        return out

    def json(self, *args):
        out = self.ok(*args, "--json")
        self.assertEqual(out.count("\n"), 1)
        return json.loads(out)

    def space(self, name, *args):
        self.ok("spaces", "create", name, *args)
        self.addCleanup(ctl, "spaces", "remove", name, "--force", path=self.path)

    def client(self, name="test"):
        client = Client(self.path, name)
        self.addCleanup(client.close)
        return client

    def test_status_tells_of_the_daemon(self):
        status = self.json("status")
        self.assertEqual(status["pid"], self.daemon.process.pid)
        self.assertEqual(status["uid"], os.getuid())
        self.assertEqual(status["region"], REGION)
        self.assertEqual(status["page"], 4096)
        self.assertIs(type(status["isolates"]), bool)
        lines = dict(line.split("\t") for line in self.ok("status").splitlines())
        self.assertEqual(lines["PID"], str(self.daemon.process.pid))
        self.assertEqual(lines["REGION"], str(REGION))

    def test_status_tells_how_long_the_loop_was_kept_and_by_what(self):
        status = self.json("status")
        longest = re.match(r"(\d+) us: ([a-z]+)", status["stints"])
        self.assertEqual(int(longest[1]), status["stint_longest_ns"] // 1000)
        self.assertIs(type(status["stints_late"]), int)

    def test_a_space_is_created_listed_and_removed(self):
        created = self.json("spaces", "create", "one", "--limit", "8M", "--client-limit", "4M",
                            "--weight", "7", "--mode", "0640", "--placement", "bestfit")
        self.assertEqual(list(created), ["space"])
        (row,) = [r for r in self.json("spaces")["spaces"] if r["name"] == "one"]
        self.assertEqual(row["space"], created["space"])
        self.assertEqual((row["limit"], row["client_limit"], row["weight"], row["mode"]),
                         (8 << 20, 4 << 20, 7, "0640"))
        self.assertEqual((row["uid"], row["used"], row["removed"]), (os.getuid(), 0, False))
        self.assertEqual(self.ok("spaces", "remove", "one"), "")
        self.assertNotIn("one", [r["name"] for r in self.json("spaces")["spaces"]])

    def test_a_space_is_laid_out_by_the_policy_it_was_given(self):
        for policy in ("bestfit", "buddy", "tlsf", "firstfit"):
            self.space("by-" + policy, "--limit", "1M", "--placement", policy)
        self.space("by-none", "--limit", "1M")
        rows = {r["name"]: r["placement"] for r in self.json("spaces")["spaces"]}
        self.assertEqual({name: rows[name] for name in rows if name.startswith("by-")},
                         {"by-bestfit": "bestfit", "by-buddy": "buddy", "by-tlsf": "tlsf",
                          "by-firstfit": "firstfit", "by-none": "bestfit"})

    def test_a_reserve_is_committed_at_once(self):
        self.space("reserved", "--limit", "8M", "--reserve", "4M")
        (row,) = [r for r in self.json("spaces")["spaces"] if r["name"] == "reserved"]
        self.assertEqual(row["reserve"], 4 << 20)
        self.assertGreaterEqual(row["committed"], 4 << 20)

    def test_in_a_pipe_the_list_has_its_fields_between_tabs(self):
        self.space("piped", "--limit", "8M")
        lines = [line.split("\t") for line in self.ok("spaces").splitlines()]
        self.assertEqual(lines[0][0], "SPACE")
        self.assertEqual({len(line) for line in lines}, {len(lines[0])})
        (row,) = [line for line in lines if line[0] == "piped"]
        self.assertEqual(row[lines[0].index("LIMIT")], str(8 << 20))

    def test_what_the_daemon_refuses_has_its_exit_status(self):
        def refused(status, *args):
            code, out, err = ctl("spaces", *args, path=self.path)
            self.assertEqual((code, out), (status, ""), err)
            return err
        self.space("there", "--limit", "1M")
        refused(3, "remove", "nowhere")
        refused(1, "create", "there", "--limit", "1M")
        refused(2, "create", "../etc")
        refused(2, "create", "\033[2J")
        self.assertIn("one of bestfit, buddy, tlsf, firstfit",
                      refused(2, "create", "fits-not", "--placement", "nosuch"))
        self.assertIn("requested 16 TiB", refused(6, "create", "big", "--limit", "16T"))
        self.client().ask("space.open", name="there")
        self.assertIn("there", self.ok("spaces"))

    def test_a_space_in_use_is_removed_by_force_only_and_goes_with_its_last_user(self):
        self.space("used", "--limit", "1M")
        client = self.client()
        client.ask("space.open", name="used")
        code, _, err = ctl("spaces", "remove", "used", path=self.path)
        self.assertEqual(code, 1)
        self.assertIn("IN_USE", err)
        self.ok("spaces", "remove", "used", "--force")
        client.ask("bye")
        wait_for(lambda: "used" not in [r["name"] for r in self.json("spaces")["spaces"]],
                 "the space to go")

    def test_a_cache_is_created_listed_changed_and_removed(self):
        self.space("cached", "--limit", "8M")
        self.space("bare", "--limit", "1M")
        created = self.json("caches", "create", "cached", "thumbs", "--capacity", "2M",
                            "--policy", "lru", "--ttl", "5m")
        cache = created.pop("cache")
        self.assertEqual(created, {"capacity": 2 << 20, "policy": "lru", "ttl_ms": 300000})
        (row,) = self.json("caches", "cached")["caches"]
        counts = ["values", "live", "dead", "limbo", "pinned", "hits", "misses", "published",
                  "evicted", "expired", "deleted", "replaced", "cleared", "dropped", "spoiled",
                  "crowded", "moved"]
        self.assertEqual(list(row), ["name", "space", "cache", "policy", "capacity", "memory",
                                     "segments", "objects", "ttl_ms", "sessions", "removed",
                                     *counts, "metadata"])
        for count in counts:
            self.assertEqual(row.pop(count), 0)
        row.pop("metadata")  # none, until the files are made
        self.assertEqual(row, {"name": "thumbs", "space": "cached", "cache": cache,
                               "policy": "lru", "capacity": 2 << 20, "memory": 0, "segments": 0,
                               "objects": 0, "ttl_ms": 300000, "sessions": 0, "removed": False})
        self.assertIn("thumbs", [row["name"] for row in self.json("caches")["caches"]])
        self.assertEqual(self.json("caches", "bare"), {"caches": []})
        self.assertEqual(self.ok("caches", "set", "cached", "thumbs", "--policy", "gdsf",
                                 "--ttl", "0"), "")
        (row,) = self.json("caches", "cached")["caches"]
        self.assertEqual((row["policy"], row["ttl_ms"], row["capacity"]), ("gdsf", 0, 2 << 20))
        lines = [line.split("\t") for line in self.ok("caches", "cached").splitlines()]
        self.assertEqual(lines[0], ["NAME", "SPACE", "POLICY", "CAPACITY", "MEMORY", "SEGMENTS",
                                    "TTL", "SESSIONS", "REMOVED", "VALUES", "LIVE", "DEAD", "HITS",
                                    "MISSES", "EVICTED"])
        self.assertEqual(lines[1], ["thumbs", "cached", "gdsf", str(2 << 20), "0", "0", "0", "0",
                                    "no", *["0"] * 6])
        self.assertEqual(self.json("caches", "create", "cached", "plain")["capacity"], 4 << 20)
        self.assertEqual(self.ok("caches", "remove", "cached", "thumbs"), "")
        self.assertEqual([r["name"] for r in self.json("caches", "cached")["caches"]], ["plain"])

    def test_what_is_refused_of_caches_has_its_exit_status(self):
        def refused(status, *args):
            code, out, err = ctl("caches", *args, path=self.path)
            self.assertEqual((code, out), (status, ""), err)
            return err
        self.space("cached", "--limit", "8M")
        self.ok("caches", "create", "cached", "there")
        refused(3, "nowhere")
        refused(2, "x" * 300)
        refused(3, "create", "nowhere", "c")
        refused(3, "remove", "cached", "nowhere")
        refused(3, "set", "cached", "nowhere", "--ttl", "5")
        refused(1, "create", "cached", "there")
        refused(2, "create", "cached", "a/b")
        self.assertIn("none of", refused(2, "set", "cached", "there"))
        for size in "0", "10%", "x":
            self.assertIn("--capacity", refused(2, "set", "cached", "there", "--capacity", size))
        self.assertIn("one of s3fifo, lru",
                      refused(2, "create", "cached", "c", "--policy", "lru,fifo"))
        self.assertIn("limit, which is 8 MiB",
                      refused(2, "set", "cached", "there", "--capacity", "9M"))
        self.assertIn("SPACE CACHE", refused(2, "create", "cached"))

    def test_a_cache_in_use_is_removed_by_force_only_and_goes_with_its_last_session(self):
        self.space("cached", "--limit", "8M")
        client = self.client("holder")
        space = client.ask("space.open", name="cached")["space"]
        cache = client.ask("cache.open", space=space, name="used")["cache"]
        segment = client.ask("cache.segment", space=space, cache=cache, size=256 << 10)
        (row,) = self.json("caches", "cached")["caches"]
        self.assertEqual((row["sessions"], row["memory"], row["segments"]), (1, 256 << 10, 1))
        (block,) = self.json("who", str(segment["tag"] << 44 | segment["offset"]))["blocks"]
        self.assertEqual((block["kind"], block["cache"], block["pid"], block["size"]),
                         ("segment", "used", os.getpid(), 256 << 10))
        # Nothing is in it: from now on it may go back at any time.
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            client.ask("cache.seal", space=space, offset=segment["offset"], tag=segment["tag"])
            code, out, _ = ctl("who", str(segment["tag"] << 44 | segment["offset"]), path=self.path)
            if not code:
                break
            segment = client.ask("cache.segment", space=space, cache=cache, size=256 << 10)
        self.assertIn("cache used", out)
        code, _, err = ctl("caches", "remove", "cached", "used", path=self.path)
        self.assertEqual(code, 1)
        self.assertIn("in use by 1 session: %d (holder)" % os.getpid(), err)
        self.ok("caches", "remove", "cached", "used", "--force")
        (row,) = self.json("caches", "cached")["caches"]
        self.assertTrue(row["removed"])
        client.ask("bye")
        wait_for(lambda: not self.json("caches", "cached")["caches"], "the cache to go")

    def raw(self, *args, value=b""):
        done = subprocess.run([CTL, *args, "--socket", self.path], input=value,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE_S,
                              check=False)
        return done.returncode, done.stdout, done.stderr.decode("ascii")

    def test_a_value_is_put_shown_and_deleted_byte_for_byte(self):
        self.space("valued", "--limit", "8M")
        self.ok("caches", "create", "valued", "c", "--capacity", "1M")
        value = bytes(range(256)) * 500
        self.assertEqual(self.raw("put", "valued", "c", "key", value=value), (0, b"", ""))
        self.assertEqual(self.raw("get", "valued", "c", "key"), (0, value, ""))
        self.assertEqual(self.raw("get", "valued", "c", "0x6B6579"), (0, value, ""))
        with tempfile.NamedTemporaryFile() as file:
            file.write(value[1:])
            file.flush()
            self.ok("put", "valued", "c", "0x00ff", file.name, "--ttl", "5m")
        self.assertEqual(self.raw("get", "valued", "c", "0x00ff"), (0, value[1:], ""))
        known = self.json("get", "valued", "c", "0x00ff")
        self.assertEqual(list(known), ["size", "generation", "flags", "age_ms", "expires_in_ms"])
        self.assertEqual((known["size"], known["flags"]), (len(value) - 1, 0))
        self.assertTrue(0 < known["expires_in_ms"] <= 300000)
        self.assertNotIn("expires_in_ms", self.json("get", "valued", "c", "key"))
        self.assertEqual(self.raw("put", "valued", "c", "key", "-"), (0, b"", ""))
        self.assertEqual(self.raw("get", "valued", "c", "key"), (0, b"", ""))
        self.assertEqual(self.ok("del", "valued", "c", "key"), "")
        for verb in "get", "del":
            code, out, err = ctl(verb, "valued", "c", "key", path=self.path)
            self.assertEqual((code, out), (3, ""))
            self.assertIn("nothing of that key", err)

    def test_showing_a_value_does_not_keep_it_and_counts_as_nothing(self):
        self.space("valued", "--limit", "8M")
        self.ok("caches", "create", "valued", "c", "--capacity", "4K", "--policy", "lru")
        for key in "a", "b", "c":
            self.assertEqual(self.raw("put", "valued", "c", key, value=b"x" * 1000)[0], 0)
        for _ in range(2):
            self.assertEqual(self.raw("get", "valued", "c", "a")[0], 0)
        self.assertEqual(self.raw("put", "valued", "c", "d", value=b"x" * 1000)[0], 0)
        self.assertEqual(self.raw("get", "valued", "c", "a")[0], 3)
        self.assertEqual(self.raw("get", "valued", "c", "b")[0], 0)
        (row,) = self.json("caches", "valued")["caches"]
        self.assertEqual((row["values"], row["evicted"], row["hits"], row["misses"]), (3, 1, 0, 0))

    def test_stats_shows_what_becomes_of_caches(self):
        self.space("valued", "--limit", "8M")
        self.ok("caches", "create", "valued", "c", "--capacity", "4K", "--policy", "lru")
        for key in "a", "b", "c", "d", "d":
            self.assertEqual(self.raw("put", "valued", "c", key, value=b"x" * 1000)[0], 0)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            self.json("status")
            stats = self.json("stats")
            (row,) = [r for r in stats["caches"] if r["space"] == "valued"]
            (listed,) = self.json("caches", "valued")["caches"]
            told = {k: v for k, v in row.items() if k != "hit_ratio"}
            # What who put has left comes back by and by.
            if told == listed | {"sessions": 0} or time.monotonic() > deadline:
                break
        self.assertEqual(told, listed | {"sessions": 0})
        self.assertEqual((row["values"], row["evicted"], row["replaced"], row["published"]),
                         (3, 1, 1, 5))
        self.assertEqual((row["hits"], row["misses"], row["hit_ratio"]), (0, 0, 0))
        self.assertEqual((stats["hot"], stats["pins"]), ([], []))  # nobody has read
        out = self.ok("stats")
        self.assertRegex(out, r"(?m)^CACHE\tSPACE\tVALUES\tLIVE\tDEAD\tLIMBO\tPINNED\tHITS\tMISSES"
                              r"\tHIT RATIO\tEVICTED\tEXPIRED\nc\tvalued\t3\t")

    def test_keys_are_listed_as_get_takes_them_and_listing_is_no_access(self):
        self.space("valued", "--limit", "8M")
        self.ok("caches", "create", "valued", "c", "--capacity", "1M")
        self.assertEqual(self.ok("keys", "valued", "c"), "")
        self.assertEqual(self.raw("keys", "valued", "c", "--json"), (0, b"", ""))
        texts = {"plain", "a/b:c?*'$(x)", "k" * 4096, "0x00", "0x30786161", "0x206f6e65",
                 "0x" + "ff" * 4096, "0xc3a9", "0x1b5b316d"}
        for n, text in enumerate(sorted(texts)):
            self.assertEqual(self.raw("put", "valued", "c", text, "--ttl", "%dm" % (n % 2 * 5),
                                      value=b"v" * n)[0], 0)
        listed = self.ok("keys", "valued", "c").splitlines()
        self.assertEqual((set(listed), len(listed)), (texts, len(texts)))
        for n, text in enumerate(sorted(texts)):
            self.assertEqual(self.raw("get", "valued", "c", text), (0, b"v" * n, ""))
        _, out, _ = self.raw("keys", "valued", "c", "--json")
        rows = {row["key"]: row for row in map(json.loads, out.splitlines())}
        self.assertEqual({key: (row["size"], "expires_in_ms" in row) for key, row in rows.items()},
                         {text: (n, n % 2 == 1) for n, text in enumerate(sorted(texts))})
        self.assertEqual(list(rows["plain"]), ["key", "size", "generation", "flags", "age_ms"] +
                         ["expires_in_ms"] * ("expires_in_ms" in rows["plain"]))
        (row,) = self.json("caches", "valued")["caches"]
        self.assertEqual((row["values"], row["hits"], row["misses"]), (len(texts), 0, 0))
        for args in ("nowhere", "c"), ("valued", "nowhere"):
            self.assertEqual(ctl("keys", *args, path=self.path)[:2], (3, ""))

    def test_of_a_cache_hot_keys_and_who_pins_are_shown(self):
        self.space("valued", "--limit", "8M")
        self.ok("caches", "create", "valued", "c")
        self.assertEqual(self.raw("put", "valued", "c", "k", value=b"x")[0], 0)
        self.assertEqual(self.json("caches", "show", "valued", "c"), {"hot": [], "pins": []})
        for args in ("nowhere", "c"), ("valued", "nowhere"):
            self.assertEqual(ctl("caches", "show", *args, path=self.path)[:2], (3, ""))

    def test_values_are_evicted_by_request(self):
        self.space("valued", "--limit", "8M")
        self.ok("caches", "create", "valued", "c", "--capacity", "1M", "--policy", "fifo")
        for key in "a", "b", "c":
            self.assertEqual(self.raw("put", "valued", "c", key, value=b"x" * 1000)[0], 0)
        gone = self.json("evict", "valued", "c", "1K")["bytes"]
        self.assertTrue(1024 <= gone < 2048)
        self.assertEqual([self.raw("get", "valued", "c", key)[0] for key in ("a", "b", "c")],
                         [3, 0, 0])
        self.assertIn("2080", self.ok("evict", "valued", "c", "1G"))
        (row,) = self.json("caches", "valued")["caches"]
        self.assertEqual((row["values"], row["dropped"]), (0, 3))

    def test_what_is_refused_of_values_has_its_exit_status(self):
        def refused(status, *args, value=b""):
            code, out, err = self.raw(*args, value=value)
            self.assertEqual((code, out), (status, b""), err)
            self.assertTrue(err.startswith("varbosctl: "), err)
            return err
        self.space("valued", "--limit", "2M")
        self.ok("caches", "create", "valued", "c", "--capacity", "64K")
        for verb in "get", "put", "del":
            self.assertIn("no such space: nowhere", refused(3, verb, "nowhere", "c", "k"))
            self.assertIn("no such cache: nowhere", refused(3, verb, "valued", "nowhere", "k"))
            refused(2, verb, "valued", "c", "")
            refused(2, verb, "valued", "c", "x" * 4097)
            self.assertIn("two digits", refused(2, verb, "valued", "c", "0x1"))
            self.assertIn("0 to 9", refused(2, verb, "valued", "c", "0x1g"))
            self.assertIn("1 to 4096 bytes", refused(2, verb, "valued", "c", "0x"))
        refused(3, "evict", "nowhere", "c", "1")
        refused(3, "evict", "valued", "nowhere", "1")
        refused(2, "evict", "valued", "c", "0")
        refused(2, "evict", "valued", "c", "1x")
        self.assertIn("No such file", refused(1, "put", "valued", "c", "k", "/nowhere/file"))
        self.assertIn("TOO_LARGE", refused(6, "put", "valued", "c", "k", value=b"x" * (1 << 17)))
        self.assertIn("larger than the space",
                      refused(6, "put", "valued", "c", "k", "/dev/zero"))
        self.assertEqual(self.raw("get", "valued", "c", "k")[0], 3)

    def test_more_spaces_than_a_page_holds_are_all_listed(self):
        client = self.client()
        names = {"many-%03d-%s" % (i, "x" * 50) for i in range(150)}
        for name in names:
            client.ask("space.create", name=name, limit=65536)
        listed = {r["name"] for r in self.json("spaces")["spaces"]}
        self.assertLessEqual(names, listed)
        for name in names:
            client.ask("space.remove", name=name)

    def refused(self, status, *args):
        code, out, err = ctl(*args, path=self.path)
        self.assertEqual((code, out), (status, ""), err)
        self.assertEqual(err.count("\n"), 1, err)
        return err

    def row(self, name):
        (row,) = [r for r in self.json("spaces")["spaces"] if r["name"] == name]
        return row

    def test_a_budget_is_shown_and_set(self):
        self.space("paid", "--limit", "16M", "--reserve", "2M")
        (row,) = self.json("budget", "get", "paid")["spaces"]
        self.assertEqual(row, {
            "name": "paid", "used": 0, "committed": 2 << 20, "limit": 16 << 20,
            "reserve": 2 << 20, "client_limit": 14 << 20, "weight": 100, "removed": False})
        (row,) = self.json("budget", "set", "paid", "--limit", "+16M", "--reserve", "6M",
                           "--weight", "7")["spaces"]
        self.assertEqual((row["limit"], row["reserve"], row["committed"], row["client_limit"],
                          row["weight"]), (32 << 20, 6 << 20, 6 << 20, 28 << 20, 7))
        (row,) = self.json("budget", "set", "paid", "--client-limit", "-12M",
                           "--reserve", "0")["spaces"]
        self.assertEqual((row["client_limit"], row["reserve"]), (16 << 20, 0))
        self.json("status")
        (row,) = [r for r in self.json("stats")["spaces"] if r["name"] == "paid"]
        self.assertEqual((row["limit"], row["reserve"]), (32 << 20, 0))

    def test_all_budgets_are_shown_below_the_regions(self):
        self.space("one", "--limit", "16M", "--reserve", "2M")
        self.space("two", "--limit", "8M")
        page = self.json("budget", "get")
        names = {r["name"]: r["limit"] for r in page["spaces"]}
        self.assertEqual((names["one"], names["two"]), (16 << 20, 8 << 20))
        region = page["region"]
        self.assertEqual(list(region), ["region", "used", "committed", "limits", "reserves"])
        self.assertEqual(region["region"], REGION)
        self.assertEqual(region["limits"], sum(names.values()))
        self.assertGreaterEqual(region["reserves"], 2 << 20)
        self.assertIn("\nLIMITS TOGETHER\t", self.ok("budget", "get"))

    def test_a_limit_below_what_is_used_takes_nothing_and_is_said_to(self):
        self.space("full", "--limit", "16M")
        client = self.client()
        space = client.ask("space.open", name="full")["space"]
        given = client.ask("extent.alloc", space=space, size=8 << 20)
        code, out, err = ctl("budget", "set", "full", "--limit", "4M", path=self.path)
        self.assertEqual(code, 0)
        self.assertIn("full uses 8 MiB of 4 MiB: nothing is taken away", err)
        self.assertEqual(self.row("full")["used"], 8 << 20)
        with self.assertRaisesRegex(AssertionError, "BUDGET|budget"):
            client.ask("extent.alloc", space=space, size=65536)
        client.ask("extent.free", space=space, offset=given["offset"], tag=given["tag"])
        client.ask("extent.alloc", space=space, size=2 << 20)

    def test_a_budget_that_cannot_be_is_refused_with_what_could(self):
        self.space("bound", "--limit", "16M", "--reserve", "4M")
        err = self.refused(6, "budget", "set", "bound", "--limit", "16T")
        self.assertIn("16 TiB asked, ", err)
        self.assertIn("left in the budget of the region", err)
        self.assertIn("above the limit, which is 16 MiB",
                      self.refused(2, "budget", "set", "bound", "--reserve", "32M"))
        self.assertIn("a reserve of 4 MiB is above the limit, which is 2 MiB",
                      self.refused(2, "budget", "set", "bound", "--limit", "2M"))
        self.assertIn("limit: at least one byte",
                      self.refused(2, "budget", "set", "bound", "--limit", "0"))
        self.assertIn("leaves nothing",
                      self.refused(2, "budget", "set", "bound", "--limit", "-17M"))
        self.assertIn("1 to 10000",
                      self.refused(2, "budget", "set", "bound", "--weight", "10001"))
        self.assertIn("nothing to set", self.refused(2, "budget", "set", "bound"))
        self.assertIn("nothing to add",
                      self.refused(2, "spaces", "create", "x", "--limit", "+4M"))
        for verb in ["get"], ["set", "--limit", "4M"]:
            self.assertIn("no space \"nosuch\"",
                          self.refused(3, "budget", *verb, "nosuch"))
            self.assertIn("1 to 63", self.refused(2, "budget", *verb, "x" * 300))
            self.assertEqual(ctl("budget", *verb, "a/b", path=self.path)[0], 3)
        self.assertEqual(self.row("bound")["limit"], 16 << 20)

    def test_who_says_whose_a_block_is(self):
        self.space("asked-about", "--limit", "8M")
        client = self.client("asker")
        space = client.ask("space.open", name="asked-about")["space"]
        own = client.ask("extent.alloc", space=space, size=128 << 10)
        shared = client.ask("extent.alloc", space=space, size=1 << 20, shared=True)
        session = [r["session"] for r in self.json("clients")["clients"]
                   if r["name"] == "asker"][0]

        def ref(extent, at=0):
            return "%#x" % (extent["tag"] << 44 | extent["offset"] + at)
        (row,) = self.json("who", ref(own, 70000), "asked-about")["blocks"]
        self.assertEqual(row, {
            "space": "asked-about", "where": "%#x" % own["offset"] if own["offset"] else "0",
            "size": 128 << 10, "kind": "private", "state": "leased",
            "holder": "pid %d (asker)" % os.getpid(), "offset": own["offset"], "id": 0,
            "session": session, "pid": os.getpid(), "uid": os.getuid(), "name": "asker",
            "channel": "", "dead": False, "owner": session, "cache": ""})
        # Any space that may be opened; as a number that is not hexadecimal, too.
        (row,) = self.json("who", str(int(ref(shared), 16)))["blocks"]
        self.assertEqual((row["space"], row["kind"], row["holder"], row["size"]),
                         ("asked-about", "shared", "pid %d (asker)" % os.getpid(), 1 << 20))
        self.assertIn("pid %d (asker)" % os.getpid(), self.ok("who", ref(own)))

        client.ask("extent.free", space=space, offset=own["offset"], tag=own["tag"])
        self.assertIn("freed", self.refused(1, "who", ref(own), "asked-about"))
        self.assertIn("no such block in", self.refused(1, "who", ref(own)))
        again = client.ask("extent.alloc", space=space, size=128 << 10)
        self.assertEqual(again["offset"], own["offset"])
        self.assertIn("stale", self.refused(1, "who", ref(own), "asked-about"))
        self.assertIn("no such memory", self.refused(1, "who", "0x1fffffffffff", "asked-about"))
        self.assertIn("no such space", self.refused(3, "who", ref(again), "nosuch"))
        client.ask("bye")

    def test_numa_shows_what_was_asked_and_where_memory_is(self):
        self.space("placed", "--limit", "8M", "--reserve", "4M", "--numa", "preferred:0")
        self.space("empty", "--limit", "8M")
        page = self.json("numa")
        self.assertEqual(list(page["nodes"][0]), [
            "node", "cpus", "total", "free", "region", "committed", "used", "huge_total",
            "huge_free", "giant_total", "giant_free", "misplaced",
            "large_region", "large_committed", "distances"])
        self.assertEqual(sum(n["region"] for n in page["nodes"]), REGION)
        for node in page["nodes"]:
            self.assertEqual(len(node["distances"].split()), len(page["nodes"]))
        rows = [r for r in page["spaces"] if r["name"] == "placed"]
        self.assertEqual({r["asked"] for r in rows}, {"preferred:0"})
        self.assertEqual(sum(r["committed"] for r in rows), 4 << 20)
        (row,) = [r for r in page["spaces"] if r["name"] == "empty"]
        self.assertEqual((row["asked"], row["committed"]), ("default", 0))
        self.assertTrue(self.ok("numa").startswith("NODE\tCPUS\tMEMORY\t"))

    def test_a_space_gets_another_mode_and_owner(self):
        self.space("owned", "--limit", "1M")
        for mode, want in (("0640", "0640"), ("777", "0777"), ("0", "0000")):
            self.assertEqual(self.ok("spaces", "chmod", mode, "owned"), "")
            self.assertEqual(self.row("owned")["mode"], want)
        user, root = os.getuid(), os.getuid() == 0
        for spec, want in (("%d" % user, None), (":%d" % os.getgid(), os.getgid()),
                           ("%d:%d" % (user, os.getgid()), os.getgid())):
            self.assertEqual(self.ok("spaces", "chown", spec, "owned"), "")
            self.assertEqual(self.row("owned")["uid"], user)
            if want is not None:
                self.assertEqual(self.row("owned")["gid"], want)
        if root:
            self.ok("spaces", "chown", "nobody:", "owned")
            self.assertEqual((self.row("owned")["uid"], self.row("owned")["gid"]),
                             (65534, 65534))
            self.ok("spaces", "chown", "4000000:daemon", "owned")
            self.assertEqual((self.row("owned")["uid"], self.row("owned")["gid"]),
                             (4000000, 1))

    def test_modes_and_owners_that_make_no_sense_are_refused_by_name(self):
        self.space("kept", "--limit", "1M")
        before = self.row("kept")
        for mode in "0999", "1777", "rw", "", "07777777777777777777777":
            self.assertIn("three octal digits",
                          self.refused(2, "spaces", "chmod", mode, "kept"))
        self.assertIn('no user "nosuchuser"',
                      self.refused(2, "spaces", "chown", "nosuchuser", "kept"))
        self.assertIn('no group "nosuchgroup"',
                      self.refused(2, "spaces", "chown", ":nosuchgroup", "kept"))
        self.assertIn("no user", self.refused(2, "spaces", "chown", "4294967295", "kept"))
        self.assertIn("neither", self.refused(2, "spaces", "chown", "", "kept"))
        self.assertIn("whose group", self.refused(2, "spaces", "chown", ":", "kept"))
        self.assertIn("MODE SPACE", self.refused(2, "spaces", "chmod", "0640"))
        self.assertIn("USER[:GROUP]", self.refused(2, "spaces", "chown"))
        for name, status in (("nosuch", 3), ("a/b", 2), ("x" * 300, 2)):
            self.refused(status, "spaces", "chmod", "0640", name)
            self.refused(status, "spaces", "chown", str(os.getuid()), name)
        self.assertEqual(self.row("kept"), before)

    def test_whoever_may_all_keeps_a_space_open_through_a_chmod(self):
        self.space("closing", "--limit", "8M")
        client = self.client()
        space = client.ask("space.open", name="closing")["space"]
        self.ok("spaces", "chmod", "0", "closing")
        client.ask("extent.alloc", space=space, size=65536)

    def test_a_change_that_says_nothing_or_too_much_is_refused_by_its_field(self):
        self.space("typed", "--limit", "1M")
        client = self.client()
        for field, value in (("set", 0), ("set", 128), ("weight", 1 << 32), ("mode", 1 << 40),
                             ("uid", 1 << 32), ("gid", 1 << 33)):
            with self.assertRaisesRegex(AssertionError, field):
                client.ask("space.change", **{"name": "typed", "set": 127, field: value})

    def test_clients_are_listed_with_what_they_hold(self):
        self.space("held", "--limit", "8M")
        client = self.client("holder")
        space = client.ask("space.open", name="held")["space"]
        client.ask("extent.alloc", space=space, size=1 << 20)
        (row,) = [r for r in self.json("clients")["clients"] if r["name"] == "holder"]
        self.assertEqual((row["pid"], row["used"], row["spaces"]), (os.getpid(), 1 << 20, 1))
        self.json("status")
        stats = self.json("stats")
        (row,) = [r for r in stats["spaces"] if r["name"] == "held"]
        self.assertEqual((row["used"], row["limit"], row["failed"]), (1 << 20, 8 << 20, 0))
        self.assertGreaterEqual(row["peak"], 1 << 20)
        self.assertIn(os.getpid(), [r["pid"] for r in stats["clients"]])

    def test_blocks_are_shown_by_class_of_a_space_and_of_a_client(self):
        self.space("classy", "--limit", "8M", "--numa", "local")
        self.space("plain", "--limit", "8M")
        client = self.client("cutter")
        spaces = [client.ask("space.open", name=name)["space"] for name in ("classy", "plain")]
        for space in spaces:
            client.ask("extent.alloc", space=space, size=1 << 20)
        fds = []
        client.ask("returns.open", keep=fds)
        # The report behind the ring's records: turn, rows; each row key, slices, live blocks.
        with mmap.mmap(fds[0], 12288) as ring:
            struct.pack_into("<6Q", ring, 4096 + 32, spaces[0] << 32, 4, 0,
                             spaces[0] << 32 | 1, 8, 1000)
            struct.pack_into("<3Q", ring, 4096 + 80, spaces[0] << 32 | 1 << 16 | 2, 1, 100)
            struct.pack_into("<2Q", ring, 4096, 1, 3)
        os.close(fds[0])
        sums = {"all": (1 << 20, (3 << 16) + 64000 + 12800, 1100),
                "extents": (3 << 16, 3 << 16, 0), "spare": (4 << 16, 0, 0),
                "64": (8 << 16, 64000, 1000), "128 shared": (1 << 16, 12800, 100)}
        shown = self.json("stats", "--classes", "classy")
        self.assertEqual([list(shown), list(shown["spaces"][0]), list(shown["clients"][0])], [
            ["spaces", "clients"],
            ["name", "space", "class", "kind", "size", "leased", "live", "cached", "blocks"],
            ["session", "pid", "client", "name", "space", "class", "kind", "size", "leased",
             "live", "cached", "blocks"]])
        rows = {r["class"]: (r["leased"], r["live"], r["blocks"]) for r in shown["clients"]}
        self.assertEqual(list(rows), ["all", "extents", "spare", "64", "128 shared"])
        self.assertEqual(rows, sums)
        self.assertEqual({r["class"]: (r["leased"], r["live"], r["blocks"])
                          for r in shown["spaces"]}, sums)
        self.assertTrue(all(r["leased"] == r["live"] + r["cached"] for r in shown["clients"]))
        session = shown["clients"][0]["session"]
        out = self.ok("stats", "--classes", str(session))
        self.assertTrue(out.startswith("SPACE\tCLASS\tLEASED\tLIVE\tCACHED\tBLOCKS\n"), out)
        self.assertIn("\nclassy\t64\t524288\t64000\t460288\t1000\n", out)
        self.assertIn("%d\t%d\tcutter\tplain\textents\t1048576\t1048576\t0\t0\n" %
                      (session, os.getpid()), out)
        self.json("status")
        stats = self.json("stats")
        (row,) = [r for r in stats["spaces"] if r["name"] == "classy"]
        cached = (1 << 20) - sums["all"][1]
        self.assertEqual((row["live"], row["cached"], row["numa"]),
                         (sums["all"][1], cached, "local"))
        (share,) = [r for r in stats["shares"] if r["name"] == "classy"]
        self.assertEqual((share["asked"], share["used"]), ("local", 1 << 20))
        for rows in stats["clients"], self.json("clients")["clients"]:
            (row,) = [r for r in rows if r["name"] == "cutter"]
            self.assertEqual((row["live"], row["cached"]), ((2 << 20) - cached, cached))

    def test_whose_classes_are_asked_for_must_be_there(self):
        self.assertIn("nosuch", self.refused(3, "stats", "--classes", "nosuch"))
        self.assertIn("--classes", self.refused(2, "stats", "nosuch"))
        self.assertEqual(ctl("clients", "--classes", path=self.path)[0], 2)

    def test_a_name_is_escaped_in_each_form(self):
        name = 'evil "name\\'
        self.client(name)
        for verb in "clients", "stats":
            self.json("status")
            self.assertIn('\tevil "name\\\\\t', self.ok(verb))
            self.assertIn(name, [r["name"] for r in self.json(verb)["clients"]])

    def test_failures_are_counted_by_their_reason(self):
        self.space("tight", "--limit", "1M")
        client = self.client()
        space = client.ask("space.open", name="tight")["space"]
        for size in 2 << 20, 1 << 62:
            with self.assertRaises(AssertionError):
                client.ask("extent.alloc", space=space, size=size)
        self.json("status")
        stats = self.json("stats")
        (row,) = [r for r in stats["spaces"] if r["name"] == "tight"]
        self.assertEqual(row["failed"], 2)
        self.assertEqual(sum(v for k, v in row.items() if k.startswith("failed_")), 2)
        self.assertGreaterEqual(sum(stats["failures"].values()), 2)

    def test_stats_has_its_tables_in_a_pipe(self):
        self.space("shown", "--limit", "8M")
        self.json("status")
        out = self.ok("stats")
        self.assertTrue(out.startswith(
            "SPACE\tOWNER\tUSED\tPEAK\tLIMIT\tCOMMITTED\tLARGEST\tFAILED\tLIVE\tCACHED\tNUMA\n"), out)
        self.assertRegex(out, r"(?m)^shown\t[^\t]+\t0\t0\t8388608\t")
        self.assertRegex(out, r"(?m)^NODE\tUSED\tCOMMITTED\tCAPACITY\n0\t\d+\t\d+\t\d+$")
        self.assertRegex(out, r"(?m)^REGION\t%d$" % REGION)
        self.assertRegex(out, r"(?m)^FAILED: NO MEMORY\t\d+$")

    def test_the_schema_of_stats_is_stable(self):
        stats = self.json("stats")
        self.assertEqual(list(stats), ["daemon", "spaces", "nodes", "shares", "caches", "pins",
                                       "hot", "clients", "totals", "failures"])
        self.assertEqual(list(stats["daemon"]), ["pid", "version", "socket", "epoch", "page",
                                                 "isolates", "beat_age_ms", "alive",
                                                 "losses", "quarantine"])
        self.assertEqual(stats["daemon"]["pid"], self.daemon.process.pid)
        self.assertEqual(stats["daemon"]["page"], 4096)
        self.assertIs(stats["daemon"]["alive"], True)
        self.assertEqual(list(stats["totals"]), [
            "region", "committed", "used", "peak", "spaces", "sessions", "caches", "requests",
            "allocs", "frees", "refused"])
        self.assertEqual(list(stats["failures"]), [
            "memory", "too_large", "budget_region", "budget_space", "budget_client"])

    def test_ping_counts_its_round_trips(self):
        ping = self.json("ping", "-n", "25")
        self.assertEqual(ping["count"], 25)
        self.assertLessEqual(ping["min_ns"], ping["median_ns"])
        self.assertLessEqual(ping["median_ns"], ping["max_ns"])
        self.assertRegex(self.ok("ping"), r"^PINGS\t100\nMIN\t\d+\nMEDIAN\t\d+\nMAX\t\d+\n$")

    def test_the_demo_verifies_every_step_and_leaves_nothing(self):
        out = self.ok("demo")
        self.assertRegex(out, r"(?m)^ 1\. .*it may hold")
        self.assertIn("stale", out)
        self.assertIn("SIGKILL", out)
        steps = self.json("demo")["steps"]
        self.assertEqual([s["step"] for s in steps], list(range(1, len(steps) + 1)))
        self.assertEqual(len(steps), len(out.splitlines()))
        names = [r["name"] for r in self.json("spaces")["spaces"]]
        self.assertEqual([n for n in names if n.startswith("demo-")], [])

    def test_two_demos_at_once_do_not_meet(self):
        demos = [subprocess.Popen([CTL, "demo", "--socket", self.path],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                 for _ in range(2)]
        for demo in demos:
            _, err = demo.communicate(timeout=DEADLINE_S)
            self.assertEqual((demo.returncode, err), (0, b""))

    def test_a_full_disk_behind_stdout_is_a_failure(self):
        with open("/dev/full", "wb") as full:
            for args in ["status"], ["help"], ["demo"]:
                code, _, err = ctl(*args, path=self.path, stdout=full)
                self.assertEqual(code, 1, args)
                self.assertIn("standard output", err)

    def watch(self, *args):
        process = subprocess.Popen([CTL, *args, "--socket", self.path],
                                   stdout=subprocess.PIPE)

        def end():
            process.kill()
            process.wait()
            process.stdout.close()
        self.addCleanup(end)
        return process.stdout

    def test_watched_in_a_pipe_it_prints_a_block_each_period(self):
        out = self.watch("spaces", "--watch=0.05")
        blocks = 0
        while blocks < 3:
            line = out.readline()
            self.assertNotEqual(line, b"")
            blocks += line == b"\n"

    def test_watched_as_json_it_prints_an_object_on_each_line(self):
        out = self.watch("stats", "--json", "--watch=0.05")
        for _ in range(3):
            self.assertIn("spaces", json.loads(out.readline()))

    def on_terminal(self, *args, until=None, env=None):
        """What a terminal gets; with `until`, as soon as it has got that twice."""
        main, side = pty.openpty()
        process = subprocess.Popen([CTL, *args, "--socket", self.path], stdout=side,
                                   env=env or {**os.environ, "TERM": "xterm"})
        os.close(side)
        text = b""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and not (until and text.count(until) >= 2):
            if not select.select([main], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(main, 65536)
            except OSError:
                break
            if not data:
                break
            text += data
        if until:
            process.kill()
        status = process.wait(DEADLINE_S)
        os.close(main)
        return status, text.decode("ascii").replace("\r\n", "\n")

    def test_on_a_terminal_columns_are_aligned_under_a_bold_header(self):
        self.space("seen", "--limit", "8M")
        self.json("status")
        for verb in "spaces", "stats":
            status, text = self.on_terminal(verb)
            self.assertEqual(status, 0)
            lines = text.splitlines()
            self.assertTrue(lines[0].startswith("\033[1mSPACE"), lines[0])
            self.assertTrue(lines[0].endswith("\033[0m"), lines[0])
            header = re.sub("\033\\[[01]m", "", lines[0])
            (row,) = [line for line in lines if line.startswith("seen ")]
            end = header.index("LIMIT") + len("LIMIT")
            self.assertEqual(row[:end].split("  ")[-1].strip(), "8 MiB")
            self.assertFalse(row.endswith(" "))

    def test_a_plain_terminal_gets_no_bold_header(self):
        for env in {"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}:
            _, text = self.on_terminal("spaces", env={**os.environ, **env})
            self.assertTrue(text.startswith("SPACE "), text)

    def test_watched_on_a_terminal_it_draws_over_itself(self):
        _, text = self.on_terminal("spaces", "--watch=0.05", until=b"\033[H\033[J")
        self.assertEqual(text.split("\033[H\033[J")[0], "")


class WithSmallDaemon(unittest.TestCase):
    def test_the_demo_takes_no_more_than_there_is(self):
        daemon = Daemon(4 << 20)
        self.addCleanup(daemon.stop)
        code, out, err = ctl("demo", path=daemon.path)
        self.assertEqual((code, err), (0, ""), daemon.said())
        self.assertIn("SIGKILL", out)

    def test_a_demo_that_lacks_memory_says_so_once(self):
        daemon = Daemon(4 << 20)
        self.addCleanup(daemon.stop)
        code, _, err = ctl("spaces", "create", "most", "--limit", "3M", "--reserve", "3M",
                           path=daemon.path)
        self.assertEqual((code, err), (0, ""))
        code, _, err = ctl("demo", path=daemon.path)
        self.assertEqual(code, 6, err)
        self.assertRegex(err, r"^varbosctl: demo: make a space: .*\n$")


class StoppedAndDead(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.stop)

    def test_stats_answers_while_the_daemon_is_stopped_and_says_how_old_it_is(self):
        ctl("spaces", "create", "kept", "--limit", "1M", path=self.daemon.path)
        ctl("status", path=self.daemon.path)
        self.daemon.process.send_signal(signal.SIGSTOP)
        code, out, err = ctl("status", "--timeout", "0.2", path=self.daemon.path)
        self.assertEqual(code, 8, err)
        code, out, err = ctl("demo", "--timeout", "0.2", path=self.daemon.path)
        self.assertEqual((code, out), (8, ""))
        self.assertRegex(err, r"^varbosctl: demo: .*within 200 ms.*\n$")

        def silent():
            code, out, err = ctl("stats", path=self.daemon.path)
            self.assertEqual(code, 0, err)
            self.assertIn("kept", out)
            return err
        wait_for(silent, "the beat to grow old")
        self.assertRegex(silent(), r"pid %d\).*\d+\.\d s old" % self.daemon.process.pid)
        out = ctl("stats", "--json", path=self.daemon.path)[1]
        self.assertIs(json.loads(out)["daemon"]["alive"], False)

        self.daemon.process.send_signal(signal.SIGCONT)
        wait_for(lambda: not silent(), "the beat to be fresh again")

    def test_a_killed_daemons_file_is_said_to_be_left(self):
        self.daemon.process.kill()
        os.waitid(os.P_PID, self.daemon.process.pid, os.WEXITED | os.WNOWAIT)
        for _ in "a zombie", "reaped":
            code, out, err = ctl("stats", path=self.daemon.path)
            self.assertEqual((code, out), (4, ""))
            self.assertIn("dead (pid %d)" % self.daemon.process.pid, err)
            self.daemon.process.wait()
        self.assertEqual(ctl("status", path=self.daemon.path)[0], 4)

    def test_a_watch_ends_with_its_daemon(self):
        watch = subprocess.Popen([CTL, "stats", "--json", "--watch=0.05", "--socket",
                                  self.daemon.path], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        watch.stdout.readline()
        self.daemon.process.kill()
        watch.communicate(timeout=DEADLINE_S)
        self.assertEqual(watch.returncode, 4)


if __name__ == "__main__":
    sys.stdout = sys.stderr
    unittest.main(verbosity=2)
