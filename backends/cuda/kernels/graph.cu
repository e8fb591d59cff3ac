// SPDX-License-Identifier: Apache-2.0
// The primitives of hal.graph, and what lanes need besides copies. Generic in types and shapes; one thread per element
// of the output unless said otherwise. Indices are 32-bit: the loader refuses larger tensors. The parameter structs are
// those of graph_kernels.hpp. Compile with ./build_ptx.sh, which commits graph.ptx as text.
#include "elements.cuh"

using namespace hal::cuda::kernels;

namespace {

struct Floats {
  using T = float;
  __device__ static T add(T a, T b) { return a + b; }
  __device__ static T subtract(T a, T b) { return a - b; }
  __device__ static T multiply(T a, T b) { return a * b; }
  __device__ static T divide(T a, T b) { return a / b; }
  __device__ static T smaller(T a, T b) { return nan_min(a, b); }
  __device__ static T larger(T a, T b) { return nan_max(a, b); }
  __device__ static T power(T a, T b) { return powf(a, b); }
  __device__ static T modulus(T a, T b) { return fmodf(a, b); }
};
struct Ints {
  using T = int;
  using U = unsigned;
  __device__ static T add(T a, T b) { return static_cast<T>(static_cast<U>(a) + static_cast<U>(b)); }
  __device__ static T subtract(T a, T b) { return static_cast<T>(static_cast<U>(a) - static_cast<U>(b)); }
  __device__ static T multiply(T a, T b) { return static_cast<T>(static_cast<U>(a) * static_cast<U>(b)); }
  __device__ static T divide(T a, T b) { return b == 0 ? 0 : b == -1 ? subtract(0, a) : a / b; }
  __device__ static T smaller(T a, T b) { return a < b ? a : b; }
  __device__ static T larger(T a, T b) { return a > b ? a : b; }
  __device__ static T power(T, T) { return 0; }  // no instruction of integers
  __device__ static T modulus(T a, T b) { return b == 0 || b == -1 ? 0 : a % b; }
};

}  // namespace

extern "C" __global__ void hal_strided_copy_1(StridedCopy c) { strided<unsigned char>(c); }
extern "C" __global__ void hal_strided_copy_2(StridedCopy c) { strided<unsigned short>(c); }
extern "C" __global__ void hal_strided_copy_4(StridedCopy c) { strided<unsigned>(c); }

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

// out[batch, m, n] = sum over k; every group has up to four loops, and any strides.
extern "C" __global__ void hal_contract(Contract c) {
  unsigned rest = thread_index();
  if (rest >= c.total) return;
  int a = 0, b = 0, o = 0;
  for (int d = c.outer - 1; d >= 0; --d) {
    const unsigned q = rest / c.size[d], r = rest - q * c.size[d];
    a += static_cast<int>(r) * c.left_stride[d];
    b += static_cast<int>(r) * c.right_stride[d];
    o += static_cast<int>(r) * c.out_stride[d];
    rest = q;
  }
  float sum = 0.0f;
  unsigned isum = 0;
  // The innermost loop is walked, the others counted.
  const int last = c.outer + c.inner - 1;
  const unsigned steps = c.inner > 0 ? c.size[last] : 1;
  const int da = c.inner > 0 ? c.left_stride[last] : 0, db = c.inner > 0 ? c.right_stride[last] : 0;
  for (unsigned k = 0; k < c.k_outer; ++k) {
    unsigned kk = k;
    int x = a, y = b;
    for (int d = last - 1; d >= c.outer; --d) {
      const unsigned q = kk / c.size[d], r = kk - q * c.size[d];
      x += static_cast<int>(r) * c.left_stride[d];
      y += static_cast<int>(r) * c.right_stride[d];
      kk = q;
    }
    if (c.type == kF32) {
      const float* p = static_cast<const float*>(c.left) + x;
      const float* q = static_cast<const float*>(c.right) + y;
      for (unsigned s = 0; s < steps; ++s, p += da, q += db) sum = fmaf(*p, *q, sum);
    } else if (c.type == kBf16) {
      const unsigned short* p = static_cast<const unsigned short*>(c.left) + x;
      const unsigned short* q = static_cast<const unsigned short*>(c.right) + y;
      for (unsigned s = 0; s < steps; ++s, p += da, q += db) sum = fmaf(bf16_to_float(*p), bf16_to_float(*q), sum);
    } else if (c.type < kI32) {
      for (unsigned s = 0; s < steps; ++s, x += da, y += db) {
        sum = fmaf(load_float(c.left, c.type, x), load_float(c.right, c.type, y), sum);
      }
    } else {
      for (unsigned s = 0; s < steps; ++s, x += da, y += db) {
        isum += static_cast<unsigned>(load_int(c.left, c.type, x)) * static_cast<unsigned>(load_int(c.right, c.type, y));
      }
    }
  }
  if (c.type >= kI32) {
    store_int(c.out, c.out_type, o, static_cast<int>(isum));
  } else {
    store_float(c.out, c.out_type, o, sum);
  }
}

// The f32 product with one loop a group: 16x16 tiles through shared memory, grid z is the batch.
extern "C" __global__ void __launch_bounds__(256) hal_matmul_f32(Matmul p) {
  __shared__ float ta[16][17];
  __shared__ float tb[16][17];
  const float* a = p.left + static_cast<long long>(blockIdx.z) * p.left_batch;
  const float* b = p.right + static_cast<long long>(blockIdx.z) * p.right_batch;
  const int tx = threadIdx.x & 15, ty = threadIdx.x >> 4;
  const int row = blockIdx.y * 16 + ty, column = blockIdx.x * 16 + tx;
  float sum = 0.0f;
  for (int k = 0; k < p.k; k += 16) {
    ta[ty][tx] = row < p.m && k + tx < p.k ? a[row * p.left_m + (k + tx) * p.left_k] : 0.0f;
    tb[ty][tx] = column < p.n && k + ty < p.k ? b[(k + ty) * p.right_k + column * p.right_n] : 0.0f;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 16; ++i) sum = fmaf(ta[ty][i], tb[i][tx], sum);
    __syncthreads();
  }
  if (row < p.m && column < p.n) {
    p.out[static_cast<long long>(blockIdx.z) * p.out_batch + row * p.out_m + column * p.out_n] = sum;
  }
}

extern "C" __global__ void hal_reduce(Reduce c) {
  unsigned rest = thread_index();
  const unsigned element = rest;
  if (rest >= c.total) return;
  int base = 0;
  for (int d = c.outer - 1; d >= 0; --d) {
    const unsigned q = rest / c.size[d], r = rest - q * c.size[d];
    base += static_cast<int>(r) * c.stride[d];
    rest = q;
  }
  const bool integers = c.type >= kI32;
  float f = c.op == kSum ? 0.0f : c.op == kProduct ? 1.0f : c.op == kMax ? -INFINITY : INFINITY;
  int n = c.op == kSum ? 0 : c.op == kProduct ? 1 : c.op == kMax ? -2147483647 - 1 : 2147483647;
  for (unsigned k = 0; k < c.count; ++k) {
    unsigned kk = k;
    int x = base;
    for (int d = c.outer + c.inner - 1; d >= c.outer; --d) {
      const unsigned q = kk / c.size[d], r = kk - q * c.size[d];
      x += static_cast<int>(r) * c.stride[d];
      kk = q;
    }
    if (integers) {
      const int v = load_int(c.from, c.type, x);
      if (c.op == kSum) n = static_cast<int>(static_cast<unsigned>(n) + static_cast<unsigned>(v));
      if (c.op == kProduct) n = static_cast<int>(static_cast<unsigned>(n) * static_cast<unsigned>(v));
      if (c.op == kMax) n = n > v ? n : v;
      if (c.op == kMin) n = n < v ? n : v;
    } else {
      const float v = load_float(c.from, c.type, x);
      if (c.op == kSum) f += v;
      if (c.op == kProduct) f *= v;
      if (c.op == kMax) f = nan_max(f, v);
      if (c.op == kMin) f = nan_min(f, v);
    }
  }
  if (integers) {
    store_int(c.to, c.to_type, element, n);
  } else {
    store_float(c.to, c.to_type, element, f);
  }
}

// out[outer, j, inner] = x[outer, indices[j], inner]
extern "C" __global__ void hal_gather(Gather g) {
  const unsigned i = thread_index();
  if (i >= g.total) return;
  const unsigned inner = i % g.inner, rest = i / g.inner, j = rest % g.count, outer = rest / g.count;
  const int index = g.indices[j];
  if (index < 0 || index >= g.axis) {
    atomicCAS(g.fault, 0ull, g.command);
    return;
  }
  const unsigned from = (outer * g.axis + index) * g.inner + inner;
  if (g.bytes == 4) static_cast<unsigned*>(g.to)[i] = static_cast<const unsigned*>(g.from)[from];
  if (g.bytes == 2) static_cast<unsigned short*>(g.to)[i] = static_cast<const unsigned short*>(g.from)[from];
  if (g.bytes == 1) static_cast<unsigned char*>(g.to)[i] = static_cast<const unsigned char*>(g.from)[from];
}

// One thread per (outer, inner) walks the updates in order, so that the last set stays and sums do not depend on timing.
// `to` already holds the base.
extern "C" __global__ void hal_scatter(Scatter s) {
  const unsigned i = thread_index();
  if (i >= s.total) return;
  const unsigned inner = i % s.inner, outer = i / s.inner;
  for (unsigned j = 0; j < s.count; ++j) {
    const int index = s.indices[j];
    if (index < 0 || index >= s.axis) {
      atomicCAS(s.fault, 0ull, s.command);
      return;
    }
    const unsigned to = (outer * s.axis + index) * s.inner + inner, from = (outer * s.count + j) * s.inner + inner;
    if (s.type >= kI32) {
      const unsigned v = static_cast<unsigned>(load_int(s.updates, s.type, from));
      const unsigned old = s.add ? static_cast<unsigned>(load_int(s.to, s.type, to)) : 0u;
      store_int(s.to, s.type, to, static_cast<int>(old + v));
    } else {
      const float v = load_float(s.updates, s.type, from);
      store_float(s.to, s.type, to, s.add ? load_float(s.to, s.type, to) + v : v);
    }
  }
}

// A scalar expression in postfix code at each element; inputs are broadcast by strides.
extern "C" __global__ void hal_map(Map m) {
  const unsigned element = thread_index();
  if (element >= m.total) return;
  unsigned at[kMapInputs];
  for (int k = 0; k < kMapInputs; ++k) at[k] = 0;
  unsigned rest = element;
  for (int d = m.rank - 1; d >= 0; --d) {
    const unsigned q = rest / m.size[d], r = rest - q * m.size[d];
    for (int k = 0; k < m.inputs; ++k) at[k] += r * m.stride[k][d];
    rest = q;
  }
  if (m.integer) {
    int stack[kMapStack];
    int top = -1;
    for (unsigned pc = 0; pc < m.length; ++pc) {
      const MapInstruction in = m.code[pc];
      if (in.opcode == 1) { stack[++top] = load_int(m.from[in.input], m.type[in.input], at[in.input]); continue; }
      if (in.opcode == 2) { stack[++top] = in.integer; continue; }
      const int b = stack[top];
      if (in.opcode == 9) { stack[top] = static_cast<int>(0u - static_cast<unsigned>(b)); continue; }
      if (in.opcode == 10) { stack[top] = b < 0 ? static_cast<int>(0u - static_cast<unsigned>(b)) : b; continue; }
      if (in.opcode == 30) { stack[top] = b == 0; continue; }
      const int a = stack[--top];
      if (in.opcode == 31) { const int c = stack[--top]; stack[top] = c != 0 ? a : b; continue; }
      stack[top] = of_two<Ints>(in.opcode, a, b);
    }
    store_int(m.to, m.to_type, element, stack[0]);
    return;
  }
  float stack[kMapStack];
  int top = -1;
  for (unsigned pc = 0; pc < m.length; ++pc) {
    const MapInstruction in = m.code[pc];
    if (in.opcode == 1) { stack[++top] = load_float(m.from[in.input], m.type[in.input], at[in.input]); continue; }
    if (in.opcode == 2) { stack[++top] = in.real; continue; }
    const float b = stack[top];
    if ((in.opcode >= 9 && in.opcode <= 21) || in.opcode == 30) {
      float r = 0.0f;
      switch (in.opcode) {
        case 9: r = -b; break;
        case 10: r = fabsf(b); break;
        case 11: r = expf(b); break;
        case 12: r = logf(b); break;
        case 13: r = sqrtf(b); break;
        case 14: r = 1.0f / sqrtf(b); break;
        case 15: r = tanhf(b); break;
        case 16: r = erff(b); break;
        case 17: r = sinf(b); break;
        case 18: r = cosf(b); break;
        case 19: r = floorf(b); break;
        case 20: r = ceilf(b); break;
        case 21: r = rintf(b); break;
        case 30: r = b == 0.0f ? 1.0f : 0.0f; break;
      }
      stack[top] = r;
      continue;
    }
    const float a = stack[--top];
    if (in.opcode == 31) { const float c = stack[--top]; stack[top] = c != 0.0f ? a : b; continue; }
    stack[top] = of_two<Floats>(in.opcode, a, b);
  }
  store_float(m.to, m.to_type, element, stack[0]);
}
