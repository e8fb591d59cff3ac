// SPDX-License-Identifier: Apache-2.0
// "hal.bundle": several images in one flat file, our own format. docs/programs.md has the layout.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "hal/hal.h"
#include "hal/result.hpp"

namespace hal::core {

inline constexpr std::uint32_t kMostImages = 64;
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 40U;  // of one image

// Errors: INVALID_ARGUMENT.
Result<std::vector<std::byte>> write_bundle(std::span<const hal_image> images);

// The images of a bundle, which point into its bytes; every offset was verified.
// Errors: INVALID_IMAGE with field and offset, INCOMPATIBLE  another version.
Result<std::vector<hal_image>> read_bundle(std::span<const std::byte> bytes);

}  // namespace hal::core
