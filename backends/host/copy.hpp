// SPDX-License-Identifier: Apache-2.0
// Moving and filling bytes as fast as the machine does.
#pragma once

#include <cstddef>
#include <cstdint>

#include "driver_kit/lane_pool.hpp"

namespace hal::host {

// Repeats the low `pattern_bytes` (1, 2, 4, 8) of the pattern; `bytes` is a multiple of it. No alignment is needed.
// Idle threads of the pool help with what is large.
void fill(kit::LanePool& pool, std::byte* to, std::size_t bytes, std::uint64_t pattern, std::uint64_t pattern_bytes);

// The C library's memcpy, but for copies that the second cache holds and the first does not, and for large ones: those
// are done by idle threads of the pool too, and the largest with stores that go past the caches. The ranges do not
// overlap.
void copy(kit::LanePool& pool, std::byte* to, const std::byte* from, std::size_t bytes);

// What they are made of, each on one thread: for other lanes and for tests.
void fill_bytes(std::byte* to, std::size_t bytes, std::uint64_t pattern, std::uint64_t pattern_bytes);
void fill_past_caches(std::byte* to, std::size_t bytes, std::uint64_t pattern, std::uint64_t pattern_bytes);
void copy_within_caches(std::byte* to, const std::byte* from, std::size_t bytes);
void copy_past_caches(std::byte* to, const std::byte* from, std::size_t bytes);

}  // namespace hal::host
