// SPDX-License-Identifier: Apache-2.0
// A scalar expression over strided inputs, also behind the sums of a contraction.
#include <algorithm>
#include <vector>

#include "graph/code.hpp"
#include "graph/step.hpp"

namespace hal::host {

namespace {

template <class T>
class MapStep final : public Step {
 public:
  // `sums` is the contraction's own result, or nothing.
  MapStep(const graph::View& view, const graph::FusedStep& step, std::optional<std::uint32_t> sums)
      : view_(view), step_(step), sums_(sums), code_(view, step, loops_of(step), sums ? 1 : 0) {
    const graph::Tensor& out = view.tensor(step.output);
    streams_ = out.role == graph::Role::output && out.dtype == Code<T>::kType && out.bytes >= kPastCachesFrom;
  }

  std::uint64_t scratch_bytes() const override { return code_.scratch_elements() * sizeof(T); }
  double cost_ns() const override { return static_cast<double>(code_.loops().total()) * code_.cost_ns(); }
  std::uint64_t calls_ahead() const override { return code_.blocks(); }

  Result<void> run(const RunContext& context) const override {
    if (code_.loops().inner() >= kLongLine) {
      run_lines(context);
    } else {
      run_blocks(context);
    }
    return {};
  }

 private:
  static constexpr std::int64_t kLongLine = 128;

  // Line by line, elements where they lie.
  void run_lines(const RunContext& context) const {
    T* blocks = reinterpret_cast<T*>(context.scratch);
    std::int64_t stored = 0;
    const DType type = view_.tensor(step_.output).dtype;
    std::byte* const out = context.tensors[step_.output];
    code_.loops().each_line([&](const auto& at) {
      code_.each_block(at, context, blocks, [&](const auto& operands, std::int64_t, std::size_t count) {
        if (sums_) { load_line(step_.compute, context.tensors[*sums_], stored, 1, count, code_.block(blocks, 0)); }
        if (streams_) {
          const T* values = code_.evaluate(operands, blocks, count);
          stream_line(reinterpret_cast<const std::byte*>(values),
                      reinterpret_cast<std::byte*>(reinterpret_cast<T*>(out) + stored), count * sizeof(T));
        } else if (type == Code<T>::kType) {
          code_.evaluate(operands, blocks, count, reinterpret_cast<T*>(out) + stored);
        } else {
          store_line(type, out, stored, count, code_.evaluate(operands, blocks, count));
        }
        stored += static_cast<std::int64_t>(count);
      });
    });
    if (streams_) { fence_streams(); }
  }

  // Short lines: as many as fill a block at once.
  void run_blocks(const RunContext& context) const {
    T* blocks = reinterpret_cast<T*>(context.scratch);
    std::size_t filled = 0;
    std::int64_t stored = 0;
    const DType type = view_.tensor(step_.output).dtype;
    const auto finish = [&] {
      if (sums_) { load_line(step_.compute, context.tensors[*sums_], stored, 1, filled, code_.block(blocks, 0)); }
      store_line(type, context.tensors[step_.output], stored, filled, code_.evaluate(blocks, filled));
      stored += static_cast<std::int64_t>(filled);
      filled = 0;
    };
    code_.loops().each_line([&](const auto& at) {
      for (std::int64_t done = 0; done < code_.loops().inner();) {
        const std::size_t count =
            std::min(Code<T>::kBlock - filled, static_cast<std::size_t>(code_.loops().inner() - done));
        for (std::size_t k = 0; k < step_.inputs.size(); ++k) {
          code_.load(k, context.tensors, at[k], done, filled, count, blocks);
        }
        filled += count;
        done += static_cast<std::int64_t>(count);
        if (filled == Code<T>::kBlock) { finish(); }
      }
    });
    if (filled > 0) { finish(); }
  }

  const graph::View& view_;
  const graph::FusedStep& step_;
  std::optional<std::uint32_t> sums_;
  Code<T> code_;
  bool streams_ = false;  // the result is too large for any cache
};

}  // namespace

StepResult make_map(const graph::View& view, const graph::FusedStep& step, std::optional<std::uint32_t> sums) {
  switch (step.compute) {
    case DType::f64:
      return StepResult(std::make_unique<MapStep<double>>(view, step, sums));
    case DType::i64:
      return StepResult(std::make_unique<MapStep<std::int64_t>>(view, step, sums));
    case DType::i32:
      return StepResult(std::make_unique<MapStep<std::int32_t>>(view, step, sums));
    default:
      return StepResult(std::make_unique<MapStep<float>>(view, step, sums));
  }
}

}  // namespace hal::host
