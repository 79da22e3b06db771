#!/usr/bin/env python3
"""HTTP/2 clients that mean harm: each attack ends as it should, memory stays bounded, and another client is served meanwhile.

usage: abuse.py [--server .build/release/needletail] [--seconds 2] [--seed N]

While an attack goes on, a well-behaved client reads and writes without pause; its slowest answer is looked at, and the server's
memory before and after. `--server debian` runs the same against etcd, to see what it makes of it.
"""

import argparse
import random
import sys
import threading
import time

from peers import stores

try:
    from peers import grpc
    from peers.abuse import Attacker, setting, window_update
    from peers.grpc import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS
    from peers.grpc import WINDOW, frame, literal, request_headers, text
    from peers.protobuf import Schema
except ModuleNotFoundError as missing:
    print(f"abuse.py: skipped: there is no Python package {missing.name} ({sys.executable}); `make deps-test` installs it")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

PUT, RANGE, WATCH = "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range", "/etcdserverpb.Watch/Watch"
MEMORY = 64 << 20  # most that an attack may add to what it may rightly have the server keep
KEPT = {"slow_watcher": (32 + 20) << 20}  # the ring of recent events, and a megabyte a stream
SLOWEST = 2.0  # seconds that the other client may wait on a busy machine
SCHEMA = Schema()
CALM = {"ENHANCE_YOUR_CALM"}
ENDED = CALM | {"PROTOCOL_ERROR", "NO_ERROR", "closed"}


class Bystander(threading.Thread):
    """A client that does no harm: a put and a range, again and again."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.stopping = port, threading.Event()
        self.count, self.slowest, self.fault = 0, 0.0, None

    def run(self):
        put = SCHEMA.encode("PutRequest", {"key": b"bystander", "value": b"well"})
        get = SCHEMA.encode("RangeRequest", {"key": b"bystander"})
        try:
            with grpc.Connection(self.port, timeout=30) as connection:
                while not self.stopping.is_set():
                    for path, body in ((PUT, put), (RANGE, get)):
                        begun = time.monotonic()
                        code, message, _ = connection.call(path, body)
                        self.slowest = max(self.slowest, time.monotonic() - begun)
                        if code != 0:
                            self.fault = f"{path}: {code} {message}"
                            return
                        self.count += 1
        except (grpc.Broken, OSError) as error:
            self.fault = str(error)

    def end(self):
        self.stopping.set()
        self.join(40)


class Suite:
    def __init__(self, options):
        self.options, self.random = options, random.Random(options.seed)
        self.passed = self.failed = 0

    def attack(self, store, function):
        """Runs one attack beside a bystander. It returns (what was seen, whether that is right)."""
        before = store.memory("RssAnon")
        bystander = Bystander(store.port)
        bystander.start()
        begun = time.monotonic()
        try:
            seen, right = function(self, store)
        except (grpc.Broken, OSError, RuntimeError) as error:
            seen, right = f"the attacker fell over: {error!r}", False
        time.sleep(max(0.0, 0.3 - (time.monotonic() - begun)))
        bystander.end()
        grown = store.memory("RssAnon") - before
        faults = [] if right else ["not what was expected"]
        if not store.alive():
            faults.append(f"the server has ended:\n{store.log()[-1500:]}")
        if bystander.fault or not bystander.count:
            faults.append(f"the other client: {bystander.fault or 'no answer'}")
        if bystander.slowest > SLOWEST:
            faults.append(f"the other client waited {bystander.slowest:.1f} s")
        if grown > MEMORY + KEPT.get(function.__name__, 0):
            faults.append(f"memory grew by {grown >> 20} MiB")
        self.passed += not faults
        self.failed += bool(faults)
        name = function.__name__.replace("_", " ")
        print(f"  {'FAIL' if faults else 'ok  '}  {name}: {seen}; +{max(0, grown) >> 10} KiB, {bystander.count} calls beside it, "
              f"slowest {bystander.slowest * 1000:.0f} ms", flush=True)
        for fault in faults:
            print(f"        {fault}", flush=True)


# Floods


def flood(suite, attacker, piece):
    """Sends the piece until time is up or the server has enough; how often."""
    deadline, count = time.monotonic() + suite.options.seconds, 0
    while time.monotonic() < deadline and attacker.send(piece(count), 2):
        count += 1
        attacker.read(0.0005)
    return count


def rapid_reset(suite, store):
    """CVE-2023-44487: calls that are cancelled at once."""
    with Attacker(store.port) as attacker:
        def piece(count):
            numbers = range(1 + count * 200, 1 + count * 200 + 200, 2)
            headers = request_headers(RANGE)
            return b"".join(frame(HEADERS, END_HEADERS, n, headers) + frame(RST_STREAM, 0, n, b"\0\0\0\x08") for n in numbers)
        count = flood(suite, attacker, piece) * 100
        outcome = attacker.outcome(3)
        return f"{count} resets, {outcome}", outcome in CALM


def reset_by_fault(suite, store):
    """Calls that make the server reset them: a window update of zero each."""
    with Attacker(store.port) as attacker:
        def piece(count):
            numbers = range(1 + count * 200, 1 + count * 200 + 200, 2)
            headers = request_headers(RANGE)
            return b"".join(frame(HEADERS, END_HEADERS, n, headers) + window_update(n, 0) for n in numbers)
        count = flood(suite, attacker, piece) * 100
        outcome = attacker.outcome(3)
        return f"{count} faults, {outcome}", outcome in ENDED


def continuation_flood(suite, store):
    """A header block without an end."""
    with Attacker(store.port) as attacker:
        attacker.send(frame(HEADERS, 0, 1, request_headers(RANGE)))
        junk = b"".join(literal(b"x-%d" % n, b"y" * 100) for n in range(100))
        count = flood(suite, attacker, lambda _: frame(CONTINUATION, 0, 1, junk))
        outcome = attacker.outcome(3)
        return f"{count} continuations, {outcome}", outcome in ENDED | {"COMPRESSION_ERROR"}


def empty_continuations(suite, store):
    """A header block without an end, in pieces of nothing."""
    with Attacker(store.port) as attacker:
        attacker.send(frame(HEADERS, 0, 1, request_headers(RANGE)))
        count = flood(suite, attacker, lambda _: frame(CONTINUATION, 0, 1) * 500) * 500
        outcome = attacker.outcome(3)
        return f"{count} continuations, {outcome}", outcome in ENDED


def settings_flood(suite, store):
    with Attacker(store.port) as attacker:
        count = flood(suite, attacker, lambda n: frame(SETTINGS, 0, 0, setting(4, 65535 + n)) * 100) * 100
        outcome = attacker.outcome(3)
        return f"{count} settings, {outcome}", outcome in ENDED


def ping_flood(suite, store):
    """Pings whose answers are not read."""
    with Attacker(store.port, receive_buffer=4096) as attacker:
        deadline, count = time.monotonic() + suite.options.seconds, 0
        while time.monotonic() < deadline and attacker.send(frame(PING, 0, 0, b"pingpong") * 1000, 1):
            count += 1000
        outcome = attacker.outcome(3)
        return f"{count} pings, {attacker.pongs} answered, {outcome}", outcome in ENDED


def empty_data_flood(suite, store):
    """DATA frames without data on an open call."""
    with Attacker(store.port) as attacker:
        attacker.send(frame(HEADERS, END_HEADERS, 1, request_headers(RANGE)))
        count = flood(suite, attacker, lambda _: frame(DATA, 0, 1) * 1000) * 1000
        outcome = attacker.outcome(3)
        return f"{count} frames, {outcome}", outcome in ENDED | {"open"}


def priority_flood(suite, store):
    """PRIORITY frames for streams that are not there."""
    with Attacker(store.port) as attacker:
        def piece(count):
            return b"".join(frame(2, 0, 1 + 2 * (count * 500 + n), b"\0\0\0\0\x10") for n in range(500))
        count = flood(suite, attacker, piece) * 500
        outcome = attacker.outcome(2)
        return f"{count} frames, {outcome}", outcome in ENDED | {"open"}


def window_flood(suite, store):
    """A window beyond what a window may be."""
    with Attacker(store.port) as attacker:
        attacker.send(window_update(0, WINDOW) * 2)
        outcome = attacker.outcome(3)
        return outcome, outcome == "FLOW_CONTROL_ERROR"


# Headers


def header_bomb(suite, store):
    """One large field in the dynamic table, named again and again: kilobytes that stand for megabytes."""
    with Attacker(store.port) as attacker:
        bomb = b"\x40" + text(b"x-bomb") + text(b"b" * 3900)
        block = request_headers(RANGE) + bomb + b"\xbe" * 11000
        for stream in range(1, 100, 2):
            if not attacker.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, block)):
                break
            attacker.read(0.001)
        outcome = attacker.outcome(2)
        refused = outcome != "open" or bool(attacker.resets) or any(
            status.get(":status") == "431" or status.get("grpc-status", "0") != "0" for status in attacker.statuses.values()
        )
        return f"{outcome}, resets {sorted(set(attacker.resets.values()))}, {len(attacker.statuses)} answers", refused


def large_headers(suite, store):
    """A megabyte of headers on one call."""
    with Attacker(store.port) as attacker:
        fields = b"".join(literal(b"x-%05d" % n, b"v" * 900) for n in range(1100))
        block = request_headers(RANGE) + fields
        pieces = [block[at : at + 16000] for at in range(0, len(block), 16000)]
        data = frame(HEADERS, 0, 1, pieces[0]) + b"".join(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:-1])
        attacker.send(data + frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))
        outcome = attacker.outcome(3)
        refused = outcome != "open" or attacker.resets or attacker.statuses.get(1)
        return f"{outcome}, {attacker.resets.get(1)}, {attacker.statuses.get(1)}", bool(refused)


def bad_headers(suite, store):
    """Blocks that can't be decoded."""
    seen = set()
    for block in (b"\xff\xff\xff\xff\xff\xff", b"\xbf\xbf", b"\x40\x85\xff\xff\xff\xff\xff\x00", b"\x00\x7f\xff\xff\xff\xff\xff\x07x", b"\x3f\xff\xff\xff\xff\x0f"):
        with Attacker(store.port) as attacker:
            attacker.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
            seen.add(attacker.outcome(3))
    return sorted(seen), seen <= {"COMPRESSION_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR"}


# Messages


def huge_messages(suite, store):
    """A length of 4 GiB; and one that is just beyond what a request may have, sent to its end."""
    with Attacker(store.port) as attacker:
        attacker.send(attacker.call(1, b"\0\xff\xff\xff\xff" + b"x" * 1000, end=False))
        huge = attacker.answered(1)
    with grpc.Connection(store.port) as connection:
        large = connection.call(PUT, SCHEMA.encode("PutRequest", {"key": b"k", "value": b"v" * 4_000_000}))[:2]
        refused = connection.call(PUT, SCHEMA.encode("PutRequest", {"key": b"k", "value": b"v" * 1_600_000}))[:2]
    return f"{huge}, {large}, {refused}", huge == "8" and large[0] in (8, -1) and refused[0] == 3


def truncated_messages(suite, store):
    """Calls that end in the middle of a message; bodies that are no messages; compression that nobody knows."""
    bodies = [b"\0\0\0\0\x09\x0a\x01x", b"\0\0\0", b"\x02\0\0\0\x03\x0a\x01x", b"\x01\0\0\0\x03\x0a\x01x", b"", b"\0\0\0\0\x03\x0a\xff\xff"]
    # Of more than one message gRPC's libraries take the first, or refuse them all.
    bodies.append(b"\0\0\0\0\x03\x0a\x01x" * 3)
    with Attacker(store.port) as attacker:
        codes = []
        for at, body in enumerate(bodies):
            attacker.send(attacker.call(1 + 2 * at, body))
            codes.append(attacker.answered(1 + 2 * at, 3) or attacker.resets.get(1 + 2 * at))
        outcome = "closed" if not attacker.read(0.1) else "open"
        return f"codes {codes}, {outcome}", outcome == "open" and None not in codes and "0" not in codes[:-1]


def cut_off(suite, store):
    """Connections that end in the middle of frames of all kinds."""
    whole = PREFACE + frame(SETTINGS, 0, 0) + Attacker.call(1) + frame(PING, 0, 0, b"12345678")
    for length in range(1, len(whole), 3):
        with Attacker(store.port, preface=b"") as attacker:
            attacker.send(whole[:length])
    return f"{len(whole) // 3} connections", True


def garbage(suite, store):
    """Random bytes behind the preface, random frames, and whole requests with bytes changed."""
    deadline, count = time.monotonic() + suite.options.seconds * 2, 0
    while time.monotonic() < deadline:
        count += 1
        kind = suite.random.randrange(4)
        with Attacker(store.port, preface=PREFACE if kind else b"") as attacker:
            if kind < 2:
                attacker.send(suite.random.randbytes(suite.random.randrange(1, 400)))
            elif kind == 2:
                for _ in range(suite.random.randrange(1, 30)):
                    payload = suite.random.randbytes(suite.random.choice([0, 4, 5, 8, 30]))
                    attacker.send(frame(suite.random.randrange(12), suite.random.randrange(256), suite.random.randrange(6), payload))
            else:
                data = bytearray(b"".join(attacker.call(1 + 2 * n) for n in range(5)))
                for _ in range(suite.random.randrange(1, 8)):
                    data[suite.random.randrange(len(data))] = suite.random.randrange(256)
                attacker.send(bytes(data))
            attacker.read(0.005)
    return f"{count} connections", True


def wrong_frames(suite, store):
    """Frames where they may not be."""
    wrong = {
        "DATA on stream 0": (frame(DATA, 0, 0, b"x"), {"PROTOCOL_ERROR"}),
        "DATA on an idle stream": (frame(DATA, 0, 7, b"x"), {"PROTOCOL_ERROR", "STREAM_CLOSED"}),
        "HEADERS on an even stream": (frame(HEADERS, END_HEADERS, 2, request_headers(RANGE)), {"PROTOCOL_ERROR"}),
        "SETTINGS of 5 bytes": (frame(SETTINGS, 0, 0, b"12345"), {"FRAME_SIZE_ERROR"}),
        "PING of 7 bytes": (frame(PING, 0, 0, b"1234567"), {"FRAME_SIZE_ERROR"}),
        "a frame of 1 MiB": (frame(DATA, 0, 1, b"x" * (1 << 20)), {"FRAME_SIZE_ERROR"}),
        "CONTINUATION alone": (frame(CONTINUATION, END_HEADERS, 1, b""), {"PROTOCOL_ERROR"}),
        # nghttp2 passes over it: there was such a stream, for all it knows.
        "a smaller stream number": (Attacker.call(5) + Attacker.call(3), {"PROTOCOL_ERROR", "STREAM_CLOSED", "open"}),
        "a window setting too large": (frame(SETTINGS, 0, 0, setting(4, 1 << 31)), {"FLOW_CONTROL_ERROR"}),
    }
    bad = []
    for name, (data, right) in wrong.items():
        with Attacker(store.port) as attacker:
            attacker.send(data)
            outcome = attacker.outcome(3)
            if outcome not in right:
                bad.append(f"{name}: {outcome}")
    return bad or f"{len(wrong)} kinds", not bad


# Those who take their time


def half_open(suite, store):
    """Many connections that say nothing, half a preface, or a call without an end."""
    openings = [b"", PREFACE[:9], PREFACE, PREFACE + frame(SETTINGS, 0, 0), PREFACE + frame(SETTINGS, 0, 0) + b"\0\0\x10"]
    openings.append(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, request_headers(RANGE)))
    attackers = []
    for number in range(300):
        attacker = Attacker(store.port, preface=b"")
        attacker.send(openings[number % len(openings)])
        attackers.append(attacker)
    time.sleep(suite.options.seconds)
    alive = sum(attacker.read(0.001) for attacker in attackers)
    for attacker in attackers:
        attacker.socket.close()
    return f"{len(attackers)} connections, {alive} still open", True


def slow_reader(suite, store):
    """Asks for hundreds of megabytes and reads nothing."""
    with grpc.Connection(store.port) as connection:
        for index in range(64):
            connection.call(PUT, SCHEMA.encode("PutRequest", {"key": b"large/%02d" % index, "value": b"v" * 250_000}))
    body = SCHEMA.encode("RangeRequest", {"key": b"large/", "range_end": b"large0"})
    message = b"\0" + len(body).to_bytes(4, "big") + body
    windows = setting(4, WINDOW)
    with Attacker(store.port, settings=windows, receive_buffer=4096) as attacker:
        attacker.send(window_update(0, WINDOW - 65535))
        attacker.send(b"".join(attacker.call(1 + 2 * n, message) for n in range(60)))
        time.sleep(suite.options.seconds)
        grown = store.memory("RssAnon") >> 20
        return f"60 answers of 16 MB asked for, {grown} MiB in use", True


def no_window(suite, store):
    """Never opens its windows: answers may not pile up."""
    body = SCHEMA.encode("RangeRequest", {"key": b"large/", "range_end": b"large0"})
    message = b"\0" + len(body).to_bytes(4, "big") + body
    with Attacker(store.port, settings=setting(4, 0)) as attacker:
        attacker.send(b"".join(attacker.call(1 + 2 * n, message) for n in range(60)))
        attacker.read(suite.options.seconds)
        return f"{attacker.bytes} bytes received", attacker.bytes < 1 << 20


def slow_watcher(suite, store):
    """Watches all there is and reads nothing, while others write."""
    create = SCHEMA.encode("WatchRequest", {"create_request": {"key": b"\0", "range_end": b"\0"}})
    message = b"\0" + len(create).to_bytes(4, "big") + create
    with Attacker(store.port, settings=setting(4, WINDOW), receive_buffer=4096) as attacker:
        attacker.send(window_update(0, WINDOW - 65535))
        attacker.send(b"".join(attacker.call(1 + 2 * n, message, WATCH, end=False) for n in range(20)))
        with grpc.Connection(store.port) as connection:
            put = SCHEMA.encode("PutRequest", {"key": b"large/x", "value": b"v" * 100_000})
            deadline, count = time.monotonic() + suite.options.seconds, 0
            while time.monotonic() < deadline:
                connection.call(PUT, put)
                count += 1
        return f"{count} puts of 100 kB for 20 watchers", True


def many_streams(suite, store):
    """More calls at a time than a connection may have."""
    with Attacker(store.port) as attacker:
        headers = request_headers(RANGE)
        attacker.send(b"".join(frame(HEADERS, END_HEADERS, 1 + 2 * n, headers) for n in range(5000)))
        attacker.read(1)
        refused = sum(reset == "REFUSED_STREAM" for reset in attacker.resets.values())
        outcome = attacker.goaway or "open"
        return f"{refused} refused, {outcome}", refused > 0 or outcome in ENDED


ATTACKS = [
    rapid_reset, reset_by_fault, continuation_flood, empty_continuations, settings_flood, ping_flood, empty_data_flood, priority_flood,
    window_flood, header_bomb, large_headers, bad_headers, huge_messages, truncated_messages, cut_off, garbage, wrong_frames,
    half_open, slow_reader, no_window, slow_watcher, many_streams,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=".build/release/needletail", help="what is attacked; debian and pip are etcds")
    parser.add_argument("--seconds", type=float, default=2, help="length of each flood")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", help="one attack")
    options = parser.parse_args()
    program = {"debian": stores.debian_etcd, "pip": stores.pip_etcd}.get(options.server, lambda: options.server)()
    print(f"abuse.py: {program} (seed {options.seed})", flush=True)
    suite = Suite(options)
    with stores.Store(program) as store:
        for attack in ATTACKS:
            if not options.only or options.only == attack.__name__:
                suite.attack(store, attack)
            if not store.alive():
                break
        if store.alive():
            code = store.stop()
            suite.passed += code == 0
            suite.failed += code != 0
            print(f"  {'ok  ' if code == 0 else 'FAIL'}  stops in order afterwards: exit {code}")
    print(f"{suite.passed} passed, {suite.failed} failed", flush=True)
    return 1 if suite.failed or not suite.passed else 0


if __name__ == "__main__":
    sys.exit(main())
