// SPDX-License-Identifier: Apache-2.0
// Programs: hal.graph, compiled here, and rngd.image as it is.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>

#include "backend.hpp"
#include "compile.hpp"
#include "driver_kit/errors.hpp"

namespace hal::rngd_backend {

namespace {

bool is(const hal_image& image, const char* format) { return std::strcmp(image.format, format) == 0; }

std::span<const std::byte> bytes_of(const hal_image& image) {
  return {static_cast<const std::byte*>(image.bytes), image.size};
}

Error unknown_format(const hal_image& image) {
  return kit::error(kOrigin, HAL_UNSUPPORTED,
                    fmt::format("images of format '{}' do not load here: RNGD is a graph device and takes hal.graph "
                                "and rngd.image; no kernel format of it is public",
                                image.format));
}

// "rngd.cache": the compiled image and the labels of its operations. A head, the labels each with a length in front,
// then the image at the next multiple of 64.
struct CacheHead {
  char magic[8] = {'R', 'N', 'G', 'D', 'C', 'M', 'P', '1'};
  std::uint64_t labels = 0;
  std::uint64_t image_bytes = 0;
};
constexpr std::size_t kCacheAlignment = 64, kMostLabels = 1U << 20U, kLongestLabel = 4096;

std::vector<std::byte> write_cache(const Loaded& program) {
  CacheHead head;
  head.labels = program.labels.size();
  head.image_bytes = program.image.size();
  std::vector<std::byte> out;
  const auto add = [&](const void* bytes, std::size_t size) {
    const auto* first = static_cast<const std::byte*>(bytes);
    out.insert(out.end(), first, first + size);
  };
  add(&head, sizeof head);
  for (const std::string& label : program.labels) {
    const auto size = static_cast<std::uint32_t>(std::min(label.size(), kLongestLabel));
    add(&size, sizeof size);
    add(label.data(), size);
  }
  out.resize((out.size() + kCacheAlignment - 1) / kCacheAlignment * kCacheAlignment);
  add(program.image.data(), program.image.size());
  return out;
}

Result<Compiled> read_cache(std::span<const std::byte> bytes) {
  const auto damaged = [](std::size_t offset, const char* what) {
    return kit::error(kOrigin, HAL_INVALID_IMAGE, fmt::format("rngd.cache: offset {}: {}", offset, what));
  };
  CacheHead head, expected;
  if (bytes.size() < sizeof head) { return damaged(0, "the head is cut short"); }
  std::memcpy(&head, bytes.data(), sizeof head);
  if (std::memcmp(head.magic, expected.magic, sizeof head.magic) != 0) {
    return damaged(0, "the magic is not RNGDCMP1");
  }
  if (head.labels > kMostLabels) { return damaged(8, "there are too many labels"); }
  Compiled out;
  std::size_t at = sizeof head;
  for (std::uint64_t i = 0; i < head.labels; ++i) {
    std::uint32_t size = 0;
    if (bytes.size() - at < sizeof size) { return damaged(at, "the labels are cut short"); }
    std::memcpy(&size, bytes.data() + at, sizeof size);
    at += sizeof size;
    if (size > kLongestLabel || bytes.size() - at < size) { return damaged(at, "a label ends behind the file"); }
    out.labels.emplace_back(reinterpret_cast<const char*>(bytes.data() + at), size);
    at += size;
  }
  at = (at + kCacheAlignment - 1) / kCacheAlignment * kCacheAlignment;
  if (at > bytes.size() || bytes.size() - at != head.image_bytes) { return damaged(16, "the image is not the rest"); }
  out.image.assign(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end());
  return out;
}

CompileOptions options_of(const Device& device, bool shared = false) {
  return {device.pe_count, device.round_f32, shared};
}

// Of a closed graph, or of what is compiled already.
Result<Compiled> image_of(const Device& device, const hal_image& image) {
  if (is(image, "hal.graph")) {
    HAL_TRY(const graph::View view, graph::View::verify(bytes_of(image)));
    return compile(view, options_of(device));
  }
  if (is(image, "rngd.cache")) { return read_cache(bytes_of(image)); }
  if (!is(image, "rngd.image")) { return unknown_format(image); }
  const auto bytes = bytes_of(image);
  return Compiled{{bytes.begin(), bytes.end()}, {}};
}

Result<void> check_fit(const Device& device, const rngd_program_info& info) {
  if (info.pe_count <= device.pe_count) { return {}; }
  return kit::error(
      kOrigin, HAL_INCOMPATIBLE,
      fmt::format("the program is made for {} PEs, {} has {}", info.pe_count, device.uri, device.pe_count));
}

// What the manifest says of an rngd.image must be what the image says of itself.
Result<void> check_signature(const Loaded& program, std::span<const hal_signature> signatures) {
  const auto wrong = [](const std::string& what) { return kit::error(kOrigin, HAL_INVALID_IMAGE, what); };
  if (signatures.size() != 1 || signatures[0].kind != HAL_GRAPH) {
    return wrong(fmt::format("manifest: {} entries, an rngd.image has one, a graph", signatures.size()));
  }
  const hal_signature& signature = signatures[0];
  if (signature.param_count != program.info.binding_count) {
    return wrong(fmt::format("manifest: entry '{}' has {} parameters, the program has {}", signature.name,
                             signature.param_count, program.info.binding_count));
  }
  for (std::uint32_t i = 0; i < signature.param_count; ++i) {
    const hal_param& param = signature.params[i];
    rngd_binding_info binding;
    rngd_program_get_binding(program.handle, i, &binding);
    const bool tensor = param.kind == HAL_PARAM_TENSOR && static_cast<std::uint32_t>(param.dtype) == binding.dtype &&
                        param.direction == (binding.output != 0 ? HAL_OUT : HAL_IN) && param.rank == binding.rank &&
                        std::equal(param.dims, param.dims + std::min<std::uint32_t>(param.rank, 8), binding.dims);
    if (!tensor) {
      return wrong(
          fmt::format("manifest: parameter {} ('{}') is not the program's '{}': direction, type and shape must "
                      "be the same",
                      i, param.name, binding.name));
    }
  }
  return {};
}

Result<std::shared_ptr<const Loaded>> put_on_card(Device& device, Compiled compiled,
                                                  std::shared_ptr<const SharedConstants> constants = {}) {
  auto made = std::make_shared<Loaded>(device);
  made->constants = std::move(constants);
  rngd_error error{};
  if (rngd_image_check(compiled.image.data(), compiled.image.size(), &made->info, &error) != RNGD_OK) {
    return Error::adopt(make_error(error, error.text));
  }
  HAL_CHECK(check_fit(device, made->info));
  if (rngd_program_load(device.partition, compiled.image.data(), compiled.image.size(), &made->handle, &error) !=
      RNGD_OK) {
    return Error::adopt(make_error(error, error.text));
  }
  if (made->info.scratch_bytes != 0 &&
      rngd_memory_alloc(device.partition, made->info.scratch_bytes, &made->scratch, &error) != RNGD_OK) {
    return Error::adopt(make_error(error, fmt::format("intermediates that do not fit on chip: {}", error.text)));
  }
  made->labels = std::move(compiled.labels);
  made->image = std::move(compiled.image);
  const std::lock_guard lock(device.mutex);
  device.programs.push_back(made.get());
  return std::shared_ptr<const Loaded>(std::move(made));
}

// A graph whose sizes come with its runs; null if the image is anything else.
Result<std::unique_ptr<OpenGraph>> open_graph(const hal_image& image) {
  if (!is(image, "hal.graph")) { return std::unique_ptr<OpenGraph>(); }
  graph::ImageCopy copy(bytes_of(image));
  HAL_TRY(graph::View view, graph::View::verify_dynamic(copy.bytes()));
  if (!view.is_dynamic()) { return std::unique_ptr<OpenGraph>(); }
  HAL_CHECK(check_types(view));
  return std::make_unique<OpenGraph>(std::move(copy), std::move(view));
}

// Writes a graph's larger constants where all of its programs will read them. Null where there are none, or the bus has
// no aperture to write through: each program then has its own.
Result<std::shared_ptr<const SharedConstants>> share_constants(Device& device, const graph::View& view) {
  const auto aligned = [](std::uint64_t bytes) { return (bytes + 63U) & ~std::uint64_t{63}; };
  const std::vector<std::uint32_t> tensors = shared_constants(view);
  std::uint64_t bytes = 0;
  for (const std::uint32_t tensor : tensors) { bytes += aligned(view.tensor(tensor).bytes); }
  if (bytes == 0) { return std::shared_ptr<const SharedConstants>(); }
  auto made = std::make_shared<SharedConstants>(device);
  made->bindings.reserve(tensors.size());
  rngd_error error{};
  if (rngd_memory_alloc(device.partition, bytes, &made->memory, &error) != RNGD_OK) {
    return Error::adopt(make_error(error, fmt::format("constants of a graph: {}", error.text)));
  }
  void* mapped = nullptr;
  if (rngd_memory_map(device.partition, made->memory, bytes, &mapped, &error) != RNGD_OK) {
    return std::shared_ptr<const SharedConstants>();
  }
  std::uint64_t at = 0;
  for (const std::uint32_t number : tensors) {
    const graph::Tensor& tensor = view.tensor(number);
    std::memcpy(static_cast<std::byte*>(mapped) + at, tensor.data.data(), tensor.data.size());
    made->bindings.push_back({{made->memory.value + at, RNGD_SPACE_HBM, 0}, tensor.bytes});
    at += aligned(tensor.bytes);
  }
  rngd_memory_unmap(device.partition, made->memory, bytes);
  return std::shared_ptr<const SharedConstants>(std::move(made));
}

}  // namespace

SharedConstants::~SharedConstants() {
  if (memory.value != 0) { rngd_memory_free(device.partition, memory, nullptr); }
}

Loaded::~Loaded() {
  {
    const std::lock_guard lock(device.mutex);
    std::erase(device.programs, this);
  }
  if (handle != nullptr) { rngd_program_unload(handle); }
  if (scratch.value != 0) { rngd_memory_free(device.partition, scratch, nullptr); }
}

std::shared_ptr<const Loaded> Program::find(const hal_command& command) const {
  if (open == nullptr) { return fixed; }
  return open->instances.find(graph::GivenExtents(command, open->instances.view()).span());
}

Result<std::shared_ptr<const Loaded>> Program::obtain(Device& device, const hal_command& command) const {
  if (open == nullptr) { return fixed; }
  const graph::GivenExtents extents(command, open->instances.view());
  return open->instances.obtain(extents.span(), [&](const graph::View& bound) -> Result<std::shared_ptr<const Loaded>> {
    HAL_TRY(Compiled compiled, compile(bound, options_of(device, open->constants != nullptr)));
    return put_on_card(device, std::move(compiled), open->constants);
  });
}

hal_verdict program_check(hal_driver*, void* device, const hal_image* image) {
  auto& self = *static_cast<Device*>(device);
  hal_error* error = kit::guarded(kOrigin, [&]() -> Result<void> {
    HAL_TRY(const auto open, open_graph(*image));
    if (open != nullptr) { return {}; }
    HAL_TRY(const Compiled compiled, image_of(self, *image));
    rngd_program_info info;
    rngd_error why{};
    if (rngd_image_check(compiled.image.data(), compiled.image.size(), &info, &why) != RNGD_OK) {
      return Error::adopt(make_error(why, why.text));
    }
    return check_fit(self, info);
  });
  if (error == nullptr) { return kit::yes("loads here"); }
  const Error owned = Error::adopt(error);
  return self.verdicts.no(owned.what());
}

hal_error* program_load(hal_driver*, void* device, const hal_image* image, const hal_signature* signatures,
                        std::uint32_t signature_count, void** out) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    auto& self = *static_cast<Device*>(device);
    auto program = std::make_unique<Program>();
    HAL_TRY(program->open, open_graph(*image));
    if (program->open != nullptr) {
      HAL_TRY(program->open->constants, share_constants(self, program->open->instances.view()));
    } else {
      HAL_TRY(Compiled compiled, image_of(self, *image));
      HAL_TRY(program->fixed, put_on_card(self, std::move(compiled)));
      if (!is(*image, "hal.graph")) { HAL_CHECK(check_signature(*program->fixed, {signatures, signature_count})); }
    }
    *out = program.release();
    return {};
  });
}

hal_error* program_serialize(hal_driver*, void*, void* program, void** out_bytes, std::uint64_t* out_size) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    const Loaded* fixed = static_cast<const Program*>(program)->fixed.get();
    if (fixed == nullptr) {
      return kit::error(kOrigin, HAL_UNSUPPORTED,
                        "a graph whose sizes come with its runs is compiled for each set of them; keep the graph");
    }
    const std::vector<std::byte> bytes = write_cache(*fixed);
    void* made = std::malloc(bytes.size());
    if (made == nullptr) { throw std::bad_alloc(); }
    std::memcpy(made, bytes.data(), bytes.size());
    *out_bytes = made;
    *out_size = bytes.size();
    return {};
  });
}

const char* program_key(hal_driver*, void* device) { return static_cast<const Device*>(device)->key.c_str(); }

void program_unload(hal_driver*, void* device, void* program) {
  static_cast<Device*>(device)->background.drain(
      program);  // a lane that has failed may still be making one of its programs
  delete static_cast<Program*>(program);
}

}  // namespace hal::rngd_backend
