// SPDX-License-Identifier: Apache-2.0
// The photonic driver: fabric ports as devices. A port is host memory that libfabric can reach, an engine that moves
// bytes, and a place on an emulated optical plane that says what light would have taken for them.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "driver_kit/verdicts.hpp"
#include "fabric/bootstrap/session.hpp"
#include "fabric/optics/plane.hpp"
#include "fabric/transport/engine.hpp"
#include "hal/driver.h"

namespace hal::fabric {

inline constexpr const char* kOrigin = "photonic";

// What discovery found, without opening anything but a topology file that was named.
struct Discovery {
  World world;
  std::size_t ports = 2;  // of the plane
  std::string topology;   // path; empty: the built-in plane
  std::string reason;     // why no port can be used; empty if they can
};

// Ranks that a launcher started have one port each and a plane each, kept alike by the order of events. Without a
// launcher all ports of the plane are devices of this process and share one plane.
struct Driver : hal_driver {
  const hal_host_api* host = nullptr;
  Discovery discovery;
  std::vector<std::string> uris, names;  // by device

  std::mutex mutex;
  std::weak_ptr<Plane> plane;  // of the open ports

  const char* setting(const char* name) const { return host->setting(host, name); }
  std::uint32_t rank_of(std::uint32_t device) const { return discovery.world.size > 1 ? discovery.world.rank : device; }
  Result<std::shared_ptr<Plane>> open_plane();
};

// Pages that stay mapped while the provider may still touch them.
class Mapping {
 public:
  static Result<std::shared_ptr<Mapping>> make(std::size_t bytes);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::byte* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }
  void give_pages_back() const noexcept;

 private:
  explicit Mapping(std::size_t bytes) : bytes_(bytes) {}
  std::byte* data_ = nullptr;
  std::size_t bytes_;
};

struct Allocation {
  std::shared_ptr<Mapping> mapping;
  Engine::Exposed exposed;  // once a peer was told
  std::mutex mutex;
};

class PortLane;

struct Port {
  Driver* driver = nullptr;
  std::uint32_t index = 0, rank = 0;
  std::shared_ptr<Plane> plane;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Session> session;  // with a launcher
  std::string name;                  // of the plane's port
  kit::Verdicts verdicts;

  std::mutex mutex;
  std::uint64_t used_bytes = 0, limit_bytes = 0;
  // Exposed memory: its addresses stay ours while the engine lives, because a put that had begun may still write there
  // when it was freed.
  std::vector<std::shared_ptr<Mapping>> exposed;

  // Circuit commands of this port that wait for their own event; used by the engine's thread.
  std::map<std::uint64_t, std::shared_ptr<PortLane>> circuits;
  std::uint64_t next_circuit = 1;

  // On the engine's thread: every rank, this one too, hears of every change in one order.
  void hear(const Notice& notice);
  ~Port();
};

struct PortPeer {
  std::uint32_t rank = 0;
};

inline Port& port_of(void* device) { return *static_cast<Port*>(device); }

// entry.cpp: what discovery finds
Discovery discover(const Driver& driver);

// device.cpp
std::uint32_t device_count(hal_driver* self);
void device_describe(hal_driver* self, std::uint32_t i, hal_device_info* out);
hal_error* device_open(hal_driver* self, const hal_device_request* request, hal_device_traits* out);
void device_close(hal_driver* self, void* device);
hal_verdict supports(hal_driver* self, void* device, const char* feature);
std::uint32_t number(hal_driver* self, void* device, const char* name, std::uint64_t* out);
hal_error* report(hal_driver* self, void* device, char** out);
hal_verdict program_check(hal_driver* self, void* device, const hal_image* image);
hal_error* program_load(hal_driver* self, void* device, const hal_image* image, const hal_signature* signatures,
                        std::uint32_t count, void** out);
void program_unload(hal_driver* self, void* device, void* program);

// memory.cpp
hal_error* memory_allocate(hal_driver* self, void* device, std::uint64_t bytes, hal_memory* out);
void memory_free(hal_driver* self, void* device, const hal_memory* memory);
hal_error* memory_export(hal_driver* self, void* device, const hal_memory* memory, hal_remote* out);

// lane.cpp
hal_error* lane_create(hal_driver* self, void* device, const char* label, void* core, hal_lane** out);
void lane_destroy(hal_driver* self, void* device, hal_lane* lane);
std::uint32_t submit(hal_driver* self, hal_lane* lane, std::uint64_t first, const hal_command* commands,
                     std::uint32_t count);
void lane_cancel(hal_driver* self, hal_lane* lane);

// peer.cpp
hal_error* address(hal_driver* self, void* device, const void** out_bytes, std::uint64_t* out_size);
hal_error* peer_connect(hal_driver* self, void* device, const void* address, std::uint64_t size, std::uint32_t rank,
                        void** out);
void peer_close(hal_driver* self, void* device, void* peer);

// status.cpp: the one place where our failures and libfabric's numbers become errors of the HAL
hal_error* to_error(const Failure& failure);

}  // namespace hal::fabric
