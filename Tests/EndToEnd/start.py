"""The server started as etcd is: flags, variables and configuration file, listeners of every kind, logs, and under etcd's name."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time

from needletail import Failure, free_port, main

LINES = ["enabled capabilities for version", "published", "ready to serve client requests"]


class Started:
    """The program with just these words and variables, in a folder of its own; its output in a file."""

    count = 0

    def __init__(self, program, folder, *words, environment=None, waits=True, name=None):
        Started.count += 1
        self.folder = os.path.join(folder, f"start-{Started.count}")
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, "output")
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ETCD")}
        with open(self.path, "wb") as output:
            self.process = subprocess.Popen(
                [name or program, *words], executable=program, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, env=dict(clean, **(environment or {})))
        deadline = time.monotonic() + 20
        while waits and LINES[2] not in self.output():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise Failure(f"{words} did not start:\n{self.output()[-2000:]}")
            time.sleep(0.01)

    def output(self):
        with open(self.path, errors="replace") as output:
            return output.read()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


def status(connection, path, method="GET", body=None):
    try:
        connection.request(method, path, body)
        return connection.getresponse().status
    finally:
        connection.close()


def get(port, path, method="GET", body=None):
    return status(http.client.HTTPConnection("127.0.0.1", port, timeout=10), path, method, body)


def refused(report, program, folder, words, code, *parts, environment=None):
    with Started(program, folder, *words, environment=environment, waits=False) as server:
        try:
            found = server.process.wait(20)
        except subprocess.TimeoutExpired:
            found = "it runs"
        output = server.output()
        report.check(
            found == code and all(part in output for part in parts) and "Fatal error" not in output,
            f"{' '.join(words) or environment} ends with {code}", f"{found}: {output[-800:]}")


def run(report, programs, folder, options, rng):
    program = os.path.abspath(programs.server)
    refused(report, program, folder, ["--bogus-thing"], 2, "flag provided but not defined: -bogus-thing", "Usage:")
    refused(report, program, folder, ["--data-dri=x"], 2, "did you mean --data-dir?")
    refused(report, program, folder, ["--max-txn-ops", "x"], 2, 'invalid value "x" for flag -max-txn-ops: parse error')
    refused(report, program, folder, ["--pre-vote", "false"], 1, "'false' is not a valid flag")
    refused(report, program, folder, [], 1, "ETCD_MAX_TXN_OPS", environment={"ETCD_MAX_TXN_OPS": "x"})
    refused(report, program, folder, ["--config-file", "/nonexistent"], 1, "No such file or directory")
    refused(report, program, folder, ["--initial-cluster", "a=http://x:1,b=http://y:1"], 1, "names 2 members")
    refused(report, program, folder, ["--listen-client-urls", "https://127.0.0.1:0"], 1, "TLS")
    refused(report, program, folder, ["--help"], 0, "Clustering:", "--listen-client-urls 'http://127.0.0.1:2379'")
    refused(report, program, folder, ["--version"], 0, "Needletail Version: ", "\netcd Version: 3.")

    link = os.path.join(folder, "etcd")
    os.symlink(program, link)
    version = subprocess.run([link, "--version"], capture_output=True, text=True).stdout
    report.check(version.startswith("etcd Version: 3.") and "Needletail Version: " in version, "etcd --version begins as etcd's", version)

    first, second, metrics = free_port(), free_port(), free_port()
    urls = f"http://127.0.0.1:{first},http://127.0.0.1:{second},unix://client.sock"
    words = ["-name=one", "--listen-client-urls", urls, "--listen-metrics-urls", f"http://127.0.0.1:{metrics},unix://metrics.sock",
             "--unsafe-no-fsync", "--strict-reconfig-check=true", "--auto-tls", "--wal-dir", "wal"]
    with Started(link, folder, *words, environment={"ETCD_NAME": "two", "ETCD_MAX_TXN_OPS": "1", "ETCD_NONSENSE": "1"}, name="etcd") as server:
        output = server.output()
        report.check(all(line in output for line in LINES), "under etcd's name it logs its three lines", output)
        warned = [line for line in output.splitlines() if " warn " in line]
        report.check(
            len(warned) == 4 and all(any(name in line for line in warned) for name in ["--unsafe-no-fsync", "--auto-tls", "ETCD_NAME", "ETCD_NONSENSE"]),
            "it warns of what has no effect, a line each", "\n".join(warned))
        report.check(os.path.isdir(os.path.join(server.folder, "one.needletail")), "the data lies under the flag's name, not the variable's")
        report.check([get(port, "/health") for port in (first, second)] == [200, 200], "it serves all of its URLs")
        client, other = (os.path.join(server.folder, name) for name in ("client.sock", "metrics.sock"))
        report.check(status(UnixConnection(client), "/v3/kv/put", "POST", '{"key":"YQ=="}') == 200, "a unix socket among them")
        report.check(get(first, "/v3/kv/txn", "POST", '{"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":"Yg=="}}]}') == 400,
                     "a variable has its effect: two operations are too many")
        for name, ask in [("port", lambda *a: get(metrics, *a)), ("socket", lambda *a: status(UnixConnection(other), *a))]:
            found = [ask("/metrics"), ask("/health"), ask("/readyz"), ask("/version"), ask("/v3/kv/range", "POST", '{"key":"YQ=="}')]
            report.check(found == [200, 200, 200, 404, 404], f"the metrics {name} serves metrics and health alone", found)
        with socket.create_connection(("127.0.0.1", metrics), timeout=10) as connection:
            connection.sendall(b"NEEDLE\0\x01")
            answer = b""
            while (more := connection.recv(1000)):
                answer += more
            report.check(b"only HTTP is served here" in answer, "and no native protocol", answer)
        wal = os.path.join(server.folder, "wal")
        report.check(server.stop() == 0 and os.listdir(wal), "the log lies in --wal-dir, and it stops with 0", server.output()[-1000:])
        report.check(not os.path.exists(client) and not os.path.exists(other), "sockets are taken away")
        data = os.path.join(server.folder, "one.needletail")
        with Started(program, folder, "--data-dir", data, "--listen-client-urls", f"http://127.0.0.1:{first}") as again:
            report.check(get(first, "/v3/kv/range", "POST", '{"key":"YQ=="}') == 200 and again.stop() == 0,
                         "without --wal-dir it finds the log there")
        refused(report, program, folder, ["--data-dir", data, "--wal-dir", "elsewhere"], 1, "the write-ahead log lies in", wal)

    calls, pages = free_port(), free_port()
    with Started(program, folder, "--listen-client-urls", f"http://127.0.0.1:{calls}", "--listen-client-http-urls", f"http://127.0.0.1:{pages}",
                 "--log-format", "json", "--log-outputs", "stderr,lines.log", "--log-level", "debug", "--metrics=extensive") as server:
        found = [get(calls, "/health"), get(pages, "/health"), get(pages, "/v3/kv/put", "POST", '{"key":"YQ=="}')]
        report.check(found == [404, 200, 200], "HTTP has a listener of its own where it is given one", found)
        with open(os.path.join(server.folder, "lines.log")) as lines:
            text = lines.read()
        records = [json.loads(line) for line in text.splitlines()]
        report.check(text == server.output() and {"level", "ts", "msg"} <= set(records[0]) and any(one["msg"] == LINES[2] for one in records),
                     "JSON lines go to both outputs", text[:500])

    port = free_port()
    path = os.path.join(folder, "config.yml")
    with open(path, "w") as file:
        file.write(f"name: 'from-file'\nlisten-client-urls: http://127.0.0.1:{port}\nmax-txn-ops: 1\nnonsense: [1, 2]\n"
                   "client-transport-security:\n  client-cert-auth: true\n")
    with Started(program, folder, "--name", "flag", environment={"ETCD_CONFIG_FILE": path, "ETCD_MAX_TXN_OPS": "100"}) as server:
        output = server.output()
        report.check(
            "loaded server configuration" in output and os.path.isdir(os.path.join(server.folder, "from-file.needletail")),
            "a configuration file stands for flags and variables", output)
        report.check(all(f"name={name}" in output for name in ("nonsense", "--name", "--client-cert-auth")), "and it says what it ignores", output)
        report.check(get(port, "/health") == 200 and server.stop() == 0, "it serves what the file says")


if __name__ == "__main__":
    main("the server started as etcd is", run)
