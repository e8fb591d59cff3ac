// SPDX-License-Identifier: Apache-2.0
// f16 and bf16, single and packed in pairs.
#include <cmath>

#include "vm/ops/scalar.hpp"

namespace hal::emulated_cuda {
namespace {

template <class H>
[[gnu::always_inline]] inline H rounded(float x) {
  if constexpr (sizeof(H) == 2 && __is_same(H, Half)) {
    return to_half(x);
  } else {
    return to_brain(x);
  }
}

template <class H, class F>
Handler one(F) {
  return lanes<H, H>([](H a) { return rounded<H>(F{}(to_float(a))); });
}
template <class H, class F>
Handler one_called(F) {
  return lanes_one_by_one<H, H>([](H a) { return rounded<H>(F{}(to_float(a))); });
}
template <class H, class F>
Handler two(F) {
  return lanes<H, H, H>([](H a, H b) { return rounded<H>(F{}(to_float(a), to_float(b))); });
}

// Applies a scalar operation to both halves of a 32-bit register.
template <class H, class F, class... S>
[[gnu::always_inline]] inline u32 both(F f, S... s) {
  const H low = f(H{static_cast<u16>(s)}...);
  const H high = f(H{static_cast<u16>(s >> 16)}...);
  return static_cast<u32>(low.bits) | (static_cast<u32>(high.bits) << 16);
}

template <class H>
void family(OperationTable& t, const char* type, const char* pair) {
  // Sums and products of two 11-bit numbers are exact in double; through float a second rounding could differ for
  // sums, so they take the path of the fused operation (x * 1 + y).
  struct Add {
    H operator()(H a, H b) const { return rounded<H>(fused(a, rounded<H>(1.0f), b)); }
  };
  struct Sub {
    H operator()(H a, H b) const { return rounded<H>(fused(b, rounded<H>(-1.0f), a)); }
  };
  struct Mul {
    H operator()(H a, H b) const { return rounded<H>(to_float(a) * to_float(b)); }
  };
  struct Fma {
    H operator()(H a, H b, H c) const { return rounded<H>(fused(a, b, c)); }
  };
  struct FmaRelu {
    H operator()(H a, H b, H c) const {
      const float r = fused(a, b, c);
      return is_nan(r) ? H{0x7fff} : rounded<H>(r > 0.0f ? r : 0.0f);
    }
  };
  struct Min {
    H operator()(H a, H b) const { return rounded<H>(smaller(to_float(a), to_float(b))); }
  };
  struct Max {
    H operator()(H a, H b) const { return rounded<H>(larger(to_float(a), to_float(b))); }
  };
  struct MinNan {
    H operator()(H a, H b) const {
      const float x = to_float(a), y = to_float(b);
      return is_nan(x) || is_nan(y) ? H{0x7fff} : rounded<H>(smaller(x, y));
    }
  };
  struct MaxNan {
    H operator()(H a, H b) const {
      const float x = to_float(a), y = to_float(b);
      return is_nan(x) || is_nan(y) ? H{0x7fff} : rounded<H>(larger(x, y));
    }
  };
  struct Abs {
    H operator()(H a) const { return H{static_cast<u16>(a.bits & 0x7fffu)}; }
  };
  struct Neg {
    H operator()(H a) const { return H{static_cast<u16>(a.bits ^ 0x8000u)}; }
  };

  t.add({"add", type}, lanes<H, H, H>(Add{}));
  t.add({"sub", type}, lanes<H, H, H>(Sub{}));
  t.add({"mul", type}, lanes<H, H, H>(Mul{}));
  t.add({"fma", type}, lanes<H, H, H, H>(Fma{}));
  t.add({"fma.relu", type}, lanes<H, H, H, H>(FmaRelu{}));
  t.add({"min", type}, lanes<H, H, H>(Min{}));
  t.add({"max", type}, lanes<H, H, H>(Max{}));
  t.add({"min.NaN", type}, lanes<H, H, H>(MinNan{}));
  t.add({"max.NaN", type}, lanes<H, H, H>(MaxNan{}));
  t.add({"abs", type}, lanes<H, H>(Abs{}));
  t.add({"neg", type}, lanes<H, H>(Neg{}));
  t.add({"ex2", type}, one_called<H>([](float a) { return ::exp2f(a); }));
  t.add({"tanh", type}, one_called<H>([](float a) { return ::tanhf(a); }));

  t.add({"add", pair}, lanes<u32, u32, u32>([](u32 a, u32 b) { return both<H>(Add{}, a, b); }));
  t.add({"sub", pair}, lanes<u32, u32, u32>([](u32 a, u32 b) { return both<H>(Sub{}, a, b); }));
  t.add({"mul", pair}, lanes<u32, u32, u32>([](u32 a, u32 b) { return both<H>(Mul{}, a, b); }));
  t.add({"fma", pair}, lanes<u32, u32, u32, u32>([](u32 a, u32 b, u32 c) { return both<H>(Fma{}, a, b, c); }));
  t.add({"min", pair}, lanes<u32, u32, u32>([](u32 a, u32 b) { return both<H>(Min{}, a, b); }));
  t.add({"max", pair}, lanes<u32, u32, u32>([](u32 a, u32 b) { return both<H>(Max{}, a, b); }));
  t.add({"abs", pair}, lanes<u32, u32>([](u32 a) { return a & 0x7fff7fffu; }));
  t.add({"neg", pair}, lanes<u32, u32>([](u32 a) { return a ^ 0x80008000u; }));
}

}  // namespace

void HALYARD_VM_ISA::register_half(OperationTable& t) {
  family<Half>(t, "f16", "f16x2");
  family<Brain>(t, "bf16", "bf16x2");
}

}  // namespace hal::emulated_cuda
