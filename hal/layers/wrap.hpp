// SPDX-License-Identifier: Apache-2.0
// A driver in front of a driver: every entry that the inner driver has is forwarded; a layer replaces what it changes.
// Handles of devices, lanes, memory and programs pass through unwrapped.
#pragma once

#include "core/registry.hpp"

namespace hal::layers {

struct Wrapped {
  hal_driver head{};       // first: the core sees this
  hal_driver_ops table{};  // what the core calls
  hal_driver* inner = nullptr;
  hal_driver_ops ops{};  // what the layer calls
  void* layer = nullptr;
};

inline Wrapped& wrapped(hal_driver* self) { return *reinterpret_cast<Wrapped*>(self); }

// Puts a forwarding driver in front of `driver`. `change` may replace entries of the table that it is given; what the
// inner driver leaves empty must stay empty.
Wrapped& wrap(core::LoadedDriver& driver, void* layer, void (*change)(hal_driver_ops& table));

// One optional entry by the name under which the layer `mask` hides it.
struct OptionalEntry {
  const char* name;
  void (*clear)(hal_driver_ops& table);
};
const OptionalEntry* find_optional_entry(std::string_view name);
std::string optional_entries();  // their names, for errors

}  // namespace hal::layers
