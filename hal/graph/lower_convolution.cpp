// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>

#include "graph/lower.hpp"
#include "hal/nn/convolution.hpp"

namespace hal::nn {

using namespace lower;

namespace {

constexpr std::string_view kPlaces = "xyz";  // letters of the spatial dimensions of a result, and of the taps
constexpr std::string_view kTaps = "pqr";

struct Windows {
  Shape size, strides, dilation;
};

std::string layout(std::size_t spatial) {
  return spatial == 1 ? "[n, w, c]" : spatial == 2 ? "[n, h, w, c]" : "[n, d, h, w, c]";
}

// `list` with its default, or nothing and a mistake.
std::optional<Shape> filled(GraphBuilder& b, const Shape& list, std::size_t spatial, std::int64_t missing,
                            std::int64_t least, const char* what, const char* name, Site site) {
  if (list.empty()) { return Shape(spatial, missing); }
  if (list.size() == spatial && std::ranges::all_of(list, [&](std::int64_t v) { return v >= least; })) { return list; }
  b.fail(fmt::format("{}: {} is {}, expected {} numbers of {} or more", what, name, print_shape(list), spatial, least),
         site);
  return std::nullopt;
}

// x [n, s..., rest...] as [n, o..., w..., rest...]. With a `first_tap`, the windows' first dimension is left out and
// stands at that tap.
Value windows(GraphBuilder& b, Value x, const Windows& w, const char* what, Site site,
              std::optional<std::int64_t> first_tap = {}) {
  const Shape in = b.shape(x);
  const std::size_t spatial = w.size.size();
  Shape dense(in.size(), 1);
  for (std::size_t i = in.size() - 1; i-- > 0;) { dense[i] = times(b, dense[i + 1], in[i + 1], site); }
  Shape shape{in[0]}, strides{dense[0]}, taps, tap_strides;
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < spatial; ++i) {
    std::int64_t reach = 0;  // elements from the first to the last tap
    if (w.size[i] < 1 || w.strides[i] < 1 || w.dilation[i] < 1 ||
        __builtin_mul_overflow(w.size[i] - 1, w.dilation[i], &reach) ||
        (!graph::is_symbolic(in[i + 1]) && reach >= in[i + 1])) {
      return b.fail(fmt::format("{}: windows {} with strides {} and dilation {} do not fit {}", what,
                                print_shape(w.size), print_shape(w.strides), print_shape(w.dilation), print_shape(in)),
                    site);
    }
    using enum graph::SizeOp;
    const std::int64_t steps =
        b.size(div, b.size(sub, b.size(sub, in[i + 1], 1, site), reach, site), w.strides[i], site);
    const std::int64_t out = b.size(add, steps, 1, site);
    // A stride that is never stepped may be so large that its product overflows; it then counts as 0.
    shape.push_back(out);
    strides.push_back(out == 1 ? 0 : times(b, w.strides[i], dense[i + 1], site));
    const std::int64_t step = w.size[i] == 1 ? 0 : times(b, w.dilation[i], dense[i + 1], site);
    if (i == 0 && first_tap) {
      offset = times(b, *first_tap, step, site);
      continue;
    }
    taps.push_back(w.size[i]);
    tap_strides.push_back(step);
  }
  shape.insert(shape.end(), taps.begin(), taps.end());
  strides.insert(strides.end(), tap_strides.begin(), tap_strides.end());
  for (std::size_t i = spatial + 1; i < in.size(); ++i) {
    shape.push_back(in[i]);
    strides.push_back(dense[i]);
  }
  return b.view(x, std::move(shape), offset, std::move(strides), site);
}

bool pads(const Shape& by) {
  return std::ranges::any_of(by, [](std::int64_t v) { return v != 0; });
}

Value pad_spatial(GraphBuilder& b, Value x, const Shape& low, const Shape& high, double value, Site site) {
  if (!pads(low) && !pads(high)) { return x; }
  Shape lows(b.shape(x).size(), 0), highs = lows;
  std::ranges::copy(low, lows.begin() + 1);
  std::ranges::copy(high, highs.begin() + 1);
  return b.pad(x, std::move(lows), std::move(highs), value, site);
}

std::optional<std::size_t> spatial_of(GraphBuilder& b, Value x, std::size_t expected, const char* what, Site site) {
  const std::size_t rank = b.shape(x).size();
  if (expected == 0 ? rank >= 3 && rank <= 5 : rank == expected + 2) { return rank - 2; }
  b.fail(fmt::format("{}: x is {}, expected {}", what, print_shape(b.shape(x)),
                     expected == 0 ? "[n, w, c], [n, h, w, c] or [n, d, h, w, c]" : layout(expected)),
         site);
  return std::nullopt;
}

// conv and its shorthands; `expected` is how many spatial dimensions x must have, 0 for any.
Value convolve(GraphBuilder& b, Value x, Value filters, const Conv& options, std::size_t expected, const char* what,
               Site site) {
  const auto spatial = spatial_of(b, x, expected, what, site);
  if (!spatial || !has_number(b, x, *spatial + 1, what, site)) { return {}; }
  if (!has_numbers(b, filters, 0, what, site, " of the filters")) { return {}; }
  const Shape taps = b.shape(filters);
  if (taps.size() != *spatial + 2) {
    return b.fail(fmt::format("{}: filters are {}, expected {} taps, c and o", what, print_shape(taps), *spatial),
                  site);
  }
  const auto low = filled(b, options.pad_low, *spatial, 0, 0, what, "pad_low", site);
  const auto high = filled(b, options.pad_high, *spatial, 0, 0, what, "pad_high", site);
  const auto strides = filled(b, options.strides, *spatial, 1, 1, what, "strides", site);
  const auto dilation = filled(b, options.dilation, *spatial, 1, 1, what, "dilation", site);
  if (!low || !high || !strides || !dilation) { return {}; }
  const std::int64_t groups = options.groups;
  const std::int64_t in = b.shape(x).back(), out = taps.back();
  if (groups < 1 || in % groups != 0 || out % groups != 0) {
    return b.fail(
        fmt::format("{}: {} groups of {} channels in and {} out, expected a divisor of both", what, groups, in, out),
        site);
  }
  const DType type = b.dtype(x);
  const std::string places(kPlaces.substr(0, *spatial)), tap_letters(kTaps.substr(0, *spatial));
  const Value padded = pad_spatial(b, x, *low, *high, 0.0, site);
  Windows w{Shape(taps.begin(), taps.end() - 2), *strides, *dilation};
  if (groups == 1) {
    const Value patches = windows(b, padded, w, what, site);
    return b.contract(fmt::format("n{0}{1}c,{1}co->n{0}o", places, tap_letters), patches, filters, type, site);
  }
  // Channels split in two, so the einsum has the group as a batch dimension.
  if (taps[*spatial] != in / groups) {
    return b.fail(fmt::format("{}: filters are {}, expected {} channels in for each of {} groups", what,
                              print_shape(taps), in / groups, groups),
                  site);
  }
  Shape parts = b.shape(padded);
  parts.back() = groups;
  parts.push_back(in / groups);
  const Value grouped = b.reshape(padded, std::move(parts), site);
  Shape split(taps.begin(), taps.end() - 1);
  split.push_back(groups);
  split.push_back(out / groups);
  const Value banks = b.reshape(filters, std::move(split), site);
  Value y;
  if (*spatial < 3) {
    y = b.contract(fmt::format("n{0}{1}gc,{1}cgo->n{0}go", places, tap_letters), windows(b, grouped, w, what, site),
                   banks, type, site);
  } else {
    // One dimension too many: one contraction for each tap of the first, summed in the accumulator's type.
    const DType sum = wide(type);
    for (std::int64_t tap = 0; tap < taps[0]; ++tap) {
      const Value patches = windows(b, grouped, w, what, site, tap);
      if (b.failed()) { return {}; }  // whatever the number of taps
      Shape bank(b.shape(banks).begin() + 1, b.shape(banks).end());
      const Value slice = b.reshape(slice_axis(b, banks, 0, tap, 1, site), std::move(bank), site);
      const Value part =
          b.contract(fmt::format("n{0}{1}gc,{1}cgo->n{0}go", places, tap_letters.substr(1)), patches, slice, sum, site);
      y = tap == 0 ? part : b.map({y, part}, arg(0) + arg(1), sum, site);
    }
    y = lower::convert(b, y, type, site);
  }
  Shape joined = b.shape(y);
  joined.pop_back();
  joined.back() = out;
  return b.reshape(y, std::move(joined), site);
}

struct PoolPlan {
  Windows windows;
  Shape low, high;
  std::vector<std::uint32_t> axes;  // of the windows' elements
};

std::optional<PoolPlan> pool_plan(GraphBuilder& b, Value x, const Pool& options, std::size_t expected, const char* what,
                                  Site site) {
  const auto spatial = spatial_of(b, x, expected, what, site);
  if (!spatial) { return std::nullopt; }
  if (options.window.empty()) {
    b.fail(fmt::format("{}: no window was given", what), site);
    return std::nullopt;
  }
  const auto window = filled(b, options.window, *spatial, 1, 1, what, "window", site);
  const auto strides =
      filled(b, options.strides.empty() ? options.window : options.strides, *spatial, 1, 1, what, "strides", site);
  const auto low = filled(b, options.pad_low, *spatial, 0, 0, what, "pad_low", site);
  const auto high = filled(b, options.pad_high, *spatial, 0, 0, what, "pad_high", site);
  const auto dilation = filled(b, options.dilation, *spatial, 1, 1, what, "dilation", site);
  if (!window || !strides || !low || !high || !dilation) { return std::nullopt; }
  PoolPlan plan{{*window, *strides, *dilation}, *low, *high, {}};
  for (std::size_t i = 0; i < *spatial; ++i) { plan.axes.push_back(static_cast<std::uint32_t>(1 + *spatial + i)); }
  return plan;
}

// How many taps of each window lie inside x along spatial dimension d, which has n elements; nothing if a window has
// none and a mistake.
std::optional<std::vector<double>> counts_along(GraphBuilder& b, const PoolPlan& plan, std::size_t d, const Shape& x,
                                                std::int64_t out, const char* what, Site site) {
  const std::int64_t n = x[d + 1];
  auto counts = table<double>(b, {out}, what, "counts", site);
  for (std::int64_t i = 0; counts && i < out; ++i) {
    // Tap t lies at start + t * dilation; a window may have more taps than can be walked.
    const std::int64_t start = i * plan.windows.strides[d] - plan.low[d], room = n - 1 - start;
    const std::int64_t first = start >= 0 ? 0 : (-start - 1) / plan.windows.dilation[d] + 1;
    const std::int64_t last = std::min(plan.windows.size[d] - 1, room / plan.windows.dilation[d]);
    const std::int64_t inside = room < 0 ? 0 : last - first + 1;
    if (inside < 1) {
      b.fail(fmt::format("{}: padding {} and {} around {} leaves a window {} with nothing but padding", what,
                         print_shape(plan.low), print_shape(plan.high), print_shape(x), print_shape(plan.windows.size)),
             site);
      return std::nullopt;
    }
    counts->push_back(static_cast<double>(inside));
  }
  return counts;
}

// The same where n is symbolic: windows over a line of ones.
Value open_counts(GraphBuilder& b, const PoolPlan& plan, std::size_t d, std::int64_t n, DType type, const char* what,
                  Site site) {
  const Value line = b.view(b.constant_from(type, {1}, std::vector<double>{1}, site), {1, n, 1}, 0, {0, 0, 0}, site);
  const Value padded = pad_spatial(b, line, {plan.low[d]}, {plan.high[d]}, 0.0, site);
  const Windows w{{plan.windows.size[d]}, {plan.windows.strides[d]}, {plan.windows.dilation[d]}};
  return b.reduce(windows(b, padded, w, what, site), ReduceOp::sum, {0, 2, 3}, KeepDims::no, type, site);
}

// How many elements of each window lie inside x: a number, times one of `along` for each dimension where windows
// differ.
struct Counts {
  double everywhere = 1;
  std::vector<Value> along;
};

// Nothing and a mistake if a window has nothing but padding. `wanted`: else this is only checked.
std::optional<Counts> counts_inside(GraphBuilder& b, const PoolPlan& plan, const Shape& x, const Shape& out, DType type,
                                    bool wanted, const char* what, Site site) {
  Counts counts;
  for (std::size_t d = 0; d < plan.low.size(); ++d) {
    const std::int64_t size = plan.windows.size[d], n = x[d + 1];
    if (plan.low[d] == 0 && plan.high[d] == 0) {
      counts.everywhere *= static_cast<double>(size);
      continue;
    }
    const Shape place = along(plan.low.size() + 2, static_cast<std::uint32_t>(d + 1), out[d + 1]);
    if (graph::is_symbolic(n)) {
      // Whatever n is, the first and the last window reach an element.
      if (plan.windows.dilation[d] == 1 && plan.low[d] < size && plan.high[d] < size) {
        if (wanted) { counts.along.push_back(b.reshape(open_counts(b, plan, d, n, type, what, site), place, site)); }
        continue;
      }
      b.fail(
          fmt::format("{}: dimension {} is symbolic, and padding {} and {} around windows of {} with dilation {} may "
                      "leave one with nothing but padding; expected less padding than the window and dilation 1, or "
                      "the dimension's number",
                      what, d + 1, plan.low[d], plan.high[d], size, plan.windows.dilation[d]),
          site);
      return std::nullopt;
    }
    const auto each = counts_along(b, plan, d, x, out[d + 1], what, site);
    if (!each) { return std::nullopt; }
    if (std::ranges::all_of(*each, [&](double count) { return count == static_cast<double>(size); })) {
      counts.everywhere *= static_cast<double>(size);
    } else if (wanted) {
      counts.along.push_back(b.constant_from(type, place, *each, site));
    }
  }
  return counts;
}

double lowest_of(DType type) {
  if (is_floating(type)) { return -std::numeric_limits<double>::infinity(); }
  if (is_mask(type)) { return 0; }
  return -static_cast<double>(std::uint64_t{1} << (dtype_bits(type) - 1));
}

Value pool(GraphBuilder& b, Value x, const Pool& options, bool largest, std::size_t expected, const char* what,
           Site site) {
  const auto plan = pool_plan(b, x, options, expected, what, site);
  if (!plan || (!largest && !is_real(b, x, what, site))) { return {}; }
  const DType type = b.dtype(x);
  const Shape in = b.shape(x);
  const Value padded = pad_spatial(b, x, plan->low, plan->high, largest ? lowest_of(type) : 0.0, site);
  const Value patches = windows(b, padded, plan->windows, what, site);
  const Shape out = b.shape(patches);
  const auto counts = counts_inside(b, *plan, in, out, wide(type), !largest && !options.count_padding, what, site);
  if (!counts) { return {}; }
  if (largest) { return b.reduce(patches, ReduceOp::max, plan->axes, KeepDims::no, {}, site); }
  const Value sum = b.reduce(patches, ReduceOp::sum, plan->axes, KeepDims::no, wide(type), site);
  if (options.count_padding || counts->along.empty()) {
    double full = 1;
    for (const std::int64_t size : plan->windows.size) { full *= static_cast<double>(size); }
    return b.map({sum}, arg(0) * (1.0 / full), type, site);
  }
  std::vector<Value> inputs{sum};
  Expr inside = counts->everywhere;
  for (const Value each : counts->along) {
    inside = inside * arg(static_cast<std::uint8_t>(inputs.size()));
    inputs.push_back(each);
  }
  return b.map(inputs, arg(0) / inside, type, site);
}

Shape list(const Pair& pair) { return {pair[0], pair[1]}; }

}  // namespace

Value conv(GraphBuilder& b, Value x, Value filters, const Conv& options, Site site) {
  return convolve(b, x, filters, options, 0, "conv", site);
}

Value conv2d(GraphBuilder& b, Value x, Value filters, const Conv2d& o, Site site) {
  return convolve(b, x, filters, {list(o.strides), list(o.pad_low), list(o.pad_high), list(o.dilation), o.groups}, 2,
                  "conv2d", site);
}

Value conv_transpose(GraphBuilder& b, Value x, Value filters, const ConvTranspose& o, Site site) {
  constexpr const char* kWhat = "conv_transpose";
  const auto spatial = spatial_of(b, x, 0, kWhat, site);
  if (!spatial || !has_numbers(b, x, 1, kWhat, site) || !has_numbers(b, filters, 0, kWhat, site, " of the filters")) {
    return {};
  }
  const Shape taps = b.shape(filters);
  if (taps.size() != *spatial + 2) {
    return b.fail(fmt::format("{}: filters are {}, expected {} taps, c and o", kWhat, print_shape(taps), *spatial),
                  site);
  }
  const auto strides = filled(b, o.strides, *spatial, 1, 1, kWhat, "strides", site);
  const auto low = filled(b, o.pad_low, *spatial, 0, 0, kWhat, "pad_low", site);
  const auto high = filled(b, o.pad_high, *spatial, 0, 0, kWhat, "pad_high", site);
  const auto dilation = filled(b, o.dilation, *spatial, 1, 1, kWhat, "dilation", site);
  const auto extra = filled(b, o.output_pad, *spatial, 0, 0, kWhat, "output_pad", site);
  if (!strides || !low || !high || !dilation || !extra) { return {}; }
  Value spread = x;
  Conv same{{}, {}, {}, *dilation, 1};
  Shape crop_low(*spatial + 2, 0), size = b.shape(x);
  for (std::size_t i = 0; i < *spatial; ++i) {
    const auto axis = static_cast<std::uint32_t>(i + 1);
    const std::int64_t n = b.shape(x)[axis];
    std::int64_t reach = 0, dense = 0;  // elements from the first to the last tap, and of x spread out
    if (__builtin_mul_overflow(taps[i] - 1, (*dilation)[i], &reach) ||
        __builtin_mul_overflow(n - 1, (*strides)[i], &dense) || dense > (std::int64_t{1} << 40U) ||
        reach > (std::int64_t{1} << 40U) || (*extra)[i] > (std::int64_t{1} << 40U)) {
      return b.fail(fmt::format("{}: dimension {} of {} becomes too large", kWhat, axis, print_shape(b.shape(x))),
                    site);
    }
    const std::int64_t full = dense + 1 + reach + (*extra)[i];
    if ((*low)[i] >= full || (*high)[i] >= full - (*low)[i]) {
      return b.fail(fmt::format("{}: padding {} and {} leaves nothing of {} elements in dimension {}", kWhat, (*low)[i],
                                (*high)[i], full, axis),
                    site);
    }
    size[axis] = full - (*low)[i] - (*high)[i];
    crop_low[axis] = (*low)[i];
    same.pad_low.push_back(reach);
    same.pad_high.push_back(reach + (*extra)[i]);
    if ((*strides)[i] == 1 || n == 1) { continue; }
    // [.., n, ..] -> [.., n, 1, ..] -> [.., n, stride, ..] -> [.., n * stride, ..], less the zeros behind the last.
    Shape shape = b.shape(spread);
    Shape apart = shape;
    apart.insert(apart.begin() + axis + 1, 1);
    Shape none(apart.size(), 0), behind = none;
    behind[axis + 1] = (*strides)[i] - 1;
    shape[axis] = n * (*strides)[i];
    const Value zeros = b.pad(b.reshape(spread, std::move(apart), site), none, behind, 0.0, site);
    spread = slice_axis(b, b.reshape(zeros, std::move(shape), site), axis, 0, dense + 1, site);
  }
  // Taps turned round.
  Shape turned(taps.size(), 1);
  for (std::size_t i = taps.size() - 1; i-- > 0;) { turned[i] = turned[i + 1] * taps[i + 1]; }
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < *spatial; ++i) {
    offset += (taps[i] - 1) * turned[i];
    turned[i] = -turned[i];
  }
  const Value y =
      convolve(b, spread, b.view(filters, taps, offset, std::move(turned), site), same, 0, "conv_transpose", site);
  size.back() = taps.back();
  return size == b.shape(y) ? y : b.slice(y, std::move(crop_low), std::move(size), site);
}

Value max_pool(GraphBuilder& b, Value x, const Pool& options, Site site) {
  return pool(b, x, options, true, 0, "max_pool", site);
}

Value average_pool(GraphBuilder& b, Value x, const Pool& options, Site site) {
  return pool(b, x, options, false, 0, "average_pool", site);
}

Value max_pool2d(GraphBuilder& b, Value x, const Pool2d& o, Site site) {
  return pool(b, x, {.window = list(o.window), .strides = list(o.strides)}, true, 2, "max_pool2d", site);
}

Value average_pool2d(GraphBuilder& b, Value x, const Pool2d& o, Site site) {
  return pool(b, x, {.window = list(o.window), .strides = list(o.strides)}, false, 2, "average_pool2d", site);
}

}  // namespace hal::nn
