"""A light gRPC client on a plain socket: many calls in one write, answers as they come. It asks for no dynamic header table, so
that a header block means the same wherever it stands and is decoded once."""

import collections
import socket
import struct
import time
import urllib.parse

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
WINDOW = (1 << 31) - 1
FRAME = struct.Struct(">BHBBI")  # the length's high byte, its low ones, type, flags, stream


class Broken(Exception):
    """The connection is of no use any more."""


def frame(kind, flags, stream, payload=b""):
    return FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def literal(name, value):
    """A header field without indexing and without Huffman coding."""
    return b"\x00" + text(name) + text(value)


def text(value):
    length = len(value)
    if length < 0x7F:
        return bytes((length,)) + value
    out, length = bytearray((0x7F,)), length - 0x7F
    while length >= 0x80:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out) + value


def request_headers(path, more=()):
    """The header block of a call."""
    block = b"\x83\x86\x04" + text(path.encode()) + b"\x01" + text(b"localhost")
    block += literal(b"content-type", b"application/grpc") + literal(b"te", b"trailers")
    return block + b"".join(literal(name.encode(), value.encode()) for name, value in more)


class Stream:
    """A call in flight: its whole messages so far, and at its end code and message."""

    __slots__ = ("number", "data", "messages", "headers", "code", "message", "done", "window")

    def __init__(self, number, window):
        self.number, self.window = number, window
        self.data, self.messages = bytearray(), collections.deque()
        self.headers = self.code = self.message = None
        self.done = False

    def take_messages(self):
        while len(self.data) >= 5:
            length = int.from_bytes(self.data[1:5], "big")
            if len(self.data) < 5 + length:
                return
            if self.data[0]:
                raise Broken("a compressed message, which nobody asked for")
            self.messages.append(bytes(self.data[5 : 5 + length]))
            del self.data[: 5 + length]


class Connection:
    """Calls are queued by `start` and leave with `flush`; `wait` reads until they are done."""

    blocks = {}  # header block → fields
    paths = {}

    def __init__(self, port, timeout=60, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input, self.output = bytearray(), bytearray()
        self.streams, self.next = {}, 1
        self.window, self.stream_window, self.max_frame, self.taken = 65535, 65535, 16384, 0
        self.header_block = None
        self.gone = None
        settings = struct.pack(">HIHIHI", 1, 0, 2, 0, 4, WINDOW)
        self.output += PREFACE + frame(SETTINGS, 0, 0, settings)
        self.output += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW - 65535))
        # At once, as clients do: a server does not wait for ever to hear what a connection wants to speak.
        self.flush()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Sending

    def start(self, path, body=None, end=True, headers=()):
        """A new call; with a body its first message. Without `end` more messages may follow."""
        block = self.paths.get(path) if not headers else request_headers(path, headers)
        if block is None:
            block = self.paths[path] = request_headers(path)
        stream = Stream(self.next, self.stream_window)
        self.streams[self.next] = stream
        self.next += 2
        self.output += frame(HEADERS, END_HEADERS | (END_STREAM if end and body is None else 0), stream.number, block)
        if body is not None:
            self.send(stream, body, end)
        return stream

    def send(self, stream, body, end=False):
        self.send_data(stream, b"\0" + len(body).to_bytes(4, "big") + body, end)

    def send_data(self, stream, data, end):
        at = 0
        while at < len(data):
            while (room := min(self.window, stream.window, self.max_frame)) <= 0:
                if stream.done:
                    return
                self.receive()
            piece = data[at : at + room]
            at += len(piece)
            self.window -= len(piece)
            stream.window -= len(piece)
            last = end and at == len(data)
            self.output += frame(DATA, END_STREAM if last else 0, stream.number, piece)

    def half_close(self, stream):
        self.output += frame(DATA, END_STREAM, stream.number)

    def reset(self, stream):
        if self.streams.pop(stream.number, None):
            self.output += frame(RST_STREAM, 0, stream.number, struct.pack(">I", 8))

    def flush(self):
        if self.output:
            data, self.output = self.output, bytearray()
            try:
                self.socket.sendall(data)
            except OSError as error:
                raise Broken(f"sending: {error}") from None

    # Receiving

    def wait(self, streams):
        self.flush()
        for stream in streams:
            while not stream.done:
                self.receive()

    def wait_message(self, stream, timeout=10):
        """The stream's next message; None when it has ended, or when none comes."""
        self.flush()
        deadline = time.monotonic() + timeout
        while not stream.messages and not stream.done:
            left = deadline - time.monotonic()
            if left <= 0 or not self.receive(left):
                return None
        return stream.messages.popleft() if stream.messages else None

    def receive(self, timeout=None):
        """What comes next; False when nothing came in that time."""
        self.flush()
        if timeout is not None:
            whole = self.socket.gettimeout()
            self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            if timeout is None:
                raise Broken("no answer in time") from None
            return False
        except OSError as error:
            raise Broken(f"receiving: {error}") from None
        finally:
            if timeout is not None:
                self.socket.settimeout(whole)
        if not data:
            raise Broken(f"the server closed the connection{f' ({self.gone})' if self.gone else ''}")
        self.input += data
        self.parse()
        if self.taken > 1 << 29:
            self.output += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self.taken))
            self.taken = 0
        return True

    def parse(self):
        data, at, have = self.input, 0, len(self.input)
        while have - at >= 9:
            high, low, kind, flags, number = FRAME.unpack_from(data, at)
            end = at + 9 + (high << 16 | low)
            if have < end:
                break
            self.take_frame(kind, flags, number, bytes(data[at + 9 : end]))
            at = end
        if at:
            del data[:at]

    def take_frame(self, kind, flags, number, payload):
        if kind == DATA:
            # Only what the window counts: one byte more given back than taken makes it larger than there may be one.
            self.taken += len(payload)
            self.take_data(flags, number, payload)
        elif kind == HEADERS:
            self.header_block = (flags, self.without_padding(flags, payload))
            if flags & END_HEADERS:
                self.take_headers(number)
        elif kind == CONTINUATION:
            self.header_block = (self.header_block[0], self.header_block[1] + payload)
            if flags & END_HEADERS:
                self.take_headers(number)
        elif kind == WINDOW_UPDATE:
            amount = int.from_bytes(payload, "big")
            if number == 0:
                self.window += amount
            elif number in self.streams:
                self.streams[number].window += amount
        elif kind == SETTINGS and not flags & ACK:
            self.take_settings(payload)
            self.output += frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            self.output += frame(PING, ACK, 0, payload)
        elif kind == RST_STREAM:
            self.finish(number, -1, f"reset with {int.from_bytes(payload, 'big')}")
        elif kind == GOAWAY:
            self.gone = f"GOAWAY {int.from_bytes(payload[4:8], 'big')} {payload[8:].decode('utf-8', 'replace')}".strip()

    @staticmethod
    def without_padding(flags, payload):
        if flags & PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        return payload[5:] if flags & PRIORITY else payload

    def take_settings(self, payload):
        for at in range(0, len(payload) - 5, 6):
            setting, value = struct.unpack_from(">HI", payload, at)
            if setting == 4:
                for stream in self.streams.values():
                    stream.window += value - self.stream_window
                self.stream_window = value
            elif setting == 5:
                self.max_frame = value

    def take_data(self, flags, number, payload):
        stream = self.streams.get(number)
        if stream is None:
            return
        stream.data += self.without_padding(flags & PADDED, payload)
        stream.take_messages()
        if flags & END_STREAM:
            self.finish(number, -1, "ended without trailers")

    def take_headers(self, number):
        flags, block = self.header_block
        self.header_block = None
        headers = self.blocks.get(block)
        if headers is None:
            decoder = hpack.Decoder()
            headers = dict(decoder.decode(block))
            if len(self.blocks) < 100_000:
                self.blocks[block] = headers
        stream = self.streams.get(number)
        if stream is None:
            return
        if stream.headers is None:
            stream.headers = headers
        if not flags & END_STREAM:
            return
        if "grpc-status" not in headers:
            self.finish(number, -1, f"no grpc-status: {headers}")
        elif stream.headers.get(":status") != "200" or "application/grpc" not in stream.headers.get("content-type", ""):
            self.finish(number, -1, f"not gRPC: {stream.headers}")
        else:
            self.finish(number, int(headers["grpc-status"]), urllib.parse.unquote(headers.get("grpc-message", "")))

    def finish(self, number, code, message):
        stream = self.streams.pop(number, None)
        if stream is not None:
            stream.done, stream.code, stream.message = True, code, message

    # Whole calls

    def call(self, path, body, headers=()):
        """(code, message, answer) of one unary call."""
        stream = self.start(path, body, headers=headers)
        self.wait([stream])
        return stream.code, stream.message, stream.messages[0] if stream.messages else b""
