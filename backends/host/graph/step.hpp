// SPDX-License-Identifier: Apache-2.0
// One step of a graph, prepared for running: everything that depends on shapes alone was decided when it was made.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "driver_kit/lane_pool.hpp"
#include "graph/fuse.hpp"
#include "graph/view.hpp"
#include "hal/result.hpp"

namespace hal::host {

// Memory that will be read and written next, called for a little at a time, so that it comes while something else is
// computed.
class Ahead {
 public:
  struct Range {
    const std::byte* begin;
    std::uint64_t bytes;
  };
  // `calls`: how often call() will be called.
  Ahead(Range read, Range written, std::uint64_t calls) : read_(read, calls), written_(written, calls) {}
  void call() {
    read_.call();
    written_.call();
  }

 private:
  static constexpr std::uint64_t kLine = 64;
  template <bool kWritten>
  class Part {
   public:
    Part(Range range, std::uint64_t calls)
        : at_(range.begin), end_(range.begin + range.bytes), bytes_((range.bytes / kLine + calls) / calls * kLine) {}
    void call() {
      const std::byte* const stop = at_ + std::min(bytes_, static_cast<std::uint64_t>(end_ - at_));
      for (const std::byte* line = at_; line < stop; line += kLine) { __builtin_prefetch(line, kWritten ? 1 : 0, 2); }
      at_ = stop;
    }

   private:
    const std::byte *at_, *end_;
    std::uint64_t bytes_;
  };
  Part<false> read_;
  Part<true> written_;
};

// One run of a graph: where each tensor lies, and memory for the step that runs.
struct RunContext {
  std::span<std::byte* const> tensors;
  std::byte* scratch;      // the largest scratch_bytes() of all steps; begins a page
  Ahead* ahead = nullptr;  // if there is something
};

// Work that takes less is not shared with other threads: to find them would take as long.
constexpr double kWorthThreadsNs = 20'000;

class Step {
 public:
  Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  virtual ~Step() = default;

  // Called from several threads at once, with different contexts. Errors: OUT_OF_RANGE  an index of gather or scatter.
  virtual Result<void> run(const RunContext& context) const = 0;
  virtual std::uint64_t scratch_bytes() const { return 0; }
  virtual double cost_ns() const = 0;
  // How often a run calls RunContext::ahead, about; at least 1.
  virtual std::uint64_t calls_ahead() const { return 1; }
};

using StepResult = Result<std::unique_ptr<Step>>;

// Each takes a step of a verified view; both outlive what is made, as does `pool`, which may be null.
StepResult make_contract(const graph::View& view, const graph::FusedStep& step, kit::LanePool* pool);  // contract.cpp
// `axes`: a bit for each dimension of the step's domain that is folded; those of the node if left out.
StepResult make_reduce(const graph::View& view, const graph::FusedStep& step,
                       std::optional<std::uint32_t> axes = {});               // reduce.cpp
StepResult make_view(const graph::View& view, const graph::FusedStep& step);  // move.cpp
// With `sums`, the step is a contraction's expression, and that tensor holds the sums (type step.compute). It may be
// the output itself.
StepResult make_map(const graph::View& view, const graph::FusedStep& step,
                    std::optional<std::uint32_t> sums = {});  // map.cpp

// Each takes a node as it stands.
StepResult make_pad(const graph::View& view, std::size_t i);  // move.cpp
StepResult make_concat(const graph::View& view, std::size_t i);
StepResult make_convert(const graph::View& view, std::size_t i);
StepResult make_gather(const graph::View& view, std::size_t i);   // index.cpp
StepResult make_scatter(const graph::View& view, std::size_t i);  // index.cpp

}  // namespace hal::host
