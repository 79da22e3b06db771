// io_uring for the write-ahead log: a handful of durable writes in flight, nothing else.
#pragma once
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NT_WAL_RWF_DSYNC 0x00000002

/// Makes a ring that is not yet enabled: whoever enables it is its single issuer, so that the thread which opens the
/// log need not be the one that runs it. 0 or -errno.
static inline int nt_wal_ring_open(struct io_uring *_Nonnull ring, unsigned entries) {
  struct io_uring_params parameters;
  memset(&parameters, 0, sizeof parameters);
  parameters.flags = IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER;
  int result = io_uring_queue_init_params(entries, ring, &parameters);
  if (result != -EINVAL) return result;
  // Kernels before 6.0 know no single issuer.
  memset(&parameters, 0, sizeof parameters);
  parameters.flags = IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;
  return io_uring_queue_init_params(entries, ring, &parameters);
}

/// What io_uring_enable_rings does: liburing 2.3 declares that function but does not export it. 0 or -errno.
static inline int nt_wal_ring_enable(struct io_uring *_Nonnull ring) {
  long result = syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
  return result < 0 ? -errno : 0;
}

/// Puts `descriptor` in the ring's one registered slot. 0 or -errno.
static inline int nt_wal_ring_use_file(struct io_uring *_Nonnull ring, int descriptor, int first) {
  int result = first ? io_uring_register_files(ring, &descriptor, 1)
                     : io_uring_register_files_update(ring, 0, &descriptor, 1);
  return result < 0 ? result : 0;
}

/// Starts one durable write. `buffer` is the index of the registered buffer that holds `bytes`, or -1. With
/// `registered_file` the file is the registered one, else `descriptor`. 0 or -errno; 0 means the kernel took it.
static inline int nt_wal_ring_write(struct io_uring *_Nonnull ring, int descriptor, int registered_file,
                                    const void *_Nonnull bytes, unsigned count, uint64_t offset, int buffer,
                                    uint64_t tag) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
  if (!sqe) return -EBUSY;
  int file = registered_file ? 0 : descriptor;
  if (buffer >= 0)
    io_uring_prep_write_fixed(sqe, file, bytes, count, offset, buffer);
  else
    io_uring_prep_write(sqe, file, bytes, count, offset);
  // liburing 2.3's prep functions take no flags; they clear this field.
  sqe->rw_flags = NT_WAL_RWF_DSYNC;
  if (registered_file) io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
  io_uring_sqe_set_data64(sqe, tag);
  for (;;) {
    int result = io_uring_submit(ring);
    if (result == 1) return 0;
    if (result == -EINTR || result == -EAGAIN) continue;
    return result < 0 ? result : -EIO;
  }
}

/// Takes one completion. 1 with tag and result filled in, 0 when there is none (never with `wait`), or -errno.
static inline int nt_wal_ring_take(struct io_uring *_Nonnull ring, int wait, uint64_t *_Nonnull tag,
                                   int32_t *_Nonnull outcome) {
  struct io_uring_cqe *cqe = NULL;
  for (;;) {
    int result = wait ? io_uring_wait_cqe(ring, &cqe) : io_uring_peek_cqe(ring, &cqe);
    if (result == -EINTR) continue;
    if (result == -EAGAIN && !wait) return 0;
    if (result < 0) return result;
    if (!cqe) return 0;
    *tag = cqe->user_data;
    *outcome = cqe->res;
    io_uring_cqe_seen(ring, cqe);
    return 1;
  }
}
