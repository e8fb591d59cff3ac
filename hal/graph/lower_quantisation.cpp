// SPDX-License-Identifier: Apache-2.0
#include "graph/lower.hpp"
#include "hal/nn/quantisation.hpp"

namespace hal::nn {

using namespace lower;

namespace {

struct Parameters {
  Value scale;
  std::optional<Value> zero_point;  // f32
};

// Shaped to broadcast along the axis; nothing and a mistake if they do not fit.
std::optional<Parameters> parameters(GraphBuilder& b, Value x, const Quantisation& by, const char* what, Site site) {
  const Shape scale = b.shape(by.scale);
  if (b.dtype(by.scale) != DType::f32 || scale.size() > 1 || (by.zero_point && b.shape(*by.zero_point) != scale) ||
      (by.zero_point && is_floating(b.dtype(*by.zero_point)))) {
    b.fail(fmt::format("{}: the scale is {} {}{}; expected f32, a scalar or one number along an axis, and an integer "
                       "zero point of the same shape",
                       what, dtype_name(b.dtype(by.scale)), print_shape(scale),
                       by.zero_point ? fmt::format(" and the zero point {} {}", dtype_name(b.dtype(*by.zero_point)),
                                                   print_shape(b.shape(*by.zero_point)))
                                     : std::string()),
           site);
    return std::nullopt;
  }
  Parameters out{by.scale, std::nullopt};
  if (by.zero_point) { out.zero_point = b.convert(*by.zero_point, DType::f32, site); }
  if (scale.empty()) { return out; }
  const auto axis = axis_of(b, x, by.axis, what, site);
  if (!axis) { return std::nullopt; }
  if (scale[0] != b.shape(x)[*axis]) {
    b.fail(fmt::format("{}: {} scales along axis {} of {}", what, scale[0], *axis, print_shape(b.shape(x))), site);
    return std::nullopt;
  }
  const Shape shape = along(b.shape(x).size(), *axis, scale[0]);
  out.scale = b.reshape(out.scale, shape, site);
  if (out.zero_point) { out.zero_point = b.reshape(*out.zero_point, shape, site); }
  return out;
}

}  // namespace

Value quantise(GraphBuilder& b, Value x, const Quantisation& by, DType type, Site site) {
  if ((type != DType::i8 && type != DType::u8 && type != DType::i4) || !is_floating(b.dtype(x))) {
    return b.fail(fmt::format("quantise: {} to {}, expected a floating type to i8, u8 or i4", dtype_name(b.dtype(x)),
                              dtype_name(type)),
                  site);
  }
  const auto p = parameters(b, x, by, "quantise", site);
  if (!p) { return {}; }
  Scaled y{{x, p->scale}, round(arg(0) / arg(1))};
  y.apply({}, p->zero_point);
  // convert saturates, and makes 0 of NaN.
  return b.convert(b.map(y.inputs, y.expr, DType::f32, site), type, site);
}

Value dequantise(GraphBuilder& b, Value x, const Quantisation& by, DType type, Site site) {
  if (is_floating(b.dtype(x)) || !is_floating(type) || dtype_bits(type) > 32) {
    return b.fail(fmt::format("dequantise: {} to {}, expected an integer type to f32 or narrower",
                              dtype_name(b.dtype(x)), dtype_name(type)),
                  site);
  }
  const auto p = parameters(b, x, by, "dequantise", site);
  if (!p) { return {}; }
  const Value real = b.convert(x, DType::f32, site);
  if (p->zero_point) { return b.map({real, *p->zero_point, p->scale}, (arg(0) - arg(1)) * arg(2), type, site); }
  return b.map({real, p->scale}, arg(0) * arg(1), type, site);
}

}  // namespace hal::nn
