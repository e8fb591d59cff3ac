// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/scenario.hpp"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstring>
#include <string_view>

#include "cli/table.hpp"
#include "hal/host_kernel.h"

namespace hal::cli::bench {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kBurst = 128;      // submissions in flight; below every device's ring
constexpr int kBursts = 8;       // in one repetition
constexpr int kRoundTrips = 64;  // in one repetition
constexpr std::uint32_t kRecorded = 256;

double ns_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double, std::nano>(end - start).count();
}

// What one device's scenarios share.
struct Subject {
  Device device;
  Queue queue;
};

// Only the submissions are timed; the device catches up between bursts.
template <class Submit>
Result<double> enqueue(Submit submit) {
  double ns = 0;
  for (int burst = 0; burst < kBursts; ++burst) {
    Point last{};
    const auto start = Clock::now();
    for (int i = 0; i < kBurst; ++i) { HAL_TRY(last, submit()); }
    ns += ns_between(start, Clock::now());
    HAL_CHECK(wait(last, 10s));
  }
  return ns / (kBurst * kBursts);
}

template <class Submit>
Result<double> round_trip(Submit submit, int count = kRoundTrips) {
  const auto start = Clock::now();
  for (int i = 0; i < count; ++i) {
    HAL_TRY(const Point done, submit());
    HAL_CHECK(wait(done, 10s));
  }
  return ns_between(start, Clock::now()) / count;
}

// Bytes that a peer moves; written once, so that no page is missing.
std::shared_ptr<std::vector<std::byte>> touched(std::uint64_t bytes) {
  return std::make_shared<std::vector<std::byte>>(bytes, std::byte{1});
}

int count_for(std::uint64_t bytes) { return bytes >= 1U << 20U ? 2 : kRoundTrips; }

template <class Work>
double timed(int count, Work work) {
  const auto start = Clock::now();
  for (int i = 0; i < count; ++i) { work(); }
  return ns_between(start, Clock::now()) / count;
}

// The compiler must believe that somebody reads it.
void keep(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

Result<Scenario> copy(const std::shared_ptr<Subject>& subject, Scenario base, std::uint64_t bytes) {
  HAL_TRY(const Buffer from, subject->device.buffer(bytes));
  HAL_TRY(const Buffer to, subject->device.buffer(bytes));
  HAL_CHECK(subject->queue.fill(from, std::uint8_t{1}));
  HAL_TRY(const Point ready, subject->queue.fill(to, std::uint8_t{2}));
  HAL_CHECK(wait(ready, 30s));
  base.name = fmt::format("copy {} and wait", bytes_text(bytes));
  base.ours = [subject, from, to, bytes] {
    return round_trip([&] { return subject->queue.copy(from, to); }, count_for(bytes));
  };
  base.peer_name = "memcpy";
  base.peer = [source = touched(bytes), target = touched(bytes), bytes] {
    return timed(count_for(bytes), [&] {
      std::memcpy(target->data(), source->data(), bytes);
      keep(target->data());
    });
  };
  return base;
}

Result<Scenario> fill(const std::shared_ptr<Subject>& subject, Scenario base, std::uint64_t bytes) {
  HAL_TRY(const Buffer to, subject->device.buffer(bytes));
  HAL_TRY(const Point ready, subject->queue.fill(to, std::uint8_t{2}));
  HAL_CHECK(wait(ready, 30s));
  base.name = fmt::format("fill {} and wait", bytes_text(bytes));
  base.ours = [subject, to, bytes] {
    return round_trip([&] { return subject->queue.fill(to, std::uint32_t{7}); }, count_for(bytes));
  };
  base.peer_name = "memset";
  base.peer = [target = touched(bytes), bytes] {
    return timed(count_for(bytes), [&] {
      std::memset(target->data(), 7, bytes);
      keep(target->data());
    });
  };
  return base;
}

Result<Scenario> replay(const std::shared_ptr<Subject>& subject, Scenario base) {
  const std::vector<Command> list(kRecorded, command::barrier());
  HAL_TRY(const Commands recorded, subject->device.record(list));
  base.name = "replay, one of 256 recorded commands";
  base.ours = [subject, recorded]() -> Result<double> {
    HAL_TRY(const double ns, round_trip([&] { return subject->queue.execute(recorded); }, 8));
    return ns / kRecorded;
  };
  return base;
}

// A kernel that does nothing, in the formats that have kernels.
constexpr const char* kManifest = "entry empty kernel group=1,1,1\n";
constexpr std::string_view kPtx =
    ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry empty()\n{\n  ret;\n}\n";

Result<std::vector<Scenario>> kernels(const std::shared_ptr<Subject>& subject, const Scenario& base) {
  static const hal_host_entry entry{"empty", [](const hal_host_group*, void* const*) {}};
  static const hal_host_functions functions = HAL_HOST_FUNCTIONS(&entry, 1);
  const std::array images{Image{"host.functions", std::as_bytes(std::span(&functions, 1)), kManifest},
                          Image{"ptx", std::as_bytes(std::span(kPtx)), kManifest}};
  std::vector<Scenario> out;
  for (const Image& image : images) {
    if (subject->device.supports(fmt::format("image.{}", image.format).c_str()).support == HAL_NO) { continue; }
    HAL_TRY(const Program program, subject->device.load(image));
    HAL_TRY(const Entry found, program.entry("empty"));
    Scenario one = base;
    one.name = "launch an empty kernel";
    one.ours = [subject, found] { return enqueue([&] { return subject->queue.run(found, {}, Grid(1)); }); };
    out.push_back(one);
    one.name = "launch an empty kernel and wait";
    one.ours = [subject, found] { return round_trip([&] { return subject->queue.run(found, {}, Grid(1)); }); };
    out.push_back(std::move(one));
  }
  return out;
}

// Ceilings of the first round; an emulator's speed says nothing about the device it emulates.
double enqueue_target(std::string_view driver) {
  return driver == "host" ? 200 : driver == "rngd" ? 400 : driver == "cuda" ? 1000 : 0;
}

}  // namespace

Result<std::vector<Scenario>> scenarios_of(const Device& device) {
  auto subject = std::make_shared<Subject>(Subject{device, {}});
  HAL_TRY(subject->queue, device.queue("bench"));
  const DeviceInfo info = device.info();
  Scenario base;
  base.device = info.uri;
  base.emulated = info.is_emulated != 0;
  std::vector<Scenario> out;

  Scenario one = base;
  one.name = "enqueue an empty command";
  one.target_ns = enqueue_target(info.driver);
  one.ours = [subject] { return enqueue([&] { return subject->queue.barrier(); }); };
  out.push_back(one);

  one = base;
  one.name = "empty command and wait";
  one.ours = [subject] { return round_trip([&] { return subject->queue.barrier(); }); };
  out.push_back(one);

  HAL_TRY(Scenario replayed, replay(subject, base));
  out.push_back(std::move(replayed));
  HAL_TRY(std::vector<Scenario> launches, kernels(subject, base));
  std::ranges::move(launches, std::back_inserter(out));
  for (const std::uint64_t bytes : {std::uint64_t{4096}, std::uint64_t{1} << 20U, std::uint64_t{16} << 20U}) {
    HAL_TRY(Scenario copied, copy(subject, base, bytes));
    out.push_back(std::move(copied));
    HAL_TRY(Scenario filled, fill(subject, base, bytes));
    out.push_back(std::move(filled));
  }
  return out;
}

Scenario opening() {
  Scenario scenario;
  scenario.name = "open and close an instance, host driver only";
  scenario.device = "host";
  scenario.ours = []() -> Result<double> {
    const auto start = Clock::now();
    { HAL_TRY(const Instance instance, Instance::create("host")); }
    return ns_between(start, Clock::now());
  };
  return scenario;
}

}  // namespace hal::cli::bench
