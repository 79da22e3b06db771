#!/usr/bin/env python3
"""A client that knows nothing of etcd's messages (grpcio with its reflection package) finds out what there is and calls it; what it is
told is what proto/*.proto say.

usage: reflection.py [--server .build/release/needletail]
"""

import argparse
import os
import subprocess
import sys

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

from peers import stores
from peers.protobuf import Schema

try:
    import grpc
    from google.protobuf import descriptor_pool, message_factory
    from google.protobuf.descriptor import FieldDescriptor
    from grpc_reflection.v1alpha import reflection_pb2
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
except ModuleNotFoundError as missing:
    print(f"reflection.py: skipped: there is no Python package {missing.name} ({sys.executable}); `make deps-test` installs it")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
KINDS = {FieldDescriptor.TYPE_ENUM: "enum", FieldDescriptor.TYPE_MESSAGE: "message"} | {
    getattr(FieldDescriptor, "TYPE_" + kind.upper()): kind for kind in ("int64", "int32", "uint64", "uint32", "bool", "bytes", "string")
}
results = []


def check(is_right, what, seen=None):
    results.append(bool(is_right))
    if not is_right:
        print(f"failed: {what}: {seen!r}")


def shape(message):
    """Fields as the schema has them."""
    return {f.number: (f.name, KINDS.get(f.type), f.label == f.LABEL_REPEATED) for f in message.fields}


def compare(pool, services):
    """Every service, method and message of proto/*.proto is told of, and none is told otherwise."""
    schema, seen = Schema(), set()
    for path, request, answer, streams in schema.methods.values():
        service, method = path[1:].split("/")
        check(service in services, f"{service} is listed", services)
        told = pool.FindServiceByName(service).methods_by_name.get(method)
        check(told and (told.input_type.name, told.output_type.name) == (request, answer), path, told and told.full_name)
        waiting = [told.input_type, told.output_type]
        while waiting:
            message = waiting.pop()
            if message.full_name in seen:
                continue
            seen.add(message.full_name)
            name = message.full_name.removeprefix(message.file.package + ".")
            wanted = {n: (f.name, f.kind, f.repeated) for n, f in schema.messages[name].items()}
            check(shape(message) == wanted, message.full_name, shape(message))
            waiting += [f.message_type for f in message.fields if f.message_type]
    check(len(seen) > 70, "messages compared", len(seen))


def call(channel, pool):
    """A put and a range by the names alone."""
    factory = message_factory.MessageFactory(pool)
    service = pool.FindServiceByName("etcdserverpb.KV")

    def run(method, **fields):
        told = service.methods_by_name[method]
        request, answer = (factory.GetPrototype(one) for one in (told.input_type, told.output_type))
        stub = channel.unary_unary(
            f"/etcdserverpb.KV/{method}", request_serializer=request.SerializeToString, response_deserializer=answer.FromString
        )
        return stub(request(**fields), timeout=20)

    run("Put", key=b"told", value=b"by reflection")
    found = run("Range", key=b"told")
    check([pair.value for pair in found.kvs] == [b"by reflection"], "a value put and read", found)


def newer(channel, services):
    """The same messages under the service's later name."""
    stub = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    questions = [
        reflection_pb2.ServerReflectionRequest(host="x", list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="etcdserverpb.Nope"),
    ]
    listed, missing = stub(iter(questions), timeout=20)
    check([one.name for one in listed.list_services_response.service] == sorted(services), "v1 lists the same", listed)
    check(listed.valid_host == "x" and listed.original_request == questions[0], "v1 repeats the question", listed)
    check(missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0], "v1 does not know", missing)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=os.path.join(ROOT, ".build", "release", "needletail"))
    options = parser.parse_args()
    fresh = subprocess.run([os.path.join(ROOT, ".ci", "descriptors"), "--check"], capture_output=True, text=True, timeout=60)
    check(fresh.returncode == 0, "the descriptors are those of proto/", fresh.stderr)
    with stores.Store(options.server) as store, grpc.insecure_channel(f"127.0.0.1:{store.port}") as channel:
        told = ProtoReflectionDescriptorDatabase(channel)
        services = list(told.get_services())
        pool = descriptor_pool.DescriptorPool(told)
        compare(pool, services)
        call(channel, pool)
        newer(channel, services)
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20)
        check(next(watch) == b"\x08\x01", "health is watched")
        watch.cancel()
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
