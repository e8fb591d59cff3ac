// SPDX-License-Identifier: Apache-2.0
// The memory of a trace's events: address space for all of them, of which a thread of its own obtains the pages some
// time before they are written. To obtain 2 MiB takes 0.3 to 12 ms, which whoever writes an event has no time for.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

#include "layers/trace/events.hpp"

namespace hal::layers::trace {

class Chunks {
 public:
  // A million events, 64 MiB. A chunk is small, as a thread that writes one event keeps a whole one.
  static constexpr std::uint32_t kMost = 2048;
  static constexpr std::size_t kEvents = 512;
  // Pages are obtained in blocks, a huge page each.
  static constexpr std::size_t kBlock = std::size_t{2} << 20U;
  static constexpr std::uint32_t kChunks = kBlock / (kEvents * sizeof(Event));  // of a block
  static constexpr std::uint32_t kBlocks = kMost / kChunks;

  // Throws std::bad_alloc. Where the system has no thread left, whoever writes to a page first obtains it.
  Chunks();
  ~Chunks();
  Chunks(const Chunks&) = delete;
  Chunks& operator=(const Chunks&) = delete;

  // The next kEvents events, all zero; NULL if there are no more. By one thread at a time.
  Event* take();
  // How many blocks have all their pages.
  std::uint32_t ready() const { return ready_.load(std::memory_order_acquire); }

 private:
  static constexpr std::uint32_t kAhead = 2;  // blocks behind those of which chunks are taken

  void obtain_pages();

  std::byte* memory_;
  std::uint32_t taken_ = 0;
  std::atomic<std::uint32_t> wanted_{kAhead}, ready_{0};  // wanted_: kStop ends the thread
  static constexpr std::uint32_t kStop = UINT32_MAX;
  std::thread thread_;
};

}  // namespace hal::layers::trace
