// SPDX-License-Identifier: Apache-2.0
// Layers of networks with operands and options that any bytes choose, most of them wrong: what a builder must survive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hal/result.hpp"

namespace hal::graph::testing {

/// Inputs of every type, sizes of every kind, and up to five layers on them and on each other, also behind a mistake.
/// The graph if all was right, else the first mistake.
Result<std::vector<std::byte>> random_layers(std::span<const std::uint8_t> choices);

}  // namespace hal::graph::testing
