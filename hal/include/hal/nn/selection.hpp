// SPDX-License-Identifier: Apache-2.0
// Where elements are, and running sums.
#pragma once

#include "hal/nn/types.hpp"

namespace hal::nn {

/// The i32 index of the largest element along the axis, which is taken away: the first of equals, the first NaN if
/// there is one.
/// Errors  x is a scalar or has no such axis; more than 2^24 elements along it, which a run finds if the axis is
/// symbolic
Value argmax(GraphBuilder& b, Value x, Axis axis = -1, Site site = Site::current());
Value argmin(GraphBuilder& b, Value x, Axis axis = -1, Site site = Site::current());

struct TopK {
  Value values;   // of the type of x
  Value indices;  // i32
};

/// The k largest elements along the last axis, largest first; equals by rising index, NaN before anything: [..., k].
/// Lowered to k rounds of "largest, its first index, take it out": about 5 k nodes and 4 k passes over x.
/// Errors  x is a scalar; k is not 1 to the smaller of 1024 and the axis; more than 2^24 elements along it. Along a
///         symbolic axis a run finds that there are fewer than k, or more
TopK top_k(GraphBuilder& b, Value x, std::int64_t k, Site site = Site::current());

struct Cumulative {
  bool exclusive = false;  // leaves the element itself out: the first sum is 0
  bool reverse = false;    // sums from the last element
};

/// y_i = sum of x_0 to x_i along the axis. Floating types sum in f32 and round once; i8, u8 and bool give i32. In
/// blocks of 16, then 64, 256 and the rest, each a window that is reduced: about 20 additions an element. Along a
/// symbolic axis all four levels are there, of blocks that are no longer than the run needs.
/// Errors  x is a scalar or has no such axis
Value cumulative_sum(GraphBuilder& b, Value x, Axis axis = -1, const Cumulative& options = {},
                     Site site = Site::current());

}  // namespace hal::nn
