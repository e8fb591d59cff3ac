// SPDX-License-Identifier: Apache-2.0
// Elements in memory as numbers of 32 bits, and back. Conversions as docs/graph.md says.
#pragma once

#include "graph_kernels.hpp"

namespace hal::cuda::kernels {

__device__ float bf16_to_float(unsigned short v) { return __uint_as_float(static_cast<unsigned>(v) << 16); }
__device__ unsigned short float_to_bf16(float x) {
  const unsigned b = __float_as_uint(x);
  if ((b & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return static_cast<unsigned short>((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
}

// Formats of 8 and 16 bits with E bits of exponent and M of mantissa, without instructions that only some GPUs have.
// kLargest is the code of the largest finite value; what is larger becomes infinity, or stays there (f8: OFP8's saturating
// mode).
template <unsigned E, unsigned M, unsigned kLargest, bool kHasInfinity, bool kSaturates, unsigned kNan>
struct Small {
  static constexpr unsigned kBias = (1u << (E - 1)) - 1, kShift = 23 - M, kSign = 1u << (E + M);
  __device__ static float decode(unsigned code) {
    const unsigned magnitude = code & (kSign - 1);
    // Both powers of two are in the normal range, and so is each product: no device flushes it.
    float value = static_cast<float>(static_cast<int>(magnitude & ((1u << M) - 1)));
    const unsigned exponent = magnitude >> M;
    if (exponent != 0) value += static_cast<float>(1u << M);
    value *= __uint_as_float((127 + 1 - kBias - M) << 23) * __uint_as_float((127 + (exponent != 0 ? exponent - 1 : 0)) << 23);
    if (magnitude > kLargest) value = __uint_as_float(kHasInfinity && magnitude == kLargest + 1 ? 0x7f800000u : 0x7fc00000u);
    return (code & kSign) != 0 ? -value : value;
  }
  __device__ static unsigned encode(float value) {
    const unsigned all = __float_as_uint(value), bits = all & 0x7fffffffu, sign = (all >> 31) << (E + M);
    if (bits > 0x7f800000u) return sign | kNan;
    unsigned code;
    if (bits < ((128 - kBias) << 23)) {
      // Adding a number whose last place is the smallest subnormal leaves the rounded count in the low bits.
      const unsigned magic = (127 + 1 - kBias - M + 23) << 23;
      code = __float_as_uint(__fadd_rn(__uint_as_float(bits), __uint_as_float(magic))) - magic;
    } else {
      const unsigned rebased = bits - ((127 - kBias) << 23);
      code = (rebased + (1u << (kShift - 1)) - 1 + ((rebased >> kShift) & 1u)) >> kShift;
    }
    if (code > kLargest) code = kSaturates ? kLargest : kLargest + 1;
    return sign | code;
  }
};
using F16 = Small<5, 10, 0x7bff, true, false, 0x7e00>;
using F8E5M2 = Small<5, 2, 0x7b, true, true, 0x7e>;
using F8E4M3 = Small<4, 3, 0x7e, false, true, 0x7f>;

__device__ float load_float(const void* p, unsigned type, unsigned i) {
  if (type == kF32) return static_cast<const float*>(p)[i];
  if (type == kBf16) return bf16_to_float(static_cast<const unsigned short*>(p)[i]);
  if (type == kF16) return F16::decode(static_cast<const unsigned short*>(p)[i]);
  if (type == kF8E4M3) return F8E4M3::decode(static_cast<const unsigned char*>(p)[i]);
  if (type == kF8E5M2) return F8E5M2::decode(static_cast<const unsigned char*>(p)[i]);
  if (type == kI32) return static_cast<float>(static_cast<const int*>(p)[i]);
  if (type == kI8) return static_cast<float>(static_cast<const signed char*>(p)[i]);
  return static_cast<float>(static_cast<const unsigned char*>(p)[i]);
}
__device__ int load_int(const void* p, unsigned type, unsigned i) {
  if (type == kI32) return static_cast<const int*>(p)[i];
  if (type == kI8) return static_cast<const signed char*>(p)[i];
  return static_cast<const unsigned char*>(p)[i];
}
// To integers: truncate and saturate, NaN is 0; to bool: not 0.
__device__ void store_float(void* p, unsigned type, unsigned i, float v) {
  if (type == kF32) {
    static_cast<float*>(p)[i] = v;
  } else if (type == kBf16) {
    static_cast<unsigned short*>(p)[i] = float_to_bf16(v);
  } else if (type == kF16) {
    static_cast<unsigned short*>(p)[i] = static_cast<unsigned short>(F16::encode(v));
  } else if (type == kF8E4M3) {
    static_cast<unsigned char*>(p)[i] = static_cast<unsigned char>(F8E4M3::encode(v));
  } else if (type == kF8E5M2) {
    static_cast<unsigned char*>(p)[i] = static_cast<unsigned char>(F8E5M2::encode(v));
  } else if (type == kI32) {
    static_cast<int*>(p)[i] = __float2int_rz(v);
  } else if (type == kBool) {
    static_cast<unsigned char*>(p)[i] = v != 0.0f;
  } else if (type == kI8) {
    const int n = __float2int_rz(v);
    static_cast<signed char*>(p)[i] = static_cast<signed char>(n < -128 ? -128 : n > 127 ? 127 : n);
  } else {
    const int n = __float2int_rz(v);
    static_cast<unsigned char*>(p)[i] = static_cast<unsigned char>(n < 0 ? 0 : n > 255 ? 255 : n);
  }
}
// The result of integer arithmetic: the low bits; to bool: not 0.
__device__ void store_int(void* p, unsigned type, unsigned i, int v) {
  if (type == kI32) {
    static_cast<int*>(p)[i] = v;
  } else if (type == kBool) {
    static_cast<unsigned char*>(p)[i] = v != 0;
  } else {
    static_cast<unsigned char*>(p)[i] = static_cast<unsigned char>(v);
  }
}
// An integer converted: saturated, or rounded once.
__device__ void store_converted(void* p, unsigned type, unsigned i, int v) {
  if (type == kF32) {
    static_cast<float*>(p)[i] = __int2float_rn(v);
  } else if (type < kI32) {
    // Toward zero, and odd if that dropped something: the second rounding then does as one would have done.
    const float down = __int2float_rz(v);
    const unsigned bits = __float_as_uint(down);
    const bool exact = __float2int_rz(down) == v;
    store_float(p, type, i, __uint_as_float(exact ? bits : bits | 1u));
  } else if (type == kI8) {
    store_int(p, type, i, v < -128 ? -128 : v > 127 ? 127 : v);
  } else if (type == kU8) {
    store_int(p, type, i, v < 0 ? 0 : v > 255 ? 255 : v);
  } else {
    store_int(p, type, i, v);
  }
}

}  // namespace hal::cuda::kernels
