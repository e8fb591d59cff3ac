// SPDX-License-Identifier: Apache-2.0
// The photonic port through the public API. Without a launcher both ports of the built-in plane live in this process.
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <halyard_catch.hpp>
#include <iterator>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "fabric/bootstrap/launcher.hpp"
#include "failing_allocations.hpp"
#include "hal/hal.hpp"

using namespace std::chrono_literals;

namespace {

constexpr auto kSoon = 20s;

// A setting for as long as this lives.
class Setting {
 public:
  Setting(const char* name, const std::string& value) : name_(name) { ::setenv(name, value.c_str(), 1); }
  ~Setting() { ::unsetenv(name_); }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  const char* name_;
};

struct Ports {
  explicit Ports(const std::string& params = "") {
    for (std::uint32_t i = 0; i < 2; ++i) {
      device[i] = instance.open("photonic:" + std::to_string(i) + params).value();
      queue[i] = device[i].queue("q").value();
    }
    for (std::uint32_t i = 0; i < 2; ++i) {
      peer[i] = device[i].connect(device[1 - i].address().value(), 1 - i).value();
    }
  }
  std::string report() const { return device[0].report().value(); }

  hal::Instance instance = hal::Instance::create(PHOTONIC_DRIVER).value();
  std::array<hal::Device, 2> device;
  std::array<hal::Queue, 2> queue;
  std::array<hal::Peer, 2> peer;  // peer[i] is seen from port i
};

std::vector<std::uint32_t> numbers(std::size_t count, std::uint32_t first) {
  std::vector<std::uint32_t> out(count);
  std::iota(out.begin(), out.end(), first);
  return out;
}

const char kTopology[] = R"({"schema": "photonic-plane/1", "seed": 3,
  "profiles": {"plain": {"switch_us": 3, "relock_us": 0}},
  "modules": [{"id": "m0", "port": "h0"}, {"id": "m1", "port": "h1"}],
  "ocs": [{"id": "o0", "radix": 4, "profile": "plain"}],
  "fibres": [{"a": "m0", "b": "o0:0"}, {"a": "m1", "b": "o0:1"}],
  "permutations": {"pair": [["m0", "m1"], ["m1", "m0"]], "dark": []}, "initial": "pair"})";

class TopologyFile {
 public:
  explicit TopologyFile(const std::string& text) {
    const int fd = ::mkstemp(path_.data());
    ::close(fd);
    std::ofstream(path_) << text;
    setting_.emplace("HALYARD_FABRIC_TOPOLOGY", path_);
  }
  ~TopologyFile() { std::remove(path_.c_str()); }
  TopologyFile(const TopologyFile&) = delete;
  TopologyFile& operator=(const TopologyFile&) = delete;

 private:
  std::string path_ = "/tmp/halyard-plane-XXXXXX";
  std::optional<Setting> setting_;
};

hal_code code_of(hal::Point point) {
  const auto waited = hal::wait(point, kSoon);
  return waited ? HAL_OK : waited.error().code();
}

std::string error_of(hal::Point point) {
  const auto waited = hal::wait(point, kSoon);
  return waited ? "reached" : std::string(waited.error().text());
}

bool libfabric_is_mapped() {
  std::ifstream maps("/proc/self/maps");
  const std::string text{std::istreambuf_iterator<char>(maps), {}};
  return text.find("libfabric.so") != std::string::npos;
}

int launch(unsigned ranks, std::vector<std::string> arguments) {
  hal::fabric::LaunchOptions options;
  options.ranks = ranks;
  options.command = {HALYARD_PORT_RANK, PHOTONIC_DRIVER};
  options.command.insert(options.command.end(), arguments.begin(), arguments.end());
  options.timeout = 100s;
  const auto result = hal::fabric::launch(options);
  if (!result) { FAIL(result.error().what); }
  return result->exit_code;
}

}  // namespace

TEST_CASE("port: both ports of the built-in plane are listed, emulated and said to be so", "[fabric]") {
  const bool open_before = libfabric_is_mapped();
  const auto instance = hal::Instance::create(PHOTONIC_DRIVER).value();
  const auto devices = instance.devices();
  REQUIRE(devices.size() == 2);
  CHECK(std::string(devices[0].uri) == "photonic:0");
  CHECK(std::string(devices[0].name) == "Photonic port 0 of 2 (emulated)");
  CHECK(devices[0].is_emulated == 1);
  CHECK(devices[0].usable == 1);
  // Listing costs nothing: libfabric comes with the first port that is opened.
  if (!open_before) { CHECK_FALSE(libfabric_is_mapped()); }
  const auto device = instance.open("photonic:1").value();
  CHECK(device.supports("fabric").support == HAL_EMULATED);
  CHECK(device.supports("kernel").support == HAL_NO);
  CHECK(device.number("fabric.rank").value() == 1);
  CHECK(device.number("fabric.ports").value() == 2);
  CHECK(device.number("fabric.colour").error().code() == HAL_NOT_FOUND);
}

TEST_CASE("port: put and get move bytes, and the report knows what light would have done", "[fabric]") {
  Ports p;
  const auto data = numbers(300'000, 5);
  auto source = p.device[0].buffer(1'200'000).value();
  auto window = p.device[1].buffer(1'200'000).value();
  auto back = p.device[0].buffer(1'200'000).value();
  const auto remote = window.export_memory().value();
  CHECK(remote.length == 1'200'000);
  p.queue[0].copy(hal::host(data), source).value();
  const auto put = p.queue[0].put(source, p.peer[0], remote).value();
  const auto got = p.queue[0].get_remote(p.peer[0], remote, back).value();
  REQUIRE(hal::wait(put, kSoon));
  CHECK(std::memcmp(window.host().data(), data.data(), 1'200'000) == 0);
  REQUIRE(hal::wait(got, kSoon));
  CHECK(std::memcmp(back.host().data(), data.data(), 1'200'000) == 0);
  const std::string report = p.report();
  CHECK(report.starts_with("{\"emulated\": true"));
  CHECK(report.find("\"circuit\": \"m0.1->m1.0\"") != std::string::npos);
  CHECK(p.device[0].number("fabric.modelled_bytes").value() == 2'400'000);
  CHECK(p.device[0].number("fabric.modelled_fj").value() == 2'400'000ULL * 24'800);
  // 1.2 MB copied at 100 bytes a nanosecond, each way at 200, and three times 98 ns of fibre.
  CHECK(p.device[0].number("fabric.modelled_ns").value() == 12'000 + 6000 + 98 + 98 + 6000 + 98);
}

TEST_CASE("port: a put into part of a peer's buffer, from part of ours, and from host memory", "[fabric]") {
  Ports p;
  auto source = p.device[0].buffer(4096).value();
  auto window = p.device[1].buffer(4096).value();
  const auto whole = window.export_memory().value();
  const auto part = [&](std::uint64_t offset, std::uint64_t length) {
    return hal::Remote{whole.key, whole.address + offset, length};
  };
  p.queue[1].fill(window, std::uint8_t{0xee}).value();
  REQUIRE(p.queue[1].finish(kSoon));
  const std::uint64_t word = 0x1122334455667788;
  p.queue[0].fill(source, std::uint16_t{0xabcd}).value();
  p.queue[0].put(source.slice(100, 50), p.peer[0], part(200, 50)).value();
  const auto done = p.queue[0].put(hal_host(&word, 8), p.peer[0], part(1000, 8)).value();
  REQUIRE(hal::wait(done, kSoon));
  const auto bytes = window.host();
  CHECK(bytes[199] == std::byte{0xee});
  CHECK(bytes[200] == std::byte{0xcd});
  CHECK(bytes[249] == std::byte{0xab});
  CHECK(bytes[250] == std::byte{0xee});
  CHECK(std::memcmp(bytes.data() + 1000, &word, 8) == 0);
}

TEST_CASE("port: memory that could not be made is free again", "[fabric]") {
  const hal::Instance instance = hal::Instance::create(PHOTONIC_DRIVER).value();
  const hal::Device device = instance.open("photonic:0").value();
  const std::uint64_t most = device.info().memory_bytes / 8 * 5;  // two do not fit
  std::uint64_t n = 0;
  for (bool failed = true; failed; ++n) {
    hal::test::fail_after(n);
    const auto made = device.buffer(most);
    failed = hal::test::failures() != 0;
    hal::test::fail_no_more();
    INFO(n);
    if (!made) { CHECK(made.error().code() == HAL_OUT_OF_HOST_MEMORY); }
  }
  CHECK(n > 3);
  CHECK(device.buffer(most));
}

TEST_CASE("port: messages meet by tag, in buffers and in host memory", "[fabric]") {
  Ports p;
  const auto first = numbers(1000, 1);
  const auto second = numbers(1000, 2);
  std::vector<std::uint32_t> got(1000);
  auto buffer = p.device[1].buffer(4000).value();
  hal::Queue other = p.device[1].queue("other").value();
  const auto late = other.recv(p.peer[1], 2, buffer).value();
  const auto early = p.queue[1].recv(p.peer[1], 1, hal::host(got)).value();
  p.queue[0].send(hal::host(second), p.peer[0], 2).value();
  const auto sent = p.queue[0].send(hal::host(first), p.peer[0], 1).value();
  REQUIRE(hal::wait(sent, kSoon));
  REQUIRE(hal::wait(early, kSoon));
  REQUIRE(hal::wait(late, kSoon));
  CHECK(got == first);
  CHECK(std::memcmp(buffer.host().data(), second.data(), 4000) == 0);
}

TEST_CASE("port: a message of another length fails its receive", "[fabric]") {
  Ports p;
  std::vector<std::uint32_t> place(100);
  const auto shorter = p.queue[1].recv(p.peer[1], 1, hal::host(place)).value();
  const auto fewer = numbers(99, 0);
  p.queue[0].send(hal::host(fewer), p.peer[0], 1).value();
  REQUIRE(p.queue[0].finish(kSoon));
  CHECK(code_of(shorter) == HAL_OUT_OF_RANGE);
  hal::Queue other = p.device[1].queue("other").value();
  const auto longer = other.recv(p.peer[1], 2, hal::host(place)).value();
  const auto more = numbers(101, 0);
  const auto sent = p.queue[0].send(hal::host(more), p.peer[0], 2).value();
  CHECK(code_of(longer) == HAL_OUT_OF_RANGE);
  (void)code_of(sent);  // what the sender hears differs by provider
}

TEST_CASE("port: recorded commands replay with other buffers", "[fabric]") {
  Ports p;
  auto window = p.device[1].buffer(64).value();
  const auto remote = window.export_memory().value();
  const std::array<hal::Command, 2> commands{hal::command::fill(hal::slot(0, 0, 64), std::uint32_t{77}),
                                             hal::command::put(hal::slot(0, 0, 64), p.peer[0], remote)};
  const auto recorded = p.device[0].record(commands).value();
  for (int i = 0; i < 3; ++i) {
    auto local = p.device[0].buffer(64).value();
    p.queue[1].fill(window, std::uint32_t{0}).value();
    REQUIRE(p.queue[1].finish(kSoon));
    const std::array<hal::Slice, 1> slots{local.all()};
    REQUIRE(hal::wait(p.queue[0].execute(recorded, slots).value(), kSoon));
    std::uint32_t word = 0;
    std::memcpy(&word, window.host().data() + 60, 4);
    CHECK(word == 77);
  }
}

TEST_CASE("port: remote memory and tags come at replay, by slot", "[fabric]") {
  Ports p;
  auto window = p.device[1].buffer(64).value();
  auto local = p.device[0].buffer(32).value();
  const auto all = window.export_memory().value();
  const std::array<hal::Command, 3> commands{
      hal::command::fill(local, std::uint32_t{77}),
      hal::command::by_slot(hal::command::put(local, p.peer[0], hal::Remote{}), 0),
      hal::command::by_slot(hal::command::send(local, p.peer[0], 0), 1)};
  const auto recorded = p.device[0].record(commands).value();
  p.queue[1].fill(window, std::uint32_t{0}).value();
  REQUIRE(p.queue[1].finish(kSoon));
  for (const std::uint64_t tag : {3U, 4U}) {
    hal_remote half{all.key, all.address + (tag == 3 ? 0 : 32), 32};
    std::uint64_t given = tag;
    const std::array<hal::Slice, 2> slots{hal_host(&half, sizeof half), hal_host(&given, sizeof given)};
    std::vector<std::uint32_t> place(8);
    const auto received = p.queue[1].recv(p.peer[1], tag, hal::host(place)).value();
    const auto sent = p.queue[0].execute(recorded, slots).value();
    half = {}, given = 99;  // read during the call
    REQUIRE(hal::wait(sent, kSoon));
    REQUIRE(hal::wait(received, kSoon));
    CHECK(place == std::vector<std::uint32_t>(8, 77));
    const auto* words = reinterpret_cast<const std::uint32_t*>(window.host().data());
    CHECK(words[7] == 77);
    CHECK(words[8] == (tag == 3 ? 0 : 77));
  }
  const hal_remote few{all.key, all.address, 31};
  const std::uint64_t tag = 5;
  const std::array<hal::Slice, 2> slots{hal_host(&few, sizeof few), hal_host(&tag, sizeof tag)};
  const auto refused = p.queue[0].execute(recorded, slots);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == HAL_OUT_OF_RANGE);
  CHECK_THAT(std::string(refused.error().what()), Catch::Matchers::Contains("slot 0 gives the remote memory"));
}

TEST_CASE("port: waits and signals cross devices", "[fabric]") {
  Ports p;
  auto gate = p.instance.timeline(0, "gate").value();
  auto window = p.device[1].buffer(4).value();
  auto local = p.device[0].buffer(4).value();
  const auto remote = window.export_memory().value();
  p.queue[1].fill(window, std::uint32_t{1}).value();
  REQUIRE(p.queue[1].finish(kSoon));
  const auto put = p.queue[0].put(local, p.peer[0], remote, {.waits = {gate.at(2)}}).value();
  p.queue[1].fill(window, std::uint32_t{3}, {.waits = {put}}).value();
  hal::Queue producer = p.device[0].queue("producer").value();
  producer.fill(local, std::uint32_t{2}, {.signals = {gate.at(2)}}).value();
  REQUIRE(p.queue[1].finish(kSoon));
  std::uint32_t word = 0;
  std::memcpy(&word, window.host().data(), 4);
  CHECK(word == 3);
}

TEST_CASE("port: circuits are set in queue order and cost their time", "[fabric]") {
  const TopologyFile file(kTopology);
  Ports p;
  auto window = p.device[1].buffer(200).value();
  auto stamps = p.device[0].buffer(16).value();
  const auto remote = window.export_memory().value();
  auto local = p.device[0].buffer(200).value();
  p.queue[0].timestamp(stamps.slice(0, 8)).value();
  p.queue[0].circuit("dark").value();
  p.queue[0].circuit("pair").value();
  p.queue[0].put(local, p.peer[0], remote).value();
  p.queue[0].timestamp(stamps.slice(8, 8)).value();
  REQUIRE(p.queue[0].finish(kSoon));
  std::array<std::uint64_t, 2> times{};
  std::memcpy(times.data(), stamps.host().data(), 16);
  CHECK(times[0] == 1);                 // reading the clock
  CHECK(times[1] == 1 + 3000 + 1 + 1);  // the mirrors move, then 200 bytes at 200 a nanosecond
  p.queue[0].circuit("dark").value();
  const std::string text = error_of(p.queue[0].put(local, p.peer[0], remote).value());
  CHECK(text.find("no light from port h0 to h1") != std::string::npos);
  hal::Queue other = p.device[0].queue("other").value();
  CHECK(error_of(other.circuit("star").value()).find("no permutation \"star\"; it has pair, dark") !=
        std::string::npos);
}

TEST_CASE("port: pulled lasers slow a circuit down, and the last one ends it by name", "[fabric]") {
  std::string faults;
  for (int lane = 0; lane < 7; ++lane) { faults += "lane-dark:m0.1/" + std::to_string(lane) + "@0,"; }
  {
    const Setting setting("HALYARD_FABRIC_FAULTS", faults);
    Ports p;
    auto window = p.device[1].buffer(25'000).value();
    auto local = p.device[0].buffer(25'000).value();
    const auto remote = window.export_memory().value();
    REQUIRE(hal::wait(p.queue[0].put(local, p.peer[0], remote).value(), kSoon));
    CHECK(p.device[0].number("fabric.modelled_ns").value() == 1000 + 98);  // one lane: 25 bytes a nanosecond
    CHECK(p.report().find("\"state\": \"degraded\", \"lanes\": 8, \"lanes_carrying\": 1") != std::string::npos);
  }
  const Setting setting("HALYARD_FABRIC_FAULTS", faults + "lane-dark:m0.1/7@0");
  Ports p;
  auto window = p.device[1].buffer(8).value();
  auto local = p.device[0].buffer(8).value();
  const auto failed = p.queue[0].put(local, p.peer[0], window.export_memory().value()).value();
  CHECK(error_of(failed).find("m0.1->m1.0 (no lane carries data)") != std::string::npos);
}

TEST_CASE("port: a receive that nobody answers ends at its deadline, by name", "[fabric]") {
  Ports p("?deadline_ms=80");
  auto place = p.device[0].buffer(16).value();
  const auto point = p.queue[0].recv(p.peer[0], 3, place).value();
  const auto waited = hal::wait(point, kSoon);
  REQUIRE_FALSE(waited);
  CHECK(waited.error().code() == HAL_DEADLINE_EXCEEDED);
  CHECK(error_of(point).find("recv of 16 bytes from rank 1 with tag 3 did not complete in 80 ms") != std::string::npos);
}

TEST_CASE("port: cancelling a queue calls its receive back", "[fabric]") {
  Ports p;
  auto place = p.device[0].buffer(16).value();
  const auto point = p.queue[0].recv(p.peer[0], 3, place).value();
  const auto behind = p.queue[0].fill(place, std::uint32_t{9}).value();
  p.queue[0].cancel();
  CHECK(code_of(behind) == HAL_CANCELLED);
  (void)code_of(point);
  // The message that comes now is for the next receive.
  hal::Queue other = p.device[0].queue("other").value();
  const auto next = other.recv(p.peer[0], 3, place).value();
  const auto message = numbers(4, 40);
  p.queue[1].send(hal::host(message), p.peer[1], 3).value();
  REQUIRE(p.queue[1].finish(kSoon));
  CHECK(code_of(next) == HAL_OK);
}

TEST_CASE("port: a port that closes is a lost peer", "[fabric]") {
  const auto here = hal::Instance::create(PHOTONIC_DRIVER).value();
  const auto device = here.open("photonic:0").value();
  auto queue = device.queue("q").value();
  auto place = device.buffer(16).value();
  hal::Peer peer;
  {
    const auto there = hal::Instance::create(PHOTONIC_DRIVER).value();
    peer = device.connect(there.open("photonic:1").value().address().value(), 1).value();
  }
  const auto waited = hal::wait(queue.recv(peer, 3, place).value(), 20s);
  REQUIRE_FALSE(waited);
  CHECK(waited.error().code() == HAL_PEER_LOST);
  CHECK(waited.error().text().find("rank 1 is gone") != std::string_view::npos);
}

TEST_CASE("port: what cannot be opened or connected says why", "[fabric]") {
  {
    const TopologyFile file("{\"schema\": \"photonic-plane/1\",\n \"modules\": 3}");
    const auto instance = hal::Instance::create(PHOTONIC_DRIVER).value();
    const auto devices = instance.devices();
    REQUIRE(devices.size() == 1);
    CHECK(devices[0].usable == 0);
    CHECK(std::string(devices[0].reason).find(":2:13: modules must be an array, found a number") != std::string::npos);
    CHECK(instance.open("photonic:0").error().code() == HAL_UNAVAILABLE);
  }
  {
    const Setting rank("HALYARD_RANK", "3");
    const Setting size("HALYARD_WORLD_SIZE", "17");
    const Setting rendezvous("HALYARD_RENDEZVOUS", "127.0.0.1:1/1");
    const auto instance = hal::Instance::create(PHOTONIC_DRIVER).value();
    CHECK(std::string(instance.devices().at(0).reason) ==
          "the built-in plane has 2 to 16 ports, asked for 17; give a topology file for more");
  }
  {
    const Setting setting("HALYARD_FABRIC_PROVIDER", "no-such-provider");
    const auto instance = hal::Instance::create(PHOTONIC_DRIVER).value();
    CHECK(instance.open("photonic:0").error().code() == HAL_UNAVAILABLE);
  }
  {
    const Setting setting("HALYARD_FABRIC_FAULTS", "lane-dark:m9/1@0");
    const auto instance = hal::Instance::create(PHOTONIC_DRIVER).value();
    CHECK(instance.open("photonic:0").error().code() == HAL_NOT_FOUND);
  }
  const auto instance = hal::Instance::create(PHOTONIC_DRIVER).value();
  CHECK(instance.open("photonic:0?deadline_ms=0").error().code() == HAL_INVALID_ARGUMENT);
  CHECK(instance.open("photonic:0?speed=9").error().code() == HAL_INVALID_ARGUMENT);
  const auto device = instance.open("photonic:0").value();
  const std::array<std::byte, 5> nonsense{};
  CHECK(device.connect(nonsense, 1).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(device.connect(device.address().value(), 0).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(device.buffer(std::uint64_t{1} << 60).error().code() == HAL_OUT_OF_DEVICE_MEMORY);
}

TEST_CASE("port: the same work gives the same report, time and energy included", "[fabric]") {
  const auto run = [] {
    Ports p;
    auto window = p.device[1].buffer(100'000).value();
    auto local = p.device[0].buffer(100'000).value();
    const auto remote = window.export_memory().value();
    for (std::uint64_t i = 1; i <= 20; ++i) {
      p.queue[0].put(local.slice(0, i * 4999), p.peer[0], remote).value();
      if (i % 7 == 0) { p.queue[0].circuit(i % 2 == 0 ? "mesh" : "ring").value(); }
    }
    REQUIRE(p.queue[0].finish(kSoon));
    return p.report();
  };
  CHECK(run() == run());
}

TEST_CASE("port: launched ranks exchange, share their circuits' changes, and report", "[fabric]") {
  CHECK(launch(2, {"exchange"}) == 0);
  CHECK(launch(4, {"exchange"}) == 0);
}

TEST_CASE("port: a killed rank fails the points that need it within three seconds", "[fabric]") {
  CHECK(launch(3, {"killed"}) == 128 + 9);
}
