// SPDX-License-Identifier: Apache-2.0
// The last submissions of a queue with their arguments, always on: what failed, with what and where it was called can
// be told after the fact. Everything is copied, because labels, programs and buffers may be gone when somebody asks.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "hal/hal.h"

namespace hal::core {

class FlightRecorder {
 public:
  static constexpr std::uint32_t kEntries = 64;

  // Called under the queue's lock; read from any thread, so every word is atomic and the number is written last.
  void note(std::uint64_t first, std::uint32_t count, const hal_command& command, const hal_site* site) {
    Entry& entry = entries_[at_++ % kEntries];
    // Release throughout: whoever sees a word of this submission sees that the old number was taken away before.
    entry.last.store(0, std::memory_order_relaxed);
    entry.first.store(first, std::memory_order_release);
    entry.file.store(site != nullptr ? site->file : nullptr, std::memory_order_release);
    entry.function.store(site != nullptr ? site->function : nullptr, std::memory_order_release);
    entry.op_line.store(std::uint64_t{command.op} << 32U | (site != nullptr ? site->line : 0),
                        std::memory_order_release);
    if (command.label == nullptr) {
      entry.label[0].store(0, std::memory_order_release);
    } else {
      put_text(entry.label, command.label);
    }
    if (command.op != HAL_OP_BARRIER) { put_arguments(entry, command); }
    entry.last.store(first + count - 1, std::memory_order_release);
  }

  // The submission that held command `number`: its site, and "command 7 (copy 'weights')". False if it was overwritten.
  bool find(std::uint64_t number, std::string& what, hal_site& site) const;

  // The last `most` submissions up to command `until`, oldest first, each a line that starts with `indent`.
  std::string history(std::uint32_t most, std::uint64_t until, std::uint64_t completed, std::uint64_t handed,
                      const char* indent) const;

 private:
  using Word = std::atomic<std::uint64_t>;
  struct alignas(64) Entry {
    Word last{0}, first{0}, op_line{0};
    std::atomic<const char*> file{nullptr}, function{nullptr};
    std::array<Word, 3> label{};
    std::array<Word, 16> data{};  // by operation
  };
  struct Copy;  // of an entry, read as a whole

  static void put_text(std::array<Word, 3>& to, const char* text);
  static void put_run(Entry& entry, const hal_command& command);
  static void put_arguments(Entry& entry, const hal_command& command);
  static bool read(const Entry& entry, Copy& out);

  std::array<Entry, kEntries> entries_;
  std::uint32_t at_ = 0;
};

// "copy", "run" and so on; "?" for any other number.
const char* op_name(std::uint32_t op);

}  // namespace hal::core
