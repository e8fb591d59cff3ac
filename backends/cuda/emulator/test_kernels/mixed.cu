// SPDX-License-Identifier: Apache-2.0
// Less common instructions: half precision, transcendental functions with a local array, byte histogram, transpose,
// double precision, 64-bit integers, bit tricks, votes.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
extern "C" __global__ void half_scale(__half* h, __nv_bfloat16* b, const float* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  h[i] = __hadd(__float2half(x[i]), __float2half(1.0f));
  b[i] = __hmul(__float2bfloat16(x[i]), __float2bfloat16(3.0f));
}
extern "C" __global__ void gelu_trig(float* out, const float* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float v = x[i];
  out[3 * i] = 0.5f * v * (1.0f + tanhf(0.79788456f * (v + 0.044715f * v * v * v)));
  out[3 * i + 1] = sinf(v) + cosf(v);
  out[3 * i + 2] = erff(v) + logf(fabsf(v) + 1.0f) + powf(fabsf(v), 1.5f);
}
extern "C" __global__ void histogram(unsigned* bins, const unsigned char* data, int n) {
  __shared__ unsigned local[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&local[data[i]], 1u);
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&bins[i], local[i]);
}
extern "C" __global__ void transpose(float* out, const float* in, int rows, int columns) {
  __shared__ float tile[32][33];
  int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8)
    if (x < columns && y + j < rows) tile[threadIdx.y + j][threadIdx.x] = in[(y + j) * columns + x];
  __syncthreads();
  x = blockIdx.y * 32 + threadIdx.x, y = blockIdx.x * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8)
    if (x < rows && y + j < columns) out[(y + j) * rows + x] = tile[threadIdx.x][threadIdx.y + j];
}
extern "C" __global__ void integer_mix(unsigned long long* out, const unsigned* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const unsigned v = x[i];
  unsigned long long r = (unsigned long long)v * 0x9E3779B97F4A7C15ull;
  r ^= __popc(v) + __clz(v) + __brev(v) + __ffs(v);
  r += __umulhi(v, 0xdeadbeefu) + (v / 7) + (v % 13);
  r ^= (unsigned long long)__byte_perm(v, v * 3, 0x5410) << 17;
  r += r / ((unsigned long long)v + 3) + (unsigned)((int)v >> 3);
  out[i] = r;
}
extern "C" __global__ void double_mix(double* out, const double* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const double v = x[i];
  out[i] = sqrt(v) + exp(-v) / (v + 1.0) + floor(v * 3.0);
}
extern "C" __global__ void vote_mix(unsigned* out, const int* x) {
  const int v = x[threadIdx.x];
  const unsigned ballot = __ballot_sync(0xffffffffu, v > 3);
  const unsigned any = __any_sync(0xffffffffu, v == 7), all = __all_sync(0xffffffffu, v >= 0);
  int s = v;
  if (threadIdx.x & 1) s = s * 3; else s = s + 5;
  s = __shfl_up_sync(0xffffffffu, s, 1) + __shfl_sync(0xffffffffu, s, 5);
  out[threadIdx.x] = ballot + any * 2 + all * 4 + (unsigned)s + __reduce_add_sync(0xffffffffu, (unsigned)v);
}
