// SPDX-License-Identifier: Apache-2.0
// What it costs to hand work to the host and to learn that it is done.
#include <fmt/format.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "cli/bench/names.hpp"
#include "cli/bench/probe.hpp"
#include "cli/bench/row.hpp"
#include "cli/bench/timing.hpp"
#include "hal/host_kernel.h"

namespace hal::cli::bench {
namespace {

using namespace std::chrono_literals;

constexpr int kMany = 20'000;         // operations of one repetition that cost some ten nanoseconds
constexpr int kColdRounds = 8;        // each after its own pause
constexpr std::uint32_t kList = 256;  // commands of a recording
constexpr auto kLong = 30s;

// The cheapest way to hand over a command that we know of: written into a ring of one thread, published, read, done.
double ring_of_one_thread() {
  struct alignas(64) Slot {
    std::array<std::uint64_t, 8> words;
  };
  static std::array<Slot, 256> ring;
  static std::atomic<std::uint64_t> tail{0}, done{0};
  std::uint64_t sum = 0;
  const double ns = timed(kMany, [&] {
    const std::uint64_t at = tail.load(std::memory_order_relaxed) + 1;
    ring[at % ring.size()].words.fill(at);
    tail.store(at, std::memory_order_release);
    sum += ring[done.load(std::memory_order_relaxed) % ring.size()].words[7];
    done.store(at, std::memory_order_release);
  });
  keep(&sum);
  return ns;
}

// A thread that sleeps on a futex until the other one wakes it, and back.
Result<double> futex_round_trip() {
  std::atomic<std::uint32_t> turn{0};
  const auto futex = [&](int op, std::uint32_t value) { ::syscall(SYS_futex, &turn, op, value, nullptr, nullptr, 0); };
  const auto wait_for = [&](std::uint32_t value) {
    for (std::uint32_t seen = turn.load(); seen != value; seen = turn.load()) { futex(FUTEX_WAIT_PRIVATE, seen); }
  };
  constexpr std::uint32_t kRounds = 200;
  std::thread other([&] {
    for (std::uint32_t i = 0; i < kRounds; ++i) {
      wait_for(2 * i + 1);
      turn = 2 * i + 2;
      futex(FUTEX_WAKE_PRIVATE, 1);
    }
  });
  const auto start = Clock::now();
  for (std::uint32_t i = 0; i < kRounds; ++i) {
    turn = 2 * i + 1;
    futex(FUTEX_WAKE_PRIVATE, 1);
    wait_for(2 * i + 2);
  }
  const double ns = ns_between(start, Clock::now()) / kRounds;
  other.join();
  return ns;
}

// What the rows share. The queues stay apart, so that one row's state is not another's.
struct Shared {
  Instance instance;
  Device device;
  Queue plain, threaded, flight;
  Entry entry;
  EmptyArguments arguments;
  std::array<Arg, 3> args;

  Result<Point> launch(const Queue& queue) const { return const_cast<Queue&>(queue).run(entry, args, Grid(1)); }
};
using SharedPtr = std::shared_ptr<Shared>;

template <class Submit>
Result<double> round_trips(int count, Submit submit) {
  const auto start = Clock::now();
  for (int i = 0; i < count; ++i) {
    HAL_TRY(const Point done, submit());
    HAL_CHECK(wait(done, kLong));
  }
  return ns_between(start, Clock::now()) / count;
}

Result<double> cold(const SharedPtr& shared) {
  double ns = 0;
  for (int i = 0; i < kColdRounds; ++i) {
    std::this_thread::sleep_for(2ms);
    const auto start = Clock::now();
    HAL_TRY(const Point done, shared->launch(shared->threaded));
    HAL_CHECK(wait(done, kLong));
    ns += ns_between(start, Clock::now());
  }
  return ns / kColdRounds;
}

// The worker does it: the submitting thread only looks.
Result<double> by_the_worker(const SharedPtr& shared) {
  hal_timeline* timeline = hal_queue_timeline(shared->threaded.get());
  constexpr int kRounds = 50;
  const auto start = Clock::now();
  for (int i = 0; i < kRounds; ++i) {
    HAL_TRY(const Point done, shared->launch(shared->threaded));
    HAL_CHECK(shared->threaded.flush());
    for (std::uint64_t now = 0; now < done.value;) {
      HAL_CHECK(check(hal_timeline_value(timeline, &now)));
      if (ns_between(start, Clock::now()) > 5e9) { return Error(HAL_DEADLINE_EXCEEDED, "the worker never came"); }
      std::this_thread::yield();
    }
  }
  return ns_between(start, Clock::now()) / kRounds;
}

// `kLaunches` are half of the ring: nothing is held back by the core.
constexpr int kLaunches = 512;

Result<double> series_of_launches(const SharedPtr& shared, std::span<const Command> list) {
  Point last{};
  const auto start = Clock::now();
  for (std::size_t i = 0; i < kLaunches; i += list.size()) { HAL_TRY(last, shared->plain.submit(list)); }
  HAL_CHECK(wait(last, kLong));
  return ns_between(start, Clock::now()) / kLaunches;
}

// As timed_warm(), with two series: the first wakes the worker, which takes part in the second.
Result<double> pipelined(const SharedPtr& shared, std::size_t batch) {
  const std::vector<Command> list(batch, command::run(shared->entry, shared->args, Grid(1)));
  constexpr int kWarm = 2, kRounds = 20;
  double ns = 0;
  for (int round = -kWarm; round < kRounds; ++round) {
    HAL_TRY(const double one, series_of_launches(shared, list));
    if (round >= 0) { ns += one; }
  }
  return ns / kRounds;
}

// What pipelined() leaves out: the first series, which finds the worker asleep.
Result<double> pipelined_from_sleep(const SharedPtr& shared) {
  std::this_thread::sleep_for(100ms);  // twice as long as a lane without work naps
  const std::vector<Command> list(1, command::run(shared->entry, shared->args, Grid(1)));
  return series_of_launches(shared, list);
}

Result<double> replay(const SharedPtr& shared, const Commands& recorded) {
  constexpr int kReplays = 40;
  HAL_TRY(const double ns, round_trips(kReplays, [&] { return shared->plain.execute(recorded); }));
  return ns / kList;
}

Result<double> recording(const SharedPtr& shared, const std::vector<Command>& list) {
  constexpr int kRecordings = 20;
  const auto start = Clock::now();
  for (int i = 0; i < kRecordings; ++i) {
    HAL_TRY(const Commands made, shared->device.record(list));
    keep(made.get());
  }
  return ns_between(start, Clock::now()) / (kRecordings * kList);
}

// `count` submissions stand behind one that waits for the host; then it signals, and all run. Of one submission: what
// the call costs with so many in flight, or what remains until all are done.
enum class Part { submitting, finishing };
Result<double> in_flight(const SharedPtr& shared, int count, int rounds, Part part) {
  double ns = 0;
  for (int round = 0; round < rounds; ++round) {
    HAL_TRY(Timeline gate, shared->instance.timeline(0, "gate"));
    HAL_TRY(Point last, shared->flight.barrier({.waits = {gate.at(1)}}));
    const auto start = Clock::now();
    for (int i = 0; i < count; ++i) { HAL_TRY(last, shared->launch(shared->flight)); }
    const auto submitted = Clock::now();
    HAL_CHECK(gate.signal(1));
    HAL_CHECK(wait(last, kLong));
    ns += part == Part::submitting ? ns_between(start, submitted) : ns_between(submitted, Clock::now());
  }
  return ns / (static_cast<double>(count) * rounds);
}

}  // namespace

Result<Entry> empty_kernel(const Device& host) {
  static const hal_host_entry entry{"empty", [](const hal_host_group*, void* const*) {}};
  static const hal_host_functions functions = HAL_HOST_FUNCTIONS(&entry, 1);
  HAL_TRY(const Program program,
          host.load({"host.functions", std::as_bytes(std::span(&functions, 1)),
                     "entry empty kernel group=1,1,1\n  scalar a f32\n  buffer x in f32\n  buffer y inout f32\n"}));
  return program.entry("empty");
}

Result<EmptyArguments> empty_arguments(const Device& host) {
  EmptyArguments made;
  HAL_TRY(made.x, host.buffer(4096));
  HAL_TRY(made.y, host.buffer(4096));
  return made;
}

Result<std::vector<Row>> submit_rows(const Instance& instance, const Device& host) {
  HAL_TRY(const Entry entry, empty_kernel(host));
  HAL_TRY(const EmptyArguments arguments, empty_arguments(host));
  auto shared = std::make_shared<Shared>(Shared{instance, host, {}, {}, {}, entry, arguments, arguments.all()});
  HAL_TRY(shared->plain, host.queue("bench"));
  HAL_TRY(shared->threaded, host.queue("bench threaded"));
  HAL_TRY(shared->flight, host.queue("bench in flight"));
  const std::vector<Command> list(kList, command::run(entry, shared->args, Grid(1)));
  HAL_TRY(const Commands recorded, host.record(list));
  const Subject ring{"ring of one thread", []() -> Result<double> { return ring_of_one_thread(); }, {}};

  Row base;
  base.device = host.uri();
  std::vector<Row> out;
  const auto add = [&](std::string name, Once ours, Target target, Subject limit = {}) {
    Row row = base;
    row.name = std::move(name);
    row.ours = std::move(ours);
    row.target = std::move(target);
    row.limit = std::move(limit);
    out.push_back(std::move(row));
  };
  add(
      "null barrier", [shared] { return round_trips(kMany, [&] { return shared->plain.barrier(); }); },
      Target::at_most(40), ring);
  add(
      kEmptyDispatch, [shared] { return round_trips(kMany, [&] { return shared->launch(shared->plain); }); },
      Target::at_most(60), ring);
  add(kThreadedHot, [shared] { return round_trips(kMany, [&] { return shared->launch(shared->threaded); }); },
      Target::at_most(150),
      {"line to the other core and back",
       []() -> Result<double> {
         const std::optional<double> trip = probe_round_trip();
         if (!trip) { return Error(HAL_UNAVAILABLE, "one core only, or no quiet moment"); }
         return *trip;
       },
       {}});
  add(kThreadedCold, [shared] { return cold(shared); }, Target::at_most(8000),
      {"futex there and back", futex_round_trip, {}});
  add("dispatch by the worker, nobody helps", [shared] { return by_the_worker(shared); }, {},
      {"futex there and back", futex_round_trip, {}});
  add(kPipelined, [shared] { return pipelined(shared, 1); }, Target::at_most(30), ring);
  add("pipelined launch, 16 a submission", [shared] { return pipelined(shared, 16); }, {}, ring);
  add("512 launches that find the lane asleep, each", [shared] { return pipelined_from_sleep(shared); }, {},
      {"futex there and back", futex_round_trip, {}});
  add(kReplay, [shared, recorded] { return replay(shared, recorded); }, Target::at_most(20), ring);
  add(kRecording, [shared, list] { return recording(shared, list); }, Target::at_most(100));
  add("submission with 8,192 held back", [shared] { return in_flight(shared, 8192, 1, Part::submitting); },
      Target::times(2, "16 held back"),
      {"16 held back", [shared] { return in_flight(shared, 16, 64, Part::submitting); }, {}});
  add("8,192 held back, until all are done", [shared] { return in_flight(shared, 8192, 1, Part::finishing); }, {});
  return out;
}

}  // namespace hal::cli::bench
