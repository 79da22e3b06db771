"""What the end to end scripts share: starting and stopping the real server, a small client of the native protocol written
from docs/protocol.md and not from the Swift code, and a report whose last line counts what passed."""

import argparse
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 0, 3, 8, 12
HELLO, RANGE, PUT, DELETE_RANGE, COMPACT, WATCH, STATUS, HEALTH = 0, 1, 2, 3, 5, 6, 16, 17
LEASE_GRANT, LEASE_REVOKE, LEASE_TIME_TO_LIVE = 8, 9, 11
ALARM, HASH, HASH_KV = 19, 20, 21
ANSWER = 1
PREFACE = b"NEEDLE\0\x01"
HEADER = struct.Struct("<IHHII")


class Failure(Exception):
    """Something the script cannot go on without."""


# Protobuf


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def message(**fields):
    """Fields named f1, f2 …: bytes are length-delimited, integers varints."""
    out = bytearray()
    for name, value in fields.items():
        number = int(name[1:])
        if isinstance(value, bytes):
            out += varint(number << 3 | 2) + varint(len(value)) + value
        else:
            out += varint(number << 3) + varint(value)
    return bytes(out)


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data):
    """(number, value) of a message; integers for varints, bytes for the rest."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 == 0:
            value, at = read_varint(data, at)
        elif tag & 7 == 2:
            length, at = read_varint(data, at)
            value = data[at : at + length]
            at += length
        else:
            raise Failure(f"unexpected wire type {tag & 7}")
        yield tag >> 3, value


def revision_of(answer):
    """The revision in the header of any of etcd's answers."""
    for number, value in fields(answer):
        if number == 1:
            return dict(fields(value)).get(3, 0)
    return 0


def put_request(key, value):
    return message(f1=key, f2=value)


def prefix_end(prefix):
    """The first key behind all keys with the prefix; etcd's "\\0" when there is none."""
    out = bytearray(prefix)
    while out and out[-1] == 0xFF:
        out.pop()
    if not out:
        return b"\0"
    out[-1] += 1
    return bytes(out)


# The native protocol


class StatusError(Exception):
    def __init__(self, code, text):
        super().__init__(f"status {code}: {text}")
        self.code = code
        self.text = text


class Client:
    """One connection. `send` and `receive` for what tests want to see raw, `call` for one request at a time."""

    def __init__(self, port, preface=PREFACE, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = bytearray()
        self.stream = 0
        if preface:
            self.socket.sendall(preface)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @staticmethod
    def frame(method, stream, body=b"", flags=0, status=0):
        return HEADER.pack(len(body), method, flags, stream, status) + body

    def send(self, method, body=b"", flags=0):
        self.stream += 1
        self.socket.sendall(self.frame(method, self.stream, body, flags))
        return self.stream

    def parse(self):
        """The first whole frame received so far: (method, flags, stream, status, body)."""
        if len(self.input) < HEADER.size:
            return None
        length, method, flags, stream, status = HEADER.unpack_from(self.input)
        end = HEADER.size + length
        if len(self.input) < end:
            return None
        body = bytes(self.input[HEADER.size : end])
        del self.input[:end]
        return method, flags, stream, status, body

    def receive(self, hello=False):
        """The next frame, or None when the server closed the connection. Hello frames are for those who ask."""
        while True:
            frame = self.parse()
            if frame and (hello or frame[0] != HELLO or frame[3] != OK):
                return frame
            if frame:
                continue
            try:
                data = self.socket.recv(1 << 18)
            except (ConnectionResetError, BrokenPipeError):
                return None
            if not data:
                return None
            self.input += data

    def call(self, method, body=b""):
        stream = self.send(method, body)
        while True:
            frame = self.receive()
            if frame is None:
                raise ConnectionError("the server closed the connection")
            _, flags, answered, status, answer = frame
            if answered not in (stream, 0):
                raise Failure(f"an answer on stream {answered}, expected {stream}")
            if not flags & ANSWER:
                raise Failure("a frame without the answer flag")
            if status != OK:
                raise StatusError(status, answer.decode("utf-8", "replace"))
            return answer

    def health(self):
        self.call(HEALTH)

    def put(self, key, value):
        return revision_of(self.call(PUT, put_request(key, value)))

    def get(self, key):
        pairs = self.range_page(key, b"", 0)[0]
        return pairs[0][1] if pairs else None

    def range_page(self, key, end, limit):
        """([(key, value, mod revision)], more, count)"""
        body = message(f1=key)
        if end:
            body += message(f2=end)
        if limit:
            body += message(f3=limit)
        pairs, more, count = [], 0, 0
        for number, value in fields(self.call(RANGE, body)):
            if number == 2:
                pair = dict(fields(value))
                pairs.append((pair.get(1, b""), pair.get(5, b""), pair.get(3, 0)))
            elif number == 3:
                more = value
            elif number == 4:
                count = value
        return pairs, bool(more), count

    def range_all(self, prefix, page=2000):
        """Everything with the prefix, a page at a time."""
        key, end = prefix or b"\0", prefix_end(prefix)
        while True:
            pairs, more, _ = self.range_page(key, end, page)
            yield from pairs
            if not more:
                return
            key = pairs[-1][0] + b"\0"


# The programs


class Programs:
    def __init__(self, folder):
        self.server = os.path.join(os.path.abspath(folder), "needletail")
        self.ctl = os.path.join(os.path.abspath(folder), "needletailctl")
        for program in (self.server, self.ctl):
            if not os.access(program, os.X_OK):
                raise Failure(f"there is no {program}; run `make build`")

    def run_ctl(self, port, *arguments, data=None, timeout=600):
        return subprocess.run(
            [self.ctl, f"--endpoints=127.0.0.1:{port}", *arguments], input=data, capture_output=True, timeout=timeout
        )

    def check(self, directory):
        """`needletail db check` of a stopped server's folder: (clean, what it said)."""
        done = subprocess.run([self.server, "db", "check", directory], capture_output=True, timeout=300)
        return done.returncode == 0, (done.stdout + done.stderr).decode("utf-8", "replace").strip()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server. Its log lines go to a folder of their own, never to the disk under test."""

    running = set()
    log_folder = None
    started_count = 0

    def __init__(self, programs, directory, wait=True, more=(), **options):
        self.directory = directory
        self.port = free_port()
        Server.started_count += 1
        self.log_path = os.path.join(Server.log_folder, f"{Server.started_count:04}-{os.path.basename(directory)}.log")
        url = f"http://127.0.0.1:{self.port}"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [programs.server, "--data-dir", directory, "--listen-client-urls", url, "--advertise-client-urls", url]
                + list(more),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options,
            )
        Server.running.add(self)
        self.started = time.monotonic()
        if wait:
            self.wait_until_ready()

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        with open(self.log_path, "rb") as log:
            return log.read().decode("utf-8", "replace")

    def wait_until_ready(self, timeout=20):
        """Seconds from the start to the first answer."""
        while time.monotonic() - self.started < timeout:
            if self.process.poll() is not None:
                raise Failure(f"the server ended with {self.process.returncode}:\n{self.log()[-2000:]}")
            try:
                with Client(self.port, timeout=5) as client:
                    client.health()
                return time.monotonic() - self.started
            except (ConnectionError, OSError):
                time.sleep(0.01)
        raise Failure(f"the server was not ready within {timeout} s:\n{self.log()[-2000:]}")

    def forget_log(self):
        """Of one that ended well; a long run would fill the folder."""
        os.unlink(self.log_path)

    def alive(self):
        return self.process.poll() is None

    def wait(self, timeout=20):
        """The exit code, negative for a signal; None when it goes on running."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        Server.running.discard(self)
        return code

    def kill(self):
        self.process.kill()
        self.wait()

    def stop(self):
        """Gracefully; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.wait(30)
        if code is None:
            self.kill()
        return code

    def client(self, **options):
        return Client(self.port, **options)


# The report


class Report:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        # Of what passes nothing is said.
        self.quiet = False

    def check(self, condition, name, detail=""):
        if condition:
            self.passed += 1
            if not self.quiet:
                print(f"  ok    {name}", flush=True)
        else:
            self.failed += 1
            print(f"  FAIL  {name}", flush=True)
            for line in str(detail).strip().splitlines()[-30:]:
                print(f"        {line}", flush=True)
        return bool(condition)

    def skip(self, name, reason):
        self.skipped += 1
        print(f"  skip  {name}: {reason}", flush=True)


def main(title, run, arguments=lambda parser: None):
    """Parses the arguments, runs the script in a temporary folder, prints the closing line and exits."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--programs", default=".build/release", help="folder of needletail and needletailctl")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run's random choices")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
    arguments(parser)
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    report = Report()
    folder = tempfile.mkdtemp(prefix="needletail-test-")
    Server.log_folder = os.path.join(folder, "logs")
    os.mkdir(Server.log_folder)
    print(f"{os.path.basename(sys.argv[0])}: {title} (seed {options.seed})", flush=True)
    try:
        run(report, Programs(options.programs), folder, options, random.Random(options.seed))
    except (Failure, OSError, StatusError, subprocess.TimeoutExpired) as error:
        report.check(False, f"runs to its end (seed {options.seed})", repr(error) if not str(error) else error)
    finally:
        for server in list(Server.running):
            server.kill()
        if options.keep or report.failed:
            print(f"  kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    skipped = f", {report.skipped} skipped" if report.skipped else ""
    print(f"{report.passed} passed, {report.failed} failed{skipped}", flush=True)
    sys.exit(1 if report.failed or not report.passed else 0)
