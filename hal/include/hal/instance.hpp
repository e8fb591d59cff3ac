// SPDX-License-Identifier: Apache-2.0
// Loads drivers, lists devices, and explains every one that it could not use.
#pragma once

#include <source_location>
#include <string>
#include <vector>

#include "hal/device.hpp"
#include "hal/timeline.hpp"

namespace hal {

class Instance : public Handle<hal_instance> {
 public:
  using Handle::Handle;

  // `drivers` is a ':'-separated list of names or paths; empty loads all that are found.
  static Result<Instance> create(const std::string& drivers = "") {
    hal_instance_desc desc{};
    desc.struct_size = sizeof desc;
    desc.drivers = drivers.empty() ? nullptr : drivers.c_str();
    return create(desc);
  }
  static Result<Instance> create(const hal_instance_desc& desc) {
    hal_instance* instance = nullptr;
    HAL_CHECK(check(hal_instance_create(&desc, &instance)));
    return Instance(instance);
  }

  std::vector<DeviceInfo> devices() const {
    std::vector<DeviceInfo> out(hal_instance_device_count(get()));
    for (std::uint32_t i = 0; i < out.size(); ++i) { hal_release(hal_instance_device(get(), i, &out[i])); }
    return out;
  }
  // Every driver that was tried and what came of it, one line each.
  std::string report() const { return hal_instance_report(get()); }
  // How many findings the layer `validation` has reported so far.
  std::uint64_t findings() const { return hal_instance_findings(get()); }

  // Errors: INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE, BUSY; each says what there is.
  Result<Device> open(const std::string& uri) const {
    hal_device* device = nullptr;
    HAL_CHECK(check(hal_device_open(get(), uri.c_str(), &device)));
    return Device(device);
  }
  Result<Timeline> timeline(std::uint64_t initial = 0, const std::string& label = "timeline",
                            std::source_location where = std::source_location::current()) const {
    here(where);
    hal_timeline* timeline = nullptr;
    HAL_CHECK(check(hal_timeline_create(get(), initial, label.c_str(), &timeline)));
    return Timeline(timeline);
  }
};

// A range of the application on this thread, for a scope: errors, validation and the trace show it. `label` is a
// literal.
class Range {
 public:
  Range(const Instance& instance, const char* label) : instance_(instance.get()) { hal_range_begin(instance_, label); }
  ~Range() { hal_range_end(instance_); }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  hal_instance* instance_;
};

// Every variable of the environment that the core, a driver or an emulator reads.
inline std::vector<hal_setting> settings() {
  std::vector<hal_setting> out;
  for (hal_setting setting{}; hal_setting_describe(static_cast<std::uint32_t>(out.size()), &setting) != 0;) {
    out.push_back(setting);
  }
  return out;
}

}  // namespace hal
