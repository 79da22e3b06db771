// LMDB 0.9, a peer of the engine benchmark.
#pragma once
#include <lmdb.h>
