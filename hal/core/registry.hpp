// SPDX-License-Identifier: Apache-2.0
// Finds drivers, loads them, and remembers why one could not be used.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hal/driver.h"

namespace hal::core {

// One driver that was tried. `self` is NULL if it cannot be used, and `reason` says why. Shared objects are never
// unloaded: a stray thread or a late destructor of a plug-in must not find its code gone.
struct LoadedDriver {
  std::string name;
  std::string path;
  std::string reason;
  hal_driver* self = nullptr;
  hal_driver_ops ops{};  // completed copy: short tables end in nulls
};

// `names` is ':'-separated driver names or paths; NULL means every halyard-*.so of the search folders, save those that
// only serve tests and porting (null, template).
std::vector<std::unique_ptr<LoadedDriver>> load_drivers(const char* names, const hal_host_api& host);

// Names of the drivers whose files are in the search folders, and why there is nothing to load if nothing is.
std::vector<std::string> found_drivers();
std::string nothing_to_load(const char* names);

// Checks a driver's table and copies it. Returns the reason for a refusal, empty if it is fine.
std::string complete_table(const hal_driver_ops* offered, hal_driver_ops& out);

// To be called inside a catch (...) around a driver's function: " threw a C++ exception (what); ...".
std::string thrown();

}  // namespace hal::core
