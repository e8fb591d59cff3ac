// SPDX-License-Identifier: Apache-2.0
#include "graph/shape.hpp"

#include <halyard_catch.hpp>
#include <limits>

namespace {

using hal::DType;
using hal::graph::broadcast_strides;
using hal::graph::byte_count;
using hal::graph::element_count;
using hal::graph::Extents;
using hal::graph::Odometer;
using hal::graph::row_major_strides;
using hal::graph::Shape;

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();

}  // namespace

TEST_CASE("shape: element and byte counts, without overflow") {
  CHECK(element_count(Shape{}) == 1);
  CHECK(element_count(Shape{2, 3, 4}) == 24);
  CHECK_FALSE(element_count(Shape{2, 0}));
  CHECK_FALSE(element_count(Shape{-1}));
  CHECK_FALSE(element_count(Shape{kHuge, 2}));
  CHECK(byte_count(DType::f32, Shape{3}) == 12);
  CHECK(byte_count(DType::i4, Shape{3}) == 2);
  CHECK_FALSE(byte_count(DType::f64, Shape{kHuge}));
  CHECK_FALSE(byte_count(static_cast<DType>(15), Shape{1}));
}

TEST_CASE("shape: strides") {
  CHECK(row_major_strides(Shape{2, 3, 4}) == Extents{12, 4, 1});
  CHECK(broadcast_strides(Shape{3, 1}, Shape{2, 3, 4}) == Extents{0, 1, 0});
  CHECK(broadcast_strides(Shape{}, Shape{2, 3}) == Extents{0, 0});
  CHECK(broadcast_strides(Shape{2, 3}, Shape{2, 3}) == Extents{3, 1});
  CHECK_FALSE(broadcast_strides(Shape{2}, Shape{3}));
  CHECK_FALSE(broadcast_strides(Shape{1, 3}, Shape{3}));
}

TEST_CASE("shape: an odometer visits every index once, in row-major order") {
  const std::array<Extents, 2> strides{Extents{12, 4, 1}, Extents{0, -5, 2}};
  std::int64_t expected = 0;
  for (Odometer at(Shape{2, 3, 4}, strides); at.live(); at.step()) {
    REQUIRE(at.position(0) == expected++);
    REQUIRE(at.position(1) == -5 * at.index()[1] + 2 * at.index()[2]);
  }
  CHECK(expected == 24);
  int scalars = 0;
  for (Odometer at(Shape{}, strides); at.live(); at.step()) { ++scalars; }
  CHECK(scalars == 1);
}
