// SPDX-License-Identifier: Apache-2.0
// The last submissions of a queue with their arguments, always on: what failed, with what and where it was called can
// be told after the fact. Everything is copied, because labels, programs and buffers may be gone when somebody asks.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "core/launch.hpp"
#include "hal/hal.h"

namespace hal::core {

class FlightRecorder {
 public:
  FlightRecorder() = default;
  FlightRecorder(const FlightRecorder&) = delete;
  FlightRecorder& operator=(const FlightRecorder&) = delete;

  static constexpr std::uint32_t kEntries = 64;

  // All are called under the queue's lock. Any thread reads, so every word is atomic and the number is written last.
  void note(std::uint64_t first, std::uint32_t count, const hal_command& command, const hal_site& site) {
    Entry& entry = begin(first, command, site);
    if (command.op != HAL_OP_BARRIER) { put_arguments(entry, command); }
    entry.last.store(first + count - 1, std::memory_order_release);
  }
  // The same for one command of a known kind.
  void note_barrier(std::uint64_t number, const hal_command& command, const hal_site& site) {
    begin(number, command, site).last.store(number, std::memory_order_release);
  }
  void note_move(std::uint64_t number, const hal_command& command, const hal_site& site) {
    Entry& entry = begin(number, command, site);
    put_words<kMoveWords>(entry.data.data(), &command.as);
    entry.last.store(number, std::memory_order_release);
  }
  void note_run(std::uint64_t number, const hal_command& command, const Launch& launch, const hal_site& site) {
    Entry& entry = begin(number, command, site);
    put_run(entry, command, launch);
    entry.last.store(number, std::memory_order_release);
  }

  // The submission that held command `number`: its site, and "command 7 (copy 'weights')". False if it was overwritten.
  bool find(std::uint64_t number, std::string& what, hal_site& site) const;

  // The last `most` submissions up to command `until`, oldest first, each a line that starts with `indent`.
  std::string history(std::uint32_t most, std::uint64_t until, std::uint64_t completed, std::uint64_t handed,
                      const char* indent) const;

 private:
  using Word = std::atomic<std::uint64_t>;
  // A fill's slice and pattern, a copy's two slices: as they lie in the command.
  static constexpr std::size_t kMoveWords = 6;
  static_assert(sizeof(hal_command::as.copy) == kMoveWords * sizeof(Word));
  static constexpr std::uint32_t kShownArgs = 3;
  static constexpr std::size_t kArgWords = sizeof(hal_arg) / sizeof(Word);
  // Words of `data` of a run: the entry's name, then these. The grid with has_grid behind it, and arguments, as they
  // lie in the command.
  static constexpr std::size_t kCount = 3, kGrid = 4, kGridWords = 4, kArgs = kGrid + kGridWords;
  static constexpr std::size_t kGridAt = offsetof(hal_command, as.run.grid);
  static_assert(offsetof(hal_command, as.run.has_grid) + sizeof(std::uint32_t) - kGridAt == kGridWords * sizeof(Word));
  struct alignas(64) Entry {
    Word last{0}, first{0}, op_line{0};
    std::atomic<const char*> file{nullptr}, function{nullptr};
    std::array<Word, 3> label{};
    std::array<Word, kArgs + kShownArgs * kArgWords> data{};  // by operation
  };
  struct Copy;  // of an entry, read as a whole

  Entry& begin(std::uint64_t first, const hal_command& command, const hal_site& site) {
    Entry& entry = *next_;
    next_ = next_ + 1 != entries_.data() + kEntries ? next_ + 1 : entries_.data();
    // Whoever sees a word of this submission sees that the old number was taken away before.
    entry.last.store(0, std::memory_order_relaxed);
#if !defined(__SANITIZE_THREAD__)
    std::atomic_thread_fence(std::memory_order_release);
#endif
    entry.first.store(first, std::memory_order_relaxed);
    entry.file.store(site.file, std::memory_order_relaxed);
    entry.function.store(site.function, std::memory_order_relaxed);
    entry.op_line.store(std::uint64_t{command.op} << 32U | site.line, std::memory_order_relaxed);
    if (command.label == nullptr) {
      entry.label[0].store(0, std::memory_order_relaxed);
    } else {
      put_text(entry.label, command.label);
    }
    return entry;
  }
  // Readers look at the number before and after, so it is enough that no byte is torn, and words may be copied as wide
  // as the machine can. Only the thread sanitizer has to see them as what they are.
  template <std::size_t kWords>
  static void put_words(Word* to, const void* from) {
#if defined(__SANITIZE_THREAD__)
    std::array<std::uint64_t, kWords> words;
    std::memcpy(words.data(), from, sizeof words);
    for (std::size_t i = 0; i < kWords; ++i) { to[i].store(words[i], std::memory_order_relaxed); }
#else
    static_assert(sizeof(Word) == sizeof(std::uint64_t));
    std::memcpy(static_cast<void*>(to), from, kWords * sizeof(Word));
#endif
  }
  static void put_run(Entry& entry, const hal_command& command, const Launch& launch) {
    const auto& run = command.as.run;
    Word* data = entry.data.data();
    put_words<3>(data, launch.name.data());
    data[kCount].store(run.arg_count, std::memory_order_relaxed);
    put_words<kGridWords>(data + kGrid, reinterpret_cast<const char*>(&command) + kGridAt);
    const hal_arg* arg = run.args;
    Word* to = data + kArgs;
    for (const hal_arg* end = arg + (run.arg_count < kShownArgs ? run.arg_count : kShownArgs); arg != end; ++arg) {
      put_words<kArgWords>(to, arg);
      to += kArgWords;
    }
  }
  static void put_text(std::array<Word, 3>& to, const char* text);
  static void put_arguments(Entry& entry, const hal_command& command);
  static bool read(const Entry& entry, Copy& out);

  std::array<Entry, kEntries> entries_;
  Entry* next_ = entries_.data();
};

// "copy", "run" and so on; "?" for any other number.
const char* op_name(std::uint32_t op);

}  // namespace hal::core
