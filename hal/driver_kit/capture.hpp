// SPDX-License-Identifier: Apache-2.0
// Copies of what commands point to (arguments, names), kept until the commands are done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "hal/driver.h"

namespace hal::kit {

// A byte ring. Positions only grow; one producer takes, and gives back in order by naming the position up to which
// everything is done. A block never wraps: a block that would is preceded by a gap.
class CaptureRing {
 public:
  // A power of two. Blocks up to an eighth of it come from the ring, so an empty ring always has room for one.
  explicit CaptureRing(std::size_t bytes) : mask_(bytes - 1), bytes_(new(std::align_val_t{16}) std::byte[bytes]) {}

  std::size_t largest_block() const { return (mask_ + 1) / 8; }
  std::uint64_t position() const { return tail_; }
  void release_to(std::uint64_t position) { head_ = position; }
  void release_all() { head_ = tail_; }

  // nullptr if there is no room just now.
  void* take(std::size_t size) {
    size = (size + 15U) & ~std::size_t{15};
    const std::size_t begin = tail_ & mask_;
    const std::size_t gap = begin + size <= mask_ + 1 ? 0 : mask_ + 1 - begin;
    if (tail_ + gap + size - head_ > mask_ + 1) { return nullptr; }
    void* block = bytes_.get() + ((tail_ + gap) & mask_);
    tail_ += gap + size;
    return block;
  }

 private:
  struct Delete {
    void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t{16}); }
  };
  std::size_t mask_;
  std::unique_ptr<std::byte, Delete> bytes_;
  std::uint64_t head_ = 0, tail_ = 0;
};

}  // namespace hal::kit
