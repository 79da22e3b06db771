"""What people, programs and disks get wrong: each a clear typed error, nothing lost, and never a trap. A server that ends by a
signal fails whatever it was doing."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time

from needletail import (
    ANSWER, HEADER, HEALTH, INVALID_ARGUMENT, OK, PUT, RANGE, RESOURCE_EXHAUSTED, UNIMPLEMENTED, Client, Failure, Server,
    StatusError, main, message, put_request)

PAGE = 4096


def lives(report, server, name):
    """Whether the server still serves a new connection."""
    try:
        with server.client(timeout=10) as client:
            client.health()
        return report.check(server.alive(), name)
    except (OSError, StatusError) as error:
        return report.check(False, name, f"{error!r}; exit {server.process.poll()}\n{server.log()[-2000:]}")


def refused(client, wanted=None):
    """Reads until the connection ends: whether an error came on stream 0 before it."""
    error = None
    while True:
        try:
            frame = client.receive(hello=True)
        except socket.timeout:
            return False, "the connection stayed open"
        if frame is None:
            break
        _, flags, stream, status, body = frame
        if stream == 0 and status != OK and flags & ANSWER:
            error = status, body.decode("utf-8", "replace")
    return error is not None and error[1] != "" and (wanted is None or error[0] == wanted), f"{error}"


# Frames


def frames(report, programs, folder, rng):
    server = Server(programs, os.path.join(folder, "frames"))
    with server.client() as client:
        client.put(b"before", b"1")

    cases = {
        "a frame over the size limit": (HEADER.pack(0x7FFF_FFFF, PUT, 0, 1, 0), RESOURCE_EXHAUSTED),
        "the largest possible length": (HEADER.pack(0xFFFF_FFFF, PUT, 0, 1, 0), RESOURCE_EXHAUSTED),
        "a request with the answer flag": (HEADER.pack(0, HEALTH, ANSWER, 1, 0), INVALID_ARGUMENT),
        "unknown flags": (HEADER.pack(0, HEALTH, 0x8000, 1, 0), INVALID_ARGUMENT),
        "a request on stream 0": (HEADER.pack(0, HEALTH, 0, 0, 0), INVALID_ARGUMENT),
    }
    for name, (data, status) in cases.items():
        with server.client(timeout=5) as client:
            client.socket.sendall(data)
            fine, detail = refused(client, status)
            report.check(fine, f"{name}: status {status} on stream 0, then closed", detail)

    with server.client(timeout=5) as client:
        stream = client.send(999)
        frame = client.receive()
        report.check(
            frame is not None and frame[2] == stream and frame[3] == UNIMPLEMENTED and frame[4],
            "an unknown method: Unimplemented on its stream", frame)
        client.health()
        report.check(True, "an unknown method leaves the connection usable")

    bodies = {
        "a message cut in a length": (RANGE, b"\x0a\xff"),
        "a length beyond the message": (PUT, b"\x0a\x7fabc"),
        "an endless varint": (RANGE, b"\x18" + b"\xff" * 20),
        "field number 0": (RANGE, b"\x02\x00"),
        "a wrong wire type": (PUT, b"\x08\x05"),
        "a put without a key": (PUT, message(f2=b"value")),
        "a range without a key": (RANGE, b""),
    }
    with server.client(timeout=5) as client:
        for name, (method, body) in bodies.items():
            try:
                client.call(method, body)
                report.check(False, f"{name} is refused", "it was answered")
            except StatusError as error:
                report.check(error.code == INVALID_ARGUMENT and error.text, f"{name}: Invalid argument on its stream", error)
        client.health()
        report.check(True, "refused messages leave the connection usable")

    with server.client() as client:
        try:
            client.put(b"large", bytes(1_700_000))
            report.check(False, "a request of 1.7 MB is refused", "it was answered")
        except StatusError as error:
            report.check("too large" in error.text, "a request of 1.7 MB: too large", error)
        except (OSError, ConnectionError) as error:
            report.check(False, "a request of 1.7 MB: too large", repr(error))
    with server.client() as client:
        client.put(b"megabyte", b"m" * 1_000_000)
        report.check(client.get(b"megabyte") == b"m" * 1_000_000, "a value of 1 MB goes through")
        client.put(b"k" * 700, b"")
        report.check(client.get(b"k" * 700) == b"", "an empty value under a long key goes through")

    whole = Client.frame(PUT, 1, put_request(b"cut", b"x" * 100))
    for length in (1, 7, HEADER.size - 1, HEADER.size, HEADER.size + 1, len(whole) - 1):
        with server.client() as client:
            client.socket.sendall(whole[:length])
    with server.client() as client:
        for i in range(len(whole)):
            client.socket.sendall(whole[i : i + 1])
        frame = client.receive()
        report.check(frame is not None and frame[3] == OK, "a frame sent byte by byte is answered", frame)
    lives(report, server, "frames cut anywhere leave the server serving")

    with server.client(preface=b"NEEDLE\0\x63", timeout=5) as client:
        fine, detail = refused(client)
        report.check(fine, "another version of the protocol: an error on stream 0, then closed", detail)
    for i in range(300):
        preface = rng.choice([b"", Client.__init__.__defaults__[0], b"NEEDLE", b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n"])
        with contextlib.suppress(OSError), server.client(preface=preface, timeout=0.05) as client:
            client.socket.sendall(rng.randbytes(rng.randrange(1, 4000)))
            client.socket.shutdown(socket.SHUT_WR)
            while client.socket.recv(65536):
                pass
    lives(report, server, "300 connections of random bytes leave the server serving")
    with contextlib.suppress(OSError), server.client(preface=b"", timeout=5) as client:
        client.socket.sendall(b"GET /health HTTP/1.1\r\nX: " + b"x" * (1 << 20))
        answer = client.socket.recv(4096)
        report.check(answer == b"" or answer.startswith(b"HTTP/1.1 4"), "an endless HTTP header is refused", answer[:200])
    lives(report, server, "an endless HTTP header leaves the server serving")
    for path, status in (("/health", b" 200 "), ("/version", b" 200 "), ("/metrics", b" 200 "), ("/nothing", b" 404 ")):
        with server.client(preface=b"", timeout=5) as client:
            client.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            with contextlib.suppress(socket.timeout):
                while data := client.socket.recv(65536):
                    answer += data
                    if len(answer) > 1 << 20:
                        break
            report.check(status in answer.split(b"\r\n")[0], f"GET {path}:{status.decode()}", answer[:200])

    with server.client() as client:
        report.check(client.get(b"before") == b"1" and client.get(b"cut") == b"x" * 100, "what was put is still there")
    report.check(server.stop() == 0, "the server stops with exit 0 after all that", server.log()[-2000:])


# Directories


def starts_with_error(report, programs, directory, name, words, **options):
    """A start that must fail: exit 1 and a line that has the words."""
    server = Server(programs, directory, wait=False, **options)
    code = server.wait(15)
    said = server.log()
    server.kill()
    report.check(
        code == 1 and all(word.lower() in said.lower() for word in words), f"{name}: exit 1 and says why",
        f"exit {code}, expected words {words}\n{said[-2000:]}")
    return said


def directories(report, programs, folder, rng):
    directory = os.path.join(folder, "first")
    first = Server(programs, directory)
    with first.client() as client:
        client.put(b"mine", b"1")
    second = Server(programs, directory, wait=False)
    code = second.wait(15)
    said = second.log()
    second.kill()
    report.check(
        code == 1 and "in use" in said, "a second server on the directory: exit 1 and says that it is in use", f"{code}\n{said[-1000:]}")
    with first.client() as client:
        report.check(client.get(b"mine") == b"1", "the first server goes on")

    taken = Server(programs, os.path.join(folder, "port"), wait=False, more=["--listen-client-urls", f"http://127.0.0.1:{first.port}"])
    code = taken.wait(15)
    report.check(
        code == 1 and str(first.port) in taken.log(), "a port in use: exit 1 and names it", f"{code}\n{taken.log()[-1000:]}")
    taken.kill()
    first.stop()

    file = os.path.join(folder, "file")
    with open(file, "w") as out:
        out.write("not a directory")
    starts_with_error(report, programs, file, "a file in the directory's place", [file])
    starts_with_error(report, programs, os.path.join(file, "below"), "a directory below a file", [file])

    closed = os.path.join(folder, "closed")
    os.mkdir(closed, 0o555)
    if os.getuid() != 0:
        starts_with_error(report, programs, os.path.join(closed, "data"), "an unwritable directory", [closed, "permission denied"])
        return
    # Root may write anywhere: somebody else tries, who must be able to run the program at all.
    nobody = 65534
    copy = os.path.join(folder, "copy")
    os.mkdir(copy)
    os.chmod(folder, 0o755)
    shutil.copy(programs.server, copy)
    try:
        subprocess.run([os.path.join(copy, "needletail"), "--help"], user=nobody, group=nobody, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        report.skip("an unwritable directory", f"the program cannot run as nobody here: {error}")
        return
    for_nobody = type(programs)(os.path.dirname(programs.server))
    for_nobody.server = os.path.join(copy, "needletail")
    starts_with_error(
        report, for_nobody, os.path.join(closed, "data"), "an unwritable directory", [closed, "permission denied"], user=nobody, group=nobody)


# Corrupt files


def flip(path, offset, length=1):
    with open(path, "r+b") as file:
        file.seek(offset)
        old = file.read(length)
        file.seek(offset)
        file.write(bytes(byte ^ 0x5A for byte in old))


def find_all(path, needle):
    with open(path, "rb") as file:
        data = file.read()
    found, at = [], data.find(needle)
    while at >= 0:
        found.append(at)
        at = data.find(needle, at + 1)
    return found


def copy_tree(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def corrupt_pages(report, programs, folder, rng):
    source = os.path.join(folder, "pages")
    server = Server(programs, source)
    records = {b"/page/%05d" % i: b"<value %05d>" % i * 20 for i in range(5000)}
    with server.client() as client:
        for key, value in records.items():
            client.send(PUT, put_request(key, value))
            if client.stream % 100 == 0:
                for _ in range(100):
                    client.receive()
    report.check(server.stop() == 0, "the server with pages to corrupt stops with exit 0", server.log()[-2000:])
    clean, said = programs.check(source)
    report.check(clean, "db check is clean before", said)
    database = os.path.join("member", "db")

    # The pages that hold one record's value, wherever copies of it lie: first the header, then the middle.
    victim = b"/page/02500"
    places = find_all(os.path.join(source, database), records[victim])
    if not report.check(places, "the record's page is found in the file"):
        return
    # The first read of a page after the start compares its checksum: wherever the damage is, no answer may be wrong.
    cases = (
        ("number and transaction", 4, 12), ("type, level and counts", 16, 8), ("bounds", 24, 8),
        ("slots and heads", 32, 64), ("records", PAGE // 2, 64))
    for where, offset, length in cases:
        directory = copy_tree(source, os.path.join(folder, "pages-copy"))
        for place in places:
            flip(os.path.join(directory, database), place // PAGE * PAGE + offset, length)
        clean, said = programs.check(directory)
        report.check(not clean and "page" in said.lower(), f"a page corrupted in its {where}: db check names it", said)
        server = Server(programs, directory, wait=False)
        try:
            server.wait_until_ready()
        except Failure:
            report.check(
                server.process.poll() == 1 and "corrupt" in server.log().lower(), f"… {where}: the start says so",
                f"exit {server.process.poll()}\n{server.log()[-2000:]}")
            server.kill()
            continue
        wrong, errors = [], 0
        with server.client() as client:
            for key in [victim] + rng.sample(sorted(records), 200):
                try:
                    value = client.get(key)
                    if value != records[key]:
                        wrong.append((key, value))
                except StatusError as error:
                    errors += 1
                    if "page" not in error.text.lower():
                        wrong.append((key, error.text))
        report.check(
            not wrong and errors, f"… {where}: reads are right or typed errors that name the page",
            f"{errors} errors, wrong: {wrong[:3]}")
        lives(report, server, f"… {where}: the server goes on")
        writes_do_not_trap(report, server, [victim], f"… {where}: a write to it does not trap")
        server.kill()

    for round_number in range(4):
        directory = copy_tree(source, os.path.join(folder, "pages-copy"))
        for _ in range(20):
            size = os.path.getsize(os.path.join(directory, database))
            flip(os.path.join(directory, database), rng.randrange(8, size // PAGE) * PAGE + rng.randrange(PAGE - 8), 8)
        server = Server(programs, directory, wait=False)
        with contextlib.suppress(Failure):
            server.wait_until_ready()
        if server.alive():
            with contextlib.suppress(StatusError, OSError), server.client() as client:
                for _ in client.range_all(b""):
                    pass
            with contextlib.suppress(StatusError, OSError), server.client() as client:
                for key in records:
                    with contextlib.suppress(StatusError):
                        client.get(key)
            lives(report, server, f"twenty random pages corrupted, round {round_number + 1}: the server goes on")
            writes_do_not_trap(report, server, rng.sample(sorted(records), 300), f"twenty random pages corrupted, round {round_number + 1}: writes do not trap")
        else:
            report.check(server.process.returncode == 1, f"twenty random pages corrupted, round {round_number + 1}: the start says so", server.log()[-2000:])
        server.kill()

    directory = copy_tree(source, os.path.join(folder, "pages-copy"))
    os.truncate(os.path.join(directory, database), os.path.getsize(os.path.join(directory, database)) // 2)
    clean, said = programs.check(directory)
    report.check(not clean, "a file cut in half: db check says so", said)
    starts_with_error(report, programs, directory, "a file cut in half", [database])

    directory = copy_tree(source, os.path.join(folder, "pages-copy"))
    with open(os.path.join(directory, database), "r+b") as file:
        file.write(bytes(8 * PAGE))
    starts_with_error(report, programs, directory, "a file with its head zeroed", [database])


def writes_do_not_trap(report, server, keys, name):
    """A write that meets a corrupt page may be refused, or stop the server with exit 1 and a word why; never by a signal."""
    said = "answered"
    for key in keys:
        try:
            with server.client(timeout=2) as client:
                client.put(key, b"written over a corrupt page")
        except (StatusError, OSError) as error:
            said = repr(error)
            break
    code = server.wait(1)
    report.check(
        code is None or (code == 1 and "corrupt" in server.log().lower()), f"{name} ({said if code is None else 'it stops'})",
        f"exit {code}\n{server.log()[-2000:]}")


def corrupt_log(report, programs, folder, rng):
    source = os.path.join(folder, "log")
    server = Server(programs, source)
    with server.client() as client:
        for i in range(200):
            client.put(b"/log/%04d" % i, b"<logged %04d>" % i)
    server.kill()
    log = os.path.join("member", "wal")
    names = sorted(name for name in os.listdir(os.path.join(source, log)) if name.endswith(".wal"))

    def place(directory, i):
        for name in names:
            path = os.path.join(directory, log, name)
            if found := find_all(path, b"<logged %04d>" % i):
                return path, found[0]
        raise Failure(f"record {i} is not in the log")

    def found_after_start(directory):
        server = Server(programs, directory)
        with server.client() as client:
            found = {key for key, _, _ in client.range_all(b"/log/")}
        server.kill()
        return found

    directory = copy_tree(source, os.path.join(folder, "log-copy"))
    path, offset = place(directory, 100)
    flip(path, offset)
    said = starts_with_error(
        report, programs, directory, "a record corrupted in the middle of the log", ["corrupt", os.path.basename(path), "offset", "index"])
    report.check(str(offset // PAGE * PAGE)[:3] in said or "offset" in said, "… and names the place", said[-500:])
    flip(path, offset)
    report.check(len(found_after_start(directory)) == 200, "the record repaired: all 200 puts are there")

    directory = copy_tree(source, os.path.join(folder, "log-copy"))
    path, offset = place(directory, 199)
    flip(path, offset)
    found = found_after_start(directory)
    report.check(
        found == {b"/log/%04d" % i for i in range(199)}, "a torn tail is cut: everything before it is there", f"{len(found)} of 200")

    directory = copy_tree(source, os.path.join(folder, "log-copy"))
    path, offset = place(directory, 199)
    with open(path, "r+b") as file:
        file.seek((offset // PAGE + 1) * PAGE)
        file.write(rng.randbytes(3 * PAGE))
    report.check(len(found_after_start(directory)) == 200, "garbage behind the log's end: all 200 puts are there")

    directory = copy_tree(source, os.path.join(folder, "log-copy"))
    with open(os.path.join(directory, log, names[0]), "r+b") as file:
        file.write(rng.randbytes(64))
    starts_with_error(report, programs, directory, "a log whose segment header is garbage", [names[0]])


def run(report, programs, folder, options, rng):
    for part in (frames, directories, corrupt_pages, corrupt_log):
        if options.only and part.__name__ not in options.only.split(","):
            continue
        print(f" {part.__name__.replace('_', ' ')}", flush=True)
        try:
            part(report, programs, folder, rng)
        except (Failure, OSError, StatusError, subprocess.TimeoutExpired) as error:
            report.check(False, f"{part.__name__} runs to its end (seed {options.seed})", f"{type(error).__name__}: {error}")
        for server in list(Server.running):
            server.kill()


if __name__ == "__main__":
    main("bad input, bad directories, corrupt files", run,
         lambda parser: parser.add_argument("--only", help="parts, comma-separated"))
