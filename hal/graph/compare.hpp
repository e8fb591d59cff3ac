// SPDX-License-Identifier: Apache-2.0
// Is a device's result the reference's? The written tolerances of the project.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "hal/dtype.hpp"

namespace hal::graph {

/// An element agrees if |found - expected| <= absolute + relative * |expected|. NaN agrees with NaN, an infinity with
/// itself.
struct Tolerance {
  double absolute = 0;
  double relative = 0;
};

/// f32: 1e-5 and 1e-4, room for sums of some thousand products in any order and for the approximate exponentials of
/// accelerators. f64: 1e-13 and 1e-12. f16, bf16 and the f8s: two units in the last place around 1 (f8: 2^-6 absolute).
/// Integers and bool: exact.
Tolerance default_tolerance(DType type);

struct Comparison {
  std::int64_t elements = 0;
  std::int64_t mismatches = 0;
  double max_absolute = 0;  // over elements that are finite in both
  std::int64_t first = -1;  // the first mismatch
  double found = 0;         // there
  double expected = 0;
  explicit operator bool() const { return mismatches == 0; }
  /// "all 40 elements agree, the largest difference is 1.2e-07" or "3 of 40 differ, first [7]: found 1, expected 2"
  std::string text() const;
};

/// Both spans hold elements of `type`, which must be a graph's; half a byte behind an odd number of i4 counts as one. A
/// length that differs is one mismatch behind the shorter.
Comparison compare(DType type, std::span<const std::byte> found, std::span<const std::byte> expected,
                   const Tolerance& tolerance);
inline Comparison compare(DType type, std::span<const std::byte> found, std::span<const std::byte> expected) {
  return compare(type, found, expected, default_tolerance(type));
}

}  // namespace hal::graph
