// SPDX-License-Identifier: Apache-2.0
#include "copy.hpp"

#include <algorithm>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hal::host {

#if defined(__x86_64__)
namespace {

void stream(std::byte* to, const std::byte* from, std::size_t bytes) {
  // Streaming stores need an aligned target; the source may lie anywhere.
  const std::size_t head = std::min(bytes, (64U - (reinterpret_cast<std::uintptr_t>(to) & 63U)) & 63U);
  std::memcpy(to, from, head);
  to += head;
  from += head;
  bytes -= head;
  const std::size_t body = bytes & ~std::size_t{63};
  for (std::size_t at = 0; at < body; at += 64) {
    // Far enough ahead that the line has come when it is read; past the end of a page the hint does nothing.
    _mm_prefetch(reinterpret_cast<const char*>(from + at + 1024), _MM_HINT_NTA);
    const auto* in = reinterpret_cast<const __m128i*>(from + at);
    auto* out = reinterpret_cast<__m128i*>(to + at);
    const __m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1);
    const __m128i c = _mm_loadu_si128(in + 2), d = _mm_loadu_si128(in + 3);
    _mm_stream_si128(out, a);
    _mm_stream_si128(out + 1, b);
    _mm_stream_si128(out + 2, c);
    _mm_stream_si128(out + 3, d);
  }
  // Streaming stores are ordered by nothing else, and the completion counter follows.
  _mm_sfence();
  std::memcpy(to + body, from + body, bytes - body);
}

}  // namespace
#endif

void copy_bytes(std::byte* to, const std::byte* from, std::size_t bytes) {
#if defined(__x86_64__)
  if (bytes >= kStreamFrom) { return stream(to, from, bytes); }
#endif
  std::memcpy(to, from, bytes);
}

void fill_bytes(std::byte* to, std::size_t bytes, std::uint64_t pattern, std::uint64_t pattern_bytes) {
  if (pattern_bytes == 1) {
    std::memset(to, static_cast<int>(pattern & 0xffU), bytes);
    return;
  }
  // Any pattern is eight bytes wide after repeating it.
  if (pattern_bytes == 2) { pattern = (pattern & 0xffffU) * 0x0001000100010001U; }
  if (pattern_bytes == 4) { pattern = (pattern & 0xffffffffU) * 0x0000000100000001U; }
  const std::size_t words = bytes / 8;
  for (std::size_t i = 0; i < words; ++i) { std::memcpy(to + i * 8, &pattern, 8); }
  std::memcpy(to + words * 8, &pattern, bytes % 8);
}

void copy_in_pieces(std::byte* to, const std::byte* from, std::size_t bytes, const kit::Perturb& perturb,
                    std::uint64_t number) {
  const std::size_t pieces = std::min<std::size_t>(bytes, 1 + perturb.pick(number, 21, 16));
  const std::size_t start = perturb.pick(number, 22, pieces);
  const bool backwards = perturb.pick(number, 23, 2) != 0;
  for (std::size_t i = 0; i < pieces; ++i) {
    const std::size_t piece = (backwards ? start + pieces - i : start + i) % pieces;
    const std::size_t begin = bytes / pieces * piece;
    const std::size_t end = piece + 1 == pieces ? bytes : bytes / pieces * (piece + 1);
    copy_bytes(to + begin, from + begin, end - begin);
    perturb.delay(number + i, 24);
  }
}

}  // namespace hal::host
