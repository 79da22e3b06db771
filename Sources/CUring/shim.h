// liburing, and the static inline wrappers the WAL and the reactor call.
#pragma once
// liburing 2.3's header needs these before it.
#include <features.h>
#include <sys/types.h>
#include <sys/select.h>
#include <liburing.h>
#include "wal_ring.h"
#include "reactor_ring.h"
