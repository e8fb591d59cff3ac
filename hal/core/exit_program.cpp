// SPDX-License-Identifier: Apache-2.0
// Releases everything while a command is in flight and returns from main() while the core's thread gives the lane back:
// the driver, whose lanes are in a static object, is not left by the process before that is over. With "in-flight" the
// command is done only when the process is ending already; with "call" and "reached" it is a host function, or one that
// waited for a value, which then lets go of the last object.
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
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

// On a thread of the core: lets go of the last queue when the process is ending.
hal::Queue last;
hal_error* let_go(void*, const hal_error*) {
  inside = true;
  while (!exiting) { std::this_thread::yield(); }
  last = {};
  return nullptr;
}

hal::Result<void> begin(std::string_view how) {
  HAL_TRY(const hal::Instance instance, hal::Instance::create("host:" MANUAL_DRIVER));
  control = static_cast<const hal::test::ManualControl*>(
      ::dlsym(::dlopen(MANUAL_DRIVER, RTLD_NOW | RTLD_NOLOAD), "manual_control"));
  control->on_destroy(destroying);
  HAL_TRY(const hal::Device device, instance.open("manual:0"));
  HAL_TRY(last, device.queue("last"));
  if (how == "call") {
    hal_command call{};
    call.op = HAL_OP_CALL;
    call.as.call.function = let_go;
    HAL_TRY(const hal::Device host, instance.open("host:0"));
    HAL_TRY(hal::Queue queue, host.queue("calls"));
    HAL_TRY([[maybe_unused]] const hal::Point point, queue.submit({&call, 1}));
  } else if (how == "reached") {
    HAL_TRY(const hal::Timeline timeline, instance.timeline(1));
    HAL_CHECK(hal::check(hal_timeline_on_reached(
        timeline.get(), 1, [](void* user, const hal_error* error) { hal_release(let_go(user, error)); }, nullptr)));
  } else {
    HAL_CHECK(last.barrier());
    last = {};
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  std::atexit(see);  // after what is registered later
  const std::string_view how = argc > 1 ? argv[1] : "";
  if (const hal::Result<void> begun = begin(how); !begun) {
    std::puts(std::string(begun.error().text()).c_str());
    std::_Exit(EXIT_FAILURE);
  }
  if (how == "in-flight") {
    std::thread([] {
      while (!exiting) { std::this_thread::yield(); }
      control->complete("last", 1);
    }).detach();
  } else {
    if (how.empty()) { control->complete("last", 1); }
    while (!inside) { std::this_thread::yield(); }
  }
  std::atexit([] { exiting = true; });  // before what was registered before
  return EXIT_SUCCESS;
}
