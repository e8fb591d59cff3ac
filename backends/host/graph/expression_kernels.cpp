// SPDX-License-Identifier: Apache-2.0
#include "graph/expression_kernels.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

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

// e^x without a branch, so that loops over it become vector code; within 2 units in the last place of the exact value
// for normal results (the test measures it). x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its series to r^7, and 2^n in
// two factors, so that results below the normal range are rounded once more and not flushed.
[[gnu::always_inline]] inline float exponential(float x) {
  constexpr float kLog2E = 1.44269504088896341F;
  constexpr float kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F;  // 9 bits and the rest: n * high is exact
  constexpr float kRound = 12582912.0F;                                // 1.5 * 2^23: adding it rounds to an integer
  const float low = x < -104.0F ? -104.0F : x;                         // NaN passes both
  const float clamped = low > 89.0F ? 89.0F : low;
  const float shifted = clamped * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.0F / 5040;
  p = p * r + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const std::int32_t e =
      static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(kRound));
  const std::int32_t half = e >> 1;
  const auto power = [](std::int32_t k) { return std::bit_cast<float>(static_cast<std::uint32_t>(k + 127) << 23U); };
  return p * power(half) * power(e - half);
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
      if constexpr (std::is_same_v<Real, float>) {
        return each(a, out, count, [](Real x) { return exponential(x); });
      }
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
      return each_call(a, out, count, [](Real x) { return std::log(x); });
    case Opcode::tanh:
      return each_call(a, out, count, [](Real x) { return std::tanh(x); });
    case Opcode::erf:
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
      return each(a, b, out, count, [](I x, I y) { return (x != 0) & (y != 0) ? 1 : 0; });
    case Opcode::logical_or:
      return each(a, b, out, count, [](I x, I y) { return (x != 0) | (y != 0) ? 1 : 0; });
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

}  // namespace hal::host
