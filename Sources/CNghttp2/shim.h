// nghttp2: HTTP/2 sessions, and what of it Swift can't say: header fields with constant strings, a provider's union.
#pragma once
// With __USE_XOPEN, fd_set's member would be named otherwise than in the Glibc module, and Swift refuses a file that sees
// both.
#include <features.h>
#pragma push_macro("__USE_XOPEN")
#undef __USE_XOPEN
#include <sys/types.h>
#include <sys/select.h>
#pragma pop_macro("__USE_XOPEN")
#include <nghttp2/nghttp2.h>

/// A header field whose bytes outlive its frame, where `is_constant`; otherwise nghttp2 copies them.
static inline nghttp2_nv nt_h2_field(
    const void *name, size_t name_count, const void *value, size_t value_count, int is_constant) {
  nghttp2_nv field = {(uint8_t *)name, (uint8_t *)value, name_count, value_count, NGHTTP2_NV_FLAG_NO_COPY_NAME};
  if (is_constant) field.flags |= NGHTTP2_NV_FLAG_NO_COPY_VALUE;
  return field;
}

/// An answer's head; its data are asked of `read` with `stream` as their source.
static inline int nt_h2_submit_answer(
    nghttp2_session *session, int32_t id, const nghttp2_nv *fields, size_t count, void *stream,
    nghttp2_data_source_read_callback read) {
  nghttp2_data_provider provider;
  provider.source.ptr = stream;
  provider.read_callback = read;
  return nghttp2_submit_response(session, id, fields, count, &provider);
}

/// The same without data: the head ends the stream.
static inline int nt_h2_submit_end(nghttp2_session *session, int32_t id, const nghttp2_nv *fields, size_t count) {
  return nghttp2_submit_response(session, id, fields, count, NULL);
}

static inline void *nt_h2_source(const nghttp2_data_source *source) { return source->ptr; }
static inline uint8_t nt_h2_type(const nghttp2_frame *frame) { return frame->hd.type; }
static inline uint8_t nt_h2_flags(const nghttp2_frame *frame) { return frame->hd.flags; }
static inline int32_t nt_h2_stream(const nghttp2_frame *frame) { return frame->hd.stream_id; }
static inline int nt_h2_is_request(const nghttp2_frame *frame) {
  return frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
}
