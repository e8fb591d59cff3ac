// SPDX-License-Identifier: Apache-2.0
// A verified graph as the steps that a device runs: nodes whose results nobody else reads become part of the node that
// reads them. Written once for all backends; each says what it can take (FuseOptions) and gets nothing else.
//
//   view -> map, reduce, contract, view    the reader walks the source with other strides; nothing is copied
//   map -> map, reduce                     one expression; the intermediate is never stored
//   contract -> map                        bias, activation and scale behind the sum
//
// What a graph means is rounding at every store, so an intermediate goes away only if storing it would not have
// rounded: its type is the one that both sides compute in, or it is a bool that holds 0 or 1 anyway. Sums keep their
// order. Conversions between floating types are maps here. Gather and scatter stay even if nobody reads them: they can
// fail.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "graph/view.hpp"

namespace hal::graph {

struct FuseOptions {
  bool views = true;  // folded into map, reduce, contract and view
  /// Map, reduce and contract read with any strides. If not, views go into views alone, and every input of a map is
  /// read as broadcasting would.
  bool strided = true;
  bool negative_strides = true;  // of folded views (the view primitive itself has them)
  bool maps = true;              // into maps
  bool reduce_prologue = true;   // maps into reduce
  bool contract_epilogue = true;
  std::uint32_t max_inputs = kMaxMapInputs;  // of one expression
  std::uint32_t max_code = kMaxInstructions;

  /// Every node a step of its own (constants have none).
  static FuseOptions none() { return {false, true, true, false, false, false, kMaxMapInputs, kMaxInstructions}; }
};

/// How a step reads a tensor: element offset + sum of index_k * strides_k.
struct Access {
  std::uint32_t tensor = 0;
  std::int64_t offset = 0;
  Extents strides{};  // in elements, one for each dimension that is walked; 0 where that has size 1
  friend bool operator==(const Access&, const Access&) = default;
};

/// What is read and written by `op`:
///
///   map       output[i] = code(inputs at i), for i in domain
///   reduce    folds code(inputs at i), for i in domain, as the attributes of `node` say
///   contract  folds operands[0] and operands[1] as `node` says; their strides walk the dimensions of the node's own
///             operands. With code: output[i] = code(sum, inputs at i), i in domain; input 0 of the code is the sum (of
///             the type `compute`), input k + 1 is inputs[k]. The sum's tensor and domain are the same line of
///             elements.
///   view      output[i] = inputs[0] at i, for i in domain
///   others    as the node says; inputs name its tensors
struct FusedStep {
  Op op{};
  std::uint32_t node = 0;            // whose attributes and label count
  std::vector<std::uint32_t> nodes;  // all that it computes, rising
  std::uint32_t output = 0;          // tensor
  Shape domain;                      // map, view, contract with code: the output's; reduce: the operand's
  std::vector<Access> operands;      // contract
  std::vector<Access> inputs;
  std::vector<Instruction> code;
  DType compute = DType::f32;  // of the code, as MapAttributes::compute
  std::uint32_t stack_depth = 0;

  bool integer() const { return compute == DType::i32 || compute == DType::i64; }
  /// Calls body(Access) for each reading.
  template <class Body>
  void each_read(Body&& body) const {
    for (const Access& access : operands) { body(access); }
    for (const Access& access : inputs) { body(access); }
  }
};

/// The graph's steps in an order of execution. Every step's output is a parameter or an intermediate that a later step
/// reads; nodes whose results do not matter are gone, unless they can fail.
std::vector<FusedStep> fuse(const View& view, const FuseOptions& options = {});

/// `access` walks `domain` over a tensor of shape `through`, whose element at an index is read at `source` (strides
/// along `through`). The same walk over the source, or nothing if it is not one of constant strides.
std::optional<Access> compose(const Access& access, ShapeView domain, ShapeView through, const Access& source);

/// The access reads the elements of its tensor one by one, in order.
bool is_dense(const Access& access, ShapeView domain);

}  // namespace hal::graph
