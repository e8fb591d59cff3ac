// SPDX-License-Identifier: Apache-2.0
// The short way for the usual submission and the usual wait.
//
// One command of the commonest kinds, nothing to wait for, nothing to signal, nothing held back, nobody watching. What
// is decided here is only that a submission is of that sort and right; whatever is unusual, and everything that is
// wrong, goes the general way, which knows the rules and words the errors. So a new rule for submissions needs a line
// here only if work that this way takes may break it.
#include <algorithm>

#include "core/buffer.hpp"
#include "core/program.hpp"
#include "core/queue.hpp"
#include "core/range.hpp"

namespace hal::core {
namespace {

// A range of a buffer of this very device. Slots have odd addresses.
bool is_plain(const Device& device, const hal_slice& slice) {
  if (slice.buffer == nullptr || (reinterpret_cast<std::uintptr_t>(slice.buffer) & 1U) != 0) { return false; }
  const Buffer& buffer = *cast(slice.buffer);
  // What is mapped in a range is for the general way to look up.
  return buffer.device_impl == device.impl() && !buffer.range && !__atomic_load_n(&buffer.returned, __ATOMIC_RELAXED) &&
         slice.length != 0 && slice.offset <= buffer.memory.bytes && slice.length <= buffer.memory.bytes - slice.offset;
}

// The same, or host memory.
bool is_reachable(const Device& device, const hal_slice& slice) {
  if (slice.buffer != nullptr) { return is_plain(device, slice); }
  return slice.offset != 0 && slice.length != 0 && slice.offset + slice.length > slice.offset;
}

bool is_plain_fill(const Device& device, const hal_command& command) {
  const auto& fill = command.as.fill;
  const std::uint64_t size = fill.pattern_bytes;
  return is_plain(device, fill.to) && (size == 1 || size == 2 || size == 4 || size == 8) &&
         (fill.to.length & (size - 1)) == 0;
}

// Where the host sees it; 0 if it does not.
std::uint64_t host_address(const hal_slice& slice) {
  if (slice.buffer == nullptr) { return slice.offset; }
  const auto base = reinterpret_cast<std::uintptr_t>(slice.buffer->memory.host);
  return base != 0 ? base + slice.offset : 0;
}

// Different buffers that do not lie in the same memory either: overlap is for the general way.
bool is_plain_copy(const Device& device, const hal_command& command) {
  const auto& copy = command.as.copy;
  if (copy.to.length != copy.from.length || copy.to.buffer == copy.from.buffer || !is_reachable(device, copy.to) ||
      !is_reachable(device, copy.from)) {
    return false;
  }
  const std::uint64_t to = host_address(copy.to), from = host_address(copy.from);
  return to == 0 || from == 0 || (to < from ? from - to : to - from) >= copy.to.length;
}

bool is_plain_arg(const Device& device, const hal_param& param, const hal_arg& arg) {
  if (param.kind == HAL_PARAM_SCALAR) { return arg.kind == HAL_ARG_SCALAR && arg.size == param.bytes; }
  const std::uint64_t length = arg.value.slice.length;
  // A tensor without a size of its own has dimensions that are known later.
  const bool fits = param.kind == HAL_PARAM_TENSOR ? length == param.bytes : length >= param.bytes;
  return arg.kind == HAL_ARG_BUFFER && fits && is_plain(device, arg.value.slice);
}

// Fills in what a grid leaves to the entry.
bool is_plain_grid(const hal_signature& entry, hal_grid& grid) {
  if (grid.groups[0] == 0 || grid.groups[1] == 0 || grid.groups[2] == 0) { return false; }
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const std::uint32_t own = entry.group_size[axis] != 0 ? entry.group_size[axis] : 1;
    grid.group_size[axis] = grid.group_size[axis] != 0 ? grid.group_size[axis] : own;
  }
  return true;
}

bool is_plain_run(const Device& device, hal_command& command) {
  auto& run = command.as.run;
  if (run.program == nullptr || run.program->device_impl != device.impl()) { return false; }
  const std::vector<hal_signature>& entries = cast(run.program)->signatures.views();
  if (run.entry >= entries.size()) { return false; }
  const hal_signature& entry = entries[run.entry];
  if (run.arg_count != entry.param_count || (run.arg_count != 0 && run.args == nullptr)) { return false; }
  if (entry.kind == HAL_KERNEL ? run.has_grid == 0 || !is_plain_grid(entry, run.grid) : run.has_grid != 0) {
    return false;
  }
  for (std::uint32_t i = 0; i < run.arg_count; ++i) {
    if (!is_plain_arg(device, entry.params[i], run.args[i])) { return false; }
  }
  return true;
}

}  // namespace

std::uint64_t Queue::submit_plain_one(const hal_command& given, const hal_sync& sync) {
  const Device& device = *device_;
  if ((sync.wait_count | sync.signal_count | given.reserved) != 0 || given.op >= HAL_OP_COUNT ||
      !device.executes(given.op) || device.instance().observer() != nullptr) {
    return 0;
  }
  const hal_command* command = &given;
  hal_command filled_in;
  switch (given.op) {
    case HAL_OP_BARRIER:
      break;
    case HAL_OP_FILL:
      if (!is_plain_fill(device, given)) { return 0; }
      break;
    case HAL_OP_COPY:
      if (!is_plain_copy(device, given)) { return 0; }
      break;
    case HAL_OP_RUN:
      filled_in = given;
      if (!is_plain_run(device, filled_in)) { return 0; }
      command = &filled_in;
      break;
    default:
      return 0;
  }
  Timeline& timeline = *timeline_;
  const std::lock_guard lock(mutex_);
  if (timeline.failed() || !pending_.empty() || capturing()) { return 0; }
  const std::uint64_t number = timeline.assigned.load(std::memory_order_relaxed) + 1;
  timeline.assigned.store(number, std::memory_order_release);
  recorder_.note(number, 1, given, sync.where);
  const hal_driver_ops& ops = device.driver();
  hal_lane* lane = timeline.lane();
  // Before the call, as in hand_over(): completed must never be seen above handed.
  timeline.handed.store(number, std::memory_order_release);
  if (ops.submit(device.driver_self(), lane, number, command, 1) == 0) [[unlikely]] {
    timeline.handed.store(number - 1, std::memory_order_release);
    if (timeline.failed()) { timeline.clip(); }
    hold_rest(number, 0, {command, 1}, sync, {});
  } else if (__atomic_load_n(&lane->wake_at, __ATOMIC_SEQ_CST) <= number && ops.notify != nullptr) [[unlikely]] {
    ops.notify(device.driver_self(), lane);  // somebody came to wait before this work reached the lane
  }
  return number;
}

}  // namespace hal::core
