// SPDX-License-Identifier: Apache-2.0
// The program that tests load where it does not matter which: "sum" is "x" + "y", each of n f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hal/graph.hpp"

namespace hal {

inline std::vector<std::byte> add_graph(std::int64_t n) {
  GraphBuilder b("add");
  const auto x = b.input("x", DType::f32, {n});
  const auto y = b.input("y", DType::f32, {n});
  b.output("sum", b.map({x, y}, graph::arg(0) + graph::arg(1)));
  return b.finish().value();
}

}  // namespace hal
