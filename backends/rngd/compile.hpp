// SPDX-License-Identifier: Apache-2.0
// hal.graph to rngd.image: step by step, because the emulated card runs the same primitives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "graph/view.hpp"
#include "hal/result.hpp"

namespace hal::rngd_backend {

struct Compiled {
  std::vector<std::byte> image;
  std::vector<std::string> labels;  // of each operation: the node it came from
};

struct CompileOptions {
  std::uint32_t pe_count = 1;
  bool round_f32 = false;  // f32 contractions on the tensor unit
  bool shared = false;     // shared_constants() are bindings, between the graph's inputs and its outputs
};

/// The constants that are worth lying on the card once for all programs that a graph is compiled to: large ones, and no
/// more than have room among a program's bindings. In the order of their numbers.
std::vector<std::uint32_t> shared_constants(const graph::View& view);

/// Errors  UNSUPPORTED  a tensor's type, naming the node. Sizes may be symbolic.
Result<void> check_types(const graph::View& view);

/// Intermediates live on chip if they fit the PEs' SRAM together, else in HBM.
///
/// Errors  check_types()'s
Result<Compiled> compile(const graph::View& view, const CompileOptions& options);

}  // namespace hal::rngd_backend
