#!/usr/bin/env python3
"""Debian's etcdctl does everything it can to etcd and to Needletail: the outputs are the same.

usage: etcdctl.py [--server .build/release/needletail] [--peer debian] [--no-perf] [--seed N]

Each command runs against both servers with the same arguments; standard output, standard error and exit code are compared but
for what must differ: ids, ports, times, sizes, versions, terms and hashes. Lines that differ are printed with the command.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time

from peers import stores

try:
    from peers.ctl import Both, Report
except ModuleNotFoundError as missing:
    print(f"etcdctl.py: skipped: there is no Python package {missing.name} ({sys.executable}); `make deps-test` installs it")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

FORMATS = ["simple", "json", "fields", "table", "protobuf"]
TRANSACTIONS = [
    'mod("a1") > "0"\n\nput result yes\nget a1\ndel b1\n\nput result no\n\n',
    'val("a1") = "nothing"\n\nput result yes\n\nput result no\nget a --prefix\nget c --from-key --limit=2 --keys-only\n\n',
    'ver("a1") = "1"\ncreate("missing") = "0"\nval("a2") != "x"\n\nget result\n\nget missing\n\n',
    '\nput "with space" "two words"\ndel result --prev-kv\nget "with space"\n\n\n',
    'c("a1") < "1000"\n\n\nput never 1\n\n',
    '\nput a1 1\nput a1 2\n\n\n',
    '\nput a1 1\ndel a1\n\n\n',
    'mod("a1") > "x"\n\n\n\n',
]


def puts(both):
    for index in range(1, 7):
        for stem in "abc":
            both(["put", f"{stem}{index}", f"value {index * 7 % 5} of {stem}"])
    for form in FORMATS:
        both(["put", "a1", f"in {form}", "-w", form])
        both(["put", "a1", "again", "--prev-kv", "-w", form])
        both(["put", "a1", "again", "--prev-kv", "--hex", "-w", form])
        both(["put", "new-" + form, "v", "--prev-kv", "-w", form])
    both(["put", "from-input"], data=b"bytes \x00\x01\xff of standard input\n")
    both(["put", "--", "-dash", "-value"])
    both(["put", "empty", ""])
    both(["put", "a2", "--ignore-value"])
    both(["put", "a2", "--ignore-value", "--prev-kv", "-w", "json"])
    both(["put", "missing", "--ignore-value"])
    both(["put", "a2", "value", "--ignore-value"])
    both(["put", "missing", "v", "--ignore-lease"])
    both(["put", "", "no key"])
    both(["put", "a3", "v", "--lease=1234"])
    both(["put", "a3", "v", "--lease=nothex"])
    both(["put", "only-key"], data=b"")
    both(["put"])
    both(["put", "unicode schlüssel", "ключ\n値"])
    both(["put", "large", "x" * 100_000])
    both(["put", "too-large"], data=b"x" * 1_600_000)
    both(["put", "far-too-large"], data=b"x" * 2_500_000)


def gets(both, choose):
    last = both.revision()
    spans = [["a1"], ["a1", "b3"], ["a", "--prefix"], ["b2", "--from-key"], ["", "--prefix"], ["", "--from-key"], ["missing"]]
    spans += [["b3", "a1"], ["a1", "a1"], ["with space"], ["a1", "--prefix", "--from-key"], ["a1", "b1", "--prefix"], []]
    for span in spans:
        for form in FORMATS:
            both(["get", *span, "-w", form])
        both(["get", *span, "--hex"])
    both(["get", "", "nothing"])
    flags = [
        [[], ["--consistency=l"], ["--consistency=s"], ["--consistency=x"]],
        [[], [], ["--limit=1"], ["--limit=3"], ["--limit=0"], ["--limit=1000"], ["--limit=-1"]],
        [[]] + [["--sort-by=" + by] for by in ("CREATE", "KEY", "MODIFY", "create", "NOTHING", "")],
        [[], ["--order=ASCEND"], ["--order=DESCEND"], ["--order=SIDEWAYS"]],
        [[], [], [], ["--keys-only"]],
        [[], [], ["--print-value-only"]],
        [[], [], [], ["--rev=1"], ["--rev=5"], [f"--rev={last - 3}"], [f"--rev={last}"], [f"--rev={last + 1}"], ["--rev=-1"]],
        [[], ["--hex"]],
        [["-w", form] for form in FORMATS],
    ]
    for group in flags:
        for flag in group:
            both(["get", "a", "--prefix", *flag])
    for _ in range(90):
        both(["get", *choose.choice(spans[:10]), *(flag for group in flags for flag in choose.choice(group))])
    # VALUE and VERSION have ties, whose order is nobody's business: keys of values of their own.
    for index in range(6):
        for _ in range(index + 1):
            both(["put", f"tie/{index}", f"{(index * 5) % 7}"])
    for by in ("VALUE", "VERSION"):
        for order in ("ASCEND", "DESCEND"):
            for form in FORMATS[:3]:
                both(["get", "tie/", "--prefix", "--sort-by=" + by, "--order=" + order, "-w", form])
                both(["get", "tie/", "--prefix", "--sort-by=" + by, "--order=" + order, "--limit=2", "-w", form])


def deletes(both):
    for form in FORMATS:
        both(["put", "gone", "soon"])
        both(["del", "gone", "-w", form])
        both(["del", "gone", "-w", form])
        for index in range(3):
            both(["put", f"gone/{index}", "soon"])
        both(["del", "gone/", "--prefix", "--prev-kv", "-w", form])
        for index in range(3):
            both(["put", f"gone/{index}", "soon"])
        both(["del", "gone/1", "gone/9", "--prev-kv", "--hex", "-w", form])
        both(["del", "gone/", "--prefix", "-w", form])
    both(["put", "zz1", "v"])
    both(["del", "zz", "--from-key", "--prev-kv"])
    both(["del", "zz", "--from-key", "--prefix"])
    both(["del"])
    both(["del", ""])


def transactions(both):
    for script in TRANSACTIONS:
        for form in FORMATS:
            both(["txn", "-w", form], data=script.encode())
        both(["txn", "-i"], data=script.encode())
        both(["txn", "--hex"], data=script.encode())
    many = "\n" + "".join(f"put many/{index} v\n" for index in range(128)) + "\n\n"
    both(["txn"], data=many.encode())
    both(["txn"], data=many.replace("put many/0 v", "put many/0 v\nput many/128 v").encode())


def watches(both):
    """Watches of the past end by themselves when they have shown what there is; watches of what comes are given changes."""
    start = both.revision() + 1
    both(["put", "watched/1", "first"])
    both(["put", "watched/1", "second"])
    both(["put", "watched/2", "other"])
    both(["del", "watched/1"])
    for form in FORMATS:
        for flags in ([], ["--prev-kv"], ["--hex"]):
            both.watch(["watch", "watched/", "--prefix", f"--rev={start}", "-w", form, *flags])
    both.watch(["watch", "watched/1", f"--rev={start}"])
    both.watch(["watch", "watched/1", "watched/9", f"--rev={start + 1}", "--prev-kv"])
    both.watch(["watch", "watched/", "--prefix", f"--rev={start}", "-i"], data=b"")
    both.watch(["watch", "-i"], data=f"watch watched/ --prefix --rev={start}\n".encode())
    both.watch(["watch", "-i"], data=b"watch nothing\nprogress\n")
    echo = "echo $ETCD_WATCH_REVISION $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"
    both.watch(["watch", "watched/1", f"--rev={start}", "--", "sh", "-c", echo])
    both.watch(["watch", "watched/1", "watched/0"])
    both.watch(["watch", "watched/1", "--rev=-5"], least=0)
    both.watch(["watch"])

    def change():
        both(["put", "live/1", "new"])
        both(["put", "live/1", "newer", "--prev-kv"])
        both(["txn"], data=b"\nput live/2 x\nput live/3 y\ndel live/1\n\n\n")
        both(["del", "live/", "--prefix"])

    for args in (["live/", "--prefix"], ["live/", "--prefix", "--prev-kv"], ["live/1"], ["live/2", "--rev=0"]):
        for form in ("simple", "json", "fields"):
            both.watch(["watch", *args, "-w", form], change=change)


def leases(both):
    for form in FORMATS:
        both(["lease", "grant", "1000", "-w", form], lease=form)
    for form in FORMATS[:4]:
        both(["put", "leased/" + form, "v", "--lease={%s}" % "simple"])
        both(["lease", "timetolive", "{simple}", "-w", form])
        both(["lease", "timetolive", "{simple}", "--keys", "-w", form], unordered=True)
        both(["lease", "keep-alive", "{simple}", "--once", "-w", form])
        both(["lease", "list", "-w", form], unordered=True)
    both(["put", "leased/simple", "v", "--ignore-lease", "--prev-kv", "-w", "json"])
    both(["get", "leased/", "--prefix", "-w", "json"])
    both.watch(["lease", "keep-alive", "{json}"])
    both(["lease", "revoke", "{simple}"])
    both(["get", "leased/", "--prefix"])
    for form in FORMATS[:4]:
        both(["lease", "revoke", "{simple}", "-w", form])
        both(["lease", "timetolive", "{simple}", "-w", form])
        both(["lease", "timetolive", "12ab", "--keys", "-w", form])
    both(["lease", "keep-alive", "{simple}", "--once"])
    both(["lease", "grant", "0"], lease="least")
    both(["lease", "grant", "9000000001"])
    both(["lease", "grant", "nothing"])
    both(["lease", "revoke", "nothing"])
    both(["lease", "grant"])
    # A lease of the least TTL takes its key along.
    both(["lease", "grant", "1"], lease="short")
    both(["put", "leased/short", "v", "--lease={short}"])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(both.quiet(["get", "leased/short"])):
        time.sleep(0.2)
    both(["get", "leased/short"])
    both(["lease", "timetolive", "{short}"])
    for name in ("json", "fields", "table", "protobuf", "least"):
        both.quiet(["lease", "revoke", "{%s}" % name])


def locks(both):
    both(["lock", "door", "true"])
    both(["lock", "door", "sh", "-c", "exit 3"])
    both(["lock", "door", "--ttl=20", "--", "sh", "-c", "echo locked $ETCD_LOCK_REV"])
    first = both.begin(["lock", "door"])
    both.until(first, 1)
    both(["get", "door/", "--prefix", "--print-value-only"])
    second = both.begin(["lock", "door", "--ttl=30"])
    both.until_keys("door/", 2)
    both.end(first)
    both.until(second, 1)
    both.end(second)
    both(["get", "door/", "--prefix"])
    leader = both.begin(["elect", "crown", "one"])
    both.until(leader, 2)
    listener = both.begin(["elect", "--listen", "crown"])
    both.until(listener, 2)
    other = both.begin(["elect", "crown", "two"])
    both.until_keys("crown/", 2)
    both.end(leader)
    both.until(other, 2)
    both.until(listener, 4)
    both.end(other)
    both.end(listener)
    both(["get", "crown/", "--prefix"])
    both(["elect", "crown"])


def upkeep(both, folder):
    for form in FORMATS:
        both(["endpoint", "health", "-w", form])
        both(["endpoint", "status", "-w", form])
        both(["endpoint", "hashkv", "-w", form])
        both(["endpoint", "health", "--cluster", "-w", form])
        both(["endpoint", "status", "--cluster", "-w", form])
        both(["member", "list", "-w", form])
    both(["endpoint", "hashkv", "--rev=3"])
    both(["endpoint", "hashkv", "--rev=100000"])
    both(["alarm", "list"])
    both.raise_alarm(1)
    # The other formats show the answer's header, which etcd 3.4 leaves out (and ends with a panic in etcdctl's `fields`).
    for form in ("simple", "table"):
        both(["alarm", "list", "-w", form])
    both(["put", "no", "space"])
    both(["txn"], data=b"\nput no space\n\n\n")
    both(["lease", "grant", "100"])
    both(["get", "a1"])
    both(["del", "a1"])
    both(["endpoint", "status", "-w", "json"])
    both(["endpoint", "health"])
    both(["alarm", "disarm"])
    both(["alarm", "disarm"])
    both(["put", "a1", "space again"])
    both(["defrag"])
    both(["defrag", "--cluster"])
    both.snapshot(folder)
    revision = both.revision()
    both(["compaction", str(revision - 5)])
    both(["compaction", str(revision - 5)])
    both(["compaction", str(revision - 2), "--physical"])
    both(["compaction", str(revision + 1)])
    both(["compaction", "x"])
    both(["compaction"])
    for form in FORMATS:
        both(["get", "a1", f"--rev={revision - 3}", "-w", form])
        both(["get", "a1", f"--rev={revision - 2}", "-w", form])
        both(["compaction", "1", "-w", form])
        both.watch(["watch", "a1", "--rev=2", "-w", form])
    both(["endpoint", "hashkv", "--rev=3"])
    both.datascale()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=".build/release/needletail", help="what is tested; `pip` for another etcd")
    parser.add_argument("--peer", default="debian")
    parser.add_argument("--no-perf", action="store_true", help="without `check perf`, which takes a minute")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    found = {"debian": stores.debian_etcd, "pip": stores.pip_etcd}
    programs = [found[name]() if name in found else name for name in (options.server, options.peer)]
    if not shutil.which("etcdctl") or not all(programs):
        missing = "etcdctl" if not shutil.which("etcdctl") else "etcd"
        print(f"etcdctl.py: skipped: {missing} is not installed; `make deps-test` installs it\n0 passed, 0 failed, 1 skipped")
        return 0
    print(f"etcdctl.py: {programs[0]} beside {programs[1]} (seed {options.seed})", flush=True)
    report, folder = Report(), tempfile.mkdtemp(prefix="needletail-etcdctl-")
    perf = None if options.no_perf else Both(report, programs)
    with Both(report, programs) as both:
        running = perf.begin(["check", "perf", "--load=s"]) if perf else None
        choose = random.Random(options.seed)
        parts = [puts, lambda both: gets(both, choose), deletes, transactions, watches, leases, locks]
        for part, name in zip(parts, ["put", "get", "del", "txn", "watch", "lease", "lock and elect"]):
            report.part(name)
            part(both)
        report.part("endpoint, member, alarm, defrag, snapshot, compaction, check")
        upkeep(both, folder)
    if perf:
        report.part("check perf")
        perf.throughput(running)
        perf.close()
    shutil.rmtree(folder, ignore_errors=True)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
