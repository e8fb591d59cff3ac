// SPDX-License-Identifier: Apache-2.0
#include "graph/byte_product.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#define HAL_HOST_AVX2 __attribute__((target("avx2")))
#endif

// Bytes are widened to 16 bits when they are packed, and multiplied in pairs along k: one instruction makes two
// products and their sum in 32 bits, for each of eight columns. 2 * 128 * 128 is far from the end of those.
//
// Left:  row by row, k rounded up to a whole pair.
// Right: panel by panel of kColumns columns; in a panel pair by pair, and of a pair the two rows of each column side by
//        side. What lies beyond the matrix is 0.

namespace hal::host {
namespace {

constexpr std::int64_t kRows = 6, kColumns = 16;  // of a tile
// What a pass works on stays in the second-level cache: so many rows of the left operand, so many pairs along k.
constexpr std::int64_t kRowsAtOnce = 48, kPairsAtOnce = 512;

std::int64_t pairs_of(const ByteSizes& sizes) { return (sizes.k + 1) / 2; }
std::int64_t blocks(std::int64_t size, std::int64_t block) { return (size + block - 1) / block; }

#if defined(HAL_HOST_AVX2)
// Rows x kColumns sums over some pairs; `adds` to those that are there.
template <std::size_t kHigh>
HAL_HOST_AVX2 void tile(const std::int16_t* left, std::int64_t left_row, const std::int16_t* right, std::int64_t pairs,
                        std::int32_t* c, std::int64_t c_row, bool adds) {
  const auto place = [&](std::size_t r, std::size_t half) {
    return reinterpret_cast<__m256i*>(c + static_cast<std::int64_t>(r) * c_row + static_cast<std::int64_t>(half) * 8);
  };
  __m256i held[kHigh][2];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kHigh; ++r) {
    held[r][0] = adds ? _mm256_loadu_si256(place(r, 0)) : _mm256_setzero_si256();
    held[r][1] = adds ? _mm256_loadu_si256(place(r, 1)) : _mm256_setzero_si256();
  }
  for (std::int64_t p = 0; p < pairs; ++p, left += 2, right += 2 * kColumns) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(right));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(right + kColumns));
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kHigh; ++r) {
      std::int32_t pair = 0;
      std::memcpy(&pair, left + static_cast<std::int64_t>(r) * left_row, sizeof pair);
      const __m256i both = _mm256_set1_epi32(pair);
      held[r][0] = _mm256_add_epi32(held[r][0], _mm256_madd_epi16(both, low));
      held[r][1] = _mm256_add_epi32(held[r][1], _mm256_madd_epi16(both, high));
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kHigh; ++r) {
    _mm256_storeu_si256(place(r, 0), held[r][0]);
    _mm256_storeu_si256(place(r, 1), held[r][1]);
  }
}

using Tile = void (*)(const std::int16_t*, std::int64_t, const std::int16_t*, std::int64_t, std::int32_t*, std::int64_t,
                      bool);
constexpr Tile kTiles[] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};
#endif

}  // namespace

std::int64_t ByteSizes::left_bytes() const { return m * pairs_of(*this) * 4; }
std::int64_t ByteSizes::panels() const { return blocks(n, kColumns); }
std::int64_t ByteSizes::right_bytes() const { return panels() * kColumns * pairs_of(*this) * 4; }

bool has_byte_product() {
#if defined(HAL_HOST_AVX2)
  return __builtin_cpu_supports("avx2") != 0;
#else
  return false;
#endif
}

void pack_left(const std::int8_t* a, ByteStrides strides, const ByteSizes& sizes, std::int64_t first_row,
               std::int64_t end_row, std::int16_t* to) {
  const std::int64_t pitch = 2 * pairs_of(sizes);
  for (std::int64_t i = first_row; i < end_row; ++i) {
    const std::int8_t* const from = a + i * strides.row;
    std::int16_t* const row = to + i * pitch;
    if (strides.column == 1) {
      std::copy_n(from, sizes.k, row);
    } else {
      for (std::int64_t p = 0; p < sizes.k; ++p) { row[p] = from[p * strides.column]; }
    }
    if (pitch != sizes.k) { row[sizes.k] = 0; }
  }
}

void pack_right(const std::int8_t* b, ByteStrides strides, const ByteSizes& sizes, std::int64_t first_panel,
                std::int64_t end_panel, std::int16_t* to) {
  const std::int64_t pairs = pairs_of(sizes);
  for (std::int64_t panel = first_panel; panel < end_panel; ++panel) {
    std::int16_t* out = to + panel * pairs * 2 * kColumns;
    const std::int8_t* const from = b + panel * kColumns * strides.column;
    const std::int64_t columns = std::min(kColumns, sizes.n - panel * kColumns);
    for (std::int64_t p = 0; p < pairs; ++p, out += 2 * kColumns) {
      const std::int8_t* const even = from + 2 * p * strides.row;
      const bool two = 2 * p + 1 < sizes.k;
      if (columns == kColumns && two && strides.column == 1) {
        const std::int8_t* const odd = even + strides.row;
        for (std::int64_t j = 0; j < kColumns; ++j) {
          out[2 * j] = even[j];
          out[2 * j + 1] = odd[j];
        }
        continue;
      }
      std::fill_n(out, 2 * kColumns, std::int16_t{0});
      for (std::int64_t j = 0; j < columns; ++j) {
        out[2 * j] = even[j * strides.column];
        if (two) { out[2 * j + 1] = even[j * strides.column + strides.row]; }
      }
    }
  }
}

void multiply_bytes(const std::int16_t* left, const std::int16_t* right, std::int32_t* c, std::int64_t c_row,
                    const ByteSizes& sizes, std::int64_t first_row, std::int64_t end_row) {
#if defined(HAL_HOST_AVX2)
  const std::int64_t pairs = pairs_of(sizes), pitch = 2 * pairs;
  for (std::int64_t p = 0; p < pairs; p += kPairsAtOnce) {
    const std::int64_t deep = std::min(kPairsAtOnce, pairs - p);
    for (std::int64_t rows = first_row; rows < end_row; rows += kRowsAtOnce) {
      const std::int64_t rows_end = std::min(rows + kRowsAtOnce, end_row);
      for (std::int64_t column = 0; column < sizes.n; column += kColumns) {
        const std::int16_t* const b = right + (column * pairs + p * kColumns) * 2;
        const std::int64_t wide = std::min(kColumns, sizes.n - column);
        for (std::int64_t i = rows; i < rows_end; i += kRows) {
          const std::int16_t* const a = left + i * pitch + 2 * p;
          const std::int64_t high = std::min(kRows, rows_end - i);
          std::int32_t* const to = c + i * c_row + column;
          if (wide == kColumns) {
            kTiles[high](a, pitch, b, deep, to, c_row, p != 0);
            continue;
          }
          std::int32_t whole[kRows * kColumns];  // what lies beyond the columns goes nowhere
          kTiles[high](a, pitch, b, deep, whole, kColumns, false);
          for (std::int64_t r = 0; r < high; ++r) {
            for (std::int64_t j = 0; j < wide; ++j) {
              std::int32_t& sum = to[r * c_row + j];
              const auto before = p != 0 ? static_cast<std::uint32_t>(sum) : 0U;
              sum = static_cast<std::int32_t>(before + static_cast<std::uint32_t>(whole[r * kColumns + j]));
            }
          }
        }
      }
    }
  }
#else
  (void)left, (void)right, (void)c, (void)c_row, (void)sizes, (void)first_row, (void)end_row;
#endif
}

}  // namespace hal::host
