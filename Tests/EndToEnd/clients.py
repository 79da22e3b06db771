#!/usr/bin/env python3
"""Python's etcd3 client does what its README and its documentation show, to etcd and to Needletail: the results are the same.

usage: clients.py [--server .build/release/needletail] [--peer debian]

etcd3 0.12 brings grpcio and its own copy of etcd's messages: nothing of this client was written here.
"""

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time

# The generated code of etcd3 0.12 is older than the C++ implementation of protobuf that some machines have.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

from peers import stores

try:
    import etcd3
    from etcd3 import exceptions
except ModuleNotFoundError as missing:
    print(f"clients.py: skipped: there is no Python package {missing.name} ({sys.executable}); `make deps-test` installs it")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)


def pair(found):
    """(value, key, revisions …) of a get; its header says who answered and is left out."""
    value, meta = found
    if meta is None:
        return value, None
    return value, meta.key, meta.create_revision, meta.mod_revision, meta.version, bool(meta.lease_id)


def basics(client):
    """README: get, put, delete; the get_* family."""
    yield pair(client.get("bar"))
    client.put("bar", "doot")
    yield pair(client.get("bar"))
    yield pair(client.get("bar", serializable=True))
    yield client.put("bar", "again", prev_kv=True).prev_kv.value
    yield client.delete("bar"), client.delete("bar")
    yield client.put_if_not_exists("once", "first"), client.put_if_not_exists("once", "second"), pair(client.get("once"))
    yield client.replace("once", "first", "third"), client.replace("once", "first", "fourth"), pair(client.get("once"))
    for index in range(20):
        client.put(f"/doot/{index:02}", f"value {index * 7 % 20}")
    for target in (None, "key", "version", "create", "mod", "value"):
        for order in (None, "ascend", "descend"):
            yield [pair(one) for one in client.get_prefix("/doot/", sort_order=order, sort_target=target or "key")]
    yield [pair(one) for one in client.get_prefix("/doot/", keys_only=True)]
    yield [pair(one) for one in client.get_range("/doot/05", "/doot/11")]
    yield len([one for one in client.get_all()])
    yield client.get_prefix_response("/doot/").count, client.get_range_response("/doot/03", "/doot/04").count
    yield client.delete("/doot/03", prev_kv=True, return_response=True).prev_kvs[0].value
    yield client.delete_prefix("/doot/").deleted


def transactions(client):
    """README: a transaction, its branches and all kinds of comparisons."""
    client.put("/tx/a", "dootdoot")
    changes = {
        "success": [client.transactions.put("/tx/key", "success"), client.transactions.get("/tx/a")],
        "failure": [client.transactions.put("/tx/key", "failure"), client.transactions.delete("/tx/a")],
    }
    of = client.transactions
    compares = [
        [of.value("/tx/a") == "dootdoot"], [of.value("/tx/a") != "dootdoot"], [of.value("/tx/a") > "d"], [of.value("/tx/a") < "d"],
        [of.version("/tx/a") > 0], [of.version("/tx/none") == 0], [of.create("/tx/a") > 0, of.mod("/tx/a") != 0],
        [of.value("/tx/key") == "failure"], [],
    ]
    for compare in compares:
        succeeded, answers = client.transaction(compare=compare, **changes)
        shown = [[pair(one) for one in answer] if isinstance(answer, list) else type(answer).__name__ for answer in answers]
        yield succeeded, shown, pair(client.get("/tx/key"))
    nested = of.txn(compare=[of.version("/tx/deep") == 0], success=[of.put("/tx/deep", "1")], failure=[of.delete("/tx/deep")])
    for _ in range(2):
        yield client.transaction(compare=[], success=[nested, of.put("/tx/flat", "2")], failure=[])[0], pair(client.get("/tx/deep"))


def leases(client):
    """README: a lease with its keys, refreshed, asked and revoked; and one that runs out."""
    lease = client.lease(1000)
    client.put("/lease/one", "1", lease=lease)
    client.put("/lease/two", "2", lease=lease.id)
    yield lease.granted_ttl, 990 < lease.remaining_ttl <= 1000, sorted(lease.keys)
    yield [answer.TTL for answer in lease.refresh()]
    info = client.get_lease_info(lease.id)
    yield info.grantedTTL, sorted(info.keys)
    lease.revoke()
    yield pair(client.get("/lease/one")), pair(client.get("/lease/two"))
    chosen = client.lease(1000, lease_id=123456)
    yield chosen.id
    for bad in (lambda: client.lease(1000, lease_id=123456), lambda: client.revoke_lease(99), lambda: client.put("x", "y", lease=99)):
        yield problem(bad)
    chosen.revoke()
    short = client.lease(1)
    client.put("/lease/short", "x", lease=short)
    yield eventually(lambda: client.get("/lease/short")[0] is None, 20)


def problem(call):
    """The client's exception for what goes wrong, and the server's words in it."""
    try:
        call()
    except exceptions.Etcd3Exception as error:
        return type(error).__name__
    except Exception as error:  # grpc's own
        return error.code().name, error.details()
    return None


def eventually(condition, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def event(one):
    return type(one).__name__, one.key, one.value, one.mod_revision, one.prev_value if one.prev_value else b""


def watches(client):
    """README: watching a key and a prefix, with an iterator and a callback, from a revision of the past, once."""
    start = client.put("/watch/a", "0").header.revision
    events, cancel = client.watch_prefix("/watch/", start_revision=start, prev_kv=True)
    for index in range(1, 50):
        client.put(f"/watch/{'abc'[index % 3]}", str(index))
        if index % 10 == 0:
            client.delete("/watch/b")
    yield [event(next(events)) for _ in range(54)]
    cancel()
    yield list(events)
    seen, all_seen = [], threading.Event()

    def callback(response):
        seen.extend(event(one) for one in response.events)
        if len(seen) >= 3:
            all_seen.set()

    watch = client.add_watch_callback("/watch/called", callback)
    for index in range(3):
        client.put("/watch/called", str(index))
    yield all_seen.wait(10), seen
    client.cancel_watch(watch)
    later = threading.Timer(0.3, lambda: etcd3.client(port=client.port_of).put("/watch/once", "now"))
    later.start()
    yield event(client.watch_once("/watch/once", timeout=10))
    later.join()
    yield problem(lambda: client.watch_once("/watch/never", timeout=0.3))
    client.compact(client.put("/watch/a", "end").header.revision)
    events, cancel = client.watch("/watch/a", start_revision=start)
    try:
        next(events)
        yield "no exception"
    except exceptions.RevisionCompactedError as error:
        yield error.compacted_revision
    cancel()


def locks(client):
    """README: a lock as a context manager; who waits gets it when it is free."""
    with client.lock("workbench", ttl=20) as lock:
        yield lock.is_acquired(), client.get(lock.key)[0] is not None
        other = etcd3.client(port=client.port_of).lock("workbench", ttl=20)
        yield other.acquire(timeout=0.5)
    yield other.acquire(timeout=10), other.is_acquired(), lock.is_acquired()
    yield other.release(), other.release()
    order = []

    def work(name):
        with etcd3.client(port=client.port_of).lock("queue", ttl=60):
            order.append(("in", name))
            time.sleep(0.05)
            order.append(("out", name))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    yield all(order[at][0] == "in" and order[at + 1] == ("out", order[at][1]) for at in range(0, 10, 2)) and len(order) == 10


def upkeep(client):
    """The maintenance that etcd3 knows."""
    status = client.status()
    yield status.db_size > 0, status.leader is not None, status.raft_index > 0
    yield [(len(member.peer_urls) > 0, len(member.client_urls)) for member in client.members]
    yield client.hash() is not None
    client.defragment()
    yield [alarm.alarm_type for alarm in client.list_alarms()]
    member = next(client.members).id
    yield [alarm.alarm_type for alarm in client.create_alarm(member)], [alarm.alarm_type for alarm in client.list_alarms()]
    yield problem(lambda: client.put("no", "space"))
    yield [alarm.alarm_type for alarm in client.disarm_alarm(member)], list(client.list_alarms())
    client.put("space", "again")
    yield pair(client.get("space"))
    path = f"/tmp/needletail-clients-{client.port_of}.snapshot"
    with open(path, "wb") as file:
        client.snapshot(file)
    yield os.path.getsize(path) > 1000
    os.unlink(path)


def mistakes(client):
    """What servers refuse, in their words."""
    yield problem(lambda: client.put("", "no key")), problem(lambda: client.put("big", b"x" * 1_600_000))
    yield problem(lambda: client.compact(10**9)), problem(lambda: client.put("k", "v", lease=5))
    put = client.transactions.put
    yield problem(lambda: client.transaction(compare=[], success=[put("a", "1"), put("a", "2")], failure=[]))
    yield problem(lambda: client.transaction(compare=[], success=[put(f"k{n}", "1") for n in range(129)], failure=[]))


def many_clients(client):
    """A counter that eight clients raise by compare and swap loses nothing."""
    client.put("counter", "0")

    def work():
        own, done = etcd3.client(port=client.port_of), 0
        while done < 25:
            value, meta = own.get("counter")
            of = own.transactions
            swapped, _ = own.transaction(
                compare=[of.mod("counter") == meta.mod_revision], success=[of.put("counter", str(int(value) + 1))], failure=[]
            )
            done += swapped

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    yield client.get("counter")[0]


PARTS = [basics, transactions, leases, watches, locks, upkeep, mistakes, many_clients]


def elections(store):
    """Two candidates and a listener through etcdctl; a candidate that leaves is followed by the other."""
    if not shutil.which("etcdctl"):
        return "etcdctl is not installed"
    command = ["etcdctl", f"--endpoints=127.0.0.1:{store.port}", "elect", "crown"]
    environment = {**os.environ, "ETCDCTL_API": "3"}
    pipes = {"stdout": subprocess.PIPE, "text": True, "env": environment}
    one = subprocess.Popen(command + ["one"], **pipes)
    seen = [one.stdout.readline().startswith("crown/"), one.stdout.readline().strip()]
    two = subprocess.Popen(command + ["two"], **pipes)
    listener = subprocess.Popen(command + ["--listen"], **pipes)
    seen += [listener.stdout.readline().startswith("crown/"), listener.stdout.readline().strip()]
    one.terminate()
    one.wait(10)
    seen += [two.stdout.readline().startswith("crown/"), two.stdout.readline().strip()]
    seen += [listener.stdout.readline().startswith("crown/"), listener.stdout.readline().strip()]
    for process in (two, listener):
        process.terminate()
        process.wait(10)
    return seen


def results(part, client):
    """What a part shows, and how it ended."""
    found = []
    try:
        found.extend(part(client))
    except Exception as error:
        found.append(("ended with", type(error).__name__, str(error)[:600]))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=".build/release/needletail", help="what is tested; `pip` for another etcd")
    parser.add_argument("--peer", default="debian")
    options = parser.parse_args()
    found = {"debian": stores.debian_etcd, "pip": stores.pip_etcd}
    programs = [found[name]() if name in found else name for name in (options.server, options.peer)]
    if not all(programs):
        print("clients.py: skipped: etcd is not installed; `make deps-test` installs it\n0 passed, 0 failed, 1 skipped")
        return 0
    print(f"clients.py: etcd3 with {programs[0]} and {programs[1]}", flush=True)
    passed = failed = 0
    with stores.Store(programs[0]) as server, stores.Store(programs[1]) as peer:
        clients = []
        for store in (server, peer):
            client = etcd3.client(port=store.port, timeout=30)
            client.port_of = store.port
            clients.append(client)
        outcomes = [(part.__name__, [results(part, client) for client in clients]) for part in PARTS]
        outcomes.append(("elections through etcdctl", [elections(store) for store in (server, peer)]))
        for name, (ours, theirs) in outcomes:
            bad = [at for at, (a, b) in enumerate(zip(ours, theirs)) if a != b]
            broken = any(isinstance(one, tuple) and one[:1] == ("ended with",) for one in ours)
            if not bad and len(ours) == len(theirs) and ours and not broken:
                passed += 1
                print(f"  ok    {name}: {len(ours)} results", flush=True)
                continue
            failed += 1
            at = bad[0] if bad else min(len(ours), len(theirs)) - 1
            print(f"  FAIL  {name}: result {at}\n    server {str(ours[at:at + 1])[:900]}\n    peer   {str(theirs[at:at + 1])[:900]}")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
