"""What the tests against etcd share: etcd's messages, a light gRPC client, stores of both kinds, and random programs."""
