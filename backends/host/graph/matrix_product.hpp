// SPDX-License-Identifier: Apache-2.0
// Our own matrix product: for products too small to be worth a library call, for types that the library does not know,
// and where it is missing.
#pragma once

#include <cstdint>

namespace hal::host {

struct ProductSizes {
  std::int64_t m, n, k;
  std::int64_t a_row, b_row, c_row;  // elements from one row to the next; within a row they are neighbours
};

// c[m][n] = a[m][k] * b[k][n]. Every sum runs over k in rising order; floating products may be fused with the sum.
// Unsigned wraps.
void multiply(const float* a, const float* b, float* c, const ProductSizes& sizes);
void multiply(const double* a, const double* b, double* c, const ProductSizes& sizes);
void multiply(const std::uint64_t* a, const std::uint64_t* b, std::uint64_t* c, const ProductSizes& sizes);
void multiply(const std::uint32_t* a, const std::uint32_t* b, std::uint32_t* c, const ProductSizes& sizes);

// The same for dense operands.
template <class T>
void multiply(const T* a, const T* b, T* c, std::int64_t m, std::int64_t n, std::int64_t k) {
  multiply(a, b, c, ProductSizes{m, n, k, k, n, n});
}

}  // namespace hal::host
