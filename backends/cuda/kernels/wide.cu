// SPDX-License-Identifier: Apache-2.0
// The primitives of hal.graph where 64 bits take part: tensors of f64 and i64, and sums that are kept in them. A module of
// its own, loaded with the first graph that needs it. Compile with ./build_ptx.sh, which commits wide.ptx as text.
#include "elements.cuh"

using namespace hal::cuda::kernels;

namespace {

__device__ double load_double(const void* p, unsigned type, unsigned i) {
  if (type == kF64) return static_cast<const double*>(p)[i];
  if (type == kI32) return static_cast<double>(static_cast<const int*>(p)[i]);
  return static_cast<double>(load_float(p, type, i));
}
__device__ long long load_long(const void* p, unsigned type, unsigned i) {
  if (type == kI64) return static_cast<const long long*>(p)[i];
  return load_int(p, type, i);
}
// To integers: truncate and saturate, NaN is 0; to bool: not 0. Narrower floats are reached through a float that is odd
// where something was dropped: the second rounding then does as one would have done.
__device__ void store_double(void* p, unsigned type, unsigned i, double v) {
  if (type == kF64) {
    static_cast<double*>(p)[i] = v;
  } else if (type == kF32) {
    static_cast<float*>(p)[i] = __double2float_rn(v);
  } else if (type < kI32) {
    const float down = __double2float_rz(v);
    const bool exact = static_cast<double>(down) == v;
    store_float(p, type, i, exact ? down : __uint_as_float(__float_as_uint(down) | 1u));
  } else if (type == kBool) {
    static_cast<unsigned char*>(p)[i] = v != 0.0;
  } else if (type == kI64) {
    static_cast<long long*>(p)[i] = v != v ? 0
                                    : v >= 9223372036854775808.0    ? 9223372036854775807LL
                                    : v < -9223372036854775808.0    ? -9223372036854775807LL - 1
                                                                    : __double2ll_rz(v);
  } else {
    const double least = type == kI32 ? -2147483648.0 : type == kI8 ? -128.0 : 0.0;
    const double most = type == kI32 ? 2147483647.0 : type == kI8 ? 127.0 : 255.0;
    const int n = v != v ? 0 : __double2int_rz(v < least ? least : v > most ? most : v);
    if (type == kI32) {
      static_cast<int*>(p)[i] = n;
    } else {
      static_cast<unsigned char*>(p)[i] = static_cast<unsigned char>(n);
    }
  }
}
// The result of integer arithmetic: the low bits; to bool: not 0.
__device__ void store_long(void* p, unsigned type, unsigned i, long long v) {
  if (type == kI64) {
    static_cast<long long*>(p)[i] = v;
  } else if (type == kBool) {
    static_cast<unsigned char*>(p)[i] = v != 0;
  } else {
    store_int(p, type, i, static_cast<int>(v));
  }
}
// An integer converted: saturated, or rounded once.
__device__ void store_long_converted(void* p, unsigned type, unsigned i, long long v) {
  if (type == kF64) {
    static_cast<double*>(p)[i] = __ll2double_rn(v);
  } else if (type == kF32) {
    static_cast<float*>(p)[i] = __ll2float_rn(v);
  } else if (type < kI32) {
    const float down = __ll2float_rz(v);
    const bool exact = __float2ll_rz(down) == v;
    store_float(p, type, i, exact ? down : __uint_as_float(__float_as_uint(down) | 1u));
  } else if (type == kI64 || type == kBool) {
    store_long(p, type, i, v);
  } else {
    store_converted(p, type, i, static_cast<int>(v < -2147483647LL - 1 ? -2147483647LL - 1 : v > 2147483647LL ? 2147483647LL : v));
  }
}

// What the two classes of numbers do differently, for the kernels below.
struct Doubles {
  using T = double;
  __device__ static T load(const void* p, unsigned type, unsigned i) { return load_double(p, type, i); }
  __device__ static void store(void* p, unsigned type, unsigned i, T v) { store_double(p, type, i, v); }
  __device__ static T least() { return -INFINITY; }
  __device__ static T most() { return INFINITY; }
  __device__ static T smaller(T a, T b) { return nan_min(a, b); }
  __device__ static T larger(T a, T b) { return nan_max(a, b); }
  __device__ static T add(T a, T b) { return a + b; }
  __device__ static T subtract(T a, T b) { return a - b; }
  __device__ static T multiply(T a, T b) { return a * b; }
  __device__ static T divide(T a, T b) { return a / b; }
  __device__ static T power(T a, T b);
  __device__ static T modulus(T a, T b) { return fmod(a, b); }
  __device__ static T multiply_add(T a, T b, T c) { return fma(a, b, c); }
};
struct Longs {
  using T = long long;
  using U = unsigned long long;
  __device__ static T load(const void* p, unsigned type, unsigned i) { return load_long(p, type, i); }
  __device__ static void store(void* p, unsigned type, unsigned i, T v) { store_long(p, type, i, v); }
  __device__ static T least() { return -9223372036854775807LL - 1; }
  __device__ static T most() { return 9223372036854775807LL; }
  __device__ static T smaller(T a, T b) { return a < b ? a : b; }
  __device__ static T larger(T a, T b) { return a > b ? a : b; }
  __device__ static T add(T a, T b) { return static_cast<T>(static_cast<U>(a) + static_cast<U>(b)); }
  __device__ static T subtract(T a, T b) { return static_cast<T>(static_cast<U>(a) - static_cast<U>(b)); }
  __device__ static T multiply(T a, T b) { return static_cast<T>(static_cast<U>(a) * static_cast<U>(b)); }
  __device__ static T divide(T a, T b) { return b == 0 ? 0 : b == -1 ? subtract(0, a) : a / b; }
  __device__ static T power(T, T) { return 0; }  // no instruction of integers
  __device__ static T modulus(T a, T b) { return b == 0 || b == -1 ? 0 : a % b; }
  __device__ static T multiply_add(T a, T b, T c) { return add(multiply(a, b), c); }
};

// out[batch, m, n] = sum over k; every group has up to four loops, and any strides.
template <class N>
__device__ void contract(const Contract& c) {
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
    for (unsigned s = 0; s < steps; ++s, x += da, y += db) {
      sum = N::multiply_add(N::load(c.left, c.type, x), N::load(c.right, c.type, y), sum);
    }
  }
  N::store(c.out, c.out_type, o, sum);
}

template <class N>
__device__ void reduce(const Reduce& c) {
  unsigned rest = thread_index();
  const unsigned element = rest;
  if (rest >= c.total) return;
  int base = 0;
  for (int d = c.outer - 1; d >= 0; --d) {
    const unsigned q = rest / c.size[d], r = rest - q * c.size[d];
    base += static_cast<int>(r) * c.stride[d];
    rest = q;
  }
  typename N::T sum = c.op == kSum ? 0 : c.op == kProduct ? 1 : c.op == kMax ? N::least() : N::most();
  for (unsigned k = 0; k < c.count; ++k) {
    unsigned kk = k;
    int x = base;
    for (int d = c.outer + c.inner - 1; d >= c.outer; --d) {
      const unsigned q = kk / c.size[d], r = kk - q * c.size[d];
      x += static_cast<int>(r) * c.stride[d];
      kk = q;
    }
    const typename N::T v = N::load(c.from, c.type, x);
    if (c.op == kSum) sum = N::add(sum, v);
    if (c.op == kProduct) sum = N::multiply(sum, v);
    if (c.op == kMax) sum = N::larger(sum, v);
    if (c.op == kMin) sum = N::smaller(sum, v);
  }
  N::store(c.to, c.to_type, element, sum);
}

// As hal_scatter.
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

// sin, cos and pow of the toolkit call functions that are not inlined; these do not.

// The bits of 2/pi behind 64 zeros.
__device__ const unsigned long long kTwoOverPi[] = {
    0ull, 0xa2f9836e4e441529ull, 0xfc2757d1f534ddc0ull, 0xdb6295993c439041ull, 0xfe5163abdebbc561ull,
    0xb7246e3a424dd2e0ull, 0x06492eea09d1921cull, 0xfe1deb1cb129a73eull, 0xe88235f52ebb4484ull,
    0xe99c7026b45f7e41ull, 0x3991d639835339f4ull, 0x9c845f8bbdf9283bull, 0x1ff897ffde05980full,
    0xef2f118b5a0a6d1full, 0x6d367ecf27cb09b7ull, 0x4f463f669e5fea2dull, 0x7527bac7ebe5f17bull,
    0x3d0739f78a5292eaull, 0x6bfb5fb11f8d5d08ull, 0x56033046fc7b6babull, 0xf0cfbc209af4361dull};

// x - quadrant * pi/2 for |x| >= 2^31: of x * 2/pi only the bits below 4 matter, so 192 bits of 2/pi from the right place on
// are enough (Payne and Hanek, "Radian reduction for trigonometric functions", 1983).
__device__ double reduce_large(double x, int& quadrant) {
  const unsigned long long code = static_cast<unsigned long long>(__double_as_longlong(x));
  const int exponent = static_cast<int>((code >> 52) & 0x7ff) - 1075;  // x is mantissa * 2^exponent
  const unsigned long long mantissa = (code & 0xfffffffffffffull) | 0x10000000000000ull;
  const int at = exponent - 2 + 64, word = at >> 6, shift = at & 63;
  unsigned long long part[3];
  for (int i = 0; i < 3; ++i) {
    part[i] = kTwoOverPi[word + i] << shift;
    if (shift != 0) part[i] |= kTwoOverPi[word + i + 1] >> (64 - shift);
  }
  const unsigned long long low = mantissa * part[2], carry = __umul64hi(mantissa, part[2]);
  const unsigned long long middle = mantissa * part[1] + carry;
  const unsigned long long high = mantissa * part[0] + __umul64hi(mantissa, part[1]) + (middle < carry ? 1u : 0u);
  quadrant = static_cast<int>(high >> 62);
  const long long whole = static_cast<long long>((high << 2) | (middle >> 62));
  const unsigned long long rest = (middle << 2) | (low >> 62);
  if (whole < 0) ++quadrant;  // the nearest quarter: what is left is negative
  const double left = fma(__ull2double_rn(rest), 0x1p-128, __ll2double_rn(whole) * 0x1p-64);
  const double angle = left * 1.5707963267948966;
  if (x >= 0.0) return angle;
  quadrant = -quadrant;
  return -angle;
}

// sin(x + quarters * pi/2)
__device__ double sine(double x, int quarters) {
  int quadrant;
  double r;
  if (fabs(x) < 2147483648.0) {
    // pi/2 in three parts of 53 bits each.
    const double q = rint(x * 0.6366197723675814);
    r = fma(q, -1.5707963267948966, x);
    r = fma(q, -6.123233995736766e-17, r);
    r = fma(q, 1.4973849048591833e-33, r);
    quadrant = static_cast<int>(static_cast<long long>(q) & 3);
  } else if (fabs(x) < INFINITY) {
    r = reduce_large(x, quadrant);
  } else {
    return x - x;  // NaN
  }
  // Taylor's series: |r| is at most pi/4, where the first term left out is below 2^-58.
  const double square = r * r;
  double sum = 0.0;
  if (((quadrant + quarters) & 1) != 0) {
    for (int k = 16; k > 0; k -= 2) sum = (sum + 1.0) * square / static_cast<double>(-k * (k - 1));
    sum += 1.0;
  } else {
    for (int k = 17; k > 1; k -= 2) sum = (sum + 1.0) * square / static_cast<double>(-k * (k - 1));
    sum = fma(sum, r, r);
  }
  return ((quadrant + quarters) & 2) != 0 ? -sum : sum;
}

// Through the logarithm: a unit of f32 is 2^29 units of f64, and the product with the exponent loses 2^11 at most.
__device__ double Doubles::power(double a, double b) {
  if (a == 1.0 || b == 0.0) return 1.0;
  if (a != a || b != b) return a + b;
  const bool whole = rint(b) == b, odd = whole && rint(b * 0.5) * 2.0 != b;
  if (a < 0.0 && !whole && fabs(a) < INFINITY && fabs(b) < INFINITY) return (a - a) / (a - a);  // NaN
  if (a == -1.0 && fabs(b) == INFINITY) return 1.0;
  const double magnitude = exp(b * log(fabs(a)));
  return odd && __double_as_longlong(a) < 0 ? -magnitude : magnitude;
}

// Where each input of a map has the thread's element.
__device__ void find(const WideMap& m, unsigned element, unsigned (&at)[kMapInputs]) {
  for (int k = 0; k < kMapInputs; ++k) at[k] = 0;
  for (int d = m.rank - 1; d >= 0; --d) {
    const unsigned q = element / m.size[d], r = element - q * m.size[d];
    for (int k = 0; k < m.inputs; ++k) at[k] += r * m.stride[k][d];
    element = q;
  }
}

}  // namespace

extern "C" __global__ void hal_strided_copy_8(StridedCopy c) { strided<unsigned long long>(c); }

extern "C" __global__ void hal_convert_wide(Convert c) {
  const unsigned i = thread_index();
  if (i >= c.total) return;
  if (c.from_type >= kI32 && c.from_type != kF64) {
    store_long_converted(c.to, c.to_type, i, load_long(c.from, c.from_type, i));
  } else {
    store_double(c.to, c.to_type, i, load_double(c.from, c.from_type, i));
  }
}

extern "C" __global__ void hal_contract_f64(Contract c) { contract<Doubles>(c); }
extern "C" __global__ void hal_contract_i64(Contract c) { contract<Longs>(c); }
extern "C" __global__ void hal_reduce_f64(Reduce c) { reduce<Doubles>(c); }
extern "C" __global__ void hal_reduce_i64(Reduce c) { reduce<Longs>(c); }
extern "C" __global__ void hal_scatter_f64(Scatter s) { scatter<Doubles>(s); }
extern "C" __global__ void hal_scatter_i64(Scatter s) { scatter<Longs>(s); }

// out[outer, j, inner] = x[outer, indices[j], inner]
extern "C" __global__ void hal_gather_8(Gather g) {
  const unsigned i = thread_index();
  if (i >= g.total) return;
  const unsigned inner = i % g.inner, rest = i / g.inner, j = rest % g.count, outer = rest / g.count;
  const int index = g.indices[j];
  if (index < 0 || index >= g.axis) {
    atomicCAS(g.fault, 0ull, g.command);
    return;
  }
  const unsigned from = (outer * g.axis + index) * g.inner + inner;
  static_cast<unsigned long long*>(g.to)[i] = static_cast<const unsigned long long*>(g.from)[from];
}

// A scalar expression in postfix code at each element; inputs are broadcast by strides.
extern "C" __global__ void hal_map_i64(WideMap m) {
  const unsigned element = thread_index();
  if (element >= m.total) return;
  unsigned at[kMapInputs];
  find(m, element, at);
  long long stack[kMapStack];
  int top = -1;
  for (unsigned pc = 0; pc < m.length; ++pc) {
    const unsigned opcode = m.code[pc].opcode, input = m.code[pc].input;
    if (opcode == 1) { stack[++top] = load_long(m.from[input], m.type[input], at[input]); continue; }
    if (opcode == 2) { stack[++top] = m.code[pc].integer; continue; }
    const long long b = stack[top];
    if (opcode == 9) { stack[top] = Longs::multiply(b, -1); continue; }
    if (opcode == 10) { stack[top] = b < 0 ? Longs::multiply(b, -1) : b; continue; }
    if (opcode == 30) { stack[top] = b == 0; continue; }
    const long long a = stack[--top];
    if (opcode == 31) { const long long c = stack[--top]; stack[top] = c != 0 ? a : b; continue; }
    stack[top] = of_two<Longs>(opcode, a, b);
  }
  store_long(m.to, m.to_type, element, stack[0]);
}

extern "C" __global__ void hal_map_f64(WideMap m) {
  const unsigned element = thread_index();
  if (element >= m.total) return;
  unsigned at[kMapInputs];
  find(m, element, at);
  double stack[kMapStack];
  int top = -1;
  for (unsigned pc = 0; pc < m.length; ++pc) {
    const unsigned opcode = m.code[pc].opcode, input = m.code[pc].input;
    if (opcode == 1) { stack[++top] = load_double(m.from[input], m.type[input], at[input]); continue; }
    if (opcode == 2) { stack[++top] = m.code[pc].real; continue; }
    const double b = stack[top];
    if ((opcode >= 9 && opcode <= 21) || opcode == 30) {
      double r = 0.0;
      switch (opcode) {
        case 9: r = -b; break;
        case 10: r = fabs(b); break;
        case 11: r = exp(b); break;
        case 12: r = log(b); break;
        case 13: r = sqrt(b); break;
        case 14: r = 1.0 / sqrt(b); break;
        case 15: r = tanh(b); break;
        case 16: r = erf(b); break;
        case 17: r = sine(b, 0); break;
        case 18: r = sine(b, 1); break;
        case 19: r = floor(b); break;
        case 20: r = ceil(b); break;
        case 21: r = rint(b); break;
        case 30: r = b == 0.0 ? 1.0 : 0.0; break;
      }
      stack[top] = r;
      continue;
    }
    const double a = stack[--top];
    if (opcode == 31) { const double c = stack[--top]; stack[top] = c != 0.0 ? a : b; continue; }
    stack[top] = of_two<Doubles>(opcode, a, b);
  }
  store_double(m.to, m.to_type, element, stack[0]);
}
