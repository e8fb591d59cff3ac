// SPDX-License-Identifier: Apache-2.0
// A graph as text, for people.
#pragma once

#include <string>

#include "graph/view.hpp"

namespace hal::graph {

/// One line for each parameter, node and the total, in the manner of
///   %4 "relu" f32[32, 10] = map(%3) max(x0, 0)
std::string print(const View& view);

}  // namespace hal::graph
