// SPDX-License-Identifier: Apache-2.0
// Random graphs for the tests of fusion and planning, the same for the same seed. Values stay multiples of 1/8 below
// 2^20 (products are cut to whole numbers below 8), so every order of computing gives the same f32; bf16 rounds them.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/cases.hpp"

namespace hal::graph::testing {

struct RandomGraph {
  std::vector<std::byte> bytes;
  std::vector<std::vector<std::byte>> inputs;
};

/// About `size` nodes over f32, bf16, i32 and bool; every primitive but scatter.
RandomGraph random_graph(std::uint32_t seed, std::size_t size);

}  // namespace hal::graph::testing
