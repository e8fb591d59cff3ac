// SPDX-License-Identifier: Apache-2.0
// One graph on several devices: do they agree, and if not, from which node on?
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/view.hpp"

namespace hal::cli {

struct GraphComparison {
  std::vector<std::string> places;  // device URIs, or "reference" for the double-precision evaluator
  std::vector<std::string> inputs;  // NAME=FILE.npy; the others are random
  std::uint64_t seed = 1;
};

/// Runs the graph at every place, prints each against the first within the tolerances of graph/compare.hpp, and names
/// the first node that differs. True if all agree. Errors  INVALID_ARGUMENT  less than two places; an input that the
/// graph does not have, or of another type or shape
///         those of opening, loading and running, with the place
Result<bool> compare_places(const graph::View& view, const GraphComparison& options);

}  // namespace hal::cli
