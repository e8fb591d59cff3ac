// SPDX-License-Identifier: Apache-2.0
// Device URIs: driver:index[/part][?key=value&...]
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "hal/result.hpp"

namespace hal::core {

inline constexpr std::size_t kLongestUri = 512;  // characters

struct Uri {
  std::string driver;
  std::uint32_t index = 0;
  std::string part;
  std::string params;
};

// Errors: INVALID_ARGUMENT with the position of the first bad character.
Result<Uri> parse_uri(std::string_view text);

}  // namespace hal::core
