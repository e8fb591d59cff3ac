// SPDX-License-Identifier: Apache-2.0
// One element at a time: loads, and stores that round as every backend must.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "hal/dtype.hpp"

namespace hal::graph {

constexpr float bf16_to_float(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16U); }

/// To nearest, ties to even; overflow gives infinity; a NaN stays a (quiet) NaN.
constexpr std::uint16_t float_to_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) { return static_cast<std::uint16_t>((bits >> 16U) | 0x40U); }
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U);
}

/// Rounds once, from double to bf16: never through a float that is itself rounded to nearest.
std::uint16_t double_to_bf16(double value);

/// Truncates toward zero and saturates; NaN is 0.
std::int64_t double_to_integer(double value, std::int64_t lowest, std::int64_t highest);

/// f64, f32, bf16, i32, i8, u8, bool: the types that have element access (and a reference) today.
bool has_element_access(DType type);

/// Element `index` of `data`, which need not be aligned. The type must have element access.
double load_element(DType type, const std::byte* data, std::int64_t index);

/// Stores as `convert` does: floating types to nearest even, integers truncated and saturated (NaN is 0), bool as not
/// 0.
void store_element(DType type, std::byte* data, std::int64_t index, double value);

/// Stores an integer result: the low bits for i32, i8 and u8, not 0 for bool.
void store_wrapped(DType type, std::byte* data, std::int64_t index, std::int64_t value);

}  // namespace hal::graph
