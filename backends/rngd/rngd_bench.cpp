// SPDX-License-Identifier: Apache-2.0
// What a command costs: in librngd, through the HAL, and in the emulated card. Medians over repetitions; host time, not
// the card's virtual time.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <vector>

#include "driver/rngd.h"
#include "driver_kit/clock.hpp"
#include "emulator/emulated_card.h"
#include "emulator/execute.hpp"
#include "hal/hal.h"
#include "image/builder.hpp"

namespace {

void check(hal_error* error) {
  if (error == nullptr) { return; }
  fmt::print(stderr, "{}\n", hal_error_text(error));
  std::exit(1);
}
void check(rngd_status status) {
  if (status == RNGD_OK) { return; }
  fmt::print(stderr, "{}\n", rngd_status_name(status));
  std::exit(1);
}

// Nanoseconds per operation of `body`, which does `operations` of them; `after` is not timed.
void measure(const char* name, std::uint64_t operations, const std::function<void()>& body,
             const std::function<void()>& after) {
  std::vector<double> ns;
  for (int i = 0; i < 201; ++i) {
    const std::uint64_t start = hal::kit::clock_ns();
    body();
    ns.push_back(static_cast<double>(hal::kit::clock_ns() - start) / static_cast<double>(operations));
    after();
  }
  std::ranges::sort(ns);
  fmt::print("{:<44} {:>9.1f} ns   10 % {:>9.1f}   90 % {:>9.1f}\n", name, ns[100], ns[20], ns[180]);
}

constexpr std::uint64_t kForever = 60'000'000'000;
constexpr std::uint64_t kBatch = 512;

}  // namespace

int main() {
  {
    rngd_bus bus;
    if (rngd_emulated_card_create(nullptr, &bus) != 0) { return 1; }
    rngd_device* device = nullptr;
    rngd_partition* partition = nullptr;
    rngd_queue* queue = nullptr;
    check(rngd_device_open(&bus, &device, nullptr));
    check(rngd_partition_create(device, 0, 1, &partition, nullptr));
    check(rngd_queue_create(partition, nullptr, &queue, nullptr));
    const rngd_command barrier{};
    const std::vector<rngd_command> batch(kBatch, barrier);
    std::uint64_t first = 0;
    const auto drain = [&] { check(rngd_queue_wait(queue, rngd_queue_submitted(queue), kForever)); };
    measure(
        "librngd: submit, one by one", kBatch,
        [&] {
          for (std::uint64_t i = 0; i < kBatch; ++i) { check(rngd_queue_submit(queue, &barrier, 1, &first, nullptr)); }
        },
        drain);
    measure(
        "librngd: submit, 512 at once", kBatch,
        [&] { check(rngd_queue_submit(queue, batch.data(), kBatch, &first, nullptr)); }, drain);
    measure(
        "librngd: submit and wait, 512 at once", kBatch,
        [&] {
          check(rngd_queue_submit(queue, batch.data(), kBatch, &first, nullptr));
          drain();
        },
        [] {});
    measure(
        "librngd: submit and wait, one by one", 64,
        [&] {
          for (int i = 0; i < 64; ++i) {
            check(rngd_queue_submit(queue, &barrier, 1, &first, nullptr));
            drain();
          }
        },
        [] {});
    rngd_queue_destroy(queue);
    check(rngd_partition_destroy(partition, nullptr));
    rngd_device_close(device);
  }
  {
    using namespace rngd::image;
    constexpr std::int64_t kSide = 512;
    const std::array<std::int64_t, 2> dims{kSide, kSide};
    Builder b(1);
    const auto x = b.input(Dtype::f32, dims), y = b.output(Dtype::f32, dims);
    b.contract(x, x, y,
               {2,
                2,
                2,
                static_cast<std::uint8_t>(Unit::vector),
                static_cast<std::uint8_t>(Dtype::f32),
                0,
                {},
                {0, 1},
                {1, 2},
                {0, 2}});
    const auto program = parse(b.finish());
    std::vector<float> in(kSide * kSide, 0.5F), out(kSide * kSide);
    std::array<std::byte*, 2> bindings{reinterpret_cast<std::byte*>(in.data()),
                                       reinterpret_cast<std::byte*>(out.data())};
    measure(
        "emulator: f32 contraction 512^3, per 1000 MAC", kSide * kSide * kSide / 1000,
        [&] { rngd::emulator::execute(*program, {bindings, nullptr, nullptr, nullptr}); }, [] {});
  }
  hal_instance* instance = nullptr;
  hal_device* device = nullptr;
  hal_queue* queue = nullptr;
  check(hal_instance_create(nullptr, &instance));
  check(hal_device_open(instance, "rngd:0/pe0", &device));
  check(hal_queue_create(device, "bench", &queue));
  const hal_command barrier{};
  hal_point point{};
  const auto drain = [&] { check(hal_wait(&point, 1, HAL_WAIT_ALL, kForever, nullptr)); };
  measure(
      "HAL: submit an empty command, one by one", kBatch,
      [&] {
        for (std::uint64_t i = 0; i < kBatch; ++i) { check(hal_queue_submit(queue, &barrier, 1, nullptr, &point)); }
      },
      drain);
  measure(
      "HAL: submit and wait, one by one", 64,
      [&] {
        for (int i = 0; i < 64; ++i) {
          check(hal_queue_submit(queue, &barrier, 1, nullptr, &point));
          drain();
        }
      },
      [] {});
  hal_release(queue);
  hal_release(device);
  hal_release(instance);
  return 0;
}
