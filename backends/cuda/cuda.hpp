// SPDX-License-Identifier: Apache-2.0
// The CUDA driver: NVIDIA GPUs of compute capability 8.0 and newer through the CUDA driver API, opened at run time.
// It knows nothing of emulation: whether a device is emulated is read from the device's own name.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cuda_abi.hpp"
#include "driver_kit/background.hpp"
#include "driver_kit/verdicts.hpp"
#include "hal/driver.h"
#include "hal/result.hpp"

namespace hal::cuda {

using namespace abi;  // NOLINT: the vendor's documented names

inline constexpr const char* kOrigin = "cuda";

// One opened driver library and its functions, each asked for by its own ABI version.
struct Api {
#define X(name, version, need, symbol) Fn_##name* name = nullptr;
#include "driver_symbols.inc"
#undef X
};

struct Library {
  std::string file;
  Api api;
  int version = 0;
};

// driver.cpp: opens a library and resolves its symbols. Errors: UNAVAILABLE with the reason.
Result<std::unique_ptr<Library>> open_library(const std::string& file);
// HALYARD_CUDA_LIBRARIES, or the vendor's library and the emulated one beside this module.
std::vector<std::string> library_files(const hal_host_api* host);

// What discovery found, in the order of the URIs.
struct Found {
  const Library* library = nullptr;
  CUdevice ordinal = 0;
  std::string uri, name, reason;
  std::uint64_t memory_bytes = 0;
  bool emulated = false;

  hal_device_info describe() const;
};

struct Driver : hal_driver {
  const hal_host_api* host = nullptr;
  std::vector<std::unique_ptr<Library>> libraries;
  std::vector<Found> found;
};

// Destroys what it names when it goes, also where something throws.
struct StreamOwner {
  const Api& api;
  CUstream stream = nullptr;
  ~StreamOwner() {
    if (stream != nullptr) { api.StreamDestroy(stream); }
  }
};
struct LibraryOwner {
  const Api& api;
  CUlibrary library = nullptr;
  ~LibraryOwner() {
    if (library != nullptr) { api.LibraryUnload(library); }
  }
};

class Lane;
class GraphKernels;

class Device {
 public:
  Device(const hal_host_api* host, const Found& found, CUcontext context);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Api& api() const { return found_.library->api; }
  const Found& found() const { return found_; }
  // Makes the device's context current on this thread.
  void enter() const;
  int attribute(CUdevice_attribute attribute) const;
  // Loaded when the first graph is.
  Result<GraphKernels*> graph_kernels();
  // Looks after a lane until everything that it was given now is published. Needs no memory between the other two.
  void watch(Lane* lane);
  void expect(Lane* lane);
  void forget(Lane* lane);

  const hal_host_api* const host;
  kit::Verdicts verdicts;
  std::atomic<std::uint64_t> lazy_loads{0};  // runs that had to load or obtain what PREPARE would have
  kit::Background background{kOrigin, "hal-cuda-make"};

 private:
  void reap();

  Found found_;
  CUcontext context_;
  std::mutex kernels_mutex_;
  std::unique_ptr<GraphKernels> kernels_;
  // The reaper: reads the words that the device writes and publishes them; sleeps when nobody waits.
  std::mutex reap_mutex_;
  std::condition_variable wake_, left_;
  std::vector<Lane*> watched_;  // has room for all
  std::size_t lanes_ = 0;
  Lane* visiting_ = nullptr;
  bool stop_ = false, fresh_ = false;
  std::thread reaper_;
};

// A loaded image.
class Program {
 public:
  Program() = default;
  virtual ~Program() = default;
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  // Puts one RUN on a lane's stream. False, and nothing is put there, if something has to be obtained before.
  virtual Result<bool> enqueue(Lane& lane, std::uint64_t number, const hal_command& command) = 0;
  // Obtains for a lane what a RUN or PREPARE asks for. May take long; while it does the lane takes no commands.
  virtual Result<void> obtain(Lane& lane, const hal_command& command) = 0;
  // A run may end in an error of its own, so that nothing may follow it before it is known to be good.
  virtual bool may_fail() const { return false; }
};

// device.cpp
void discover(Driver& driver);
std::uint32_t device_count(hal_driver* self);
void device_describe(hal_driver* self, std::uint32_t i, hal_device_info* out);
hal_error* device_open(hal_driver* self, const hal_device_request* request, hal_device_traits* out);
void device_close(hal_driver* self, void* device);
hal_verdict supports(hal_driver* self, void* device, const char* feature);
std::uint32_t number(hal_driver* self, void* device, const char* name, std::uint64_t* out);

// memory.cpp
inline constexpr std::uint64_t kAlignment = 256;
hal_error* memory_allocate(hal_driver* self, void* device, std::uint64_t bytes, hal_memory* out);
void memory_free(hal_driver* self, void* device, const hal_memory* memory);

// lane.cpp
hal_error* lane_create(hal_driver* self, void* device, const char* label, void* core, hal_lane** out);
void lane_destroy(hal_driver* self, void* device, hal_lane* lane);
std::uint32_t submit(hal_driver* self, hal_lane* lane, std::uint64_t first, const hal_command* commands,
                     std::uint32_t count);
void notify(hal_driver* self, hal_lane* lane);
void help(hal_driver* self, hal_lane* lane, std::uint64_t number, std::uint64_t within_ns);
std::uint32_t lane_wait(hal_driver* self, hal_lane* lane, hal_lane* other, std::uint64_t number);

// program.cpp
hal_verdict program_check(hal_driver* self, void* device, const hal_image* image);
hal_error* program_load(hal_driver* self, void* device, const hal_image* image, const hal_signature* signatures,
                        std::uint32_t signature_count, void** out);
void program_unload(hal_driver* self, void* device, void* program);
hal_error* program_serialize(hal_driver* self, void* device, void* program, void** out_bytes, std::uint64_t* out_size);

// status.cpp: the one place where CUDA's codes become ours.
hal_code code_of(CUresult result);
Error fail(const Api& api, CUresult result, const char* what) noexcept;
Error fail(const Api& api, CUresult result, const std::string& what) noexcept;
inline Result<void> check(const Api& api, CUresult result, const char* what) noexcept {
  if (result == CUDA_SUCCESS) { return {}; }
  return fail(api, result, what);
}

}  // namespace hal::cuda
