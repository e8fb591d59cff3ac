// SPDX-License-Identifier: Apache-2.0
#include "driver/context.hpp"

#include <cstdlib>
#include <cstring>

#include "driver/exports.hpp"
#include "driver/profile.hpp"

namespace hal::emulated_cuda {

namespace {

thread_local std::weak_ptr<Context> current;

}  // namespace

std::uint64_t configured_memory() {
  const char* text = std::getenv("HALYARD_EMULATED_CUDA_MEMORY");
  if (text == nullptr) { return kDefaultMemory; }
  char* end = nullptr;
  const unsigned long long mebibytes = std::strtoull(text, &end, 10);
  return *text != '\0' && *end == '\0' && mebibytes >= 1 && mebibytes <= (1u << 20) ? std::uint64_t{mebibytes} << 20
                                                                                    : kDefaultMemory;
}

Driver& driver() {
  static Driver& instance = *new Driver;
  return instance;
}

void Context::synchronize() {
  // One stream after the other, in the order in which they were made: so nothing has to be kept.
  const std::uint64_t last = shared->streams.load();
  for (std::uint64_t made = 0;;) {
    std::shared_ptr<Stream> next;
    {
      const std::lock_guard lock(mutex);
      reap();
      for (const auto* all : {&streams, &ending}) {
        for (const auto& [handle, stream] : *all) {
          if (stream->made() > made && stream->made() <= last && (!next || stream->made() < next->made())) {
            next = stream;
          }
        }
      }
    }
    if (!next) { return; }
    made = next->made();
    next->wait(next->submitted());
  }
}

void Context::reap() {
  std::erase_if(ending, [](const auto& entry) { return entry.second->idle(); });
}

std::shared_ptr<Context> current_context() { return current.lock(); }
void set_current_context(const std::shared_ptr<Context>& context) { current = context; }

CUresult enter_driver() {
  if (Stream::in_host_function()) { return CUDA_ERROR_NOT_PERMITTED; }
  return driver().initialised ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult enter(std::shared_ptr<Context>& context) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  context = current.lock();
  if (!context) { return CUDA_ERROR_INVALID_CONTEXT; }
  return static_cast<CUresult>(context->shared->fault.load());
}

Stream* stream_of(Context& context, CUstream handle, CUresult& error) {
  // The NULL stream and its two aliases synchronise implicitly with other streams, which is not emulated.
  if (reinterpret_cast<std::uintptr_t>(handle) <= 2) {
    error = CUDA_ERROR_NOT_SUPPORTED;
    return nullptr;
  }
  const std::lock_guard lock(context.mutex);
  const auto it = context.streams.find(handle);
  error = it == context.streams.end() ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
  return it == context.streams.end() ? nullptr : it->second.get();
}

std::shared_ptr<Event> event_of(Context& context, CUevent handle) {
  const std::lock_guard lock(context.mutex);
  const auto it = context.events.find(handle);
  return it == context.events.end() ? nullptr : it->second;
}

const Program* program_of(Context& context, const void* handle) {
  const std::lock_guard lock(context.mutex);
  return context.programs.contains(handle) ? static_cast<const Program*>(handle) : nullptr;
}

}  // namespace hal::emulated_cuda

using namespace hal::emulated_cuda;

CUresult cuInit(unsigned flags) {
  if (flags != 0) { return CUDA_ERROR_INVALID_VALUE; }
  return guarded([] {
    driver().initialised = true;
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  if (context == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  if (device != 0) { return CUDA_ERROR_INVALID_DEVICE; }
  return guarded([&] {
    Driver& d = driver();
    const std::lock_guard lock(d.mutex);
    if (!d.primary) {
      auto made = std::make_shared<Context>();
      made->shared = std::make_shared<Shared>(configured_memory());
      if (!made->shared->memory.usable()) { return CUDA_ERROR_OUT_OF_MEMORY; }
      const char* log = std::getenv("HALYARD_EMULATED_CUDA_LOG");
      made->shared->log = log != nullptr && std::strcmp(log, "0") != 0;
      d.primary = std::move(made);
    }
    ++d.references;
    *context = reinterpret_cast<CUcontext>(d.primary.get());
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  if (device != 0) { return CUDA_ERROR_INVALID_DEVICE; }
  std::shared_ptr<Context> last;
  {
    Driver& d = driver();
    const std::lock_guard lock(d.mutex);
    if (d.references == 0) { return CUDA_ERROR_INVALID_CONTEXT; }
    if (--d.references == 0) {
      last = std::move(d.primary);
      d.primary.reset();
    }
  }
  if (last) {
    // The streams end their work before the memory below them goes.
    const std::lock_guard lock(last->mutex);
    last->streams.clear();
    last->ending.clear();
  }
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  if (device != 0) { return CUDA_ERROR_INVALID_DEVICE; }
  Driver& d = driver();
  const std::lock_guard lock(d.mutex);
  d.flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  if (flags == nullptr || active == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  if (device != 0) { return CUDA_ERROR_INVALID_DEVICE; }
  Driver& d = driver();
  const std::lock_guard lock(d.mutex);
  *flags = d.flags;
  *active = d.references > 0 ? 1 : 0;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  Driver& d = driver();
  const std::lock_guard lock(d.mutex);
  if (context == nullptr) {
    set_current_context(nullptr);
  } else if (context == reinterpret_cast<CUcontext>(d.primary.get())) {
    set_current_context(d.primary);
  } else {
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  if (context == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  *context = reinterpret_cast<CUcontext>(current_context().get());
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) {
  std::shared_ptr<Context> context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (device == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  *device = 0;
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize() {
  std::shared_ptr<Context> context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  context->synchronize();
  return static_cast<CUresult>(context->shared->fault.load());
}

CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  std::shared_ptr<Context> context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (least != nullptr) { *least = 0; }
  if (greatest != nullptr) { *greatest = -5; }
  return CUDA_SUCCESS;
}
