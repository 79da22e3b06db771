"""Full disks: small file systems of their own, in memory, ext4 and btrfs on loop devices, that are filled by the server itself and
by somebody else.

Whatever happens then, nothing that was acknowledged is lost, what is refused says why, and with room again the server goes on. A
server may stay up or end with exit 1 (a file system that copies on write can refuse an overwrite, and nobody knows what is on disk
then: the log is); one that ended must start again. Needs root for mounting; what cannot be mounted is skipped."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time

from needletail import RESOURCE_EXHAUSTED, Failure, Server, StatusError, main

SIZE_MIB = 420
BALLAST_MIB = 150


def run_tool(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise PermissionError(f"{' '.join(command[:3])}: {(done.stderr or done.stdout).strip()[-200:]}")


@contextlib.contextmanager
def small_disk(kind, folder, mib):
    """A mounted file system of that kind and size; PermissionError says why there is none."""
    path = tempfile.mkdtemp(prefix=f"{kind}-", dir=folder)
    if kind == "tmpfs":
        run_tool("mount", "-t", "tmpfs", "-o", f"size={mib}m", "needletail-test", path)
    else:
        if shutil.which(f"mkfs.{kind}") is None:
            raise PermissionError(f"there is no mkfs.{kind}")
        image = path + ".img"
        with open(image, "wb") as file:
            file.truncate(mib << 20)
        run_tool(f"mkfs.{kind}", "-q", image)
        run_tool("mount", "-o", "loop", image, path)
    try:
        yield path
    finally:
        for server in list(Server.running):
            if server.directory.startswith(path):
                server.kill()
        subprocess.run(["umount", path], capture_output=True)
        subprocess.run(["umount", "-l", path], capture_output=True)
        with contextlib.suppress(OSError):
            os.unlink(path + ".img")


def take_space(path, bytes_max=1 << 40):
    """A file that takes the disk's room, to its last block."""
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while file.tell() < bytes_max:
                    file.write(os.urandom(size))
                    os.fsync(file.fileno())
            except OSError:
                pass


def put_until_refused(server, acknowledged, puts):
    """The error that ended the puts, or None."""
    try:
        with server.client(timeout=30) as client:
            for key, value in puts:
                client.put(key, value)
                acknowledged[key] = value
    except (StatusError, OSError) as failure:
        return failure
    return None


def when_full(report, name, server, acknowledged, error):
    """Its exit code, None where it goes on: then it must answer reads."""
    code = server.wait(3)
    said = server.log()
    report.check(
        code in (None, 1) and re.search("no space left", f"{said} {error}", re.I),
        f"{name}: the server {'stays up' if code is None else 'ends'} and says what it lacks",
        f"exit {code}, the client saw {error!r}\n{said[-2000:]}")
    if code is None:
        key = next(iter(acknowledged))
        with server.client(timeout=10) as client:
            report.check(client.get(key) == acknowledged[key], f"{name}: reads go on")
    return code


def with_room_again(report, name, programs, server, directory, acknowledged, code):
    """Puts go on by themselves where the server is up; a restart finds everything in any case. A put whose answer was an error
    may be there or not."""
    if code is None:
        with server.client(timeout=20) as client:
            # It tries the disk again now and then, and refuses puts until it has seen the room.
            deadline = time.monotonic() + 20
            while True:
                try:
                    client.put(b"after", b"1")
                    break
                except StatusError as refusal:
                    if refusal.code != RESOURCE_EXHAUSTED or time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
            report.check(client.get(b"after") == b"1", f"{name}: with room it takes puts again, without a restart")
        server.kill()
    clean, said = programs.check(directory)
    report.check(clean, f"{name}: db check is clean", said)
    server = Server(programs, directory)
    with server.client() as client:
        lost = [key for key, value in acknowledged.items() if not is_it(client.get(key), value)]
        report.check(not lost, f"{name}: it starts, and all {len(acknowledged)} acknowledged puts are there", lost[:5])
        client.put(b"again", b"1")
        report.check(client.get(b"again") == b"1", f"{name}: a restarted server takes puts")
    report.check(server.stop() == 0, f"{name}: and stops in peace")


def is_it(found, value):
    """The value that was acknowledged last, or that of the one put behind it that was never answered: values of one key begin
    with numbers that go up by one round."""
    if found == value or found is None:
        return found == value
    return int(found[:6]) == int(value[:6]) + OVERWRITTEN


OVERWRITTEN = 400


def filled_by_server(report, kind, programs, folder, rng):
    """New keys until there is no room: the log or the tree's file cannot grow."""
    name = f"{kind} filled by the server"
    with small_disk(kind, folder, SIZE_MIB) as disk:
        take_space(os.path.join(disk, "ballast"), BALLAST_MIB << 20)
        directory = os.path.join(disk, "data")
        server = Server(programs, directory)
        acknowledged, filling = {}, rng.randbytes(100_000)
        puts = ((b"/fill/%06d" % i, b"%06d" % i + filling) for i in range(20_000))
        error = put_until_refused(server, acknowledged, puts)
        report.check(error is not None, f"{name}: that ends the puts ({len(acknowledged)} of 100 kB)")
        code = when_full(report, name, server, acknowledged, error)
        os.unlink(os.path.join(disk, "ballast"))
        with_room_again(report, name, programs, server, directory, acknowledged, code)


def filled_by_another(report, kind, programs, folder, rng):
    """Keys that are written again and again, and somebody takes all that is left: what there is in the files is used
    on, as far as the file system lets one overwrite."""
    name = f"{kind} filled by somebody else"
    with small_disk(kind, folder, SIZE_MIB) as disk:
        directory = os.path.join(disk, "data")
        server = Server(programs, directory)
        acknowledged, filling = {}, rng.randbytes(40_000)

        def puts(first, last):
            return ((b"/again/%03d" % (i % OVERWRITTEN), b"%06d" % i + filling) for i in range(first, last))

        error = put_until_refused(server, acknowledged, puts(0, 1_000))
        if error:
            raise Failure(f"{name}: {error!r} while there was room")
        take_space(os.path.join(disk, "ballast"))
        error = put_until_refused(server, acknowledged, puts(1_000, 9_000))
        report.check(error is not None, f"{name}: that ends the puts sooner or later ({max(acknowledged.values())[:6]})")
        code = when_full(report, name, server, acknowledged, error)
        os.unlink(os.path.join(disk, "ballast"))
        with_room_again(report, name, programs, server, directory, acknowledged, code)


def too_small(report, kind, programs, folder):
    with small_disk(kind, folder, 1) as disk:
        server = Server(programs, os.path.join(disk, "data"), wait=False)
        code = server.wait(10)
        said = server.log()
        report.check(
            code == 1 and "no space left" in said.lower() and "Fatal error" not in said,
            f"{kind} without room for the log: an error and exit 1", f"exit {code}\n{said[-2000:]}")


def run(report, programs, folder, options, rng):
    for kind in options.kinds.split(","):
        try:
            if kind == "tmpfs":
                too_small(report, kind, programs, folder)
            filled_by_server(report, kind, programs, folder, rng)
            filled_by_another(report, kind, programs, folder, rng)
        except PermissionError as reason:
            report.skip(f"a full {kind}", f"cannot be mounted here: {reason}")
    # Of machines that can mount nothing at all: main wants something that passed.
    report.check(not Server.running, "no server is left")


if __name__ == "__main__":
    main("full disks", run, lambda parser: parser.add_argument(
        "--kinds", default="tmpfs,ext4,btrfs", help="file systems, comma-separated (tmpfs,ext4,btrfs)"))
