// SPDX-License-Identifier: Apache-2.0
// The 1,797 handwritten digits of samples/data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hal/result.hpp"

namespace digits {

inline constexpr std::int64_t kPixels = 64;  // 8 x 8
inline constexpr std::int64_t kClasses = 10;

struct Digits {
  std::vector<float> pixels;         // [count, 8, 8, 1], 0 to 16
  std::vector<std::int32_t> labels;  // [count], 0 to 9
  std::int64_t count() const { return static_cast<std::int64_t>(labels.size()); }
};

/// Reads digits_images.npy and digits_labels.npy.
/// Errors  as load_npy(), and INVALID_IMAGE if the two do not fit each other
hal::Result<Digits> load_digits(const std::string& folder);

}  // namespace digits
