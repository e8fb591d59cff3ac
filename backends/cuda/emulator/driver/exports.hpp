// SPDX-License-Identifier: Apache-2.0
// Declares every exported entry point from the one symbol list, so that each definition is checked against its type.
#pragma once

#include "cuda_abi.hpp"

// NOLINTNEXTLINE: the documented types are used by their documented names in the definitions
using namespace hal::cuda::abi;

#define X(name, version, need, symbol) extern "C" __attribute__((visibility("default"))) Fn_##name symbol;
#include "driver_symbols.inc"
#undef X
