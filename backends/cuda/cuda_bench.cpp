// SPDX-License-Identifier: Apache-2.0
// First figures of the CUDA driver on the last device it lists (the emulated one), straight through its table: enqueue
// of an empty command, round trip, and the digits network over all images. Usage: cuda_bench DRIVER SAMPLES_FOLDER
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "digits/data.hpp"
#include "digits/network.hpp"
#include "driver_kit/harness.hpp"
#include "graph/signature.hpp"
#include "graph/view.hpp"

using hal::kit::copy, hal::kit::Harness;
using Clock = std::chrono::steady_clock;

namespace {

double since(Clock::time_point start, double unit) {
  return static_cast<double>((Clock::now() - start).count()) / unit;
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

int bench(const std::string& driver, const std::string& samples) {
  Harness host(driver);
  const auto device = host.open(host.ops().device_count(host.driver()) - 1);
  fmt::print("device: {}\n", device->traits().info.name);
  Harness::Lane lane(*device);
  hal_command barrier{};
  std::vector<double> enqueue, trip;
  for (int i = 0; i < 300; ++i) {
    const auto start = Clock::now();
    for (int k = 0; k < 100; ++k) { lane.submit({barrier}); }
    enqueue.push_back(since(start, 100.0));
    lane.finish();
  }
  for (int i = 0; i < 1000; ++i) {
    const auto start = Clock::now();
    lane.submit({barrier});
    lane.finish();
    trip.push_back(since(start, 1000.0));
  }
  fmt::print("enqueue of an empty command: {:.0f} ns (median of 300 blocks of 100)\n", median(enqueue));
  fmt::print("submit and wait: {:.1f} us (median of 1000)\n", median(trip));

  const auto digits = digits::load_digits(samples + "/data").value();
  const auto weights = digits::load_weights(samples + "/digits/weights").value();
  const auto bytes = digits::build_network(weights, digits.count()).value();
  const auto view = hal::graph::View::verify(bytes).value();
  const hal::graph::Signature signature(view);
  hal_program* program = device->load({"hal.graph", bytes.data(), bytes.size(), nullptr}, {&signature.describe(), 1});
  std::vector<hal_arg> args;
  for (std::size_t t = 0; t < view.parameter_count(); ++t) {
    args.push_back(hal::kit::buffer_arg(hal::kit::whole(device->allocate(view.tensor(t).bytes))));
  }
  const hal_command run = hal::kit::run(program, args);
  for (int i = 0; i < 3; ++i) {
    const auto start = Clock::now();
    lane.submit({copy(args[0].value.slice, hal_host(digits.pixels.data(), view.tensor(0).bytes)), run});
    lane.finish();
    fmt::print("digits: {} images in {:.1f} ms\n", digits.count(), since(start, 1.0e6));
  }
  for (std::size_t t = view.inputs().size(); t < view.parameter_count(); ++t) {
    if (view.tensor(t).dtype != hal::DType::i32) { continue; }
    std::vector<std::int32_t> classes(static_cast<std::size_t>(view.tensor(t).elements));
    lane.submit({copy(hal_host(classes.data(), view.tensor(t).bytes), args[t].value.slice)});
    lane.finish();
    int right = 0;
    for (std::size_t i = 0; i < classes.size(); ++i) { right += classes[i] == digits.labels[i] ? 1 : 0; }
    fmt::print("digits: {} of {} right\n", right, classes.size());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: cuda_bench DRIVER SAMPLES_FOLDER\n");
    return 2;
  }
  try {
    return bench(argv[1], argv[2]);
  } catch (const std::exception& e) {
    fmt::print(stderr, "cuda_bench: {}\n", e.what());
    return 1;
  }
}
