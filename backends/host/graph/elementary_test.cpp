// SPDX-License-Identifier: Apache-2.0
#include "graph/elementary.hpp"

#include <cmath>
#include <halyard_catch.hpp>
#include <limits>

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
