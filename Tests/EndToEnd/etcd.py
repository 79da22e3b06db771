#!/usr/bin/env python3
"""Random puts, deletes, gets, transactions, compactions, lease commands, watches, alarms and hashes through etcdctl to a real etcd and through needletailctl to Needletail; answers equal.

usage: etcd.py [--seconds 60] [--seed N] [--bin .build/release]
Needs Debian's etcd-server and etcd-client. Compares revision, key-values, more, count, deleted, previous values, and the events that
watches of the past and of the whole run show.
"""
import argparse, json, os, random, shutil, socket, subprocess, sys, tempfile, time, urllib.request

from needletail import ALARM, Client, message

KEYS = ['a', 'b', 'ab', 'abc', 'b1', 'b2', 'c', 'ca', 'd/1', 'd/2', 'd/3', 'e']


def command(rnd, revision):
    """The next command's arguments, the same for both clients."""
    key, kind = rnd.choice(KEYS), rnd.random()
    if kind < .4:
        if rnd.random() < .1:
            return ['put', key, '--ignore-value']
        return ['put', key, rnd.choice(['1', '2', '3', 'x' * 50])] + ['--prev-kv'] * (rnd.random() < .3)
    if kind < .5:
        return ['del', key] + [rnd.choice(KEYS)] * (rnd.random() < .3) + ['--prev-kv'] * (rnd.random() < .3)
    args, span = ['get', key], rnd.random()
    if span < .3:
        args.append('--prefix')
    elif span < .5:
        args.append('--from-key')
    elif span < .7:
        args.append(rnd.choice(KEYS))
    if rnd.random() < .5:
        args.append('--limit=%d' % rnd.randint(0, 5))
    if rnd.random() < .5:
        args.append('--sort-by=' + rnd.choice(['CREATE', 'KEY', 'MODIFY', 'VALUE', 'VERSION']))
    if rnd.random() < .4:
        args.append('--order=' + rnd.choice(['ASCEND', 'DESCEND']))
    if rnd.random() < .4:
        args.append('--rev=%d' % rnd.randint(1, revision + 1))
    return args + ['--keys-only'] * (rnd.random() < .2)


def script(rnd, revision):
    """A transaction in etcdctl's language."""
    lines = []
    for _ in range(rnd.randint(0, 2)):
        target = rnd.choice(['ver', 'version', 'c', 'create', 'm', 'mod', 'val', 'value'])
        constant = rnd.choice(['1', '2', '']) if target.startswith('va') else str(rnd.choice([0, 1, 2, revision]))
        lines.append('%s("%s") %s "%s"' % (target, rnd.choice(KEYS), rnd.choice(['=', '!=', '<', '>']), constant))
    for _ in range(2):
        lines.append('')
        for _ in range(rnd.randint(0, 4)):
            key, kind = rnd.choice(KEYS), rnd.random()
            if kind < .4:
                lines.append('put %s "%s"%s' % (key, rnd.choice(['1', 'two words']),
                                               rnd.choice(['', ' --prev-kv'])))
            elif kind < .6:
                lines.append('del "%s" %s %s' % (key, rnd.choice(['', rnd.choice(KEYS)]),
                                                 rnd.choice(['', '--prev-kv'])))
            else:
                lines.append('get %s %s' % (key, rnd.choice(
                    ['', '--prefix', '--from-key --limit=2', '--rev=%d' % rnd.randint(1, revision + 1),
                     '--prefix --sort-by=VERSION --order=DESCEND --limit=3'])))
    return '\n'.join(lines) + '\n\n'


def lease_command(rnd, known):
    """A command on one of the leases, given as (ours, theirs): each server has chosen its own ids."""
    ids = rnd.choice(known) if known and rnd.random() < .8 else ('7f', '7f')
    kind = rnd.random()
    if kind < .3 and len(known) < 4:
        return 'grant', [['lease', 'grant', str(rnd.choice([0, 1000, 9999999999]))]] * 2
    if kind < .6:
        key, ignore = rnd.choice(KEYS), ['--ignore-lease'] * (rnd.random() < .1)
        return 'put', [['put', key, 'leased', '--lease=' + one, '--prev-kv'] + ignore for one in ids]
    if kind < .75:
        return 'revoke', [['lease', 'revoke', one] for one in ids]
    if kind < .9:
        return 'keys', [['lease', 'timetolive', one, '--keys'] for one in ids]
    return 'once', [['lease', 'keep-alive', one, '--once'] for one in ids]


def raise_alarm(rnd, ours, theirs):
    """etcdctl can't raise an alarm: etcd's gateway and a frame do. NOSPACE (1) or CORRUPT (2) of some member."""
    kind = rnd.choice([1, 1, 1, 2])
    Client(int(ours.split(':')[1])).call(ALARM, message(f1=1, f2=7, f3=kind))
    body = json.dumps({'action': 'ACTIVATE', 'memberID': '7', 'alarm': ['', 'NOSPACE', 'CORRUPT'][kind]})
    urllib.request.urlopen('http://%s/v3/maintenance/alarm' % theirs, body.encode()).read()


def hash_outcome(program, endpoint, revision):
    """Whether there is a hash, and why not: the hashes themselves are each server's own."""
    done = subprocess.run([program, '--endpoints', endpoint, 'endpoint', 'hashkv', '--rev=%d' % revision],
                          capture_output=True, text=True, env=dict(os.environ, ETCDCTL_API='3'))
    return len(done.stdout.split(', ')) if done.returncode == 0 else done.stderr.splitlines()[-1]


def without_leases(found):
    """Lease ids and what is left of a TTL differ."""
    if isinstance(found, dict):
        hidden = ('cluster_id', 'member_id', 'raft_term')
        # etcd shows a lease's keys in no order.
        return {name: (sorted(value) if name == 'keys' and value else value != 0 if name in ('lease', 'id', 'ID') else 0 if name == 'ttl' and value >= 0
                       else without_leases(value)) for name, value in found.items() if name not in hidden}
    return [without_leases(one) for one in found] if isinstance(found, list) else found


def plain(found):
    """Headers stand for their revisions: the ids differ."""
    if isinstance(found, dict):
        return {name: value.get('revision') if name == 'header' else plain(value) for name, value in found.items()}
    return [plain(one) for one in found] if isinstance(found, list) else found


def answer(program, endpoint, args, data=None):
    """What is comparable of an answer: without the ids, and of a failure the server's words."""
    done = subprocess.run([program, '--endpoints', endpoint] + args + ['-w', 'json'], capture_output=True, text=True,
                          input=data, env=dict(os.environ, ETCDCTL_API='3'))
    if done.returncode != 0:
        return 'failed: ' + done.stderr.splitlines()[-1]
    if args[0] == 'compaction':
        return done.stdout
    if args[0] == 'alarm':
        return json.loads(done.stdout).get('alarms')
    return without_leases(plain(json.loads(done.stdout)))


def granted(program, endpoint, args):
    """The id of a new lease, or why there is none."""
    done = subprocess.run([program, '--endpoints', endpoint] + args, capture_output=True, text=True,
                          env=dict(os.environ, ETCDCTL_API='3'))
    return done.stdout.split()[1] if done.returncode == 0 else done.stderr.splitlines()[-1]


def watch_command(rnd, revision):
    """A watch from a revision of the past, or one that is compacted, and how it is shown."""
    args, span = ['watch', rnd.choice(KEYS)], rnd.random()
    if span < .4:
        args.append('--prefix')
    elif span < .6:
        args.append(rnd.choice(KEYS))
    args.append('--rev=%d' % rnd.choice([rnd.randint(1, revision), rnd.randint(max(1, revision - 30), revision + 1)]))
    return args + ['--prev-kv'] * (rnd.random() < .6) + ['-w', rnd.choice(['json', 'json', 'simple'])]


def begin_watch(program, endpoint, args):
    return subprocess.Popen([program, '--endpoints', endpoint] + args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=dict(os.environ, ETCDCTL_API='3'))


def end_watch(process, args):
    """What a watch has shown: its events, however they came, and how it ended, if by itself."""
    process.terminate()
    out, err = process.communicate()
    if 'json' not in args:
        return out, err
    shown = [json.loads(line) for line in out.splitlines()]
    events = [without_leases(event) for one in shown for event in one['Events'] or []]
    return events, [(one['CompactRevision'], one['Canceled'], one['Header'].get('revision', 0)) for one in shown if one['Canceled']], err


def free_addresses(count):
    """Loopback addresses that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(('127.0.0.1', 0))
    addresses = ['127.0.0.1:%d' % one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--seconds', type=int, default=60)
    parser.add_argument('--seed', type=int, default=random.randrange(10**6))
    parser.add_argument('--bin', default='.build/release')
    options = parser.parse_args()
    print('seed', options.seed)
    rnd = random.Random(options.seed)
    directory = tempfile.mkdtemp(prefix='needletail-etcd-')
    ours, theirs, peer = free_addresses(3)
    logs = [open(os.path.join(directory, name), 'w') for name in ('needletail.log', 'etcd.log')]
    servers = [
        subprocess.Popen([options.bin + '/needletail', '--data-dir', directory + '/n', '--listen-client-urls',
                          'http://' + ours], stdout=logs[0], stderr=logs[0]),
        subprocess.Popen(['etcd', '--data-dir', directory + '/e', '--listen-client-urls', 'http://' + theirs,
                          '--advertise-client-urls', 'http://' + theirs, '--listen-peer-urls', 'http://' + peer,
                          '--initial-advertise-peer-urls', 'http://' + peer, '--initial-cluster',
                          'default=http://' + peer], stdout=logs[1], stderr=logs[1])]
    compared, different, revision, leases, compacted, alarmed, watches, seen = 0, 0, 1, [], 0, False, 0, 0
    first = [['compaction', '0'], ['compaction', '0'], ['compaction', '--', '-1']]
    try:
        time.sleep(3)
        programs = (options.bin + '/needletailctl', ours), ('etcdctl', theirs)
        always = ['watch', '', '--prefix', '--prev-kv', '-w', 'json']
        whole = [begin_watch(program, endpoint, always) for program, endpoint in programs]
        time.sleep(1)
        deadline = time.time() + options.seconds
        while time.time() < deadline:
            args, data = command(rnd, revision), None
            if rnd.random() < .02:
                args = watch_command(rnd, revision)
                both = [begin_watch(program, endpoint, args) for program, endpoint in programs]
                time.sleep(.5)
                a, b = [end_watch(process, args) for process in both]
                watches, different = watches + 1, different + (a != b)
                if a != b:
                    print('different:', args, '\n  needletail', a, '\n  etcd      ', b)
                continue
            if rnd.random() < .4:
                args, data = ['txn'], script(rnd, revision)
            both, kind = [args, args], rnd.random()
            if first:
                both, data = [first.pop(0)] * 2, None
            elif kind < .02:
                both, data = [['compaction', str(rnd.randint(max(1, revision - 20), revision + 2))]] * 2, None
            elif alarmed and kind < .07:
                both, data, alarmed = [['alarm', 'disarm']] * 2, None, False
            elif not alarmed and kind < .03:
                raise_alarm(rnd, ours, theirs)
                both, data, alarmed = [['alarm', 'list']] * 2, None, True
            elif kind < .09:
                # etcd 3.4 refuses the compacted revision itself, later ones hash it.
                at = rnd.choice([at for at in range(revision - 20, revision + 3) if at != compacted and at > 0])
                a = hash_outcome(options.bin + '/needletailctl', ours, at)
                b = hash_outcome('etcdctl', theirs, at)
                compared, different = compared + 1, different + (a != b)
                if a != b:
                    print('different: hash at', at, '\n  needletail', a, '\n  etcd      ', b)
                continue
            elif kind < .2:
                name, both = lease_command(rnd, leases)
                data = None
                if name == 'grant':
                    ids = granted(options.bin + '/needletailctl', ours, both[0]), granted('etcdctl', theirs, both[1])
                    if not ids[0].startswith('Error') and not ids[1].startswith('Error'):
                        leases.append(ids)
                        # A lease of the least TTL would end at a moment of its own.
                        if both[0][2] == '0':
                            both = [['lease', 'revoke', one] for one in leases.pop()]
                        else:
                            continue
                elif name == 'revoke':
                    leases = [ids for ids in leases if ids[0] != both[0][2]]
            args = both[1]
            a = answer(options.bin + '/needletailctl', ours, both[0], data)
            b = answer('etcdctl', theirs, both[1], data)
            compared += 1
            if both[0][0] == 'compaction' and isinstance(a, str) and a.startswith('compacted'):
                compacted = int(both[0][-1])
            if isinstance(b, dict):
                revision = b.get('header') or b.get('revision') or revision
            if a != b:
                different += 1
                print('different:', args, data, '\n  needletail', a, '\n  etcd      ', b)
        time.sleep(1)
        a, b = [end_watch(process, always) for process in whole]
        seen = len(b[0])
        if a != b:
            different += 1
            at = next((i for i, (x, y) in enumerate(zip(a[0], b[0])) if x != y), min(len(a[0]), seen))
            print('different: the whole run\'s watch: %d and %d events, first at %d' % (len(a[0]), seen, at), a[0][at:at + 1], b[0][at:at + 1],
                  a[1:], b[1:])
    finally:
        for server in servers:
            server.kill()
            server.wait()
        shutil.rmtree(directory, ignore_errors=True)
    print('%d compared, %d watches, a watch with %d events, %d different' % (compared, watches, seen, different))
    return 0 if compared > 100 and seen > 50 and revision > 20 and different == 0 else 1


if __name__ == '__main__':
    sys.exit(main())
