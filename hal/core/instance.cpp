// SPDX-License-Identifier: Apache-2.0
#include "core/instance.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <string_view>

#include "cache/folder.hpp"
#include "core/annotation.hpp"
#include "core/cache.hpp"
#include "core/device.hpp"
#include "core/settings.hpp"
#include "core/timeline.hpp"
#include "core/uri.hpp"

namespace hal::core {
namespace {

constexpr std::uint32_t kPendingLimit = 65'536;
constexpr std::size_t kMostGraves = 4096;
constexpr std::uint32_t kMostDevices = 4096;  // of one driver: more is a driver that counts wrongly

// What drivers may call. Anything a driver's call sets off must not destroy a lane underneath that call.
void host_log(const hal_host_api* host, hal_log_level level, const char* origin, const char* text) {
  struct Back : hal_host_api {
    Instance* instance;
  };
  static_cast<const Back*>(host)->instance->log(level, origin != nullptr ? origin : "driver",
                                                text != nullptr ? text : "");
}

const char* host_setting(const hal_host_api*, const char* name) { return name != nullptr ? setting(name) : nullptr; }

void host_reached(hal_lane* lane) {
  const CoreScope inside;
  static_cast<Timeline*>(lane->core)->settle();
}

}  // namespace

Instance::Instance(const hal_instance_desc& desc)
    : allocator_(desc.allocator != nullptr ? *desc.allocator : c_library()),
      pending_limit_(desc.pending_limit != 0 ? desc.pending_limit : kPendingLimit),
      log_(setting("HALYARD_LOG"), desc.log, desc.log_user) {
  init(object, Kind::instance, dispose);
  host_.struct_size = sizeof(hal_host_api);
  host_.abi_major = HAL_DRIVER_ABI_MAJOR;
  host_.abi_minor = HAL_DRIVER_ABI_MINOR;
  host_.log = host_log;
  host_.setting = host_setting;
  host_.error_create = hal_error_create;
  host_.reached = host_reached;
  host_.failed = [](hal_lane* lane, std::uint64_t number, hal_error* error) {
    const CoreScope inside;
    lane_failed(*static_cast<Timeline*>(lane->core), number, error);
  };
  if (const char* folder = desc.cache != nullptr ? desc.cache : setting("HALYARD_CACHE");
      folder != nullptr && *folder != '\0') {
    std::uint64_t bytes = desc.cache_bytes;
    if (const char* mib = setting("HALYARD_CACHE_MIB"); bytes == 0 && mib != nullptr) {
      bytes = std::strtoull(mib, nullptr, 10) << 20U;
    }
    cache_ =
        std::make_unique<ProgramCache>(folder, bytes != 0 ? bytes : cache::kDefaultBytes,
                                       [this](const std::string& text) { log(HAL_LOG_WARNING, "core", text.c_str()); });
  }
  host_.allocator = desc.allocator != nullptr ? &allocator_ : nullptr;
  host_.instance = this;
}

Instance::~Instance() {
  for (void* grave : graves_) { allocator_.deallocate(allocator_.user, grave, sizeof(Timeline), alignof(Timeline)); }
  // Whoever holds a driver's device holds us, so the drivers are idle. Later ones may lean on earlier ones.
  while (!drivers_.empty()) {
    if (drivers_.back()->self != nullptr) { drivers_.back()->ops.destroy(drivers_.back()->self); }
    drivers_.pop_back();
  }
}

void Instance::log(hal_log_level level, const char* origin, const char* text) noexcept {
  try {
    log_.write(level, origin, text);
  } catch (const std::bad_alloc&) {}
}

void Instance::dispose(hal_object* object) {
  auto* self = reinterpret_cast<Instance*>(object);
  Storage::unmake(self->allocator_, self);
}

Result<Ref<Instance>> Instance::create(const hal_instance_desc& desc) {
  Ref<Instance> made(Storage::make<Instance>(desc.allocator != nullptr ? *desc.allocator : c_library(), desc));
  check_settings([&](const std::string& text) { made->log(HAL_LOG_WARNING, "core", text.c_str()); });
  const char* names = desc.drivers != nullptr ? desc.drivers : setting("HALYARD_DRIVERS");
  if (!made->log_.problem().empty()) { made->log(HAL_LOG_WARNING, "core", made->log_.problem().c_str()); }
  HAL_CHECK(made->add_layers(desc.layers));
  made->drivers_ = load_drivers(names, made->host_);
  for (auto wrapper = made->layers_.wrappers.rbegin(); wrapper != made->layers_.wrappers.rend(); ++wrapper) {
    for (const auto& driver : made->drivers_) {
      if (driver->self != nullptr) { (*wrapper)->wrap(*driver); }
    }
  }
  made->list_devices();
  if (made->drivers_.empty()) { made->report_ = nothing_to_load(names) + "\n"; }
  made->check_log_levels();
  return made;
}

// What the program asks for must be right; what the environment asks for must not stop the program.
Result<void> Instance::add_layers(const char* asked) {
  const char* list = asked != nullptr ? asked : setting("HALYARD_LAYERS");
  const char* trace = setting("HALYARD_TRACE");
  if (list == nullptr && trace == nullptr) { return {}; }
  Result<Layers> layers = make_layers(list != nullptr ? list : "", trace, *this);
  if (!layers) {
    if (asked != nullptr) { return std::move(layers).error(); }
    log(HAL_LOG_WARNING, "core", fmt::format("HALYARD_LAYERS is ignored: {}", layers.error().what()).c_str());
    return {};
  }
  layers_ = std::move(*layers);
  observer_ = layers_.observer();
  return {};
}

void Instance::list_devices() {
  const char* emulated = setting("HALYARD_EMULATED");
  const bool hide_emulated = emulated != nullptr && std::string_view(emulated) == "0";
  for (const auto& driver : drivers_) {
    if (driver->self == nullptr) {
      report_ += fmt::format("{}: unavailable: {}\n", driver->name, driver->reason);
      continue;
    }
    std::vector<Listed> listed;
    const char* inside = "device_count()";
    try {
      const InsideDriver counting(driver->path.c_str(), "device_count");
      const std::uint32_t count = driver->devices = driver->ops.device_count(driver->self);
      if (count > kMostDevices) {
        driver->reason = fmt::format("device_count() says {}; at most {} are listed", count, kMostDevices);
      }
      inside = "device_describe()";
      const InsideDriver describing(driver->path.c_str(), "device_describe");
      for (std::uint32_t i = 0; i < count && driver->reason.empty(); ++i) {
        hal_device_info info{};
        driver->ops.device_describe(driver->self, i, &info);
        if (info.is_emulated != 0 && hide_emulated) { continue; }
        info.driver = driver->name.c_str();
        for (const char** text : {&info.name, &info.vendor, &info.reason}) { *text = *text != nullptr ? *text : ""; }
        std::string uri = info.uri != nullptr ? info.uri : fmt::format("{}:{}", driver->name, i);
        listed.push_back({driver.get(), info, std::move(uri)});
      }
    } catch (const std::bad_alloc&) { throw; } catch (...) {
      driver->reason = inside + thrown();
    }
    if (!driver->reason.empty()) {
      driver->self = nullptr;  // not called again, not even to be destroyed: it has shown what its calls are worth
      report_ += fmt::format("{}: unavailable: {}\n", driver->name, driver->reason);
      continue;
    }
    std::stable_sort(listed.begin(), listed.end(), [](const Listed& a, const Listed& b) {
      return std::pair(a.info.usable == 0, a.info.is_emulated) < std::pair(b.info.usable == 0, b.info.is_emulated);
    });
    report_ += fmt::format("{}: loaded from {}, {} device{}\n", driver->name, driver->path, listed.size(),
                           listed.size() == 1 ? "" : "s");
    std::move(listed.begin(), listed.end(), std::back_inserter(devices_));
  }
}

void Instance::check_log_levels() {
  if (!log_.names_subsystems()) { return; }
  std::vector<std::string> known{"core", "driver", "record", "trace", "validation"};
  for (const auto& driver : drivers_) { known.push_back(driver->name); }
  for (std::string& name : found_drivers()) { known.push_back(std::move(name)); }
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  if (const std::string unknown = log_.unknown(known); !unknown.empty()) {
    log(HAL_LOG_WARNING, "core", unknown.c_str());
  }
}

LoadedDriver* Instance::find_driver(std::string_view name) const {
  LoadedDriver* unusable = nullptr;
  for (const auto& driver : drivers_) {
    if (driver->name != name) { continue; }
    if (driver->self != nullptr) { return driver.get(); }
    unusable = driver.get();
  }
  return unusable;
}

Result<Ref<Device>> Instance::open(std::string_view text) {
  HAL_TRY(const Uri uri, parse_uri(text));
  LoadedDriver* driver = find_driver(uri.driver);
  if (driver == nullptr) {
    return Error(HAL_NOT_FOUND, fmt::format("there is no driver '{}' for device '{}'; this instance has: {}",
                                            uri.driver, text, report_));
  }
  if (driver->self == nullptr) {
    return Error(HAL_UNAVAILABLE,
                 fmt::format("device '{}' cannot be opened: driver {} {}", text, driver->name, driver->reason));
  }
  const std::string key = fmt::format("{}:{}{}{}{}{}", uri.driver, uri.index, uri.part.empty() ? "" : "/", uri.part,
                                      uri.params.empty() ? "" : "?", uri.params);
  Ref<Device> device;  // goes after the lock, which its end takes
  const std::lock_guard lock(open_mutex_);
  if (const auto found = open_.find(key); found != open_.end()) {
    if ((device = try_share(found->second))) { return device; }
  }

  if (uri.index >= driver->devices) {
    return Error(HAL_NOT_FOUND, fmt::format("device '{}' does not exist: driver {} has {} device{}", text, driver->name,
                                            driver->devices, driver->devices == 1 ? "" : "s"));
  }
  const hal_device_request request{uri.index, 0, uri.part.c_str(), uri.params.c_str()};
  hal_device_traits traits{};
  Result<void> opened =
      call_driver(*driver, "device_open", [&] { return driver->ops.device_open(driver->self, &request, &traits); });
  if (!opened) { return std::move(opened).error().while_doing(fmt::format("opening device '{}'", text)); }
  try {
    device = Ref<Device>(Storage::make<Device>(allocator_, *this, *driver, key, traits));
  } catch (...) {
    driver->ops.device_close(driver->self, traits.impl);
    throw;
  }
  if (observer_ != nullptr) { announce(*observer_, device->object, {.label = key.c_str(), .device = device.get()}); }
  open_[key] = device.get();
  return device;
}

void Instance::closed(const Device& device) {
  const std::lock_guard lock(open_mutex_);
  const auto found = open_.find(device.uri());
  if (found != open_.end() && found->second == &device) { open_.erase(found); }
}

Result<hal_device_info> Instance::device(std::uint32_t i) const {
  if (i >= devices_.size()) {
    return Error(HAL_OUT_OF_RANGE, fmt::format("device {} was asked for, and {} are listed", i, devices_.size()));
  }
  hal_device_info info = devices_[i].info;
  info.uri = devices_[i].uri.c_str();
  return info;
}

void Instance::add_lane(Ref<Timeline> lane) {
  const std::lock_guard lock(lanes_mutex_);
  lanes_.push_back(std::move(lane));
  lanes_.back()->serial = next_serial_++;
}

void Instance::remove_lane(Timeline& lane) {
  Ref<Timeline> dropped;  // after the lock: it may be the last owner
  const std::lock_guard lock(lanes_mutex_);
  const auto found =
      std::find_if(lanes_.begin(), lanes_.end(), [&](const Ref<Timeline>& entry) { return entry.get() == &lane; });
  if (found == lanes_.end()) { return; }
  dropped = std::move(*found);
  lanes_.erase(found);
}

void Instance::bury(void* grave) noexcept {
  try {
    const std::lock_guard lock(graves_mutex_);
    graves_.push_back(grave);
    if (graves_.size() <= kMostGraves) { return; }
    grave = graves_.front();
    graves_.pop_front();
  } catch (const std::bad_alloc&) {}  // then it goes at once
  // Without the lock: this may be the program's function.
  allocator_.deallocate(allocator_.user, grave, sizeof(Timeline), alignof(Timeline));
}

std::vector<std::pair<const Timeline*, std::uint64_t>> Instance::progress() {
  const std::lock_guard lock(lanes_mutex_);
  std::vector<std::pair<const Timeline*, std::uint64_t>> out;
  out.reserve(lanes_.size());
  for (const Ref<Timeline>& lane : lanes_) { out.emplace_back(lane.get(), hal_lane_completed(lane->lane())); }
  return out;
}

std::vector<Ref<Timeline>> Instance::lanes_of(const Device& device) {
  const std::lock_guard lock(lanes_mutex_);
  std::vector<Ref<Timeline>> out;
  for (const Ref<Timeline>& lane : lanes_) {
    if (lane->device() == &device) { out.push_back(lane); }
  }
  return out;
}

namespace {

bool is_busy(Timeline& lane) { return hal_lane_completed(lane.lane()) < lane.assigned.load(std::memory_order_acquire); }

}  // namespace

void Instance::when_idle(Idle& idle, const Device* only) noexcept {
  idle.instance = this;
  idle.only = only;
  const auto matters = [only](const Ref<Timeline>& lane) {
    return (only == nullptr || lane->device() == only) && is_busy(*lane);
  };
  {
    const std::lock_guard lock(lanes_mutex_);
    if (std::none_of(lanes_.begin(), lanes_.end(), matters)) {
      idle.end = 0;
    } else {
      try {
        for (const Ref<Timeline>& lane : lanes_) {
          if (matters(lane)) { idle.marks.push_back({lane, lane->assigned.load(std::memory_order_acquire)}); }
        }
      } catch (const std::bad_alloc&) {  // what was marked stays marked
        idle.end = next_serial_;
      }
    }
  }
  if (idle.marks.empty() && idle.end == 0) {
    idle.task.run(idle.task.of);
    return;
  }
  idle.waiter.of = &idle;
  idle.waiter.ended = [](void* of, const hal_error*) {
    auto& self = *static_cast<Idle*>(of);
    self.instance->wait_for_next(self);
  };
  wait_for_next(idle);
}

// Sets `current` to the next lane to wait for. False if there is none.
bool Instance::next_busy(Idle& idle) {
  while (!idle.marks.empty()) {
    idle.current = std::move(idle.marks.back());
    idle.marks.pop_back();
    if (hal_lane_completed(idle.current.lane->lane()) < idle.current.number) { return true; }
  }
  idle.current = {};
  if (idle.next >= idle.end) { return false; }
  const std::lock_guard lock(lanes_mutex_);
  for (const Ref<Timeline>& lane : lanes_) {
    if (lane->serial < idle.next || lane->serial >= idle.end) { continue; }
    if ((idle.only != nullptr && lane->device() != idle.only) || !is_busy(*lane)) { continue; }
    idle.next = lane->serial + 1;
    idle.current = {lane, lane->assigned.load(std::memory_order_acquire)};
    return true;
  }
  return false;
}

void Instance::wait_for_next(Idle& idle) {
  const Ref<Timeline> before = std::move(idle.current.lane);  // goes when no lock is held
  if (!next_busy(idle)) {
    engine().post(idle.task);
    return;
  }
  const Ref<Timeline> lane = idle.current.lane;  // `idle` may end, and go, before the call has returned
  lane->when(idle.waiter, idle.current.number, Timeline::Until::physical);
}

}  // namespace hal::core
