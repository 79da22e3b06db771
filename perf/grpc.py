#!/usr/bin/env python3
"""etcd's wire, one light driver: what a request costs etcd 3.4, etcd 3.5 and Needletail, measured in turns in one run.

usage: perf/grpc.py [--keys 100000] [--reps 3] [--quick] [--server .build/release/needletail] [--out FILE]
       perf/grpc.py --keys 1000000        the recorded size

The driver of the requests is h2load (Debian's nghttp2-client), which sends one prepared gRPC call over and over, so that the client costs
the same whoever answers; the server's CPU time comes from /proc. Everything else (loading, watchers, restart) goes through the
client of the end to end tests. Each test runs on each server before the next repetition; the table shows medians. Data lie in the
temporary folder, which should be on a disk. `--out` appends JSON lines as docs/benchmarks.md describes them.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "Tests", "EndToEnd"))

from peers import stores  # noqa: E402

try:
    from peers import grpc  # noqa: E402
    from peers.protobuf import Schema  # noqa: E402
except ModuleNotFoundError as missing:
    sys.exit(f"grpc.py: there is no Python package {missing.name} ({sys.executable}); `make deps-test` installs it")

SCHEMA = Schema()
RANGE, PUT, WATCH = "/etcdserverpb.KV/Range", "/etcdserverpb.KV/Put", "/etcdserverpb.Watch/Watch"


def key(index):
    return b"/registry/pods/%09d" % (2 * index)


def value(index):
    return (b"%016d" % index) * 16


class Test:
    """One prepared call, and how many of it at a time."""

    def __init__(self, name, path, message, request, connections, depth, count):
        self.name, self.path, self.connections, self.depth, self.count = name, path, connections, depth, count
        self.body = SCHEMA.encode(message, request)


def tests(keys, quick):
    scale = 4 if quick else 1
    one = {"key": key(keys // 2)}
    local, put = one | {"serializable": True}, one | {"value": value(7)}
    whole = {"key": b"/registry/", "range_end": b"/registry0"}
    return [
        Test("range serializable", RANGE, "RangeRequest", local, 1, 1, 8_000 // scale),
        Test("range serializable", RANGE, "RangeRequest", local, 64, 16, 60_000 // scale),
        Test("range linearizable", RANGE, "RangeRequest", one, 1, 1, 8_000 // scale),
        Test("range linearizable", RANGE, "RangeRequest", one, 64, 16, 60_000 // scale),
        Test("put", PUT, "PutRequest", put, 1, 1, 2_000 // scale),
        Test("put", PUT, "PutRequest", put, 64, 16, 30_000 // scale),
        Test("range of 10,000 keys", RANGE, "RangeRequest", whole | {"limit": 10_000, "serializable": True}, 1, 1, 40 // scale),
        Test("limit 1 of all", RANGE, "RangeRequest", whole | {"limit": 1, "serializable": True}, 1, 1, 20 // scale),
        Test("count of all", RANGE, "RangeRequest", whole | {"count_only": True, "serializable": True}, 1, 1, 20 // scale),
    ]


def h2load(test, port, folder):
    """(requests/s, mean latency in µs) of one run; every call must have been answered."""
    path = os.path.join(folder, "body")
    with open(path, "wb") as file:
        file.write(b"\0" + len(test.body).to_bytes(4, "big") + test.body)
    command = ["h2load", "-n", str(test.count), "-c", str(test.connections), "-m", str(test.depth), "-t", "1", "-d", path]
    command += ["-w", "30", "-W", "30", "-H", "content-type: application/grpc", "-H", "te: trailers"]
    done = subprocess.run(command + [f"http://127.0.0.1:{port}{test.path}"], capture_output=True, text=True, timeout=600)
    rate = re.search(r"([\d.]+) req/s", done.stdout)
    succeeded = re.search(r"(\d+) succeeded", done.stdout)
    times = re.search(r"time for request:\s+\S+\s+\S+\s+(\S+)", done.stdout)
    if not rate or not succeeded or int(succeeded[1]) != test.count:
        raise RuntimeError(f"{test.name}: {done.stdout[-800:]} {done.stderr[-300:]}")
    return float(rate[1]), microseconds(times[1])


def microseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


class Server:
    def __init__(self, name, program, folder):
        self.name, self.figures = name, {}
        self.store = stores.Store(program, folder=folder)

    def record(self, what, figure):
        self.figures.setdefault(what, []).append(figure)

    def load(self, keys):
        """All keys, 100 a transaction, 16 transactions at a time."""
        self.store.wait_until_ready()
        path, request_type, _, _ = SCHEMA.methods["KV.Txn"]
        begun, cpu = time.monotonic(), self.store.cpu_seconds()
        with grpc.Connection(self.store.port, timeout=300) as connection:
            for at in range(0, keys, 1600):
                streams = []
                for first in range(at, min(at + 1600, keys), 100):
                    puts = [{"request_put": {"key": key(n), "value": value(n)}} for n in range(first, min(first + 100, keys))]
                    streams.append(connection.start(path, SCHEMA.encode(request_type, {"success": puts})))
                connection.wait(streams)
                if any(stream.code for stream in streams):
                    raise RuntimeError(f"{self.name}: load: {streams[0].message}")
        self.record("load, keys/s", keys / (time.monotonic() - begun))
        self.record("load, µs CPU per key", (self.store.cpu_seconds() - cpu) / keys * 1e6)
        self.record("memory after load, MiB", self.store.memory() / 2**20)
        self.record("of it beyond the page cache, MiB", self.store.memory("RssAnon") / 2**20)

    def restart(self):
        self.store.stop()
        self.store.start()
        self.store.wait_until_ready(120)
        self.record("restart to first answer, ms", (time.monotonic() - self.store.started) * 1000)

    def check(self, test):
        """The call does what is measured."""
        with grpc.Connection(self.store.port, timeout=120) as connection:
            code, message, answer = connection.call(test.path, test.body)
        if code or (test.path == RANGE and not SCHEMA.decode("RangeResponse", answer).get("count")):
            raise RuntimeError(f"{self.name}: {test.name}: {code} {message}")
        return len(answer)

    def watchers(self, count=1000, puts=50):
        """That many watchers of one key on ten streams; what a put costs when all have been told."""
        with grpc.Connection(self.store.port, timeout=120) as connection:
            body = SCHEMA.encode("WatchRequest", {"create_request": {"key": b"watched"}})
            streams = [connection.start(WATCH, end=False) for _ in range(10)]
            for stream in streams:
                for _ in range(count // 10):
                    connection.send(stream, body)
            self.wait_messages(connection, streams, count)
            put = SCHEMA.encode("PutRequest", {"key": b"watched", "value": value(1)})
            begun, cpu = time.monotonic(), self.store.cpu_seconds()
            for _ in range(puts):
                connection.call(PUT, put)
                self.wait_messages(connection, streams, count)
            self.record("1,000 watchers: ms until all know", (time.monotonic() - begun) / puts * 1000)
            self.record("1,000 watchers: µs CPU per event", (self.store.cpu_seconds() - cpu) / puts / count * 1e6)

    @staticmethod
    def wait_messages(connection, streams, count):
        seen = 0
        connection.flush()
        while True:
            for stream in streams:
                seen += len(stream.messages)
                stream.messages.clear()
                if stream.done:
                    raise RuntimeError(f"a watch stream has ended: {stream.message}")
            if seen >= count:
                return
            connection.receive()


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), platform.machine())
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {"machine": model, "cpus": os.cpu_count(), "kernel": platform.release(), "commit": commit, "driver": "h2load"}


def measure(servers, options, folder, write):
    for server in servers:
        print(f"loading {options.keys:,} keys into {server.name}", file=sys.stderr, flush=True)
        server.load(options.keys)
    for server in servers:
        server.restart()
    for rep in range(options.reps):
        for test in tests(options.keys, options.quick):
            print(f"repetition {rep + 1}: {test.name}, {test.connections} × {test.depth}", file=sys.stderr, flush=True)
            for server in servers:
                server.bytes = server.check(test)
                cpu = server.store.cpu_seconds()
                rate, mean = h2load(test, server.store.port, folder)
                cost = (server.store.cpu_seconds() - cpu) / test.count * 1e6
                name = f"{test.name}, {test.connections} × {test.depth}"
                server.record(name + ": µs CPU", cost)
                server.record(name + ": requests/s", rate)
                write({
                    "suite": "grpc", "server": server.name, "face": "grpc", "test": test.name, "connections": test.connections,
                    "depth": test.depth, "rep": rep, "requests_per_s": rate, "mean_us": mean, "server_cpu_us_per_request": cost,
                    "config": {"keys": options.keys, "answer_bytes": server.bytes, "requests": test.count},
                })
        for server in servers:
            server.watchers()


def table(servers):
    """Medians, and how many times the last server, Needletail, is better or worse than the first."""
    print(f"{'':44}" + "".join(f"{server.name:>14}" for server in servers) + "".join(f"{'÷ ' + one.name:>16}" for one in servers[:-1]))
    for what in servers[0].figures:
        medians = [statistics.median(server.figures[what]) for server in servers]
        ratios = [one / medians[-1] if medians[-1] else float("inf") for one in medians[:-1]]
        print(f"{what:44}" + "".join(f"{median:14,.1f}" for median in medians) + "".join(f"{ratio:16.2f}" for ratio in ratios))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a quarter of the requests")
    parser.add_argument("--server", default=os.path.join(ROOT, ".build", "release", "needletail"))
    parser.add_argument("--out", help="append JSON lines to this file")
    options = parser.parse_args()
    if not shutil.which("h2load"):
        sys.exit("grpc.py: there is no h2load; `make deps-test` installs it (Debian's nghttp2-client)")
    folder = tempfile.mkdtemp(prefix="needletail-grpc-")
    out = open(options.out, "a", encoding="utf-8") if options.out else None

    def write(line):
        if out:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")

    write(machine())
    programs = [stores.debian_etcd(), stores.pip_etcd()]
    servers = [Server("etcd " + ".".join(map(str, stores.etcd_version(one))), one, folder) for one in programs if one]
    servers.append(Server("needletail", options.server, folder))
    try:
        measure(servers, options, folder, write)
        for server in servers:
            for what, figures in server.figures.items():
                if "×" not in what:
                    write({"suite": "grpc", "server": server.name, "test": what, "value": statistics.median(figures)})
        table(servers)
    finally:
        for server in servers:
            server.store.remove()
        shutil.rmtree(folder, ignore_errors=True)
        if out:
            out.close()


if __name__ == "__main__":
    main()
