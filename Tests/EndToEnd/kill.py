"""SIGKILL at random moments of a load, again and again: every acknowledged put is there after the restart, with the revision that
was acknowledged, and nothing that was never sent. Some kills hit the server while it recovers from the one before.

The load is Debian's package index in a new generation each time it comes to its end: the value is the generation's number and the
stanza, so that one can tell from a value which put it is.

Beside the load, each cycle compacts what it finds, so that kills hit the removal too, and changes leases: what was acknowledged
of either holds after the restart.

Alarms have a load of their own, since one that is raised refuses every put: they are raised and taken back without pause until the
kill, and what is raised after the restart is what some prefix of the requests made, every acknowledged one among it.

A watcher watches all of it. When the server is gone it goes on where it was with the next one: it must see every acknowledged put
once, at the revision that was acknowledged, in order."""

import os
import select
import threading
import time

from debian import stanzas
from needletail import (
    ALARM, COMPACT, HASH_KV, WATCH, LEASE_GRANT, LEASE_REVOKE, LEASE_TIME_TO_LIVE, OK, PUT, RANGE, Client, Failure, Server, StatusError, fields, main,
    message, put_request, revision_of)

CONNECTIONS = 3
DEPTH = 48


class Ledger:
    """What was sent and what was acknowledged, by key: (generation, revision)."""

    def __init__(self, records, rng):
        self.records = list(records.items())
        rng.shuffle(self.records)
        self.next = 0
        self.generation = 1
        self.sent = {}
        self.acknowledged = {}
        self.acknowledgements = 0
        # Every acknowledged put by its revision.
        self.log = {}
        self.revision = 0

    def take(self):
        """The next put: (key, generation, value)."""
        if self.next == len(self.records):
            self.next = 0
            self.generation += 1
        key, stanza = self.records[self.next]
        self.next += 1
        self.sent[key] = self.generation
        return key, self.generation, b"%d\n" % self.generation + stanza

    def acknowledge(self, key, generation, revision):
        self.acknowledgements += 1
        self.log[revision] = (key, generation)
        self.revision = max(self.revision, revision)
        if generation >= self.acknowledged.get(key, (0, 0))[0]:
            self.acknowledged[key] = (generation, revision)

    def compare(self, found):
        """What is wrong with {key: (value, revision)}, and how many unacknowledged puts are there all the same."""
        stanza_of = dict(self.records)
        wrong, beyond = [], 0
        for key, (generation, revision) in self.acknowledged.items():
            if key not in found:
                wrong.append(f"{key}: acknowledged in revision {revision}, missing")
        for key, (value, revision) in found.items():
            head, _, stanza = value.partition(b"\n")
            generation = int(head) if head.isdigit() else -1
            least, acknowledged_revision = self.acknowledged.get(key, (0, 0))
            if stanza != stanza_of.get(key):
                wrong.append(f"{key}: a value that was never put")
            elif not least <= generation <= self.sent.get(key, 0):
                wrong.append(f"{key}: generation {generation}, acknowledged {least}, sent {self.sent.get(key, 0)}")
            elif generation == least and revision != acknowledged_revision:
                wrong.append(f"{key}: revision {revision}, acknowledged with {acknowledged_revision}")
            elif generation > least:
                beyond += 1
                # It is there now and stays: from here on it counts like an acknowledged one.
                self.acknowledged[key] = (generation, revision)
        return wrong, beyond


class Watcher:
    """One watch over all servers. A thread reads while a server lives; `join` it before looking at what it saw."""

    def __init__(self):
        self.next = 1
        self.seen = {}
        self.wrong = []
        self.told = 0
        self.changed = threading.Condition()

    def connect(self, server):
        self.client = Client(server.port)
        create = message(f1=b"/debian/", f2=b"/debian0", f3=self.next)
        self.stream = self.client.send(WATCH, message(f1=create))
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        while (frame := self.client.receive()) is not None:
            _, _, stream, status, body = frame
            if status != OK:
                self.wrong.append(f"the watch ended with status {status}: {body!r}")
            elif stream == self.stream:
                self.take(list(fields(body)))

    def take(self, response):
        numbers = {number: value for number, value in response if number != 11}
        if 4 in numbers:
            self.wrong.append(f"the watch was canceled, compacted at {numbers.get(5)}, was at {self.next}")
        for number, event in response:
            if number == 11:
                event = dict(fields(event))
                if event.get(1, 0) == 0:
                    self.put(dict(fields(event[2])))
        with self.changed:
            if numbers.get(2) == 2**64 - 1:
                self.told = max(self.told, dict(fields(numbers[1]))[3])
                self.changed.notify_all()

    def put(self, pair):
        revision, head = pair[3], pair[5].partition(b"\n")[0]
        if revision < self.next:
            self.wrong.append(f"revision {revision} after {self.next - 1}")
        self.next = revision + 1
        self.seen[revision] = (pair[1], int(head))

    def wait_until_told(self, revision):
        """Until the server says that everything up to the revision was sent."""
        deadline = time.time() + 30
        while True:
            self.client.socket.sendall(Client.frame(WATCH, self.stream, message(f3=b"")))
            with self.changed:
                if self.changed.wait_for(lambda: self.told >= revision, timeout=1):
                    return
            if time.time() > deadline:
                raise Failure(f"the watcher was told of revision {self.told}, not of {revision}")

    def join(self):
        self.thread.join()
        self.client.close()

    def compare(self, ledger):
        wrong = list(self.wrong)
        for revision, put in ledger.log.items():
            if self.seen.get(revision) != put:
                wrong.append(f"revision {revision}: {put} was acknowledged, the watcher saw {self.seen.get(revision)}")
        return wrong


class Aside:
    """The compactions and leases that were acknowledged."""

    def __init__(self, rng):
        self.rng = rng
        self.compacted = 0
        self.leases = {}

    def change(self, client, cycle):
        """A compaction to a late revision, a lease with a key, and at times the end of an older lease."""
        revision = revision_of(client.call(RANGE, message(f1=b"x")))
        target = self.rng.randint(max(1, revision - 2000), revision)
        if target > self.compacted:
            client.call(COMPACT, message(f1=target))
            self.compacted = target
        key = b"/leased/%d" % cycle
        client.call(LEASE_GRANT, message(f1=100000, f2=cycle))
        client.call(PUT, message(f1=key, f2=b"leased", f3=cycle))
        self.leases[cycle] = key
        if self.rng.random() < 0.3:
            ended = self.rng.choice(sorted(self.leases))
            client.call(LEASE_REVOKE, message(f1=ended))
            del self.leases[ended]

    def compare(self, client, cycles):
        wrong = []
        if self.compacted > 1:
            try:
                client.call(RANGE, message(f1=b"x", f4=self.compacted - 1))
                wrong.append(f"revision {self.compacted - 1} can be read, {self.compacted} was compacted")
            except StatusError as error:
                if error.code != 11 or error.text != "etcdserver: mvcc: required revision has been compacted":
                    wrong.append(f"below the compaction: {error}")
            client.call(RANGE, message(f1=b"\0", f2=b"\0", f3=10, f4=self.compacted))
        for cycle in range(1, cycles + 1):
            answer = list(fields(client.call(LEASE_TIME_TO_LIVE, message(f1=cycle, f2=1))))
            keys = [value for number, value in answer if number == 5]
            expected = [self.leases[cycle]] if cycle in self.leases else []
            if keys != expected:
                wrong.append(f"lease {cycle} has {keys}, expected {expected}")
        leased = {pair[0] for pair in client.range_all(b"/leased/")}
        if leased != set(self.leases.values()):
            wrong.append(f"leased keys {leased}, expected {set(self.leases.values())}")
        return wrong


def load_until_dead(server, ledger):
    """Pipelined puts on several connections until the server is gone; answers that are still in the sockets count."""
    clients = [Client(server.port) for _ in range(CONNECTIONS)]
    waiting = [{} for _ in clients]
    open_clients = set(range(CONNECTIONS))

    def fill(i):
        batch = []
        while len(waiting[i]) < DEPTH:
            key, generation, value = ledger.take()
            clients[i].stream += 1
            waiting[i][clients[i].stream] = (key, generation)
            batch.append(Client.frame(PUT, clients[i].stream, put_request(key, value)))
        if batch:
            try:
                clients[i].socket.sendall(b"".join(batch))
            except OSError:
                pass  # The answers that came before are still to be read.

    def take_answers(i):
        while (frame := clients[i].parse()) is not None:
            _, _, stream, status, body = frame
            if stream == 0 and status == OK:
                continue
            if status != OK:
                raise Failure(f"a put was refused with status {status}: {body!r}")
            key, generation = waiting[i].pop(stream)
            ledger.acknowledge(key, generation, revision_of(body))

    for i in range(CONNECTIONS):
        fill(i)
    while open_clients:
        ready, _, _ = select.select([clients[i].socket for i in open_clients], [], [], 20)
        if not ready:
            raise Failure("no answer for 20 s")
        for i in [i for i in open_clients if clients[i].socket in ready]:
            try:
                data = clients[i].socket.recv(1 << 18)
            except OSError:
                data = b""
            if not data:
                open_clients.discard(i)
                continue
            clients[i].input += data
            take_answers(i)
            fill(i)
    for client in clients:
        client.close()
    return sum(map(len, waiting))


def run(report, programs, folder, options, rng):
    source, records = stanzas()
    ledger = Ledger(records, rng)
    aside = Aside(rng)
    watcher = Watcher()
    directory = os.path.join(folder, "data")
    slowest = 0.0
    for cycle in range(1, options.cycles + 1):
        if rng.random() < 0.25:
            # A kill while it starts or recovers; it must do no harm, whatever point it had reached.
            starting = Server(programs, directory, wait=False)
            time.sleep(rng.uniform(0, 0.15))
            starting.kill()
        server = Server(programs, directory, wait=False)
        slowest = max(slowest, server.wait_until_ready())
        with server.client() as client:
            watcher.connect(server)
            watcher.wait_until_told(revision_of(client.call(RANGE, message(f1=b"x"))))
            aside.change(client, cycle)
        delay = rng.uniform(0.02, options.seconds)
        timer = threading.Timer(delay, server.process.kill)
        before = ledger.acknowledgements
        timer.start()
        try:
            in_flight = load_until_dead(server, ledger)
        finally:
            timer.cancel()
        code = server.wait()
        watcher.join()
        name = f"cycle {cycle}: killed after {delay:.2f} s, {ledger.acknowledgements - before} puts acknowledged"
        if code != -9:
            report.check(False, name, f"the server ended by itself with {code}:\n{server.log()[-2000:]}")
            return
        clean, said = programs.check(directory)
        report.check(clean, f"cycle {cycle}: db check is clean", said)

        server = Server(programs, directory, wait=False)
        slowest = max(slowest, server.wait_until_ready())
        watcher.connect(server)
        with server.client() as client:
            watcher.wait_until_told(revision_of(client.call(RANGE, message(f1=b"x"))))
            found = {key: (value, revision) for key, value, revision in client.range_all(b"/debian/")}
            everything = client.range_page(b"\0", b"\0", 1)[2] - len(aside.leases)
            wrong_aside = aside.compare(client, cycle)
        wrong, beyond = ledger.compare(found)
        report.check(not wrong_aside, f"cycle {cycle}: compaction to {aside.compacted} and {len(aside.leases)} leases hold", "\n".join(wrong_aside))
        if len(found) != everything:
            wrong.append(f"{everything} keys in all, {len(found)} under /debian/")
        if beyond > in_flight:
            wrong.append(f"{beyond} unacknowledged puts are there, {in_flight} were in flight")
        report.check(
            not wrong, f"{name}; nothing lost, {beyond} of {in_flight} in flight are there too",
            f"seed {options.seed}, {len(wrong)} wrong\n" + "\n".join(wrong[:20]))
        wrong_events = watcher.compare(ledger)
        report.check(not wrong_events, f"cycle {cycle}: the watcher saw {len(watcher.seen)} puts, each acknowledged one once and in order",
                     f"{len(wrong_events)} wrong\n" + "\n".join(wrong_events[:20]))
        # Half of the stops are graceful, so that both ways of starting are met with every kind of end before.
        if rng.random() < 0.5:
            server.kill()
        else:
            report.check(server.stop() == 0, f"cycle {cycle}: SIGTERM ends the server with exit 0", server.log()[-2000:])
        watcher.join()
        if wrong or wrong_events:
            return
    report.check(ledger.acknowledgements > 0, f"{ledger.acknowledgements} puts acknowledged in all")
    alarms(report, programs, folder, options.cycles, rng)
    report.check(slowest < 5, f"healthy within 5 s of every start (slowest {slowest:.2f} s)")


def alarms_of(client):
    """{(member, kind)}"""
    members = [dict(fields(value)) for number, value in fields(client.call(ALARM)) if number == 2]
    return {(member.get(1, 0), member.get(2, 0)) for member in members}


def hash_of(client):
    return {number: value for number, value in fields(client.call(HASH_KV)) if number != 1}


def alarms(report, programs, folder, cycles, rng):
    directory = os.path.join(folder, "alarms")
    found, acknowledged, hashed = set(), 0, None
    for cycle in range(1, cycles + 1):
        server = Server(programs, directory)
        with server.client() as client:
            report.check(alarms_of(client) == found, f"alarms, cycle {cycle}: the same after a restart in peace", found)
            report.check(hashed in (None, hash_of(client)), f"alarms, cycle {cycle}: so is the hash", hashed)
            try:
                client.put(b"key", b"%d" % cycle)
                answer = OK
            except StatusError as error:
                answer = error.code
            expected = 15 if any(kind == 2 for _, kind in found) else 8 if found else OK
            report.check(answer == expected, f"alarms, cycle {cycle}: a put has status {expected}", answer)
            hashed = hash_of(client)
        timer = threading.Timer(rng.uniform(0.01, 0.5), server.process.kill)
        client = server.client()
        timer.start()
        states, answers = [set(found)], 0
        try:
            while True:
                batch = []
                while len(states) - 1 - answers < DEPTH:
                    alarm, action = (rng.randint(1, 3), 1 if rng.random() < 0.9 else 2), rng.choice([1, 2])
                    state = states[-1] | {alarm} if action == 1 else states[-1] - {alarm}
                    states.append(state)
                    batch.append(Client.frame(ALARM, len(states), message(f1=action, f2=alarm[0], f3=alarm[1])))
                client.socket.sendall(b"".join(batch))
                frame = client.receive()
                if frame is None:
                    break
                if frame[3] != OK:
                    raise Failure(f"an alarm was refused: {frame}")
                answers += 1
        except OSError:
            pass
        while (frame := client.parse()) is not None:
            answers += 1
        timer.cancel()
        client.close()
        server.wait()
        acknowledged += answers
        server = Server(programs, directory)
        with server.client() as client:
            found = alarms_of(client)
            report.check(
                found in states[answers:], f"alarms, cycle {cycle}: killed after {answers} changes; what is raised follows them",
                f"{found}, acknowledged {states[answers]}")
            report.check(hash_of(client) == hashed, f"alarms, cycle {cycle}: the hash is as it was", hashed)
            if cycle % 3 == 0:
                for member, kind in sorted(found):
                    client.call(ALARM, message(f1=2, f2=member, f3=kind))
                found = set()
        server.kill() if rng.random() < 0.5 else server.stop()
    report.check(acknowledged > 0, f"{acknowledged} changes of alarms acknowledged in all")


def arguments(parser):
    parser.add_argument("--cycles", type=int, default=5, help="kills (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="longest load before a kill (2)")


if __name__ == "__main__":
    main("SIGKILL at random moments of a load", run, arguments)
