// SPDX-License-Identifier: Apache-2.0
// PTX images with a manifest, and the choice between image formats.
#include <fmt/format.h>

#include <cstring>

#include "cuda.hpp"
#include "driver_kit/errors.hpp"
#include "driver_kit/slices.hpp"
#include "graph_kernels_loader.hpp"
#include "graph_program.hpp"
#include "lane.hpp"

namespace hal::cuda {

namespace {

struct Parameter {
  bool buffer = false;
  std::uint64_t bytes = 0;
};
struct Entry {
  CUkernel kernel = nullptr;
  std::string name;
  std::vector<Parameter> parameters;
  std::uint32_t group_size[3] = {1, 1, 1};
  std::uint32_t shared_bytes = 0;
  std::atomic<bool> loaded{false};  // its code is in the context
};

// Gives the module's variables the values of the specialisation constants. A constant is a module-scope variable of the
// same name (".visible .const", in CUDA C++ extern "C" __constant__): the compiler may not fold it, but each load has
// its own copy, which no launch can change.
Result<void> set_constants(const Device& device, CUlibrary library, std::span<const hal_constant> constants) {
  if (constants.empty()) { return {}; }
  const Api& api = device.api();
  StreamOwner own{api};
  HAL_CHECK(check(api, api.StreamCreate(&own.stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate failed"));
  Result<void> result;
  for (const hal_constant& constant : constants) {
    CUdeviceptr address = 0;
    std::size_t bytes = 0;
    const CUresult found = api.LibraryGetGlobal(&address, &bytes, library, constant.name);
    if (found == CUDA_ERROR_NOT_FOUND) {
      result =
          kit::error(kOrigin, HAL_INVALID_IMAGE,
                     fmt::format("the manifest declares constant '{}', and the PTX has no visible variable of that "
                                 "name",
                                 constant.name));
    } else if (found != CUDA_SUCCESS) {
      result = fail(api, found, fmt::format("cuLibraryGetGlobal of constant '{}' failed", constant.name));
    } else if (bytes != constant.size) {
      result = kit::error(kOrigin, HAL_INVALID_IMAGE,
                          fmt::format("constant '{}' has {} bytes in the manifest and {} in the PTX", constant.name,
                                      constant.size, bytes));
    } else {
      result = check(api, api.MemcpyHtoDAsync(address, constant.value, bytes, own.stream),
                     "cuMemcpyHtoDAsync of a constant failed");
    }
    if (!result) { break; }
  }
  const Result<void> done = check(api, api.StreamSynchronize(own.stream), "the upload of constants failed");
  return result ? done : result;
}

class KernelProgram final : public Program {
 public:
  explicit KernelProgram(Device& device) : device_(device) {}
  ~KernelProgram() override {
    device_.enter();
    if (library_ != nullptr) { device_.api().LibraryUnload(library_); }
  }

  Result<void> load(const std::string& text, std::span<const hal_signature> signatures,
                    std::span<const hal_constant> constants) {
    device_.enter();
    HAL_TRY(library_, load_ptx(device_, text.c_str()));
    HAL_CHECK(set_constants(device_, library_, constants));
    for (const hal_signature& s : signatures) {
      Entry& entry = entries_.emplace_back();
      entry.name = s.name;
      if (s.kind != HAL_KERNEL) {
        return kit::error(kOrigin, HAL_INVALID_IMAGE,
                          fmt::format("entry '{}' is declared a graph, but a ptx image holds kernels", s.name));
      }
      const CUresult found = device_.api().LibraryGetKernel(&entry.kernel, library_, s.name);
      if (found == CUDA_ERROR_NOT_FOUND) {
        return kit::error(kOrigin, HAL_INVALID_IMAGE,
                          fmt::format("the manifest declares entry '{}', which the PTX does not define", s.name));
      }
      HAL_CHECK(check(device_.api(), found, "cuLibraryGetKernel failed"));
      for (std::uint32_t i = 0; i < s.param_count; ++i) {
        const bool scalar = s.params[i].kind == HAL_PARAM_SCALAR;
        entry.parameters.push_back({!scalar, scalar ? s.params[i].bytes : sizeof(CUdeviceptr)});
      }
      // Extents of dynamic dimensions come behind the parameters, as i64.
      for (std::uint32_t i = 0; i < s.symbol_count; ++i) { entry.parameters.push_back({false, sizeof(std::int64_t)}); }
      HAL_CHECK(compare_parameters(entry, s));
      for (std::size_t d = 0; d < 3; ++d) { entry.group_size[d] = s.group_size[d] != 0 ? s.group_size[d] : 1; }
      entry.shared_bytes = static_cast<std::uint32_t>(s.shared_bytes);
    }
    return {};
  }

  // With CUDA_MODULE_LOADING=LAZY, the default since 12.2, a kernel's code reaches the context when its function is
  // first asked for (CUDA programming guide, "Lazy loading"), which may wait for everything that runs there.
  Result<void> obtain(Lane&, const hal_command& command) override {
    Entry& entry = entries_[command.as.run.entry];
    if (entry.loaded.load(std::memory_order_acquire)) { return {}; }
    CUfunction function = nullptr;
    HAL_CHECK(
        check(device_.api(), device_.api().KernelGetFunction(&function, entry.kernel), "cuKernelGetFunction failed"));
    entry.loaded.store(true, std::memory_order_release);
    return {};
  }

  Result<bool> enqueue(Lane& lane, std::uint64_t, const hal_command& command) override {
    const auto& run = command.as.run;
    Entry& entry = entries_[run.entry];
    if (!entry.loaded.load(std::memory_order_acquire)) { return false; }
    CUdeviceptr addresses[kMostParameters];
    void* parameters[kMostParameters];
    for (std::uint32_t i = 0; i < run.arg_count; ++i) {
      const hal_arg& arg = run.args[i];
      if (!entry.parameters[i].buffer) {
        parameters[i] = const_cast<unsigned char*>(arg.value.scalar);  // taken by the launch
        continue;
      }
      addresses[i] = kit::device_address(arg.value.slice);
      if (addresses[i] == 0) {
        return kit::error(
            kOrigin, HAL_UNSUPPORTED,
            fmt::format("argument {} of '{}' is host memory; kernels reach device buffers only", i, entry.name));
      }
      parameters[i] = &addresses[i];
    }
    std::uint32_t grid[3], block[3];
    const bool own_size = run.grid.group_size[0] == 0 && run.grid.group_size[1] == 0 && run.grid.group_size[2] == 0;
    for (std::size_t d = 0; d < 3; ++d) {
      grid[d] = run.grid.groups[d];
      block[d] = own_size ? entry.group_size[d] : std::max(run.grid.group_size[d], 1u);
    }
    HAL_CHECK(lane.launch(entry.kernel, grid, block, entry.shared_bytes + run.grid.shared_bytes, parameters));
    return true;
  }

 private:
  static constexpr std::size_t kMostParameters =
      256 + 64;  // the manifest's limits: parameters, and symbols behind them

  // The binary knows sizes, the manifest knows types: they must agree.
  Result<void> compare_parameters(const Entry& entry, const hal_signature& s) {
    if (device_.api().KernelGetParamInfo == nullptr) { return {}; }  // drivers before 12.4 do not tell
    std::size_t offset = 0, size = 0;
    for (std::size_t i = 0; i < entry.parameters.size(); ++i) {
      if (device_.api().KernelGetParamInfo(entry.kernel, i, &offset, &size) != CUDA_SUCCESS) {
        return kit::error(
            kOrigin, HAL_INVALID_IMAGE,
            fmt::format("the manifest gives '{}' {} parameters, the PTX has {}", s.name, entry.parameters.size(), i));
      }
      if (size != entry.parameters[i].bytes) {
        return kit::error(kOrigin, HAL_INVALID_IMAGE,
                          fmt::format("parameter {} ('{}') of '{}' has {} bytes in the manifest and {} in the PTX", i,
                                      i < s.param_count ? s.params[i].name : s.symbols[i - s.param_count], s.name,
                                      entry.parameters[i].bytes, size));
      }
    }
    if (device_.api().KernelGetParamInfo(entry.kernel, entry.parameters.size(), &offset, &size) == CUDA_SUCCESS) {
      return kit::error(kOrigin, HAL_INVALID_IMAGE,
                        fmt::format("the PTX gives '{}' more than the {} parameters of the manifest", s.name,
                                    entry.parameters.size()));
    }
    return {};
  }

  Device& device_;
  CUlibrary library_ = nullptr;
  std::deque<Entry> entries_;
};

// The image as text that ends in NUL, as the driver API wants it.
Result<std::string> ptx_text(const hal_image& image) {
  const auto* bytes = static_cast<const char*>(image.bytes);
  std::string text(bytes, image.size);
  while (!text.empty() && text.back() == '\0') { text.pop_back(); }
  const std::size_t zero = text.find('\0');
  if (zero != std::string::npos) {
    return kit::error(kOrigin, HAL_INVALID_IMAGE, fmt::format("a ptx image is text, but byte {} is 0", zero));
  }
  return text;
}

Error unknown_format(const char* format) {
  return kit::error(kOrigin, HAL_UNSUPPORTED,
                    fmt::format("image format '{}': this driver loads ptx and hal.graph", format));
}

std::span<const std::byte> bytes_of(const hal_image& image) {
  return {static_cast<const std::byte*>(image.bytes), image.size};
}

}  // namespace

hal_verdict program_check(hal_driver*, void* device_pointer, const hal_image* image) {
  auto& device = *static_cast<Device*>(device_pointer);
  hal_error* error = kit::guarded(kOrigin, [&]() -> Result<void> {
    if (std::strcmp(image->format, "hal.graph") == 0) { return check_graph(bytes_of(*image)); }
    if (std::strcmp(image->format, "ptx") != 0) { return unknown_format(image->format); }
    HAL_TRY(const std::string text, ptx_text(*image));
    device.enter();
    LibraryOwner own{device.api()};
    HAL_TRY(own.library, load_ptx(device, text.c_str()));
    return set_constants(device, own.library, {image->constants, image->constant_count});
  });
  if (error == nullptr) {
    return device.found().emulated ? kit::emulated("it loads, on an emulated device") : kit::yes("it loads");
  }
  const Error owned = Error::adopt(error);
  return device.verdicts.no(owned.what());
}

hal_error* program_load(hal_driver*, void* device_pointer, const hal_image* image, const hal_signature* signatures,
                        std::uint32_t signature_count, void** out) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    auto& device = *static_cast<Device*>(device_pointer);
    if (std::strcmp(image->format, "hal.graph") == 0) {
      HAL_TRY(auto program, load_graph(device, bytes_of(*image)));
      *out = program.release();
      return {};
    }
    if (std::strcmp(image->format, "ptx") != 0) { return unknown_format(image->format); }
    HAL_TRY(const std::string text, ptx_text(*image));
    auto program = std::make_unique<KernelProgram>(device);
    HAL_CHECK(program->load(text, {signatures, signature_count}, {image->constants, image->constant_count}));
    *out = static_cast<Program*>(program.release());
    return {};
  });
}

hal_error* program_serialize(hal_driver*, void*, void*, void**, std::uint64_t*) {
  return kit::make_error(
      kOrigin, HAL_UNSUPPORTED,
      "the CUDA driver hands out compiled code through its linker (cuLinkComplete) only, which this "
      "driver does not use and the emulated one does not have; keep the image: compiled PTX stays in "
      "the CUDA driver's own cache");
}

void program_unload(hal_driver*, void* device, void* program) {
  static_cast<Device*>(device)->background.drain(program);  // a lane that has failed may still be obtaining for it
  delete static_cast<Program*>(program);
}

}  // namespace hal::cuda
