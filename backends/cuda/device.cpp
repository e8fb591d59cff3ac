// SPDX-License-Identifier: Apache-2.0
// Discovery, opening, capabilities, and the reaper that publishes what devices have done.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "cuda.hpp"
#include "driver_kit/errors.hpp"
#include "driver_kit/params.hpp"
#include "graph_kernels_loader.hpp"
#include "lane.hpp"

namespace hal::cuda {

namespace {

constexpr int kLeastCapability = 80;
constexpr auto kFirstPause = std::chrono::microseconds(20), kLongestPause = std::chrono::microseconds(250);

Found look_at(const Library& library, int ordinal) {
  const Api& api = library.api;
  Found f;
  f.library = &library;
  char name[256] = "?";
  int major = 0, minor = 0, memory_operations = 0;
  if (api.DeviceGet(&f.ordinal, ordinal) != CUDA_SUCCESS ||
      api.DeviceGetName(name, sizeof(name), f.ordinal) != CUDA_SUCCESS ||
      api.DeviceTotalMem(&f.memory_bytes, f.ordinal) != CUDA_SUCCESS ||
      api.DeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, f.ordinal) != CUDA_SUCCESS ||
      api.DeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, f.ordinal) != CUDA_SUCCESS) {
    f.name = name;
    f.reason = "the driver does not describe this device";
    return f;
  }
  f.name = name;
  f.emulated = f.name.find("emulated") != std::string::npos;
  if (major * 10 + minor < kLeastCapability) {
    f.reason = fmt::format("compute capability {}.{} is below 8.0", major, minor);
  } else if (api.StreamWriteValue64 == nullptr ||
             api.DeviceGetAttribute(&memory_operations, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, f.ordinal) !=
                 CUDA_SUCCESS ||
             memory_operations == 0) {
    f.reason = "the driver offers no 64-bit stream memory operations for it";
  }
  return f;
}

}  // namespace

hal_device_info Found::describe() const {
  hal_device_info info{};
  info.uri = uri.c_str();
  info.name = name.c_str();
  info.driver = kOrigin;
  info.vendor = "NVIDIA";
  info.reason = reason.c_str();
  info.memory_bytes = memory_bytes;
  info.is_emulated = emulated ? 1 : 0;
  info.usable = reason.empty() ? 1 : 0;
  return info;
}

void discover(Driver& driver) {
  for (const auto& library : driver.libraries) {
    int count = 0;
    if (library->api.DeviceGetCount(&count) != CUDA_SUCCESS) { continue; }
    for (int i = 0; i < count; ++i) { driver.found.push_back(look_at(*library, i)); }
  }
  std::stable_partition(driver.found.begin(), driver.found.end(), [](const Found& f) { return !f.emulated; });
  for (std::size_t i = 0; i < driver.found.size(); ++i) { driver.found[i].uri = fmt::format("cuda:{}", i); }
}

std::uint32_t device_count(hal_driver* self) {
  return static_cast<std::uint32_t>(static_cast<Driver*>(self)->found.size());
}

void device_describe(hal_driver* self, std::uint32_t i, hal_device_info* out) {
  *out = static_cast<Driver*>(self)->found[i].describe();
}

hal_error* device_open(hal_driver* self, const hal_device_request* request, hal_device_traits* out) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    auto& driver = *static_cast<Driver*>(self);
    if (request->index >= driver.found.size()) {
      return kit::error(kOrigin, HAL_NOT_FOUND,
                        fmt::format("there is no cuda:{}; {} devices were found", request->index, driver.found.size()));
    }
    const Found& found = driver.found[request->index];
    if (*request->part != 0) {
      return kit::error(kOrigin, HAL_INVALID_ARGUMENT,
                        fmt::format("{} has no part '{}'; CUDA devices are opened whole", found.uri, request->part));
    }
    HAL_TRY(const kit::Params params, kit::Params::parse(kOrigin, request->params));
    HAL_CHECK(params.done());
    if (!found.reason.empty()) {
      return kit::error(kOrigin, HAL_UNAVAILABLE, fmt::format("{} cannot be used: {}", found.uri, found.reason));
    }
    CUcontext context = nullptr;
    HAL_CHECK(check(found.library->api, found.library->api.DevicePrimaryCtxRetain(&context, found.ordinal),
                    "cuDevicePrimaryCtxRetain failed"));
    *out = {};
    std::unique_ptr<Device> device;
    try {
      device = std::make_unique<Device>(driver.host, found, context);
    } catch (...) {
      found.library->api.DevicePrimaryCtxRelease(found.ordinal);
      throw;
    }
    for (const hal_op op : {HAL_OP_BARRIER, HAL_OP_FILL, HAL_OP_COPY, HAL_OP_RUN, HAL_OP_PREPARE, HAL_OP_TIMESTAMP}) {
      out->ops |= 1u << op;
    }
    out->memory_bytes = found.memory_bytes;
    out->info = found.describe();
    out->impl = device.release();
    return {};
  });
}

void device_close(hal_driver*, void* device) { delete static_cast<Device*>(device); }

hal_verdict supports(hal_driver*, void* device_pointer, const char* feature) {
  auto& device = *static_cast<Device*>(device_pointer);
  const std::string_view name = feature;
  const auto has = [&](const char* why) {
    return device.found().emulated ? kit::emulated("yes, on an emulated device") : kit::yes(why);
  };
  if (name == "kernel" || name == "image.ptx") { return has("PTX is compiled by the driver"); }
  if (name == "graph" || name == "image.hal.graph") { return has("graphs run as PTX kernels of this driver"); }
  if (name == "graph.dynamic") { return has("launches are laid out for each set of sizes when a run first brings it"); }
  if (name == "virtual-memory") { return kit::no("not yet: the driver API's calls for it are not made"); }
  if (name == "share.fd") { return kit::no("not yet: it needs virtual memory"); }
  if (name == "import.host") { return kit::no("not yet: host memory is not registered with the GPU"); }
  if (name == "constants") { return has("module variables of a ptx image, each load with its own"); }
  if (name == "timestamp") { return has("%globaltimer"); }
  constexpr std::array kTypes{"f64", "f32", "f16", "bf16", "f8e4m3", "f8e5m2", "i64", "i32", "i8", "u8", "bool"};
  if (name.starts_with("dtype.") && std::ranges::find(kTypes, name.substr(6)) != kTypes.end()) {
    return has("in graphs");
  }
  if (name == "host-visible") { return kit::no("device memory is not mapped into the host; use copies"); }
  if (name == "partition") { return kit::no("not yet: MIG instances and green contexts are not offered"); }
  if (name == "fabric") { return kit::no("a GPU is no fabric port"); }
  if (name.starts_with("dtype.")) {
    return kit::no("not yet in graphs on CUDA, which have types of whole bytes; kernels have what they use");
  }
  if (name.starts_with("image.")) { return kit::no("this driver loads ptx and hal.graph"); }
  return kit::unknown_feature();
}

std::uint32_t number(hal_driver*, void* device_pointer, const char* name, std::uint64_t* out) {
  auto& device = *static_cast<Device*>(device_pointer);
  const std::string_view key = name;
  if (key == "memory.alignment") {
    *out = kAlignment;
  } else if (key == "program.lazy_loads") {
    *out = device.lazy_loads.load(std::memory_order_relaxed);
  } else if (key == "queue.limit") {
    *out = Lane::kMostInFlight;
  } else if (key == "group.size") {
    *out = static_cast<std::uint64_t>(device.attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK));
  } else if (key == "group.shared_bytes") {
    *out = static_cast<std::uint64_t>(device.attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK));
  } else if (key == "compute_units") {
    *out = static_cast<std::uint64_t>(device.attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
  } else if (key == "pci.address") {
    // As hal/topology.h packs it. All zeros is a host bridge's place, never a GPU's: the emulated device has none.
    const auto part = [&device](CUdevice_attribute which) {
      return static_cast<std::uint64_t>(device.attribute(which));
    };
    *out = part(CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID) << 16U | part(CU_DEVICE_ATTRIBUTE_PCI_BUS_ID) << 8U |
           part(CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID) << 3U;
    return *out != 0 ? 1 : 0;
  } else if (key == "compute_capability") {
    *out = static_cast<std::uint64_t>(device.attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) * 10 +
                                      device.attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
  } else {
    return 0;
  }
  return 1;
}

Device::Device(const hal_host_api* host_api, const Found& found, CUcontext context)
    : host(host_api), found_(found), context_(context), reaper_([this] { reap(); }) {}

Device::~Device() {
  {
    const std::lock_guard lock(reap_mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  reaper_.join();
  enter();
  kernels_.reset();
  api().CtxSetCurrent(nullptr);
  api().DevicePrimaryCtxRelease(found_.ordinal);
}

void Device::enter() const {
  // Others in this process may have changed it, so look every time.
  CUcontext now = nullptr;
  if (api().CtxGetCurrent(&now) == CUDA_SUCCESS && now == context_) { return; }
  api().CtxSetCurrent(context_);
}

int Device::attribute(CUdevice_attribute attribute) const {
  int value = 0;
  api().DeviceGetAttribute(&value, attribute, found_.ordinal);
  return value;
}

Result<GraphKernels*> Device::graph_kernels() {
  const std::lock_guard lock(kernels_mutex_);
  if (!kernels_) { HAL_TRY(kernels_, GraphKernels::load(*this)); }
  return kernels_.get();
}

void Device::expect(Lane*) {
  const std::lock_guard lock(reap_mutex_);
  watched_.reserve(lanes_ + 1);
  ++lanes_;
}

void Device::watch(Lane* lane) {
  {
    const std::lock_guard lock(reap_mutex_);
    if (std::find(watched_.begin(), watched_.end(), lane) == watched_.end()) { watched_.push_back(lane); }
    fresh_ = true;
  }
  wake_.notify_one();
}

void Device::forget(Lane* lane) {
  std::unique_lock lock(reap_mutex_);
  std::erase(watched_, lane);
  --lanes_;
  left_.wait(lock, [&] { return visiting_ != lane; });
}

void Device::reap() {
  enter();
  std::unique_lock lock(reap_mutex_);
  auto pause = kFirstPause;
  while (!stop_) {
    if (watched_.empty()) {
      wake_.wait(lock);
      continue;
    }
    fresh_ = false;
    bool moved = false;
    for (std::size_t i = 0; i < watched_.size();) {
      Lane* lane = watched_[i];
      visiting_ = lane;
      lock.unlock();  // publishing calls the core, which may call notify()
      moved = lane->pump() || moved;
      const bool settled = lane->settled();
      lock.lock();
      visiting_ = nullptr;
      left_.notify_all();
      // A lane that got new work in between has been asked for again, or will be.
      if (i < watched_.size() && watched_[i] == lane) {
        if (settled && lane->settled()) {
          watched_.erase(watched_.begin() + static_cast<std::ptrdiff_t>(i));
        } else {
          ++i;
        }
      }
    }
    if (moved || fresh_) {
      pause = kFirstPause;
    } else if (!watched_.empty()) {
      wake_.wait_for(lock, pause);
      pause = std::min(pause * 2, kLongestPause);
    }
  }
}

}  // namespace hal::cuda
