#!/usr/bin/python3
"""A client of varbosd that knows nothing but proto/README.md.

usage: stranger.py SOCKET SPACE

Creates the space (or takes the one that is there), allocates 1 MiB of shared memory in it, fills
it so that byte i holds i % 251, and prints the reference to its first byte as 16 hex digits. It
keeps the memory until a line (or the end) comes on standard input, then says bye and ends; the
memory stays. Exit status 0, or 1 with the reason on standard error.
"""

import array
import mmap
import os
import pwd
import socket
import struct
import sys

import msgpack

REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2
EXISTS = 11
MESSAGE_MAX = 65536
FDS_MAX = 2
SLICE = 65536
ROOT_BYTES = 12288
ROOT_MAGIC = 0x31544F4F52425256
WINDOW_GRANTED = 2
EXTENT_SHARED = 2
MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # not every Python has the name
SIZE = 1 << 20


class Fault(Exception):
    def __init__(self, fault):
        super().__init__(f"error {fault['code']}: {fault['message']}")
        self.code = fault["code"]


def expect(condition, text):
    """Like assert, but -O does not remove it."""
    if not condition:
        raise RuntimeError(text)


def bits(word, low, count):
    return word >> low & (1 << count) - 1


class Connection:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        self.socket.connect(path)
        self.last_id = 0
        credentials = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.daemon_uid = struct.unpack("3i", credentials)[1]

    def receive(self):
        """One message and the descriptors that came with it."""
        fds = array.array("i")
        data, control, flags, _ = self.socket.recvmsg(
            MESSAGE_MAX, socket.CMSG_SPACE(FDS_MAX * fds.itemsize), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, payload in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        expect(data, "the daemon closed the connection")
        expect(not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC), "a message was cut short")
        return msgpack.unpackb(data), list(fds)

    def call(self, method, params, n_fds=0):
        """The result, followed by its descriptors if it has any."""
        self.last_id += 1
        self.socket.send(msgpack.packb([REQUEST, self.last_id, method, params]))
        while True:
            message, fds = self.receive()
            if message[0] == RESPONSE and message[1] in (self.last_id, 0):
                break
            expect(message[0] == NOTIFICATION, f"not to be expected: {message}")
        _, _, error, result = message
        if error is not None:
            raise Fault(error)
        expect(len(fds) == n_fds, f"{method}: {len(fds)} descriptors instead of {n_fds}")
        return (result, *fds) if n_fds else result


def trusted_uids():
    try:
        return {0, os.getuid(), pwd.getpwnam("varbos").pw_uid}
    except KeyError:
        return {0, os.getuid()}


def map_file(fd, size, writable=False):
    """Map a descriptor and close it."""
    expect(os.fstat(fd).st_size >= size, "a file is smaller than was announced")
    mapping = mmap.mmap(
        fd,
        size,
        flags=mmap.MAP_SHARED | MAP_NORESERVE,
        prot=mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0),
    )
    os.close(fd)
    mapping.madvise(mmap.MADV_DONTFORK)
    return mapping


def word_at(mapping, at):
    """An aligned word, by one load: indexing a view of words is that."""
    with memoryview(mapping) as plain, plain.cast("Q") as words:
        return words[at // 8]


def check_root(root, space, epoch, layout, window, opened):
    expect(word_at(root, 0) == ROOT_MAGIC, "not a root file")
    expect(word_at(root, 8) == space << 32 | layout, "the root file of another space or layout")
    expect(word_at(root, 16) == epoch, "the root file is of another daemon")
    word = word_at(root, 4096 + 8 * window)
    expect(bits(word, 0, 3) == WINDOW_GRANTED, "the root file does not know the window")
    expect(1 << bits(word, 9, 6) == opened["page"], "the window has other pages")
    expect(1 << bits(word, 15, 6) == opened["size"], "the window has another size")
    expect(bits(word, 21, 16) == opened["generation"], "it is another window")


def check_slices(slices, first, extent):
    """Each slice carries kind and tag; the first one the rest, too."""
    count = extent["size"] // SLICE
    for i in range(first, first + count):
        word = word_at(slices, 8 * i)
        expect(bits(word, 0, 20) == extent["tag"], f"slice {i} has another tag")
        expect(bits(word, 20, 3) == EXTENT_SHARED, f"slice {i} is of another kind")
        expect(bits(word, 23, 1) == (i == first), f"slice {i}: head where none is, or none")
    head = word_at(slices, 8 * first)
    expect(bits(head, 24, 20) == count, "the extent has another length")
    expect(bits(head, 44, 20) == 0, "a shared extent belongs to no session")


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: stranger.py SOCKET SPACE")
    path, name = sys.argv[1:]

    daemon = Connection(path)
    expect(daemon.daemon_uid in trusted_uids(), f"a daemon of uid {daemon.daemon_uid}")
    welcome = daemon.call(
        "hello", {"protocol": 1, "layout_min": 1, "layout_max": 1, "name": "stranger"}
    )
    expect(welcome["protocol"] == 1 and welcome["layout"] == 1, "versions that were not agreed on")

    try:
        daemon.call("space.create", {"name": name, "mode": 0o660})
    except Fault as fault:
        if fault.code != EXISTS:
            raise
    opened, root_fd = daemon.call("space.open", {"name": name}, n_fds=1)
    space = opened["space"]
    root = map_file(root_fd, ROOT_BYTES)

    extent = daemon.call("extent.alloc", {"space": space, "size": SIZE, "shared": True})
    window, position = extent["offset"] >> 34, extent["offset"] & (1 << 34) - 1
    granted, data_fd, slices_fd = daemon.call(
        "window.open", {"space": space, "window": window}, n_fds=2
    )
    data = map_file(data_fd, granted["size"], writable=True)
    slices = map_file(slices_fd, granted["size"] // SLICE * 8)
    check_root(root, space, welcome["epoch"], welcome["layout"], window, granted)
    check_slices(slices, position // SLICE, extent)

    expect(extent["size"] >= SIZE, "less than was asked for")
    pattern = bytes(range(251))
    data[position : position + SIZE] = (pattern * (SIZE // 251 + 1))[:SIZE]
    print(f"{extent['tag'] << 44 | extent['offset']:016x}", flush=True)
    sys.stdin.readline()

    data.close()
    slices.close()
    root.close()
    daemon.call("bye", {})


if __name__ == "__main__":
    try:
        main()
    except (Fault, RuntimeError, OSError) as error:
        sys.exit(f"stranger.py: {error}")
