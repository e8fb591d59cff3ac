// SPDX-License-Identifier: Apache-2.0
// Affine quantisation, as ONNX's QuantizeLinear and DequantizeLinear define it: real = (q - zero_point) * scale.
#pragma once

#include "hal/nn/types.hpp"

namespace hal::nn {

struct Quantisation {
  Value scale;                        // f32: [] for the whole tensor, or [n] along `axis`
  std::optional<Value> zero_point{};  // any integer type, of the shape of scale; missing: 0
  Axis axis = -1;                     // ignored for a scalar scale
};

/// round(x / scale) + zero_point, halves to even, saturated to the range of `type`: i8 (-128 to 127), u8 (0 to 255) or
/// i4 (-8 to 7, two to a byte). NaN gives 0.
/// Errors  type is another; x is not floating; scale is not f32, or is neither a scalar nor as long as the axis; the
///         zero point is not an integer, or of another shape. A run finds where one of two lengths is symbolic
Value quantise(GraphBuilder& b, Value x, const Quantisation& by, DType type, Site site = Site::current());

/// (x - zero_point) * scale in f32, rounded to `type` (f32 or narrower).
Value dequantise(GraphBuilder& b, Value x, const Quantisation& by, DType type = DType::f32,
                 Site site = Site::current());

}  // namespace hal::nn
