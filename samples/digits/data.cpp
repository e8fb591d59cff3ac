// SPDX-License-Identifier: Apache-2.0
#include "digits/data.hpp"

#include <fmt/format.h>

#include "digits/npy.hpp"
#include "graph/rules.hpp"

namespace digits {

hal::Result<Digits> load_digits(const std::string& folder) {
  HAL_TRY(const Array images, load_npy(folder + "/digits_images.npy"));
  HAL_TRY(const Array labels, load_npy(folder + "/digits_labels.npy"));
  const bool fits = images.dtype == hal::DType::u8 && labels.dtype == hal::DType::u8 && images.shape.size() == 3 &&
                    labels.shape.size() == 1 && images.shape[0] == labels.shape[0] && images.shape[1] == 8 &&
                    images.shape[2] == 8;
  if (!fits) {
    return hal::Error(HAL_INVALID_IMAGE,
                      fmt::format("{}: images are {} {} and labels {} {}, expected u8 [n, 8, 8] and u8 [n]", folder,
                                  hal::dtype_name(images.dtype), hal::graph::print_shape(images.shape),
                                  hal::dtype_name(labels.dtype), hal::graph::print_shape(labels.shape)));
  }
  Digits digits;
  for (const std::byte pixel : images.bytes) { digits.pixels.push_back(std::to_integer<std::uint8_t>(pixel)); }
  for (const std::byte label : labels.bytes) {
    digits.labels.push_back(std::to_integer<std::uint8_t>(label));
    if (digits.labels.back() >= kClasses) {
      return hal::Error(HAL_INVALID_IMAGE, fmt::format("{}: label {} is {}, expected 0 to 9", folder,
                                                       digits.labels.size() - 1, digits.labels.back()));
    }
  }
  return digits;
}

}  // namespace digits
