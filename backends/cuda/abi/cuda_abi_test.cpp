// SPDX-License-Identifier: Apache-2.0
// Compares our declarations with the vendor's header where a CUDA toolkit is installed. Compile-time checks; the test
// case only reports which header was met.
#include "cuda_abi.hpp"

#include <halyard_catch.hpp>

#if __has_include(<cudaTypedefs.h>)
#include <cuda.h>
#include <cudaTypedefs.h>

#include <type_traits>

namespace abi = hal::cuda::abi;

namespace {

#define X(name) static_assert(static_cast<int>(abi::name) == static_cast<int>(::name));
HALYARD_CUDA_RESULTS(X)
#undef X
#define X(name, number) static_assert(static_cast<int>(::CU_DEVICE_ATTRIBUTE_##name) == number);
HALYARD_CUDA_ATTRIBUTES(X)
#undef X
#define SAME(name) static_assert(static_cast<long>(abi::name) == static_cast<long>(::name));
SAME(CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)
SAME(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)
SAME(CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES)
SAME(CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)
SAME(CU_FUNC_ATTRIBUTE_NUM_REGS)
SAME(CU_FUNC_ATTRIBUTE_PTX_VERSION)
SAME(CU_FUNC_ATTRIBUTE_BINARY_VERSION)
SAME(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
SAME(CU_POINTER_ATTRIBUTE_CONTEXT)
SAME(CU_POINTER_ATTRIBUTE_MEMORY_TYPE)
SAME(CU_POINTER_ATTRIBUTE_DEVICE_POINTER)
SAME(CU_POINTER_ATTRIBUTE_HOST_POINTER)
SAME(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
SAME(CU_POINTER_ATTRIBUTE_RANGE_START_ADDR)
SAME(CU_POINTER_ATTRIBUTE_RANGE_SIZE)
SAME(CU_MEMORYTYPE_HOST)
SAME(CU_MEMORYTYPE_DEVICE)
SAME(CU_JIT_INFO_LOG_BUFFER)
SAME(CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES)
SAME(CU_JIT_ERROR_LOG_BUFFER)
SAME(CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
SAME(CU_JIT_LOG_VERBOSE)
SAME(CU_LIBRARY_BINARY_IS_PRESERVED)
SAME(CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND)
SAME(CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT)
SAME(CU_CTX_SCHED_BLOCKING_SYNC)
SAME(CU_STREAM_NON_BLOCKING)
SAME(CU_EVENT_BLOCKING_SYNC)
SAME(CU_EVENT_DISABLE_TIMING)
SAME(CU_EVENT_INTERPROCESS)
SAME(CU_STREAM_WAIT_VALUE_GEQ)
SAME(CU_STREAM_WAIT_VALUE_EQ)
SAME(CU_STREAM_WAIT_VALUE_AND)
SAME(CU_STREAM_WAIT_VALUE_NOR)
SAME(CU_STREAM_WRITE_VALUE_DEFAULT)
SAME(CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER)
#undef SAME
// The vendor spells these four as macros, so they can only be compared by number.
static_assert(CU_MEMHOSTALLOC_PORTABLE == 1 && CU_MEMHOSTALLOC_DEVICEMAP == 2 && CU_MEMHOSTALLOC_WRITECOMBINED == 4);
static_assert(CU_MEMHOSTREGISTER_PORTABLE == 1 && CU_MEMHOSTREGISTER_DEVICEMAP == 2);

static_assert(sizeof(abi::CUuuid) == sizeof(::CUuuid));
static_assert(sizeof(abi::CUlaunchAttribute) == sizeof(::CUlaunchAttribute));
static_assert(alignof(abi::CUlaunchAttribute) == alignof(::CUlaunchAttribute));
static_assert(sizeof(abi::CUlaunchConfig) == sizeof(::CUlaunchConfig));
static_assert(offsetof(abi::CUlaunchConfig, hStream) == offsetof(::CUlaunchConfig, hStream));
static_assert(offsetof(abi::CUlaunchConfig, attrs) == offsetof(::CUlaunchConfig, attrs));
static_assert(offsetof(abi::CUlaunchConfig, numAttrs) == offsetof(::CUlaunchConfig, numAttrs));
static_assert(sizeof(abi::CUdeviceptr) == sizeof(::CUdeviceptr));

// Same number of parameters, each of the same size and kind: what a call through the other's pointer type needs.
template <class A, class B>
struct SameShape : std::false_type {};
template <class R, class... A, class S, class... B>
struct SameShape<R(A...), S(B...)> : std::bool_constant<[] {
  if constexpr (sizeof...(A) != sizeof...(B)) {
    return false;
  } else {
    return ((sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>) && ...);
  }
}()> {};

#define X(name, version, need, symbol) \
  static_assert(SameShape<abi::Fn_##name, std::remove_pointer_t<PFN_cu##name##_v##version>>::value);
#include "driver_symbols.inc"
#undef X

}  // namespace

TEST_CASE("our CUDA declarations agree with the installed toolkit") {
  WARN("checked against CUDA_VERSION " << CUDA_VERSION);
  SUCCEED();
}
#else
TEST_CASE("our CUDA declarations agree with the installed toolkit") {
  WARN("no CUDA toolkit headers here: nothing to compare with");
}
#endif
