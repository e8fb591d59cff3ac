// SPDX-License-Identifier: Apache-2.0
// Reduction: one pass over the input in memory order; each output's values combine in that order, in f32 or i32.
#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include "emulator/execute.hpp"
#include "emulator/numbers.hpp"

namespace rngd::emulator {
namespace {

using image::Dtype;
using image::Op;
using image::Program;
using image::ReduceOp;
using image::Tensor;

template <class T>
T identity(ReduceOp op) {
  constexpr bool kFloat = std::is_same_v<T, float>;
  switch (op) {
    case ReduceOp::sum:
      return 0;
    case ReduceOp::prod:
      return 1;
    case ReduceOp::max:
      return kFloat ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::min();
    case ReduceOp::min:
      return kFloat ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
  }
  return 0;
}

template <class T>
T combine(ReduceOp op, T a, T b) {
  if constexpr (std::is_same_v<T, float>) {
    switch (op) {
      case ReduceOp::sum:
        return a + b;
      case ReduceOp::prod:
        return a * b;
      case ReduceOp::max:
        return a != a || a > b ? a : b;  // NaN if either is
      case ReduceOp::min:
        return a != a || a < b ? a : b;
    }
  } else {
    const auto wrap = [](std::uint32_t value) { return static_cast<std::int32_t>(value); };
    switch (op) {
      case ReduceOp::sum:
        return wrap(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
      case ReduceOp::prod:
        return wrap(static_cast<std::uint32_t>(a) * static_cast<std::uint32_t>(b));
      case ReduceOp::max:
        return a > b ? a : b;
      case ReduceOp::min:
        return a < b ? a : b;
    }
  }
  return a;
}

template <class T, class Load>
std::vector<T> reduce(const Tensor& in, std::uint64_t outputs, std::uint32_t axes, ReduceOp op, Load load) {
  std::vector<T> acc(outputs, identity<T>(op));
  if (in.rank == 0) {
    acc[0] = combine(op, acc[0], load(0));
    return acc;
  }
  std::array<std::int64_t, image::kMaxRank> strides{};  // of the output along the input's dimensions
  std::int64_t stride = 1;
  for (std::uint32_t d = in.rank; d-- > 0;) {
    if ((axes >> d & 1u) != 0) { continue; }
    strides[d] = stride;
    stride *= in.dims[d];
  }
  const std::uint32_t last = in.rank - 1;
  const std::int64_t width = in.dims[last];
  const std::int64_t count = static_cast<std::int64_t>(in.elements) / width;
  std::array<std::int64_t, image::kMaxRank> index{};
  std::int64_t offset = 0;
  for (std::int64_t row = 0; row < count; ++row) {
    T* to = acc.data() + offset;
    const std::int64_t first = row * width;
    if (strides[last] == 0) {
      T value = *to;
      for (std::int64_t i = 0; i < width; ++i) { value = combine(op, value, load(first + i)); }
      *to = value;
    } else {
      for (std::int64_t i = 0; i < width; ++i) { to[i] = combine(op, to[i], load(first + i)); }
    }
    for (std::uint32_t d = last; d-- > 0;) {
      offset += strides[d];
      if (++index[d] < in.dims[d]) { break; }
      offset -= strides[d] * in.dims[d];
      index[d] = 0;
    }
  }
  return acc;
}

}  // namespace

void run_reduce(const Program& program, const Op& op, const OpMemory& memory) {
  const Tensor &in = program.tensors[op.inputs[0]], &out = program.tensors[op.output];
  const auto kind = static_cast<ReduceOp>(op.reduce.op);
  if (!image::is_float(in.dtype)) {
    std::vector<std::int32_t> sums;
    const auto run = [&](auto load) { sums = reduce<std::int32_t>(in, out.elements, op.reduce.axes, kind, load); };
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(memory.in[0]);
    if (in.dtype == Dtype::i32) {
      run([from = reinterpret_cast<const std::int32_t*>(memory.in[0])](std::int64_t i) { return from[i]; });
    } else if (in.dtype == Dtype::u8) {
      run([bytes](std::int64_t i) { return std::int32_t{bytes[i]}; });
    } else {
      run([bytes](std::int64_t i) { return std::int32_t{bytes[i] != 0}; });
    }
    for (std::uint64_t i = 0; i < out.elements; ++i) {
      if (out.dtype == Dtype::i32) {
        reinterpret_cast<std::int32_t*>(memory.out)[i] = sums[i];
      } else {
        reinterpret_cast<std::uint8_t*>(memory.out)[i] =
            out.dtype == Dtype::u8 ? static_cast<std::uint8_t>(sums[i]) : static_cast<std::uint8_t>(sums[i] != 0);
      }
    }
    return;
  }
  std::vector<float> sums;
  if (in.dtype == Dtype::f32) {
    const auto* from = reinterpret_cast<const float*>(memory.in[0]);
    sums = reduce<float>(in, out.elements, op.reduce.axes, kind, [from](std::int64_t i) { return from[i]; });
  } else {
    const auto* from = reinterpret_cast<const std::uint16_t*>(memory.in[0]);
    sums =
        reduce<float>(in, out.elements, op.reduce.axes, kind, [from](std::int64_t i) { return bf16_to_f32(from[i]); });
  }
  for (std::uint64_t i = 0; i < out.elements; ++i) {
    if (out.dtype == Dtype::f32) {
      reinterpret_cast<float*>(memory.out)[i] = canonical(sums[i]);
    } else {
      reinterpret_cast<std::uint16_t*>(memory.out)[i] = f32_to_bf16(sums[i]);
    }
  }
}

}  // namespace rngd::emulator
