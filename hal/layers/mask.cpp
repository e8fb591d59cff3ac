// SPDX-License-Identifier: Apache-2.0
// The layer `mask`: a device that can do less. What is hidden is denied by supports() with the layer's name, refused
// where it is used, and gone from the table, so a program meets the device it was not tried on.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <set>

#include "core/instance.hpp"
#include "layers/layers.hpp"
#include "layers/wrap.hpp"

namespace hal::layers {
namespace {

constexpr std::uint32_t bit(hal_op op) { return 1U << static_cast<std::uint32_t>(op); }

// Features with more behind them than their answer.
struct Feature {
  const char* name;
  std::uint32_t ops;
};
constexpr std::array kFeatures{
    Feature{"kernel", 0},
    Feature{"constants", 0},
    Feature{"graph", 0},
    Feature{"graph.dynamic", 0},
    Feature{"timestamp", bit(HAL_OP_TIMESTAMP)},
    Feature{"prepare", bit(HAL_OP_PREPARE)},
    Feature{"fabric", bit(HAL_OP_PUT) | bit(HAL_OP_GET) | bit(HAL_OP_SEND) | bit(HAL_OP_RECV) | bit(HAL_OP_CIRCUIT)},
    Feature{"circuit", bit(HAL_OP_CIRCUIT)},
    Feature{"partition", 0},
    Feature{"host-visible", 0},
    Feature{"virtual-memory", 0},
    Feature{"import.host", 0},
    Feature{"share.fd", 0},
};
constexpr std::array<const char*, 15> kTypes{"",    "f64", "f32", "f16", "bf16", "f8e4m3", "f8e5m2", "i64",
                                             "i32", "i8",  "i4",  "u8",  "bool", "u32",    "u64"};
constexpr const char* kWhy = "hidden by the layer mask";

class Mask final : public core::Wrapper {
 public:
  static Result<std::unique_ptr<core::Wrapper>> make(std::string_view argument) {
    auto made = std::make_unique<Mask>();
    for (std::string_view rest = argument; !rest.empty();) {
      const std::size_t end = std::min(rest.find('+'), rest.size());
      const std::string_view name = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (!known(name)) { return unknown(name); }
      made->hidden_.emplace(name);
      for (const Feature& feature : kFeatures) {
        if (name == feature.name) { made->ops_ |= feature.ops; }
      }
    }
    if (made->hidden_.empty()) { return unknown(""); }
    if (made->hides("graph")) { made->hidden_.emplace("graph.dynamic"); }
    if (made->hides("kernel")) { made->hidden_.emplace("constants"); }  // nothing else has them
    return std::unique_ptr<core::Wrapper>(std::move(made));
  }

  void wrap(core::LoadedDriver& driver) override {
    layers::Wrapped& made = layers::wrap(driver, this, change);
    for (const std::string& name : hidden_) {
      if (const OptionalEntry* entry = find_optional_entry(name)) { entry->clear(made.table); }
    }
    if (hides("fabric")) {
      made.table.memory_export = nullptr;
      made.table.address = nullptr;
      made.table.peer_connect = nullptr;
      made.table.peer_close = nullptr;
    }
    if (hides("virtual-memory")) { made.table.range_map = nullptr; }
    if (hides("import.host")) { made.table.memory_import = nullptr; }
    if (hides("share.fd") || hides("virtual-memory")) {
      made.table.physical_export_fd = nullptr;
      made.table.physical_import_fd = nullptr;
    }
    driver.ops = made.table;
  }

 private:
  static bool known(std::string_view name) {
    constexpr std::string_view kType = "dtype.";
    if (name.starts_with(kType)) {
      return name.size() > kType.size() &&
             std::find(kTypes.begin(), kTypes.end(), name.substr(kType.size())) != kTypes.end();
    }
    for (const std::string_view prefix : {"image.", "number."}) {
      if (name.starts_with(prefix) && name.size() > prefix.size()) { return true; }
    }
    return find_optional_entry(name) != nullptr ||
           std::any_of(kFeatures.begin(), kFeatures.end(), [&](const Feature& one) { return name == one.name; });
  }
  static Error unknown(std::string_view name) {
    std::string features;
    for (const Feature& feature : kFeatures) { features += fmt::format("{}, ", feature.name); }
    return Error(
        HAL_INVALID_ARGUMENT,
        fmt::format("layer mask: '{}' is nothing that can be hidden; features: {}image.<format>, dtype.<type> with a "
                    "type of {}; entries: {}; numbers: number.<name>; several are joined by '+'",
                    name, features, fmt::join(kTypes.begin() + 1, kTypes.end(), ", "), optional_entries()));
  }

  bool hides(std::string_view name) const { return hidden_.contains(name); }
  static const Mask& mask(hal_driver* self) { return *static_cast<const Mask*>(wrapped(self).layer); }

  // What of an image this device must not see; empty if nothing.
  std::string refuses(const hal_image& image, std::span<const hal_signature> entries) const {
    const std::string_view format = image.format;
    if (hides(fmt::format("image.{}", format))) { return fmt::format("the image format '{}' is {}", format, kWhy); }
    // Without signatures (a check) the format tells: graphs come as hal.graph, and nothing else does but a driver's
    // compiled form, which may hold either.
    const bool compiled = format.ends_with(".cache");
    if (hides("graph") && format == "hal.graph") { return fmt::format("tensor graphs are {}", kWhy); }
    if (hides("kernel") && format != "hal.graph" && !compiled) { return fmt::format("kernels are {}", kWhy); }
    for (const hal_signature& entry : entries) {
      if (hides(entry.kind == HAL_GRAPH ? "graph" : "kernel")) {
        return fmt::format("entry '{}' is a {}, which is {}", entry.name,
                           entry.kind == HAL_GRAPH ? "tensor graph" : "kernel", kWhy);
      }
      if (hides("graph.dynamic") && entry.kind == HAL_GRAPH && entry.symbol_count != 0) {
        return fmt::format("sizes of graphs that are known only when they run are {}", kWhy);
      }
      for (const hal_param& param : std::span(entry.params, entry.param_count)) {
        const auto type = static_cast<std::size_t>(param.dtype);
        if (type < kTypes.size() && hides(fmt::format("dtype.{}", kTypes[type]))) {
          return fmt::format("argument '{}' of entry '{}' is {}, which is {}", param.name, entry.name, kTypes[type],
                             kWhy);
        }
      }
    }
    return {};
  }

  static Error unsupported(const std::string& why) { return Error(HAL_UNSUPPORTED, why, "layer mask", "", 0); }

  static void change(hal_driver_ops& table) {
    table.supports = [](hal_driver* self, void* device, const char* feature) -> hal_verdict {
      if (mask(self).hides(feature)) { return {HAL_NO, kWhy}; }
      return wrapped(self).ops.supports(wrapped(self).inner, device, feature);
    };
    table.device_open = [](hal_driver* self, const hal_device_request* request, hal_device_traits* out) -> hal_error* {
      const Mask& mine = mask(self);
      if (mine.hides("partition") && request->part != nullptr && *request->part != '\0') {
        return unsupported(fmt::format("part '{}': partitions are {}", request->part, kWhy)).release();
      }
      hal_error* error = wrapped(self).ops.device_open(wrapped(self).inner, request, out);
      if (error == nullptr) { out->ops &= ~mine.ops_; }
      return error;
    };
    table.memory_allocate = [](hal_driver* self, void* device, std::uint64_t bytes, hal_memory* out) {
      hal_error* error = wrapped(self).ops.memory_allocate(wrapped(self).inner, device, bytes, out);
      if (error == nullptr && mask(self).hides("host-visible")) { out->host = nullptr; }
      return error;
    };
    if (table.memory_import != nullptr) {
      table.memory_import = [](hal_driver* self, void* device, void* address, std::uint64_t bytes, hal_memory* out) {
        hal_error* error = wrapped(self).ops.memory_import(wrapped(self).inner, device, address, bytes, out);
        if (error == nullptr && mask(self).hides("host-visible")) { out->host = nullptr; }
        return error;
      };
    }
    if (table.range_reserve != nullptr) {
      table.range_reserve = [](hal_driver* self, void* device, std::uint64_t bytes, hal_memory* out) {
        hal_error* error = wrapped(self).ops.range_reserve(wrapped(self).inner, device, bytes, out);
        if (error == nullptr && mask(self).hides("host-visible")) { out->host = nullptr; }
        return error;
      };
    }
    table.program_check = [](hal_driver* self, void* device, const hal_image* image) -> hal_verdict {
      const Mask& mine = mask(self);
      if (const std::string why = mine.refuses(*image, {}); !why.empty()) { return {HAL_NO, mine.kept(why)}; }
      return wrapped(self).ops.program_check(wrapped(self).inner, device, image);
    };
    table.program_load = [](hal_driver* self, void* device, const hal_image* image, const hal_signature* signatures,
                            std::uint32_t count, void** out) -> hal_error* {
      if (const std::string why = mask(self).refuses(*image, {signatures, count}); !why.empty()) {
        return unsupported(why).release();
      }
      return wrapped(self).ops.program_load(wrapped(self).inner, device, image, signatures, count, out);
    };
    if (table.number != nullptr) {
      table.number = [](hal_driver* self, void* device, const char* name, std::uint64_t* out) -> std::uint32_t {
        if (mask(self).hides(fmt::format("number.{}", name))) { return 0; }
        return wrapped(self).ops.number(wrapped(self).inner, device, name, out);
      };
    }
  }

  // A verdict's reason must outlive the device.
  const char* kept(const std::string& why) const {
    const std::lock_guard lock(mutex_);
    return reasons_.insert(why).first->c_str();
  }

  std::set<std::string, std::less<>> hidden_;
  std::uint32_t ops_ = 0;
  mutable std::mutex mutex_;
  mutable std::set<std::string> reasons_;
};

}  // namespace

Result<std::unique_ptr<core::Wrapper>> make_mask(std::string_view argument, core::Instance&) {
  return Mask::make(argument);
}

}  // namespace hal::layers
