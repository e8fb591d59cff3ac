// SPDX-License-Identifier: Apache-2.0
// clang-format off: set by hand, so that tables read as tables
// The part of the CUDA driver's binary interface that Halyard uses, declared by us from the public documentation of the
// CUDA driver API, so that neither a toolkit nor a vendor header is needed to build. Names are the documented ones.
// cuda_abi_test.cpp compares every value and size with the real header where a toolkit is installed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hal::cuda::abi {

using CUdevice = int;
using CUdeviceptr = std::uint64_t;
using cuuint32_t = std::uint32_t;
using cuuint64_t = std::uint64_t;

using CUcontext = struct CUctx_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUlibrary = struct CUlib_st*;
using CUkernel = struct CUkern_st*;
using CUhostFn = void (*)(void*);

struct CUuuid {
  char bytes[16];
};

enum CUresult : int {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NOT_INITIALIZED = 3,
  CUDA_ERROR_DEINITIALIZED = 4,
  CUDA_ERROR_STUB_LIBRARY = 34,
  CUDA_ERROR_DEVICE_UNAVAILABLE = 46,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_IMAGE = 200,
  CUDA_ERROR_INVALID_CONTEXT = 201,
  CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
  CUDA_ERROR_ECC_UNCORRECTABLE = 214,
  CUDA_ERROR_INVALID_PTX = 218,
  CUDA_ERROR_NVLINK_UNCORRECTABLE = 220,
  CUDA_ERROR_JIT_COMPILER_NOT_FOUND = 221,
  CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
  CUDA_ERROR_CONTAINED = 226,
  CUDA_ERROR_OPERATING_SYSTEM = 304,
  CUDA_ERROR_INVALID_HANDLE = 400,
  CUDA_ERROR_ILLEGAL_STATE = 401,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_NOT_READY = 600,
  CUDA_ERROR_ILLEGAL_ADDRESS = 700,
  CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
  CUDA_ERROR_LAUNCH_TIMEOUT = 702,
  CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE = 708,
  CUDA_ERROR_CONTEXT_IS_DESTROYED = 709,
  CUDA_ERROR_ASSERT = 710,
  CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712,
  CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED = 713,
  CUDA_ERROR_HARDWARE_STACK_ERROR = 714,
  CUDA_ERROR_ILLEGAL_INSTRUCTION = 715,
  CUDA_ERROR_MISALIGNED_ADDRESS = 716,
  CUDA_ERROR_INVALID_ADDRESS_SPACE = 717,
  CUDA_ERROR_INVALID_PC = 718,
  CUDA_ERROR_LAUNCH_FAILED = 719,
  CUDA_ERROR_TENSOR_MEMORY_LEAK = 721,
  CUDA_ERROR_NOT_PERMITTED = 800,
  CUDA_ERROR_NOT_SUPPORTED = 801,
  CUDA_ERROR_SYSTEM_NOT_READY = 802,
  CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
  CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE = 804,
  CUDA_ERROR_TIMEOUT = 909,
  CUDA_ERROR_UNKNOWN = 999,
};

// Every enumerator above once more, for tables (names of errors, the check against the real header).
#define HALYARD_CUDA_RESULTS(X)                                                                                       \
  X(CUDA_SUCCESS)                                                                                                     \
  X(CUDA_ERROR_INVALID_VALUE)                                                                                         \
  X(CUDA_ERROR_OUT_OF_MEMORY)                                                                                         \
  X(CUDA_ERROR_NOT_INITIALIZED)                                                                                       \
  X(CUDA_ERROR_DEINITIALIZED) X(CUDA_ERROR_STUB_LIBRARY) X(CUDA_ERROR_DEVICE_UNAVAILABLE) X(CUDA_ERROR_NO_DEVICE)     \
      X(CUDA_ERROR_INVALID_DEVICE) X(CUDA_ERROR_INVALID_IMAGE) X(CUDA_ERROR_INVALID_CONTEXT)                          \
          X(CUDA_ERROR_NO_BINARY_FOR_GPU) X(CUDA_ERROR_ECC_UNCORRECTABLE) X(CUDA_ERROR_INVALID_PTX)                   \
              X(CUDA_ERROR_NVLINK_UNCORRECTABLE) X(CUDA_ERROR_JIT_COMPILER_NOT_FOUND)                                 \
                  X(CUDA_ERROR_UNSUPPORTED_PTX_VERSION) X(CUDA_ERROR_CONTAINED) X(CUDA_ERROR_OPERATING_SYSTEM)        \
                      X(CUDA_ERROR_INVALID_HANDLE) X(CUDA_ERROR_ILLEGAL_STATE) X(CUDA_ERROR_NOT_FOUND)                \
                          X(CUDA_ERROR_NOT_READY) X(CUDA_ERROR_ILLEGAL_ADDRESS) X(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES) \
                              X(CUDA_ERROR_LAUNCH_TIMEOUT) X(CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE)                       \
                                  X(CUDA_ERROR_CONTEXT_IS_DESTROYED) X(CUDA_ERROR_ASSERT)                             \
                                      X(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED)                                    \
                                          X(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED) X(CUDA_ERROR_HARDWARE_STACK_ERROR) \
                                              X(CUDA_ERROR_ILLEGAL_INSTRUCTION) X(CUDA_ERROR_MISALIGNED_ADDRESS)      \
                                                  X(CUDA_ERROR_INVALID_ADDRESS_SPACE) X(CUDA_ERROR_INVALID_PC)        \
                                                      X(CUDA_ERROR_LAUNCH_FAILED) X(CUDA_ERROR_TENSOR_MEMORY_LEAK)    \
                                                          X(CUDA_ERROR_NOT_PERMITTED) X(CUDA_ERROR_NOT_SUPPORTED)     \
                                                              X(CUDA_ERROR_SYSTEM_NOT_READY)                          \
                                                                  X(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)                \
                                                                      X(CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE)    \
                                                                          X(CUDA_ERROR_TIMEOUT) X(CUDA_ERROR_UNKNOWN)

// Device attributes that a profile or the backend names. X(name, number)
#define HALYARD_CUDA_ATTRIBUTES(X)                                                                                     \
  X(MAX_THREADS_PER_BLOCK, 1)                                                                                          \
  X(MAX_BLOCK_DIM_X, 2)                                                                                                \
  X(MAX_BLOCK_DIM_Y, 3)                                                                                                \
  X(MAX_BLOCK_DIM_Z, 4)                                                                                                \
  X(MAX_GRID_DIM_X, 5) X(MAX_GRID_DIM_Y, 6) X(MAX_GRID_DIM_Z, 7) X(MAX_SHARED_MEMORY_PER_BLOCK, 8) X(                  \
      TOTAL_CONSTANT_MEMORY, 9) X(WARP_SIZE, 10) X(MAX_PITCH, 11) X(MAX_REGISTERS_PER_BLOCK, 12) X(CLOCK_RATE, 13)     \
      X(GPU_OVERLAP, 15) X(MULTIPROCESSOR_COUNT, 16) X(KERNEL_EXEC_TIMEOUT, 17) X(INTEGRATED, 18) X(                   \
          CAN_MAP_HOST_MEMORY, 19) X(COMPUTE_MODE, 20) X(CONCURRENT_KERNELS, 31) X(ECC_ENABLED, 32) X(PCI_BUS_ID, 33)  \
          X(PCI_DEVICE_ID, 34) X(MEMORY_CLOCK_RATE, 36) X(GLOBAL_MEMORY_BUS_WIDTH, 37) X(L2_CACHE_SIZE, 38)            \
              X(MAX_THREADS_PER_MULTIPROCESSOR, 39) X(ASYNC_ENGINE_COUNT, 40) X(UNIFIED_ADDRESSING, 41)                \
                  X(PCI_DOMAIN_ID, 50) X(COMPUTE_CAPABILITY_MAJOR, 75) X(COMPUTE_CAPABILITY_MINOR, 76)                 \
                      X(STREAM_PRIORITIES_SUPPORTED, 78) X(MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 81)                   \
                          X(MAX_REGISTERS_PER_MULTIPROCESSOR, 82) X(MANAGED_MEMORY, 83)                                \
                              X(HOST_NATIVE_ATOMIC_SUPPORTED, 86) X(PAGEABLE_MEMORY_ACCESS, 88) X(                     \
                                  CONCURRENT_MANAGED_ACCESS, 89) X(COMPUTE_PREEMPTION_SUPPORTED, 90)                   \
                                  X(CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 91) X(COOPERATIVE_LAUNCH, 95) X(          \
                                      MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 97) X(HOST_REGISTER_SUPPORTED, 99)            \
                                      X(VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 102) X(                                   \
                                          MAX_BLOCKS_PER_MULTIPROCESSOR, 106) X(RESERVED_SHARED_MEMORY_PER_BLOCK, 111) \
                                          X(READ_ONLY_HOST_REGISTER_SUPPORTED, 113) X(MEMORY_POOLS_SUPPORTED, 115)     \
                                              X(GPU_DIRECT_RDMA_SUPPORTED, 116) X(CLUSTER_LAUNCH, 120)                 \
                                                  X(CAN_USE_64_BIT_STREAM_MEM_OPS, 122)                                \
                                                      X(CAN_USE_STREAM_WAIT_VALUE_NOR, 123) X(DMA_BUF_SUPPORTED, 124)  \
                                                          X(IPC_EVENT_SUPPORTED, 125) X(MEM_SYNC_DOMAIN_COUNT, 126)    \
                                                              X(TENSOR_MAP_ACCESS_SUPPORTED, 127)                      \
                                                                  X(HANDLE_TYPE_FABRIC_SUPPORTED, 128) X(NUMA_ID, 131) \
                                                                      X(MULTICAST_SUPPORTED, 132)                      \
                                                                          X(MEM_DECOMPRESS_ALGORITHM_MASK, 136)        \
                                                                              X(MEM_DECOMPRESS_MAXIMUM_LENGTH, 137)

enum CUdevice_attribute : int {
#define X(name, number) CU_DEVICE_ATTRIBUTE_##name = number,
  HALYARD_CUDA_ATTRIBUTES(X)
#undef X
};

enum CUfunction_attribute : int {
  CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 0,
  CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = 1,
  CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES = 2,
  CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES = 3,
  CU_FUNC_ATTRIBUTE_NUM_REGS = 4,
  CU_FUNC_ATTRIBUTE_PTX_VERSION = 5,
  CU_FUNC_ATTRIBUTE_BINARY_VERSION = 6,
  CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
};

enum CUpointer_attribute : int {
  CU_POINTER_ATTRIBUTE_CONTEXT = 1,
  CU_POINTER_ATTRIBUTE_MEMORY_TYPE = 2,
  CU_POINTER_ATTRIBUTE_DEVICE_POINTER = 3,
  CU_POINTER_ATTRIBUTE_HOST_POINTER = 4,
  CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9,
  CU_POINTER_ATTRIBUTE_RANGE_START_ADDR = 11,
  CU_POINTER_ATTRIBUTE_RANGE_SIZE = 12,
};

enum CUmemorytype : int { CU_MEMORYTYPE_HOST = 1, CU_MEMORYTYPE_DEVICE = 2 };

enum CUjit_option : int {
  CU_JIT_INFO_LOG_BUFFER = 3,
  CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES = 4,
  CU_JIT_ERROR_LOG_BUFFER = 5,
  CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6,
  CU_JIT_LOG_VERBOSE = 12,
};

enum CUlibraryOption : int {
  CU_LIBRARY_HOST_UNIVERSAL_FUNCTION_AND_DATA_TABLE = 0,
  CU_LIBRARY_BINARY_IS_PRESERVED = 1
};

enum CUdriverProcAddressQueryResult : int {
  CU_GET_PROC_ADDRESS_SUCCESS = 0,
  CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND = 1,
  CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT = 2,
};

inline constexpr unsigned CU_CTX_SCHED_BLOCKING_SYNC = 4;
inline constexpr unsigned CU_STREAM_NON_BLOCKING = 1;
inline constexpr unsigned CU_EVENT_BLOCKING_SYNC = 1;
inline constexpr unsigned CU_EVENT_DISABLE_TIMING = 2;
inline constexpr unsigned CU_EVENT_INTERPROCESS = 4;
inline constexpr unsigned CU_MEMHOSTALLOC_PORTABLE = 1;
inline constexpr unsigned CU_MEMHOSTALLOC_DEVICEMAP = 2;
inline constexpr unsigned CU_MEMHOSTALLOC_WRITECOMBINED = 4;
inline constexpr unsigned CU_MEMHOSTREGISTER_PORTABLE = 1;
inline constexpr unsigned CU_MEMHOSTREGISTER_DEVICEMAP = 2;
inline constexpr unsigned CU_STREAM_WAIT_VALUE_GEQ = 0;
inline constexpr unsigned CU_STREAM_WAIT_VALUE_EQ = 1;
inline constexpr unsigned CU_STREAM_WAIT_VALUE_AND = 2;
inline constexpr unsigned CU_STREAM_WAIT_VALUE_NOR = 3;
inline constexpr unsigned CU_STREAM_WRITE_VALUE_DEFAULT = 0;
inline constexpr unsigned CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER = 1;

struct CUlaunchAttribute {
  unsigned id;
  char pad[4];
  union {
    char pad[64];
    std::uint64_t align_;  // the documented union holds pointers and 64-bit values
  } value;
};

struct CUlaunchConfig {
  unsigned gridDimX, gridDimY, gridDimZ;
  unsigned blockDimX, blockDimY, blockDimZ;
  unsigned sharedMemBytes;
  CUstream hStream;
  CUlaunchAttribute* attrs;
  unsigned numAttrs;
};

// One function type per row of driver_symbols.inc; Fn_MemAlloc is the type of cuMemAlloc at that row's ABI version.
using Fn_Init = CUresult(unsigned flags);
using Fn_DriverGetVersion = CUresult(int* version);
using Fn_GetErrorName = CUresult(CUresult error, const char** name);
using Fn_GetErrorString = CUresult(CUresult error, const char** text);
using Fn_GetProcAddress = CUresult(const char* symbol, void** function, int version, cuuint64_t flags,
                                   CUdriverProcAddressQueryResult* status);
using Fn_DeviceGetCount = CUresult(int* count);
using Fn_DeviceGet = CUresult(CUdevice* device, int ordinal);
using Fn_DeviceGetName = CUresult(char* name, int length, CUdevice device);
using Fn_DeviceGetUuid = CUresult(CUuuid* uuid, CUdevice device);
using Fn_DeviceGetPCIBusId = CUresult(char* id, int length, CUdevice device);
using Fn_DeviceTotalMem = CUresult(std::size_t* bytes, CUdevice device);
using Fn_DeviceGetAttribute = CUresult(int* value, CUdevice_attribute attribute, CUdevice device);
using Fn_DevicePrimaryCtxRetain = CUresult(CUcontext* context, CUdevice device);
using Fn_DevicePrimaryCtxRelease = CUresult(CUdevice device);
using Fn_DevicePrimaryCtxSetFlags = CUresult(CUdevice device, unsigned flags);
using Fn_DevicePrimaryCtxGetState = CUresult(CUdevice device, unsigned* flags, int* active);
using Fn_CtxSetCurrent = CUresult(CUcontext context);
using Fn_CtxGetCurrent = CUresult(CUcontext* context);
using Fn_CtxGetDevice = CUresult(CUdevice* device);
using Fn_CtxSynchronize = CUresult();
using Fn_CtxGetStreamPriorityRange = CUresult(int* least, int* greatest);
using Fn_StreamCreate = CUresult(CUstream* stream, unsigned flags);
using Fn_StreamCreateWithPriority = CUresult(CUstream* stream, unsigned flags, int priority);
using Fn_StreamDestroy = CUresult(CUstream stream);
using Fn_StreamSynchronize = CUresult(CUstream stream);
using Fn_StreamQuery = CUresult(CUstream stream);
using Fn_StreamWaitEvent = CUresult(CUstream stream, CUevent event, unsigned flags);
using Fn_StreamWriteValue32 = CUresult(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned flags);
using Fn_StreamWaitValue32 = CUresult(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned flags);
using Fn_StreamWriteValue64 = CUresult(CUstream stream, CUdeviceptr address, cuuint64_t value, unsigned flags);
using Fn_StreamWaitValue64 = CUresult(CUstream stream, CUdeviceptr address, cuuint64_t value, unsigned flags);
using Fn_EventCreate = CUresult(CUevent* event, unsigned flags);
using Fn_EventDestroy = CUresult(CUevent event);
using Fn_EventRecord = CUresult(CUevent event, CUstream stream);
using Fn_EventQuery = CUresult(CUevent event);
using Fn_EventSynchronize = CUresult(CUevent event);
using Fn_EventElapsedTime = CUresult(float* milliseconds, CUevent start, CUevent end);
using Fn_LaunchHostFunc = CUresult(CUstream stream, CUhostFn function, void* user);
using Fn_MemGetInfo = CUresult(std::size_t* free, std::size_t* total);
using Fn_MemAlloc = CUresult(CUdeviceptr* address, std::size_t bytes);
using Fn_MemFree = CUresult(CUdeviceptr address);
using Fn_MemAllocAsync = CUresult(CUdeviceptr* address, std::size_t bytes, CUstream stream);
using Fn_MemFreeAsync = CUresult(CUdeviceptr address, CUstream stream);
using Fn_MemHostAlloc = CUresult(void** pointer, std::size_t bytes, unsigned flags);
using Fn_MemFreeHost = CUresult(void* pointer);
using Fn_MemHostRegister = CUresult(void* pointer, std::size_t bytes, unsigned flags);
using Fn_MemHostUnregister = CUresult(void* pointer);
using Fn_MemHostGetDevicePointer = CUresult(CUdeviceptr* address, void* pointer, unsigned flags);
using Fn_MemGetAddressRange = CUresult(CUdeviceptr* base, std::size_t* bytes, CUdeviceptr address);
using Fn_PointerGetAttribute = CUresult(void* data, CUpointer_attribute attribute, CUdeviceptr address);
using Fn_MemcpyAsync = CUresult(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream);
using Fn_MemcpyHtoDAsync = CUresult(CUdeviceptr to, const void* from, std::size_t bytes, CUstream stream);
using Fn_MemcpyDtoHAsync = CUresult(void* to, CUdeviceptr from, std::size_t bytes, CUstream stream);
using Fn_MemcpyDtoDAsync = CUresult(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream);
using Fn_MemsetD8Async = CUresult(CUdeviceptr to, unsigned char value, std::size_t count, CUstream stream);
using Fn_MemsetD16Async = CUresult(CUdeviceptr to, unsigned short value, std::size_t count, CUstream stream);
using Fn_MemsetD32Async = CUresult(CUdeviceptr to, unsigned value, std::size_t count, CUstream stream);
using Fn_ModuleLoadDataEx = CUresult(CUmodule* module, const void* image, unsigned options, CUjit_option* names,
                                     void** values);
using Fn_ModuleUnload = CUresult(CUmodule module);
using Fn_ModuleGetFunction = CUresult(CUfunction* function, CUmodule module, const char* name);
using Fn_ModuleGetGlobal = CUresult(CUdeviceptr* address, std::size_t* bytes, CUmodule module, const char* name);
using Fn_FuncGetAttribute = CUresult(int* value, CUfunction_attribute attribute, CUfunction function);
using Fn_FuncGetParamInfo = CUresult(CUfunction function, std::size_t index, std::size_t* offset, std::size_t* size);
using Fn_LibraryLoadData = CUresult(CUlibrary* library, const void* code, CUjit_option* jit_names, void** jit_values,
                                    unsigned jit_options, CUlibraryOption* names, void** values, unsigned options);
using Fn_LibraryUnload = CUresult(CUlibrary library);
using Fn_LibraryGetKernel = CUresult(CUkernel* kernel, CUlibrary library, const char* name);
using Fn_LibraryGetGlobal = CUresult(CUdeviceptr* address, std::size_t* bytes, CUlibrary library, const char* name);
using Fn_KernelGetFunction = CUresult(CUfunction* function, CUkernel kernel);
using Fn_KernelGetAttribute = CUresult(int* value, CUfunction_attribute attribute, CUkernel kernel, CUdevice device);
using Fn_KernelGetParamInfo = CUresult(CUkernel kernel, std::size_t index, std::size_t* offset, std::size_t* size);
using Fn_LaunchKernel = CUresult(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                 unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                                 CUstream stream, void** parameters, void** extra);
using Fn_LaunchKernelEx = CUresult(const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra);

}  // namespace hal::cuda::abi
