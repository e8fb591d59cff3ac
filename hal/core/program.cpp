// SPDX-License-Identifier: Apache-2.0
#include "core/program.hpp"

#include <fmt/format.h>

#include <string_view>

#include "core/annotation.hpp"
#include "core/api.hpp"

namespace hal::core {
namespace {

Result<void> check_image(const hal_image& image) {
  if (image.format == nullptr || *image.format == '\0') {
    return Error(HAL_INVALID_ARGUMENT, "hal_image.format is empty; name one, such as \"hal.graph\" or \"ptx\"");
  }
  if (image.bytes == nullptr) {
    return Error(HAL_INVALID_ARGUMENT, fmt::format("hal_image.bytes of format '{}' is NULL", image.format));
  }
  if (image.size == 0) {
    return Error(HAL_INVALID_IMAGE, fmt::format("image of format '{}' has no bytes", image.format));
  }
  return {};
}

Result<Signatures> signatures_of(const hal_image& image) {
  if (std::string_view(image.format) == "hal.graph") { return graph_signatures(image); }
  if (image.manifest == nullptr) {
    return Error(
        HAL_INVALID_IMAGE,
        fmt::format("image of format '{}' has no manifest; only hal.graph carries its own signatures", image.format));
  }
  return parse_manifest(image.manifest);
}

}  // namespace

Result<Ref<Program>> Program::load(Device& device, const hal_image& image) {
  HAL_CHECK(check_image(image));
  HAL_TRY(Signatures signatures, signatures_of(image));
  // First the object, which may find no memory; then what would have to be given back.
  Ref<Program> made(Storage::make<Program>(device.instance().allocator()));
  init(made->object, Kind::program, dispose);
  made->impl = nullptr;
  made->device_impl = device.impl();
  made->device = Ref<Device>::share(&device);
  made->signatures = std::move(signatures);
  const auto& views = made->signatures.views();
  if (hal_error* error = device.driver().program_load(device.driver_self(), device.impl(), &image, views.data(),
                                                      static_cast<std::uint32_t>(views.size()), &made->impl)) {
    made->impl = nullptr;
    return Error::adopt(error).while_doing(
        fmt::format("loading an image of format '{}' on {}", image.format, device.uri()));
  }
  if (Observer* observer = device.instance().observer()) {
    announce(*observer, made->object, {.device = &device, .image = &image});
  }
  return made;
}

void Program::dispose(hal_object* object) {
  auto* self = reinterpret_cast<Program*>(object);
  self->device->instance().when_idle([self] {
    const Device& device = *self->device;
    if (self->impl != nullptr) { device.driver().program_unload(device.driver_self(), device.impl(), self->impl); }
    Storage::unmake(device.instance().allocator(), self);
  });
}

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_verdict hal_device_check(hal_device* device, const hal_image* image) {
  if (device == nullptr || image == nullptr) { return {HAL_NO, "the handle or the image is NULL"}; }
  if (image->format == nullptr || image->bytes == nullptr || image->size == 0) {
    return {HAL_NO, "the image has no format or no bytes"};
  }
  // The driver may not look at a manifest at all; what load refuses for it, check must refuse too.
  if (std::string_view(image->format) != "hal.graph" && !signatures_of(*image)) {
    return {HAL_NO, "the manifest is missing or damaged; hal_program_load() names the line"};
  }
  const Device& self = *cast(device);
  const hal_verdict verdict = self.driver().program_check(self.driver_self(), self.impl(), image);
  return {verdict.support, verdict.why != nullptr ? verdict.why : ""};
}

extern "C" hal_error* hal_program_load(hal_device* device, const hal_image* image, hal_program** out) {
  return guarded("hal_program_load", {device, image, out}, [&]() -> hal::Result<void> {
    HAL_TRY(auto made, Program::load(*cast(device), *image));
    *out = made.take();
    return {};
  });
}

extern "C" std::uint32_t hal_program_entry_count(const hal_program* program) {
  return program != nullptr ? static_cast<std::uint32_t>(cast(program)->signatures.views().size()) : 0;
}

extern "C" hal_error* hal_program_entry(const hal_program* program, const char* name, std::uint32_t* out) {
  return guarded("hal_program_entry", {program, name, out}, [&]() -> hal::Result<void> {
    const Signatures& signatures = cast(program)->signatures;
    std::uint32_t index = 0;
    if (signatures.find(name, index) == nullptr) {
      return hal::Error(HAL_NOT_FOUND,
                        fmt::format("the program has no entry '{}'; it has: {}", name, signatures.names()));
    }
    *out = index;
    return {};
  });
}

extern "C" const hal_signature* hal_program_signature(const hal_program* program, std::uint32_t i) {
  if (program == nullptr || i >= cast(program)->signatures.views().size()) { return nullptr; }
  return &cast(program)->signatures.views()[i];
}
