// SPDX-License-Identifier: Apache-2.0
// Products, look-ups and activations.
#pragma once

#include "hal/nn/types.hpp"

namespace hal::nn {

/// x [..., c] + bias [c]
Value bias_add(GraphBuilder& b, Value x, Value bias, Site site = Site::current());

/// x [..., in] times weights [in, out] plus bias [out]: the sum and the bias in f32, one rounding to the type of x.
/// Errors  x is a scalar, or has more than 8 dimensions
Value dense(GraphBuilder& b, Value x, Value weights, Value bias, Site site = Site::current());

/// Rows of table [rows, ...] at i32 indices [...]: [..., (rest of table)]. An index outside fails the run with
/// OUT_OF_RANGE, as gather does.
Value embedding(GraphBuilder& b, Value table, Value indices, Site site = Site::current());

/// i32 indices [...] as [..., depth] of `type`: 1 at the index, 0 elsewhere. An index outside 0 to depth - 1 gives a
/// row of zeros.
/// Errors  depth is not 1 to 2^28; indices are not i32
Value one_hot(GraphBuilder& b, Value indices, std::int64_t depth, DType type = DType::f32, Site site = Site::current());

// ---- activations: any shape, floating types (relu: integers too); computed in f32, one rounding to the type of x

/// max(x, 0); NaN stays NaN
Value relu(GraphBuilder& b, Value x, Site site = Site::current());

/// 1 / (1 + e^-x)
Value sigmoid(GraphBuilder& b, Value x, Site site = Site::current());

Value tanh(GraphBuilder& b, Value x, Site site = Site::current());

/// x sigmoid(x), also called swish (arXiv:1702.03118). -inf gives NaN, as the formula does.
Value silu(GraphBuilder& b, Value x, Site site = Site::current());

/// x/2 (1 + erf(x / sqrt 2)): the exact form of arXiv:1606.08415
Value gelu(GraphBuilder& b, Value x, Site site = Site::current());

/// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): the approximation of arXiv:1606.08415, section 2
Value gelu_tanh(GraphBuilder& b, Value x, Site site = Site::current());

/// e^x_i / sum of e^x_j along the axis; the largest element is taken off first, so nothing overflows. Exponentials and
/// the sum are f32.
/// Errors  x is a scalar, or has no such axis
Value softmax(GraphBuilder& b, Value x, Axis axis = -1, Site site = Site::current());

/// x_i - log(sum of e^x_j) along the axis, from shifted exponentials: exact where softmax would round to 0.
Value log_softmax(GraphBuilder& b, Value x, Axis axis = -1, Site site = Site::current());

}  // namespace hal::nn
