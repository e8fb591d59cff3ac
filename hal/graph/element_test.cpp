// SPDX-License-Identifier: Apache-2.0
#include "graph/element.hpp"

#include <array>
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

namespace {

// A format by its definition: the value of each code, in double.
double defined(std::uint32_t code, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const auto mantissa = static_cast<int>(code & ((1U << static_cast<unsigned>(mantissa_bits)) - 1));
  const auto exponent = static_cast<int>(code >> static_cast<unsigned>(mantissa_bits)) & ((1 << exponent_bits) - 1);
  const double sign = (code >> static_cast<unsigned>(exponent_bits + mantissa_bits)) != 0 ? -1.0 : 1.0;
  if (exponent == 0) { return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits); }
  return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

double load_code(DType type, std::uint32_t code) {
  const std::array<std::byte, 2> bytes{static_cast<std::byte>(code & 0xFFU), static_cast<std::byte>(code >> 8U)};
  return load_element(type, bytes.data(), 0);
}

struct Small {
  DType type;
  int exponent_bits, mantissa_bits;
  std::uint32_t largest;  // code of the largest finite value
};
constexpr std::array kSmall{Small{DType::f16, 5, 10, 0x7BFF}, Small{DType::f8e5m2, 5, 2, 0x7B},
                            Small{DType::f8e4m3, 4, 3, 0x7E}};

}  // namespace

TEST_CASE("element: every code of f16 and f8 means what its format says and survives its own store") {
  for (const Small& format : kSmall) {
    const std::uint32_t sign = 1U << static_cast<unsigned>(format.exponent_bits + format.mantissa_bits);
    for (std::uint32_t code = 0; code <= format.largest; ++code) {
      const double value = defined(code, format.exponent_bits, format.mantissa_bits);
      const bool right = load_code(format.type, code) == value && load_code(format.type, code | sign) == -value &&
                         stored(format.type, value) == value && stored(format.type, -value) == -value &&
                         std::signbit(stored(format.type, -value));
      if (!right) { FAIL(hal::dtype_name(format.type) << " code " << code << " is " << load_code(format.type, code)); }
    }
  }
  CHECK(load_code(DType::f16, 0x7C00) == kInf);
  CHECK(load_code(DType::f16, 0xFC00) == -kInf);
  CHECK(std::isnan(load_code(DType::f16, 0x7C01)));
  CHECK(std::isnan(load_code(DType::f16, 0x7FFF)));
  CHECK(load_code(DType::f8e5m2, 0x7C) == kInf);
  CHECK(load_code(DType::f8e5m2, 0xFC) == -kInf);
  for (const std::uint32_t code : {0x7DU, 0x7EU, 0x7FU, 0xFDU}) { CHECK(std::isnan(load_code(DType::f8e5m2, code))); }
  CHECK(load_code(DType::f8e4m3, 0x7E) == 448);
  CHECK(std::isnan(load_code(DType::f8e4m3, 0x7F)));
  CHECK(std::isnan(load_code(DType::f8e4m3, 0xFF)));
}

TEST_CASE("element: between neighbours f16 and f8 round to the nearest, ties to even, from double in one step") {
  for (const Small& format : kSmall) {
    for (std::uint32_t code = 0; code < format.largest; ++code) {
      const double low = defined(code, format.exponent_bits, format.mantissa_bits);
      const double high = defined(code + 1, format.exponent_bits, format.mantissa_bits);
      const double middle = low + (high - low) / 2;
      const double even = (code & 1U) == 0 ? low : high;
      const double below = std::nextafter(middle, 0.0);
      const double above = std::nextafter(middle, kInf);
      const bool right = stored(format.type, middle) == even && stored(format.type, below) == low &&
                         stored(format.type, above) == high && stored(format.type, -above) == -high;
      if (!right) { FAIL(hal::dtype_name(format.type) << " between " << low << " and " << high); }
    }
  }
}

TEST_CASE("element: f16 overflows to infinity, f8 saturates, infinities too; NaN stays") {
  CHECK(stored(DType::f16, 65519.99) == 65504);
  CHECK(stored(DType::f16, 65520) == kInf);
  CHECK(stored(DType::f16, -1e300) == -kInf);
  CHECK(stored(DType::f8e4m3, 1e300) == 448);
  CHECK(stored(DType::f8e4m3, 465) == 448);
  CHECK(stored(DType::f8e4m3, kInf) == 448);
  CHECK(stored(DType::f8e4m3, -kInf) == -448);
  CHECK(stored(DType::f8e5m2, 65536) == 57344);
  CHECK(stored(DType::f8e5m2, -kInf) == -57344);
  for (const DType type : {DType::f16, DType::f8e4m3, DType::f8e5m2}) { CHECK(std::isnan(stored(type, kNan))); }
  CHECK(stored(DType::f16, 0x1p-25) == 0);  // half the smallest subnormal, to even
  CHECK(stored(DType::f16, 0x1.8p-25) == 0x1p-24);
  CHECK(stored(DType::f16, 1e-300) == 0);
}

TEST_CASE("element: i4 lies two to a byte, the even element low, and a store leaves the other half") {
  std::array<std::byte, 2> bytes{std::byte{0x9F}, std::byte{0x07}};
  CHECK(load_integer(DType::i4, bytes.data(), 0) == -1);
  CHECK(load_integer(DType::i4, bytes.data(), 1) == -7);
  CHECK(load_integer(DType::i4, bytes.data(), 2) == 7);
  store_integer(DType::i4, bytes.data(), 1, 100);
  CHECK(bytes[0] == std::byte{0x7F});
  store_integer(DType::i4, bytes.data(), 0, -100);
  CHECK(bytes[0] == std::byte{0x78});
  store_wrapped(DType::i4, bytes.data(), 3, 23);
  CHECK(bytes[1] == std::byte{0x77});
}

TEST_CASE("element: 64-bit integers are exact, and rounded once on their way to floating types") {
  std::array<std::byte, 8> bytes{};
  const auto converted = [&](DType type, std::int64_t value) {
    store_integer(type, bytes.data(), 0, value);
    return load_element(type, bytes.data(), 0);
  };
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  store_integer(DType::i64, bytes.data(), 0, kMost - 1);
  CHECK(load_integer(DType::i64, bytes.data(), 0) == kMost - 1);
  CHECK(converted(DType::i32, kMost) == 2147483647);
  CHECK(converted(DType::i8, -1000) == -128);
  CHECK(converted(DType::u8, -1) == 0);
  CHECK(converted(DType::boolean, 256) == 1);
  // 2^60 + 2^36 + 1: a tie for f32 but for the last bit, which a double does not hold.
  CHECK(converted(DType::f32, (std::int64_t{1} << 60U) + (std::int64_t{1} << 36U) + 1) == 0x1.000002p60);
  CHECK(converted(DType::f32, (std::int64_t{1} << 60U) + (std::int64_t{1} << 36U)) == 0x1p60);
  CHECK(converted(DType::f32, kMost) == 0x1p63);
  CHECK(converted(DType::f16, kMost) == kInf);
  CHECK(converted(DType::f8e4m3, -kMost) == -448);
  CHECK(stored(DType::i64, 0x1p63) == 0x1p63);
  store_element(DType::i64, bytes.data(), 0, 1e300);
  CHECK(load_integer(DType::i64, bytes.data(), 0) == kMost);
  store_element(DType::i64, bytes.data(), 0, -1e300);
  CHECK(load_integer(DType::i64, bytes.data(), 0) == std::numeric_limits<std::int64_t>::min());
}
