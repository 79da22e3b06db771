"""Watch streams of one program on two stores. How a store packs events into answers is its own affair; which events a
watcher gets, in which order, how a watch is made and how it ends is not."""

import time

WATCH = "/etcdserverpb.Watch/Watch"
SENTINEL = b"~settled"
SENTINEL_ID = 1 << 40
SENTINEL_END = 1 << 41
MOST_BYTES = 1_572_864 + 524_288


class Side:
    """One stream on one store, and what it has said since the last comparison."""

    def __init__(self, executor, end, name):
        self.executor, self.end, self.name = executor, end, name
        self.stream = end.start(WATCH, end=False)
        self.created = 0
        self.log = {}  # (watch id, which of that id) → what came for it, in order
        self.times = {}  # watch id → how many watches have had it
        self.live, self.ended = set(), set()
        self.asks_notices, self.noticed = False, set()  # the last request does; ids of watches whose request did
        self.latest = None  # the id of the last watch that was made; None where it was refused
        self.sentinels = self.progress = 0
        self.revision = 0
        self.open_fragment = {}
        self.faults = []

    def send(self, request):
        if "create_request" in request:
            self.asks_notices = request["create_request"].get("progress_notify", False)
        self.end.send(self.stream, self.executor.schema.encode("WatchRequest", request))

    def take(self, timeout):
        """One more response; False when there is none."""
        message = self.end.wait_message(self.stream, timeout)
        if message is None:
            return False
        self.keep(self.executor.schema.decode("WatchResponse", message), len(message))
        return True

    def keep(self, response, size):
        watch, header = response.get("watch_id", 0), response.get("header", {})
        if SENTINEL_ID <= watch < SENTINEL_END:
            self.sentinels += bool(response.get("events")) or bool(response.get("canceled"))
            self.created += bool(response.get("created"))
            return
        if response.get("created") and not response.get("canceled"):
            self.times[watch] = self.times.get(watch, 0) + 1
            self.open_fragment.pop(watch, None)
            self.live.add(watch)
            if self.asks_notices:
                self.noticed.add(watch)
        log = self.log.setdefault(self.name_of(watch), [])
        if response.get("created"):
            self.created += 1
            self.latest = None if response.get("canceled") else watch
            outcome = ("created", header.get("revision", 0), response.get("canceled"), response.get("cancel_reason"))
            log.append(outcome + (response.get("compact_revision"),))
        elif response.get("canceled"):
            self.live.discard(watch)
            if response.get("compact_revision"):
                self.ended.add(watch)
            log.append(("canceled", response.get("compact_revision"), response.get("cancel_reason")))
        elif not response.get("events"):
            self.progress += watch == -1
            # Who asked for notices gets one in ten minutes, which a round on a busy machine may take.
            if watch != -1 and watch not in self.noticed:
                self.faults.append(f"watch {watch}: a response without events: {response}")
            return
        events = [event_of(event) for event in response.get("events", [])]
        self.check(watch, response, header, events, size)
        log.extend(events)

    def name_of(self, watch):
        return watch, self.times.get(watch, 0)

    def check(self, watch, response, header, events, size):
        """What holds for every response, however events are packed."""
        if not events:
            return
        revisions = [event[1]["mod_revision"] for event in events]
        if revisions != sorted(revisions):
            self.faults.append(f"watch {watch}: revisions out of order: {revisions}")
        if header.get("revision", 0) < revisions[-1]:
            self.faults.append(f"watch {watch}: header revision {header} below its last event {revisions[-1]}")
        last = self.open_fragment.pop(watch, None)
        if last is not None and (not last[1] and revisions[0] <= last[0]):
            self.faults.append(f"watch {watch}: revision {last[0]} split without the fragment flag")
        self.open_fragment[watch] = (revisions[-1], bool(response.get("fragment")))


def event_of(event):
    return ("event", event.get("kv", {}) | {"type": event.get("type", 0)}, event.get("prev_kv"))


class WatchStreams:
    def __init__(self, executor):
        self.executor = executor
        self.streams = {}  # name → [side of the server, side of the peer]
        self.loose = {}  # name → watches whose end is a race: cancelled while events may be on their way
        self.ahead = {}  # name → the latest revision that a watch of it starts from
        self.sentinel_id = SENTINEL_ID
        self.watches = self.events = 0

    def step(self, index, operation):
        if operation[0] == "settle":
            self.settle(index, operation)
        elif operation[0] == "close":
            for side in self.streams.pop(operation[1], ()):
                side.end.reset(side.stream)
        else:
            self.request(index, operation)

    def request(self, index, operation):
        name, request = operation[1], self.executor.resolve(operation[2])
        sides = self.streams.get(name)
        if sides is None:
            sides = self.streams[name] = [Side(self.executor, end, name) for end in self.executor.ends]
            self.loose[name], self.ahead[name] = set(), 0
        self.executor.requests += 1
        if "create_request" in request:
            self.watches += 1
            create = request["create_request"]
            if create.get("start_revision", 0) < 0:
                create["start_revision"] = 1
            self.ahead[name] = max(self.ahead[name], create.get("start_revision", 0))
            if create.get("watch_id") in sides[1].ended:
                del create["watch_id"]
            self.create(index, operation, sides, request)
        else:
            watch = request["cancel_request"]["watch_id"]
            if watch in sides[1].ended:
                return
            if all(watch in side.live for side in sides):
                self.loose[name].add(sides[1].name_of(watch))
            for side in sides:
                side.send(request)
            # A watch that is not there is not answered for.
            self.until(index, operation, sides, lambda side: watch not in side.live or side.stream.done)

    def create(self, index, operation, sides, request):
        """A watch is made before anything else happens: it then starts at the same place on both."""
        wanted = [side.created + 1 for side in sides]
        for side in sides:
            side.send(request)
        for side, count in zip(sides, wanted):
            self.until(index, operation, [side], lambda one: one.created >= count or one.stream.done)
        if 0 < request["create_request"].get("start_revision", 0) < self.executor.compacted:
            # It ends at once, as soon as the store looks at it: what becomes of its id must not depend on when.
            self.until(index, operation, sides, lambda one: one.latest is None or one.latest in one.ended or one.stream.done)

    def until(self, index, operation, sides, done):
        """Long enough for a machine that has other things to do: only a stream that is silent for good takes so long."""
        deadline = time.monotonic() + 60
        for side in sides:
            side.end.flush()
        for side in sides:
            while not done(side):
                if time.monotonic() > deadline:
                    self.executor.explain(index, operation, *self.pictures(sides[0].name), what="watch streams (one is silent)")
                    return False
                side.take(0.5)
        return True

    def settle(self, index, operation):
        """Waits until every watcher has been sent all there is, then compares. A store sends what watchers of the past
        want in rounds: a watch of the past that is made now is served in a round that serves all older ones, too; so when
        two, one after the other, have their event, the others have theirs. Needletail says so itself: it answers a progress
        request when every watcher of the stream is synced."""
        if not self.streams:
            return
        executor = self.executor
        before = executor.revision
        executor.exchange([(index, ("call", "KV.Put", {"key": SENTINEL, "value": b""}))])
        if executor.revision == before:
            # An alarm forbids it: then a few of etcd's rounds, each a tenth of a second.
            time.sleep(0.5)
        for _ in range(2 if executor.revision != before else 0):
            self.sentinel_id += 1
            create = {"key": SENTINEL, "start_revision": executor.revision, "watch_id": self.sentinel_id}
            for sides in self.streams.values():
                for side in sides:
                    side.sentinels = 0
                    side.send({"create_request": create})
            for sides in self.streams.values():
                self.until(index, operation, sides, lambda side: side.sentinels > 0 or side.stream.done)
                for side in sides:
                    side.send({"cancel_request": {"watch_id": self.sentinel_id}})
        for sides in self.streams.values():
            for side in sides:
                side.progress = 0
                side.send({"progress_request": {}})
        for name, sides in self.streams.items():
            # See `progress with a watch ahead` in differences.py.
            waited = sides[1:] if self.ahead[name] > executor.revision else sides
            self.until(index, operation, waited, lambda side: side.progress > 0 or side.stream.done)
            while waited is not sides and sides[0].take(0.3):
                pass
            self.compare(index, operation, name, sides)

    def compare(self, index, operation, name, sides):
        server, peer = self.pictures(name)
        if sides[0].faults:
            self.executor.explain(index, ("watch", name, sides[0].faults), server, peer, what="watch streams (broken rules)")
        if server != peer:
            for watch in sorted(set(server) | set(peer), key=str):
                both = server.get(watch, []), peer.get(watch, [])
                if both[0] != both[1]:
                    operation = ("watch", name, watch, sorted(self.executor.compactions))
                    self.executor.explain(index, operation, *both, what="watches")
        for side in sides:
            self.events += sum(len(log) for log in side.log.values()) if side is sides[1] else 0
            side.log = {}

    def pictures(self, name):
        """What both sides have said on a stream."""
        sides = self.streams[name]
        logs = [dict(side.log) for side in sides]
        for watch in self.loose.get(name, ()):
            # What was on its way when a watch was cancelled came on one side and not on the other.
            entries = [log.get(watch, []) for log in logs]
            shortest = min(sum(e[0] == "event" for e in one) for one in entries)
            for log, one in zip(logs, entries):
                log[watch] = first_events(one, shortest)
        pictures = [{watch: log for watch, log in one.items() if log} for one in logs]
        for side, picture in zip(sides, pictures):
            if side.stream.done:
                picture["end"] = (side.stream.code, side.stream.message)
        return pictures


def first_events(entries, count):
    out = []
    for entry in entries:
        if entry[0] == "event":
            count -= 1
            if count < 0:
                continue
        out.append(entry)
    return out
