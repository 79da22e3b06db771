"""Debian's package index through the server: loaded, dumped, ranged and counted, equal to the source, before and after a
restart."""

import base64
import json
import os
import subprocess

from needletail import Client, Failure, Server, main


def stanzas():
    """{key: stanza} of the package index; of the installed packages where there is no index."""
    source = "apt-cache dumpavail"
    text = b""
    for attempt in range(2):
        try:
            text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, timeout=900).stdout
        except FileNotFoundError:
            break
        if text.count(b"\nPackage: ") >= 10_000 or attempt or os.getuid():
            break
        print("  the index is empty: apt-get update", flush=True)
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, timeout=300)
    if text.count(b"\nPackage: ") < 1_000:
        source = "/var/lib/dpkg/status"
        with open(source, "rb") as status:
            text = status.read()
    found = {}
    for stanza in text.split(b"\n\n"):
        stanza = stanza.strip(b"\n")
        head = dict(line.split(b": ", 1) for line in stanza.split(b"\n") if b": " in line and not line.startswith(b" "))
        if b"Package" in head and b"Version" in head:
            found[b"/debian/" + head[b"Package"] + b"/" + head[b"Version"]] = stanza
    if not found:
        raise Failure("no package stanzas on this machine")
    return source, found


def json_line(key, value):
    try:
        return json.dumps({"key": key.decode(), "value": value.decode()})
    except UnicodeDecodeError:
        return json.dumps({"key64": base64.b64encode(key).decode(), "value64": base64.b64encode(value).decode()})


def parse_line(line):
    record = json.loads(line)
    key = base64.b64decode(record["key64"]) if "key64" in record else record["key"].encode()
    value = base64.b64decode(record["value64"]) if "value64" in record else record["value"].encode()
    return key, value


def difference(found, wanted):
    missing, more = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    other = [key for key in wanted.keys() & found.keys() if wanted[key] != found[key]]
    return f"{len(missing)} missing, {len(more)} too many, {len(other)} different: {[*missing, *more, *other][:5]}"


def run(report, programs, folder, options, rng):
    source, wanted = stanzas()
    # Keys and values that are no UTF-8 take the base64 form of a line.
    wanted[b"/debian/\xff\xfe/binary"] = bytes(range(256))
    wanted[b"/debian/empty/value"] = b""
    print(f"  {len(wanted)} records from {source}, {sum(map(len, wanted.values())) >> 20} MiB", flush=True)
    path = os.path.join(folder, "index.jsonl")
    with open(path, "w") as lines:
        for key, value in wanted.items():
            lines.write(json_line(key, value) + "\n")

    directory = os.path.join(folder, "data")
    server = Server(programs, directory)
    done = programs.run_ctl(server.port, "load", path)
    last = done.stdout.decode().strip().splitlines()[-1:]
    report.check(
        done.returncode == 0 and last == [f"loaded {len(wanted)}"], f"load says `loaded {len(wanted)}`",
        f"exit {done.returncode}, {last}\n{done.stderr.decode()[-1000:]}")
    compare(report, programs, server, wanted, rng, "loaded")

    report.check(server.stop() == 0, "SIGTERM ends the server with exit 0", server.log()[-2000:])
    clean, said = programs.check(directory)
    report.check(clean, "db check is clean after the stop", said)
    server = Server(programs, directory)
    compare(report, programs, server, wanted, rng, "restarted")
    report.check(server.stop() == 0, "a second SIGTERM ends the server with exit 0", server.log()[-2000:])


def compare(report, programs, server, wanted, rng, when):
    done = programs.run_ctl(server.port, "dump", "--prefix", "/debian/")
    found = dict(parse_line(line) for line in done.stdout.splitlines())
    report.check(
        done.returncode == 0 and found == wanted, f"{when}: dump equals the source",
        difference(found, wanted) + "\n" + done.stderr.decode()[-500:])

    with server.client() as client:
        pairs = [(key, value) for key, value, _ in client.range_all(b"/debian/")]
    report.check(pairs == sorted(wanted.items()), f"{when}: a paged range is the source in order", difference(dict(pairs), wanted))

    for prefix in ("/debian/", "/debian/lib", "/debian/python3-", "/debian/zzzz", ""):
        expected = sum(key.startswith(prefix.encode()) for key in wanted)
        done = programs.run_ctl(server.port, "get", prefix, "--prefix", "--count-only", "-w", "json")
        try:
            count = json.loads(done.stdout).get("count", 0)
        except ValueError:
            count = None
        report.check(count == expected, f"{when}: {expected} keys under '{prefix}'", f"{done.stdout!r} {done.stderr!r}")

    prefix = "/debian/libreoffice"
    expected = sorted(key.decode() for key in wanted if key.startswith(prefix.encode()))
    done = programs.run_ctl(server.port, "get", prefix, "--prefix", "--keys-only")
    found = [line for line in done.stdout.decode().splitlines() if line]
    report.check(found == expected, f"{when}: keys under {prefix}", f"{found[:3]} … {expected[:3]}")

    wrong = []
    for key in rng.sample(sorted(key for key in wanted if key.isascii()), 10):
        done = programs.run_ctl(server.port, "get", key.decode(), "--print-value-only")
        if done.returncode or done.stdout != wanted[key] + b"\n":
            wrong.append((key, done.stdout[:200], done.stderr[:200]))
    report.check(not wrong, f"{when}: ten random keys by `get --print-value-only`", wrong)


if __name__ == "__main__":
    main("Debian's package index through the server", run)
