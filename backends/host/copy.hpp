// SPDX-License-Identifier: Apache-2.0
// Moving and filling bytes as fast as the machine does.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hal::host {

// Repeats the low `pattern_bytes` (1, 2, 4, 8) of the pattern; `bytes` is a multiple of it. No alignment is needed.
void fill_bytes(std::byte* to, std::size_t bytes, std::uint64_t pattern, std::uint64_t pattern_bytes);

// The C library's memcpy, but for large copies, where stores that go past the caches may win: that depends on the
// processor and on what the library does itself, so the first large copies of a process are done both ways in turns and
// timed, and those after them the faster way. The ranges do not overlap.
void copy_bytes(std::byte* to, const std::byte* from, std::size_t bytes);

// What copy_bytes() chooses between, for tests: the same result as a memcpy().
void copy_past_caches(std::byte* to, const std::byte* from, std::size_t bytes);

}  // namespace hal::host
