// SPDX-License-Identifier: Apache-2.0
// Moving and filling bytes at the speed of the memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "driver_kit/perturb.hpp"

namespace hal::host {

// From here on a copy goes past the caches: it is larger than they are, and reading lines only to overwrite them costs
// a third of the bandwidth.
inline constexpr std::size_t kStreamFrom = std::size_t{16} << 20U;

void copy_bytes(std::byte* to, const std::byte* from, std::size_t bytes);

// Repeats the low `pattern_bytes` (1, 2, 4, 8) of the pattern; `bytes` is a multiple of it. No alignment is needed.
void fill_bytes(std::byte* to, std::size_t bytes, std::uint64_t pattern, std::uint64_t pattern_bytes);

// The same result as copy_bytes(), in up to 16 pieces, in an order that the seed picks, with pauses between.
void copy_in_pieces(std::byte* to, const std::byte* from, std::size_t bytes, const kit::Perturb& perturb,
                    std::uint64_t number);

}  // namespace hal::host
