// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "cuda.hpp"

namespace hal::cuda {

// Why this device would not run the graph, or success.
Result<void> check_graph(std::span<const std::byte> image);
Result<std::unique_ptr<Program>> load_graph(Device& device, std::span<const std::byte> image);

}  // namespace hal::cuda
