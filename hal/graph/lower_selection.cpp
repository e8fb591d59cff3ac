// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "graph/lower.hpp"
#include "hal/nn/selection.hpp"

namespace hal::nn {

using namespace lower;

namespace {

constexpr std::int64_t kMostIndices = std::int64_t{1} << 24U;  // f32 holds them exactly, and this, which is none
constexpr std::int64_t kMostTaken = 1024;
constexpr std::array<std::int64_t, 3> kBlocks{16, 64, 256};  // elements in a block of a running sum, by level

// Indices take the family of x, so that one map may compare elements and choose indices.
DType index_type(DType type) { return is_floating(type) ? DType::f32 : DType::i32; }

// A NaN equals nothing, itself included, and makes every extreme NaN.
Expr is_extreme() { return logical_or(equal(arg(0), arg(1)), not_equal(arg(0), arg(0))); }

bool too_many(GraphBuilder& b, std::int64_t n, const char* what, Site site) {
  if (n <= kMostIndices) { return false; }
  b.fail(fmt::format("{}: {} elements along the axis, the most is 2^24", what, n), site);
  return true;
}

Value arg_extreme(GraphBuilder& b, Value x, Axis axis, ReduceOp op, const char* what, Site site) {
  const auto a = axis_of(b, x, axis, what, site);
  if (!a) { return {}; }
  const Shape shape = b.shape(x);
  const std::int64_t n = shape[*a];
  if (too_many(b, n, what, site)) { return {}; }
  const DType index = index_type(b.dtype(x));
  const Value iota = b.reshape(places(b, index, n, what, site), along(shape.size(), *a, n), site);
  const Value extreme = b.reduce(x, op, {*a}, KeepDims::yes, {}, site);
  const Value candidates =
      b.map({x, extreme, iota}, select(is_extreme(), arg(2), static_cast<double>(kMostIndices)), index, site);
  return lower::convert(b, b.reduce(candidates, ReduceOp::min, {*a}, KeepDims::no, {}, site), DType::i32, site);
}

// concat of any number of values.
Value join(GraphBuilder& b, std::vector<Value> parts, std::uint32_t axis, Site site) {
  while (parts.size() > 1) {
    std::vector<Value> next;
    for (std::size_t i = 0; i < parts.size(); i += graph::kMaxNodeInputs) {
      const std::size_t count = std::min<std::size_t>(graph::kMaxNodeInputs, parts.size() - i);
      next.push_back(b.concat(std::span<const Value>(parts).subspan(i, count), axis, site));
    }
    parts = std::move(next);
  }
  return parts[0];
}

// `count` zeros before or behind dimension `axis`: pad takes numbers only, so an open count is joined on.
Value with_zeros(GraphBuilder& b, Value x, std::uint32_t axis, bool before, std::int64_t count, Site site) {
  Shape shape = b.shape(x);
  if (!graph::is_symbolic(count)) {
    Shape none(shape.size(), 0), by = none;
    by[axis] = count;
    return before ? b.pad(x, by, none, 0.0, site) : b.pad(x, none, by, 0.0, site);
  }
  shape[axis] = count;
  const Value zeros = b.broadcast(b.constant_from(b.dtype(x), {}, std::vector{0.0}, site), shape, site);
  return before ? b.concat({zeros, x}, axis, site) : b.concat({x, zeros}, axis, site);
}

// Running sums along dimension 1 of x [outer, n, inner]. Each level sums blocks of about as many elements as it has in
// kBlocks, the last all that is left; on an open axis every level is there, and one without a choice has blocks of 1.
Value scan(GraphBuilder& b, Value x, Site site, std::size_t level = 0) {
  const Shape shape = b.shape(x);
  if (b.failed() || shape[1] == 1) { return x; }
  const std::int64_t outer = shape[0], n = shape[1], inner = shape[2];
  const bool last = level == kBlocks.size();
  const std::int64_t block = last ? n : divided_up(b, n, divided_up(b, n, kBlocks[level], site), site);
  const std::int64_t blocks = last ? 1 : divided_up(b, n, block, site);
  const std::int64_t padded = times(b, blocks, block, site);
  const std::int64_t more = graph::is_symbolic(padded) ? block : padded - n;
  const Value whole = padded == n ? x : slice_axis(b, with_zeros(b, x, 1, false, more, site), 1, 0, padded, site);
  // Each block behind as many zeros: element i is the sum of the window that begins at i + 1.
  const Value led = with_zeros(b, b.reshape(whole, {outer, blocks, block, inner}, site), 2, true, block, site);
  const std::int64_t row = times(b, times(b, block, 2, site), inner, site);
  const Value windows = b.view(led, {outer, blocks, block, block, inner}, inner,
                               {times(b, blocks, row, site), row, inner, inner, 1}, site);
  Value sums = b.reduce(windows, ReduceOp::sum, {3}, KeepDims::no, {}, site);
  if (blocks != 1) {
    const std::int64_t end = b.size(graph::SizeOp::sub, block, 1, site);
    const Value totals = b.reshape(slice_axis(b, sums, 2, end, 1, site), {outer, blocks, inner}, site);
    const Value before =
        slice_axis(b, b.pad(scan(b, totals, site, level + 1), {0, 1, 0}, {0, 0, 0}, 0.0, site), 1, 0, blocks, site);
    sums = b.map({sums, b.reshape(before, {outer, blocks, 1, inner}, site)}, arg(0) + arg(1), {}, site);
  }
  const Value line = b.reshape(sums, {outer, padded, inner}, site);
  return padded == n ? line : slice_axis(b, line, 1, 0, n, site);
}

}  // namespace

Value argmax(GraphBuilder& b, Value x, Axis axis, Site site) {
  return arg_extreme(b, x, axis, ReduceOp::max, "argmax", site);
}

Value argmin(GraphBuilder& b, Value x, Axis axis, Site site) {
  return arg_extreme(b, x, axis, ReduceOp::min, "argmin", site);
}

TopK top_k(GraphBuilder& b, Value x, std::int64_t k, Site site) {
  const auto a = axis_of(b, x, -1, "top_k", site);
  if (!a) { return {}; }
  const Shape shape = b.shape(x);
  const std::int64_t n = shape[*a];
  if (too_many(b, n, "top_k", site)) { return {}; }
  const std::int64_t most = graph::is_symbolic(n) ? kMostTaken : std::min(n, kMostTaken);
  if (k < 1 || k > most) {
    b.fail(fmt::format("top_k: k is {} for {}, expected 1 to {}", k, print_shape(shape), most), site);
    return {};
  }
  // Nobody reads it: a run with less than k along the axis is refused when it is bound.
  if (graph::is_symbolic(n)) { slice_axis(b, x, *a, k - 1, 1, site); }
  const DType type = b.dtype(x), index = index_type(type);
  const double low = is_floating(type) ? -std::numeric_limits<double>::infinity()
                     : is_mask(type)   ? 0.0
                                       : -static_cast<double>(std::uint64_t{1} << (dtype_bits(type) - 1));
  // An element that is taken becomes the lowest value, and its index one that is none: it is never chosen again.
  constexpr auto kTaken = static_cast<double>(kMostIndices);
  Value rest = x;
  const Value iota = places(b, index, n, "top_k", site);
  Value open = iota;
  std::vector<Value> values, indices;
  for (std::int64_t i = 0; i < k; ++i) {
    const Value largest = b.reduce(rest, ReduceOp::max, {*a}, KeepDims::yes, {}, site);
    const Value candidates = b.map({rest, largest, open}, select(is_extreme(), arg(2), kTaken), index, site);
    const Value first = b.reduce(candidates, ReduceOp::min, {*a}, KeepDims::yes, {}, site);
    values.push_back(largest);
    indices.push_back(first);
    if (i + 1 == k) { break; }
    rest = b.map({rest, iota, first}, select(equal(arg(1), arg(2)), low, arg(0)), type, site);
    open = b.map({open, first}, select(equal(arg(0), arg(1)), kTaken, arg(0)), index, site);
  }
  return {join(b, std::move(values), *a, site),
          lower::convert(b, join(b, std::move(indices), *a, site), DType::i32, site)};
}

Value cumulative_sum(GraphBuilder& b, Value x, Axis axis, const Cumulative& options, Site site) {
  const auto a = axis_of(b, x, axis, "cumulative_sum", site);
  if (!a) { return {}; }
  const Shape shape = b.shape(x);
  const DType type = b.dtype(x);
  const DType sum = is_floating(type) ? wide(type) : dtype_bits(type) < 32 ? DType::i32 : type;
  std::int64_t outer = 1, inner = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i != *a) { (i < *a ? outer : inner) = times(b, i < *a ? outer : inner, shape[i], site); }
  }
  const std::int64_t n = shape[*a];
  const auto turned = [&](Value v) {
    if (!options.reverse) { return v; }
    return b.view(v, {outer, n, inner}, times(b, b.size(graph::SizeOp::sub, n, 1, site), inner, site),
                  {times(b, n, inner, site), times(b, -1, inner, site), 1}, site);
  };
  Value y = scan(b, turned(b.reshape(lower::convert(b, x, sum, site), {outer, n, inner}, site)), site);
  if (options.exclusive) { y = slice_axis(b, b.pad(y, {0, 1, 0}, {0, 0, 0}, 0.0, site), 1, 0, n, site); }
  y = b.reshape(turned(y), shape, site);
  return is_floating(type) ? lower::convert(b, y, type, site) : y;
}

}  // namespace hal::nn
