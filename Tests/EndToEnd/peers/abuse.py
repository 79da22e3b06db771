"""Raw HTTP/2 for those who mean harm: frames of any kind, in any order, on a plain socket."""

import socket
import struct
import time

import hpack

from .grpc import ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS
from .grpc import WINDOW_UPDATE, frame, request_headers

RANGE = "/etcdserverpb.KV/Range"
ERRORS = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED"]
ERRORS += ["FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"]


def name_of(code):
    return ERRORS[code] if code < len(ERRORS) else str(code)


class Attacker:
    """One connection. Sending to a closed one is no error: that is what `outcome` is for."""

    def __init__(self, port, preface=PREFACE, settings=b"", receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input, self.closed, self.goaway = bytearray(), False, None
        self.resets, self.statuses, self.pongs, self.bytes = {}, {}, 0, 0
        self.decoder = hpack.Decoder()
        self.block = None
        if preface:
            self.send(preface + frame(SETTINGS, 0, 0, settings))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data, timeout=10):
        """Whether all of it went out; a server that takes no more is given that time."""
        if self.closed:
            return False
        self.socket.settimeout(timeout)
        try:
            self.socket.sendall(data)
            return True
        except TimeoutError:
            return False
        except OSError:
            self.closed = True
            return False

    @staticmethod
    def call(stream, body=b"\0\0\0\0\x03\x0a\x01x", path=RANGE, end=True):
        return frame(HEADERS, END_HEADERS, stream, request_headers(path)) + frame(DATA, END_STREAM if end else 0, stream, body)

    def read(self, seconds=0.2):
        """Takes what comes in that time; False when the connection is closed."""
        deadline = time.monotonic() + seconds
        while not self.closed and (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 18)
            except TimeoutError:
                break
            except OSError:
                data = b""
            if not data:
                self.closed = True
            self.bytes += len(data)
            self.input += data
            self.parse()
        return not self.closed

    def parse(self):
        while len(self.input) >= 9:
            high, low, kind, flags, stream = FRAME.unpack_from(self.input)
            end = 9 + (high << 16 | low)
            if len(self.input) < end:
                return
            payload = bytes(self.input[9:end])
            del self.input[:end]
            if kind == GOAWAY:
                self.goaway = name_of(int.from_bytes(payload[4:8], "big"))
            elif kind == RST_STREAM:
                self.resets[stream] = name_of(int.from_bytes(payload, "big"))
            elif kind == PING and flags & ACK:
                self.pongs += 1
            elif kind in (HEADERS, CONTINUATION):
                self.block = payload if kind == HEADERS else self.block + payload
                if flags & END_HEADERS:
                    for name, value in self.decoder.decode(self.block):
                        if name in ("grpc-status", ":status", "grpc-message"):
                            self.statuses.setdefault(stream, {})[name] = value

    def outcome(self, seconds=5):
        """How the server ended it: the GOAWAY's code, `closed` without one, or `open`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.closed:
            self.read(min(0.2, deadline - time.monotonic()))
        return self.goaway or ("closed" if self.closed else "open")

    def answered(self, stream, seconds=5):
        """The grpc-status of a call; None when none comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and "grpc-status" not in self.statuses.get(stream, {}):
            if not self.read(0.1):
                break
        return self.statuses.get(stream, {}).get("grpc-status")


def window_update(stream, amount):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", amount))


def setting(identity, value):
    return struct.pack(">HI", identity, value)
