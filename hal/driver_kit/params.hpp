// SPDX-License-Identifier: Apache-2.0
// The part of a URI behind '?': "mode=weak&seed=7".
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "hal/result.hpp"

namespace hal::kit {

// Parse, ask for each parameter the device knows, then call done(): what nobody asked for is an error.
//
//   HAL_TRY(auto params, Params::parse("host", request->params));
//   HAL_TRY(const std::size_t mode, params.choice("mode", {"eager", "weak"}));
//   HAL_TRY(const std::uint64_t seed, params.number("seed", 0));
//   HAL_CHECK(params.done());
class Params {
 public:
  // Errors: INVALID_ARGUMENT  a pair has no '=' or no key, or a key comes twice; the text shows position and pair.
  static Result<Params> parse(const char* origin, std::string_view text);

  bool has(std::string_view key) const;
  // The value of `key`, or `fallback`.
  std::string text(std::string_view key, std::string_view fallback);
  // A decimal or 0x number. Errors: INVALID_ARGUMENT.
  Result<std::uint64_t> number(std::string_view key, std::uint64_t fallback);
  // The index of the value among `names`; the first one if absent. Errors: INVALID_ARGUMENT with the names.
  Result<std::size_t> choice(std::string_view key, std::initializer_list<std::string_view> names);
  // Errors: INVALID_ARGUMENT  a key was given that nobody asked for; the text lists those that were asked for.
  Result<void> done() const;

 private:
  struct Pair {
    std::string key, value;
    bool used = false;
  };
  const std::string* find(std::string_view key);

  std::string origin_;
  std::vector<Pair> pairs_;
  std::vector<std::string> known_;
};

}  // namespace hal::kit
