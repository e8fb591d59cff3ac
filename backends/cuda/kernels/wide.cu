// SPDX-License-Identifier: Apache-2.0
// Numbers of 64 bits: tensors of f64 and i64, and sums that are kept in them. A module of its own, loaded with the first
// graph that needs it. Compile with ./build_ptx.sh, which commits wide.ptx as text.
#include "kernels.cuh"

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

struct SinesOfDouble {
  __device__ static double sine(double x) { return ::sine(x, 0); }
  __device__ static double cosine(double x) { return ::sine(x, 1); }
};

struct Doubles : Reals<double, SinesOfDouble> {
  __device__ static T load(const void* p, unsigned type, unsigned i) { return load_double(p, type, i); }
  __device__ static void store(void* p, unsigned type, unsigned i, T v) { store_double(p, type, i, v); }
  // Through the logarithm: a unit of f32 is 2^29 units of f64, and the product with the exponent loses 2^11 at most.
  __device__ static T power(T a, T b) {
    if (a == 1.0 || b == 0.0) return 1.0;
    if (a != a || b != b) return a + b;
    const bool whole = rint(b) == b, odd = whole && rint(b * 0.5) * 2.0 != b;
    if (a < 0.0 && !whole && fabs(a) < INFINITY && fabs(b) < INFINITY) return (a - a) / (a - a);  // NaN
    if (a == -1.0 && fabs(b) == INFINITY) return 1.0;
    const double magnitude = exp(b * log(fabs(a)));
    return odd && __double_as_longlong(a) < 0 ? -magnitude : magnitude;
  }
  __device__ static T rounded(T a) { return static_cast<double>(__double2float_rn(a)); }
  __device__ static T dot(const void* left, const void* right, unsigned type, int x, int y, int dx, int dy,
                          unsigned steps, T sum) {
    return dot_any<Doubles>(left, right, type, x, y, dx, dy, steps, sum);
  }
};
struct Longs : Integers<long long, unsigned long long> {
  __device__ static T load(const void* p, unsigned type, unsigned i) { return load_long(p, type, i); }
  __device__ static void store(void* p, unsigned type, unsigned i, T v) { store_long(p, type, i, v); }
  __device__ static T dot(const void* left, const void* right, unsigned type, int x, int y, int dx, int dy,
                          unsigned steps, T sum) {
    return dot_any<Longs>(left, right, type, x, y, dx, dy, steps, sum);
  }
};

}  // namespace

extern "C" __global__ void hal_convert_wide(Convert c) {
  const unsigned i = thread_index();
  if (i >= c.total) return;
  if (c.from_type >= kI32 && c.from_type != kF64) {
    store_long_converted(c.to, c.to_type, i, load_long(c.from, c.from_type, i));
  } else {
    store_double(c.to, c.to_type, i, load_double(c.from, c.from_type, i));
  }
}

extern "C" __global__ void hal_map_f64(WideMap m) { map<Doubles>(m); }
extern "C" __global__ void hal_map_i64(WideMap m) { map<Longs>(m); }
extern "C" __global__ void hal_contract_f64(WideContract c) { contract<Doubles>(c); }
extern "C" __global__ void hal_contract_i64(WideContract c) { contract<Longs>(c); }
extern "C" __global__ void hal_scatter_f64(Scatter s) { scatter<Doubles>(s); }
extern "C" __global__ void hal_scatter_i64(Scatter s) { scatter<Longs>(s); }
