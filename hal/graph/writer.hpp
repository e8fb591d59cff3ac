// SPDX-License-Identifier: Apache-2.0
// Lays a finished draft out as bytes.
#pragma once

#include <cstddef>
#include <vector>

#include "graph/sizes.hpp"
#include "hal/graph.hpp"

namespace hal::graph {

class GraphWriter {
 public:
  explicit GraphWriter(const GraphBuilder& builder) : draft_(builder) {}
  std::vector<std::byte> write();

 private:
  void order_tensors();
  void write_node(const GraphBuilder::NodeDraft& node);
  void write_size(const Size& size);

  struct Span {
    std::uint32_t offset, bytes;
  };
  Span put_name(const std::string& name);
  template <class T>
  Span put_attributes(const T* records, std::size_t count);

  const GraphBuilder& draft_;
  std::vector<std::uint32_t> order_;     // place in the table -> draft tensor: inputs, outputs, the rest
  std::vector<std::uint32_t> place_of_;  // draft tensor -> place in the table
  std::vector<std::byte> tensors_, nodes_, attributes_, constants_, names_, sizes_;
};

}  // namespace hal::graph
