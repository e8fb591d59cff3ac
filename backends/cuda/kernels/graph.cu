// SPDX-License-Identifier: Apache-2.0
// Numbers of 32 bits and less, moves, and what lanes need besides copies. The parameter structs are those of
// graph_kernels.hpp. Compile with ./build_ptx.sh, which commits graph.ptx as text.
#include "kernels.cuh"

using namespace hal::cuda::kernels;

namespace {

struct SinesOfFloat {
  __device__ static float sine(float x) { return sinf(x); }
  __device__ static float cosine(float x) { return cosf(x); }
};

struct Floats : Reals<float, SinesOfFloat> {
  __device__ static T load(const void* p, unsigned type, unsigned i) { return load_float(p, type, i); }
  __device__ static void store(void* p, unsigned type, unsigned i, T v) { store_float(p, type, i, v); }
  __device__ static T power(T a, T b) { return powf(a, b); }
  __device__ static T rounded(T a) { return a; }
  __device__ static T dot(const void* left, const void* right, unsigned type, int x, int y, int dx, int dy,
                          unsigned steps, T sum) {
    if (type == kF32) {
      const float *p = static_cast<const float*>(left) + x, *q = static_cast<const float*>(right) + y;
      for (unsigned s = 0; s < steps; ++s, p += dx, q += dy) sum = fmaf(*p, *q, sum);
    } else if (type == kBf16) {
      const unsigned short* p = static_cast<const unsigned short*>(left) + x;
      const unsigned short* q = static_cast<const unsigned short*>(right) + y;
      for (unsigned s = 0; s < steps; ++s, p += dx, q += dy) sum = fmaf(bf16_to_float(*p), bf16_to_float(*q), sum);
    } else {
      sum = dot_any<Floats>(left, right, type, x, y, dx, dy, steps, sum);
    }
    return sum;
  }
};
struct Ints : Integers<int, unsigned> {
  __device__ static T load(const void* p, unsigned type, unsigned i) { return load_int(p, type, i); }
  __device__ static void store(void* p, unsigned type, unsigned i, T v) { store_int(p, type, i, v); }
  __device__ static T dot(const void* left, const void* right, unsigned type, int x, int y, int dx, int dy,
                          unsigned steps, T sum) {
    return dot_any<Ints>(left, right, type, x, y, dx, dy, steps, sum);
  }
};

// The f32 product with one loop a group: 16x16 tiles through shared memory, grid z is the batch. True for the thread of
// an element, whose sum and place are then told.
__device__ bool tile_product(const Matmul& p, float& sum, long long& place) {
  __shared__ float ta[16][17];
  __shared__ float tb[16][17];
  const float* a = p.left + static_cast<long long>(blockIdx.z) * p.left_batch;
  const float* b = p.right + static_cast<long long>(blockIdx.z) * p.right_batch;
  const int tx = threadIdx.x & 15, ty = threadIdx.x >> 4;
  const int row = blockIdx.y * 16 + ty, column = blockIdx.x * 16 + tx;
  sum = 0.0f;
  for (int k = 0; k < p.k; k += 16) {
    ta[ty][tx] = row < p.m && k + tx < p.k ? a[row * p.left_m + (k + tx) * p.left_k] : 0.0f;
    tb[ty][tx] = column < p.n && k + ty < p.k ? b[(k + ty) * p.right_k + column * p.right_n] : 0.0f;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 16; ++i) sum = fmaf(ta[ty][i], tb[i][tx], sum);
    __syncthreads();
  }
  place = static_cast<long long>(blockIdx.z) * p.out_batch + row * p.out_m + column * p.out_n;
  return row < p.m && column < p.n;
}

}  // namespace

extern "C" __global__ void hal_strided_copy_1(StridedCopy c) { strided<unsigned char>(c); }
extern "C" __global__ void hal_strided_copy_2(StridedCopy c) { strided<unsigned short>(c); }
extern "C" __global__ void hal_strided_copy_4(StridedCopy c) { strided<unsigned>(c); }
extern "C" __global__ void hal_strided_copy_8(StridedCopy c) { strided<unsigned long long>(c); }

// out[outer, j, inner] = x[outer, indices[j], inner]
extern "C" __global__ void hal_gather_1(Gather g) { gather<unsigned char>(g); }
extern "C" __global__ void hal_gather_2(Gather g) { gather<unsigned short>(g); }
extern "C" __global__ void hal_gather_4(Gather g) { gather<unsigned>(g); }
extern "C" __global__ void hal_gather_8(Gather g) { gather<unsigned long long>(g); }

// A pattern of 1, 2, 4 or 8 bytes at any address; one thread per byte.
extern "C" __global__ void hal_fill(Fill f) {
  const unsigned long long i = static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= f.bytes) return;
  f.to[i] = static_cast<unsigned char>(f.pattern >> (8 * (i & (f.pattern_bytes - 1))));
}

extern "C" __global__ void hal_timestamp(unsigned long long* out) {
  unsigned long long now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  *out = now;
}

extern "C" __global__ void hal_convert(Convert c) {
  const unsigned i = thread_index();
  if (i >= c.total) return;
  if (c.from_type >= kI32) {
    store_converted(c.to, c.to_type, i, load_int(c.from, c.from_type, i));
  } else {
    store_float(c.to, c.to_type, i, load_float(c.from, c.from_type, i));
  }
}

extern "C" __global__ void hal_map_f32(Map m) { map<Floats>(m); }
extern "C" __global__ void hal_map_i32(Map m) { map<Ints>(m); }
extern "C" __global__ void hal_contract_f32(Contract c) { contract<Floats>(c); }
extern "C" __global__ void hal_contract_i32(Contract c) { contract<Ints>(c); }
extern "C" __global__ void hal_scatter_f32(Scatter s) { scatter<Floats>(s); }
extern "C" __global__ void hal_scatter_i32(Scatter s) { scatter<Ints>(s); }

extern "C" __global__ void __launch_bounds__(256) hal_matmul(Matmul p) {
  float sum;
  long long place;
  if (tile_product(p, sum, place)) p.out[place] = sum;
}
// With an expression behind the sum.
extern "C" __global__ void __launch_bounds__(256) hal_matmul_map(MatmulMap p) {
  float sum;
  long long place;
  if (tile_product(p.product, sum, place)) finish<Floats>(p.behind, static_cast<unsigned>(place), sum);
}
