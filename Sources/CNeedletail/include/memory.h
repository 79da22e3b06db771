// Memory: prefetch, compiler fences, membarrier, hardware crc32c.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline void nt_prefetch(const void *_Nonnull address) { __builtin_prefetch(address, 0, 3); }

/// Orders loads and stores for the compiler only: the processor's half is membarrier's job.
static inline void nt_compiler_fence(void) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

/// Registers the process for private expedited membarriers. 0, or -1 where the kernel or a sandbox refuses.
static inline int nt_membarrier_register(void) { return (int)syscall(SYS_membarrier, 1 << 4, 0, 0); }

/// Every running thread of this process passes a full barrier before this returns.
static inline int nt_membarrier(void) { return (int)syscall(SYS_membarrier, 1 << 3, 0, 0); }

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static inline uint32_t nt_crc32c_hw(uint32_t crc, const void *_Nonnull p, size_t n) {
  const uint8_t *b = (const uint8_t *)p;
  uint64_t c = ~crc;
  while (n >= 8) {
    uint64_t w;
    memcpy(&w, b, 8);
    c = __builtin_ia32_crc32di(c, w);
    b += 8;
    n -= 8;
  }
  while (n--) c = __builtin_ia32_crc32qi((uint32_t)c, *b++);
  return ~(uint32_t)c;
}
#endif

/// Bitwise CRC-32C, for processors without the instruction.
static inline uint32_t nt_crc32c_soft(uint32_t crc, const void *_Nonnull p, size_t n) {
  const uint8_t *b = (const uint8_t *)p;
  uint32_t c = ~crc;
  while (n--) {
    c ^= *b++;
    for (int i = 0; i < 8; i++) c = (c >> 1) ^ (0x82F63B78u & (0u - (c & 1)));
  }
  return ~c;
}

/// CRC-32C (Castagnoli) of n bytes, continuing from `crc` (0 to begin).
static inline uint32_t nt_crc32c(uint32_t crc, const void *_Nonnull p, size_t n) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return nt_crc32c_hw(crc, p, n);
#endif
  return nt_crc32c_soft(crc, p, n);
}
