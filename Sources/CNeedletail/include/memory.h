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

/// Copies a page to where no one will soon read all of it: past the caches, which saves reading what is overwritten and
/// keeps what readers use in them. `nt_store_fence` before anyone is told of it.
static inline void nt_store_page(void *_Nonnull to, const void *_Nonnull from, size_t n) {
#if defined(__x86_64__)
  typedef long long pair __attribute__((vector_size(16)));
  if ((((uintptr_t)to | (uintptr_t)from | n) & 15) == 0) {
    for (size_t i = 0; i < n; i += 16) {
      __builtin_nontemporal_store(*(const pair *)((const char *)from + i), (pair *)((char *)to + i));
    }
    return;
  }
#endif
  memcpy(to, from, n);
}

/// Orders `nt_store_page` before later stores.
static inline void nt_store_fence(void) {
#if defined(__x86_64__)
  __builtin_ia32_sfence();
#endif
}

#if defined(__x86_64__)
/// The crc of what lies in three lanes of `lane` bytes side by side. The instruction takes three cycles and a new one can
/// begin each cycle: one lane alone leaves two thirds of the unit idle. Multiplying by x^(8·lane − 33) and x^(16·lane − 33)
/// modulo the polynomial, which `near` and `far` are, moves a lane's crc past the bytes behind it; the instruction that
/// reduces the product does the missing 33 steps.
__attribute__((target("sse4.2,pclmul"))) static inline uint64_t nt_crc32c_lanes(
    uint64_t crc, const uint8_t *_Nonnull b, size_t lane, uint32_t near, uint32_t far) {
  uint64_t first = crc, second = 0, third = 0;
  for (size_t i = 0; i < lane; i += 8) {
    uint64_t x, y, z;
    memcpy(&x, b + i, 8);
    memcpy(&y, b + lane + i, 8);
    memcpy(&z, b + 2 * lane + i, 8);
    first = __builtin_ia32_crc32di(first, x);
    second = __builtin_ia32_crc32di(second, y);
    third = __builtin_ia32_crc32di(third, z);
  }
  typedef long long pair __attribute__((vector_size(16)));
  pair left = {(long long)first, 0}, leftBy = {(long long)far, 0};
  pair middle = {(long long)second, 0}, middleBy = {(long long)near, 0};
  pair moved = (pair)__builtin_ia32_pclmulqdq128(left, leftBy, 0) ^ (pair)__builtin_ia32_pclmulqdq128(middle, middleBy, 0);
  return __builtin_ia32_crc32di(0, (uint64_t)moved[0]) ^ third;
}

__attribute__((target("sse4.2,pclmul"))) static inline uint32_t nt_crc32c_hw(
    uint32_t crc, const void *_Nonnull p, size_t n) {
  const uint8_t *b = (const uint8_t *)p;
  uint64_t c = ~crc;
  // A page of 4 KiB is three lanes of 1,360 bytes and 12 bytes more.
  for (; n >= 3 * 1360; n -= 3 * 1360, b += 3 * 1360) c = nt_crc32c_lanes(c, b, 1360, 0x3f70cc6f, 0x5aa1f3cf);
  for (; n >= 3 * 168; n -= 3 * 168, b += 3 * 168) c = nt_crc32c_lanes(c, b, 168, 0x1b3d8f29, 0xa60ce07b);
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
  if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) return nt_crc32c_hw(crc, p, n);
#endif
  return nt_crc32c_soft(crc, p, n);
}
