// SPDX-License-Identifier: Apache-2.0
// One tensor graph, built once, run by every device that takes graphs: softmax(relu(x) times weights).
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <hal/graph.hpp>
#include <hal/hal.hpp>
#include <hal/nn.hpp>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr std::array<float, 6> kWeights{1, 0, 0, 1, 1, -1};  // [3, 2]
constexpr std::array<float, 6> kX{2, -1, 3, -5, 4, -6};      // [2, 3]
// relu(x) = {2 0 3} and {0 4 0}; times weights {5 -3} and {0 4}; softmax of two numbers a and b begins 1 / (1 +
// e^(b-a))
const std::array<float, 2> kExpected{1 / (1 + std::exp(-8.0F)), 1 / (1 + std::exp(4.0F))};

std::vector<std::byte> build() {
  hal::GraphBuilder b("classify");
  const auto x = b.input("x", hal::DType::f32, {2, 3});
  const auto weights = b.constant({3, 2}, kWeights);
  b.output("y", hal::nn::softmax(b, b.contract("nk,ko->no", hal::nn::relu(b, x), weights)));
  return b.finish().value();  // a mistake in any line above is an error with that line's number here
}

bool run(const hal::Device& device, std::span<const std::byte> graph) {
  const hal::Program program = device.load({"hal.graph", graph}).value();
  const hal::Entry entry = program.entry("classify").value();
  hal::Queue queue = device.queue().value();
  const hal::Buffer x = device.buffer(sizeof kX).value();
  const hal::Buffer y = device.buffer(4 * sizeof(float)).value();
  std::array<float, 4> result{};
  queue.copy(hal::host(kX), x).value();
  queue.run(entry, {x, y}).value();  // checked against the graph's signature before anything is submitted
  hal::wait(queue.copy(y, hal::host(result)).value(), 10s).value();
  for (const float value : result) { std::printf("%.6f ", static_cast<double>(value)); }
  std::puts("");
  return std::abs(result[0] - kExpected[0]) < 1e-5F && std::abs(result[2] - kExpected[1]) < 1e-5F;
}

}  // namespace

int main() try {
  const std::vector<std::byte> graph = build();
  const hal::Instance instance = hal::Instance::create().value();
  int ran = 0, good = 0;
  for (const hal::DeviceInfo& info : instance.devices()) {
    if (info.usable == 0) { continue; }
    std::printf("%-14s ", info.uri);
    const hal::Device device = instance.open(info.uri).value();
    if (const hal::Verdict verdict = device.supports("graph"); verdict.support == HAL_NO) {
      std::printf("takes no graphs: %s\n", verdict.why);
      continue;
    }
    ++ran;
    good += run(device, graph) ? 1 : 0;
  }
  if (ran == 0) {
    std::puts("SKIP no device takes graphs");
    return 77;
  }
  std::puts(good == ran ? "PASS" : "FAIL");
  return good == ran ? 0 : 1;
} catch (const hal::Exception& exception) {
  std::fprintf(stderr, "%s\nFAIL\n", exception.what());
  return 1;
}
