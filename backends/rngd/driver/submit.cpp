// SPDX-License-Identifier: Apache-2.0
// Commands to ring entries. Nothing here blocks, allocates or takes a lock.
#include <cstring>

#include "driver/internal.hpp"

using namespace rngd;
using namespace rngd::driver;

namespace {

/// Space for arguments that an entry points to; given back when its command retires.
class Arena {
 public:
  explicit Arena(rngd_queue& queue) : queue_(queue), head_(queue.arena_head) {}
  /// Aligned to 32; null when there is no room now.
  std::byte* take(std::uint64_t bytes, std::uint64_t& iova) {
    const std::uint64_t size = queue_.arena.bytes();
    const std::uint64_t need = (bytes + 31) / 32 * 32;
    std::uint64_t at = head_;
    if (at % size + need > size) { at = (at / size + 1) * size; }  // not across the end
    if (need > size || at + need - queue_.arena_tail > size) { return nullptr; }
    head_ = at + need;
    iova = queue_.arena.iova() + at % size;
    return queue_.arena.data() + at % size;
  }
  std::uint64_t head() const { return head_; }

 private:
  rngd_queue& queue_;
  std::uint64_t head_;
};

struct Encoder {
  rngd_queue& queue;
  Arena& arena;
  rngd_error* error;

  rngd_status run(const rngd_command& command, rqi::SubmissionEntry& entry, std::uint32_t index) {
    const auto& body = command.u.run;
    if (body.program == nullptr || body.program->partition != queue.partition) {
      return fail(error, RNGD_INVALID_ARGUMENT, "commands[%u]: the program is missing or of another partition", index);
    }
    if (body.binding_count > 4096 || (body.binding_count != 0 && body.bindings == nullptr)) {
      return fail(error, RNGD_INVALID_ARGUMENT, "commands[%u]: %u bindings, at most 4096 can be given", index,
                  body.binding_count);
    }
    std::uint64_t iova = 0;
    std::byte* table = arena.take(body.binding_count * sizeof(rqi::Binding), iova);
    if (table == nullptr) { return RNGD_WOULD_BLOCK; }
    const auto& known = body.program->bindings;
    for (std::uint32_t i = 0; i < body.binding_count; ++i) {
      const bool scratch = i >= known.size();
      rqi::Binding binding{};
      binding.address = body.bindings[i].address.value;
      binding.bytes = body.bindings[i].bytes;
      binding.dtype = scratch ? 0 : static_cast<std::uint8_t>(known[i].dtype);
      binding.rank = scratch ? 0 : static_cast<std::uint8_t>(known[i].rank);
      binding.direction = static_cast<std::uint8_t>(scratch                ? rqi::Direction::scratch
                                                    : known[i].output != 0 ? rqi::Direction::output
                                                                           : rqi::Direction::input);
      binding.space = static_cast<std::uint8_t>(body.bindings[i].address.space);
      std::memcpy(table + i * sizeof binding, &binding, sizeof binding);
    }
    entry.opcode = static_cast<std::uint8_t>(rqi::Opcode::exec_graph);
    entry.body.exec = {body.program->id, 0, static_cast<std::uint16_t>(body.binding_count), iova, 0, 0, 0};
    return RNGD_OK;
  }

  // Rows longer than a DMA packet become one more, innermost loop, and a second descriptor for what is left over.
  rngd_status copy_nd(const rngd_command& command, rqi::SubmissionEntry& entry, std::uint32_t index) {
    const auto& body = command.u.copy_nd;
    if (body.loop_count > rqi::kDmaLoops - 1 || body.row_bytes == 0 ||
        body.row_bytes > std::uint64_t{rqi::kDmaPacketLimit} * rqi::kDmaIterationLimit ||
        (body.loop_count != 0 && body.loops == nullptr)) {
      return fail(error, RNGD_INVALID_ARGUMENT,
                  "commands[%u]: rows of %llu bytes in %u loops; up to 256 MiB in up to %u", index,
                  static_cast<unsigned long long>(body.row_bytes), body.loop_count, rqi::kDmaLoops - 1);
    }
    const std::uint64_t packets = body.row_bytes / rqi::kDmaPacketLimit, rest = body.row_bytes % rqi::kDmaPacketLimit;
    const std::uint32_t count = (packets != 0 ? 1u : 0u) + (rest != 0 ? 1u : 0u);
    std::uint64_t iova = 0;
    std::byte* table = arena.take(count * sizeof(rqi::DmaDescriptor), iova);
    if (table == nullptr) { return RNGD_WOULD_BLOCK; }
    for (std::uint32_t i = 0; i < count; ++i) {
      const bool whole = packets != 0 && i == 0;
      const std::uint64_t offset = whole ? 0 : packets * rqi::kDmaPacketLimit;
      rqi::DmaDescriptor descriptor{};
      descriptor.version = 1;
      descriptor.loop_count = static_cast<std::uint8_t>(body.loop_count + 1);
      descriptor.packet_bytes = whole ? rqi::kDmaPacketLimit : static_cast<std::uint32_t>(rest);
      descriptor.source = body.from.value + offset;
      descriptor.destination = body.to.value + offset;
      descriptor.source_space = static_cast<std::uint8_t>(body.from.space);
      descriptor.destination_space = static_cast<std::uint8_t>(body.to.space);
      for (std::uint32_t loop = 0; loop < body.loop_count; ++loop) {
        descriptor.loops[loop] = {body.loops[loop].count, 0, body.loops[loop].from_stride, body.loops[loop].to_stride};
      }
      descriptor.loops[body.loop_count] = {whole ? static_cast<std::uint32_t>(packets) : 1u, 0, rqi::kDmaPacketLimit,
                                           rqi::kDmaPacketLimit};
      std::memcpy(table + i * sizeof descriptor, &descriptor, sizeof descriptor);
    }
    entry.opcode = static_cast<std::uint8_t>(rqi::Opcode::dma_nd);
    entry.body.nd = {iova, count, sizeof(rqi::DmaDescriptor), 0, 0, 0};
    return RNGD_OK;
  }

  rngd_status encode(const rngd_command& command, rqi::SubmissionEntry& entry, std::uint32_t index) {
    entry = {};
    entry.context = queue.partition->context;
    entry.timeout_us = command.timeout_us;
    entry.wait_semaphore = entry.signal_semaphore = rqi::kNoSemaphore;
    if (command.wait_event != nullptr || command.signal_event != nullptr) {
      for (const rngd_event* event : {command.wait_event, command.signal_event}) {
        if (event != nullptr && event->partition != queue.partition) {
          return fail(error, RNGD_INVALID_ARGUMENT, "commands[%u]: an event of another partition", index);
        }
      }
      if (command.wait_event != nullptr) { entry.wait_semaphore = command.wait_event->index; }
      if (command.signal_event != nullptr) { entry.signal_semaphore = command.signal_event->index; }
      entry.wait_value = command.wait_value;
      entry.signal_value = command.signal_value;
    }
    switch (command.kind) {
      case RNGD_COMMAND_BARRIER:
        entry.opcode = static_cast<std::uint8_t>(rqi::Opcode::barrier);
        entry.flags = rqi::kBarrier;
        return RNGD_OK;
      case RNGD_COMMAND_COPY: {
        const auto& body = command.u.copy;
        entry.opcode = static_cast<std::uint8_t>(rqi::Opcode::dma_copy);
        entry.body.copy = {body.from.value,
                           body.to.value,
                           body.bytes,
                           static_cast<std::uint8_t>(body.from.space),
                           static_cast<std::uint8_t>(body.to.space),
                           0,
                           0};
        return RNGD_OK;
      }
      case RNGD_COMMAND_FILL: {
        const auto& body = command.u.fill;
        entry.opcode = static_cast<std::uint8_t>(rqi::Opcode::dma_fill);
        entry.body.fill = {body.to.value,
                           body.bytes,
                           body.pattern,
                           static_cast<std::uint8_t>(body.pattern_bytes),
                           static_cast<std::uint8_t>(body.to.space),
                           0,
                           0};
        return RNGD_OK;
      }
      case RNGD_COMMAND_TIMESTAMP: {
        entry.opcode = static_cast<std::uint8_t>(rqi::Opcode::timestamp);
        entry.body.timestamp.destination = command.u.timestamp.to.value;
        entry.body.timestamp.space = static_cast<std::uint8_t>(command.u.timestamp.to.space);
        entry.body.timestamp.domain = command.u.timestamp.cycles != 0 ? 1 : 0;
        return RNGD_OK;
      }
      case RNGD_COMMAND_COPY_ND:
        return copy_nd(command, entry, index);
      case RNGD_COMMAND_RUN:
        return run(command, entry, index);
      default:
        return fail(error, RNGD_INVALID_ARGUMENT, "commands[%u].kind: %u is unknown", index, command.kind);
    }
  }
};

// Follows the retired commands, whose arguments nobody reads any more.
void reclaim(rngd_queue& queue) {
  const std::uint64_t retired = queue.retired.load(std::memory_order_acquire);
  if (retired == queue.seen_retired) { return; }
  queue.seen_retired = retired;
  queue.arena_tail = queue.arena_end[(retired - 1) & queue.mask];
}

}  // namespace

uint32_t rngd_queue_space(rngd_queue* queue) {
  return queue->mask -
         static_cast<std::uint32_t>(queue->load_submitted() - queue->retired.load(std::memory_order_acquire));
}

rngd_status rngd_queue_submit(rngd_queue* queue, const rngd_command* commands, uint32_t count, uint64_t* first,
                              rngd_error* error) {
  rngd_device* device = queue->partition->device;
  if (device->lost.load(std::memory_order_relaxed)) { return fail(error, RNGD_DEVICE_LOST, "the device was reset"); }
  if (queue->failed.load(std::memory_order_relaxed)) {
    if (error != nullptr) { rngd_queue_error(queue, error); }
    return RNGD_QUEUE_FAILED;
  }
  if (count > queue->mask) {
    return fail(error, RNGD_INVALID_ARGUMENT, "%u commands at once, the ring holds %u", count, queue->mask);
  }
  reclaim(*queue);
  if (queue->submitted - queue->seen_retired + count > queue->mask) {
    return fail(error, RNGD_WOULD_BLOCK, "the ring is full");
  }
  Arena arena(*queue);
  Encoder encoder{*queue, arena, error};
  const std::uint64_t base = queue->submitted;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t slot = (base + i) & queue->mask;
    rqi::SubmissionEntry entry;
    const rngd_status status = encoder.encode(commands[i], entry, i);
    if (status == RNGD_WOULD_BLOCK) {
      if (queue->seen_retired == base) {  // nothing in flight will ever make room
        return fail(error, RNGD_INVALID_ARGUMENT, "commands[%u]: its arguments do not fit the queue's argument space",
                    i);
      }
      return fail(error, RNGD_WOULD_BLOCK, "the argument space is full");
    }
    if (status != RNGD_OK) { return status; }
    entry.command = static_cast<std::uint16_t>(base + i + 1);
    std::memcpy(&queue->ring[slot], &entry, sizeof entry);
    queue->arena_end[slot] = arena.head();
  }
  if (first != nullptr) { *first = base + 1; }
  if (count == 0) { return RNGD_OK; }
  queue->arena_head = arena.head();
  std::atomic_ref<std::uint64_t>(queue->submitted).store(base + count, std::memory_order_release);
  device->bus.post32(device->bus.context, rqi::kBarRegisters, queue->sq_doorbell,
                     static_cast<std::uint32_t>((base + count) & queue->mask));
  return RNGD_OK;
}
