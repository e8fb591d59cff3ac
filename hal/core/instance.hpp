// SPDX-License-Identifier: Apache-2.0
// Owns the drivers, the list of devices, the threads and the log.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/allocator.hpp"
#include "core/engine.hpp"
#include "core/layer.hpp"
#include "core/log.hpp"
#include "core/object.hpp"
#include "core/registry.hpp"
#include "core/timeline.hpp"
#include "hal/result.hpp"

struct hal_instance {
  hal_object object;
};

namespace hal::core {

class Device;
class ProgramCache;

// Waits for the lanes that may still touch what was released; a part of that, so that letting go needs no memory.
struct Idle {
  Task task;  // what then is to happen

  // Of Instance::when_idle():
  struct Mark {
    Ref<Timeline> lane;
    std::uint64_t number;
  };
  std::vector<Mark> marks;
  // Without memory for marks the lanes from `next` to `end` are waited for one after the other, each for what it has
  // been assigned when its turn comes: longer than needed, and long enough.
  std::uint64_t next = 0, end = 0;
  Mark current{};
  Waiter waiter;
  Instance* instance = nullptr;
  const Device* only = nullptr;
};

// What hal_host_api::failed does: fails the lane's timeline with the command's name and call site around the error.
void lane_failed(Timeline& lane, std::uint64_t number, hal_error* error) noexcept;

class Instance : public hal_instance {
 public:
  static Result<Ref<Instance>> create(const hal_instance_desc& desc);

  Result<Ref<Device>> open(std::string_view uri);
  void closed(const Device& device);  // a device says that it is going

  std::uint32_t device_count() const { return static_cast<std::uint32_t>(devices_.size()); }
  Result<hal_device_info> device(std::uint32_t i) const;
  const char* report() const { return report_.c_str(); }

  const hal_allocator& allocator() const { return allocator_; }
  Engine& engine() { return engine_; }
  Workers& workers() { return workers_; }
  // NULL unless a layer that watches is on.
  Observer* observer() const { return observer_; }
  std::uint32_t pending_limit() const { return pending_limit_; }
  // NULL without a folder for compiled programs.
  ProgramCache* cache() const { return cache_.get(); }
  void log(hal_log_level level, const char* origin, const char* text) noexcept;  // a message without memory is lost

  void add_lane(Ref<Timeline> lane);
  void remove_lane(Timeline& lane);
  void bury(void* grave) noexcept;  // the place of a Timeline; the oldest of many go
  // For explanations: what each lane has completed; and the lanes of one device.
  std::vector<std::pair<const Timeline*, std::uint64_t>> progress();
  std::vector<Ref<Timeline>> lanes_of(const Device& device);
  // Runs the task of `idle` on the engine (or here, if nothing is in flight) once no lane can still touch what was
  // released before this call: when each lane has completed what it had been assigned by now. No count per bound buffer
  // is needed. `only`: what was released can be touched by that device's lanes alone, so others are not waited for.
  void when_idle(Idle& idle, const Device* only = nullptr) noexcept;

 private:
  struct Listed {
    LoadedDriver* driver;
    hal_device_info info;
    std::string uri;
  };
  // The table that drivers get, with the way back to us.
  struct Host : hal_host_api {
    Instance* instance;
  };

  friend struct Storage;
  explicit Instance(const hal_instance_desc& desc);
  ~Instance();
  static void dispose(hal_object* object);
  Result<void> add_layers(const char* asked);
  void list_devices();
  void check_log_levels();
  LoadedDriver* find_driver(std::string_view name) const;
  bool next_busy(Idle& idle);
  void wait_for_next(Idle& idle);

  const hal_allocator allocator_;
  Host host_{};
  std::uint32_t pending_limit_;
  Log log_;
  Layers layers_;  // before the drivers: what wraps them goes after them
  Observer* observer_ = nullptr;
  std::unique_ptr<ProgramCache> cache_;
  std::vector<std::unique_ptr<LoadedDriver>> drivers_;
  std::vector<Listed> devices_;
  std::string report_;

  std::mutex open_mutex_;
  std::map<std::string, Device*, std::less<>> open_;  // not owned: each takes itself out

  std::mutex graves_mutex_;
  std::deque<void*> graves_;

  std::mutex lanes_mutex_;
  std::vector<Ref<Timeline>> lanes_;  // as they were made
  std::uint64_t next_serial_ = 1;

  Workers workers_;
  Engine engine_;  // last: its destructor runs what is left while everything above still stands
};

}  // namespace hal::core
