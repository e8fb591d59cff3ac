// SPDX-License-Identifier: Apache-2.0
// Modules, libraries, kernels and launches. A module and a library, a function and a kernel are the same object here,
// as the real driver lets a kernel stand where a function is asked for.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "driver/context.hpp"
#include "driver/exports.hpp"
#include "driver/profile.hpp"

using namespace hal::emulated_cuda;

namespace {

using ContextPointer = std::shared_ptr<Context>;

// The caller's log buffers of cuModuleLoadDataEx and cuLibraryLoadData.
class JitLog {
 public:
  JitLog(unsigned count, const CUjit_option* names, void** values) {
    for (unsigned i = 0; i < count; ++i) {
      if (names[i] == CU_JIT_ERROR_LOG_BUFFER) { buffer_ = static_cast<char*>(values[i]); }
      if (names[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) {
        size_ = reinterpret_cast<std::uintptr_t>(values[i]) & 0xffffffffu;
        size_out_ = &values[i];
      }
    }
    write("");
  }
  // Cut to the buffer, always terminated; the size option becomes the bytes used, as documented.
  void write(const std::string& text) {
    std::size_t used = 0;
    if (buffer_ != nullptr && size_ > 0) {
      used = std::min(text.size(), size_ - 1);
      std::memcpy(buffer_, text.data(), used);
      buffer_[used] = '\0';
    }
    if (size_out_ != nullptr) { *size_out_ = reinterpret_cast<void*>(used); }
  }

 private:
  char* buffer_ = nullptr;
  std::size_t size_ = 0;
  void** size_out_ = nullptr;
};

CUresult load(const void* image, JitLog& log, void** out) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (image == nullptr || out == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  const auto* bytes = static_cast<const unsigned char*>(image);
  const bool elf = bytes[0] == 0x7f && bytes[1] == 'E' && bytes[2] == 'L' && bytes[3] == 'F';
  const bool fat = bytes[0] == 0x50 && bytes[1] == 0xed && bytes[2] == 0x55 && bytes[3] == 0xba;
  if (elf || fat) {
    log.write("error: the image holds machine code; the emulated device runs PTX text only");
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  auto module = std::make_unique<Module>(context->shared);
  const auto place = [&](const Symbol& s) {
    module->addresses.reserve(module->addresses.size() + 1);
    const std::uint64_t address = context->shared->memory.allocate(s.bytes);
    if (address == 0) { return address; }
    module->addresses.push_back(address);
    const Allocation a = context->shared->memory.around(address);
    std::memset(a.bytes, 0, s.bytes);
    std::copy(s.initial.begin(), s.initial.end(), reinterpret_cast<std::uint8_t*>(a.bytes));
    return address;
  };
  auto result = load_module(static_cast<const char*>(image), place);
  if (const auto* error = std::get_if<LoadError>(&result)) {
    log.write(fmt::format("error: line {}: {}", error->line, error->message));
    switch (error->failure) {
      case LoadFailure::invalid_ptx:
        return CUDA_ERROR_INVALID_PTX;
      case LoadFailure::unsupported_version:
        return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
      case LoadFailure::wrong_target:
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
      case LoadFailure::no_memory:
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
  }
  module->loaded = std::get<LoadedModule>(std::move(result));
  const std::lock_guard lock(context->mutex);
  // Under all its handles or under none.
  std::unordered_map<const void*, const Module*> programs;
  for (const Program& p : module->loaded.kernels) { programs.emplace(&p, module.get()); }
  context->programs.reserve(context->programs.size() + programs.size());
  const void* handle = module.get();
  context->modules.emplace(handle, std::move(module));
  context->programs.merge(programs);
  *out = const_cast<void*>(handle);
  return CUDA_SUCCESS;
}

CUresult unload(const void* handle) {
  ContextPointer context;
  const CUresult entered = enter(context);
  if (!context) { return entered; }
  context->synchronize();
  const std::lock_guard lock(context->mutex);
  const auto it = context->modules.find(handle);
  if (it == context->modules.end()) { return CUDA_ERROR_INVALID_HANDLE; }
  for (const Program& p : it->second->loaded.kernels) { context->programs.erase(&p); }
  context->modules.erase(it);
  return entered;
}

// Looks a name up in a module; `found` gets what `pick` makes of it.
template <class Pick>
CUresult look_up(const void* handle, const char* name, Pick pick) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (name == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  const std::lock_guard lock(context->mutex);
  const auto it = context->modules.find(handle);
  if (it == context->modules.end()) { return CUDA_ERROR_INVALID_HANDLE; }
  return pick(it->second->loaded) ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult kernel_of(const void* handle, const char* name, void** out) {
  if (out == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  return look_up(handle, name, [&](LoadedModule& module) {
    for (Program& p : module.kernels) {
      if (p.name == name) {
        *out = &p;
        return true;
      }
    }
    return false;
  });
}

CUresult variable_of(const void* handle, const char* name, CUdeviceptr* address, std::size_t* bytes) {
  return look_up(handle, name, [&](LoadedModule& module) {
    for (const ModuleVariable& v : module.variables) {
      if (v.name == name) {
        if (address != nullptr) { *address = v.address; }
        if (bytes != nullptr) { *bytes = v.bytes; }
        return true;
      }
    }
    return false;
  });
}

CUresult attribute_of(int* value, CUfunction_attribute attribute, const void* handle) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  const Program* p = program_of(*context, handle);
  if (p == nullptr) { return CUDA_ERROR_INVALID_HANDLE; }
  if (value == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: {
      const std::uint64_t n = std::uint64_t{p->max_threads[0]} * p->max_threads[1] * p->max_threads[2];
      *value = n == 0 || n > 1024 ? 1024 : static_cast<int>(n);
      return CUDA_SUCCESS;
    }
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
      *value = static_cast<int>(p->shared_bytes);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
      *value = 0;
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
      *value = static_cast<int>(p->local_bytes);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      *value = static_cast<int>(p->registers);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      *value = static_cast<int>(kComputeCapability);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      *value = std::max(0, 49152 - static_cast<int>(p->shared_bytes));
      return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult parameter_of(const void* handle, std::size_t index, std::size_t* offset, std::size_t* size) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  const Program* p = program_of(*context, handle);
  if (p == nullptr) { return CUDA_ERROR_INVALID_HANDLE; }
  if (index >= p->parameters.size() || offset == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  *offset = p->parameters[index].offset;
  if (size != nullptr) { *size = p->parameters[index].size; }
  return CUDA_SUCCESS;
}

bool fits(const Program& p, const LaunchShape& s) {
  static constexpr std::uint32_t kGrid[3] = {2147483647u, 65535u, 65535u}, kBlock[3] = {1024u, 1024u, 64u};
  std::uint64_t threads = 1;
  for (std::size_t i = 0; i < 3; ++i) {
    if (s.grid[i] == 0 || s.grid[i] > kGrid[i] || s.block[i] == 0 || s.block[i] > kBlock[i]) { return false; }
    if (p.exact_threads && p.max_threads[i] != s.block[i]) { return false; }
    threads *= s.block[i];
  }
  const std::uint64_t most = std::uint64_t{p.max_threads[0]} * p.max_threads[1] * p.max_threads[2];
  return threads <= (most == 0 ? 1024u : std::min<std::uint64_t>(most, 1024)) && p.shared_bytes <= 49152 &&
         s.dynamic_shared <= 49152 - p.shared_bytes;
}

}  // namespace

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned options, CUjit_option* names, void** values) {
  if (options > 0 && (names == nullptr || values == nullptr)) { return CUDA_ERROR_INVALID_VALUE; }
  JitLog log(options, names, values);
  return guarded([&] { return load(image, log, reinterpret_cast<void**>(module)); });
}
CUresult cuModuleUnload(CUmodule module) { return unload(module); }
CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  return kernel_of(module, name, reinterpret_cast<void**>(function));
}
CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, std::size_t* bytes, CUmodule module, const char* name) {
  return variable_of(module, name, address, bytes);
}
CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction function) {
  return attribute_of(value, attribute, function);
}
CUresult cuFuncGetParamInfo(CUfunction function, std::size_t index, std::size_t* offset, std::size_t* size) {
  return parameter_of(function, index, offset, size);
}

CUresult cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option* jit_names, void** jit_values,
                           unsigned jit_options, CUlibraryOption* names, void** values, unsigned options) {
  if ((jit_options > 0 && (jit_names == nullptr || jit_values == nullptr)) ||
      (options > 0 && (names == nullptr || values == nullptr))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  JitLog log(jit_options, jit_names, jit_values);
  return guarded([&] { return load(code, log, reinterpret_cast<void**>(library)); });
}
CUresult cuLibraryUnload(CUlibrary library) { return unload(library); }
CUresult cuLibraryGetKernel(CUkernel* kernel, CUlibrary library, const char* name) {
  return kernel_of(library, name, reinterpret_cast<void**>(kernel));
}
CUresult cuLibraryGetGlobal(CUdeviceptr* address, std::size_t* bytes, CUlibrary library, const char* name) {
  return variable_of(library, name, address, bytes);
}
CUresult cuKernelGetFunction(CUfunction* function, CUkernel kernel) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (function == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  if (program_of(*context, kernel) == nullptr) { return CUDA_ERROR_INVALID_HANDLE; }
  *function = reinterpret_cast<CUfunction>(kernel);
  return CUDA_SUCCESS;
}
CUresult cuKernelGetAttribute(int* value, CUfunction_attribute attribute, CUkernel kernel, CUdevice device) {
  return device != 0 ? CUDA_ERROR_INVALID_DEVICE : attribute_of(value, attribute, kernel);
}
CUresult cuKernelGetParamInfo(CUkernel kernel, std::size_t index, std::size_t* offset, std::size_t* size) {
  return parameter_of(kernel, index, offset, size);
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream handle, void** parameters,
                        void** extra) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  CUresult error = CUDA_SUCCESS;
  Stream* stream = stream_of(*context, handle, error);
  if (stream == nullptr) { return error; }
  const Program* p = program_of(*context, function);
  if (p == nullptr) { return CUDA_ERROR_INVALID_HANDLE; }
  if (extra != nullptr) { return CUDA_ERROR_NOT_SUPPORTED; }
  Command c;
  c.kind = Command::Kind::launch;
  c.program = p;
  c.shape = {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, 0};
  if (!fits(*p, c.shape) || (!p->parameters.empty() && parameters == nullptr)) { return CUDA_ERROR_INVALID_VALUE; }
  std::byte* block = c.parameters.data();
  if (p->parameter_bytes > c.parameters.size()) {
    const CUresult room = guarded([&] {
      c.data.resize(p->parameter_bytes);
      return CUDA_SUCCESS;
    });
    if (room != CUDA_SUCCESS) { return room; }
    block = c.data.data();
  }
  for (std::size_t i = 0; i < p->parameters.size(); ++i) {
    if (parameters[i] == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
    std::memcpy(block + p->parameters[i].offset, parameters[i], p->parameters[i].size);
  }
  return stream->enqueue(std::move(c));
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra) {
  if (config == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  if (config->numAttrs != 0) { return CUDA_ERROR_NOT_SUPPORTED; }  // clusters, cooperative and dependent launches
  return cuLaunchKernel(function, config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX,
                        config->blockDimY, config->blockDimZ, config->sharedMemBytes, config->hStream, parameters,
                        extra);
}
