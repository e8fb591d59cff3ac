// SPDX-License-Identifier: Apache-2.0
// Checks one operation's attributes against the tensors it names, and decodes them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "image/program.hpp"

namespace rngd::image {

struct AttributeError {
  std::uint64_t offset;  // within the attributes
  std::string text;      // "field: what is wrong"
};

std::optional<AttributeError> verify_op(const Program& program, std::span<const std::byte> attributes, Op& op);

}  // namespace rngd::image
