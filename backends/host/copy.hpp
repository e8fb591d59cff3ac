// SPDX-License-Identifier: Apache-2.0
// Moving and filling bytes. Whole copies are the C library's memcpy, which knows when to go past the caches: a
// streaming loop of our own was slower than it from 16 MiB on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "driver_kit/perturb.hpp"

namespace hal::host {

// Repeats the low `pattern_bytes` (1, 2, 4, 8) of the pattern; `bytes` is a multiple of it. No alignment is needed.
void fill_bytes(std::byte* to, std::size_t bytes, std::uint64_t pattern, std::uint64_t pattern_bytes);

// The same result as a memcpy(), in up to 16 pieces, in an order that the seed picks, with pauses between.
void copy_in_pieces(std::byte* to, const std::byte* from, std::size_t bytes, const kit::Perturb& perturb,
                    std::uint64_t number);

}  // namespace hal::host
