"""The JSON gateway and the pages beside it: the same requests as curl would send them, to Debian's etcd and to Needletail, and
the answers compared but for ids, times, sizes and versions; then the client library etcd3gw, as its README shows it."""

import base64
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time

from needletail import Failure, Server, free_port, main


def b64(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


class Etcd:
    """Debian's etcd on free ports."""

    def __init__(self, folder):
        self.port, peer = free_port(), free_port()
        url, peers = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{peer}"
        self.log_path = os.path.join(folder, "etcd.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["etcd", "--data-dir", os.path.join(folder, "etcd"), "--listen-client-urls", url, "--advertise-client-urls", url,
                 "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                if ask(self.port, "GET", "/health")[1].startswith(b'{"health":"true"'):
                    return
            except OSError:
                pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                raise Failure("Debian's etcd did not start:\n" + open(self.log_path, errors="replace").read()[-2000:])
            time.sleep(0.05)

    def stop(self):
        self.process.kill()
        self.process.wait()


def ask(port, method, path, body=None, headers=None, timeout=20):
    """(status, body, headers in lower case)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def stream(port, path, body, wanted, timeout=5):
    """The first so many lines of a streamed answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        data = body.encode()
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        reader = connection.makefile("rb")
        status = int(reader.readline().split()[1])
        chunked, length = False, 0
        while (line := reader.readline().strip().lower()):
            chunked |= line == b"transfer-encoding: chunked"
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if not chunked:
            return status, [reader.read(length)]
        text = b""
        while text.count(b"\n") < wanted:
            size = int(reader.readline().split(b";")[0], 16)
            if size == 0:
                break
            text += reader.read(size)
            reader.readline()
        return status, text.splitlines()[:wanted]


HIDDEN = {"cluster_id", "member_id", "raft_term", "raftIndex", "raftAppliedIndex", "raftTerm", "leader", "dbSize", "dbSizeInUse",
          "version", "hash", "compact_revision"}


def plain(found, hidden):
    if isinstance(found, dict):
        return {name: plain(value, hidden) for name, value in found.items() if name not in hidden}
    return [plain(one, hidden) for one in found] if isinstance(found, list) else found


def comparable(body, hidden=HIDDEN):
    """A JSON body without what differs between any two servers; the order of names is kept."""
    try:
        return json.dumps(plain(json.loads(body), hidden))
    except ValueError:
        return body


LEASE = {"TTL": "100", "ID": "77"}
# Path and body; the text is sent as it is.
CALLS = [
    ("kv/put", {"key": b64("foo"), "value": b64("bar")}), ("kv/put", {"key": b64("foo"), "value": b64("baz"), "prev_kv": True}),
    ("kv/put", {"key": b64(b"\xff\x00"), "value": b64(bytes(range(256)))}), ("kv/range", {"key": b64("foo")}),
    ("kv/put", {"key": b64("foo"), "ignore_value": True, "value": b64("x")}), ("kv/put", {"key": b64("no"), "ignore_value": True}),
    ("kv/put", {"key": b64("foo"), "lease": "12345"}), ("kv/put", {}), ("kv/put", {"value": b64("x")}),
    ("kv/range", {"key": "AA==", "range_end": "AA==", "limit": 1}), ("kv/range", {"key": "AA==", "rangeEnd": "AA==", "keysOnly": True}),
    ("kv/range", {"key": "AA==", "range_end": "AA==", "sort_order": "DESCEND", "sort_target": "MOD"}),
    ("kv/range", {"key": "AA==", "range_end": "AA==", "count_only": True}), ("kv/range", {"key": b64("foo"), "revision": "2"}),
    ("kv/range", {"key": b64("foo"), "revision": 1000}), ("kv/range", {"key": b64("foo"), "serializable": True}),
    ("kv/range", {"key": b64("missing")}), ("kv/range", {"key": b64("foo"), "sort_order": 1, "unknown": [1, {"a": None}]}),
    ("kv/deleterange", {"key": b64("foo"), "prev_kv": True}), ("kv/deleterange", {"key": b64("foo")}), ("kv/deleterange", {}),
    ("kv/put", {"key": b64("foo"), "value": b64("1")}),
    ("kv/txn", {"compare": [{"key": b64("foo"), "target": "VALUE", "result": "EQUAL", "value": b64("1")}],
                "success": [{"request_put": {"key": b64("foo"), "value": b64("2")}}, {"requestRange": {"key": b64("foo")}}]}),
    ("kv/txn", {"compare": [{"key": b64("foo"), "target": "VERSION", "result": "GREATER", "version": 50}],
                "failure": [{"request_delete_range": {"key": b64("foo"), "prev_kv": True}}, {"request_txn": {}}]}),
    ("kv/txn", {"compare": [{"key": b64("foo"), "target": "CREATE", "create_revision": "0"}],
                "success": [{"request_txn": {"success": [{"request_put": {"key": b64("n"), "value": b64("n")}}]}}]}),
    ("kv/txn", {"success": [{}]}), ("kv/txn", {"success": {}}), ("kv/txn", {"success": None}), ("kv/txn", {}),
    ("kv/txn", {"success": [{"request_put": {"key": b64("d")}}, {"request_put": {"key": b64("d")}}]}),
    ("kv/compaction", {"revision": 3}), ("kv/compaction", {"revision": 3}), ("kv/compaction", {"revision": "999"}),
    ("kv/range", {"key": b64("foo"), "revision": 2}),
    ("lease/grant", LEASE), ("lease/grant", LEASE), ("lease/grant", {"TTL": "9999999999"}),
    ("kv/put", {"key": b64("leased"), "value": b64("v"), "lease": 77}), ("kv/range", {"key": b64("leased")}),
    ("lease/leases", {}), ("kv/lease/leases", {}), ("lease/timetolive", {"ID": 5}), ("kv/lease/timetolive", {"ID": "5", "keys": True}),
    ("lease/revoke", {"ID": 5}), ("kv/lease/revoke", {"ID": 77}), ("kv/range", {"key": b64("leased")}),
    ("maintenance/status", {}), ("maintenance/alarm", {}), ("maintenance/hash", {}),
    ("maintenance/alarm", {"action": "ACTIVATE", "memberID": "5", "alarm": "NOSPACE"}), ("maintenance/alarm", {"alarm": "NOSPACE"}),
    ("kv/put", {"key": b64("full"), "value": b64("x")}), ("maintenance/alarm", {"action": "DEACTIVATE", "memberID": "5", "alarm": "NOSPACE"}),
    ("maintenance/defragment", {}), ("maintenance/transfer-leadership", {}), ("cluster/member/add", {}), ("cluster/member/remove", {"ID": "5"}),
    ("lease/grant", {"TTL": 100, "ID": 7}), ("lock/lock", {"name": b64("l"), "lease": 7}), ("lock/unlock", {"key": b64("l/7")}),
    ("election/leader", {"name": b64("e")}), ("election/campaign", {"name": b64("e"), "lease": "7", "value": b64("v")}),
    ("election/leader", {"name": b64("e")}), ("election/proclaim", {}), ("election/resign", {}),
    # JSON that is wrong.
    ("kv/range", '{"key":"Zm9v"'), ("kv/range", '{"key":"Zm9'), ("kv/range", '{"key":"Zm9"}'), ("kv/range", '{"key":"Zm9v=="}'),
    ("kv/range", '{"key":"Zm_-"}'), ("kv/range", '{"key":5}'), ("kv/range", '{"key":null}'), ("kv/range", ""), ("kv/range", "null"),
    ("kv/range", "[]"), ("kv/range", "5"), ("kv/range", '{"key":"Zm9v"} trailing'), ("kv/range", '{"key":"Zm9v","key":"bg=="}'),
    ("kv/range", '{"key":"Zm9v","limit":1.5}'), ("kv/range", '{"key":"Zm9v","limit":1e2}'), ("kv/range", '{"key":"Zm9v","limit":"x"}'),
    ("kv/range", '{"key":"Zm9v","limit":99999999999999999999}'), ("kv/range", '{"key":"Zm9v","limit":true}'),
    ("kv/range", '{"key":"Zm9v","limit":""}'), ("kv/range", '{"key":"Zm9v","limit":"1 2"}'), ("kv/range", '{"key":"Zm9v","limit":-}'),
    ("kv/range", '{"key":"Zm9v","sort_order":"FOO"}'), ("kv/range", '{"key":"Zm9v","keys_only":"true"}'),
    ("kv/range", '{"key":"Zm9v","keys_only":1}'), ("kv/range", '{"Key":"Zm9v"}'), ("kv/range", "{,}"), ("kv/range", '{"a":"\\x"}'),
    ("kv/range", '{"a" 1}'), ("kv/range", '{"a":tru}'), ("kv/range", "{'a':1}"), ("kv/range", '{"a":"\t"}'),
    ("kv/range", '{"key":"Z\\u006d9v"}'), ("kv/nope", {}), ("nope", {}),
]
STREAMS = [
    ("lease/keepalive", '{"ID":7}', 1), ("lease/keepalive", '{"ID":7}{"ID":"8"}', 2), ("lease/keepalive", "", 1),
    ("lease/keepalive", '{"ID":"x"}', 1), ("watch", '{"create_request":{"key":5}}', 1), ("watch", '{"create', 1),
    ("watch", json.dumps({"create_request": {"key": "AA==", "range_end": "AA==", "start_revision": "4", "prev_kv": True}}), 2),
    ("watch", json.dumps({"create_request": {"key": b64("foo"), "start_revision": 1, "filters": ["NOPUT"]}}), 2),
    ("watch", '{"create_request":{"key":"Zm9v"}}{"progress_request":{}}', 2),
    ("watch", '{"create_request":{"key":"Zm9v"}}{"cancel_request":{"watch_id":0}}', 2),
    ("election/observe", json.dumps({"name": b64("e")}), 1),
]
PAGES = [
    ("GET", "/nope"), ("GET", "/"), ("POST", "/health"), ("HEAD", "/health"), ("OPTIONS", "/health"), ("POST", "/version"),
    ("HEAD", "/version"), ("HEAD", "/metrics"), ("OPTIONS", "/v3/kv/range"), ("GET", "/v3/kv/range"), ("PUT", "/v3/kv/put"),
    ("GET", "/v3/watch"), ("DELETE", "/v3/kv/nope"),
]
HEADERS = ["content-type", "allow", "access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers",
           "grpc-metadata-content-type"]


def compare(report, ours, theirs):
    differences = []
    for path, body in CALLS:
        text = body if isinstance(body, str) else json.dumps(body)
        left, right = (ask(port, "POST", "/v3/" + path, text) for port in (ours, theirs))
        # Since 3.5 alarms and defragmentation have headers; Debian's etcd is older.
        hidden = HIDDEN | {"header"} if path in ("maintenance/alarm", "maintenance/defragment") else HIDDEN
        same = left[0] == right[0] and comparable(left[1], hidden) == comparable(right[1], hidden)
        same &= all(left[2].get(name) == right[2].get(name) for name in HEADERS[:1] + HEADERS[2:5])
        if not same:
            differences.append(f"{path} {text}\n  needletail {left[0]} {left[1]!r}\n  etcd       {right[0]} {right[1]!r}")
    report.check(not differences, f"{len(CALLS)} calls answered as by etcd", "\n".join(differences))

    differences = []
    for path, body, wanted in STREAMS:
        left, right = (stream(port, "/v3/" + path, body, wanted) for port in (ours, theirs))
        if left[0] != right[0] or [comparable(one) for one in left[1]] != [comparable(one) for one in right[1]]:
            differences.append(f"{path} {body}\n  needletail {left}\n  etcd       {right}")
    report.check(not differences, f"{len(STREAMS)} streams answered as by etcd", "\n".join(differences))

    differences = []
    for method, path in PAGES:
        left, right = (ask(port, method, path) for port in (ours, theirs))
        if left[:2] != right[:2] or any(left[2].get(name) != right[2].get(name) for name in HEADERS):
            differences.append(f"{method} {path}\n  needletail {left}\n  etcd       {right}")
    report.check(not differences, f"{len(PAGES)} methods and pages answered as by etcd", "\n".join(differences))
    for prefix in ("/v3beta/", "/v3alpha/"):
        report.check(ask(ours, "POST", prefix + "kv/range", '{"key":"bg=="}')[0] == 200, f"{prefix} is the same")


def snapshots(report, ours, theirs):
    """Whole files, as the same messages: what is in them is each server's own. The last 32 bytes are the digest of all before."""
    for name, port in (("needletail", ours), ("etcd", theirs)):
        status, body, _ = ask(port, "POST", "/v3/maintenance/snapshot", "{}", timeout=60)
        parts = [json.loads(line)["result"] for line in body.splitlines()] if status == 200 else []
        blobs = [base64.b64decode(part["blob"]) for part in parts]
        file, left = b"".join(blobs), sum(map(len, blobs))
        told = []
        for part, blob in zip(parts, blobs):
            left -= len(blob)
            told.append(int(part.get("remaining_bytes", left)))
            # etcd counts the digest among them or not, as its version is; Needletail does.
            told[-1] -= left if told[-1] == left or name == "needletail" else left - 32
        good = file[-32:] == hashlib.sha256(file[:-32]).digest() and len(file) % 512 == 32 and not any(told)
        good &= max(map(len, blobs), default=0) <= 32 << 10 and all(set(part) <= {"header", "remaining_bytes", "blob"} for part in parts)
        report.check(good, f"a snapshot of {name}", f"{status} {len(file)} bytes in {len(parts)}, {told[-3:]}, {body[:200]!r}")


def metrics(report, ours, theirs):
    """Names that dashboards use, by etcd 3.4 or by what came later."""
    def names(port):
        page = ask(port, "GET", "/metrics")[1].decode()
        return {line.split()[2]: line.split()[3] for line in page.splitlines() if line.startswith("# TYPE")}

    mine, etcds = names(ours), names(theirs)
    wanted = """etcd_server_has_leader etcd_server_is_leader etcd_server_leader_changes_seen_total
        etcd_server_proposals_committed_total etcd_server_proposals_applied_total etcd_server_proposals_pending
        etcd_server_proposals_failed_total etcd_server_quota_backend_bytes etcd_server_slow_apply_total
        etcd_server_slow_read_indexes_total etcd_mvcc_db_total_size_in_bytes etcd_mvcc_db_total_size_in_use_in_bytes
        etcd_mvcc_put_total etcd_mvcc_delete_total etcd_debugging_mvcc_keys_total etcd_disk_wal_fsync_duration_seconds
        etcd_disk_backend_commit_duration_seconds etcd_network_client_grpc_sent_bytes_total
        etcd_network_client_grpc_received_bytes_total grpc_server_started_total grpc_server_handled_total
        process_resident_memory_bytes etcd_server_version etcd_cluster_version""".split()
    report.check(not set(wanted) - set(mine), "the metrics that dashboards use are there", set(wanted) - set(mine))
    other = {name: (mine[name], etcds[name]) for name in mine.keys() & etcds.keys() if mine[name] != etcds[name]}
    report.check(not other, f"{len(mine.keys() & etcds.keys())} metrics of etcd have its types", other)


def transport(report, port):
    """What only a raw connection shows."""
    def raw(data, parts=1 << 20):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            for at in range(0, len(data), parts):
                connection.sendall(data[at : at + parts])
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while (more := connection.recv(1 << 16)):
                answer += more
            return answer

    key = b'{"key":"bg=="}'
    one = b"POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(key), key)
    put = b'{"key":"cGlwZQ==","value":"MQ=="}'
    two = b"POST /v3/kv/put HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x;x=y\r\n%s\r\n0\r\nA: b\r\n\r\n" % (
        len(put[:9]), put[:9], len(put[9:]), put[9:])
    answer = raw(one + two + one + b"GET /health HTTP/1.1\r\n\r\n")
    report.check(answer.count(b"HTTP/1.1 200 OK") == 4, "pipelined calls are answered in order, writes among them", answer)
    whole = [line for line in answer.split(b"\r\n") if not line.startswith(b"Date")]
    for parts in (1, 7, 100):
        again = [line for line in raw(one + two + one + b"GET /health HTTP/1.1\r\n\r\n", parts).split(b"\r\n") if not line.startswith(b"Date")]
        report.check(len(again) == len(whole), f"the same in parts of {parts} bytes", again)

    head = b"POST /v3/kv/put HTTP/1.1\r\n"
    for name, data, status in [
        ("a truncated body", head + b"Content-Length: 100\r\n\r\n" + put, b" 400 "),
        ("a truncated chunk", head + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{", b" 400 "),
        ("chunks that are none", head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b" 400 "),
        ("a length and chunks", head + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", b" 400 "),
        ("a length beyond all limits", head + b"Content-Length: 999999999999\r\n\r\n", b" 400 "),
        ("a chunk beyond all limits", head + b"Transfer-Encoding: chunked\r\n\r\n7fffffff\r\n" + b"a" * (5 << 20), b" 400 "),
        ("another coding", head + b"Content-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc", b" 501 "),
        ("deep nesting", head + b"Content-Length: 200000\r\n\r\n" + b"[" * 200000, b" 400 "),
        ("a body for a page", b"POST /health HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b" 405 "),
    ]:
        answer = raw(data)
        report.check(status in answer.split(b"\r\n")[0] and answer.count(b"HTTP/1.1 ") == 1, f"{name} is refused", answer[:300])

    value = b64(os.urandom(1_400_000))
    big = json.dumps({"key": b64("big"), "value": value})
    report.check(ask(port, "POST", "/v3/kv/put", big)[0] == 200, "a value of 1.4 MB goes in")
    status, body, _ = ask(port, "POST", "/v3/kv/range", json.dumps({"key": b64("big")}))
    report.check(status == 200 and json.loads(body)["kvs"][0]["value"] == value, "and comes back")
    for i in range(8):
        ask(port, "POST", "/v3/kv/put", json.dumps({"key": b64(f"large/{i}"), "value": value}))
    query = json.dumps({"key": b64("large/"), "range_end": b64("large0")})
    status, body, headers = ask(port, "POST", "/v3/kv/range", query)
    found = json.loads(body)
    report.check(
        status == 200 and headers.get("transfer-encoding") == "chunked" and found.get("count") == "8" and "header" in found
        and [base64.b64decode(one["key"]) for one in found["kvs"]] == [f"large/{i}".encode() for i in range(8)]
        and all(one["value"] == value for one in found["kvs"]), "a range of 11 MB comes in pieces", f"{status} {headers} {body[:200]}")

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    local = None
    for i in range(200):
        connection.request("POST", "/v3/kv/put", json.dumps({"key": b64("kept"), "value": b64(str(i))}))
        connection.getresponse().read()
        local = local or connection.sock.getsockname()
    report.check(connection.sock.getsockname() == local, "200 puts on one connection kept alive")
    connection.close()


def health(report, port):
    for path, wanted in [("/health", b'{"health":"true","reason":""}'), ("/health?serializable=true", b'{"health":"true","reason":""}'),
                         ("/livez", b"ok\n"), ("/livez?verbose", b"[+]serializable_read ok\nok\n"), ("/readyz", b"ok\n"),
                         ("/readyz?verbose&exclude=data_corruption", b"[+]serializable_read ok\n[+]linearizable_read ok\nok\n"),
                         ("/readyz/data_corruption", b"ok\n")]:
        status, body, _ = ask(port, "GET", path)
        report.check((status, body) == (200, wanted), f"GET {path}", f"{status} {body}")
    report.check(ask(port, "GET", "/livez/data_corruption")[0] == 404, "a check of another page is none")
    ask(port, "POST", "/v3/maintenance/alarm", '{"action":"ACTIVATE","memberID":"9","alarm":"NOSPACE"}')
    found = [ask(port, "GET", path)[0] for path in ("/health", "/health?exclude=NOSPACE", "/readyz", "/livez")]
    report.check(found == [503, 200, 200, 200], "NOSPACE is ill health unless it is excluded", found)
    ask(port, "POST", "/v3/maintenance/alarm", '{"action":"DEACTIVATE","memberID":"9","alarm":"NOSPACE"}')
    ask(port, "POST", "/v3/maintenance/alarm", '{"action":"ACTIVATE","memberID":"9","alarm":"CORRUPT"}')
    found = [ask(port, "GET", path)[:2] for path in ("/readyz", "/livez", "/readyz?exclude=data_corruption")]
    report.check(
        [one[0] for one in found] == [503, 200, 200] and b"[-]data_corruption failed: alarm activated: CORRUPT" in found[0][1],
        "CORRUPT is not ready", found)
    ask(port, "POST", "/v3/maintenance/alarm", '{"action":"DEACTIVATE","memberID":"9","alarm":"CORRUPT"}')


LIBRARY = r'''
import sys, threading, time
from etcd3gw.client import Etcd3Client
client = Etcd3Client(port=int(sys.argv[1]), api_path='/v3/')
assert client.status()['version']
assert client.members()
client.put('foo', 'bar')
assert client.get('foo') == [b'bar']
client.put('bar', 'doot', None)
assert dict((m['key'], v) for v, m in client.get_prefix('fo')) == {b'foo': b'bar'}
assert client.get_all() and client.create('new', 'x') and not client.create('new', 'y')
assert client.replace('new', 'x', 'z') and client.get('new') == [b'z'] and not client.replace('new', 'x', 'q')
lease = client.lease(ttl=100)
client.put('leased', 'v', lease)
assert lease.ttl() > 90 and lease.refresh() == 100 and lease.keys() == [b'leased']
assert lease.revoke() and client.get('leased') == []
with client.lock('door', ttl=20) as lock:
    assert lock.is_acquired()
assert client.delete('foo') and client.get('foo') == []
events, cancel = client.watch('seen')
threading.Timer(0.2, lambda: client.put('seen', '1')).start()
first = next(events)
assert first['kv']['key'] == b'seen' and first['kv']['value'] == b'1', first
cancel()
threading.Timer(0.2, lambda: client.put('once', '1')).start()
assert client.watch_once('once', timeout=10)['kv']['value'] == b'1'
result = client.transaction({
    'compare': [{'key': 'bmV3', 'result': 'EQUAL', 'target': 'VERSION', 'version': '2'}],
    'success': [{'request_put': {'key': 'bmV3', 'value': 'YQ=='}}], 'failure': []})
assert result['succeeded'], result
print('README done')
'''


def library(report, folder, ports):
    """etcd3gw in a virtual environment that later runs find again."""
    venv = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".venv-test"))
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python) and subprocess.run([sys.executable, "-m", "venv", venv], capture_output=True).returncode:
        return report.skip("etcd3gw", "no virtual environment can be made here")
    if subprocess.run([python, "-c", "import etcd3gw"], capture_output=True).returncode:
        done = subprocess.run([python, "-m", "pip", "install", "-q", "etcd3gw==2.6.0"], capture_output=True, timeout=300)
        if done.returncode:
            return report.skip("etcd3gw", "pip can't install it: " + done.stderr.decode()[-200:].strip())
    script = os.path.join(folder, "library.py")
    with open(script, "w") as file:
        file.write(LIBRARY)
    for name, port in ports:
        done = subprocess.run([python, script, str(port)], capture_output=True, timeout=120)
        report.check(done.returncode == 0, f"etcd3gw does what its README shows with {name}", done.stderr.decode()[-1500:])


def run(report, programs, folder, options, rng):
    server = Server(programs, os.path.join(folder, "data"))
    etcd = None
    try:
        if shutil.which("etcd"):
            etcd = Etcd(folder)
            compare(report, server.port, etcd.port)
            snapshots(report, server.port, etcd.port)
            metrics(report, server.port, etcd.port)
        else:
            report.skip("etcd's answers", "Debian's etcd-server is not installed: make deps-test")
        transport(report, server.port)
        health(report, server.port)
        library(report, folder, [("needletail", server.port)] + ([("etcd", etcd.port)] if etcd else []))
        report.check(server.alive() and server.stop() == 0, "the server is well, and stops well", server.log()[-2000:])
    finally:
        if etcd:
            etcd.stop()


if __name__ == "__main__":
    main("the JSON gateway beside Debian's etcd", run)
