#!/usr/bin/python3
"""Real traces through caches of a daemon, held to what sim says of each policy:
live.py VARBOSD VARBOSCTL LIVE TRACE:CAPACITY[:REQUESTS]..."""

import json
import lzma
import os
import socket
import subprocess
import sys
import tempfile
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
POLICIES = ("fifo", "clock", "lru", "lfu", "sieve", "2q", "s3fifo", "wtinylfu", "gdsf")
PROCESSES = (1, 4)
TOLERANCE = 0.01
KEY_BYTES = 4
PATIENCE_S = 600


def simulate(varbosctl, path, capacity):
    """{policy: what sim says}"""
    said = subprocess.run([varbosctl, "sim", "--policy", ",".join(POLICIES), "--capacity",
                           str(capacity), "--json", "--format", "u32be", path],
                          check=True, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S).stdout
    return {line["policy"]: line for line in map(json.loads, said.splitlines())}


class Daemon:
    """One of the test's own, for one replay."""

    def __init__(self, varbosd, folder):
        self.socket = os.path.join(folder, "socket")
        self.process = subprocess.Popen(
            [varbosd, "--no-config", "--socket", self.socket, "--size", "512M", "--pages", "4K"],
            stderr=open(os.path.join(folder, "log"), "wb"))
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the daemon does not start: " +
                                 open(os.path.join(folder, "log"), errors="replace").read())
            time.sleep(0.01)

    def answers(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
            return peer.connect_ex(self.socket) == 0

    def stop(self):
        self.process.terminate()
        if self.process.wait(PATIENCE_S):
            raise SystemExit(f"the daemon ended with {self.process.returncode}")


def replay(varbosd, live, path, capacity, policy, processes):
    """What a cache of that policy missed."""
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(varbosd, folder)
        try:
            said = subprocess.run([live, daemon.socket, path, "0", str(capacity), policy,
                                   str(processes)], check=True, stdout=subprocess.PIPE, text=True,
                                  timeout=PATIENCE_S).stdout
        finally:
            daemon.stop()
    return json.loads(said)


def unpack(trace, requests, file):
    """The first so many requests of a trace; 0: all."""
    with lzma.open(os.path.join(FOLDER, trace + ".trace.xz")) as packed:
        file.write(packed.read(requests * KEY_BYTES if requests else -1))
    file.flush()


def main():
    varbosd, varbosctl, live = sys.argv[1:4]
    compared = wrong = 0
    for place in sys.argv[4:]:
        trace, capacity, requests = (place.split(":") + ["0"])[:3]
        with tempfile.NamedTemporaryFile() as file:
            unpack(trace, int(requests), file)
            wanted = simulate(varbosctl, file.name, capacity)
            for policy in POLICIES:
                for processes in PROCESSES:
                    begun = time.monotonic()
                    found = replay(varbosd, live, file.name, capacity, policy, processes)
                    ratio = found["misses"] / found["requests"]
                    good = (found["requests"] == wanted[policy]["requests"]
                            and ratio <= wanted[policy]["miss_ratio"] + TOLERANCE)
                    compared += 1
                    wrong += not good
                    print(f"{'ok    ' if good else 'WRONG '} {trace:9} {capacity:>5} {policy:8} "
                          f"by {processes}: {ratio:.4f}, sim {wanted[policy]['miss_ratio']:.4f} "
                          f"({ratio - wanted[policy]['miss_ratio']:+.4f}), "
                          f"{time.monotonic() - begun:.1f} s", flush=True)
    print(f"{compared} compared, {wrong} wrong")
    sys.exit(1 if wrong or not compared else 0)


if __name__ == "__main__":
    main()
