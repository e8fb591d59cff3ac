// SPDX-License-Identifier: Apache-2.0
#include "graph/lower.hpp"
#include "graph/sizes.hpp"
#include "hal/nn/quantisation.hpp"

namespace hal::nn {

using namespace lower;

namespace {

struct Parameters {
  Value x, scale;
  std::optional<Value> zero_point;  // f32
};

// The first `size` elements along an axis, where that is not its size as it stands.
Value first(GraphBuilder& b, Value x, std::uint32_t axis, std::int64_t size, Site site) {
  return b.shape(x)[axis] == size ? x : slice_axis(b, x, axis, 0, size, site);
}

// Scale and zero point shaped to broadcast along the axis; nothing and a mistake if they do not fit.
std::optional<Parameters> parameters(GraphBuilder& b, Value x, const Quantisation& by, const char* what, Site site) {
  const Shape& scale = b.shape(by.scale);
  if (b.dtype(by.scale) != DType::f32 || scale.size() > 1 ||
      (by.zero_point && (!graph::may_equal(b.shape(*by.zero_point), scale) || is_floating(b.dtype(*by.zero_point))))) {
    b.fail(fmt::format("{}: the scale is {} {}{}; expected f32, a scalar or one number along an axis, and an integer "
                       "zero point of the same shape",
                       what, dtype_name(b.dtype(by.scale)), print_shape(scale),
                       by.zero_point ? fmt::format(" and the zero point {} {}", dtype_name(b.dtype(*by.zero_point)),
                                                   print_shape(b.shape(*by.zero_point)))
                                     : std::string()),
           site);
    return std::nullopt;
  }
  Parameters out{x, by.scale, std::nullopt};
  if (by.zero_point) { out.zero_point = b.convert(*by.zero_point, DType::f32, site); }
  if (scale.empty()) { return out; }
  const auto axis = axis_of(b, x, by.axis, what, site);
  if (!axis) { return std::nullopt; }
  const std::int64_t n = b.shape(x)[*axis];
  if (!graph::may_equal(scale[0], n) || (by.zero_point && !graph::may_equal(b.shape(*by.zero_point)[0], n))) {
    b.fail(fmt::format("{}: {} scales along axis {} of {}", what, scale[0], *axis, print_shape(b.shape(x))), site);
    return std::nullopt;
  }
  // Sizes that only a run can tell apart: each is made the first elements of the other's number, so that the run is
  // refused if one is longer.
  const auto along_axis = [&](Value each) {
    const std::int64_t given = b.shape(each)[0];
    out.x = first(b, out.x, *axis, given, site);
    return b.reshape(first(b, each, 0, n, site), along(b.shape(x).size(), *axis, n), site);
  };
  out.scale = along_axis(out.scale);
  if (out.zero_point) { out.zero_point = along_axis(*out.zero_point); }
  if (graph::is_symbolic(b.shape(out.x)[*axis])) { out.x = first(b, out.x, *axis, n, site); }  // as the caller knows it
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
  Scaled y{{p->x, p->scale}, round(arg(0) / arg(1))};
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
  const Value real = b.convert(p->x, DType::f32, site);
  if (p->zero_point) { return b.map({real, *p->zero_point, p->scale}, (arg(0) - arg(1)) * arg(2), type, site); }
  return b.map({real, p->scale}, arg(0) * arg(1), type, site);
}

}  // namespace hal::nn
