// SPDX-License-Identifier: Apache-2.0
// What two graphs have other than each other.
#pragma once

#include <string>

#include "graph/view.hpp"

namespace hal::graph {

/// What `b` has other than `a`, a line each ("- " only in a, "+ " only in b, "  operand" where the same node reads
/// something else), in the order of their nodes; "" if the two are the same but for the numbers of tensors and nodes.
/// The fewest lines there are for graphs that differ in up to 4096 nodes; of others, what follows those nodes is
/// printed whole.
std::string structural_difference(const View& a, const View& b);

}  // namespace hal::graph
