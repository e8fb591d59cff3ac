// SPDX-License-Identifier: Apache-2.0
// A card for the tests: small, and stepped unless a test wants the device thread.
#pragma once
#include <cstring>
#include <halyard_catch.hpp>
#include <vector>

#include "driver/rngd.h"
#include "emulator/emulated_card.h"

namespace rngd::testing {

inline constexpr std::uint64_t kForever = 20'000'000'000;

struct Card {
  rngd_device* device = nullptr;

  explicit Card(bool stepped = true, bool accept_old_ir = false) {
    rngd_emulated_card_options options{};
    options.hbm_bytes = 2ull << 30;
    options.stepped = stepped ? 1 : 0;
    options.accept_old_ir = accept_old_ir ? 1 : 0;
    rngd_bus bus;
    REQUIRE(rngd_emulated_card_create(&options, &bus) == 0);
    rngd_error error{};
    const rngd_status status = rngd_device_open(&bus, &device, &error);
    INFO(error.text);
    REQUIRE(status == RNGD_OK);
  }
  ~Card() { rngd_device_close(device); }
  Card(const Card&) = delete;
  Card& operator=(const Card&) = delete;
};

/// A partition with one queue.
struct Lane {
  rngd_partition* partition = nullptr;
  rngd_queue* queue = nullptr;
  rngd_device* device;

  Lane(Card& card, std::uint32_t first_pe, std::uint32_t pes, rngd_queue_options options = {}) : device(card.device) {
    rngd_error error{};
    REQUIRE(rngd_partition_create(device, first_pe, pes, &partition, &error) == RNGD_OK);
    REQUIRE(rngd_queue_create(partition, &options, &queue, &error) == RNGD_OK);
  }
  ~Lane() {
    rngd_queue_destroy(queue);
    rngd_partition_destroy(partition, nullptr);
  }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  std::uint64_t submit(const rngd_command& command) {
    std::uint64_t first = 0;
    rngd_error error{};
    const rngd_status status = rngd_queue_submit(queue, &command, 1, &first, &error);
    INFO(error.text);
    REQUIRE(status == RNGD_OK);
    return first;
  }
  void finish(const rngd_command& command) {
    const std::uint64_t value = submit(command);
    rngd_error error{};
    const rngd_status status = rngd_queue_wait(queue, value, kForever);
    rngd_queue_error(queue, &error);
    INFO(error.text);
    REQUIRE(status == RNGD_OK);
  }
  rngd_error fails(const rngd_command& command) {
    const std::uint64_t value = submit(command);
    rngd_error error{};
    REQUIRE(rngd_queue_wait(queue, value, kForever) == RNGD_QUEUE_FAILED);
    REQUIRE(rngd_queue_error(queue, &error) == RNGD_QUEUE_FAILED);
    CHECK(error.command == value);
    return error;
  }
  rngd_address hbm(std::uint64_t bytes) {
    rngd_address address{};
    REQUIRE(rngd_memory_alloc(partition, bytes, &address, nullptr) == RNGD_OK);
    return address;
  }
  void upload(rngd_address to, const void* from, std::uint64_t bytes) {
    rngd_address host{};
    REQUIRE(rngd_host_register(device, const_cast<void*>(from), bytes, &host, nullptr) == RNGD_OK);
    finish(copy(host, to, bytes));
    rngd_host_unregister(device, host, bytes);
  }
  template <class T>
  std::vector<T> download(rngd_address from, std::size_t count) {
    std::vector<T> result(count);
    rngd_address host{};
    REQUIRE(rngd_host_register(device, result.data(), count * sizeof(T), &host, nullptr) == RNGD_OK);
    finish(copy(from, host, count * sizeof(T)));
    rngd_host_unregister(device, host, count * sizeof(T));
    return result;
  }

  static rngd_command barrier() { return {}; }
  static rngd_command copy(rngd_address from, rngd_address to, std::uint64_t bytes) {
    rngd_command command{};
    command.kind = RNGD_COMMAND_COPY;
    command.u.copy = {from, to, bytes};
    return command;
  }
  static rngd_command fill(rngd_address to, std::uint64_t bytes, std::uint64_t pattern, std::uint32_t width) {
    rngd_command command{};
    command.kind = RNGD_COMMAND_FILL;
    command.u.fill = {to, bytes, pattern, width};
    return command;
  }
  static rngd_command run(rngd_program* program, const std::vector<rngd_binding>& bindings) {
    rngd_command command{};
    command.kind = RNGD_COMMAND_RUN;
    command.u.run = {program, bindings.data(), static_cast<std::uint32_t>(bindings.size())};
    return command;
  }
};

}  // namespace rngd::testing
