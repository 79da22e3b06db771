"""The benchmarks on small inputs, so that they cannot rot: every test runs on every engine and server, the figures are figures, and
equal checksums are equal."""

import json
import math
import os
import subprocess

from needletail import main

ENGINES = ["backend", "lmdb", "lmdb-writemap", "rocksdb"]
READS = ["get", "getfresh", "multiget", "zipf", "miss", "scan100", "full", "count"]
WRITES = ["load", "bulk", "ow1000", "commit1", "commit100"]


def results(report, name, command, folder):
    done = subprocess.run(command, capture_output=True, timeout=300, env={**os.environ, "TMPDIR": folder})
    if not report.check(done.returncode == 0, f"{name} ends with exit 0", done.stderr.decode()[-2000:]):
        return None, []
    try:
        first, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    except ValueError as error:
        report.check(False, f"{name}: standard output is JSON lines alone", error)
        return None, []
    report.check(
        all(first.get(field) for field in ("suite", "cpu", "kernel", "commit", "compiler")), f"{name}: the first line describes the machine", first)
    return done, lines


def figures(lines, fields):
    return [
        (line, field) for line in lines for field in fields
        if not isinstance(line.get(field), (int, float)) or not math.isfinite(line[field]) or line[field] < 0
    ]


def run(report, programs, folder, options, rng):
    bench = os.path.abspath(options.bench)
    done, lines = results(report, "engine", [bench, "engine", "--n", "3000", "--reps", "2", "--threads", "1,2", "--json"], folder)
    if done:
        wanted = {(engine, test, threads, rep) for engine in ENGINES for rep in (1, 2)
                  for test, threads in [(test, 1) for test in WRITES] + [(test, n) for test in READS for n in (1, 2)]}
        found = {(line["engine"], line["test"], line["threads"], line["rep"]) for line in lines}
        report.check(found == wanted and len(lines) == len(wanted), "engine: every test on every engine", wanted ^ found)
        bad = figures(lines, ("ops_per_s", "p50_ns", "p99_ns", "p999_ns"))
        report.check(not bad, "engine: every figure is one", bad[:3])
        checksums = {}
        for line in lines:
            checksums.setdefault((line["test"], line["threads"]), set()).add(line["checksum"])
        report.check(all(len(some) == 1 for some in checksums.values()), "engine: equal checksums", checksums)
        distinct = {next(iter(some)) for (test, threads), some in checksums.items()}
        report.check(len(distinct) >= 15, "engine: tests that read other records have other checksums", checksums)
    refused = subprocess.run([bench, "engine", "--tests", "nonsense"], capture_output=True, timeout=20)
    report.check(refused.returncode != 0 and b"nonsense" in refused.stderr, "engine: an unknown test is refused by name", refused.stderr)

    done, lines = results(
        report, "server",
        [bench, "server", "--needletail", programs.server, "--n", "2000", "--seconds", "0.3", "--reps", "1", "--loads", "1x1,8x16"], folder)
    if done:
        wanted = {(server, test, connections, depth) for server in ("needletail", "redis") for test in ("get", "put")
                  for connections, depth in ((1, 1), (8, 16))}
        found = {(line["server"], line["test"], line["connections"], line["depth"]) for line in lines}
        report.check(found == wanted, "server: every test on every server", wanted ^ found)
        bad = figures(lines, ("requests_per_s", "p50_us", "p99_us", "server_cpu_us_per_request"))
        report.check(not bad, "server: every figure is one", bad[:3])
    done, lines = results(
        report, "mvcc", [bench, "mvcc", "--needletail", programs.server, "--n", "3000", "--seconds", "0.2", "--reps", "1"], folder)
    if done:
        tests = {"range100", "range10000", "limit1", "past", "compact", "restart", "restartkilled", "memory"}
        report.check({line["test"] for line in lines} == tests, "mvcc: every test", lines)
        bad = figures([line for line in lines if "p50_us" in line], ("requests_per_s", "p50_us", "p99_us"))
        report.check(not bad, "mvcc: every figure is one", bad[:3])
    done, lines = results(
        report, "watch",
        [bench, "watch", "--needletail", programs.server, "--seconds", "0.3", "--reps", "1", "--watchers", "1,100"], folder)
    if done:
        wanted = {(layout, count) for layout in ("one", "spread") for count in (1, 100)}
        found = {(line["test"], line["watchers"]) for line in lines}
        report.check(found == wanted, "watch: every number of watchers in every layout", wanted ^ found)
        bad = figures(lines, ("events_per_s", "p50_us", "p99_us", "server_cpu_us_per_event"))
        report.check(not bad, "watch: every figure is one", bad[:3])
    left = [name for name in os.listdir(folder) if name.startswith("needletail-bench")]
    report.check(not left, "nothing is left behind", left)


if __name__ == "__main__":
    main("the benchmarks on small inputs", run,
         lambda parser: parser.add_argument("--bench", default=".build-test/release/needletail-bench", help="the program"))
