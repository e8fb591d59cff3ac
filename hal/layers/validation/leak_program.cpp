// SPDX-License-Identifier: Apache-2.0
// Ends with objects that nobody released; the test reads what validation says about them.
#include <cstdlib>

#include "hal/hal.hpp"

int main() {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "host";
  desc.layers = "validation";
  const hal::Instance instance = hal::Instance::create(desc).value();
  const hal::Device device = instance.open("host:0").value();
  const hal::Buffer released = device.buffer(64).value();
  auto* leaked = new hal::Buffer(device.buffer(4096).value());
  leaked->label("forgotten");
  return EXIT_SUCCESS;
}
