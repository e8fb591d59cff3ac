// SPDX-License-Identifier: Apache-2.0
#include "fabric/optics/plane.hpp"

#include "fabric/optics/power_budget.hpp"

#include <halyard_catch.hpp>

#include <new>
#include <string>

#include "failing_allocations.hpp"
#include "program_symbols.hpp"

using namespace hal::fabric;
using namespace std::chrono_literals;

namespace {

// Two ports, one module each of 8 lanes of 200 Gb/s, 10 m of fibre to the switch on either side.
std::string pair(const std::string& more = "") {
  return R"({"schema": "photonic-plane/1", "seed": 3,
    "profiles": {"plain": {"switch_us": 3, "relock_us": 0}},
    "modules": [{"id": "m0", "port": "h0"}, {"id": "m1", "port": "h1"}],
    "ocs": [{"id": "o0", "radix": 4, "profile": "plain", "loss_db": 1.8}],
    "fibres": [{"a": "m0", "b": "o0:0", "m": 10, "loss_db": 0.3}, {"a": "m1", "b": "o0:1", "m": 10, "loss_db": 0.3}],
    "permutations": {"pair": [["m0", "m1"], ["m1", "m0"]], "one-way": [["m0", "m1"]], "dark": []},
    "initial": "pair")" +
         (more.empty() ? "" : ", " + more) + "}";
}

Plane make(const std::string& text) {
  auto topology = parse_topology(text, "test");
  if (!topology) { FAIL(topology.error().what); }
  return Plane(*std::move(topology));
}

Fault fault(const Plane& plane, std::string_view text) { return parse_fault(plane.topology(), text).value(); }

}  // namespace

TEST_CASE("plane: bytes take their time and energy", "[fabric]") {
  Plane plane = make(pair());
  // 1.6 Tb/s are 200 bytes a nanosecond; 20 m of fibre are 98 ns.
  const auto times = plane.transfer(0, 1, 200'000, 0s);
  REQUIRE(times);
  CHECK(times->circuit == "m0->m1");
  CHECK(times->started == 0s);
  CHECK(times->sent == 1us);
  CHECK(times->arrived == 1us + 98ns);
  // The next one waits for the circuit, the way back does not.
  CHECK(plane.transfer(0, 1, 200, 0s)->started == 1us);
  CHECK(plane.transfer(1, 0, 200, 0s)->started == 0s);
  const Report report = plane.report();
  REQUIRE(report.circuits.size() == 2);
  CHECK(report.circuits[0].bytes == 200'200);
  CHECK(report.circuits[0].busy == 1us + 1ns);
  CHECK(report.circuits[0].energy == 200'200ULL * 24'800);
  CHECK(report.circuits[0].state == CircuitState::up);
  CHECK(to_json(report).starts_with("{\"emulated\": true"));
  CHECK(to_text(report).starts_with("emulated optical plane"));
}

TEST_CASE("plane: a pulled laser costs its share of the rate, from that moment", "[fabric]") {
  Plane plane = make(pair());
  plane.inject(fault(plane, "lane-dark:m0/3@0.5"));
  // Half of the bytes at 8 lanes in 500 ns, half at 7 in 500 * 8 / 7.
  const auto times = plane.transfer(0, 1, 200'000, 0s);
  REQUIRE(times);
  CHECK(times->sent == 500ns + Picoseconds(571429));
  const Report report = plane.report();
  CHECK(report.circuits[0].state == CircuitState::degraded);
  CHECK(report.circuits[0].lanes_carrying == 7);
  CHECK(report.circuits[0].gbps == Approx(1400.0));
  CHECK(report.circuits[1].state == CircuitState::up);  // the way back has its own lasers
}

TEST_CASE("plane: no laser left fails the circuit, by name", "[fabric]") {
  Plane plane = make(pair());
  for (int lane = 0; lane < 8; ++lane) { plane.inject(fault(plane, "lane-dark:m0/" + std::to_string(lane) + "@0")); }
  const auto times = plane.transfer(0, 1, 1, 0s);
  REQUIRE_FALSE(times);
  CHECK(times.error().code == HAL_UNAVAILABLE);
  CHECK(
      times.error().what ==
      "no light from port h0 to h1 on the emulated plane, now or later; \"pair\" is set; dark: m0->m1 (no lane carries "
      "data)");
  CHECK(plane.report().circuits[0].state == CircuitState::failed);
  CHECK(plane.transfer(1, 0, 1, 0s));
  // A laser that comes back ends the wait, once its receiver has locked (0 us here).
  plane.inject(fault(plane, "lane-light:m0/0@40"));
  const auto late = plane.transfer(0, 1, 25, 0s);
  REQUIRE(late);
  CHECK(late->started == 40us);
  CHECK(late->sent == 40us + 1ns);  // one lane: 25 bytes a nanosecond
  CHECK(plane.report().circuits[0].stalled == 40us);
}

TEST_CASE("plane: permutations drain, switch and lock", "[fabric]") {
  Plane plane = make(pair());
  REQUIRE(plane.transfer(1, 0, 200'000, 0s));
  const auto one_way = plane.apply("one-way", 0s);
  REQUIRE(one_way);
  CHECK(one_way->started == 1us);  // m1->m0 had to drain
  REQUIRE(one_way->moved.size() == 1);
  CHECK(one_way->moved[0].circuit == "m1->m0");
  CHECK(plane.transfer(0, 1, 200, 2us)->started == 2us);  // in both permutations, hitless
  CHECK(plane.transfer(1, 0, 200, 2us).error().code == HAL_UNAVAILABLE);
  const auto again = plane.apply("pair", 10us);
  REQUIRE(again);
  CHECK(again->finished == 13us);
  CHECK(plane.transfer(1, 0, 200, 10us)->started == 13us);
  const auto nothing = plane.apply("pair", 20us);
  CHECK(nothing->finished == 20us);
  CHECK(nothing->moved.empty());
  CHECK(plane.report().reconfigurations == 2);
  const auto unknown = plane.apply("star", 20us);
  CHECK(unknown.error().code == HAL_NOT_FOUND);
  CHECK(unknown.error().what == "the emulated plane test has no permutation \"star\"; it has pair, one-way, dark");
}

TEST_CASE("plane: a reconfiguration or a transfer that there is no memory for changes nothing", "[fabric]") {
  hal::test::read_program_symbols();
  // What the plane says a while later, when what has begun is over.
  const auto later = [](bool reconfigured, bool transferred, std::uint64_t fail_at, bool& failed) {
    Plane plane = make(pair());
    hal::test::fail_after(fail_at);
    try {
      if (reconfigured) { (void)plane.apply("one-way", 2us); }
      if (transferred) { (void)plane.transfer(0, 1, 200'000, 20us); }
    } catch (const std::bad_alloc&) {}
    failed = hal::test::failures() != 0;
    hal::test::fail_no_more();
    plane.advance(1ms);
    return to_json(plane.report());
  };
  bool failed = false;
  const std::string untouched = later(false, false, ~0ULL, failed);
  for (const bool reconfigures : {true, false}) {
    std::uint64_t n = 0;
    for (std::string what = later(reconfigures, !reconfigures, n, failed); failed;
         what = later(reconfigures, !reconfigures, ++n, failed)) {
      INFO(n);
      CHECK(what == untouched);
    }
    CHECK((n > 0 || !reconfigures));  // a short name needs no memory
    CHECK(later(reconfigures, !reconfigures, n, failed) != untouched);
  }
}

TEST_CASE("plane: a stuck port keeps what it has and refuses the rest", "[fabric]") {
  Plane plane = make(pair(R"("faults": [{"at_us": 1, "what": "ocs-port-stuck", "id": "o0:1"}])"));
  const auto dark = plane.apply("dark", 2us);
  REQUIRE(dark);
  CHECK(dark->moved.empty());  // both circuits touch port 1
  CHECK(plane.transfer(0, 1, 1, 3us));
  Plane other = make(pair(R"("faults": [{"at_us": 1, "what": "ocs-port-stuck", "id": "o0:1"}])"));
  REQUIRE(other.apply("dark", 0us));
  const auto refused = other.apply("one-way", 2us);
  REQUIRE(refused);
  REQUIRE(refused->failed.size() == 1);
  CHECK(refused->failed[0] == "m0->m1: port 1 of circuit switch o0 is stuck");
  CHECK(other.report().circuits[0].state == CircuitState::failed);
}

TEST_CASE("plane: the power budget decides which lanes carry data", "[fabric]") {
  CHECK(pre_fec_ber(-10.0) == Approx(1e-8).epsilon(0.02));
  CHECK(carries_data(-12.0));
  CHECK_FALSE(carries_data(-12.3));
  CHECK(pre_fec_ber(-14.0) > pre_fec_ber(-12.0));
  // 1 dBm less 2.4 dB is fine; 12 dB more of fibre is past the edge for every lane, whatever its spread.
  std::string far = pair();
  far.replace(far.find("\"m\": 10, \"loss_db\": 0.3"), 23, "\"m\": 10, \"loss_db\": 12.0");
  Plane plane = make(far);
  const auto times = plane.transfer(0, 1, 1, 0s);
  REQUIRE_FALSE(times);
  CHECK(plane.report().circuits[0].state == CircuitState::failed);
}

TEST_CASE("plane: same seed, same bytes, times and energy", "[fabric]") {
  const auto run = [](std::uint64_t seed) {
    auto topology = parse_topology(built_in_topology(4).value(), "built-in").value();
    topology.seed = seed;
    Plane plane(std::move(topology));
    std::uint64_t x = 12345;
    for (int step = 0; step < 500; ++step) {
      x = x * 6364136223846793005ULL + 1442695040888963407ULL;
      const std::size_t from = (x >> 33) % 4;
      const std::size_t to = (from + 1 + (x >> 40) % 3) % 4;
      (void)plane.transfer(from, to, (x >> 20) % 100'000, from_microseconds(step));
      if (step % 100 == 50) { (void)plane.apply(step % 200 == 50 ? "ring" : "mesh", from_microseconds(step)); }
      if (step == 300) { plane.inject(parse_fault(plane.topology(), "lane-dark:m0.1/0@200").value()); }
    }
    return to_json(plane.report());
  };
  CHECK(run(1) == run(1));
  CHECK(run(1) != run(2));  // relock times differ
}

TEST_CASE("plane: bad questions", "[fabric]") {
  Plane plane = make(pair());
  CHECK(plane.transfer(0, 0, 1, 0s).error().what == "port h0 has no light path to itself");
  CHECK(plane.transfer(0, 2, 1, 0s).error().code == HAL_INVALID_ARGUMENT);
  CHECK(plane.transfer(0, 1, kMaxTransferBytes + 1, 0s).error().code == HAL_INVALID_ARGUMENT);
  CHECK(plane.transfer(0, 1, 1, Picoseconds::max()).error().code == HAL_OUT_OF_RANGE);
  CHECK(plane.apply("pair", Picoseconds::max()).error().code == HAL_OUT_OF_RANGE);
}
