// SPDX-License-Identifier: Apache-2.0
#include "graph/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "graph/element.hpp"

namespace hal::graph {

Tolerance default_tolerance(DType type) {
  if (!is_floating(type)) { return {}; }
  if (dtype_bits(type) < 32) { return {0x1p-7, 0x1p-6}; }
  return {1e-5, 1e-4};
}

Comparison compare(DType type, std::span<const std::byte> found, std::span<const std::byte> expected,
                   const Tolerance& tolerance) {
  const std::size_t width = dtype_bits(type) / 8;
  Comparison result;
  result.elements = static_cast<std::int64_t>(std::min(found.size(), expected.size()) / width);
  const auto mismatch = [&](std::int64_t i, double a, double b) {
    if (result.mismatches++ > 0) { return; }
    result.first = i;
    result.found = a;
    result.expected = b;
  };
  for (std::int64_t i = 0; i < result.elements; ++i) {
    const double a = load_element(type, found.data(), i);
    const double b = load_element(type, expected.data(), i);
    if (a == b || (std::isnan(a) && std::isnan(b))) { continue; }
    if (!std::isfinite(a) || !std::isfinite(b)) {
      mismatch(i, a, b);
      continue;
    }
    const double difference = std::fabs(a - b);
    result.max_absolute = std::max(result.max_absolute, difference);
    if (difference > tolerance.absolute + tolerance.relative * std::fabs(b)) { mismatch(i, a, b); }
  }
  if (found.size() != expected.size()) {
    const double none = std::nan("");
    mismatch(result.elements, none, none);
  }
  return result;
}

std::string Comparison::text() const {
  if (mismatches == 0) {
    return fmt::format("all {} elements agree, the largest difference is {:.3g}", elements, max_absolute);
  }
  return fmt::format("{} of {} differ, first [{}]: found {}, expected {}", mismatches, elements, first, found,
                     expected);
}

}  // namespace hal::graph
