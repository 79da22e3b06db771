#!/usr/bin/env python3
"""What Kubernetes' API server does to its store, over gRPC, to Needletail and to etcd in turns: both must agree with a model, and
their latencies stand side by side.

usage: kubernetes.py [--objects 2000] [--operations 2000] [--server .build/release/needletail] [--peer debian] [--seed N]
       kubernetes.py --objects 100000 --operations 20000 --disk      the whole workload, on a disk

Objects of five kinds lie under /registry. They are made by transactions that demand that there is none yet, listed 500 at a time at
one revision, watched from the revision of the list, changed and deleted by comparing mod_revision, events carry leases, and history
is compacted now and then. Every operation goes to one store, then to the other; the latencies are those of one client at depth 1.
"""

import argparse
import random
import sys
import time

from peers import stores

try:
    from peers import grpc
    from peers.protobuf import Schema
except ModuleNotFoundError as missing:
    print(f"kubernetes.py: skipped: there is no Python package {missing.name} ({sys.executable}); `make deps-test` installs it")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

SCHEMA = Schema()
KINDS = ["pods", "configmaps", "secrets", "leases", "events"]
PAGE = 500
EQUAL, CREATE, MOD = 0, 1, 2
WATCH = "/etcdserverpb.Watch/Watch"


class Fault(Exception):
    """A store has not done what it must."""


class Cluster:
    """One store with its client: calls by method, latencies by operation, watches."""

    def __init__(self, program, folder):
        self.store = stores.Store(program, folder=folder)
        self.name = self.store.kind
        self.latencies, self.watches = {}, {}

    def ready(self):
        self.store.wait_until_ready()
        self.connection = grpc.Connection(self.store.port)

    def call(self, method, request, operation=None):
        path, request_type, answer_type, _ = SCHEMA.methods[method]
        body = SCHEMA.encode(request_type, request)
        begun = time.perf_counter()
        code, message, answer = self.connection.call(path, body)
        if operation:
            self.latencies.setdefault(operation, []).append(time.perf_counter() - begun)
        if code:
            raise Fault(f"{self.name}: {method}: {code} {message}")
        return SCHEMA.decode(answer_type, answer)

    def watch(self, kind, revision):
        create = {"key": prefix(kind), "range_end": end(kind), "start_revision": revision, "prev_kv": True, "progress_notify": True}
        stream = self.connection.start(WATCH, SCHEMA.encode("WatchRequest", {"create_request": create}), end=False)
        self.watches[kind] = (stream, [])

    def events(self, kind):
        """All events of a watch so far."""
        stream, events = self.watches[kind]
        while stream.messages:
            response = SCHEMA.decode("WatchResponse", stream.messages.popleft())
            if response.get("canceled"):
                raise Fault(f"{self.name}: the watch of {kind} has ended: {response}")
            events += response.get("events", [])
        return events


def prefix(kind):
    return b"/registry/%s/" % kind.encode()


def end(kind):
    return b"/registry/%s0" % kind.encode()


class Workload:
    def __init__(self, options, clusters):
        self.options, self.clusters = options, clusters
        self.random = random.Random(options.seed)
        self.objects = {}  # key → (value, mod revision): the model
        self.keys = []
        self.expected = {kind: [] for kind in KINDS}  # what watches must show
        self.revision = self.compacted = 0
        self.made = 0

    def both(self, method, request, operation=None):
        """The same request to both; their answers, which must be equal but for ids."""
        answers = [cluster.call(method, request, operation) for cluster in self.clusters]
        plain = [{**answer, "header": answer.get("header", {}).get("revision", 0)} for answer in answers]
        for one in plain:
            one.pop("ID", None) if method == "Lease.LeaseGrant" else None
        if plain[0] != plain[1]:
            raise Fault(f"{method} {str(request)[:300]}\n  server {str(plain[0])[:600]}\n  peer   {str(plain[1])[:600]}")
        return answers[1]

    def value(self):
        return self.random.randbytes(16) * self.random.randint(20, 90)

    def name(self):
        kind = self.random.choices(KINDS, (50, 15, 10, 5, 20))[0]
        self.made += 1
        return kind, b"%sns-%02d/%s-%06d" % (prefix(kind), self.random.randrange(40), kind.encode(), self.made)

    def creation(self, key, value, lease=0):
        put = {"key": key, "value": value} | ({"lease": lease} if lease else {})
        compare = {"result": EQUAL, "target": MOD, "key": key, "mod_revision": 0}
        return {"compare": [compare], "success": [{"request_put": put}], "failure": [{"request_range": {"key": key}}]}

    def kept(self, kind, key, value, revision):
        if key not in self.objects:
            self.keys.append(key)
        self.objects[key] = (value, revision)
        self.revision = revision
        self.expected[kind].append((0, key, value, revision))

    # Phases

    def load(self):
        """All objects, 64 at a time; rates and memory of each store."""
        requests = []
        for _ in range(self.options.objects):
            kind, key = self.name()
            requests.append((kind, key, self.value()))
        path, request_type, answer_type, _ = SCHEMA.methods["KV.Txn"]
        for cluster in self.clusters:
            begun, cpu = time.perf_counter(), cluster.store.cpu_seconds()
            for at in range(0, len(requests), 64):
                bodies = [SCHEMA.encode(request_type, self.creation(key, value)) for _, key, value in requests[at : at + 64]]
                streams = [cluster.connection.start(path, body) for body in bodies]
                cluster.connection.wait(streams)
                if any(stream.code for stream in streams):
                    raise Fault(f"{cluster.name}: load: {streams[0].code} {streams[0].message}")
            cluster.load_seconds = time.perf_counter() - begun
            cluster.load_cpu = cluster.store.cpu_seconds() - cpu
            cluster.rss = cluster.store.memory("RssAnon"), cluster.store.memory()
        # Which of the 64 came first is each store's affair, and from here on revisions are compared: all again, one by one.
        self.align(requests)

    def align(self, requests):
        """Gives every key the same revisions on both stores: in chunks, each of which is one transaction."""
        for at in range(0, len(requests), 100):
            part = requests[at : at + 100]
            deleted = [{"request_delete_range": {"key": key}} for _, key, _ in part]
            made = [{"request_put": {"key": key, "value": value}} for _, key, value in part]
            self.both("KV.Txn", {"success": deleted})
            revision = self.both("KV.Txn", {"success": made})["header"]["revision"]
            for kind, key, value in part:
                self.objects[key] = (value, revision)
                self.keys.append(key)
                self.revision = revision
        self.both("KV.Compact", {"revision": self.revision})
        self.compacted = self.revision

    def list(self, kind):
        """All pages at the first page's revision; what was found must be the model."""
        key, revision, found = prefix(kind), 0, []
        while True:
            request = {"key": key, "range_end": end(kind), "limit": PAGE, "revision": revision}
            answer = self.both("KV.Range", request, "list page" if len(found) else "list first page")
            found += [(pair["key"], pair.get("value", b""), pair["mod_revision"]) for pair in answer.get("kvs", [])]
            revision = revision or answer["header"]["revision"]
            if not answer.get("more"):
                break
            key = found[-1][0] + b"\0"
        model = sorted((key, *self.objects[key]) for key in self.objects if key.startswith(prefix(kind)))
        if found != model:
            raise Fault(f"list of {kind}: {len(found)} found, {len(model)} expected")
        return revision

    def begin_watches(self):
        for kind in KINDS:
            revision = self.list(kind)
            for cluster in self.clusters:
                cluster.watch(kind, revision + 1)

    def operate(self):
        operations = [self.get, self.update, self.stale_update, self.create, self.delete, self.event, self.page_of_the_past]
        leases = [self.lease()]
        for number in range(self.options.operations):
            operation = self.random.choices(operations, (40, 30, 3, 8, 8, 8, 6))[0]
            if operation == self.event:
                if self.random.random() < 0.02:
                    leases.append(self.lease())
                self.event(leases[-1])
            else:
                operation()
            if number % 500 == 499:
                self.compact()
            if number % 2000 == 1999:
                print(f"    {number + 1:,} operations", file=sys.stderr, flush=True)

    def key(self):
        while True:
            at = self.random.randrange(len(self.keys))
            if self.keys[at] in self.objects:
                return self.keys[at]
            self.keys[at] = self.keys[-1]
            self.keys.pop()

    def get(self):
        key = self.key()
        answer = self.both("KV.Range", {"key": key}, "get")
        if (answer["kvs"][0].get("value"), answer["kvs"][0]["mod_revision"]) != self.objects[key]:
            raise Fault(f"get of {key}: {answer} instead of {self.objects[key]}")

    def update(self):
        key, value = self.key(), self.value()
        compare = {"result": EQUAL, "target": MOD, "key": key, "mod_revision": self.objects[key][1]}
        request = {"compare": [compare], "success": [{"request_put": {"key": key, "value": value}}]}
        answer = self.both("KV.Txn", request | {"failure": [{"request_range": {"key": key}}]}, "update")
        if not answer.get("succeeded"):
            raise Fault(f"the update of {key} was refused")
        self.kept(key.split(b"/")[2].decode(), key, value, answer["header"]["revision"])

    def stale_update(self):
        key = self.key()
        compare = {"result": EQUAL, "target": MOD, "key": key, "mod_revision": self.objects[key][1] - 1}
        request = {"compare": [compare], "success": [{"request_put": {"key": key, "value": b"never"}}]}
        answer = self.both("KV.Txn", request | {"failure": [{"request_range": {"key": key}}]}, "update refused")
        if answer.get("succeeded") or answer["responses"][0]["response_range"]["kvs"][0]["mod_revision"] != self.objects[key][1]:
            raise Fault(f"an update of {key} from a stale revision: {answer}")

    def create(self):
        kind, key = self.name()
        value = self.value()
        self.kept(kind, key, value, self.both("KV.Txn", self.creation(key, value), "create")["header"]["revision"])

    def delete(self):
        key = self.key()
        compare = {"result": EQUAL, "target": MOD, "key": key, "mod_revision": self.objects[key][1]}
        request = {"compare": [compare], "success": [{"request_delete_range": {"key": key}}]}
        answer = self.both("KV.Txn", request | {"failure": [{"request_range": {"key": key}}]}, "delete")
        if not answer.get("succeeded"):
            raise Fault(f"the deletion of {key} was refused")
        del self.objects[key]
        self.revision = answer["header"]["revision"]
        self.expected[key.split(b"/")[2].decode()].append((1, key, b"", self.revision))

    def lease(self):
        identity = self.random.getrandbits(60)
        self.both("Lease.LeaseGrant", {"TTL": 3600, "ID": identity}, "lease grant")
        return identity

    def event(self, lease):
        self.made += 1
        key, value = b"%sns-00/event-%06d" % (prefix("events"), self.made), self.value()
        answer = self.both("KV.Txn", self.creation(key, value, lease), "event with lease")
        self.kept("events", key, value, answer["header"]["revision"])

    def page_of_the_past(self):
        kind = self.random.choice(KINDS)
        revision = self.random.randint(max(self.compacted, self.revision - 300), self.revision)
        key = prefix(kind) + b"ns-%02d" % self.random.randrange(40)
        self.both("KV.Range", {"key": key, "range_end": end(kind), "limit": PAGE, "revision": revision}, "page at a revision")

    def compact(self):
        """As the API server does: a key tells who compacts, then what is older than a while goes."""
        key = b"compact_rev_key"
        put = {"key": key, "value": b"%d" % self.revision}
        compare = {"result": EQUAL, "target": 0, "key": key, "version": 0}
        answer = self.both("KV.Txn", {"compare": [compare], "success": [{"request_put": put}], "failure": [{"request_put": put}]})
        self.revision = answer["header"]["revision"]
        target = self.revision - 400
        if target > self.compacted:
            self.both("KV.Compact", {"revision": target}, "compaction")
            self.compacted = target

    def end_watches(self):
        """Every watcher must have been told every change of its kind, once and in order."""
        for kind in KINDS:
            expected = self.expected[kind]
            for cluster in self.clusters:
                deadline = time.monotonic() + 30
                while len(cluster.events(kind)) < len(expected) and time.monotonic() < deadline:
                    cluster.connection.receive(0.2)
                found = [
                    (one.get("type", 0), one["kv"]["key"], one["kv"].get("value", b""), one["kv"]["mod_revision"])
                    for one in cluster.events(kind)
                ]
                if found != expected:
                    raise Fault(f"{cluster.name}: watch of {kind}: {len(found)} events, {len(expected)} expected")

    def whole(self):
        """Reads of the whole: count, `limit 1`, and 10,000 keys."""
        for request, name in (
            ({"count_only": True}, "count of all"), ({"limit": 1}, "limit 1 of all"), ({"limit": 10_000}, "10,000 keys"),
        ):
            for _ in range(15):
                self.both("KV.Range", {"key": b"/registry/", "range_end": b"/registry0", **request}, name)

    def restart(self):
        for cluster in self.clusters:
            cluster.connection.close()
            cluster.store.stop()
            cluster.store.start()
            cluster.ready()
            cluster.restart_seconds = time.monotonic() - cluster.store.started
        for kind in KINDS:
            self.list(kind)


def percentile(sorted_values, fraction):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * fraction))]


def table(clusters):
    print(f"  {'operation':20} {'count':>7}" + "".join(f" {cluster.name + ' p50':>15} {'p99 µs':>9}" for cluster in clusters))
    for operation in clusters[0].latencies:
        line = f"  {operation:20} {len(clusters[0].latencies[operation]):7}"
        for cluster in clusters:
            values = sorted(cluster.latencies[operation])
            line += f" {percentile(values, 0.5) * 1e6:15,.0f} {percentile(values, 0.99) * 1e6:9,.0f}"
        print(line)
    for cluster in clusters:
        print(f"  {cluster.name}: load {cluster.count / cluster.load_seconds:,.0f} objects/s with {cluster.load_cpu / cluster.count * 1e6:,.0f} µs "
              f"CPU each; memory after it {cluster.rss[0] >> 20} MiB beyond the page cache, {cluster.rss[1] >> 20} MiB in all; CPU of the "
              f"operations {cluster.cpu:.2f} s; restart to first answer {cluster.restart_seconds * 1000:,.0f} ms", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--operations", type=int, default=2000)
    parser.add_argument("--server", default=".build/release/needletail", help="what is tested; `pip` for another etcd")
    parser.add_argument("--peer", default="debian")
    parser.add_argument("--disk", action="store_true", help="data in the temporary folder instead of in memory")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    found = {"debian": stores.debian_etcd, "pip": stores.pip_etcd}
    programs = [found[name]() if name in found else name for name in (options.server, options.peer)]
    if not all(programs):
        print("kubernetes.py: skipped: etcd is not installed; `make deps-test` installs it\n0 passed, 0 failed, 1 skipped")
        return 0
    print(f"kubernetes.py: {options.objects:,} objects, {options.operations:,} operations (seed {options.seed})", flush=True)
    clusters = [Cluster(program, "/tmp" if options.disk else None) for program in programs]
    for cluster in clusters:
        cluster.ready()
        cluster.count = options.objects
    work = Workload(options, clusters)
    failed = 0
    try:
        for phase in (work.load, work.begin_watches, work.operate, work.end_watches, work.whole, work.restart):
            before = [cluster.store.cpu_seconds() for cluster in clusters]
            begun = time.monotonic()
            phase()
            if phase == work.operate:
                for cluster, cpu in zip(clusters, before):
                    cluster.cpu = cluster.store.cpu_seconds() - cpu
            print(f"  ok    {phase.__name__.replace('_', ' ')} ({time.monotonic() - begun:.1f} s)", flush=True)
        table(clusters)
    except (Fault, grpc.Broken, stores.NoServer, OSError) as fault:
        failed = 1
        print(f"  FAIL  {phase.__name__}: {fault} (seed {options.seed})", flush=True)
    for cluster in clusters:
        cluster.store.remove()
    print(f"{6 - failed if not failed else 0} passed, {failed} failed", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
