// SPDX-License-Identifier: Apache-2.0
// Whole files, and numpy arrays on their way out (digits/npy.hpp reads them).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "digits/npy.hpp"
#include "hal/result.hpp"

namespace hal::cli {

/// Errors  NOT_FOUND     with the system's reason
///         OUT_OF_RANGE  the file has more than `most` bytes, or never ends
Result<std::vector<std::byte>> read_file(const std::string& path, std::size_t most = std::size_t{1} << 32U);

/// Replaces the file as a whole: a reader sees the old one or the new one. Errors: UNAVAILABLE  with the system's
/// reason
Result<void> write_file(const std::string& path, std::span<const std::byte> bytes);

/// The bytes of a .npy file, version 1.0. Errors: UNSUPPORTED  numpy has no type for the array's
Result<std::vector<std::byte>> to_npy(const digits::Array& array);

}  // namespace hal::cli
