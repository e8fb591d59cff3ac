// SPDX-License-Identifier: Apache-2.0
// One owner of a counted C object. Copies share the object; the last owner releases it.
#pragma once

#include <source_location>
#include <utility>

#include "hal/hal.h"

namespace hal {

// Where the caller makes its next object; see hal_here().
inline void here(const std::source_location& where) {
  const hal_site site{where.file_name(), where.function_name(), where.line(), 0};
  hal_here(&site);
}

template <class C>
class Handle {
 public:
  Handle() = default;
  // Takes over the caller's ownership.
  explicit Handle(C* adopted) : object_(adopted) {}
  Handle(const Handle& other) : object_(static_cast<C*>(hal_retain(other.object_))) {}
  Handle(Handle&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Handle& operator=(Handle other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Handle() { hal_release(object_); }

  C* get() const { return object_; }
  // Names the object in errors and layers.
  void label(const char* text) { hal_release(hal_object_set_label(object_, text)); }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  C* object_ = nullptr;
};

}  // namespace hal
