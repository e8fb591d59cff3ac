// SPDX-License-Identifier: Apache-2.0
// One element at a time: loads, and stores that round as every backend must. What each type holds is written in
// docs/graph.md, "Types".
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

/// A floating format of 8 or 16 bits whose exponent has fewer bits than f32's: a sign, E bits of exponent, M of
/// mantissa. kLargest is the code of the largest finite value. What is larger becomes infinity, or kLargest if the
/// format saturates. The functions choose instead of branching, so that loops over them become vector code.
template <std::uint32_t E, std::uint32_t M, std::uint32_t kLargest, bool kHasInfinity, bool kSaturates,
          std::uint32_t kNan>
struct SmallFloat {
  static constexpr std::uint32_t kBias = (1U << (E - 1)) - 1;
  static constexpr std::uint32_t kShift = 23 - M;
  static constexpr std::uint32_t kSignBit = 1U << (E + M);

  static constexpr float decode(std::uint32_t code) {
    const std::uint32_t magnitude = code & (kSignBit - 1);
    // The multiplication puts the exponent right, for subnormals too: their image in f32 has exponent 0 as well.
    const float scaled = std::bit_cast<float>(magnitude << kShift) * std::bit_cast<float>((254 - kBias) << 23U);
    const std::uint32_t special = kHasInfinity && magnitude == kLargest + 1 ? 0x7F800000U : 0x7FC00000U;
    const std::uint32_t bits = magnitude > kLargest ? special : std::bit_cast<std::uint32_t>(scaled);
    return std::bit_cast<float>(bits | ((code & kSignBit) != 0 ? 0x80000000U : 0U));
  }

  /// To nearest, ties to even. A NaN becomes the one NaN of the format with the sign of the value.
  static constexpr std::uint32_t encode(float value) {
    const std::uint32_t all = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t bits = all & 0x7FFFFFFFU;
    const std::uint32_t rebased = bits - ((127 - kBias) << 23U);  // wraps where `subnormal` is chosen below
    const std::uint32_t normal = (rebased + (1U << (kShift - 1)) - 1 + ((rebased >> kShift) & 1U)) >> kShift;
    // Adding a number whose last place is the smallest subnormal leaves the rounded count in the low bits.
    constexpr std::uint32_t kMagic = (127 + 1 - kBias - M + 23) << 23U;
    const std::uint32_t tiny = bits < 0x3F800000U ? bits : 0U;
    const std::uint32_t subnormal =
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(tiny) + std::bit_cast<float>(kMagic)) - kMagic;
    const std::uint32_t finite = bits < ((128 - kBias) << 23U) ? subnormal : normal;
    const std::uint32_t code = finite <= kLargest ? finite : kSaturates ? kLargest : kLargest + 1;
    return (all >> 31U) << (E + M) | (bits > 0x7F800000U ? kNan : code);
  }
};

/// IEEE 754 binary16.
using F16 = SmallFloat<5, 10, 0x7BFF, true, false, 0x7E00>;
/// E5M2 and E4M3 of the OCP 8-bit Floating Point Specification (OFP8) 1.0, stored in its saturating mode: infinities
/// and what rounds past the largest finite value become that value. E5M2 has infinities (they can be loaded); E4M3 has
/// none, and S.1111.111 is its only NaN.
using F8E5M2 = SmallFloat<5, 2, 0x7B, true, true, 0x7E>;
using F8E4M3 = SmallFloat<4, 3, 0x7E, false, true, 0x7F>;

/// The nearest float of odd last bit if `value` is no float: a second rounding to a type of fewer bits then gives what
/// one rounding would have given.
float round_to_odd(double value);

/// Rounds once, from double to bf16: never through a float that is itself rounded to nearest.
std::uint16_t double_to_bf16(double value);

/// Truncates toward zero and saturates; NaN is 0.
std::int64_t double_to_integer(double value, std::int64_t lowest, std::int64_t highest);

/// The types of tensors in a graph: all but u32 and u64, which only kernels have.
bool is_graph_type(DType type);

/// The least and the greatest value of an integer type; 0 and 1 for bool.
struct IntegerRange {
  std::int64_t lowest, highest;
};
IntegerRange integer_range(DType type);

// Elements are numbered from `data`, which need not be aligned; those of i4 lie two to a byte, the even one in the low
// half. The type must be a graph's. A store of an i4 rewrites its byte, so two threads must not store into one byte.

/// i64 is rounded to nearest.
double load_element(DType type, const std::byte* data, std::int64_t index);

/// Exact; for integer types and bool (0 or 1).
std::int64_t load_integer(DType type, const std::byte* data, std::int64_t index);

/// Stores as `convert` does from a floating type: to floating types to nearest even (f8 saturates), to integers
/// truncated and saturated (NaN is 0), to bool as not 0.
void store_element(DType type, std::byte* data, std::int64_t index, double value);

/// Stores as `convert` does from an integer type: rounded once to floating types, saturated to integers, to bool as not
/// 0.
void store_integer(DType type, std::byte* data, std::int64_t index, std::int64_t value);

/// Stores the result of integer arithmetic: the low bits, not 0 for bool.
void store_wrapped(DType type, std::byte* data, std::int64_t index, std::int64_t value);

}  // namespace hal::graph
