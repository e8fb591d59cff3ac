// SPDX-License-Identifier: Apache-2.0
// An immutable loaded image with typed entries.
#pragma once

#include <span>
#include <string>

#include "core/compiled.hpp"
#include "core/device.hpp"
#include "core/launch.hpp"
#include "core/signature.hpp"

namespace hal::core {

class ProgramCache;

struct Program : hal_program {
  Ref<Device> device;
  Signatures signatures;
  Launches launches;  // of the same entries

  // Loads an image, or what the device takes of a bundle.
  static Result<Ref<Program>> load(Device& device, const hal_image& image);
  static Result<Ref<Program>> load_any(Device& device, std::span<const hal_image> images, std::uint32_t* chosen);

  // The first image that the device takes; else the reasons, a line for each.
  struct Choice {
    std::uint32_t index = 0;
    bool found = false;
    std::string reasons;
  };
  // An image of the format "hal.program". `source` is the key of the cache, zeros outside of it.
  Result<std::vector<std::byte>> serialize(const Digest& source) const;

  static Choice choose(Device& device, std::span<const hal_image> images);

 private:
  Result<void> load_impl(const hal_image& image);
  bool load_cached(ProgramCache& cache, const Digest& key);
  static Result<Ref<Program>> load_one(Device& device, const hal_image& image);
  static void dispose(hal_object* object);

  Idle idle_;
};

inline Program* cast(hal_program* handle) { return static_cast<Program*>(handle); }
inline const Program* cast(const hal_program* handle) { return static_cast<const Program*>(handle); }

}  // namespace hal::core
