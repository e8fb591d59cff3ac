// SPDX-License-Identifier: Apache-2.0
// cvt. Float to integer saturates and turns NaN into 0; directed rounding of inexact results is in rounding.cpp.
#include "vm/ops/scalar.hpp"

namespace hal::emulated_cuda {
namespace {

template <class T>
struct Limits {
  static constexpr bool kSigned = static_cast<T>(-1) < static_cast<T>(0);
  static constexpr u32 kBits = 8 * sizeof(T);
  static constexpr T kMax = static_cast<T>(kSigned ? (1ull << (kBits - 1)) - 1 : ~0ull >> (64 - kBits));
  static constexpr T kMin = static_cast<T>(kSigned ? ~((1ull << (kBits - 1)) - 1) : 0);
};

template <class D, class S>
[[gnu::always_inline]] inline D clamped(S x) {
  if constexpr (Limits<S>::kSigned) {
    if (x < 0) {
      if constexpr (!Limits<D>::kSigned) {
        return 0;
      } else {
        return static_cast<s64>(x) < static_cast<s64>(Limits<D>::kMin) ? Limits<D>::kMin : static_cast<D>(x);
      }
    }
  }
  return static_cast<u64>(x) > static_cast<u64>(Limits<D>::kMax) ? Limits<D>::kMax : static_cast<D>(x);
}

template <class I>
[[gnu::always_inline]] inline I to_integer(double x) {  // x is a whole number or not finite
  constexpr double kTop = 2.0 * static_cast<double>(1ull << (Limits<I>::kBits - 1 - (Limits<I>::kSigned ? 1 : 0)));
  if (!(x < kTop)) { return is_nan(x) ? static_cast<I>(0) : Limits<I>::kMax; }
  if (x < static_cast<double>(Limits<I>::kMin)) { return Limits<I>::kMin; }
  return static_cast<I>(x);
}

[[gnu::always_inline]] inline double number(float x) { return static_cast<double>(x); }
[[gnu::always_inline]] inline double number(double x) { return x; }
[[gnu::always_inline]] inline double number(Half x) { return static_cast<double>(to_float(x)); }
[[gnu::always_inline]] inline double number(Brain x) { return static_cast<double>(to_float(x)); }

template <class D, class S>
void integers(OperationTable& t, const char* d, const char* s) {
  t.add({"cvt", d, s}, lanes<D, S>([](S x) { return static_cast<D>(x); }));
  t.add({"cvt.sat", d, s}, lanes<D, S>([](S x) { return clamped<D>(x); }));
}

template <class I, class F>
void float_to_integer(OperationTable& t, const char* i, const char* f) {
  t.add({"cvt.rni", i, f}, lanes<I, F>([](F x) { return to_integer<I>(__builtin_rint(number(x))); }));
  t.add({"cvt.rzi", i, f}, lanes<I, F>([](F x) { return to_integer<I>(__builtin_trunc(number(x))); }));
  t.add({"cvt.rmi", i, f}, lanes<I, F>([](F x) { return to_integer<I>(__builtin_floor(number(x))); }));
  t.add({"cvt.rpi", i, f}, lanes<I, F>([](F x) { return to_integer<I>(__builtin_ceil(number(x))); }));
}

template <class I>
void integer_to_float(OperationTable& t, const char* i) {
  t.add({"cvt.rn.f32", i}, lanes<float, I>([](I x) { return static_cast<float>(x); }));
  t.add({"cvt.rn.f64", i}, lanes<double, I>([](I x) { return static_cast<double>(x); }));
  // Through odd rounding: one rounding in all.
  t.add({"cvt.rn.f16", i}, lanes<Half, I>([](I x) { return to_half(to_float_odd(static_cast<double>(x))); }));
  t.add({"cvt.rn.bf16", i}, lanes<Brain, I>([](I x) { return to_brain(to_float_odd(static_cast<double>(x))); }));
}

template <class I>
void row(OperationTable& t, const char* i) {
  integers<I, u8>(t, i, "u8");
  integers<I, u16>(t, i, "u16");
  integers<I, u32>(t, i, "u32");
  integers<I, u64>(t, i, "u64");
  integers<I, s8>(t, i, "s8");
  integers<I, s16>(t, i, "s16");
  integers<I, s32>(t, i, "s32");
  integers<I, s64>(t, i, "s64");
  float_to_integer<I, float>(t, i, "f32");
  float_to_integer<I, double>(t, i, "f64");
  float_to_integer<I, Half>(t, i, "f16");
  float_to_integer<I, Brain>(t, i, "bf16");
  integer_to_float<I>(t, i);
}

template <class T>
void same(OperationTable& t, const char* type) {  // cvt.rni.f32.f32 and the like: round to a whole number
  t.add({"cvt", type, type}, lanes<T, T>([](T x) { return x; }));
  t.add({"cvt.sat", type, type}, lanes<T, T>([](T x) { return saturated(x); }));
  t.add({"cvt.rni", type, type}, lanes<T, T>([](T x) { return static_cast<T>(__builtin_rint(number(x))); }));
  t.add({"cvt.rzi", type, type}, lanes<T, T>([](T x) { return static_cast<T>(__builtin_trunc(number(x))); }));
  t.add({"cvt.rmi", type, type}, lanes<T, T>([](T x) { return static_cast<T>(__builtin_floor(number(x))); }));
  t.add({"cvt.rpi", type, type}, lanes<T, T>([](T x) { return static_cast<T>(__builtin_ceil(number(x))); }));
}

template <class H>
[[gnu::always_inline]] inline H narrow(float x) {
  if constexpr (__is_same(H, Half)) {
    return to_half(x);
  } else {
    return to_brain(x);
  }
}
[[gnu::always_inline]] inline float relu(float x) { return x > 0.0f || is_nan(x) ? x : 0.0f; }

template <class H>
void sixteen(OperationTable& t, const char* h, const char* pair) {
  t.add({"cvt.f32", h}, lanes<float, H>([](H x) { return to_float(x); }));
  t.add({"cvt.f64", h}, lanes<double, H>([](H x) { return number(x); }));
  t.add({"cvt.rn", h, "f32"}, lanes<H, float>([](float x) { return narrow<H>(x); }));
  t.add({"cvt.rn.relu", h, "f32"}, lanes<H, float>([](float x) { return narrow<H>(relu(x)); }));
  t.add({"cvt.rn", h, "f64"}, lanes<H, double>([](double x) { return narrow<H>(to_float_odd(x)); }));
  // d = {high: a, low: b}
  t.add({"cvt.rn", pair, "f32"}, lanes<u32, float, float>([](float a, float b) {
          return (static_cast<u32>(narrow<H>(a).bits) << 16) | narrow<H>(b).bits;
        }));
  t.add({"cvt.rn.relu", pair, "f32"}, lanes<u32, float, float>([](float a, float b) {
          return (static_cast<u32>(narrow<H>(relu(a)).bits) << 16) | narrow<H>(relu(b)).bits;
        }));
}

}  // namespace

void HALYARD_VM_ISA::register_convert(OperationTable& t) {
  row<u8>(t, "u8");
  row<u16>(t, "u16");
  row<u32>(t, "u32");
  row<u64>(t, "u64");
  row<s8>(t, "s8");
  row<s16>(t, "s16");
  row<s32>(t, "s32");
  row<s64>(t, "s64");
  same<float>(t, "f32");
  same<double>(t, "f64");
  t.add({"cvt.ftz.f32.f32"}, lanes<float, float>([](float x) { return flushed(x); }));
  t.add({"cvt.ftz.sat.f32.f32"}, lanes<float, float>([](float x) { return saturated(flushed(x)); }));
  t.add({"cvt.f64.f32"}, lanes<double, float>([](float x) { return static_cast<double>(x); }));
  t.add({"cvt.rn.f32.f64"}, lanes<float, double>([](double x) { return static_cast<float>(x); }));
  t.add({"cvt.rn.sat.f32.f64"}, lanes<float, double>([](double x) { return saturated(static_cast<float>(x)); }));
  sixteen<Half>(t, "f16", "f16x2");
  sixteen<Brain>(t, "bf16", "bf16x2");
}

}  // namespace hal::emulated_cuda
