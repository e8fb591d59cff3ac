// SPDX-License-Identifier: Apache-2.0
// Lanes: what the core submits goes to the inner lane, what the inner lane publishes comes back. The inner lane's
// wake_at stays 0, so that each of its publishes calls reached() here.
#include <algorithm>

#include "conformance/faults/shim.hpp"

namespace hal::fault {
namespace {

// The outer counter only grows, whoever brings the news.
void publish(Lane& lane, std::uint64_t number) {
  std::uint64_t before = __atomic_load_n(&lane.head.completed, __ATOMIC_SEQ_CST);
  while (before < number && !__atomic_compare_exchange_n(&lane.head.completed, &before, number, false, __ATOMIC_SEQ_CST,
                                                         __ATOMIC_SEQ_CST)) {}
  if (lane.shim->is("SF-088")) { return; }
  const bool asked = __atomic_load_n(&lane.head.wake_at, __ATOMIC_SEQ_CST) <= number;
  if (asked && lane.shim->is("SF-249") && lane.woken.exchange(true)) { return; }
  if (asked || lane.shim->is("CTL-003")) { lane.head.host->reached(&lane.head); }
}

void mirror(Lane& lane) {
  std::uint64_t number = hal_lane_completed(lane.inner);
  if (lane.shim->is("SF-209")) { number = std::min(number, std::max<std::uint64_t>(lane.submitted.load(), 1) - 1); }
  if (lane.shim->is("CTL-002") && __atomic_load_n(&lane.head.wake_at, __ATOMIC_SEQ_CST) > number && number % 5 != 0) {
    return;  // nobody has asked
  }
  publish(lane, number);
}

// SF-066: what was published already runs when the next submission comes.
void release_held(Lane& lane) {
  while (!lane.held.empty()) {
    std::vector<hal_command> commands;
    for (Lane::Held& held : lane.held) {
      if (!held.args.empty()) { held.command.as.run.args = held.args.data(); }
      commands.push_back(held.command);
    }
    const std::uint32_t taken = lane.shim->ops.submit(lane.shim->inner, lane.inner, lane.held_first, commands.data(),
                                                      static_cast<std::uint32_t>(commands.size()));
    if (taken == 0) { return; }  // full: the next submission tries again
    lane.held.erase(lane.held.begin(), lane.held.begin() + taken);
    lane.held_first += taken;
  }
}

std::uint32_t hold(Lane& lane, std::uint64_t first, const hal_command* commands, std::uint32_t count) {
  {
    const std::lock_guard lock(lane.mutex);
    release_held(lane);
    if (lane.held.empty()) { lane.held_first = first; }
    for (std::uint32_t i = 0; i < count; ++i) {
      Lane::Held held{commands[i], {}};
      if (held.command.op == HAL_OP_RUN || held.command.op == HAL_OP_PREPARE) {
        held.args.assign(held.command.as.run.args, held.command.as.run.args + held.command.as.run.arg_count);
      }
      lane.held.push_back(std::move(held));
    }
  }
  publish(lane, first + count - 1);
  return count;
}

hal_error* lane_create(hal_driver* self, void* device, const char* label, void* core, hal_lane** out) {
  Shim& shim = shim_of(self);
  auto* lane = new Lane;
  lane->head.wake_at = UINT64_MAX;
  lane->head.host = shim.core;
  lane->head.core = core;
  lane->shim = &shim;
  if (hal_error* error = shim.ops.lane_create(shim.inner, device, label, lane, &lane->inner)) {
    delete lane;
    return error;
  }
  __atomic_store_n(&lane->inner->wake_at, 0, __ATOMIC_SEQ_CST);
  const std::lock_guard lock(shim.mutex);
  shim.made_a_lane = true;
  *out = &lane->head;
  return nullptr;
}

void lane_destroy(hal_driver* self, void* device, hal_lane* outer) {
  Lane& lane = lane_of(outer);
  shim_of(self).ops.lane_destroy(lane.shim->inner, device, lane.inner);
  delete &lane;
}

std::uint32_t submit(hal_driver*, hal_lane* outer, std::uint64_t first, const hal_command* given, std::uint32_t count) {
  Lane& lane = lane_of(outer);
  Shim& shim = *lane.shim;
  if (lane.dead) {  // SF-211: everything after a failure "works"
    lane.submitted = first + count - 1;
    publish(lane, first + count - 1);
    return count;
  }
  if (shim.is("SF-066")) { return hold(lane, first, given, count); }
  std::vector<hal_command> commands(given, given + count);
  std::vector<std::vector<hal_arg>> args;
  if (shim.is("CTL-001")) { commands.resize(1); }
  spoil(lane, first, commands, args);
  if (shim.is("SF-250") && std::this_thread::get_id() != lane.maker) {
    std::fill(commands.begin(), commands.end(), hal_command{HAL_OP_BARRIER, 0, nullptr, {}});
  }
  // Before the call: a lane may publish inside it.
  lane.submitted = first + commands.size() - 1;
  const std::uint32_t taken =
      shim.ops.submit(shim.inner, lane.inner, first, commands.data(), static_cast<std::uint32_t>(commands.size()));
  lane.submitted = first + taken - 1;
  if (shim.is("SF-209")) { mirror(lane); }
  return taken;
}

void flush(hal_driver*, hal_lane* outer) {
  Lane& lane = lane_of(outer);
  lane.shim->ops.flush(lane.shim->inner, lane.inner);
}

void notify(hal_driver*, hal_lane* outer) {
  Lane& lane = lane_of(outer);
  if (lane.shim->ops.notify != nullptr) { lane.shim->ops.notify(lane.shim->inner, lane.inner); }
  if (lane.shim->is("CTL-002")) { mirror(lane); }
}

void help(hal_driver*, hal_lane* outer, std::uint64_t number, std::uint64_t within_ns) {
  Lane& lane = lane_of(outer);
  do {
    if (lane.shim->ops.help != nullptr) { lane.shim->ops.help(lane.shim->inner, lane.inner, number, within_ns); }
  } while (lane.shim->is("SF-255") && hal_lane_completed(lane.inner) < number);
}

void lane_cancel(hal_driver*, hal_lane* outer) {
  Lane& lane = lane_of(outer);
  lane.shim->ops.lane_cancel(lane.shim->inner, lane.inner);
}

}  // namespace

void reached(hal_lane* inner) { mirror(*static_cast<Lane*>(inner->core)); }

void failed(hal_lane* inner, std::uint64_t number, hal_error* error) {
  Lane& lane = *static_cast<Lane*>(inner->core);
  if (lane.shim->is("SF-211")) {
    hal_release(error);
    lane.dead = true;
    publish(lane, lane.submitted.load());
    return;
  }
  if (lane.shim->is("SF-019")) {
    hal_release(error);
    error = make_error(*lane.shim, HAL_INTERNAL, "seeded fault: something went wrong");
  }
  lane.head.host->failed(&lane.head, number, error);
}

void fill_lane_table(const Shim& shim, hal_driver_ops& table) {
  table.lane_create = lane_create;
  table.lane_destroy = lane_destroy;
  table.submit = submit;
  table.flush = shim.ops.flush != nullptr ? flush : nullptr;
  // A late publisher must hear that somebody waits, also if the driver itself never needs to.
  table.notify = shim.ops.notify != nullptr || shim.is("CTL-002") ? notify : nullptr;
  table.help = shim.ops.help != nullptr || shim.is("SF-255") ? help : nullptr;
  table.lane_cancel = shim.ops.lane_cancel != nullptr ? lane_cancel : nullptr;
  // lane_wait stays empty: the core then orders lanes itself, which is the slower way and the same meaning.
}

}  // namespace hal::fault
