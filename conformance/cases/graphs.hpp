// SPDX-License-Identifier: Apache-2.0
// Tensor graphs in cases: build, load, run on the device, and compare with the reference evaluator within a bound that
// is known before anything runs.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "conformance/cases/case.hpp"
#include "hal/graph.hpp"

namespace hal::conformance {

using GraphBytes = std::vector<std::byte>;
using Tensors = std::vector<std::vector<std::byte>>;

// The builder's result; a mistake in the case's own graph fails the case.
GraphBytes finish(const GraphBuilder& builder);
hal_image graph_image(const GraphBytes& bytes);
Owned<hal_program> load_graph(Case& t, const GraphBytes& bytes);

// f32 [n] in, the same out.
GraphBytes identity_graph(std::int64_t n);
// The same with a size that is known when it runs.
GraphBytes dynamic_graph();

// Random values of the graph's inputs: floats in [-1, 1), integers in [-50, 50].
Tensors random_inputs(Case& t, const GraphBytes& bytes);
template <class T>
std::vector<std::byte> tensor_of(std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  return {bytes.begin(), bytes.end()};
}

Tensors run_on_device(Case& t, hal_queue* queue, hal_program* program, const GraphBytes& bytes, const Tensors& inputs);
Tensors run_reference(const GraphBytes& bytes, const Tensors& inputs);

// Runs of the device that had to load or obtain what a preparation would have; 0 if it does not say.
std::uint64_t lazy_loads(Case& t);

// How far an element may be from the reference: given the reference, and the reference of the same graph on the
// absolute values of the inputs (for sums the condition of the problem). nullptr: not at all.
using Bound = std::function<double(double reference, double absolute)>;
Bound exact();
// `terms` roundings in f32 of a sum of that many products, and one to the result's type.
Bound sum_of(std::int64_t terms, DType result = DType::f32);
// `ulps` units in the last place of f32 at the result, and `absolute` where the result is near zero.
Bound ulps(double ulps, double absolute = 0);

// Runs on the device and compares. The name appears in a failure.
void expect_graph(Case& t, const char* name, const GraphBytes& bytes, const Tensors& inputs, const Bound& bound);
void expect_graph(Case& t, const char* name, const GraphBuilder& builder, const Bound& bound);
void compare(const char* name, const GraphBytes& bytes, const Tensors& inputs, const Tensors& found,
             const Bound& bound);

}  // namespace hal::conformance
