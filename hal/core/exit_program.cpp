// SPDX-License-Identifier: Apache-2.0
// Releases everything while a command is in flight and returns from main() while the core's thread gives the lane back:
// the driver, whose lanes are in a static object, is not left by the process before that is over. With an argument the
// command is done only when the process is ending already.
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "core/manual_driver.hpp"
#include "hal/hal.hpp"

namespace {

const hal::test::ManualControl* control = nullptr;
std::atomic<bool> inside{false}, exiting{false};
std::atomic<bool> given_back{false};

// In lane_destroy(), on the core's thread: until the process ends.
void destroying(bool before) {
  if (!before) {
    given_back = true;
    return;
  }
  inside = true;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(4);
  while (!exiting && std::chrono::steady_clock::now() < end) { std::this_thread::yield(); }
}

void see() {
  if (!given_back) {
    std::puts("the process left while the lane was being given back");
    std::fflush(stdout);
    std::_Exit(EXIT_FAILURE);
  }
  std::puts("the lane was given back first");
}

}  // namespace

int main(int argc, char**) {
  std::atexit(see);  // after what is registered later
  {
    const hal::Instance instance = hal::Instance::create(MANUAL_DRIVER).value();
    control = static_cast<const hal::test::ManualControl*>(
        ::dlsym(::dlopen(MANUAL_DRIVER, RTLD_NOW | RTLD_NOLOAD), "manual_control"));
    control->on_destroy(destroying);
    hal::Queue queue = instance.open("manual:0").value().queue("last").value();
    queue.barrier().value();
  }
  if (argc > 1) {
    std::thread([] {
      while (!exiting) { std::this_thread::yield(); }
      control->complete("last", 1);
    }).detach();
  } else {
    control->complete("last", 1);
    while (!inside) { std::this_thread::yield(); }
  }
  std::atexit([] { exiting = true; });  // before what was registered before
  return EXIT_SUCCESS;
}
