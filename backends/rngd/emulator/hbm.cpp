// SPDX-License-Identifier: Apache-2.0
#include "emulator/hbm.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace rngd::emulator {

void poison(std::byte* from, std::uint64_t bytes) {
  for (std::uint64_t i = 0; i + 4 <= bytes; i += 4) { std::memcpy(from + i, &kPoison, 4); }
}

Hbm::Hbm(std::uint64_t bytes) : bytes_(bytes / kPage * kPage), touched_((bytes_ / kPage + 63) / 64) {
  void* base = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  base_ = base == MAP_FAILED ? nullptr : static_cast<std::byte*>(base);
}

Hbm::~Hbm() {
  if (base_ != nullptr) { munmap(base_, bytes_); }
}

std::byte* Hbm::touch(std::uint64_t address, std::uint64_t bytes) {
  if (bytes == 0) { return base_ + address; }
  const std::uint64_t last = (address + bytes - 1) / kPage;
  for (std::uint64_t page = address / kPage; page <= last;) {
    std::uint64_t& word = touched_[page / 64];
    if (word == ~0ull) {
      page = (page / 64 + 1) * 64;
      continue;
    }
    const std::uint64_t bit = 1ull << page % 64;
    if ((word & bit) == 0) {
      poison(base_ + page * kPage, kPage);
      word |= bit;
    }
    ++page;
  }
  return base_ + address;
}

void Hbm::discard(std::uint64_t address, std::uint64_t bytes) {
  const std::uint64_t first = (address + kPage - 1) / kPage, end = (address + bytes) / kPage;
  if (first >= end) { return; }
  constexpr std::uint64_t kReturnPages = 256;  // below 1 MiB the pages stay with us: giving them back costs page faults
  bool any = false;
  for (std::uint64_t page = first; page < end;) {
    std::uint64_t& word = touched_[page / 64];
    if (word == 0) {
      page = (page / 64 + 1) * 64;
      continue;
    }
    any = true;
    word &= ~(1ull << page % 64);
    ++page;
  }
  if (any && end - first >= kReturnPages) { madvise(base_ + first * kPage, (end - first) * kPage, MADV_DONTNEED); }
}

}  // namespace rngd::emulator
