// SPDX-License-Identifier: Apache-2.0
// Elementary functions of f32 without a branch, so that loops over them become vector code. Series and fits are our
// own; the test measures each against the C library in double over its whole range.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace hal::host {

namespace elementary {

// x = n ln 2 + r with |r| <= ln 2 / 2, for |x| below 128.
struct Reduced {
  float r;
  std::uint32_t shifted;  // the bits of n + 1.5 * 2^23
  [[gnu::always_inline]] std::int32_t n() const {
    return static_cast<std::int32_t>(shifted - std::bit_cast<std::uint32_t>(12582912.0F));
  }
};
[[gnu::always_inline]] inline Reduced reduce(float x) {
  constexpr float kLog2E = 1.44269504088896341F;
  constexpr float kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F;  // 9 bits and the rest: n * high is exact
  constexpr float kRound = 12582912.0F;                                // adding it rounds to an integer
  const float shifted = x * kLog2E + kRound;
  const float n = shifted - kRound;
  return {(x - n * kLn2High) - n * kLn2Low, std::bit_cast<std::uint32_t>(shifted)};
}

// (e^r - 1) / r for |r| <= ln 2 / 2: exact at Chebyshev's nodes, within 6e-9 between them.
[[gnu::always_inline]] inline float growth(float r) {
  float p = 0.00139337312F;
  p = p * r + 0.00836922042F;
  p = p * r + 0.041666463F;
  p = p * r + 0.166665047F;
  p = p * r + 0.5F;
  return p * r + 1.0F;
}

// 2^n for -126 <= n <= 127.
[[gnu::always_inline]] inline float power(std::int32_t n) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(n + 127) << 23U);
}

}  // namespace elementary

// Within 2 units in the last place. 2^n comes in two factors, so that results below the normal range are rounded once
// more and not flushed.
[[gnu::always_inline]] inline float exponential(float x) {
  const float low = x < -104.0F ? -104.0F : x;  // NaN passes both
  const auto reduced = elementary::reduce(low > 89.0F ? 89.0F : low);
  const std::int32_t n = reduced.n(), half = n >> 1;
  return (elementary::growth(reduced.r) * reduced.r + 1.0F) * elementary::power(half) * elementary::power(n - half);
}

// The same, to the bit, for |x| <= kNormalExponent, where 2^n is added to the exponent as it stands.
constexpr float kNormalExponent = 87.0F;
[[gnu::always_inline]] inline float normal_exponential(float x) {
  const auto reduced = elementary::reduce(x);
  const float scaled = elementary::growth(reduced.r) * reduced.r + 1.0F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) + (reduced.shifted << 23U));
}

// x / b, rounded as the division rounds it, where r = 1 / b, kLeastDivisor <= |b| <= kMostDivisor and
// is_quick_dividend(x). x r is off by less than 1.5 units; its remainder is exact, and so is one step with it, but
// where x / b is so near to the middle between two floats that what r lacks decides. That takes |2^24 x' - m b'| or
// |2^25 x' - m b'| <= 2 in integers (the significands, m odd): the test tries those quotients.
constexpr float kLeastDivisor = 0x1p-20F, kMostDivisor = 0x1p24F;
constexpr std::uint32_t kLeastDividend = std::bit_cast<std::uint32_t>(0x1p-100F);
constexpr std::uint32_t kMostDividend = std::bit_cast<std::uint32_t>(0x1p100F);
[[gnu::always_inline]] inline bool is_quick_dividend(float x) {  // 2^-100 <= |x| <= 2^100, or 0 but not -0
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  return ((bits & 0x7fffffffU) - kLeastDividend <= kMostDividend - kLeastDividend) | (bits == 0);
}
[[gnu::always_inline]] inline float quick_quotient(float x, float b, float r) {
  const float q = x * r;
  return __builtin_fmaf(__builtin_fmaf(-q, b, x), r, q);
}

// Within 2 units. x = 2^n m with m about 1; log m = 2 artanh s, s = (m - 1) / (m + 1), by its series.
[[gnu::always_inline]] inline float logarithm(float x) {
  const bool tiny = x < std::numeric_limits<float>::min();  // subnormal, 0 or negative
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x * (tiny ? 8388608.0F : 1.0F));
  // Exponents count from sqrt(1/2), so that m lies between it and sqrt(2).
  const std::uint32_t moved = bits - 0x3f3504f3U;
  const float m = std::bit_cast<float>((moved & 0x007fffffU) + 0x3f3504f3U);
  const float s = (m - 1.0F) / (m + 1.0F), q = s * s;
  float p = 2.0F / 11;
  p = p * q + 2.0F / 9;
  p = p * q + 2.0F / 7;
  p = p * q + 2.0F / 5;
  p = p * q + 2.0F / 3;
  const float n = static_cast<float>(static_cast<std::int32_t>(moved) >> 23) - (tiny ? 23.0F : 0.0F);
  const float normal = n * 0.693359375F + (2.0F * s + (s * q * p + n * -2.12194440e-4F));
  const float at_least_zero = x == 0 ? -std::numeric_limits<float>::infinity() : normal;
  const float real = x < 0 ? std::numeric_limits<float>::quiet_NaN() : at_least_zero;
  return x < std::numeric_limits<float>::infinity() ? real : x;  // infinity and NaN stay
}

// Within 4 units. (e^2x - 1) / (e^2x + 1), with e^2x - 1 formed without cancellation.
[[gnu::always_inline]] inline float hyperbolic_tangent(float x) {
  const float size = std::fabs(x);
  const float y = 2.0F * (size > 10.0F ? 10.0F : size);  // it is 1 from there on; NaN passes
  const auto reduced = elementary::reduce(y);
  const float scale = elementary::power(reduced.n());
  const float less_one = scale * (elementary::growth(reduced.r) * reduced.r) + (scale - 1.0F);
  return std::copysign(less_one / (less_one + 2.0F), x);
}

// Within 3 units. Its series below 0.6; above, 1 - e^(-x^2) P(1 / (1 + x / 2)), P a fit of degree 7 whose error is
// 3e-9 of the result.
[[gnu::always_inline]] inline float error_function(float x) {
  const float size = std::fabs(x), q = x * x;
  float near = 1.0F / 9360;
  near = near * q - 1.0F / 1320;
  near = near * q + 1.0F / 216;
  near = near * q - 1.0F / 42;
  near = near * q + 1.0F / 10;
  near = near * q - 1.0F / 3;
  near = near * q + 1.0F;
  near = near * size * 1.12837916709551257F;
  const float clamped = size > 4.1F ? 4.1F : size;  // it is 1 from 3.9 on
  const float t = 1.0F / (1.0F + 0.5F * clamped);
  float p = 0.11629457771778107F;
  p = p * t - 0.4601682126522064F;
  p = p * t + 0.5464015007019043F;
  p = p * t - 0.08946342021226883F;
  p = p * t + 0.3407723009586334F;
  p = p * t + 0.26175716519355774F;
  p = p * t + 0.2845783829689026F;
  p = p * t - 0.00013135254266671836F;
  const float far = 1.0F - exponential(-clamped * clamped) * p;
  return std::copysign(size < 0.6F ? near : far, x);
}

}  // namespace hal::host
