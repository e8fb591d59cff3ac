// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <system_error>
#include <thread>
#include <utility>

#include "fabric/status.hpp"
#include "hal/threads/thread.hpp"

namespace hal::fabric {

// A thread that takes no signals of the program. Errors: UNAVAILABLE  the system gives no thread.
template <class Body>
Result<std::thread> start_thread(const char* name, Body&& body) {
  try {
    return threads::start_thread(name, std::forward<Body>(body));
  } catch (const std::system_error& problem) {
    return fail_errno(HAL_UNAVAILABLE, problem.code().value(), fmt::format("the system gives no thread {}", name));
  }
}

}  // namespace hal::fabric
