// SPDX-License-Identifier: Apache-2.0
// What the emulated device says of itself. Grades: [dev] printed by a real B200 (attribute listing in pytorch/ao issue
// 4002); [doc] in the CUDA programming guide's table for compute capability 10.0; [emu] a property of this emulator;
// [est] our estimate, never confirmed.
#pragma once

#include "cuda_abi.hpp"

namespace hal::emulated_cuda {

inline constexpr char kDeviceName[] = "NVIDIA B200 (emulated by Halyard)";
inline constexpr int kDriverVersion = 13000;
inline constexpr std::size_t kDefaultMemory = std::size_t{4} << 30;  // [emu] HALYARD_EMULATED_CUDA_MEMORY changes it

struct AttributeValue {
  cuda::abi::CUdevice_attribute attribute;
  int value;
};

#define A(name, value) {cuda::abi::CU_DEVICE_ATTRIBUTE_##name, value}
inline constexpr AttributeValue kAttributes[] = {
    A(COMPUTE_CAPABILITY_MAJOR, 10),                  // [dev]
    A(COMPUTE_CAPABILITY_MINOR, 0),                   // [dev]
    A(MULTIPROCESSOR_COUNT, 148),                     // [dev]
    A(MAX_THREADS_PER_MULTIPROCESSOR, 2048),          // [dev]
    A(MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 233472),  // [dev] 228 KiB
    A(MAX_REGISTERS_PER_MULTIPROCESSOR, 65536),       // [dev]
    A(MAX_REGISTERS_PER_BLOCK, 65536),                // [doc]
    A(L2_CACHE_SIZE, 132644864),                      // [dev] 126.5 MiB
    A(GLOBAL_MEMORY_BUS_WIDTH, 7680),                 // [dev]
    A(MEMORY_CLOCK_RATE, 3996000),                    // [dev] kHz
    A(CLOCK_RATE, 1965000),                           // [est] kHz
    A(MAX_THREADS_PER_BLOCK, 1024),                   // [doc]
    A(MAX_BLOCK_DIM_X, 1024),                         // [doc]
    A(MAX_BLOCK_DIM_Y, 1024),                         // [doc]
    A(MAX_BLOCK_DIM_Z, 64),                           // [doc]
    A(MAX_GRID_DIM_X, 2147483647),                    // [doc]
    A(MAX_GRID_DIM_Y, 65535),                         // [doc]
    A(MAX_GRID_DIM_Z, 65535),                         // [doc]
    A(MAX_SHARED_MEMORY_PER_BLOCK, 49152),            // [doc]
    A(MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 49152),      // [emu] a B200 has 232448; opting in is not emulated
    A(RESERVED_SHARED_MEMORY_PER_BLOCK, 1024),        // [doc]
    A(MAX_BLOCKS_PER_MULTIPROCESSOR, 32),             // [doc]
    A(TOTAL_CONSTANT_MEMORY, 65536),                  // [doc]
    A(WARP_SIZE, 32),                                 // [doc]
    A(MAX_PITCH, 2147483647),                         // [doc]
    A(GPU_OVERLAP, 1),                                // [doc]
    A(ASYNC_ENGINE_COUNT, 4),                         // [est]
    A(CONCURRENT_KERNELS, 1),                         // [doc]
    A(KERNEL_EXEC_TIMEOUT, 0),                        // [emu]
    A(INTEGRATED, 0),                                 // [doc]
    A(CAN_MAP_HOST_MEMORY, 1),                        // [doc]
    A(COMPUTE_MODE, 0),                               // [emu]
    A(ECC_ENABLED, 1),                                // [est]
    A(PCI_BUS_ID, 0),                                 // [emu]
    A(PCI_DEVICE_ID, 0),                              // [emu]
    A(PCI_DOMAIN_ID, 0),                              // [emu]
    A(UNIFIED_ADDRESSING, 1),                         // [doc]
    A(STREAM_PRIORITIES_SUPPORTED, 1),                // [doc] accepted here, without effect
    A(MANAGED_MEMORY, 0),                             // [emu] a B200 has it
    A(HOST_NATIVE_ATOMIC_SUPPORTED, 0),               // [est]
    A(PAGEABLE_MEMORY_ACCESS, 0),                     // [est]
    A(CONCURRENT_MANAGED_ACCESS, 0),                  // [emu]
    A(COMPUTE_PREEMPTION_SUPPORTED, 1),               // [doc]
    A(CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 1),    // [doc]
    A(COOPERATIVE_LAUNCH, 0),                         // [emu] a B200 has it
    A(HOST_REGISTER_SUPPORTED, 1),                    // [doc]
    A(READ_ONLY_HOST_REGISTER_SUPPORTED, 0),          // [emu]
    A(VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0),        // [emu] a B200 has it
    A(MEMORY_POOLS_SUPPORTED, 1),                     // [doc] only the default pool's alloc and free are here
    A(GPU_DIRECT_RDMA_SUPPORTED, 0),                  // [emu]
    A(CLUSTER_LAUNCH, 0),                             // [emu] a B200 has it
    A(CAN_USE_64_BIT_STREAM_MEM_OPS, 1),              // [doc]
    A(CAN_USE_STREAM_WAIT_VALUE_NOR, 1),              // [doc]
    A(DMA_BUF_SUPPORTED, 0),                          // [emu]
    A(IPC_EVENT_SUPPORTED, 0),                        // [emu]
    A(MEM_SYNC_DOMAIN_COUNT, 1),                      // [emu]
    A(TENSOR_MAP_ACCESS_SUPPORTED, 0),                // [emu] a B200 has it
    A(HANDLE_TYPE_FABRIC_SUPPORTED, 0),               // [emu]
    A(NUMA_ID, 0),                                    // [emu]
    A(MULTICAST_SUPPORTED, 0),                        // [emu]
    A(MEM_DECOMPRESS_ALGORITHM_MASK, 0),              // [emu] a B200 has a decompression engine
    A(MEM_DECOMPRESS_MAXIMUM_LENGTH, 0),              // [emu]
};
#undef A

}  // namespace hal::emulated_cuda
