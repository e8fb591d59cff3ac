// SPDX-License-Identifier: Apache-2.0
// The short way for the usual submission.
//
// One command of the commonest kinds, nothing to wait for, nothing to signal, nothing held back. What is decided here
// is only that a submission is of that sort and right; whatever is unusual, and everything that is wrong, goes the
// general way, which knows the rules and words the errors. So a new rule for submissions needs a line here only if work
// that this way takes may break it.
#include "core/api.hpp"
#include "core/buffer.hpp"
#include "core/observer.hpp"
#include "core/program.hpp"
#include "core/queue.hpp"

namespace hal::core {
namespace {

// Bytes of a buffer of this very device, or none. Slots have odd addresses.
inline bool is_inside(const void* device, const hal_slice& slice) {
  if (slice.buffer == nullptr || (reinterpret_cast<std::uintptr_t>(slice.buffer) & 1U) != 0) { return false; }
  const Buffer& buffer = *cast(slice.buffer);
  const std::uint64_t bytes = buffer.memory.bytes;
  return buffer.usable_on.load(std::memory_order_relaxed) == device && slice.offset <= bytes &&
         slice.length <= bytes - slice.offset;
}

inline bool is_plain(const void* device, const hal_slice& slice) {
  return is_inside(device, slice) && slice.length != 0;
}

// The same, or host memory.
inline bool is_reachable(const void* device, const hal_slice& slice) {
  if (slice.buffer != nullptr) { return is_plain(device, slice); }
  return slice.offset != 0 && slice.length != 0 && slice.offset + slice.length > slice.offset;
}

inline bool is_plain_fill(const void* device, const hal_command& command) {
  const auto& fill = command.as.fill;
  const std::uint64_t size = fill.pattern_bytes;
  return is_plain(device, fill.to) && (size == 1 || size == 2 || size == 4 || size == 8) &&
         (fill.to.length & (size - 1)) == 0;
}

// Where the host sees it; 0 if it does not.
inline std::uint64_t host_address(const hal_slice& slice) {
  if (slice.buffer == nullptr) { return slice.offset; }
  const auto base = reinterpret_cast<std::uintptr_t>(slice.buffer->memory.host);
  return base != 0 ? base + slice.offset : 0;
}

// Different buffers that do not lie in the same memory either: overlap is for the general way.
inline bool is_plain_copy(const void* device, const hal_command& command) {
  const auto& copy = command.as.copy;
  if (copy.to.length != copy.from.length || copy.to.buffer == copy.from.buffer || !is_reachable(device, copy.to) ||
      !is_reachable(device, copy.from)) {
    return false;
  }
  const std::uint64_t to = host_address(copy.to), from = host_address(copy.from);
  return to == 0 || from == 0 || (to < from ? from - to : to - from) >= copy.to.length;
}

inline bool is_plain_arg(const void* device, const LaunchParam& param, const hal_arg& arg) {
  if (arg.kind != param.kind) { return false; }
  if (arg.kind == HAL_ARG_SCALAR) { return arg.size == param.size; }
  return arg.value.slice.length - param.least <= param.room && is_inside(device, arg.value.slice);
}

inline bool has_plain_args(const void* device, const Launch& launch, const hal_command& command) {
  const hal_arg* arg = command.as.run.args;
  const std::uint32_t count = command.as.run.arg_count;
  if (count == 0) { return true; }
  if (arg == nullptr) { return false; }
  const LaunchParam* param = launch.params;
  for (const hal_arg* end = arg + count; arg != end; ++arg, ++param) {
    if (!is_plain_arg(device, *param, *arg)) { return false; }
  }
  return true;
}

inline const Launches& launches_of(const hal_command& command) { return cast(command.as.run.program)->launches; }

// Whether the entry exists and the command has its form, the grid's numbers apart.
inline bool has_entry(const void* device, const hal_command& command) {
  const auto& run = command.as.run;
  if (run.program == nullptr || run.program->device_impl != device || run.entry >= launches_of(command).size()) {
    return false;
  }
  const Launch& launch = launches_of(command)[run.entry];
  return run.arg_count == launch.param_count && run.has_grid == launch.has_grid;
}

// No number of the grid is 0. The product of a grid of 2^32 items or more may be 0 too, and then it goes the general
// way.
inline bool is_complete(const hal_command& command) {
  const std::uint32_t* groups = command.as.run.grid.groups;
  const std::uint32_t* sizes = command.as.run.grid.group_size;
  return command.as.run.has_grid == 0 || (groups[0] * groups[1] * groups[2]) * (sizes[0] * sizes[1] * sizes[2]) != 0;
}

// Of any of the kinds that go straight; a grid that is not complete is not.
inline bool is_plain_command(const void* device, const hal_command& command) {
  switch (command.op) {
    case HAL_OP_RUN:
      return has_entry(device, command) && is_complete(command) &&
             has_plain_args(device, launches_of(command)[command.as.run.entry], command);
    case HAL_OP_COPY:
      return is_plain_copy(device, command);
    case HAL_OP_FILL:
      return is_plain_fill(device, command);
    default:
      return true;
  }
}

// Fills in what a grid leaves to the entry.
[[gnu::noinline]] hal_command completed(const hal_command& given, const Launch& launch) {
  hal_command command = given;
  for (std::size_t axis = 0; axis < 3; ++axis) {
    std::uint32_t& size = command.as.run.grid.group_size[axis];
    if (size == 0) { size = launch.group_size[axis]; }
  }
  return command;
}

}  // namespace

// Hands over one command that is known to be right. False if it has to wait here, or is not to run at all.
template <class Note>
[[gnu::always_inline]] inline bool Queue::submit_straight(const hal_command& command, const hal_site& site,
                                                          hal_point* out, Note note) {
  Timeline& timeline = *timeline_;
  const std::lock_guard lock(mutex_);
  // A capture that has begun since somebody looked whether this queue captures: this came before it.
  if (timeline.failed() || !pending_.empty()) { return false; }
  const std::uint64_t number = timeline.assigned.load(std::memory_order_relaxed) + 1;
  timeline.assigned.store(number, std::memory_order_release);
  note(number);
  // Before the call, as in hand_over(): completed must never be seen above handed.
  timeline.handed.store(number, std::memory_order_release);
  if (straight_.submit(straight_.driver, straight_.lane, number, &command, 1) == 0) [[unlikely]] {
    held_by_full_lane(number, command, site);
  } else if (__atomic_load_n(&straight_.lane->wake_at, __ATOMIC_SEQ_CST) <= number && notify_ != nullptr) [[unlikely]] {
    notify_(straight_.driver, straight_.lane);  // somebody came to wait before this work reached the lane
  }
  if (out != nullptr) { *out = {&timeline, number}; }
  return true;
}

void Queue::held_by_full_lane(std::uint64_t number, const hal_command& command, const hal_site& site) {
  timeline_->not_taken(number);
  hold_rest(number, 0, {&command, 1}, {nullptr, nullptr, 0, 0, &site});
}

// Each kind of command apart, so that the cheaper ones do not pay for what the dearer ones need; and each ends with the
// general way itself, so that hal_queue_submit() has nothing to keep for afterwards.
hal_error* Queue::submit_run(const hal_command& command, const hal_site& site, hal_point* out) {
  if (has_entry(straight_.device, command) && is_complete(command)) [[likely]] {
    const Launch& launch = launches_of(command)[command.as.run.entry];
    const auto note = [&](std::uint64_t number) { recorder_.note_run(number, command, launch, site); };
    if (has_plain_args(straight_.device, launch, command) && submit_straight(command, site, out, note)) {
      return nullptr;
    }
    return submit_after_all(command, site, out);
  }
  return submit_incomplete(command, site, out);
}

// A grid that leaves its group's size to the entry, or anything else.
hal_error* Queue::submit_incomplete(const hal_command& command, const hal_site& site, hal_point* out) {
  if (has_entry(straight_.device, command)) {
    const hal_command full = completed(command, launches_of(command)[command.as.run.entry]);
    if (is_complete(full)) { return submit_run(full, site, out); }
  }
  return submit_after_all(command, site, out);
}

hal_error* Queue::submit_move(const hal_command& command, const hal_site& site, hal_point* out) {
  const auto note = [&](std::uint64_t number) { recorder_.note_move(number, command, site); };
  const bool plain =
      command.op == HAL_OP_COPY ? is_plain_copy(straight_.device, command) : is_plain_fill(straight_.device, command);
  if (plain && submit_straight(command, site, out, note)) { return nullptr; }
  return submit_after_all(command, site, out);
}

hal_error* Queue::submit_barrier(const hal_command& command, const hal_site& site, hal_point* out) {
  const auto note = [&](std::uint64_t number) { recorder_.note_barrier(number, command, site); };
  if (submit_straight(command, site, out, note)) { return nullptr; }
  return submit_after_all(command, site, out);
}

// The same where an observer watches, which has been asked already. False if it has to go the general way.
bool Queue::submit_watched(Observer& observer, const hal_command& command, const hal_sync& sync, hal_point& out) {
  const bool watched = command.op < 32 && (ops_.watched >> command.op & 1U) != 0;
  if (!watched || (sync.wait_count | sync.signal_count | command.by_slot) != 0) { return false; }
  if (!is_plain_command(straight_.device, command)) { return false; }
  static constexpr hal_site kNowhere{};
  const hal_site& site = sync.where != nullptr ? *sync.where : kNowhere;
  return submit_straight(command, site, &out, [&](std::uint64_t number) {
    recorder_.note(number, 1, command, site);
    tell(&observer, [&](Observer& told) { told.accepted(*timeline_, number, {&command, 1}, sync, staging_); });
  });
}

hal_error* Queue::submit_after_all(const hal_command& command, const hal_site& site, hal_point* out) {
  const hal_sync sync{nullptr, nullptr, 0, 0, site.file != nullptr ? &site : nullptr};
  return submit_in_general(this, &command, 1, &sync, out);
}

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_queue_submit(hal_queue* queue, const hal_command* commands, std::uint32_t count,
                                       const hal_sync* sync, hal_point* out) {
  static constexpr hal_site kNowhere{};
  const hal_site* site = &kNowhere;
  if (count != 1 || queue == nullptr || commands == nullptr) [[unlikely]] {
    return submit_in_general(queue, commands, count, sync, out);
  }
  // One load of both words: a value by slot makes a number that no operation has.
  if (!cast(queue)->is_straight(commands->op | std::uint64_t{commands->by_slot} << 32U)) [[unlikely]] {
    return submit_in_general(queue, commands, count, sync, out);
  }
  if (sync != nullptr) [[unlikely]] {
    if ((sync->wait_count | sync->signal_count) != 0) { return submit_in_general(queue, commands, count, sync, out); }
    if (sync->where != nullptr) { site = sync->where; }
  }
  if (commands->op == HAL_OP_RUN) { return cast(queue)->submit_run(*commands, *site, out); }
  return commands->op == HAL_OP_BARRIER ? cast(queue)->submit_barrier(*commands, *site, out)
                                        : cast(queue)->submit_move(*commands, *site, out);
}
