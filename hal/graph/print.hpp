// SPDX-License-Identifier: Apache-2.0
// A graph as text, for people.
#pragma once

#include <span>
#include <string>

#include "graph/plan.hpp"
#include "graph/view.hpp"

namespace hal::graph {

/// One line for each parameter, node and the total, in the manner of
///   %4 "relu" f32[32, 10] = map(%3) max(x0, 0)
std::string print(const View& view);

/// The steps of a device and the memory they take:
///   step 2: nodes 1, 3 as contract %7 = %0 by [8, 1], %4; then max(sum + x0, 0) with x0 = %5
/// A reading that is not the whole tensor in order says how it walks.
std::string print_steps(const View& view, std::span<const FusedStep> steps, const Plan& plan);

/// What a node does to its operands, without them: "over [1], kept in f32"; "" if its name says it all.
std::string print_attributes(const View& view, const Node& node);

/// "f32[32, 10]"
std::string print_type(const View& view, const Tensor& tensor);

}  // namespace hal::graph
