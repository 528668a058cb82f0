"""One forwarder under measurement: started by its adapter, watched until it listens, and stopped."""

import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ADAPTERS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "adapters")
LOADGEN = os.environ.get("LOADGEN_BIN", "loadgen")
# Where the target listens; a range's own ports lead to ports that nobody listens on.
TARGET = 7000
LOCAL = "127.0.0.1"
# An adapter's way to say that its forwarder is missing or cannot do this.
NOT_SUPPORTED = 77
# User and group `nobody`, of which every system has these.
NOBODY = 65534
PATIENCE = 10
# linux/netlink.h
NETLINK_SOCK_DIAG, NLMSG_ERROR, NLMSG_DONE = 4, 2, 3


def asked(family):
    """The local ports of the listening TCP sockets: sock_diag, for /proc/net/tcp takes the kernel 10 ms or more."""
    # `struct inet_diag_req_v2` behind `struct nlmsghdr`; SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, TCP_LISTEN.
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 1 << 10) + bytes(48)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.send(struct.pack("=IHHII", 16 + len(request), 20, 0x301, 1, 0) + request)
        while True:
            data, at = kernel.recv(1 << 17), 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    raise OSError("sock_diag is not to be had")
                # `struct inet_diag_msg`: four bytes, then the local port.
                yield struct.unpack_from("!H", data, at + 20)[0]
                at += (length + 3) & ~3


def told(protocol):
    """The local ports of the bound sockets; of TCP, of those in LISTEN."""
    for table in (protocol, protocol + "6"):
        try:
            with open(f"/proc/net/{table}") as lines:
                next(lines)
                for line in lines:
                    fields = line.split()
                    if protocol == "udp" or fields[3] == "0A":
                        yield int(fields[1].rsplit(":", 1)[1], 16)
        except FileNotFoundError:
            pass


def listening(protocol, first, count):
    """How many of these ports are bound; TCP ones are in LISTEN."""
    try:
        ports = {*asked(socket.AF_INET), *asked(socket.AF_INET6)} if protocol == "tcp" else set(told(protocol))
    except OSError:
        ports = set(told(protocol))
    return sum(first <= port < first + count for port in ports)


def note(text):
    print(f"# {text}", file=sys.stderr, flush=True)


class Peer:
    """A forwarder that listens, or one whose `ok` is false."""

    control = 14000

    def __init__(self, name, mode, port, scratch, target=TARGET, count=1, host=LOCAL, nobody=False, more=()):
        self.name, self.port, self.host, self.ok = name, port, host, True
        self.processes, self.pid, self.start_ms = [], 0, None
        if name == "direct":
            self.port = target
            return
        folder = tempfile.mkdtemp(prefix=f"{name}-{mode}-", dir=scratch)
        # Three ports below the ephemeral ones of the namespace for each that needs ports of its own.
        Peer.control = 14000 + (Peer.control - 14000 + 3) % 1500
        self.environment = dict(
            os.environ, HOST=host, LISTEN=str(port), TARGET=str(target), MODE=mode, RANGE=str(count),
            CONTROL=str(Peer.control), BENCH_TMP=folder, HOME=folder, **dict(more),
        )
        self.environment.setdefault("THREADS", str(os.cpu_count()))
        self.wrapper = []
        if nobody:
            os.chown(folder, NOBODY, NOBODY)
            self.wrapper = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
        with open(os.path.join(folder, "log"), "w") as self.log:
            companion = os.path.join(ADAPTERS, name + ".companion.sh")
            if os.path.exists(companion):
                process = self.spawn(companion)
                self.ok = self.wait(process, "tcp", Peer.control, 1)
            if self.ok:
                begin = time.monotonic()
                process = self.spawn(os.path.join(ADAPTERS, name + ".sh"))
                self.pid = process.pid
                self.ok = self.wait(process, "udp" if mode == "udp" else "tcp", port, count)
                self.start_ms = (time.monotonic() - begin) * 1000
        if not self.ok:
            self.stop()

    def spawn(self, script):
        process = subprocess.Popen(
            [*self.wrapper, script], env=self.environment, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL
        )
        self.processes.append(process)
        return process

    def wait(self, process, protocol, first, count):
        deadline = time.monotonic() + PATIENCE
        while listening(protocol, first, count) < count:
            if process.poll() is not None:
                if process.returncode != NOT_SUPPORTED:
                    note(f"{self.name} ended with {process.returncode}; run with --keep and see {self.log.name}")
                return False
            if time.monotonic() > deadline:
                note(f"{self.name} does not listen after {PATIENCE} s; run with --keep and see {self.log.name}")
                return False
            time.sleep(0.001)
        return True

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(3)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.processes = []
