// SPDX-License-Identifier: Apache-2.0
// Resizing and padding.
#pragma once

#include "hal/nn/types.hpp"

namespace hal::nn {

/// Where element i of n lies in an input of m elements (names as in ONNX's Resize).
enum class Coordinates : std::uint8_t {
  half_pixel,     // (i + 0.5) m / n - 0.5
  align_corners,  // i (m - 1) / (n - 1); 0 if n is 1
  asymmetric,     // i m / n
};

enum class Nearest : std::uint8_t {
  round_half_down,  // ONNX's default
  floor,            // with `asymmetric`, what PyTorch calls "nearest"
};

/// x [n, s..., c] to [n, sizes..., c] by the nearest element: one gather a dimension that changes. Sizes may be
/// symbolic on either side; the indices of such a dimension are computed by the run.
/// Errors  x is not of rank 3 to 5; not one size for each spatial dimension; a size below 1 or above 2^28, and above
///         2^24 where it or the dimension's other size is symbolic, which a run finds of what it brings
Value resize_nearest(GraphBuilder& b, Value x, const Shape& sizes, Coordinates coordinates = Coordinates::half_pixel,
                     Nearest nearest = Nearest::round_half_down, Site site = Site::current());

/// The same by linear interpolation of the two neighbours along each dimension (bilinear, trilinear), outside
/// coordinates clamped to the edge; f32 between the dimensions. Two gathers and a map a dimension.
/// Errors  as resize_nearest; x is not floating
Value resize_linear(GraphBuilder& b, Value x, const Shape& sizes, Coordinates coordinates = Coordinates::half_pixel,
                    Site site = Site::current());

/// Names and meaning as in numpy.pad.
enum class PadMode : std::uint8_t {
  constant,  // `value`
  edge,      // the outermost element
  reflect,   // mirrored at the outermost element, which is not repeated; repeats if it is longer than x
  wrap,      // from the other end
};

/// `low[i]` elements before and `high[i]` behind dimension i; one gather a dimension (constant: one pad).
/// Errors  not one number for each dimension, or one below 0; a mode with indices along a dimension of more than 2^28
///         elements, or 2^24 where it is symbolic, which a run finds
Value pad(GraphBuilder& b, Value x, const Shape& low, const Shape& high, PadMode mode, double value = 0,
          Site site = Site::current());

}  // namespace hal::nn
