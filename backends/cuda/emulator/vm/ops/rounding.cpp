// SPDX-License-Identifier: Apache-2.0
// Arithmetic with the directed rounding modes .rz .rm .rp. Compiled with -frounding-math, once; each handler switches
// the mode of its thread for its own loop. Loads and stores cannot cross the calls, so the operations stay between.
#define HALYARD_VM_ISA isa_rounding
#include <cfenv>
#include <cmath>

#include "vm/ops/scalar.hpp"

namespace hal::emulated_cuda {
namespace {

template <int Mode, class D, class F, class... S>
[[gnu::noinline]] void directed(Warp& w, const Instruction& i, u32 mask, F f, const S*... s) {
  const int before = std::fegetround();
  std::fesetround(Mode);
  D* d = w.row<D>(i.rows[0]);
  for (u32 l = 0; l < kLanes; ++l) {
    if (((mask >> l) & 1u) != 0) { d[l] = f(s[l]...); }
  }
  std::fesetround(before);
}

template <int Mode, class D, class... S, class F>
Handler mode(F) {
  return []<std::size_t... K>(std::index_sequence<K...>) -> Handler {
    return [](Warp& w, const Instruction& i, u32 mask) {
      directed<Mode, D>(w, i, mask, F{}, static_cast<const S*>(w.row<S>(i.rows[K + 1]))...);
    };
  }(std::index_sequence_for<S...>{});
}

template <int M, class T>
void arithmetic(OperationTable& t, const char* round, const char* type) {
  t.add({"add", round, type}, mode<M, T, T, T>([](T a, T b) { return a + b; }));
  t.add({"sub", round, type}, mode<M, T, T, T>([](T a, T b) { return a - b; }));
  t.add({"mul", round, type}, mode<M, T, T, T>([](T a, T b) { return a * b; }));
  t.add({"fma", round, type}, mode<M, T, T, T, T>([](T a, T b, T c) { return std::fma(a, b, c); }));
  t.add({"div", round, type}, mode<M, T, T, T>([](T a, T b) { return a / b; }));
  t.add({"rcp", round, type}, mode<M, T, T>([](T a) { return static_cast<T>(1) / a; }));
  t.add({"sqrt", round, type}, mode<M, T, T>([](T a) { return std::sqrt(a); }));
}

// -ftz variants of what compilers emit for exp.
template <int M>
void flushing(OperationTable& t, const char* round) {
  t.add({"add", round, "ftz.f32"},
        mode<M, float, float, float>([](float a, float b) { return flushed(flushed(a) + flushed(b)); }));
  t.add({"mul", round, "ftz.f32"},
        mode<M, float, float, float>([](float a, float b) { return flushed(flushed(a) * flushed(b)); }));
  t.add({"fma", round, "ftz.f32"}, mode<M, float, float, float, float>([](float a, float b, float c) {
          return flushed(std::fma(flushed(a), flushed(b), flushed(c)));
        }));
}

template <int M, class I>
void from_integer(OperationTable& t, const char* round, const char* type) {
  t.add({"cvt", round, "f32", type}, mode<M, float, I>([](I x) { return static_cast<float>(x); }));
  t.add({"cvt", round, "f64", type}, mode<M, double, I>([](I x) { return static_cast<double>(x); }));
}

template <int M>
void one_mode(OperationTable& t, const char* round) {
  arithmetic<M, float>(t, round, "f32");
  arithmetic<M, double>(t, round, "f64");
  flushing<M>(t, round);
  from_integer<M, u32>(t, round, "u32");
  from_integer<M, s32>(t, round, "s32");
  from_integer<M, u64>(t, round, "u64");
  from_integer<M, s64>(t, round, "s64");
  t.add({"cvt", round, "f32", "f64"}, mode<M, float, double>([](double x) { return static_cast<float>(x); }));
}

}  // namespace

void register_rounding(OperationTable& t) {
  one_mode<FE_TOWARDZERO>(t, "rz");
  one_mode<FE_DOWNWARD>(t, "rm");
  one_mode<FE_UPWARD>(t, "rp");
}

}  // namespace hal::emulated_cuda
