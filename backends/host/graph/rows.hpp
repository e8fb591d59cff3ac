// SPDX-License-Identifier: Apache-2.0
// Maps and reductions that follow each other and work row by row (a softmax, a layer norm), run for a few rows at a
// time: what one writes and the next reads stays in the cache, and idle threads take rows of their own. Results are the
// same to the bit, because every row is computed as it would be alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "driver_kit/lane_pool.hpp"
#include "graph/plan.hpp"
#include "graph/step.hpp"

namespace hal::host {

// Which steps, and what their rows are.
struct Rows {
  std::size_t steps = 0;    // that follow each other; 0 if there is nothing to gain
  std::size_t leading = 0;  // dimensions of their domains that count rows
  std::int64_t count = 0;
};

// The most steps from `first` on that may run row by row. Arguments of the graph must not overlap while they do.
Rows find_rows(const graph::View& view, std::span<const graph::FusedStep> steps, const graph::Plan& plan,
               std::size_t first);

// The steps steps[first], ..., steps[first + rows.steps - 1] as one. `pool` may be null. All but rows outlive it.
StepResult make_rows(const graph::View& view, std::span<const graph::FusedStep> steps, std::size_t first,
                     const Rows& rows, kit::LanePool* pool);

}  // namespace hal::host
