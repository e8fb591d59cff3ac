// SPDX-License-Identifier: Apache-2.0
// Partitions and their event counters.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <new>

#include "driver/internal.hpp"

using namespace rngd;
using namespace rngd::driver;

namespace {

rngd_status end_context(const rngd_partition& partition, rngd_error* error) {
  rqi::SubmissionEntry entry{};
  entry.opcode = static_cast<std::uint8_t>(rqi::AdminOpcode::destroy_partition);
  entry.body.partition.context = partition.context;
  entry.body.partition.flags = 1;
  return partition.device->admin(entry, nullptr, error, "DESTROY_PARTITION");
}

}  // namespace

rngd_status rngd_partition_create(rngd_device* device, uint32_t first_pe, uint32_t pe_count, rngd_partition** out,
                                  rngd_error* error) {
  if ((pe_count != 1 && pe_count != 2 && pe_count != 4) || first_pe % pe_count != 0 ||
      first_pe >= device->info.pe_count || pe_count > device->info.pe_count - first_pe) {
    return fail(error, RNGD_INVALID_ARGUMENT,
                "PEs %u to %u: a partition is 1, 2 or 4 PEs of %u, aligned to their number", first_pe,
                first_pe + pe_count - 1, device->info.pe_count);
  }
  std::unique_ptr<rngd_partition> partition;
  try {
    partition = std::make_unique<rngd_partition>();
    partition->events_taken.resize(rqi::kSemaphoresPerContext / 64);
    partition->queues.reserve(rqi::kQueuesPerContext);
  } catch (const std::bad_alloc&) { return fail(error, RNGD_OUT_OF_HOST_MEMORY, "no memory for the partition object"); }
  rqi::SubmissionEntry entry{};
  entry.opcode = static_cast<std::uint8_t>(rqi::AdminOpcode::create_partition);
  entry.body.partition.first_pe = static_cast<std::uint8_t>(first_pe);
  entry.body.partition.pe_count = static_cast<std::uint8_t>(pe_count);
  std::uint32_t context = 0;
  if (const rngd_status status = device->admin(entry, &context, error, "CREATE_PARTITION"); status != RNGD_OK) {
    if (status == RNGD_BUSY) {
      const std::uint32_t taken = rngd_device_occupied(device);
      fail(error, status, "PEs %u to %u: PEs are taken by another partition (taken: mask 0x%02x)", first_pe,
           first_pe + pe_count - 1, taken);
      if (error != nullptr) { error->device_status = static_cast<std::uint16_t>(rqi::Status::pe_busy); }
    }
    return status;
  }
  partition->device = device;
  partition->context = static_cast<std::uint16_t>(context);
  const auto field = [&](std::size_t offset) {
    return device->bus.read64(device->bus.context, rqi::kBarRegisters,
                              rqi::kPartitionStatus + context * sizeof(rqi::PartitionRecord) + offset);
  };
  partition->info = {first_pe, pe_count, field(offsetof(rqi::PartitionRecord, window_bytes)), 0, 0};
  try {
    partition->heap.reset(field(offsetof(rqi::PartitionRecord, window_base)), partition->info.memory_bytes);
  } catch (const std::bad_alloc&) {
    end_context(*partition, nullptr);
    return fail(error, RNGD_OUT_OF_HOST_MEMORY, "no memory to manage the partition's own");
  }
  ++device->partitions;
  *out = partition.release();
  return RNGD_OK;
}

rngd_status rngd_partition_destroy(rngd_partition* partition, rngd_error* error) {
  {
    const std::scoped_lock lock(partition->mutex);
    if (!partition->queues.empty() || partition->programs != 0) {
      return fail(error, RNGD_BUSY, "the partition still has %zu queue(s) and %u program(s)", partition->queues.size(),
                  partition->programs);
    }
  }
  const rngd_status status = end_context(*partition, error);
  if (status != RNGD_OK && status != RNGD_DEVICE_LOST) { return status; }
  --partition->device->partitions;
  delete partition;
  return RNGD_OK;
}

void rngd_partition_get_info(rngd_partition* partition, rngd_partition_info* out) {
  const std::scoped_lock lock(partition->mutex);
  *out = partition->info;
  out->memory_used = partition->heap.used();
  out->memory_largest_free = partition->heap.largest();
}

rngd_status rngd_partition_reset(rngd_partition* partition, rngd_error* error) {
  rqi::SubmissionEntry entry{};
  entry.opcode = static_cast<std::uint8_t>(rqi::AdminOpcode::reset);
  entry.body.reset.level = static_cast<std::uint8_t>(rqi::ResetLevel::partition);
  entry.body.reset.context = partition->context;
  if (const rngd_status status = partition->device->admin(entry, nullptr, error, "RESET partition");
      status != RNGD_OK) {
    return status;
  }
  std::array<rngd_queue*, rqi::kQueuesPerContext> queues{};
  {
    const std::scoped_lock lock(partition->mutex);
    std::ranges::copy(partition->queues, queues.begin());
  }
  for (rngd_queue* queue : queues) {
    if (queue == nullptr) { break; }
    if (const rngd_status status = rngd_queue_reset(queue, error); status != RNGD_OK) { return status; }
  }
  return RNGD_OK;
}

rngd_status rngd_event_create(rngd_partition* partition, rngd_event** out, rngd_error* error) {
  const std::scoped_lock lock(partition->mutex);
  for (std::size_t word = 0; word < partition->events_taken.size(); ++word) {
    if (partition->events_taken[word] == ~0ull) { continue; }
    const auto bit = static_cast<std::size_t>(__builtin_ctzll(~partition->events_taken[word]));
    auto* event = new (std::nothrow) rngd_event;
    if (event == nullptr) { return fail(error, RNGD_OUT_OF_HOST_MEMORY, "no memory for the event object"); }
    partition->events_taken[word] |= 1ull << bit;
    event->partition = partition;
    event->index = static_cast<std::uint16_t>(word * 64 + bit);
    event->offset = rqi::semaphore_offset(partition->context, event->index);
    const rngd_bus& bus = partition->device->bus;
    bus.write64(bus.context, rqi::kBarFirmware, event->offset, 0);
    *out = event;
    return RNGD_OK;
  }
  return fail(error, RNGD_OUT_OF_RESOURCES, "all %u event counters of the partition are in use",
              rqi::kSemaphoresPerContext);
}

void rngd_event_destroy(rngd_event* event) {
  {
    const std::scoped_lock lock(event->partition->mutex);
    event->partition->events_taken[event->index / 64] &= ~(1ull << event->index % 64);
  }
  delete event;
}

uint64_t rngd_event_value(rngd_event* event) {
  const rngd_bus& bus = event->partition->device->bus;
  return bus.read64(bus.context, rqi::kBarFirmware, event->offset);
}

rngd_status rngd_event_signal(rngd_event* event, uint64_t value, rngd_error* error) {
  rngd_device* device = event->partition->device;
  if (device->lost.load()) { return fail(error, RNGD_DEVICE_LOST, "the device was reset"); }
  const std::uint64_t present = rngd_event_value(event);
  if (value <= present) {
    return fail(error, RNGD_INVALID_ARGUMENT, "signal of %llu, but the counter is at %llu and must grow",
                static_cast<unsigned long long>(value), static_cast<unsigned long long>(present));
  }
  device->bus.write64(device->bus.context, rqi::kBarFirmware, event->offset, value);
  const std::scoped_lock lock(device->event_mutex);  // hosts that wait for this counter
  ++device->event_count;
  device->event_signal.notify_all();
  return RNGD_OK;
}

rngd_status rngd_event_wait(rngd_event* event, uint64_t value, uint64_t timeout_ns) {
  rngd_device* device = event->partition->device;
  const rngd_bus& bus = device->bus;
  if (rngd_event_value(event) >= value) { return RNGD_OK; }
  const std::uint32_t context = event->partition->context;
  const auto watch = [&](bool on) {
    const std::scoped_lock lock(device->event_mutex);
    std::uint32_t& watchers = device->semaphore_watchers[context];
    if ((on ? watchers++ : --watchers) != 0) { return; }
    std::uint32_t mask = 0;
    for (std::uint32_t c = 0; c < rqi::kContexts; ++c) { mask |= device->semaphore_watchers[c] != 0 ? 1u << c : 0; }
    bus.write32(bus.context, rqi::kBarRegisters, rqi::kSemaphoreInterrupts, mask);
  };
  watch(true);
  const auto start = std::chrono::steady_clock::now();
  rngd_status status = RNGD_OK;
  while (rngd_event_value(event) < value) {
    std::uint64_t seen = 0;
    {
      const std::scoped_lock lock(device->event_mutex);
      seen = device->event_count;
    }
    if (bus.pump != nullptr && bus.pump(bus.context, 0) != 0) { continue; }
    if (rngd_event_value(event) >= value) { break; }
    if (device->lost.load()) {
      status = RNGD_DEVICE_LOST;
      break;
    }
    const auto waited = std::chrono::steady_clock::now() - start;
    if (static_cast<std::uint64_t>(std::chrono::nanoseconds(waited).count()) >= timeout_ns) {
      status = RNGD_TIMEOUT;
      break;
    }
    bus.kick(bus.context);
    device->wait_event(seen);
  }
  watch(false);
  return status;
}
