// SPDX-License-Identifier: Apache-2.0
// The signature of a graph's entry, as hal/hal.h describes it: parameters are the inputs, then the outputs.
#pragma once

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
  std::vector<hal_param> params_;
  hal_signature signature_{};
};

}  // namespace hal::graph
