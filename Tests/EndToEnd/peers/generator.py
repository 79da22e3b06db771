"""Random programs: lists of operations that are a function of their seed alone.

An operation is a tuple: ("call", method, request), ("raw", path, bytes), ("watch", stream, request), ("close", stream) or
("settle",). Revisions in requests stand in relation to where the store is when they are sent: Rev("now", -3) is three below
the current revision, Rev("compacted", 1) one above the compacted one. So any part of a program is one, too."""

import random

INT64_MAX = (1 << 63) - 1
READS = {"KV.Range", "Lease.LeaseTimeToLive", "Lease.LeaseLeases", "Maintenance.HashKV"}
STEMS = [b"a", b"b", b"ab", b"abc", b"b1", b"b2", b"c", b"ca", b"d/1", b"d/2", b"d/3", b"d/10", b"e", b"\x00", b"\x00\x00", b"z\xff"]
STEMS += [b"\xff", b"\xff\xff", b"/registry/pods/default/one", b"/registry/pods/default/two", b"/registry/pods/other/one"]
STEMS += ["schlüssel".encode(), b"long" * 40, b"d", b"d/", b"k\x00", b"k\x01", b"k"]
COMPARE_UNION = ["version", "create_revision", "mod_revision", "value", "lease"]
LEASES = [1, 2, 3, 4, 5, 77, INT64_MAX]


class Rev(tuple):
    """(what, difference): a revision that is known when the request is sent."""

    def __new__(cls, what, difference):
        return super().__new__(cls, (what, difference))


PROFILES = {
    # weights of: range, put, delete, txn, compact, lease, watch, alarm, hash, invalid
    "mixed": (1200, 200, 60, 180, 6, 50, 12, 1, 8, 30),
    "reads": (3000, 60, 15, 60, 2, 10, 0, 0, 4, 20),
    "transactions": (800, 60, 20, 600, 4, 20, 4, 1, 0, 10),
    "history": (1500, 250, 120, 60, 25, 10, 0, 0, 60, 4),
    "leases": (600, 200, 30, 80, 2, 600, 0, 2, 0, 10),
    "watches": (100, 350, 100, 200, 3, 40, 60, 0, 0, 4),
    "large": (300, 200, 20, 60, 3, 10, 14, 0, 0, 10),
    "invalid": (250, 100, 30, 150, 5, 60, 20, 2, 10, 400),
}


class Generator:
    def __init__(self, seed, profile=None):
        self.random = random.Random(seed)
        self.profile = profile or self.random.choice(sorted(PROFILES))
        self.weights = PROFILES[self.profile]
        self.keys = list(STEMS)
        if self.random.random() < 0.5:
            self.keys += [b"n/%04d" % self.random.randrange(400) for _ in range(200)]
        self.large = self.profile == "large"
        self.alarm_left = None
        self.open_streams = set()

    def program(self, count):
        """That many requests, or a few more."""
        out = []
        makers = [self.range, self.put, self.delete, self.txn, self.compact, self.lease, self.watch, self.alarm, self.hash]
        makers.append(self.invalid)
        while len(out) < count:
            if self.alarm_left is not None:
                self.alarm_left -= 1
                if self.alarm_left < 0:
                    self.alarm_left = None
                    out += self.disarm()
                    continue
            maker = self.random.choices(makers, self.weights)[0]
            made = maker()
            out += made if isinstance(made, list) else [made]
        if self.alarm_left is not None:
            self.alarm_left = None
            out += self.disarm()
        return out + [("settle",)]

    # Parts of requests

    def chance(self, probability):
        return self.random.random() < probability

    def key(self):
        kind = self.random.random()
        if kind < 0.94:
            return self.random.choice(self.keys)
        if kind < 0.96:
            return b""
        if kind < 0.98:
            return b"missing/%d" % self.random.randrange(3)
        return self.random.choice(self.keys) + b"\x00"

    def end(self, key):
        """A range end for the key: its prefix, everything behind it, another key, its own, an earlier one."""
        kind = self.random.random()
        if kind < 0.35:
            return prefix_end(key[: self.random.randint(0, len(key))] if self.chance(0.3) else key)
        if kind < 0.6:
            return b"\0"
        if kind < 0.9:
            return self.random.choice(self.keys)
        if kind < 0.95:
            return key
        return key + b"\0"

    def span(self, request, single=0.35):
        request["key"] = self.key()
        if not self.chance(single):
            if self.chance(0.15):
                request["key"] = b"\0"
            request["range_end"] = self.end(request["key"])
        return request

    def revision(self, depth=30):
        kind = self.random.random()
        if kind < 0.8:
            return Rev("now", -self.random.randrange(depth))
        if kind < 0.86:
            return Rev("now", self.random.randint(1, 3))
        if kind < 0.96:
            return Rev("compacted", self.random.randint(-1, 3))
        return self.random.choice([0, 1, 2, -1, -(1 << 40), INT64_MAX, INT64_MAX - 1])

    def value(self):
        if self.large and self.chance(0.3):
            return bytes((self.random.randrange(256),)) * self.random.choice([20_000, 60_000, 120_000])
        kind = self.random.random()
        if kind < 0.7:
            return self.random.choice([b"1", b"2", b"3", b"10", b"", b"two words"])
        if kind < 0.9:
            return self.random.randbytes(self.random.randrange(40))
        return self.random.randbytes(8) * self.random.randrange(1, 150)

    def lease_id(self):
        return self.random.choice(LEASES)

    # Requests

    def range_request(self, inner=False):
        request = self.span({})
        if self.chance(0.35):
            request["limit"] = self.random.choice([1, 1, 2, 3, 5, 10, 1000, -1, INT64_MAX])
        if self.chance(0.3):
            request["revision"] = self.revision()
        if self.chance(0.35):
            request["sort_order"] = self.random.choice([0, 1, 1, 2, 2])
            request["sort_target"] = self.random.choice([0, 1, 2, 3, 4])
            if request["sort_target"] and inner:
                # Which of several equal ones a limit cuts off is etcd's whim (differences.py), and can't be told in there.
                request.pop("limit", None)
        if self.chance(0.2):
            request["serializable"] = True
        if self.chance(0.15) and not (request.get("sort_target") == 4 and "limit" in request):
            request["keys_only"] = True
        if self.chance(0.12):
            request["count_only"] = True
        if self.chance(0.2):
            for name in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
                if self.chance(0.4):
                    request[name] = self.revision(100)
        return request

    def range(self):
        return ("call", "KV.Range", self.range_request())

    def put_request(self):
        request = {"key": self.key(), "value": self.value()}
        if self.chance(0.15):
            request["lease"] = self.lease_id()
        if self.chance(0.25):
            request["prev_kv"] = True
        if self.chance(0.08):
            request["ignore_value"] = True
            if self.chance(0.8):
                request["value"] = b""
        if self.chance(0.08):
            request["ignore_lease"] = True
            if self.chance(0.8):
                request.pop("lease", None)
        return request

    def put(self):
        return ("call", "KV.Put", self.put_request())

    def delete_request(self):
        request = self.span({}, single=0.7)
        if "range_end" in request and self.chance(0.7):
            # Most deletions of ranges are small: a store that is always empty shows little.
            request["range_end"] = prefix_end(request["key"])
        if self.chance(0.4):
            request["prev_kv"] = True
        return request

    def delete(self):
        return ("call", "KV.DeleteRange", self.delete_request())

    def compare(self):
        target = self.random.randrange(5)
        compare = {"result": self.random.randrange(4), "target": target, "key": self.key()}
        union = target if self.chance(0.93) else self.random.randrange(5)
        kind = COMPARE_UNION[union]
        if kind == "value":
            compare["value"] = self.value()
        elif kind == "version":
            compare["version"] = self.random.choice([0, 0, 1, 1, 2, 3, -1])
        elif kind == "lease":
            compare["lease"] = self.random.choice([0, 0, self.lease_id()])
        else:
            compare[kind] = self.random.choice([0, 0, self.revision()])
        if self.chance(0.05):
            del compare[kind]
        if self.chance(0.2):
            compare["range_end"] = self.end(compare["key"])
        return compare

    def operation(self, depth):
        kind = self.random.random()
        if kind < 0.4:
            return {"request_put": self.put_request()}
        if kind < 0.65:
            return {"request_range": self.range_request(inner=True)}
        if kind < 0.8:
            return {"request_delete_range": self.delete_request()}
        if kind < 0.98 and depth < 4 and self.alarm_left is None:
            return {"request_txn": self.txn_request(depth + 1)}
        return {} if kind > 0.995 else {"request_range": self.range_request(inner=True)}

    def txn_request(self, depth=0):
        request = {}
        most = 4 if depth == 0 else 2
        for name, make in (("compare", self.compare), ("success", None), ("failure", None)):
            count = self.random.randint(0, most)
            if depth == 0 and self.chance(0.004):
                count = self.random.choice([127, 128, 129, 140])
            items = [make() if make else self.operation(depth) for _ in range(count)]
            if items:
                request[name] = items
        if self.chance(0.2):
            request.pop("compare", None)
        kinds = {kind for name in ("success", "failure") for one in request.get(name, []) for kind in one}
        if depth == 0 and kinds & {"request_txn", "request_delete_range"}:
            without_ignore(request)
        return request

    def txn(self):
        return ("call", "KV.Txn", self.txn_request())

    def compact(self):
        request = {"revision": self.random.choice([Rev("now", -self.random.randrange(40)), self.revision()])}
        if request["revision"] == 0 or self.chance(0.3):
            request["physical"] = True
        call = ("call", "KV.Compact", request)
        # What a watch of the past, or previous values, still find depends on the moment, unless all is sent before.
        return [("settle",), call] if self.open_streams else call

    def lease(self):
        kind = self.random.random()
        if kind < 0.3:
            request = {"TTL": self.random.choice([1000, 5000, 9_000_000_000, 9_000_000_001, INT64_MAX])}
            if self.chance(0.93):
                return ("call", "Lease.LeaseGrant", {"ID": self.lease_id()} | request)
            # The least TTL that there is, while nothing can come of it.
            identity = self.random.choice([900, 901])
            request = {"TTL": self.random.choice([0, 1, -1, -1000, -INT64_MAX - 1]), "ID": identity}
            return [("call", "Lease.LeaseGrant", request), ("call", "Lease.LeaseRevoke", {"ID": identity})]
        if kind < 0.5:
            return ("call", "KV.Put", self.put_request() | {"lease": self.lease_id()})
        if kind < 0.6:
            return ("call", "Lease.LeaseRevoke", {"ID": self.random.choice([self.lease_id(), 0, -1])})
        if kind < 0.8:
            request = {"ID": self.random.choice([self.lease_id(), self.lease_id(), 0, -1])}
            return ("call", "Lease.LeaseTimeToLive", request | ({"keys": True} if self.chance(0.6) else {}))
        if kind < 0.9:
            return ("call", "Lease.LeaseKeepAlive", {"ID": self.random.choice([self.lease_id(), self.lease_id(), 0, -1])})
        return ("call", "Lease.LeaseLeases", {})

    def watch(self):
        """A step of a watch stream's life; streams are few, so that watchers share them."""
        stream, kind = self.random.randrange(3), self.random.random()
        if stream in self.open_streams and kind < 0.05:
            self.open_streams.discard(stream)
            return [("settle",), ("close", stream)]
        if stream in self.open_streams and kind < 0.2:
            return ("watch", stream, {"cancel_request": {"watch_id": self.random.choice([0, 1, 2, 3, 1001, 1002, 99, -1])}})
        if stream in self.open_streams and kind < 0.3:
            return ("settle",)
        create = self.span({}, single=0.4)
        if self.chance(0.6):
            create["start_revision"] = self.revision(200)
        if self.chance(0.5):
            create["prev_kv"] = True
        if self.chance(0.25):
            create["filters"] = [self.random.choice([0, 1]) for _ in range(self.random.randint(1, 2))]
        if self.chance(0.25):
            # Not -1, which stands for no watch in answers, and none that is assigned (differences.py).
            create["watch_id"] = self.random.choice([1001, 1002, 1003, INT64_MAX])
        if self.chance(0.3):
            create["fragment"] = True
        if self.chance(0.2):
            create["progress_notify"] = True
        self.open_streams.add(stream)
        return ("watch", stream, {"create_request": create})

    def alarm(self):
        if self.alarm_left is not None:
            return ("call", "Maintenance.Alarm", {"alarm": self.random.choice([0, 1, 2])})
        self.alarm_left = self.random.randrange(1, 12)
        kind = self.random.choice([1, 1, 2])
        return [("settle",), ("call", "Maintenance.Alarm", {"action": 1, "memberID": self.random.choice([7, 8]), "alarm": kind})]

    @staticmethod
    def disarm():
        both = [(member, kind) for member in (7, 8) for kind in (1, 2)]
        return [("call", "Maintenance.Alarm", {"action": 2, "memberID": m, "alarm": k}) for m, k in both]

    def hash(self):
        return ("call", "Maintenance.HashKV", {"revision": self.revision()})

    def invalid(self):
        """Requests that no client library makes; but none with an unknown sort target, which is the end of etcd's process."""
        kind = self.random.choice([0, 2, 3, 4, 5, 6, 7, 8])
        if kind == 0:
            unknown = {"sort_order": self.random.choice([3, 9, -1])}
            return ("call", "KV.Range", self.range_request() | unknown)
        if kind == 2:
            compare = self.compare() | {self.random.choice(["target", "result"]): self.random.choice([5, 9, -1])}
            return ("call", "KV.Txn", {"compare": [compare], "success": [{"request_put": {"key": b"a"}}]})
        if kind == 3:
            key = self.random.choice(self.keys)
            twice = [{"request_put": {"key": key, "value": b"1"}}, {"request_put": {"key": key, "value": b"2"}}]
            if self.chance(0.5):
                twice[self.random.randrange(2)] = {"request_delete_range": {"key": b"\0", "range_end": b"\0"}}
            if self.chance(0.4) and self.alarm_left is None:
                at = self.random.randrange(2)
                twice[at] = {"request_txn": {self.random.choice(["success", "failure"]): [twice[at]]}}
            return ("call", "KV.Txn", {self.random.choice(["success", "failure"]): twice})
        if kind == 4:
            method = self.random.choice(["KV.Range", "KV.Put", "KV.DeleteRange", "KV.Txn", "KV.Compact", "Lease.LeaseRevoke"])
            return ("call", method, {})
        if kind == 5:
            return ("raw", self.random.choice(["/etcdserverpb.KV/Nothing", "/etcdserverpb.Nothing/Range", "/no.such/one"]), b"")
        if kind == 6:
            # A message that ends in the middle of a field, or has a field of a wrong wire type.
            method, bad = self.random.choice(["Range", "Put", "DeleteRange", "Txn", "Compact"]), [b"\x0a\x05ab", b"\x0a"]
            # A compaction's first field is a number: that would be a sound request, and raw ones go out side by side with others.
            bad += [b"\x0a\xff\xff\xff\xff\x0f", b"\x08" if method == "Compact" else b"\x08\x01"]
            return ("raw", "/etcdserverpb.KV/" + method, self.random.choice(bad))
        if kind == 7:
            # Fields that nobody knows are skipped.
            return ("raw", "/etcdserverpb.KV/Range", b"\x0a\x01" + self.random.choice(STEMS)[:1] + b"\xa2\x06\x03abc\xa8\x06\x07")
        size = self.random.choice([1_572_864 - 200, 1_572_864 + 200, 2_200_000]) if self.large and self.chance(0.1) else 1
        return ("call", "KV.Put", {"key": self.key(), "value": b"v" * size})


def without_ignore(txn):
    """No put of it keeps what is there: where the transaction has deleted the key before, etcd's process ends."""
    for name in ("success", "failure"):
        for operation in txn.get(name, []):
            for flag in ("ignore_value", "ignore_lease"):
                operation.get("request_put", {}).pop(flag, None)
            if "request_txn" in operation:
                without_ignore(operation["request_txn"])


def prefix_end(prefix):
    """The first key behind all keys with the prefix."""
    out = bytearray(prefix)
    while out and out[-1] == 0xFF:
        out.pop()
    if not out:
        return b"\0"
    out[-1] += 1
    return bytes(out)
