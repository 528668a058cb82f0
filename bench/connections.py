#!/usr/bin/env python3
"""How long `portunus connections` takes over a fleet with many live connections, and what server and edges need for it.

    PORTUNUS_BIN=target/release/portunus bench/connections.py [--edges 11] [--each 9000]

Every edge has a process of clients and one of targets of its own, so that the usual limit of open files is enough.
"""

import argparse
import json
import os
import socket
import subprocess
import tempfile
import time

BIN = os.environ.get("PORTUNUS_BIN", "target/release/portunus")
QUESTIONS = [
    ["connections", "--limit", "100", "-o", "json"],
    ["connections", "-o", "json"],
    ["connections", "--source", "127.3.7.0/24", "-o", "json"],
    ["connections", "--sort", "age", "--limit", "10", "-o", "json"],
    ["connections", "end", "--source", "127.3.7.0/24", "--why", "a measurement", "-o", "json"],
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve_target(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(4000)
    kept = []
    while True:
        kept.append(listener.accept()[0])


def connect(edge, port, count, done):
    kept = []
    for number in range(count):
        client = socket.socket()
        # Sources of their own, so that no pair of addresses runs out of ports.
        client.bind((f"127.{edge + 1}.{number % 50}.{1 + number // 50 % 100}", 0))
        client.connect(("127.0.0.1", port))
        kept.append(client)
    os.write(done, b".")
    time.sleep(3600)


def memory(process):
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as status:
        fields = dict(line.split(":", 1) for line in status)
    return [int(fields[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM")]


def measure(edges, each, folder):
    operator, control, metrics = (free_port() for _ in range(3))
    env = dict(os.environ, PORTUNUS_STATE_DIR=f"{folder}/server", PORTUNUS_SERVER=f"http://127.0.0.1:{operator}")
    listens = [(free_port(), free_port()) for _ in range(edges)]
    os.mkdir(f"{folder}/rules")
    with open(f"{folder}/rules/many.toml", "w", encoding="utf-8") as rules:
        for edge, (listen, target) in enumerate(listens):
            rules.write(f'[[rule]]\nname = "many"\nedges = ["e{edge}"]\nlisten_port = {listen}\n')
            rules.write(f'target = "127.0.0.1:{target}"\n')
    children, processes = [], []

    def start(name, *args):
        with open(f"{folder}/{name}.log", "w", encoding="utf-8") as log:
            processes.append(subprocess.Popen([BIN, *args], stdout=log, stderr=log, env=env))
        return processes[-1]

    def fork(work, *args):
        child = os.fork()
        if child == 0:
            try:
                work(*args)
            finally:
                os._exit(1)
        children.append(child)

    def ask(*args):
        return json.loads(subprocess.run([BIN, *args], env=env, capture_output=True, check=True, text=True).stdout)

    try:
        server = start(
            "server", "serve", "--allow-dirty", "--rules", f"{folder}/rules", "--state-dir", f"{folder}/server",
            "--operator-listen", f"127.0.0.1:{operator}", "--control-listen", f"127.0.0.1:{control}",
            "--metrics-listen", f"127.0.0.1:{metrics}",
        )  # fmt: skip
        time.sleep(2)
        for edge in range(edges):
            uri = ask("edge-token", "create", f"e{edge}", "--ttl", "10m", "-o", "json")["uri"]
            start(f"e{edge}", "edge", "--join", uri, "--name", f"e{edge}", "--state-dir", f"{folder}/e{edge}")
        while sum(edge["connected"] for edge in ask("edges", "-o", "json")) < edges:
            time.sleep(0.2)
        time.sleep(2)
        reads, writes = os.pipe()
        for edge, (listen, target) in enumerate(listens):
            fork(serve_target, target)
            time.sleep(0.05)
            fork(connect, edge, listen, each, writes)
        finished = 0
        while finished < edges:
            finished += len(os.read(reads, edges))
        time.sleep(3)
        print(f"{edges} edges with {each} connections each; server {memory(server)[0]} MiB\n")
        print("| command | rows of | time | server, edge (most so far) |\n|---|---|---|---|")
        for question in QUESTIONS:
            begun = time.monotonic()
            answer = ask(*question)
            took = time.monotonic() - begun
            rows = f"{len(answer['connections'])} of {answer['total']}" if "total" in answer else answer["ended"]
            text = " ".join(question).replace("|", "\\|")
            print(f"| `{text}` | {rows} | {took:.2f} s | {memory(server)[1]} MiB, {memory(processes[1])[1]} MiB |")
    finally:
        for child in children:
            os.kill(child, 9)
        for process in processes:
            process.kill()
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, default=11)
    parser.add_argument("--each", type=int, default=9000, help="connections of each edge")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(args.edges, args.each, folder)


if __name__ == "__main__":
    main()
