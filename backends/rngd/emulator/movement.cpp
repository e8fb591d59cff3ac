// SPDX-License-Identifier: Apache-2.0
// The operations that only move elements: view, pad, concat, gather, scatter.
#include <algorithm>
#include <array>
#include <cstring>

#include "emulator/execute.hpp"
#include "emulator/numbers.hpp"

namespace rngd::emulator {
namespace {

using image::Dtype;
using image::Op;
using image::Program;
using image::Tensor;

template <class F>
void by_width(Dtype type, F f) {
  switch (image::element_bytes(type)) {
    case 4:
      return f(std::uint32_t{});
    case 2:
      return f(std::uint16_t{});
    default:
      return f(std::uint8_t{});
  }
}

std::int64_t product(const Tensor& tensor, std::uint32_t from, std::uint32_t to) {
  std::int64_t result = 1;
  for (std::uint32_t d = from; d < to; ++d) { result *= tensor.dims[d]; }
  return result;
}

/// Calls f(first source element, destination element, run length, stride) for rows of a strided walk over `dims`.
template <class F>
void rows(const Tensor& shape, const std::int64_t* strides, std::int64_t offset, F f) {
  if (shape.rank == 0) { return f(offset, std::int64_t{0}, std::int64_t{1}, std::int64_t{0}); }
  const std::uint32_t last = shape.rank - 1;
  std::array<std::int64_t, image::kMaxRank> index{};
  const std::int64_t count = static_cast<std::int64_t>(shape.elements) / shape.dims[last];
  for (std::int64_t row = 0; row < count; ++row) {
    f(offset, row * shape.dims[last], shape.dims[last], strides[last]);
    for (std::uint32_t d = last; d-- > 0;) {
      offset += strides[d];
      if (++index[d] < shape.dims[d]) { break; }
      offset -= strides[d] * shape.dims[d];
      index[d] = 0;
    }
  }
}

struct Taken {  // gather and scatter seen as [outer][axis][inner] and a list of indices
  std::int64_t outer, extent, inner, count;
  const std::int32_t* indices;
};
Taken taken_of(const Tensor& data, const Tensor& indices, std::uint32_t axis, const std::byte* bytes) {
  return {product(data, 0, axis), data.dims[axis], product(data, axis + 1, data.rank),
          static_cast<std::int64_t>(indices.elements), reinterpret_cast<const std::int32_t*>(bytes)};
}
ExecutionFault check(const Taken& taken) {
  for (std::int64_t j = 0; j < taken.count; ++j) {
    if (taken.indices[j] < 0 || taken.indices[j] >= taken.extent) {
      return {true, 0, taken.indices[j], static_cast<std::uint64_t>(taken.extent)};
    }
  }
  return {};
}

}  // namespace

void run_view(const Program& program, const Op& op, const OpMemory& memory) {
  const Tensor& out = program.tensors[op.output];
  by_width(out.dtype, [&](auto element) {
    using T = decltype(element);
    const T* from = reinterpret_cast<const T*>(memory.in[0]);
    T* to = reinterpret_cast<T*>(memory.out);
    rows(out, op.view.strides, op.view.offset,
         [&](std::int64_t source, std::int64_t target, std::int64_t run, std::int64_t stride) {
           if (stride == 1) {
             std::memcpy(to + target, from + source, static_cast<std::size_t>(run) * sizeof(T));
           } else {
             for (std::int64_t i = 0; i < run; ++i) { to[target + i] = from[source + i * stride]; }
           }
         });
  });
}

void run_pad(const Program& program, const Op& op, const OpMemory& memory) {
  const Tensor &in = program.tensors[op.inputs[0]], &out = program.tensors[op.output];
  std::uint32_t value = 0;
  switch (out.dtype) {
    case Dtype::f32:
      value = std::bit_cast<std::uint32_t>(canonical(static_cast<float>(op.pad.value)));
      break;
    case Dtype::bf16:
      value = f32_to_bf16(to_odd_f32(op.pad.value));
      break;
    case Dtype::i32:
      value = static_cast<std::uint32_t>(saturate<std::int32_t>(op.pad.value));
      break;
    case Dtype::u8:
      value = saturate<std::uint8_t>(op.pad.value);
      break;
    case Dtype::boolean:
      value = op.pad.value != 0 ? 1 : 0;
      break;
  }
  std::array<std::int64_t, image::kMaxRank> strides{};  // of out
  std::int64_t stride = 1, offset = 0;
  for (std::uint32_t d = out.rank; d-- > 0;) {
    strides[d] = stride;
    offset += op.pad.low[d] * stride;
    stride *= out.dims[d];
  }
  by_width(out.dtype, [&](auto element) {
    using T = decltype(element);
    T* to = reinterpret_cast<T*>(memory.out);
    const T* from = reinterpret_cast<const T*>(memory.in[0]);
    std::fill(to, to + out.elements, static_cast<T>(value));
    rows(in, strides.data(), offset, [&](std::int64_t target, std::int64_t source, std::int64_t run, std::int64_t) {
      std::memcpy(to + target, from + source, static_cast<std::size_t>(run) * sizeof(T));
    });
  });
}

void run_concat(const Program& program, const Op& op, const OpMemory& memory) {
  const Tensor& out = program.tensors[op.output];
  const std::uint32_t axis = op.axis.axis;
  const std::uint64_t width = image::element_bytes(out.dtype);
  const auto outer = static_cast<std::uint64_t>(product(out, 0, axis));
  const std::uint64_t out_row = static_cast<std::uint64_t>(product(out, axis, out.rank)) * width;
  std::uint64_t start = 0;
  for (std::size_t k = 0; k < op.inputs.size(); ++k) {
    const Tensor& in = program.tensors[op.inputs[k]];
    const std::uint64_t row = static_cast<std::uint64_t>(product(in, axis, in.rank)) * width;
    for (std::uint64_t o = 0; o < outer; ++o) {
      std::memcpy(memory.out + o * out_row + start, memory.in[k] + o * row, row);
    }
    start += row;
  }
}

ExecutionFault run_gather(const Program& program, const Op& op, const OpMemory& memory) {
  const Tensor& data = program.tensors[op.inputs[0]];
  const Taken taken = taken_of(data, program.tensors[op.inputs[1]], op.axis.axis, memory.in[1]);
  if (const ExecutionFault fault = check(taken); fault.failed) { return fault; }
  const auto run = static_cast<std::size_t>(taken.inner) * image::element_bytes(data.dtype);
  std::byte* to = memory.out;
  for (std::int64_t o = 0; o < taken.outer; ++o) {
    for (std::int64_t j = 0; j < taken.count; ++j, to += run) {
      std::memcpy(to, memory.in[0] + static_cast<std::size_t>(o * taken.extent + taken.indices[j]) * run, run);
    }
  }
  return {};
}

ExecutionFault run_scatter(const Program& program, const Op& op, const OpMemory& memory) {
  const Tensor &base = program.tensors[op.inputs[0]], &out = program.tensors[op.output];
  const Taken taken = taken_of(base, program.tensors[op.inputs[1]], op.axis.axis, memory.in[1]);
  if (const ExecutionFault fault = check(taken); fault.failed) { return fault; }
  const bool add = op.axis.mode == static_cast<std::uint32_t>(image::ScatterMode::add);
  const auto width = image::element_bytes(out.dtype);
  const auto run = static_cast<std::size_t>(taken.inner) * width;
  std::memcpy(memory.out, memory.in[0], out.bytes);
  const std::byte* from = memory.in[2];
  for (std::int64_t o = 0; o < taken.outer; ++o) {
    for (std::int64_t j = 0; j < taken.count; ++j, from += run) {
      std::byte* to = memory.out + static_cast<std::size_t>(o * taken.extent + taken.indices[j]) * run;
      if (!add) {
        std::memcpy(to, from, run);
        continue;
      }
      for (std::int64_t i = 0; i < taken.inner; ++i) {
        switch (out.dtype) {
          case Dtype::f32: {
            float* p = reinterpret_cast<float*>(to) + i;
            *p = canonical(*p + reinterpret_cast<const float*>(from)[i]);
            break;
          }
          case Dtype::bf16: {
            std::uint16_t* p = reinterpret_cast<std::uint16_t*>(to) + i;
            *p = f32_to_bf16(bf16_to_f32(*p) + bf16_to_f32(reinterpret_cast<const std::uint16_t*>(from)[i]));
            break;
          }
          case Dtype::i32:
            reinterpret_cast<std::uint32_t*>(to)[i] += reinterpret_cast<const std::uint32_t*>(from)[i];
            break;
          default: {
            std::uint8_t* p = reinterpret_cast<std::uint8_t*>(to) + i;
            *p = static_cast<std::uint8_t>(*p + reinterpret_cast<const std::uint8_t*>(from)[i]);
            break;
          }
        }
      }
    }
  }
  return {};
}

}  // namespace rngd::emulator
