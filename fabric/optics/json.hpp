// SPDX-License-Identifier: Apache-2.0
// A strict JSON reader that keeps the position of every value, so that what is wrong with a *valid* document (an
// unknown key, a number out of range) is reported with line and column as well as a syntax error is.
#pragma once

#include "fabric/status.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hal::fabric {

struct TextPosition {
  std::uint32_t line = 1;
  std::uint32_t column = 1;  // in bytes
};

struct JsonMember;

struct Json {
  enum class Kind { null, boolean, number, string, array, object };

  Kind kind = Kind::null;
  TextPosition at;
  bool boolean = false;
  double number = 0.0;
  std::string string;
  std::vector<Json> items;          // of an array
  std::vector<JsonMember> members;  // of an object, in the order written

  const Json* find(std::string_view key) const noexcept;
};

struct JsonMember {
  std::string key;
  TextPosition at;
  Json value;
};

inline constexpr std::size_t kJsonMaxBytes = std::size_t{16} << 20;
inline constexpr unsigned kJsonMaxDepth = 16;
inline constexpr std::size_t kJsonMaxMembers = 4096;

// RFC 8259 without its liberties: no duplicate keys, no byte order mark, nothing after the value, numbers that fit a
// double, within the three limits above. `name` opens every error: "plane.json:3:14: ...".
// Errors: INVALID_ARGUMENT.
Result<Json> parse_json(std::string_view text, std::string_view name);

const char* name_of(Json::Kind kind) noexcept;

}  // namespace hal::fabric
