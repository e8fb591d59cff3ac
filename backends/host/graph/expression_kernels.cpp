// SPDX-License-Identifier: Apache-2.0
#include "graph/expression_kernels.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

#include "graph/elementary.hpp"
#include "graph/simd.hpp"

// Element i depends on element i alone, also where out is an operand.
#if defined(__clang__)
#define HAL_HOST_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define HAL_HOST_INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace hal::host {

namespace {

using graph::Opcode;

template <class Real>
[[gnu::always_inline]] inline Real truth(bool value) {
  return value ? Real{1} : Real{0};
}

[[gnu::always_inline]] inline float square_root(float x) { return __builtin_sqrtf(x); }
[[gnu::always_inline]] inline double square_root(double x) { return __builtin_sqrt(x); }

template <class T, class F>
[[gnu::always_inline]] inline void each(const T* a, T* out, std::size_t count, F f) {
  HAL_HOST_INDEPENDENT
  for (std::size_t i = 0; i < count; ++i) { out[i] = f(a[i]); }
}

template <class T, class F>
[[gnu::always_inline]] inline void each(const T* a, const T* b, T* out, std::size_t count, F f) {
  HAL_HOST_INDEPENDENT
  for (std::size_t i = 0; i < count; ++i) { out[i] = f(a[i], b[i]); }
}

// For functions of the C library: plain loops.
template <class Real, class F>
void each_call(const Real* a, Real* out, std::size_t count, F f) {
  for (std::size_t i = 0; i < count; ++i) { out[i] = f(a[i]); }
}

// Functions with a shorter way for most values look at so many at a time; but for the last ones the compiler knows how
// many.
constexpr std::size_t kNeighbours = 256;
template <class Body>
[[gnu::always_inline]] inline void by_neighbours(std::size_t count, Body body) {
  std::size_t i = 0;
  for (; i + kNeighbours <= count; i += kNeighbours) { body(i, kNeighbours); }
  if (i < count) { body(i, count - i); }
}

// The bits of |x|, which rise with it; NaN is above all.
[[gnu::always_inline]] inline std::uint32_t magnitude(float x) { return std::bit_cast<std::uint32_t>(x) & 0x7fffffffU; }

template <class F>
[[gnu::always_inline]] inline std::uint32_t most(const float* a, std::size_t count, F f) {
  std::uint32_t out = 0;
  for (std::size_t i = 0; i < count; ++i) { out = std::max(out, f(a[i])); }
  return out;
}

[[gnu::always_inline]] inline void exponentials(const float* a, float* out, std::size_t count) {
  by_neighbours(count, [&](std::size_t i, std::size_t n) __attribute__((always_inline)) {
    if (most(a + i, n, [](float x) { return magnitude(x); }) <= magnitude(kNormalExponent)) {
      each(a + i, out + i, n, [](float x) { return normal_exponential(x); });
    } else {
      each(a + i, out + i, n, [](float x) { return exponential(x); });
    }
  });
}

// Wrapping arithmetic; the unsigned type of the same width does not overflow.
template <class I>
struct Wrapping {
  using U = std::make_unsigned_t<I>;
  [[gnu::always_inline]] static I plus(I a, I b) { return static_cast<I>(static_cast<U>(a) + static_cast<U>(b)); }
  [[gnu::always_inline]] static I minus(I a, I b) { return static_cast<I>(static_cast<U>(a) - static_cast<U>(b)); }
  [[gnu::always_inline]] static I times(I a, I b) { return static_cast<I>(static_cast<U>(a) * static_cast<U>(b)); }
  // The least integer by -1 wraps to itself.
  static I quotient(I a, I b) { return b == 0 ? 0 : b == -1 ? minus(0, a) : a / b; }
  static I rest(I a, I b) { return b == 0 || b == -1 ? 0 : a % b; }
};

template <class Real>
[[gnu::always_inline]] inline void apply_real(Opcode opcode, const Real* a, const Real* b, const Real* c, Real* out,
                                              std::size_t count) {
  switch (opcode) {
    case Opcode::add:
      return each(a, b, out, count, [](Real x, Real y) { return x + y; });
    case Opcode::sub:
      return each(a, b, out, count, [](Real x, Real y) { return x - y; });
    case Opcode::mul:
      return each(a, b, out, count, [](Real x, Real y) { return x * y; });
    case Opcode::div:
      return each(a, b, out, count, [](Real x, Real y) { return x / y; });
    case Opcode::min:
      return each(a, b, out, count, [](Real x, Real y) { return !(x >= y) && y == y ? x : y; });
    case Opcode::max:
      return each(a, b, out, count, [](Real x, Real y) { return !(x <= y) && y == y ? x : y; });
    case Opcode::neg:
      return each(a, out, count, [](Real x) { return -x; });
    case Opcode::abs:
      return each(a, out, count, [](Real x) { return std::fabs(x); });
    case Opcode::exp:
      if constexpr (std::is_same_v<Real, float>) { return exponentials(a, out, count); }
      return each_call(a, out, count, [](Real x) { return std::exp(x); });
    case Opcode::sqrt:
      return each(a, out, count, [](Real x) { return square_root(x); });
    case Opcode::rsqrt:
      return each(a, out, count, [](Real x) { return 1 / square_root(x); });
    case Opcode::floor:
      return each(a, out, count, [](Real x) { return std::floor(x); });
    case Opcode::ceil:
      return each(a, out, count, [](Real x) { return std::ceil(x); });
    case Opcode::round:
      return each(a, out, count, [](Real x) { return std::rint(x); });
    case Opcode::eq:
      return each(a, b, out, count, [](Real x, Real y) { return truth<Real>(x == y); });
    case Opcode::ne:
      return each(a, b, out, count, [](Real x, Real y) { return truth<Real>(x != y); });
    case Opcode::lt:
      return each(a, b, out, count, [](Real x, Real y) { return truth<Real>(x < y); });
    case Opcode::le:
      return each(a, b, out, count, [](Real x, Real y) { return truth<Real>(x <= y); });
    case Opcode::gt:
      return each(a, b, out, count, [](Real x, Real y) { return truth<Real>(x > y); });
    case Opcode::ge:
      return each(a, b, out, count, [](Real x, Real y) { return truth<Real>(x >= y); });
    case Opcode::logical_and:
      return each(a, b, out, count, [](Real x, Real y) { return truth<Real>((x != 0) & (y != 0)); });
    case Opcode::logical_or:
      return each(a, b, out, count, [](Real x, Real y) { return truth<Real>((x != 0) | (y != 0)); });
    case Opcode::logical_not:
      return each(a, out, count, [](Real x) { return truth<Real>(x == 0); });
    case Opcode::select:
      HAL_HOST_INDEPENDENT
      for (std::size_t i = 0; i < count; ++i) { out[i] = a[i] != 0 ? b[i] : c[i]; }
      return;
    case Opcode::log:
      if constexpr (std::is_same_v<Real, float>) {
        return each(a, out, count, [](Real x) { return logarithm(x); });
      }
      return each_call(a, out, count, [](Real x) { return std::log(x); });
    case Opcode::tanh:
      if constexpr (std::is_same_v<Real, float>) {
        return each(a, out, count, [](Real x) { return hyperbolic_tangent(x); });
      }
      return each_call(a, out, count, [](Real x) { return std::tanh(x); });
    case Opcode::erf:
      if constexpr (std::is_same_v<Real, float>) {
        return each(a, out, count, [](Real x) { return error_function(x); });
      }
      return each_call(a, out, count, [](Real x) { return std::erf(x); });
    case Opcode::sin:
      return each_call(a, out, count, [](Real x) { return std::sin(x); });
    case Opcode::cos:
      return each_call(a, out, count, [](Real x) { return std::cos(x); });
    case Opcode::pow:
      for (std::size_t i = 0; i < count; ++i) { out[i] = std::pow(a[i], b[i]); }
      return;
    case Opcode::mod:
      for (std::size_t i = 0; i < count; ++i) { out[i] = std::fmod(a[i], b[i]); }
      return;
    case Opcode::input:
    case Opcode::constant:
    case Opcode::size:
      return;  // operands, not operations
  }
}

template <class I>
[[gnu::always_inline]] inline void apply_whole(Opcode opcode, const I* a, const I* b, const I* c, I* out,
                                               std::size_t count) {
  using W = Wrapping<I>;
  switch (opcode) {
    case Opcode::add:
      return each(a, b, out, count, W::plus);
    case Opcode::sub:
      return each(a, b, out, count, W::minus);
    case Opcode::mul:
      return each(a, b, out, count, W::times);
    case Opcode::div:
      for (std::size_t i = 0; i < count; ++i) { out[i] = W::quotient(a[i], b[i]); }
      return;
    case Opcode::mod:
      for (std::size_t i = 0; i < count; ++i) { out[i] = W::rest(a[i], b[i]); }
      return;
    case Opcode::min:
      return each(a, b, out, count, [](I x, I y) { return x < y ? x : y; });
    case Opcode::max:
      return each(a, b, out, count, [](I x, I y) { return x > y ? x : y; });
    case Opcode::neg:
      return each(a, out, count, [](I x) { return W::minus(0, x); });
    case Opcode::abs:
      return each(a, out, count, [](I x) { return x < 0 ? W::minus(0, x) : x; });
    case Opcode::eq:
      return each(a, b, out, count, [](I x, I y) { return x == y ? 1 : 0; });
    case Opcode::ne:
      return each(a, b, out, count, [](I x, I y) { return x != y ? 1 : 0; });
    case Opcode::lt:
      return each(a, b, out, count, [](I x, I y) { return x < y ? 1 : 0; });
    case Opcode::le:
      return each(a, b, out, count, [](I x, I y) { return x <= y ? 1 : 0; });
    case Opcode::gt:
      return each(a, b, out, count, [](I x, I y) { return x > y ? 1 : 0; });
    case Opcode::ge:
      return each(a, b, out, count, [](I x, I y) { return x >= y ? 1 : 0; });
    case Opcode::logical_and:
      return each(a, b, out, count, [](I x, I y) { return ((x != 0) & (y != 0)) ? 1 : 0; });
    case Opcode::logical_or:
      return each(a, b, out, count, [](I x, I y) { return ((x != 0) | (y != 0)) ? 1 : 0; });
    case Opcode::logical_not:
      return each(a, out, count, [](I x) { return x == 0 ? 1 : 0; });
    case Opcode::select:
      HAL_HOST_INDEPENDENT
      for (std::size_t i = 0; i < count; ++i) { out[i] = a[i] != 0 ? b[i] : c[i]; }
      return;
    default:
      return;  // verification lets no floating-only instruction into integer code
  }
}

}  // namespace

HAL_HOST_CLONES void apply(Opcode opcode, const float* a, const float* b, const float* c, float* out,
                           std::size_t count) {
  apply_real(opcode, a, b, c, out, count);
}
HAL_HOST_CLONES void apply(Opcode opcode, const double* a, const double* b, const double* c, double* out,
                           std::size_t count) {
  apply_real(opcode, a, b, c, out, count);
}
HAL_HOST_CLONES void apply(Opcode opcode, const std::int32_t* a, const std::int32_t* b, const std::int32_t* c,
                           std::int32_t* out, std::size_t count) {
  apply_whole(opcode, a, b, c, out, count);
}
HAL_HOST_CLONES void apply(Opcode opcode, const std::int64_t* a, const std::int64_t* b, const std::int64_t* c,
                           std::int64_t* out, std::size_t count) {
  apply_whole(opcode, a, b, c, out, count);
}

namespace {

// Most neighbours are far from both ends of the range, and none is 0; where one is not, all of them take the longer
// way.
template <class Divide>
[[gnu::always_inline]] inline void divide_or(const float* a, float b, float* out, std::size_t count, Divide quick) {
  const bool usual = std::fabs(b) >= kLeastDivisor && std::fabs(b) <= kMostDivisor;
  by_neighbours(count, [&](std::size_t i, std::size_t n) __attribute__((always_inline)) {
    const float* const x = a + i;
    constexpr std::uint32_t kSpan = kMostDividend - kLeastDividend;
    if (usual && (most(x, n, [](float one) { return magnitude(one) - kLeastDividend; }) <= kSpan ||
                  most(x, n, [](float one) { return is_quick_dividend(one) ? 0U : 1U; }) == 0)) {
      each(x, out + i, n, quick);
    } else {
      each(x, out + i, n, [b](float one) { return one / b; });
    }
  });
}

using Divide = void (*)(const float* a, float b, float* out, std::size_t count);

void divide_plainly(const float* a, float b, float* out, std::size_t count) {
  each(a, out, count, [b](float x) { return x / b; });
}
#if defined(__x86_64__)
// Where there is a fused multiply-add.
__attribute__((target("arch=x86-64-v3"))) void divide_v3(const float* a, float b, float* out, std::size_t count) {
  divide_or(a, b, out, count, [b, r = 1 / b](float x) { return quick_quotient(x, b, r); });
}
__attribute__((target("arch=x86-64-v4"))) void divide_v4(const float* a, float b, float* out, std::size_t count) {
  divide_or(a, b, out, count, [b, r = 1 / b](float x) { return quick_quotient(x, b, r); });
}
#endif

Divide best_divide() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd")) {
    return divide_v4;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
    return divide_v3;
  }
#endif
  return divide_plainly;
}

}  // namespace

HAL_HOST_CLONES void apply_same(Opcode opcode, const float* a, float b, float* out, std::size_t count) {
  static const Divide kBestDivide = best_divide();
  switch (opcode) {
    case Opcode::add:
      return each(a, out, count, [b](float x) { return x + b; });
    case Opcode::sub:
      return each(a, out, count, [b](float x) { return x - b; });
    case Opcode::mul:
      return each(a, out, count, [b](float x) { return x * b; });
    case Opcode::div:
      return kBestDivide(a, b, out, count);
    default:
      return;  // is_same_operand_opcode()
  }
}

}  // namespace hal::host
