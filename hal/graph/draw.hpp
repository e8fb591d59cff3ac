// SPDX-License-Identifier: Apache-2.0
// A graph as a picture.
#pragma once

#include <span>
#include <string>

#include "graph/fuse.hpp"
#include "graph/view.hpp"

namespace hal::graph {

inline constexpr std::size_t kMostDrawn = 2000;  // nodes

/// A standalone SVG: a box for each parameter and node, data flowing down, nodes of one step in one colour. Constants
/// stand in the boxes that read them. The same graph gives the same bytes; names are escaped.
///
/// Errors  OUT_OF_RANGE  more nodes than kMostDrawn
Result<std::string> draw_svg(const View& view, std::span<const FusedStep> steps);

}  // namespace hal::graph
