// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <numbers>
#include <numeric>

#include "graph/lower.hpp"
#include "hal/nn/layers.hpp"

namespace hal::nn {

using namespace lower;

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

Value embedding(GraphBuilder& b, Value table, Value indices, Site site) { return b.gather(table, indices, 0, site); }

Value one_hot(GraphBuilder& b, Value indices, std::int64_t depth, DType type, Site site) {
  if (depth < 1 || depth > kMostTable) {
    return b.fail(fmt::format("one_hot: depth is {}, expected 1 to 2^28", depth), site);
  }
  if (b.dtype(indices) != DType::i32) {
    return b.fail(fmt::format("one_hot: indices have type {}, expected i32", dtype_name(b.dtype(indices))), site);
  }
  auto places = table<std::int32_t>(b, {depth}, "one_hot", "classes", site);
  if (!places) { return {}; }
  places->resize(static_cast<std::size_t>(depth));
  std::iota(places->begin(), places->end(), 0);
  Shape column = b.shape(indices);
  column.push_back(1);
  const Value hot = b.map(
      {b.reshape(indices, std::move(column), site), b.constant({depth}, std::span<const std::int32_t>(*places), site)},
      equal(arg(0), arg(1)), DType::boolean, site);
  return lower::convert(b, hot, type, site);
}

Value relu(GraphBuilder& b, Value x, Site site) { return b.map({x}, max(arg(0), 0.0), {}, site); }

namespace {

// One expression over x.
Value real_map(GraphBuilder& b, Value x, const Expr& expr, const char* what, Site site) {
  return is_real(b, x, what, site) ? b.map({x}, expr, {}, site) : Value{};
}

}  // namespace

Value sigmoid(GraphBuilder& b, Value x, Site site) {
  return real_map(b, x, 1.0 / (1.0 + exp(-arg(0))), "sigmoid", site);
}

Value tanh(GraphBuilder& b, Value x, Site site) { return real_map(b, x, tanh(arg(0)), "tanh", site); }

Value silu(GraphBuilder& b, Value x, Site site) { return real_map(b, x, arg(0) / (1.0 + exp(-arg(0))), "silu", site); }

Value gelu(GraphBuilder& b, Value x, Site site) {
  return real_map(b, x, 0.5 * arg(0) * (1.0 + erf(arg(0) * (1.0 / std::numbers::sqrt2))), "gelu", site);
}

Value gelu_tanh(GraphBuilder& b, Value x, Site site) {
  const double scale = std::sqrt(2.0 / std::numbers::pi);
  const Expr inner = scale * (arg(0) + 0.044715 * arg(0) * arg(0) * arg(0));
  return real_map(b, x, 0.5 * arg(0) * (1.0 + tanh(inner)), "gelu_tanh", site);
}

namespace {

// e^(x - largest) along an axis, and its sum: the largest keeps it from overflowing.
struct Exponentials {
  Value largest, e, sum;
};
Exponentials exponentials(GraphBuilder& b, Value x, std::uint32_t axis, Site site) {
  const Value largest = b.reduce(x, ReduceOp::max, {axis}, KeepDims::yes, {}, site);
  const Value e = b.map({x, largest}, exp(arg(0) - arg(1)), wide(b.dtype(x)), site);
  return {largest, e, b.reduce(e, ReduceOp::sum, {axis}, KeepDims::yes, {}, site)};
}

}  // namespace

Value softmax(GraphBuilder& b, Value x, Axis axis, Site site) {
  const auto a = axis_of(b, x, axis, "softmax", site);
  if (!a || !is_real(b, x, "softmax", site)) { return {}; }
  const Exponentials of = exponentials(b, x, *a, site);
  return b.map({of.e, of.sum}, arg(0) / arg(1), b.dtype(x), site);
}

Value log_softmax(GraphBuilder& b, Value x, Axis axis, Site site) {
  const auto a = axis_of(b, x, axis, "log_softmax", site);
  if (!a || !is_real(b, x, "log_softmax", site)) { return {}; }
  const Exponentials of = exponentials(b, x, *a, site);
  return b.map({x, of.largest, of.sum}, arg(0) - arg(1) - log(arg(2)), b.dtype(x), site);
}

}  // namespace hal::nn
