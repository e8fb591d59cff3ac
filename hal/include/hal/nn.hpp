// SPDX-License-Identifier: Apache-2.0
// Layers of neural networks, lowered to the primitives of hal/graph.hpp. Images are NHWC (batch, height, width,
// channels), filters HWIO (height, width, channels in, channels out). Sums and exponentials are kept in f32 where a
// value of a narrower type would lose them; results have the type of x. Mistakes go where GraphBuilder keeps its own.
#pragma once

#include <array>
#include <cstdint>
#include <source_location>

#include "hal/graph.hpp"

namespace hal::nn {

using graph::GraphBuilder;
using graph::Value;
using Site = std::source_location;

/// x [..., c] + bias [c]
Value bias_add(GraphBuilder& b, Value x, Value bias, Site site = Site::current());

/// x [..., in] times weights [in, out] plus bias [out]
Value dense(GraphBuilder& b, Value x, Value weights, Value bias, Site site = Site::current());

/// max(x, 0); NaN stays NaN
Value relu(GraphBuilder& b, Value x, Site site = Site::current());

/// Along the last axis; the largest element is taken off first, so nothing overflows.
Value softmax(GraphBuilder& b, Value x, Site site = Site::current());

/// The i32 index of the largest element along the last axis: the first of equals, the first NaN if there is one. At
/// most 2^24 elements along the axis.
Value argmax(GraphBuilder& b, Value x, Site site = Site::current());

using Pair = std::array<std::int64_t, 2>;  // height, width

struct Conv2d {
  Pair strides{1, 1};
  Pair pad_low{0, 0};
  Pair pad_high{0, 0};
  Pair dilation{1, 1};
};

/// A cross-correlation, as frameworks call convolution: x [n, h, w, c] with filters [kh, kw, c, o]. Lowered to pad, a
/// view of windows and one contraction, a single matrix product.
Value conv2d(GraphBuilder& b, Value x, Value filters, const Conv2d& options = {}, Site site = Site::current());

struct Pool2d {
  Pair window{2, 2};
  Pair strides{2, 2};
};

/// Windows that do not fit whole are left out.
Value max_pool2d(GraphBuilder& b, Value x, const Pool2d& options = {}, Site site = Site::current());
Value average_pool2d(GraphBuilder& b, Value x, const Pool2d& options = {}, Site site = Site::current());

}  // namespace hal::nn
