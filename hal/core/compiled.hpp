// SPDX-License-Identifier: Apache-2.0
// "hal.program": a loaded program as bytes: who made it, its signatures, and the driver's own form of it. What
// hal_program_serialize() gives, and what a file of the program cache holds. docs/programs.md has the layout.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/sha256.hpp"
#include "core/signature.hpp"

namespace hal::core {

struct Compiled {
  std::string identity;  // Device::identity() of the device that made it
  Digest source{};       // the key of the cache; zeros outside of it
  Signatures signatures;
  std::span<const std::byte> payload;  // of the driver, in the bytes that were read
};

std::vector<std::byte> write_compiled(const std::string& identity, const Digest& source, const Signatures& signatures,
                                      std::span<const std::byte> payload);

// Errors: INVALID_IMAGE with field and offset, INCOMPATIBLE  another version of the format.
Result<Compiled> read_compiled(std::span<const std::byte> bytes);

}  // namespace hal::core
