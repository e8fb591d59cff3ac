// SPDX-License-Identifier: Apache-2.0
// Runs of elements between their stored type and the type that is computed in: f32 for floating, i32 for integers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hal/dtype.hpp"

namespace hal::host {

// The element types of this device's graphs.
bool is_supported(DType type);

inline std::size_t size_of(DType type) { return dtype_bits(type) / 8; }

// `count` elements from `index` on, `stride` apart (0: the same one over and over), as f32 or i32. bool reads as 0
// or 1.
void load_line(DType type, const std::byte* data, std::int64_t index, std::int64_t stride, std::size_t count,
               float* out);
void load_line(DType type, const std::byte* data, std::int64_t index, std::int64_t stride, std::size_t count,
               std::int32_t* out);

// Rounds once (floating), truncates and saturates (f32 to an integer), wraps (i32 to a narrower integer); bool is not
// 0.
void store_line(DType type, std::byte* data, std::int64_t index, std::size_t count, const float* from);
void store_line(DType type, std::byte* data, std::int64_t index, std::size_t count, const std::int32_t* from);

// Moves `count` elements of `size` bytes (1, 2, 4, 8) between strided places.
void move_line(std::size_t size, const std::byte* from, std::int64_t from_stride, std::byte* to, std::int64_t to_stride,
               std::size_t count);

}  // namespace hal::host
