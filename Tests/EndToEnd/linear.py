"""Concurrent clients on a real server that is killed now and then; every request and answer is recorded, and `needletail-sim
check-history` says whether one copy of the store, with its revisions, versions, transactions, compactions and leases, could have
given those answers (docs/checker.md has the format).

The last checks are of the checker: the same history with one answer made stale, and with two answers' revisions exchanged, must
not pass."""

import os
import re
import subprocess
import threading
import time

from needletail import (
    COMPACT, DELETE_RANGE, LEASE_GRANT, LEASE_REVOKE, LEASE_TIME_TO_LIVE, PUT, RANGE, Client, Failure, Server, StatusError,
    fields, main, message, revision_of)

TXN, LEASE_KEEP_ALIVE = 4, 10
KEYS = [b"/k/%02d" % number for number in range(12)]
LEASES = range(1, 7)
REFUSALS = {
    "etcdserver: mvcc: required revision has been compacted": "compacted",
    "etcdserver: mvcc: required revision is a future revision": "future-revision",
    "etcdserver: requested lease not found": "lease-not-found",
    "etcdserver: lease already exists": "lease-exists",
    "etcdserver: too many requests": "refused",
}
TARGETS = {"version": (0, "f4"), "create": (1, "f5"), "mod": (2, "f6"), "value": (3, "f7"), "lease": (4, "f8")}
SIGNS = {"=": 0, ">": 1, "<": 2, "!=": 3}


def edn(value):
    """Bytes as a string of the history's."""
    out = '"'
    for byte in value:
        char = chr(byte)
        out += "\\" + char if char in '"\\' else char if 32 <= byte < 127 else f"\\x{byte:02x}"
    return out + '"'


def signed(value):
    return value - (1 << 64) if value >= 1 << 63 else value


class Recorder:
    """The history, in the order in which things happened here: a request is noted before it is sent, an answer after it came."""

    def __init__(self, path):
        self.file = open(path, "w")
        self.lock = threading.Lock()
        self.started = time.monotonic_ns()
        self.count = self.unknown = 0
        self.file.write("{:history :needletail, :version 1}\n")

    def note(self, text, process=None):
        who = "" if process is None else f":process {process}, "
        with self.lock:
            self.file.write("{%s:time %d, %s}\n" % (who, time.monotonic_ns() - self.started, text))

    def close(self):
        self.file.close()


# Requests: what the history says of one, its method and body, and how its answer reads


def pair(data):
    found = dict(fields(data))
    return "[%s %s %d %d %d %d]" % (
        edn(found.get(1, b"")), edn(found.get(5, b"")), found.get(2, 0), found.get(3, 0), found.get(4, 0),
        signed(found.get(6, 0)))


def pairs(answer, number):
    return "[%s]" % " ".join(pair(value) for field, value in fields(answer) if field == number)


def header(answer):
    return f":revision {revision_of(answer)}"


def range_answer(answer):
    return f"{header(answer)}, :count {dict(fields(answer)).get(4, 0)}, :kvs {pairs(answer, 2)}"


def put(rng, key, value):
    lease = rng.choice(LEASES) if rng.random() < 0.2 else 0
    body = message(f1=key, f2=value, f3=lease, f4=1)

    def read(answer):
        previous = dict(fields(answer)).get(2)
        return f"{header(answer)}, :prev {pair(previous) if previous is not None else 'nil'}"

    return f":f :put, :key {edn(key)}, :value {edn(value)}, :lease {lease}", PUT, body, read


def delete(rng, key, _):
    end = rng.choice(KEYS) if rng.random() < 0.1 else b""
    text = f":f :delete, :key {edn(key)}" + (f", :end {edn(end)}" if end else "")

    def read(answer):
        return f"{header(answer)}, :deleted {dict(fields(answer)).get(2, 0)}, :prev {pairs(answer, 3)}"

    return text, DELETE_RANGE, message(f1=key, f3=1) + (message(f2=end) if end else b""), read


def get(_rng, key, _):
    return f":f :range, :key {edn(key)}", RANGE, message(f1=key), range_answer


def ranges(rng, key, _):
    end, limit = rng.choice([b"\0", b"/k/06", b"/l"]), rng.choice([0, 0, 3])
    body = message(f1=key, f2=end, f3=limit)
    return f":f :range, :key {edn(key)}, :end {edn(end)}, :limit {limit}", RANGE, body, range_answer


def past(rng, key, _):
    at = max(1, past.revision - rng.randrange(60) + 2)
    body = message(f1=key, f2=b"/l", f4=at)
    return f':f :range, :key {edn(key)}, :end "/l", :at {at}', RANGE, body, range_answer


past.revision = 1


def comparison(rng, key):
    target, sign = rng.choice(list(TARGETS)), rng.choice(list(SIGNS))
    if target == "value":
        value = b"v%d" % rng.randrange(1000)
    elif target in ("create", "mod"):
        value = max(0, past.revision - rng.randrange(30))
    else:
        value = rng.randrange(4)
    number, field = TARGETS[target]
    body = message(f1=SIGNS[sign], f2=number, f3=key, **{field: value})
    return f"[:{target} {edn(key)} :{sign} {edn(value) if target == 'value' else value}]", body


def branch(rng, value):
    """Operations of a transaction on different keys: (texts, RequestOp bodies)."""
    texts, bodies = [], []
    for number, key in enumerate(rng.sample(KEYS, rng.randrange(4))):
        kind = rng.random()
        if kind < 0.5:
            lease = rng.choice(LEASES) if rng.random() < 0.1 else 0
            text, body, field = f"[:put {edn(key)} {edn(value + b'.%d' % number)} {lease}]", None, "f2"
            body = message(f1=key, f2=value + b".%d" % number, f3=lease)
        elif kind < 0.7:
            text, body, field = f"[:delete {edn(key)}]", message(f1=key), "f3"
        else:
            text, body, field = f'[:range {edn(key)} "/l"]', message(f1=key, f2=b"/l"), "f1"
        texts.append(text)
        bodies.append(message(**{field: body}))
    return " ".join(texts), bodies


def txn(rng, key, value):
    condition, body = comparison(rng, key)
    (then, success), (otherwise, failure) = branch(rng, value), branch(rng, value + b"e")
    request = message(f1=body)
    request += b"".join(message(f2=one) for one in success) + b"".join(message(f3=one) for one in failure)

    def read(answer):
        results = []
        for number, value in fields(answer):
            if number != 3:
                continue
            [(kind, part)] = list(fields(value))
            if kind == 1:
                results.append(f"[:range {dict(fields(part)).get(4, 0)} {pairs(part, 2)}]")
            elif kind == 2:
                results.append("[:put]")
            else:
                results.append(f"[:delete {dict(fields(part)).get(2, 0)}]")
        succeeded = "true" if dict(fields(answer)).get(2) else "false"
        return f"{header(answer)}, :succeeded {succeeded}, :results [{' '.join(results)}]"

    return f":f :txn, :if [{condition}], :then [{then}], :else [{otherwise}]", TXN, request, read


def compact(rng, _key, _):
    at = max(1, past.revision - rng.randrange(100) + 1)
    return f":f :compact, :at {at}", COMPACT, message(f1=at), header


def grant(rng, _key, _):
    lease, ttl = rng.choice(LEASES), rng.randrange(1, 4)
    return f":f :grant, :lease {lease}, :ttl {ttl}", LEASE_GRANT, message(f1=ttl, f2=lease), header


def revoke(rng, _key, _):
    lease = rng.choice(LEASES)
    return f":f :revoke, :lease {lease}", LEASE_REVOKE, message(f1=lease), header


def keep_alive(rng, _key, _):
    lease = rng.choice(LEASES)
    return (
        f":f :keepalive, :lease {lease}", LEASE_KEEP_ALIVE, message(f1=lease),
        lambda answer: f":ttl {dict(fields(answer)).get(3, 0)}")


def time_to_live(rng, _key, _):
    lease = rng.choice(LEASES)

    def read(answer):
        keys = " ".join(edn(value) for number, value in fields(answer) if number == 5)
        left = signed(dict(fields(answer)).get(3, 0))
        return f":ttl {left}" + (f", :keys [{keys}]" if left >= 0 else "")

    return f":f :ttl, :lease {lease}", LEASE_TIME_TO_LIVE, message(f1=lease, f2=1), read


KINDS = [get, put, delete, ranges, past, txn, compact, grant, revoke, keep_alive, time_to_live]
WEIGHTS = [30, 30, 6, 6, 6, 12, 2, 3, 0.2, 0.2, 2]


# Clients


class Worker(threading.Thread):
    """One process of the history: one request at a time, over a connection that is made anew after every crash."""

    def __init__(self, number, recorder, rng, gate):
        super().__init__(daemon=True)
        self.number, self.recorder, self.rng, self.gate = number, recorder, rng, gate
        self.done = 0
        self.failure = None

    def run(self):
        try:
            while (port := self.gate.enter(self)) is not None:
                try:
                    with Client(port) as client:
                        while not self.gate.is_closing:
                            self.one(client)
                except OSError:
                    pass
        except Exception as error:  # The main thread reports it.
            self.failure = error
        self.gate.leave()

    def one(self, client):
        self.done += 1
        kind = self.rng.choices(KINDS, WEIGHTS)[0]
        text, method, body, read = kind(self.rng, self.rng.choice(KEYS), b"v%d.%d" % (self.number, self.done))
        self.recorder.note(":type :invoke, " + text, self.number)
        try:
            answer = client.call(method, body)
        except StatusError as error:
            refusal = REFUSALS.get(error.text)
            if refusal is None and error.code not in (4, 14):
                raise Failure(f"{text}: {error}")
            self.recorder.note(f":type :fail, :error :{refusal}" if refusal else ":type :info", self.number)
        except OSError:
            self.recorder.unknown += 1
            self.recorder.note(":type :info", self.number)
            raise
        else:
            self.recorder.note(":type :ok, " + read(answer), self.number)
            past.revision = max(past.revision, revision_of(answer))


class Gate:
    """Where clients wait while there is no server."""

    def __init__(self, count):
        self.condition = threading.Condition()
        self.outside = count
        self.count = count
        self.port = None
        self.is_closing = True
        self.is_over = False

    def enter(self, worker):
        with self.condition:
            self.outside += 1
            self.condition.notify_all()
            self.condition.wait_for(lambda: self.is_over or not self.is_closing)
            self.outside -= 1
            return None if self.is_over else self.port

    def leave(self):
        with self.condition:
            self.outside += 1
            self.condition.notify_all()

    def open(self, port):
        with self.condition:
            self.port, self.is_closing = port, False
            self.condition.notify_all()

    def close(self):
        self.is_closing = True

    def wait_until_empty(self):
        with self.condition:
            if not self.condition.wait_for(lambda: self.outside == self.count, timeout=60):
                raise Failure("a client hangs although the server is gone")

    def end(self):
        with self.condition:
            self.is_over = True
            self.condition.notify_all()


# The run


def record(report, programs, folder, options, rng, path):
    recorder = Recorder(path)
    gate = Gate(options.clients)
    gate.outside = 0
    workers = [Worker(number, recorder, rng.__class__(rng.getrandbits(64)), gate) for number in range(options.clients)]
    for worker in workers:
        worker.start()
    gate.wait_until_empty()
    directory = os.path.join(folder, "data")
    deadline = time.monotonic() + options.seconds
    kills = 0
    while time.monotonic() < deadline:
        server = Server(programs, directory)
        if kills and rng.random() < 0.8:
            # The dead server's successor has recovered all there was: what was given up is over.
            recorder.note(":type :barrier")
        gate.open(server.port)
        time.sleep(min(rng.uniform(min(0.3, options.life / 4), options.life), max(0.1, deadline - time.monotonic())))
        if not server.alive():
            raise Failure(f"the server ended by itself:\n{server.log()[-2000:]}")
        server.kill()
        gate.close()
        gate.wait_until_empty()
        kills += 1
    gate.end()
    server = Server(programs, directory)
    with server.client() as client:
        workers[0].one(client)
        recorder.note(':type :invoke, :f :range, :key "", :end "\\x00"', options.clients)
        answer = client.call(RANGE, message(f1=b"\0", f2=b"\0"))
        recorder.note(":type :ok, " + range_answer(answer), options.clients)
    server.kill()
    recorder.close()
    for worker in workers:
        worker.join(10)
        if worker.failure:
            raise Failure(f"client {worker.number}: {worker.failure!r}")
    done = sum(worker.done for worker in workers)
    report.check(
        done > 100 * kills and recorder.unknown > 0,
        f"{done} operations of {options.clients} clients over {kills} kills, {recorder.unknown} never answered")


def judge(options, path):
    started = time.monotonic()
    done = subprocess.run(
        [options.sim, "check-history", "--explain", path], capture_output=True, text=True, timeout=300)
    words = done.stdout.split()
    word = words[-1] if words else f"nothing, exit {done.returncode}"
    return word, time.monotonic() - started, done.stderr.strip()


def tampered(lines):
    """Copies of the history that no store can have given: (name, lines)."""
    ok = re.compile(r":process (\d+), .*:type :ok, :revision (\d+)(.*)")
    answers, owner = {}, {}
    writes = []
    for number, line in enumerate(lines):
        found = re.match(r"\{:process (\d+), .*:type :invoke, (.*)\}", line)
        if found:
            owner[found[1]] = found[2]
            continue
        found = ok.search(line)
        if not found:
            continue
        request, revision = owner[found[1]], int(found[2])
        if request.startswith(":f :put"):
            writes.append((revision, number))
        if request.startswith(":f :range") and ":end" not in request:
            answers.setdefault(request, []).append((revision, number))
    writes.sort()
    for (first, a), (second, b) in zip(writes, writes[1:]):
        if second == first + 1 and b > len(lines) // 2:
            copy = list(lines)
            copy[a] = copy[a].replace(f":revision {first},", f":revision {second},")
            copy[b] = copy[b].replace(f":revision {second},", f":revision {first},")
            yield "the revisions of two puts exchanged", copy
            break
    for seen in answers.values():
        (old, a), (new, b) = seen[0], seen[-1]
        if new > old + 100:
            copy = list(lines)
            stale = re.search(r":revision .*", copy[a])[0]
            copy[b] = re.sub(r":revision .*", lambda _: stale, copy[b])
            yield "a stale read", copy
            break


def run(report, programs, folder, options, rng):
    path = os.path.join(folder, "history.edn")
    record(report, programs, folder, options, rng, path)
    word, seconds, said = judge(options, path)
    report.check(word == "linearizable", f"the history is linearizable ({seconds:.1f} s)", f"{word}: {said}\n{path}")
    report.check(seconds < 60, f"judged in seconds ({seconds:.1f} s)")
    with open(path) as file:
        # The beginning of a history is one, too. To refuse takes longer than to find an order: all that was never answered
        # has to be tried everywhere.
        lines = file.read().splitlines()[:40000]
    tried = 0
    for name, copy in tampered(lines):
        tried += 1
        wrong = os.path.join(folder, f"tampered-{tried}.edn")
        with open(wrong, "w") as file:
            file.write("\n".join(copy) + "\n")
        word, seconds, said = judge(options, wrong)
        report.check(word == "not-linearizable", f"{name}: not linearizable ({seconds:.1f} s)", f"{word}: {said}")
    report.check(tried == 2, "there was something to tamper with")


def arguments(parser):
    parser.add_argument("--sim", default=".build/release/needletail-sim", help="needletail-sim")
    parser.add_argument("--seconds", type=float, default=10, help="length of the recording (10)")
    parser.add_argument("--life", type=float, default=4, help="longest life of a server (4)")
    parser.add_argument("--clients", type=int, default=8, help="concurrent clients (8)")


if __name__ == "__main__":
    main("Concurrent clients and kill -9, judged as one history", run, arguments)
