// SPDX-License-Identifier: Apache-2.0
// How many launches a graph becomes, and of which kernels; what they compute is cuda_test's.
#include "graph_steps.hpp"

#include <functional>
#include <halyard_catch.hpp>

#include "graph/fuse.hpp"
#include "hal/graph.hpp"
#include "hal/nn.hpp"

namespace cuda = hal::cuda;
namespace graph = hal::graph;
using cuda::KernelId;
using hal::DType;
using hal::GraphBuilder;
using hal::graph::arg;

namespace {

std::vector<KernelId> kernels_of(const std::function<void(GraphBuilder&)>& build) {
  GraphBuilder b("steps");
  build(b);
  const std::vector<std::byte> bytes = b.finish().value();
  const graph::View view = graph::View::verify(bytes).value();
  REQUIRE(cuda::check_tensors(view));
  const std::vector<cuda::Step> steps = cuda::make_steps(view, graph::fuse(view, cuda::fuse_options())).value();
  std::vector<KernelId> out;
  for (const cuda::Step& step : steps) { out.push_back(step.kernel); }
  return out;
}

using Kernels = std::vector<KernelId>;

}  // namespace

TEST_CASE("cuda steps: an expression runs behind the sums of a product, in every class of numbers") {
  const auto layer = [](DType type, std::int64_t rows) {
    return [=](GraphBuilder& b) {
      const auto x = b.input("x", type, {rows, 16}), w = b.input("w", type, {16, 8}), bias = b.input("b", type, {8});
      b.output("y", b.map({b.contract("mk,kn->mn", x, w), bias}, max(arg(0) + arg(1), 0.0)));
    };
  };
  CHECK(kernels_of(layer(DType::f32, 64)) == Kernels{KernelId::matmul_map});
  CHECK(kernels_of(layer(DType::f32, 2)) == Kernels{KernelId::contract_f32});
  CHECK(kernels_of(layer(DType::i32, 64)) == Kernels{KernelId::contract_i32});
  CHECK(kernels_of(layer(DType::f64, 64)) == Kernels{KernelId::contract_f64});
  CHECK(kernels_of(layer(DType::i64, 64)) == Kernels{KernelId::contract_i64});
  // A sum that is stored in bf16 is rounded there: that store stays.
  CHECK(kernels_of(layer(DType::bf16, 64)) == Kernels{KernelId::contract_f32, KernelId::map_f32});
}

TEST_CASE("cuda steps: sums of bf16 go through an expression to bf16 in one launch") {
  CHECK(kernels_of([](GraphBuilder& b) {
          const auto x = b.input("x", DType::bf16, {64, 16}), w = b.input("w", DType::bf16, {16, 8});
          b.output("y", b.map({b.contract("mk,kn->mn", x, w, DType::f32)}, tanh(arg(0)), DType::bf16));
        }) == Kernels{KernelId::contract_f32});
}

TEST_CASE("cuda steps: a plain product is the lean kernel") {
  CHECK(kernels_of([](GraphBuilder& b) {
          const auto x = b.input("x", DType::f32, {64, 16});
          b.output("y", b.contract("mk,kn->mn", x, b.input("w", DType::f32, {16, 8})));
        }) == Kernels{KernelId::matmul});
}

TEST_CASE("cuda steps: an expression runs in front of a reduction") {
  CHECK(kernels_of([](GraphBuilder& b) {
          const auto x = b.input("x", DType::f32, {8, 100}), y = b.input("y", DType::f32, {8, 1});
          const auto difference = b.map({x, y}, arg(0) - arg(1));
          b.output("variance", b.reduce(b.map({difference}, arg(0) * arg(0)), graph::ReduceOp::sum, {1}));
        }) == Kernels{KernelId::map_f32});
  // Maximum, exponentials (read twice, and dear), their sum, the quotient.
  CHECK(kernels_of([](GraphBuilder& b) { b.output("y", hal::nn::softmax(b, b.input("x", DType::f32, {8, 100}))); }) ==
        Kernels{KernelId::map_f32, KernelId::map_f32, KernelId::map_f32, KernelId::map_f32});
  CHECK(kernels_of([](GraphBuilder& b) {
          const auto x = b.input("x", DType::f32, {8, 100});
          const auto squares = b.map({x}, arg(0) * arg(0));
          b.output("y", b.reduce(squares, graph::ReduceOp::sum, {1}, graph::KeepDims::no, {DType::f64, DType::f64}));
        }) == Kernels{KernelId::map_f64});
}
