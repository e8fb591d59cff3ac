// SPDX-License-Identifier: Apache-2.0
#include "fabric/optics/topology.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <halyard_catch.hpp>
#include <string>

using namespace hal::fabric;

namespace {

// A plane with `part` in place of one of its members.
std::string error_of(const std::string& text) {
  auto read = parse_topology(text, "p.json");
  return read ? "accepted" : read.error().what;
}

std::string plane_with(const std::string& more) {
  return "{\"schema\": \"photonic-plane/1\",\n"
         "\"modules\": [{\"id\": \"m0\", \"port\": \"h0\"}, {\"id\": \"m1\", \"port\": \"h1\"}],\n"
         "\"ocs\": [{\"id\": \"o0\", \"radix\": 4, \"profile\": \"siph\"}],\n"
         "\"fibres\": [{\"a\": \"m0\", \"b\": \"o0:0\", \"m\": 5}, {\"a\": \"m1\", \"b\": \"o0:1\"}]" +
         (more.empty() ? "" : ",\n" + more) + "}";
}

}  // namespace

TEST_CASE("topology: a whole file", "[fabric]") {
  auto read = parse_topology(
      plane_with("\"seed\": 7, \"profiles\": {\"siph\": {\"switch_us\": 4, \"relock_us\": 8.5}},\n"
                 "\"permutations\": {\"pair\": [[\"m0\", \"m1\"], [\"m1\", \"m0\"]]}, \"initial\": \"pair\",\n"
                 "\"faults\": [{\"at_us\": 5, \"what\": \"ocs-port-stuck\", \"id\": \"o0:1\"},"
                 " {\"at_us\": 2.5, \"what\": \"lane-dark\", \"id\": \"m0/3\"}]"),
      "p.json");
  REQUIRE(read);
  CHECK(read->seed == 7);
  CHECK(read->ports == std::vector<std::string>{"h0", "h1"});
  CHECK(read->modules[0].lanes == 8);
  CHECK(read->modules[0].femtojoules_per_byte == 24'800);
  CHECK(read->profiles[read->switches[0].profile].relock_time == from_microseconds(8.5));
  CHECK(read->permutations[*read->initial].paths.size() == 2);
  REQUIRE(read->faults.size() == 2);
  CHECK(read->faults[0].kind == Fault::Kind::lane_dark);  // by time, not as written
  CHECK(read->faults[0].at == from_microseconds(2.5));
}

TEST_CASE("topology: what is wrong is named with line and column", "[fabric]") {
  CHECK(error_of("[]") == "p.json:1:1: a plane must be an object, found an array");
  CHECK(error_of("{}") == "p.json:1:1: \"schema\" is missing; this reader knows photonic-plane/1");
  CHECK(error_of("{\"schema\": \"photonic-plane/2\"}") ==
        "p.json:1:12: unknown schema \"photonic-plane/2\"; this reader knows photonic-plane/1");
  CHECK(error_of("{\"schema\": \"photonic-plane/1\"}") == "p.json:1:1: a plane needs at least one module");
  CHECK(error_of(plane_with("\"lasers\": 1")) ==
        "p.json:5:1: a plane has no key \"lasers\"; it takes schema, seed, profiles, modules, ocs, fibres, "
        "permutations, initial, faults");
  CHECK(error_of("{\"schema\": \"photonic-plane/1\", \"modules\": [{\"id\": \"m\", \"port\": \"h\", \"lanes\": 0}]}") ==
        "p.json:1:78: lanes is 0, it must be 1 to 64");
  CHECK(
      error_of("{\"schema\": \"photonic-plane/1\", \"modules\": [{\"id\": \"m\", \"port\": \"h\", \"lanes\": 1.5}]}") ==
      "p.json:1:78: lanes is 1.5, it must be whole");
  CHECK(error_of(plane_with("\"permutations\": {\"p\": [[\"m0\", \"m9\"]]}")) == "p.json:5:31: no module \"m9\"");
  CHECK(error_of(plane_with("\"permutations\": {\"p\": [[\"m0\", \"m1\"], [\"m0\", \"m1\"]]}")) ==
        "p.json:5:38: this module sends into another path already");
  CHECK(error_of(plane_with("\"permutations\": {\"p\": [[\"m0\", \"m0\"]]}")) ==
        "p.json:5:24: both modules belong to port \"h0\"");
  CHECK(error_of(plane_with("\"initial\": \"p\"")) == "p.json:5:12: no permutation \"p\"");
  CHECK(error_of(plane_with("\"faults\": [{\"at_us\": 1, \"what\": \"lane-dark\", \"id\": \"m0/8\"}]")) ==
        "p.json:5:52: no lane \"m0/8\"; a fault names one as \"m0/3\"");
  CHECK(error_of(plane_with("\"faults\": [{\"at_us\": -1, \"what\": \"lane-dark\", \"id\": \"m0/0\"}]")) ==
        "p.json:5:22: at_us is -1, it must be 0 to 1000000000000");
}

TEST_CASE("topology: fibres", "[fabric]") {
  const auto fibre = [](const std::string& a, const std::string& b) {
    return "{\"schema\": \"photonic-plane/1\", \"modules\": [{\"id\": \"m0\", \"port\": \"h0\"}, {\"id\": \"m1\", "
           "\"port\": "
           "\"h0\"}], \"ocs\": [{\"id\": \"o0\", \"radix\": 4, \"profile\": \"mems\"}],\n\"fibres\": [{\"a\": \"" +
           a + "\", \"b\": \"" + b + "\"}]}";
  };
  CHECK(error_of(fibre("m0", "o0:3")) == "accepted");
  CHECK(error_of(fibre("m0", "o0:4")) == "p.json:2:29: \"o0:4\": the switch has ports 0 to 3");
  CHECK(error_of(fibre("m0", "o0:x")) == "p.json:2:29: \"o0:x\": the switch has ports 0 to 3");
  CHECK(error_of(fibre("m0", "o1:0")) == "p.json:2:29: no circuit switch \"o1\"");
  CHECK(error_of(fibre("m0", "m0")) == "p.json:2:29: \"m0\" already has a fibre");
  CHECK(error_of(fibre("m0", "m1")) == "p.json:2:12: a fibre joins two modules of one port");
  CHECK(error_of(fibre("o0:0", "o0:1")) ==
        "p.json:2:12: a fibre joins two switches; a light path of this plane crosses one at most");
}

TEST_CASE("topology: the built-in plane is a good file for every size it offers", "[fabric]") {
  for (std::size_t ports = 2; ports <= 16; ++ports) {
    auto text = built_in_topology(ports);
    REQUIRE(text);
    auto read = parse_topology(*text, "built-in");
    REQUIRE(read);
    CHECK(read->ports.size() == ports);
    CHECK(read->permutations[*read->find_permutation("mesh")].paths.size() == ports * (ports - 1));
    CHECK(read->permutations[*read->find_permutation("ring")].paths.size() == ports);
  }
  CHECK(built_in_topology(1).error().code == HAL_INVALID_ARGUMENT);
  CHECK(built_in_topology(17).error().code == HAL_INVALID_ARGUMENT);
}

TEST_CASE("topology: a fault in one line", "[fabric]") {
  const auto plane = parse_topology(plane_with(""), "p.json");
  REQUIRE(plane);
  const auto fault = parse_fault(*plane, "lane-dark:m1/7@12.5");
  REQUIRE(fault);
  CHECK(fault->index == 1);
  CHECK(fault->part == 7);
  CHECK(fault->at == from_microseconds(12.5));
  CHECK(parse_fault(*plane, "ocs-port-stuck:o0:3@0")->part == 3);
  CHECK(parse_fault(*plane, "lane-dark:m1/7").error().code == HAL_INVALID_ARGUMENT);
  CHECK(parse_fault(*plane, "lane-dark:m1/7@-1").error().code == HAL_INVALID_ARGUMENT);
  CHECK(parse_fault(*plane, "lane-dark:m1/7@nan").error().code == HAL_INVALID_ARGUMENT);
  CHECK(parse_fault(*plane, "lane-dark:m2/7@1").error().code == HAL_NOT_FOUND);
  CHECK(parse_fault(*plane, "melt:m1/7@1").error().code == HAL_INVALID_ARGUMENT);
}

TEST_CASE("topology: a file that cannot be read is named, and a pipe that nobody writes to does not hold anybody up",
          "[fabric]") {
  CHECK(load_topology("/no/such/plane").error().what ==
        "the topology file \"/no/such/plane\" cannot be opened: No such file or directory");
  CHECK(load_topology("/").error().what == "the topology file \"/\" cannot be read: Is a directory");
  const std::string pipe = "/tmp/halyard-topology-" + std::to_string(::getpid());
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const auto topology = load_topology(pipe);
  (void)std::remove(pipe.c_str());
  REQUIRE(!topology);
  CHECK(topology.error().what.find(pipe + ":1:1: ") == 0);
}
