// SPDX-License-Identifier: Apache-2.0
// Runs a graph on the host with an installed Halyard.
#include <array>
#include <cstdio>
#include <hal/graph.hpp>
#include <hal/hal.hpp>
#include <hal/nn.hpp>

extern "C" int host_devices(void);

int main() {
  using namespace std::chrono_literals;
  hal::GraphBuilder builder("twice");
  const auto x = builder.input("x", hal::DType::f32, {4});
  builder.output("y", hal::nn::relu(builder, builder.map({x}, hal::graph::arg(0) * 2.0)));
  const auto bytes = builder.finish().value();

  const hal::Instance instance = hal::Instance::create().value();
  const hal::Device device = instance.open("host:0").value();
  hal::Queue queue = device.queue().value();
  const hal::Entry twice = device.load({"hal.graph", bytes}).value().entry(0);
  const hal::Buffer in = device.buffer(16).value(), out = device.buffer(16).value();
  std::array<float, 4> numbers{1, 2, 3, 4};
  queue.copy(hal::host(numbers), in).value();
  queue.run(twice, {in, out}).value();
  hal::wait(queue.copy(out, hal::host(numbers)).value(), 10s).value();
  std::printf("host devices %d, last number %g\n", host_devices(), static_cast<double>(numbers[3]));
  return host_devices() == 1 && numbers[3] == 8.0F ? 0 : 1;
}
