// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <numeric>

#include "graph/rules.hpp"
#include "hal/nn.hpp"

namespace hal::nn {
namespace {

using graph::arg;
using graph::KeepDims;
using graph::print_shape;
using graph::ReduceOp;
using graph::Shape;

std::uint32_t last_axis(const Shape& shape) { return static_cast<std::uint32_t>(shape.size() - 1); }

// Sums and exponentials of narrow floating types are kept in f32.
DType wide(DType type) { return is_floating(type) && dtype_bits(type) < 32 ? DType::f32 : type; }

struct Windows {
  Pair window, strides, dilation;
};

// x [n, h, w, c] as [n, oh, ow, kh, kw, c]; void if no window fits.
Value windows(GraphBuilder& b, Value x, const Windows& options, const char* what, Site site) {
  const Shape in = b.shape(x);
  if (in.size() != 4) { return b.fail(fmt::format("{}: x is {}, expected [n, h, w, c]", what, print_shape(in)), site); }
  Pair out{};
  Pair dense{in[2] * in[3], in[3]};
  for (std::size_t i = 0; i < 2; ++i) {
    std::int64_t reach = 0;  // pixels from the first to the last tap
    if (options.window[i] < 1 || options.strides[i] < 1 || options.dilation[i] < 1 ||
        __builtin_mul_overflow(options.window[i] - 1, options.dilation[i], &reach) || reach >= in[i + 1]) {
      return b.fail(fmt::format("{}: windows [{}, {}] with strides [{}, {}] and dilation [{}, {}] do not fit {}", what,
                                options.window[0], options.window[1], options.strides[0], options.strides[1],
                                options.dilation[0], options.dilation[1], print_shape(in)),
                    site);
    }
    out[i] = (in[i + 1] - 1 - reach) / options.strides[i] + 1;
  }
  // A stride that is never stepped may be so large that its product overflows; it then counts as 0.
  const auto step = [&](std::size_t i) { return out[i] == 1 ? 0 : options.strides[i] * dense[i]; };
  const auto tap = [&](std::size_t i) { return options.window[i] == 1 ? 0 : options.dilation[i] * dense[i]; };
  return b.view(x, {in[0], out[0], out[1], options.window[0], options.window[1], in[3]}, 0,
                {in[1] * in[2] * in[3], step(0), step(1), tap(0), tap(1), 1}, site);
}

}  // namespace

Value bias_add(GraphBuilder& b, Value x, Value bias, Site site) { return b.map({x, bias}, arg(0) + arg(1), {}, site); }

Value dense(GraphBuilder& b, Value x, Value weights, Value bias, Site site) {
  const std::size_t rank = b.shape(x).size();
  if (rank < 1) { return b.fail("dense: x is a scalar, expected [..., in]", site); }
  // Letters from z down for the leading dimensions keep clear of i and o.
  std::string leading;
  for (std::size_t i = 0; i + 1 < rank; ++i) { leading += static_cast<char>('z' - i); }
  const DType type = b.dtype(x);
  const Value product = b.contract(leading + "i,io->" + leading + "o", x, weights, wide(type), site);
  return b.map({product, bias}, arg(0) + arg(1), type, site);
}

Value relu(GraphBuilder& b, Value x, Site site) { return b.map({x}, max(arg(0), 0.0), {}, site); }

Value softmax(GraphBuilder& b, Value x, Site site) {
  if (b.shape(x).empty()) { return b.fail("softmax: x is a scalar, expected [..., n]", site); }
  const DType type = b.dtype(x);
  const std::uint32_t axis = last_axis(b.shape(x));
  const Value largest = b.reduce(x, ReduceOp::max, {axis}, KeepDims::yes, {}, site);
  const Value e = b.map({x, largest}, exp(arg(0) - arg(1)), wide(type), site);
  const Value sum = b.reduce(e, ReduceOp::sum, {axis}, KeepDims::yes, {}, site);
  return b.map({e, sum}, arg(0) / arg(1), type, site);
}

Value argmax(GraphBuilder& b, Value x, Site site) {
  const Shape shape = b.shape(x);
  if (shape.empty()) { return b.fail("argmax: x is a scalar, expected [..., n]", site); }
  const std::int64_t n = shape.back();
  if (n > (std::int64_t{1} << 24U)) {
    return b.fail(fmt::format("argmax: {} elements along the axis, the most is 2^24", n), site);
  }
  const bool floating = is_floating(b.dtype(x));
  // Indices take the family of x, so that one map may compare elements and choose indices; f32 holds them exactly.
  const std::uint32_t axis = last_axis(shape);
  const DType index_type = floating ? DType::f32 : DType::i32;
  Value iota;
  if (floating) {
    std::vector<float> values(static_cast<std::size_t>(n));
    std::iota(values.begin(), values.end(), 0.0F);
    iota = b.constant({n}, std::span<const float>(values), site);
  } else {
    std::vector<std::int32_t> values(static_cast<std::size_t>(n));
    std::iota(values.begin(), values.end(), 0);
    iota = b.constant({n}, std::span<const std::int32_t>(values), site);
  }
  const Value largest = b.reduce(x, ReduceOp::max, {axis}, KeepDims::yes, {}, site);
  // A NaN equals nothing, itself included, and makes the largest NaN.
  const graph::Expr is_largest = logical_or(equal(arg(0), arg(1)), not_equal(arg(0), arg(0)));
  const Value candidates =
      b.map({x, largest, iota}, select(is_largest, arg(2), static_cast<double>(n)), index_type, site);
  const Value first = b.reduce(candidates, ReduceOp::min, {axis}, KeepDims::no, {}, site);
  return floating ? b.convert(first, DType::i32, site) : first;
}

Value conv2d(GraphBuilder& b, Value x, Value filters, const Conv2d& options, Site site) {
  const DType type = b.dtype(x);
  const Shape taps = b.shape(filters);
  if (taps.size() != 4) {
    return b.fail(fmt::format("conv2d: filters are {}, expected [kh, kw, c, o]", print_shape(taps)), site);
  }
  Value padded = x;
  if (options.pad_low != Pair{0, 0} || options.pad_high != Pair{0, 0}) {
    padded = b.pad(x, {0, options.pad_low[0], options.pad_low[1], 0}, {0, options.pad_high[0], options.pad_high[1], 0},
                   0.0, site);
  }
  const Value patches = windows(b, padded, {{taps[0], taps[1]}, options.strides, options.dilation}, "conv2d", site);
  return b.contract("nyxhwc,hwco->nyxo", patches, filters, type, site);
}

Value max_pool2d(GraphBuilder& b, Value x, const Pool2d& options, Site site) {
  const Value patches = windows(b, x, {options.window, options.strides, {1, 1}}, "max_pool2d", site);
  return b.reduce(patches, ReduceOp::max, {3, 4}, KeepDims::no, {}, site);
}

Value average_pool2d(GraphBuilder& b, Value x, const Pool2d& options, Site site) {
  const DType type = b.dtype(x);
  const Value patches = windows(b, x, {options.window, options.strides, {1, 1}}, "average_pool2d", site);
  const Value sum = b.reduce(patches, ReduceOp::sum, {3, 4}, KeepDims::no, wide(type), site);
  const double scale = 1.0 / (static_cast<double>(options.window[0]) * static_cast<double>(options.window[1]));
  return b.map({sum}, arg(0) * scale, type, site);
}

}  // namespace hal::nn
