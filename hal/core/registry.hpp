// SPDX-License-Identifier: Apache-2.0
// Finds drivers, loads them, and remembers why one could not be used.
#pragma once

#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "hal/driver.h"
#include "hal/result.hpp"

namespace hal::core {

// One driver that was tried. `self` is NULL if it cannot be used, and `reason` says why. Shared objects are never
// unloaded: a stray thread or a late destructor of a plug-in must not find its code gone.
struct LoadedDriver {
  std::string name;
  std::string path;
  std::string reason;
  hal_driver* self = nullptr;
  hal_driver_ops ops{};       // completed copy: short tables end in nulls
  std::uint32_t devices = 0;  // as many as it said when the instance was made
};

// `names` is ':'-separated driver names or paths; NULL means every halyard-*.so of the search folders, save those that
// only serve tests and porting (null, template).
std::vector<std::unique_ptr<LoadedDriver>> load_drivers(const char* names, const hal_host_api& host);

// Names of the drivers whose files are in the search folders, and why there is nothing to load if nothing is.
std::vector<std::string> found_drivers();
std::string nothing_to_load(const char* names);

// Checks a driver's table and copies it. Returns the reason for a refusal, empty if it is fine.
std::string complete_table(const hal_driver_ops* offered, hal_driver_ops& out);

// While one stands, an exit() on this thread names the driver on the way out, and its function that was called; nullptr
// while it is loaded. A driver that calls it cannot be stopped in the process that it is in.
class InsideDriver {
 public:
  InsideDriver(const char* path, const char* function);
  ~InsideDriver();
  InsideDriver(const InsideDriver&) = delete;
  InsideDriver& operator=(const InsideDriver&) = delete;

 private:
  const char *const path_, *const function_;
  const InsideDriver* const before_;
  static thread_local const InsideDriver* current;
  static void name_who_exits();
};

// To be called inside a catch (...) around a driver's function: " threw a C++ exception (what); ...".
std::string thrown();

// Calls a driver's function that returns hal_error*. What it throws, against the border's rule, becomes an error that
// names driver and function; bad_alloc stays what it is.
template <class Call>
Result<void> call_driver(const LoadedDriver& driver, const char* function, Call call) {
  const InsideDriver inside(driver.path.c_str(), function);
  try {
    return check(call());
  } catch (const std::bad_alloc&) { throw; } catch (...) {
    return Error(HAL_INTERNAL, std::string(function) + "() of driver " + driver.path + thrown());
  }
}

}  // namespace hal::core
