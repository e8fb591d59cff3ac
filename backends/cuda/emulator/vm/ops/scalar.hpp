// SPDX-License-Identifier: Apache-2.0
// Scalar helpers of the floating point operations. Unnamed namespace for the same reason as in lanes.hpp.
#pragma once

#include "vm/ops/lanes.hpp"

namespace hal::emulated_cuda {
namespace {

// 16-bit rows with a meaning.
struct Half {
  u16 bits;
};
struct Brain {
  u16 bits;
};

[[gnu::always_inline]] inline bool is_nan(float x) { return x != x; }
[[gnu::always_inline]] inline bool is_nan(double x) { return x != x; }

[[gnu::always_inline]] inline float flushed(float x) {
  const u32 b = as<u32>(x);
  return as<float>((b & 0x7f800000u) == 0 ? b & 0x80000000u : b);
}
[[gnu::always_inline]] inline float saturated(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }  // NaN: 0
[[gnu::always_inline]] inline double saturated(double x) { return x > 0.0 ? (x < 1.0 ? x : 1.0) : 0.0; }

[[gnu::always_inline]] inline float to_float(Half h) {
  const u32 sign = static_cast<u32>(h.bits & 0x8000u) << 16;
  const u32 rest = h.bits & 0x7fffu;
  // Shift the exponent by multiplying with 2^112: subnormals come out right; infinities and NaNs are patched after.
  const float scaled = as<float>(rest << 13) * as<float>(0x77800000u);
  const u32 bits = rest >= 0x7c00u ? (rest << 13) | 0x7f800000u : as<u32>(scaled);
  return as<float>(bits | sign);
}
[[gnu::always_inline]] inline float to_float(Brain b) { return as<float>(static_cast<u32>(b.bits) << 16); }

[[gnu::always_inline]] inline Half to_half(float x) {  // round to nearest even
  const u32 b = as<u32>(x);
  const u32 sign = (b >> 16) & 0x8000u;
  const u32 magnitude = b & 0x7fffffffu;
  const u32 normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  // Below 2^-14 the unit is 2^-24: adding 0.5 lines the mantissa up, and the addition rounds to nearest even.
  const u32 subnormal = as<u32>(as<float>(magnitude) + 0.5f) - 0x3f000000u;
  u32 r = magnitude < 0x38800000u ? subnormal : normal;
  r = magnitude >= 0x477ff000u ? 0x7c00u : r;
  r = magnitude > 0x7f800000u ? 0x7fffu : r;
  return {static_cast<u16>(sign | r)};
}
[[gnu::always_inline]] inline Brain to_brain(float x) {
  const u32 b = as<u32>(x);
  const u32 rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
  return {static_cast<u16>((b & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : rounded)};
}

// A double rounded to odd carries enough bits for a second rounding to a narrower format to be exact.
[[gnu::always_inline]] inline double sum_rounded_to_odd(double a, double b) {
  const double s = a + b;
  const double bv = s - a;
  const double error = (a - (s - bv)) + (b - bv);
  const u64 bits = as<u64>(s);
  if (error != 0.0 && (bits & 1u) == 0 && s - s == 0.0) {
    const bool away = (error > 0.0) == (s > 0.0);
    return as<double>(away ? bits + 1 : bits - 1);
  }
  return s;
}
[[gnu::always_inline]] inline float to_float_odd(double x) {  // the same from double to float
  const float f = static_cast<float>(x);
  const u32 bits = as<u32>(f);
  const double back = static_cast<double>(f);
  if (back != x && (bits & 1u) == 0 && f - f == 0.0f) {
    const bool away = (x > back) == (f > 0.0f || (f == 0.0f && x > 0.0));
    if (f == 0.0f) { return x > 0.0 ? as<float>(1u) : as<float>(0x80000001u); }
    return as<float>(away ? bits + 1 : bits - 1);
  }
  return f;
}
// a * b + c in f16 or bf16 with one rounding.
template <class H>
[[gnu::always_inline]] inline float fused(H a, H b, H c) {
  const double product = static_cast<double>(to_float(a)) * static_cast<double>(to_float(b));
  return to_float_odd(sum_rounded_to_odd(product, static_cast<double>(to_float(c))));
}

// PTX min and max: a NaN loses against a number, and -0 is below +0.
template <class T>
[[gnu::always_inline]] inline T smaller(T a, T b) {
  if (is_nan(a)) { return b; }
  if (is_nan(b)) { return a; }
  if (a == b) { return __builtin_signbit(a) ? a : b; }
  return a < b ? a : b;
}
template <class T>
[[gnu::always_inline]] inline T larger(T a, T b) {
  if (is_nan(a)) { return b; }
  if (is_nan(b)) { return a; }
  if (a == b) { return __builtin_signbit(a) ? b : a; }
  return a > b ? a : b;
}

}  // namespace
}  // namespace hal::emulated_cuda
