// SPDX-License-Identifier: Apache-2.0
// Submissions with commands that the core carries out itself: host calls, frees, copies between devices.
#include <fmt/format.h>

#include "core/buffer.hpp"
#include "core/pending.hpp"
#include "core/queue.hpp"

namespace hal::core {
namespace {

bool is_ours(const Device& device, const hal_command& command) {
  return command.op == HAL_OP_CALL || command.op == HAL_OP_FREE || crosses_devices(device, command);
}

}  // namespace

// The first part gets the waits, the last the signals; queue order joins the rest.
Result<std::uint64_t> Queue::submit_parts(Batch& batch, const hal_sync& sync) {
  HAL_CHECK(check_points(sync));
  hal_sync now{sync.waits, nullptr, sync.wait_count, 0, sync.where};
  std::uint64_t last = 0;
  for (std::size_t at = 0, next = 0; at < batch.commands.size(); at = next) {
    hal_command& command = batch.commands[at];
    next = at + 1;
    while (!is_ours(*device_, command) && next < batch.commands.size() && !is_ours(*device_, batch.commands[next])) {
      ++next;
    }
    const Part part = at == 0 ? Part::first : Part::later;
    const Result<std::uint64_t> end = command.op == HAL_OP_CALL   ? submit_call(command, now, part)
                                      : command.op == HAL_OP_FREE ? submit_free(command, now, part)
                                      : crosses_devices(*device_, command)
                                          ? copy_across(command, now, part)
                                          : submit_plain(std::span(batch.commands).subspan(at, next - at), now, part);
    if (!end) {
      if (part == Part::first) { return end.error(); }
      // Earlier parts were accepted, so the answer is a failed queue, not a refusal.
      if (!timeline_->failed()) { timeline_->fail(hal::Error(end.error()).release()); }
      last = abandon(std::span(batch.commands).subspan(at));
      break;
    }
    last = *end;
    now.waits = nullptr;
    now.wait_count = 0;
  }
  promise_signals(sync, last);
  return last;
}

// The queue failed while this submission was on its way in parts, perhaps by its own host call. What is left takes its
// numbers, which are lost; answering with an error now would deny the parts that were accepted.
std::uint64_t Queue::abandon(std::span<const hal_command> commands) {
  const std::lock_guard lock(mutex_);
  std::uint64_t last = timeline_->assigned.load(std::memory_order_relaxed);
  for (const hal_command& command : commands) {
    ++last;
    if (command.op == HAL_OP_CALL) {
      device_->instance().workers().post(
          [function = command.as.call.function, user = command.as.call.user, failure = timeline_->failure()] {
            hal_release(function(user, failure));
            hal_release(failure);
          });
    } else if (command.op == HAL_OP_FREE) {
      give_back(*cast(command.as.free.buffer), last);
    }
  }
  timeline_->assigned.store(last, std::memory_order_release);
  return last;
}

// Returns a buffer's memory to its pool once the lane has passed `number`; once only.
bool Queue::give_back(Buffer& buffer, std::uint64_t number) {
  if (__atomic_exchange_n(&buffer.returned, true, __ATOMIC_ACQ_REL)) { return false; }
  buffer.pool->put_after(buffer.memory, timeline_, number);
  return true;
}

Result<std::uint64_t> Queue::submit_call(const hal_command& command, const hal_sync& sync, Part part) {
  const std::lock_guard lock(mutex_);
  if (timeline_->failed()) { return failed_already(); }
  if (part == Part::first) { HAL_CHECK(check_limit()); }
  auto pending = std::make_shared<Pending>();
  const std::uint64_t number = pending->first = timeline_->assigned.load(std::memory_order_relaxed) + 1;
  pending->function = command.as.call.function;
  pending->user = command.as.call.user;
  pending->call = Pending::Call::waiting;
  pending->commands.push_back(kBarrier);
  if (sync.where != nullptr) { pending->site = *sync.where; }
  const std::vector<hal_point> waits = unreached(sync, number);
  timeline_->assigned.store(number, std::memory_order_release);
  recorder_.note(number, 1, command, sync.where);
  if (Observer* observer = device_->instance().observer()) {
    observer->accepted(*timeline_, number, {&command, 1}, sync);
  }
  hold_back(std::move(pending), waits);
  return number;
}

Result<std::uint64_t> Queue::submit_free(const hal_command& command, const hal_sync& sync, Part part) {
  hal_command barrier = kBarrier;
  barrier.label = command.label;
  HAL_TRY(const std::uint64_t number, submit_plain({&barrier, 1}, sync, part));
  if (!give_back(*cast(command.as.free.buffer), number)) {
    return Error(HAL_INVALID_ARGUMENT, "the buffer was freed already");
  }
  return number;
}

// A copy between two devices that cannot reach each other goes through host memory: one device writes it, the other
// reads it, and points join the two halves.
Result<std::uint64_t> Queue::copy_across(const hal_command& command, const hal_sync& sync, Part part) {
  if (part == Part::first) {
    const std::lock_guard lock(mutex_);
    if (timeline_->failed()) { return failed_already(); }
    HAL_CHECK(check_limit());
  }
  const auto& copy = command.as.copy;
  const bool reads = copy.from.buffer != nullptr && copy.from.buffer->device_impl != device_->impl();
  const hal_slice foreign = reads ? copy.from : copy.to;
  struct Staging {
    std::unique_ptr<unsigned char[]> bytes;
    Ref<Queue> other;
  };
  auto staging = std::make_shared<Staging>();
  staging->bytes = std::make_unique_for_overwrite<unsigned char[]>(foreign.length);
  HAL_TRY(staging->other, Queue::create(*cast(foreign.buffer)->device, "copy between devices", Queue::Use::core));
  Queue& other = *staging->other;
  hal_command out = command, in = command;
  out.as.copy.to = in.as.copy.from = hal_host(staging->bytes.get(), foreign.length);

  // Submits one half and keeps the staging memory until that half's device is done with it.
  const auto half = [&](Queue& queue, const hal_command& what, std::span<const hal_point> waits) -> Result<hal_point> {
    const hal_sync order{waits.data(), nullptr, static_cast<std::uint32_t>(waits.size()), 0, sync.where};
    // With both ends elsewhere one half crosses devices again.
    HAL_TRY(const std::uint64_t number, crosses_devices(*queue.device_, what)
                                            ? queue.copy_across(what, order, Part::later)
                                            : queue.submit_plain({&what, 1}, order, Part::later));
    queue.timeline_->when(
        number,
        [staging, &instance = device_->instance()](const hal_error*) mutable {
          instance.engine().post(
              [staging = std::move(staging)] {});  // the queue inside must not end in a driver's call
        },
        Timeline::Until::physical);
    return hal_point{queue.timeline_.get(), number};
  };
  const std::span<const hal_point> given(sync.waits, sync.wait_count);
  if (reads) {
    // Everything that this queue was to do first still comes first.
    std::vector<hal_point> waits(given.begin(), given.end());
    waits.push_back({timeline_.get(), timeline_->assigned.load(std::memory_order_acquire)});
    HAL_TRY(const hal_point read, half(other, out, waits));
    HAL_TRY(const hal_point end, half(*this, in, {&read, 1}));
    return end.value;
  }
  HAL_TRY(const hal_point read, half(*this, out, given));
  HAL_TRY(const hal_point written, half(other, in, {&read, 1}));
  HAL_TRY(const hal_point end, half(*this, kBarrier, {&written, 1}));
  return end.value;
}

}  // namespace hal::core
