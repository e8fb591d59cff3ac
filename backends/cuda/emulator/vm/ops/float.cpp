// SPDX-License-Identifier: Apache-2.0
// Single and double precision arithmetic in round to nearest. Approximate functions give the C library's result, which
// is closer than a GPU's.
#include <cmath>

#include "vm/ops/scalar.hpp"

namespace hal::emulated_cuda {
namespace {

template <bool Flush>
[[gnu::always_inline]] inline float in(float x) {
  if constexpr (Flush) { return flushed(x); }
  return x;
}
template <bool Flush, bool Saturate>
[[gnu::always_inline]] inline float out(float x) {
  if constexpr (Flush) { x = flushed(x); }
  if constexpr (Saturate) { x = saturated(x); }
  return x;
}
// A computed NaN has one bit pattern on a GPU.
[[gnu::always_inline]] inline float canonical(float x) { return is_nan(x) ? as<float>(0x7fffffffu) : x; }

template <bool F, bool S>
void arithmetic(OperationTable& t, const char* mods) {
  t.add({"add", mods, "f32"},
        lanes<float, float, float>([](float a, float b) { return out<F, S>(in<F>(a) + in<F>(b)); }));
  t.add({"sub", mods, "f32"},
        lanes<float, float, float>([](float a, float b) { return out<F, S>(in<F>(a) - in<F>(b)); }));
  t.add({"mul", mods, "f32"},
        lanes<float, float, float>([](float a, float b) { return out<F, S>(in<F>(a) * in<F>(b)); }));
  t.add({"fma", mods, "f32"}, lanes<float, float, float, float>([](float a, float b, float c) {
          return out<F, S>(__builtin_fmaf(in<F>(a), in<F>(b), in<F>(c)));
        }));
}

template <bool F>
void functions(OperationTable& t, const char* mods) {
  t.add({"div", mods, "f32"},
        lanes<float, float, float>([](float a, float b) { return out<F, false>(in<F>(a) / in<F>(b)); }));
  t.add({"rcp", mods, "f32"}, lanes<float, float>([](float a) { return out<F, false>(1.0f / in<F>(a)); }));
  t.add({"sqrt", mods, "f32"}, lanes<float, float>([](float a) { return out<F, false>(__builtin_sqrtf(in<F>(a))); }));
  t.add({"rsqrt", mods, "f32"}, lanes<float, float>([](float a) {
          return out<F, false>(static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(in<F>(a)))));
        }));
  t.add({"ex2", mods, "f32"}, lanes_one_by_one<float, float>([](float a) { return out<F, false>(::exp2f(in<F>(a))); }));
  t.add({"lg2", mods, "f32"},
        lanes_one_by_one<float, float>([](float a) { return out<F, false>(canonical(::log2f(in<F>(a)))); }));
  t.add({"sin", mods, "f32"},
        lanes_one_by_one<float, float>([](float a) { return out<F, false>(canonical(::sinf(in<F>(a)))); }));
  t.add({"cos", mods, "f32"},
        lanes_one_by_one<float, float>([](float a) { return out<F, false>(canonical(::cosf(in<F>(a)))); }));
  t.add({"tanh", mods, "f32"},
        lanes_one_by_one<float, float>([](float a) { return out<F, false>(::tanhf(in<F>(a))); }));
  t.add({"abs", mods, "f32"}, lanes<float, float>([](float a) { return as<float>(as<u32>(in<F>(a)) & 0x7fffffffu); }));
  t.add({"neg", mods, "f32"}, lanes<float, float>([](float a) { return as<float>(as<u32>(in<F>(a)) ^ 0x80000000u); }));
  t.add({"min", mods, "f32"},
        lanes<float, float, float>([](float a, float b) { return canonical(smaller(in<F>(a), in<F>(b))); }));
  t.add({"max", mods, "f32"},
        lanes<float, float, float>([](float a, float b) { return canonical(larger(in<F>(a), in<F>(b))); }));
  t.add({"min", mods, "NaN.f32"}, lanes<float, float, float>([](float a, float b) {
          return is_nan(a) || is_nan(b) ? as<float>(0x7fffffffu) : smaller(in<F>(a), in<F>(b));
        }));
  t.add({"max", mods, "NaN.f32"}, lanes<float, float, float>([](float a, float b) {
          return is_nan(a) || is_nan(b) ? as<float>(0x7fffffffu) : larger(in<F>(a), in<F>(b));
        }));
}

// What .approx.ftz.f64 works with: the upper half of the number, and no subnormals (PTX ISA, rcp.approx.ftz.f64).
double upper_half(double a) {
  const u64 bits = as<u64>(a) & 0xffffffff00000000ull;
  return as<double>((bits & (0x7ffull << 52)) == 0 ? bits & (1ull << 63) : bits);
}

void doubles(OperationTable& t) {
  t.add({"rcp.ftz.f64"}, lanes_one_by_one<double, double>([](double a) { return upper_half(1.0 / upper_half(a)); }));
  t.add({"rsqrt.ftz.f64"},
        lanes_one_by_one<double, double>([](double a) { return upper_half(1.0 / __builtin_sqrt(upper_half(a))); }));
  t.add({"add.f64"}, lanes<double, double, double>([](double a, double b) { return a + b; }));
  t.add({"sub.f64"}, lanes<double, double, double>([](double a, double b) { return a - b; }));
  t.add({"mul.f64"}, lanes<double, double, double>([](double a, double b) { return a * b; }));
  t.add({"fma.f64"},
        lanes<double, double, double, double>([](double a, double b, double c) { return __builtin_fma(a, b, c); }));
  t.add({"div.f64"}, lanes<double, double, double>([](double a, double b) { return a / b; }));
  t.add({"rcp.f64"}, lanes<double, double>([](double a) { return 1.0 / a; }));
  t.add({"sqrt.f64"}, lanes<double, double>([](double a) { return __builtin_sqrt(a); }));
  t.add({"rsqrt.f64"}, lanes<double, double>([](double a) { return 1.0 / __builtin_sqrt(a); }));
  t.add({"abs.f64"}, lanes<double, double>([](double a) { return as<double>(as<u64>(a) & ~(1ull << 63)); }));
  t.add({"neg.f64"}, lanes<double, double>([](double a) { return as<double>(as<u64>(a) ^ (1ull << 63)); }));
  t.add({"min.f64"}, lanes<double, double, double>([](double a, double b) { return smaller(a, b); }));
  t.add({"max.f64"}, lanes<double, double, double>([](double a, double b) { return larger(a, b); }));
}

}  // namespace

void HALYARD_VM_ISA::register_float(OperationTable& t) {
  arithmetic<false, false>(t, "");
  arithmetic<true, false>(t, "ftz");
  arithmetic<false, true>(t, "sat");
  arithmetic<true, true>(t, "ftz.sat");
  functions<false>(t, "");
  functions<true>(t, "ftz");
  doubles(t);
  // copysign d, a, b: the sign of a on the magnitude of b.
  t.add({"copysign.f32"}, lanes<u32, u32, u32>([](u32 a, u32 b) { return (a & 0x80000000u) | (b & 0x7fffffffu); }));
  t.add({"copysign.f64"}, lanes<u64, u64, u64>([](u64 a, u64 b) { return (a & (1ull << 63)) | (b & ~(1ull << 63)); }));
}

}  // namespace hal::emulated_cuda
