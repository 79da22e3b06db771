#!/usr/bin/env python3
"""Random puts, deletes and gets through etcdctl to a real etcd and through needletailctl to Needletail; answers equal.

usage: etcd.py [--seconds 60] [--seed N] [--bin .build/release]
Needs Debian's etcd-server and etcd-client. Compares revision, key-values, more, count, deleted, previous values.
"""
import argparse, json, os, random, shutil, subprocess, sys, tempfile, time

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


def answer(program, endpoint, args):
    """What is comparable of an answer: without the ids, and of a failure only that it is one."""
    done = subprocess.run([program, '--endpoints', endpoint] + args + ['-w', 'json'], capture_output=True, text=True,
                          env=dict(os.environ, ETCDCTL_API='3'))
    if done.returncode != 0:
        return 'failed'
    found = json.loads(done.stdout)
    found['header'] = found['header'].get('revision')
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--seconds', type=int, default=60)
    parser.add_argument('--seed', type=int, default=random.randrange(10**6))
    parser.add_argument('--bin', default='.build/release')
    options = parser.parse_args()
    print('seed', options.seed)
    rnd = random.Random(options.seed)
    directory = tempfile.mkdtemp(prefix='needletail-etcd-')
    ours, theirs, peer = '127.0.0.1:23794', '127.0.0.1:23795', '127.0.0.1:23796'
    logs = [open(os.path.join(directory, name), 'w') for name in ('needletail.log', 'etcd.log')]
    servers = [
        subprocess.Popen([options.bin + '/needletail', '--data-dir', directory + '/n', '--listen-client-urls',
                          'http://' + ours], stdout=logs[0], stderr=logs[0]),
        subprocess.Popen(['etcd', '--data-dir', directory + '/e', '--listen-client-urls', 'http://' + theirs,
                          '--advertise-client-urls', 'http://' + theirs, '--listen-peer-urls', 'http://' + peer,
                          '--initial-advertise-peer-urls', 'http://' + peer, '--initial-cluster',
                          'default=http://' + peer], stdout=logs[1], stderr=logs[1])]
    compared, different, revision = 0, 0, 1
    try:
        time.sleep(3)
        deadline = time.time() + options.seconds
        while time.time() < deadline:
            args = command(rnd, revision)
            a = answer(options.bin + '/needletailctl', ours, args)
            b = answer('etcdctl', theirs, args)
            compared += 1
            if isinstance(b, dict):
                revision = b['header'] or revision
            if a != b:
                different += 1
                print('different:', args, '\n  needletail', a, '\n  etcd      ', b)
    finally:
        for server in servers:
            server.kill()
            server.wait()
        shutil.rmtree(directory, ignore_errors=True)
    print('%d compared, %d different' % (compared, different))
    return 0 if compared > 100 and revision > 20 and different == 0 else 1


if __name__ == '__main__':
    sys.exit(main())
