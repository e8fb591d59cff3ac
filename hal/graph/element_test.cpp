// SPDX-License-Identifier: Apache-2.0
#include "graph/element.hpp"

#include <cmath>
#include <halyard_catch.hpp>
#include <limits>
#include <random>

namespace {

using hal::DType;
using namespace hal::graph;

double stored(DType type, double value) {
  std::array<std::byte, 8> bytes{};
  store_element(type, bytes.data(), 0, value);
  return load_element(type, bytes.data(), 0);
}

double bf16(std::uint16_t bits) { return static_cast<double>(bf16_to_float(bits)); }

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("element: every bf16 value survives its own store") {
  for (std::uint32_t bits = 0; bits <= 0xFFFFU; ++bits) {
    const double value = bf16(static_cast<std::uint16_t>(bits));
    const double back = stored(DType::bf16, value);
    if (std::isnan(value) ? !std::isnan(back) : value != back) { FAIL("bits " << bits << " came back as " << back); }
  }
}

TEST_CASE("element: between neighbours bf16 rounds to the nearest, ties to even, from double in one step") {
  for (std::uint16_t bits = 0; bits < 0x7F7F; ++bits) {
    const double low = bf16(bits);
    const double high = bf16(static_cast<std::uint16_t>(bits + 1));
    const double middle = low + (high - low) / 2;  // exact in double
    const double even = (bits & 1U) == 0 ? low : high;
    // A hair beside the tie: lost if the value went through float first.
    const double below = std::nextafter(middle, 0.0);
    const double above = std::nextafter(middle, kInf);
    const bool right = stored(DType::bf16, middle) == even && stored(DType::bf16, below) == low &&
                       stored(DType::bf16, above) == high && stored(DType::bf16, -above) == -high;
    if (!right) { FAIL("between " << low << " and " << high); }
  }
}

TEST_CASE("element: bf16 and the ends of the range") {
  CHECK(stored(DType::bf16, 3.4e38) == kInf);
  CHECK(stored(DType::bf16, 1e300) == kInf);
  CHECK(stored(DType::bf16, -kInf) == -kInf);
  CHECK(std::isnan(stored(DType::bf16, kNan)));
  CHECK(stored(DType::f32, 1e300) == kInf);
  CHECK(float_to_bf16(1.00390625F) == 0x3F80);  // half way, to even
  CHECK(float_to_bf16(1.01171875F) == 0x3F82);
}

TEST_CASE("element: integers truncate, saturate and take NaN as 0") {
  CHECK(stored(DType::i32, 2.9) == 2);
  CHECK(stored(DType::i32, -2.9) == -2);
  CHECK(stored(DType::i32, 1e10) == 2147483647);
  CHECK(stored(DType::i32, -kInf) == -2147483648.0);
  CHECK(stored(DType::i32, kNan) == 0);
  CHECK(stored(DType::i8, 200) == 127);
  CHECK(stored(DType::u8, -3) == 0);
  CHECK(stored(DType::u8, 255.9) == 255);
  CHECK(stored(DType::boolean, -0.5) == 1);
  CHECK(stored(DType::boolean, kNan) == 1);
  CHECK(stored(DType::boolean, -0.0) == 0);
}

TEST_CASE("element: wrapped stores keep the low bits") {
  std::array<std::byte, 8> bytes{};
  store_wrapped(DType::i32, bytes.data(), 0, (std::int64_t{1} << 32U) + 5);
  CHECK(load_element(DType::i32, bytes.data(), 0) == 5);
  store_wrapped(DType::i8, bytes.data(), 1, 129);
  CHECK(load_element(DType::i8, bytes.data(), 1) == -127);
  store_wrapped(DType::u8, bytes.data(), 2, -1);
  CHECK(load_element(DType::u8, bytes.data(), 2) == 255);
  store_wrapped(DType::boolean, bytes.data(), 3, 256);
  CHECK(load_element(DType::boolean, bytes.data(), 3) == 1);
}
