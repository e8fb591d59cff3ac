// SPDX-License-Identifier: Apache-2.0
// The far side of a fabric port.
#include <fmt/format.h>

#include "core/annotation.hpp"
#include "core/api.hpp"

namespace hal::core {
namespace {

struct Peer : hal_peer {
  Ref<Device> device;
  Idle idle;

  static void dispose(hal_object* object) {
    auto* self = reinterpret_cast<Peer*>(object);
    self->idle.task = {[](void* of) { static_cast<Peer*>(of)->end(); }, self};
    self->device->instance().when_idle(self->idle);
  }
  void end() {
    const Device& of = *device;
    if (impl != nullptr && of.driver().peer_close != nullptr) {
      of.driver().peer_close(of.driver_self(), of.impl(), impl);
    }
    Storage::unmake(of.instance().allocator(), this);
  }
};

Error no_port(const Device& device, const char* what) {
  return Error(HAL_UNSUPPORTED, fmt::format("{} on {}: the device is no fabric port; open one, such as \"photonic:0\"",
                                            what, device.uri()));
}

}  // namespace
}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_device_address(hal_device* device, const void** out_bytes, std::uint64_t* out_size) {
  return guarded("hal_device_address", {device, out_bytes, out_size}, [&]() -> hal::Result<void> {
    const Device& self = *cast(device);
    if (self.driver().address == nullptr) { return no_port(self, "asking for an address"); }
    return call_driver(self.loaded(), "address",
                       [&] { return self.driver().address(self.driver_self(), self.impl(), out_bytes, out_size); });
  });
}

extern "C" hal_error* hal_peer_connect(hal_device* device, const void* address, std::uint64_t size, std::uint32_t rank,
                                       hal_peer** out) {
  return guarded("hal_peer_connect", {device, address, out}, [&]() -> hal::Result<void> {
    Device& self = *cast(device);
    if (self.driver().peer_connect == nullptr) { return no_port(self, "connecting to a peer"); }
    Ref<Peer> made(Storage::make<Peer>(self.instance().allocator()));
    init(made->object, Kind::peer, Peer::dispose);
    made->impl = nullptr;
    made->device_impl = self.impl();
    made->device = Ref<Device>::share(&self);
    HAL_CHECK(call_driver(self.loaded(), "peer_connect", [&] {
      return self.driver().peer_connect(self.driver_self(), self.impl(), address, size, rank, &made->impl);
    }));
    if (Observer* observer = self.instance().observer()) { announce(*observer, made->object, {.device = &self}); }
    *out = made.take();
    return {};
  });
}
