// SPDX-License-Identifier: Apache-2.0
// The one emulated device, its primary context, and what lives in it. Handles are addresses of these objects.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "cuda_abi.hpp"
#include "driver/stream.hpp"
#include "vm/module.hpp"

namespace hal::emulated_cuda {

struct Context;

struct Module {
  explicit Module(std::shared_ptr<Shared> its_shared) : shared(std::move(its_shared)) {}
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  ~Module() {
    for (const std::uint64_t address : addresses) { shared->memory.release(address); }
  }
  std::shared_ptr<Shared> shared;
  LoadedModule loaded;
  std::vector<std::uint64_t> addresses;  // of its variables, freed with it
  // A kernel and a function are the same thing here: a Program of `loaded.kernels`.
};

struct Context {
  std::shared_ptr<Shared> shared;
  std::mutex mutex;
  // Shared with who waits in synchronize() while another thread destroys a stream.
  // From one map to the other without memory, as destroying has to.
  std::map<const void*, std::shared_ptr<Stream>> streams;
  std::map<const void*, std::shared_ptr<Stream>> ending;  // destroyed by the user, still at work
  std::unordered_map<const void*, std::shared_ptr<Event>> events;
  std::unordered_map<const void*, std::unique_ptr<Module>> modules;
  std::unordered_map<const void*, const Module*> programs;

  // Waits until everything submitted so far has ended. Needs no memory.
  void synchronize();
  void reap();  // forgets ended streams; call with the mutex held
};

struct Driver {
  std::mutex mutex;
  std::atomic<bool> initialised{false};
  unsigned references = 0;  // of the primary context
  unsigned flags = 0;
  std::shared_ptr<Context> primary;
};

// Bytes of device memory: HALYARD_EMULATED_CUDA_MEMORY in MiB, or the default.
std::uint64_t configured_memory();

// Never destroyed: stream workers may outlive static destruction.
Driver& driver();

// The context that is current on this thread; empty when none is, or when it is gone.
std::shared_ptr<Context> current_context();
void set_current_context(const std::shared_ptr<Context>& context);

// What every entry point that needs a context starts with: the error to return, or CUDA_SUCCESS and the context.
cuda::abi::CUresult enter(std::shared_ptr<Context>& context);
// The same for calls that only need cuInit().
cuda::abi::CUresult enter_driver();

Stream* stream_of(Context& context, cuda::abi::CUstream handle, cuda::abi::CUresult& error);
std::shared_ptr<Event> event_of(Context& context, cuda::abi::CUevent handle);
const Program* program_of(Context& context, const void* handle);

}  // namespace hal::emulated_cuda
