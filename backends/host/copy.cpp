// SPDX-License-Identifier: Apache-2.0
#include "copy.hpp"

#include <cstring>

namespace hal::host {

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

}  // namespace hal::host
