// SPDX-License-Identifier: Apache-2.0
// Convolution and pooling over one to three spatial dimensions, channels last: images are [n, h, w, c], series
// [n, w, c], volumes [n, d, h, w, c]. Windows are views, so a device that reads views in place (graph/fuse.hpp) copies
// nothing for them.
#pragma once

#include <array>

#include "hal/nn/types.hpp"

namespace hal::nn {

/// One number for each spatial dimension; an empty list is the default for all of them.
struct Conv {
  Shape strides{};   // 1
  Shape pad_low{};   // 0: zeros before the first element
  Shape pad_high{};  // 0: and behind the last
  Shape dilation{};  // 1: elements from tap to tap
  std::int64_t groups = 1;
};

/// A cross-correlation, as frameworks call convolution: x [n, s..., c] with filters [k..., c / groups, o]:
///   y[n, i, o] = sum over taps t and channels c of x[n, i * stride + t * dilation - pad_low, c] * filters[t, c, o]
/// Group g takes channels g c/groups on to outputs g o/groups on. y is [n, o..., o] with
/// (s + pad_low + pad_high - (k - 1) dilation - 1) / stride + 1 elements a dimension. One contraction, but over three
/// dimensions with groups one for each tap of the first (their windows have more than 8 dimensions).
/// Errors  x is not of rank 3 to 5; filters are not of the same rank; a list has another length; sizes, strides or
///         dilations below 1; windows do not fit; groups does not divide c and o
Value conv(GraphBuilder& b, Value x, Value filters, const Conv& options = {}, Site site = Site::current());

struct ConvTranspose {
  Shape strides{}, pad_low{}, pad_high{}, dilation{};
  Shape output_pad{};  // 0: elements that no input reaches, at the high end
};

/// The gradient of conv with respect to its input (arXiv:1603.07285, chapter 4): x [n, s..., c] with filters
/// [k..., c, o] adds x[n, i, c] * filters[t, c, o] to y[n, i * stride + t * dilation - pad_low, o]. Sizes are
/// (s - 1) stride + (k - 1) dilation + 1 - pad_low - pad_high + output_pad. Lowered to conv over x with stride - 1
/// zeros between its elements: the zeros are multiplied too.
Value conv_transpose(GraphBuilder& b, Value x, Value filters, const ConvTranspose& options = {},
                     Site site = Site::current());

struct Pool {
  Shape window{};
  Shape strides{};  // empty: as the window
  Shape pad_low{}, pad_high{}, dilation{};
  bool count_padding = false;  // average_pool divides by the window's size, not by the elements inside x
};

/// x [n, s..., c]; what does not fill a window is left out. Padding never wins.
/// Errors  as conv; a window of nothing but padding, or one that may be so: padding of a symbolic dimension that is no
///         less than the window, or is dilated
Value max_pool(GraphBuilder& b, Value x, const Pool& options, Site site = Site::current());
/// Sums in f32. Floating types.
Value average_pool(GraphBuilder& b, Value x, const Pool& options, Site site = Site::current());

// ---- the same for images

using Pair = std::array<std::int64_t, 2>;  // height, width

struct Conv2d {
  Pair strides{1, 1};
  Pair pad_low{0, 0};
  Pair pad_high{0, 0};
  Pair dilation{1, 1};
  std::int64_t groups = 1;
};
Value conv2d(GraphBuilder& b, Value x, Value filters, const Conv2d& options = {}, Site site = Site::current());

struct Pool2d {
  Pair window{2, 2};
  Pair strides{2, 2};
};
Value max_pool2d(GraphBuilder& b, Value x, const Pool2d& options = {}, Site site = Site::current());
Value average_pool2d(GraphBuilder& b, Value x, const Pool2d& options = {}, Site site = Site::current());

}  // namespace hal::nn
