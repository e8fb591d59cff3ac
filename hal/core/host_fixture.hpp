// SPDX-License-Identifier: Apache-2.0
// What most tests on the host begin with: a device and a queue.
#pragma once

#include "hal/hal.hpp"

namespace hal::test {

struct HostQueue {
  Instance instance = Instance::create("host").value();
  Device device = instance.open("host:0").value();
  Queue queue = device.queue("q").value();
};

}  // namespace hal::test
