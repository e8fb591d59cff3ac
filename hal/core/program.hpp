// SPDX-License-Identifier: Apache-2.0
// An immutable loaded image with typed entries.
#pragma once

#include "core/device.hpp"
#include "core/signature.hpp"

namespace hal::core {

struct Program : hal_program {
  Ref<Device> device;
  Signatures signatures;

  static Result<Ref<Program>> load(Device& device, const hal_image& image);

 private:
  static void dispose(hal_object* object);
};

inline Program* cast(hal_program* handle) { return static_cast<Program*>(handle); }
inline const Program* cast(const hal_program* handle) { return static_cast<const Program*>(handle); }

}  // namespace hal::core
