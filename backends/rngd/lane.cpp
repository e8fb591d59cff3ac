// SPDX-License-Identifier: Apache-2.0
// A lane is a librngd queue: each command becomes one ring entry, its number is the queue's, and the queue's progress
// callback publishes. Host memory that a command names is mapped for the device while the command is in flight.
//
// The kit's SoftwareLane would be a second ring and a thread in front of the card's own, so what is shared with other
// drivers is the kit's LaneProgress: what is told to the core, and when, above all of a failure.
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <memory>
#include <new>

#include "backend.hpp"
#include "driver_kit/apart.hpp"
#include "driver_kit/errors.hpp"
#include "driver_kit/lane_progress.hpp"
#include "driver_kit/slices.hpp"

namespace hal::rngd_backend {

namespace {

struct Lane final : hal_lane, kit::DeviceLane {
  struct Pin {
    rngd_address address{};
    std::uint64_t bytes = 0;
  };
  using Pins = std::array<Pin, 2>;
  // What a command needs until it is done.
  struct InFlight {
    Pins pins{};
    std::shared_ptr<const Loaded> program;  // of a graph whose sizes came with the run
  };

  Device* device = nullptr;
  rngd_queue* queue = nullptr;
  // By command number. Twice the ring's depth, because a command's slot in the ring is free a moment before its pins
  // are given back.
  std::array<InFlight, 2 * std::size_t{kQueueDepth}> in_flight{};
  std::uint64_t released = 0;  // what is up to this command is given back
  std::vector<rngd_binding> bindings;
  kit::LaneProgress progress{*this, *this};
  std::atomic<bool> lost{false};  // the card was reset, or does not answer
  std::mutex mapping;             // held from when host memory is mapped until the command is in the ring
  bool maps_no_more = false;
  // A run whose program is being made. Until its number is done nothing is taken, so that the background thread has the
  // queue to itself.
  kit::HeldCommand held;
  kit::Background::Job obtain;
  std::uint64_t held_number = 0;  // who submits; 0: none

  ~Lane() {
    for (InFlight& each : in_flight) { unmap(each); }
  }
  InFlight& of(std::uint64_t number) { return in_flight[number % in_flight.size()]; }
  void unmap(InFlight& command) {
    for (Pin& pin : command.pins) {
      if (pin.bytes != 0) { rngd_host_unregister(device->device, pin.address, pin.bytes); }
      pin = {};
    }
  }
  void let_go(InFlight& command) {
    unmap(command);
    command.program.reset();
  }
  // Nothing is in the ring any more; completed may already be what is still there.
  bool is_idle() const { return rngd_queue_space(queue) == kQueueDepth - 1; }

  std::uint64_t done() noexcept override {
    const std::uint64_t done = rngd_queue_completed(queue);
    for (; released < done; ++released) {
      InFlight& past = of(released + 1);
      if (past.pins[0].bytes != 0 || past.program != nullptr) { let_go(past); }
    }
    return done;
  }

  // The card aborts what is behind a command that failed on it. Where it knows of no failure it is told to skip the
  // rest; on_progress() comes when that has left the ring.
  bool stop() noexcept override {
    if (!lost && !is_idle()) {
      rngd_queue_cancel(queue);
      if (!is_idle()) { return false; }
    }
    const std::lock_guard lock(mapping);
    maps_no_more = true;
    for (std::uint64_t number = released + 1; number <= rngd_queue_submitted(queue); ++number) { unmap(of(number)); }
    return true;
  }
};

// Of a RUN or PREPARE.
const Program& program_of(const hal_command& command) {
  return *static_cast<const Program*>(command.as.run.program->impl);
}

Lane& lane_of(hal_lane* lane) { return *static_cast<Lane*>(lane); }

void on_progress(void* user, std::uint64_t) { static_cast<Lane*>(user)->progress.look(); }

// "in node 3 (gather "rows")" where the device names an operation of a program that came from a graph.
std::string place_of(Device& device, const rngd_error& error) {
  if (error.op == ~0U) { return {}; }
  const std::lock_guard lock(device.mutex);
  for (const Loaded* program : device.programs) {
    if (rngd_program_id(program->handle) != error.program) { continue; }
    if (error.op < program->labels.size()) { return fmt::format(" in {}", program->labels[error.op]); }
  }
  return {};
}

hal_error* describe(Device& device, const rngd_error& error) noexcept {
  try {
    return make_error(error, error.text + place_of(device, error));
  } catch (const std::bad_alloc&) { return make_error(error, error.text); }
}

void on_failure(void* user, const rngd_error* error) {
  Lane& lane = *static_cast<Lane*>(user);
  lane.progress.fail(error->command, describe(*lane.device, *error));
  lane.progress.look();
}

// The device's view of a slice; maps host memory, remembering it in `pin`, with the lane's `mapping` locked from then.
rngd_status address_of(Lane& lane, const hal_slice& slice, Lane::Pin& pin, std::unique_lock<std::mutex>& mapping,
                       rngd_address& out, rngd_error& error) {
  if (slice.buffer != nullptr) {
    out = {kit::device_address(slice), RNGD_SPACE_HBM, 0};
    return RNGD_OK;
  }
  if (!mapping.owns_lock()) { mapping.lock(); }
  if (lane.maps_no_more) { return RNGD_QUEUE_FAILED; }
  const rngd_status status =
      rngd_host_register(lane.device->device, kit::host_address(slice), slice.length, &out, &error);
  if (status == RNGD_OK) { pin = {out, slice.length}; }
  return status;
}

rngd_status translate(Lane& lane, const hal_command& command, Lane::InFlight& slot,
                      std::unique_lock<std::mutex>& mapping, rngd_command& out, rngd_error& error) {
  Lane::Pins& pins = slot.pins;
  out = {};
  switch (command.op) {
    case HAL_OP_FILL: {
      const auto& fill = command.as.fill;
      out.kind = RNGD_COMMAND_FILL;
      out.u.fill.bytes = fill.to.length;
      out.u.fill.pattern = fill.pattern;
      out.u.fill.pattern_bytes = static_cast<std::uint32_t>(fill.pattern_bytes);
      return address_of(lane, fill.to, pins[0], mapping, out.u.fill.to, error);
    }
    case HAL_OP_COPY: {
      const auto& copy = command.as.copy;
      out.kind = RNGD_COMMAND_COPY;
      out.u.copy.bytes = copy.from.length;
      const rngd_status status = address_of(lane, copy.from, pins[0], mapping, out.u.copy.from, error);
      // The first pin marks a slot in use, so a destination alone goes there too.
      return status != RNGD_OK
                 ? status
                 : address_of(lane, copy.to, pins[pins[0].bytes != 0 ? 1 : 0], mapping, out.u.copy.to, error);
    }
    case HAL_OP_TIMESTAMP:
      out.kind = RNGD_COMMAND_TIMESTAMP;
      return address_of(lane, command.as.timestamp.to, pins[0], mapping, out.u.timestamp.to, error);
    case HAL_OP_RUN: {
      const auto& run = command.as.run;
      const Program& whole = program_of(command);
      const Loaded& program = whole.open != nullptr ? *slot.program : *whole.fixed;
      lane.bindings.clear();
      try {
        lane.bindings.reserve(program.info.binding_count + std::size_t{1});
      } catch (const std::bad_alloc&) {
        error = {};
        error.status = RNGD_OUT_OF_HOST_MEMORY;
        std::strncpy(error.text, "no host memory for the bindings of a graph run", sizeof error.text - 1);
        return error.status;
      }
      // Inputs, what the programs of one graph share, outputs.
      const std::uint32_t resident = program.shared(), inputs = program.info.input_count - resident;
      const std::uint32_t own = program.info.binding_count - resident;
      for (std::uint32_t i = 0; i < own; ++i) {
        if (i == inputs && resident != 0) {
          lane.bindings.insert(lane.bindings.end(), program.constants->bindings.begin(),
                               program.constants->bindings.end());
        }
        const hal_slice& slice = run.args[i].value.slice;
        if (run.args[i].kind != HAL_ARG_BUFFER || slice.buffer == nullptr) {
          error.status = RNGD_INVALID_ARGUMENT;
          fmt::format_to_n(error.text, sizeof error.text - 1,
                           "argument {} of a graph run must lie in this device's memory", i);
          return RNGD_INVALID_ARGUMENT;
        }
        lane.bindings.push_back({{kit::device_address(slice), RNGD_SPACE_HBM, 0}, slice.length});
      }
      // The card refuses it too, and names a mismatch of addresses.
      if (const auto shared = kit::find_shared_bytes({run.args, own}, inputs, false)) {
        error.status = RNGD_INVALID_ARGUMENT;
        std::memcpy(error.text, shared->text().data(), sizeof error.text);
        return error.status;
      }
      if (program.info.scratch_bytes != 0) { lane.bindings.push_back({program.scratch, program.info.scratch_bytes}); }
      out.kind = RNGD_COMMAND_RUN;
      out.u.run = {program.handle, lane.bindings.data(), static_cast<std::uint32_t>(lane.bindings.size())};
      return RNGD_OK;
    }
    default:  // barrier; and prepare, because constants lie in HBM since the program was loaded
      return RNGD_OK;
  }
}

// The command takes its number and fails when its turn comes; nothing behind it is handed over.
void fail_at(Lane& lane, std::uint64_t number, hal_error* error) {
  lane.progress.fail(number, error);
  lane.progress.look();
}

// Puts the command into the ring, or fails the lane at it. False: there is no room for it now.
bool hand_over(Lane& lane, std::uint64_t number, const hal_command& command) {
  Lane::InFlight& slot = lane.of(number);
  rngd_command translated;
  rngd_error error{};
  rngd_status status = RNGD_OK;
  {
    std::unique_lock mapping(lane.mapping, std::defer_lock);
    status = translate(lane, command, slot, mapping, translated, error);
    if (status == RNGD_OK) { status = rngd_queue_submit(lane.queue, &translated, 1, nullptr, &error); }
  }
  if (status == RNGD_OK) { return true; }
  lane.let_go(slot);
  if (status == RNGD_WOULD_BLOCK) { return false; }
  if (status == RNGD_QUEUE_FAILED) { return true; }  // on_failure() has the reason, or is about to
  if (status == RNGD_DEVICE_LOST) {                  // and with it whatever is under way
    lane.lost = true;
    lane.progress.lose(make_error(error, "the card was reset or does not answer; open it again"));
    lane.progress.look();
    return true;
  }
  error.command = 0;  // it concerns the call
  fail_at(lane, number, make_error(error, error.text));
  return true;
}

void run_held(void* of) {
  Lane& lane = *static_cast<Lane*>(of);
  const std::uint64_t number = lane.held.number;
  const hal_command& command = lane.held.command;
  hal_error* error = kit::guarded(kOrigin, [&]() -> Result<void> {
    HAL_TRY(lane.of(number).program, program_of(command).obtain(*lane.device, command));
    return {};
  });
  if (error != nullptr) {
    fail_at(lane, number, error);
  } else {
    hand_over(lane, number, command);  // nothing is in flight, so there is room
  }
  flush(nullptr, &lane);
}

// Takes a run whose program has to be made first. Nothing is in flight.
void hold(Lane& lane, std::uint64_t number, const hal_command& command) {
  if (command.op == HAL_OP_RUN) { lane.device->lazy_loads.fetch_add(1, std::memory_order_relaxed); }
  lane.held_number = number;
  hal_error* error = kit::guarded(kOrigin, [&]() -> Result<void> {
    lane.held.hold(number, command);
    lane.obtain = {run_held, &lane, command.as.run.program->impl};
    return lane.device->background.post(lane.obtain);
  });
  if (error != nullptr) { fail_at(lane, number, error); }
}

// A RUN, or PREPARE with extents, of a graph whose sizes come with it.
bool needs_sizes(const hal_command& command) {
  const bool names = command.op == HAL_OP_RUN || (command.op == HAL_OP_PREPARE && command.as.run.arg_count != 0);
  return names && program_of(command).open != nullptr;
}

}  // namespace

hal_error* lane_create(hal_driver* self, void* device, const char*, void* core, hal_lane** out) {
  return kit::guarded(kOrigin, [&]() -> hal_error* {
    auto lane = std::make_unique<Lane>();
    lane->completed = 0;
    lane->wake_at = UINT64_MAX;
    lane->host = static_cast<Driver*>(self)->host;
    lane->core = core;
    lane->device = static_cast<Device*>(device);
    rngd_queue_options options{};
    options.depth = kQueueDepth;
    options.on_progress = on_progress;
    options.on_failure = on_failure;
    options.user = lane.get();
    rngd_error error{};
    if (rngd_queue_create(lane->device->partition, &options, &lane->queue, &error) != RNGD_OK) {
      return make_error(error, error.text);
    }
    *out = lane.release();
    return nullptr;
  });
}

void lane_destroy(hal_driver*, void*, hal_lane* lane) {
  const std::unique_ptr<Lane> self(&lane_of(lane));
  self->device->background.forget(self->obtain);
  rngd_queue_destroy(self->queue);  // no callback runs after this
}

std::uint32_t submit(hal_driver*, hal_lane* lane, std::uint64_t first, const hal_command* commands,
                     std::uint32_t count) {
  Lane& self = lane_of(lane);
  if (self.held_number != 0 && !self.progress.failed()) {
    if (rngd_queue_completed(self.queue) < self.held_number) { return 0; }
    self.held_number = 0;
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    // A lane that has failed takes what still comes: nothing of it executes or is published.
    if (self.progress.failed()) { return count; }
    if (rngd_queue_space(self.queue) == 0) { return i; }
    const hal_command& command = commands[i];
    if (needs_sizes(command)) {
      std::shared_ptr<const Loaded>& program = self.of(first + i).program;
      program = program_of(command).find(command);
      if (program == nullptr) {
        if (!self.is_idle()) { return i; }
        hold(self, first + i, command);
        return i + 1;
      }
    }
    if (!hand_over(self, first + i, command)) { return i; }
  }
  return count;
}

void flush(hal_driver*, hal_lane* lane) { rngd_queue_flush(lane_of(lane).queue); }

void help(hal_driver*, hal_lane* lane, std::uint64_t number, std::uint64_t within_ns) {
  rngd_queue_help(lane_of(lane).queue, number, within_ns);
}

void lane_cancel(hal_driver*, hal_lane* lane) { rngd_queue_cancel(lane_of(lane).queue); }

}  // namespace hal::rngd_backend
