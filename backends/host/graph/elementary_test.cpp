// SPDX-License-Identifier: Apache-2.0
#include "graph/elementary.hpp"

#include <cmath>
#include <cstdint>
#include <halyard_catch.hpp>
#include <limits>
#include <vector>

#include "graph/expression_kernels.hpp"

namespace {

constexpr auto kExp = [](float x) { return hal::host::exponential(x); };
constexpr auto kLog = [](float x) { return hal::host::logarithm(x); };
constexpr auto kTanh = [](float x) { return hal::host::hyperbolic_tangent(x); };
constexpr auto kErf = [](float x) { return hal::host::error_function(x); };

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The most units in the last place between ours and the C library in double, over about ten thousand floats for each
// power of e of [low, high].
template <class Ours, class Exact>
double most_units(float low, float high, Ours ours, Exact exact) {
  double most = 0;
  for (float x = low; x <= high;) {
    const double expected = exact(static_cast<double>(x));
    const auto rounded = static_cast<float>(expected);
    const double unit =
        static_cast<double>(std::nextafter(std::fabs(rounded), kInfinity)) - static_cast<double>(std::fabs(rounded));
    most = std::max(most, std::fabs(static_cast<double>(ours(x)) - expected) / unit);
    x = std::nextafter(x + std::fabs(x) * 1e-4F, kInfinity);
  }
  return most;
}

}  // namespace

TEST_CASE("elementary: functions stay within their units over their ranges") {
  CHECK(most_units(-87.0F, 88.7F, kExp, [](double x) { return std::exp(x); }) <= 2);
  CHECK(most_units(-103.9F, -87.0F, kExp, [](double x) { return std::exp(x); }) <= 2);
  CHECK(most_units(1e-44F, 3e38F, kLog, [](double x) { return std::log(x); }) <= 2);
  CHECK(most_units(0.99F, 1.01F, kLog, [](double x) { return std::log(x); }) <= 2);
  CHECK(most_units(-12.0F, 12.0F, kTanh, [](double x) { return std::tanh(x); }) <= 4);
  CHECK(most_units(-6.0F, 6.0F, kErf, [](double x) { return std::erf(x); }) <= 3);
}

TEST_CASE("elementary: special values are the C library's") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (float (*ours)(float) : {+kExp, +kLog, +kTanh, +kErf}) { CHECK(std::isnan(ours(nan))); }
  CHECK(kExp(-kInfinity) == 0);
  CHECK(kExp(kInfinity) == kInfinity);
  CHECK(kExp(0) == 1);
  CHECK(kLog(0) == -kInfinity);
  CHECK(kLog(-0.0F) == -kInfinity);
  CHECK(kLog(1) == 0);
  CHECK(kLog(kInfinity) == kInfinity);
  CHECK(std::isnan(kLog(-1)));
  CHECK(std::isnan(kLog(-1e-40F)));
  CHECK(std::isnan(kLog(-kInfinity)));
  for (float (*odd)(float) : {+kTanh, +kErf}) {
    CHECK(odd(kInfinity) == 1);
    CHECK(odd(-kInfinity) == -1);
    CHECK(std::signbit(odd(-0.0F)));
    CHECK(odd(-0.0F) == 0);
    CHECK(odd(1e-40F) != 0);
  }
}

TEST_CASE("elementary: exp of what is far from both ends is the same by the shorter way") {
  for (float x = -hal::host::kNormalExponent; x <= hal::host::kNormalExponent; x += 0.0037F) {
    CHECK(hal::host::normal_exponential(x) == hal::host::exponential(x));
  }
}

TEST_CASE("elementary: exp and division by one number, also where some values take the longer way") {
  using hal::graph::Opcode;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> special{0.0F,  -0.0F, 1e-45F, -1e-45F, 1e-38F, 3e-31F, 1e-30F,    -87.0F,     -87.5F,
                                   88.0F, 89.5F, -104.F, -110.0F, 1e30F,  3e38F,  kInfinity, -kInfinity, nan};
  // Divisors inside and outside the quick range, and blocks with one special value among ordinary ones.
  for (const float b : {3.0F, -0.7F, 1e-6F, 9.6e-7F, 0x1p24F, 0x1p25F, 1e-40F, 0.0F, -0.0F, kInfinity, nan}) {
    for (std::size_t s = 0; s <= special.size(); ++s) {
      std::vector<float> in(700), out(700), expected(700);
      for (std::size_t i = 0; i < in.size(); ++i) { in[i] = -20 + 0.05F * static_cast<float>(i); }
      if (s < special.size()) { in[300] = special[s]; }
      hal::host::apply_same(Opcode::div, in.data(), b, out.data(), in.size());
      const auto same = [](float x, float y) { return x == y ? std::signbit(x) == std::signbit(y) : x != x && y != y; };
      for (std::size_t i = 0; i < in.size(); ++i) {
        CAPTURE(in[i], b);
        CHECK(same(out[i], in[i] / b));
      }
      hal::host::apply(Opcode::exp, in.data(), static_cast<const float*>(nullptr), nullptr, out.data(), in.size());
      for (std::size_t i = 0; i < in.size(); ++i) {
        // With fused multiply-adds or without: within their units, and special values exactly.
        const float exact = kExp(in[i]);
        const bool near = std::fabs(out[i] - exact) <= std::fabs(exact) * 0x1p-21F + 0x1p-148F;
        CAPTURE(in[i]);
        CHECK((near || same(out[i], exact)));
      }
    }
  }
}

// The pairs a, b whose quotient comes nearest to the middle between two floats: A 2^shift = k modulo B, |k| <= 4, for
// the significands A and B as integers.
TEST_CASE("elementary: the quotients that are hardest to round") {
  std::uint64_t tried = 0;
  for (std::uint64_t divisor = 1U << 23U; divisor < 1U << 24U; divisor += 997) {
    const std::uint64_t even = divisor & -divisor, odd = divisor / even;
    for (const std::uint64_t shift : {24U, 25U}) {
      if (even > 4) { continue; }
      std::uint64_t inverse = 1 % odd;  // of 2^shift / even
      for (std::uint64_t halved = even; halved < std::uint64_t{1} << shift; halved *= 2) {
        inverse = (inverse % 2 == 1 ? inverse + odd : inverse) / 2;
      }
      for (std::int64_t k = -4; k <= 4; ++k) {
        const auto step = static_cast<std::int64_t>(even), modulus = static_cast<std::int64_t>(odd);
        if (k == 0 || k % step != 0) { continue; }
        const auto first = (static_cast<std::int64_t>(inverse) * (k / step) % modulus + modulus) % modulus;
        for (auto a = static_cast<std::uint64_t>(first); a < 1U << 24U; a += odd) {
          if (a < 1U << 23U || (shift == 24) != (a >= divisor)) { continue; }
          const float x = static_cast<float>(a), b = static_cast<float>(divisor) * 0x1p-23F;
          CHECK(hal::host::quick_quotient(x, b, 1 / b) == x / b);
          ++tried;
        }
      }
    }
  }
  CHECK(tried > 30'000);
}
