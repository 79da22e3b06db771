"""Runs one program on two stores at once and compares whatever they say."""

from . import grpc
from .differences import DIFFERENCES
from .generator import READS, Rev
from .watches import WATCH, WatchStreams

BATCH = 24  # reads that are sent at once
INT64_MAX = (1 << 63) - 1


class Difference(Exception):
    """What the stores disagree on: the operation's place in the program, and both sides."""

    def __init__(self, index, operation, server, peer, what="answers"):
        super().__init__(f"{what} differ")
        self.index, self.operation, self.server, self.peer, self.what = index, operation, server, peer, what

    def text(self):
        lines = [f"{self.what} differ at operation {self.index}: {shown(self.operation)}"]
        for path, server, peer in list(unequal(self.server, self.peer))[:6]:
            lines += [f"  {path or 'answer'}", f"    server  {shown(server)}", f"    peer    {shown(peer)}"]
        return "\n".join(lines)


def unequal(server, peer, path=""):
    """(path, server's, peer's) wherever they differ."""
    if isinstance(server, dict) and isinstance(peer, dict):
        for name in sorted(set(server) | set(peer), key=str):
            yield from unequal(server.get(name), peer.get(name), f"{path}.{name}" if path else str(name))
    elif isinstance(server, (list, tuple)) and isinstance(peer, (list, tuple)):
        for at, (one, other) in enumerate(zip(server, peer)):
            if len(server) == len(peer):
                yield from unequal(one, other, f"{path}[{at}]")
            elif one != other:
                yield f"{path}, {len(server)} and {len(peer)} entries, from [{at}]", server[at : at + 3], peer[at : at + 3]
                return
        if len(server) != len(peer):
            least = min(len(server), len(peer))
            yield f"{path}, {len(server)} and {len(peer)} entries, from [{least}]", server[least:][:3], peer[least:][:3]
    elif server != peer:
        yield path, server, peer


def shown(value):
    text = repr(short(value))
    return text if len(text) < 900 else f"{text[:600]} … {text[-250:]} ({len(text)} characters)"


def short(value):
    """The same with long byte strings cut."""
    if isinstance(value, bytes) and len(value) > 60:
        return value[:20] + b"...(%d bytes)" % len(value)
    if isinstance(value, dict):
        return {name: short(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(short(one) for one in value) if type(value) in (list, tuple) else value
    return value


class Executor:
    """`server` is what is tested, `peer` the etcd that it is compared with."""

    def __init__(self, schema, server, peer, peer_version=()):
        self.schema, self.peer_version = schema, peer_version
        self.ends = [grpc.Connection(server.port), grpc.Connection(peer.port)]
        self.prefixes = [None, None]
        self.revisions = {}
        self.revision, self.compacted, self.compactions = 1, 0, set()
        self.requests = self.reads = 0
        self.explained, self.index = {}, 0
        self.watches = WatchStreams(self)
        # The same range in pieces, which these etcds don't have: its pieces must merge to the range's answer.
        self.pieces = self.schema.methods["KV.RangeStream"][0] if server.kind == "needletail" else None

    def close(self):
        for end in self.ends:
            end.close()

    def run(self, program):
        """Raises Difference at the first one that nothing explains."""
        batch = []
        for index, operation in enumerate(program):
            self.index = index
            if operation[0] == "raw" or operation[0] == "call" and operation[1] in READS:
                batch.append((index, operation))
                if len(batch) < BATCH:
                    continue
                self.exchange(batch)
                batch = []
                continue
            if batch:
                self.exchange(batch)
                batch = []
            if operation[0] == "call":
                self.exchange([(index, operation)])
            else:
                self.watches.step(index, operation)
        if batch:
            self.exchange(batch)
        self.watches.settle(len(program) - 1, ("settle",))

    # Calls

    def exchange(self, batch):
        """Sends all of them to both, and compares the answers."""
        bodies = [self.prepare(operation) for _, operation in batch]
        flights = [[end.start(path, body) for path, body in bodies] for end in self.ends]
        for end in self.ends:
            end.flush()
        for end, streams in zip(self.ends, flights):
            end.wait(streams)
        self.requests += len(batch)
        for (index, operation), (path, body), server, peer in zip(batch, bodies, *flights):
            self.compare(index, operation, body, server, peer)
            if self.pieces and index % 16 == 0 and operation[:2] == ("call", "KV.Range"):
                self.compare_pieces(index, operation, body, server)

    def prepare(self, operation):
        if operation[0] == "raw":
            return operation[1], operation[2]
        path, request, _, _ = self.schema.methods[operation[1]]
        return path, self.schema.encode(request, self.resolve(operation[2]))

    def resolve(self, value):
        """The request with revisions as they are now."""
        if type(value) is Rev:
            base = self.revision if value[0] == "now" else self.compacted
            return min(base + value[1], INT64_MAX)
        if type(value) is dict:
            return {name: self.resolve(one) for name, one in value.items()}
        if type(value) is list:
            return [self.resolve(one) for one in value]
        return value

    def compare(self, index, operation, body, server, peer):
        if server.code == peer.code and server.message == peer.message and len(server.messages) == len(peer.messages):
            if all(self.same_bytes(one, other) for one, other in zip(server.messages, peer.messages)):
                self.learn(operation, body, peer)
                return
        both = [self.outcome(operation, side) for side in (server, peer)]
        if both[0] != both[1]:
            self.explain(index, operation, *both)
        self.learn(operation, body, peer)

    def compare_pieces(self, index, operation, body, whole):
        if operation[2].get("sort_target", 0) or operation[2].get("sort_order", 0) not in (0, 1, 2):
            return
        stream = self.ends[0].start(self.pieces, body)
        self.ends[0].wait([stream])
        merged = {}
        for message in stream.messages:
            piece = self.schema.decode("RangeStreamResponse", message).get("range_response", {})
            merged |= {name: merged.get(name, []) + value if name == "kvs" else value for name, value in piece.items()}
        answers = [without_ids(merged)] if stream.code == 0 else []
        pieces = {"code": stream.code, "message": stream.message, "answers": answers}
        expected = self.outcome(operation, whole)
        if pieces != expected:
            self.explain(index, ("call", "KV.RangeStream", operation[2]), pieces, expected, "RangeStream's and Range's answers")

    def explain(self, index, operation, server, peer, what="answers"):
        resolved = operation[:2] + tuple(self.resolve(part) for part in operation[2:])
        for difference in DIFFERENCES:
            if difference.explains(resolved, server, peer, self.peer_version):
                self.explained[difference.name] = self.explained.get(difference.name, 0) + 1
                return
        raise Difference(index, resolved, server, peer, what)

    def same_bytes(self, server, peer):
        """Equal but for who answered: the header's ids and term."""
        if len(server) < 2 or len(peer) < 2 or server[0] != 0x0A or peer[0] != 0x0A:
            return server == peer
        a, b = 2 + server[1], 2 + peer[1]
        if server[1] > 0x7F or peer[1] > 0x7F or server[a:] != peer[b:]:
            return False
        return self.header_revision(server[2:a]) == self.header_revision(peer[2:b])

    def header_revision(self, header):
        found = self.revisions.get(header)
        if found is None:
            if len(self.revisions) > 100_000:
                self.revisions.clear()
            found = self.schema.decode("ResponseHeader", header).get("revision", 0)
            self.revisions[header] = found
        return found

    def learn(self, operation, body, stream):
        """Where the store is now."""
        if operation[0] != "call" or stream.code != 0 or not stream.messages:
            return
        answer = stream.messages[0]
        if operation[1] in ("KV.Put", "KV.DeleteRange", "KV.Txn", "Lease.LeaseRevoke", "KV.Compact") and answer:
            self.revision = self.header_revision(answer[2 : 2 + answer[1]]) or self.revision
        if operation[1] == "KV.Compact":
            self.compacted = self.schema.decode("CompactionRequest", body).get("revision", 0)
            self.compactions.add(self.compacted)

    def outcome(self, operation, stream):
        """What is comparable of an answer."""
        if operation[0] == "raw":
            return {"code": stream.code, "message": stream.message, "answers": [self.plain(m) for m in stream.messages]}
        answer_type = self.schema.methods[operation[1]][2]
        answers = [comparable(operation[1], self.schema.decode(answer_type, one)) for one in stream.messages]
        return {"code": stream.code, "message": stream.message, "answers": answers}

    def plain(self, message):
        return without_ids(self.schema.decode("RangeResponse", message))


def without_ids(value):
    """Headers stand for their revisions."""
    if isinstance(value, dict):
        return {
            name: one.get("revision", 0) if name == "header" else without_ids(one) for name, one in value.items()
        }
    return [without_ids(one) for one in value] if isinstance(value, list) else value


class Near(int):
    """A number that passes time: equal to others within two seconds' reach."""

    def __eq__(self, other):
        return abs(int(self) - int(other)) <= 2

    def __ne__(self, other):
        return not self == other

    __hash__ = None


def comparable(method, answer):
    """The answer without ids, and without an order where etcd has none either."""
    answer = without_ids(answer)
    if method == "Lease.LeaseTimeToLive":
        if answer.get("TTL", 0) > 0:
            answer["TTL"] = Near(answer["TTL"])
        answer["keys"] = sorted(answer.get("keys", []))
    elif method == "Lease.LeaseLeases":
        answer["leases"] = sorted(one.get("ID", 0) for one in answer.get("leases", []))
    elif method == "Maintenance.Alarm":
        answer["alarms"] = sorted((one.get("memberID", 0), one.get("alarm", 0)) for one in answer.get("alarms", []))
    elif method == "Maintenance.HashKV":
        answer.pop("hash", None)
    return answer
