// SPDX-License-Identifier: Apache-2.0
#include "graph/reference.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "graph/element.hpp"
#include "graph/expression.hpp"

namespace hal::graph {
namespace {

using Values = std::vector<double>;  // exact for every type with element access

// What a store of `value` leaves behind.
double rounded(DType type, double value) {
  std::array<std::byte, 8> bytes{};
  store_element(type, bytes.data(), 0, value);
  return load_element(type, bytes.data(), 0);
}

double wrapped(DType type, std::int64_t value) {
  std::array<std::byte, 8> bytes{};
  store_wrapped(type, bytes.data(), 0, value);
  return load_element(type, bytes.data(), 0);
}

Values decode(const Tensor& tensor, std::span<const std::byte> bytes) {
  Values values(static_cast<std::size_t>(tensor.elements));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = load_element(tensor.dtype, bytes.data(), static_cast<std::int64_t>(i));
  }
  return values;
}

// A running sum, product or extreme: double for floating types, exact modulo 2^64 for integers.
class Accumulator {
 public:
  Accumulator(ReduceOp op, bool floating) : op_(op), floating_(floating) {}

  void add(double value) {
    const auto whole = floating_ ? 0U : static_cast<std::uint64_t>(static_cast<std::int64_t>(value));
    if (first_ && op_ != ReduceOp::sum && op_ != ReduceOp::prod) {
      real_ = value;
    } else {
      switch (op_) {
        case ReduceOp::sum:
          real_ += value;
          whole_ += whole;
          break;
        case ReduceOp::prod:
          real_ = first_ ? value : real_ * value;
          whole_ = first_ ? whole : whole_ * whole;
          break;
        case ReduceOp::max:
          real_ = std::isnan(real_) || real_ > value ? real_ : value;
          break;
        case ReduceOp::min:
          real_ = std::isnan(real_) || real_ < value ? real_ : value;
          break;
      }
    }
    first_ = false;
  }

  double store(DType type) const {
    if (floating_) { return rounded(type, real_); }
    const bool selects = op_ == ReduceOp::max || op_ == ReduceOp::min;
    return wrapped(type, selects ? static_cast<std::int64_t>(real_) : static_cast<std::int64_t>(whole_));
  }

 private:
  ReduceOp op_;
  bool floating_;
  bool first_ = true;
  double real_ = 0;
  std::uint64_t whole_ = 0;
};

// The loop of one label of an einsum.
struct LabelLoop {
  std::int64_t size = 0, left = 0, right = 0, at = 0;
};

// Moves to the next combination, last loop fastest, and keeps both positions; false after the last.
bool advance(std::vector<LabelLoop>& loops, std::int64_t& left, std::int64_t& right) {
  for (std::size_t d = loops.size(); d-- > 0;) {
    LabelLoop& loop = loops[d];
    if (++loop.at < loop.size) {
      left += loop.left;
      right += loop.right;
      return true;
    }
    left -= loop.left * (loop.size - 1);
    right -= loop.right * (loop.size - 1);
    loop.at = 0;
  }
  return false;
}

class Evaluator {
 public:
  Evaluator(const View& view, const ReferenceLimits& limits) : view_(view), limits_(limits) {}

  Result<std::vector<std::vector<std::byte>>> run(std::span<const std::span<const std::byte>> inputs) {
    HAL_CHECK(load(inputs));
    for (std::size_t i = 0; i < view_.nodes().size(); ++i) { HAL_CHECK(run_node(i)); }
    std::vector<std::vector<std::byte>> outputs;
    for (std::size_t i = view_.inputs().size(); i < view_.parameter_count(); ++i) {
      const Tensor& tensor = view_.tensor(i);
      std::vector<std::byte>& bytes = outputs.emplace_back(tensor.bytes);
      for (std::size_t k = 0; k < values_[i].size(); ++k) {
        store_element(tensor.dtype, bytes.data(), static_cast<std::int64_t>(k), values_[i][k]);
      }
    }
    return outputs;
  }

 private:
  static Error fail(hal_code code, const std::string& what) { return Error(code, what, "reference", "", 0); }

  Result<void> load(std::span<const std::span<const std::byte>> inputs) {
    if (inputs.size() != view_.inputs().size()) {
      return fail(HAL_INVALID_ARGUMENT, fmt::format("graph \"{}\" has {} inputs, {} were given", view_.name(),
                                                    view_.inputs().size(), inputs.size()));
    }
    std::int64_t elements = 0;
    for (const Tensor& tensor : view_.tensors()) {
      if (!__builtin_add_overflow(elements, tensor.elements, &elements) && elements <= limits_.elements) { continue; }
      return fail(HAL_OUT_OF_HOST_MEMORY,
                  fmt::format("graph \"{}\" has more than {} elements in all, the limit of this "
                              "evaluation",
                              view_.name(), limits_.elements));
    }
    values_.resize(view_.tensors().size());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Tensor& tensor = view_.tensor(i);
      if (inputs[i].size() != tensor.bytes) {
        return fail(HAL_INVALID_ARGUMENT, fmt::format("input {} (\"{}\") has {} bytes, {} were given", i, tensor.name,
                                                      tensor.bytes, inputs[i].size()));
      }
      if (!has_element_access(tensor.dtype)) {
        return fail(HAL_UNSUPPORTED, fmt::format("input {} (\"{}\") has type {}, which the reference does not know", i,
                                                 tensor.name, dtype_name(tensor.dtype)));
      }
      values_[i] = decode(tensor, inputs[i]);
    }
    return {};
  }

  Result<void> run_node(std::size_t i) {
    const Node& node = view_.nodes()[i];
    const Tensor& out = view_.tensor(node.output);
    if (!has_element_access(out.dtype)) {
      return fail(HAL_UNSUPPORTED, fmt::format("{} has type {}, which the reference does not know", view_.node_label(i),
                                               dtype_name(out.dtype)));
    }
    Values& to = values_[node.output];
    to.assign(static_cast<std::size_t>(out.elements), 0.0);
    switch (node.op) {
      case Op::contract:
        return contract(i, node, out, to);
      case Op::map:
        map(node, out, to);
        break;
      case Op::reduce:
        reduce(node, out, to);
        break;
      case Op::view:
        view(node, out, to);
        break;
      case Op::gather:
        return gather(i, node, to);
      case Op::scatter:
        return scatter(i, node, out, to);
      case Op::pad:
        pad(node, out, to);
        break;
      case Op::concat:
        concat(node, out, to);
        break;
      case Op::convert:
        for (std::size_t k = 0; k < to.size(); ++k) { to[k] = rounded(out.dtype, values_[node.inputs[0]][k]); }
        break;
      case Op::constant:
        to = decode(out, out.data);
        break;
    }
    return {};
  }

  const Tensor& in(const Node& node, std::size_t i) const { return view_.tensor(node.inputs[i]); }
  const Values& values(const Node& node, std::size_t i) const { return values_[node.inputs[i]]; }

  Result<void> contract(std::size_t i, const Node& node, const Tensor& out, Values& to) {
    const auto& a = node.as<ContractAttributes>();
    std::array<LabelLoop, kMaxLabels> labels{};
    const auto read = [&](std::size_t input, const Labels& names, std::int64_t LabelLoop::* stride) {
      const ShapeView shape = in(node, input).shape();
      const Extents strides = row_major_strides(shape);
      for (std::size_t d = 0; d < shape.size(); ++d) {
        labels[names[d]].size = shape[d];
        labels[names[d]].*stride = strides[d];
      }
    };
    read(0, a.left, &LabelLoop::left);
    read(1, a.right, &LabelLoop::right);
    std::vector<LabelLoop> kept;
    for (std::size_t d = 0; d < out.rank; ++d) {
      kept.push_back(labels[a.out[d]]);
      labels[a.out[d]].size = 0;
    }
    std::vector<LabelLoop> summed;
    std::int64_t work = out.elements;
    bool fits = true;
    for (const LabelLoop& label : labels) {
      if (label.size == 0) { continue; }
      summed.push_back(label);
      fits = fits && !__builtin_mul_overflow(work, label.size, &work);
    }
    if (!fits || work > limits_.multiply_adds) {
      return fail(HAL_OUT_OF_HOST_MEMORY,
                  fmt::format("{} takes more than {} multiply-adds, the limit of this evaluation", view_.node_label(i),
                              limits_.multiply_adds));
    }
    const Values& left = values(node, 0);
    const Values& right = values(node, 1);
    const bool floating = is_floating(in(node, 0).dtype);
    std::int64_t left_base = 0;
    std::int64_t right_base = 0;
    for (double& element : to) {
      std::int64_t l = left_base;
      std::int64_t r = right_base;
      double real = 0;
      std::uint64_t whole = 0;
      do {
        const double x = left[static_cast<std::size_t>(l)];
        const double y = right[static_cast<std::size_t>(r)];
        if (floating) {
          real += x * y;
        } else {
          whole += static_cast<std::uint64_t>(static_cast<std::int64_t>(x) * static_cast<std::int64_t>(y));
        }
      } while (advance(summed, l, r));
      element = floating ? rounded(out.dtype, real) : wrapped(out.dtype, static_cast<std::int64_t>(whole));
      advance(kept, left_base, right_base);
    }
    return {};
  }

  void map(const Node& node, const Tensor& out, Values& to) {
    const auto& a = node.as<MapAttributes>();
    const std::size_t count = node.inputs.size();
    std::vector<Extents> strides;
    for (std::size_t k = 0; k < count; ++k) { strides.push_back(*broadcast_strides(in(node, k).shape(), out.shape())); }
    std::array<double, kMaxMapInputs> reals{};
    std::array<std::int32_t, kMaxMapInputs> wholes{};
    Odometer at(out.shape(), strides);
    for (double& element : to) {
      for (std::size_t k = 0; k < count; ++k) {
        reals[k] = values(node, k)[static_cast<std::size_t>(at.position(k))];
        if (a.integer) { wholes[k] = static_cast<std::int32_t>(reals[k]); }
      }
      element = a.integer ? wrapped(out.dtype, evaluate_expression(a.code, std::span(wholes).first(count)))
                          : rounded(out.dtype, evaluate_expression(a.code, std::span(reals).first(count)));
      at.step();
    }
  }

  void reduce(const Node& node, const Tensor& out, Values& to) {
    const auto& a = node.as<ReduceAttributes>();
    const Tensor& x = in(node, 0);
    // Strides of the output seen from the input: 0 along reduced dimensions.
    Shape kept(x.shape().begin(), x.shape().end());
    for (std::size_t d = 0; d < x.rank; ++d) {
      if (((a.axes >> d) & 1U) != 0) { kept[d] = 1; }
    }
    const Extents strides = *broadcast_strides(kept, x.shape());
    std::vector<Accumulator> sums(to.size(), Accumulator(a.op, is_floating(x.dtype)));
    Odometer at(x.shape(), {&strides, 1});
    for (const double value : values(node, 0)) {
      sums[static_cast<std::size_t>(at.position(0))].add(value);
      at.step();
    }
    for (std::size_t i = 0; i < to.size(); ++i) { to[i] = sums[i].store(out.dtype); }
  }

  void view(const Node& node, const Tensor& out, Values& to) {
    const auto& a = node.as<ViewAttributes>();
    Odometer at(out.shape(), {&a.strides, 1});
    for (double& element : to) {
      element = values(node, 0)[static_cast<std::size_t>(a.offset + at.position(0))];
      at.step();
    }
  }

  // x is [outer, axis, inner] around the axis.
  struct AxisSplit {
    std::int64_t outer = 1, size = 1, inner = 1;
  };
  static AxisSplit split(ShapeView shape, std::uint32_t axis) {
    AxisSplit out;
    for (std::size_t d = 0; d < shape.size(); ++d) {
      (d < axis ? out.outer : d == axis ? out.size : out.inner) *= shape[d];
    }
    return out;
  }

  Result<std::int64_t> index_at(std::size_t i, const Node& node, std::size_t place, std::int64_t size) {
    const auto index = static_cast<std::int64_t>(values(node, 1)[place]);
    if (index >= 0 && index < size) { return index; }
    return fail(HAL_OUT_OF_RANGE, fmt::format("{}: indices[{}] is {}, the axis has {} elements", view_.node_label(i),
                                              place, index, size));
  }

  Result<void> gather(std::size_t i, const Node& node, Values& to) {
    const AxisSplit x = split(in(node, 0).shape(), node.as<GatherAttributes>().axis);
    std::size_t next = 0;
    for (std::int64_t outer = 0; outer < x.outer; ++outer) {
      for (std::size_t j = 0; j < values(node, 1).size(); ++j) {
        HAL_TRY(const std::int64_t index, index_at(i, node, j, x.size));
        for (std::int64_t inner = 0; inner < x.inner; ++inner) {
          to[next++] = values(node, 0)[static_cast<std::size_t>((outer * x.size + index) * x.inner + inner)];
        }
      }
    }
    return {};
  }

  Result<void> scatter(std::size_t i, const Node& node, const Tensor& out, Values& to) {
    const auto& a = node.as<ScatterAttributes>();
    const AxisSplit x = split(out.shape(), a.axis);
    to = values(node, 0);
    std::size_t next = 0;
    for (std::int64_t outer = 0; outer < x.outer; ++outer) {
      for (std::size_t j = 0; j < values(node, 1).size(); ++j) {
        HAL_TRY(const std::int64_t index, index_at(i, node, j, x.size));
        for (std::int64_t inner = 0; inner < x.inner; ++inner) {
          double& element = to[static_cast<std::size_t>((outer * x.size + index) * x.inner + inner)];
          const double update = values(node, 2)[next++];
          element = a.mode == ScatterMode::add ? element + update : update;
        }
      }
    }
    // Rounded when all updates are in. A double holds any sum of 2^21 or fewer i32 exactly.
    for (double& element : to) {
      element =
          is_floating(out.dtype) ? rounded(out.dtype, element) : wrapped(out.dtype, static_cast<std::int64_t>(element));
    }
    return {};
  }

  void pad(const Node& node, const Tensor& out, Values& to) {
    const auto& a = node.as<PadAttributes>();
    const Tensor& x = in(node, 0);
    to.assign(to.size(), rounded(out.dtype, a.value));
    const Extents strides = row_major_strides(out.shape());
    std::int64_t offset = 0;
    for (std::size_t d = 0; d < x.rank; ++d) { offset += a.low[d] * strides[d]; }
    Odometer at(x.shape(), {&strides, 1});
    for (const double value : values(node, 0)) {
      to[static_cast<std::size_t>(offset + at.position(0))] = value;
      at.step();
    }
  }

  void concat(const Node& node, const Tensor& out, Values& to) {
    const std::uint32_t axis = node.as<ConcatAttributes>().axis;
    const Extents strides = row_major_strides(out.shape());
    std::int64_t offset = 0;
    for (std::size_t k = 0; k < node.inputs.size(); ++k) {
      Odometer at(in(node, k).shape(), {&strides, 1});
      for (const double value : values(node, k)) {
        to[static_cast<std::size_t>(offset + at.position(0))] = value;
        at.step();
      }
      offset += in(node, k).dims[axis] * strides[axis];
    }
  }

  const View& view_;
  const ReferenceLimits& limits_;
  std::vector<Values> values_;
};

}  // namespace

Result<std::vector<std::vector<std::byte>>> evaluate_reference(const View& view,
                                                               std::span<const std::span<const std::byte>> inputs,
                                                               const ReferenceLimits& limits) {
  return Evaluator(view, limits).run(inputs);
}

}  // namespace hal::graph
