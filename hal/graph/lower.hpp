// SPDX-License-Identifier: Apache-2.0
// What the lowerings share.
#pragma once

#include <fmt/format.h>

#include <new>
#include <numeric>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/rules.hpp"
#include "graph/shape.hpp"
#include "hal/graph.hpp"
#include "hal/nn/types.hpp"

namespace hal::nn::lower {

using graph::arg;
using graph::Expr;
using graph::KeepDims;
using graph::print_shape;
using graph::ReduceOp;

/// Sums and exponentials of narrow floating types are kept in f32.
inline DType wide(DType type) { return is_floating(type) && dtype_bits(type) < 32 ? DType::f32 : type; }

/// x is of a floating type; a mistake if it is not. For layers whose results are no whole numbers.
inline bool is_real(GraphBuilder& b, Value x, const char* what, Site site) {
  if (is_floating(b.dtype(x))) { return true; }
  b.fail(fmt::format("{}: x is {}, and this layer needs a floating type; convert first", what, dtype_name(b.dtype(x))),
         site);
  return false;
}

/// The axis counted from the first; a mistake (and 0) if x has no such axis.
inline std::optional<std::uint32_t> axis_of(GraphBuilder& b, Value x, Axis axis, const char* what, Site site) {
  const auto rank = static_cast<Axis>(b.shape(x).size());
  if (axis >= -rank && axis < rank) { return static_cast<std::uint32_t>(axis < 0 ? axis + rank : axis); }
  b.fail(rank == 0 ? fmt::format("{}: x is a scalar, expected [..., n]", what)
                   : fmt::format("{}: axis {} of a tensor {}", what, axis, print_shape(b.shape(x))),
         site);
  return std::nullopt;
}

/// Dimension d of x is a number; a mistake if it is symbolic. `of`: " of k", where x is not the layer's only operand.
inline bool has_number(GraphBuilder& b, Value x, std::size_t d, const char* what, Site site, const char* of = "") {
  if (d >= b.shape(x).size() || !graph::is_symbolic(b.shape(x)[d])) { return true; }
  b.fail(fmt::format("{}: the size of dimension {}{} is symbolic, and this layer needs its number", what, d, of), site);
  return false;
}

/// The dimensions of x from `first` on are numbers; a mistake if one is symbolic.
inline bool has_numbers(GraphBuilder& b, Value x, std::size_t first, const char* what, Site site, const char* of = "") {
  for (std::size_t d = first; d < b.shape(x).size(); ++d) {
    if (!has_number(b, x, d, what, site, of)) { return false; }
  }
  return true;
}

/// The most elements of a table that is filled while the graph is built.
inline constexpr std::int64_t kMostTable = std::int64_t{1} << 28U;

/// Room for a table that is filled while the graph is built; nothing and a mistake if it has too many elements or there
/// is no memory for them, and nothing behind another mistake. `of`: what they are, "cosines".
template <class T>
std::optional<std::vector<T>> table(GraphBuilder& b, const Shape& shape, const char* what, const char* of, Site site) {
  if (b.failed()) { return std::nullopt; }
  const auto count = graph::element_count(shape);
  if (!count || *count > kMostTable) {
    b.fail(fmt::format("{}: a table of {} {}; those made while the graph is built have at most 2^28 elements", what,
                       print_shape(shape), of),
           site);
    return std::nullopt;
  }
  try {
    std::optional<std::vector<T>> values(std::in_place);
    values->reserve(static_cast<std::size_t>(*count));
    return values;
  } catch (const std::bad_alloc&) {
    b.fail(HAL_OUT_OF_HOST_MEMORY, fmt::format("{}: no memory for a table of {} {}", what, print_shape(shape), of),
           site);
    return std::nullopt;
  }
}

inline std::int64_t times(GraphBuilder& b, std::int64_t x, std::int64_t y, Site site) {
  return b.size(graph::SizeOp::mul, x, y, site);
}

inline std::int64_t divided_up(GraphBuilder& b, std::int64_t x, std::int64_t y, Site site) {
  using enum graph::SizeOp;
  return b.size(div, b.size(add, x, b.size(sub, y, 1, site), site), y, site);
}

/// [n, 1, ...]: one number for each element of `axis`, to be broadcast over what follows it.
inline Shape along(std::size_t rank, std::uint32_t axis, std::int64_t n) {
  Shape shape(rank - axis, 1);
  shape[0] = n;
  return shape;
}

inline Value convert(GraphBuilder& b, Value x, DType type, Site site) {
  return b.dtype(x) == type ? x : b.convert(x, type, site);
}

/// A stretch of one dimension, all of the others.
inline Value slice_axis(GraphBuilder& b, Value x, std::uint32_t axis, std::int64_t low, std::int64_t size, Site site) {
  Shape lows(b.shape(x).size(), 0);
  Shape sizes = b.shape(x);
  if (axis >= sizes.size()) { return b.fail("the operand of slice was never made by this builder", site); }
  lows[axis] = low;
  sizes[axis] = size;
  return b.slice(x, std::move(lows), std::move(sizes), site);
}

/// 0, 1, ... in a line of n, for a type that holds 2^24. A symbolic n is put together from two digits to the base of
/// 256 and what stands before them: a run with more than 2^24 is refused when it is bound.
inline Value places(GraphBuilder& b, DType type, std::int64_t n, const char* what, Site site) {
  const bool open = graph::is_symbolic(n);
  const std::int64_t count = open ? 256 : n;
  auto values = table<double>(b, {count}, what, "indices", site);
  if (!values) { return {}; }
  values->resize(static_cast<std::size_t>(count));
  std::iota(values->begin(), values->end(), 0.0);
  const Value digits = b.constant_from(type, {count}, *values, site);
  if (!open) { return digits; }
  const std::int64_t middle = divided_up(b, n, 256, site), top = divided_up(b, middle, 256, site);
  Value line = slice_axis(b, digits, 0, 0, top, site);
  for (const auto& [rows, size] : {std::pair{top, middle}, {middle, n}}) {
    const Value whole = b.map({b.reshape(line, {rows, 1}, site), digits}, arg(0) * 256.0 + arg(1), type, site);
    line = slice_axis(b, b.reshape(whole, {times(b, rows, 256, site)}, site), 0, 0, size, site);
  }
  return line;
}

/// y * scale + shift: adds the operands that there are.
struct Scaled {
  std::vector<Value> inputs;
  Expr expr;
  void apply(std::optional<Value> scale, std::optional<Value> shift) {
    if (scale) {
      expr = expr * arg(static_cast<std::uint8_t>(inputs.size()));
      inputs.push_back(*scale);
    }
    if (shift) {
      expr = expr + arg(static_cast<std::uint8_t>(inputs.size()));
      inputs.push_back(*shift);
    }
  }
};

}  // namespace hal::nn::lower
