// RocksDB through its C interface, a peer of the engine benchmark.
#pragma once
#include <rocksdb/c.h>
