// SPDX-License-Identifier: Apache-2.0
// Two devices that hand work to each other by points. The whole chain is submitted back to front, before anything has
// run; the host opens the gate at the end.
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <hal/hal.hpp>
#include <string>

namespace {

using namespace std::chrono_literals;

// The host and the first other device that is no fabric port; without one, two queues of the host.
std::string other_device(const hal::Instance& instance) {
  for (const hal::DeviceInfo& info : instance.devices()) {
    const bool fabric = std::strcmp(info.driver, "photonic") == 0;
    if (info.usable != 0 && !fabric && std::strcmp(info.driver, "host") != 0) { return info.uri; }
  }
  return "host:0";
}

}  // namespace

int main() try {
  const hal::Instance instance = hal::Instance::create().value();
  const hal::Device first = instance.open("host:0").value();
  const hal::Device second = instance.open(other_device(instance)).value();
  std::printf("%s -> %s -> host\n", first.uri().c_str(), second.uri().c_str());

  hal::Queue a = first.queue("first").value();
  hal::Queue b = second.queue("second").value();
  const hal::Buffer on_a = first.buffer(4096).value();
  const hal::Buffer on_b = second.buffer(4096).value();
  std::array<std::uint32_t, 1024> between{};
  std::array<std::uint32_t, 1024> result{};

  hal::Timeline gate = instance.timeline(0, "gate").value();
  hal::Timeline handover = instance.timeline(0, "handover").value();

  // Waiting comes before signalling: the second device waits for a point that nobody has promised yet.
  b.copy(hal::host(between), on_b, {.waits = {handover.at(1)}}).value();
  const hal::Point done = b.copy(on_b, hal::host(result)).value();

  // The first device waits for the gate and signals the handover when its copy is done.
  a.fill(on_a, 0xC0FFEEU, {.waits = {gate.at(1)}}).value();
  a.copy(on_a, hal::host(between), {.signals = {handover.at(1)}}).value();

  // Nothing has run. A wait ends all the same, and says what it waited for.
  const hal::Result<void> early = hal::wait(done, 1ms);
  std::printf("before the gate opens:\n%s\n", early ? "done?" : std::string(early.error().text()).c_str());
  const bool held = !early && early.error().code() == HAL_DEADLINE_EXCEEDED && result[0] == 0;

  gate.signal(1).value();
  hal::wait(done, 5s).value();
  std::printf("after: %X ... %X\n", result.front(), result.back());
  const bool good = held && result.front() == 0xC0FFEEU && result.back() == 0xC0FFEEU;
  std::puts(good ? "PASS" : "FAIL");
  return good ? 0 : 1;
} catch (const hal::Exception& exception) {
  std::fprintf(stderr, "%s\nFAIL\n", exception.what());
  return 1;
}
