// SPDX-License-Identifier: Apache-2.0
#include "graph/rows.hpp"

#include <algorithm>
#include <atomic>
#include <map>

#include "graph/lines.hpp"

namespace hal::host {

namespace {

using graph::Access;
using graph::FusedStep;
using graph::Op;
using graph::Role;
using graph::ShapeView;

// What a strip should take: its rows stay in the first-level cache from one step to the next.
constexpr std::uint64_t kStripBytes = 128U << 10U;
// What a thread takes at once, of a thread's share: so many that none waits long for the last.
constexpr std::int64_t kTakes = 8;
// Below this the steps as they stand are as good.
constexpr std::uint64_t kWorthBytes = 64U << 10U;
// Who looks from each step of a long graph on would look at all of it each time.
constexpr std::size_t kMostSteps = 32;

std::uint64_t padded(std::uint64_t bytes) { return (bytes + 63U) & ~std::uint64_t{63}; }

// How far an access moves from one row to the next, if by the same for every row.
bool row_stride(const Access& access, ShapeView domain, std::size_t leading, std::int64_t& out) {
  out = 0;
  std::int64_t inner = 1;  // rows that the dimensions behind cover
  bool first = true;
  for (std::size_t d = leading; d-- > 0;) {
    if (domain[d] == 1) { continue; }
    if (first) {
      out = access.strides[d];
    } else if (access.strides[d] != out * inner) {
      return false;
    }
    first = false;
    inner *= domain[d];
  }
  return true;
}

// The reading of one row stays within [0, width) elements of where the row begins.
bool stays_in_row(const Access& access, ShapeView domain, std::size_t leading, std::int64_t width) {
  std::int64_t low = access.offset, high = access.offset;
  for (std::size_t d = leading; d < domain.size(); ++d) {
    (access.strides[d] < 0 ? low : high) += access.strides[d] * (domain[d] - 1);
  }
  return low >= 0 && high < width;
}

std::int64_t product(ShapeView shape) {
  std::int64_t out = 1;
  for (const std::int64_t size : shape) { out *= size; }
  return out;
}

// What a run of steps does to each tensor.
struct Use {
  std::int64_t stride = 0;  // elements from row to row
  bool written = false, read = false;
  bool in_row = true;  // every reading stays in its row
};
using Uses = std::map<std::uint32_t, Use>;

// Adds one step to the uses of those before it. False, and nothing added, if it cannot run row by row with them.
bool add(const graph::View& view, const graph::Plan& plan, const FusedStep& step, std::size_t leading,
         std::int64_t rows, Uses& uses) {
  if ((step.op != Op::map && step.op != Op::reduce) || step.domain.size() < leading || leading == 0) { return false; }
  if (product(ShapeView(step.domain).first(leading)) != rows || view.tensor(step.output).elements % rows != 0) {
    return false;
  }
  if (step.op == Op::reduce) {
    const auto axes = view.nodes()[step.node].as<graph::ReduceAttributes>().axes;
    for (std::size_t d = 0; d < leading; ++d) {
      if ((axes >> d & 1U) != 0 && step.domain[d] != 1) { return false; }
    }
  }
  Uses next = uses;
  for (const Access& access : step.inputs) {
    const graph::Tensor& tensor = view.tensor(access.tensor);
    std::int64_t stride = 0;
    if (tensor.dtype == DType::i4 || !row_stride(access, step.domain, leading, stride)) { return false; }
    const auto [found, fresh] = next.try_emplace(access.tensor);
    Use& use = found->second;
    if (!fresh && use.stride != stride) { return false; }
    use.stride = stride;
    use.read = true;
    use.in_row = use.in_row && stride > 0 && stays_in_row(access, step.domain, leading, stride);
    if (use.written && !use.in_row) { return false; }
  }
  const graph::Tensor& out = view.tensor(step.output);
  const std::int64_t width = out.elements / rows;
  if (out.dtype == DType::i4 || next.contains(step.output)) { return false; }
  next[step.output] = {width, true, false, true};
  // Whose bytes the plan gives to the output must be done with, row by row.
  const std::uint64_t at = plan.offsets[step.output];
  for (const auto& [number, use] : next) {
    const std::uint64_t other = plan.offsets[number];
    if (number == step.output || at == graph::kNotInArena || other == graph::kNotInArena) { continue; }
    const graph::Tensor& tensor = view.tensor(number);
    if (other >= at + out.bytes || at >= other + tensor.bytes) { continue; }
    const bool same_rows = other == at && use.in_row && tensor.bytes == out.bytes &&
                           use.stride * static_cast<std::int64_t>(size_of(tensor.dtype)) ==
                               width * static_cast<std::int64_t>(size_of(out.dtype));
    if (!same_rows) { return false; }
  }
  uses = std::move(next);
  return true;
}

// The step over fewer rows, which become its first dimension.
FusedStep narrowed(const FusedStep& step, std::size_t leading, std::int64_t rows) {
  FusedStep out = step;
  out.domain.assign(1, rows);
  out.domain.insert(out.domain.end(), step.domain.begin() + static_cast<std::ptrdiff_t>(leading), step.domain.end());
  for (Access& access : out.inputs) {
    graph::Extents strides{};
    row_stride(access, step.domain, leading, strides[0]);
    std::copy(access.strides.begin() + static_cast<std::ptrdiff_t>(leading), access.strides.end(), strides.begin() + 1);
    access.strides = strides;
  }
  return out;
}

// The axes that a reduction folds, where `leading` dimensions have become one.
std::uint32_t axes_behind(const graph::View& view, const FusedStep& step, std::size_t leading) {
  return view.nodes()[step.node].as<graph::ReduceAttributes>().axes >> leading << 1U;
}

// The steps for one number of rows.
class Strip {
 public:
  static Result<std::unique_ptr<Strip>> make(const graph::View& view, std::span<const FusedStep> steps,
                                             std::size_t leading, std::int64_t rows) {
    auto made = std::make_unique<Strip>();
    made->fused_.reserve(steps.size());  // what is made refers to them
    for (const FusedStep& whole : steps) {
      const FusedStep& step = made->fused_.emplace_back(narrowed(whole, leading, rows));
      const bool folds = step.op == Op::reduce;
      HAL_TRY(auto own, folds ? make_reduce(view, step, axes_behind(view, step, leading)) : make_map(view, step));
      made->scratch_bytes = std::max(made->scratch_bytes, own->scratch_bytes());
      made->cost_ns += own->cost_ns();
      made->calls_ahead += own->calls_ahead();
      made->steps_.push_back(std::move(own));
    }
    return made;
  }

  void run(const RunContext& context) const {
    for (const auto& step : steps_) { step->run(context).value(); }  // maps and reductions do not fail
  }

  std::uint64_t scratch_bytes = 0, calls_ahead = 0;
  double cost_ns = 0;

 private:
  std::vector<FusedStep> fused_;
  std::vector<std::unique_ptr<Step>> steps_;
};

// A tensor of which a strip sees its rows only.
struct Moved {
  std::uint32_t tensor;
  std::int64_t row_bytes;
  bool local;            // nobody else reads it: it lives in the strip's own memory
  bool read_first;       // no step of the strip makes it
  std::uint64_t at = 0;  // local: where
};

std::vector<Moved> moved_tensors(const graph::View& view, std::span<const FusedStep> steps, std::size_t first,
                                 const Rows& rows) {
  std::vector<Moved> out;
  const auto size = [&](std::uint32_t tensor) { return static_cast<std::int64_t>(size_of(view.tensor(tensor).dtype)); };
  for (const FusedStep& step : steps.subspan(first, rows.steps)) {
    for (const Access& access : step.inputs) {
      std::int64_t stride = 0;
      row_stride(access, step.domain, rows.leading, stride);
      if (stride != 0 && std::ranges::find(out, access.tensor, &Moved::tensor) == out.end()) {
        out.push_back({access.tensor, stride * size(access.tensor), false, true});
      }
    }
    bool local = view.tensor(step.output).role == Role::intermediate;
    for (std::size_t i = first + rows.steps; i < steps.size() && local; ++i) {
      steps[i].each_read([&](const Access& access) { local = local && access.tensor != step.output; });
    }
    out.push_back({step.output, view.tensor(step.output).elements / rows.count * size(step.output), local, false});
  }
  return out;
}

// A tensor whose next rows are called for; none if they have no bytes.
struct Next {
  std::uint32_t tensor = 0;
  std::int64_t row_bytes = 0;
};

class RowsStep final : public Step {
 public:
  static StepResult make(const graph::View& view, std::span<const FusedStep> steps, std::size_t first, const Rows& rows,
                         kit::LanePool* pool) {
    auto made = std::make_unique<RowsStep>();
    const std::span<const FusedStep> mine = steps.subspan(first, rows.steps);
    made->rows_ = rows.count;
    made->tensors_ = view.tensors().size();
    made->moved_ = moved_tensors(view, steps, first, rows);
    std::uint64_t row_bytes = 1;
    for (const Moved& moved : made->moved_) {
      row_bytes += static_cast<std::uint64_t>(std::abs(moved.row_bytes));
      if (moved.local || (!moved.read_first && view.tensor(moved.tensor).bytes >= kPastCachesFrom)) { continue; }
      Next& next = moved.read_first ? made->read_ : made->written_;
      if (moved.row_bytes > next.row_bytes) { next = {moved.tensor, moved.row_bytes}; }
    }
    std::int64_t strip = std::clamp<std::int64_t>(static_cast<std::int64_t>(kStripBytes / row_bytes), 1, rows.count);
    HAL_TRY(made->whole_, Strip::make(view, mine, rows.leading, strip));
    made->cost_ns_ = made->whole_->cost_ns * static_cast<double>(rows.count) / static_cast<double>(strip);
    made->take_ = rows.count;
    if (pool != nullptr && pool->threads() > 1 && rows.count > 1 && made->cost_ns_ >= kWorthThreadsNs) {
      made->pool_ = pool;
      made->threads_ = pool->threads();
      made->cost_ns_ /= pool->threads();
      made->take_ = std::max<std::int64_t>(1, rows.count / (kTakes * std::int64_t{pool->threads()}));
      if (strip > made->take_) {
        strip = made->take_;
        HAL_TRY(made->whole_, Strip::make(view, mine, rows.leading, strip));
      }
      made->take_ -= made->take_ % strip;
    }
    made->strip_ = strip;
    if (rows.count % strip != 0) { HAL_TRY(made->rest_, Strip::make(view, mine, rows.leading, rows.count % strip)); }
    for (Moved& moved : made->moved_) {
      if (!moved.local) { continue; }
      moved.at = made->local_bytes_;
      made->local_bytes_ += padded(static_cast<std::uint64_t>(strip * moved.row_bytes));
    }
    made->step_bytes_ = padded(made->whole_->scratch_bytes);
    return StepResult(std::move(made));
  }

  std::uint64_t scratch_bytes() const override { return threads_ * bytes_of_thread(); }
  double cost_ns() const override { return cost_ns_; }

  Result<void> run(const RunContext& context) const override {
    std::atomic<std::int64_t> next{0};
    const auto work = [&](std::uint64_t thread) {
      std::byte* const own = context.scratch + thread * bytes_of_thread();
      const std::span<std::byte*> tensors(reinterpret_cast<std::byte**>(own), tensors_);
      std::ranges::copy(context.tensors, tensors.begin());
      std::byte* const locals = own + padded(tensors_ * sizeof(std::byte*));
      for (std::int64_t first = 0; (first = next.fetch_add(take_, std::memory_order_relaxed)) < rows_;) {
        const std::int64_t end = std::min(rows_, first + take_);
        for (std::int64_t row = first; row < end; row += strip_) {
          for (const Moved& moved : moved_) {
            tensors[moved.tensor] =
                moved.local ? locals + moved.at : context.tensors[moved.tensor] + row * moved.row_bytes;
          }
          const Strip& strip = row + strip_ <= rows_ ? *whole_ : *rest_;
          // The rows of the next strip come while this one is computed.
          const std::int64_t next_rows = std::clamp<std::int64_t>(end - row - strip_, 0, strip_);
          const auto rows_of = [&](const Next& of) -> Ahead::Range {
            return {context.tensors[of.tensor] + (row + strip_) * of.row_bytes,
                    static_cast<std::uint64_t>(next_rows * of.row_bytes)};
          };
          Ahead ahead(rows_of(read_), rows_of(written_), strip.calls_ahead);
          strip.run({tensors, locals + local_bytes_, &ahead});
        }
      }
    };
    if (pool_ != nullptr) {
      pool_->parallel(threads_, work);
    } else {
      work(0);
    }
    return {};
  }

 private:
  std::uint64_t bytes_of_thread() const { return padded(tensors_ * sizeof(std::byte*)) + local_bytes_ + step_bytes_; }

  std::int64_t rows_ = 0, strip_ = 1;  // rows of all, of a strip
  std::int64_t take_ = 1;              // rows that a thread takes at once: strips, one after the other
  kit::LanePool* pool_ = nullptr;
  std::uint32_t threads_ = 1;
  std::unique_ptr<Strip> whole_, rest_;  // of strip_ rows, and of those left over
  std::vector<Moved> moved_;
  Next read_, written_;  // the largest tensor that comes from outside, and of those that others read
  std::size_t tensors_ = 0;
  std::uint64_t local_bytes_ = 0, step_bytes_ = 0;
  double cost_ns_ = 0;
};

}  // namespace

Rows find_rows(const graph::View& view, std::span<const FusedStep> steps, const graph::Plan& plan, std::size_t first) {
  Rows best;
  const graph::Shape& domain = steps[first].domain;
  for (std::size_t leading = 1; leading <= domain.size(); ++leading) {
    const std::int64_t count = product(ShapeView(domain).first(leading));
    if (count < 2) { continue; }
    Uses uses;
    std::size_t end = first;
    while (end < steps.size() && end - first < kMostSteps && add(view, plan, steps[end], leading, count, uses)) {
      ++end;
    }
    std::uint64_t bytes = 0;
    for (const auto& [tensor, use] : uses) { bytes += view.tensor(tensor).bytes; }
    if (bytes >= kWorthBytes && end - first >= best.steps) { best = {end - first, leading, count}; }
  }
  return best;
}

StepResult make_rows(const graph::View& view, std::span<const FusedStep> steps, std::size_t first, const Rows& rows,
                     kit::LanePool* pool) {
  return RowsStep::make(view, steps, first, rows, pool);
}

}  // namespace hal::host
