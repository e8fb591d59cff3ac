// SPDX-License-Identifier: Apache-2.0
#include <numeric>

#include "graph/lower.hpp"
#include "hal/nn/normalisation.hpp"

namespace hal::nn {

using namespace lower;

namespace {

// Over `axes` of x, which all stay with size 1 in the statistics. Without a mean, x itself is what is squared.
Value normalise(GraphBuilder& b, Value x, std::span<const std::uint32_t> axes, bool centre, const Affine& affine,
                double epsilon, Site site) {
  const DType type = b.dtype(x);
  const Shape shape = b.shape(x);
  // A symbolic count is divided by; a number becomes a factor.
  std::int64_t count = 1;
  for (const std::uint32_t axis : axes) { count = times(b, count, shape[axis], site); }
  const auto mean = [&](const Expr& sum) {
    return graph::is_symbolic(count) ? sum / graph::size_of(count) : sum * (1.0 / static_cast<double>(count));
  };
  Value centred = x;
  if (centre) {
    const Value sum = b.reduce(x, ReduceOp::sum, axes, KeepDims::yes, wide(type), site);
    centred = b.map({x, sum}, arg(0) - mean(arg(1)), wide(type), site);
  }
  const Value squares = b.map({centred}, arg(0) * arg(0), wide(type), site);
  const Value power = b.reduce(squares, ReduceOp::sum, axes, KeepDims::yes, {}, site);
  Scaled out{{centred, power}, arg(0) * rsqrt(mean(arg(1)) + epsilon)};
  out.apply(affine.scale, affine.shift);
  return b.map(out.inputs, out.expr, type, site);
}

std::optional<std::vector<std::uint32_t>> last_axes(GraphBuilder& b, Value x, std::uint32_t axes, const char* what,
                                                    Site site) {
  const std::size_t rank = b.shape(x).size();
  if (axes < 1 || axes > rank) {
    b.fail(fmt::format("{}: the last {} dimensions of a tensor {}", what, axes, print_shape(b.shape(x))), site);
    return std::nullopt;
  }
  std::vector<std::uint32_t> last(axes);
  std::iota(last.begin(), last.end(), static_cast<std::uint32_t>(rank) - axes);
  return last;
}

}  // namespace

Value layer_norm(GraphBuilder& b, Value x, const Affine& affine, std::uint32_t axes, double epsilon, Site site) {
  const auto last = last_axes(b, x, axes, "layer_norm", site);
  return last && is_real(b, x, "layer_norm", site) ? normalise(b, x, *last, true, affine, epsilon, site) : Value{};
}

Value rms_norm(GraphBuilder& b, Value x, const Affine& affine, std::uint32_t axes, double epsilon, Site site) {
  const auto last = last_axes(b, x, axes, "rms_norm", site);
  return last && is_real(b, x, "rms_norm", site) ? normalise(b, x, *last, false, affine, epsilon, site) : Value{};
}

Value batch_norm(GraphBuilder& b, Value x, Value mean, Value variance, const Affine& affine, double epsilon,
                 Site site) {
  if (!is_real(b, x, "batch_norm", site)) { return {}; }
  Scaled out{{x, mean, variance}, (arg(0) - arg(1)) * rsqrt(arg(2) + epsilon)};
  out.apply(affine.scale, affine.shift);
  return b.map(out.inputs, out.expr, b.dtype(x), site);
}

Value group_norm(GraphBuilder& b, Value x, std::int64_t groups, const Affine& affine, double epsilon, Site site) {
  const Shape shape = b.shape(x);
  if (!is_real(b, x, "group_norm", site)) { return {}; }
  if (!shape.empty() && !has_number(b, x, shape.size() - 1, "group_norm", site)) { return {}; }
  if (shape.size() < 2 || groups < 1 || shape.back() % groups != 0) {
    return b.fail(fmt::format("group_norm: {} groups of the channels of {}, expected [n, ..., c] and a divisor of c",
                              groups, print_shape(shape)),
                  site);
  }
  const std::int64_t channels = shape.back() / groups;
  std::int64_t between = 1;
  for (std::size_t i = 1; i + 1 < shape.size(); ++i) { between = times(b, between, shape[i], site); }
  Affine grouped = affine;
  for (auto* value : {&grouped.scale, &grouped.shift}) {
    if (!*value) { continue; }
    if (const Shape& own = b.shape(**value); own != Shape{shape.back()}) {
      return b.fail(
          fmt::format("group_norm: the {} is {}, expected [{}] as the channels of {}",
                      value == &grouped.scale ? "scale" : "shift", print_shape(own), shape.back(), print_shape(shape)),
          site);
    }
    *value = b.reshape(**value, {groups, channels}, site);
  }
  const Value parts = b.reshape(x, {shape[0], between, groups, channels}, site);
  constexpr std::uint32_t kAxes[] = {1, 3};
  return b.reshape(normalise(b, parts, kAxes, true, grouped, epsilon, site), shape, site);
}

}  // namespace hal::nn
