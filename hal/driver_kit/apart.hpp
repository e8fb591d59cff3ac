// SPDX-License-Identifier: Apache-2.0
// Where the arguments of a graph's run share bytes. A device that computes one step after the other from where its
// arguments lie would read what it has written already, and says so instead.
#pragma once

#include <array>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <span>

#include "driver_kit/slices.hpp"

namespace hal::kit {

struct SharedBytes {
  std::size_t output = 0, other = 0;  // arguments

  std::array<char, 256> text() const noexcept {
    std::array<char, 256> out{};
    std::snprintf(
        out.data(), out.size(),
        "argument %zu shares bytes with argument %zu: outputs of this graph need bytes of their own here; give it "
        "another buffer",
        output, other);
    return out;
  }
};

/// The first output of `args`, which are a graph's inputs and then its outputs, all in device memory, that has bytes of
/// another argument. `in_place`: it may be the very bytes of an input, because each element is read before it is
/// written.
inline std::optional<SharedBytes> find_shared_bytes(std::span<const hal_arg> args, std::size_t inputs, bool in_place) {
  for (std::size_t output = inputs; output < args.size(); ++output) {
    const std::uint64_t at = device_address(args[output].value.slice), bytes = args[output].value.slice.length;
    for (std::size_t other = 0; other < output; ++other) {
      const std::uint64_t from = device_address(args[other].value.slice), size = args[other].value.slice.length;
      if (from >= at + bytes || at >= from + size) { continue; }
      if (in_place && other < inputs && from == at && size == bytes) { continue; }
      return SharedBytes{output, other};
    }
  }
  return std::nullopt;
}

}  // namespace hal::kit
