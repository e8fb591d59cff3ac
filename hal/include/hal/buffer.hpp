// SPDX-License-Identifier: Apache-2.0
// Counted bytes on a device, ranges of them, and pools they come from.
#pragma once

#include <cstddef>
#include <ranges>
#include <span>
#include <type_traits>

#include "hal/handle.hpp"
#include "hal/result.hpp"

namespace hal {

using Slice = hal_slice;
using Remote = hal_remote;

class Buffer : public Handle<hal_buffer> {
 public:
  using Handle::Handle;

  std::uint64_t size() const { return hal_buffer_describe(get()).bytes; }
  // The bytes, if the host reaches them with plain loads and stores; else empty.
  std::span<std::byte> host() const {
    const hal_buffer_info info = hal_buffer_describe(get());
    return {static_cast<std::byte*>(info.host), info.host != nullptr ? info.bytes : 0};
  }
  Slice slice(std::uint64_t offset, std::uint64_t length) const { return {get(), offset, length}; }
  Slice all() const { return {get(), 0, size()}; }
  operator Slice() const { return all(); }  // NOLINT: a buffer is its own whole slice

  // Describes the bytes for a peer. Errors: UNSUPPORTED  the device is no fabric port.
  Result<Remote> export_memory() const {
    Remote remote{};
    HAL_CHECK(check(hal_buffer_export(get(), &remote)));
    return remote;
  }
};

// Host memory as a slice: queue.copy(host(pixels), buffer). It must stay valid until the copy's point is reached.
// A temporary is refused: it would be gone before the copy ran.
template <std::ranges::contiguous_range Range>
  requires std::ranges::borrowed_range<Range>  // lvalues, spans and views
Slice host(Range&& range) {
  using T = std::ranges::range_value_t<Range>;
  static_assert(std::is_trivially_copyable_v<T>, "a device copies bytes");
  return hal_host(std::ranges::data(range), std::ranges::size(range) * sizeof(T));
}

// A range of the buffer that slot `number` holds at replay.
inline Slice slot(std::uint32_t number, std::uint64_t offset, std::uint64_t length) {
  return hal_slot(number, offset, length);
}

// Memory without an address; ranges map it, descriptors share it.
class Physical : public Handle<hal_physical> {
 public:
  using Handle::Handle;
  // A descriptor of the memory, the caller's to close. Errors: UNSUPPORTED.
  Result<int> export_fd() const {
    int fd = -1;
    HAL_CHECK(check(hal_physical_export_fd(get(), &fd)));
    return fd;
  }
};

// Reserved addresses. A buffer in every other respect, where memory is mapped.
class VirtualBuffer : public Buffer {
 public:
  using Buffer::Buffer;
  // Errors: INVALID_ARGUMENT, OUT_OF_RANGE, BUSY as hal_virtual_map().
  Result<void> map(std::uint64_t offset, const Physical& physical, std::uint64_t from, std::uint64_t bytes,
                   hal_access access = HAL_ACCESS_READ_WRITE) const {
    return check(hal_virtual_map(get(), offset, physical.get(), from, bytes, access));
  }
  Result<void> protect(std::uint64_t offset, std::uint64_t bytes, hal_access access) const {
    return check(hal_virtual_protect(get(), offset, bytes, access));
  }
  Result<void> unmap(std::uint64_t offset, std::uint64_t bytes) const {
    return check(hal_virtual_unmap(get(), offset, bytes));
  }
};

// How a pool is to behave: .{.limit_bytes = 1 << 30, .label = "weights"}.
struct PoolOptions {
  std::uint64_t limit_bytes = 0;
  std::uint64_t keep_bytes = 0;
  std::uint64_t initial_bytes = 0;
  bool prefault = false;
  const char* label = nullptr;

  hal_pool_desc c() const {
    return {sizeof(hal_pool_desc), prefault ? 1U : 0U, limit_bytes, keep_bytes, initial_bytes, label};
  }
};

class Pool : public Handle<hal_pool> {
 public:
  using Handle::Handle;
  hal_pool_stats stats() const { return hal_pool_describe(get()); }
  // Gives cached memory back, down to `keep` bytes.
  void trim(std::uint64_t keep = 0) { hal_pool_trim(get(), keep); }
};

}  // namespace hal
