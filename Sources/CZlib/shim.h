// zlib: requests that clients pack.
#pragma once
#include <zlib.h>

/// Ready to unpack gzip; inflateInit2 is a macro that Swift doesn't see.
static inline int nt_gunzip_begin(z_stream *stream) { return inflateInit2(stream, 16 + MAX_WBITS); }
