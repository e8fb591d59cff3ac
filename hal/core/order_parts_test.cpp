// SPDX-License-Identifier: Apache-2.0
// Submissions that the core carries out in parts (host calls, frees, copies between devices) are one piece of work.
#include <halyard_catch.hpp>

#include "core/order_fixture.hpp"

using namespace hal::test;

namespace {

// Refuses every allocation of the core while it is set.
std::atomic<bool> closed{false};

hal::Instance with_refusals(const char* drivers) {
  static constexpr hal_allocator kAllocator{
      nullptr,
      [](void*, std::uint64_t bytes, std::uint64_t alignment) -> void* {
        if (closed) { return nullptr; }
        return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
      },
      [](void*, void* address, std::uint64_t, std::uint64_t) { std::free(address); }};
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = drivers;
  desc.allocator = &kAllocator;
  return hal::Instance::create(desc).value();
}

}  // namespace

TEST_CASE("order: a queue that finds no memory leaves nothing behind") {
  static std::atomic<int> live, left;
  static constexpr hal_allocator kCounting{nullptr,
                                           [](void*, std::uint64_t bytes, std::uint64_t alignment) -> void* {
                                             if (left.fetch_sub(1) == 1) { return nullptr; }
                                             ++live;
                                             return std::aligned_alloc(alignment,
                                                                       (bytes + alignment - 1) / alignment * alignment);
                                           },
                                           [](void*, void* address, std::uint64_t, std::uint64_t) {
                                             --live;
                                             std::free(address);
                                           }};
  int refusals = 0;
  for (int n = 1; n < 100; ++n) {
    bool made = false;
    {
      left = 0;
      hal_instance_desc desc{};
      desc.struct_size = sizeof desc;
      desc.drivers = "host";
      desc.allocator = &kCounting;
      const hal::Instance instance = hal::Instance::create(desc).value();
      const hal::Device device = instance.open("host:0").value();
      left = n;
      made = device.queue("tried").has_value();
      left = 0;
    }
    INFO("refused allocation " << n);
    CHECK(live == 0);
    if (made) { break; }
    ++refusals;
  }
  CHECK(refusals > 0);
}

TEST_CASE("order: work of other threads never falls into a submission with host calls and frees") {
  constexpr std::uint32_t kThreads = 4, kRounds = 100;
  Fixture f;
  hal::Pool pool = f.device.pool().value();
  std::atomic<std::uint32_t> intruders{0};
  struct Check {
    const Fixture* fixture;
    std::uint32_t expected;
    std::atomic<std::uint32_t>* intruders;
  };
  std::vector<Check> checks;
  for (std::uint32_t i = 0; i < kThreads * kRounds; ++i) { checks.push_back({&f, i + 1, &intruders}); }
  std::vector<std::uint32_t> copied(checks.size());
  const auto look = [](void* user, const hal_error*) -> hal_error* {
    const auto& check = *static_cast<const Check*>(user);
    if (check.fixture->word(0) != check.expected) { ++*check.intruders; }
    return nullptr;
  };
  std::vector<std::jthread> threads;
  for (std::uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint32_t i = t * kRounds; i < (t + 1) * kRounds; ++i) {
        hal::Buffer scratch = f.queue.alloc(pool, 64).value();
        hal::Command call{HAL_OP_CALL, 0, nullptr, {}};
        call.as.call = {look, &checks[i]};
        const hal::Slice own = hal::host(std::span(&copied[i], 1));
        const std::array commands{hal::command::fill(f.at(0), i + 1),
                                  call,
                                  hal::command::copy(f.at(0), scratch.slice(0, 4)),
                                  call,
                                  hal::command::copy(scratch.slice(0, 4), own),
                                  hal::command::free(scratch)};
        f.queue.submit(commands).value();
      }
    });
  }
  for (std::jthread& thread : threads) { thread.join(); }
  REQUIRE(f.queue.finish(kSoon));
  CHECK(intruders == 0);
  for (std::uint32_t i = 0; i < copied.size(); ++i) { REQUIRE(copied[i] == i + 1); }
}

TEST_CASE("order: the declared limit counts a submission once, however many parts it goes in") {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "host";
  desc.pending_limit = 2;
  hal::Instance instance = hal::Instance::create(desc).value();
  hal::Device device = instance.open("host:0").value();
  hal::Queue queue = device.queue().value();
  hal::Timeline gate = instance.timeline().value();
  std::atomic<int> calls{0};
  hal::Command call{HAL_OP_CALL, 0, nullptr, {}};
  call.as.call = {[](void* user, const hal_error*) -> hal_error* {
                    ++*static_cast<std::atomic<int>*>(user);
                    return nullptr;
                  },
                  &calls};
  const std::array commands{call, hal::command::barrier(), call, hal::command::barrier(), call};
  queue.submit(commands, {.waits = {gate.at(1)}}).value();
  const Point second = queue.submit(commands).value();
  CHECK(queue.submit(commands).error().code() == HAL_WOULD_BLOCK);
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(second, kSoon));
  CHECK(calls == 6);
  CHECK(queue.submit(commands).value().value == second.value + commands.size());  // the refused one used no number
  REQUIRE(queue.finish(kSoon));
}

TEST_CASE("order: a refused submission takes its frees back") {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "host";
  desc.pending_limit = 1;
  hal::Instance instance = hal::Instance::create(desc).value();
  hal::Device device = instance.open("host:0").value();
  hal::Queue queue = device.queue().value();
  hal::Buffer buffer = device.buffer(64).value();
  hal::Timeline gate = instance.timeline().value();
  const Point held = queue.barrier({.waits = {gate.at(1)}}).value();
  CHECK(queue.free(buffer).error().code() == HAL_WOULD_BLOCK);
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(held, kSoon));
  REQUIRE(hal::wait(queue.fill(buffer, std::uint32_t{3}).value(), kSoon));  // still a buffer
  CHECK(queue.free(buffer));
  CHECK(queue.free(buffer).error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("order: what a queue holds back is told of the queue's failure, also if its own wait never ends") {
  Fixture f;
  hal::Timeline never = f.instance.timeline(0, "never").value(), gate = f.instance.timeline(0, "gate").value();
  std::atomic<int> told{0};
  f.queue.call([]() -> hal::Result<void> { return hal::Error(HAL_EXECUTION_FAILED, "first"); }, {.waits = {gate.at(1)}})
      .value();
  hal::Command call{HAL_OP_CALL, 0, nullptr, {}};
  call.as.call = {[](void* user, const hal_error* failure) -> hal_error* {
                    if (failure != nullptr) { ++*static_cast<std::atomic<int>*>(user); }
                    return nullptr;
                  },
                  &told};
  const Point held = f.queue.submit({&call, 1}, {.waits = {never.at(1)}}).value();
  REQUIRE(gate.signal(1));
  CHECK(hal::wait(held, kSoon).error().code() == HAL_EXECUTION_FAILED);
  CHECK(eventually([&] { return told == 1; }));
}

TEST_CASE("order: what a failing host function has let go itself does not begin, and its own point fails") {
  Fixture f;
  for (std::uint32_t round = 0; round < 1000; ++round) {
    hal::Queue queue = f.device.queue().value();
    hal::Timeline gate = f.instance.timeline().value();
    const Point call = queue
                           .call([&]() -> hal::Result<void> {
                             gate.signal(1).value();
                             return hal::Error(HAL_EXECUTION_FAILED, "first");
                           })
                           .value();
    const auto behind = queue.fill(f.at(0), 1U, {.waits = {gate.at(1)}});  // refused if the call was faster
    REQUIRE(hal::wait(call, kSoon).error().code() == HAL_EXECUTION_FAILED);
    if (behind) { REQUIRE(hal::wait(*behind, kSoon).error().code() == HAL_EXECUTION_FAILED); }
    REQUIRE(f.word(0) == 0);
  }
}

TEST_CASE("order: work that finds no memory to be held back in is refused, and nothing of it is left") {
  hal::Instance instance = with_refusals("host");
  hal::Device device = instance.open("host:0").value();
  hal::Buffer buffer = device.buffer(64).value();
  std::memset(buffer.host().data(), 0, 64);
  hal::Queue queue = device.queue("short of memory").value();
  hal::Timeline gate = instance.timeline().value(), done = instance.timeline().value();
  int calls = 0;
  hal::Command call{HAL_OP_CALL, 0, nullptr, {}};
  call.as.call = {[](void* user, const hal_error*) -> hal_error* {
                    ++*static_cast<int*>(user);
                    return nullptr;
                  },
                  &calls};
  const std::array mixed{hal::command::fill(buffer.slice(0, 4), 1U), call};
  closed = true;
  const auto refused = queue.submit(mixed);  // nothing of it begins
  const auto held = queue.fill(buffer.slice(4, 4), 1U, {.waits = {gate.at(1)}, .signals = {done.at(2)}});
  closed = false;
  REQUIRE(!refused);
  CHECK(refused.error().code() == HAL_OUT_OF_HOST_MEMORY);
  REQUIRE(!held);
  CHECK(held.error().code() == HAL_OUT_OF_HOST_MEMORY);
  REQUIRE(gate.signal(1));
  // The queue goes on as if they had never been, and the signal is still to give.
  const Point next = queue.fill(buffer.slice(0, 4), 2U, {.signals = {done.at(1)}}).value();
  CHECK(next.value == 1);
  REQUIRE(hal::wait(next, kSoon));
  REQUIRE(hal::wait(done.at(1), kSoon));
  CHECK(done.value().value() == 1);
  std::array<std::uint32_t, 2> words{};
  std::memcpy(words.data(), buffer.host().data(), sizeof words);
  CHECK(words == std::array<std::uint32_t, 2>{2, 0});
  CHECK(calls == 0);
}

TEST_CASE("order: a host function that no thread can be had for is refused, and nothing of it is left") {
  Fixture f;
  const Point before = f.queue.fill(f.at(0), 1U).value();
  REQUIRE(hal::wait(before, kSoon));
  std::atomic<int> calls{0};
  const auto call = [&] {
    return f.queue.call([&]() -> hal::Result<void> {
      ++calls;
      return {};
    });
  };
  {
    const NoThreads none;
    const hal::Result<Point> refused = call();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == HAL_UNAVAILABLE);
    CHECK(contains(refused.error().text(), "the system gives no thread"));
  }
  const Point next = call().value();
  CHECK(next.value == before.value + 1);
  REQUIRE(hal::wait(next, kSoon));
  CHECK(calls == 1);
}

TEST_CASE("order: what a full lane leaves and no memory can hold fails its queue, after what the lane took") {
  Manual load;  // finds the control functions
  hal::Instance instance = with_refusals(MANUAL_DRIVER);
  hal::Device device = instance.open("manual:0").value();
  hal::Buffer buffer = device.buffer(64).value();
  std::memset(buffer.host().data(), 0, 64);
  hal::Queue queue = device.queue("short of memory").value();
  load.control.set_capacity("short of memory", 1);
  const Point taken = queue.fill(buffer.slice(0, 4), 1U).value();
  closed = true;
  const auto left = queue.fill(buffer.slice(4, 4), 1U);
  closed = false;
  REQUIRE(left);  // it has its number, so the number has to fail
  CHECK(hal::wait(*left, kSoon).error().code() == HAL_OUT_OF_HOST_MEMORY);
  CHECK(queue.barrier().error().code() == HAL_OUT_OF_HOST_MEMORY);
  load.control.complete("short of memory", 1);
  CHECK(hal::wait(taken, kSoon));
  std::array<std::uint32_t, 2> words{};
  std::memcpy(words.data(), buffer.host().data(), sizeof words);
  CHECK(words == std::array<std::uint32_t, 2>{1, 0});
}

TEST_CASE("order: work with a host function behind it waits for what its submission waits for") {
  Manual m;
  hal::Queue queue = m.device.queue("parts").value();
  hal::Timeline gate = m.instance.timeline().value();
  hal::Command call{HAL_OP_CALL, 0, nullptr, {}};
  call.as.call = {[](void*, const hal_error*) -> hal_error* { return nullptr; }, nullptr};
  const std::array commands{hal::command::fill(m.at(0), 1U), call};
  const Point last = queue.submit(commands, {.waits = {gate.at(1)}}).value();
  CHECK(m.control.taken("parts") == 0);
  REQUIRE(gate.signal(1));
  REQUIRE(eventually([&] { return m.control.complete("parts", last.value) == last.value; }));
  REQUIRE(hal::wait(last, kSoon));
  CHECK(m.word(0) == 1);
}

TEST_CASE("order: parts stay behind what a full lane leaves of those before them") {
  Manual m;
  hal::Queue queue = m.device.queue("full").value();
  hal::Pool pool = m.device.pool().value();
  hal::Buffer scratch = queue.alloc(pool, 64).value();  // takes number 1
  m.control.complete("full", 1);
  m.control.set_capacity("full", 2);
  const std::array commands{hal::command::fill(m.at(0), 1U), hal::command::fill(m.at(1), 2U),
                            hal::command::fill(m.at(0), 3U), hal::command::free(scratch),
                            hal::command::fill(m.at(0), 4U)};
  const Point last = queue.submit(commands).value();
  REQUIRE(last.value == 6);
  CHECK(m.control.taken("full") == 3);
  CHECK(!hal::wait(last, 0s));
  REQUIRE(eventually([&] { return m.control.complete("full", last.value) == last.value; }));
  REQUIRE(hal::wait(last, kSoon));
  CHECK(m.control.executed("full") == 6);
  CHECK(m.word(0) == 4);
  CHECK(m.word(1) == 2);
}

TEST_CASE("order: parts stay in order on lanes that take only some of them") {
  const hal::Instance instance = hal::Instance::create("host").value();
  const hal::Device device = instance.open("host:0?mode=weak&seed=7").value();
  hal::Buffer buffer = device.buffer(64).value();
  hal::Pool pool = device.pool().value();
  for (std::uint32_t round = 0; round < 60; ++round) {
    hal::Queue queue = device.queue().value();
    hal::Buffer scratch = queue.alloc(pool, 64).value();
    std::vector<hal::Command> commands;
    for (std::uint32_t i = 0; i < 2 + round % 30; ++i) {
      commands.push_back(hal::command::fill(buffer.slice(4 * (i % 8 + 1), 4), i));
    }
    commands.push_back(hal::command::fill(buffer.slice(0, 4), 1U));
    commands.push_back(hal::command::free(scratch));
    commands.push_back(hal::command::fill(buffer.slice(0, 4), round + 2));
    REQUIRE(hal::wait(queue.submit(commands).value(), kSoon));
    std::uint32_t word = 0;
    std::memcpy(&word, buffer.host().data(), sizeof word);
    REQUIRE(word == round + 2);
  }
}

TEST_CASE("device: one that finds no memory to be opened in is not left open") {
  hal::Instance instance = with_refusals("rngd");
  closed = true;
  const auto refused = instance.open("rngd:0/pe0");
  closed = false;
  REQUIRE(!refused);
  CHECK(refused.error().code() == HAL_OUT_OF_HOST_MEMORY);
  // A processing element belongs to one device at a time.
  CHECK(instance.open("rngd:0/pe0-1"));
}
