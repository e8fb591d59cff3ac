// SPDX-License-Identifier: Apache-2.0
// Gather and scatter: rows taken or placed by number.
#include <fmt/format.h>

#include <cstring>
#include <string>

#include "driver_kit/errors.hpp"
#include "graph/element.hpp"
#include "graph/lines.hpp"
#include "graph/step.hpp"
#include "host.hpp"

namespace hal::host {

namespace {

// A tensor seen as [outer, axis, inner] around an axis.
struct Rows {
  std::int64_t outer = 1, axis = 1, inner = 1;
  Rows(graph::ShapeView shape, std::uint32_t at) {
    for (std::size_t d = 0; d < shape.size(); ++d) { (d < at ? outer : d == at ? axis : inner) *= shape[d]; }
  }
};

// All indices, before anything is written.
Result<void> check_indices(const std::byte* data, std::int64_t count, std::int64_t axis, const std::string& label) {
  for (std::int64_t j = 0; j < count; ++j) {
    std::int32_t index = 0;
    std::memcpy(&index, data + j * 4, sizeof(index));
    if (index < 0 || index >= axis) {
      return kit::error(kOrigin, HAL_OUT_OF_RANGE,
                        fmt::format("{}: indices[{}] is {}, the axis has {} elements", label, j, index, axis));
    }
  }
  return {};
}

std::int64_t index_at(const std::byte* data, std::int64_t j) {
  std::int32_t index = 0;
  std::memcpy(&index, data + j * 4, sizeof(index));
  return index;
}

class GatherStep final : public Step {
 public:
  GatherStep(const graph::View& view, std::size_t i)
      : node_(view.nodes()[i]),
        label_(view.node_label(i)),
        out_(view.tensor(node_.output)),
        count_(view.tensor(node_.inputs[1]).elements),
        rows_(view.tensor(node_.inputs[0]).shape(), node_.as<graph::GatherAttributes>().axis) {}

  double cost_ns() const override {
    return static_cast<double>(out_.elements) + static_cast<double>(count_ * rows_.outer) * 5;
  }

  Result<void> run(const RunContext& context) const override {
    const std::byte* source = context.tensors[node_.inputs[0]];
    const std::byte* indices = context.tensors[node_.inputs[1]];
    std::byte* target = context.tensors[node_.output];
    HAL_CHECK(check_indices(indices, count_, rows_.axis, label_));
    if (out_.dtype == DType::i4) {
      std::memset(target, 0, out_.bytes);
      for (std::int64_t outer = 0, to = 0; outer < rows_.outer; ++outer) {
        for (std::int64_t j = 0; j < count_; ++j, to += rows_.inner) {
          move_i4(source, (outer * rows_.axis + index_at(indices, j)) * rows_.inner, 1, target, to, 1,
                  static_cast<std::size_t>(rows_.inner));
        }
      }
      return {};
    }
    const std::size_t row = static_cast<std::size_t>(rows_.inner) * size_of(out_.dtype);
    for (std::int64_t outer = 0; outer < rows_.outer; ++outer) {
      for (std::int64_t j = 0; j < count_; ++j) {
        std::memcpy(target, source + static_cast<std::size_t>(outer * rows_.axis + index_at(indices, j)) * row, row);
        target += row;
      }
    }
    return {};
  }

 private:
  const graph::Node& node_;
  std::string label_;
  const graph::Tensor& out_;
  std::int64_t count_;
  Rows rows_;
};

class ScatterStep final : public Step {
 public:
  ScatterStep(const graph::View& view, std::size_t i)
      : node_(view.nodes()[i]),
        label_(view.node_label(i)),
        out_(view.tensor(node_.output)),
        count_(view.tensor(node_.inputs[1]).elements),
        rows_(out_.shape(), node_.as<graph::ScatterAttributes>().axis),
        mode_(node_.as<graph::ScatterAttributes>().mode) {}

  // Floating sums are rounded when all updates are in, so they are held wider meanwhile.
  std::uint64_t scratch_bytes() const override {
    return wide() ? static_cast<std::uint64_t>(out_.elements) * sizeof(double) : 0;
  }
  double cost_ns() const override {
    return static_cast<double>(out_.elements) * 2 + static_cast<double>(count_ * rows_.outer) * 5;
  }

  Result<void> run(const RunContext& context) const override {
    const std::byte* base = context.tensors[node_.inputs[0]];
    const std::byte* indices = context.tensors[node_.inputs[1]];
    const std::byte* updates = context.tensors[node_.inputs[2]];
    std::byte* target = context.tensors[node_.output];
    HAL_CHECK(check_indices(indices, count_, rows_.axis, label_));
    auto* sums = reinterpret_cast<double*>(context.scratch);
    if (wide()) {
      for (std::int64_t i = 0; i < out_.elements; ++i) { sums[i] = graph::load_element(out_.dtype, base, i); }
    } else {
      std::memcpy(target, base, out_.bytes);
      if (out_.dtype == DType::i4 && out_.elements % 2 != 0) { target[out_.bytes - 1] &= std::byte{0x0F}; }
    }
    std::int64_t next = 0;
    for (std::int64_t outer = 0; outer < rows_.outer; ++outer) {
      for (std::int64_t j = 0; j < count_; ++j) {
        place((outer * rows_.axis + index_at(indices, j)) * rows_.inner, next, updates, target, sums);
        next += rows_.inner;
      }
    }
    if (wide()) {
      for (std::int64_t i = 0; i < out_.elements; ++i) { graph::store_element(out_.dtype, target, i, sums[i]); }
    }
    return {};
  }

 private:
  bool wide() const { return mode_ == graph::ScatterMode::add && is_floating(out_.dtype); }

  // One row of updates, from element `from` on, to the row that begins at element `to`.
  void place(std::int64_t to, std::int64_t from, const std::byte* updates, std::byte* target, double* sums) const {
    const auto size = static_cast<std::int64_t>(size_of(out_.dtype));
    if (mode_ == graph::ScatterMode::set) {
      if (out_.dtype == DType::i4) {
        move_i4(updates, from, 1, target, to, 1, static_cast<std::size_t>(rows_.inner));
        return;
      }
      std::memcpy(target + to * size, updates + from * size, static_cast<std::size_t>(rows_.inner * size));
      return;
    }
    for (std::int64_t k = 0; k < rows_.inner; ++k) {
      if (wide()) {
        sums[to + k] += graph::load_element(out_.dtype, updates, from + k);
      } else {
        const auto sum = static_cast<std::uint64_t>(graph::load_integer(out_.dtype, target, to + k)) +
                         static_cast<std::uint64_t>(graph::load_integer(out_.dtype, updates, from + k));
        graph::store_wrapped(out_.dtype, target, to + k, static_cast<std::int64_t>(sum));
      }
    }
  }

  const graph::Node& node_;
  std::string label_;
  const graph::Tensor& out_;
  std::int64_t count_;
  Rows rows_;
  graph::ScatterMode mode_;
};

}  // namespace

StepResult make_gather(const graph::View& view, std::size_t i) {
  return StepResult(std::make_unique<GatherStep>(view, i));
}
StepResult make_scatter(const graph::View& view, std::size_t i) {
  return StepResult(std::make_unique<ScatterStep>(view, i));
}

}  // namespace hal::host
