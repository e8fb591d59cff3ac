// SPDX-License-Identifier: Apache-2.0
#include <halyard_catch.hpp>

#include "weak.hpp"

TEST_CASE("weak: patience counts from a window's first command, whatever comes behind that") {
  using std::chrono::milliseconds;
  hal::host::Patience patience(20'000'000);
  const auto start = hal::host::Patience::Clock::now();
  CHECK(patience.end(1, start) == start + milliseconds(20));
  CHECK(patience.end(1, start + milliseconds(19)) == start + milliseconds(20));
  CHECK(patience.end(3, start + milliseconds(19)) == start + milliseconds(39));
  CHECK(patience.end(3, start + milliseconds(50)) == start + milliseconds(39));
}
