// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "copy.hpp"
#include "driver_kit/clock.hpp"
#include "driver_kit/errors.hpp"
#include "driver_kit/software_lane.hpp"
#include "host.hpp"
#include "program.hpp"
#include "weak_lane.hpp"

namespace hal::host {

namespace {

class Executor final : public kit::CommandExecutor {
 public:
  explicit Executor(Device& device) {
    scratch_.pool = device.pool.get();
    scratch_.late = &device.lazy_loads;
  }

  hal_error* execute(const hal_command& command) override {
    if (command.op == HAL_OP_RUN) [[likely]] { return program_of(command).run(command, scratch_, kUsual); }
    return execute_other(command);
  }

  kit::CommandCost cost(const hal_command& command) const override {
    switch (command.op) {
      case HAL_OP_FILL:
        return {nanoseconds_of(command.as.fill.to.length, 64), false};
      case HAL_OP_COPY:
        return {nanoseconds_of(command.as.copy.to.length, 32), false};
      case HAL_OP_RUN:
        return program_of(command).cost(command);
      case HAL_OP_PREPARE:
        return {1'000'000, true};
      default:
        return {30, false};
    }
  }

 private:
  // Apart from runs, which pay for nothing that these need.
  [[gnu::noinline]] hal_error* execute_other(const hal_command& command) {
    switch (command.op) {
      case HAL_OP_FILL:
        fill(*scratch_.pool, address_of(command.as.fill.to), command.as.fill.to.length, command.as.fill.pattern,
             command.as.fill.pattern_bytes);
        return nullptr;
      case HAL_OP_COPY:
        copy(*scratch_.pool, address_of(command.as.copy.to), address_of(command.as.copy.from),
             command.as.copy.to.length);
        return nullptr;
      case HAL_OP_PREPARE:
        return kit::to_c(program_of(command).prepare(command, scratch_));
      case HAL_OP_TIMESTAMP: {
        const std::uint64_t now = kit::clock_ns();
        std::memcpy(address_of(command.as.timestamp.to), &now, sizeof(now));
        return nullptr;
      }
      default:
        return fail(HAL_INTERNAL,
                    "the host was given an operation that it does not declare: " + std::to_string(command.op));
    }
  }

  static constexpr kit::Perturb kUsual{};

  static std::uint32_t nanoseconds_of(std::uint64_t bytes, std::uint64_t bytes_a_ns) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(10 + bytes / bytes_a_ns, 4'000'000'000U));
  }

  Scratch scratch_;
};

}  // namespace

hal_error* lane_create(hal_driver* self, void* device, const char* label, void* core, hal_lane** out) {
  return kit::guarded(kOrigin, [&]() -> hal_error* {
    Device& of = device_of(device);
    if (of.mode == Mode::weak) {
      *out = new WeakLane(of, of.lanes.fetch_add(1, std::memory_order_relaxed), label, core);
      return nullptr;
    }
    kit::LaneOptions options;
    options.capacity = kRing;
    options.pool = of.pool.get();
    options.hold_back = of.mode != Mode::minimal;
    options.lane_programs = true;
    *out = new kit::SoftwareLane(static_cast<Driver*>(self)->api, core, kOrigin, label, std::make_unique<Executor>(of),
                                 options);
    return nullptr;
  });
}

namespace {

// The weak lane, or nullptr for one of the kit's.
WeakLane* weak(hal_lane* lane) {
  auto* tagged = static_cast<kit::TaggedLane*>(lane);
  return tagged->tag == WeakLane::kTag ? static_cast<WeakLane*>(tagged) : nullptr;
}

}  // namespace

void lane_destroy(hal_driver*, void*, hal_lane* lane) {
  if (WeakLane* of = weak(lane)) {
    delete of;
  } else {
    delete &kit::SoftwareLane::of(lane);
  }
}

std::uint32_t submit(hal_driver*, hal_lane* lane, std::uint64_t first, const hal_command* commands,
                     std::uint32_t count) {
  if (WeakLane* of = weak(lane)) { return of->submit(first, commands, count); }
  return kit::SoftwareLane::of(lane).submit(first, commands, count);
}

void flush(hal_driver*, hal_lane* lane) {
  if (weak(lane) != nullptr) { return; }  // a hint, and not heard: when it comes may depend on time
  kit::SoftwareLane::of(lane).flush();
}

void notify(hal_driver*, hal_lane* lane) {
  if (WeakLane* of = weak(lane)) { return of->notify(); }
  kit::SoftwareLane::of(lane).notify();
}

void help(hal_driver*, hal_lane* lane, std::uint64_t number, std::uint64_t within_ns) {
  if (WeakLane* of = weak(lane)) { return of->help(number, within_ns); }
  kit::SoftwareLane::of(lane).help(number, within_ns);
}

void lane_cancel(hal_driver*, hal_lane* lane) {
  if (WeakLane* of = weak(lane)) { return of->cancel(); }
  kit::SoftwareLane::of(lane).cancel();
}

}  // namespace hal::host
