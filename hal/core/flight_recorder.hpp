// SPDX-License-Identifier: Apache-2.0
// The last submissions of a queue, always on: what failed and where it was called can be told after the fact.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "hal/hal.h"

namespace hal::core {

class FlightRecorder {
 public:
  // Called under the queue's lock; read from any thread, so every word is atomic and the number is written last.
  void note(std::uint64_t first, std::uint32_t count, const hal_command& command, const hal_site* site) {
    Entry& entry = entries_[at_++ & kMask];
    entry.last.store(0, std::memory_order_relaxed);
    entry.first.store(first, std::memory_order_relaxed);
    entry.label.store(command.label, std::memory_order_relaxed);
    entry.file.store(site != nullptr ? site->file : nullptr, std::memory_order_relaxed);
    entry.function.store(site != nullptr ? site->function : nullptr, std::memory_order_relaxed);
    entry.op_line.store(std::uint64_t{command.op} << 32U | (site != nullptr ? site->line : 0),
                        std::memory_order_relaxed);
    entry.last.store(first + count - 1, std::memory_order_release);
  }

  // The submission that held command `number`: its site, and "command 7 (copy 'weights')". False if it was overwritten.
  bool find(std::uint64_t number, std::string& what, hal_site& site) const;

 private:
  struct Entry {
    std::atomic<std::uint64_t> last{0}, first{0}, op_line{0};
    std::atomic<const char*> label{nullptr}, file{nullptr}, function{nullptr};
  };
  static constexpr std::uint32_t kMask = 63;
  std::array<Entry, kMask + 1> entries_;
  std::uint32_t at_ = 0;
};

// "copy", "run" and so on; "?" for any other number.
const char* op_name(std::uint32_t op);

}  // namespace hal::core
