"""Snapshots of the real server: saved while writes go on, looked at, restored, started, compared pair by pair; saving killed
and resumed; files damaged. And the `db` commands on what a stopped server left."""

import base64
import json
import os
import signal
import subprocess
import threading
import time

from needletail import Failure, Server, main


def load(programs, server, rng, count):
    """Pairs that do not compress, so that a snapshot is as large as what it holds."""
    lines = [
        json.dumps({"key": f"/load/{i % 13}/{i:07}", "value64": base64.b64encode(rng.randbytes(600)).decode()})
        if i % 2 else json.dumps({"key64": base64.b64encode(f"/load/{i % 13}/{i:07}".encode()).decode(),
                                  "value64": base64.b64encode(rng.randbytes(600)).decode()})
        for i in range(count)]
    done = programs.run_ctl(server.port, "load", "-", data="\n".join(lines).encode())
    if done.returncode != 0:
        raise Failure(done.stderr.decode())


class Writer(threading.Thread):
    """Puts and deletes until it is told to stop."""

    def __init__(self, server):
        super().__init__()
        self.server = server
        self.over = threading.Event()
        self.done = 0

    def run(self):
        with self.server.client() as client:
            while not self.over.is_set():
                client.put(b"/busy/%d" % (self.done % 500), b"%d" % self.done * 20)
                self.done += 1

    def stop(self):
        self.over.set()
        self.join()


def dump(programs, server, *arguments):
    done = programs.run_ctl(server.port, "dump", *arguments)
    if done.returncode != 0:
        raise Failure(done.stderr.decode())
    return done.stdout


def status(programs, file, form):
    done = programs.run_ctl(1, "snapshot", "status", file, "-w", form)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def restored(report, programs, folder, server, file, name):
    """Restores `file`, starts a server on it, and compares it with `server` as it was at the snapshot's revision."""
    directory = os.path.join(folder, name)
    done = programs.run_ctl(1, "snapshot", "restore", file, "--data-dir", directory)
    report.check(done.returncode == 0, f"{name}: snapshot restore", done.stderr.decode())
    clean, said = programs.check(directory)
    report.check(clean, f"{name}: db check of the restored directory is clean", said)
    revision = json.loads(status(programs, file, "json")[1])["revision"]
    copy = Server(programs, directory)
    with copy.client() as client:
        found = client.range_page(b"\0", b"\0", 1)
        now = json.loads(programs.run_ctl(copy.port, "get", "nothing", "-w", "json").stdout)["header"]["revision"]
    report.check(now == revision, f"{name}: starts at revision {revision}", f"it is at {now}")
    expected, got = dump(programs, server, "--rev", str(revision)), dump(programs, copy)
    report.check(expected == got and found[2] > 0, f"{name}: {found[2]} pairs are those of the original",
                 f"{len(expected)} bytes expected, {len(got)} found")
    with copy.client() as client:
        report.check(client.put(b"/after", b"1") == revision + 1, f"{name}: a write goes on from there")
    report.check(copy.stop() == 0, f"{name}: stops")
    again = programs.run_ctl(1, "snapshot", "restore", file, "--data-dir", directory)
    report.check(again.returncode == 1 and b"not empty" in again.stderr, f"{name}: is not restored over")


def save_under_load(report, programs, folder, server):
    file = os.path.join(folder, "busy.snapshot")
    writer = Writer(server)
    writer.start()
    time.sleep(0.3)
    before = writer.done
    done = programs.run_ctl(server.port, "snapshot", "save", file)
    during = writer.done - before
    writer.stop()
    report.check(done.returncode == 0 and b"Snapshot saved at" in done.stdout, "snapshot save beside a writer",
                 done.stderr.decode())
    report.check(during > 20, f"the writer went on: {during} puts meanwhile")
    report.check(not os.path.exists(file + ".part"), "no part is left")
    code, text, error = status(programs, file, "json")
    fields = json.loads(text) if code == 0 else {}
    report.check(
        fields.get("totalSize") == os.path.getsize(file) and fields.get("revision", 0) > 1 and fields.get("totalKey", 0) > 1,
        "snapshot status -w json", text + error)
    for form, wanted in (("simple", f"{fields['hash']:x}, {fields['revision']}, {fields['totalKey']}, "),
                         ("table", "TOTAL KEYS"), ("fields", f"\"Revision\" : {fields['revision']}\n")):
        code, text, error = status(programs, file, form)
        report.check(code == 0 and wanted in text, f"snapshot status -w {form}", text + error)
    restored(report, programs, folder, server, file, "restored")
    return file


def kill_and_resume(report, programs, folder, server):
    file = os.path.join(folder, "killed.snapshot")
    part = file + ".part"
    sizes = []
    for attempt in range(2):
        saving = subprocess.Popen([programs.ctl, f"--endpoints=127.0.0.1:{server.port}", "snapshot", "save", file],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        floor = (sizes[-1] if sizes else 0) + (3 << 20)
        while saving.poll() is None and not (os.path.exists(part) and os.path.getsize(part) > floor):
            time.sleep(0.0005)
        saving.send_signal(signal.SIGKILL)
        saving.wait()
        if not os.path.exists(part):
            return report.check(False, "saving is killed midway", "it was done before")
        sizes.append(os.path.getsize(part))
        report.check(not os.path.exists(file), f"killed with {sizes[-1]} bytes saved: nothing has the name")
    begun = server.log().count("snapshot begun")
    # A torn end, as a crash of the machine would leave it.
    with open(part, "r+b") as torn:
        torn.seek(-100, os.SEEK_END)
        torn.write(bytes(100))
    with server.client() as client:
        client.put(b"/busy/later", b"not in the snapshot")
    done = programs.run_ctl(server.port, "snapshot", "save", file)
    report.check(done.returncode == 0, "saving goes on where it was killed", done.stderr.decode())
    report.check(server.log().count("snapshot begun") == begun, "the server did not begin anew", server.log()[-1000:])
    restored(report, programs, folder, server, file, "resumed")

    # A part whose snapshot the server does not know.
    with open(file, "rb") as whole, open(part, "wb") as copy:
        copy.write(whole.read()[: os.path.getsize(file) // 2])
    done = programs.run_ctl(server.port, "snapshot", "save", file)
    report.check(done.returncode == 0 and b"beginning anew" in done.stderr, "an old part is begun anew", done.stderr.decode())
    report.check(status(programs, file, "simple")[0] == 0, "and is whole")
    lost = programs.run_ctl(1, "snapshot", "save", os.path.join(folder, "unreachable"), timeout=30)
    report.check(lost.returncode == 1 and not os.path.exists(os.path.join(folder, "unreachable")),
                 "without a server nothing is saved", lost.stderr.decode())


def kill_restore(report, programs, folder, file):
    directory = os.path.join(folder, "cut-short")
    restoring = subprocess.Popen([programs.ctl, "snapshot", "restore", file, "--data-dir", directory],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    halves = []
    while restoring.poll() is None and not halves:
        halves = [name for name in os.listdir(folder) if name.startswith("cut-short.restoring-")]
    restoring.kill()
    restoring.wait()
    report.check(halves and not os.path.exists(directory), "a restore that is killed leaves no directory of that name")
    done = programs.run_ctl(1, "snapshot", "restore", file, "--data-dir", directory)
    report.check(done.returncode == 0 and programs.check(directory)[0], "and can be run again", done.stderr.decode())


def damaged(report, programs, folder, file, rng):
    with open(file, "rb") as source:
        whole = source.read()
    wrong = []
    path = os.path.join(folder, "damaged.snapshot")
    for attempt in range(12):
        at = rng.randrange(len(whole))
        bytes_ = bytearray(whole)
        if attempt % 3 == 0:
            del bytes_[at:]
        else:
            bytes_[at] ^= 1 << rng.randrange(8)
        with open(path, "wb") as target:
            target.write(bytes_)
        code, _, error = status(programs, path, "simple")
        directory = os.path.join(folder, "never")
        done = programs.run_ctl(1, "snapshot", "restore", path, "--data-dir", directory)
        if code != 1 or not error.startswith("Error: ") or done.returncode != 1 or os.path.exists(directory):
            wrong.append(f"attempt {attempt} at {at}: {code} {error} {done.returncode} {done.stderr}")
    report.check(not wrong, "damaged snapshots are errors, and nothing is restored of them", "\n".join(wrong))


def database_commands(report, programs, folder, server):
    def db(*arguments):
        done = subprocess.run([programs.server, "db", *arguments], capture_output=True, timeout=120)
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    directory = server.directory
    for name in ("check", "stats"):
        code, _, error = db(name, directory)
        report.check(code == 1 and "in use" in error and "snapshot save" in error,
                     f"db {name} refuses a running server's file, and says what to do", error)
    code, text, error = db("dump-page", directory, "0")
    report.check(code == 0 and "meta page 0" in text and "running" in error, "db dump-page shows a running server's page")
    report.check(server.stop() == 0, "the server stops")
    code, text, error = db("stats", directory)
    report.check(code == 0 and "tree current" in text and "overflow" in text and "levels" in text, "db stats", text + error)
    code, text, error = db("dump-page", directory, *(str(i) for i in range(40)))
    report.check(code == 0 and "leaf of tree" in text and "WRONG" not in text, "db dump-page", text[-500:] + error)
    copy, back, small = (os.path.join(folder, name) for name in ("db.snapshot", "db.restored", "db.compacted"))
    report.check(db("backup", directory, copy)[0] == 0, "db backup")
    report.check(db("restore", copy, back, "--page-size", "8192")[0] == 0, "db restore")
    report.check(db("compact", directory, small)[0] == 0, "db compact")
    for path in (back, small):
        report.check(db("check", path)[0] == 0, f"db check of {os.path.basename(path)}")
    report.check(os.path.getsize(small) <= os.path.getsize(os.path.join(directory, "member/db")), "the copy is no larger")
    report.check(db("compact", directory, small)[0] == 1, "db compact replaces nothing")
    # A compacted copy serves in the original's place.
    os.replace(small, os.path.join(directory, "member/db"))
    again = Server(programs, directory)
    with again.client() as client:
        report.check(client.get(b"/busy/later") == b"not in the snapshot", "a server starts on the compacted copy")
    report.check(again.stop() == 0, "and stops")
    with open(os.path.join(directory, "member/db"), "r+b") as file:
        file.seek(30 * 4096 + 2000)
        file.write(b"\xff" * 50)
    code, text, error = db("dump-page", directory, "30")
    report.check(code == 0 and "WRONG" in text, "db dump-page shows damage", text + error)
    code, text, error = db("check", directory)
    report.check(code == 1 and "page 30" in text, "db check finds it", text + error)
    for arguments in (("frob",), ("check",), ("compact", "a", "b", "--page-size", "1000"), ("stats", "a", "--frob")):
        report.check(db(*arguments)[0] == 2, f"db {' '.join(arguments)} is a wrong command line")
    report.check(db("stats", os.path.join(folder, "none"))[0] == 1, "db stats of nothing is an error")


def run(report, programs, folder, options, rng):
    server = Server(programs, os.path.join(folder, "data"))
    load(programs, server, rng, 40_000)
    file = save_under_load(report, programs, folder, server)
    kill_and_resume(report, programs, folder, server)
    kill_restore(report, programs, folder, file)
    damaged(report, programs, folder, file, rng)
    database_commands(report, programs, folder, server)


if __name__ == "__main__":
    main("snapshots saved, resumed, restored", run)
