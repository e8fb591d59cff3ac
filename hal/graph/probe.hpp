// SPDX-License-Identifier: Apache-2.0
// Finding where two devices part: graphs that show their intermediates, and inputs to run them on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "graph/view.hpp"

namespace hal::graph {

/// The same graph with `tensors` (intermediates and outputs) as its outputs, in that order; what they do not need is
/// left out. Inputs stay, also those that nobody reads. No size may be symbolic.
/// Errors  those of GraphBuilder::finish()
Result<std::vector<std::byte>> showing(const View& view, std::span<const std::uint32_t> tensors);

/// Bytes for each input, the same for the same seed: multiples of 1/8 from -2 to 2, whole numbers from -16 to 16, masks
/// of 0 and 1. Inputs that gather or scatter take as indices, at once or through views, are kept inside the axis.
std::vector<std::vector<std::byte>> random_inputs(const View& view, std::uint64_t seed);

}  // namespace hal::graph
