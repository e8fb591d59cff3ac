// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "graph/lower.hpp"
#include "hal/nn/resampling.hpp"

namespace hal::nn {

using namespace lower;

namespace {

constexpr std::int64_t kMostIndex = (std::int64_t{1} << 31U) - 1;

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
  const auto sound = [](std::int64_t size) { return size >= 1 && size <= kMostIndex; };
  if (shape.size() >= 3 && shape.size() <= 5 && sizes.size() == shape.size() - 2) {
    for (std::size_t d = 0; d < sizes.size(); ++d) {
      if (graph::is_symbolic(sizes[d])) {
        b.fail(fmt::format("{}: size {} of what it becomes is symbolic, and this layer needs its number", what, d),
               site);
        return false;
      }
      if (!has_number(b, x, d + 1, what, site)) { return false; }
    }
    if (std::ranges::all_of(sizes, sound) && std::all_of(shape.begin() + 1, shape.end() - 1, sound)) { return true; }
  }
  b.fail(fmt::format("{}: {} to sizes {}; expected [n, s..., c] with one to three s, and a size from 1 to 2^31 - 1 for "
                     "each",
                     what, print_shape(shape), print_shape(sizes)),
         site);
  return false;
}

Value take(GraphBuilder& b, Value x, std::uint32_t axis, const std::vector<std::int32_t>& indices, Site site) {
  const Value at =
      b.constant({static_cast<std::int64_t>(indices.size())}, std::span<const std::int32_t>(indices), site);
  return b.gather(x, at, axis, site);
}

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

}  // namespace

Value resize_nearest(GraphBuilder& b, Value x, const Shape& sizes, Coordinates coordinates, Nearest nearest,
                     Site site) {
  const Shape shape = b.shape(x);
  if (!check_sizes(b, x, sizes, "resize_nearest", site)) { return {}; }
  Value y = x;
  for (std::uint32_t d = 0; d < sizes.size(); ++d) {
    const std::int64_t from = shape[d + 1], to = sizes[d];
    if (from == to) { continue; }
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
    if (graph::is_symbolic(shape[d])) {
      return b.fail(fmt::format("pad: the size of dimension {} is symbolic, and this mode needs its number", d), site);
    }
    if (low[d] < 0 || high[d] < 0 || low[d] > kMostIndex || high[d] > kMostIndex ||
        shape[d] > kMostIndex - low[d] - high[d]) {
      return b.fail(fmt::format("pad: {} and {} around dimension {} of {}, expected 0 or more and at most 2^31 - 1 in "
                                "all",
                                low[d], high[d], d, print_shape(shape)),
                    site);
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
