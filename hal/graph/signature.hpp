// SPDX-License-Identifier: Apache-2.0
// The signature of a graph's entry, as hal/hal.h describes it: parameters are the inputs, then the outputs.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "graph/view.hpp"
#include "hal/hal.h"

namespace hal::graph {

/// Owns the text and parameters that a hal_signature points to; does not refer to the graph's bytes.
class Signature {
 public:
  explicit Signature(const View& view);

  /// Valid while this object lives at this address: it is neither copied nor moved.
  const hal_signature& describe() const { return signature_; }

  Signature(const Signature&) = delete;
  Signature& operator=(const Signature&) = delete;

 private:
  std::string name_;
  std::vector<std::string> names_;
  std::vector<std::string> symbol_names_;
  std::vector<const char*> symbols_;
  std::vector<hal_param> params_;
  hal_signature signature_{};
};

/// The sizes behind the symbols of a signature: the graph's symbols, then what else stands in the shapes of its
/// outputs, such as twice a symbol. A run gives an extent for each; for all but the first this is only a check.
std::vector<std::int64_t> signature_sizes(const View& view);

/// View::bind() with an extent for each of signature_sizes().
/// Errors  INVALID_ARGUMENT  as View::bind(); or an extent is not what the symbols make of its size
Result<View> bind_signature(const View& view, std::span<const std::int64_t> extents);

}  // namespace hal::graph
