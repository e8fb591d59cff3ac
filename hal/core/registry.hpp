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

// While one stands, an exit() on this thread names the driver on the way out, and where it was called: "while it was
// loaded". A driver that calls it cannot be stopped in the process that it is in.
class InsideDriver {
 public:
  InsideDriver(const char* path, const char* when);
  ~InsideDriver();
  InsideDriver(const InsideDriver&) = delete;
  InsideDriver& operator=(const InsideDriver&) = delete;

 private:
  const char *const path_, *const when_;
  const InsideDriver* const before_;
  static thread_local const InsideDriver* current;
  static void name_who_exits();
};

// To be called inside a catch (...) around a driver's function: " threw a C++ exception (what); ...".
std::string thrown();

}  // namespace hal::core
