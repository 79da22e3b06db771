"""Messages by the repository's own proto files, read at run time: a schema that disagrees with etcd's fails against etcd."""

import os
import re

PROTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "proto")
VARINTS = {"int64", "int32", "uint64", "uint32", "bool"}
TOKEN = re.compile(r'"[^"]*"|[A-Za-z_][\w.]*|-?\d+|[{}()=;<>,\[\]]')


class Malformed(Exception):
    """Bytes that are no message of the type."""


def varint(value):
    if 0 <= value < 0x80:
        return bytes((value,))
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Malformed("a varint without an end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7


class Field:
    __slots__ = ("name", "number", "kind", "type", "repeated", "oneof")

    def __init__(self, name, number, type, repeated, oneof):
        self.name, self.number, self.type, self.repeated, self.oneof = name, number, type, repeated, oneof
        self.kind = None


class Schema:
    """Messages by name without package, nested ones as `Outer.Inner`; methods as `Service.Method`."""

    def __init__(self, folder=PROTO):
        self.messages, self.enums, self.methods = {}, {}, {}
        for name in sorted(os.listdir(folder)):
            # Messages of the native protocol alone have names that etcd's have, too.
            if name.endswith(".proto") and name != "needletail.proto":
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    self.read(file.read())
        for name, fields in self.messages.items():
            for field in fields.values():
                self.resolve(name, field)
        self.by_name = {message: {f.name: f for f in fields.values()} for message, fields in self.messages.items()}

    def read(self, text):
        self.tokens = TOKEN.findall(re.sub(r"//[^\n]*", "", text))
        self.at, self.package = 0, ""
        while self.at < len(self.tokens):
            word = self.take()
            if word == "package":
                self.package = self.take()
            elif word in ("message", "enum", "service"):
                getattr(self, word)("")

    def take(self, wanted=None):
        token = self.tokens[self.at]
        self.at += 1
        if wanted and token != wanted:
            raise Malformed(f"{wanted} expected, found {token}")
        return token

    def enum(self, outer):
        name = outer + self.take()
        self.take("{")
        values = self.enums[name] = {}
        while (word := self.take()) != "}":
            if word not in (";", "option"):
                self.take("=")
                values[word] = int(self.take())

    def service(self, _):
        name = self.take()
        self.take("{")
        while self.take() != "}":
            method = self.take()
            self.take("(")
            streams = [self.tokens[self.at] == "stream"]
            self.at += streams[0]
            request = self.take().split(".")[-1]
            self.take(")"), self.take("returns"), self.take("(")
            streams.append(self.tokens[self.at] == "stream")
            self.at += streams[1]
            answer = self.take().split(".")[-1]
            self.take(")")
            if self.tokens[self.at] == "{":
                self.take(), self.take("}")
            else:
                self.take(";")
            self.methods[f"{name}.{method}"] = (f"/{self.package}.{name}/{method}", request, answer, tuple(streams))

    def message(self, outer):
        name = outer + self.take()
        self.take("{")
        fields, oneof = self.messages.setdefault(name, {}), None
        while True:
            word = self.take()
            if word == "}":
                if oneof is None:
                    return
                oneof = None
            elif word in ("message", "enum"):
                getattr(self, word)(name + ".")
            elif word == "oneof":
                oneof = self.take()
                self.take("{")
            elif word == "reserved" or word == "option":
                while self.take() != ";":
                    pass
            elif word != ";":
                repeated = word == "repeated"
                type = self.take() if repeated else word
                field_name = self.take()
                self.take("=")
                number = int(self.take())
                while self.take() != ";":
                    pass
                fields[number] = Field(field_name, number, type, repeated, oneof)

    def resolve(self, message, field):
        if field.type in VARINTS or field.type in ("bytes", "string"):
            field.kind = field.type
            return
        plain = field.type.split(".")[-1]
        for candidate in (f"{message}.{plain}", field.type, plain):
            if candidate in self.enums:
                field.kind, field.type = "enum", candidate
                return
            if candidate in self.messages:
                field.kind, field.type = "message", candidate
                return
        raise Malformed(f"{message}.{field.name}: there is no type {field.type}")

    def encode(self, message, value):
        """A message of a dictionary; numbers for enums, whatever they are; lists for what is repeated."""
        out = []
        known = self.by_name[message]
        for name, item in value.items():
            field = known[name]
            for one in item if field.repeated else (item,):
                if field.kind == "message":
                    body = self.encode(field.type, one)
                elif field.kind == "bytes":
                    body = one
                elif field.kind == "string":
                    body = one.encode()
                else:
                    out.append(varint(field.number << 3) + varint(int(one)))
                    continue
                out.append(varint(field.number << 3 | 2) + varint(len(body)) + body)
        return b"".join(out)

    def decode(self, message, data):
        """Every field, those of a default value left out (but in a oneof); unknown ones by number, as `?9`."""
        out, at, known = {}, 0, self.messages[message]
        while at < len(data):
            tag, at = read_varint(data, at)
            number, wire, field = tag >> 3, tag & 7, known.get(tag >> 3)
            if wire == 0:
                value, at = read_varint(data, at)
            elif wire == 2:
                length, at = read_varint(data, at)
                value, at = data[at : at + length], at + length
                if at > len(data):
                    raise Malformed(f"{message}: field {number} is longer than the message")
            else:
                raise Malformed(f"{message}: wire type {wire}")
            self.keep(out, field, number, wire, value)
        return out

    def keep(self, out, field, number, wire, value):
        if field is None:
            out.setdefault(f"?{number}", []).append(value)
            return
        if wire == 2 and field.repeated and (field.kind in VARINTS or field.kind == "enum"):
            at, packed = 0, out.setdefault(field.name, [])
            while at < len(value):
                one, at = read_varint(value, at)
                packed.append(self.scalar(field, one))
            return
        if (wire == 2) != (field.kind in ("message", "bytes", "string")):
            raise Malformed(f"field {field.name} has wire type {wire}")
        value = self.scalar(field, value)
        if field.repeated:
            out.setdefault(field.name, []).append(value)
        elif field.kind == "message" or field.oneof or value:
            out[field.name] = value

    def scalar(self, field, value):
        if field.kind == "message":
            return self.decode(field.type, value)
        if field.kind == "string":
            return value.decode("utf-8", "replace")
        if field.kind == "bool":
            return value != 0
        if field.kind in ("int64", "int32", "enum"):
            return value - (1 << 64) if value >> 63 else value
        return value
