#!/usr/bin/python3
"""An idle daemon costs nothing: over ten seconds less than one tick of processor time and at most
two wake-ups a second, counted by the kernel, with a client connected that holds memory.

The time is read in nanoseconds: what /proc/PID/stat says in ticks may step on by one for a
microsecond's work, if what came before had nearly filled it."""

import os
import subprocess
import sys
import tempfile
import time

SECONDS = 10
SETTLE = 4  # memory that the demo left behind is given back meanwhile
TICK = 1e9 / os.sysconf("SC_CLK_TCK")
WAKEUPS = 2
WINDOWS = 3  # on a busy machine that may take longer: it is idle as soon as one of these is


def counted(pid):
    """Time run, and voluntary switches (each wake-up ends in one), of all its threads."""
    ran = switches = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as schedstat:
            ran += int(schedstat.read().split()[0])
        with open(f"/proc/{pid}/task/{task}/status") as status:
            for line in status:
                if line.startswith("voluntary_ctxt_switches"):
                    switches += int(line.split()[1])
    return ran, switches


def measured(pid):
    """Time run, and wake-ups a second."""
    ran, switches = counted(pid)
    time.sleep(SECONDS)
    after_ran, after_switches = counted(pid)
    return after_ran - ran, (after_switches - switches) / SECONDS


def is_idle(ran, wakeups):
    return ran < TICK and wakeups <= WAKEUPS


def main():
    daemon_path, ctl_path, holder_path = sys.argv[1:4]
    with tempfile.TemporaryDirectory(prefix="varbos-idle-") as folder:
        socket = os.path.join(folder, "sock")
        daemon = subprocess.Popen([daemon_path, "--no-config", "--socket", socket, "--size", "32M",
                                   "--pages", "4K"])
        holder = None
        try:
            for _ in range(3000):
                if os.path.exists(socket + ".stats"):
                    break
                time.sleep(0.01)
            environment = dict(os.environ, VARBOS_SOCKET=socket)
            subprocess.run([ctl_path, "--socket", socket, "demo"], check=True,
                           stdout=subprocess.DEVNULL)
            holder = subprocess.Popen([holder_path, socket], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, env=environment)
            assert holder.stdout.readline(), "the holder does not hold"
            time.sleep(SETTLE)
            for _ in range(WINDOWS):
                ran, wakeups = measured(daemon.pid)
                if is_idle(ran, wakeups):
                    break
        finally:
            if holder:
                holder.stdin.close()
                holder.wait(20)
            daemon.terminate()
            status = daemon.wait(20)

    print(f"{ran / TICK:.3f} ticks, {wakeups:.1f} wake-ups a second over {SECONDS} s")
    assert status == 0, f"the daemon ended with {status}"
    assert ran < TICK, "an idle daemon uses processor time"
    assert wakeups <= WAKEUPS, "an idle daemon wakes too often"


main()
