// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/lane_pool.hpp"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <future>
#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <vector>

#include "driver_kit/errors.hpp"
#include "driver_kit/harness.hpp"
#include "driver_kit/lane_driver.hpp"
#include "driver_kit/software_lane.hpp"

using hal::kit::Harness;
using hal::kit::LanePool;
using hal::kit::SoftwareLane;
using hal::test::eventually;
using hal::test::kSoon;

namespace {

using Work = std::function<void()>;

// A fill's pattern is the address of what to do.
class Caller final : public hal::kit::CommandExecutor {
 public:
  hal_error* execute(const hal_command& command) override {
    (*reinterpret_cast<const Work*>(static_cast<std::uintptr_t>(command.as.fill.pattern)))();
    return nullptr;
  }
  hal::kit::CommandCost cost(const hal_command&) const override { return {10'000, true}; }
};

LanePool* g_pool = nullptr;

SoftwareLane* make_caller(const hal_host_api* host, void* core, const char* label) {
  hal::kit::LaneOptions options;
  options.pool = g_pool;
  return new SoftwareLane(host, core, "caller", label, std::make_unique<Caller>(), options);
}

hal_command call(const Work& work) {
  hal_command command{};
  command.op = HAL_OP_FILL;
  command.as.fill.pattern = reinterpret_cast<std::uintptr_t>(&work);
  return command;
}

// Lanes on one pool.
struct Fixture {
  explicit Fixture(std::uint32_t threads, std::size_t count) : pool(threads, "pool-test") {
    g_pool = &pool;
    host.emplace(hal::kit::lane_driver_entry<make_caller>);
    device = host->open(0);
    for (std::size_t i = 0; i < count; ++i) { lanes.push_back(std::make_unique<Harness::Lane>(*device)); }
  }
  LanePool pool;
  std::optional<Harness> host;
  std::unique_ptr<Harness::Device> device;
  std::vector<std::unique_ptr<Harness::Lane>> lanes;
};

// Until it is opened, both workers of a pool of two are inside split work. Whoever splits it may get no part of it.
std::vector<std::jthread> occupy_both(LanePool& pool, const std::atomic<bool>& open) {
  static thread_local bool is_worker = true;
  static std::atomic<int> workers;
  workers = 0;
  std::vector<std::jthread> callers;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&](const std::stop_token& stop) {
      is_worker = false;
      pool.parallel(2, [&](std::uint64_t) {
        if (is_worker) { ++workers; }
        while (!open && !stop.stop_requested()) { std::this_thread::yield(); }
      });
    });
    while (workers <= i) { std::this_thread::yield(); }
  }
  return callers;
}

std::atomic<bool> g_refuse_fences{false};

}  // namespace

// Linked in place of the C library's (CMakeLists.txt), so that a fence in the other threads can be refused.
extern "C" long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
extern "C" long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
  if (number == SYS_membarrier && static_cast<int>(a) == MEMBARRIER_CMD_PRIVATE_EXPEDITED && g_refuse_fences) {
    errno = ENOSYS;
    return -1;
  }
  return __real_syscall(number, a, b, c, d, e, f);
}

TEST_CASE("lane pool: many lanes on few threads, each in order, with and without helpers") {
  for (const std::uint32_t threads : {1U, 2U, 5U}) {
    Fixture fixture(threads, 24);
    constexpr std::uint64_t kCommands = 400;
    std::vector<std::uint64_t> next(24, 0);
    std::vector<std::vector<Work>> work(24);
    std::atomic<std::uint64_t> wrong{0};
    for (std::size_t i = 0; i < 24; ++i) {
      for (std::uint64_t n = 0; n < kCommands; ++n) {
        work[i].emplace_back([&, i, n] { wrong += next[i]++ == n ? 0 : 1; });
      }
    }
    for (std::uint64_t n = 0; n < kCommands; n += 8) {
      for (std::size_t i = 0; i < 24; ++i) {
        std::vector<hal_command> commands;
        for (std::uint64_t k = 0; k < 8; ++k) { commands.push_back(call(work[i][n + k])); }
        fixture.lanes[i]->submit(commands);
        if ((n + i) % 5 == 0) { fixture.lanes[i]->flush(); }
        if ((n + i) % 31 == 0) { CHECK(fixture.lanes[i]->wait(n + 1)); }
      }
    }
    for (std::size_t i = 0; i < 24; ++i) { CHECK(fixture.lanes[i]->wait(kCommands, i % 2 == 0)); }
    CHECK(wrong == 0);
    for (const std::uint64_t count : next) { CHECK(count == kCommands); }
  }
}

TEST_CASE("lane pool: work that waits for other lanes' work ends, on however few threads") {
  // Lane i waits for lane i + 1, all submitted before the last one: a chain of blocked threads.
  Fixture fixture(1, 6);
  std::vector<std::promise<void>> done(6);
  std::vector<Work> work;
  for (std::size_t i = 0; i < 6; ++i) {
    work.emplace_back([&, i] {
      if (i + 1 < 6) { done[i + 1].get_future().wait(); }
      done[i].set_value();
    });
  }
  for (std::size_t i = 0; i < 6; ++i) {
    fixture.lanes[i]->submit({call(work[i])});
    fixture.lanes[i]->flush();
  }
  for (const auto& lane : fixture.lanes) { CHECK(lane->wait(1, false)); }
  CHECK(fixture.pool.started() <= 1 + 6);
}

TEST_CASE("lane pool: blocked work does not keep others from work that nobody flushed") {
  Fixture fixture(1, 3);
  std::promise<void> entered, go;
  const Work nothing = [] {}, opens = [&] { go.set_value(); };
  const Work gate = [&] {
    entered.set_value();
    go.get_future().wait();
  };
  for (const auto& lane : fixture.lanes) {  // now they nap
    lane->submit({call(nothing)});
    CHECK(lane->wait(1, false));
  }
  fixture.lanes[0]->submit({call(gate)});
  fixture.lanes[0]->flush();
  entered.get_future().wait();
  fixture.lanes[1]->submit({hal_command{}, call(opens)});
  CHECK(fixture.lanes[0]->wait(2, false));
}

TEST_CASE("lane pool: a helper that holds a lane hands it to the pool when it leaves") {
  Fixture fixture(1, 2);
  Harness::Lane &lane = *fixture.lanes[0], &next = *fixture.lanes[1];
  const Work nothing = [] {};
  for (int seen = 0; seen < 3;) {
    CHECK(lane.wait(lane.submit({call(nothing)}), false));  // now it naps: what is submitted next does not ring
    std::promise<std::thread::id> entered;
    std::promise<void> go;
    const Work gate = [&] {
      entered.set_value(std::this_thread::get_id());
      go.get_future().wait();
    };
    std::atomic<int> after{0};
    const Work count = [&] { ++after; };
    const std::uint64_t last = lane.submit({call(gate), call(count), call(count)});
    std::thread helper([&] { (void)lane.wait(last - 2); });
    const bool helps = entered.get_future().get() == helper.get_id();  // or the pool's thread came just then
    if (helps) {
      // Behind it in turn: once that is done the pool has been at the lane, and its token waits for the helper.
      lane.flush();
      const std::uint64_t turn = next.submit({call(nothing)});
      next.flush();
      CHECK(eventually([&] { return next.completed() >= turn; }));
    }
    go.set_value();
    helper.join();
    // Nobody flushes it or helps: a token that was lost is not made up for.
    REQUIRE(eventually([&] { return lane.completed() == last; }));
    CHECK(after == 2);
    seen += helps ? 1 : 0;
  }
  CHECK(eventually([&] { return fixture.pool.napping() == 0; }));  // no token counts as being with a helper for ever
}

TEST_CASE("lane pool: a lane that has slept is rung by the first that is submitted, in whatever form") {
  Fixture fixture(1, 1);
  Harness::Lane& lane = *fixture.lanes[0];
  const Work nothing = [] {};
  for (const bool alone : {true, false}) {
    CHECK(lane.wait(lane.submit({call(nothing)}), false));
    // Whoever did that has put it to nap before it is asleep again; and some looks later the lane sleeps too.
    REQUIRE(eventually([&] { return fixture.pool.asleep() == 1; }));
    REQUIRE(eventually([&] { return fixture.pool.napping() == 0; }));
    // Nobody flushes it or waits for it, and no thread looks at it.
    const std::uint64_t last = alone ? lane.submit({call(nothing)}) : lane.submit({call(nothing), call(nothing)});
    const bool done = eventually([&] { return lane.completed() >= last; });
    if (!done) { CHECK(lane.wait(last)); }  // so that the test ends
    CHECK(done);
  }
}

TEST_CASE("lane pool: where threads cannot be ordered a lane without work naps on, and sleeps once they can") {
  Fixture fixture(1, 1);
  Harness::Lane& lane = *fixture.lanes[0];
  const Work nothing = [] {};
  g_refuse_fences = true;
  CHECK(lane.wait(lane.submit({call(nothing)}), false));
  // All looks of the usual length have found nothing.
  const bool dozes =
      eventually([&] { return fixture.pool.nap_length() == std::chrono::nanoseconds(LanePool::kDozeNs); });
  const std::size_t naps = fixture.pool.napping();
  // Nobody rings: its submitter's store may be late, as far as the pool knows.
  const std::uint64_t last = lane.submit({call(nothing)});
  const bool done = eventually([&] { return lane.completed() >= last; });
  g_refuse_fences = false;
  CHECK(dozes);
  CHECK(naps == 1);
  CHECK(done);
  CHECK(eventually([&] { return fixture.pool.asleep() == 1 && fixture.pool.napping() == 0; }));
}

TEST_CASE("lane pool: behind a failure nothing of its lane runs, and the thread that served it rests") {
  Fixture fixture(1, 2);
  std::atomic<int> ran{0};
  const Work fails = [] { throw std::runtime_error("on purpose"); }, counts = [&] { ++ran; };
  fixture.lanes[0]->submit({call(counts), call(fails), call(counts), call(counts)});
  CHECK_FALSE(fixture.lanes[0]->wait(4, false));
  CHECK(fixture.lanes[0]->failed_number() == 2);
  fixture.lanes[0]->submit({call(counts)});
  fixture.lanes[0]->flush();
  CHECK(eventually([&] { return fixture.pool.asleep() == 1 && fixture.pool.napping() == 0; }));
  CHECK(ran == 1);
  CHECK(fixture.lanes[1]->wait(fixture.lanes[1]->submit({call(counts)}), false));
  CHECK(ran == 2);
}

TEST_CASE("lane pool: a lane that a helper leaves empty is looked after again") {
  Fixture fixture(1, 1);
  Harness::Lane& lane = *fixture.lanes[0];
  const Work nothing = [] {};
  for (std::uint64_t round = 0; round < 20; ++round) {
    std::promise<void> entered, go;
    const Work gate = [&] {
      entered.set_value();
      go.get_future().wait();
    };
    const std::uint64_t first = lane.submit({call(gate)});
    std::thread helper([&] { (void)lane.wait(first); });
    entered.get_future().wait();
    lane.flush();  // as above: the token waits for the helper, who leaves nothing behind
    go.set_value();
    helper.join();
    // Nobody flushes or waits: it is done all the same.
    const std::uint64_t last = lane.submit({call(nothing)});
    while (lane.completed() < last) { std::this_thread::yield(); }
  }
}

TEST_CASE("lane pool: a lane that a helper leaves empty is looked after while the only worker is busy") {
  for (int round = 0; round < 5; ++round) {
    Fixture fixture(1, 2);
    Harness::Lane &a = *fixture.lanes[0], &b = *fixture.lanes[1];
    std::promise<void> inside, leave, busy, opened;
    const Work gate = [&] {
      inside.set_value();
      leave.get_future().wait();
    };
    const Work waits = [&] {
      busy.set_value();
      opened.get_future().wait();
    };
    const Work opens = [&] { opened.set_value(); }, nothing = [] {};
    CHECK(a.wait(a.submit({call(nothing)}), false));  // now it naps: what is submitted next does not ring
    const std::uint64_t first = a.submit({call(gate)});
    std::thread helper([&] { (void)a.wait(first); });
    inside.get_future().wait();
    a.flush();  // its token has to wait for whoever is inside
    b.submit({call(waits)});
    b.flush();
    const bool taken = busy.get_future().wait_for(kSoon) == std::future_status::ready;
    leave.set_value();
    helper.join();
    REQUIRE(taken);
    // Nobody flushes it or waits for it: what the worker waits for is done all the same.
    const std::uint64_t last = a.submit({call(opens)});
    const bool done = eventually([&] { return a.completed() >= last; });
    if (!done) { CHECK(a.wait(last)); }  // so that the test ends
    CHECK(done);
    CHECK(b.wait(1, false));
  }
}

TEST_CASE("lane pool: splitting starts as many threads as can take part") {
  Fixture fixture(4, 1);
  CHECK(fixture.pool.started() == 1);
  // Each part waits for three others: fewer threads do not end in time.
  std::atomic<int> inside{0}, late{0};
  fixture.pool.parallel(4, [&](std::uint64_t) {
    ++inside;
    if (!eventually([&] { return inside == 4; })) { ++late; }
  });
  CHECK(late == 0);
  CHECK(fixture.pool.started() >= 3);
}

TEST_CASE("lane pool: work that a thread more than the workers leaves behind wakes a worker that sleeps") {
  Fixture fixture(2, 1);
  Harness::Lane& lane = *fixture.lanes[0];
  // Both workers are inside commands that were split, so a substitute comes for the lane.
  std::atomic<bool> open{false};
  std::vector<std::jthread> callers = occupy_both(fixture.pool, open);
  // It lets them go, sees both asleep, and has more to do than one turn: what is left has to wake one of them.
  const Work opens = [&] { open = true; }, nothing = [] {};
  const Work waits = [&] {
    while (fixture.pool.asleep() < 2) { std::this_thread::yield(); }
  };
  std::vector<hal_command> commands{call(opens), call(waits)};
  commands.resize(LanePool::kSlice + 50, call(nothing));
  const std::uint64_t last = lane.submit(commands);
  auto done = std::async(std::launch::async, [&] { return lane.wait(last, false); });
  const bool woken = done.wait_for(kSoon) == std::future_status::ready;
  if (!woken) { CHECK(lane.wait(last)); }  // this thread does it, so that the test ends
  CHECK(woken);
  for (std::jthread& caller : callers) { caller.join(); }
}

TEST_CASE("lane pool: a lane that naps is looked at while all threads are inside split work") {
  Fixture fixture(2, 1);
  Harness::Lane& lane = *fixture.lanes[0];
  std::atomic<bool> open{false};
  const Work nothing = [] {}, opens = [&] { open = true; };
  CHECK(lane.wait(lane.submit({call(nothing)}), false));  // now it naps: what is submitted next does not ring
  std::vector<std::jthread> callers = occupy_both(fixture.pool, open);
  // Nobody flushes it or waits for it: what all of them wait for is done all the same.
  const std::uint64_t last = lane.submit({call(opens)});
  const bool done = eventually([&] { return lane.completed() >= last; });
  if (!done) { CHECK(lane.wait(last)); }  // so that the test ends
  CHECK(done);
  for (std::jthread& caller : callers) { caller.join(); }
}

TEST_CASE("lane pool: lanes that become ready while a thread looks for split work are served") {
  Fixture fixture(3, 2);
  for (int round = 0; round < 200; ++round) {
    // Each waits for the other: they need two threads, whoever comes.
    std::atomic<int> inside{0};
    const Work meets = [&] {
      ++inside;
      while (inside < 2) { std::this_thread::yield(); }
    };
    fixture.pool.parallel(3, [](std::uint64_t) {});
    std::uint64_t last = 0;
    for (const auto& lane : fixture.lanes) {
      last = lane->submit({call(meets)});
      lane->flush();
    }
    for (const auto& lane : fixture.lanes) { REQUIRE(lane->wait(last, false)); }
  }
}

TEST_CASE("lane pool: threads are started when there is work, and no more than asked for") {
  Fixture fixture(3, 8);
  CHECK(fixture.pool.threads() == 3);
  CHECK(fixture.pool.started() == 1);
  const Work nothing = [] {};
  for (const auto& lane : fixture.lanes) {
    lane->submit({call(nothing)});
    CHECK(lane->wait(1));
  }
}

TEST_CASE("lane pool: whoever is called to take part may run on every core of its process") {
  Fixture fixture(2, 1);
  cpu_set_t allowed;
  REQUIRE(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
  for (int time = 0; time < 20; ++time) {
    std::atomic<int> begun{0};
    std::vector<cpu_set_t> found(2);
    fixture.pool.parallel(2, [&](std::uint64_t i) {
      ++begun;
      while (begun < 2) { std::this_thread::yield(); }
      (void)sched_getaffinity(0, sizeof found[i], &found[i]);
    });
    for (const cpu_set_t& one : found) { REQUIRE(CPU_EQUAL(&one, &allowed)); }
    REQUIRE(eventually([&] { return fixture.pool.asleep() >= fixture.pool.started(); }));  // it is called anew
  }
}

TEST_CASE("lane pool: splitting calls every index once, on several threads if some are idle") {
  Fixture fixture(3, 1);
  std::vector<std::atomic<int>> calls(1000);
  fixture.pool.parallel(1000, [&](std::uint64_t i) { ++calls[i]; });
  for (const auto& count : calls) { REQUIRE(count == 1); }
  // Each half waits for the other: one thread alone would never end.
  for (int time = 0; time < 20; ++time) {
    std::atomic<int> inside{0};
    fixture.pool.parallel(2, [&](std::uint64_t) {
      ++inside;
      while (inside < 2) { std::this_thread::yield(); }
    });
  }
  // From several lanes at once, inside their own work.
  std::atomic<std::uint64_t> sum{0};
  std::vector<std::jthread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int time = 0; time < 50; ++time) {
        fixture.pool.parallel(17, [&](std::uint64_t i) { sum += i; });
      }
    });
  }
  for (std::jthread& caller : callers) { caller.join(); }
  CHECK(sum == 4 * 50 * (16 * 17 / 2));
}

TEST_CASE("lane pool: of two napping lanes that one look finds, one does not wait for the other") {
  Fixture fixture(2, 2);
  const Work nothing = [] {};
  // Both threads are there and asleep, one of them for a nap. The lanes nap for a while only.
  for (bool ready = false; !ready;) {
    for (const auto& lane : fixture.lanes) { CHECK(lane->wait(lane->submit({call(nothing)}), false)); }
    ready = eventually([&] { return fixture.pool.asleep() == 2 && fixture.pool.napping() == 2; },
                       std::chrono::milliseconds(20));
  }
  std::atomic<bool> open{false};
  std::atomic<bool> opened{false};
  const Work waits = [&] { opened = eventually([&] { return open.load(); }); };
  const Work opens = [&] { open = true; };
  // Neither rings.
  const std::uint64_t first = fixture.lanes[0]->submit({call(waits)});
  (void)fixture.lanes[1]->submit({call(opens)});
  while (fixture.lanes[0]->completed() < first) { std::this_thread::yield(); }
  CHECK(opened);
}

TEST_CASE("lane pool: the thread that fell asleep last is called first") {
  // On one core: threads that fell asleep on another would come before it.
  cpu_set_t before, one;
  REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(sched_getcpu()), &one);
  REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
  Fixture fixture(3, 1);
  // The threads of the pool that did a part; every part begins before any ends, so each is another thread's.
  const auto share = [&](std::uint32_t parts) {
    std::atomic<std::uint32_t> begun{0};
    std::vector<std::thread::id> who(parts);
    fixture.pool.parallel(parts, [&](std::uint64_t i) {
      who[i] = std::this_thread::get_id();
      ++begun;
      while (begun < parts) { std::this_thread::yield(); }
    });
    std::erase(who, std::this_thread::get_id());
    REQUIRE(eventually([&] { return fixture.pool.asleep() >= fixture.pool.started(); }));
    return who;
  };
  REQUIRE(share(3).size() == 2);
  REQUIRE(fixture.pool.started() >= 2);
  const auto last = share(2);
  int others = 0;
  for (int time = 0; time < 20; ++time) { others += share(2) == last ? 0 : 1; }
  CHECK(others == 0);
  REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
}

TEST_CASE("lane pool: a worker that is called from the core where it sleeps may run everywhere again") {
  cpu_set_t before, one;
  REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  Fixture fixture(1, 1);
  Harness::Lane& lane = *fixture.lanes[0];
  const int core = sched_getcpu();
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(core), &one);
  // It falls asleep where this thread will call it from.
  pthread_t worker{};
  const Work stays = [&] {
    worker = pthread_self();
    CHECK(pthread_setaffinity_np(worker, sizeof one, &one) == 0);
  };
  CHECK(lane.wait(lane.submit({call(stays)}), false));
  REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
  for (int time = 0; time < 20; ++time) {
    REQUIRE(eventually([&] { return fixture.pool.asleep() == 1; }));
    CHECK(pthread_setaffinity_np(worker, sizeof before, &before) == 0);
    cpu_set_t awake;
    const Work looks = [&] {
      CHECK(pthread_getaffinity_np(worker, sizeof awake, &awake) == 0);
      CHECK(pthread_setaffinity_np(worker, sizeof one, &one) == 0);
    };
    CHECK(lane.wait(lane.submit({call(looks)}), false));
    CHECK(CPU_EQUAL(&awake, &before));
  }
  REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
}

TEST_CASE("lane pool: where helpers do all the work the naps are longer, and short again when they do not") {
  Fixture fixture(1, 1);
  Harness::Lane& lane = *fixture.lanes[0];
  const Work nothing = [] {};
  const auto naps = [&](std::uint64_t ns) { return fixture.pool.nap_length() == std::chrono::nanoseconds(ns); };
  CHECK(eventually([&] {  // the worker does it
    CHECK(lane.wait(lane.submit({call(nothing)}), false));
    return naps(LanePool::kNapNs);
  }));
  const auto are_helped = [&] {
    CHECK(lane.wait(lane.submit({call(nothing)})));
    return naps(LanePool::kHelpedNapNs);
  };
  CHECK(eventually(are_helped));
  // The next look finds that nobody helps. Some looks later the lane sleeps: who was away for so long tries again.
  CHECK(eventually([&] {
    if (!eventually(are_helped)) { return false; }
    while (naps(LanePool::kHelpedNapNs) && fixture.pool.napping() == 1) { std::this_thread::yield(); }
    return naps(LanePool::kNapNs);
  }));
  CHECK(eventually([&] { return fixture.pool.napping() == 0; }));
}

TEST_CASE("lane pool: while work that helpers do is split the naps are longest, and behind it no longer") {
  Fixture fixture(2, 1);
  Harness::Lane& lane = *fixture.lanes[0];
  const Work nothing = [] {};
  const auto is_helped = [&] { return fixture.pool.nap_length() == std::chrono::nanoseconds(LanePool::kHelpedNapNs); };
  CHECK(eventually([&] {  // a look in between may find that nobody helps just now
    if (!eventually([&] {
          CHECK(lane.wait(lane.submit({call(nothing)})));
          return is_helped();
        })) {
      return false;
    }
    std::atomic<int> inside{0};
    std::atomic<bool> long_naps{false};
    fixture.pool.parallel(2, [&](std::uint64_t) {
      ++inside;
      while (inside < 2) { std::this_thread::yield(); }
      if (fixture.pool.nap_length() == std::chrono::nanoseconds(LanePool::kSplitNapNs)) { long_naps = true; }
      ++inside;  // both look before one of them leaves
      while (inside < 4) { std::this_thread::yield(); }
    });
    return long_naps.load();
  }));
  // Nobody rings, flushes or waits.
  const std::uint64_t last = lane.submit({call(nothing)});
  CHECK(eventually([&] { return lane.completed() >= last; }));
  CHECK(eventually([&] { return fixture.pool.nap_length() < std::chrono::nanoseconds(LanePool::kSplitNapNs); }));
}

TEST_CASE("lane pool: lanes may go while others work and helpers leave") {
  Fixture fixture(2, 0);
  const Work nothing = [] {};
  for (int time = 0; time < 300; ++time) {
    auto a = std::make_unique<Harness::Lane>(*fixture.device);
    auto b = std::make_unique<Harness::Lane>(*fixture.device);
    for (int n = 0; n < 5; ++n) {
      a->submit({call(nothing), call(nothing)});
      b->submit({call(nothing)});
      if (n % 2 == 0) { a->flush(); }
    }
    CHECK(b->wait(5));
    if (time % 3 != 0) { CHECK(a->wait(10)); }
  }
}
