// SPDX-License-Identifier: Apache-2.0
#include "copy.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace hal::host {

namespace {

// Eight bytes, repeated over whole blocks of 64; what is left behind them is the caller's. -O2 makes of this the widest
// stores that the function is compiled for.
template <std::size_t kWide>
[[gnu::always_inline]] inline void fill_blocks(std::byte* to, std::size_t blocks, std::uint64_t pattern) {
  typedef std::uint64_t Vector __attribute__((vector_size(kWide), aligned(1), may_alias));
  const Vector value = Vector{} + pattern;
  for (; blocks > 0; --blocks, to += 64) {
    for (std::size_t at = 0; at < 64; at += kWide) { *reinterpret_cast<Vector*>(to + at) = value; }
  }
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] void fill_blocks_avx2(std::byte* to, std::size_t blocks, std::uint64_t pattern) {
  fill_blocks<32>(to, blocks, pattern);
}
#endif

void fill_blocks_any(std::byte* to, std::size_t blocks, std::uint64_t pattern) { fill_blocks<16>(to, blocks, pattern); }

using FillBlocks = void (*)(std::byte*, std::size_t, std::uint64_t);

FillBlocks best_fill() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) { return fill_blocks_avx2; }
#endif
  return fill_blocks_any;
}

const FillBlocks kFillBlocks = best_fill();

// Any pattern is eight bytes wide after repeating it.
std::uint64_t eight_bytes_of(std::uint64_t pattern, std::uint64_t pattern_bytes) {
  if (pattern_bytes == 1) { return (pattern & 0xffU) * 0x0101010101010101U; }
  if (pattern_bytes == 2) { return (pattern & 0xffffU) * 0x0001000100010001U; }
  if (pattern_bytes == 4) { return (pattern & 0xffffffffU) * 0x0000000100000001U; }
  return pattern;
}

#if defined(__x86_64__)
// The processor's own loop, which from some size on needs not read what it overwrites. Where it is made to be fast.
bool has_fast_strings() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & (1U << 9U)) != 0;
}

const bool kFastStrings = has_fast_strings();

void fill_blocks_string(std::byte* to, std::size_t blocks, std::uint64_t pattern) {
  std::size_t eights = blocks * 8;
  asm volatile("rep stosq" : "+D"(to), "+c"(eights) : "a"(pattern) : "memory");
}

void fill_blocks_past_caches(std::byte* to, std::size_t blocks, std::uint64_t pattern) {
  const __m128i value = _mm_set1_epi64x(static_cast<long long>(pattern));
  for (; blocks > 0; --blocks, to += 64) {
    for (std::size_t at = 0; at < 64; at += 16) { _mm_stream_si128(reinterpret_cast<__m128i*>(to + at), value); }
  }
  _mm_sfence();  // such stores are ordered by nothing else, and the command will be published
}
#endif

void fill_eights(std::byte* to, std::size_t bytes, std::uint64_t pattern) {
  const std::size_t blocks = bytes / 64;
  kFillBlocks(to, blocks, pattern);
  to += blocks * 64;
  for (bytes %= 64; bytes >= 8; bytes -= 8, to += 8) { std::memcpy(to, &pattern, 8); }
  std::memcpy(to, &pattern, bytes);
}

// The blocks at multiples of 64.
void fill_aligned(std::byte* to, std::size_t bytes, std::uint64_t pattern, FillBlocks blocks) {
  const std::size_t head = std::min<std::size_t>(bytes, -reinterpret_cast<std::uintptr_t>(to) & 63U);
  fill_eights(to, head, pattern);
  to += head, bytes -= head;
  pattern = std::rotr(pattern, static_cast<int>(head % 8 * 8));  // its byte that comes next is the lowest
  const std::size_t whole = bytes & ~std::size_t{63};
  blocks(to, whole / 64, pattern);
  fill_eights(to + whole, bytes - whole, pattern);
}

// ------------------------------------------------------------------------------------------------------------- threads

// From these sizes on; measured, see docs/performance.md.
constexpr std::size_t kStringFill = 64U << 10U;
constexpr std::size_t kLeastAhead = 32U << 10U, kMostAhead = 256U << 10U;
constexpr std::size_t kSharedCopy = 4U << 20U, kSharedFill = 8U << 20U;
constexpr std::size_t kPastCachesCopy = 16U << 20U, kPastCachesFill = 32U << 20U;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPiece = 256U << 10U;  // what a thread takes at a time: some 15 us
constexpr std::size_t kMostThreads = 8;      // a few of them saturate a memory

// Idle threads of the pool take part in `work` on the pieces of a range. Each begins in a part of its own, so that who
// does the same again finds what is in its caches, and then helps with the parts of the others.
template <class Work>
void share(kit::LanePool& pool, const std::byte* to, std::size_t bytes, const Work& work) {
  // Pieces end where pages do, and where a pattern does.
  const std::size_t skew = reinterpret_cast<std::uintptr_t>(to) % kPage & ~std::size_t{7};
  const std::size_t pieces = (skew + bytes + kPiece - 1) / kPiece;
  const std::size_t parts = std::min({std::size_t{pool.threads()}, kMostThreads, pieces});
  struct alignas(64) Part {
    std::atomic<std::size_t> next{0};
    std::size_t end = 0;
  };
  std::array<Part, kMostThreads> all;
  for (std::size_t i = 0; i < parts; ++i) {
    all[i].next.store(pieces * i / parts, std::memory_order_relaxed);
    all[i].end = pieces * (i + 1) / parts;
  }
  pool.parallel(parts, [&](std::uint64_t own) {
    for (std::size_t turn = 0; turn < parts; ++turn) {
      Part& part = all[(own + turn) % parts];
      for (std::size_t i = 0; (i = part.next.fetch_add(1, std::memory_order_relaxed)) < part.end;) {
        const std::size_t begin = i == 0 ? 0 : i * kPiece - skew, end = std::min(bytes, (i + 1) * kPiece - skew);
        work(begin, end - begin);
      }
    }
  });
}

}  // namespace

void fill_past_caches(std::byte* to, std::size_t bytes, std::uint64_t pattern, std::uint64_t pattern_bytes) {
  pattern = eight_bytes_of(pattern, pattern_bytes);
#if defined(__x86_64__)
  fill_aligned(to, bytes, pattern, fill_blocks_past_caches);
#else
  fill_eights(to, bytes, pattern);
#endif
}

void fill_bytes(std::byte* to, std::size_t bytes, std::uint64_t pattern, std::uint64_t pattern_bytes) {
  pattern = eight_bytes_of(pattern, pattern_bytes);
#if defined(__x86_64__)
  if (bytes >= kStringFill && kFastStrings) { return fill_aligned(to, bytes, pattern, fill_blocks_string); }
#endif
  fill_eights(to, bytes, pattern);
}

#if defined(__x86_64__)
namespace {

// Whole pages, `Pages` at once; returns how many bytes it has done.
template <std::size_t Pages>
std::size_t copy_pages_past_caches(std::byte* to, const std::byte* from, std::size_t bytes) {
  std::size_t done = 0;
  for (; bytes - done >= Pages * kPage; done += Pages * kPage) {
    for (std::size_t line = 0; line < kPage; line += 64) {
      for (std::size_t page = 0; page < Pages; ++page) {
        const std::byte* source = from + done + page * kPage + line;
        std::byte* target = to + done + page * kPage + line;
        for (std::size_t at = 0; at < 64; at += 16) {
          __m128i value;
          std::memcpy(&value, source + at, sizeof value);
          _mm_stream_si128(reinterpret_cast<__m128i*>(target + at), value);
        }
      }
    }
  }
  return done;
}

// Four pages are four streams to Intel's prefetcher. On AMD (family 25) that is seven times slower than one.
const auto kCopyPagesPastCaches = __builtin_cpu_is("amd") ? copy_pages_past_caches<1> : copy_pages_past_caches<4>;

}  // namespace
#endif

void copy_past_caches(std::byte* to, const std::byte* from, std::size_t bytes) {
#if defined(__x86_64__)
  const std::size_t head = std::min<std::size_t>(bytes, -reinterpret_cast<std::uintptr_t>(to) & (kPage - 1));
  std::memcpy(to, from, head);
  to += head, from += head, bytes -= head;
  const std::size_t done = kCopyPagesPastCaches(to, from, bytes);
  to += done, from += done, bytes -= done;
  _mm_sfence();  // such stores are ordered by nothing else, and the command will be published
#endif
  std::memcpy(to, from, bytes);
}

namespace {

#if defined(__x86_64__)
// Asks for the lines of the target some time before it writes them.
[[gnu::target("avx512f,prfchw")]] void copy_ahead(std::byte* to, const std::byte* from, std::size_t bytes) {
  constexpr std::size_t kStep = 128, kAhead = 512;
  for (; bytes >= kStep; bytes -= kStep, to += kStep, from += kStep) {
    __builtin_prefetch(to + kAhead, 1);
    __builtin_prefetch(to + kAhead + 64, 1);
    const __m512i low = _mm512_loadu_si512(from), high = _mm512_loadu_si512(from + 64);
    _mm512_storeu_si512(to, low);
    _mm512_storeu_si512(to + 64, high);
  }
  std::memcpy(to, from, bytes);
}

bool can_copy_ahead() {
  constexpr unsigned kPrefetchForWriting = 1U << 8U;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __builtin_cpu_supports("avx512f") != 0 && __get_cpuid(0x80000001, &a, &b, &c, &d) != 0 &&
         (c & kPrefetchForWriting) != 0;
}

const bool kCopiesAhead = can_copy_ahead();
#endif

}  // namespace

void copy_within_caches(std::byte* to, const std::byte* from, std::size_t bytes) {
#if defined(__x86_64__)
  if (kCopiesAhead) { return copy_ahead(to, from, bytes); }
#endif
  std::memcpy(to, from, bytes);
}

// Apart from the small ones, which need no frame.
namespace {

[[gnu::noinline]] void copy_large(kit::LanePool& pool, std::byte* to, const std::byte* from, std::size_t bytes) {
  if (bytes <= kMostAhead) { return copy_within_caches(to, from, bytes); }
  if (bytes < kSharedCopy) {
    std::memcpy(to, from, bytes);
    return;
  }
  const bool past_caches = bytes >= kPastCachesCopy;
  share(pool, to, bytes, [&](std::size_t begin, std::size_t size) {
    if (past_caches) {
      copy_past_caches(to + begin, from + begin, size);
    } else {
      std::memcpy(to + begin, from + begin, size);
    }
  });
}

[[gnu::noinline]] void fill_large(kit::LanePool& pool, std::byte* to, std::size_t bytes, std::uint64_t pattern,
                                  std::uint64_t pattern_bytes) {
  if (bytes < kSharedFill) { return fill_bytes(to, bytes, pattern, pattern_bytes); }
  const bool past_caches = bytes >= kPastCachesFill;
  share(pool, to, bytes, [&](std::size_t begin, std::size_t size) {
    (past_caches ? fill_past_caches : fill_bytes)(to + begin, size, pattern, pattern_bytes);
  });
}

}  // namespace

void copy(kit::LanePool& pool, std::byte* to, const std::byte* from, std::size_t bytes) {
  if (bytes >= kLeastAhead) { return copy_large(pool, to, from, bytes); }
  std::memcpy(to, from, bytes);
}

void fill(kit::LanePool& pool, std::byte* to, std::size_t bytes, std::uint64_t pattern, std::uint64_t pattern_bytes) {
  if (bytes >= kStringFill) { return fill_large(pool, to, bytes, pattern, pattern_bytes); }
  fill_eights(to, bytes, eight_bytes_of(pattern, pattern_bytes));
}

}  // namespace hal::host
