"""A second network namespace at the end of a line that delays what goes over it, both ways alike.

The kernel's netem does it where the kernel has it. Else two tun devices, with a process between them that holds every
packet for the delay: no netem, but a bandwidth far above what the delay leaves to one connection.
"""

import collections
import fcntl
import os
import select
import shutil
import struct
import subprocess
import sys
import time

from peers import note

HERE_ADDRESS, FAR_ADDRESS = "10.254.0.1", "10.254.0.2"
# Large packets, so that neither way is limited by what carries them; but several must fit a receiver's first window, or
# its kernel never finds a reason to open it wider.
MTU = 9000
# tun devices: `struct ifreq` with a name and IFF_TUN | IFF_NO_PI, and the request that makes one (linux/if_tun.h).
TUN_FLAGS, TUNSETIFF = 0x0001 | 0x1000, 0x400454CA


class Far:
    """The other namespace. `prefix` goes before a command that is to run there."""

    def __init__(self, delay_ms):
        self.delay_ms, self.processes = delay_ms, []
        self.prefix, self.why = None, self.missing()
        if self.why:
            return
        # A process holds the namespace open.
        holder = subprocess.Popen(["unshare", "-n", "sleep", "86400"])
        self.processes.append(holder)
        deadline = time.monotonic() + 5
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{holder.pid}/ns/net") == own and time.monotonic() < deadline:
            time.sleep(0.01)
        self.prefix = ["nsenter", "-t", str(holder.pid), "-n"]
        self.run([*self.prefix, "ip", "link", "set", "lo", "up"])
        if not self.with_netem(holder.pid):
            self.with_tun(holder.pid)

    @staticmethod
    def missing():
        if not os.environ.get("BENCH_NETNS"):
            return "no namespace of its own: needs root"
        tools = [tool for tool in ("ip", "tc", "nsenter", "unshare") if not shutil.which(tool)]
        return f"missing: {', '.join(tools)}" if tools else None

    def run(self, command):
        return subprocess.run(command, capture_output=True, text=True).returncode == 0

    def address(self, here, far):
        self.run(["ip", "addr", "add", f"{HERE_ADDRESS}/30", "dev", here])
        self.run(["ip", "link", "set", here, "mtu", str(MTU), "up"])
        self.run([*self.prefix, "ip", "addr", "add", f"{FAR_ADDRESS}/30", "dev", far])
        self.run([*self.prefix, "ip", "link", "set", far, "mtu", str(MTU), "up"])

    def with_netem(self, pid):
        if not self.run(["ip", "link", "add", "far-here", "type", "veth", "peer", "name", "far-there"]):
            return False
        delay = ["root", "netem", "delay", f"{self.delay_ms / 2}ms", "limit", "100000"]
        if not self.run(["tc", "qdisc", "add", "dev", "far-here", *delay]):
            self.run(["ip", "link", "delete", "far-here"])
            return False
        self.run(["ip", "link", "set", "far-there", "netns", str(pid)])
        self.run([*self.prefix, "tc", "qdisc", "add", "dev", "far-there", *delay])
        self.address("far-here", "far-there")
        note(f"far: netem, {self.delay_ms} ms there and back")
        return True

    def with_tun(self, pid):
        if not os.path.exists("/dev/net/tun"):
            self.why = "the kernel has neither netem nor tun"
            return
        line = [sys.executable, os.path.abspath(__file__), str(self.delay_ms / 2000), str(pid)]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        if process.stdout.readline().strip() != "ready":
            self.why = "tun devices cannot be made here"
            return
        self.address("far-here", "far-there")
        note(f"far: no netem in this kernel; tun devices and a process between them, {self.delay_ms} ms there and back")

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.processes = []


def tun(name):
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), TUN_FLAGS))
    return descriptor


def hold(delay, pid):
    """Carries packets between two devices until it is killed."""
    here, there = tun("far-here"), tun("far-there")
    subprocess.run(["ip", "link", "set", "far-there", "netns", str(pid)], check=True)
    print("ready", flush=True)
    ways = [(here, there, collections.deque()), (there, here, collections.deque())]
    poll = select.poll()
    for descriptor in (here, there):
        poll.register(descriptor, select.POLLIN)
    now = time.monotonic
    while True:
        due = min((queue[0][0] for _, _, queue in ways if queue), default=None)
        # Milliseconds are too coarse for the last one: that is spent looking.
        poll.poll(None if due is None else max(0, int((due - now()) * 1000)))
        for source, sink, queue in ways:
            try:
                for _ in range(64):
                    queue.append((now() + delay, os.read(source, MTU + 64)))
            except OSError:
                pass
            try:
                while queue and queue[0][0] <= now():
                    os.write(sink, queue.popleft()[1])
            except OSError:
                # The device is full or down: the packet is lost, as on a line.
                pass


if __name__ == "__main__":
    hold(float(sys.argv[1]), int(sys.argv[2]))
