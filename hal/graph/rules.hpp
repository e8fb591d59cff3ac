// SPDX-License-Identifier: Apache-2.0
// What makes one node right: the shapes, types and attributes of each operation. GraphBuilder asks before it writes and
// View::verify() before it believes, so both refuse the same things with the same words.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "graph/shape.hpp"

namespace hal::graph {

struct TensorType {
  DType dtype{};
  Shape shape;
};

struct Violation {
  /// Which part is wrong; `place` counts bytes in the node's or operation's record, or numbers an input.
  enum class Part { node, attributes, input, output };
  Part part = Part::node;
  std::uint32_t place = 0;
  std::string field;  // "left[2]", "inputs[1]"
  std::string text;   // what was found and what was expected
};

/// Also fills what MapAttributes derives. The types must be valid (element_count succeeds, or sizes are symbolic; dtype
/// known). What depends on symbolic sizes passes: it is checked again when they are bound.
std::optional<Violation> check_node(Op op, Attributes& attributes, std::span<const TensorType> inputs,
                                    const TensorType& output);

/// "[2, 8, 8]"; symbolic sizes are "?".
std::string print_shape(ShapeView shape);

}  // namespace hal::graph
