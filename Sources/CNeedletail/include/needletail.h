// Umbrella of the header-only C shims: what Swift cannot say, as static inline functions.
// One umbrella, because SwiftPM's incremental builds notice a change of this file only.
#pragma once
#include "memory.h"
#include "heads.h"
#include "files.h"
#include "sockets.h"
#include "threads.h"
