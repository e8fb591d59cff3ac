// SPDX-License-Identifier: Apache-2.0
#include "core/object.hpp"

extern "C" void* hal_retain(void* object) {
  if (object != nullptr) { hal::core::retain(*static_cast<hal_object*>(object)); }
  return object;
}

extern "C" void hal_release(void* object) {
  if (object != nullptr) { hal::core::release(*static_cast<hal_object*>(object)); }
}
