// SPDX-License-Identifier: Apache-2.0
#include "graph/matrix_product.hpp"

#include <algorithm>

#include "graph/simd.hpp"

namespace hal::host {

namespace {

// A tile of rows by columns of c is held in registers over the whole of k.
constexpr std::int64_t kRows = 4, kColumns = 32;

template <class T>
[[gnu::always_inline]] inline void full_tile(const T* a, const T* b, T* c, std::int64_t n, std::int64_t k) {
  T held[kRows][kColumns] = {};
  for (std::int64_t p = 0; p < k; ++p) {
    for (std::int64_t r = 0; r < kRows; ++r) {
      const T left = a[r * k + p];
      for (std::int64_t j = 0; j < kColumns; ++j) { held[r][j] += left * b[p * n + j]; }
    }
  }
  for (std::int64_t r = 0; r < kRows; ++r) { std::copy_n(held[r], kColumns, c + r * n); }
}

template <class T>
[[gnu::always_inline]] inline void part_tile(const T* a, const T* b, T* c, std::int64_t n, std::int64_t k,
                                             std::int64_t rows, std::int64_t columns) {
  for (std::int64_t r = 0; r < rows; ++r) {
    T held[kColumns] = {};
    for (std::int64_t p = 0; p < k; ++p) {
      const T left = a[r * k + p];
      for (std::int64_t j = 0; j < columns; ++j) { held[j] += left * b[p * n + j]; }
    }
    std::copy_n(held, columns, c + r * n);
  }
}

template <class T>
[[gnu::always_inline]] inline void multiply_any(const T* a, const T* b, T* c, std::int64_t m, std::int64_t n,
                                                std::int64_t k) {
  for (std::int64_t i = 0; i < m; i += kRows) {
    for (std::int64_t j = 0; j < n; j += kColumns) {
      const std::int64_t rows = std::min(kRows, m - i), columns = std::min(kColumns, n - j);
      if (rows == kRows && columns == kColumns) {
        full_tile(a + i * k, b + j, c + i * n + j, n, k);
      } else {
        part_tile(a + i * k, b + j, c + i * n + j, n, k, rows, columns);
      }
    }
  }
}

}  // namespace

HAL_HOST_CLONES void multiply(const float* a, const float* b, float* c, std::int64_t m, std::int64_t n,
                              std::int64_t k) {
  multiply_any(a, b, c, m, n, k);
}

HAL_HOST_CLONES void multiply(const double* a, const double* b, double* c, std::int64_t m, std::int64_t n,
                              std::int64_t k) {
  multiply_any(a, b, c, m, n, k);
}

HAL_HOST_CLONES void multiply(const std::uint32_t* a, const std::uint32_t* b, std::uint32_t* c, std::int64_t m,
                              std::int64_t n, std::int64_t k) {
  multiply_any(a, b, c, m, n, k);
}

HAL_HOST_CLONES void multiply(const std::uint64_t* a, const std::uint64_t* b, std::uint64_t* c, std::int64_t m,
                              std::int64_t n, std::int64_t k) {
  multiply_any(a, b, c, m, n, k);
}

}  // namespace hal::host
