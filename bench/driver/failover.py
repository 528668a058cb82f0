"""Targets that die and come back: how long forwarders with the same checks go on using the one, and avoid the other.

All forwarders have the same two targets, each by a port of its own, and one client each that reconnects in a loop. A
socket on the loopback device sees every SYN, so that a connection to a dead target counts as well.
"""

import collections
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from peers import LOCAL, TARGET, note

# What both are told: a probe a second, down after the third failure, up after the second success.
INTERVAL, FALL, RISE = 1, 3, 2
# The ports of a target: for the checks of each forwarder, and for its connections.
MOST = 8
CHECK, SERVING = TARGET + 20, TARGET + 20 + MOST
PREFERRED, SPARE = LOCAL, "127.0.0.2"
# Between two connections of a client.
PACE = 0.005
# A target counts as given up, or as taken back, when that has held for longer than any forwarder takes until its next probe.
QUIET = 2.5 * INTERVAL
PATIENCE = 30
ETH_P_IP, PACKET_OUTGOING = 0x0800, 4
SYN, ACK = 0x02, 0x10

# Arguments: letter, address, ports. The first half of the ports is for checks, connections of the others get the letter.
# SIGUSR1 closes the first half for good, and nothing else.
SERVE = """
import selectors, signal, socket, sys
chosen = selectors.DefaultSelector()
checks = []
for port in sys.argv[3:]:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((sys.argv[2], int(port)))
    listener.listen(512)
    listener.setblocking(False)
    is_check = len(checks) < len(sys.argv[3:]) // 2
    chosen.register(listener, selectors.EVENT_READ, not is_check)
    if is_check:
        checks.append(listener)
def sick(*_):
    for listener in checks:
        chosen.unregister(listener)
        listener.close()
signal.signal(signal.SIGUSR1, sick)
print("ready", flush=True)
while True:
    for key, _ in chosen.select():
        try:
            stream, _ = key.fileobj.accept()
            if key.data:
                stream.send(sys.argv[1].encode())
            stream.close()
        except OSError:
            pass
"""


class Target:
    def __init__(self, letter, address):
        self.command = [sys.executable, "-c", SERVE, letter, address, *map(str, range(CHECK, CHECK + 2 * MOST))]
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, start_new_session=True)
        self.process.stdout.readline()

    def end(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        if how == signal.SIGKILL:
            self.process.wait()
            self.process.stdout.close()


class Sniffer(threading.Thread):
    """When SYNs went to each port of the preferred target, since `forget`."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind(("lo", ETH_P_IP))
        self.target = socket.inet_aton(PREFERRED)
        self.seen = collections.defaultdict(list)
        self.start()

    def run(self):
        while True:
            packet, address = self.socket.recvfrom(96)
            # Each packet of the loopback is seen going out and coming in.
            if address[2] == PACKET_OUTGOING or packet[9] != socket.IPPROTO_TCP or packet[16:20] != self.target:
                continue
            tcp = packet[(packet[0] & 15) * 4:]
            if tcp[13] & (SYN | ACK) == SYN:
                self.seen[struct.unpack_from("!H", tcp, 2)[0]].append(time.monotonic())

    def forget(self):
        self.seen = collections.defaultdict(list)

    def after(self, port, moment):
        """The first one after a moment; 0 before there is one."""
        return next((at for at in list(self.seen[port]) if at > moment), 0)

    def last(self, port):
        return self.seen[port][-1] if self.seen[port] else 0


class Client(threading.Thread):
    """Reconnects in a loop and counts what went wrong."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.failures, self.served, self.ends = port, 0, b"", False
        self.start()

    def run(self):
        while not self.ends:
            try:
                with socket.create_connection((LOCAL, self.port), timeout=5) as stream:
                    self.served = stream.recv(1)
            except OSError:
                self.served = b""
            self.failures += not self.served
            time.sleep(PACE)


def wait(what, is_so):
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE} s for {what}")
        time.sleep(0.02)


def wait_for_moment(repetition, repetitions):
    """All moments between two probes are met alike, however many repetitions there are: probes keep their rhythm."""
    moment = (repetition + random.random()) / repetitions * INTERVAL
    time.sleep((moment - time.monotonic()) % INTERVAL)


def why_not():
    return None if os.getuid() == 0 else "needs root to see the connections to a dead target"


def run(bench, peers):
    """`peers` are names; emits one row each for `failover-killed` and `failover-sick`."""
    targets = [Target("p", PREFERRED), Target("s", SPARE)]
    sniffer, clients = Sniffer(), []
    try:
        found = []
        for index, name in enumerate(peers):
            told = {"SPARE": SPARE, "CHECK": CHECK + index, "INTERVAL": INTERVAL, "FALL": FALL, "RISE": RISE}
            more = {key: str(value) for key, value in told.items()}
            peer = bench.start(name, "failover", target=SERVING + index, more=more)
            if peer.ok:
                found.append((peer, index, Client(peer.port)))
        clients = [client for _, _, client in found]
        for way, how in (("killed", signal.SIGKILL), ("sick", signal.SIGUSR1)):
            for repetition in range(bench.options.reps):
                rounds(bench, way, how, repetition, targets[0], sniffer, found)
    except TimeoutError as error:
        note(f"failover: {error}")
    finally:
        for client in clients:
            client.ends = True
        for client in clients:
            client.join()
        bench.stop_all()
        for target in targets:
            target.end()


def rounds(bench, way, how, repetition, target, sniffer, found):
    wait("the preferred target to serve all", lambda: all(client.served == b"p" for _, _, client in found))
    time.sleep(INTERVAL)
    wait_for_moment(repetition, bench.options.reps)
    sniffer.forget()
    before = [client.failures for _, _, client in found]
    died = time.monotonic()
    target.end(how)
    wait("the spare target to serve all", lambda: all(client.served == b"s" for _, _, client in found))
    wait("quiet", lambda: all(time.monotonic() - sniffer.last(SERVING + index) > QUIET for _, index, _ in found))
    rows = []
    for (_, index, client), count in zip(found, before):
        left = sniffer.last(SERVING + index) or died
        rows.append({
            "left_s": left - died,
            "left_from_probe_s": left - sniffer.after(CHECK + index, died),
            "client_failures": client.failures - count,
        })
    if how != signal.SIGKILL:
        target.end()
    # The other way round, so that a moment of death has no moment of recovery of its own.
    wait_for_moment(bench.options.reps - 1 - repetition, bench.options.reps)
    sniffer.forget()
    target.start()
    recovered = time.monotonic()
    wait("the preferred target to be used", lambda: all(sniffer.after(SERVING + i, recovered) for _, i, _ in found))
    for (peer, index, _), row in zip(found, rows):
        back = sniffer.after(SERVING + index, recovered)
        row |= {"back_s": back - recovered, "back_from_probe_s": back - sniffer.after(CHECK + index, recovered)}
        bench.emit(f"failover-{way}", peer.name, repetition, row)
