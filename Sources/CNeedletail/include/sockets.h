// Sockets, epoll and eventfd. Every call returns -errno instead of setting errno, and retries EINTR itself.
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static inline int nt_set_blocking(int fd, int blocking) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  return fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/// A listening stream socket on the address, or -errno.
static inline int nt_listen(const struct sockaddr *_Nonnull address, socklen_t length, int backlog) {
  int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, error;
  if (fd < 0) return -errno;
  if (address->sa_family != AF_UNIX) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (address->sa_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
  if (bind(fd, address, length) == 0 && listen(fd, backlog) == 0) return fd;
  error = errno;
  close(fd);
  return -error;
}

/// A unix socket's address; -ENAMETOOLONG when the path does not fit.
static inline int nt_unix_address(struct sockaddr_un *_Nonnull address, const char *_Nonnull path) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  if (strlen(path) >= sizeof address->sun_path) return -ENAMETOOLONG;
  strcpy(address->sun_path, path);
  return 0;
}

/// A listening unix socket. A socket file that nobody listens on any more is replaced, one in use is EADDRINUSE.
static inline int nt_listen_unix(const char *_Nonnull path, int backlog) {
  struct sockaddr_un address;
  struct stat status;
  int rc = nt_unix_address(&address, path);
  if (rc < 0) return rc;
  if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode)) {
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) return -errno;
    int refused = connect(probe, (struct sockaddr *)&address, sizeof address) < 0 && errno == ECONNREFUSED;
    close(probe);
    if (refused) unlink(path);
  }
  return nt_listen((struct sockaddr *)&address, sizeof address, backlog);
}

/// The port a listening TCP socket got, 0 for others.
static inline int nt_local_port(int fd) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) return 0;
  if (address.ss_family == AF_INET) return ntohs(((struct sockaddr_in *)&address)->sin_port);
  if (address.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
  return 0;
}

/// The path of a unix socket's listener, ended by a zero byte; its length, 0 for others.
static inline int nt_local_path(int fd, char *_Nonnull text, int size) {
  struct sockaddr_un address;
  socklen_t length = sizeof address;
  memset(&address, 0, sizeof address);
  if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 || address.sun_family != AF_UNIX) return 0;
  int count = (int)strnlen(address.sun_path, sizeof address.sun_path);
  if (count >= size) return 0;
  memcpy(text, address.sun_path, (size_t)count);
  text[count] = 0;
  return count;
}

/// Answers leave at once, and a peer that vanished without a word is noticed after about a minute.
/// Harmless errors on unix sockets are ignored.
static inline void nt_tune_stream(int fd) {
  int one = 1, idle = 30, interval = 10, count = 3;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

static inline int nt_accept(int listener) {
  int fd;
  do fd = (int)syscall(SYS_accept4, listener, NULL, NULL, SOCK_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  return fd < 0 ? -errno : fd;
}

/// Bytes received, 0 at the end of the stream, or -errno; never blocks.
static inline long nt_receive(int fd, void *_Nonnull bytes, size_t count) {
  ssize_t n;
  do n = recv(fd, bytes, count, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

/// Bytes sent or -errno; never blocks, never raises SIGPIPE.
static inline long nt_send(int fd, const void *_Nonnull bytes, size_t count) {
  ssize_t n;
  do n = send(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

static inline int nt_epoll_create(void) {
  int fd = epoll_create1(EPOLL_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static inline int nt_epoll_add(int ep, int fd, uint32_t events, uint64_t data) {
  struct epoll_event event = {.events = events, .data.u64 = data};
  return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static inline int nt_epoll_modify(int ep, int fd, uint32_t events, uint64_t data) {
  struct epoll_event event = {.events = events, .data.u64 = data};
  return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &event) < 0 ? -errno : 0;
}

static inline int nt_epoll_remove(int ep, int fd) {
  struct epoll_event event = {0};
  return epoll_ctl(ep, EPOLL_CTL_DEL, fd, &event) < 0 ? -errno : 0;
}

/// Events, 0 after the time-out or a signal, or -errno.
static inline int nt_epoll_wait(int ep, struct epoll_event *_Nonnull events, int count, int timeout_ms) {
  int n = epoll_wait(ep, events, count, timeout_ms);
  if (n < 0) return errno == EINTR ? 0 : -errno;
  return n;
}

static inline int nt_eventfd(void) {
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd < 0 ? -errno : fd;
}

/// Wakes whoever polls the eventfd; a counter already at its maximum has woken it anyway.
static inline void nt_eventfd_signal(int fd) {
  uint64_t one = 1;
  while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

static inline void nt_eventfd_drain(int fd) {
  uint64_t count;
  while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {
  }
}

/// The other end as text: address:port, a path, or "unix". Returns its length.
static inline int nt_peer_name(int fd, char *_Nonnull text, int size) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  char host[INET6_ADDRSTRLEN] = "?";
  if (getpeername(fd, (struct sockaddr *)&address, &length) < 0) return snprintf(text, (size_t)size, "gone");
  if (address.ss_family == AF_INET) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
    return snprintf(text, (size_t)size, "%s:%d", host, ntohs(v4->sin_port));
  }
  if (address.ss_family == AF_INET6) {
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
    return snprintf(text, (size_t)size, "[%s]:%d", host, ntohs(v6->sin6_port));
  }
  return snprintf(text, (size_t)size, "unix");
}

/// Monotonic clock in nanoseconds.
static inline uint64_t nt_nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/// Monotonic clock in milliseconds at the kernel's tick: cheap, a few milliseconds coarse.
static inline uint64_t nt_coarse_milliseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return (uint64_t)t.tv_sec * 1000ull + (uint64_t)t.tv_nsec / 1000000ull;
}

// Counters with one writing thread and readers on others: a relaxed load and store is enough, and no data race.
static inline void nt_counter_add(uint64_t *_Nonnull counter, uint64_t n) {
  __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}
static inline uint64_t nt_counter_read(const uint64_t *_Nonnull counter) {
  return __atomic_load_n(counter, __ATOMIC_RELAXED);
}
