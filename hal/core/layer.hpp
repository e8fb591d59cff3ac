// SPDX-License-Identifier: Apache-2.0
// Layers by name: drivers that wrap drivers, and observers. hal/layers/layers.cpp has the list.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/observer.hpp"
#include "core/registry.hpp"
#include "hal/result.hpp"

namespace hal::core {

class Instance;

// A layer that changes what drivers do: puts a driver of its own in front of one that was loaded.
class Wrapper {
 public:
  virtual ~Wrapper() = default;
  // Replaces `driver.self` and `driver.ops`; the new destroy() ends the old driver too.
  virtual void wrap(LoadedDriver& driver) = 0;
};

struct Layers {
  std::vector<std::unique_ptr<Wrapper>> wrappers;  // the first is nearest to the application
  std::vector<std::unique_ptr<Observer>> observers;
  std::unique_ptr<Observer> all;  // tells every observer, if there are several

  Observer* observer() const { return all ? all.get() : observers.empty() ? nullptr : observers.front().get(); }
};

// `list` is ','-separated "name" or "name=argument". Errors: INVALID_ARGUMENT  an unknown name or a bad argument, with
// the names that exist or the arguments that it takes. `trace` (optional) is a file for the layer trace, as
// HALYARD_TRACE gives it.
Result<Layers> make_layers(std::string_view list, const char* trace, Instance& instance);

}  // namespace hal::core
