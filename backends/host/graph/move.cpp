// SPDX-License-Identifier: Apache-2.0
// Steps that move elements without computing: view, pad, concat; and convert, which moves between types.
#include <algorithm>
#include <cstring>
#include <vector>

#include "graph/element.hpp"
#include "graph/lines.hpp"
#include "graph/loops.hpp"
#include "graph/step.hpp"

namespace hal::host {

namespace {

constexpr std::size_t kBlock = 512;

// Copies a strided reading of one tensor to a strided writing of another; the two walk one shape together.
struct Move {
  std::uint32_t from, to;  // tensors
  std::int64_t from_offset, to_offset;
  DType type;
  Loops loops;  // operand 0 reads, operand 1 writes

  void run(const RunContext& context) const {
    const std::byte* source = context.tensors[from];
    std::byte* target = context.tensors[to];
    const std::size_t size = size_of(type);
    const auto bytes = static_cast<std::int64_t>(size);
    loops.each_line([&](const auto& at) {
      if (type == DType::i4) {
        move_i4(source, from_offset + at[0], loops.inner_stride(0), target, to_offset + at[1], loops.inner_stride(1),
                static_cast<std::size_t>(loops.inner()));
        return;
      }
      move_line(size, source + (from_offset + at[0]) * bytes, loops.inner_stride(0),
                target + (to_offset + at[1]) * bytes, loops.inner_stride(1), static_cast<std::size_t>(loops.inner()));
    });
  }
};

class MoveStep final : public Step {
 public:
  Result<void> run(const RunContext& context) const override {
    if (!fill_.empty()) {
      std::byte* target = context.tensors[moves_[0].to];
      for (std::size_t at = 0; at < bytes_; at += fill_.size()) {
        std::memcpy(target + at, fill_.data(), fill_.size());
      }
      if (type_ == DType::i4 && elements_ % 2 != 0) { target[bytes_ - 1] &= std::byte{0x0F}; }
    }
    for (const Move& move : moves_) { move.run(context); }
    return {};
  }
  double cost_ns() const override { return static_cast<double>(elements_); }

  std::vector<Move> moves_;
  std::vector<std::byte> fill_;  // written all over first: one element, or two of i4
  DType type_{};                 // these three of the output
  std::int64_t elements_ = 0;
  std::size_t bytes_ = 0;
};

class ConvertStep final : public Step {
 public:
  ConvertStep(const graph::View& view, const graph::Node& node)
      : in_(view.tensor(node.inputs[0])), out_(view.tensor(node.output)), from_(node.inputs[0]), to_(node.output) {}

  std::uint64_t scratch_bytes() const override { return kBlock * sizeof(double); }
  double cost_ns() const override { return static_cast<double>(in_.elements); }

  Result<void> run(const RunContext& context) const override {
    const std::byte* source = context.tensors[from_];
    std::byte* target = context.tensors[to_];
    if (in_.dtype == out_.dtype && in_.dtype != DType::boolean && in_.dtype != DType::i4) {
      std::memcpy(target, source, in_.bytes);
    } else if (in_.dtype == DType::f64) {
      blocks<double>(context, source, target);
    } else if (is_floating(in_.dtype)) {
      blocks<float>(context, source, target);
    } else if (widens()) {
      blocks<std::int32_t>(context, source, target);
    } else {
      // Integers into narrower ones saturate, where a store of a line wraps.
      if (out_.dtype == DType::i4) { std::memset(target, 0, out_.bytes); }
      for (std::int64_t i = 0; i < in_.elements; ++i) {
        graph::store_integer(out_.dtype, target, i, graph::load_integer(in_.dtype, source, i));
      }
    }
    return {};
  }

 private:
  // Every value of the input, held in 32 bits, is stored as it is or rounded once.
  bool widens() const {
    if (in_.dtype == DType::i64) { return false; }
    if (is_floating(out_.dtype) || out_.dtype == DType::boolean) { return true; }
    const graph::IntegerRange in = graph::integer_range(in_.dtype), out = graph::integer_range(out_.dtype);
    return out.lowest <= in.lowest && in.highest <= out.highest;
  }

  template <class T>
  void blocks(const RunContext& context, const std::byte* source, std::byte* target) const {
    T* line = reinterpret_cast<T*>(context.scratch);
    for (std::int64_t at = 0; at < in_.elements; at += std::int64_t{kBlock}) {
      const auto count = static_cast<std::size_t>(std::min(std::int64_t{kBlock}, in_.elements - at));
      load_line(in_.dtype, source, at, 1, count, line);
      store_line(out_.dtype, target, at, count, line);
    }
  }

  const graph::Tensor& in_;
  const graph::Tensor& out_;
  std::uint32_t from_, to_;
};

std::unique_ptr<MoveStep> move_into(const graph::Tensor& out) {
  auto step = std::make_unique<MoveStep>();
  step->type_ = out.dtype;
  step->elements_ = out.elements;
  step->bytes_ = out.bytes;
  if (out.dtype == DType::i4) { step->fill_.resize(1); }  // moves leave half of a last byte alone
  return step;
}

}  // namespace

StepResult make_view(const graph::View& view, const graph::FusedStep& step) {
  const graph::Tensor& out = view.tensor(step.output);
  const graph::Access& from = step.inputs[0];
  auto move = move_into(out);
  const graph::Extents strides[] = {from.strides, graph::row_major_strides(out.shape())};
  move->moves_.push_back({from.tensor, step.output, from.offset, 0, out.dtype, Loops(out.shape(), strides)});
  return StepResult(std::move(move));
}

StepResult make_pad(const graph::View& view, std::size_t i) {
  const graph::Node& node = view.nodes()[i];
  const auto& a = node.as<graph::PadAttributes>();
  const graph::Tensor& x = view.tensor(node.inputs[0]);
  const graph::Tensor& out = view.tensor(node.output);
  auto step = move_into(out);
  step->fill_.resize(size_of(out.dtype));
  graph::store_element(out.dtype, step->fill_.data(), 0, a.value);
  if (out.dtype == DType::i4) { graph::store_element(out.dtype, step->fill_.data(), 1, a.value); }
  const graph::Extents strides[] = {graph::row_major_strides(x.shape()), graph::row_major_strides(out.shape())};
  std::int64_t offset = 0;
  for (std::size_t d = 0; d < x.rank; ++d) { offset += a.low[d] * strides[1][d]; }
  step->moves_.push_back({node.inputs[0], node.output, 0, offset, out.dtype, Loops(x.shape(), strides)});
  return StepResult(std::move(step));
}

StepResult make_concat(const graph::View& view, std::size_t i) {
  const graph::Node& node = view.nodes()[i];
  const std::uint32_t axis = node.as<graph::ConcatAttributes>().axis;
  const graph::Tensor& out = view.tensor(node.output);
  auto step = move_into(out);
  const graph::Extents target = graph::row_major_strides(out.shape());
  std::int64_t offset = 0;
  for (const std::uint32_t input : node.inputs) {
    const graph::Tensor& x = view.tensor(input);
    const graph::Extents strides[] = {graph::row_major_strides(x.shape()), target};
    step->moves_.push_back({input, node.output, 0, offset, out.dtype, Loops(x.shape(), strides)});
    offset += x.dims[axis] * target[axis];
  }
  return StepResult(std::move(step));
}

StepResult make_convert(const graph::View& view, std::size_t i) {
  return StepResult(std::make_unique<ConvertStep>(view, view.nodes()[i]));
}

}  // namespace hal::host
