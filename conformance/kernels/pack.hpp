// SPDX-License-Identifier: Apache-2.0
// The kernel pack: eight small kernels in every image format that devices here take, with one manifest. Their contract
// cards, what each must compute in plain C++, are in cases/kernel_cases.cpp.
#pragma once

#include <string>
#include <vector>

#include "conformance/cases/case.hpp"

namespace hal::conformance {

struct PackImage {
  std::string format;
  const void* bytes;
  std::uint64_t size;
  const char* manifest;
  bool text;  // damage does no harm to this process: the device parses it

  hal_image image() const { return {format.c_str(), bytes, size, manifest, nullptr, 0}; }
};

// One image for each format.
std::vector<PackImage> kernel_pack();

// The first image that the device takes; expects that there is one.
PackImage pack_for(Case& t);
Owned<hal_program> load_pack(Case& t);

// special.cpp: images with specialisation constants, whose entry "spec_constants" writes what it sees, or with dynamic
// dimensions, whose entry "spec_extents" does.
enum class Special { constants, extents };
std::vector<PackImage> special_pack(Special special);
PackImage special_for(Case& t, Special special);

// An entry by name, or the case fails.
std::uint32_t entry_of(hal_program* program, const char* name);

}  // namespace hal::conformance
