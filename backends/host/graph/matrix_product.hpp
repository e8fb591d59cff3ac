// SPDX-License-Identifier: Apache-2.0
// Our own dense matrix product: for products too small to be worth a library call, for types that the library does not
// know, and where it is missing.
#pragma once

#include <cstdint>

namespace hal::host {

// c[m][n] = a[m][k] * b[k][n], all dense and row-major. Unsigned wraps.
void multiply(const float* a, const float* b, float* c, std::int64_t m, std::int64_t n, std::int64_t k);
void multiply(const double* a, const double* b, double* c, std::int64_t m, std::int64_t n, std::int64_t k);
void multiply(const std::uint64_t* a, const std::uint64_t* b, std::uint64_t* c, std::int64_t m, std::int64_t n,
              std::int64_t k);
void multiply(const std::uint32_t* a, const std::uint32_t* b, std::uint32_t* c, std::int64_t m, std::int64_t n,
              std::int64_t k);

}  // namespace hal::host
