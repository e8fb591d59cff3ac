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

class Pool : public Handle<hal_pool> {
 public:
  using Handle::Handle;
  hal_pool_stats stats() const { return hal_pool_describe(get()); }
  // Gives cached memory back, down to `keep` bytes.
  void trim(std::uint64_t keep = 0) { hal_pool_trim(get(), keep); }
};

}  // namespace hal
