// SPDX-License-Identifier: Apache-2.0
#include "graph/matrix_product.hpp"

#include <algorithm>
#include <cstddef>

// Three builds of the same loops, the widest that the processor has is picked at the first call. Tiles are as large as
// its registers hold: a tile of c stays there over the whole of k.
#if defined(__x86_64__)
#define HAL_HOST_AVX2 __attribute__((target("avx2,fma")))
#define HAL_HOST_AVX512 __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,fma")))
#endif

namespace hal::host {
namespace {

template <class T, int Bytes>
struct VectorOf {
  typedef T Type __attribute__((vector_size(Bytes), aligned(alignof(T)), may_alias));
  static constexpr std::int64_t kLanes = Bytes / static_cast<int>(sizeof(T));
};

// One tile: Rows x 2 vectors.
template <class T, int Bytes, int Rows>
[[gnu::always_inline]] inline void tile(const T* a, const T* b, T* c, const ProductSizes& s) {
  using Vector = typename VectorOf<T, Bytes>::Type;
  constexpr std::int64_t kLanes = VectorOf<T, Bytes>::kLanes;
  Vector held[static_cast<std::size_t>(Rows)][2] = {};
#pragma GCC unroll 4
  for (std::int64_t p = 0; p < s.k; ++p) {
    const Vector low = *reinterpret_cast<const Vector*>(b + p * s.b_row);
    const Vector high = *reinterpret_cast<const Vector*>(b + p * s.b_row + kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const T left = a[r * s.a_row + p];
      held[r][0] += left * low;
      held[r][1] += left * high;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    *reinterpret_cast<Vector*>(c + r * s.c_row) = held[r][0];
    *reinterpret_cast<Vector*>(c + r * s.c_row + kLanes) = held[r][1];
  }
}

// What no tile covers: fewer columns than two of the shortest vectors.
template <class T>
[[gnu::always_inline]] inline void narrow(const T* a, const T* b, T* c, const ProductSizes& s) {
  constexpr std::size_t kMost = 2 * VectorOf<T, 16>::kLanes;
  for (std::int64_t i = 0; i < s.m; ++i) {
    T held[kMost] = {};
    for (std::int64_t p = 0; p < s.k; ++p) {
      const T left = a[i * s.a_row + p];
      for (std::int64_t j = 0; j < s.n; ++j) { held[j] += left * b[p * s.b_row + j]; }
    }
    std::copy_n(held, s.n, c + i * s.c_row);
  }
}

// A tile of 1 to Most rows.
template <class T, int Bytes, int Most>
[[gnu::always_inline]] inline void tile_of(std::int64_t rows, const T* a, const T* b, T* c, const ProductSizes& s) {
  if constexpr (Most > 1) {
    if (rows < Most) { return tile_of<T, Bytes, Most - 1>(rows, a, b, c, s); }
  }
  tile<T, Bytes, Most>(a, b, c, s);
}

// Rows: the most that the registers hold.
template <class T, int Bytes, int Rows>
[[gnu::always_inline]] inline void product(const T* a, const T* b, T* c, const ProductSizes& s) {
  constexpr std::int64_t kColumns = 2 * VectorOf<T, Bytes>::kLanes;
  if (s.n < kColumns) {
    if constexpr (Bytes > 16) {
      return product<T, Bytes / 2, Rows>(a, b, c, s);
    } else {
      return narrow(a, b, c, s);
    }
  }
  // As few tiles as there can be, and all about as high: a low one at the end would wait for each of its few sums.
  const std::int64_t tiles = (s.m + Rows - 1) / Rows;
  for (std::int64_t column = 0; column < s.n; column += kColumns) {
    // The last tiles reach back over elements that are done: the same sums once more, but no odd shapes.
    const std::int64_t j = std::min(column, s.n - kColumns);
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t i = s.m * t / tiles, end = s.m * (t + 1) / tiles;
      tile_of<T, Bytes, Rows>(end - i, a + i * s.a_row, b + j, c + i * s.c_row + j, s);
    }
  }
}

template <class T>
using Product = void (*)(const T*, const T*, T*, const ProductSizes&);

template <class T>
void plain(const T* a, const T* b, T* c, const ProductSizes& s) {
  product<T, 16, 4>(a, b, c, s);
}
#if defined(HAL_HOST_AVX2)
template <class T>
HAL_HOST_AVX2 void avx2(const T* a, const T* b, T* c, const ProductSizes& s) {
  product<T, 32, 6>(a, b, c, s);
}
template <class T>
HAL_HOST_AVX512 void avx512(const T* a, const T* b, T* c, const ProductSizes& s) {
  product<T, 64, 14>(a, b, c, s);
}
#endif

template <class T>
Product<T> pick() {
#if defined(HAL_HOST_AVX2)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return avx512<T>;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) { return avx2<T>; }
#endif
  return plain<T>;
}

template <class T>
void multiply_any(const T* a, const T* b, T* c, const ProductSizes& sizes) {
  static const Product<T> kBest = pick<T>();
  if (sizes.m > 0 && sizes.n > 0) { kBest(a, b, c, sizes); }
}

}  // namespace

void multiply(const float* a, const float* b, float* c, const ProductSizes& sizes) { multiply_any(a, b, c, sizes); }
void multiply(const double* a, const double* b, double* c, const ProductSizes& sizes) { multiply_any(a, b, c, sizes); }
void multiply(const std::uint64_t* a, const std::uint64_t* b, std::uint64_t* c, const ProductSizes& sizes) {
  multiply_any(a, b, c, sizes);
}
void multiply(const std::uint32_t* a, const std::uint32_t* b, std::uint32_t* c, const ProductSizes& sizes) {
  multiply_any(a, b, c, sizes);
}

}  // namespace hal::host
