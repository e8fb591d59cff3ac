// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "ptx/syntax.hpp"
#include "vm/instruction.hpp"

namespace hal::emulated_cuda {

// The executable form of one kernel. `global_addresses` holds the device address of each of the module's variables.
// Throws PtxError for every instruction, modifier or operand that the emulator does not run exactly.
Program decode(const Syntax& module, const Kernel& kernel, std::span<const std::uint64_t> global_addresses);

}  // namespace hal::emulated_cuda
