// SPDX-License-Identifier: Apache-2.0
// Our own product of matrices of signed bytes: sums in 32 bits, which wrap, and nothing in between that saturates. For
// processors on which the library's sums are not exact.
#pragma once

#include <cstdint>

namespace hal::host {

// Operands are packed before they are multiplied, the right one into panels of some columns.
struct ByteSizes {
  std::int64_t m, n, k;

  std::int64_t panels() const;
  std::int64_t left_bytes() const;  // of what is packed
  std::int64_t right_bytes() const;
};

// Elements from one row, and from one column, to the next.
struct ByteStrides {
  std::int64_t row, column;
};

// Whether the processor has what it takes.
bool has_byte_product();

// Packs some of the rows, or panels. Threads may each take their own.
void pack_left(const std::int8_t* a, ByteStrides strides, const ByteSizes& sizes, std::int64_t first_row,
               std::int64_t end_row, std::int16_t* to);
void pack_right(const std::int8_t* b, ByteStrides strides, const ByteSizes& sizes, std::int64_t first_panel,
                std::int64_t end_panel, std::int16_t* to);

// Some rows of c[m][n] = a[m][k] * b[k][n]; `c_row` elements from one row of c to the next.
void multiply_bytes(const std::int16_t* left, const std::int16_t* right, std::int32_t* c, std::int64_t c_row,
                    const ByteSizes& sizes, std::int64_t first_row, std::int64_t end_row);

}  // namespace hal::host
