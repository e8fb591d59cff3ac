// SPDX-License-Identifier: Apache-2.0
// Declares every exported entry point from the one symbol list, so that each definition is checked against its type.
#pragma once

#include <new>
#include <system_error>

#include "cuda_abi.hpp"

// NOLINTNEXTLINE: the documented types are used by their documented names in the definitions
using namespace hal::cuda::abi;

namespace hal::emulated_cuda {

// The body of an entry point that needs host memory or a thread, which this process may not have.
template <class Body>
CUresult guarded(Body body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) { return CUDA_ERROR_OUT_OF_MEMORY; } catch (const std::system_error&) {
    return CUDA_ERROR_OPERATING_SYSTEM;
  }
}

}  // namespace hal::emulated_cuda

#define X(name, version, need, symbol) extern "C" __attribute__((visibility("default"))) Fn_##name symbol;
#include "driver_symbols.inc"
#undef X
