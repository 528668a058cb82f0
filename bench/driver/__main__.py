"""Measures forwarders side by side: every workload over all of them in turn, so that noise meets everyone."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import failover
import probes
from far import HERE_ADDRESS, Far
from peers import LOADGEN, TARGET, Peer, listening, note
from report import Results, compared, figures, listed, repeated

PEERS = ["direct", "haproxy", "haproxy-tuned", "nginx", "forward", "portunus-before", "portunus", "portunus-up"]
# Repeated workloads: mode, arguments of the load generator, the key that is the value.
WORK = {
    "bulk1": ("tcp", ["bulk", "--conns", "1"], "gib_s"),
    "bulk32": ("tcp", ["bulk", "--conns", "32"], "gib_s"),
    "up1": ("tcp", ["bulk", "--conns", "1", "--up"], "gib_s"),
    "cps": ("tcp", ["connections", "--conns", "64"], "per_s"),
    "rr1": ("tcp", ["echo", "--conns", "1"], "p50_us"),
    "rr256": ("tcp", ["echo", "--conns", "256"], "per_s"),
    "mixed": ("tcp", ["echo", "--conns", "16"], "p99_us"),
    "udp64x1": ("udp", ["datagrams", "--conns", "1", "--size", "64"], "per_s"),
    "udp64x1000": ("udp", ["datagrams", "--conns", "1000", "--size", "64"], "per_s"),
    "udp1200x1": ("udp", ["datagrams", "--conns", "1", "--size", "1200"], "per_s"),
    "udp1200x1000": ("udp", ["datagrams", "--conns", "1000", "--size", "1200"], "per_s"),
    "cps-sni": ("sni", ["connections", "--conns", "64", "--hello"], "per_s"),
    "cps-list": ("list", ["connections", "--conns", "64"], "per_s"),
    "bulk32-cap10": ("cap10", ["bulk", "--conns", "32"], "gib_s"),
    "bulk32-cap": ("cap", ["bulk", "--conns", "32"], "gib_s"),
    "udp64x1lat": ("udp", ["datagrams", "--conns", "1", "--size", "64", "--out", "1"], "p50_us"),
}
# Workloads with a table of their own, and its columns.
LISTED = {
    "memory": ["rss_kib", "pss_kib", "descriptors"],
    "idle": ["conns", "rss_kib_each", "pss_kib_each", "descriptors_each", "machine_kib_each", "rss_before_kib",
             "rss_after_kib", "descriptors_left", "cpu_s", "error"],
    "stall": ["rss_kib_each", "rss_before_kib", "rss_stalled_kib", "rss_after_kib", "cpu_s", "data", "error"],
    "halfclose": ["client_ends", "target_ends", "error"],
    "range": ["start_ms", "rss_kib", "pss_kib", "descriptors"],
}
PAIRED = ["unprivileged", "far", "failover", "probes"]
# Modes of forwarders that route by server name, have lists of networks, or limit bandwidth; adapters of others know none.
SELECTING = {"sni": ["haproxy", "portunus"], "list": ["haproxy", "portunus"], "cap10": ["portunus"], "cap": ["portunus"]}
# Forwarders with active checks, one configuration of each.
FAILING_OVER = ["haproxy", "portunus"]
PROBED = ["targets", "probes_s", "cpu_percent", "user_percent", "us_each", "gap_s", "least_gap_s", "most_gap_s", "mean_100ms", "p99_100ms", "most_100ms", "least_100ms", "error"]
FAILED_OVER = ["left_s", "left_from_probe_s", "back_s", "back_from_probe_s", "client_failures"]
RANGE = 1000
# What a connection of `mixed` shares its forwarder with.
BULK_BESIDE = 8


def sysctl(key, value):
    try:
        with open("/proc/sys/" + key.replace(".", "/"), "w") as file:
            file.write(value)
    except OSError as error:
        note(f"{key} stays as it is: {error}")


def measure(arguments, peer, prefix=(), timeout=120):
    command = [*prefix, LOADGEN, *arguments, "--host", peer.host, "--port", str(peer.port), "--pid", str(peer.pid)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        found = json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, json.JSONDecodeError, IndexError) as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    units = found.get("gib") or (found.get("n") or 0) / 1e6
    if units and not found.get("error"):
        # Seconds per GiB, or microseconds per operation.
        found["cpu_each"] = found["cpu_s"] / units
        found["machine_each"] = found["machine_cpu_s"] / units
    return found


class Bench:
    def __init__(self, options):
        self.options, self.rows, self.live = options, [], []
        self.peers = [name for name in options.peers.split(",") if name]
        self.scratch = tempfile.mkdtemp(prefix="portunus-bench.")
        # Forwarders that are not root write below it too.
        os.chmod(self.scratch, 0o755)
        self.out = open(options.out, "w")
        self.next_port = 7100

    def start(self, name, mode, **arguments):
        port = arguments.pop("port", None)
        if port is None:
            port, self.next_port = self.next_port, self.next_port + 1
        peer = Peer(name, mode, port, self.scratch, **arguments)
        self.live.append(peer)
        return peer

    def stop_all(self):
        for peer in self.live:
            peer.stop()
        self.live.clear()

    def emit(self, work, peer, repetition, found, value=None):
        row = {"work": work, "peer": peer, "rep": repetition, **found}
        self.rows.append(row)
        self.out.write(json.dumps(row) + "\n")
        self.out.flush()
        note(f"{work} rep {repetition} {peer}: {found.get(value) if value in found else json.dumps(found)}")

    def in_turn(self, peers, repetition):
        """A B C, B C A, C A B, …"""
        first = repetition % max(1, len(peers))
        return peers[first:] + peers[:first]

    def repeated(self, works):
        for mode in ("tcp", "udp", *SELECTING):
            here = [work for work in works if work in WORK and WORK[work][0] == mode]
            if not here:
                continue
            peers = [peer for peer in [self.start(name, mode) for name in self.peers if name in SELECTING.get(mode, self.peers)] if peer.ok]
            for repetition in range(self.options.reps):
                for work in here:
                    for peer in self.in_turn(peers, repetition):
                        self.one(work, peer, repetition)
            self.stop_all()

    def one(self, work, peer, repetition):
        _, arguments, value = WORK[work]
        beside = None
        if work == "mixed":
            command = [LOADGEN, "bulk", "--conns", str(BULK_BESIDE), "--port", str(peer.port)]
            beside = subprocess.Popen([*command, "--secs", str(self.options.secs + 1)], stdout=subprocess.PIPE, text=True)
            time.sleep(0.2)
        found = measure([*arguments, "--secs", str(self.options.secs)], peer)
        if beside:
            try:
                found["gib_s"] = json.loads(beside.communicate(timeout=60)[0]).get("gib_s")
            except (subprocess.TimeoutExpired, json.JSONDecodeError):
                beside.kill()
                beside.wait()
        self.emit(work, peer.name, repetition, found, value)

    def listed(self, work):
        for repetition in range(1 if work == "halfclose" else min(self.options.reps, 3)):
            for name in self.in_turn(self.peers, repetition):
                if work in ("range", "memory") and name == "direct":
                    continue
                where = {"port": 10000, "target": 13000, "count": RANGE} if work == "range" else {}
                peer = self.start(name, "range" if work == "range" else "tcp", **where)
                if peer.ok:
                    self.emit(work, name, repetition, self.look(work, peer))
                self.stop_all()

    def look(self, work, peer):
        if work in ("range", "memory"):
            # What a start leaves to be given back is given back by then.
            time.sleep(0.3)
            return {"start_ms": peer.start_ms, **measure(["memory"], peer)}
        if work == "idle":
            return measure(["idle", "--conns", str(self.options.idle_conns), "--secs", "1"], peer)
        if work == "stall":
            return measure(["stall", "--conns", "64", "--secs", "1"], peer)
        return measure(["half-close"], peer)

    def unprivileged(self):
        if os.getuid() != 0 or not shutil.which("setpriv"):
            return note("unprivileged is skipped: needs root to start with, and setpriv")
        names = [name for name in self.peers if name != "direct"]
        pairs = [(self.start(name, "tcp"), self.start(name, "tcp", nobody=True)) for name in names]
        pairs = [pair for pair in pairs if pair[0].ok and pair[1].ok]
        for repetition in range(self.options.reps):
            for root, nobody in self.in_turn(pairs, repetition):
                both = [(root, root.name), (nobody, nobody.name + " as nobody")]
                for peer, name in self.in_turn(both, repetition):
                    found = measure(["bulk", "--conns", "200", "--secs", str(self.options.secs)], peer)
                    self.emit("unprivileged", name, repetition, found, "gib_s")
        self.stop_all()

    def far(self):
        far = Far(self.options.delay_ms)
        try:
            if far.why:
                return note(f"far is skipped: {far.why}")
            names = [name for name in self.peers if name != "direct"]
            peers = [peer for peer in [self.start(name, "tcp", host=HERE_ADDRESS) for name in names] if peer.ok]
            # A far stream needs round trips to get to its speed.
            arguments = ["bulk", "--conns", "1", "--warm", "2", "--secs", str(max(2.0, self.options.secs))]
            for repetition in range(self.options.reps):
                for peer in self.in_turn(peers, repetition):
                    self.emit("far", peer.name, repetition, measure(arguments, peer, far.prefix), "gib_s")
        finally:
            self.stop_all()
            far.stop()

    def failover(self):
        why = failover.why_not()
        if why:
            return note(f"failover is skipped: {why}")
        failover.run(self, [name for name in self.peers if name in FAILING_OVER])

    def run(self, works):
        try:
            self.repeated(works)
            for work in works:
                if work in LISTED:
                    self.listed(work)
            if "unprivileged" in works:
                self.unprivileged()
            if "far" in works:
                self.far()
            if "failover" in works:
                self.failover()
            if "probes" in works and "portunus" in self.peers:
                probes.run(self, "portunus")
        finally:
            self.stop_all()
            if not self.options.keep:
                shutil.rmtree(self.scratch, ignore_errors=True)
        tables(self.rows)


def tables(rows):
    results = Results(rows)
    for work in results.works():
        print(f"\n### {work}\n")
        if work in LISTED:
            listed(results, work, LISTED[work])
        elif work == "probes":
            listed(results, work, PROBED)
        elif work.startswith("failover-"):
            listed(results, work, FAILED_OVER)
            compared(results, work, "portunus", "haproxy", FAILED_OVER[1:4:2])
        else:
            mode, _, value = WORK.get(work, ("tcp", [], "gib_s"))
            repeated(results, work, value, "nginx" if mode == "udp" else "haproxy")
    for peer in ("forward", "portunus"):
        figures(results, peer)


def options():
    parser = argparse.ArgumentParser(prog="bench/run.sh", description=__doc__)
    parser.add_argument("--peers", default=",".join(PEERS), help="separated by commas (default: %(default)s)")
    parser.add_argument("--work", default=",".join([*WORK, *LISTED, *PAIRED]), help="workloads (default: all of %(default)s)")
    parser.add_argument("--list", action="store_true", help="print the workloads and end")
    parser.add_argument("--tables", metavar="FILE", help="print the tables of an earlier run's --out and end")
    parser.add_argument("--reps", type=int, default=5, help="repetitions (default: %(default)s)")
    parser.add_argument("--secs", type=float, default=2.0, help="seconds of each (default: %(default)s)")
    parser.add_argument("--idle-conns", type=int, default=3000, help="connections of `idle` (default: %(default)s)")
    parser.add_argument("--delay-ms", type=float, default=50.0, help="round trip of `far` (default: %(default)s)")
    parser.add_argument("--out", default="results.jsonl", help="one line for each measurement (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave configurations and logs in the temporary folder")
    return parser.parse_args()


def main():
    chosen = options()
    if chosen.list:
        return print("\n".join([*WORK, *LISTED, *PAIRED]))
    if chosen.tables:
        with open(chosen.tables) as lines:
            return tables([json.loads(line) for line in lines])
    works = [work for work in chosen.work.split(",") if work]
    unknown = [work for work in works if work not in (*WORK, *LISTED, *PAIRED)]
    if unknown:
        raise SystemExit(f"no such workload: {', '.join(unknown)}")
    if os.environ.get("BENCH_NETNS"):
        sysctl("net.ipv4.ip_local_port_range", "16000 65535")
        # Closed connections of one workload are not to be in the way of the next one.
        sysctl("net.ipv4.tcp_max_tw_buckets", "4096")
    # What was started ends with the driver, however that ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    server = subprocess.Popen([LOADGEN, "serve", "--port", str(TARGET)], stdout=subprocess.PIPE)
    try:
        server.stdout.readline()
        if listening("tcp", TARGET, 1) != 1:
            raise SystemExit("the target does not listen")
        Bench(chosen).run(works)
    finally:
        server.terminate()
        server.wait()


main()
