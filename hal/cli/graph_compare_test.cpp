// SPDX-License-Identifier: Apache-2.0
#include "cli/graph_compare.hpp"

#include <halyard_catch.hpp>

#include "hal/graph.hpp"

TEST_CASE("graph compare: what no machine holds is refused before it is made, by the name of its largest part") {
  hal::GraphBuilder b("huge");
  const hal::graph::Value x = b.input("x", hal::DType::f32, {std::int64_t{1} << 44U});
  b.output("y", b.reduce(x, hal::graph::ReduceOp::sum, {0}));
  const auto bytes = b.finish().value();
  hal::cli::GraphComparison comparison;
  comparison.places = {"reference", "host:0"};
  const auto agree = hal::cli::compare_places(hal::graph::View::verify(bytes).value(), comparison);
  REQUIRE_FALSE(agree);
  CHECK(agree.error().code() == HAL_OUT_OF_HOST_MEMORY);
  CHECK(agree.error().what().find("of which \"x\" f32[17592186044416] is 70368744177664") != std::string_view::npos);
}
