// SPDX-License-Identifier: Apache-2.0
#include <halyard_catch.hpp>

#include "graph/print.hpp"
#include "graph/reference.hpp"
#include "hal/graph.hpp"

TEST_CASE("a dense layer goes through bytes to the reference") {
  hal::GraphBuilder b("dense");
  const auto x = b.input("x", hal::DType::f32, {2, 3});
  const std::vector<float> w{1, 2, 3, 4, 5, 6};
  const auto y = b.contract("nk,ko->no", x, b.constant({3, 2}, std::span<const float>(w)));
  b.output("y", b.map({y}, max(hal::graph::arg(0), 0.0)));
  const auto bytes = b.finish().value();
  const auto view = hal::graph::View::verify(bytes).value();
  INFO(hal::graph::print(view));
  const std::vector<float> in{1, 0, 0, -1, -1, 1};
  const auto in_bytes = std::as_bytes(std::span(in));
  const auto out = hal::graph::evaluate_reference(view, {&in_bytes, 1}).value();
  const auto* values = reinterpret_cast<const float*>(out[0].data());
  REQUIRE(out[0].size() == 16);
  CHECK(values[0] == 1);
  CHECK(values[1] == 2);
  CHECK(values[2] == 1);
  CHECK(values[3] == 0);
}
