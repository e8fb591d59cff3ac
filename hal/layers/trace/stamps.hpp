// SPDX-License-Identifier: Apache-2.0
// Device stamps for the trace: a driver in front of a driver that puts a timestamp before and one behind whatever a
// lane is given, and tells the trace what they said.
//
// A lane is numbered without them on the core's side, and with them on the driver's; what the driver publishes is
// translated. The last command of a submission counts as done once the stamp behind it is.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <unordered_map>

#include "core/layer.hpp"
#include "layers/trace/trace.hpp"
#include "layers/wrap.hpp"

namespace hal::layers::trace {

// The clock of one open device.
struct StampClock {
  std::uint32_t row = 0;  // of the trace
  bool works = false;
  std::atomic<std::uint32_t> lanes{0};
  std::atomic<std::uint64_t> paired{0};  // the tick of the last look at both clocks
};

class StampedLane : public hal_lane {
 public:
  static hal_error* create(hal_driver* self, Trace& trace, StampClock& clock, void* device, const char* label,
                           void* core, hal_lane** out);
  static StampedLane& of(hal_lane* lane) { return *static_cast<StampedLane*>(lane); }
  void destroy(void* device);

  std::uint32_t submit(std::uint64_t first, const hal_command* commands, std::uint32_t count);
  void flush() { ops_.flush(driver_, inner_); }
  void notify();
  void help(std::uint64_t number, std::uint64_t within_ns) { ops_.help(driver_, inner_, end_of(number), within_ns); }
  void cancel();
  std::uint32_t wait_for(StampedLane& other, std::uint64_t number);

 private:
  struct Stamp {
    enum class Kind : std::uint8_t { begin, end, look } kind = Kind::look;  // look: at both clocks, and nothing else
    bool idle = false;                                                      // nothing else was on the lane
    std::uint64_t at = 0;                                                   // its number for the driver
    std::uint64_t number = 0;  // of begin the first command behind it, of end the last before it, as the core counts
    std::uint64_t handed = 0;  // ticks
    std::uint64_t ns = 0;      // the device writes
  };
  // What the driver calls, for this lane only.
  struct Host : hal_host_api {
    const hal_host_api* real = nullptr;
  };
  static constexpr std::size_t kMost = 1024;  // stamps on their way, a power of two
  static constexpr std::uint64_t kUnwritten = UINT64_MAX;

  StampedLane(const Wrapped& driver, Trace& trace, StampClock& clock)
      : hal_lane{}, driver_(driver.inner), ops_(driver.ops), trace_(trace), clock_(clock), ring_(new Stamp[kMost]) {}

  Stamp* expect(Stamp::Kind kind, std::uint64_t at, std::uint64_t number);
  void forget_last();
  bool hand_over(Stamp& stamp);
  void look_at_clocks(bool due);
  void push_on();
  void drain();
  void settle();
  void take(const Stamp& stamp, std::uint64_t now);
  void failed(std::uint64_t at, hal_error* error);
  void tell_failed_look(std::uint64_t first);
  std::uint64_t behind(std::uint64_t number) const;
  std::uint64_t end_of(std::uint64_t number);

  hal_driver* const driver_;
  const hal_driver_ops& ops_;
  hal_lane* inner_ = nullptr;
  Host host_;
  Trace& trace_;
  StampClock& clock_;
  bool open_ = false;  // a stamp stands before the next command already. Of submit(), like:
  std::atomic<bool> failed_{false}, cancelled_{false};

  std::mutex mutex_;  // of everything below
  std::unique_ptr<Stamp[]> ring_;
  std::uint64_t first_ = 0, last_ = 0;  // ring positions: from the oldest to behind the newest
  std::uint64_t stamps_ = 0;            // handed over, ever
  std::uint64_t through_ = 0;           // of them done
  std::uint64_t commands_ = 0;          // of the core, handed over
  std::uint64_t told_ = 0;              // published to the core
  bool begun_ = false;                  // there was a submission
  hal_error* failed_look_ = nullptr;    // before that: the core, which may not even have the lane yet, is told with it
  std::uint64_t settled_ = 0;           // how often
  std::uint32_t notifying_ = 0;         // calls of notify() that have set the driver's wake_at
  std::condition_variable moved_;       // with it
  bool starved_ = false;                // the lane took a stamp and then nothing: the core has to come again
};

class Stamps final : public core::Wrapper {
 public:
  explicit Stamps(Trace& trace) : trace_(trace) {}
  void wrap(core::LoadedDriver& driver) override { layers::wrap(driver, this, change); }

 private:
  static void change(hal_driver_ops& table);
  static Stamps& of(hal_driver* self) { return *static_cast<Stamps*>(wrapped(self).layer); }
  void opened(hal_driver* self, const hal_device_traits& traits);

  Trace& trace_;
  std::mutex mutex_;
  std::unordered_map<void*, std::unique_ptr<StampClock>> clocks_;  // of the open devices
};

}  // namespace hal::layers::trace
