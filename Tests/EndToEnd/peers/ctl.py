"""etcdctl against two servers at once: the same command, and outputs that say the same."""

import hashlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time

from . import grpc, stores
from .protobuf import Malformed, Schema

ANSWERS = {"put": "PutResponse", "get": "RangeResponse", "del": "DeleteRangeResponse", "txn": "TxnResponse"}
ANSWERS |= {"watch": "WatchResponse", "alarm": "AlarmResponse", "status": "StatusResponse"}
ANSWERS |= {"grant": "LeaseGrantResponse", "revoke": "LeaseRevokeResponse", "timetolive": "LeaseTimeToLiveResponse"}
ANSWERS |= {"keep-alive": "LeaseKeepAliveResponse", "compaction": "CompactionResponse"}
MASKS = [
    (r'("raft_term":|"RaftTerm" : |"header_raft_term": ?)\d+', r"\1TERM"),
    (r"\bdoor/[0-9a-f]+", "door/ID"),
    (r"\bcrown/[0-9a-f]+", "crown/ID"),
    (r"remaining\(\d+s\)", "remaining(LEFT)"),
    (r'("ttl":|"TTL" : )\d{3}\b', r"\1LEFT"),
    (r"took = \S+", "took = TIME"),
    (r'"took":"[^"]+"|"Took" : "[^"]+"', "TOOK"),
    (r"\d+(\.\d+)?(ns|µs|ms)\b", "TIME"),
    (r"\d+\.\d+s\b", "TIME"),
    (r"endpoint://client-[0-9a-f-]+/", "endpoint://client/"),
    (r'"ts":"[^"]+"', '"ts":"TIME"'),
    (r'"caller":"[^"]+"', '"caller":""'),
]
# Commands whose numbers, sizes and versions are each server's own.
NUMBERS = [
    (r"http://(localhost|127\.0\.0\.1):\d+", "URL"),
    (r"\d+(\.\d+)? ?(B|kB|MB|GB)\b", "SIZE"),
    (r"\d+\.\d+\.\d+[-\w.+]*", "VERSION"),
    (r"(?<![\w.])\d+(\.\d+)?(?![\w.])", "N"),
]


class Report:
    """Parts with their counts of commands; what differs is shown at once."""

    def __init__(self):
        self.passed = self.failed = 0
        self.name, self.before = None, (0, 0)

    def part(self, name):
        self.end_part()
        self.name, self.before = name, (self.passed, self.failed)

    def end_part(self):
        if self.name:
            passed, failed = self.passed - self.before[0], self.failed - self.before[1]
            print(f"  {'ok   ' if not failed else 'FAIL '} {self.name}: {passed} same, {failed} different", flush=True)

    def check(self, condition, what, detail=""):
        if condition:
            self.passed += 1
        else:
            self.failed += 1
            print(f"  different: {what}\n{detail}", flush=True)
        return condition

    def close(self):
        self.end_part()
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


class Running:
    """One etcdctl that goes on; its output lies in files, so that it can be looked at meanwhile."""

    def __init__(self, command, environment, data, folder):
        self.paths = [tempfile.mkstemp(dir=folder)[1] for _ in range(2)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=open(self.paths[0], "wb"), stderr=open(self.paths[1], "wb")
        )
        if data is not None:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        else:
            self.process.stdin.close()

    def out(self):
        with open(self.paths[0], "rb") as file:
            return file.read()

    def err(self):
        with open(self.paths[1], "rb") as file:
            return file.read()

    def ended(self):
        return self.process.poll() is not None

    def stop(self):
        """(exit code, output, errors); a command that goes on is interrupted."""
        if not self.ended():
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        return self.process.returncode, self.out(), self.err()


class Side:
    """One server, and what is its own: ids and ports, which stand under common names in what is compared."""

    def __init__(self, program):
        self.store = stores.Store(program)

    def ready(self, schema):
        self.store.wait_until_ready()
        self.connection = grpc.Connection(self.store.port)
        header = schema.decode("RangeResponse", self.connection.call("/etcdserverpb.KV/Range", b"\x0a\x01x")[2])["header"]
        self.member = header.get("member_id", 0)
        self.names = [(str(self.store.port), "PORT")]
        self.leases = {}
        for name, number in (("MEMBER", self.member), ("CLUSTER", header.get("cluster_id", 0))):
            self.names += [(str(number), name), (f"{number:x}", name)]

    def lease(self, name, identity):
        """Gives the lease a name for both sides."""
        self.leases[name] = f"{identity:016x}"
        self.names += [(one, f"LEASE-{name}") for one in (f"{identity:016x}", f"{identity:x}", str(identity))]

    def command(self, args):
        return ["etcdctl", f"--endpoints=127.0.0.1:{self.store.port}"] + [self.filled(arg) for arg in args]

    def filled(self, arg):
        return re.sub(r"\{([\w]+)\}", lambda found: self.leases.get(found[1], "7f7f7f"), arg)


class Both:
    """Calls run a command against both servers at once and compare; the first is the one under test."""

    def __init__(self, report, programs):
        self.report, self.schema = report, Schema()
        self.sides = [Side(program) for program in programs]
        self.folder = self.sides[0].store.folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}
        self.environment["ETCDCTL_API"] = "3"
        for side in self.sides:
            side.ready(self.schema)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for side in self.sides:
            side.connection.close()
            side.store.remove()

    # Commands

    def run(self, args, data=None, timeout=60):
        """[(exit code, output, errors)] of both."""
        processes = [
            subprocess.Popen(
                side.command(args), env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for side in self.sides
        ]
        found = []
        for process in processes:
            try:
                out, err = process.communicate(data or b"", timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                err += b"\n(killed: it did not end)"
            found.append((process.returncode, out, err))
        return found

    def quiet(self, args):
        return [out for _, out, _ in self.run(args)]

    def __call__(self, args, data=None, lease=None, unordered=False):
        found = self.run(args, data)
        if lease:
            for side in self.sides:
                self.name_lease(side, lease)
        self.compare(args, found, unordered)

    def name_lease(self, side, name):
        """The lease that has just been granted, whether or not etcdctl's format has shown it."""
        answer = side.connection.call("/etcdserverpb.Lease/LeaseLeases", b"")[2]
        for lease in self.schema.decode("LeaseLeasesResponse", answer).get("leases", []):
            if f"{lease['ID']:016x}" not in side.leases.values():
                side.lease(name, lease["ID"])

    def begin(self, args, data=None):
        return args, [Running(side.command(args), self.environment, data, self.folder) for side in self.sides]

    def end(self, begun):
        args, running = begun
        self.compare(args, [one.stop() for one in running])

    def until(self, begun, lines, timeout=15):
        """Waits for so many lines on both."""
        args, running = begun
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if all(one.out().count(b"\n") >= lines or one.ended() for one in running):
                return
            time.sleep(0.02)
        shown = [one.out() for one in running]
        self.report.check(False, f"{' '.join(args)}: {lines} lines within {timeout} s", f"    {shown}")

    def until_keys(self, prefix, count, timeout=15):
        request = self.schema.encode("RangeRequest", {"key": prefix.encode(), "range_end": prefix[:-1].encode() + b"0", "count_only": True})
        deadline = time.monotonic() + timeout
        counts = []
        while time.monotonic() < deadline:
            answers = [side.connection.call("/etcdserverpb.KV/Range", request)[2] for side in self.sides]
            counts = [self.schema.decode("RangeResponse", answer).get("count", 0) for answer in answers]
            if min(counts) >= count:
                return
            time.sleep(0.02)
        self.report.check(False, f"{count} keys under {prefix}", f"    found {counts}")

    def watch(self, args, data=None, change=None, least=1, timeout=6):
        """A watch, until nothing more has come for a while on both."""
        begun = self.begin(args, data)
        _, running = begun
        if change:
            time.sleep(0 if any("--rev=" in arg and arg != "--rev=0" for arg in args) else 1.5)
            change()
        began = last = time.monotonic()
        sizes = None
        while time.monotonic() - began < timeout and not all(one.ended() for one in running):
            now = [len(one.out()) + len(one.err()) for one in running]
            if now != sizes:
                sizes, last = now, time.monotonic()
            quiet = time.monotonic() - last
            if quiet > 0.35 and all(size > 0 for size in now) or quiet > 1 and least == 0:
                break
            time.sleep(0.03)
        self.end(begun)

    # What is not a command

    def revision(self):
        answers = [side.connection.call("/etcdserverpb.KV/Range", b"\x0a\x01x")[2] for side in self.sides]
        revisions = [self.schema.decode("RangeResponse", answer)["header"].get("revision", 0) for answer in answers]
        self.report.check(revisions[0] == revisions[1], "the stores' revisions", f"    {revisions}")
        return revisions[1]

    def raise_alarm(self, kind):
        for side in self.sides:
            request = self.schema.encode("AlarmRequest", {"action": 1, "memberID": side.member, "alarm": kind})
            code, message, _ = side.connection.call("/etcdserverpb.Maintenance/Alarm", request)
            self.report.check(code == 0, "raising an alarm", f"    {code} {message}")

    def snapshot(self, folder):
        """`snapshot save`: a whole file with its digest behind it, on both."""
        for side, name in zip(self.sides, ("server", "peer")):
            path = os.path.join(folder, name + ".snapshot")
            done = subprocess.run(side.command(["snapshot", "save", path]), env=self.environment, capture_output=True, timeout=60)
            said = f"    {done.stdout} {done.stderr}"
            if not self.report.check(done.returncode == 0 and b"Snapshot saved at" in done.stdout, f"snapshot save ({name})", said):
                continue
            with open(path, "rb") as file:
                data = file.read()
            right = hashlib.sha256(data[:-32]).digest() == data[-32:]
            self.report.check(right and len(data) > 1000, f"snapshot ({name}): SHA-256 behind {len(data)} bytes")
            side.snapshot = path
        self.restore(folder)

    def restore(self, folder):
        """What etcdctl has saved of Needletail makes a store again, with all that was in it."""
        side = self.sides[0]
        ctl = os.path.join(os.path.dirname(side.store.program), "needletailctl")
        if side.store.kind != "needletail" or not os.access(ctl, os.X_OK):
            return
        data = os.path.join(folder, "restored")
        command = [ctl, "snapshot", "restore", os.path.join(folder, "server.snapshot"), "--data-dir", data]
        done = subprocess.run(command, capture_output=True, timeout=60)
        if not self.report.check(done.returncode == 0, "needletailctl snapshot restore", f"    {done.stdout} {done.stderr}"):
            return
        request = self.schema.encode("RangeRequest", {"key": b"\0", "range_end": b"\0"})
        with stores.Store(side.store.program, data=data) as restored, grpc.Connection(restored.port) as connection:
            answers = [one.call("/etcdserverpb.KV/Range", request)[2] for one in (connection, side.connection)]
        found = [self.schema.decode("RangeResponse", answer) for answer in answers]
        same = found[0].get("kvs") == found[1].get("kvs") and len(found[0].get("kvs", [])) > 10
        self.report.check(same, "the restored snapshot", f"    {[len(one.get('kvs', [])) for one in found]} keys")

    def datascale(self):
        """`check datascale` on the tested server alone: it takes a while, and its figures are its own."""
        side = self.sides[0]
        command = side.command(["check", "datascale", "--load=s"])
        done = subprocess.run(command, env=self.environment, capture_output=True, timeout=180)
        last = done.stdout.decode("utf-8", "replace").splitlines()[-1:]
        self.report.check(done.returncode == 0 and "PASS" in str(last), "check datascale", f"    {last} {done.stderr}")

    def throughput(self, begun):
        """`check perf` ends within two minutes, and the tested server keeps up with the load."""
        _, running = begun
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not all(one.ended() for one in running):
            time.sleep(0.2)
        found = [one.stop() for one in running]
        for (_, out, err), name in zip(found, ("server", "peer")):
            lines = [line for line in out.decode("utf-8", "replace").splitlines() if line.startswith(("PASS", "FAIL", "Slow", "Stddev"))]
            print(f"    {name}: " + "; ".join(lines), flush=True)
        text = found[0][1].decode("utf-8", "replace")
        self.report.check("PASS: Throughput" in text, "check perf", f"    {text[-500:]} {found[0][2]}")

    # Comparison

    def compare(self, args, found, unordered=False):
        both = [self.plain(args, side, *one, unordered) for side, one in zip(self.sides, found)]
        if self.report.check(both[0] == both[1], "etcdctl " + " ".join(repr(arg) if " " in arg else arg for arg in args)[:300]):
            return
        for name, one in zip(("server", "peer"), both):
            print("\n".join(f"    {name:6} {line[:400]}" for line in json_lines(one)), flush=True)

    def plain(self, args, side, code, out, err, unordered):
        """What is comparable of a command's outcome."""
        errors = self.masked(side, self.errors(err.decode("utf-8", "replace")), args)
        if "protobuf" in args and out and not errors.startswith("Error"):
            return code, self.message(args, side, out), errors
        text = out.decode("utf-8", "backslashreplace")
        if args and args[0] == "watch":
            text = watch_text(text, args)
        text = self.masked(side, text, args)
        lines = text.splitlines()
        if unordered:
            lines = sorted(re.findall(r"[\w/-]+", text))
        return code, lines, errors

    def message(self, args, side, out):
        kind = next((ANSWERS[arg] for arg in args[:2] if arg in ANSWERS), None)
        try:
            found = self.schema.decode(kind, out) if kind in self.schema.messages else {}
        except Malformed as error:
            return [f"not a {kind}: {error}"]
        header = found.get("header", {})
        if args[0] == "watch":
            header.pop("revision", None)
        for name in ("raft_term", "member_id", "cluster_id"):
            header.pop(name, None)
        return self.masked(side, json.dumps(found, default=repr, sort_keys=True), args).splitlines()

    @staticmethod
    def errors(text):
        """The client's own log lines stand for the error that they tell."""
        lines = []
        for line in text.partition("goroutine ")[0].splitlines():
            match = re.search(r'"error":"((?:[^"\\]|\\.)*)"', line) if line.startswith("{") else None
            lines.append(f"log: {match[1]}" if match else line)
        return "\n".join(dict.fromkeys(lines))

    def masked(self, side, text, args):
        for own, name in side.names:
            text = re.sub(rf"(?<![0-9a-f]){own}(?![0-9a-f])", name, text)
        masks = list(MASKS)
        if args and args[0] in ("endpoint", "member", "check") or "hashkv" in args:
            masks += NUMBERS + [(r"-{2,}", "--"), (r" +", " ")]
        for pattern, name in masks:
            text = re.sub(pattern, name, text)
        return text


def watch_text(text, args):
    """What a watch has shown however events were packed into responses."""
    if "json" in args:
        shown = []
        for line in text.splitlines():
            try:
                response = json.loads(line)
            except ValueError:
                shown.append(line)
                continue
            shown += [json.dumps(event, sort_keys=True) for event in response.get("Events") or []]
            if response.get("Canceled") or response.get("CompactRevision"):
                shown.append(f"canceled {response.get('Canceled')} {response.get('CompactRevision')}")
        return "\n".join(shown)
    if "fields" in args:
        return "\n".join(line for line in text.splitlines() if not line.startswith(('"ClusterID"', '"MemberID"', '"Revision"', '"RaftTerm"')))
    return text


def json_lines(outcome):
    code, lines, errors = outcome
    return [f"exit {code}"] + [f"| {line}" for line in lines[:12]] + [f"! {line}" for line in errors.splitlines()[:6]]
