// SPDX-License-Identifier: Apache-2.0
// What the tests of the ordering contract share: a host device with one queue and one buffer of words.
#pragma once

#include <dlfcn.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/manual_driver.hpp"
#include "hal/hal.hpp"

namespace hal::test {

using namespace std::chrono_literals;
using hal::Point;

inline bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

struct Fixture {
  hal::Instance instance = hal::Instance::create("host").value();
  hal::Device device;
  hal::Queue queue = device.queue("q").value();
  hal::Buffer buffer = device.buffer(4096).value();

  explicit Fixture(const std::string& uri = "host:0") : device(instance.open(uri).value()) {
    std::memset(buffer.host().data(), 0, 4096);
  }

  std::uint32_t word(std::uint64_t at) const {
    std::uint32_t out = 0;
    std::memcpy(&out, buffer.host().data() + at * 4, 4);
    return out;
  }
  hal::Slice at(std::uint64_t i) const { return buffer.slice(i * 4, 4); }
};

// A device whose lanes move when the test says so.
struct Manual {
  hal::Instance instance = hal::Instance::create(MANUAL_DRIVER).value();
  const ManualControl& control =
      *static_cast<const ManualControl*>(::dlsym(::dlopen(MANUAL_DRIVER, RTLD_NOW | RTLD_NOLOAD), "manual_control"));
  hal::Device device = instance.open("manual:0").value();
  hal::Buffer buffer = device.buffer(4096).value();

  explicit Manual(bool device_side_waits = false) { control.grant_waits(device_side_waits); }

  std::uint32_t word(std::uint64_t at) const {
    std::uint32_t out = 0;
    std::memcpy(&out, buffer.host().data() + at * 4, 4);
    return out;
  }
  hal::Slice at(std::uint64_t i) const { return buffer.slice(i * 4, 4); }
};

// While it lives the system gives no thread: none has room for such a stack.
class NoThreads {
 public:
  NoThreads() {
    REQUIRE(::pthread_getattr_default_np(&before_) == 0);
    pthread_attr_t huge;
    REQUIRE(::pthread_getattr_default_np(&huge) == 0);
    REQUIRE(::pthread_attr_setstacksize(&huge, std::size_t{1} << 50U) == 0);
    REQUIRE(::pthread_setattr_default_np(&huge) == 0);
    ::pthread_attr_destroy(&huge);
  }
  ~NoThreads() {
    ::pthread_setattr_default_np(&before_);
    ::pthread_attr_destroy(&before_);
  }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;

 private:
  pthread_attr_t before_{};
};

}  // namespace hal::test
