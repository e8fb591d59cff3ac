// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ptx/error.hpp"
#include "ptx/syntax.hpp"
#include "vm/instruction.hpp"

namespace hal::emulated_cuda {

inline constexpr std::uint32_t kNewestPtxVersion = 90;  // 9.0
inline constexpr std::uint32_t kComputeCapability = 100;

struct ModuleVariable {
  std::string name;
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
};

struct LoadedModule {
  std::uint32_t version = 0;
  std::string target;
  std::vector<Program> kernels;
  std::vector<ModuleVariable> variables;
};

struct LoadError {
  LoadFailure failure = LoadFailure::invalid_ptx;
  std::uint32_t line = 0;
  std::string message;
};

// Gives a .global or .const variable its place in device memory and fills it; returns the address, 0: no memory.
using PlaceVariable = std::function<std::uint64_t(const Symbol&)>;

std::variant<LoadedModule, LoadError> load_module(std::string_view text, const PlaceVariable& place);

}  // namespace hal::emulated_cuda
