// SPDX-License-Identifier: Apache-2.0
// A driver's own copy of a graph's bytes, taken before they are verified: the caller's may change meanwhile.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>

namespace hal::graph {

class ImageCopy {
 public:
  explicit ImageCopy(std::span<const std::byte> image)
      : bytes_(new(kAlignment) std::byte[image.size()]), size_(image.size()) {
    if (!image.empty()) { std::memcpy(bytes_.get(), image.data(), image.size()); }
  }
  /// At the same place for as long as the copy, or what it was moved to, lives.
  std::span<const std::byte> bytes() const { return {bytes_.get(), size_}; }

 private:
  static constexpr std::align_val_t kAlignment{64};  // of constants in the file
  struct Free {
    void operator()(std::byte* bytes) const { ::operator delete[](bytes, kAlignment); }
  };
  std::unique_ptr<std::byte, Free> bytes_;
  std::size_t size_;
};

}  // namespace hal::graph
