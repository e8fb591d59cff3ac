// SPDX-License-Identifier: Apache-2.0
// Opens every device by its URI, fills a buffer there and copies it back.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <hal/hal.hpp>

int main() try {
  using namespace std::chrono_literals;
  const hal::Instance instance = hal::Instance::create().value();
  bool good = !instance.devices().empty();
  for (const hal::DeviceInfo& info : instance.devices()) {
    std::printf("%-14s %s: ", info.uri, info.name);
    if (info.usable == 0) {
      std::printf("not usable, %s\n", info.reason);
      continue;
    }
    const hal::Device device = instance.open(info.uri).value();
    hal::Queue queue = device.queue().value();
    const hal::Buffer buffer = device.buffer(64).value();
    std::array<std::uint32_t, 16> numbers{};
    queue.fill(buffer, 42U).value();  // every verb returns a Point at once
    hal::wait(queue.copy(buffer, hal::host(numbers)).value(), 5s).value();
    good = good && std::ranges::count(numbers, 42U) == 16;
    std::printf("%u\n", numbers[15]);
  }
  std::puts(good ? "PASS" : "FAIL");
  return good ? 0 : 1;
} catch (const hal::Exception& exception) { return std::fprintf(stderr, "%s\nFAIL\n", exception.what()), 1; }
