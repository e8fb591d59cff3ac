// SPDX-License-Identifier: Apache-2.0
// Runs of elements between their stored type and the one that is computed in: f32 or f64 for floating, i32 or i64 for
// integers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hal/dtype.hpp"

namespace hal::host {

// Bytes of one element; 1 for i4, whose elements are half of that and take paths of their own.
inline std::size_t size_of(DType type) { return type == DType::i4 ? 1 : dtype_bits(type) / 8; }

// `count` elements from `index` on, `stride` apart (0: the same one over and over). Floating types are asked for as f32
// or f64, integers as any (i64 as i64 alone); bool reads as 0 or 1.
void load_line(DType type, const std::byte* data, std::int64_t index, std::int64_t stride, std::size_t count,
               float* out);
void load_line(DType type, const std::byte* data, std::int64_t index, std::int64_t stride, std::size_t count,
               double* out);
void load_line(DType type, const std::byte* data, std::int64_t index, std::int64_t stride, std::size_t count,
               std::int32_t* out);
void load_line(DType type, const std::byte* data, std::int64_t index, std::int64_t stride, std::size_t count,
               std::int64_t* out);

// Rounds once (floating), truncates and saturates (floating to an integer), wraps (integers); bool is not 0. Lines of
// i4 begin at an even index; the half behind an odd end becomes 0.
void store_line(DType type, std::byte* data, std::int64_t index, std::size_t count, const float* from);
void store_line(DType type, std::byte* data, std::int64_t index, std::size_t count, const double* from);
void store_line(DType type, std::byte* data, std::int64_t index, std::size_t count, const std::int32_t* from);
void store_line(DType type, std::byte* data, std::int64_t index, std::size_t count, const std::int64_t* from);

// Moves `count` elements of `size` bytes (1, 2, 4, 8) between strided places.
void move_line(std::size_t size, const std::byte* from, std::int64_t from_stride, std::byte* to, std::int64_t to_stride,
               std::size_t count);

// A copy with stores that go past the caches: for results of this size and more, which no cache holds until somebody
// reads them. Ordered by nothing but fence_streams().
constexpr std::uint64_t kPastCachesFrom = 32U << 20U;
void stream_line(const std::byte* from, std::byte* to, std::size_t bytes);
void fence_streams();

// move_line() for i4: places are counted in elements from two tensors' beginnings.
void move_i4(const std::byte* from, std::int64_t from_index, std::int64_t from_stride, std::byte* to,
             std::int64_t to_index, std::int64_t to_stride, std::size_t count);

}  // namespace hal::host
