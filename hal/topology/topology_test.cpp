// SPDX-License-Identifier: Apache-2.0
#include "hal/topology.h"

#include <sched.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <halyard_catch.hpp>
#include <random>
#include <string>
#include <thread>

#include "hal/hal.hpp"
#include "hal/topology.hpp"

using hal::Topology;

namespace {

Topology machine(const std::string& source) { return Topology::open(source).value(); }

constexpr std::uint64_t kCard = 0x3bU << 8U;  // 0000:3b:00.0

std::string code_of(const hal::Error& error) { return hal_code_name(error.code()); }

struct Scratch {
  std::filesystem::path path;
  explicit Scratch(const std::string& text)
      : path(std::filesystem::temp_directory_path() / ("halyard_topology_" + std::to_string(getpid()) + ".xml")) {
    std::ofstream(path) << text;
  }
  ~Scratch() { std::filesystem::remove(path); }
};

}  // namespace

TEST_CASE("topology: a synthetic machine has the nodes and CPUs of its description") {
  const Topology two = machine("synthetic:pack:2 [numa(memory=64GB)] core:4 pu:2");
  CHECK(two.info().packages == 2);
  CHECK(two.info().nodes == 2);
  CHECK(two.info().cores == 8);
  CHECK(two.info().cpus == 16);
  CHECK(two.info().is_this_machine == 0);
  const auto nodes = two.nodes();
  CHECK(std::string(nodes[0].cpus) == "0-7");
  CHECK(std::string(nodes[1].cpus) == "8-15");
  CHECK(nodes[1].cpu_count == 8);
  CHECK(nodes[1].package == 1);
  CHECK(nodes[0].memory_bytes == 64'000'000'000U);
}

TEST_CASE("topology: distances come from the firmware, or are called ours") {
  const Topology real = machine("xml:" TWO_PACKAGES);
  CHECK(real.distance(0, 1)->value == 21);
  CHECK(real.distance(0, 1)->measured == 1);
  CHECK(real.distance(1, 1)->value == 10);
  const Topology made = machine("synthetic:pack:2 [numa] [numa] core:1 pu:1");
  REQUIRE(made.info().nodes == 4);
  CHECK(made.distance(0, 0)->value == 10);
  CHECK(made.distance(0, 1)->value == 15);
  CHECK(made.distance(0, 2)->value == 20);
  CHECK(made.distance(0, 2)->measured == 0);
  CHECK(code_of(made.distance(0, 4).error()) == "OUT_OF_RANGE");
}

TEST_CASE("topology: a card is near to the node that its bridge hangs on") {
  const Topology real = machine("xml:" TWO_PACKAGES);
  const auto place = real.locate_pci(kCard).value();
  CHECK(place.node == 1);
  CHECK(std::string(place.cpus) == "4-7");
  CHECK(place.cpu_count == 4);
  CHECK(std::string(place.how) == "PCI 0000:3b:00.0");
  const auto missing = real.locate_pci(kCard + 8);
  REQUIRE_FALSE(missing);
  CHECK(code_of(missing.error()) == "NOT_FOUND");
  CHECK(std::string(missing.error().what()).find("0000:3b:01.0") != std::string::npos);
}

TEST_CASE("topology: the host and an emulated device hang nowhere, and say so") {
  const auto instance = hal::Instance::create().value();
  const Topology here = Topology::open().value();
  CHECK(here.info().cpus >= 1);
  for (const char* uri : {"host:0", "cuda:0"}) {
    const hal::Device device = instance.open(uri).value();
    if (std::string(uri) == "cuda:0" && !device.is_emulated()) { continue; }
    const auto place = here.locate(device).value();
    CHECK(place.cpu_count == here.info().cpus);
    CHECK(place.node == (here.info().nodes == 1 ? 0 : HAL_ANY_NODE));
    CHECK(std::string(place.how).find(device.is_emulated() ? "emulated" : "no PCI address") != std::string::npos);
  }
}

TEST_CASE("topology: pinning binds the calling thread, on this machine only") {
  const Topology here = Topology::open().value();
  cpu_set_t allowed, seen;
  REQUIRE(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
  std::thread([&] {
    REQUIRE(here.pin());
    REQUIRE(sched_getaffinity(0, sizeof(seen), &seen) == 0);
  }).join();
  CHECK(CPU_EQUAL(&seen, &allowed));
  std::thread([&] {
    // What taskset took away stays away.
    std::size_t first = 0;
    while (!CPU_ISSET(first, &allowed)) { ++first; }
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
    const Topology narrow = Topology::open().value();
    REQUIRE(narrow.pin());
    REQUIRE(sched_getaffinity(0, sizeof(seen), &seen) == 0);
    CHECK(CPU_EQUAL(&seen, &one));
  }).join();
  CHECK(code_of(here.pin(here.info().nodes).error()) == "OUT_OF_RANGE");
  CHECK(code_of(machine("synthetic:pu:2").pin().error()) == "UNSUPPORTED");
}

TEST_CASE("topology: the picture shows every node and where each device hangs, and is text that XML allows") {
  const auto instance = hal::Instance::create().value();
  const hal::Device host = instance.open("host:0").value();
  const std::string drawn = machine("xml:" TWO_PACKAGES).draw(std::span(&host, 1)).value();
  CHECK(drawn.starts_with("<svg "));
  CHECK(drawn.ends_with("</svg>\n"));
  CHECK(drawn.find("memory node 1: 59.6 GiB") != std::string::npos);
  CHECK(drawn.find("host:0") != std::string::npos);
  CHECK(drawn.find("no PCI address") != std::string::npos);
  const std::string odd = machine("synthetic:pu:1").draw().value();
  CHECK(odd.find("synthetic:pu:1") != std::string::npos);
}

TEST_CASE("topology: another version of hwloc's format is said to be that") {
  std::ifstream good(TWO_PACKAGES);
  const std::string whole((std::istreambuf_iterator<char>(good)), {});
  const std::string tag = "<topology version=\"2.0\">";
  REQUIRE(whole.find(tag) != std::string::npos);
  for (const auto& [other, found] : {std::pair<std::string, std::string>{"<topology>", "version 1 "},
                                     {"<topology version=\"3.0\">", "version 3.0 "},
                                     {"<topology version=\"20.1\">", "version 20.1 "}}) {
    std::string text = whole;
    const Scratch file(text.replace(text.find(tag), tag.size(), other));
    const auto opened = Topology::open("xml:" + file.path.string());
    REQUIRE_FALSE(opened);
    CHECK(code_of(opened.error()) == "INCOMPATIBLE");
    CHECK(std::string(opened.error().what()).find(found + "of hwloc's format, 2 is expected") != std::string::npos);
  }
}

TEST_CASE("topology: memory in no package says so") {
  const Topology flat = machine("synthetic:numa:2 pu:1");
  REQUIRE(flat.info().packages == 0);
  CHECK(flat.nodes()[1].package == HAL_NO_PACKAGE);
  CHECK(flat.distance(0, 1)->value == 20);
  CHECK(flat.draw().value().find("no package") != std::string::npos);
}

TEST_CASE("topology: bad sources end in an error that names them") {
  const auto open = [](const std::string& source) {
    const auto opened = Topology::open(source);
    return opened ? std::string("opened") : code_of(opened.error());
  };
  CHECK(open("") == "INVALID_ARGUMENT");
  CHECK(open("pack:2") == "INVALID_ARGUMENT");
  CHECK(open("synthetic:") == "INVALID_ARGUMENT");
  CHECK(open("synthetic:pack:-3 zebra") == "INVALID_ARGUMENT");
  CHECK(open("xml:/no/such/file.xml") == "NOT_FOUND");
  CHECK(open("xml:/") == "NOT_FOUND");
  for (const char* text : {"", "hello", "<topology version=\"2.0\"><object type=\"Machine\"/></topology>",
                           "<!DOCTYPE topology SYSTEM \"hwloc2.dtd\"><topologies/>"}) {
    const Scratch file(text);
    INFO(text);
    CHECK(open("xml:" + file.path.string()) == "INVALID_ARGUMENT");
  }
  // Every prefix of a good file: an error or a machine, never a crash.
  std::ifstream good(TWO_PACKAGES);
  const std::string whole((std::istreambuf_iterator<char>(good)), {});
  for (std::size_t length = 0; length < whole.size(); length += 97) {
    const Scratch file(whole.substr(0, length));
    CHECK(open("xml:" + file.path.string()) == "INVALID_ARGUMENT");
  }
  CHECK(hal_topology_describe(nullptr).cpus == 0);
  // hwloc itself would run for ever, and crash.
  CHECK(open("synthetic:numa:99999999 pu:99999999") == "OUT_OF_RANGE");
  CHECK(open("synthetic:pu:18446744073709551615") == "OUT_OF_RANGE");
  for (const char* name : {"complete_cpuset", "cpuset", "complete_nodeset", "nodeset", "type"}) {
    std::string misspelt = whole;
    const std::string from = " " + std::string(name) + "=";
    misspelt[misspelt.find(from) + 3] ^= 1;
    const Scratch file(misspelt);
    CHECK(open("xml:" + file.path.string()) == "INVALID_ARGUMENT");
  }
  // Objects that hwloc reads and that are not called <object>; text that the parser would put in.
  const std::string begin = "<topology version=\"2.0\">", machine_tag = "<object type=\"Machine\"";
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = whole;
    return text.replace(text.find(from), from.size(), to);
  };
  const auto reason = [](const std::string& text) {
    const Scratch file(text);
    const auto opened = Topology::open("xml:" + file.path.string());
    return opened ? std::string("opened") : code_of(opened.error()) + " " + std::string(opened.error().what());
  };
  CHECK(reason(with("<!-- ", "<!--a:b xmlns=\"c\" [ ")) == "opened");
  CHECK(reason(with("type=\"Machine\"", "name=\"a:b xmlns=c [\" type=\"Machine\"")) == "opened");
  for (const auto& [text, tag] :
       {std::pair{with(begin, "<topology version=\"2.0\" xmlns:h=\"u\">"), "<topology>"},
        std::pair{with(begin, "<topology version=\"2.0\"\txmlns='u'>"), "<topology>"},
        std::pair{with(machine_tag, "<h:object type=\"Machine\" cpusex=\"1\""), "<h:object>"},
        std::pair{with(machine_tag, "<h\x1b:object type=\"Machine\""), "<h?:object>"},
        std::pair{with("\"hwloc2.dtd\"", "\"hwloc2.dtd\" [<!ENTITY o '<h/>'>]"), "<!DOCTYPE>"},
        std::pair{with("\"hwloc2.dtd\"", "\"a<b>\" [<!ENTITY o '<h/>'>]"), "<!DOCTYPE>"}}) {
    CHECK(reason(text).starts_with("INVALID_ARGUMENT "));
    CHECK(reason(text).find("its tag " + std::string(tag) + " has") != std::string::npos);
  }
  CHECK(reason(with(" type=\"Machine\"", " t\x1bpe=\"Machine\"")).find("'t?pe' is no attribute") != std::string::npos);
  CHECK(reason(with(begin, "<topology version=\"\x1b\">")).find("version ? of") != std::string::npos);
  // Random damage: any answer but a crash.
  std::mt19937 random(7);
  for (int i = 0; i < 400; ++i) {
    std::string damaged = whole;
    for (int flips = i % 4; flips >= 0; --flips) {
      damaged[random() % damaged.size()] ^= static_cast<char>(1U << random() % 8);
    }
    const Scratch file(damaged);
    CHECK_FALSE(open("xml:" + file.path.string()).empty());
  }
}

// Hidden: the test topology_real runs it, and is shown as skipped where the environment names no file.
TEST_CASE("topology: a real machine's export can be read", "[.real]") {
  const char* path = std::getenv("HALYARD_TEST_TOPOLOGY");
  if (path == nullptr) { std::exit(77); }
  const Topology real = machine(std::string("xml:") + path);
  CHECK(real.info().cpus >= real.info().cores);
  CHECK(real.info().nodes >= 1);
  for (const auto& node : real.nodes()) { CHECK(node.os_index < 4096); }
  CHECK(real.draw().value().ends_with("</svg>\n"));
}
