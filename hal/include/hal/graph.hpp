// SPDX-License-Identifier: Apache-2.0
/**
 * Building tensor graphs: a portable program for any device that says "graph".
 *
 *   hal::GraphBuilder b("classify");
 *   auto x = b.input("pixels", hal::DType::f32, {32, 64});
 *   auto w = b.constant({64, 10}, weights);                          // span<const float>
 *   auto logits = b.contract("nk,ko->no", x, w);
 *   b.output("scores", b.map({logits}, max(hal::graph::arg(0), 0.0)));
 *   HAL_TRY(const std::vector<std::byte> bytes, b.finish());          // an image of format "hal.graph"
 *
 * The builder offers the primitives and the usual shorthands for views; layers of networks are in hal/nn.hpp. Mistakes
 * do not interrupt: the first one is kept with its call site and finish() returns it, so a graph is written without a
 * check on each line. A Value made after a mistake is void and may be used as any other, its shape and type included.
 *
 * Threads  one builder, one thread. Values belong to the builder that made them.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hal/graph_types.hpp"
#include "hal/result.hpp"

namespace hal::graph {

/// A tensor of a graph under construction.
class Value {
 public:
  Value() = default;

 private:
  friend class GraphBuilder;
  explicit Value(std::uint32_t id) : id_(id) {}
  static constexpr std::uint32_t kVoid = ~std::uint32_t{0};
  std::uint32_t id_ = kVoid;
};

/// A scalar expression over the inputs of a map: arg(0) is the element of the first input. Plain numbers are constants.
class Expr {
 public:
  Expr(double constant) : code_{{Opcode::constant, 0, constant}} {}  // NOLINT: max(arg(0), 0.0) must read so
  Expr(Opcode opcode, std::initializer_list<Expr> operands);         // operands in order, as many as the opcode takes

  const std::vector<Instruction>& code() const { return code_; }

 private:
  friend Expr arg(std::uint8_t input);
  friend Expr size_of(std::int64_t size);
  Expr() = default;
  std::vector<Instruction> code_;
};

inline Expr::Expr(Opcode opcode, std::initializer_list<Expr> operands) {
  for (const Expr& operand : operands) { code_.insert(code_.end(), operand.code_.begin(), operand.code_.end()); }
  code_.push_back({opcode, 0, 0});
}

inline Expr arg(std::uint8_t input) {
  Expr expr;
  expr.code_.push_back({Opcode::input, input, 0});
  return expr;
}

/// A size as a number: the count in a mean over a symbolic dimension.
inline Expr size_of(std::int64_t size) {
  Expr expr;
  const bool symbolic = is_symbolic(size);
  expr.code_.push_back({symbolic ? Opcode::size : Opcode::constant, 0,
                        symbolic ? static_cast<double>(size_entry(size)) : static_cast<double>(size)});
  return expr;
}

inline Expr operator+(const Expr& a, const Expr& b) { return {Opcode::add, {a, b}}; }
inline Expr operator-(const Expr& a, const Expr& b) { return {Opcode::sub, {a, b}}; }
inline Expr operator*(const Expr& a, const Expr& b) { return {Opcode::mul, {a, b}}; }
inline Expr operator/(const Expr& a, const Expr& b) { return {Opcode::div, {a, b}}; }
inline Expr operator-(const Expr& a) { return {Opcode::neg, {a}}; }
inline Expr operator<(const Expr& a, const Expr& b) { return {Opcode::lt, {a, b}}; }
inline Expr operator<=(const Expr& a, const Expr& b) { return {Opcode::le, {a, b}}; }
inline Expr operator>(const Expr& a, const Expr& b) { return {Opcode::gt, {a, b}}; }
inline Expr operator>=(const Expr& a, const Expr& b) { return {Opcode::ge, {a, b}}; }
inline Expr equal(const Expr& a, const Expr& b) { return {Opcode::eq, {a, b}}; }
inline Expr not_equal(const Expr& a, const Expr& b) { return {Opcode::ne, {a, b}}; }
inline Expr logical_and(const Expr& a, const Expr& b) { return {Opcode::logical_and, {a, b}}; }
inline Expr logical_or(const Expr& a, const Expr& b) { return {Opcode::logical_or, {a, b}}; }
inline Expr logical_not(const Expr& a) { return {Opcode::logical_not, {a}}; }
inline Expr min(const Expr& a, const Expr& b) { return {Opcode::min, {a, b}}; }
inline Expr max(const Expr& a, const Expr& b) { return {Opcode::max, {a, b}}; }
inline Expr pow(const Expr& a, const Expr& b) { return {Opcode::pow, {a, b}}; }
inline Expr mod(const Expr& a, const Expr& b) { return {Opcode::mod, {a, b}}; }
inline Expr abs(const Expr& a) { return {Opcode::abs, {a}}; }
inline Expr exp(const Expr& a) { return {Opcode::exp, {a}}; }
inline Expr log(const Expr& a) { return {Opcode::log, {a}}; }
inline Expr sqrt(const Expr& a) { return {Opcode::sqrt, {a}}; }
inline Expr rsqrt(const Expr& a) { return {Opcode::rsqrt, {a}}; }
inline Expr tanh(const Expr& a) { return {Opcode::tanh, {a}}; }
inline Expr erf(const Expr& a) { return {Opcode::erf, {a}}; }
inline Expr sin(const Expr& a) { return {Opcode::sin, {a}}; }
inline Expr cos(const Expr& a) { return {Opcode::cos, {a}}; }
inline Expr floor(const Expr& a) { return {Opcode::floor, {a}}; }
inline Expr ceil(const Expr& a) { return {Opcode::ceil, {a}}; }
inline Expr round(const Expr& a) { return {Opcode::round, {a}}; }
/// `yes` where `condition` is not 0, else `no`.
inline Expr select(const Expr& condition, const Expr& yes, const Expr& no) {
  return {Opcode::select, {condition, yes, no}};
}

class SizeTable;  // hal/graph/sizes.hpp

enum class KeepDims : bool { no = false, yes = true };

/// What a sum is stored as, and what it is summed in. Unset: the operands' type, and the accumulator below.
///
///   operands          accumulator (first is the default)
///   f64               f64
///   other floating    f32, f64
///   i64               i64
///   other integer     i32, i64; bool too
///
/// The result is of the operands' type or the accumulator's.
struct ResultType {
  std::optional<DType> type;
  std::optional<DType> accumulate;

  ResultType() = default;
  ResultType(DType out) : type(out) {}                 // NOLINT: contract("mk,kn->mn", a, b, DType::f32)
  ResultType(std::optional<DType> out) : type(out) {}  // NOLINT
  ResultType(DType out, DType accumulator) : type(out), accumulate(accumulator) {}
  static ResultType accumulated_in(DType accumulator) {
    ResultType result;
    result.accumulate = accumulator;
    return result;
  }
};

class GraphBuilder {
 public:
  using Site = std::source_location;

  /// `name` is the entry's name: 1 to 255 characters of printable ASCII, as every name here.
  explicit GraphBuilder(std::string name);
  ~GraphBuilder();
  GraphBuilder(GraphBuilder&&) noexcept;
  GraphBuilder& operator=(GraphBuilder&&) noexcept;

  // ---- parameters and constants

  /// A size that is known when the graph runs, for use in shapes: `b.input("x", DType::f32, {b.symbol("batch"), 64})`.
  /// The same name is the same size. Shapes that symbols make wrong are found when the graph is bound (View::bind()).
  std::int64_t symbol(std::string name, Site site = Site::current());
  /// Arithmetic on sizes, of which any may be symbolic: `b.size(SizeOp::mul, batch, 64)`. Never plain operators: they
  /// know nothing of symbols. A graph has at most 4,096 symbols and symbolic sizes made of them.
  std::int64_t size(SizeOp op, std::int64_t a, std::int64_t b, Site site = Site::current());

  /// Sizes are numbers and symbols.
  Value input(std::string name, DType type, Shape shape, Site site = Site::current());
  /// Declares an output. Any value will do, also one that is an input or an output already.
  void output(std::string name, Value value, Site site = Site::current());
  /// `bytes` are copied; exactly the dense tensor's.
  Value constant(DType type, Shape shape, std::span<const std::byte> bytes, Site site = Site::current());
  Value constant(Shape shape, std::span<const float> values, Site site = Site::current());
  Value constant(Shape shape, std::span<const std::int32_t> values, Site site = Site::current());
  /// Each number stored in `type` as `convert` would from f64.
  Value constant_from(DType type, Shape shape, std::span<const double> values, Site site = Site::current());

  // ---- primitives

  /// Einsum of two operands, "bmk,bkn->bmn": a letter for each dimension; letters missing behind the arrow are summed.
  /// Both operands have one type.
  Value contract(std::string_view einsum, Value left, Value right, ResultType result = {}, Site site = Site::current());
  /// Up to 8 inputs, broadcast against each other. `out` defaults to the first input's type.
  Value map(std::span<const Value> inputs, const Expr& expr, std::optional<DType> out = {},
            Site site = Site::current());
  Value map(std::initializer_list<Value> inputs, const Expr& expr, std::optional<DType> out = {},
            Site site = Site::current()) {
    return map(std::span<const Value>(inputs.begin(), inputs.size()), expr, out, site);
  }
  Value reduce(Value x, ReduceOp op, std::span<const std::uint32_t> axes, KeepDims keep = KeepDims::no,
               ResultType result = {}, Site site = Site::current());
  Value reduce(Value x, ReduceOp op, std::initializer_list<std::uint32_t> axes, KeepDims keep = KeepDims::no,
               ResultType result = {}, Site site = Site::current()) {
    return reduce(x, op, std::span<const std::uint32_t>(axes.begin(), axes.size()), keep, result, site);
  }
  /// out[i...] = x[offset + sum of i_k * strides[k]], x as one line of elements.
  Value view(Value x, Shape shape, std::int64_t offset, Shape strides, Site site = Site::current());
  Value gather(Value x, Value indices, std::uint32_t axis, Site site = Site::current());
  Value scatter(Value base, Value indices, Value updates, std::uint32_t axis, ScatterMode mode,
                Site site = Site::current());
  /// One number for each dimension.
  Value pad(Value x, Shape low, Shape high, double value, Site site = Site::current());
  Value concat(std::span<const Value> inputs, std::uint32_t axis, Site site = Site::current());
  Value concat(std::initializer_list<Value> inputs, std::uint32_t axis, Site site = Site::current()) {
    return concat(std::span<const Value>(inputs.begin(), inputs.size()), axis, site);
  }
  Value convert(Value x, DType type, Site site = Site::current());

  // ---- shorthands for view

  /// Dimension i of the result is dimension order[i] of x.
  Value transpose(Value x, std::span<const std::uint32_t> order, Site site = Site::current());
  Value transpose(Value x, std::initializer_list<std::uint32_t> order, Site site = Site::current()) {
    return transpose(x, std::span<const std::uint32_t>(order.begin(), order.size()), site);
  }
  /// The same elements in the same order.
  Value reshape(Value x, Shape shape, Site site = Site::current());
  /// sizes[i] elements from low[i] on along each dimension.
  Value slice(Value x, Shape low, Shape sizes, Site site = Site::current());
  /// Repeats dimensions of size 1, and leading ones that are missing.
  Value broadcast(Value x, Shape shape, Site site = Site::current());

  // ---- questions

  /// What a value was made with, whatever mistakes came later. A void value counts as f32 with eight dimensions of 1: a
  /// dimension that is asked for is there. The shape lives as long as the builder.
  DType dtype(Value value) const;
  const Shape& shape(Value value) const;
  /// Was there a mistake? All that is made from then on is void.
  bool failed() const { return error_.has_value(); }
  /// Gives a tensor a name for errors and prints; parameters keep theirs.
  void name(Value value, std::string name);
  /// Records a mistake of a caller's own, as the builder's calls do; only the first is kept. Returns a void value.
  Value fail(const std::string& what, Site site = Site::current()) { return fail(HAL_INVALID_ARGUMENT, what, site); }
  Value fail(hal_code code, const std::string& what, Site site = Site::current());

  /// The graph as verified, checksummed bytes.
  /// Errors  INVALID_ARGUMENT  the first mistake, with its call site; or no output was declared
  ///         OUT_OF_RANGE      the graph is above a limit of the format
  ///         OUT_OF_HOST_MEMORY  no memory for a constant, for a table of a layer, or for the bytes
  Result<std::vector<std::byte>> finish() const;

 private:
  struct TensorDraft {
    DType type{};
    Role role{};
    Shape shape;
    std::string name;
    std::vector<std::byte> data;
  };
  struct NodeDraft {
    Op op{};
    std::vector<std::uint32_t> inputs;
    std::uint32_t output = 0;
    Attributes attributes;
  };
  friend class GraphWriter;

  std::int64_t made_size(std::int64_t size, Site site);
  Shape dense_strides(const Shape& shape);
  bool is_void(Value value) const { return failed() || value.id_ >= tensors_.size(); }
  bool reserve(std::vector<std::byte>& data, DType type, const Shape& shape, Site site);
  bool check_tensor(DType type, const Shape& shape, Site site);
  Value add_tensor(Role role, DType type, Shape shape, std::string name);
  Value add_node(Op op, std::span<const Value> inputs, DType type, Shape shape, Attributes attributes, Site site);
  Value add_node(Op op, std::initializer_list<Value> inputs, DType type, Shape shape, Attributes attributes,
                 Site site) {
    return add_node(op, std::span<const Value>(inputs.begin(), inputs.size()), type, std::move(shape),
                    std::move(attributes), site);
  }

  std::string name_;
  std::deque<TensorDraft> tensors_;  // shape() gives references
  std::vector<NodeDraft> nodes_;
  std::vector<std::uint32_t> inputs_;
  std::vector<std::uint32_t> outputs_;
  std::unique_ptr<SizeTable> sizes_;
  std::optional<Error> error_;
};

}  // namespace hal::graph

namespace hal {
using graph::GraphBuilder;
}
