// SPDX-License-Identifier: Apache-2.0
// Shorthands of the graph tests.
#pragma once

#include <cstring>
#include <vector>

#include "graph/reference.hpp"
#include "graph/view.hpp"
#include "hal/graph.hpp"

namespace hal::graph::testing {

template <class T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  if (!values.empty()) { std::memcpy(bytes.data(), values.data(), bytes.size()); }
  return bytes;
}

template <class T>
std::vector<T> values_of(const std::vector<std::byte>& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) { std::memcpy(values.data(), bytes.data(), bytes.size()); }
  return values;
}

/// Finishes, verifies and evaluates; throws on any error.
inline std::vector<std::vector<std::byte>> run(const GraphBuilder& b,
                                               const std::vector<std::vector<std::byte>>& inputs) {
  const auto bytes = b.finish().value();
  const auto view = View::verify(bytes).value();
  const std::vector<std::span<const std::byte>> spans(inputs.begin(), inputs.end());
  return evaluate_reference(view, spans).value();
}

/// The text of a result that must be an error with this code; "" (which no check expects) otherwise.
template <class T>
std::string refusal(const Result<T>& result, hal_code code) {
  if (result) { return "no error"; }
  if (result.error().code() != code) { return "another code: " + std::string(result.error().text()); }
  return std::string(result.error().text());
}

}  // namespace hal::graph::testing
