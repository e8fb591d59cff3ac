// SPDX-License-Identifier: Apache-2.0
// What host memory the device may reach. Each mapping gets I/O addresses of its own, so one host range can be mapped
// twice.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace rngd::emulator {

class Iommu {
 public:
  /// 0 and the I/O address, or a negative errno.
  int map(void* address, std::uint64_t bytes, std::uint64_t& iova);
  int unmap(std::uint64_t iova, std::uint64_t bytes);
  /// The host memory behind a range, or null: a translation fault.
  std::byte* translate(std::uint64_t iova, std::uint64_t bytes) const;

 private:
  struct Mapping {
    std::byte* host;
    std::uint64_t bytes;
  };
  mutable std::mutex mutex_;
  std::map<std::uint64_t, Mapping> mappings_;
  std::uint64_t next_ = 1ull << 40;  // far from HBM addresses, so that a mixed-up space faults
};

}  // namespace rngd::emulator
