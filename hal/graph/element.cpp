// SPDX-License-Identifier: Apache-2.0
#include "graph/element.hpp"

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

// Rounds toward the nearest double-to-float neighbour of odd last bit when inexact, so that a second rounding to fewer
// bits gives what one rounding would have given.
float round_to_odd(double value) {
  const float nearest = static_cast<float>(value);
  if (std::isnan(value) || std::isinf(value)) { return nearest; }
  const double back = static_cast<double>(nearest);
  if (back == value || (std::bit_cast<std::uint32_t>(nearest) & 1U) != 0) { return nearest; }
  // An even neighbour was chosen: the odd one is on the other side of value. Overflow to infinity goes back below it.
  const float toward = back < value ? std::numeric_limits<float>::infinity() : -std::numeric_limits<float>::infinity();
  return std::nextafter(nearest, toward);
}

template <class T>
double as_double(const std::byte* data, std::int64_t index) {
  return static_cast<double>(load<T>(data, index));
}

template <class T>
void store_saturated(std::byte* data, std::int64_t index, double value) {
  using Limits = std::numeric_limits<T>;
  store(data, index, static_cast<T>(double_to_integer(value, Limits::lowest(), Limits::max())));
}

}  // namespace

std::uint16_t double_to_bf16(double value) { return float_to_bf16(round_to_odd(value)); }

std::int64_t double_to_integer(double value, std::int64_t lowest, std::int64_t highest) {
  if (std::isnan(value)) { return 0; }
  // The limits of 32-bit and narrower types are exact doubles, so comparing first makes the cast defined.
  if (value <= static_cast<double>(lowest)) { return lowest; }
  if (value >= static_cast<double>(highest)) { return highest; }
  return static_cast<std::int64_t>(value);
}

bool has_element_access(DType type) {
  switch (type) {
    case DType::f64:
    case DType::f32:
    case DType::bf16:
    case DType::i32:
    case DType::i8:
    case DType::u8:
    case DType::boolean:
      return true;
    default:
      return false;
  }
}

double load_element(DType type, const std::byte* data, std::int64_t index) {
  switch (type) {
    case DType::f64:
      return load<double>(data, index);
    case DType::f32:
      return as_double<float>(data, index);
    case DType::bf16:
      return static_cast<double>(bf16_to_float(load<std::uint16_t>(data, index)));
    case DType::i32:
      return as_double<std::int32_t>(data, index);
    case DType::i8:
      return as_double<std::int8_t>(data, index);
    case DType::u8:
      return as_double<std::uint8_t>(data, index);
    case DType::boolean:
      return load<std::uint8_t>(data, index) != 0 ? 1.0 : 0.0;
    default:
      return std::numeric_limits<double>::quiet_NaN();
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
    case DType::bf16:
      store(data, index, double_to_bf16(value));
      break;
    case DType::i32:
      store_saturated<std::int32_t>(data, index, value);
      break;
    case DType::i8:
      store_saturated<std::int8_t>(data, index, value);
      break;
    case DType::u8:
      store_saturated<std::uint8_t>(data, index, value);
      break;
    case DType::boolean:
      store(data, index, static_cast<std::uint8_t>(value != 0 ? 1 : 0));
      break;
    default:
      break;
  }
}

void store_wrapped(DType type, std::byte* data, std::int64_t index, std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  switch (type) {
    case DType::i32:
      store(data, index, static_cast<std::uint32_t>(bits));
      break;
    case DType::i8:
    case DType::u8:
      store(data, index, static_cast<std::uint8_t>(bits));
      break;
    case DType::boolean:
      store(data, index, static_cast<std::uint8_t>(value != 0 ? 1 : 0));
      break;
    default:
      store_element(type, data, index, static_cast<double>(value));
      break;
  }
}

}  // namespace hal::graph
