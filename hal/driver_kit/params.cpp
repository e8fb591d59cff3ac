// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/params.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "driver_kit/errors.hpp"

namespace hal::kit {

Result<Params> Params::parse(const char* origin, std::string_view text) {
  Params params;
  params.origin_ = origin;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('&', at), text.size());
    const std::string_view pair = text.substr(at, end - at);
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      return error(origin, HAL_INVALID_ARGUMENT,
                   fmt::format("parameter at position {} is '{}'; expected key=value", at, pair));
    }
    const std::string_view key = pair.substr(0, equals);
    for (const Pair& other : params.pairs_) {
      if (other.key == key) {
        return error(origin, HAL_INVALID_ARGUMENT, fmt::format("parameter '{}' is given twice", key));
      }
    }
    params.pairs_.push_back({std::string(key), std::string(pair.substr(equals + 1))});
    at = end + 1;
  }
  return params;
}

bool Params::has(std::string_view key) const {
  return std::any_of(pairs_.begin(), pairs_.end(), [&](const Pair& pair) { return pair.key == key; });
}

const std::string* Params::find(std::string_view key) {
  known_.emplace_back(key);
  for (Pair& pair : pairs_) {
    if (pair.key == key) {
      pair.used = true;
      return &pair.value;
    }
  }
  return nullptr;
}

std::string Params::text(std::string_view key, std::string_view fallback) {
  const std::string* value = find(key);
  return value != nullptr ? *value : std::string(fallback);
}

Result<std::uint64_t> Params::number(std::string_view key, std::uint64_t fallback) {
  const std::string* value = find(key);
  if (value == nullptr) { return fallback; }
  std::string_view digits = *value;
  int base = 10;
  if (digits.starts_with("0x")) {
    digits.remove_prefix(2);
    base = 16;
  }
  std::uint64_t number = 0;
  const auto [stop, status] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (status != std::errc{} || stop != digits.data() + digits.size()) {
    return error(origin_.c_str(), HAL_INVALID_ARGUMENT,
                 fmt::format("parameter '{}' is '{}'; expected a number from 0 to {}", key, *value, UINT64_MAX));
  }
  return number;
}

Result<std::size_t> Params::choice(std::string_view key, std::initializer_list<std::string_view> names) {
  const std::string* value = find(key);
  if (value == nullptr) { return std::size_t{0}; }
  std::size_t i = 0;
  for (const std::string_view name : names) {
    if (*value == name) { return i; }
    ++i;
  }
  return error(origin_.c_str(), HAL_INVALID_ARGUMENT,
               fmt::format("parameter '{}' is '{}'; expected one of: {}", key, *value, fmt::join(names, ", ")));
}

Result<void> Params::done() const {
  for (const Pair& pair : pairs_) {
    if (!pair.used) {
      return error(origin_.c_str(), HAL_INVALID_ARGUMENT,
                   fmt::format("parameter '{}' is unknown; this device knows: {}", pair.key,
                               known_.empty() ? "none" : fmt::format("{}", fmt::join(known_, ", "))));
    }
  }
  return {};
}

}  // namespace hal::kit
