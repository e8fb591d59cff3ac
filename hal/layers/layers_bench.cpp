// SPDX-License-Identifier: Apache-2.0
// What a layer adds to a call: nanoseconds a submission on the null device, the median of rounds in turns. Stamps need
// a device with a clock, so those are on the host device.
//   layers_bench [rounds]    of 20; after 34 the traces are full
// And what one costs that is not there: a range of the application told to an instance without layers, beside a range
// that no instance hears of. The two differ by the look whether anybody watches.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "hal/hal.hpp"
#include "layers/trace/events.hpp"

namespace {

constexpr int kCalls = 5000;  // in one round, few enough that a trace keeps them all

struct Setup {
  const char* layers;
  const char* uri;
  hal::Instance instance;
  hal::Device device;
  hal::Queue queue;
  hal::Buffer from, to;
  std::vector<double> barrier, copy, range;
};

double range_ns(hal_instance* instance) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kCalls; ++i) {
    hal_range_begin(instance, "range");
    hal_range_end(instance);
  }
  const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
  return spent.count() / kCalls / 2;
}

// What every event of a trace contains.
double counter_ns() {
  std::uint64_t sum = 0;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kCalls; ++i) { sum += hal::layers::trace::ticks(); }
  const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
  asm volatile("" : : "r"(sum));
  return spent.count() / kCalls;
}

template <class Submit>
double ns_a_call(hal::Queue& queue, Submit submit) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kCalls; ++i) { submit(); }
  const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
  if (!hal::wait(queue.barrier().value(), std::chrono::seconds(10))) { std::abort(); }
  return spent.count() / kCalls;
}

double median(std::vector<double> all) {
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
  return all[all.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 20;
  constexpr std::array<std::array<const char*, 2>, 6> kSetups{{{"", "null:0"},
                                                               {"mask=timestamp", "null:0"},
                                                               {"validation", "null:0"},
                                                               {"trace=/dev/null", "null:0"},
                                                               {"trace=/dev/null", "host:0"},
                                                               {"trace=/dev/null+device", "host:0"}}};
  std::array<Setup, kSetups.size()> setups;
  for (std::size_t i = 0; i < setups.size(); ++i) {
    setups[i].layers = kSetups[i][0];
    setups[i].uri = kSetups[i][1];
  }
  std::vector<double> unheard, counter;
  for (Setup& setup : setups) {
    hal_instance_desc desc{};
    desc.struct_size = sizeof desc;
    desc.drivers = "null:host";
    desc.layers = setup.layers;
    setup.instance = hal::Instance::create(desc).value();
    setup.device = setup.instance.open(setup.uri).value();
    setup.queue = setup.device.queue("q").value();
    setup.from = setup.device.buffer(4096).value();
    setup.to = setup.device.buffer(4096).value();
  }
  for (int round = 0; round < rounds; ++round) {
    unheard.push_back(range_ns(nullptr));
    counter.push_back(counter_ns());
    for (Setup& setup : setups) {
      hal_queue* queue = setup.queue.get();
      hal_command barrier{}, copy{};
      barrier.op = HAL_OP_BARRIER;
      copy.op = HAL_OP_COPY;
      copy.as.copy = {setup.to.all(), setup.from.all()};
      const auto submit = [queue](const hal_command& command) {
        if (hal_queue_submit(queue, &command, 1, nullptr, nullptr) != nullptr) { std::abort(); }
      };
      setup.barrier.push_back(ns_a_call(setup.queue, [&] { submit(barrier); }));
      setup.range.push_back(range_ns(setup.instance.get()));
      setup.copy.push_back(ns_a_call(setup.queue, [&] { submit(copy); }));
    }
  }
  for (const Setup& setup : setups) {
    fmt::print("{:22} {:6} barrier {:6.1f} ns   copy {:6.1f} ns   begin or end of a range {:6.1f} ns\n",
               *setup.layers != '\0' ? setup.layers : "no layer", setup.uri, median(setup.barrier), median(setup.copy),
               median(setup.range));
  }
  // The mean is with the few events whose page is not there yet, the median without.
  const std::vector<double>& traced = setups[3].range;
  fmt::print("the counter alone {:.1f} ns; an event on average {:.1f} ns\n", median(counter),
             std::accumulate(traced.begin(), traced.end(), 0.0) / static_cast<double>(traced.size()));
  fmt::print("{:22} begin or end of a range {:.1f} ns: a watching layer that is off costs {:.2f} ns an event\n",
             "no instance", median(unheard), median(setups[0].range) - median(unheard));
}
