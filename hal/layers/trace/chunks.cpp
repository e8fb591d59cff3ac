// SPDX-License-Identifier: Apache-2.0
#include "layers/trace/chunks.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <exception>
#include <new>

#include "threads/thread.hpp"

namespace hal::layers::trace {

// In huge pages where the system gives them: to clear one takes a third of the time of its small ones.
Chunks::Chunks() {
  constexpr std::size_t kAll = kBlocks * kBlock;
  void* more =
      ::mmap(nullptr, kAll + kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (more == MAP_FAILED) { throw std::bad_alloc(); }
  memory_ = static_cast<std::byte*>(more);
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(memory_) % kBlock;
  if (before != 0) { ::munmap(memory_, before); }
  memory_ += before;
  ::munmap(memory_ + kAll, kBlock - before);
  (void)::madvise(memory_, kAll, MADV_HUGEPAGE);
  try {
    thread_ = threads::start_thread("halyard-trace", [this] { obtain_pages(); });
  } catch (const std::exception&) {}  // no thread, or no memory for one
}

Chunks::~Chunks() {
  // Not relaxed: notify_one() looks whether anybody waits, and that look must not come first.
  wanted_.store(kStop, std::memory_order_seq_cst);
  wanted_.notify_one();
  if (thread_.joinable()) { thread_.join(); }
  ::munmap(memory_, kBlocks * kBlock);
}

Event* Chunks::take() {
  if (taken_ == kMost) { return nullptr; }
  if (taken_ % kChunks == 0) {
    wanted_.store(std::min(taken_ / kChunks + 1 + kAhead, kBlocks), std::memory_order_seq_cst);
    wanted_.notify_one();
  }
  return reinterpret_cast<Event*>(memory_) + taken_++ * kEvents;
}

void Chunks::obtain_pages() {
#if defined(MADV_POPULATE_WRITE)
  std::uint32_t done = 0;
  for (;;) {
    const std::uint32_t wanted = wanted_.load(std::memory_order_relaxed);
    if (wanted == kStop || done == kBlocks) { return; }
    if (done >= wanted) {
      wanted_.wait(wanted, std::memory_order_relaxed);
    } else if (::madvise(memory_ + done * kBlock, kBlock, MADV_POPULATE_WRITE) != 0) {
      return;  // a kernel before 5.14, or no memory: then each page comes when it is written, or does not
    } else {
      ready_.store(++done, std::memory_order_release);
    }
  }
#endif
}

}  // namespace hal::layers::trace
