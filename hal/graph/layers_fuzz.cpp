// SPDX-License-Identifier: Apache-2.0
// Layers on operands and options that the bytes choose. What is built must be a good graph, and what it is bound to
// must run.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "graph/print.hpp"
#include "graph/random_layers.hpp"
#include "graph/reference.hpp"
#include "graph/view.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hal::graph;
  const auto bytes = testing::random_layers(std::span(data, size));
  if (!bytes) { return 0; }
  const auto given = View::verify_dynamic(*bytes);
  if (!given || print(*given).empty()) { __builtin_trap(); }
  const std::vector<std::int64_t> extents(given->symbols().size(), 3);
  const auto view = given->bind(extents);
  if (!view) { return 0; }
  std::uint64_t needed = 0;
  for (const Tensor& input : view->inputs()) {
    needed += input.bytes;
    if (needed > (1U << 16U)) { return 0; }
  }
  std::vector<std::vector<std::byte>> inputs;
  for (const Tensor& input : view->inputs()) { inputs.emplace_back(input.bytes, std::byte{1}); }
  const std::vector<std::span<const std::byte>> spans(inputs.begin(), inputs.end());
  const auto outputs = evaluate_reference(*view, spans, {.elements = 1 << 14, .multiply_adds = 1 << 14});
  if (outputs && outputs->size() != view->outputs().size()) { __builtin_trap(); }
  return 0;
}
