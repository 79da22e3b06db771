"""SIGKILL at random moments of a load, again and again: every acknowledged put is there after the restart, with the revision that
was acknowledged, and nothing that was never sent. Some kills hit the server while it recovers from the one before, some just after a SIGSTOP and
a SIGCONT.

The load is Debian's package index in a new generation each time it comes to its end: the value is the generation's number and the
stanza, so that one can tell from a value which put it is.

Beside the load, each cycle compacts what it finds, so that kills hit the removal too, and changes leases: what was acknowledged
of either holds after the restart.

Alarms have a load of their own, since one that is raised refuses every put: they are raised and taken back without pause until the
kill, and what is raised after the restart is what some prefix of the requests made, every acknowledged one among it.

A watcher watches all of it. When the server is gone it goes on where it was with the next one: it must see every acknowledged put
once, at the revision that was acknowledged, in order.

A long run takes short lives and a small store (--records, --seconds), says little (--quiet), may end by the clock (--minutes) and
keeps count in a file (--tally), which the next run goes on with."""

import json
import os
import select
import signal
import threading
import time

from debian import stanzas
from needletail import (
    ALARM, COMPACT, HASH_KV, WATCH, LEASE_GRANT, LEASE_REVOKE, LEASE_TIME_TO_LIVE, OK, PUT, RANGE, Client, Failure, Server, StatusError, fields, main,
    message, put_request, revision_of)

CONNECTIONS = 3
DEPTH = 48


class Ledger:
    """What was acknowledged, by key: (generation, revision) of the put with the highest revision. Generations need not come in
    order: a put that waits in one connection is passed by the next generation's in another."""

    def __init__(self, records, rng):
        self.records = list(records.items())
        rng.shuffle(self.records)
        self.stanza_of = records
        self.next = 0
        self.generation = 1
        self.acknowledged = {}
        self.acknowledgements = 0
        # Every acknowledged put by its revision, until it was compared with what the watcher saw.
        self.log = {}

    def take(self):
        """The next put: (key, generation, value)."""
        if self.next == len(self.records):
            self.next = 0
            self.generation += 1
        key, stanza = self.records[self.next]
        self.next += 1
        return key, self.generation, b"%d\n" % self.generation + stanza

    def acknowledge(self, key, generation, revision):
        self.acknowledgements += 1
        self.log[revision] = (key, generation)
        if revision > self.acknowledged.get(key, (0, 0))[1]:
            self.acknowledged[key] = (generation, revision)

    def compare(self, found, in_flight):
        """What is wrong with {key: (value, revision)}, and how many of the puts {(key, generation)} that were in flight at the
        kill are there all the same."""
        wrong, beyond = [], 0
        for key, (generation, revision) in self.acknowledged.items():
            if key not in found:
                wrong.append(f"{key}: acknowledged in revision {revision}, missing")
        for key, (value, revision) in found.items():
            head, _, stanza = value.partition(b"\n")
            generation = int(head) if head.isdigit() else -1
            acknowledged = self.acknowledged.get(key, (0, 0))
            if stanza != self.stanza_of.get(key):
                wrong.append(f"{key}: a value that was never put")
            elif (generation, revision) == acknowledged:
                continue
            elif revision > acknowledged[1] and (key, generation) in in_flight:
                beyond += 1
                # It is there now and stays: from here on it counts like an acknowledged one.
                self.acknowledged[key] = (generation, revision)
            else:
                wrong.append(
                    f"{key}: generation {generation} in revision {revision}, acknowledged {acknowledged[0]} in {acknowledged[1]}")
        return wrong, beyond


class Watcher:
    """One watch over all servers. A thread reads while a server lives; `join` it before looking at what it saw."""

    def __init__(self):
        self.next = 1
        # Puts by their revisions, until they were compared; and how many in all.
        self.seen = {}
        self.count = 0
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
        self.count += 1

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
        """What was compared is forgotten: a revision that came once more would be behind `next`."""
        wrong = list(self.wrong)
        for revision, put in ledger.log.items():
            if self.seen.get(revision) != put:
                wrong.append(f"revision {revision}: {put} was acknowledged, the watcher saw {self.seen.get(revision)}")
        self.seen.clear()
        ledger.log.clear()
        return wrong


class Aside:
    """The compactions and leases that were acknowledged."""

    LIVE_MAX = 40

    def __init__(self, rng):
        self.rng = rng
        self.compacted = 0
        self.granted = 0
        self.leases = {}
        self.ended = []

    def change(self, client):
        """A compaction to a late revision, a lease with a key, and at times the end of an older lease."""
        revision = revision_of(client.call(RANGE, message(f1=b"x")))
        target = self.rng.randint(max(1, revision - 2000), revision)
        if target > self.compacted:
            client.call(COMPACT, message(f1=target))
            self.compacted = target
        self.granted += 1
        key = b"/leased/%d" % self.granted
        client.call(LEASE_GRANT, message(f1=100000, f2=self.granted))
        client.call(PUT, message(f1=key, f2=b"leased", f3=self.granted))
        self.leases[self.granted] = key
        if len(self.leases) > self.LIVE_MAX or self.rng.random() < 0.3:
            ended = self.rng.choice(sorted(self.leases))
            client.call(LEASE_REVOKE, message(f1=ended))
            del self.leases[ended]
            self.ended.append(ended)

    def compare(self, client):
        wrong = []
        if self.compacted > 1:
            try:
                client.call(RANGE, message(f1=b"x", f4=self.compacted - 1))
                wrong.append(f"revision {self.compacted - 1} can be read, {self.compacted} was compacted")
            except StatusError as error:
                if error.code != 11 or error.text != "etcdserver: mvcc: required revision has been compacted":
                    wrong.append(f"below the compaction: {error}")
            client.call(RANGE, message(f1=b"\0", f2=b"\0", f3=10, f4=self.compacted))
        # All that live, the last that ended, and some that ended long ago.
        old = self.ended[:-20]
        asked = [*self.leases, *self.ended[-20:], *self.rng.sample(old, min(10, len(old)))]
        for lease in asked:
            answer = list(fields(client.call(LEASE_TIME_TO_LIVE, message(f1=lease, f2=1))))
            keys = [value for number, value in answer if number == 5]
            expected = [self.leases[lease]] if lease in self.leases else []
            if keys != expected:
                wrong.append(f"lease {lease} has {keys}, expected {expected}")
        leased = {pair[0] for pair in client.range_all(b"/leased/")}
        if leased != set(self.leases.values()):
            wrong.append(f"leased keys {leased}, expected {set(self.leases.values())}")
        return wrong


class Tally:
    """What all runs with the same file did, kept on disk after every cycle."""

    NAMES = ("cycles", "acknowledged", "kills_in_recovery", "in_flight_kept", "pauses", "alarm_cycles", "alarms_acknowledged", "wrong")

    def __init__(self, path):
        self.path = path
        self.counts = dict.fromkeys(self.NAMES, 0)
        if path and os.path.exists(path):
            with open(path) as file:
                self.counts.update(json.load(file))

    def add(self, **counts):
        for name, count in counts.items():
            self.counts[name] += count
        if self.path:
            with open(self.path + ".new", "w") as file:
                json.dump(self.counts, file)
            os.replace(self.path + ".new", self.path)

    def __str__(self):
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.counts.items())


def load_until_dead(server, ledger):
    """Pipelined puts on several connections until the server is gone; answers that are still in the sockets count. Returns the
    puts {(key, generation)} that were never answered."""
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
    return {put for one in waiting for put in one.values()}


class Killer:
    """The store that is killed again and again, and what must be in it."""

    def __init__(self, report, programs, folder, options, rng):
        self.report, self.programs, self.options, self.rng = report, programs, options, rng
        _, records = stanzas()
        if 0 < options.records < len(records):
            records = dict(rng.sample(sorted(records.items()), options.records))
        self.ledger = Ledger(records, rng)
        self.aside = Aside(rng)
        self.watcher = Watcher()
        self.directory = os.path.join(folder, "data")
        self.slowest = 0.0
        self.tally = Tally(options.tally)
        # One that runs and is being watched.
        self.server = None

    def start(self):
        if self.rng.random() < 0.25:
            # A kill while it starts or recovers; it must do no harm, whatever point it had reached.
            starting = Server(self.programs, self.directory, wait=False)
            time.sleep(self.rng.uniform(0, 0.15))
            starting.kill()
            starting.forget_log()
            self.tally.add(kills_in_recovery=1)
        self.server = Server(self.programs, self.directory, wait=False)
        self.slowest = max(self.slowest, self.server.wait_until_ready(max(20, self.options.healthy)))
        self.watcher.connect(self.server)
        with self.server.client() as client:
            self.watcher.wait_until_told(revision_of(client.call(RANGE, message(f1=b"x"))))

    def end(self, name):
        """Kills or stops a server without load, so that both ways of starting are met with every kind of end before; or
        leaves it be: the load then goes on right behind a recovery."""
        way = self.rng.random()
        if way < 0.4:
            return
        if way < 0.7:
            self.server.kill()
        else:
            self.report.check(
                self.server.stop() == 0, f"{name}: SIGTERM ends the server with exit 0", self.server.log()[-2000:])
        self.watcher.join()
        self.server.forget_log()
        self.server = None

    def end_load(self, server, pause):
        """Kills the server; some are stopped in their tracks for a while before that, and go on for a moment."""
        if pause:
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(pause)
            server.process.send_signal(signal.SIGCONT)
            time.sleep(pause / 4)
            self.tally.add(pauses=1)
        server.process.kill()

    def cycle(self, number):
        """False where something is wrong."""
        report, ledger = self.report, self.ledger
        if self.server is None:
            self.start()
        server = self.server
        with server.client() as client:
            self.aside.change(client)
        delay = self.rng.uniform(0.02, self.options.seconds)
        pause = self.rng.uniform(0.05, 0.5) if self.rng.random() < 0.1 else 0
        timer = threading.Timer(delay, self.end_load, (server, pause))
        before = ledger.acknowledgements
        timer.start()
        try:
            in_flight = load_until_dead(server, ledger)
        finally:
            timer.cancel()
        code = server.wait()
        self.watcher.join()
        acknowledged = ledger.acknowledgements - before
        name = f"cycle {number}: killed after {delay:.2f} s, {acknowledged} puts acknowledged"
        if code != -9:
            return report.check(False, name, f"the server ended by itself with {code}:\n{server.log()[-2000:]}")
        server.forget_log()
        clean, said = self.programs.check(self.directory)
        report.check(clean, f"cycle {number}: db check is clean", said)
        self.start()
        wrong, beyond = self.compare(name, number, in_flight)
        wrong += 0 if clean else 1
        self.tally.add(cycles=1, acknowledged=acknowledged, in_flight_kept=beyond, wrong=wrong)
        self.end(f"cycle {number}")
        return wrong == 0

    def compare(self, name, number, in_flight):
        """How much is wrong with what the server has now, and how many unacknowledged puts are there."""
        report, aside = self.report, self.aside
        with self.server.client() as client:
            found = {key: (value, revision) for key, value, revision in client.range_all(b"/debian/")}
            everything = client.range_page(b"\0", b"\0", 1)[2] - len(aside.leases)
            wrong_aside = aside.compare(client)
        wrong, beyond = self.ledger.compare(found, in_flight)
        report.check(
            not wrong_aside, f"cycle {number}: compaction to {aside.compacted} and {len(aside.leases)} leases hold",
            "\n".join(wrong_aside))
        if len(found) != everything:
            wrong.append(f"{everything} keys in all, {len(found)} under /debian/")
        report.check(
            not wrong, f"{name}; nothing lost, {beyond} of {len(in_flight)} in flight are there too",
            f"seed {self.options.seed}, {len(wrong)} wrong\n" + "\n".join(wrong[:20]))
        wrong_events = self.watcher.compare(self.ledger)
        report.check(
            not wrong_events,
            f"cycle {number}: the watcher saw {self.watcher.count} puts, each acknowledged one once and in order",
            f"{len(wrong_events)} wrong\n" + "\n".join(wrong_events[:20]))
        return len(wrong) + len(wrong_aside) + len(wrong_events), beyond


def run(report, programs, folder, options, rng):
    report.quiet = options.quiet
    killer = Killer(report, programs, folder, options, rng)
    deadline = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
    started = time.monotonic()
    for number in range(1, options.cycles + 1):
        if time.monotonic() > deadline or not killer.cycle(number):
            break
        if options.quiet and number % 50 == 0:
            print(f"  {time.monotonic() - started:.0f} s: {killer.tally}", flush=True)
    if killer.server:
        killer.server.kill()
        killer.watcher.join()
    report.check(killer.ledger.acknowledgements > 0, f"{killer.ledger.acknowledgements} puts acknowledged in all")
    if not report.failed:
        alarms(report, programs, folder, options.cycles if options.alarms is None else options.alarms, rng, killer.tally)
    report.check(killer.slowest < options.healthy, f"healthy within {options.healthy} s of every start (slowest {killer.slowest:.2f} s)")
    print(f"  {killer.tally}", flush=True)


def alarms_of(client):
    """{(member, kind)}"""
    members = [dict(fields(value)) for number, value in fields(client.call(ALARM)) if number == 2]
    return {(member.get(1, 0), member.get(2, 0)) for member in members}


def hash_of(client):
    return {number: value for number, value in fields(client.call(HASH_KV)) if number != 1}


def alarms(report, programs, folder, cycles, rng, tally):
    directory = os.path.join(folder, "alarms")
    found, acknowledged, hashed = set(), 0, None
    for cycle in range(1, cycles + 1):
        failed = report.failed
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
        tally.add(alarm_cycles=1, alarms_acknowledged=answers, wrong=report.failed - failed)
    report.check(cycles == 0 or acknowledged > 0, f"{acknowledged} changes of alarms acknowledged in all")


def arguments(parser):
    parser.add_argument("--cycles", type=int, default=5, help="kills (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="longest load before a kill (2)")
    parser.add_argument("--alarms", type=int, default=None, help="kills under a load of alarms (as --cycles)")
    parser.add_argument("--records", type=int, default=0, help="packages to put (0: all)")
    parser.add_argument("--minutes", type=float, default=0, help="begin no cycle after so many (0: as long as it takes)")
    parser.add_argument("--healthy", type=float, default=5, help="seconds that a start may take (5)")
    parser.add_argument("--tally", default=None, help="file to count in, over many runs")
    parser.add_argument("--quiet", action="store_true", help="say only what fails, and every 50 cycles how far it is")


if __name__ == "__main__":
    main("SIGKILL at random moments of a load", run, arguments)
