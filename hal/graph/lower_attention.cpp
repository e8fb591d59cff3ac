// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>

#include "graph/lower.hpp"
#include "graph/sizes.hpp"
#include "hal/nn/attention.hpp"

namespace hal::nn {

using namespace lower;

namespace {

// The most bytes of a mask that is a table; a longer one is a view of a line, which costs a copy where strides are
// positive only.
constexpr std::int64_t kMostMaskBytes = std::int64_t{1} << 24U;

constexpr double kNothing = -std::numeric_limits<double>::infinity();

// 1 where query i of s may see key j of t.
Value causal_mask(GraphBuilder& b, std::int64_t s, std::int64_t t, Causal causal, Site site) {
  const auto bytes =
      graph::is_symbolic(s) || graph::is_symbolic(t) ? std::nullopt : graph::byte_count(DType::boolean, Shape{s, t});
  if (!bytes || *bytes > kMostMaskBytes) {
    // Element j - i + s - 1 of a line of ones and zeros behind them, which is as long as the run makes it.
    const auto line = [&](std::byte value, std::int64_t length) {
      return b.view(b.constant(DType::boolean, {1}, {&value, 1}, site), {length}, 0, {0}, site);
    };
    const bool from_start = causal == Causal::from_start;
    const Value seen =
        b.concat({line(std::byte{1}, from_start ? s : t), line(std::byte{0}, from_start ? t : s)}, 0, site);
    return b.view(seen, {s, t}, b.size(graph::SizeOp::sub, s, 1, site), {-1, 1}, site);
  }
  const std::int64_t shift = causal == Causal::from_end ? t - s : 0;
  std::vector<std::byte> seen(static_cast<std::size_t>(s) * static_cast<std::size_t>(t));
  for (std::int64_t i = 0; i < s; ++i) {
    for (std::int64_t j = 0; j < t && j <= i + shift; ++j) { seen[static_cast<std::size_t>(i * t + j)] = std::byte{1}; }
  }
  return b.constant(DType::boolean, {s, t}, seen, site);
}

// [b, heads, s, t] or what broadcasts to it, as [b, kv_heads, group, s, t]; void and a mistake if it does not.
Value grouped_mask(GraphBuilder& b, Value mask, const Shape& scores, std::int64_t heads, Site site) {
  Shape shape = b.shape(mask);
  const std::int64_t expected[] = {scores[0], heads, scores[3], scores[4]};
  bool fits = shape.size() <= 4;
  if (fits) { shape.insert(shape.begin(), 4 - shape.size(), 1); }
  for (std::size_t i = 0; i < 4 && fits; ++i) {
    // Heads are split in two, which needs to know how many there are.
    fits = shape[i] == 1 || shape[i] == expected[i] || (i != 1 && graph::may_equal(shape[i], expected[i]));
  }
  const DType type = b.dtype(mask);
  if (!fits || (type != DType::boolean && !is_floating(type))) {
    return b.fail(fmt::format("attention: the mask is {} {}, expected bool or floating that broadcasts to {}",
                              dtype_name(type), print_shape(b.shape(mask)), print_shape(expected)),
                  site);
  }
  const bool by_head = shape[1] != 1;
  return b.reshape(mask, {shape[0], by_head ? scores[1] : 1, by_head ? scores[2] : 1, shape[2], shape[3]}, site);
}

}  // namespace

Value attention(GraphBuilder& b, Value q, Value k, Value v, const Attention& options, Site site) {
  const Shape qs = b.shape(q), ks = b.shape(k), vs = b.shape(v);
  if (!is_real(b, q, "attention", site)) { return {}; }
  const auto wrong = [&] {
    return b.fail(fmt::format("attention: q is {}, k {} and v {}; expected [b, heads, s, d], [b, kv_heads, t, d] and "
                              "[b, kv_heads, t, e] with kv_heads a divisor of heads",
                              print_shape(qs), print_shape(ks), print_shape(vs)),
                  site);
  };
  using graph::may_equal;
  if (qs.size() != 4 || ks.size() != 4 || vs.size() != 4 || !may_equal(ks[0], qs[0]) || !may_equal(vs[0], qs[0]) ||
      !may_equal(vs[0], ks[0]) || !may_equal(ks[3], qs[3]) || !may_equal(vs[1], ks[1]) || !may_equal(vs[2], ks[2])) {
    return wrong();
  }
  const std::int64_t heads = qs[1], kv_heads = ks[1], s = qs[2], t = ks[2];
  // Whether one symbol divides another is nothing that a graph can promise.
  const bool one_each = heads == kv_heads, one_for_all = kv_heads == 1;
  if (!one_each && !one_for_all) {
    if (!has_number(b, q, 1, "attention", site, " of q") || !has_number(b, k, 1, "attention", site, " of k")) {
      return {};
    }
    if (heads % kv_heads != 0) { return wrong(); }
  }
  const std::int64_t group = one_each ? 1 : one_for_all ? heads : heads / kv_heads;
  const DType type = b.dtype(q);
  const Shape scores_shape{qs[0], kv_heads, group, s, t};
  const Value groups = b.reshape(q, {qs[0], kv_heads, group, s, qs[3]}, site);
  const Value products = b.contract("bhgsd,bhtd->bhgst", groups, k, wide(type), site);
  std::vector<Value> inputs{products};
  Expr score = options.scale               ? arg(0) * *options.scale
               : graph::is_symbolic(qs[3]) ? arg(0) / sqrt(graph::size_of(qs[3]))
                                           : arg(0) * (1.0 / std::sqrt(static_cast<double>(qs[3])));
  if (options.mask) {
    const Value mask = grouped_mask(b, *options.mask, scores_shape, heads, site);
    const Expr own = arg(static_cast<std::uint8_t>(inputs.size()));
    score = b.dtype(mask) == DType::boolean ? select(own, score, kNothing) : score + own;
    inputs.push_back(mask);
  }
  if (options.causal != Causal::no) {
    score = select(arg(static_cast<std::uint8_t>(inputs.size())), score, kNothing);
    inputs.push_back(causal_mask(b, s, t, options.causal, site));
  }
  const Value scores = b.map(inputs, score, wide(type), site);
  // Softmax that gives zeros where every score is -inf.
  const Value largest = b.reduce(scores, ReduceOp::max, {4}, KeepDims::yes, {}, site);
  const Value e =
      b.map({scores, largest}, select(equal(arg(0), kNothing), 0.0, exp(arg(0) - arg(1))), wide(type), site);
  const Value sum = b.reduce(e, ReduceOp::sum, {4}, KeepDims::yes, {}, site);
  const Value weights = b.map({e, sum}, select(equal(arg(1), 0.0), 0.0, arg(0) / arg(1)), b.dtype(v), site);
  const Value out = b.contract("bhgst,bhte->bhgse", weights, v, {}, site);
  const Shape& made = b.shape(out);  // a number says more than a symbol
  return b.reshape(out, {made[0], heads, made[3], made[4]}, site);
}

namespace {

// Do i32 positions broadcast with the leading dimensions of x, of which they have no more?
bool fits(GraphBuilder& b, Value positions, const Shape& x) {
  const Shape& own = b.shape(positions);
  if (b.dtype(positions) != DType::i32 || own.size() >= x.size()) { return false; }
  const std::size_t missing = x.size() - 1 - own.size();
  for (std::size_t i = 0; i < own.size(); ++i) {
    if (own[i] != 1 && x[missing + i] != 1 && !graph::may_equal(own[i], x[missing + i])) { return false; }
  }
  return true;
}

}  // namespace

Value rotary(GraphBuilder& b, Value x, const Rotary& options, Site site) {
  const Shape shape = b.shape(x);
  if (shape.size() < 2) {
    return b.fail(fmt::format("rotary: x is {}, expected [..., s, d]", print_shape(shape)), site);
  }
  if (!is_real(b, x, "rotary", site) || !has_number(b, x, shape.size() - 1, "rotary", site)) { return {}; }
  const std::int64_t s = shape[shape.size() - 2], d = shape.back();
  const std::int64_t dims = options.dims == 0 ? d : options.dims;
  const bool interleaved = options.pairs == RotaryPairs::interleaved;
  if (dims < 2 || dims > d || dims % 2 != 0 || (interleaved && shape.size() == graph::kMaxRank)) {
    return b.fail(fmt::format("rotary: {} of the last dimension of {} turn in pairs; expected an even number up to it, "
                              "and at most 7 dimensions for interleaved pairs",
                              dims, print_shape(shape)),
                  site);
  }
  if (options.positions && !fits(b, *options.positions, shape)) {
    return b.fail(fmt::format("rotary: positions are {} {}; expected i32 that broadcasts with x {} without its last "
                              "dimension and has no more",
                              dtype_name(b.dtype(*options.positions)), print_shape(b.shape(*options.positions)),
                              print_shape(shape)),
                  site);
  }
  const bool open = !options.positions && graph::is_symbolic(s);
  if (open && options.max_position < 1) {
    return b.fail(fmt::format("rotary: the size of dimension {} is symbolic; max_position must say how many positions "
                              "there are at most",
                              shape.size() - 2),
                  site);
  }
  const std::int64_t rows = options.positions || open ? options.max_position : s;
  const std::int64_t offset = options.positions ? 0 : options.offset;
  if (rows < 1 || rows > (std::int64_t{1} << 24U) || offset < 0 || offset > (std::int64_t{1} << 40U)) {
    return b.fail(fmt::format("rotary: {} from {} on; expected a first position that is not negative and at most 2^24 "
                              "positions (with positions given or a symbolic s, max_position says how many)",
                              rows, offset),
                  site);
  }
  const std::int64_t pairs = dims / 2;
  auto cosines = table<float>(b, {rows, pairs}, "rotary", "cosines", site);
  auto sines = table<float>(b, {rows, pairs}, "rotary", "sines", site);
  if (!cosines || !sines) { return {}; }
  for (std::int64_t p = 0; p < rows; ++p) {
    for (std::int64_t i = 0; i < pairs; ++i) {
      const double turn = static_cast<double>(p + offset) *
                          std::pow(options.base, -2.0 * static_cast<double>(i) / static_cast<double>(dims));
      cosines->push_back(static_cast<float>(std::cos(turn)));
      sines->push_back(static_cast<float>(std::sin(turn)));
    }
  }
  Value cosine = b.constant({rows, pairs}, std::span<const float>(*cosines), site);
  Value sine = b.constant({rows, pairs}, std::span<const float>(*sines), site);
  if (options.positions) {
    cosine = b.gather(cosine, *options.positions, 0, site);
    sine = b.gather(sine, *options.positions, 0, site);
  } else if (open) {  // a run with more rows than the tables have is refused when it is bound
    cosine = slice_axis(b, cosine, 0, 0, s, site);
    sine = slice_axis(b, sine, 0, 0, s, site);
  }
  // The two elements of each pair, [..., s, pairs].
  const auto last = static_cast<std::uint32_t>(shape.size() - 1);
  const auto half = [&](std::int64_t which) {
    if (!interleaved) { return slice_axis(b, x, last, which * pairs, pairs, site); }
    Shape to = shape, strides(shape.size(), 1);
    for (std::size_t i = shape.size() - 1; i-- > 0;) { strides[i] = times(b, strides[i + 1], shape[i + 1], site); }
    to.back() = pairs;
    strides.back() = 2;
    return b.view(x, std::move(to), which, std::move(strides), site);
  };
  const Value first = half(0), second = half(1);
  const DType type = b.dtype(x);
  Value turned_first = b.map({first, second, cosine, sine}, arg(0) * arg(2) - arg(1) * arg(3), type, site);
  Value turned_second = b.map({first, second, cosine, sine}, arg(0) * arg(3) + arg(1) * arg(2), type, site);
  Value turned;
  if (interleaved) {
    Shape column = b.shape(turned_first), joined = column;
    joined.back() = dims;
    column.push_back(1);
    turned_first = b.reshape(turned_first, column, site);
    turned_second = b.reshape(turned_second, column, site);
    turned = b.reshape(b.concat({turned_first, turned_second}, last + 1, site), std::move(joined), site);
  } else {
    turned = b.concat({turned_first, turned_second}, last, site);
  }
  if (dims == d) { return turned; }
  Value still = slice_axis(b, x, last, dims, d - dims, site);
  Shape spread = b.shape(still);
  for (std::size_t i = 0; i < last; ++i) {
    if (spread[i] == 1) { spread[i] = b.shape(turned)[i]; }
  }
  if (spread != b.shape(still)) { still = b.broadcast(still, std::move(spread), site); }
  return b.concat({turned, still}, last, site);
}

}  // namespace hal::nn
