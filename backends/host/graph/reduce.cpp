// SPDX-License-Identifier: Apache-2.0
// Sums, products and extremes along axes. Floating sums and products are held in double, so their error does not grow
// with the length; integers wrap at the 32 or 64 bits of their accumulator.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "graph/code.hpp"
#include "graph/element.hpp"
#include "graph/lines.hpp"
#include "graph/loops.hpp"
#include "graph/simd.hpp"
#include "graph/step.hpp"

namespace hal::host {

namespace {

using graph::ReduceOp;
using Wrapping = std::uint32_t;
using WrappingLong = std::uint64_t;

// double stays double.
template <class Held>
using SignedOf =
    typename std::conditional_t<std::is_same_v<Held, double>, std::type_identity<double>, std::make_signed<Held>>::type;

template <class Held>
Held identity(ReduceOp op) {
  constexpr bool kReal = std::is_same_v<Held, double>;
  switch (op) {
    case ReduceOp::sum:
      return 0;
    case ReduceOp::prod:
      return 1;
    case ReduceOp::max:
      return kReal ? static_cast<Held>(-std::numeric_limits<double>::infinity())
                   : static_cast<Held>(std::numeric_limits<SignedOf<Held>>::min());
    case ReduceOp::min:
      return kReal ? static_cast<Held>(std::numeric_limits<double>::infinity())
                   : static_cast<Held>(std::numeric_limits<SignedOf<Held>>::max());
  }
  return 0;
}

// NaN stays. Unsigned values hold the bits of signed ones.
template <class Held>
[[gnu::always_inline]] inline Held combine(ReduceOp op, Held a, Held b) {
  if (op == ReduceOp::sum) { return a + b; }
  if (op == ReduceOp::prod) { return a * b; }
  if constexpr (std::is_same_v<Held, double>) {
    if (op == ReduceOp::max) { return !(a <= b) && b == b ? a : b; }
    return !(a >= b) && b == b ? a : b;
  } else {
    const auto x = static_cast<SignedOf<Held>>(a), y = static_cast<SignedOf<Held>>(b);
    return op == ReduceOp::max ? (x > y ? a : b) : (x < y ? a : b);
  }
}

// Chains side by side, because one alone waits for each of its operations, become one by halves.
template <std::size_t kLeft, class Held, std::size_t kChains, class Combine>
[[gnu::always_inline]] inline Held join(Held (&chains)[kChains], Combine combine) {
  if constexpr (kLeft == 1) {
    return chains[0];
  } else {
    for (std::size_t k = 0; k < kLeft / 2; ++k) { chains[k] = combine(chains[k], chains[k + kLeft / 2]); }
    return join<kLeft / 2>(chains, combine);
  }
}

// Extremes need no wider type than that of the elements, and comparisons do not see NaN: a sum of all does, and where
// it is none, as it is for infinities of both signs too, they are looked at again.
template <ReduceOp op>
[[gnu::always_inline]] inline double fold_extreme(const float* line, std::size_t count) {
  constexpr std::size_t kChains = 64;
  const auto outer = [](float a, float b) { return (op == ReduceOp::max ? a > b : a < b) ? a : b; };
  float chains[kChains], sums[kChains] = {};
  std::fill_n(chains, kChains, static_cast<float>(identity<double>(op)));
  std::size_t i = 0;
  for (; i + kChains <= count; i += kChains) {
    for (std::size_t k = 0; k < kChains; ++k) {
      chains[k] = outer(chains[k], line[i + k]);
      sums[k] += line[i + k];
    }
  }
  for (std::size_t k = 0; i < count; ++i, ++k) {
    chains[k] = outer(chains[k], line[i]);
    sums[k] += line[i];
  }
  const float sum = join<kChains>(sums, [](float a, float b) { return a + b; });
  if (sum != sum && std::any_of(line, line + count, [](float x) { return x != x; })) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  return static_cast<double>(join<kChains>(chains, outer));
}

template <ReduceOp op, class Held, class T>
[[gnu::always_inline]] inline Held fold(const T* line, std::size_t count) {
  constexpr std::size_t kChains = 32;
  Held chains[kChains];
  std::fill_n(chains, kChains, identity<Held>(op));
  std::size_t i = 0;
  for (; i + kChains <= count; i += kChains) {
    for (std::size_t k = 0; k < kChains; ++k) { chains[k] = combine(op, chains[k], static_cast<Held>(line[i + k])); }
  }
  for (std::size_t k = 0; i < count; ++i, ++k) { chains[k] = combine(op, chains[k], static_cast<Held>(line[i])); }
  return join<kChains>(chains, [](Held a, Held b) { return combine(op, a, b); });
}

template <ReduceOp op, class Held, class T>
[[gnu::always_inline]] inline void merge(const T* line, std::size_t count, Held* held) {
  for (std::size_t i = 0; i < count; ++i) { held[i] = combine(op, held[i], static_cast<Held>(line[i])); }
}

template <class Held, class T>
[[gnu::always_inline]] inline Held fold_any(ReduceOp op, const T* line, std::size_t count) {
  switch (op) {
    case ReduceOp::sum:
      return fold<ReduceOp::sum, Held>(line, count);
    case ReduceOp::prod:
      return fold<ReduceOp::prod, Held>(line, count);
    case ReduceOp::max:
      return fold<ReduceOp::max, Held>(line, count);
    case ReduceOp::min:
      return fold<ReduceOp::min, Held>(line, count);
  }
  return {};
}

template <class Held, class T>
[[gnu::always_inline]] inline void merge_any(ReduceOp op, const T* line, std::size_t count, Held* held) {
  switch (op) {
    case ReduceOp::sum:
      return merge<ReduceOp::sum>(line, count, held);
    case ReduceOp::prod:
      return merge<ReduceOp::prod>(line, count, held);
    case ReduceOp::max:
      return merge<ReduceOp::max>(line, count, held);
    case ReduceOp::min:
      return merge<ReduceOp::min>(line, count, held);
  }
}

}  // namespace

HAL_HOST_CLONES double fold_line(ReduceOp op, const float* line, std::size_t count) {
  if (op == ReduceOp::max) { return fold_extreme<ReduceOp::max>(line, count); }
  if (op == ReduceOp::min) { return fold_extreme<ReduceOp::min>(line, count); }
  return fold_any<double>(op, line, count);
}
HAL_HOST_CLONES double fold_line(ReduceOp op, const double* line, std::size_t count) {
  return fold_any<double>(op, line, count);
}
HAL_HOST_CLONES Wrapping fold_line(ReduceOp op, const std::int32_t* line, std::size_t count) {
  return fold_any<Wrapping>(op, line, count);
}
HAL_HOST_CLONES WrappingLong fold_line(ReduceOp op, const std::int64_t* line, std::size_t count) {
  return fold_any<WrappingLong>(op, line, count);
}
HAL_HOST_CLONES void merge_line(ReduceOp op, const float* line, std::size_t count, double* held) {
  merge_any(op, line, count, held);
}
HAL_HOST_CLONES void merge_line(ReduceOp op, const double* line, std::size_t count, double* held) {
  merge_any(op, line, count, held);
}
HAL_HOST_CLONES void merge_line(ReduceOp op, const std::int32_t* line, std::size_t count, Wrapping* held) {
  merge_any(op, line, count, held);
}
HAL_HOST_CLONES void merge_line(ReduceOp op, const std::int64_t* line, std::size_t count, WrappingLong* held) {
  merge_any(op, line, count, held);
}

namespace {

// Behind the inputs' operands comes the output as the domain's loops see it: stride 0 along reduced axes.
graph::Shape kept_of(const graph::FusedStep& step, std::uint32_t axes) {
  graph::Shape kept = step.domain;
  for (std::size_t d = 0; d < kept.size(); ++d) {
    if ((axes >> d & 1U) != 0) { kept[d] = 1; }
  }
  return kept;
}
Loops reduce_loops(const graph::FusedStep& step, const graph::Shape& kept) {
  const graph::Extents out[] = {*graph::broadcast_strides(kept, step.domain)};
  return loops_of(step, out);
}

template <class T, class Held>
class ReduceStep final : public Step {
 public:
  ReduceStep(const graph::View& view, const graph::FusedStep& step, std::uint32_t axes)
      : out_(view.tensor(step.output)),
        outputs_(static_cast<std::size_t>(*graph::element_count(kept_of(step, axes)))),
        out_number_(step.output),
        inputs_(step.inputs.size()),
        op_(view.nodes()[step.node].as<graph::ReduceAttributes>().op),
        code_(view, step, reduce_loops(step, kept_of(step, axes))) {}

  std::uint64_t scratch_bytes() const override {
    return outputs_ * sizeof(Held) + code_.scratch_elements() * sizeof(T) + alignof(T);
  }
  double cost_ns() const override { return static_cast<double>(code_.loops().total()) * (0.3 + code_.cost_ns()); }
  std::uint64_t calls_ahead() const override { return code_.blocks(); }

  Result<void> run(const RunContext& context) const override {
    auto* held = reinterpret_cast<Held*>(context.scratch);
    const std::size_t held_bytes = (outputs_ * sizeof(Held) + alignof(T) - 1) / alignof(T) * alignof(T);
    T* blocks = reinterpret_cast<T*>(context.scratch + held_bytes);
    std::fill_n(held, outputs_, identity<Held>(op_));
    const std::int64_t out_stride = code_.loops().inner_stride(inputs_);
    code_.loops().each_line([&](const auto& at) {
      code_.each_block(at, context, blocks, [&](const auto& operands, std::int64_t done, std::size_t count) {
        const T* line = code_.evaluate(operands, blocks, count);
        // The output is dense and row-major in the order of the loops: its innermost stride is 0 or 1.
        Held* target = held + at[inputs_] + done * out_stride;
        if (out_stride == 0) {
          *target = combine(op_, *target, fold_line(op_, line, count));
        } else {
          merge_line(op_, line, count, target);
        }
      });
    });
    store_line(out_.dtype, context.tensors[out_number_], 0, outputs_, reinterpret_cast<const SignedOf<Held>*>(held));
    return {};
  }

 private:
  const graph::Tensor& out_;
  std::size_t outputs_;
  std::uint32_t out_number_;
  std::size_t inputs_;
  ReduceOp op_;
  Code<T> code_;
};

}  // namespace

StepResult make_reduce(const graph::View& view, const graph::FusedStep& step, std::optional<std::uint32_t> axes) {
  const auto& attributes = view.nodes()[step.node].as<graph::ReduceAttributes>();
  const std::uint32_t folded = axes.value_or(attributes.axes);
  switch (step.compute) {
    case DType::f64:
      return StepResult(std::make_unique<ReduceStep<double, double>>(view, step, folded));
    case DType::f32:
      return StepResult(std::make_unique<ReduceStep<float, double>>(view, step, folded));
    default:
      break;
  }
  // Integers narrower than what they are summed in are widened as they are read; such a step has no expression.
  if (attributes.accumulate == DType::i64) {
    return StepResult(std::make_unique<ReduceStep<std::int64_t, WrappingLong>>(view, step, folded));
  }
  return StepResult(std::make_unique<ReduceStep<std::int32_t, Wrapping>>(view, step, folded));
}

}  // namespace hal::host
