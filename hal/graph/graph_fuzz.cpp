// SPDX-License-Identifier: Apache-2.0
// Any bytes: verify, and whatever passes is planned, printed, described, classified and (if small) evaluated. Seeds
// have no checksum, so that a changed byte reaches the checks behind it.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "graph/contraction.hpp"
#include "graph/plan.hpp"
#include "graph/print.hpp"
#include "graph/reference.hpp"
#include "graph/signature.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hal::graph;
  const auto given = View::verify_dynamic(std::as_bytes(std::span(data, size)));
  if (!given) { return 0; }
  // Extents of symbols come from the bytes too.
  std::vector<std::int64_t> extents;
  for (std::size_t i = 0; i < given->symbols().size(); ++i) { extents.push_back(1 + data[(i * 7) % size] % 16); }
  const auto view = given->bind(extents);
  if (!view || print(*given).empty()) {
    if (!given->is_dynamic()) { __builtin_trap(); }
    return 0;
  }
  const Signature signature(*view);
  if (signature.describe().param_count != view->parameter_count() || print(*view).empty()) { __builtin_trap(); }
  if (const auto plan = plan_memory(*view); plan && plan->arena_bytes < plan->live_bytes_peak) { __builtin_trap(); }
  for (const Node& node : view->nodes()) {
    if (node.op != Op::contract) { continue; }
    const Contraction groups = classify_contraction(*view, node);
    if (groups.batch_size() < 1) { __builtin_trap(); }
  }
  std::uint64_t bytes = 0;
  for (const Tensor& input : view->inputs()) {
    bytes += input.bytes;
    if (bytes > (1U << 16U)) { return 0; }
  }
  std::vector<std::vector<std::byte>> inputs;
  for (const Tensor& input : view->inputs()) { inputs.emplace_back(input.bytes, std::byte{0x3F}); }
  const std::vector<std::span<const std::byte>> spans(inputs.begin(), inputs.end());
  const auto outputs = evaluate_reference(*view, spans, {.elements = 1 << 14, .multiply_adds = 1 << 14});
  if (outputs && outputs->size() != view->outputs().size()) { __builtin_trap(); }
  return 0;
}
