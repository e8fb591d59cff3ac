// SPDX-License-Identifier: Apache-2.0
// Moving and filling bytes. Whole copies are the C library's memcpy, which knows when to go past the caches: a
// streaming loop of our own was slower than it from 16 MiB on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hal::host {

// Repeats the low `pattern_bytes` (1, 2, 4, 8) of the pattern; `bytes` is a multiple of it. No alignment is needed.
void fill_bytes(std::byte* to, std::size_t bytes, std::uint64_t pattern, std::uint64_t pattern_bytes);

}  // namespace hal::host
