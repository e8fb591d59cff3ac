// SPDX-License-Identifier: Apache-2.0
// What two graphs have other than each other.
#pragma once

#include <string>

#include "graph/view.hpp"

namespace hal::graph {

/// What `b` has other than `a`, a line each ("- " only in a, "+ " only in b, "  operand" where the same node reads
/// something else), in the order of their nodes; "" if the two are the same but for the numbers of tensors and nodes.
/// The fewest nodes there are, if those that are removed and added are up to 4096 together; of other graphs, what
/// follows those nodes is printed whole. A node that changed is one of each.
std::string structural_difference(const View& a, const View& b);

}  // namespace hal::graph
