// SPDX-License-Identifier: Apache-2.0
// Small graphs that between them use every primitive, instruction, attribute and type: what a driver must compute like
// the reference. Tests of drivers, the conformance suite and the fuzz corpus all draw from here.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "graph/view.hpp"

namespace hal::graph {

struct Case {
  std::string name;  // "contract.batched.bf16": primitive first
  std::vector<std::byte> bytes;
  std::vector<std::vector<std::byte>> inputs;
  bool fails_out_of_range = false;  // the run must end in OUT_OF_RANGE instead of results
};

/// Always the same cases with the same bytes. Their types are f32, bf16, i32, u8 and bool, which every driver of graphs
/// has.
std::vector<Case> graph_cases();

/// Each primitive in each element type: "f16.contract". A driver computes these, or refuses the type by name.
std::vector<Case> type_cases();

/// A layer that a type cannot have, and what its builder says.
struct RefusedLayer {
  std::string type, layer, why;
};

/// Each layer of networks in each element type, "f16.softmax", and those that are refused. Their inputs are whole
/// numbers that every type holds.
struct LayerCases {
  std::vector<Case> cases;
  std::vector<Case> exact;  // of each case the same layer in f64 (dequantise: i32) on the same numbers
  std::vector<RefusedLayer> refused;
};
LayerCases layer_cases();

/// What the reference makes of a case; compare each with its output's tensor type.
Result<std::vector<std::vector<std::byte>>> expected_outputs(const Case& test);

}  // namespace hal::graph
