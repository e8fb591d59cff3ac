// SPDX-License-Identifier: Apache-2.0
// What the headers of hal/nn share.
#pragma once

#include <cstdint>
#include <optional>
#include <source_location>

#include "hal/graph.hpp"

namespace hal::nn {

using graph::GraphBuilder;
using graph::Shape;
using graph::Value;
using Site = std::source_location;

/// A dimension; negative counts from the last, which is -1.
using Axis = std::int32_t;

/// y * scale + shift behind a normalisation; either may be missing.
struct Affine {
  std::optional<Value> scale{};
  std::optional<Value> shift{};
};

}  // namespace hal::nn
