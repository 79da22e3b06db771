// io_uring for the reactor: one ring per thread, multishot accept and receive, a ring of provided buffers.
// Flags that liburing 2.3 knows; the kernel (6.1 on) decides at set-up what it grants.
#pragma once
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

struct nt_reactor_ring {
  struct io_uring ring;
  struct io_uring_buf_ring *_Nullable buffer_ring;
  uint8_t *_Nullable buffers;
  uint32_t buffer_count;
  uint32_t buffer_size;
  /// Buffers added to the ring's tail and not yet shown to the kernel.
  uint32_t returned;
};

/// A completion, copied out.
struct nt_completion {
  uint64_t data;
  int32_t result;
  uint32_t flags;
};

static inline void nt_ring_close(struct nt_reactor_ring *_Nonnull r) {
  if (r->ring.ring_fd >= 0) io_uring_queue_exit(&r->ring);
  if (r->buffer_ring) munmap(r->buffer_ring, r->buffer_count * sizeof(struct io_uring_buf));
  if (r->buffers) munmap(r->buffers, (size_t)r->buffer_count * r->buffer_size);
  r->buffer_ring = NULL;
  r->buffers = NULL;
}

static inline void nt_ring_return_buffer(struct nt_reactor_ring *_Nonnull r, uint32_t id) {
  io_uring_buf_ring_add(r->buffer_ring, r->buffers + (size_t)id * r->buffer_size, r->buffer_size, (unsigned short)id,
                        io_uring_buf_ring_mask(r->buffer_count), (int)r->returned++);
}

/// Shows the returned buffers to the kernel.
static inline void nt_ring_publish_buffers(struct nt_reactor_ring *_Nonnull r) {
  if (r->returned) io_uring_buf_ring_advance(r->buffer_ring, (int)r->returned);
  r->returned = 0;
}

/// Sets the ring up with its buffers (a power of two of them); 0 or -errno, and then nothing is left open.
/// SINGLE_ISSUER and DEFER_TASKRUN, or on older kernels COOP_TASKRUN: without them completions interrupt the thread and
/// io_uring loses to epoll. SINGLE_ISSUER binds the ring to the thread that calls this.
static inline int nt_ring_open(struct nt_reactor_ring *_Nonnull r, unsigned entries, unsigned completions,
                               uint32_t buffer_count, uint32_t buffer_size) {
  static const unsigned wishes[2] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN};
  int rc = -EINVAL;
  memset(r, 0, sizeof *r);
  for (int i = 0; i < 2 && rc == -EINVAL; i++) {
    struct io_uring_params p;
    memset(&p, 0, sizeof p);
    p.flags = wishes[i] | IORING_SETUP_CQSIZE;
    p.cq_entries = completions;
    rc = io_uring_queue_init_params(entries, &r->ring, &p);
    if (rc == 0 && !(p.features & IORING_FEAT_EXT_ARG && p.features & IORING_FEAT_NODROP)) {
      io_uring_queue_exit(&r->ring);
      rc = -EOPNOTSUPP;
    }
  }
  if (rc < 0) {
    r->ring.ring_fd = -1;
    return rc;
  }
  r->buffer_count = buffer_count;
  r->buffer_size = buffer_size;
  size_t ring_bytes = buffer_count * sizeof(struct io_uring_buf);
  void *ring_memory = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (ring_memory != MAP_FAILED) r->buffer_ring = (struct io_uring_buf_ring *)ring_memory;
  void *memory =
      mmap(NULL, (size_t)buffer_count * buffer_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory != MAP_FAILED) r->buffers = (uint8_t *)memory;
  if (!r->buffer_ring || !r->buffers) {
    nt_ring_close(r);
    return -ENOMEM;
  }
  struct io_uring_buf_reg registration;
  memset(&registration, 0, sizeof registration);
  registration.ring_addr = (uintptr_t)r->buffer_ring;
  registration.ring_entries = buffer_count;
  registration.bgid = 0;
  rc = io_uring_register_buf_ring(&r->ring, &registration, 0);
  if (rc < 0) {
    nt_ring_close(r);
    return rc;
  }
  io_uring_buf_ring_init(r->buffer_ring);
  for (uint32_t i = 0; i < buffer_count; i++) nt_ring_return_buffer(r, i);
  nt_ring_publish_buffers(r);
  io_uring_register_ring_fd(&r->ring);
  return 0;
}

static inline uint8_t *_Nonnull nt_ring_buffer(struct nt_reactor_ring *_Nonnull r, uint32_t id) {
  return r->buffers + (size_t)id * r->buffer_size;
}

/// A free submission entry; a full queue is submitted first. NULL only when the kernel takes none now.
static inline struct io_uring_sqe *_Nullable nt_ring_entry(struct nt_reactor_ring *_Nonnull r) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&r->ring);
  if (entry) return entry;
  io_uring_submit(&r->ring);
  return io_uring_get_sqe(&r->ring);
}

// Each queues one operation: 0, or -EBUSY when the queue is full and the kernel takes none of it now.
static inline int nt_ring_accept(struct nt_reactor_ring *_Nonnull r, int listener, uint64_t data) {
  struct io_uring_sqe *entry = nt_ring_entry(r);
  if (!entry) return -EBUSY;
  io_uring_prep_multishot_accept(entry, listener, NULL, NULL, SOCK_CLOEXEC);
  entry->user_data = data;
  return 0;
}

static inline int nt_ring_receive(struct nt_reactor_ring *_Nonnull r, int fd, uint64_t data) {
  struct io_uring_sqe *entry = nt_ring_entry(r);
  if (!entry) return -EBUSY;
  io_uring_prep_recv_multishot(entry, fd, NULL, 0, 0);
  entry->flags |= IOSQE_BUFFER_SELECT;
  entry->buf_group = 0;
  entry->user_data = data;
  return 0;
}

/// The kernel finishes the whole send itself (MSG_WAITALL) unless the connection breaks.
static inline int nt_ring_send(struct nt_reactor_ring *_Nonnull r, int fd, const void *_Nonnull bytes, size_t count,
                               uint64_t data) {
  struct io_uring_sqe *entry = nt_ring_entry(r);
  if (!entry) return -EBUSY;
  io_uring_prep_send(entry, fd, bytes, count, MSG_NOSIGNAL | MSG_WAITALL);
  entry->user_data = data;
  return 0;
}

static inline int nt_ring_poll(struct nt_reactor_ring *_Nonnull r, int fd, uint64_t data) {
  struct io_uring_sqe *entry = nt_ring_entry(r);
  if (!entry) return -EBUSY;
  io_uring_prep_poll_multishot(entry, fd, POLLIN);
  entry->user_data = data;
  return 0;
}

/// Cancels the operation queued with `target`.
static inline int nt_ring_cancel(struct nt_reactor_ring *_Nonnull r, uint64_t target, uint64_t data) {
  struct io_uring_sqe *entry = nt_ring_entry(r);
  if (!entry) return -EBUSY;
  io_uring_prep_cancel64(entry, target, 0);
  entry->user_data = data;
  return 0;
}

/// Submits what is queued and waits for one completion at most so long (0 = not at all). 0 or -errno.
static inline int nt_ring_wait(struct nt_reactor_ring *_Nonnull r, int timeout_ms) {
  struct io_uring_cqe *first = NULL;
  struct __kernel_timespec time = {.tv_sec = timeout_ms / 1000, .tv_nsec = (timeout_ms % 1000) * 1000000ll};
  int rc = timeout_ms > 0 ? io_uring_submit_and_wait_timeout(&r->ring, &first, 1, &time, NULL)
                          : io_uring_submit_and_get_events(&r->ring);
  return rc == -ETIME || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY || rc >= 0 ? 0 : rc;
}

/// Completions [head, tail) are there to be read.
static inline uint32_t nt_ring_head(struct nt_reactor_ring *_Nonnull r) { return *r->ring.cq.khead; }
static inline uint32_t nt_ring_tail(struct nt_reactor_ring *_Nonnull r) {
  return io_uring_smp_load_acquire(r->ring.cq.ktail);
}
static inline struct nt_completion nt_ring_completion(struct nt_reactor_ring *_Nonnull r, uint32_t at) {
  struct io_uring_cqe *c = &r->ring.cq.cqes[at & *r->ring.cq.kring_mask];
  struct nt_completion copy = {c->user_data, c->res, c->flags};
  return copy;
}
static inline void nt_ring_advance(struct nt_reactor_ring *_Nonnull r, uint32_t count) {
  io_uring_cq_advance(&r->ring, count);
}
