// SPDX-License-Identifier: Apache-2.0
// The primitives of hal.graph for any class of numbers: graph.cu makes them for 32 bits, wide.cu for 64. One thread an
// element of the output unless said otherwise. Indices are 32-bit: the loader refuses larger tensors. Such a class N has
//
//   T                               what it computes in
//   load, store, constant           an element in memory, an instruction's number
//   one(opcode, b)                  a map's instruction of one number
//   add ... modulus, multiply_add   those of two
//   least, most                     what every extreme begins with
//   rounded                         as a 32-bit number would be stored
//   dot                             a run of products, added to a sum
#pragma once

#include "elements.cuh"

namespace hal::cuda::kernels {

__device__ unsigned thread_index() { return blockIdx.x * blockDim.x + threadIdx.x; }

template <class T>
__device__ T nan_min(T a, T b) { return a != a ? a : (b != b ? b : (a < b ? a : b)); }
template <class T>
__device__ T nan_max(T a, T b) { return a != a ? a : (b != b ? b : (a > b ? a : b)); }

// What floating classes share. S has sine and cosine.
template <class Number, class S>
struct Reals {
  using T = Number;
  __device__ static T least() { return -INFINITY; }
  __device__ static T most() { return INFINITY; }
  __device__ static T smaller(T a, T b) { return nan_min(a, b); }
  __device__ static T larger(T a, T b) { return nan_max(a, b); }
  __device__ static T add(T a, T b) { return a + b; }
  __device__ static T subtract(T a, T b) { return a - b; }
  __device__ static T multiply(T a, T b) { return a * b; }
  __device__ static T divide(T a, T b) { return a / b; }
  __device__ static T modulus(T a, T b) { return fmod(a, b); }
  __device__ static T multiply_add(T a, T b, T c) { return fma(a, b, c); }
  template <class Instruction>
  __device__ static T constant(const Instruction& in) { return in.real; }
  __device__ static bool has_one(unsigned opcode) { return (opcode >= 9 && opcode <= 21) || opcode == 30; }
  __device__ static T one(unsigned opcode, T b) {
    switch (opcode) {
      case 9: return -b;
      case 10: return fabs(b);
      case 11: return exp(b);
      case 12: return log(b);
      case 13: return sqrt(b);
      case 14: return static_cast<T>(1) / sqrt(b);
      case 15: return tanh(b);
      case 16: return erf(b);
      case 17: return S::sine(b);
      case 18: return S::cosine(b);
      case 19: return floor(b);
      case 20: return ceil(b);
      case 21: return rint(b);
      case 30: return b == 0 ? 1 : 0;
    }
    return 0;
  }
};

// What integer classes share: they wrap.
template <class Number, class Unsigned>
struct Integers {
  using T = Number;
  using U = Unsigned;
  __device__ static T least() { return static_cast<T>(static_cast<U>(1) << (sizeof(T) * 8 - 1)); }
  __device__ static T most() { return static_cast<T>(~static_cast<U>(0) >> 1); }
  __device__ static T smaller(T a, T b) { return a < b ? a : b; }
  __device__ static T larger(T a, T b) { return a > b ? a : b; }
  __device__ static T add(T a, T b) { return static_cast<T>(static_cast<U>(a) + static_cast<U>(b)); }
  __device__ static T subtract(T a, T b) { return static_cast<T>(static_cast<U>(a) - static_cast<U>(b)); }
  __device__ static T multiply(T a, T b) { return static_cast<T>(static_cast<U>(a) * static_cast<U>(b)); }
  __device__ static T divide(T a, T b) { return b == 0 ? 0 : b == -1 ? subtract(0, a) : a / b; }
  __device__ static T power(T, T) { return 0; }  // no instruction of integers
  __device__ static T modulus(T a, T b) { return b == 0 || b == -1 ? 0 : a % b; }
  __device__ static T multiply_add(T a, T b, T c) { return add(multiply(a, b), c); }
  __device__ static T rounded(T a) { return a; }
  template <class Instruction>
  __device__ static T constant(const Instruction& in) { return in.integer; }
  __device__ static bool has_one(unsigned opcode) { return opcode == 9 || opcode == 10 || opcode == 30; }
  __device__ static T one(unsigned opcode, T b) {
    if (opcode == 30) return b == 0;
    return opcode == 10 && b >= 0 ? b : subtract(0, b);
  }
};

template <class N>
__device__ typename N::T two(unsigned opcode, typename N::T a, typename N::T b) {
  switch (opcode) {
    case 3: return N::add(a, b);
    case 4: return N::subtract(a, b);
    case 5: return N::multiply(a, b);
    case 6: return N::divide(a, b);
    case 7: return N::smaller(a, b);
    case 8: return N::larger(a, b);
    case 22: return a == b;
    case 23: return a != b;
    case 24: return a < b;
    case 25: return a <= b;
    case 26: return a > b;
    case 27: return a >= b;
    case 28: return a != 0 && b != 0;
    case 29: return a != 0 || b != 0;
    case 32: return N::power(a, b);
    case 33: return N::modulus(a, b);
  }
  return 0;
}

// Moves `at`, where each input of an expression is read, by an index of the dimensions from `begin` to before `end`.
template <class E>
__device__ void walk(const E& e, const unsigned* size, int begin, int end, unsigned index, unsigned (&at)[kMapInputs]) {
  for (int d = end - 1; d >= begin; --d) {
    const unsigned q = index / size[d], r = index - q * size[d];
    for (int k = 0; k < e.inputs; ++k) at[k] += r * e.stride[k][d];
    index = q;
  }
}

// A scalar expression in postfix code. An input without a type is `sum`.
template <class N, class E>
__device__ typename N::T evaluate(const E& e, const unsigned (&at)[kMapInputs], typename N::T sum) {
  typename N::T stack[kMapStack];
  int top = -1;
  for (unsigned pc = 0; pc < e.length; ++pc) {
    const unsigned opcode = e.code[pc].opcode, input = e.code[pc].input;
    if (opcode == 1) {
      stack[++top] = e.type[input] == 0 ? sum : N::load(e.from[input], e.type[input], at[input]);
      continue;
    }
    if (opcode == 2) { stack[++top] = N::constant(e.code[pc]); continue; }
    const typename N::T b = stack[top];
    if (N::has_one(opcode)) { stack[top] = N::one(opcode, b); continue; }
    const typename N::T a = stack[--top];
    if (opcode == 31) { const typename N::T c = stack[--top]; stack[top] = c != 0 ? a : b; continue; }
    stack[top] = two<N>(opcode, a, b);
  }
  return stack[0];
}

// An expression at each element, or folded over the inner dimensions in their order.
template <class N, class M>
__device__ void map(const M& m) {
  const unsigned element = thread_index();
  if (element >= m.total) return;
  unsigned base[kMapInputs], at[kMapInputs];
  for (int k = 0; k < kMapInputs; ++k) base[k] = 0;
  walk(m.e, m.size, 0, m.outer, element, base);
  typename N::T sum = m.op == kProduct ? 1 : m.op == kMax ? N::least() : m.op == kMin ? N::most() : 0;
  for (unsigned i = 0; i < m.count; ++i) {
    for (int k = 0; k < kMapInputs; ++k) at[k] = base[k];
    walk(m.e, m.size, m.outer, m.outer + m.inner, i, at);
    typename N::T v = evaluate<N>(m.e, at, 0);
    if (m.rounds) v = N::rounded(v);
    if (m.op == kNone) sum = v;
    if (m.op == kSum) sum = N::add(sum, v);
    if (m.op == kProduct) sum = N::multiply(sum, v);
    if (m.op == kMax) sum = N::larger(sum, v);
    if (m.op == kMin) sum = N::smaller(sum, v);
  }
  N::store(m.to, m.to_type, element, sum);
}

template <class N>
__device__ typename N::T dot_any(const void* left, const void* right, unsigned type, int x, int y, int dx, int dy,
                                 unsigned steps, typename N::T sum) {
  for (unsigned s = 0; s < steps; ++s, x += dx, y += dy) {
    sum = N::multiply_add(N::load(left, type, x), N::load(right, type, y), sum);
  }
  return sum;
}

// The sum of element `o`, or what an expression makes of it, goes to its place.
template <class N, class B>
__device__ void finish(const B& behind, unsigned o, typename N::T sum) {
  if (behind.e.length != 0) {
    unsigned at[kMapInputs];
    for (int k = 0; k < kMapInputs; ++k) at[k] = 0;
    walk(behind.e, behind.size, 0, behind.rank, o, at);
    sum = evaluate<N>(behind.e, at, sum);
  }
  N::store(behind.to, behind.to_type, o, sum);
}

// out[batch, m, n] = sum over k; every group has up to four loops, and any strides. Behind the sum runs an expression, if
// there is one.
template <class N, class C>
__device__ void contract(const C& c) {
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
  typename N::T sum = 0;
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
    sum = N::dot(c.left, c.right, c.type, x, y, da, db, steps, sum);
  }
  finish<N>(c.behind, o, sum);
}

// One thread per (outer, inner) walks the updates in order, so that the last set stays and sums do not depend on timing.
// `to` already holds the base.
template <class N>
__device__ void scatter(const Scatter& s) {
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
    const typename N::T v = N::load(s.updates, s.type, from);
    N::store(s.to, s.type, to, s.add ? N::add(N::load(s.to, s.type, to), v) : v);
  }
}

template <class T>
__device__ void strided(const StridedCopy& c) {
  unsigned i = thread_index();
  if (i >= c.total) return;
  int from = c.from_offset, to = c.to_offset;
  for (int d = c.rank - 1; d >= 0; --d) {
    const unsigned q = i / c.size[d], r = i - q * c.size[d];
    from += static_cast<int>(r) * c.from_stride[d];
    to += static_cast<int>(r) * c.to_stride[d];
    i = q;
  }
  static_cast<T*>(c.to)[to] = static_cast<const T*>(c.from)[from];
}

template <class T>
__device__ void gather(const Gather& g) {
  const unsigned i = thread_index();
  if (i >= g.total) return;
  const unsigned inner = i % g.inner, rest = i / g.inner, j = rest % g.count, outer = rest / g.count;
  const int index = g.indices[j];
  if (index < 0 || index >= g.axis) {
    atomicCAS(g.fault, 0ull, g.command);
    return;
  }
  static_cast<T*>(g.to)[i] = static_cast<const T*>(g.from)[(outer * g.axis + index) * g.inner + inner];
}

}  // namespace hal::cuda::kernels
