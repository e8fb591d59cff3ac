// SPDX-License-Identifier: Apache-2.0
// The kernel pack for devices that take PTX. pack.ptx beside this file is made from it:
//   nvcc -O3 -ptx -arch=sm_80 pack.cu -o pack.ptx
// and its .version lowered to 7.1, so that every driver for compute capability 8.0 can load it.
#include <stdint.h>

extern "C" {

__global__ void pack_fill(uint32_t n, uint32_t value, uint32_t* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) { out[i] = value; }
}

__global__ void pack_iota(uint32_t n, uint32_t start, uint32_t* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) { out[i] = start + i; }
}

__global__ void pack_saxpy(uint32_t n, float a, const float* x, float* y) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) { y[i] = a * x[i] + y[i]; }
}

// 64 items: each group adds its part through shared memory, then one atomic add.
__global__ void pack_reduce(uint32_t n, const uint32_t* x, uint32_t* sum) {
  __shared__ uint32_t part[64];
  const uint32_t i = blockIdx.x * 64 + threadIdx.x;
  part[threadIdx.x] = i < n ? x[i] : 0;
  __syncthreads();
  for (uint32_t half = 32; half > 0; half /= 2) {
    if (threadIdx.x < half) { part[threadIdx.x] += part[threadIdx.x + half]; }
    __syncthreads();
  }
  if (threadIdx.x == 0) { atomicAdd(sum, part[0]); }
}

// c[m,n] = a[m,k] b[k,n] in tiles of 8 by 8; groups: (n/8, m/8).
__global__ void pack_matmul(uint32_t m, uint32_t n, uint32_t k, const float* a, const float* b, float* c) {
  __shared__ float left[8][8];
  __shared__ float right[8][8];
  const uint32_t x = threadIdx.x, y = threadIdx.y;
  const uint32_t row = blockIdx.y * 8 + y, column = blockIdx.x * 8 + x;
  float sum = 0;
  for (uint32_t tile = 0; tile < k; tile += 8) {
    left[y][x] = row < m && tile + x < k ? a[row * k + tile + x] : 0;
    right[y][x] = column < n && tile + y < k ? b[(tile + y) * n + column] : 0;
    __syncthreads();
    for (uint32_t i = 0; i < 8; ++i) { sum += left[y][i] * right[i][x]; }
    __syncthreads();
  }
  if (row < m && column < n) { c[row * n + column] = sum; }
}

// One group of 32 items for each row.
__global__ void pack_softmax(uint32_t columns, const float* x, float* y) {
  __shared__ float part[32];
  const float* in = x + (size_t)blockIdx.x * columns;
  float* out = y + (size_t)blockIdx.x * columns;
  float most = in[0];
  for (uint32_t i = threadIdx.x; i < columns; i += 32) { most = fmaxf(most, in[i]); }
  part[threadIdx.x] = most;
  __syncthreads();
  for (uint32_t half = 16; half > 0; half /= 2) {
    if (threadIdx.x < half) { part[threadIdx.x] = fmaxf(part[threadIdx.x], part[threadIdx.x + half]); }
    __syncthreads();
  }
  most = part[0];
  __syncthreads();
  float sum = 0;
  for (uint32_t i = threadIdx.x; i < columns; i += 32) {
    const float e = expf(in[i] - most);
    out[i] = e;
    sum += e;
  }
  part[threadIdx.x] = sum;
  __syncthreads();
  for (uint32_t half = 16; half > 0; half /= 2) {
    if (threadIdx.x < half) { part[threadIdx.x] += part[threadIdx.x + half]; }
    __syncthreads();
  }
  sum = part[0];
  for (uint32_t i = threadIdx.x; i < columns; i += 32) { out[i] = out[i] / sum; }
}

// Every item draws a ticket and leaves its own number there: the result is a permutation.
__global__ void pack_ticket(uint32_t n, uint32_t* counter, uint32_t* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) { out[atomicAdd(counter, 1)] = i; }
}

// Writes back every argument that it was given. The order puts small types between large ones.
__global__ void pack_echo(uint32_t u, uint64_t wide, float f, double d, int32_t i, const uint8_t* bytes, uint64_t* out) {
  out[0] = u;
  out[1] = wide;
  out[2] = __float_as_uint(f);
  out[3] = (uint64_t)__double_as_longlong(d);
  out[4] = (uint64_t)(int64_t)i;
  out[5] = bytes[0];
}
}
