// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "vm/instruction.hpp"
#include "vm/warp.hpp"

namespace hal::emulated_cuda {

struct LaunchShape {
  std::uint32_t grid[3] = {1, 1, 1};
  std::uint32_t block[3] = {1, 1, 1};
  std::uint32_t dynamic_shared = 0;
  std::uint64_t grid_id = 0;
};

// Runs a whole grid and returns when it is done. Blocks run in ascending order, spread over the executor's threads when
// there is enough to do; a fault stops the grid. `parameters`: program.parameter_bytes bytes. Throws std::bad_alloc if
// no thread has memory for it.
Fault run_grid(const Program& program, const LaunchShape& shape, const std::byte* parameters,
               const MemoryResolver& memory);

}  // namespace hal::emulated_cuda
