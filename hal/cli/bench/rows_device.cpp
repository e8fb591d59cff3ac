// SPDX-License-Identifier: Apache-2.0
// Rows of every device, real or emulated. An emulator's speed says nothing about the device that it emulates.
#include <fmt/format.h>

#include <array>
#include <string_view>

#include "cli/bench/row.hpp"
#include "cli/bench/timing.hpp"
#include "cli/table.hpp"
#include "hal/host_kernel.h"

namespace hal::cli::bench {
namespace {

using namespace std::chrono_literals;

constexpr int kBurst = 128;      // submissions in flight; below every device's ring
constexpr int kBursts = 8;       // in one repetition
constexpr int kRoundTrips = 64;  // in one repetition

// What one device's rows share.
struct Shared {
  Device device;
  Queue queue;
};
using SharedPtr = std::shared_ptr<Shared>;

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
Result<double> round_trip(Submit submit, int count) {
  const auto start = Clock::now();
  for (int i = 0; i < count; ++i) {
    HAL_TRY(const Point done, submit());
    HAL_CHECK(wait(done, 10s));
  }
  return ns_between(start, Clock::now()) / count;
}

Result<std::vector<Row>> moves(const SharedPtr& shared, const Row& base, std::uint64_t bytes) {
  HAL_TRY(const Buffer from, shared->device.buffer(bytes));
  HAL_TRY(const Buffer to, shared->device.buffer(bytes));
  HAL_CHECK(shared->queue.fill(from, std::uint8_t{1}));
  HAL_TRY(const Point ready, shared->queue.fill(to, std::uint8_t{2}));
  HAL_CHECK(wait(ready, 30s));
  const int count = bytes >= 1U << 20U ? 2 : kRoundTrips;
  Row copy = base, fill = base;
  copy.name = fmt::format("copy {} and wait", bytes_text(bytes));
  copy.ours = [shared, from, to, count] { return round_trip([&] { return shared->queue.copy(from, to); }, count); };
  fill.name = fmt::format("fill {} and wait", bytes_text(bytes));
  fill.ours = [shared, to, count] {
    return round_trip([&] { return shared->queue.fill(to, std::uint32_t{7}); }, count);
  };
  return std::vector{std::move(copy), std::move(fill)};
}

// A kernel that does nothing, in the format of every device that runs PTX.
constexpr const char* kManifest = "entry empty kernel group=1,1,1\n";
constexpr std::string_view kPtx =
    ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry empty()\n{\n  ret;\n}\n";

Result<std::vector<Row>> launches(const SharedPtr& shared, const Row& base) {
  std::vector<Row> out;
  if (shared->device.supports("image.ptx").support == HAL_NO) { return out; }
  HAL_TRY(const Program program, shared->device.load({"ptx", std::as_bytes(std::span(kPtx)), kManifest}));
  HAL_TRY(const Entry found, program.entry("empty"));
  Row one = base;
  one.name = "launch an empty kernel";
  one.ours = [shared, found] { return enqueue([&] { return shared->queue.run(found, {}, Grid(1)); }); };
  out.push_back(one);
  one.name = "launch an empty kernel and wait";
  one.ours = [shared, found] { return round_trip([&] { return shared->queue.run(found, {}, Grid(1)); }, kRoundTrips); };
  out.push_back(std::move(one));
  return out;
}

// Ceilings of our own making; an emulator's speed says nothing about the device it emulates.
Target enqueue_target(std::string_view driver) {
  return driver == "host"   ? Target::at_most(200)
         : driver == "rngd" ? Target::at_most(400)
         : driver == "cuda" ? Target::at_most(1000)
                            : Target{};
}

}  // namespace

Result<std::vector<Row>> device_rows(const Device& device) {
  auto shared = std::make_shared<Shared>(Shared{device, {}});
  HAL_TRY(shared->queue, device.queue("bench"));
  const DeviceInfo info = device.info();
  Row base;
  base.device = info.uri;
  base.emulated = info.is_emulated != 0;
  std::vector<Row> out;

  Row one = base;
  one.name = "enqueue an empty command";
  one.target = enqueue_target(info.driver);
  one.ours = [shared] { return enqueue([&] { return shared->queue.barrier(); }); };
  out.push_back(one);

  one = base;
  one.name = "empty command and wait";
  one.ours = [shared] { return round_trip([&] { return shared->queue.barrier(); }, kRoundTrips); };
  out.push_back(one);

  if (std::string_view(info.driver) == "host") { return out; }  // the host's rows are finer
  HAL_TRY(std::vector<Row> more, launches(shared, base));
  std::ranges::move(more, std::back_inserter(out));
  for (const std::uint64_t bytes : {std::uint64_t{4096}, std::uint64_t{1} << 20U, std::uint64_t{16} << 20U}) {
    HAL_TRY(more, moves(shared, base, bytes));
    std::ranges::move(more, std::back_inserter(out));
  }
  return out;
}

}  // namespace hal::cli::bench
