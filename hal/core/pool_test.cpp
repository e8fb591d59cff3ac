// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <chrono>
#include <cstring>
#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "core/host_fixture.hpp"
#include "hal/hal.hpp"

using namespace std::chrono_literals;
using hal::test::eventually;

namespace {

using Fixture = hal::test::HostQueue;

std::uintptr_t address(const hal::Buffer& buffer) { return reinterpret_cast<std::uintptr_t>(buffer.host().data()); }

}  // namespace

TEST_CASE("memory: zero bytes are refused and so is more than there is, with the numbers") {
  Fixture f;
  CHECK(f.device.buffer(0).error().code() == HAL_INVALID_ARGUMENT);
  const auto huge = f.device.buffer(std::uint64_t{1} << 60);
  REQUIRE_FALSE(huge);
  CHECK((huge.error().code() == HAL_OUT_OF_DEVICE_MEMORY || huge.error().code() == HAL_OUT_OF_HOST_MEMORY));
  CHECK(huge.error().text().find("1152921504606846976") != std::string_view::npos);
}

TEST_CASE("pool: freed memory comes back for the next buffer of its size") {
  Fixture f;
  hal::Pool pool = f.device.pool().value();
  std::uintptr_t first = 0;
  {
    hal::Buffer buffer = f.queue.alloc(pool, 1000).value();
    first = address(buffer);
    f.queue.free(buffer).value();
  }
  hal::Buffer again = f.queue.alloc(pool, 990).value();  // same class, same queue: at once, protected by order
  CHECK(address(again) == first);
  CHECK(pool.stats().hits == 1);
}

TEST_CASE("pool: what is of another instance is said to be, for it has the same name") {
  Fixture f, g;
  hal::Pool pool = f.device.pool().value();
  const auto wrong = g.queue.alloc(pool, 64);
  REQUIRE(!wrong);
  CHECK(wrong.error().code() == HAL_INVALID_ARGUMENT);
  CHECK(std::string(wrong.error().what()).find("the pool is of host:0 of another instance, the queue of host:0") !=
        std::string::npos);
}

TEST_CASE("pool: an allocation waits for every point, however they are given") {
  Fixture f;
  hal::Pool pool = f.device.pool().value();
  const auto refuse = [&](const hal::Sync& sync) {
    hal::Queue queue = f.device.queue().value();
    hal::Point ready{};
    hal::Buffer buffer = queue.alloc(pool, 64, &ready, sync).value();
    const auto waited = hal::wait(ready, 20s);
    return !waited && waited.error().text().find("no input today") != std::string_view::npos;
  };
  hal::Timeline good = f.instance.timeline(1).value(), bad = f.instance.timeline().value();
  bad.fail(hal::Error(HAL_UNAVAILABLE, "no input today"));
  const std::array<hal::Point, 2> points{good.at(1), bad.at(1)};
  CHECK(refuse({.waits = {points[0], points[1]}}));
  CHECK(refuse({.more_waits = points}));
  CHECK_FALSE(refuse({.more_waits = std::span(points).first(1)}));
}

TEST_CASE("pool: another queue does not get memory that a gated free still holds") {
  Fixture f;
  hal::Pool pool = f.device.pool().value();
  hal::Timeline gate = f.instance.timeline().value();
  hal::Queue other = f.device.queue("other").value();
  hal::Buffer held = f.queue.alloc(pool, 4096).value();
  const hal::Point freed = f.queue.free(held, {.waits = {gate.at(1)}}).value();
  hal::Buffer elsewhere = other.alloc(pool, 4096).value();
  CHECK(address(elsewhere) != address(held));
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(freed, 20s));
  CHECK(f.queue.fill(held, std::uint8_t{1}).error().code() == HAL_INVALID_ARGUMENT);  // used after free
}

TEST_CASE("pool: a limit is kept and says what is in use") {
  Fixture f;
  hal::Pool pool = f.device.pool(8192).value();
  hal::Buffer a = f.queue.alloc(pool, 4096).value();
  hal::Buffer b = f.queue.alloc(pool, 4096).value();
  const auto third = f.queue.alloc(pool, 4096);
  REQUIRE_FALSE(third);
  CHECK(third.error().code() == HAL_OUT_OF_DEVICE_MEMORY);
  CHECK(third.error().what().find("8192") != std::string_view::npos);
  CHECK(pool.stats().used_bytes == 8192);
}

TEST_CASE("pool: what could not be had does not count as used") {
  Fixture f;
  hal::Pool pool = f.device.pool().value();
  CHECK(f.queue.alloc(pool, std::uint64_t{1} << 60).error().code() == HAL_OUT_OF_DEVICE_MEMORY);
  CHECK(pool.stats().used_bytes == 0);
}

TEST_CASE("pool: trimming takes the largest first, and looks past sizes that are all in use") {
  Fixture f;
  hal::Pool pool = f.device.pool().value();
  {
    const hal::Buffer large = f.queue.alloc(pool, 65'536).value(), middle = f.queue.alloc(pool, 4096).value(),
                      small = f.queue.alloc(pool, 256).value();
    REQUIRE(f.queue.finish(20s));
  }
  CHECK(pool.stats().cached_bytes == 65'536 + 4096 + 256);
  {
    const hal::Buffer large = f.queue.alloc(pool, 65'536).value();
    REQUIRE(f.queue.finish(20s));
    pool.trim(256);
    CHECK(pool.stats().cached_bytes == 256);
  }
  pool.trim(65'536);
  CHECK(pool.stats().cached_bytes == 256);
}

TEST_CASE("pool: where the limit refuses new memory a larger block serves, at once behind the queue's own free") {
  Fixture f;
  hal_pool_desc desc{sizeof(hal_pool_desc), 0, 1 << 20, 0, GENERATE(0U, 1U << 20U), "small"};
  hal_pool* made = nullptr;
  REQUIRE(hal::check(hal_pool_create(f.device.get(), &desc, &made)));
  hal::Pool pool(made);
  hal::Timeline gate = f.instance.timeline().value();
  const bool own = GENERATE(true, false);
  hal::Queue other = f.device.queue("other").value();
  hal::Buffer whole = f.queue.alloc(pool, 1 << 20).value();
  REQUIRE(f.queue.free(whole, {.waits = {gate.at(1)}}));
  hal::Queue& asks = own ? f.queue : other;
  hal::Buffer half = asks.alloc(pool, 1 << 19).value();
  CHECK(address(half) == address(whole));
  CHECK(half.size() == 1 << 19);
  CHECK(pool.stats().waits == (own ? 0 : 1));
  CHECK(pool.stats().used_bytes == 1 << 20);
  CHECK(pool.stats().waste_bytes == 1 << 19);
  const hal::Point filled = asks.fill(half, std::uint32_t{7}).value();
  CHECK(hal::wait(filled, 0ns).error().code() == HAL_DEADLINE_EXCEEDED);
  REQUIRE(gate.signal(1));
  CHECK(hal::wait(filled, 20s));
}

TEST_CASE("pool: a call that counts waits and gives none is refused, also where memory is short") {
  Fixture f;
  hal::Pool pool = f.device.pool(4096).value();
  hal::Timeline gate = f.instance.timeline().value();
  hal::Queue other = f.device.queue("other").value();
  hal::Buffer held = f.queue.alloc(pool, 4096).value();
  REQUIRE(f.queue.free(held, {.waits = {gate.at(1)}}));
  hal_sync malformed{};
  malformed.wait_count = 1;
  hal_buffer* out = nullptr;
  CHECK(hal::check(hal_queue_alloc(other.get(), pool.get(), 4096, &malformed, &out, nullptr)).error().code() ==
        HAL_INVALID_ARGUMENT);
  CHECK(out == nullptr);
  CHECK(pool.stats().waits == 0);
  REQUIRE(gate.signal(1));
}

TEST_CASE("pool: trimming gives the cache back") {
  Fixture f;
  hal::Pool pool = f.device.pool().value();
  { hal::Buffer a = f.queue.alloc(pool, 1 << 20).value(); }
  REQUIRE(f.queue.finish(20s));
  CHECK(pool.stats().cached_bytes >= 1U << 20U);
  pool.trim();
  CHECK(pool.stats().cached_bytes == 0);
}

TEST_CASE("slices: ranges are checked, overlap is refused, nothing is fine") {
  Fixture f;
  hal::Buffer buffer = f.device.buffer(100).value();
  CHECK(f.queue.fill(buffer.slice(96, 8), std::uint32_t{1}).error().code() == HAL_OUT_OF_RANGE);
  CHECK(f.queue.fill(buffer.slice(UINT64_MAX, 8), std::uint32_t{1}).error().code() == HAL_OUT_OF_RANGE);
  CHECK(f.queue.fill(buffer.slice(0, 3), std::uint16_t{1}).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.queue.copy(buffer.slice(0, 50), buffer.slice(49, 50)).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.queue.copy(buffer.slice(0, 50), buffer.slice(50, 49)).error().code() == HAL_INVALID_ARGUMENT);
  REQUIRE(hal::wait(f.queue.copy(buffer.slice(0, 0), buffer.slice(50, 0)).value(), 20s));
  REQUIRE(hal::wait(f.queue.copy(buffer.slice(0, 50), buffer.slice(50, 50)).value(), 20s));
  hal::Command bad{99, 0, "odd one", {}};
  const auto refused = f.queue.submit({&bad, 1});
  CHECK(refused.error().what().find("'odd one'") != std::string_view::npos);
}

TEST_CASE("copy: bytes cross between two devices") {
  hal::Instance instance = hal::Instance::create("host").value();
  hal::Device a = instance.open("host:0").value(), b = instance.open("host:0?mode=weak&seed=1").value();
  hal::Queue queue = a.queue().value();
  hal::Buffer from = a.buffer(256).value(), to = b.buffer(256).value();
  queue.fill(from, std::uint32_t{0x01020304}).value();
  REQUIRE(hal::wait(queue.copy(from, to).value(), 20s));
  CHECK(std::memcmp(from.host().data(), to.host().data(), 256) == 0);
}

TEST_CASE("pool: blocks go back to the driver as they came, for every size near a class") {
  Fixture f;
  hal::Pool pool = f.device.pool().value();
  for (const std::uint64_t bytes : {1U, 63U, 65U, 4095U, 4097U, 245'761U, 262'143U, 262'145U, 1'000'001U}) {
    {
      hal::Buffer buffer = f.queue.alloc(pool, bytes).value();
      std::memset(buffer.host().data(), 1, bytes);
    }
    REQUIRE(f.queue.finish(20s));
    pool.trim();
    CHECK(pool.stats().used_bytes == 0);
    CHECK(pool.stats().cached_bytes == 0);
  }
}

TEST_CASE("copy: between devices that cannot reach each other, plain, recorded and against the limit") {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "host:rngd";
  desc.pending_limit = 1;
  hal::Instance instance = hal::Instance::create(desc).value();
  hal::Device host = instance.open("host:0").value();
  hal::Device card = instance.open("rngd:0/pe0").value(), second = instance.open("rngd:0/pe1").value();
  hal::Queue queue = card.queue().value(), other = second.queue().value(), local = host.queue().value();
  hal::Buffer a = card.buffer(4096).value(), b = second.buffer(4096).value(), c = host.buffer(4096).value();
  std::vector<std::uint32_t> out(1024);
  queue.fill(a, 0x11223344U).value();
  REQUIRE(hal::wait(queue.copy(a, b).value(), 20s));  // this device writes
  REQUIRE(hal::wait(local.copy(b, c).value(), 20s));  // this device reads
  CHECK(std::memcmp(c.host().data(), std::vector<std::uint32_t>(1024, 0x11223344U).data(), 4096) == 0);
  REQUIRE(hal::wait(queue.fill(a, 0x55667788U).value(), 20s));
  REQUIRE(hal::wait(local.copy(a, b).value(), 20s));  // both ends lie elsewhere
  REQUIRE(hal::wait(local.copy(b, c).value(), 20s));
  CHECK(c.host()[0] == std::byte{0x88});
  const std::array commands{hal::command::copy(hal::slot(0, 0, 4096), c)};
  hal::Commands recording = host.record(commands).value();
  REQUIRE(hal::wait(other.fill(b, 7U).value(), 20s));
  const std::array<hal::Slice, 1> slots{b};
  REQUIRE(hal::wait(local.execute(recording, slots).value(), 20s));
  CHECK(c.host()[0] == std::byte{7});
  const hal::Commands fixed = host.record(std::array{hal::command::copy(b, c)}).value();
  const hal::Commands nested = host.record(std::array{hal::command::execute(fixed)}).value();
  for (const hal::Commands* one : {&fixed, &nested}) {
    const auto value = static_cast<std::uint32_t>(one == &fixed ? 8 : 9);
    REQUIRE(hal::wait(other.fill(b, value).value(), 20s));
    REQUIRE(hal::wait(local.execute(*one).value(), 20s));
    CHECK(c.host()[0] == std::byte(value));
  }
  // With the limit reached the copy is refused whole: nothing of it may still touch memory later.
  hal::Timeline gate = instance.timeline().value();
  const hal::Point held = local.barrier({.waits = {gate.at(1)}}).value();
  CHECK(local.copy(b, c).error().code() == HAL_WOULD_BLOCK);
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(held, 20s));
}

TEST_CASE("copy: between two devices it takes one place in the queue's limit, and its halves keep their bytes") {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "host:null";
  desc.pending_limit = 2;
  hal::Instance instance = hal::Instance::create(desc).value();
  hal::Device host = instance.open("host:0").value(), null = instance.open("null:0").value();
  hal::Queue queue = host.queue().value();
  hal::Timeline gate = instance.timeline().value();
  // Large enough for the bytes between the halves to be unmapped, not only freed, if they went too early.
  constexpr std::uint64_t kBytes = 8U << 20U;
  hal::Buffer mine = host.buffer(kBytes).value(), other = null.buffer(kBytes).value();
  queue.fill(mine, std::uint32_t{1}, {.waits = {gate.at(1)}}).value();
  const hal::Point copied = queue.copy(mine, other).value();
  CHECK(queue.copy(mine, other).error().code() == HAL_WOULD_BLOCK);
  CHECK(queue.copy(other, mine).error().code() == HAL_WOULD_BLOCK);
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(copied, 20s));
  REQUIRE(hal::wait(queue.copy(other, mine).value(), 20s));
}

TEST_CASE("free: what uses a buffer after its free is refused, in the same submission and in a recording too") {
  Fixture f;
  hal::Buffer buffer = f.device.buffer(64).value();
  const std::array use{hal::command::free(buffer), hal::command::fill(buffer.slice(0, 64), std::uint32_t{1})};
  CHECK(f.queue.submit(use).error().code() == HAL_INVALID_ARGUMENT);
  const std::array twice{hal::command::free(buffer), hal::command::free(buffer)};
  CHECK(f.queue.submit(twice).error().code() == HAL_INVALID_ARGUMENT);
  hal::Commands recording = f.device.record({use.data() + 1, 1}).value();
  const std::array slot{hal::command::fill(hal::slot(0, 8, 8), std::uint32_t{1})};
  hal::Commands with_slot = f.device.record(slot).value();
  const std::array<hal::Slice, 1> wraps{buffer.slice(UINT64_MAX - 7, 16)};
  CHECK(f.queue.execute(with_slot, wraps).error().code() == HAL_OUT_OF_RANGE);
  f.queue.execute(recording).value();
  REQUIRE(hal::wait(f.queue.free(buffer).value(), 20s));  // nothing refused above has freed it
  CHECK(f.queue.execute(recording).error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("pool: a queue that waits for a free anyhow gets its memory at once") {
  Fixture f;
  hal::Pool pool = f.device.pool().value();
  hal::Timeline gate = f.instance.timeline().value();
  hal::Queue other = f.device.queue("other").value();
  hal::Buffer held = f.queue.alloc(pool, 4096).value();
  const std::uintptr_t where = address(held);
  const hal::Point earlier = f.queue.barrier().value();
  const hal::Point freed = f.queue.free(held, {.waits = {gate.at(1)}}).value();
  hal::Buffer elsewhere = other.alloc(pool, 4096, nullptr, {.waits = {earlier}}).value();
  CHECK(address(elsewhere) != where);
  hal::Buffer after = other.alloc(pool, 4096, nullptr, {.waits = {freed}}).value();
  CHECK(address(after) == where);
  CHECK(pool.stats().hits == 1);
  CHECK(pool.stats().waits == 0);
  REQUIRE(gate.signal(1));
  REQUIRE(other.finish(20s));
}

TEST_CASE(
    "pool: with the limit reached a queue waits for another's work instead of failing, and sees none of its bytes") {
  Fixture f;
  hal::Pool pool = f.device.pool({.limit_bytes = 4096, .label = "small"}).value();
  hal::Timeline gate = f.instance.timeline().value();
  hal::Queue other = f.device.queue("other").value();
  std::vector<std::byte> first(4096), second(4096);
  hal::Buffer a = f.queue.alloc(pool, 4096).value();
  f.queue.fill(a, std::uint8_t{0x11}, {.waits = {gate.at(1)}}).value();
  f.queue.copy(a, hal::host(first)).value();
  f.queue.free(a).value();
  CHECK(f.device.buffer(4096));  // another pool
  hal::Buffer b = other.alloc(pool, 4096).value();
  CHECK(pool.stats().waits == 1);
  other.fill(b, std::uint8_t{0x22}).value();
  const hal::Point end = other.copy(b, hal::host(second)).value();
  // Held back until the first queue's work is done: nothing of it can have run.
  CHECK(hal::wait(end, 0s).error().code() == HAL_DEADLINE_EXCEEDED);
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(end, 20s));
  CHECK(first == std::vector<std::byte>(4096, std::byte{0x11}));
  CHECK(second == std::vector<std::byte>(4096, std::byte{0x22}));
  other.free(b).value();
  REQUIRE(other.finish(20s));
  hal::Buffer c = f.queue.alloc(pool, 4096).value();
  const auto none = other.alloc(pool, 4096);
  REQUIRE_FALSE(none);
  CHECK(none.error().code() == HAL_OUT_OF_DEVICE_MEMORY);
  CHECK(none.error().text().find("'small'") != std::string_view::npos);
  CHECK(pool.stats().failures == 1);
}

TEST_CASE("pool: of many that are to wait for other queues' memory none goes without while there is a block for each") {
  constexpr std::size_t kEach = 4;
  Fixture f;
  hal::Pool pool = f.device.pool(kEach * 4096).value();
  hal::Timeline gate = f.instance.timeline().value();
  std::vector<hal::Queue> holders, takers;
  for (std::size_t i = 0; i < kEach; ++i) {
    holders.push_back(f.device.queue().value());
    takers.push_back(f.device.queue().value());
  }
  for (std::uint64_t round = 1; round <= 200; ++round) {
    std::vector<hal::Buffer> held, got(kEach);
    for (hal::Queue& queue : holders) { held.push_back(queue.alloc(pool, 4096).value()); }
    for (std::size_t i = 0; i < kEach; ++i) { holders[i].free(held[i], {.waits = {gate.at(round)}}).value(); }
    std::array<std::string, kEach> refused;
    {
      std::latch together(kEach);
      std::vector<std::jthread> threads;
      for (std::size_t i = 0; i < kEach; ++i) {
        threads.emplace_back([&, i] {
          together.arrive_and_wait();
          if (auto made = takers[i].alloc(pool, 4096)) {
            got[i] = *std::move(made);
          } else {
            refused[i] = made.error().text();
          }
        });
      }
    }
    for (const std::string& text : refused) { CHECK(text == ""); }
    REQUIRE(gate.signal(round));
    for (std::size_t i = 0; i < kEach; ++i) {
      if (refused[i].empty()) { takers[i].free(got[i]).value(); }
      REQUIRE(takers[i].finish(20s));
      REQUIRE(holders[i].finish(20s));
    }
  }
}

TEST_CASE("pool: the failure of the queue whose memory is taken over stays its own") {
  Fixture f;
  hal::Pool pool = f.device.pool(4096).value();
  hal::Timeline gate = f.instance.timeline().value();
  hal::Queue other = f.device.queue("other").value();
  hal::Buffer a = f.queue.alloc(pool, 4096).value();
  f.queue.free(a, {.waits = {gate.at(1)}}).value();
  hal::Buffer b = other.alloc(pool, 4096).value();
  const hal::Point filled = other.fill(b, std::uint8_t{5}).value();
  hal_queue_cancel(f.queue.get());
  gate.signal(1).value();
  REQUIRE(hal::wait(filled, 20s));
  CHECK(b.host()[4095] == std::byte{5});
}

TEST_CASE("pool: the first piece is cut for buffers of any size and joined again") {
  Fixture f;
  hal::Pool pool = f.device.pool({.limit_bytes = 1 << 20, .initial_bytes = 1 << 20, .prefault = true}).value();
  CHECK(pool.stats().cached_bytes == 1U << 20U);
  CHECK(pool.stats().largest_free_bytes == 1U << 20U);
  for (int round = 0; round < 3; ++round) {
    std::vector<hal::Buffer> buffers;
    for (const std::uint64_t bytes : {1U, 100U, 5000U, 70'000U, 300'000U, 64U}) {
      buffers.push_back(f.queue.alloc(pool, bytes).value());
      REQUIRE(f.queue.fill(buffers.back(), static_cast<std::uint8_t>(buffers.size())));
    }
    REQUIRE(f.queue.finish(20s));
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      for (const std::byte byte : buffers[i].host()) { REQUIRE(byte == std::byte(i + 1)); }
    }
    CHECK(pool.stats().used_bytes + pool.stats().cached_bytes == 1U << 20U);
    CHECK(f.queue.alloc(pool, 900'000).error().code() == HAL_OUT_OF_DEVICE_MEMORY);
    for (hal::Buffer& buffer : buffers) { f.queue.free(buffer).value(); }
    REQUIRE(f.queue.finish(20s));
  }
  CHECK(pool.stats().largest_free_bytes == 1U << 20U);
  CHECK(pool.stats().hits == pool.stats().allocations - 3);
  pool.trim();
  CHECK(pool.stats().cached_bytes == 1U << 20U);  // the first piece stays
  CHECK(f.device.pool({.limit_bytes = 10, .initial_bytes = 11}).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.device.pool({.initial_bytes = std::uint64_t{1} << 60}).error().code() == HAL_OUT_OF_DEVICE_MEMORY);
}

TEST_CASE("pool: what is above keep_bytes goes back by itself") {
  Fixture f;
  hal::Pool pool = f.device.pool({.keep_bytes = 8192}).value();
  std::vector<hal::Buffer> buffers;
  for (int i = 0; i < 8; ++i) { buffers.push_back(f.queue.alloc(pool, 4096).value()); }
  REQUIRE(f.queue.finish(20s));
  buffers.clear();  // released, not freed in queue order
  CHECK(pool.stats().cached_bytes == 8192);
  CHECK(pool.stats().trims == 6);
  CHECK(pool.stats().waste_bytes == 0);
  for (int i = 0; i < 8; ++i) { buffers.push_back(f.queue.alloc(pool, 4096).value()); }
  for (hal::Buffer& buffer : buffers) { f.queue.free(buffer).value(); }
  REQUIRE(f.queue.finish(20s));
  CHECK(eventually([&] {  // on a thread of the core
    f.queue.barrier().value();
    return f.queue.finish(20s) && pool.stats().cached_bytes == 8192;
  }));
}

TEST_CASE("budget: all pools of a device count, caches are taken back before it refuses, and it says the numbers") {
  Fixture f;
  REQUIRE(f.device.set_budget(1 << 20));
  for (int time = 0; time < 4; ++time) { CHECK(f.device.physical(1 << 19)); }  // each is given back
  hal::Pool one = f.device.pool().value(), two = f.device.pool().value();
  { hal::Buffer gone = f.queue.alloc(one, 800'000).value(); }
  REQUIRE(f.queue.finish(20s));
  CHECK(f.device.memory().cached_bytes >= 800'000);
  hal::Buffer large = f.queue.alloc(two, 900'000).value();  // the first pool's cache goes
  CHECK(one.stats().cached_bytes == 0);
  CHECK(f.device.memory().used_bytes >= 900'000);
  const auto refused = f.device.buffer(500'000);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == HAL_OUT_OF_DEVICE_MEMORY);
  CHECK(refused.error().text().find("budget of 1048576") != std::string_view::npos);
  CHECK(f.device.physical(1 << 19).error().code() == HAL_OUT_OF_DEVICE_MEMORY);
  REQUIRE(f.device.set_budget(0));
  CHECK(f.device.buffer(500'000));
  CHECK(f.device.memory().limit_bytes == 0);
}

TEST_CASE("budget: what the device refuses was never held") {
  Fixture f;
  const hal::Buffer held = f.device.buffer(1 << 16).value();
  const hal_pool_stats before = f.device.memory();
  CHECK(before.peak_bytes >= 1 << 16);
  for (const std::uint64_t bytes : {std::uint64_t{1} << 62, UINT64_MAX, UINT64_MAX - 100}) {
    CHECK_FALSE(f.device.buffer(bytes));
    CHECK(f.device.memory().peak_bytes == before.peak_bytes);
  }
  const std::uint64_t unit = f.device.number("virtual.granularity").value();
  CHECK_FALSE(f.device.physical(UINT64_MAX / unit * unit));
  CHECK(f.device.memory().peak_bytes == before.peak_bytes);
  // And a budget has all its room afterwards.
  const std::uint64_t room = before.peak_bytes + (1 << 20);
  REQUIRE(f.device.set_budget(room));
  CHECK(f.device.buffer(1 << 20));
}

TEST_CASE("memory: a device opened with less has less, and says asked, free and the largest block") {
  hal::Instance instance = hal::Instance::create("host").value();
  hal::Device device = instance.open("host:0?memory=1000000").value();
  CHECK(device.info().memory_bytes == 1'000'000);
  hal::Buffer most = device.buffer(900'000).value();
  const auto refused = device.buffer(200'000);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == HAL_OUT_OF_DEVICE_MEMORY);
  const std::string text(refused.error().text());
  for (const char* part : {"200000", "1000000", "free", "largest block"}) {
    CHECK(text.find(part) != std::string::npos);
  }
  CHECK(instance.open("host:0?memory=0").error().code() == HAL_INVALID_ARGUMENT);
  CHECK(instance.open("host:0?memory=9999999999999999").error().code() == HAL_INVALID_ARGUMENT);
}
