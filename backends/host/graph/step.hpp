// SPDX-License-Identifier: Apache-2.0
// One node of a graph, prepared for running: everything that depends on shapes alone was decided when it was made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "graph/view.hpp"
#include "hal/result.hpp"

namespace hal::host {

// One run of a graph: where each tensor lies, and memory for the step that runs.
struct RunContext {
  std::span<std::byte* const> tensors;
  std::byte* scratch;  // the largest scratch_bytes() of all steps; 64-byte aligned
};

class Step {
 public:
  Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  virtual ~Step() = default;

  // Called from several threads at once, with different contexts. Errors: OUT_OF_RANGE  an index of gather or scatter.
  virtual Result<void> run(const RunContext& context) const = 0;
  virtual void prepare() const {}
  virtual std::uint64_t scratch_bytes() const { return 0; }
  virtual double cost_ns() const = 0;
};

using StepResult = Result<std::unique_ptr<Step>>;

// Each takes node `i` of a verified view, which outlives the step, and whose tensors have supported types.
StepResult make_contract(const graph::View& view, std::size_t i);  // contract.cpp
StepResult make_map(const graph::View& view, std::size_t i);       // map.cpp
StepResult make_reduce(const graph::View& view, std::size_t i);    // reduce.cpp
StepResult make_view(const graph::View& view, std::size_t i);      // move.cpp, and all below
StepResult make_pad(const graph::View& view, std::size_t i);
StepResult make_concat(const graph::View& view, std::size_t i);
StepResult make_convert(const graph::View& view, std::size_t i);
StepResult make_gather(const graph::View& view, std::size_t i);   // index.cpp
StepResult make_scatter(const graph::View& view, std::size_t i);  // index.cpp

}  // namespace hal::host
