// SPDX-License-Identifier: Apache-2.0
// Reads numpy's .npy files (format versions 1 to 3, little-endian, C order) of the types that Halyard has.
// Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "hal/graph_types.hpp"
#include "hal/result.hpp"

namespace digits {

struct Array {
  hal::DType dtype{};
  hal::graph::Shape shape;
  std::vector<std::byte> bytes;  // dense, row-major
};

/// `name` is for messages. Bytes behind the array are refused, as are empty arrays.
/// Errors  INVALID_IMAGE  the bytes are no .npy file, or damaged: field, byte offset, found and expected
///         UNSUPPORTED    big-endian, Fortran order, more than 8 dimensions, or a type without a name in hal::DType
hal::Result<Array> parse_npy(std::span<const std::byte> bytes, const std::string& name);

/// Errors  NOT_FOUND  the file cannot be read; else as parse_npy()
hal::Result<Array> load_npy(const std::string& path);

}  // namespace digits
