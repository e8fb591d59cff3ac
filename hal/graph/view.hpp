// SPDX-License-Identifier: Apache-2.0
// A verified hal.graph. verify() reads bytes of any origin, checks every offset, count, shape, label and expression,
// and decodes the small tables once; a driver walks tensors() and nodes() and need not check anything again. Only
// constants and names are read in place, so the bytes must outlive the View. If others can still write to them, values
// may change but nothing that verify() established.
//
//   HAL_TRY(const graph::View view, graph::View::verify(bytes));
//   for (const graph::Node& node : view.nodes()) {
//     if (node.op == graph::Op::reduce) { emit(node.as<graph::ReduceAttributes>(), view.tensor(node.output)); }
//   }
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "graph/shape.hpp"
#include "graph/sizes.hpp"
#include "hal/graph_types.hpp"
#include "hal/result.hpp"

namespace hal::graph {

struct Tensor {
  std::string_view name;  // may be empty unless it is an input or output
  DType dtype{};
  Role role{};
  std::uint32_t rank = 0;
  Extents dims{};
  std::int64_t elements = 0;  // this and bytes are 0 while a size is symbolic
  std::uint64_t bytes = 0;
  std::span<const std::byte> data;  // role constant: exactly `bytes`, 64-aligned in the file; else empty

  ShapeView shape() const { return {dims.data(), rank}; }
  bool is_dynamic() const { return bytes == 0; }
};

struct Node {
  Op op{};
  std::uint32_t output = 0;  // tensor numbers
  std::vector<std::uint32_t> inputs;
  Attributes attributes;

  /// The attributes of `op`; calling it with another operation's type is a mistake in the caller.
  template <class T>
  const T& as() const {
    return *std::get_if<T>(&attributes);
  }
};

class View {
 public:
  /// Errors  INVALID_IMAGE  with the field, its byte offset, what was found and what was expected
  ///         INCOMPATIBLE   another format version
  ///         UNSUPPORTED    a size is symbolic; verify_dynamic() takes those too
  static Result<View> verify(std::span<const std::byte> bytes);
  static Result<View> verify_dynamic(std::span<const std::byte> bytes);

  /// Has the graph sizes that are known when it runs? Such a View can be described and bound, not run.
  bool is_dynamic() const { return !sizes_.empty(); }
  std::span<const Size> sizes() const { return sizes_; }
  /// The names of the symbols, in the order in which bind() takes their extents.
  std::vector<std::string> symbols() const;

  /// The same graph with a number in the place of each symbolic size, verified anew. Refers to the same bytes.
  /// Errors  INVALID_ARGUMENT  evaluate_sizes()'s, or a tensor or node that these extents make wrong, by name
  Result<View> bind(std::span<const std::int64_t> extents) const;

  std::string_view name() const { return name_; }
  std::span<const Tensor> tensors() const { return tensors_; }
  std::span<const Node> nodes() const { return nodes_; }
  const Tensor& tensor(std::size_t i) const { return tensors_[i]; }

  /// Parameter i of the entry is tensor i: the inputs, then the outputs.
  std::size_t parameter_count() const { return inputs_ + outputs_; }
  std::span<const Tensor> inputs() const { return tensors().first(inputs_); }
  std::span<const Tensor> outputs() const { return tensors().subspan(inputs_, outputs_); }

  /// `node 3 (contract "logits")`, for errors and traces.
  std::string node_label(std::size_t node) const;

 private:
  friend class Verifier;
  View() = default;

  std::string_view name_;
  std::vector<Tensor> tensors_;
  std::vector<Node> nodes_;
  std::vector<Size> sizes_;
  std::size_t inputs_ = 0;
  std::size_t outputs_ = 0;
};

/// "contract", "map"; "?" if the value names no operation.
std::string_view op_name(Op op);

}  // namespace hal::graph
