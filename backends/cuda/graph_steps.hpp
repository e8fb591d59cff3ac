// SPDX-License-Identifier: Apache-2.0
// A closed graph as a list of launches of the driver's own kernels: everything is laid out once, and a run fills in
// addresses only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "graph/fuse.hpp"
#include "graph/view.hpp"
#include "graph_kernels_loader.hpp"

namespace hal::cuda {

// One launch. Addresses in `parameters` are filled in at each run.
struct Step {
  KernelId kernel = KernelId::fill;
  std::uint32_t grid[3] = {1, 1, 1};
  std::vector<std::byte> parameters;
  struct Slot {
    std::uint32_t offset;
    std::uint32_t tensor;
    std::int64_t add;  // bytes
  };
  std::vector<Slot> slots;
  std::uint32_t fault_offset = 0, command_offset = 0;  // of gather and scatter; else 0
};

// Of an element of a type that check_tensors() lets pass.
std::uint64_t size_of(DType type);

// What the kernels take of fusion.
graph::FuseOptions fuse_options();

// Errors: UNSUPPORTED  a type, an expression or, where it is known already, a size that the kernels do not have, by
// name.
Result<void> check_tensors(const graph::View& view);

// A run may find an index outside its axis.
bool can_fail(const graph::View& view);

// Errors: UNSUPPORTED  naming the node.
Result<std::vector<Step>> make_steps(const graph::View& view, std::span<const graph::FusedStep> fused);

}  // namespace hal::cuda
