// SPDX-License-Identifier: Apache-2.0
// Row-wise softmax; one block of 128 threads per row.
extern "C" __global__ void softmax_rows(float* out, const float* in, int columns) {
  __shared__ float shared[128];
  const float* row = in + (long long)blockIdx.x * columns;
  float* dst = out + (long long)blockIdx.x * columns;
  float best = -3.402823466e+38f;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) best = fmaxf(best, row[i]);
  shared[threadIdx.x] = best;
  __syncthreads();
  for (int s = 64; s > 0; s >>= 1) {
    if (threadIdx.x < s) shared[threadIdx.x] = fmaxf(shared[threadIdx.x], shared[threadIdx.x + s]);
    __syncthreads();
  }
  best = shared[0];
  __syncthreads();
  float sum = 0.0f;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += expf(row[i] - best);
  shared[threadIdx.x] = sum;
  __syncthreads();
  for (int s = 64; s > 0; s >>= 1) {
    if (threadIdx.x < s) shared[threadIdx.x] += shared[threadIdx.x + s];
    __syncthreads();
  }
  const float scale = 1.0f / shared[0];
  for (int i = threadIdx.x; i < columns; i += blockDim.x) dst[i] = expf(row[i] - best) * scale;
}
