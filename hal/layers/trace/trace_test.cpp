// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <halyard_catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "hal/hal.hpp"

namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;

struct Logged {
  std::vector<std::string> lines;
};

hal::Instance traced(const std::string& path, Logged* log = nullptr) {
  const std::string layers = "trace=" + path;
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "host";
  desc.layers = layers.c_str();
  if (log != nullptr) {
    desc.log_user = log;
    desc.log = [](void* user, hal_log_level, const char* origin, const char* text) {
      static_cast<Logged*>(user)->lines.push_back(std::string(origin) + ": " + text);
    };
  }
  return hal::Instance::create(desc).value();
}

// The file comes when the last object has gone, which a thread of the instance may see to.
std::vector<Json> events_of(const std::string& path) {
  for (int i = 0; i < 500; ++i) {
    std::ifstream file(path);
    Json whole = file ? Json::parse(file, nullptr, false) : Json();
    if (whole.is_object()) {
      REQUIRE(whole["otherData"]["dropped"] == 0);
      return whole["traceEvents"].get<std::vector<Json>>();
    }
    std::this_thread::sleep_for(10ms);
  }
  FAIL("no trace was written to " << path);
  return {};
}

std::vector<Json> of_phase(const std::vector<Json>& events, const std::string& phase) {
  std::vector<Json> out;
  for (const Json& event : events) {
    if (event["ph"] == phase) { out.push_back(event); }
  }
  return out;
}

std::string fresh(const std::string& name) {
  const std::string path = (std::filesystem::temp_directory_path() / ("halyard_trace_test_" + name)).string();
  (void)std::remove(path.c_str());
  return path;
}

}  // namespace

TEST_CASE("trace: rows, slices, labels, arrows, counters and ranges") {
  const std::string path = fresh("all.json");
  {
    const hal::Instance instance = traced(path);
    const hal::Device device = instance.open("host:0").value();
    hal::Queue a = device.queue("alpha").value(), b = device.queue("b \"quoted\"").value();
    hal::Timeline timeline = instance.timeline(0, "t").value();
    hal::Buffer buffer = device.buffer(4096).value();
    hal_command fill{};
    fill.op = HAL_OP_FILL;
    fill.label = "a label that is longer than one piece of text";
    fill.as.fill = {buffer.all(), 1, 1};
    hal_point first{};
    {
      const hal::Range range(instance, "epoch");
      const hal_point signal = timeline.at(3);
      const hal_sync sync{nullptr, &signal, 0, 1, nullptr};
      REQUIRE(hal_queue_submit(a.get(), &fill, 1, &sync, &first) == nullptr);
    }
    const hal::Point second = b.fill(buffer, std::uint8_t{2}, {.waits = {timeline.at(2)}}).value();
    const hal::Point third = a.fill(buffer, std::uint8_t{3}, {.waits = {second}}).value();
    REQUIRE(hal::wait(third, 5s));
    timeline.label("renamed");
  }
  const std::vector<Json> events = events_of(path);
  const std::vector<Json> slices = of_phase(events, "X");
  REQUIRE(slices.size() == 3);
  for (const Json& slice : slices) {
    CHECK(slice["args"]["outcome"] == "done");
    CHECK(slice["args"]["bytes"] == 4096);
    CHECK(slice["dur"].get<double>() >= 0);
  }
  CHECK(slices[0]["name"] == "fill a label that is longer than one piece of text");
  CHECK(slices[1]["args"]["site"].get<std::string>().find("trace_test.cpp:") != std::string::npos);
  const std::vector<Json> begun = of_phase(events, "s"), ended = of_phase(events, "f");
  REQUIRE(begun.size() == 2);
  REQUIRE(ended.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(begun[i]["id"] == ended[i]["id"]);
    CHECK(begun[i]["tid"] != ended[i]["tid"]);
    CHECK(begun[i]["ts"].get<double>() <= ended[i]["ts"].get<double>());
  }
  const std::vector<Json> opened = of_phase(events, "B"), closed = of_phase(events, "E");
  REQUIRE(opened.size() == 1);
  CHECK(opened[0]["name"] == "epoch");
  CHECK(closed.size() == 1);
  std::uint64_t most = 0, last = 1;
  for (const Json& counter : of_phase(events, "C")) {
    if (counter["name"] != "buffers") { continue; }
    last = counter["args"]["bytes"];
    most = std::max(most, last);
  }
  CHECK(most == 4096);
  CHECK(last == 0);
}

TEST_CASE("trace: several threads, many events, none lost") {
  const std::string path = fresh("many.json");
  constexpr int kThreads = 3, kEach = 12'000;  // together more than one chunk
  {
    const hal::Instance instance = traced(path);
    const hal::Device device = instance.open("host:0").value();
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        hal::Queue queue = device.queue("q").value();
        hal::Point last{};
        for (int i = 0; i < kEach; ++i) { last = queue.barrier().value(); }
        (void)hal::wait(last, 30s);
      });
    }
    for (std::thread& thread : threads) { thread.join(); }
  }
  const std::vector<Json> slices = of_phase(events_of(path), "X");
  CHECK(slices.size() == static_cast<std::size_t>(kThreads * kEach));
  for (const Json& slice : slices) {
    if (slice["args"]["outcome"] != "done") { FAIL_CHECK(slice.dump()); }
  }
}

TEST_CASE("trace: a file that cannot be written and a full disk are errors in the log") {
  for (const char* path : {"/nowhere/at/all.json", "/dev/full"}) {
    if (std::string_view(path) == "/dev/full" && !std::filesystem::exists(path)) { continue; }
    Logged log;
    {
      const hal::Instance instance = traced(path, &log);
      const hal::Device device = instance.open("host:0").value();
      hal::Queue queue = device.queue("q").value();
      REQUIRE(hal::wait(queue.barrier().value(), 5s));
    }
    for (int i = 0; i < 300 && log.lines.empty(); ++i) { std::this_thread::sleep_for(10ms); }
    REQUIRE(!log.lines.empty());
    CHECK(log.lines.back().find("trace: ") == 0);
    CHECK(log.lines.back().find(path) != std::string::npos);
  }
}
