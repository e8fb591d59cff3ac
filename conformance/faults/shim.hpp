// SPDX-License-Identifier: Apache-2.0
// A driver that wraps a driver and does one thing wrong. The rest is forwarded as it is, numbers of commands included:
// a fault that drops a command puts a barrier in its place.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "hal/driver.h"

namespace hal::fault {

struct Shim;

// What the inner driver gets as its host: the core's own functions may look behind their pointer, so it is not copied
// but called through.
struct Host {
  hal_host_api api;
  Shim* shim;
};

struct Shim {
  hal_driver head;  // first: the core sees this
  hal_driver_ops table;
  hal_driver* inner = nullptr;
  hal_driver_ops ops{};  // the inner driver's, completed with NULLs
  const hal_host_api* core = nullptr;
  Host host{};
  std::string fault;
  std::atomic<std::uint64_t> runs{0};

  std::mutex mutex;  // of everything below
  bool out_of_memory = false;
  bool made_a_lane = false;
  bool reuse_next = false;
  hal_memory last{};
  void* last_device = nullptr;
  std::map<void*, int> users;  // of inner allocations that were handed out twice
  std::set<void*> graphs_run;
  std::map<std::string, std::vector<hal_constant>> first_constants;  // by format
  std::map<void*, std::vector<std::uint32_t>> dynamic;       // programs with symbols: the parameters of each entry
  std::map<void*, std::vector<std::int64_t>> first_extents;  // of the first run of a program
  struct LastRun {
    const void* lane;
    std::vector<std::int64_t> extents;
  };
  std::map<void*, LastRun> last_run;  // of a program
  std::vector<std::byte> first_serialized;
  std::deque<hal_buffer> misplaced;  // what commands on their way name instead of their own
  std::uint64_t clock = UINT64_MAX / 2;

  bool is(std::string_view id) const { return fault == id; }
};

inline Shim& shim_of(hal_driver* self) { return *reinterpret_cast<Shim*>(self); }

// The outer lane, which the core sees, in front of the inner one, which the driver sees.
struct alignas(64) Lane {
  hal_lane head{};  // first
  Shim* shim = nullptr;
  hal_lane* inner = nullptr;
  std::atomic<std::uint64_t> submitted{0};
  std::atomic<bool> dead{false};
  std::mutex mutex;  // of what is held back
  struct Held {
    hal_command command;
    std::vector<hal_arg> args;
  };
  std::vector<Held> held;
  std::uint64_t held_first = 0;
  const std::thread::id maker = std::this_thread::get_id();
  std::atomic<bool> woken{false};
};

inline Lane& lane_of(hal_lane* lane) { return *reinterpret_cast<Lane*>(lane); }

// Spoils commands on their way to the inner lane. `args` keeps changed argument lists alive for the call.
void spoil(const Lane& lane, std::uint64_t first, std::vector<hal_command>& commands,
           std::vector<std::vector<hal_arg>>& args);

// Changes every `round` of a verified hal.graph to `floor`.
void round_down(std::vector<std::byte>& graph);
// i8 becomes u8.
void drop_signs(std::vector<std::byte>& graph);
// Views between equal shapes become copies.
void copy_views(std::vector<std::byte>& graph);

// The parts of the table, by file.
void fill_lane_table(const Shim& shim, hal_driver_ops& table);
void fill_device_table(const Shim& shim, hal_driver_ops& table);
void reached(hal_lane* inner);
void failed(hal_lane* inner, std::uint64_t number, hal_error* error);

hal_error* make_error(const Shim& shim, hal_code code, const char* what);

}  // namespace hal::fault
