// SPDX-License-Identifier: Apache-2.0
#include "emulator/iommu.hpp"

#include <cerrno>

namespace rngd::emulator {

int Iommu::map(void* address, std::uint64_t bytes, std::uint64_t& iova) {
  if (address == nullptr || bytes == 0 || bytes > 1ull << 46) { return -EINVAL; }
  const std::scoped_lock lock(mutex_);
  // Keeps the offset within a page, leaves an unmapped page after each mapping.
  iova = next_ + (reinterpret_cast<std::uintptr_t>(address) & 4095u);
  next_ = (iova + bytes + 4095) / 4096 * 4096 + 4096;
  mappings_.emplace(iova, Mapping{static_cast<std::byte*>(address), bytes});
  return 0;
}

int Iommu::unmap(std::uint64_t iova, std::uint64_t bytes) {
  const std::scoped_lock lock(mutex_);
  const auto found = mappings_.find(iova);
  if (found == mappings_.end() || found->second.bytes != bytes) { return -ENOENT; }
  mappings_.erase(found);
  return 0;
}

std::byte* Iommu::translate(std::uint64_t iova, std::uint64_t bytes) const {
  const std::scoped_lock lock(mutex_);
  auto found = mappings_.upper_bound(iova);
  if (found == mappings_.begin()) { return nullptr; }
  --found;
  const std::uint64_t offset = iova - found->first;
  if (offset > found->second.bytes || bytes > found->second.bytes - offset) { return nullptr; }
  return found->second.host + offset;
}

}  // namespace rngd::emulator
