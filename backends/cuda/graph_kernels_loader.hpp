// SPDX-License-Identifier: Apache-2.0
// The driver's own kernels, loaded once for a device: those of kernels/graph.cu with the first queue, those of
// kernels/wide.cu, for 64 bits, with the first graph that needs one.
#pragma once

#include <array>

#include "cuda.hpp"

namespace hal::cuda {

enum class KernelId : std::uint8_t {
  strided_copy_1,
  strided_copy_2,
  strided_copy_4,
  strided_copy_8,
  gather_1,
  gather_2,
  gather_4,
  gather_8,
  fill,
  timestamp,
  convert,
  map_f32,
  map_i32,
  contract_f32,
  contract_i32,
  scatter_f32,
  scatter_i32,
  matmul,
  matmul_map,
  convert_wide,
  map_f64,
  map_i64,
  contract_f64,
  contract_i64,
  scatter_f64,
  scatter_i64,
  count
};
inline constexpr KernelId kFirstWide = KernelId::convert_wide;

class GraphKernels {
 public:
  static constexpr std::uint32_t kBlock = 256;

  static Result<std::unique_ptr<GraphKernels>> load(Device& device);
  ~GraphKernels();
  GraphKernels(const GraphKernels&) = delete;
  GraphKernels& operator=(const GraphKernels&) = delete;

  // Before the first use of a kernel from kFirstWide on.
  Result<void> need_wide();
  CUkernel kernel(KernelId id) const { return kernels_[static_cast<std::size_t>(id)]; }
  Result<void> fill(Lane& lane, CUdeviceptr to, std::uint64_t bytes, std::uint64_t pattern,
                    std::uint32_t pattern_bytes) const;
  Result<void> timestamp(Lane& lane, CUdeviceptr to) const;

 private:
  explicit GraphKernels(Device& device) : device_(device) {}
  // Of the kernels from `first` to before `end`.
  Result<void> load_library(const char* ptx, CUlibrary& library, KernelId first, KernelId end);

  Device& device_;
  CUlibrary library_ = nullptr, wide_ = nullptr;
  std::mutex wide_mutex_;
  std::array<CUkernel, static_cast<std::size_t>(KernelId::count)> kernels_{};
};

// Loads PTX text (terminated by NUL), with the compiler's log in the error.
Result<CUlibrary> load_ptx(const Device& device, const char* text);

// kernels/graph.ptx and kernels/wide.ptx, embedded at build.
extern const char *const kGraphPtx, *const kWidePtx;

}  // namespace hal::cuda
