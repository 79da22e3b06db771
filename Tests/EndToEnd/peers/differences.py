"""Where Needletail's answers are not those of the etcd it is compared with, on purpose. Every entry says why; an answer that
differs and that no entry explains fails the test. An entry explains one thing: it is asked about whole outcomes, and says yes
only when that thing alone is different in them. `peer_version` is the peer's, as in (3, 4, 23); () when it is no etcd."""

# What the generator never sends, because etcd 3.4.23 or 3.5.1 gives nothing to compare with:
NOT_SENT = {
    "an unknown sort target": "etcd's process ends (a nil sorter in applierV3backend.Range).",
    "ignore_value or ignore_lease beside a deletion in a transaction": "where the key is deleted before, etcd's process ends "
    "(`unexpected error during txn: etcdserver: key not found`); Needletail refuses the transaction.",
    "a watch with the id -1": "etcd makes it, but -1 stands for no watch in its answers.",
    "a watch from a negative revision": "these two make a watch and send it a response without revision and events; later ones "
    "refuse it with `created`, `canceled` and the id -1, and so does Needletail.",
    "the id of a watch that compaction has ended": "etcd keeps it: it answers a cancellation once more, takes the id for used, and "
    "passes over it where it assigns ids. Needletail has forgotten the watch.",
    "a nested transaction while there is no space": "etcd's quota counts the puts of the outermost one alone and lets nested "
    "ones through; Needletail refuses them, so the stores would go separate ways.",
    "a transaction's range with both sort target and limit": "see `ties`: which pairs are left out could not be judged.",
}

# What is not waited for:
NOT_AWAITED = {
    "progress with a watch ahead": "a progress answer tells all watches of a stream that they have come so far, and one that starts at "
    "a later revision would start at an earlier one when its client connects again. These two etcds answer all the same; later ones do "
    "not (pull request 20229), and neither does Needletail (WatchHub.answerProgress).",
}

SORT_FIELDS = {1: "version", 2: "create_revision", 3: "mod_revision", 4: "value"}


class Intended:
    def __init__(self, name, reason, explains):
        self.name, self.reason, self.explains = name, reason, explains


# Ties in sorted ranges


def ties(operation, server, peer, peer_version):
    """Equal but for the order of pairs that are equal in what was sorted by, and for which of them a limit left out."""
    if operation[0] != "call" or server["code"] or peer["code"]:
        return False
    if operation[1] == "KV.Range":
        field = SORT_FIELDS.get(operation[2].get("sort_target"))
        both = server["answers"][0], peer["answers"][0]
        if field is None or rest(both[0]) != rest(both[1]):
            return False
        pairs = [one.get("kvs", []) for one in both]
        hidden = field == "value" and operation[2].get("keys_only")
        if not hidden and [pair.get(field) for pair in pairs[0]] != [pair.get(field) for pair in pairs[1]]:
            return False
        if hidden or not both[0].get("more"):
            return ordered(pairs[0]) == ordered(pairs[1])
        last = pairs[0][-1].get(field)
        return ordered([p for p in pairs[0] if p.get(field) != last]) == ordered([p for p in pairs[1] if p.get(field) != last])
    return operation[1] == "KV.Txn" and unordered(server) == unordered(peer)


def rest(answer, without="kvs"):
    return {name: value for name, value in answer.items() if name != without}


def ordered(pairs):
    return sorted(pairs, key=lambda pair: pair["key"])


def unordered(value):
    """The same with every list of pairs in the order of its keys."""
    if isinstance(value, dict):
        return {name: ordered(one) if name == "kvs" else unordered(one) for name, one in value.items()}
    return [unordered(one) for one in value] if isinstance(value, list) else value


def alarm_header(operation, server, peer, peer_version):
    if operation[:2] != ("call", "Maintenance.Alarm") or not server["answers"] or not peer["answers"]:
        return False
    both = [dict(side["answers"][0]) for side in (server, peer)]
    headers = [one.pop("header", None) for one in both]
    return both[0] == both[1] and headers[1] is None and peer_version < (3, 5)


# Watches


def compacted_deletion(operation, server, peer, peer_version):
    """The peer lacks deletions of a compacted revision, and puts that the same revision deleted again, and nothing else."""
    if operation[0] != "watch" or not isinstance(server, list):
        return False
    revisions, at = operation[3], 0
    deleted = {(one[1]["key"], one[1]["mod_revision"]) for one in server if one[0] == "event" and one[1]["type"] == 1}
    for entry in server:
        if at < len(peer) and entry == peer[at]:
            at += 1
        elif entry[0] != "event" or entry[1]["mod_revision"] not in revisions:
            return False
        elif (entry[1]["key"], entry[1]["mod_revision"]) not in deleted:
            return False
    return at == len(peer)


# Later etcds


def sort_order(operation, server, peer, peer_version):
    """An unknown sort order, anywhere in a request, is refused."""
    return operation[0] == "call" and server["message"] == "etcdserver: invalid sort option" and unknown_order(operation[2])


def unknown_order(value):
    if isinstance(value, dict):
        return value.get("sort_order", 0) not in (0, 1, 2) or any(unknown_order(one) for one in value.values())
    return isinstance(value, list) and any(unknown_order(one) for one in value)


def hash_revision(operation, server, peer, peer_version):
    """The answer says which revision was hashed."""
    if operation[:2] != ("call", "Maintenance.HashKV") or server["code"] or peer["code"] or peer_version >= (3, 6):
        return False
    return rest(server["answers"][0], "hash_revision") == rest(peer["answers"][0], "hash_revision")


# Bytes that are no message


def malformed(operation, server, peer, peer_version):
    return operation[0] == "raw" and server["code"] == 3 and peer["code"] == 13 and "unmarshal" in peer["message"]


def hash_at_compaction(operation, server, peer, peer_version):
    """The compacted revision itself can be hashed."""
    if operation[:2] != ("call", "Maintenance.HashKV") or server["code"] or peer_version >= (3, 6):
        return False
    refused = peer["message"] == "etcdserver: mvcc: required revision has been compacted"
    return refused and server["answers"][0].get("compact_revision") == operation[2]["revision"]


DIFFERENCES = [
    Intended(
        "hash at the compacted revision",
        "The compacted revision can still be read, so it can be hashed; etcd 3.4 and 3.5.1 refuse it, 3.6 doesn't.",
        hash_at_compaction,
    ),
    Intended(
        "malformed message",
        "Bytes that are no message are Internal in grpc-go, with the words of Go's protobuf. Needletail answers InvalidArgument, on "
        "both of its faces, and says what is wrong with which message: the fault is the client's.",
        malformed,
    ),
    Intended(
        "unknown sort order",
        "etcd 3.4 and 3.5.1 sort by nothing when they don't know the order; later ones answer `invalid sort option`.",
        sort_order,
    ),
    Intended("hash_revision", "A field of HashKV's answer that came with etcd 3.6.", hash_revision),
    Intended(
        "deletion at the compacted revision",
        "A watch may start at the compacted revision, and is owed what happened in it. etcd drops deletions of that revision once "
        "its compaction has come by (issue 18089, mended in 3.5.15), and puts which the same transaction deleted again; so whether "
        "it sends them depends on the moment.",
        compacted_deletion,
    ),
    Intended(
        "ties",
        "etcd sorts by Go's sort.Sort, which is not stable and differs from one Go to the next: pairs that are equal in what is "
        "sorted by come in any order, and a limit keeps any of them. Needletail keeps them in the order of their keys.",
        ties,
    ),
    Intended(
        "alarm header",
        "etcd 3.4 leaves the header out of the answer to an alarm's activation; 3.5 fills it, and so does Needletail.",
        alarm_header,
    ),
]
