// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "driver_kit/errors.hpp"
#include "driver_kit/params.hpp"
#include "hal/dtype.hpp"
#include "host.hpp"

namespace hal::host {

namespace {
constexpr std::uint64_t kMostThreads = 256;
}

hal_device_info Driver::describe() const {
  hal_device_info info{};
  info.uri = "host:0";
  info.name = name.c_str();
  info.driver = kOrigin;
  info.vendor = vendor.c_str();
  info.reason = "";
  info.memory_bytes = memory_bytes;
  info.usable = 1;
  return info;
}

// Of mode=weak: how long work that nobody waits for is held back at most, unless the URI says otherwise.
constexpr std::uint64_t kPatienceMs = 20, kMostPatienceMs = 3'600'000;

std::uint32_t device_count(hal_driver*) { return 1; }

void device_describe(hal_driver* self, std::uint32_t, hal_device_info* out) {
  *out = static_cast<Driver*>(self)->describe();
}

hal_error* device_open(hal_driver* self, const hal_device_request* request, hal_device_traits* out) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    if (*request->part != 0) {
      return kit::error(kOrigin, HAL_INVALID_ARGUMENT,
                        std::string("the host has no part '") + request->part + "'; open host:0");
    }
    HAL_TRY(auto params, kit::Params::parse(kOrigin, request->params));
    const std::initializer_list<std::string_view> modes{"eager", "weak", "minimal"};
    HAL_TRY(const std::size_t mode, params.choice("mode", modes));
    HAL_TRY(const std::uint64_t seed, params.number("seed", 1));
    auto* driver = static_cast<Driver*>(self);
    HAL_TRY(const std::uint64_t memory, params.number("memory", driver->memory_bytes));
    HAL_TRY(const std::uint64_t threads, params.number("threads", driver->cores));
    HAL_TRY(const std::uint64_t patience, params.number("patience", kPatienceMs));
    HAL_CHECK(params.done());
    for (const char* key : {"seed", "patience"}) {
      if (params.has(key) && mode != std::size_t(Mode::weak)) {
        return kit::error(kOrigin, HAL_INVALID_ARGUMENT,
                          fmt::format("'{}' is of mode=weak and means nothing in mode={}; leave it out, or open "
                                      "host:0?mode=weak",
                                      key, modes.begin()[mode]));
      }
    }
    if (patience == 0 || patience > kMostPatienceMs) {
      return kit::error(kOrigin, HAL_INVALID_ARGUMENT,
                        fmt::format("patience={} ms was asked for; the least is 1, the most {}, and the default {}",
                                    patience, kMostPatienceMs, kPatienceMs));
    }
    if (memory == 0 || memory > driver->memory_bytes) {
      return kit::error(kOrigin, HAL_INVALID_ARGUMENT,
                        "memory=" + std::to_string(memory) + " bytes: the least is 1, the most what the machine has, " +
                            std::to_string(driver->memory_bytes));
    }
    if (threads == 0 || threads > kMostThreads) {
      return kit::error(kOrigin, HAL_INVALID_ARGUMENT,
                        fmt::format("threads={} was asked for; 1 to {} can be had, and the default is one for each "
                                    "core of this process, {}",
                                    threads, kMostThreads, driver->cores));
    }

    auto device = std::make_unique<Device>();
    device->driver = driver;
    device->memory_bytes = memory;
    device->mode = static_cast<Mode>(mode);
    *out = {};
    device->pool = std::make_unique<kit::LanePool>(static_cast<std::uint32_t>(threads), "halyard-host");
    device->uri = "host:0";
    device->name = device->driver->name;
    if (device->mode == Mode::weak) {
      device->seed = seed;
      device->perturb = kit::Perturb(seed);
      device->uri += fmt::format("?mode=weak&seed={}", seed);
      if (patience != kPatienceMs) { device->uri += fmt::format("&patience={}", patience); }
      device->patience_ns = patience * 1'000'000;
      device->name += fmt::format(", weak, seed {}", seed);
      out->max_batch = 1 + static_cast<std::uint32_t>(device->perturb.pick(0, 18, 4));
    } else if (device->mode == Mode::minimal) {
      device->uri += "?mode=minimal";
      device->name += ", minimal";
    }
    for (const std::uint32_t op : {HAL_OP_BARRIER, HAL_OP_FILL, HAL_OP_COPY, HAL_OP_RUN, HAL_OP_PREPARE}) {
      out->ops |= 1U << op;
    }
    if (device->mode != Mode::minimal) { out->ops |= 1U << HAL_OP_TIMESTAMP; }
    out->memory_bytes = memory;
    out->info = device->driver->describe();
    out->info.name = device->name.c_str();
    out->info.memory_bytes = memory;
    out->impl = device.release();
    return {};
  });
}

void device_close(hal_driver*, void* device) {
  give_back_freed(device_of(device));
  delete &device_of(device);
}

hal_verdict supports(hal_driver*, void* device, const char* feature) {
  const std::string_view name = feature;
  const bool minimal = device_of(device).mode == Mode::minimal;
  if (name == "kernel") { return kit::yes("functions of the image formats host.functions and host.so"); }
  if (name == "graph") { return kit::yes("tensor graphs in every element type of the format"); }
  if (name == "graph.dynamic") { return kit::yes("graphs are bound to their sizes when they run"); }
  if (name == "constants" && minimal) { return kit::no("mode=minimal declares nothing optional"); }
  if (name == "constants") { return kit::yes("kernels find them in their group"); }
  if (name == "fabric") { return kit::no("the host is no fabric port; open a photonic device"); }
  if (name == "partition") { return kit::no("the host has no parts"); }
  if (name == "timestamp") {
    return minimal ? kit::no("mode=minimal declares nothing optional") : kit::yes("the monotonic clock");
  }
  if (name == "host-visible") {
    return minimal ? kit::no("mode=minimal shows no host addresses") : kit::yes("buffers are host memory");
  }
  if (name == "virtual-memory" || name == "share.fd") {
    if (minimal) { return kit::no("mode=minimal declares nothing optional"); }
    return kit::yes(name == "share.fd" ? "memfd descriptors whose size is sealed" : "the processor's own page tables");
  }
  if (name == "import.host") {
    return minimal ? kit::no("mode=minimal declares nothing optional")
                   : kit::yes("host memory is this device's memory");
  }
  if (name.starts_with("dtype.")) {
    for (int type = HAL_F64; type <= HAL_BOOL; ++type) {
      if (name.substr(6) == dtype_name(static_cast<DType>(type))) { return kit::yes("in tensor graphs"); }
    }
    for (const std::string_view known : {"u32", "u64"}) {
      if (name.substr(6) == known) { return kit::no("no element type of tensor graphs; kernels have what they use"); }
    }
  }
  if (name.starts_with("image.")) {
    for (const std::string_view known : {"host.functions", "host.so", "hal.graph"}) {
      if (name.substr(6) == known) { return kit::yes("loads here"); }
    }
    return kit::no("the host loads host.functions, host.so and hal.graph");
  }
  return kit::unknown_feature();
}

hal_error* report(hal_driver*, void* device, char** out) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    const Device& self = device_of(device);
    std::string text = fmt::format(R"({{"device":"{}","name":"{}","memory_used":{},"threads":{},"threads_started":{})",
                                   self.uri, self.name, self.used_bytes.load(std::memory_order_relaxed),
                                   self.pool->threads(), self.pool->started());
    if (self.mode == Mode::weak) {
      text += fmt::format(R"(,"mode":"weak","seed":{},{})", self.seed, self.weak.report());
    }
    text += "}";
    *out = static_cast<char*>(std::malloc(text.size() + 1));
    if (*out == nullptr) { throw std::bad_alloc(); }
    std::memcpy(*out, text.c_str(), text.size() + 1);
    return {};
  });
}

std::uint32_t number(hal_driver*, void* device, const char* name, std::uint64_t* out) {
  const Device& self = device_of(device);
  if (self.mode == Mode::minimal) { return 0; }
  const std::string_view asked = name;
  if (asked == "memory.alignment") {
    *out = kAlignment;
  } else if (asked == "memory.used") {
    *out = self.used_bytes.load(std::memory_order_relaxed);
  } else if (asked == "program.lazy_loads") {
    *out = self.lazy_loads.load(std::memory_order_relaxed);
  } else if (asked == "virtual.granularity") {
    *out = page_size();
  } else if (asked == "group.size") {
    *out = UINT32_MAX;  // a function loops over its items itself
  } else if (asked == "cpu.cores") {
    *out = self.driver->cores;
  } else if (asked == "threads") {
    *out = self.pool->threads();
  } else {
    return 0;
  }
  return 1;
}

}  // namespace hal::host
