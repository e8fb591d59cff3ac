// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "graph/add_graph.hpp"
#include "hal/hal.hpp"
#include "trace/chunks.hpp"
#include "trace/clock.hpp"

namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;
using hal::layers::trace::Chunks;
using hal::test::eventually;
using hal::test::kSoon;

// What was logged, by whichever thread.
class Logged {
 public:
  void add(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
  }
  std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

hal::Instance with_layers(const std::string& layers, const char* drivers, Logged* log = nullptr) {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = drivers;
  desc.layers = layers.c_str();
  if (log != nullptr) {
    desc.log_user = log;
    desc.log = [](void* user, hal_log_level, const char* origin, const char* text) {
      static_cast<Logged*>(user)->add(std::string(origin) + ": " + text);
    };
  }
  return hal::Instance::create(desc).value();
}

hal::Instance traced(const std::string& path, Logged* log = nullptr) {
  return with_layers("trace=" + path, "host", log);
}

// The file comes when the last object has gone, which a thread of the instance may see to.
Json file_of(const std::string& path, std::size_t dropped = 0) {
  Json whole;
  INFO(path);
  REQUIRE(eventually([&] {
    std::ifstream file(path);
    if (file) { whole = Json::parse(file, nullptr, false); }
    return whole.is_object();
  }));
  REQUIRE(whole["otherData"]["dropped"] == dropped);
  return whole;
}
std::vector<Json> events_of(const std::string& path) { return file_of(path)["traceEvents"].get<std::vector<Json>>(); }

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

// The row of that name.
std::size_t row_of(const std::vector<Json>& events, const std::string& name) {
  for (const Json& event : of_phase(events, "M")) {
    if (event["name"] == "thread_name" && event["args"]["name"] == name) { return event["tid"]; }
  }
  FAIL("no row '" << name << "'");
  return 0;
}
// Slices of a row by their command.
std::map<std::uint64_t, Json> slices_of(const std::vector<Json>& events, std::size_t row) {
  std::map<std::uint64_t, Json> out;
  for (const Json& event : of_phase(events, "X")) {
    if (event["tid"] == row) { out[event["args"]["command"]] = event; }
  }
  return out;
}
double begin_of(const Json& slice) { return slice["ts"]; }
double end_of(const Json& slice) { return begin_of(slice) + slice["dur"].get<double>(); }

// What two queues did, each waiting for the other now and then.
void work_on(const hal::Instance& instance, const char* uri) {
  const hal::Device device = instance.open(uri).value();
  hal::Queue a = device.queue("a").value(), b = device.queue("b").value();
  hal::Buffer one = device.buffer(1 << 16).value(), two = device.buffer(1 << 16).value();
  hal::Point last{};
  for (int i = 0; i < 60; ++i) {
    const hal::Point before = last;
    const hal_command commands[] = {hal::command::fill(one.all(), std::uint8_t{1}),
                                    hal::command::copy(one.all(), two.all())};
    hal_sync sync{&before, nullptr, 1, 0, nullptr};
    REQUIRE(hal::check(hal_queue_submit(a.get(), commands, 2, &sync, &last)));
    last = b.fill(two, std::uint8_t{1}, {.waits = {last}}).value();
    if (i % 10 == 0) { REQUIRE(hal::wait(last, 20s)); }
  }
  REQUIRE(hal::wait(last, 20s));
}

}  // namespace

TEST_CASE(
    "trace: with +device each submission has a slice by the device's clock, in order and inside what the host saw") {
  const char* uri = GENERATE("host:0", "host:0?mode=weak&seed=5", "cuda:0", "rngd:0");
  INFO(uri);
  const std::string path = fresh("device.json");
  {
    const hal::Instance instance = with_layers("trace=" + path + "+device", "host:cuda:rngd");
    work_on(instance, uri);
  }
  const Json whole = file_of(path);
  const auto events = whole["traceEvents"].get<std::vector<Json>>();
  REQUIRE(whole["otherData"]["device_clocks"].size() == 1);
  const Json& clock = whole["otherData"]["device_clocks"][0];
  INFO(clock.dump());
  CHECK(clock["device"] == uri);
  CHECK(clock["pairs"].get<int>() >= 1);
  CHECK(clock["uncertainty_ns"].get<std::int64_t>() > 0);
  const bool emulated = clock["emulated"];
  CHECK(emulated == !std::string(uri).starts_with("host"));
  if (!emulated) { CHECK(clock["runs_with_host"] == true); }
  for (const std::string queue : {"a", "b"}) {
    const auto host = slices_of(events, row_of(events, queue));
    const auto device =
        slices_of(events, row_of(events, queue + (emulated ? ": device (emulated clock)" : ": device")));
    CHECK(host.size() == 60);
    REQUIRE(device.size() == host.size());
    constexpr double kRounding = 0.002;  // us
    double free_at = 0;
    std::uint64_t device_free_at = 0;
    for (const auto& [command, slice] : device) {
      const Json& seen = host.at(command);
      INFO(slice.dump() << "\n" << seen.dump());
      CHECK(slice["name"] == seen["name"]);
      const double submitted = begin_of(seen) - seen["args"]["waited_ns"].get<double>() / 1e3;
      CHECK(begin_of(slice) >= submitted - kRounding);
      CHECK(end_of(slice) <= end_of(seen) + kRounding);
      CHECK(begin_of(slice) >= free_at - kRounding);
      free_at = end_of(slice);
      CHECK(slice["args"]["device_begin_ns"].get<std::uint64_t>() >= device_free_at);
      device_free_at = slice["args"]["device_end_ns"];
      CHECK(device_free_at >= slice["args"]["device_begin_ns"].get<std::uint64_t>());
    }
  }
}

TEST_CASE("trace: with +device the queue's numbers, failures and devices without a clock stay as they are") {
  const std::string path = fresh("numbers.json");
  for (const char* hidden : {"", ",mask=timestamp"}) {
    const hal::Instance instance = with_layers("trace=" + path + "+device" + hidden, "host");
    const hal::Device device = instance.open("host:0").value();
    hal::Queue queue = device.queue("q").value();
    hal::Buffer buffer = device.buffer(64).value();
    for (std::uint64_t i = 1; i < 4; ++i) {
      const hal::Point point = queue.fill(buffer, std::uint8_t{1}).value();
      CHECK(point.value == i);
      REQUIRE(hal::wait(point, 20s));
      std::uint64_t reached = 0;
      REQUIRE(hal::check(hal_timeline_value(hal_queue_timeline(queue.get()), &reached)));
      CHECK(reached == i);
    }
  }
  const Json whole = file_of(path);
  for (const Json& event : of_phase(whole["traceEvents"].get<std::vector<Json>>(), "X")) {
    CHECK(event.value("cat", "") != "device");
  }
}

TEST_CASE("trace: two layers that take stamps are refused") {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "host";
  desc.layers = "trace=/tmp/one.json+device,trace=/tmp/two.json+device";
  const auto refused = hal::Instance::create(desc);
  REQUIRE(!refused);
  CHECK(refused.error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("trace: behind a '+' in the file's own name stands device, once, and nothing else") {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "host";
  for (const std::string file :
       {"run.json+foo", "run.json+device+device", "run.json+devices", "run.json+", "+device"}) {
    const std::string layers = "trace=" + file;
    desc.layers = layers.c_str();
    const auto refused = hal::Instance::create(desc);
    REQUIRE(!refused);
    CHECK(refused.error().code() == HAL_INVALID_ARGUMENT);
    CHECK_FALSE(std::filesystem::exists(file));
  }
  const auto folder = std::filesystem::path(fresh("a+b"));
  std::filesystem::create_directory(folder);
  for (const char* suffix : {"", "+device"}) {
    { const hal::Instance instance = with_layers("trace=" + (folder / "run.json").string() + suffix, "host"); }
    CHECK(std::filesystem::remove(folder / "run.json"));
  }
  std::filesystem::remove(folder);
}

TEST_CASE("trace: a device's clock is set against the host's by a line; drift is found and noise is said") {
  hal::layers::trace::DeviceClock clock;
  // The device began a year later and runs 200 ppm slow; a look takes 1 us, a disturbed one 1 ms.
  const auto device = [](std::int64_t host) {
    return static_cast<std::uint64_t>(static_cast<double>(host - 5'000) * 0.9998) + 31'000'000'000'000'000U;
  };
  for (std::int64_t i = 0; i < 50; ++i) {
    const std::int64_t at = i * 10'000'000, late = i % 7 == 3 ? 1'000'000 : 0;
    clock.pair(at - 500, at + 500 + late, device(at));
  }
  clock.fit();
  CHECK(clock.runs_with_host());
  CHECK(clock.rate() == Approx(1 / 0.9998).epsilon(1e-7));
  CHECK(clock.uncertainty() >= 500);
  CHECK(clock.uncertainty() < 700);
  for (std::int64_t at = 1'000'000; at < 400'000'000; at += 17'000'000) {
    const auto slice = clock.place(device(at), device(at + 3'000), at - 1'000'000, at + 1'000'000);
    CHECK(std::abs(slice.begin - at) <= clock.uncertainty());
    CHECK(std::abs(slice.end - at - 3'000) <= clock.uncertainty());
    // What cannot be is not shown: it had not been handed over yet.
    CHECK(clock.place(device(at), device(at + 3'000), at + 2'000, at + 1'000'000).begin == at + 2'000);
  }
}

TEST_CASE(
    "trace: a virtual clock, which stands still while nothing runs, is known as one and its work stays in bounds") {
  hal::layers::trace::DeviceClock clock;
  std::uint64_t virtual_ns = 0;
  struct Work {
    std::int64_t from, to;
    std::uint64_t begin, end;
  };
  std::vector<Work> work;
  for (std::int64_t i = 0; i < 50; ++i) {
    const std::int64_t at = i * 10'000'000;
    clock.pair(at, at + 2'000, virtual_ns);
    const std::uint64_t begin = virtual_ns;
    virtual_ns += 300;
    work.push_back({at + 5'000, at + 50'000, begin, virtual_ns});
    clock.stamp(begin, at + 5'000, at + 50'000);
    clock.stamp(virtual_ns, at + 5'000, at + 50'000);
  }
  clock.fit();
  CHECK(!clock.runs_with_host());
  CHECK(clock.uncertainty() > 10'000'000);
  std::int64_t free_at = 0;
  for (const Work& one : work) {
    const auto slice = clock.place(one.begin, one.end, one.from, one.to);
    CHECK(slice.begin >= std::max(one.from, free_at));
    CHECK(slice.end <= one.to);
    CHECK(slice.end - slice.begin == 300);
    free_at = slice.end;
  }
}

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
      REQUIRE(hal::check(hal_queue_submit(a.get(), &fill, 1, &sync, &first)));
    }
    const hal::Point second = b.fill(buffer, std::uint8_t{2}, {.waits = {timeline.at(2)}}).value();
    const hal::Point third = a.fill(buffer, std::uint8_t{3}, {.waits = {second}}).value();
    REQUIRE(hal::wait(third, kSoon));
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

TEST_CASE("trace: a run has the bytes of its buffer arguments, a barrier none") {
  const std::string path = fresh("run.json");
  {
    const hal::Instance instance = traced(path);
    const hal::Device device = instance.open("host:0").value();
    hal::Queue queue = device.queue("q").value();
    const std::vector<std::byte> bytes = hal::add_graph(64);
    const hal::Program program = device.load({"hal.graph", bytes}).value();
    const hal::Buffer x = device.buffer(256).value(), sum = device.buffer(256).value();
    REQUIRE(queue.run(program.entry("add").value(), {x, x, sum}));
    REQUIRE(queue.finish(kSoon));
  }
  const std::vector<Json> slices = of_phase(events_of(path), "X");
  REQUIRE(slices.size() == 2);
  CHECK(slices[0]["args"]["bytes"] == 3 * 256);
  CHECK(slices[1]["args"]["bytes"] == 0);
}

TEST_CASE("trace: several threads, many events, none lost") {
  const std::string path = fresh("many.json");
  constexpr int kThreads = 3, kEach = 12'000;  // together more than one chunk
  {
    const hal::Instance instance = traced(path);
    const hal::Device device = instance.open("host:0").value();
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        hal::Queue queue = device.queue("q").value();
        hal::Point last{};
        for (int i = 0; i < kEach; ++i) { last = queue.barrier().value(); }
        (void)hal::wait(last, 30s);
      });
    }
    for (std::jthread& thread : threads) { thread.join(); }
  }
  const std::vector<Json> slices = of_phase(events_of(path), "X");
  CHECK(slices.size() == static_cast<std::size_t>(kThreads * kEach));
  for (const Json& slice : slices) {
    if (slice["args"]["outcome"] != "done") { FAIL_CHECK(slice.dump()); }
  }
}

TEST_CASE("trace: each of many threads has a place for its events, and what has none is counted") {
  constexpr std::size_t kMore = 3;
  const std::string path = fresh("threads.json");
  Logged log;
  {
    const hal::Instance instance = traced(path, &log);
    for (std::size_t i = 0; i < Chunks::kMost + kMore; ++i) {
      std::jthread([&] { hal_range_begin(instance.get(), "one"); }).join();
    }
  }
  const Json file = file_of(path, kMore);
  CHECK(of_phase(file["traceEvents"].get<std::vector<Json>>(), "B").size() == Chunks::kMost);
  REQUIRE(log.lines().size() == 1);
  CHECK_THAT(log.lines()[0], Catch::Contains("3 events were dropped: a trace holds 1048576, 512 at a time"));
}

TEST_CASE("trace: a file that cannot be written and a full disk are errors in the log") {
  for (const char* path : {"/nowhere/at/all.json", "/dev/full"}) {
    if (std::string_view(path) == "/dev/full" && !std::filesystem::exists(path)) { continue; }
    Logged log;
    {
      const hal::Instance instance = traced(path, &log);
      const hal::Device device = instance.open("host:0").value();
      hal::Queue queue = device.queue("q").value();
      REQUIRE(hal::wait(queue.barrier().value(), kSoon));
    }
    REQUIRE(eventually([&] { return !log.lines().empty(); }));
    const std::string last = log.lines().back();
    CHECK(last.find("trace: ") == 0);
    CHECK(last.find(path) != std::string::npos);
  }
}

TEST_CASE("the library's threads take no signals that the program is sent, and all that they bring upon themselves") {
  const std::string path = std::filesystem::temp_directory_path() / "halyard_trace_signals.json";
  const hal::Instance instance = traced(path);
  const hal::Device device = instance.open("host:0").value();
  hal::Queue queue = device.queue("calls").value();
  std::vector<std::string> seen, wrong;
  const auto look = [&]() -> hal::Result<void> {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream status(task.path() / "status");
      std::string line, name;
      while (std::getline(status, line)) {
        if (line.starts_with("Name:")) { name = line.substr(line.find_first_not_of(" \t", 5)); }
        if (line.starts_with("SigBlk:") && name.starts_with("halyard")) {
          seen.push_back(name);
          const unsigned long long blocked = std::stoull(line.substr(7), nullptr, 16);
          const auto is_blocked = [&](int signal) { return (blocked >> (signal - 1) & 1U) != 0; };
          const bool sent = is_blocked(SIGTERM) && is_blocked(SIGINT) && is_blocked(SIGUSR1) && is_blocked(SIGCHLD);
          constexpr int kOfLibrary = 32;  // blocked by the C library alone, in a thread that ends
          if (is_blocked(kOfLibrary)) { continue; }
          if (!sent || is_blocked(SIGSEGV) || is_blocked(SIGFPE)) { wrong.push_back(name + " " + line); }
        }
      }
    }
    return {};
  };
  REQUIRE(hal::wait(queue.call(look).value(), 10s));
  CHECK(std::ranges::find(seen, "halyard-calls") != seen.end());
  CHECK(wrong == std::vector<std::string>{});
}
