// SPDX-License-Identifier: Apache-2.0
// Rings, completions, events, copies and faults.
#include <poll.h>

#include <atomic>
#include <string>
#include <thread>

#include "driver/fixture.hpp"

using namespace rngd::testing;

TEST_CASE("commands complete in order while the ring wraps many times", "[rngd][queue]") {
  const bool stepped = GENERATE(true, false);
  Card card(stepped);
  std::vector<std::uint64_t> seen;
  rngd_queue_options options{};
  options.depth = 8;
  options.user = &seen;
  options.on_progress = [](void* user, std::uint64_t completed) {
    static_cast<std::vector<std::uint64_t>*>(user)->push_back(completed);
  };
  {
    Lane lane(card, 0, 1, options);
    rngd_address host{};
    std::vector<std::uint64_t> words(64);
    REQUIRE(rngd_host_register(card.device, words.data(), words.size() * 8, &host, nullptr) == RNGD_OK);
    for (std::uint64_t i = 1; i <= 1000; ++i) {
      rngd_address to = host;
      to.value += i % 64 * 8;
      const rngd_command command = Lane::fill(to, 8, i, 8);
      std::uint64_t first = 0;
      rngd_status status;
      while ((status = rngd_queue_submit(lane.queue, &command, 1, &first, nullptr)) == RNGD_WOULD_BLOCK) {
        REQUIRE(rngd_queue_wait(lane.queue, i - 7, kForever) == RNGD_OK);
      }
      REQUIRE(status == RNGD_OK);
      REQUIRE(first == i);
    }
    REQUIRE(rngd_queue_wait(lane.queue, 1000, kForever) == RNGD_OK);
    CHECK(rngd_queue_completed(lane.queue) == 1000);
    for (std::uint64_t i = 937; i <= 1000; ++i) { CHECK(words[i % 64] == i); }
    rngd_host_unregister(card.device, host, words.size() * 8);
  }
  REQUIRE_FALSE(seen.empty());
  CHECK(seen.back() == 1000);
  for (std::size_t i = 1; i < seen.size(); ++i) { CHECK(seen[i] > seen[i - 1]); }
}

TEST_CASE("a full ring enqueues nothing and takes commands again when there is room", "[rngd][queue]") {
  Card card;
  rngd_queue_options options{};
  options.depth = 4;
  Lane lane(card, 0, 1, options);
  rngd_event* gate = nullptr;
  REQUIRE(rngd_event_create(lane.partition, &gate, nullptr) == RNGD_OK);
  rngd_command held{};
  held.wait_event = gate;
  held.wait_value = 1;
  CHECK(rngd_queue_space(lane.queue) == 3);
  for (int i = 0; i < 3; ++i) { lane.submit(held); }
  CHECK(rngd_queue_space(lane.queue) == 0);
  rngd_command barrier{};
  std::uint64_t first = 77;
  CHECK(rngd_queue_submit(lane.queue, &barrier, 1, &first, nullptr) == RNGD_WOULD_BLOCK);
  CHECK(first == 77);
  CHECK(rngd_queue_submitted(lane.queue) == 3);
  CHECK(rngd_queue_wait(lane.queue, 1, 1'000'000) == RNGD_TIMEOUT);
  CHECK(rngd_queue_completed(lane.queue) == 0);
  REQUIRE(rngd_event_signal(gate, 1, nullptr) == RNGD_OK);
  REQUIRE(rngd_queue_wait(lane.queue, 3, kForever) == RNGD_OK);
  CHECK(lane.submit(barrier) == 4);
  REQUIRE(rngd_queue_wait(lane.queue, 4, kForever) == RNGD_OK);
  rngd_event_destroy(gate);
}

TEST_CASE("submit is all or nothing", "[rngd][queue]") {
  Card card;
  Lane lane(card, 0, 1);
  rngd_command commands[2] = {{}, {}};
  commands[1].kind = 99;
  rngd_error error{};
  CHECK(rngd_queue_submit(lane.queue, commands, 2, nullptr, &error) == RNGD_INVALID_ARGUMENT);
  CHECK(std::string(error.text) == "commands[1].kind: 99 is unknown");
  CHECK(rngd_queue_submitted(lane.queue) == 0);
  CHECK(lane.submit({}) == 1);
  REQUIRE(rngd_queue_wait(lane.queue, 1, kForever) == RNGD_OK);
}

TEST_CASE("events order queues of a partition, and the host waits for them", "[rngd][event]") {
  const bool stepped = GENERATE(true, false);
  Card card(stepped);
  Lane lane(card, 0, 2);
  rngd_queue* other = nullptr;
  REQUIRE(rngd_queue_create(lane.partition, nullptr, &other, nullptr) == RNGD_OK);
  rngd_event *done = nullptr, *gate = nullptr;
  REQUIRE(rngd_event_create(lane.partition, &done, nullptr) == RNGD_OK);
  REQUIRE(rngd_event_create(lane.partition, &gate, nullptr) == RNGD_OK);
  const rngd_address word = lane.hbm(8);

  rngd_command second = Lane::fill(word, 8, 2, 8);  // submitted first, waits for the other queue
  second.wait_event = done;
  second.wait_value = 5;
  lane.submit(second);
  rngd_command first = Lane::fill(word, 8, 1, 8);
  first.wait_event = gate;
  first.wait_value = 1;
  first.signal_event = done;
  first.signal_value = 5;
  REQUIRE(rngd_queue_submit(other, &first, 1, nullptr, nullptr) == RNGD_OK);
  rngd_queue_flush(lane.queue);
  CHECK(rngd_event_wait(done, 5, 1'000'000) == RNGD_TIMEOUT);
  CHECK(rngd_queue_completed(lane.queue) == 0);

  std::thread host([&] { rngd_event_signal(gate, 1, nullptr); });
  CHECK(rngd_event_wait(done, 5, kForever) == RNGD_OK);
  host.join();
  REQUIRE(rngd_queue_wait(lane.queue, 1, kForever) == RNGD_OK);
  CHECK(lane.download<std::uint64_t>(word, 1)[0] == 2);
  CHECK(rngd_event_value(done) == 5);
  rngd_error error{};
  CHECK(rngd_event_signal(done, 5, &error) == RNGD_INVALID_ARGUMENT);
  rngd_event_destroy(done);
  rngd_event_destroy(gate);
  rngd_queue_destroy(other);
}

TEST_CASE("notify calls once, from the thread that made the device work", "[rngd][queue]") {
  Card card(false);
  Lane lane(card, 0, 1);
  rngd_event* gate = nullptr;
  REQUIRE(rngd_event_create(lane.partition, &gate, nullptr) == RNGD_OK);
  rngd_command held{};
  held.wait_event = gate;
  held.wait_value = 1;
  lane.submit(held);
  lane.submit({});
  struct Called {
    std::atomic<int> times{0};
    std::atomic<std::uint64_t> completed{0};
    std::atomic<int> status{-1};
  } called;
  const auto on = [](void* user, std::uint64_t completed, rngd_status status) {
    auto* to = static_cast<Called*>(user);
    to->completed = completed;
    to->status = status;
    ++to->times;
    to->times.notify_all();
  };
  const int fd = rngd_queue_eventfd(lane.queue);
  REQUIRE(fd >= 0);
  pollfd poller{fd, POLLIN, 0};
  CHECK(poll(&poller, 1, 0) == 0);
  REQUIRE(rngd_queue_notify(lane.queue, 2, on, &called) == RNGD_OK);
  CHECK(called.times == 0);
  REQUIRE(rngd_event_signal(gate, 1, nullptr) == RNGD_OK);
  called.times.wait(0);
  CHECK(called.completed == 2);
  CHECK(called.status == RNGD_OK);
  CHECK(poll(&poller, 1, 20000) == 1);
  CHECK(rngd_queue_notify(lane.queue, 2, on, &called) == RNGD_REACHED);
  CHECK(called.times == 1);
  rngd_event_destroy(gate);
}

TEST_CASE("copies: linear, pitched, longer than a packet, backwards", "[rngd][dma]") {
  Card card;
  Lane lane(card, 4, 4);
  std::vector<unsigned char> image(64 * 100);
  for (std::size_t i = 0; i < image.size(); ++i) { image[i] = static_cast<unsigned char>(i * 7); }
  const rngd_address from = lane.hbm(image.size()), to = lane.hbm(image.size());
  lane.upload(from, image.data(), image.size());
  lane.finish(Lane::fill(to, image.size(), 0xEE, 1));
  rngd_command pitched{};
  pitched.kind = RNGD_COMMAND_COPY_ND;
  const rngd_loop rows[] = {{10, 0, 64, 32}};
  pitched.u.copy_nd = {from, to, 20, rows, 1};
  lane.finish(pitched);
  const auto got = lane.download<unsigned char>(to, 320);
  for (std::size_t i = 0; i < 320; ++i) { CHECK(got[i] == (i % 32 < 20 ? image[i / 32 * 64 + i % 32] : 0xEE)); }
  // One row of 6,000 bytes: more than a packet of 4,096.
  pitched.u.copy_nd = {from, to, 6000, nullptr, 0};
  lane.finish(pitched);
  CHECK(lane.download<unsigned char>(to, 6000) == std::vector<unsigned char>(image.begin(), image.begin() + 6000));
  // Rows in reverse.
  const rngd_loop reverse[] = {{64, 0, -100, 100}};
  rngd_address last = from;
  last.value += 63 * 100;
  pitched.u.copy_nd = {last, to, 100, reverse, 1};
  lane.finish(pitched);
  const auto turned = lane.download<unsigned char>(to, image.size());
  for (std::size_t i = 0; i < image.size(); ++i) { CHECK(turned[i] == image[(63 - i / 100) * 100 + i % 100]); }
  // Patterns of every width.
  for (const std::uint32_t width : {1u, 2u, 4u, 8u}) {
    lane.finish(Lane::fill(to, 16, 0x1122334455667788, width));
    const auto bytes = lane.download<unsigned char>(to, 16);
    for (std::size_t i = 0; i < 16; ++i) { CHECK(bytes[i] == (0x1122334455667788ull >> 8 * (i % width) & 0xFF)); }
  }
}

TEST_CASE("timestamps grow, and bigger copies take longer device time", "[rngd][timing]") {
  Card card;
  Lane lane(card, 0, 1);
  const rngd_address a = lane.hbm(1 << 20), b = lane.hbm(1 << 20);
  std::vector<std::uint64_t> times(3);
  rngd_address host{};
  REQUIRE(rngd_host_register(card.device, times.data(), 24, &host, nullptr) == RNGD_OK);
  lane.finish({});  // the partition itself takes time to come up
  for (std::uint64_t i = 0; i < 3; ++i) {
    rngd_command stamp{};
    stamp.kind = RNGD_COMMAND_TIMESTAMP;
    stamp.u.timestamp = {host, 0};
    stamp.u.timestamp.to.value += i * 8;
    lane.finish(stamp);
    if (i < 2) { lane.finish(Lane::copy(a, b, i == 0 ? 4096 : 1 << 20)); }
  }
  CHECK(times[1] > times[0]);
  CHECK(times[2] - times[1] > times[1] - times[0]);
  rngd_statistics statistics;
  rngd_device_get_statistics(card.device, &statistics);
  CHECK(statistics.bytes_written == 4096 + (1 << 20));
  CHECK(statistics.dma_commands == 2);
  CHECK(statistics.energy_joules > 0);
  rngd_host_unregister(card.device, host, 24);
}

TEST_CASE("a bad address fails the command, names it, and aborts what follows", "[rngd][fault]") {
  Card card;
  Lane lane(card, 0, 1);
  Lane neighbour(card, 1, 1);
  const rngd_address mine = lane.hbm(4096), theirs = neighbour.hbm(4096);
  lane.finish({});
  lane.submit(Lane::copy(theirs, mine, 64));  // another partition's window
  const std::uint64_t after = lane.submit(Lane::fill(mine, 4, 1, 4));
  CHECK(rngd_queue_wait(lane.queue, after, kForever) == RNGD_QUEUE_FAILED);
  rngd_error error{};
  REQUIRE(rngd_queue_error(lane.queue, &error) == RNGD_QUEUE_FAILED);
  CHECK(error.command == 2);
  CHECK(error.status == RNGD_FAULT);
  CHECK(error.device_status == 0x302);
  CHECK(error.address == theirs.value);
  CHECK(std::string(error.text).find("command 2, DMA_COPY: translation fault on read at 0x") == 0);
  CHECK(rngd_queue_completed(lane.queue) == 1);
  rngd_command barrier{};
  CHECK(rngd_queue_submit(lane.queue, &barrier, 1, nullptr, &error) == RNGD_QUEUE_FAILED);
  neighbour.finish({});  // nobody else is hurt
  rngd_fault fault{};
  REQUIRE(rngd_device_read_faults(card.device, 0, &fault, 1) == 1);
  CHECK(fault.device_status == 0x302);
  CHECK(fault.command == 2);

  REQUIRE(rngd_queue_reset(lane.queue, nullptr) == RNGD_OK);
  CHECK(rngd_queue_error(lane.queue, &error) == RNGD_OK);
  CHECK(lane.download<std::uint32_t>(mine, 1)[0] == 0xFFBAFFAD);  // the aborted fill did nothing
}

TEST_CASE("host memory that is not registered cannot be reached", "[rngd][fault]") {
  Card card;
  Lane lane(card, 0, 1);
  const rngd_address a = lane.hbm(4096);
  CHECK(lane.fails(Lane::copy(a, {0x1000, RNGD_SPACE_HOST, 0}, 64)).device_status == 0x303);
  REQUIRE(rngd_queue_reset(lane.queue, nullptr) == RNGD_OK);
  std::vector<char> buffer(4096);
  rngd_address host{};
  REQUIRE(rngd_host_register(card.device, buffer.data(), 4096, &host, nullptr) == RNGD_OK);
  CHECK(lane.fails(Lane::copy(a, host, 4097)).device_status == 0x303);
  REQUIRE(rngd_queue_reset(lane.queue, nullptr) == RNGD_OK);
  rngd_host_unregister(card.device, host, 4096);
  CHECK(lane.fails(Lane::copy(a, host, 64)).device_status == 0x303);
  REQUIRE(rngd_queue_reset(lane.queue, nullptr) == RNGD_OK);
  CHECK(lane.fails(Lane::fill(a, 6, 0, 4)).status == RNGD_INVALID_ARGUMENT);
}

TEST_CASE("abort drops what has not begun", "[rngd][queue]") {
  Card card;
  Lane lane(card, 0, 1);
  rngd_event* never = nullptr;
  REQUIRE(rngd_event_create(lane.partition, &never, nullptr) == RNGD_OK);
  lane.finish({});
  rngd_command held{};
  held.wait_event = never;
  held.wait_value = 1;
  for (int i = 0; i < 3; ++i) { lane.submit(held); }
  REQUIRE(rngd_queue_abort(lane.queue, nullptr) == RNGD_OK);
  CHECK(rngd_queue_wait(lane.queue, 4, kForever) == RNGD_QUEUE_FAILED);
  rngd_error error{};
  rngd_queue_error(lane.queue, &error);
  CHECK(error.status == RNGD_ABORTED);
  CHECK(error.command == 2);
  CHECK(rngd_queue_completed(lane.queue) == 1);
  rngd_event_destroy(never);
}

TEST_CASE("cancel skips what has not begun and still completes it in order", "[rngd][queue]") {
  Card card(GENERATE(true, false));
  Lane lane(card, 0, 1);
  rngd_event* never = nullptr;
  REQUIRE(rngd_event_create(lane.partition, &never, nullptr) == RNGD_OK);
  const rngd_address word = lane.hbm(4);
  lane.finish(Lane::fill(word, 4, 1, 4));
  rngd_command held = Lane::fill(word, 4, 2, 4);
  held.wait_event = never;
  held.wait_value = 1;
  lane.submit(held);
  lane.submit(Lane::fill(word, 4, 3, 4));
  rngd_queue_cancel(lane.queue);
  CHECK(rngd_queue_wait(lane.queue, 3, kForever) == RNGD_OK);
  CHECK(rngd_queue_error(lane.queue, nullptr) == RNGD_OK);
  void* mapped = nullptr;
  REQUIRE(rngd_memory_map(lane.partition, word, 4, &mapped, nullptr) == RNGD_OK);
  std::uint32_t value = 0;
  std::memcpy(&value, mapped, 4);
  CHECK(value == 1);
  rngd_event_destroy(never);
}

TEST_CASE("injected faults: status, lost completion, hang, PE exception", "[rngd][fault]") {
  Card card;
  Lane lane(card, 0, 2);
  const rngd_address a = lane.hbm(64);
  REQUIRE(rngd_device_inject(card.device, RNGD_INJECT_STATUS, 0x22, 1, 1, 0x202, nullptr) == RNGD_OK);
  lane.finish(Lane::fill(a, 4, 1, 4));  // skipped
  CHECK(lane.fails(Lane::fill(a, 4, 2, 4)).device_status == 0x202);
  REQUIRE(rngd_queue_reset(lane.queue, nullptr) == RNGD_OK);
  CHECK(lane.download<std::uint32_t>(a, 1)[0] == 1);

  REQUIRE(rngd_device_inject(card.device, RNGD_INJECT_LOSE_COMPLETION, 0x22, 0, 1, 0, nullptr) == RNGD_OK);
  const std::uint64_t lost = lane.submit(Lane::fill(a, 4, 3, 4));
  CHECK(rngd_queue_wait(lane.queue, lost, 1'000'000) == RNGD_TIMEOUT);
  lane.submit({});  // its completion shows that one is missing
  CHECK(rngd_queue_wait(lane.queue, lost, kForever) == RNGD_QUEUE_FAILED);
  rngd_error error{};
  rngd_queue_error(lane.queue, &error);
  CHECK(error.status == RNGD_INTERNAL);
  CHECK(error.command == lost);
  REQUIRE(rngd_queue_reset(lane.queue, nullptr) == RNGD_OK);

  REQUIRE(rngd_device_inject(card.device, RNGD_INJECT_HANG, 0xFFFF, 0, 2, 0, nullptr) == RNGD_OK);
  rngd_command slow = Lane::fill(a, 4, 4, 4);
  slow.timeout_us = 500;
  const std::uint64_t before = rngd_device_time(card.device);
  CHECK(lane.fails(slow).status == RNGD_EXECUTION_TIMEOUT);
  CHECK(rngd_device_time(card.device) - before >= 500'000);
  REQUIRE(rngd_queue_reset(lane.queue, nullptr) == RNGD_OK);
  slow.timeout_us = RNGD_NO_TIMEOUT;
  const std::uint64_t hung = lane.submit(slow);
  CHECK(rngd_queue_wait(lane.queue, hung, 1'000'000) == RNGD_TIMEOUT);
  REQUIRE(rngd_queue_abort(lane.queue, nullptr) == RNGD_OK);
  CHECK(rngd_queue_wait(lane.queue, hung, kForever) == RNGD_QUEUE_FAILED);
  REQUIRE(rngd_queue_reset(lane.queue, nullptr) == RNGD_OK);

  rngd_queue* second = nullptr;
  REQUIRE(rngd_queue_create(lane.partition, nullptr, &second, nullptr) == RNGD_OK);
  REQUIRE(rngd_device_inject(card.device, RNGD_INJECT_PE_EXCEPTION, 0x30, 0, 1, 0, nullptr) == RNGD_OK);
  error = lane.fails({});
  CHECK(error.device_status == 0x401);
  CHECK(error.recovery == 2);
  rngd_command barrier{};
  REQUIRE(rngd_queue_submit(second, &barrier, 1, nullptr, nullptr) == RNGD_OK);
  CHECK(rngd_queue_wait(second, 1, kForever) == RNGD_QUEUE_FAILED);  // the partition is down
  REQUIRE(rngd_partition_reset(lane.partition, nullptr) == RNGD_OK);
  lane.finish({});
  rngd_queue_destroy(second);
}

TEST_CASE("destroying queues with work in flight, from many threads at once", "[rngd][queue]") {
  Card card(false);
  std::vector<std::jthread> threads;
  for (std::uint32_t pe = 0; pe < 4; ++pe) {
    threads.emplace_back([&card, pe] {
      for (int round = 0; round < 20; ++round) {
        rngd_partition* partition = nullptr;
        rngd_queue* queue = nullptr;
        if (rngd_partition_create(card.device, pe, 1, &partition, nullptr) != RNGD_OK) { std::abort(); }
        rngd_queue_options options{};
        options.depth = 64;
        if (rngd_queue_create(partition, &options, &queue, nullptr) != RNGD_OK) { std::abort(); }
        const rngd_command barriers[8] = {};
        for (int i = 0; i < 5; ++i) { rngd_queue_submit(queue, barriers, 8, nullptr, nullptr); }
        if (round % 2 == 0) {
          if (rngd_queue_wait(queue, 40, kForever) != RNGD_OK) { std::abort(); }
        } else {
          rngd_queue_flush(queue);
        }
        rngd_queue_destroy(queue);
        if (rngd_partition_destroy(partition, nullptr) != RNGD_OK) { std::abort(); }
      }
    });
  }
  for (auto& thread : threads) { thread.join(); }
  CHECK(rngd_device_occupied(card.device) == 0);
}
