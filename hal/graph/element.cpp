// SPDX-License-Identifier: Apache-2.0
#include "graph/element.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace hal::graph {
namespace {

template <class T>
T load(const std::byte* data, std::int64_t index) {
  T value;
  std::memcpy(&value, data + static_cast<std::size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void store(std::byte* data, std::int64_t index, T value) {
  std::memcpy(data + static_cast<std::size_t>(index) * sizeof(T), &value, sizeof(T));
}

template <class T>
double as_double(const std::byte* data, std::int64_t index) {
  return static_cast<double>(load<T>(data, index));
}

// Nibbles, the even one low.
std::int64_t load_i4(const std::byte* data, std::int64_t index) {
  const unsigned byte = std::to_integer<unsigned>(data[index / 2]);
  const int nibble = static_cast<int>(index % 2 != 0 ? byte >> 4U : byte & 15U);
  return nibble < 8 ? nibble : nibble - 16;
}

void store_i4(std::byte* data, std::int64_t index, std::uint64_t bits) {
  std::byte& byte = data[index / 2];
  const auto nibble = static_cast<std::byte>(bits & 15U);
  byte = index % 2 != 0 ? (byte & std::byte{0x0F}) | nibble << 4U : (byte & std::byte{0xF0}) | nibble;
}

// A double that no later rounding to 51 bits or fewer sees the rounding of.
double integer_to_odd(std::int64_t value) {
  const auto nearest = static_cast<double>(value);
  // Only values past 2^53 are inexact; 2^63 itself does not fit back.
  if (nearest < 0x1p63 && static_cast<std::int64_t>(nearest) == value) { return nearest; }
  if ((std::bit_cast<std::uint64_t>(nearest) & 1U) != 0) { return nearest; }
  const bool above = nearest >= 0x1p63 || static_cast<std::int64_t>(nearest) > value;
  return std::nextafter(nearest, above ? -0x1p64 : 0x1p64);
}

std::uint8_t truth(bool value) { return value ? 1 : 0; }

}  // namespace

float round_to_odd(double value) {
  const float nearest = static_cast<float>(value);
  if (std::isnan(value) || std::isinf(value)) { return nearest; }
  const double back = static_cast<double>(nearest);
  if (back == value || (std::bit_cast<std::uint32_t>(nearest) & 1U) != 0) { return nearest; }
  // An even neighbour was chosen: the odd one is on the other side of value. Overflow to infinity goes back below it.
  const float toward = back < value ? std::numeric_limits<float>::infinity() : -std::numeric_limits<float>::infinity();
  return std::nextafter(nearest, toward);
}

std::uint16_t double_to_bf16(double value) { return float_to_bf16(round_to_odd(value)); }

std::int64_t double_to_integer(double value, std::int64_t lowest, std::int64_t highest) {
  if (std::isnan(value)) { return 0; }
  // Limits of narrow types are exact doubles; those of i64 are -2^63 and, rounded up, 2^63. Comparing first makes the
  // cast defined.
  if (value <= static_cast<double>(lowest)) { return lowest; }
  if (value >= static_cast<double>(highest)) { return highest; }
  return static_cast<std::int64_t>(value);
}

bool is_graph_type(DType type) { return type >= DType::f64 && type <= DType::boolean; }

IntegerRange integer_range(DType type) {
  switch (type) {
    case DType::i64:
      return {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()};
    case DType::i32:
      return {std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()};
    case DType::i8:
      return {-128, 127};
    case DType::i4:
      return {-8, 7};
    case DType::u8:
      return {0, 255};
    default:
      return {0, 1};
  }
}

double load_element(DType type, const std::byte* data, std::int64_t index) {
  switch (type) {
    case DType::f64:
      return load<double>(data, index);
    case DType::f32:
      return as_double<float>(data, index);
    case DType::f16:
      return static_cast<double>(F16::decode(load<std::uint16_t>(data, index)));
    case DType::bf16:
      return static_cast<double>(bf16_to_float(load<std::uint16_t>(data, index)));
    case DType::f8e4m3:
      return static_cast<double>(F8E4M3::decode(load<std::uint8_t>(data, index)));
    case DType::f8e5m2:
      return static_cast<double>(F8E5M2::decode(load<std::uint8_t>(data, index)));
    default:
      return static_cast<double>(load_integer(type, data, index));
  }
}

std::int64_t load_integer(DType type, const std::byte* data, std::int64_t index) {
  switch (type) {
    case DType::i64:
      return load<std::int64_t>(data, index);
    case DType::i32:
      return load<std::int32_t>(data, index);
    case DType::i8:
      return load<std::int8_t>(data, index);
    case DType::i4:
      return load_i4(data, index);
    case DType::u8:
      return load<std::uint8_t>(data, index);
    case DType::boolean:
      return load<std::uint8_t>(data, index) != 0 ? 1 : 0;
    default:
      return 0;
  }
}

void store_element(DType type, std::byte* data, std::int64_t index, double value) {
  switch (type) {
    case DType::f64:
      store(data, index, value);
      break;
    case DType::f32:
      store(data, index, static_cast<float>(value));
      break;
    case DType::f16:
      store(data, index, static_cast<std::uint16_t>(F16::encode(round_to_odd(value))));
      break;
    case DType::bf16:
      store(data, index, double_to_bf16(value));
      break;
    case DType::f8e4m3:
      store(data, index, static_cast<std::uint8_t>(F8E4M3::encode(round_to_odd(value))));
      break;
    case DType::f8e5m2:
      store(data, index, static_cast<std::uint8_t>(F8E5M2::encode(round_to_odd(value))));
      break;
    case DType::boolean:
      store(data, index, truth(value != 0));
      break;
    default: {
      const IntegerRange range = integer_range(type);
      store_wrapped(type, data, index, double_to_integer(value, range.lowest, range.highest));
    }
  }
}

void store_integer(DType type, std::byte* data, std::int64_t index, std::int64_t value) {
  if (type == DType::f64) { return store(data, index, static_cast<double>(value)); }
  if (is_floating(type)) { return store_element(type, data, index, integer_to_odd(value)); }
  if (type == DType::boolean) { return store(data, index, truth(value != 0)); }
  const IntegerRange range = integer_range(type);
  store_wrapped(type, data, index, std::clamp(value, range.lowest, range.highest));
}

void store_wrapped(DType type, std::byte* data, std::int64_t index, std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  switch (type) {
    case DType::i64:
      store(data, index, bits);
      break;
    case DType::i32:
      store(data, index, static_cast<std::uint32_t>(bits));
      break;
    case DType::i8:
    case DType::u8:
      store(data, index, static_cast<std::uint8_t>(bits));
      break;
    case DType::i4:
      store_i4(data, index, bits);
      break;
    case DType::boolean:
      store(data, index, truth(value != 0));
      break;
    default:
      break;  // no integer type
  }
}

}  // namespace hal::graph
