// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/errors.hpp"
#include "fabric/port/port.hpp"

namespace hal::fabric {

namespace {
constexpr std::chrono::milliseconds kConnectTimeout{10'000};
}

hal_error* address(hal_driver*, void* device, const void** out_bytes, std::uint64_t* out_size) {
  const std::string& bytes = port_of(device).engine->address();
  *out_bytes = bytes.data();
  *out_size = bytes.size();
  return nullptr;
}

hal_error* peer_connect(hal_driver*, void* device, const void* bytes, std::uint64_t size, std::uint32_t rank,
                        void** out) {
  return kit::guarded(kOrigin, [&]() -> hal_error* {
    Port& port = port_of(device);
    const std::size_t ports = port.plane->topology().ports.size();
    if (rank >= ports || rank == port.rank) {
      return kit::make_error(
          kOrigin, HAL_INVALID_ARGUMENT,
          fmt::format("rank {} cannot be a peer of rank {} on a plane of {} ports", rank, port.rank, ports));
    }
    auto peer = std::make_unique<PortPeer>();
    peer->rank = rank;
    const auto connected = port.engine->connect({static_cast<const char*>(bytes), size}, rank, kConnectTimeout);
    if (!connected) { return to_error(connected.error()); }
    *out = peer.release();
    return nullptr;
  });
}

void peer_close(hal_driver*, void* device, void* impl) {
  const std::unique_ptr<PortPeer> peer(static_cast<PortPeer*>(impl));
  port_of(device).engine->disconnect(peer->rank);
}

}  // namespace hal::fabric
