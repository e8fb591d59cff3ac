// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "graph/lower.hpp"
#include "hal/nn/resampling.hpp"

namespace hal::nn {

using namespace lower;

namespace {

constexpr std::int64_t kMostIndex = (std::int64_t{1} << 31U) - 1;
constexpr std::int64_t kMostOpen = std::int64_t{1} << 24U;  // along a dimension whose indices the run computes

double place_in(Coordinates coordinates, std::int64_t i, std::int64_t from, std::int64_t to) {
  const auto m = static_cast<double>(from), n = static_cast<double>(to), at = static_cast<double>(i);
  switch (coordinates) {
    case Coordinates::half_pixel:
      return (at + 0.5) * m / n - 0.5;
    case Coordinates::align_corners:
      return to == 1 ? 0 : at * (m - 1) / (n - 1);
    case Coordinates::asymmetric:
      return at * m / n;
  }
  return 0;
}

std::int32_t clamped(double place, std::int64_t size) {
  return static_cast<std::int32_t>(std::clamp(place, 0.0, static_cast<double>(size - 1)));
}

bool check_sizes(GraphBuilder& b, Value x, const Shape& sizes, const char* what, Site site) {
  const Shape shape = b.shape(x);
  const auto sound = [](std::int64_t size) { return graph::is_symbolic(size) || (size >= 1 && size <= kMostTable); };
  if (shape.size() >= 3 && shape.size() <= 5 && sizes.size() == shape.size() - 2 && std::ranges::all_of(sizes, sound) &&
      std::all_of(shape.begin() + 1, shape.end() - 1, sound)) {
    return true;
  }
  b.fail(
      fmt::format("{}: {} to sizes {}; expected [n, s..., c] with one to three s, and a size from 1 to 2^28 for each",
                  what, print_shape(shape), print_shape(sizes)),
      site);
  return false;
}

Value take(GraphBuilder& b, Value x, std::uint32_t axis, const std::vector<std::int32_t>& indices, Site site) {
  const Value at =
      b.constant({static_cast<std::int64_t>(indices.size())}, std::span<const std::int32_t>(indices), site);
  return b.gather(x, at, axis, site);
}

// A dimension of which a size is open has at most 2^24 elements on either side. An open `to` needs no check: places()
// refuses the run. Of an open `from` nobody reads the view: a run with more leaves its line of one element.
bool check_open(GraphBuilder& b, std::int64_t from, std::int64_t to, const char* what, Site site) {
  for (const std::int64_t size : {from, to}) {
    if (graph::is_symbolic(size) || size <= kMostOpen) { continue; }
    b.fail(
        fmt::format("{}: {} elements along a dimension, the most is 2^24 where another size is symbolic", what, size),
        site);
  }
  if (graph::is_symbolic(from)) {
    const Value one = b.constant_from(DType::i32, {1}, std::vector{0.0}, site);
    b.view(one, {1}, b.size(graph::SizeOp::div, from, kMostOpen + 1, site), {1}, site);
  }
  return !b.failed();
}

// Element i of a dimension lies (step i + first) / parts elements behind the first of what it is made from.
struct Line {
  std::int64_t step, first, parts;
};

Line line_of(GraphBuilder& b, Coordinates coordinates, std::int64_t from, std::int64_t to, Site site) {
  using enum graph::SizeOp;
  switch (coordinates) {
    case Coordinates::half_pixel:
      return {times(b, from, 2, site), b.size(sub, from, to, site), times(b, to, 2, site)};
    case Coordinates::align_corners:  // to - 1, or 1 where to is 1
      return {b.size(sub, from, 1, site), 0, b.size(add, b.size(sub, to, 1, site), b.size(div, 1, to, site), site)};
    case Coordinates::asymmetric:
      return {from, 0, to};
  }
  return {};
}

// The same place rounded to the nearest, as a place that is rounded down.
Line halves(GraphBuilder& b, const Line& line, Site site) {
  using enum graph::SizeOp;
  const std::int64_t first = b.size(add, times(b, line.first, 2, site), b.size(sub, line.parts, 1, site), site);
  return {times(b, line.step, 2, site), first, times(b, line.parts, 2, site)};
}

// What one element of an open dimension is made from: the element before its place, and the parts behind that.
struct Neighbour {
  Value low;    // i32, not yet within the dimension
  Value parts;  // i32, of Line::parts
};

// Exact in 32 bits up to 2^24 elements. A quotient in f32 is less than 24 from the right one, so what it leaves of the
// numerator is below 2^31 though both of its products wrap, and says by how much to correct it.
Neighbour neighbours(GraphBuilder& b, const Line& line, std::int64_t to, const char* what, Site site) {
  const Expr step = graph::size_of(line.step), first = graph::size_of(line.first), parts = graph::size_of(line.parts);
  const Value i = places(b, DType::i32, to, what, site);
  const Value real = b.map({b.convert(i, DType::f32, site)}, floor((arg(0) * step + first) / parts), DType::f32, site);
  const Value near = b.convert(real, DType::i32, site);
  const Value rest = b.map({i, near}, arg(0) * step + first - arg(1) * parts, DType::i32, site);
  const Value low = b.map({near, rest}, arg(0) + arg(1) / parts - (mod(arg(1), parts) < 0.0), DType::i32, site);
  return {low, b.map({i, low}, arg(0) * step + first - arg(1) * parts, DType::i32, site)};
}

Expr within(const Expr& index, std::int64_t last) { return min(max(index, 0.0), graph::size_of(last)); }

std::int64_t source(PadMode mode, std::int64_t at, std::int64_t n) {
  switch (mode) {
    case PadMode::constant:
    case PadMode::edge:
      return std::clamp<std::int64_t>(at, 0, n - 1);
    case PadMode::wrap:
      return (at % n + n) % n;
    case PadMode::reflect: {
      if (n == 1) { return 0; }
      const std::int64_t period = 2 * (n - 1);
      const std::int64_t inside = (at % period + period) % period;
      return inside < n ? inside : period - inside;
    }
  }
  return 0;
}

// resize_linear along one dimension of which a size is open.
Value mix_open(GraphBuilder& b, Value x, std::uint32_t axis, std::int64_t to, Coordinates coordinates, Site site) {
  constexpr const char* kWhat = "resize_linear";
  const Shape shape = b.shape(x);
  const std::int64_t from = shape[axis], last = b.size(graph::SizeOp::sub, from, 1, site);
  if (!check_open(b, from, to, kWhat, site)) { return {}; }
  const Line line = line_of(b, coordinates, from, to, site);
  const Neighbour at = neighbours(b, line, to, kWhat, site);
  const Value low = b.map({at.low}, within(arg(0), last), DType::i32, site);
  const Value high = b.map({low}, within(arg(0) + 1.0, last), DType::i32, site);
  const Value parts = b.map({at.parts, at.low, low}, select(equal(arg(1), arg(2)), arg(0), 0.0), DType::i32, site);
  const DType type = wide(b.dtype(x));
  const Value share = b.map({lower::convert(b, parts, type, site)}, arg(0) / graph::size_of(line.parts), type, site);
  const Value shares = b.reshape(share, along(shape.size(), axis, to), site);
  return b.map({b.gather(x, low, axis, site), b.gather(x, high, axis, site), shares},
               arg(0) + (arg(1) - arg(0)) * arg(2), type, site);
}

// The elements that `pad` takes along an open dimension of n, in i32: as source().
Value sources(GraphBuilder& b, PadMode mode, std::int64_t low, std::int64_t n, std::int64_t count, Site site) {
  const std::int64_t last = b.size(graph::SizeOp::sub, n, 1, site);
  // Of one element that is reflected the period is 0, and what is modulo 0 is 0.
  const std::int64_t period = mode == PadMode::wrap ? n : times(b, last, 2, site);
  const Expr at = arg(0) - static_cast<double>(low), length = graph::size_of(period);
  const Expr inside = mod(mod(at, length) + length, length);
  const Expr index = mode == PadMode::wrap      ? inside
                     : mode == PadMode::reflect ? min(inside, length - inside)
                                                : within(at, last);
  return b.map({places(b, DType::i32, count, "pad", site)}, index, DType::i32, site);
}

}  // namespace

Value resize_nearest(GraphBuilder& b, Value x, const Shape& sizes, Coordinates coordinates, Nearest nearest,
                     Site site) {
  const Shape shape = b.shape(x);
  if (!check_sizes(b, x, sizes, "resize_nearest", site)) { return {}; }
  Value y = x;
  for (std::uint32_t d = 0; d < sizes.size(); ++d) {
    const std::int64_t from = shape[d + 1], to = sizes[d];
    if (from == to) { continue; }
    if (graph::is_symbolic(from) || graph::is_symbolic(to)) {
      if (!check_open(b, from, to, "resize_nearest", site)) { return {}; }
      const Line line = line_of(b, coordinates, from, to, site);
      const Value at =
          neighbours(b, nearest == Nearest::floor ? line : halves(b, line, site), to, "resize_nearest", site).low;
      const std::int64_t last = b.size(graph::SizeOp::sub, from, 1, site);
      y = b.gather(y, b.map({at}, within(arg(0), last), DType::i32, site), d + 1, site);
      continue;
    }
    auto indices = table<std::int32_t>(b, {to}, "resize_nearest", "indices", site);
    if (!indices) { return {}; }
    for (std::int64_t i = 0; i < to; ++i) {
      const double place = place_in(coordinates, i, from, to);
      indices->push_back(clamped(nearest == Nearest::floor ? std::floor(place) : std::ceil(place - 0.5), from));
    }
    y = take(b, y, d + 1, *indices, site);
  }
  return y;
}

Value resize_linear(GraphBuilder& b, Value x, const Shape& sizes, Coordinates coordinates, Site site) {
  const Shape shape = b.shape(x);
  if (!is_real(b, x, "resize_linear", site) || !check_sizes(b, x, sizes, "resize_linear", site)) { return {}; }
  const DType type = b.dtype(x);
  Value y = x;
  for (std::uint32_t d = 0; d < sizes.size(); ++d) {
    const std::int64_t from = shape[d + 1], to = sizes[d];
    if (from == to) { continue; }
    if (graph::is_symbolic(from) || graph::is_symbolic(to)) {
      y = mix_open(b, y, d + 1, to, coordinates, site);
      if (b.failed()) { return {}; }
      continue;
    }
    auto low = table<std::int32_t>(b, {to}, "resize_linear", "indices", site);
    auto high = table<std::int32_t>(b, {to}, "resize_linear", "indices", site);
    auto share = table<double>(b, {to}, "resize_linear", "shares", site);
    if (!low || !high || !share) { return {}; }
    for (std::int64_t i = 0; i < to; ++i) {
      const double place = std::clamp(place_in(coordinates, i, from, to), 0.0, static_cast<double>(from - 1));
      low->push_back(clamped(std::floor(place), from));
      high->push_back(clamped(std::floor(place) + 1, from));
      share->push_back(place - std::floor(place));
    }
    const Value shares = b.constant_from(wide(type), along(sizes.size() + 2, d + 1, to), *share, site);
    y = b.map({take(b, y, d + 1, *low, site), take(b, y, d + 1, *high, site), shares},
              arg(0) + (arg(1) - arg(0)) * arg(2), wide(type), site);
  }
  return lower::convert(b, y, type, site);
}

Value pad(GraphBuilder& b, Value x, const Shape& low, const Shape& high, PadMode mode, double value, Site site) {
  if (mode == PadMode::constant) { return b.pad(x, low, high, value, site); }
  const Shape shape = b.shape(x);
  if (low.size() != shape.size() || high.size() != shape.size()) {
    return b.fail(fmt::format("pad: {} low and {} high for a tensor {}", low.size(), high.size(), print_shape(shape)),
                  site);
  }
  Value y = x;
  for (std::uint32_t d = 0; d < shape.size(); ++d) {
    if (low[d] == 0 && high[d] == 0) { continue; }
    const bool open = graph::is_symbolic(shape[d]);
    if (low[d] < 0 || high[d] < 0 || low[d] > kMostIndex || high[d] > kMostIndex ||
        (!open && shape[d] > kMostIndex - low[d] - high[d])) {
      return b.fail(fmt::format("pad: {} and {} around dimension {} of {}, expected 0 or more and at most 2^31 - 1 in "
                                "all",
                                low[d], high[d], d, print_shape(shape)),
                    site);
    }
    if (open) {
      const std::int64_t count = b.size(graph::SizeOp::add, shape[d], low[d] + high[d], site);
      y = b.gather(y, sources(b, mode, low[d], shape[d], count, site), d, site);
      continue;
    }
    auto indices = table<std::int32_t>(b, {shape[d] + low[d] + high[d]}, "pad", "indices", site);
    if (!indices) { return {}; }
    for (std::int64_t at = -low[d]; at < shape[d] + high[d]; ++at) {
      indices->push_back(static_cast<std::int32_t>(source(mode, at, shape[d])));
    }
    y = take(b, y, d, *indices, site);
  }
  return y;
}

}  // namespace hal::nn
