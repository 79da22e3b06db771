// Files: the calls whose Swift overlay lacks them or loses flags.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

// Values of the Linux ABI, for headers that hide them without _GNU_SOURCE.
#define NT_RWF_DSYNC 0x00000002
#define NT_SEEK_DATA 3
#if defined(__aarch64__)
#define NT_O_DIRECT 0200000
#else
#define NT_O_DIRECT 040000
#endif

/// Opens relative to a directory; the number of the descriptor or -errno.
static inline int nt_openat(int directory, const char *_Nonnull name, int flags, unsigned mode) {
  for (;;) {
    int fd = openat(directory, name, flags | O_CLOEXEC, (mode_t)mode);
    if (fd >= 0) return fd;
    if (errno != EINTR) return -errno;
  }
}

/// pwrite of all-or-a-part; bytes written or -errno. Retries EINTR, which writes nothing.
static inline ssize_t nt_pwrite(int fd, const void *_Nonnull bytes, size_t count, int64_t offset) {
  for (;;) {
    ssize_t n = pwrite(fd, bytes, count, (off_t)offset);
    if (n >= 0) return n;
    if (errno != EINTR) return -errno;
  }
}

/// One write that is durable when it returns (RWF_DSYNC); bytes written or -errno.
static inline ssize_t nt_pwrite_dsync(int fd, const void *_Nonnull bytes, size_t count, int64_t offset) {
  struct iovec vector = {.iov_base = (void *)bytes, .iov_len = count};
  for (;;) {
    ssize_t n = syscall(SYS_pwritev2, fd, &vector, 1, (long)offset, (long)((uint64_t)offset >> 32), NT_RWF_DSYNC);
    if (n >= 0) return n;
    if (errno != EINTR) return -errno;
  }
}

/// pread; bytes read (0 at the end of the file) or -errno.
static inline ssize_t nt_pread(int fd, void *_Nonnull bytes, size_t count, int64_t offset) {
  for (;;) {
    ssize_t n = pread(fd, bytes, count, (off_t)offset);
    if (n >= 0) return n;
    if (errno != EINTR) return -errno;
  }
}

/// fsync, once: after an error Linux may forget what failed, so a second call proves nothing. 0 or -errno.
static inline int nt_fsync(int fd) { return fsync(fd) == 0 ? 0 : -errno; }
static inline int nt_fdatasync(int fd) { return fdatasync(fd) == 0 ? 0 : -errno; }

/// Reserves the blocks of a file and sets its size; where the file system cannot, sets the size alone. 0 or -errno.
static inline int nt_reserve(int fd, int64_t size) {
  for (;;) {
    if (syscall(SYS_fallocate, fd, 0, (long)0, (long)size) == 0) return 0;
    if (errno == EINTR) continue;
    if (errno != EOPNOTSUPP && errno != ENOSYS) return -errno;
    return ftruncate(fd, (off_t)size) == 0 ? 0 : -errno;
  }
}

/// The size of an open file or -errno.
static inline int64_t nt_file_size(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 ? (int64_t)status.st_size : -(int64_t)errno;
}

/// Where the next bytes begin that were ever written, at or after `offset`: `offset` itself where the file system can't tell,
/// and INT64_MAX where there are none. Bytes before it read as zeros.
static inline int64_t nt_next_data(int fd, int64_t offset) {
  off_t found = lseek(fd, offset, NT_SEEK_DATA);
  if (found >= 0) return found;
  return errno == ENXIO ? INT64_MAX : offset;
}

/// 0 or -errno.
static inline int nt_renameat(int directory, const char *_Nonnull from, const char *_Nonnull to) {
  return renameat(directory, from, directory, to) == 0 ? 0 : -errno;
}
static inline int nt_unlinkat(int directory, const char *_Nonnull name) {
  return unlinkat(directory, name, 0) == 0 ? 0 : -errno;
}

/// Fills `bytes` from the system's random source. 0 or -errno.
static inline int nt_random(void *_Nonnull bytes, size_t count) {
  uint8_t *p = (uint8_t *)bytes;
  while (count > 0) {
    ssize_t n = getrandom(p, count, 0);
    if (n < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    p += n;
    count -= (size_t)n;
  }
  return 0;
}

/// A non-blocking eventfd, or -errno.
static inline int nt_signal_open(void) {
  int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return fd >= 0 ? fd : -errno;
}
static inline void nt_signal_raise(int fd) {
  uint64_t one = 1;
  ssize_t ignored = write(fd, &one, sizeof one);
  (void)ignored;
}
static inline void nt_signal_clear(int fd) {
  uint64_t count;
  ssize_t ignored = read(fd, &count, sizeof count);
  (void)ignored;
}

/// Whether an overwrite of a file's written part needs no new space, so that a store through a mapping cannot fail for the
/// want of it: ext4 and XFS (not copy-on-write file systems, nor any we do not know).
static inline int nt_overwrites_in_place(int fd) {
  struct statfs status;
  if (fstatfs(fd, &status) != 0) return 0;
  return status.f_type == 0xEF53 || status.f_type == 0x58465342;
}
