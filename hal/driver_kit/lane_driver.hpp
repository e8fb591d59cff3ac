// SPDX-License-Identifier: Apache-2.0
// For tests: the smallest driver that the harness can open. It has software lanes and nothing else.
#pragma once

#include "driver_kit/errors.hpp"
#include "driver_kit/harness.hpp"
#include "driver_kit/software_lane.hpp"

namespace hal::kit {

// Makes the lane that `core` asked for.
using LaneMaker = SoftwareLane* (*)(const hal_host_api* host, void* core, const char* label);

// The entry of that driver, for Harness.
template <LaneMaker make>
hal_error* lane_driver_entry(const hal_host_api*, hal_driver** out) {
  static const hal_driver_ops kOps = [] {
    hal_driver_ops ops{};
    ops.struct_size = sizeof(ops);
    ops.name = "lanes";
    ops.destroy = [](hal_driver* self) { delete self; };
    ops.device_open = [](hal_driver*, const hal_device_request*, hal_device_traits* traits) -> hal_error* {
      *traits = {};
      return nullptr;
    };
    ops.device_close = [](hal_driver*, void*) {};
    ops.lane_create = [](hal_driver*, void*, const char* label, void* core, hal_lane** lane) {
      return guarded("lanes", [&]() -> hal_error* {
        *lane = make(static_cast<Harness::Lane*>(core)->host_api(), core, label);
        return nullptr;
      });
    };
    ops.lane_destroy = [](hal_driver*, void*, hal_lane* lane) { delete &SoftwareLane::of(lane); };
    ops.submit = [](hal_driver*, hal_lane* lane, std::uint64_t first, const hal_command* commands,
                    std::uint32_t count) { return SoftwareLane::of(lane).submit(first, commands, count); };
    ops.flush = [](hal_driver*, hal_lane* lane) { SoftwareLane::of(lane).flush(); };
    ops.notify = [](hal_driver*, hal_lane* lane) { SoftwareLane::of(lane).notify(); };
    ops.help = [](hal_driver*, hal_lane* lane, std::uint64_t number, std::uint64_t within_ns) {
      SoftwareLane::of(lane).help(number, within_ns);
    };
    ops.lane_cancel = [](hal_driver*, hal_lane* lane) { SoftwareLane::of(lane).cancel(); };
    return ops;
  }();
  *out = new hal_driver{&kOps};
  return nullptr;
}

}  // namespace hal::kit
