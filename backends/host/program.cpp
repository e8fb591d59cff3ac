// SPDX-License-Identifier: Apache-2.0
#include "program.hpp"

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "driver_kit/errors.hpp"
#include "host.hpp"

namespace hal::host {

namespace {

std::span<const std::byte> bytes_of(const hal_image& image) {
  return {static_cast<const std::byte*>(image.bytes), image.size};
}

bool is(const hal_image& image, const char* format) { return std::strcmp(image.format, format) == 0; }

// "host.cache" is the graph as it was loaded: what the host makes of it is made again as fast as it could be read.
bool is_graph(const hal_image& image) { return is(image, "hal.graph") || is(image, "host.cache"); }

Error unknown_format(const hal_image& image) {
  return kit::error(kOrigin, HAL_UNSUPPORTED,
                    std::string("the host does not load images of format '") + image.format +
                        "'; it loads host.functions, host.so and hal.graph");
}

}  // namespace

void Scratch::grow(std::size_t bytes) {
  bytes_.reset();
  size_ = 0;
  const std::size_t rounded = up_to_page(bytes);
  bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(kPage, rounded)));
  if (!bytes_) { throw std::bad_alloc(); }
  size_ = rounded;
}

void Scratch::reserve(std::size_t bytes) {
  if (bytes <= size_) { return; }
  grow(bytes);
  for (std::size_t at = 0; at < size_; at += kPage) { *reinterpret_cast<volatile std::byte*>(bytes_.get() + at) = {}; }
}

void Scratch::Free::operator()(std::byte* bytes) const { std::free(bytes); }

hal_verdict program_check(hal_driver*, void* device, const hal_image* image) {
  Device& self = device_of(device);
  hal_error* error = kit::guarded(kOrigin, [&]() -> Result<void> {
    if (is(*image, "host.functions")) { return check_functions(bytes_of(*image)); }
    if (is(*image, "host.so")) { return check_object(bytes_of(*image)); }
    if (is_graph(*image)) { return check_graph(bytes_of(*image)); }
    return unknown_format(*image);
  });
  if (error == nullptr) { return kit::yes("loads here"); }
  const Error owned = Error::adopt(error);
  return self.verdicts.no(owned.what());
}

hal_error* program_load(hal_driver*, void* device, const hal_image* image, const hal_signature* signatures,
                        std::uint32_t signature_count, void** out) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    std::unique_ptr<Program> program;
    if (is(*image, "host.functions")) {
      HAL_TRY(program, load_functions(bytes_of(*image), {signatures, signature_count},
                                      {image->constants, image->constant_count}));
    } else if (is(*image, "host.so")) {
      HAL_TRY(program,
              load_object(bytes_of(*image), {signatures, signature_count}, {image->constants, image->constant_count}));
    } else if (is_graph(*image)) {
      HAL_TRY(program, load_graph(bytes_of(*image), device_of(device).pool.get()));
      if (signature_count == 1) {
        for (std::uint32_t i = 0; i < signatures->param_count; ++i) {
          program->directions.push_back(signatures->params[i].direction);
        }
      }
    } else {
      return unknown_format(*image);
    }
    *out = static_cast<kit::LaneProgram*>(program.release());
    return {};
  });
}

hal_error* program_serialize(hal_driver*, void*, void* program, void** out_bytes, std::uint64_t* out_size) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    const auto bytes = static_cast<const Program*>(program)->portable();
    if (bytes.empty()) {
      return kit::error(kOrigin, HAL_UNSUPPORTED, "host functions are addresses of this process and cannot be written");
    }
    void* made = std::malloc(bytes.size());
    if (made == nullptr) { throw std::bad_alloc(); }
    std::memcpy(made, bytes.data(), bytes.size());
    *out_bytes = made;
    *out_size = bytes.size();
    return {};
  });
}

void program_unload(hal_driver*, void*, void* program) { delete static_cast<Program*>(program); }

}  // namespace hal::host
