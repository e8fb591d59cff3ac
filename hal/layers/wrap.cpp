// SPDX-License-Identifier: Apache-2.0
#include "layers/wrap.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace hal::layers {
namespace {

template <auto Entry>
struct Forward;

template <class R, class... Args, R (*hal_driver_ops::*Entry)(hal_driver*, Args...)>
struct Forward<Entry> {
  static R call(hal_driver* self, Args... args) {
    const Wrapped& to = wrapped(self);
    return (to.ops.*Entry)(to.inner, args...);
  }
  static void fill(const hal_driver_ops& inner, hal_driver_ops& table) {
    table.*Entry = inner.*Entry != nullptr ? &call : nullptr;
  }
};

using Fill = void (*)(const hal_driver_ops& inner, hal_driver_ops& table);
#define HAL_FORWARD(name) Forward<&hal_driver_ops::name>::fill
constexpr std::array<Fill, 37> kFills{
    HAL_FORWARD(device_count),
    HAL_FORWARD(device_describe),
    HAL_FORWARD(device_open),
    HAL_FORWARD(device_close),
    HAL_FORWARD(supports),
    HAL_FORWARD(memory_allocate),
    HAL_FORWARD(memory_free),
    HAL_FORWARD(lane_create),
    HAL_FORWARD(lane_destroy),
    HAL_FORWARD(submit),
    HAL_FORWARD(program_check),
    HAL_FORWARD(program_load),
    HAL_FORWARD(program_unload),
    HAL_FORWARD(number),
    HAL_FORWARD(flush),
    HAL_FORWARD(notify),
    HAL_FORWARD(help),
    HAL_FORWARD(lane_wait),
    HAL_FORWARD(lane_cancel),
    HAL_FORWARD(report),
    HAL_FORWARD(memory_export),
    HAL_FORWARD(address),
    HAL_FORWARD(peer_connect),
    HAL_FORWARD(peer_close),
    HAL_FORWARD(memory_import),
    HAL_FORWARD(memory_unimport),
    HAL_FORWARD(range_reserve),
    HAL_FORWARD(range_release),
    HAL_FORWARD(range_map),
    HAL_FORWARD(range_protect),
    HAL_FORWARD(range_unmap),
    HAL_FORWARD(physical_create),
    HAL_FORWARD(physical_free),
    HAL_FORWARD(physical_export_fd),
    HAL_FORWARD(physical_import_fd),
    HAL_FORWARD(program_serialize),
    HAL_FORWARD(program_key),
};
#undef HAL_FORWARD
// A new entry of the border needs a line above, and one below if a device can do without it. destroy() has its own.
static_assert(sizeof(hal_driver_ops) == offsetof(hal_driver_ops, destroy) + (kFills.size() + 1) * sizeof(void (*)()),
              "hal_driver_ops has an entry that layers do not forward: add it to kFills");

#define HAL_OPTIONAL(text, entry)                              \
  OptionalEntry {                                              \
    text, [](hal_driver_ops& table) { table.entry = nullptr; } \
  }
constexpr std::array kOptional{
    HAL_OPTIONAL("number", number),           HAL_OPTIONAL("help", help),     HAL_OPTIONAL("lane-wait", lane_wait),
    HAL_OPTIONAL("lane-cancel", lane_cancel), HAL_OPTIONAL("report", report),
};
#undef HAL_OPTIONAL

void destroy(hal_driver* self) {
  Wrapped& mine = wrapped(self);
  mine.ops.destroy(mine.inner);
  delete &mine;
}

}  // namespace

Wrapped& wrap(core::LoadedDriver& driver, void* layer, void (*change)(hal_driver_ops& table)) {
  auto* made = new Wrapped;
  made->inner = driver.self;
  made->ops = driver.ops;
  made->layer = layer;
  made->table.struct_size = sizeof made->table;
  made->table.abi_major = driver.ops.abi_major;
  made->table.abi_minor = driver.ops.abi_minor;
  made->table.name = driver.ops.name;
  made->table.destroy = destroy;
  for (const Fill fill : kFills) { fill(driver.ops, made->table); }
  change(made->table);
  made->head.ops = &made->table;
  driver.self = &made->head;
  driver.ops = made->table;
  return *made;
}

const OptionalEntry* find_optional_entry(std::string_view name) {
  const auto* found =
      std::find_if(kOptional.begin(), kOptional.end(), [&](const OptionalEntry& entry) { return name == entry.name; });
  return found != kOptional.end() ? found : nullptr;
}

std::string optional_entries() {
  std::string text;
  for (const OptionalEntry& entry : kOptional) { text += fmt::format("{}{}", text.empty() ? "" : ", ", entry.name); }
  return text;
}

}  // namespace hal::layers
