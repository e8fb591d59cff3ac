// SPDX-License-Identifier: Apache-2.0
#include "graph/lines.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "graph/element.hpp"
#include "graph/simd.hpp"
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

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
  constexpr bool kFloating = std::is_floating_point_v<Out>;
  const auto plain = [](auto value) { return static_cast<Out>(value); };
  // Maps do not mix the families, so floating elements are never asked for as integers; and what is wider than the
  // type of computation never arises.
  switch (type) {
    case DType::f64:
      if constexpr (std::is_same_v<Out, double>) { load_as<double>(data, index, stride, count, out, plain); }
      break;
    case DType::f32:
      if constexpr (kFloating) { load_as<float>(data, index, stride, count, out, plain); }
      break;
    case DType::f16:
      if constexpr (kFloating) {
        load_as<std::uint16_t>(data, index, stride, count, out,
                               [](std::uint16_t bits) { return static_cast<Out>(graph::F16::decode(bits)); });
      }
      break;
    case DType::bf16:
      if constexpr (kFloating) {
        load_as<std::uint16_t>(data, index, stride, count, out,
                               [](std::uint16_t bits) { return static_cast<Out>(graph::bf16_to_float(bits)); });
      }
      break;
    case DType::f8e4m3:
      if constexpr (kFloating) {
        load_as<std::uint8_t>(data, index, stride, count, out,
                              [](std::uint8_t bits) { return static_cast<Out>(graph::F8E4M3::decode(bits)); });
      }
      break;
    case DType::f8e5m2:
      if constexpr (kFloating) {
        load_as<std::uint8_t>(data, index, stride, count, out,
                              [](std::uint8_t bits) { return static_cast<Out>(graph::F8E5M2::decode(bits)); });
      }
      break;
    case DType::i64:
      if constexpr (std::is_same_v<Out, std::int64_t>) {
        load_as<std::int64_t>(data, index, stride, count, out, plain);
      }
      break;
    case DType::i32:
      load_as<std::int32_t>(data, index, stride, count, out, plain);
      break;
    case DType::i8:
      load_as<std::int8_t>(data, index, stride, count, out, plain);
      break;
    case DType::i4:
      for (std::int64_t i = 0; i < static_cast<std::int64_t>(count); ++i) {
        const std::int64_t at = index + i * stride;
        const auto twice = static_cast<std::uint32_t>(read<std::uint8_t>(data, at / 2));
        const std::uint32_t low = (twice >> (at % 2 != 0 ? 4U : 0U)) & 15U;
        out[i] = static_cast<Out>(static_cast<std::int32_t>(low ^ 8U) - 8);
      }
      break;
    case DType::u8:
      load_as<std::uint8_t>(data, index, stride, count, out, plain);
      break;
    default:
      load_as<std::uint8_t>(data, index, stride, count, out,
                            [](std::uint8_t value) { return static_cast<Out>(value != 0 ? 1 : 0); });
  }
}

template <class T, class From, class Make>
[[gnu::always_inline]] inline void store_as(std::byte* data, std::int64_t index, std::size_t count, const From* from,
                                            Make make) {
  std::byte* to = data + index * static_cast<std::int64_t>(sizeof(T));
  const auto n = static_cast<std::int64_t>(count);
  for (std::int64_t i = 0; i < n; ++i) { write(to, i, static_cast<T>(make(from[i]))); }
}

// The low half of a byte first, and with it a 0 in the high half.
template <class From, class Make>
[[gnu::always_inline]] inline void store_i4(std::byte* data, std::int64_t index, std::size_t count, const From* from,
                                            Make make) {
  std::byte* to = data + index / 2;
  for (std::size_t i = 0; i < count; i += 2) {
    const std::uint32_t low = static_cast<std::uint32_t>(make(from[i])) & 15U;
    const std::uint32_t high = i + 1 < count ? static_cast<std::uint32_t>(make(from[i + 1])) & 15U : 0U;
    to[i / 2] = static_cast<std::byte>(low | high << 4U);
  }
}

// Truncated and saturated, NaN 0: comparisons that are false for NaN.
template <class Real>
[[gnu::always_inline]] inline std::int32_t saturated(Real value, std::int32_t lowest, std::int32_t highest) {
  const auto low = static_cast<Real>(lowest);
  const auto high = static_cast<Real>(highest);
  const Real inside = value > low ? (value < high ? value : high) : low;
  return value == value ? static_cast<std::int32_t>(inside) : 0;
}

template <class Real>
[[gnu::always_inline]] inline void store_real(DType type, std::byte* data, std::int64_t index, std::size_t count,
                                              const Real* from) {
  constexpr bool kSingle = std::is_same_v<Real, float>;
  // A float of odd last place where a double has more bits: rounding that again is as rounding once.
  const auto narrowed = [](Real value) {
    if constexpr (kSingle) {
      return value;
    } else {
      return graph::round_to_odd(value);
    }
  };
  switch (type) {
    case DType::f64:
      return store_as<double>(data, index, count, from, [](Real value) { return value; });
    case DType::f32:
      return store_as<float>(data, index, count, from, [](Real value) { return value; });
    case DType::f16:
      return store_as<std::uint16_t>(data, index, count, from,
                                     [&](Real value) { return graph::F16::encode(narrowed(value)); });
    case DType::bf16:
      return store_as<std::uint16_t>(data, index, count, from,
                                     [&](Real value) { return graph::float_to_bf16(narrowed(value)); });
    case DType::f8e4m3:
      return store_as<std::uint8_t>(data, index, count, from,
                                    [&](Real value) { return graph::F8E4M3::encode(narrowed(value)); });
    case DType::f8e5m2:
      return store_as<std::uint8_t>(data, index, count, from,
                                    [&](Real value) { return graph::F8E5M2::encode(narrowed(value)); });
    case DType::i8:
      return store_as<std::int8_t>(data, index, count, from, [](Real value) { return saturated(value, -128, 127); });
    case DType::u8:
      return store_as<std::uint8_t>(data, index, count, from, [](Real value) { return saturated(value, 0, 255); });
    case DType::i4:
      return store_i4(data, index, count, from, [](Real value) { return saturated(value, -8, 7); });
    case DType::boolean:
      return store_as<std::uint8_t>(data, index, count, from, [](Real value) { return value != 0 ? 1 : 0; });
    default:  // i32 and i64, whose limits are not floats
      for (std::size_t i = 0; i < count; ++i) {
        graph::store_element(type, data, index + static_cast<std::int64_t>(i), static_cast<double>(from[i]));
      }
  }
}

template <class Whole>
[[gnu::always_inline]] inline void store_whole(DType type, std::byte* data, std::int64_t index, std::size_t count,
                                               const Whole* from) {
  const auto bits = [](Whole value) { return static_cast<std::uint64_t>(value); };
  switch (type) {
    case DType::i64:
      return store_as<std::int64_t>(data, index, count, from, [](Whole value) { return value; });
    case DType::i32:
      return store_as<std::uint32_t>(data, index, count, from, bits);
    case DType::i8:
    case DType::u8:
      return store_as<std::uint8_t>(data, index, count, from, bits);
    case DType::i4:
      return store_i4(data, index, count, from, bits);
    case DType::boolean:
      return store_as<std::uint8_t>(data, index, count, from, [](Whole value) { return value != 0 ? 1 : 0; });
    default:
      for (std::size_t i = 0; i < count; ++i) {
        graph::store_integer(type, data, index + static_cast<std::int64_t>(i), from[i]);
      }
  }
}

}  // namespace

HAL_HOST_CLONES void load_line(DType type, const std::byte* data, std::int64_t index, std::int64_t stride,
                               std::size_t count, float* out) {
  load_any(type, data, index, stride, count, out);
}
HAL_HOST_CLONES void load_line(DType type, const std::byte* data, std::int64_t index, std::int64_t stride,
                               std::size_t count, double* out) {
  load_any(type, data, index, stride, count, out);
}
HAL_HOST_CLONES void load_line(DType type, const std::byte* data, std::int64_t index, std::int64_t stride,
                               std::size_t count, std::int32_t* out) {
  load_any(type, data, index, stride, count, out);
}
HAL_HOST_CLONES void load_line(DType type, const std::byte* data, std::int64_t index, std::int64_t stride,
                               std::size_t count, std::int64_t* out) {
  load_any(type, data, index, stride, count, out);
}

HAL_HOST_CLONES void store_line(DType type, std::byte* data, std::int64_t index, std::size_t count, const float* from) {
  store_real(type, data, index, count, from);
}
HAL_HOST_CLONES void store_line(DType type, std::byte* data, std::int64_t index, std::size_t count,
                                const double* from) {
  store_real(type, data, index, count, from);
}
HAL_HOST_CLONES void store_line(DType type, std::byte* data, std::int64_t index, std::size_t count,
                                const std::int32_t* from) {
  store_whole(type, data, index, count, from);
}
HAL_HOST_CLONES void store_line(DType type, std::byte* data, std::int64_t index, std::size_t count,
                                const std::int64_t* from) {
  store_whole(type, data, index, count, from);
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

void stream_line(const std::byte* from, std::byte* to, std::size_t bytes) {
#if defined(__x86_64__)
  constexpr std::size_t kLine = 64;
  const std::size_t head = std::min<std::size_t>(bytes, -reinterpret_cast<std::uintptr_t>(to) & (kLine - 1));
  std::memcpy(to, from, head);
  to += head, from += head, bytes -= head;
  for (; bytes >= kLine; bytes -= kLine, to += kLine, from += kLine) {
    for (std::size_t at = 0; at < kLine; at += sizeof(__m128i)) {
      __m128i value;
      std::memcpy(&value, from + at, sizeof value);
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + at), value);
    }
  }
#endif
  std::memcpy(to, from, bytes);
}

void fence_streams() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

void move_i4(const std::byte* from, std::int64_t from_index, std::int64_t from_stride, std::byte* to,
             std::int64_t to_index, std::int64_t to_stride, std::size_t count) {
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(count); ++i) {
    graph::store_wrapped(DType::i4, to, to_index + i * to_stride,
                         graph::load_integer(DType::i4, from, from_index + i * from_stride));
  }
}

}  // namespace hal::host
