// SPDX-License-Identifier: Apache-2.0
// Parameters of the kernels in graph.cu and wide.cu, shared by host and device code. Numbers of operations and
// instructions are those of hal.graph; types are our own, ordered so that integers are kI32 and above.
#pragma once

namespace hal::cuda::kernels {

// kF64 and kI64 are known to the kernels of wide.cu alone.
constexpr unsigned kF32 = 1, kBf16 = 2, kF16 = 3, kF8E4M3 = 4, kF8E5M2 = 5, kI32 = 6, kI8 = 7, kU8 = 8, kBool = 9,
                   kF64 = 10, kI64 = 11;
constexpr unsigned kNone = 0, kSum = 1, kMax = 2, kMin = 3, kProduct = 4;
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

struct Gather {
  void* to;
  const void* from;
  const int* indices;
  unsigned long long* fault;
  unsigned long long command;
  unsigned total, inner, count;
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

struct Instruction {
  unsigned short opcode, input;
  union {
    float real;
    int integer;
  };
};
struct WideInstruction {
  unsigned short opcode, input;
  unsigned reserved;
  union {
    double real;
    long long integer;
  };
};

// A scalar expression and what it reads. An input of type 0 is a sum that the kernel has.
template <class I>
struct Expression {
  const void* from[kMapInputs];
  unsigned type[kMapInputs];
  unsigned stride[kMapInputs][kRank];
  unsigned length;
  int inputs;
  I code[kMapCode];
};

// An expression at each element, or folded by `op`.
template <class I>
struct MapOf {
  void* to;
  unsigned total, to_type, op, count;  // count: elements that are folded into one
  int outer, inner;                    // dimensions of the output, then those that are folded
  unsigned rounds;                     // what is folded is rounded to 32 bits before
  unsigned size[kRank];
  Expression<I> e;
};
using Map = MapOf<Instruction>;
using WideMap = MapOf<WideInstruction>;

// Where a sum goes, and what becomes of it on the way.
template <class I>
struct BehindOf {
  void* to;
  unsigned to_type;
  int rank;
  unsigned size[kRank];
  Expression<I> e;  // length 0: nothing
};

template <class I>
struct ContractOf {
  const void *left, *right;
  unsigned total, type;
  int outer, inner;  // loops over the output, then loops that are summed
  unsigned k_outer;  // product of the summed sizes but the last
  unsigned size[kContractLoops];
  int left_stride[kContractLoops], right_stride[kContractLoops], out_stride[kContractLoops];
  BehindOf<I> behind;
};
using Contract = ContractOf<Instruction>;
using WideContract = ContractOf<WideInstruction>;

struct Matmul {
  float* out;
  const float *left, *right;
  int m, n, k;
  int left_m, left_k, right_k, right_n, out_m, out_n;
  long long left_batch, right_batch, out_batch;
};
struct MatmulMap {
  Matmul product;  // but for its `out`
  BehindOf<Instruction> behind;
};

static_assert(sizeof(WideMap) <= 4096 && sizeof(WideContract) <= 4096 && sizeof(MatmulMap) <= 4096,
              "kernel parameters are limited to 4 KiB before CUDA 12.1");

}  // namespace hal::cuda::kernels
