// SPDX-License-Identifier: Apache-2.0
// The card's number rules, and the conversions that follow them.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace rngd::emulator {

/// What the emulated units do to numbers. Facts carry their source and grade (see docs/emulation/rngd.md).
struct NumberRules {
  bool subnormals = false;    // f32 and bf16 have none: flushed to zero [BOOK, OPT; A]
  bool canonical_nan = true;  // one NaN pattern leaves every unit [BOOK, OPT; A]; which one is ours (D)
  bool tensor_unit_f32 =
      false;  // the multipliers take bf16 and narrower; f32 contractions use the vector engine [BOOK; A]
  bool accumulate_in_order = true;    // sums run over the contracted index upwards; the real order is not public (D)
  bool round_to_nearest_even = true;  // commit from f32 to bf16 (D)
};
inline constexpr NumberRules kNumberRules{};
inline constexpr std::uint32_t kCanonicalNan = 0x7FC00000;  // (D)

/// Switches the thread's arithmetic to flush subnormals, as long as it lives. On processors other than x86 subnormals
/// survive inside expressions; see docs/emulation/rngd.md.
class ScopedNumberRules {
 public:
#if defined(__SSE__)
  ScopedNumberRules() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }  // flush to zero, denormals are zero
  ~ScopedNumberRules() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#else
  ScopedNumberRules() = default;
#endif
 public:
  ScopedNumberRules(const ScopedNumberRules&) = delete;
  ScopedNumberRules& operator=(const ScopedNumberRules&) = delete;
};

inline float canonical(float value) { return value != value ? std::bit_cast<float>(kCanonicalNan) : value; }

inline float bf16_to_f32(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

inline std::uint16_t f32_to_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  if ((bits & 0x7F800000u) == 0) { return static_cast<std::uint16_t>(bits >> 16 & 0x8000u); }  // subnormal
  return static_cast<std::uint16_t>(value != value ? kCanonicalNan >> 16 : rounded);
}

/// The nearest f32 with its last bit set if inexact, so that rounding it to bf16 rounds only once.
inline float to_odd_f32(double value) {
  const float near = static_cast<float>(value);
  if (!std::isfinite(near) || static_cast<double>(near) == value) { return near; }
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(near);
  if ((bits & 1u) != 0) { return near; }
  const bool away = std::fabs(static_cast<double>(near)) < std::fabs(value);
  return std::bit_cast<float>(away ? bits + 1 : bits - 1);
}

template <class T>
T saturate(double value) {  // truncates; NaN is 0
  if (value != value) { return 0; }
  constexpr double kLow = static_cast<double>(std::numeric_limits<T>::min());
  constexpr double kHigh = static_cast<double>(std::numeric_limits<T>::max());
  return value <= kLow    ? std::numeric_limits<T>::min()
         : value >= kHigh ? std::numeric_limits<T>::max()
                          : static_cast<T>(value);
}

}  // namespace rngd::emulator
