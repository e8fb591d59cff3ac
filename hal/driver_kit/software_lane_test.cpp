// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/software_lane.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <future>
#include <halyard_catch.hpp>
#include <thread>
#include <vector>

#include "driver_kit/clock.hpp"
#include "driver_kit/errors.hpp"
#include "driver_kit/harness.hpp"
#include "driver_kit/lane_driver.hpp"

using hal::kit::CommandExecutor;
using hal::kit::Harness;
using hal::kit::LaneOptions;
using hal::kit::SoftwareLane;

namespace {

// Appends the number of each command (carried in a fill's pattern) to a log. Special patterns misbehave.
constexpr std::uint64_t kFail = 1'000'001, kThrow = 1'000'002, kGate = 1'000'003, kSlow = 1'000'004;
constexpr std::uint64_t kMinuteNs = 60'000'000'000;

struct Log {
  std::mutex mutex;
  std::vector<std::uint64_t> entries;
  std::atomic<std::uint64_t> first_scalars{0};
  std::atomic<bool> inside{false}, overlapped{false};
  std::promise<void> gate_reached;
  std::promise<void> gate;
  std::vector<std::thread::id> threads;  // of each command
  std::size_t size() {
    const std::lock_guard lock(mutex);
    return entries.size();
  }
};
Log* g_log = nullptr;
LaneOptions g_options;
std::uint32_t g_cost = 10;

class Logger final : public CommandExecutor {
 public:
  hal_error* execute(const hal_command& command) override {
    if (g_log->inside.exchange(true)) { g_log->overlapped = true; }
    {
      const std::lock_guard lock(g_log->mutex);
      g_log->threads.push_back(std::this_thread::get_id());
    }
    hal_error* error = nullptr;
    if (command.op == HAL_OP_RUN) {
      std::uint64_t sum = 0;
      for (std::uint32_t i = 0; i < command.as.run.arg_count; ++i) {
        std::uint64_t value = 0;
        std::memcpy(&value, command.as.run.args[i].value.scalar, sizeof(value));
        sum += value;
      }
      g_log->first_scalars += sum;
    } else {
      const std::uint64_t pattern = command.as.fill.pattern;
      if (pattern == kThrow) {
        g_log->inside = false;
        throw std::bad_alloc();
      }
      if (pattern == kGate) {
        g_log->gate_reached.set_value();
        g_log->gate.get_future().wait();
      }
      if (pattern == kSlow) {  // a millisecond at least, whatever was guessed
        const std::uint64_t end = hal::kit::clock_ns() + 1'000'000;
        while (hal::kit::clock_ns() < end) {}
      }
      if (pattern == kFail) { error = hal::kit::make_error("logger", HAL_EXECUTION_FAILED, "asked to fail"); }
      const std::lock_guard lock(g_log->mutex);
      g_log->entries.push_back(pattern);
    }
    g_log->inside = false;
    return error;
  }
  hal::kit::CommandCost cost(const hal_command& command) const override {
    return {g_cost, command.op == HAL_OP_FILL && command.as.fill.pattern == kGate};
  }
};

SoftwareLane* make_logger(const hal_host_api* host, void* core, const char* label) {
  return new SoftwareLane(host, core, "logger", label, std::make_unique<Logger>(), g_options);
}

hal_command entry(std::uint64_t pattern) {
  hal_command command{};
  command.op = HAL_OP_FILL;
  command.as.fill.pattern = pattern;
  return command;
}

const hal_command kBarrier{};  // op 0

struct Fixture {
  explicit Fixture(LaneOptions options = {}, std::uint32_t cost = 10) {
    g_log = &log;
    g_options = options;
    g_cost = cost;
    device = host.open(0);
    lane = std::make_unique<Harness::Lane>(*device);
  }
  Log log;
  Harness host{hal::kit::lane_driver_entry<make_logger>};
  std::unique_ptr<Harness::Device> device;
  std::unique_ptr<Harness::Lane> lane;
};

void expect_in_order(const std::vector<std::uint64_t>& entries, std::uint64_t count) {
  REQUIRE(entries.size() == count);
  for (std::uint64_t i = 0; i < count; ++i) { REQUIRE(entries[i] == i + 1); }
}

// Launches that its lane captures by itself: each appends its first scalar to the log, as fills do.
struct LoggedProgram final : hal::kit::LaneProgram {
  struct Launch {
    std::uint64_t number;
  };
  LoggedProgram() {
    one_group = {10, 1};
    program.impl = static_cast<hal::kit::LaneProgram*>(this);
  }
  Captured capture_one_group(const hal_command& command, void* room) const noexcept override {
    if (command.as.run.arg_count != 1) { return nullptr; }
    auto& launch = *new (room) Launch;
    std::memcpy(&launch.number, command.as.run.args->value.scalar, sizeof launch.number);
    return [](void* captured) {
      const std::uint64_t number = static_cast<const Launch*>(captured)->number;
      if (number == kThrow) { throw std::bad_alloc(); }
      if (number == kGate) {
        g_log->gate_reached.set_value();
        g_log->gate.get_future().wait();
      }
      const std::lock_guard lock(g_log->mutex);
      g_log->entries.push_back(number);
    };
  }
  hal_command launch(const hal_arg* args, std::uint32_t count, std::uint32_t groups = 1) {
    hal_command command{};
    command.op = HAL_OP_RUN;
    command.as.run.program = &program;
    command.as.run.args = args;
    command.as.run.arg_count = count;
    command.as.run.grid = {{groups, 1, 1}, {1, 1, 1}, 0};
    command.as.run.has_grid = 1;
    return command;
  }
  hal_program program{};
};

hal_arg number_arg(std::uint64_t number) {
  hal_arg arg{};
  arg.kind = HAL_ARG_SCALAR;
  arg.size = sizeof number;
  std::memcpy(arg.value.scalar, &number, sizeof number);
  return arg;
}

LaneOptions with_programs(std::uint32_t capacity) {
  LaneOptions options;
  options.capacity = capacity;
  options.lane_programs = true;
  return options;
}

LaneOptions with(std::uint32_t capacity, bool hold_back = true, std::uint64_t seed = 0) {
  LaneOptions options;
  options.capacity = capacity;
  options.hold_back = hold_back;
  if (seed != 0) { options.perturb = hal::kit::Perturb(seed); }
  return options;
}

struct Opens {
  std::promise<void>& gate;
  ~Opens() { gate.set_value(); }
};

// A waiter is inside a command when `count` more come, each guessed to take `guess_ns`: which of all these it executes,
// and which it leaves to the worker.
std::vector<bool> executed_by_waiter(std::uint64_t count, std::uint64_t within_ns, std::uint32_t guess_ns) {
  for (;;) {
    Fixture f(with(128));
    f.lane->submit({entry(kGate)});
    std::jthread waiter([&] { SoftwareLane::of(f.lane->get()).help(1 + count, within_ns); });
    const std::thread::id id = waiter.get_id();
    {
      const Opens opens{f.log.gate};
      f.log.gate_reached.get_future().wait();
      g_cost = guess_ns;
      for (std::uint64_t i = 0; i < count; ++i) { f.lane->submit({entry(kSlow)}); }
    }
    waiter.join();
    f.lane->finish();
    std::vector<bool> own;
    for (const std::thread::id& thread : f.log.threads) { own.push_back(thread == id); }
    if (own.at(0)) { return own; }  // else the worker was quicker
  }
}

}  // namespace

TEST_CASE("lane: a barrier on an idle lane is published inside submit") {
  Fixture f;
  f.lane->submit({kBarrier});
  CHECK(f.lane->completed() == 1);
  f.lane->submit({kBarrier, kBarrier, kBarrier});
  CHECK(f.lane->completed() == 4);
}

TEST_CASE("lane: the waiter executes what it waits for, on its own thread, and not more") {
  Fixture f;
  f.lane->submit({entry(1), entry(2), entry(3)});
  f.lane->ops().help(f.host.driver(), f.lane->get(), 2, kMinuteNs);
  CHECK(f.lane->completed() >= 2);
  CHECK(f.lane->wait(3));
  expect_in_order(f.log.entries, 3);
}

TEST_CASE("lane: commands run without any call after submit") {
  for (const std::uint32_t cost : {10U, 100'000U}) {
    Fixture f({}, cost);
    f.lane->submit({entry(1), kBarrier, entry(2)});
    while (f.lane->completed() < 3) { std::this_thread::yield(); }
    expect_in_order(f.log.entries, 2);
  }
}

TEST_CASE("lane: order holds over ring wraps, batches and every way to be executed") {
  for (const LaneOptions& options : {with(1024), with(4), with(8, false), with(4, true, 99), with(16, false, 7)}) {
    for (const std::uint32_t cost : {10U, 2'000U}) {
      Fixture f(options, cost);
      constexpr std::uint64_t kCount = 3000;
      std::uint64_t next = 1;
      while (next <= kCount) {
        std::vector<hal_command> batch;
        for (std::uint64_t n = next % 7 + 1; n > 0 && next <= kCount; --n) { batch.push_back(entry(next++)); }
        if (next % 5 == 0) { batch.push_back(kBarrier); }
        const std::uint64_t last = f.lane->submit(batch);
        if (next % 3 == 0) { REQUIRE(f.lane->wait(last, next % 2 == 0)); }
        if (next % 11 == 0) { f.lane->flush(); }
      }
      f.lane->finish();
      CHECK(f.lane->completed() == f.lane->submitted());
      CHECK_FALSE(f.log.overlapped);
      expect_in_order(f.log.entries, kCount);
    }
  }
}

TEST_CASE("lane: several helpers and the worker never execute at the same time") {
  Fixture f;
  constexpr std::uint64_t kCount = 2000;
  std::vector<std::jthread> helpers;
  for (int i = 0; i < 3; ++i) {
    helpers.emplace_back([&](const std::stop_token& over) {
      while (!over.stop_requested()) {
        f.lane->ops().help(f.host.driver(), f.lane->get(), f.lane->completed() + 3, kMinuteNs);
        std::this_thread::yield();
      }
    });
  }
  for (std::uint64_t n = 1; n <= kCount; ++n) { f.lane->submit({entry(n)}); }
  f.lane->finish();
  helpers.clear();
  CHECK_FALSE(f.log.overlapped);
  expect_in_order(f.log.entries, kCount);
}

TEST_CASE("lane: a helper that comes before the submission returns executes nothing twice") {
  Fixture f(with(4));
  std::vector<std::jthread> helpers;
  for (const std::uint64_t ahead : {1U, 2U, 2U}) {
    helpers.emplace_back([&, ahead](const std::stop_token& over) {
      while (!over.stop_requested()) {
        f.lane->ops().help(f.host.driver(), f.lane->get(), f.lane->completed() + ahead, kMinuteNs);
      }
    });
  }
  hal_arg one{};
  one.kind = HAL_ARG_SCALAR;
  one.value.scalar[0] = 1;
  hal_command run{};
  run.op = HAL_OP_RUN;
  run.as.run.args = &one;
  run.as.run.arg_count = 1;
  std::uint64_t runs = 8, fills = 0;
  f.lane->submit(std::vector<hal_command>(runs, run));  // whatever is executed twice is one of these
  // A run goes through the ring, and the fill behind it is done inside submit() once the run is.
  for (; fills < 2000; ++fills, ++runs) {
    REQUIRE(f.lane->wait(f.lane->submit({run})));
    f.lane->submit({entry(fills + 1)});
  }
  f.lane->finish();
  helpers.clear();
  CHECK(f.log.first_scalars == runs);
  expect_in_order(f.log.entries, fills);
}

TEST_CASE("lane: arguments are captured, however many, and the ring of captures is reused") {
  Fixture f(with(64));
  std::uint64_t expected = 0;
  for (std::uint32_t round = 0; round < 400; ++round) {
    // Up to 300 arguments: past the ring's largest block they come from the heap.
    std::vector<hal_arg> args(round % 300);
    for (auto& arg : args) {
      arg.kind = HAL_ARG_SCALAR;
      const std::uint64_t value = round;
      std::memcpy(arg.value.scalar, &value, sizeof(value));
      expected += value;
    }
    hal_command run{};
    run.op = HAL_OP_RUN;
    run.as.run.args = args.data();
    run.as.run.arg_count = static_cast<std::uint32_t>(args.size());
    f.lane->submit({run});
    std::fill(args.begin(), args.end(), hal_arg{});
  }
  f.lane->finish();
  CHECK(f.log.first_scalars == expected);
}

TEST_CASE("lane: the first failure is reported with its number and stops everything after it") {
  for (const std::uint64_t bad : {kFail, kThrow}) {
    Fixture f;
    f.lane->submit({entry(1), entry(2), entry(bad), entry(4), kBarrier});
    CHECK_FALSE(f.lane->wait(5));
    CHECK(f.lane->completed() == 2);
    CHECK(f.lane->failed_number() == 3);
    CHECK(hal_error_describe(f.lane->failure()).code == (bad == kFail ? HAL_EXECUTION_FAILED : HAL_OUT_OF_HOST_MEMORY));
    const hal_command more = entry(5);
    CHECK(f.lane->ops().submit(f.host.driver(), f.lane->get(), 6, &more, 1) == 1);
    f.lane.reset();
    for (const std::uint64_t seen : f.log.entries) { CHECK(seen < 4U + kFail); }
    CHECK(std::find(f.log.entries.begin(), f.log.entries.end(), 4U) == f.log.entries.end());
  }
}

TEST_CASE("lane: cancel skips what has not begun, publishes it all the same, and lets the running command finish") {
  Fixture f;
  f.lane->submit({entry(1), entry(kGate), entry(3)});
  f.log.gate_reached.get_future().wait();
  CHECK(f.lane->completed() == 1);  // published before the long command began
  f.lane->cancel();
  f.log.gate.set_value();
  CHECK(f.lane->wait(3));
  f.lane->submit({kBarrier, entry(5)});
  CHECK(f.lane->wait(5));
  CHECK(f.log.entries == std::vector<std::uint64_t>{1, kGate});
}

TEST_CASE("lane: a full ring takes a prefix and goes on after the next publish") {
  Fixture f(with(8));
  std::vector<hal_command> many{entry(kGate)};
  for (std::uint64_t i = 2; i <= 20; ++i) { many.push_back(entry(i)); }
  const std::uint32_t taken = f.lane->ops().submit(f.host.driver(), f.lane->get(), 1, many.data(), 20);
  CHECK(taken == 7);  // one slot stays unused
  f.log.gate_reached.get_future().wait();
  CHECK(f.lane->ops().submit(f.host.driver(), f.lane->get(), 8, many.data() + 7, 13) == 0);
  f.log.gate.set_value();
  while (f.lane->completed() < 7) { std::this_thread::yield(); }
  CHECK(f.lane->ops().submit(f.host.driver(), f.lane->get(), 8, many.data() + 7, 13) == 7);
  while (f.lane->completed() < 14) { std::this_thread::yield(); }
}

TEST_CASE("lane: an idle lane sleeps and a late submit still runs") {
  hal::kit::LanePool pool(1, "lane-test");
  LaneOptions options;
  options.pool = &pool;
  Fixture f(options);
  f.lane->submit({entry(1)});
  while (f.lane->completed() < 1) { std::this_thread::yield(); }
  // In this order: an idle thread has put its lane among those that nap, and there it stays until it sleeps.
  while (pool.asleep() != 1 || pool.napping() != 0) { std::this_thread::yield(); }
  f.lane->submit({entry(2)});
  while (f.lane->completed() < 2) { std::this_thread::yield(); }
  expect_in_order(f.log.entries, 2);
}

TEST_CASE("perturb: a seed replays its decisions and different seeds differ") {
  const hal::kit::Perturb a(1), same(1), b(2), off;
  int different = 0;
  for (std::uint64_t n = 0; n < 100; ++n) {
    CHECK(a.pick(n, 3, 1000) == same.pick(n, 3, 1000));
    different += a.pick(n, 3, 1000) != b.pick(n, 3, 1000) ? 1 : 0;
    CHECK(off.pick(n, 3, 1000) == 0);
  }
  CHECK(different > 90);
}

TEST_CASE("software lane: launches that a program captures run in order with all others") {
  Fixture f(with_programs(16));
  LoggedProgram program;
  constexpr std::uint64_t kCount = 1000;  // the ring goes round many times
  for (std::uint64_t i = 1; i <= kCount; ++i) {
    const hal_arg args[] = {number_arg(i), number_arg(0)};  // gone after this turn: what is needed is copied
    f.lane->submit({i % 3 == 0 ? entry(i) : program.launch(args, 1)});
    if (i % 7 == 0) { REQUIRE(f.lane->wait(i)); }
  }
  f.lane->finish();
  expect_in_order(f.log.entries, kCount);
}

TEST_CASE("software lane: a launch that its program does not capture goes to the executor") {
  Fixture f(with_programs(16));
  LoggedProgram program;
  const hal_arg args[] = {number_arg(3), number_arg(4)};
  f.lane->submit({program.launch(args, 2)});     // the program says no
  f.lane->submit({program.launch(args, 1, 2)});  // two groups
  f.lane->submit({program.launch(args, 1), program.launch(args, 2)});
  f.lane->finish();
  CHECK(f.log.first_scalars == 7 + 3 + 7);
  CHECK(f.log.entries == std::vector<std::uint64_t>{3});
}

TEST_CASE("software lane: a captured launch that throws fails the lane, and nothing behind it runs") {
  Fixture f(with_programs(16));
  LoggedProgram program;
  const hal_arg good = number_arg(1), bad = number_arg(kThrow), late = number_arg(2);
  f.lane->submit({program.launch(&good, 1)});
  f.lane->submit({program.launch(&bad, 1)});
  f.lane->submit({program.launch(&late, 1)});
  CHECK_FALSE(f.lane->wait(3));
  CHECK(f.lane->failed_number() == 2);
  CHECK(f.lane->completed() == 1);
  CHECK(hal_error_describe(f.lane->failure()).code == HAL_OUT_OF_HOST_MEMORY);
  CHECK(f.log.entries == std::vector<std::uint64_t>{1});
}

TEST_CASE("software lane: captured launches that have not begun are skipped by cancel, and published") {
  Fixture f(with_programs(16));
  LoggedProgram program;
  const hal_arg gate = number_arg(kGate), late = number_arg(2);
  f.lane->submit({program.launch(&gate, 1)});
  f.lane->submit({program.launch(&late, 1)});
  f.lane->flush();
  f.log.gate_reached.get_future().wait();
  f.lane->cancel();
  f.log.gate.set_value();
  REQUIRE(f.lane->wait(2));
  CHECK(f.log.entries == std::vector<std::uint64_t>{kGate});
}

TEST_CASE("software lane: a waiter begins nothing that is likely to end after it has to go, or to take very long") {
  struct Case {
    std::uint32_t guess_ns;
    std::uint64_t within_ns;
    bool own;
  };
  for (const Case& c : {Case{50'000'000, kMinuteNs, true}, Case{50'000'000, 49'999'999, false},
                        Case{SoftwareLane::kHelpNs + 1, kMinuteNs, false}}) {
    const std::vector<bool> own = executed_by_waiter(1, c.within_ns, c.guess_ns);
    CAPTURE(c.guess_ns, c.within_ns);
    CHECK(own == std::vector<bool>{true, c.own});
  }
}

TEST_CASE("software lane: a waiter whose time is over goes, however short the work was guessed to be") {
  const std::vector<bool> own = executed_by_waiter(100, 1'000'000, 10);
  CHECK(std::count(own.begin(), own.end(), true) <= SoftwareLane::kGroup + 1);
}
