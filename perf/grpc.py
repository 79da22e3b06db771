#!/usr/bin/env python3
"""etcd's wire: what requests cost etcd 3.4, etcd 3.5 and Needletail, measured in turns in one run.

usage: perf/grpc.py [--keys 100000] [--reps 3] [--quick] [--server .build/release/needletail] [--record]
       perf/grpc.py --keys 1000000 --record        the recorded size; writes perf/results/DATE-COMMIT-grpc.{jsonl,txt}

Gets and puts at several depths are `needletail-bench server`'s, which this runs first: a light client in Swift, random keys. All else is
measured here through the client of the end to end tests, one call after the other, each test on each server before the next repetition:
loading, memory after it, restarts, large ranges, watchers. The server's CPU time is the scheduler's, of all its threads; that of the
client is none of it, its latencies are (an answer of 3 MB takes this one some milliseconds). The table shows medians. Where there are
two processors or more, the client has the last one for itself. Data lie in the temporary folder, which should be on a disk.
"""

import argparse
import json
import os
import platform
import shutil
import signal
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
    """One call, and how many of it one after the other."""

    def __init__(self, name, request, count):
        self.name, self.count = name, count
        self.body = SCHEMA.encode("RangeRequest", request | {"serializable": True})


def tests(quick):
    scale = 4 if quick else 1
    whole = {"key": b"/registry/", "range_end": b"/registry0"}
    return [
        Test("range of 10,000 keys", whole | {"limit": 10_000}, 40 // scale),
        Test("limit 1 of all", whole | {"limit": 1}, 20 // scale),
        Test("count of all", whole | {"count_only": True}, 20 // scale),
    ]


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

    def restart(self, kind, name):
        self.store.stop(kind)
        self.store.start()
        self.store.wait_until_ready(120, pause=0.001)
        self.record(f"{name}, ms", (time.monotonic() - self.store.started) * 1000)

    def measure(self, test, rep, write):
        with grpc.Connection(self.store.port, timeout=120) as connection:
            code, message, answer = connection.call(RANGE, test.body)
            if code or not SCHEMA.decode("RangeResponse", answer).get("count"):
                raise RuntimeError(f"{self.name}: {test.name}: {code} {message}")
            begun, cpu = time.monotonic(), self.store.cpu_seconds()
            for _ in range(test.count):
                connection.call(RANGE, test.body)
            mean = (time.monotonic() - begun) / test.count * 1e6
        cost = (self.store.cpu_seconds() - cpu) / test.count * 1e6
        self.record(test.name + ": µs CPU", cost)
        self.record(test.name + ": µs in all", mean)
        write({
            "suite": "grpc", "server": self.name, "face": "grpc", "test": test.name, "connections": 1, "depth": 1, "rep": rep,
            "mean_us": mean, "server_cpu_us_per_request": cost, "config": {"answer_bytes": len(answer), "requests": test.count},
        })

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
    return {"machine": model, "cpus": os.cpu_count(), "kernel": platform.release(), "commit": commit()}


def commit():
    return subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout.strip()


def gets_and_puts(options, programs, out):
    """needletail-bench's own run; its table goes to standard error as it comes, and to the end of ours."""
    names = [name for name, program in zip(("etcd", "etcd2"), programs) if program]
    command = [options.bench, "server", "--servers", ",".join(["needletail-grpc"] + names), "--needletail", options.server]
    command += [word for name, program in zip(("etcd", "etcd2"), programs) if program for word in (f"--{name}", program)]
    command += ["--loads", "1x1,8x1,64x16", "--reps", str(options.reps), "--seconds", "0.5" if options.quick else "3"]
    command += ["--n", str(min(options.keys, 100_000)), "--out", out]
    print("gets and puts: needletail-bench", *command[1:], file=sys.stderr, flush=True)
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=3600)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    text = done.stderr
    return text[text.rindex("\nn = ") + 1 :]


def pin(servers):
    """The client on the last processor, the servers on the others: they inherit what is set when they start."""
    count = os.cpu_count()
    if count >= 2:
        os.sched_setaffinity(0, set(range(count - 1)) if servers else {count - 1})


def measure(servers, options, write):
    for server in servers:
        print(f"loading {options.keys:,} keys into {server.name}", file=sys.stderr, flush=True)
        server.load(options.keys)
    for rep in range(options.reps):
        for kind, name in ((signal.SIGTERM, "restart to first answer"), (signal.SIGKILL, "the same after SIGKILL")):
            for server in servers:
                pin(servers=True)
                server.restart(kind, name)
                pin(servers=False)
        for test in tests(options.quick):
            print(f"repetition {rep + 1}: {test.name}", file=sys.stderr, flush=True)
            for server in servers:
                server.measure(test, rep, write)
        print(f"repetition {rep + 1}: watchers", file=sys.stderr, flush=True)
        for server in servers:
            server.watchers()


def table(servers):
    """Medians, and those of the others by Needletail's, which is the last."""
    lines = [f"{'':44}" + "".join(f"{one.name:>14}" for one in servers) + "".join(f"{'÷ ' + one.name:>16}" for one in servers[:-1])]
    for what in servers[0].figures:
        medians = [statistics.median(server.figures[what]) for server in servers]
        ratios = [one / medians[-1] if medians[-1] else float("inf") for one in medians[:-1]]
        lines.append(f"{what:44}" + "".join(f"{one:14,.1f}" for one in medians) + "".join(f"{one:16.2f}" for one in ratios))
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a fraction of the requests")
    parser.add_argument("--server", default=os.path.join(ROOT, ".build", "release", "needletail"))
    parser.add_argument("--bench", default=os.path.join(ROOT, ".build", "release", "needletail-bench"))
    parser.add_argument("--record", action="store_true", help="write perf/results/DATE-COMMIT-grpc.{jsonl,txt}")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="needletail-grpc-")
    programs = [stores.debian_etcd(), stores.pip_etcd()]
    servers, lines = [], [machine() | {"suite": "grpc", "config": {"keys": options.keys, "value_bytes": len(value(0))}}]
    try:
        bench_lines = os.path.join(folder, "bench.jsonl")
        text = gets_and_puts(options, programs, bench_lines)
        pin(servers=True)
        for program in programs:
            if program:
                servers.append(Server("etcd " + ".".join(map(str, stores.etcd_version(program))), program, folder))
        servers.append(Server("needletail", options.server, folder))
        pin(servers=False)
        measure(servers, options, lines.append)
        for server in servers:
            for what, figures in server.figures.items():
                lines.append({"suite": "grpc", "server": server.name, "test": what, "value": statistics.median(figures)})
        text += "\n" + table(servers)
        print(text)
        if options.record:
            stamp = os.path.join(ROOT, "perf", "results", time.strftime("%Y-%m-%dT%H%M%SZ-", time.gmtime()) + commit() + "-grpc")
            with open(stamp + ".jsonl", "w", encoding="utf-8") as out, open(bench_lines, encoding="utf-8") as bench:
                out.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
                out.write(bench.read())
            with open(stamp + ".txt", "w", encoding="utf-8") as out:
                out.write(text)
            print(f"written: {stamp}.{{jsonl,txt}}")
    finally:
        for server in servers:
            server.store.remove()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
