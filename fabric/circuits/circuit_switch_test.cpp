// SPDX-License-Identifier: Apache-2.0
#include "fabric/circuits/circuit_switch.hpp"

#include <halyard_catch.hpp>

using namespace hal::fabric;
using namespace std::chrono_literals;
using Cross = CircuitSwitch::Cross;

TEST_CASE("circuit switch: only what differs moves", "[fabric]") {
  CircuitSwitch ocs("o0", {"plain", 3us, 9us, true, ""});
  auto change = ocs.plan({{0, 1}, {1, 0}}, 0s);
  CHECK(change.made == std::vector<Cross>{{0, 1}, {1, 0}});
  ocs.commit(change);
  change = ocs.plan({{0, 1}, {1, 2}}, 0s);
  CHECK(change.removed == std::vector<Cross>{{1, 0}});
  CHECK(change.made == std::vector<Cross>{{1, 2}});
  CHECK(change.disturbed.empty());
}

TEST_CASE("circuit switch: one that is not hitless darkens everything when it moves", "[fabric]") {
  CircuitSwitch ocs("o0", {"plain", 3us, 9us, false, ""});
  ocs.commit(ocs.plan({{0, 1}, {1, 0}}, 0s));
  CHECK(ocs.plan({{0, 1}}, 0s).disturbed == std::vector<Cross>{{0, 1}});
  CHECK(ocs.plan({{0, 1}, {1, 0}}, 0s).disturbed.empty());  // nothing moves
}

TEST_CASE("circuit switch: a stuck port holds its path and its output", "[fabric]") {
  CircuitSwitch ocs("o0", {"plain", 3us, 9us, true, ""});
  ocs.commit(ocs.plan({{0, 1}}, 0s));
  ocs.stick(0, 5us);
  CHECK(ocs.plan({}, 4us).removed.size() == 1);
  CHECK(ocs.plan({}, 5us).removed.empty());
  const auto change = ocs.plan({{2, 1}, {3, 2}}, 5us);
  REQUIRE(change.refused.size() == 1);
  CHECK(change.refused[0].cross == Cross{2, 1});
  CHECK(change.made == std::vector<Cross>{{3, 2}});
}
