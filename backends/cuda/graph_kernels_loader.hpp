// SPDX-License-Identifier: Apache-2.0
// The driver's own kernels (kernels/graph.cu), loaded once for a device.
#pragma once

#include <array>

#include "cuda.hpp"

namespace hal::cuda {

enum class KernelId : std::uint8_t {
  strided_copy_1,
  strided_copy_2,
  strided_copy_4,
  fill,
  timestamp,
  convert,
  contract,
  matmul_f32,
  reduce,
  gather,
  scatter,
  map,
  count
};

class GraphKernels {
 public:
  static constexpr std::uint32_t kBlock = 256;

  static Result<std::unique_ptr<GraphKernels>> load(Device& device);
  ~GraphKernels();
  GraphKernels(const GraphKernels&) = delete;
  GraphKernels& operator=(const GraphKernels&) = delete;

  CUkernel kernel(KernelId id) const { return kernels_[static_cast<std::size_t>(id)]; }
  Result<void> fill(Lane& lane, CUdeviceptr to, std::uint64_t bytes, std::uint64_t pattern,
                    std::uint32_t pattern_bytes) const;
  Result<void> timestamp(Lane& lane, CUdeviceptr to) const;

 private:
  explicit GraphKernels(Device& device) : device_(device) {}

  Device& device_;
  CUlibrary library_ = nullptr;
  std::array<CUkernel, static_cast<std::size_t>(KernelId::count)> kernels_{};
};

// Loads PTX text (terminated by NUL), with the compiler's log in the error.
Result<CUlibrary> load_ptx(const Device& device, const char* text);

// kernels/graph.ptx, embedded at build.
extern const char* const kGraphPtx;

}  // namespace hal::cuda
