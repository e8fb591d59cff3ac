// SPDX-License-Identifier: Apache-2.0
#include "core/program.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/bundle.hpp"
#include "core/cache.hpp"

namespace hal::core {
namespace {

bool is_bundle(const hal_image& image) { return std::string_view(image.format) == "hal.bundle"; }
bool is_compiled(const hal_image& image) { return std::string_view(image.format) == "hal.program"; }
bool has_own_signatures(const hal_image& image) {
  return is_bundle(image) || is_compiled(image) || std::string_view(image.format) == "hal.graph";
}

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
  if (image.manifest != nullptr && has_own_signatures(image)) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("hal_image.manifest is given, and images of format '{}' carry their own signatures, so "
                             "that it would be ignored; leave it NULL",
                             image.format));
  }
  return {};
}

std::string names_of(const std::vector<hal_constant>& constants) {
  std::string out;
  for (const hal_constant& each : constants) {
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", each.name, name_of(each.dtype));
  }
  return out.empty() ? "none" : out;
}

// Puts the values that a load gives in place of the manifest's defaults.
Result<void> give_constants(const hal_image& image, std::vector<hal_constant>& declared) {
  const auto bad = [](const std::string& what) { return Error(HAL_INVALID_ARGUMENT, what); };
  if (image.constants == nullptr && image.constant_count != 0) {
    return bad(fmt::format("hal_image.constant_count is {}, but constants is NULL", image.constant_count));
  }
  std::vector<bool> given(declared.size());
  for (const hal_constant& each : std::span(image.constants, image.constant_count)) {
    if (each.name == nullptr) { return bad("a constant has no name"); }
    const auto found = std::find_if(declared.begin(), declared.end(), [&](const hal_constant& constant) {
      return std::string_view(constant.name) == each.name;
    });
    if (found == declared.end()) {
      return bad(fmt::format("the program has no constant '{}'; it has: {}", each.name, names_of(declared)));
    }
    if (each.dtype != found->dtype || each.size != found->size) {
      return bad(fmt::format("constant '{}' is {} of {} bytes, got {} of {}", each.name, name_of(found->dtype),
                             found->size, name_of(each.dtype), each.size));
    }
    if (found->dtype == HAL_BOOL && each.value[0] > 1) {
      return bad(fmt::format("constant '{}' is bool, got byte {}; it is 0 or 1", each.name, each.value[0]));
    }
    const auto i = static_cast<std::size_t>(found - declared.begin());
    if (given[i]) { return bad(fmt::format("constant '{}' is given twice", each.name)); }
    given[i] = true;
    std::memcpy(found->value, each.value, found->size);
  }
  return {};
}

// The signatures, with the constants that this load gives.
Result<Signatures> signatures_of(const Device& device, const hal_image& image) {
  if (std::string_view(image.format) != "hal.graph" && image.manifest == nullptr) {
    return Error(
        HAL_INVALID_IMAGE,
        fmt::format("image of format '{}' has no manifest; only hal.graph carries its own signatures", image.format));
  }
  HAL_TRY(Signatures out,
          std::string_view(image.format) == "hal.graph" ? graph_signatures(image) : parse_manifest(image.manifest));
  HAL_CHECK(give_constants(image, out.constants()));
  if (!out.constants().empty()) {
    const hal_verdict verdict = device.driver().supports(device.driver_self(), device.impl(), "constants");
    if (verdict.support == HAL_NO) {
      return Error(HAL_UNSUPPORTED,
                   fmt::format("the manifest declares specialisation constants ({}), and {} has none: {}",
                               names_of(out.constants()), device.uri(), verdict.why));
    }
  }
  return out;
}

// What a driver gets: the image with all constants, the defaults too.
hal_image with_constants(const hal_image& image, const Signatures& signatures) {
  hal_image full = image;
  full.constants = signatures.constants().data();
  full.constant_count = signatures.constants().size();
  return full;
}

// The images of a bundle, each with the constants that the load gives.
Result<std::vector<hal_image>> images_of(const hal_image& bundle) {
  HAL_TRY(auto images, read_bundle({static_cast<const std::byte*>(bundle.bytes), bundle.size}));
  for (hal_image& each : images) {
    each.constants = bundle.constants;
    each.constant_count = bundle.constant_count;
  }
  return images;
}

// What the driver's compiled form is called, and the image that it is.
std::string compiled_format(const Device& device) { return fmt::format("{}.cache", device.describe().driver); }

Result<Compiled> compiled_for(const Device& device, const hal_image& image) {
  HAL_TRY(Compiled found, read_compiled({static_cast<const std::byte*>(image.bytes), image.size}));
  if (image.constant_count != 0) {
    return Error(HAL_INVALID_ARGUMENT, "a hal.program has the constants that it was loaded with, and takes no others");
  }
  if (found.identity == device.identity()) { return found; }
  return Error(HAL_INCOMPATIBLE, fmt::format("the hal.program was made by: {}; {} is: {}. Load its source again",
                                             found.identity, device.uri(), device.identity()));
}

// The key of the cache: everything that the compiled form depends on.
Digest key_of(const Device& device, const hal_image& image, const Signatures& signatures) {
  Sha256 hash;
  hash.add_part(std::string_view("hal.program 1"));
  hash.add_part(device.identity());
  hash.add_part(std::string_view(image.format));
  hash.add_part(std::string_view(image.manifest != nullptr ? image.manifest : ""));
  for (const hal_constant& constant : signatures.constants()) {
    hash.add_part(std::string_view(constant.name));
    hash.add_part(std::as_bytes(std::span(constant.value)));
  }
  hash.add_part({static_cast<const std::byte*>(image.bytes), image.size});
  return hash.finish();
}

std::string refusal_of_driver(const Device& device, const hal_image& image) {
  hal_verdict verdict{};
  if (const Result<void> done = call_driver(device.loaded(), "program_check",
                                            [&]() -> hal_error* {
                                              verdict = device.driver().program_check(device.driver_self(),
                                                                                      device.impl(), &image);
                                              return nullptr;
                                            });
      !done) {
    return std::string(done.error().what());
  }
  if (verdict.support != HAL_NO) { return {}; }
  return verdict.why != nullptr && *verdict.why != '\0' ? verdict.why : "the driver gives no reason";
}

// "" if the device takes the image, else why not.
std::string refusal(Device& device, const hal_image& image) {
  if (Result<void> fine = check_image(image); !fine) { return std::string(fine.error().what()); }
  if (is_bundle(image)) {
    const auto images = images_of(image);
    if (!images) { return std::string(images.error().what()); }
    return Program::choose(device, *images).reasons;
  }
  if (is_compiled(image)) {
    const auto found = compiled_for(device, image);
    if (!found) { return std::string(found.error().what()); }
    const std::string format = compiled_format(device);
    const hal_image inner{format.c_str(), found->payload.data(), found->payload.size(), nullptr, nullptr, 0};
    return refusal_of_driver(device, with_constants(inner, found->signatures));
  }
  // The driver may not look at a manifest at all; what load refuses for it, check must refuse too.
  const auto signatures = signatures_of(device, image);
  if (!signatures) { return std::string(signatures.error().what()); }
  return refusal_of_driver(device, with_constants(image, *signatures));
}

}  // namespace

Result<void> Program::load_impl(const hal_image& image) {
  const auto& views = signatures.views();
  const hal_image full = with_constants(image, signatures);
  Result<void> loaded = call_driver(device->loaded(), "program_load", [&] {
    return device->driver().program_load(device->driver_self(), device->impl(), &full, views.data(),
                                         static_cast<std::uint32_t>(views.size()), &impl);
  });
  if (loaded) { return {}; }
  impl = nullptr;
  return std::move(loaded).error().while_doing(
      fmt::format("loading an image of format '{}' on {}", image.format, device->uri()));
}

Result<std::vector<std::byte>> Program::serialize(const Digest& source) const {
  const hal_driver_ops& ops = device->driver();
  if (ops.program_serialize == nullptr) {
    return Error(HAL_UNSUPPORTED,
                 fmt::format("driver {} has no compiled form of programs; keep the image", device->describe().driver));
  }
  void* bytes = nullptr;
  std::uint64_t size = 0;
  Result<void> made = call_driver(device->loaded(), "program_serialize", [&] {
    return ops.program_serialize(device->driver_self(), device->impl(), impl, &bytes, &size);
  });
  if (!made) { return std::move(made).error().while_doing(fmt::format("serialising a program of {}", device->uri())); }
  const std::unique_ptr<void, decltype(&std::free)> owned(bytes, &std::free);
  return write_compiled(device->identity(), source, signatures, {static_cast<const std::byte*>(bytes), size});
}

// True if the cache had it. What is wrong with the cache is a warning, and the image is loaded.
bool Program::load_cached(ProgramCache& cache, const Digest& key) {
  const auto bytes = cache.read(key, device->identity());
  if (!bytes) { return false; }
  Result<Compiled> found = read_compiled(*bytes);  // once more: its parts point into these bytes
  if (!found) { return false; }
  const std::string format = compiled_format(*device);
  const hal_image image{format.c_str(), found->payload.data(), found->payload.size(), nullptr, nullptr, 0};
  if (const Result<void> loaded = load_impl(image); !loaded) {
    cache.refused(key, std::string(loaded.error().text()));
    return false;
  }
  ++cache.hits;
  return true;
}

Result<Ref<Program>> Program::load_one(Device& device, const hal_image& image) {
  Compiled compiled;
  if (is_compiled(image)) { HAL_TRY(compiled, compiled_for(device, image)); }
  Signatures signatures = std::move(compiled.signatures);
  if (!is_compiled(image)) { HAL_TRY(signatures, signatures_of(device, image)); }
  // First the object, which may find no memory; then what would have to be given back.
  Ref<Program> made(Storage::make<Program>(device.instance().allocator()));
  init(made->object, Kind::program, dispose);
  made->impl = nullptr;
  made->device_impl = device.impl();
  made->device = Ref<Device>::share(&device);
  made->signatures = std::move(signatures);
  made->launches = Launches(made->signatures.views());
  if (is_compiled(image)) {
    const std::string format = compiled_format(device);
    HAL_CHECK(made->load_impl({format.c_str(), compiled.payload.data(), compiled.payload.size(), nullptr, nullptr, 0}));
  } else if (ProgramCache* cache = device.instance().cache(); cache != nullptr &&
                                                              device.driver().program_key != nullptr &&
                                                              device.driver().program_serialize != nullptr) {
    const Digest key = key_of(device, image, made->signatures);
    if (!made->load_cached(*cache, key)) {
      HAL_CHECK(made->load_impl(image));
      if (const auto bytes = made->serialize(key)) { cache->write(key, *bytes); }
    }
  } else {
    HAL_CHECK(made->load_impl(image));
  }
  if (Observer* observer = device.instance().observer()) {
    announce(*observer, made->object, {.device = &device, .image = &image});
  }
  return made;
}

Program::Choice Program::choose(Device& device, std::span<const hal_image> images) {
  Choice choice;
  for (const hal_image& image : images) {
    const std::string why = refusal(device, image);
    if (why.empty()) { return {choice.index, true, {}}; }
    choice.reasons += fmt::format("{}image {} ('{}'): {}", choice.index != 0 ? "\n" : "", choice.index,
                                  image.format != nullptr ? image.format : "", why);
    ++choice.index;
  }
  return choice;
}

Result<Ref<Program>> Program::load_any(Device& device, std::span<const hal_image> images, std::uint32_t* chosen) {
  const Choice choice = choose(device, images);
  if (!choice.found) {
    return Error(HAL_UNSUPPORTED,
                 fmt::format("{} takes none of {} images:\n{}", device.uri(), images.size(), choice.reasons));
  }
  HAL_TRY(auto made, load(device, images[choice.index]));
  if (chosen != nullptr) { *chosen = choice.index; }
  return made;
}

Result<Ref<Program>> Program::load(Device& device, const hal_image& image) {
  HAL_CHECK(check_image(image));
  if (!is_bundle(image)) { return load_one(device, image); }
  HAL_TRY(const auto images, images_of(image));
  return load_any(device, images, nullptr);
}

void Program::dispose(hal_object* object) {
  auto* self = reinterpret_cast<Program*>(object);
  self->idle_.task = {[](void* of) {
                        auto* gone = static_cast<Program*>(of);
                        const Device& device = *gone->device;
                        if (gone->impl != nullptr) {
                          device.driver().program_unload(device.driver_self(), device.impl(), gone->impl);
                        }
                        Storage::unmake(device.instance().allocator(), gone);
                      },
                      self};
  self->device->instance().when_idle(self->idle_, self->device.get());  // no other device's lane runs it
}

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_verdict hal_device_check(hal_device* device, const hal_image* image) {
  if (device == nullptr || image == nullptr) { return {HAL_NO, "the handle or the image is NULL"}; }
  Device& self = *cast(device);
  try {
    if (std::string why = refusal(self, *image); !why.empty()) { return {HAL_NO, self.keep(std::move(why))}; }
    return {self.traits().info.is_emulated != 0 ? HAL_EMULATED : HAL_YES,
            self.traits().info.is_emulated != 0 ? "it loads, on an emulated device" : "it loads"};
  } catch (const std::exception&) { return {HAL_NO, "the host has no memory left"}; }
}

extern "C" hal_error* hal_program_load(hal_device* device, const hal_image* image, hal_program** out) {
  return guarded("hal_program_load", {device, image, out}, [&]() -> hal::Result<void> {
    HAL_TRY(auto made, Program::load(*cast(device), *image));
    *out = made.take();
    return {};
  });
}

extern "C" hal_error* hal_program_load_any(hal_device* device, const hal_image* images, std::uint32_t count,
                                           hal_program** out, std::uint32_t* chosen) {
  return guarded("hal_program_load_any", {device, out}, [&]() -> hal::Result<void> {
    if (images == nullptr || count == 0) {
      return hal::Error(HAL_INVALID_ARGUMENT, "hal_program_load_any(): there is no image to choose from");
    }
    HAL_TRY(auto made, Program::load_any(*cast(device), {images, count}, chosen));
    *out = made.take();
    return {};
  });
}

extern "C" hal_error* hal_program_serialize(const hal_program* program, void** out_bytes, std::uint64_t* out_size) {
  return guarded("hal_program_serialize", {program, out_bytes, out_size}, [&]() -> hal::Result<void> {
    HAL_TRY(const std::vector<std::byte> bytes, cast(program)->serialize({}));
    void* made = std::malloc(bytes.size());
    if (made == nullptr) { throw std::bad_alloc(); }
    std::memcpy(made, bytes.data(), bytes.size());
    *out_bytes = made;
    *out_size = bytes.size();
    return {};
  });
}

extern "C" std::uint32_t hal_program_constant(const hal_program* program, std::uint32_t i, hal_constant* out) {
  if (program == nullptr || out == nullptr || i >= cast(program)->signatures.constants().size()) { return 0; }
  *out = cast(program)->signatures.constants()[i];
  return 1;
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

extern "C" hal_error* hal_bundle_create(const hal_image* images, std::uint32_t count, void** out_bytes,
                                        std::uint64_t* out_size) {
  return guarded("hal_bundle_create", {images, out_bytes, out_size}, [&]() -> hal::Result<void> {
    HAL_TRY(const std::vector<std::byte> bytes, write_bundle({images, count}));
    void* made = std::malloc(bytes.size());
    if (made == nullptr) { throw std::bad_alloc(); }
    std::memcpy(made, bytes.data(), bytes.size());
    *out_bytes = made;
    *out_size = bytes.size();
    return {};
  });
}

extern "C" void hal_free_bytes(void* bytes) { std::free(bytes); }
