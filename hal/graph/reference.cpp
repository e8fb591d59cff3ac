// SPDX-License-Identifier: Apache-2.0
#include "graph/reference.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "graph/element.hpp"
#include "graph/expression.hpp"

namespace hal::graph {
namespace {

// The elements of a tensor: double for floating types, which holds each of them exactly, and integers for the others.
struct Values {
  bool floating = false;
  std::vector<double> reals;
  std::vector<std::int64_t> wholes;

  std::size_t size() const { return floating ? reals.size() : wholes.size(); }
  double real(std::size_t i) const { return floating ? reals[i] : static_cast<double>(wholes[i]); }
};

Values zeros(const Tensor& tensor) {
  Values values;
  values.floating = is_floating(tensor.dtype);
  const auto count = static_cast<std::size_t>(tensor.elements);
  values.floating ? values.reals.resize(count) : values.wholes.resize(count);
  return values;
}

// Calls body with the vectors behind values of one kind.
template <class Body, class... More>
void with(const Body& body, Values& to, const More&... from) {
  if (to.floating) {
    body(to.reals, from.reals...);
  } else {
    body(to.wholes, from.wholes...);
  }
}

// What a store leaves behind: rounded, converted from an integer, or the low bits of a result.
double rounded(DType type, double value) {
  std::array<std::byte, 8> bytes{};
  store_element(type, bytes.data(), 0, value);
  return load_element(type, bytes.data(), 0);
}

std::int64_t wrapped(DType type, std::int64_t value) {
  std::array<std::byte, 8> bytes{};
  store_wrapped(type, bytes.data(), 0, value);
  return load_integer(type, bytes.data(), 0);
}

void put_real(DType type, Values& to, std::size_t i, double value) {
  if (to.floating) {
    to.reals[i] = rounded(type, value);
    return;
  }
  std::array<std::byte, 8> bytes{};
  store_element(type, bytes.data(), 0, value);
  to.wholes[i] = load_integer(type, bytes.data(), 0);
}

void put_converted(DType type, Values& to, std::size_t i, std::int64_t value) {
  std::array<std::byte, 8> bytes{};
  store_integer(type, bytes.data(), 0, value);
  if (to.floating) {
    to.reals[i] = load_element(type, bytes.data(), 0);
  } else {
    to.wholes[i] = load_integer(type, bytes.data(), 0);
  }
}

Values decode(const Tensor& tensor, std::span<const std::byte> bytes) {
  Values values = zeros(tensor);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    if (values.floating) {
      values.reals[i] = load_element(tensor.dtype, bytes.data(), at);
    } else {
      values.wholes[i] = load_integer(tensor.dtype, bytes.data(), at);
    }
  }
  return values;
}

// A running sum, product or extreme. Floating ones are held in long double, so that they are an oracle for f64 where
// the compiler has a wider type; integers are exact modulo 2^64.
class Accumulator {
 public:
  explicit Accumulator(ReduceOp op) : op_(op) {}

  void add(double value) { fold(real_, static_cast<long double>(value)); }
  void add(std::int64_t value) {
    if (op_ == ReduceOp::sum || op_ == ReduceOp::prod) {
      fold(whole_, static_cast<std::uint64_t>(value));
    } else {
      fold(selected_, value);
    }
  }

  double real() const { return static_cast<double>(real_); }
  std::int64_t whole() const {
    return op_ == ReduceOp::sum || op_ == ReduceOp::prod ? static_cast<std::int64_t>(whole_) : selected_;
  }

 private:
  static bool is_nan(long double value) { return std::isnan(value); }
  template <class Whole>
  static bool is_nan(Whole) {
    return false;
  }

  template <class T>
  void fold(T& held, T value) {
    if (first_) {
      held = value;
    } else {
      switch (op_) {
        case ReduceOp::sum:
          held += value;
          break;
        case ReduceOp::prod:
          held *= value;
          break;
        case ReduceOp::max:
          held = is_nan(held) || held > value ? held : value;
          break;
        case ReduceOp::min:
          held = is_nan(held) || held < value ? held : value;
          break;
      }
    }
    first_ = false;
  }

  ReduceOp op_;
  bool first_ = true;
  long double real_ = 0;
  std::uint64_t whole_ = 0;
  std::int64_t selected_ = 0;
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
      const Values& values = values_[i];
      for (std::size_t k = 0; k < values.size(); ++k) {
        const auto at = static_cast<std::int64_t>(k);
        if (values.floating) {
          store_element(tensor.dtype, bytes.data(), at, values.reals[k]);
        } else {
          store_integer(tensor.dtype, bytes.data(), at, values.wholes[k]);
        }
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
      values_[i] = decode(tensor, inputs[i]);
    }
    return {};
  }

  Result<void> run_node(std::size_t i) {
    const Node& node = view_.nodes()[i];
    const Tensor& out = view_.tensor(node.output);
    Values& to = values_[node.output];
    to = zeros(out);
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
        convert(node, out, to);
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
    std::int64_t left_base = 0;
    std::int64_t right_base = 0;
    for (std::size_t k = 0; k < to.size(); ++k) {
      auto l = left_base;
      auto r = right_base;
      long double real = 0;
      std::uint64_t whole = 0;
      do {
        const auto x = static_cast<std::size_t>(l);
        const auto y = static_cast<std::size_t>(r);
        if (left.floating) {
          // Factors of a float type make an exact product, and one of doubles is rounded at 64 bits or more.
          real += static_cast<long double>(left.reals[x]) * static_cast<long double>(right.reals[y]);
        } else {
          whole += static_cast<std::uint64_t>(left.wholes[x]) * static_cast<std::uint64_t>(right.wholes[y]);
        }
      } while (advance(summed, l, r));
      if (left.floating) {
        put_real(out.dtype, to, k, static_cast<double>(real));
      } else {
        to.wholes[k] = wrapped(out.dtype, static_cast<std::int64_t>(whole));
      }
      advance(kept, left_base, right_base);
    }
    return {};
  }

  void convert(const Node& node, const Tensor& out, Values& to) {
    const Values& x = values(node, 0);
    for (std::size_t k = 0; k < to.size(); ++k) {
      if (x.floating) {
        put_real(out.dtype, to, k, x.reals[k]);
      } else {
        put_converted(out.dtype, to, k, x.wholes[k]);
      }
    }
  }

  void map(const Node& node, const Tensor& out, Values& to) {
    const auto& a = node.as<MapAttributes>();
    const std::size_t count = node.inputs.size();
    std::vector<Extents> strides;
    for (std::size_t k = 0; k < count; ++k) { strides.push_back(*broadcast_strides(in(node, k).shape(), out.shape())); }
    std::array<double, kMaxMapInputs> reals{};
    std::array<std::int32_t, kMaxMapInputs> wholes{};
    std::array<std::int64_t, kMaxMapInputs> longs{};
    Odometer at(out.shape(), strides);
    for (std::size_t i = 0; i < to.size(); ++i) {
      for (std::size_t k = 0; k < count; ++k) {
        const Values& x = values(node, k);
        const auto place = static_cast<std::size_t>(at.position(k));
        reals[k] = x.real(place);
        if (a.integer) {
          longs[k] = x.wholes[place];
          wholes[k] = static_cast<std::int32_t>(longs[k]);
        }
      }
      if (a.compute == DType::i64) {
        to.wholes[i] = wrapped(out.dtype, evaluate_expression(a.code, std::span(std::as_const(longs)).first(count)));
      } else if (a.compute == DType::i32) {
        to.wholes[i] = wrapped(out.dtype, evaluate_expression(a.code, std::span(std::as_const(wholes)).first(count)));
      } else {
        put_real(out.dtype, to, i, evaluate_expression(a.code, std::span(std::as_const(reals)).first(count)));
      }
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
    std::vector<Accumulator> sums(to.size(), Accumulator(a.op));
    Odometer at(x.shape(), {&strides, 1});
    const Values& from = values(node, 0);
    for (std::size_t k = 0; k < from.size(); ++k) {
      Accumulator& sum = sums[static_cast<std::size_t>(at.position(0))];
      from.floating ? sum.add(from.reals[k]) : sum.add(from.wholes[k]);
      at.step();
    }
    for (std::size_t i = 0; i < to.size(); ++i) {
      if (from.floating) {
        put_real(out.dtype, to, i, sums[i].real());
      } else {
        to.wholes[i] = wrapped(out.dtype, sums[i].whole());
      }
    }
  }

  void view(const Node& node, const Tensor& out, Values& to) {
    const auto& a = node.as<ViewAttributes>();
    const auto read = [&](auto& target, const auto& source) {
      Odometer at(out.shape(), {&a.strides, 1});
      for (auto& element : target) {
        element = source[static_cast<std::size_t>(a.offset + at.position(0))];
        at.step();
      }
    };
    with(read, to, values(node, 0));
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
    const std::int64_t index = values(node, 1).wholes[place];
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
        const auto row = static_cast<std::size_t>((outer * x.size + index) * x.inner);
        const auto count = static_cast<std::size_t>(x.inner);
        with([&](auto& target, const auto& source) { std::copy_n(&source[row], count, &target[next]); }, to,
             values(node, 0));
        next += count;
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
        const auto row = static_cast<std::size_t>((outer * x.size + index) * x.inner);
        for (std::size_t inner = 0; inner < static_cast<std::size_t>(x.inner); ++inner, ++next) {
          place(a.mode, out.dtype, to, row + inner, values(node, 2), next);
        }
      }
    }
    // Floating sums are rounded when all updates are in.
    for (double& element : to.reals) { element = rounded(out.dtype, element); }
    return {};
  }

  static void place(ScatterMode mode, DType type, Values& to, std::size_t at, const Values& updates, std::size_t next) {
    const bool adds = mode == ScatterMode::add;
    if (to.floating) {
      to.reals[at] = adds ? to.reals[at] + updates.reals[next] : updates.reals[next];
    } else {
      const auto sum = static_cast<std::uint64_t>(to.wholes[at]) + static_cast<std::uint64_t>(updates.wholes[next]);
      to.wholes[at] = adds ? wrapped(type, static_cast<std::int64_t>(sum)) : updates.wholes[next];
    }
  }

  void pad(const Node& node, const Tensor& out, Values& to) {
    const auto& a = node.as<PadAttributes>();
    const Tensor& x = in(node, 0);
    for (std::size_t i = 0; i < to.size(); ++i) { put_real(out.dtype, to, i, a.value); }
    const Extents strides = row_major_strides(out.shape());
    std::int64_t offset = 0;
    for (std::size_t d = 0; d < x.rank; ++d) { offset += a.low[d] * strides[d]; }
    spread(x, strides, offset, to, values(node, 0));
  }

  void concat(const Node& node, const Tensor& out, Values& to) {
    const std::uint32_t axis = node.as<ConcatAttributes>().axis;
    const Extents strides = row_major_strides(out.shape());
    std::int64_t offset = 0;
    for (std::size_t k = 0; k < node.inputs.size(); ++k) {
      spread(in(node, k), strides, offset, to, values(node, k));
      offset += in(node, k).dims[axis] * strides[axis];
    }
  }

  // Writes x, walked in order, to the places that the strides give.
  static void spread(const Tensor& x, const Extents& strides, std::int64_t offset, Values& to, const Values& from) {
    const auto write = [&](auto& target, const auto& source) {
      Odometer at(x.shape(), {&strides, 1});
      for (const auto& value : source) {
        target[static_cast<std::size_t>(offset + at.position(0))] = value;
        at.step();
      }
    };
    with(write, to, from);
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
