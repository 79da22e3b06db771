// Threads: what Swift's overlay hides.
#pragma once
#include <sys/prctl.h>

/// Names the calling thread in /proc and debuggers; the kernel keeps 15 bytes.
static inline void nt_name_thread(const char *_Nonnull name) { prctl(PR_SET_NAME, name, 0, 0, 0); }
