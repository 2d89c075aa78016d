#!/usr/bin/python3
"""An idle daemon costs nothing: over ten seconds no tick of processor time and at most two
wake-ups a second, counted by the kernel, with a client connected that holds memory."""

import os
import subprocess
import sys
import tempfile
import time

SECONDS = 10
SETTLE = 4  # memory that the demo left behind is given back meanwhile


def counted(pid):
    """Ticks of the process; voluntary switches (each wake-up ends in one) of all its threads."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    switches = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as status:
            for line in status:
                if line.startswith("voluntary_ctxt_switches"):
                    switches += int(line.split()[1])
    return ticks, switches


def main():
    daemon_path, ctl_path, holder_path = sys.argv[1:4]
    with tempfile.TemporaryDirectory(prefix="varbos-idle-") as folder:
        socket = os.path.join(folder, "sock")
        daemon = subprocess.Popen([daemon_path, "--socket", socket, "--size", "32M"])
        holder = None
        try:
            for _ in range(500):
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
            ticks, switches = counted(daemon.pid)
            time.sleep(SECONDS)
            after_ticks, after_switches = counted(daemon.pid)
        finally:
            if holder:
                holder.stdin.close()
                holder.wait(20)
            daemon.terminate()
            status = daemon.wait(20)

    ticks, wakeups = after_ticks - ticks, (after_switches - switches) / SECONDS
    print(f"{ticks} ticks, {wakeups:.1f} wake-ups a second over {SECONDS} s")
    assert status == 0, f"the daemon ended with {status}"
    assert ticks == 0, "an idle daemon uses processor time"
    assert wakeups <= 2, "an idle daemon wakes too often"


main()
