// SPDX-License-Identifier: Apache-2.0
// Long chains, wide fans, random graphs of work against a model, and several threads on every object. Seeded by Catch's
// --rng-seed, so that a failure can be repeated; every check is of unique writes, none of time.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <halyard_catch.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <random>

#include "core/order_fixture.hpp"

using namespace hal::test;

TEST_CASE("order: failure goes through a chain of 1,000 with the first cause, and only through it") {
  Fixture f;
  hal::Timeline root = f.instance.timeline(0, "root").value();
  std::vector<hal::Queue> queues;
  for (int i = 0; i < 10; ++i) { queues.push_back(f.device.queue("chain").value()); }
  // Each link waits for the one before, through a timeline of its own every other time.
  std::vector<hal::Timeline> between;
  Point last = root.at(1);
  std::vector<Point> all;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    if (i % 2 == 0) {
      last = queues[i % 10].fill(f.at(0), std::uint32_t{1}, {.waits = {last}}).value();
    } else {
      between.push_back(f.instance.timeline(0, "between").value());
      queues[i % 10].barrier({.waits = {last}, .signals = {between.back().at(1)}}).value();
      last = between.back().at(1);
    }
    all.push_back(last);
  }
  hal::Queue apart = f.device.queue("apart").value();
  const Point good = apart.fill(f.at(1), std::uint32_t{2}).value();
  root.fail(hal::Error(HAL_PEER_LOST, "the first of all causes"));
  const hal::Result<void> result = hal::wait(last, kSoon);
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == HAL_PEER_LOST);
  CHECK(contains(result.error().text(), "the first of all causes"));
  for (const Point& point : all) { REQUIRE(hal::wait(point, kSoon).error().code() == HAL_PEER_LOST); }
  CHECK(hal::wait(good, kSoon));
  CHECK(f.word(0) == 0);
}

TEST_CASE("order: success goes through a chain of 1,000 submitted backwards") {
  Fixture f;
  constexpr std::uint32_t kLinks = 1000;
  hal::Timeline line = f.instance.timeline(0, "line").value();
  std::vector<hal::Queue> queues;
  for (int i = 0; i < 8; ++i) { queues.push_back(f.device.queue("chain").value()); }
  hal::Buffer cells = f.device.buffer((kLinks + 1) * 4).value();
  // Each queue must get its own links in the order of the chain, so blocks of links go backwards, not single ones.
  for (std::uint32_t block = 8; block-- > 0;) {
    for (std::uint32_t i = block * kLinks / 8; i < (block + 1) * kLinks / 8; ++i) {
      queues[block]
          .copy(cells.slice(std::uint64_t{i} * 4, 4), cells.slice((std::uint64_t{i} + 1) * 4, 4),
                {.waits = {line.at(i + 1)}, .signals = {line.at(i + 2)}})
          .value();
    }
  }
  REQUIRE(hal::wait(f.queue.fill(cells.slice(0, 4), std::uint32_t{77}).value(), kSoon));
  REQUIRE(line.signal(1));
  REQUIRE(line.wait(kLinks + 1, kSoon));
  std::uint32_t end = 0;
  std::memcpy(&end, cells.host().data() + kLinks * 4, 4);
  CHECK(end == 77);
}

TEST_CASE("order: a fan-out and a fan-in of 64 begin with their gate and end with their last") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline(0, "gate").value();
  std::vector<hal::Queue> queues;
  std::vector<Point> arms;
  for (std::uint32_t i = 0; i < 64; ++i) {
    queues.push_back(f.device.queue("arm").value());
    arms.push_back(queues.back().fill(f.at(i), i + 1, {.waits = {gate.at(1)}}).value());
  }
  hal::Sync all;
  all.more_waits = arms;
  std::array<std::uint32_t, 64> seen{};
  const Point joined = f.queue.copy(f.buffer.slice(0, 256), hal::host(seen), all).value();
  CHECK(hal::wait_any(arms, 0ns).error().code() == HAL_DEADLINE_EXCEEDED);
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(joined, kSoon));
  for (std::uint32_t i = 0; i < 64; ++i) { CHECK(seen[i] == i + 1); }

  // One arm of 64 fails: the join fails, the other arms do not.
  hal::Timeline second = f.instance.timeline(0, "second").value(), bad = f.instance.timeline(0, "bad").value();
  for (std::uint32_t i = 0; i < 64; ++i) {
    arms[i] = queues[i].fill(f.at(i), i + 101, {.waits = {i == 40 ? bad.at(1) : second.at(1)}}).value();
  }
  const Point broken = f.queue.barrier(all).value();
  bad.fail(hal::Error(HAL_EXECUTION_FAILED, "arm 40"));
  CHECK(contains(hal::wait(broken, kSoon).error().text(), "arm 40"));
  REQUIRE(second.signal(1));
  for (std::uint32_t i = 0; i < 64; ++i) {
    CHECK(hal::wait(arms[i], kSoon).has_value() == (i != 40));
    CHECK(f.word(i) == (i != 40 ? i + 101 : 41));
  }
}

TEST_CASE("order: random graphs of work fail and succeed as a model says") {
  for (std::uint32_t round = 0; round < 16; ++round) {
    const std::uint32_t seed = Catch::rngSeed() * 1000 + round;
    // Half of them on a device that takes every freedom it has, with a schedule that the seed repeats.
    const std::string uri = round % 2 == 0 ? "host:0" : fmt::format("host:0?mode=weak&seed={}", seed);
    CAPTURE(seed, uri);
    std::mt19937 random(seed);
    const auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
    constexpr std::size_t kNodes = 150, kQueues = 12, kGates = 6, kShared = 5;
    Fixture f(uri);
    std::vector<hal::Queue> queues;
    std::vector<hal::Timeline> gates, lines, shared;
    for (std::size_t i = 0; i < kShared; ++i) { shared.push_back(f.instance.timeline(0, "shared").value()); }
    hal::Timeline start = f.instance.timeline(0, "start").value();
    for (std::size_t i = 0; i < kQueues; ++i) {
      queues.push_back(f.device.queue("graph").value());
      queues.back().barrier({.waits = {start.at(1)}}).value();
    }
    for (std::size_t i = 0; i < kGates; ++i) { gates.push_back(f.instance.timeline(0, "gate").value()); }
    // Nodes of the first half signal timelines that they share, those of the second wait for them: a value is reached
    // if any node that signals as much is good.
    struct Signal {
      std::size_t node;
      std::uint64_t value;
    };
    std::array<std::vector<Signal>, kShared> signals;
    struct Node {
      std::size_t queue;
      std::vector<std::size_t> after, gates;
      std::vector<std::pair<std::size_t, std::uint64_t>> after_shared;
      Point point{};
      bool called = false, fails = false;
    };
    std::vector<Node> nodes(kNodes);
    struct Calls {
      std::atomic<int> ran{0}, told{0};
    };
    std::vector<std::shared_ptr<Calls>> calls(kNodes);  // shared: a call may come when the test has given up
    lines.reserve(kNodes);
    // Who looks changes nothing, however and when.
    const auto look = [&] {
      hal::Timeline& line = shared[below(kShared)];
      const std::uint64_t value = 1 + below(7);
      switch (below(4)) {
        case 0:
          (void)line.value();
          break;
        case 1:
          (void)line.wait(value, 0ns);
          break;
        case 2:
          REQUIRE(line.on_reached(value, [](const hal::Result<void>&) {}));
          break;
        default:
          ::close(hal::export_fd(line.at(value)).value());
      }
    };
    for (std::size_t i = 0; i < kNodes; ++i) {
      if (below(10) == 0) { look(); }
      Node& node = nodes[i];
      node.queue = below(kQueues);
      std::vector<Point> waits;
      if (i < kQueues || below(4) == 0) {
        node.gates.push_back(below(kGates));
        waits.push_back(gates[node.gates.back()].at(1));
      }
      for (std::size_t n = i != 0 ? below(4) : 0; n != 0; --n) {
        node.after.push_back(below(i));
        // Through the queue's own point, or through the timeline that the node signals.
        waits.push_back(below(2) == 0 ? nodes[node.after.back()].point : lines[node.after.back()].at(1));
      }
      lines.push_back(f.instance.timeline(0, "line").value());
      node.called = below(3) == 0;
      calls[i] = std::make_shared<Calls>();
      hal::Command call{HAL_OP_CALL, 0, nullptr, {}};
      call.as.call = {[](void* user, const hal_error* failure) -> hal_error* {
                        const std::unique_ptr<std::shared_ptr<Calls>> of(static_cast<std::shared_ptr<Calls>*>(user));
                        ++(failure != nullptr ? (*of)->told : (*of)->ran);
                        return nullptr;
                      },
                      nullptr};
      std::vector<hal::Command> commands{hal::command::fill(f.at(i), static_cast<std::uint32_t>(i + 1))};
      std::unique_ptr<std::shared_ptr<Calls>> user;  // the call's, once it is taken
      if (node.called) {
        user = std::make_unique<std::shared_ptr<Calls>>(calls[i]);
        call.as.call.user = user.get();
        commands.push_back(call);
      }
      std::vector<Point> given{lines[i].at(1)};
      if (i < kNodes / 2 && below(2) == 0) {
        const std::size_t line = below(kShared);
        signals[line].push_back({i, 1 + below(6)});
        given.push_back(shared[line].at(signals[line].back().value));
      }
      if (i >= kNodes / 2 && below(4) == 0) {
        if (const std::size_t line = below(kShared); !signals[line].empty()) {
          node.after_shared.emplace_back(line, signals[line][below(signals[line].size())].value);
          waits.push_back(shared[line].at(node.after_shared.back().second));
        }
      }
      const hal_sync sync{waits.data(), given.data(), static_cast<std::uint32_t>(waits.size()),
                          static_cast<std::uint32_t>(given.size()), nullptr};
      REQUIRE(hal::check(hal_queue_submit(queues[node.queue].get(), commands.data(),
                                          static_cast<std::uint32_t>(commands.size()), &sync, &node.point)));
      (void)user.release();
    }
    REQUIRE(start.signal(1));  // nothing has begun before: every signal of a shared timeline was submitted in time
    // Some of the gates open, some fail. The model goes in order of submission.
    std::vector<bool> gate_fails(kGates), queue_failed(kQueues, false);
    for (std::size_t i = 0; i < kGates; ++i) { gate_fails[i] = below(5) == 0; }
    const auto is_lost = [&](std::size_t line, std::uint64_t value) {
      return std::none_of(signals[line].begin(), signals[line].end(),
                          [&](const Signal& signal) { return signal.value >= value && !nodes[signal.node].fails; });
    };
    for (Node& node : nodes) {
      const bool by_gate =
          std::any_of(node.gates.begin(), node.gates.end(), [&](std::size_t g) { return gate_fails[g]; });
      const bool by_node =
          std::any_of(node.after.begin(), node.after.end(), [&](std::size_t n) { return nodes[n].fails; });
      const bool by_shared = std::any_of(node.after_shared.begin(), node.after_shared.end(),
                                         [&](const auto& point) { return is_lost(point.first, point.second); });
      node.fails = by_gate || by_node || by_shared || queue_failed[node.queue];
      if (node.fails) { queue_failed[node.queue] = true; }
    }
    // A queue that fails refuses work later; what it holds back ahead of the failed one still succeeds. So the order in
    // which gates are decided must not matter: it is random.
    std::vector<std::size_t> order(kGates);
    for (std::size_t i = 0; i < kGates; ++i) { order[i] = i; }
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t i : order) {
      for (std::size_t n = below(4); n != 0; --n) { look(); }
      if (gate_fails[i]) {
        gates[i].fail(hal::Error(HAL_PEER_LOST, "gate"));
      } else {
        REQUIRE(gates[i].signal(1));
      }
    }
    for (std::size_t i = 0; i < kNodes; ++i) {
      CAPTURE(i);
      const hal::Result<void> result = hal::wait(nodes[i].point, kSoon);
      REQUIRE(result.has_value() == !nodes[i].fails);
      REQUIRE(lines[i].wait(1, kSoon).has_value() == !nodes[i].fails);
      if (!result) { REQUIRE(result.error().code() == HAL_PEER_LOST); }
      REQUIRE(f.word(i) == (nodes[i].fails ? 0 : i + 1));
      if (nodes[i].called) {
        REQUIRE(eventually([&] { return calls[i]->ran + calls[i]->told == 1; }));
      }
      REQUIRE(calls[i]->ran == (nodes[i].called && !nodes[i].fails ? 1 : 0));
    }
    for (std::size_t line = 0; line < kShared; ++line) {
      for (const Signal& signal : signals[line]) {
        CAPTURE(line, signal.value);
        REQUIRE(shared[line].wait(signal.value, kSoon).has_value() == !is_lost(line, signal.value));
      }
    }
  }
}

namespace {

// Every submission copies its queue's last word to a slot of its own and then writes its own number there. In the end
// the slots of a queue must be one chain in the order of the points: nothing lost, doubled, swapped or torn apart.
struct Shared {
  static constexpr std::uint32_t kThreads = 4, kEach = 150, kQueues = 3, kAll = kThreads * kEach;
  Fixture f;
  std::vector<hal::Queue> queues;
  hal::Pool pool = f.device.pool().value();
  hal::Buffer last = f.device.buffer(kQueues * 4).value(), before = f.device.buffer(kAll * 4).value(),
              done = f.device.buffer(kAll * 4).value(), seen = f.device.buffer(kAll * 4).value();
  hal::Timeline gate = f.instance.timeline(0, "gate").value();
  std::atomic<std::uint64_t> gate_value{0};
  struct Entry {
    std::uint32_t queue = 0, waited_for = UINT32_MAX;
    Point point{};
  };
  std::mutex mutex;  // of what follows
  std::vector<Entry> entries{kAll};
  std::vector<std::uint32_t> submitted;

  Shared() {
    for (std::uint32_t i = 0; i < kQueues; ++i) { queues.push_back(f.device.queue("shared").value()); }
    for (const hal::Buffer* buffer : {&last, &before, &done, &seen}) {
      std::memset(buffer->host().data(), 0, buffer->host().size());
    }
  }
  static hal::Slice at(const hal::Buffer& buffer, std::uint64_t i) { return buffer.slice(i * 4, 4); }
  static std::uint32_t word(const hal::Buffer& buffer, std::uint64_t i) {
    std::uint32_t out = 0;
    std::memcpy(&out, buffer.host().data() + i * 4, 4);
    return out;
  }
};

struct Worker {
  Shared& s;
  std::mt19937 random;
  std::uint32_t thread;
  std::atomic<int>& reached;
  hal::Timeline mine = s.f.instance.timeline(0, "mine").value();
  std::uint64_t signalled = 0;
  int callbacks = 0;

  std::size_t below(std::size_t bound) { return random() % bound; }

  void submit(std::uint32_t id) {
    Shared::Entry entry;
    entry.queue = static_cast<std::uint32_t>(below(Shared::kQueues));
    hal::Queue& queue = s.queues[entry.queue];
    std::vector<Point> waits;
    {
      const std::lock_guard lock(s.mutex);
      if (!s.submitted.empty() && below(3) == 0) {
        entry.waited_for = s.submitted[below(s.submitted.size())];
        waits.push_back(s.entries[entry.waited_for].point);
      }
    }
    if (below(4) == 0) { waits.push_back(s.gate.at(s.gate_value + 1)); }  // the main thread opens it in the end
    if (signalled != 0 && below(5) == 0) { waits.push_back(mine.at(signalled)); }
    std::vector<hal::Command> commands{hal::command::copy(Shared::at(s.last, entry.queue), Shared::at(s.before, id)),
                                       hal::command::fill(Shared::at(s.last, entry.queue), id + 1)};
    if (entry.waited_for != UINT32_MAX) {
      commands.push_back(hal::command::copy(Shared::at(s.done, entry.waited_for), Shared::at(s.seen, id)));
    }
    std::optional<hal::Buffer> scratch;
    if (below(4) == 0) {
      scratch = queue.alloc(s.pool, 4).value();
      commands.push_back(hal::command::fill(*scratch, id + 1));
      commands.push_back(hal::command::copy(*scratch, Shared::at(s.done, id)));
      commands.push_back(hal::command::free(*scratch));
    } else {
      commands.push_back(hal::command::fill(Shared::at(s.done, id), id + 1));
    }
    hal::Sync sync{.signals = {mine.at(signalled + 1)}};
    sync.more_waits = waits;
    entry.point = queue.submit(commands, sync).value();
    ++signalled;
    const std::lock_guard lock(s.mutex);
    s.entries[id] = entry;
    s.submitted.push_back(id);
  }

  // Everything else that a thread may do to the shared objects meanwhile.
  void meddle() {
    Point point{};
    {
      const std::lock_guard lock(s.mutex);
      if (s.submitted.empty()) { return; }
      point = s.entries[s.submitted[below(s.submitted.size())]].point;
    }
    switch (below(10)) {
      case 0:
        (void)hal::wait(point, 0ns).has_value();
        break;
      case 1:
        (void)hal::wait(point, 50us).has_value();
        break;
      case 2:
        (void)mine
            .on_reached(signalled,
                        [this](hal::Result<void> result) {
                          if (result) { ++reached; }
                        })
            .has_value();
        ++callbacks;
        break;
      case 3:
        (void)s.queues[below(Shared::kQueues)].history().value();
        break;
      case 4:
        ::close(hal::export_fd(point).value());
        break;
      case 5: {  // a queue of its own, released with work
        hal::Queue own = s.f.device.queue("own").value();
        hal::Buffer buffer = s.f.device.buffer(64).value();
        own.fill(buffer, std::uint8_t{1}, {.waits = {point}}).value();
        break;
      }
      case 6: {  // a queue of its own, cancelled with work
        hal::Queue own = s.f.device.queue("own").value();
        own.barrier({.waits = {point}}).value();
        own.cancel();
        break;
      }
      case 7: {
        const hal::Device again = s.f.instance.open("host:0").value();
        (void)s.queues[below(Shared::kQueues)].flush().has_value();
        break;
      }
      case 8: {
        s.pool.trim(0);
        (void)s.pool.stats();
        break;
      }
      default: {
        hal::Timeline doomed = s.f.instance.timeline(0, "doomed").value();
        hal::Queue own = s.f.device.queue("own").value();
        own.barrier({.waits = {doomed.at(1)}}).value();
        break;
      }
    }
  }
};

}  // namespace

TEST_CASE("order: several threads on every object lose, double and swap nothing") {
  for (std::uint32_t round = 0; round < 3; ++round) {
    const std::uint32_t seed = Catch::rngSeed() * 100 + round;
    CAPTURE(seed);
    Shared s;
    std::atomic<int> reached{0};
    std::vector<std::unique_ptr<Worker>> workers;
    for (std::uint32_t t = 0; t < Shared::kThreads; ++t) {
      workers.push_back(std::make_unique<Worker>(Worker{s, std::mt19937(seed * 16 + t), t, reached}));
    }
    std::atomic<std::uint32_t> running{Shared::kThreads};
    std::vector<std::jthread> threads;
    for (auto& worker : workers) {
      threads.emplace_back([&, w = worker.get()] {
        for (std::uint32_t i = 0; i < Shared::kEach; ++i) {
          w->submit(w->thread * Shared::kEach + i);
          if (w->below(2) == 0) { w->meddle(); }
        }
        --running;
      });
    }
    // Gates are opened one value at a time while threads submit, and once more for what came last.
    while (running != 0) {
      REQUIRE(s.gate.signal(s.gate_value + 1));
      ++s.gate_value;
      std::this_thread::yield();
    }
    for (std::jthread& thread : threads) { thread.join(); }
    REQUIRE(s.gate.signal(s.gate_value + 1));
    for (hal::Queue& queue : s.queues) { REQUIRE(queue.finish(kSoon)); }

    for (std::uint32_t q = 0; q < Shared::kQueues; ++q) {
      std::vector<std::uint32_t> ids;
      for (std::uint32_t id = 0; id < Shared::kAll; ++id) {
        if (s.entries[id].queue == q) { ids.push_back(id); }
      }
      std::sort(ids.begin(), ids.end(),
                [&](std::uint32_t a, std::uint32_t b) { return s.entries[a].point.value < s.entries[b].point.value; });
      std::uint32_t previous = 0, wrong = 0;
      for (const std::uint32_t id : ids) {
        wrong += Shared::word(s.before, id) != previous ? 1U : 0U;
        previous = id + 1;
      }
      CHECK(wrong == 0);
      CHECK(Shared::word(s.last, q) == previous);
    }
    std::uint32_t unseen = 0, undone = 0;
    for (std::uint32_t id = 0; id < Shared::kAll; ++id) {
      undone += Shared::word(s.done, id) != id + 1 ? 1U : 0U;
      const std::uint32_t other = s.entries[id].waited_for;
      unseen += other != UINT32_MAX && Shared::word(s.seen, id) != other + 1 ? 1U : 0U;
    }
    CHECK(undone == 0);
    CHECK(unseen == 0);
    int callbacks = 0;
    for (const auto& worker : workers) { callbacks += worker->callbacks; }
    CHECK(eventually([&] { return reached == callbacks; }));
  }
}

TEST_CASE("order: one recording serves several threads and queues") {
  Fixture f;
  constexpr std::uint32_t kThreads = 4, kRounds = 40;
  const std::array<hal::Command, 2> recorded{hal::command::copy(hal_slot(0, 0, 4), hal_slot(1, 0, 4)),
                                             hal::command::copy(hal_slot(1, 0, 4), hal_slot(2, 0, 4))};
  const hal::Commands commands = f.device.record(recorded).value();
  std::atomic<std::uint32_t> wrong{0};
  std::vector<std::jthread> threads;
  for (std::uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      hal::Queue own = f.device.queue("own").value();
      for (std::uint32_t i = 0; i < kRounds; ++i) {
        const std::uint32_t value = t * kRounds + i + 1;
        std::uint32_t out = 0;
        hal::Queue& queue = i % 2 == 0 ? own : f.queue;
        const hal::Buffer scratch = f.device.buffer(8).value();
        const std::array<hal::Slice, 3> slots{hal::host(std::span(&value, 1)), scratch.slice(0, 4),
                                              hal::host(std::span(&out, 1))};
        const Point point = queue.execute(commands, slots).value();
        if (!hal::wait(point, kSoon) || out != value) { ++wrong; }
      }
    });
  }
  for (std::jthread& thread : threads) { thread.join(); }
  CHECK(wrong == 0);
}

TEST_CASE("order: a device's buffers come back while another device's work is still held up") {
  hal::Instance instance = hal::Instance::create(std::string(MANUAL_DRIVER) + ":rngd").value();
  hal::Device manual = instance.open("manual:0").value(), card = instance.open("rngd:0").value();
  hal::Queue slow = manual.queue("slow").value();
  const Point held = slow.barrier().value();  // nobody completes it yet
  hal::Queue queue = card.queue("quick").value();
  hal::Pool pool = card.pool().value();
  {
    const hal::Buffer buffer = queue.alloc(pool, 4096).value();
    REQUIRE(buffer.host().data() == nullptr);
    REQUIRE(hal::wait(queue.fill(buffer, std::uint32_t{1}).value(), kSoon));
  }
  CHECK(eventually([&] { return pool.stats().used_bytes == 0; }));
  CHECK_FALSE(hal::wait(held, 0ns));
  const auto& control =
      *static_cast<const ManualControl*>(::dlsym(::dlopen(MANUAL_DRIVER, RTLD_NOW | RTLD_NOLOAD), "manual_control"));
  control.complete("slow", 1);
  CHECK(hal::wait(held, kSoon));
}
