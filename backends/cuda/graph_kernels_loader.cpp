// SPDX-License-Identifier: Apache-2.0
#include "graph_kernels_loader.hpp"

#include <fmt/format.h>

#include "kernels/graph_kernels.hpp"
#include "lane.hpp"

namespace hal::cuda {

namespace {

constexpr const char* kNames[] = {
    "hal_strided_copy_1", "hal_strided_copy_2", "hal_strided_copy_4", "hal_strided_copy_8", "hal_gather_1",
    "hal_gather_2",       "hal_gather_4",       "hal_gather_8",       "hal_fill",           "hal_timestamp",
    "hal_convert",        "hal_map_f32",        "hal_map_i32",        "hal_contract_f32",   "hal_contract_i32",
    "hal_scatter_f32",    "hal_scatter_i32",    "hal_matmul",         "hal_matmul_map",     "hal_convert_wide",
    "hal_map_f64",        "hal_map_i64",        "hal_contract_f64",   "hal_contract_i64",   "hal_scatter_f64",
    "hal_scatter_i64"};
static_assert(std::size(kNames) == static_cast<std::size_t>(KernelId::count));

}  // namespace

Result<CUlibrary> load_ptx(const Device& device, const char* text) {
  char log[2048] = "";
  CUjit_option names[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof(log))};
  CUlibrary library = nullptr;
  const CUresult result = device.api().LibraryLoadData(&library, text, names, values, 2, nullptr, nullptr, 0);
  if (result == CUDA_SUCCESS) { return library; }
  log[sizeof(log) - 1] = '\0';
  return fail(device.api(), result,
              *log == '\0' ? std::string("the driver refused the PTX image")
                           : fmt::format("the PTX image does not compile: {}", log));
}

Result<std::unique_ptr<GraphKernels>> GraphKernels::load(Device& device) {
  std::unique_ptr<GraphKernels> kernels(new GraphKernels(device));
  HAL_CHECK(kernels->load_library(kGraphPtx, kernels->library_, KernelId{}, kFirstWide));
  return kernels;
}

Result<void> GraphKernels::need_wide() {
  const std::lock_guard lock(wide_mutex_);
  if (wide_ != nullptr) { return {}; }
  return load_library(kWidePtx, wide_, kFirstWide, KernelId::count);
}

Result<void> GraphKernels::load_library(const char* ptx, CUlibrary& library, KernelId first, KernelId end) {
  device_.enter();
  HAL_TRY(CUlibrary made, load_ptx(device_, ptx));
  for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(end); ++i) {
    CUfunction function = nullptr;  // asking for it loads its code: no run of a graph has to
    Result<void> found = check(device_.api(), device_.api().LibraryGetKernel(&kernels_[i], made, kNames[i]), kNames[i]);
    if (found) { found = check(device_.api(), device_.api().KernelGetFunction(&function, kernels_[i]), kNames[i]); }
    if (!found) {
      device_.api().LibraryUnload(made);
      return found;
    }
  }
  library = made;
  return {};
}

GraphKernels::~GraphKernels() {
  for (CUlibrary library : {library_, wide_}) {
    if (library != nullptr) { device_.api().LibraryUnload(library); }
  }
}

Result<void> GraphKernels::fill(Lane& lane, CUdeviceptr to, std::uint64_t bytes, std::uint64_t pattern,
                                std::uint32_t pattern_bytes) const {
  kernels::Fill f{reinterpret_cast<unsigned char*>(to), bytes, pattern, pattern_bytes};
  void* parameters[] = {&f};
  return lane.launch(kernel(KernelId::fill), {static_cast<std::uint32_t>((bytes + kBlock - 1) / kBlock), 1, 1},
                     {kBlock, 1, 1}, 0, parameters);
}

Result<void> GraphKernels::timestamp(Lane& lane, CUdeviceptr to) const {
  void* parameters[] = {&to};
  return lane.launch(kernel(KernelId::timestamp), {1, 1, 1}, {1, 1, 1}, 0, parameters);
}

}  // namespace hal::cuda
