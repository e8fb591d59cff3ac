// SPDX-License-Identifier: Apache-2.0
// Drives a driver straight through its table, with no core: for tests and benchmarks beside a driver.
//
//   kit::Harness host(hal_driver_entry);
//   kit::Harness::Device device = host.open(0);
//   hal_buffer* a = device.allocate(4096);
//   kit::Harness::Lane lane(device);
//   lane.submit({fill}); lane.finish();
//
// Not for programs: it checks nothing that the core would check. Throws std::runtime_error with the error's text.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "hal/driver.h"

namespace hal::kit {

hal_slice whole(hal_buffer* buffer);
hal_arg buffer_arg(hal_slice slice);
hal_command fill(hal_slice to, std::uint64_t pattern, std::uint64_t pattern_bytes = 1);
hal_command copy(hal_slice to, hal_slice from);
hal_command run(hal_program* program, std::span<const hal_arg> args);  // its first entry, with no grid

class Harness {
 public:
  class Device;
  class Lane;

  explicit Harness(hal_driver_entry_function entry);
  explicit Harness(const std::string& file);  // a driver's shared object, kept loaded for good
  ~Harness();
  Harness(const Harness&) = delete;
  Harness& operator=(const Harness&) = delete;

  hal_driver* driver() const { return driver_; }
  const hal_driver_ops& ops() const { return *driver_->ops; }
  const hal_host_api* api() const { return &api_; }

  // Throws if the device does not open; try_open() gives the error instead.
  std::unique_ptr<Device> open(std::uint32_t index, const std::string& params = "", const std::string& part = "");
  hal_error* try_open(std::uint32_t index, const std::string& params, const std::string& part,
                      hal_device_traits* out) const;

 private:
  hal_host_api api_;
  hal_driver* driver_ = nullptr;
};

class Harness::Device {
 public:
  Device(Harness& host, const hal_device_traits& traits) : host_(host), traits_(traits) {}
  ~Device();  // frees what allocate() and load() made
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  Harness& host() const { return host_; }
  const hal_device_traits& traits() const { return traits_; }
  void* impl() const { return traits_.impl; }

  hal_buffer* allocate(std::uint64_t bytes);
  hal_program* load(const hal_image& image, std::span<const hal_signature> signatures);

 private:
  Harness& host_;
  hal_device_traits traits_;
  std::vector<std::unique_ptr<hal_buffer>> buffers_;
  std::vector<std::unique_ptr<hal_program>> programs_;
};

// A queue without a timeline: numbers commands, waits, keeps the failure.
class Harness::Lane {
 public:
  explicit Lane(Device& device, const char* label = "harness");
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  hal_lane* get() const { return lane_; }
  const hal_host_api* host_api() const { return device_.host().api(); }
  const hal_driver_ops& ops() const { return device_.host().ops(); }
  std::uint64_t submitted() const { return submitted_; }
  std::uint64_t completed() const { return hal_lane_completed(lane_); }

  // Hands all commands over, coming again while the lane is full. Returns the number of the last one.
  std::uint64_t submit(std::span<const hal_command> commands);
  std::uint64_t submit(std::initializer_list<hal_command> commands) {
    return submit(std::span(commands.begin(), commands.size()));
  }
  void flush();
  void cancel();

  // Waits until `number` is completed or the lane has failed. True if completed. `help`: lend this thread first.
  bool wait(std::uint64_t number, bool help = true);
  // Waits for everything submitted; throws with the lane's failure.
  void finish();
  // The failure, or nullptr; the lane keeps it.
  const hal_error* failure() const;
  std::uint64_t failed_number() const { return failed_number_.load(std::memory_order_acquire); }
  // Called while the driver tells the failure, before anybody is woken. Set before anything is submitted.
  std::function<void()> at_failure;
  std::uint64_t reached_calls() const { return reached_calls_.load(std::memory_order_relaxed); }

 private:
  friend class Harness;
  static void on_reached(hal_lane* lane);
  static void on_failed(hal_lane* lane, std::uint64_t number, hal_error* error);

  Device& device_;
  hal_lane* lane_ = nullptr;
  std::uint64_t submitted_ = 0;
  std::atomic<std::uint64_t> failed_number_{0}, reached_calls_{0};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  hal_error* failure_ = nullptr;
};

}  // namespace hal::kit
