// SPDX-License-Identifier: Apache-2.0
#include "graph/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "graph/element.hpp"

namespace hal::graph {

Tolerance default_tolerance(DType type) {
  switch (type) {
    case DType::f64:
      return {1e-13, 1e-12};
    case DType::f32:
      return {1e-5, 1e-4};
    case DType::f16:
      return {0x1p-10, 0x1p-9};
    case DType::bf16:
      return {0x1p-7, 0x1p-6};
    case DType::f8e4m3:
      return {0x1p-6, 0x1p-2};
    case DType::f8e5m2:
      return {0x1p-6, 0x1p-1};
    default:
      return {};
  }
}

Comparison compare(DType type, std::span<const std::byte> found, std::span<const std::byte> expected,
                   const Tolerance& tolerance) {
  Comparison result;
  result.elements = static_cast<std::int64_t>(std::min(found.size(), expected.size()) * 8 / dtype_bits(type));
  const auto mismatch = [&](std::int64_t i, double a, double b) {
    if (result.mismatches++ > 0) { return; }
    result.first = i;
    result.found = a;
    result.expected = b;
  };
  for (std::int64_t i = 0; i < result.elements; ++i) {
    const double a = load_element(type, found.data(), i);
    const double b = load_element(type, expected.data(), i);
    if (type == DType::i64) {  // doubles would hide the low bits
      if (load_integer(type, found.data(), i) != load_integer(type, expected.data(), i)) { mismatch(i, a, b); }
      continue;
    }
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
