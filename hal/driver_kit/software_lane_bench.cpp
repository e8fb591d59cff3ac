// SPDX-License-Identifier: Apache-2.0
// What a software lane costs inside the driver, without the core. Prints medians of interleaved repetitions; the worker
// of each lane is alive throughout, as in real use.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string>
#include <vector>

#include "driver_kit/clock.hpp"
#include "driver_kit/software_lane.hpp"
#include "threads/fence.hpp"
#include "threads/futex.hpp"

namespace {

constexpr std::uint64_t kPatienceNs = 60'000'000'000;

class Nothing final : public hal::kit::CommandExecutor {
 public:
  hal_error* execute(const hal_command&) override { return nullptr; }
  hal::kit::CommandCost cost(const hal_command&) const override { return {20, false}; }
};

// The core's place: a waiter sleeps on one word.
std::atomic<std::uint32_t> g_reached{0};

void on_reached(hal_lane*) {
  g_reached.fetch_add(1, std::memory_order_seq_cst);
  hal::threads::futex_wake(g_reached);
}

struct Subject {
  const char* name;
  std::uint64_t operations;  // in one repetition
  std::function<void(std::uint64_t)> body;
  std::vector<double> ns{};
};

}  // namespace

int main(int argc, char** argv) {
  const int repetitions = argc > 1 ? std::max(1, std::atoi(argv[1])) : 31;
  hal_host_api host{};
  host.reached = on_reached;
  host.failed = [](hal_lane*, std::uint64_t, hal_error* error) { hal_release(error); };
  hal::kit::SoftwareLane lane(&host, nullptr, "bench", "bench", std::make_unique<Nothing>(), {});
  std::uint64_t number = 0;

  hal_command barrier{}, fill{}, run{};
  fill.op = HAL_OP_FILL;
  std::array<hal_arg, 4> args{};
  run.op = HAL_OP_RUN;
  run.as.run.args = args.data();
  run.as.run.arg_count = args.size();
  const std::vector<hal_command> batch(64, run);

  auto submit = [&](const hal_command* commands, std::uint32_t count) {
    while (count > 0) {
      const std::uint32_t taken = lane.submit(number + 1, commands, count);
      number += taken;
      commands += taken;
      count -= taken;
      if (count > 0) { lane.help(number, kPatienceNs); }
    }
  };
  auto wait = [&] {
    if (hal_lane_completed(&lane) < number) { lane.help(number, kPatienceNs); }
    while (hal_lane_completed(&lane) < number) {
      const std::uint32_t seen = g_reached.load(std::memory_order_seq_cst);
      __atomic_store_n(&lane.wake_at, number, __ATOMIC_SEQ_CST);
      (void)hal::threads::fence_other_threads();
      lane.notify();
      if (__atomic_load_n(&lane.completed, __ATOMIC_SEQ_CST) < number) { hal::threads::futex_wait(g_reached, seen); }
      __atomic_store_n(&lane.wake_at, UINT64_MAX, __ATOMIC_SEQ_CST);
    }
  };

  std::array subjects{
      Subject{"barrier on an idle lane", 100'000,
              [&](std::uint64_t n) {
                for (; n > 0; --n) { submit(&barrier, 1); }
              }},
      Subject{"run, 4 arguments: submit, wait (helped)", 50'000,
              [&](std::uint64_t n) {
                for (; n > 0; --n) {
                  submit(&run, 1);
                  wait();
                }
              }},
      Subject{"fill: submit, wait (helped)", 50'000,
              [&](std::uint64_t n) {
                for (; n > 0; --n) {
                  submit(&fill, 1);
                  wait();
                }
              }},
      Subject{"run, 4 arguments: one by one, one wait per 256", 51'200,
              [&](std::uint64_t n) {
                for (std::uint64_t i = 1; i <= n; ++i) {
                  submit(&run, 1);
                  if (i % 256 == 0) { wait(); }
                }
              }},
      Subject{"run, 4 arguments: batches of 64, one wait per 4", 51'200,
              [&](std::uint64_t n) {
                for (std::uint64_t i = 1; i <= n / 64; ++i) {
                  submit(batch.data(), 64);
                  if (i % 4 == 0) { wait(); }
                }
              }},
      Subject{"fill: submit, wait, after 2 ms without work", 5,
              [&](std::uint64_t n) {
                for (; n > 0; --n) {
                  submit(&fill, 1);
                  wait();
                }
              }},
      Subject{"fill: submit, wait for the worker (no help)", 200,
              [&](std::uint64_t n) {
                for (; n > 0; --n) {
                  submit(&fill, 1);
                  while (hal_lane_completed(&lane) < number) {
                    const std::uint32_t seen = g_reached.load(std::memory_order_seq_cst);
                    __atomic_store_n(&lane.wake_at, number, __ATOMIC_SEQ_CST);
                    (void)hal::threads::fence_other_threads();
                    lane.notify();
                    if (__atomic_load_n(&lane.completed, __ATOMIC_SEQ_CST) < number) {
                      hal::threads::futex_wait(g_reached, seen);
                    }
                    __atomic_store_n(&lane.wake_at, UINT64_MAX, __ATOMIC_SEQ_CST);
                  }
                }
              }},
  };
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    for (Subject& subject : subjects) {
      double total = 0;
      if (subject.operations == 5) {  // each operation after its own pause
        for (int i = 0; i < 5; ++i) {
          const timespec pause{0, 2'000'000};
          nanosleep(&pause, nullptr);
          const std::uint64_t begin = hal::kit::clock_ns();
          subject.body(1);
          total += static_cast<double>(hal::kit::clock_ns() - begin);
        }
      } else {
        const std::uint64_t begin = hal::kit::clock_ns();
        subject.body(subject.operations);
        total = static_cast<double>(hal::kit::clock_ns() - begin);
      }
      wait();
      subject.ns.push_back(total / static_cast<double>(subject.operations));
    }
  }
  fmt::print("{:<52} {:>10} {:>10} {:>10}  ns per operation, {} repetitions\n", "", "median", "min", "max",
             repetitions);
  for (Subject& subject : subjects) {
    std::sort(subject.ns.begin(), subject.ns.end());
    fmt::print("{:<52} {:>10.1f} {:>10.1f} {:>10.1f}\n", subject.name, subject.ns[subject.ns.size() / 2],
               subject.ns.front(), subject.ns.back());
  }
}
