"""An edge that checks many targets: what its probes cost, and how evenly they come.

One listener on all addresses of the loopback is every target, so that what is seen is the edge's work and the kernel's.
"""

import collections
import os
import socket
import threading
import time

from peers import TARGET

RULES, EACH = 1250, 8
TARGETS = RULES * EACH
INTERVAL = 15
# Where the rules listen, and the targets.
FIRST, PORT = 7200, TARGET + 60
PATIENCE = 60
BUCKET = 0.1
# Connections that a target keeps at once: more than come in a second, so that it is the edge that ends them.
KEPT = 2000


class Targets(threading.Thread):
    """When which one was asked."""

    def __init__(self):
        super().__init__(daemon=True)
        self.asked = []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("0.0.0.0", PORT))
        self.listener.listen(4096)
        self.start()

    def run(self):
        kept = collections.deque()
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            now = time.monotonic()
            self.asked.append((now, stream.getsockname()[0]))
            kept.append(stream)
            if len(kept) > KEPT:
                kept.popleft().close()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join()
        self.listener.close()


def processor_time(pid):
    """Seconds in the process itself, and in all."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    own, kernel = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:13])
    return own, own + kernel


def run(bench, name):
    more = {"RULES": str(RULES), "EACH": str(EACH), "INTERVAL": str(INTERVAL)}
    for repetition in range(min(bench.options.reps, 3)):
        targets = Targets()
        try:
            peer = bench.start(name, "probes", port=FIRST, count=RULES, target=PORT, more=more)
            if peer.ok:
                bench.emit("probes", name, repetition, watch(peer, targets))
        finally:
            bench.stop_all()
            targets.stop()


def watch(peer, targets):
    deadline = time.monotonic() + PATIENCE
    while len({address for _, address in targets.asked}) < TARGETS:
        if time.monotonic() > deadline:
            return {"error": f"{len(targets.asked)} probes after {PATIENCE} s"}
        time.sleep(0.5)
    # Four periods, without the first.
    begin, before = time.monotonic(), processor_time(peer.pid)
    time.sleep(4 * INTERVAL)
    spent = time.monotonic() - begin
    own, used = (after - start for after, start in zip(processor_time(peer.pid), before))
    seen = [(at, address) for at, address in targets.asked if begin <= at < begin + spent]
    buckets = collections.Counter(int((at - begin) / BUCKET) for at, _ in seen)
    full = [buckets[index] for index in range(int(spent / BUCKET))]
    last, gaps = {}, []
    for at, address in seen:
        if address in last:
            gaps.append(at - last[address])
        last[address] = at
    gaps.sort()
    return {
        "targets": len({address for _, address in seen}),
        "probes_s": len(seen) / spent,
        "cpu_percent": 100 * used / spent,
        "user_percent": 100 * own / spent,
        "us_each": 1e6 * used / max(1, len(seen)),
        "gap_s": gaps[len(gaps) // 2] if gaps else None,
        "least_gap_s": gaps[0] if gaps else None,
        "most_gap_s": gaps[-1] if gaps else None,
        "mean_100ms": sum(full) / len(full),
        "p99_100ms": sorted(full)[len(full) * 99 // 100],
        "most_100ms": max(full),
        "least_100ms": min(full),
    }
