// SPDX-License-Identifier: Apache-2.0
// A tensor graph, prepared: verified bytes of our own, fused steps, a plan for their intermediates.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "driver_kit/errors.hpp"
#include "graph/fuse.hpp"
#include "graph/image_copy.hpp"
#include "graph/instances.hpp"
#include "graph/lines.hpp"
#include "graph/plan.hpp"
#include "graph/rows.hpp"
#include "graph/step.hpp"
#include "graph/view.hpp"
#include "host.hpp"
#include "program.hpp"

namespace hal::host {

namespace {

using graph::Op;
using graph::Role;

StepResult make_step(const graph::View& view, const graph::FusedStep& step, kit::LanePool* pool) {
  switch (step.op) {
    case Op::contract:
      return make_contract(view, step, pool);
    case Op::map:
      return make_map(view, step);
    case Op::reduce:
      return make_reduce(view, step);
    case Op::view:
      return make_view(view, step);
    case Op::gather:
      return make_gather(view, step.node);
    case Op::scatter:
      return make_scatter(view, step.node);
    case Op::pad:
      return make_pad(view, step.node);
    case Op::concat:
      return make_concat(view, step.node);
    case Op::convert:
      return make_convert(view, step.node);
    case Op::constant:
      break;  // never a step: its bytes lie in the image
  }
  return kit::error(kOrigin, HAL_UNSUPPORTED,
                    fmt::format("{} is an operation that the host does not know", view.node_label(step.node)));
}

// A graph whose sizes are all known: immutable once made, run by several lanes at once.
class BoundGraph {
 public:
  static Result<std::shared_ptr<const BoundGraph>> make(graph::View view, kit::LanePool* pool) {
    auto made = std::make_shared<BoundGraph>(std::move(view));
    HAL_CHECK(made->make_steps(pool));
    HAL_CHECK(made->make_rows(pool));
    made->lay_out();
    return std::shared_ptr<const BoundGraph>(std::move(made));
  }

  explicit BoundGraph(graph::View view) : view_(std::move(view)) {}
  BoundGraph(const BoundGraph&) = delete;  // steps refer to view_
  BoundGraph& operator=(const BoundGraph&) = delete;

  // The arguments of the graph's parameters.
  Result<void> run(std::span<const hal_arg> args, Scratch& scratch) const {
    std::byte* const arena = scratch.get(scratch_bytes_);
    const std::span<std::byte*> tensors = table(arena);
    std::uintptr_t crooked = 0;
    for (std::size_t t = 0; t < args.size(); ++t) {
      tensors[t] = address_of(args[t].value.slice);
      crooked |= reinterpret_cast<std::uintptr_t>(tensors[t]) & (sizes_[t] - 1U);
    }
    if (crooked != 0) [[unlikely]] { return run_on_copies(args, scratch); }
    return run_steps(args, arena, tensors);
  }

  double cost_ns() const { return cost_ns_; }
  // What a run takes of its lane, if its arguments lie as their types demand.
  std::uint64_t scratch_bytes() const { return scratch_bytes_; }

 private:
  // A contraction with an expression: where its sums are while it runs.
  struct Sums {
    std::uint32_t tensor, output;
    bool fits;  // into the output
  };

  Result<void> add(StepResult made) {
    HAL_TRY(auto step, std::move(made));
    step_bytes_ = std::max(step_bytes_, step->scratch_bytes());
    cost_ns_ += 100 + step->cost_ns();
    steps_.push_back(std::move(step));
    return {};
  }

  // Arguments that do not lie as their types demand are worked on in copies.
  [[gnu::noinline]] Result<void> run_on_copies(std::span<const hal_arg> args, Scratch& scratch) const {
    std::byte* const arena = scratch.get(scratch_bytes_ + copy_bytes_);
    const std::span<std::byte*> tensors = table(arena);
    std::byte* copy = arena + scratch_bytes_;
    for (std::size_t t = 0; t < args.size(); ++t) {
      std::byte* const given = tensors[t] = address_of(args[t].value.slice);
      if (lies_well(t, given)) { continue; }
      if (view_.tensor(t).role == Role::input) { std::memcpy(copy, given, view_.tensor(t).bytes); }
      tensors[t] = copy;
      copy += padded(view_.tensor(t).bytes);
    }
    HAL_CHECK(run_steps(args, arena, tensors));
    for (std::size_t t = view_.inputs().size(); t < args.size(); ++t) {
      std::byte* given = address_of(args[t].value.slice);
      if (tensors[t] != given) { std::memcpy(given, tensors[t], view_.tensor(t).bytes); }
    }
    return {};
  }

  // `tensors` has the arguments' places.
  Result<void> run_steps(std::span<const hal_arg> args, std::byte* arena, std::span<std::byte*> tensors) const {
    for (std::size_t t = args.size(); t < tensors.size(); ++t) {
      const graph::Tensor& tensor = view_.tensor(t);
      tensors[t] = tensor.role == Role::constant            ? const_cast<std::byte*>(tensor.data.data())
                   : plan_.offsets[t] != graph::kNotInArena ? arena + plan_.offsets[t]
                                                            : nullptr;
    }
    // Sums lie where their expression's result goes, if they are of its type. An argument that others overlap must not
    // be written early.
    const bool apart = !(sums_.empty() && rows_.empty()) && arguments_overlap(args);
    for (const Sums& s : sums_) {
      const bool argument = s.output < args.size();
      tensors[s.tensor] = s.fits && !(argument && apart) ? tensors[s.output] : arena + sums_at_;
    }
    const RunContext context{tensors, arena + steps_at_};
    // Rows that are done early would be seen through an argument that overlaps theirs.
    auto next_rows = apart ? rows_.end() : rows_.begin();
    for (std::size_t i = 0; i < steps_.size();) {
      if (next_rows != rows_.end() && next_rows->first == i) {
        HAL_CHECK(next_rows->step->run(context));
        i += next_rows->count;
        ++next_rows;
      } else {
        HAL_CHECK(steps_[i++]->run(context));
      }
    }
    return {};
  }

  // An output that shares bytes with another argument.
  bool arguments_overlap(std::span<const hal_arg> args) const {
    for (std::size_t t = view_.inputs().size(); t < args.size(); ++t) {
      const std::byte* own = address_of(args[t].value.slice);
      for (std::size_t other = 0; other < args.size(); ++other) {
        const std::byte* at = address_of(args[other].value.slice);
        if (other != t && own < at + view_.tensor(other).bytes && at < own + view_.tensor(t).bytes) { return true; }
      }
    }
    return false;
  }

  // Where each tensor lies.
  std::span<std::byte*> table(std::byte* arena) const {
    return {reinterpret_cast<std::byte**>(arena + table_at_), tensors_};
  }

  static std::uint64_t padded(std::uint64_t bytes) { return (bytes + 63U) & ~std::uint64_t{63}; }

  bool lies_well(std::size_t t, const std::byte* at) const {
    return (reinterpret_cast<std::uintptr_t>(at) & (sizes_[t] - 1U)) == 0;
  }

  Result<void> make_steps(kit::LanePool* pool) {
    fused_ = graph::fuse(view_);
    HAL_TRY(plan_, graph::plan_memory(view_, fused_, {.alignment = 64, .in_place = true}));
    for (const graph::FusedStep& fused : fused_) {
      HAL_CHECK(add(make_step(view_, fused, pool)));
      if (fused.op != Op::contract || fused.code.empty()) { continue; }
      const graph::Tensor& out = view_.tensor(fused.output);
      const std::uint32_t sums = view_.nodes()[fused.node].output;
      HAL_CHECK(add(make_map(view_, fused, sums)));
      sums_.push_back({sums, fused.output, out.dtype == fused.compute});
      sum_bytes_ = std::max(sum_bytes_, padded(view_.tensor(sums).bytes));
    }
    // Arguments that do not lie as their type demands are worked on in copies behind everything else.
    for (std::size_t t = 0; t < view_.parameter_count(); ++t) {
      copy_bytes_ += padded(view_.tensor(t).bytes);
      sizes_.push_back(static_cast<std::uint8_t>(size_of(view_.tensor(t).dtype)));
    }
    return {};
  }

  // What a run has in its lane's memory, one behind the other: intermediates, what steps need, sums, the table.
  void lay_out() {
    tensors_ = view_.tensors().size();
    steps_at_ = Scratch::up_to_page(plan_.arena_bytes);  // what steps keep may want pages of its own
    sums_at_ = steps_at_ + padded(step_bytes_);
    table_at_ = sums_at_ + sum_bytes_;
    scratch_bytes_ = table_at_ + padded(tensors_ * sizeof(std::byte*));
  }

  // Steps that run a few rows at a time, and threads share, in place of those that follow each other.
  struct RowSteps {
    std::size_t first, count;  // of steps_
    std::unique_ptr<Step> step;
  };

  Result<void> make_rows(kit::LanePool* pool) {
    std::size_t position = 0;  // in steps_: a contraction with an expression has two
    for (std::size_t i = 0; i < fused_.size();) {
      const Rows rows = find_rows(view_, fused_, plan_, i);
      if (rows.steps == 0) {
        position += fused_[i].op == Op::contract && !fused_[i].code.empty() ? 2U : 1U;
        ++i;
        continue;
      }
      HAL_TRY(auto step, hal::host::make_rows(view_, fused_, i, rows, pool));
      for (std::size_t k = 0; k < rows.steps; ++k) { cost_ns_ -= steps_[position + k]->cost_ns(); }
      cost_ns_ += step->cost_ns();
      step_bytes_ = std::max(step_bytes_, step->scratch_bytes());
      rows_.push_back({position, rows.steps, std::move(step)});
      position += rows.steps;
      i += rows.steps;
    }
    return {};
  }

  graph::View view_;
  std::vector<graph::FusedStep> fused_;  // what steps_ were made of, and refer to
  graph::Plan plan_;
  std::vector<std::uint8_t> sizes_;  // of a parameter's elements: a power of two
  std::vector<Sums> sums_;
  std::vector<std::unique_ptr<Step>> steps_;
  std::vector<RowSteps> rows_;
  std::uint64_t step_bytes_ = 0, sum_bytes_ = 0, copy_bytes_ = 0;
  std::uint64_t steps_at_ = 0, sums_at_ = 0, table_at_ = 0, scratch_bytes_ = 0;
  std::size_t tensors_ = 0;
  double cost_ns_ = 0;
};

class GraphProgram final : public Program {
 public:
  GraphProgram(graph::ImageCopy image, graph::View view, std::shared_ptr<const BoundGraph> fixed, kit::LanePool* pool)
      : image_(std::move(image)), fixed_(std::move(fixed)), instances_(std::move(view)), pool_(pool) {}

  hal_error* run(const hal_command& command, Scratch& scratch, const kit::Perturb&) override {
    return kit::to_c(run_graph(command, scratch));
  }

  Result<void> run_graph(const hal_command& command, Scratch& scratch) {
    const std::span<const hal_arg> args(command.as.run.args, command.as.run.arg_count);
    if (fixed_ != nullptr) { return fixed_->run(args, scratch); }
    const graph::GivenExtents extents(command, instances_.view());
    auto bound = instances_.find(extents.span());
    if (bound == nullptr) {
      if (scratch.late != nullptr) { scratch.late->fetch_add(1, std::memory_order_relaxed); }
      HAL_TRY(bound, obtain(extents));
      scratch.reserve(bound->scratch_bytes());  // one late run, whatever it lacked
    }
    return bound->run(args.first(instances_.view().parameter_count()), scratch);
  }

  // Steps, the library's code among them, are made when the program is loaded, or when sizes are known; the
  // intermediates belong to the lane.
  Result<void> prepare(const hal_command& command, Scratch& scratch) override {
    std::shared_ptr<const BoundGraph> bound = fixed_;
    if (bound == nullptr) {
      const graph::GivenExtents extents(command, instances_.view());
      if (extents.span().empty()) { return {}; }
      HAL_TRY(bound, obtain(extents));
    }
    scratch.reserve(bound->scratch_bytes());
    return {};
  }

  std::span<const std::byte> portable() const override { return image_.bytes(); }

  // Without a binding nobody knows what a run takes; the binding itself takes some.
  kit::CommandCost cost(const hal_command&) const override {
    return {kit::nanoseconds(fixed_ != nullptr ? fixed_->cost_ns() : 10'000), false};
  }

 private:
  Result<std::shared_ptr<const BoundGraph>> obtain(const graph::GivenExtents& extents) {
    return instances_.obtain(extents.span(),
                             [this](graph::View bound) { return BoundGraph::make(std::move(bound), pool_); });
  }

  graph::ImageCopy image_;                   // views read constants in place
  std::shared_ptr<const BoundGraph> fixed_;  // null if sizes are symbolic
  graph::Instances<BoundGraph> instances_;   // of a graph whose sizes are
  kit::LanePool* pool_;
};

}  // namespace

Result<void> check_graph(std::span<const std::byte> image) {
  HAL_TRY(const graph::View view, graph::View::verify_dynamic(image));
  return {};
}

Result<std::unique_ptr<Program>> load_graph(std::span<const std::byte> image, kit::LanePool* pool) {
  graph::ImageCopy copy(image);
  HAL_TRY(graph::View view, graph::View::verify_dynamic(copy.bytes()));
  std::shared_ptr<const BoundGraph> fixed;
  if (!view.is_dynamic()) { HAL_TRY(fixed, BoundGraph::make(view, pool)); }
  return std::unique_ptr<Program>(
      std::make_unique<GraphProgram>(std::move(copy), std::move(view), std::move(fixed), pool));
}

}  // namespace hal::host
