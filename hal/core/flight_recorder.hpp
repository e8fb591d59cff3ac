// SPDX-License-Identifier: Apache-2.0
// The last submissions of a queue with their arguments, always on: what failed, with what and where it was called can
// be told after the fact. Everything is copied, because labels, programs and buffers may be gone when somebody asks.
#pragma once

#include <array>
#include <atomic>
#include <bit>
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
    Entry& entry = begin(command, site);
    if (count != 1) { entry.head[0].store(std::bit_cast<std::uint64_t>(std::array{command.op, count - 1})); }
    if (command.op != HAL_OP_BARRIER) { put_arguments(entry, command); }
    end(entry, first + count - 1, command);
  }
  // The same for one command of a known kind.
  void note_barrier(std::uint64_t number, const hal_command& command, const hal_site& site) {
    end(begin(command, site), number, command);
  }
  void note_move(std::uint64_t number, const hal_command& command, const hal_site& site) {
    Entry& entry = begin(command, site);
    put_words<kMoveWords>(entry.data.data(), &command.as);
    end(entry, number, command);
  }
  void note_run(std::uint64_t number, const hal_command& command, const Launch& launch, const hal_site& site) {
    Entry& entry = begin(command, site);
    put_run(entry, command, launch);
    end(entry, number, command);
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
  static_assert(sizeof(hal_site) == 3 * sizeof(Word) && offsetof(hal_command, as) == 2 * sizeof(Word));
  struct alignas(64) Entry {
    Word last{0};
    std::array<Word, 3> site{};  // hal_site
    std::array<Word, 2> head{};  // of the command: op, where it has `by_slot` how many more came with it, label
    std::array<Word, 3> label{};
    std::array<Word, kArgs + kShownArgs * kArgWords> data{};  // by operation
  };
  struct Copy;  // of an entry, read as a whole

  Entry& begin(const hal_command& command, const hal_site& site) {
    Entry& entry = entries_[next_++ % kEntries];
    // Whoever sees a word of this submission sees that the old number was taken away before.
    entry.last.store(0, std::memory_order_relaxed);
#if !defined(__SANITIZE_THREAD__)
    std::atomic_thread_fence(std::memory_order_release);
#endif
    put_words<3>(entry.site.data(), &site);
    put_words<2>(entry.head.data(), &command);
    return entry;
  }
  static void end(Entry& entry, std::uint64_t last, const hal_command& command) {
    // Here and not before: a call in the middle would have to keep all that is still to be written.
    if (command.label != nullptr) [[unlikely]] { return end_labelled(entry, last, command.label); }
    entry.last.store(last, std::memory_order_release);
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
    const hal_arg* args = run.args;
    const std::uint32_t count = run.arg_count;
    data[kCount].store(count, std::memory_order_relaxed);
    put_words<kGridWords>(data + kGrid, reinterpret_cast<const char*>(&command) + kGridAt);
    static_assert(kShownArgs == 3);
    Word* to = data + kArgs;  // without a loop: it would take as long as the copies
    if (count > 0) { put_words<kArgWords>(to, args); }
    if (count > 1) { put_words<kArgWords>(to + kArgWords, args + 1); }
    if (count > 2) { put_words<kArgWords>(to + 2 * kArgWords, args + 2); }
  }
  static void end_labelled(Entry& entry, std::uint64_t last, const char* label);
  static void put_arguments(Entry& entry, const hal_command& command);
  static bool read(const Entry& entry, Copy& out);

  std::array<Entry, kEntries> entries_;
  std::uint32_t next_ = 0;
};

// "copy", "run" and so on; "?" for any other number.
const char* op_name(std::uint32_t op);

}  // namespace hal::core
