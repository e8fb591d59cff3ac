// SPDX-License-Identifier: Apache-2.0
#include "graph/lines.hpp"

#include <cstring>
#include <type_traits>

#include "graph/element.hpp"
#include "graph/simd.hpp"

namespace hal::host {

namespace {

template <class T>
[[gnu::always_inline]] inline T read(const std::byte* data, std::int64_t index) {
  T value;
  std::memcpy(&value, data + index * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <class T>
[[gnu::always_inline]] inline void write(std::byte* data, std::int64_t index, T value) {
  std::memcpy(data + index * static_cast<std::int64_t>(sizeof(T)), &value, sizeof(T));
}

// The two dense cases are what compilers vectorise; anything else is a strided walk.
template <class T, class Out, class Make>
[[gnu::always_inline]] inline void load_as(const std::byte* data, std::int64_t index, std::int64_t stride,
                                           std::size_t count, Out* out, Make make) {
  const auto n = static_cast<std::int64_t>(count);
  if (stride == 1) {
    const std::byte* from = data + index * static_cast<std::int64_t>(sizeof(T));
    for (std::int64_t i = 0; i < n; ++i) { out[i] = make(read<T>(from, i)); }
  } else if (stride == 0) {
    const Out value = make(read<T>(data, index));
    for (std::int64_t i = 0; i < n; ++i) { out[i] = value; }
  } else {
    for (std::int64_t i = 0; i < n; ++i) { out[i] = make(read<T>(data, index + i * stride)); }
  }
}

template <class Out>
[[gnu::always_inline]] inline void load_any(DType type, const std::byte* data, std::int64_t index, std::int64_t stride,
                                            std::size_t count, Out* out) {
  const auto plain = [](auto value) { return static_cast<Out>(value); };
  switch (type) {
    case DType::f32:
      // Never asked for as integers: maps do not mix the families.
      if constexpr (std::is_same_v<Out, float>) { load_as<float>(data, index, stride, count, out, plain); }
      break;
    case DType::bf16:
      if constexpr (std::is_same_v<Out, float>) {
        load_as<std::uint16_t>(data, index, stride, count, out,
                               [](std::uint16_t bits) { return graph::bf16_to_float(bits); });
      }
      break;
    case DType::i32:
      load_as<std::int32_t>(data, index, stride, count, out, plain);
      break;
    case DType::i8:
      load_as<std::int8_t>(data, index, stride, count, out, plain);
      break;
    case DType::u8:
      load_as<std::uint8_t>(data, index, stride, count, out, plain);
      break;
    default:
      load_as<std::uint8_t>(data, index, stride, count, out,
                            [](std::uint8_t value) { return static_cast<Out>(value != 0 ? 1 : 0); });
  }
}

}  // namespace

bool is_supported(DType type) {
  switch (type) {
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

HAL_HOST_CLONES void load_line(DType type, const std::byte* data, std::int64_t index, std::int64_t stride,
                               std::size_t count, float* out) {
  load_any(type, data, index, stride, count, out);
}

HAL_HOST_CLONES void load_line(DType type, const std::byte* data, std::int64_t index, std::int64_t stride,
                               std::size_t count, std::int32_t* out) {
  load_any(type, data, index, stride, count, out);
}

HAL_HOST_CLONES void store_line(DType type, std::byte* data, std::int64_t index, std::size_t count, const float* from) {
  const auto n = static_cast<std::int64_t>(count);
  switch (type) {
    case DType::f32:
      std::memcpy(data + index * 4, from, count * 4);
      break;
    case DType::bf16:
      for (std::int64_t i = 0; i < n; ++i) { write(data, index + i, graph::float_to_bf16(from[i])); }
      break;
    case DType::boolean:
      for (std::int64_t i = 0; i < n; ++i) {
        write(data, index + i, static_cast<std::uint8_t>(from[i] != 0.0F ? 1 : 0));
      }
      break;
    default:
      for (std::int64_t i = 0; i < n; ++i) {
        graph::store_element(type, data, index + i, static_cast<double>(from[i]));
      }
  }
}

HAL_HOST_CLONES void store_line(DType type, std::byte* data, std::int64_t index, std::size_t count,
                                const std::int32_t* from) {
  const auto n = static_cast<std::int64_t>(count);
  switch (type) {
    case DType::i32:
      std::memcpy(data + index * 4, from, count * 4);
      break;
    case DType::i8:
    case DType::u8:
      for (std::int64_t i = 0; i < n; ++i) {
        write(data, index + i, static_cast<std::uint8_t>(static_cast<std::uint32_t>(from[i]) & 0xffU));
      }
      break;
    case DType::boolean:
      for (std::int64_t i = 0; i < n; ++i) { write(data, index + i, static_cast<std::uint8_t>(from[i] != 0 ? 1 : 0)); }
      break;
    default:
      for (std::int64_t i = 0; i < n; ++i) { graph::store_element(type, data, index + i, from[i]); }
  }
}

void move_line(std::size_t size, const std::byte* from, std::int64_t from_stride, std::byte* to, std::int64_t to_stride,
               std::size_t count) {
  const auto take = [&]<class T>(T) {
    const auto n = static_cast<std::int64_t>(count);
    for (std::int64_t i = 0; i < n; ++i) { write(to, i * to_stride, read<T>(from, i * from_stride)); }
  };
  if (from_stride == 1 && to_stride == 1) {
    std::memcpy(to, from, count * size);
  } else if (size == 4) {
    take(std::uint32_t{});
  } else if (size == 2) {
    take(std::uint16_t{});
  } else if (size == 8) {
    take(std::uint64_t{});
  } else {
    take(std::uint8_t{});
  }
}

}  // namespace hal::host
