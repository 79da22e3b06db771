// liburing, and the static inline wrappers the WAL and the reactor call.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
// liburing 2.3's header needs these before it. With __USE_XOPEN, fd_set's member would be named otherwise than in the
// Glibc module, and Swift refuses a file that sees both.
#include <features.h>
#pragma push_macro("__USE_XOPEN")
#undef __USE_XOPEN
#include <sys/types.h>
#include <sys/select.h>
#pragma pop_macro("__USE_XOPEN")
#include <liburing.h>
#include "wal_ring.h"
#include "reactor_ring.h"
