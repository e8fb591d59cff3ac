// SPDX-License-Identifier: Apache-2.0
// Parameters of the kernels in graph.cu and wide.cu, shared by host and device code. Numbers of operations and
// instructions are those of hal.graph; types are our own, ordered so that integers are kI32 and above.
#pragma once

namespace hal::cuda::kernels {

// kF64 and kI64 are known to the kernels of wide.cu alone.
constexpr unsigned kF32 = 1, kBf16 = 2, kF16 = 3, kF8E4M3 = 4, kF8E5M2 = 5, kI32 = 6, kI8 = 7, kU8 = 8, kBool = 9,
                   kF64 = 10, kI64 = 11;
constexpr unsigned kSum = 1, kMax = 2, kMin = 3, kProduct = 4;
constexpr int kRank = 8, kMapInputs = 8, kMapStack = 32, kMapCode = 192, kContractLoops = 16;

struct StridedCopy {
  void* to;
  const void* from;
  unsigned total;
  int rank, to_offset, from_offset;
  unsigned size[kRank];
  int to_stride[kRank], from_stride[kRank];
};

struct Fill {
  unsigned char* to;
  unsigned long long bytes, pattern;
  unsigned pattern_bytes;
};

struct Convert {
  void* to;
  const void* from;
  unsigned total, to_type, from_type;
};

struct Contract {
  void* out;
  const void *left, *right;
  unsigned total, type, out_type;
  int outer, inner;  // loops over the output, then loops that are summed
  unsigned k_outer;  // product of the summed sizes but the last
  unsigned size[kContractLoops];
  int left_stride[kContractLoops], right_stride[kContractLoops], out_stride[kContractLoops];
};

struct Matmul {
  float* out;
  const float *left, *right;
  int m, n, k;
  int left_m, left_k, right_k, right_n, out_m, out_n;
  long long left_batch, right_batch, out_batch;
};

struct Reduce {
  void* to;
  const void* from;
  unsigned total, type, to_type, op, count;
  int outer, inner;
  unsigned size[kRank];
  int stride[kRank];
};

struct Gather {
  void* to;
  const void* from;
  const int* indices;
  unsigned long long* fault;
  unsigned long long command;
  unsigned total, inner, count, bytes;
  int axis;
};

struct Scatter {
  void* to;
  const void* updates;
  const int* indices;
  unsigned long long* fault;
  unsigned long long command;
  unsigned total, inner, count, type, add;
  int axis;
};

struct MapInstruction {
  unsigned short opcode, input;
  union {
    float real;
    int integer;
  };
};

struct Map {
  void* to;
  const void* from[kMapInputs];
  unsigned type[kMapInputs];
  unsigned total, to_type, integer, length;
  int rank, inputs;
  unsigned size[kRank];
  unsigned stride[kMapInputs][kRank];
  MapInstruction code[kMapCode];
};

struct WideInstruction {
  unsigned short opcode, input;
  unsigned reserved;
  union {
    double real;
    long long integer;
  };
};

struct WideMap {
  void* to;
  const void* from[kMapInputs];
  unsigned type[kMapInputs];
  unsigned total, to_type, length;
  int rank, inputs;
  unsigned size[kRank];
  unsigned stride[kMapInputs][kRank];
  WideInstruction code[kMapCode];
};

static_assert(sizeof(Map) <= 4096 && sizeof(WideMap) <= 4096,
              "kernel parameters are limited to 4 KiB before CUDA 12.1");

}  // namespace hal::cuda::kernels
