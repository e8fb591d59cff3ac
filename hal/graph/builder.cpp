// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>

#include "graph/element.hpp"
#include "graph/format.hpp"
#include "graph/rules.hpp"
#include "graph/view.hpp"
#include "graph/writer.hpp"
#include "hal/graph.hpp"

namespace hal::graph {
namespace {

bool is_name(const std::string& name) {
  return name.size() <= format::kMaxNameBytes &&
         std::ranges::all_of(name, [](char c) { return c >= 0x20 && c <= 0x7E; });
}

DType accumulator_of(DType type) {
  if (type == DType::f64 || type == DType::i64) { return type; }
  return is_floating(type) ? DType::f32 : DType::i32;
}

Extents extents_of(const Shape& shape) {
  Extents extents{};
  std::ranges::copy(shape, extents.begin());
  return extents;
}

// The letters of one operand as labels; "" if they are good, else what is wrong.
std::string read_letters(std::string_view letters, std::string& seen, Labels& labels) {
  if (letters.size() > kMaxRank) { return fmt::format("\"{}\" has more than {} letters", letters, kMaxRank); }
  for (std::size_t i = 0; i < letters.size(); ++i) {
    const char letter = letters[i];
    if (letter < 'a' || letter > 'z') { return fmt::format("'{}' is no letter from a to z", letter); }
    std::size_t label = seen.find(letter);
    if (label == std::string::npos) {
      label = seen.size();
      seen.push_back(letter);
    }
    labels[i] = static_cast<std::uint8_t>(label);
  }
  return "";
}

}  // namespace

GraphBuilder::GraphBuilder(std::string name) : name_(std::move(name)), sizes_(std::make_unique<SizeTable>()) {}
GraphBuilder::~GraphBuilder() = default;
GraphBuilder::GraphBuilder(GraphBuilder&&) noexcept = default;
GraphBuilder& GraphBuilder::operator=(GraphBuilder&&) noexcept = default;

// Behind the last entry that a graph may have, what stands for a size would be taken for a number.
std::int64_t GraphBuilder::made_size(std::int64_t size, Site site) {
  if (sizes_->entries().size() <= kMaxSizes) { return size; }
  fail(HAL_OUT_OF_RANGE, fmt::format("{} symbolic sizes, the most are {}", sizes_->entries().size(), kMaxSizes), site);
  return 1;
}

std::int64_t GraphBuilder::symbol(std::string name, Site site) {
  return failed() ? 1 : made_size(sizes_->symbol(std::move(name)), site);
}

std::int64_t GraphBuilder::size(SizeOp op, std::int64_t a, std::int64_t b, Site site) {
  if (failed()) { return 1; }
  if (const auto made = sizes_->make(op, a, b)) { return made_size(*made, site); }
  fail(fmt::format("the size made of {} and {} overflows or divides by less than 1", a, b), site);
  return 1;
}

Shape GraphBuilder::dense_strides(const Shape& shape) {
  Shape strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride = size(SizeOp::mul, stride, shape[i]);
  }
  return strides;
}

Value GraphBuilder::fail(hal_code code, const std::string& what, Site site) {
  if (!error_) { error_ = Error(code, fmt::format("graph \"{}\": {}", name_, what), site); }
  return {};
}

bool GraphBuilder::check_tensor(DType type, const Shape& shape, Site site) {
  if (failed()) { return false; }
  if (tensors_.size() >= format::kMaxTensors) {
    fail(HAL_OUT_OF_RANGE, fmt::format("more than {} tensors are asked for", format::kMaxTensors), site);
    return false;
  }
  Shape known = shape;
  for (std::int64_t& size : known) {
    // One of another builder is in no table here.
    if (is_symbolic(size) && size_entry(size) < sizes_->entries().size()) { size = 1; }
  }
  const auto bytes = byte_count(type, known);
  if (!is_graph_type(type)) {
    fail(fmt::format("a tensor of type {} is asked for; graphs have f64 to bool, u32 and u64 belong to kernels",
                     dtype_name(type)),
         site);
    return false;
  }
  if (shape.size() <= kMaxRank && bytes && *bytes <= format::kMaxTensorBytes) { return true; }
  fail(fmt::format("a tensor {} {} is asked for; ranks go to {}, sizes begin at 1, the most is 2^46 bytes",
                   dtype_name(type), print_shape(shape), kMaxRank),
       site);
  return false;
}

// Room for a constant that passed check_tensor(), or a mistake.
bool GraphBuilder::reserve(std::vector<std::byte>& data, DType type, const Shape& shape, Site site) {
  const auto bytes = static_cast<std::size_t>(byte_count(type, shape).value_or(0));
  try {
    data.reserve(bytes);
    return true;
  } catch (const std::bad_alloc&) {
    fail(HAL_OUT_OF_HOST_MEMORY,
         fmt::format("no memory for the {} bytes of a constant {} {}", bytes, dtype_name(type), print_shape(shape)),
         site);
    return false;
  }
}

Value GraphBuilder::add_tensor(Role role, DType type, Shape shape, std::string name) {
  tensors_.push_back({type, role, std::move(shape), std::move(name), {}});
  return Value(static_cast<std::uint32_t>(tensors_.size() - 1));
}

Value GraphBuilder::add_node(Op op, std::span<const Value> inputs, DType type, Shape shape, Attributes attributes,
                             Site site) {
  std::vector<TensorType> types;
  std::vector<std::uint32_t> ids;
  for (const Value input : inputs) {
    if (is_void(input)) {
      return fail(fmt::format("an operand of {} was never made by this builder", op_name(op)), site);
    }
    const TensorDraft& tensor = tensors_[input.id_];
    types.push_back({tensor.type, tensor.shape});
    ids.push_back(input.id_);
  }
  if (!check_tensor(type, shape, site)) { return {}; }
  if (const auto violation = check_node(op, attributes, types, {type, shape})) {
    return fail(fmt::format("{}: {} {}", op_name(op), violation->field, violation->text), site);
  }
  const Value out = add_tensor(Role::intermediate, type, std::move(shape), "");
  nodes_.push_back({op, std::move(ids), out.id_, std::move(attributes)});
  return out;
}

Value GraphBuilder::input(std::string name, DType type, Shape shape, Site site) {
  if (!check_tensor(type, shape, site)) { return {}; }
  for (const std::int64_t size : shape) {
    if (is_symbolic(size) && sizes_->entries()[size_entry(size)].op != SizeOp::symbol) {
      return fail(fmt::format("input \"{}\" has size {}; an input's sizes are numbers and symbols", name,
                              print_size(size, sizes_->entries())),
                  site);
    }
  }
  const Value value = add_tensor(Role::input, type, std::move(shape), std::move(name));
  inputs_.push_back(value.id_);
  return value;
}

void GraphBuilder::output(std::string name, Value value, Site site) {
  if (is_void(value)) {
    fail(fmt::format("output \"{}\" is a value that was never made", name), site);
    return;
  }
  // An input, a constant or an output already keeps its role; the new output is a copy of it.
  if (tensors_[value.id_].role != Role::intermediate) { value = reshape(value, tensors_[value.id_].shape, site); }
  if (is_void(value)) { return; }
  tensors_[value.id_].role = Role::output;
  tensors_[value.id_].name = std::move(name);
  outputs_.push_back(value.id_);
}

Value GraphBuilder::constant(DType type, Shape shape, std::span<const std::byte> bytes, Site site) {
  if (is_dynamic(shape)) { return fail("a constant's sizes are numbers", site); }
  if (!check_tensor(type, shape, site)) { return {}; }
  const auto expected = static_cast<std::size_t>(byte_count(type, shape).value_or(0));
  if (bytes.size() != expected) {
    return fail(fmt::format("a constant {} {} has {} bytes, {} were given", dtype_name(type), print_shape(shape),
                            expected, bytes.size()),
                site);
  }
  std::vector<std::byte> data;
  if (!reserve(data, type, shape, site)) { return {}; }
  data.assign(bytes.begin(), bytes.end());
  const Value value = add_tensor(Role::constant, type, std::move(shape), "");
  tensors_[value.id_].data = std::move(data);
  nodes_.push_back({Op::constant, {}, value.id_, {}});
  return value;
}

Value GraphBuilder::constant(Shape shape, std::span<const float> values, Site site) {
  return constant(DType::f32, std::move(shape), std::as_bytes(values), site);
}

Value GraphBuilder::constant(Shape shape, std::span<const std::int32_t> values, Site site) {
  return constant(DType::i32, std::move(shape), std::as_bytes(values), site);
}

Value GraphBuilder::constant_from(DType type, Shape shape, std::span<const double> values, Site site) {
  if (is_dynamic(shape)) { return fail("a constant's sizes are numbers", site); }
  if (!check_tensor(type, shape, site)) { return {}; }
  if (element_count(shape) != static_cast<std::int64_t>(values.size())) {
    return fail(fmt::format("a constant {} has {} elements, {} were given", print_shape(shape),
                            element_count(shape).value_or(0), values.size()),
                site);
  }
  std::vector<std::byte> bytes;
  if (!reserve(bytes, type, shape, site)) { return {}; }
  bytes.resize(static_cast<std::size_t>(byte_count(type, shape).value_or(0)));
  for (std::size_t i = 0; i < values.size(); ++i) {
    store_element(type, bytes.data(), static_cast<std::int64_t>(i), values[i]);
  }
  return constant(type, std::move(shape), std::span<const std::byte>(bytes), site);
}

Value GraphBuilder::contract(std::string_view einsum, Value left, Value right, ResultType result, Site site) {
  if (is_void(left) || is_void(right)) { return fail("an operand of contract was never made by this builder", site); }
  const auto wrong = [&](const std::string& why) {
    return fail(fmt::format("contract \"{}\": {}", einsum, why), site);
  };
  const std::size_t comma = einsum.find(',');
  const std::size_t arrow = einsum.find("->");
  if (comma == std::string_view::npos || arrow == std::string_view::npos || comma > arrow) {
    return wrong("expected the form \"mk,kn->mn\"");
  }
  const std::string_view left_letters = einsum.substr(0, comma);
  const std::string_view right_letters = einsum.substr(comma + 1, arrow - comma - 1);
  const std::string_view out_letters = einsum.substr(arrow + 2);
  const DType type = tensors_[left.id_].type;
  std::string seen;
  ContractAttributes attributes;
  for (const auto& [letters, labels] : {std::pair{left_letters, &attributes.left},
                                        {right_letters, &attributes.right},
                                        {out_letters, &attributes.out}}) {
    if (std::string why = read_letters(letters, seen, *labels); !why.empty()) { return wrong(why); }
  }
  const auto size_of = [&](char letter) -> std::int64_t {
    std::int64_t size = 0;
    for (const auto& [letters, value] : {std::pair{left_letters, left}, {right_letters, right}}) {
      const std::size_t at = letters.find(letter);
      if (at != std::string_view::npos && (size == 0 || is_symbolic(size))) { size = tensors_[value.id_].shape[at]; }
    }
    return size;
  };
  for (const auto& [letters, value] : {std::pair{left_letters, left}, {right_letters, right}}) {
    const Shape& shape = tensors_[value.id_].shape;
    if (letters.size() != shape.size()) {
      return wrong(fmt::format("\"{}\" has {} letters for a tensor {}", letters, letters.size(), print_shape(shape)));
    }
  }
  Shape shape;
  for (const char letter : out_letters) {
    shape.push_back(size_of(letter));
    if (shape.back() == 0) { return wrong(fmt::format("'{}' is in neither operand", letter)); }
  }
  attributes.accumulate = result.accumulate.value_or(accumulator_of(type));
  return add_node(Op::contract, {left, right}, result.type.value_or(type), std::move(shape), attributes, site);
}

Value GraphBuilder::map(std::span<const Value> inputs, const Expr& expr, std::optional<DType> out, Site site) {
  Shape shape;
  for (const Value input : inputs) {
    if (is_void(input)) { return fail("an operand of map was never made by this builder", site); }
    const Shape& other = tensors_[input.id_].shape;
    if (other.size() > shape.size()) { shape.insert(shape.begin(), other.size() - shape.size(), 1); }
    for (std::size_t i = 0; i < other.size(); ++i) {
      std::int64_t& size = shape[shape.size() - other.size() + i];
      // Shapes that do not fit are left to check_node(). A symbol beside a number is that number, or 1.
      if (size == 1 || (is_symbolic(size) && other[i] != 1)) { size = other[i]; }
    }
  }
  const DType type = inputs.empty() ? DType::f32 : tensors_[inputs[0].id_].type;
  return add_node(Op::map, inputs, out.value_or(type), std::move(shape), MapAttributes{.code = expr.code()}, site);
}

Value GraphBuilder::reduce(Value x, ReduceOp op, std::span<const std::uint32_t> axes, KeepDims keep, ResultType result,
                           Site site) {
  if (is_void(x)) { return fail("the operand of reduce was never made by this builder", site); }
  const TensorDraft& tensor = tensors_[x.id_];
  ReduceAttributes attributes{0, op, keep == KeepDims::yes, result.accumulate.value_or(accumulator_of(tensor.type))};
  for (const std::uint32_t axis : axes) {
    if (axis >= tensor.shape.size()) {
      return fail(fmt::format("reduce: axis {} of a tensor {}", axis, print_shape(tensor.shape)), site);
    }
    attributes.axes |= std::uint32_t{1} << axis;
  }
  Shape shape;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    if (((attributes.axes >> i) & 1U) == 0) {
      shape.push_back(tensor.shape[i]);
    } else if (attributes.keep_dims) {
      shape.push_back(1);
    }
  }
  return add_node(Op::reduce, {x}, result.type.value_or(tensor.type), std::move(shape), attributes, site);
}

Value GraphBuilder::view(Value x, Shape shape, std::int64_t offset, Shape strides, Site site) {
  if (is_void(x)) { return fail("the operand of view was never made by this builder", site); }
  if (strides.size() != shape.size() || shape.size() > kMaxRank) {
    return fail(
        fmt::format("view: {} strides for shape {}; ranks go to {}", strides.size(), print_shape(shape), kMaxRank),
        site);
  }
  return add_node(Op::view, {x}, tensors_[x.id_].type, std::move(shape), ViewAttributes{offset, extents_of(strides)},
                  site);
}

Value GraphBuilder::gather(Value x, Value indices, std::uint32_t axis, Site site) {
  if (is_void(x) || is_void(indices)) { return fail("an operand of gather was never made by this builder", site); }
  const TensorDraft& tensor = tensors_[x.id_];
  const Shape& index_shape = tensors_[indices.id_].shape;
  Shape shape = tensor.shape;
  if (axis < shape.size()) {
    const auto at = shape.erase(shape.begin() + axis);
    shape.insert(at, index_shape.begin(), index_shape.end());
  }
  return add_node(Op::gather, {x, indices}, tensor.type, std::move(shape), GatherAttributes{axis}, site);
}

Value GraphBuilder::scatter(Value base, Value indices, Value updates, std::uint32_t axis, ScatterMode mode, Site site) {
  if (is_void(base)) { return fail("the base of scatter was never made by this builder", site); }
  const TensorDraft& tensor = tensors_[base.id_];
  return add_node(Op::scatter, {base, indices, updates}, tensor.type, tensor.shape, ScatterAttributes{axis, mode},
                  site);
}

Value GraphBuilder::pad(Value x, Shape low, Shape high, double value, Site site) {
  if (is_void(x)) { return fail("the operand of pad was never made by this builder", site); }
  const TensorDraft& tensor = tensors_[x.id_];
  Shape shape = tensor.shape;
  if (low.size() != shape.size() || high.size() != shape.size()) {
    return fail(fmt::format("pad: {} low and {} high for a tensor {}", low.size(), high.size(), print_shape(shape)),
                site);
  }
  for (std::size_t i = 0; i < shape.size(); ++i) {
    std::int64_t sum = 0;
    if (__builtin_add_overflow(low[i], high[i], &sum)) {
      return fail(fmt::format("pad: {} and {} overflow dimension {}", low[i], high[i], i), site);
    }
    shape[i] = size(SizeOp::add, shape[i], sum);
  }
  return add_node(Op::pad, {x}, tensor.type, std::move(shape), PadAttributes{extents_of(low), extents_of(high), value},
                  site);
}

Value GraphBuilder::concat(std::span<const Value> inputs, std::uint32_t axis, Site site) {
  if (inputs.empty() || is_void(inputs[0])) { return fail("concat needs at least one operand of this builder", site); }
  Shape shape = tensors_[inputs[0].id_].shape;
  for (const Value input : inputs.subspan(1)) {
    if (is_void(input)) { return fail("an operand of concat was never made by this builder", site); }
    const Shape& other = tensors_[input.id_].shape;
    if (axis >= shape.size() || axis >= other.size()) {
      return fail(fmt::format("concat: {} does not join on axis {}", print_shape(other), axis), site);
    }
    shape[axis] = size(SizeOp::add, shape[axis], other[axis]);
    // A number says more than a symbol, which must then turn out to be it.
    for (std::size_t i = 0; i < shape.size() && i < other.size(); ++i) {
      if (i != axis && is_symbolic(shape[i])) { shape[i] = other[i]; }
    }
  }
  return add_node(Op::concat, inputs, tensors_[inputs[0].id_].type, std::move(shape), ConcatAttributes{axis}, site);
}

Value GraphBuilder::convert(Value x, DType type, Site site) {
  return add_node(Op::convert, {x}, type, shape(x), {}, site);
}

Value GraphBuilder::transpose(Value x, std::span<const std::uint32_t> order, Site site) {
  const Shape from = shape(x);
  const Shape dense = dense_strides(from);
  std::uint32_t seen = 0;
  Shape to;
  Shape strides;
  for (const std::uint32_t axis : order) {
    if (axis >= from.size()) { return fail(fmt::format("transpose: axis {} of {}", axis, print_shape(from)), site); }
    seen |= std::uint32_t{1} << axis;
    to.push_back(from[axis]);
    strides.push_back(dense[axis]);
  }
  if (order.size() != from.size() || seen != (std::uint32_t{1} << from.size()) - 1) {
    return fail(fmt::format("transpose: the order must name each of the {} axes once", from.size()), site);
  }
  return view(x, std::move(to), 0, std::move(strides), site);
}

Value GraphBuilder::reshape(Value x, Shape to, Site site) {
  const bool fits = is_dynamic(to) || is_dynamic(shape(x)) ? sizes_->same_count(to, shape(x))
                                                           : element_count(to) == element_count(shape(x));
  if (to.size() > kMaxRank || !fits) {
    return fail(fmt::format("reshape: {} does not hold the elements of {}", print_shape(to), print_shape(shape(x))),
                site);
  }
  Shape strides = dense_strides(to);
  return view(x, std::move(to), 0, std::move(strides), site);
}

Value GraphBuilder::slice(Value x, Shape low, Shape sizes, Site site) {
  const Shape from = shape(x);
  if (low.size() != from.size() || sizes.size() != from.size()) {
    return fail(fmt::format("slice: {} starts and {} sizes for {}", low.size(), sizes.size(), print_shape(from)), site);
  }
  Shape strides = dense_strides(from);
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const bool open = is_symbolic(low[i]) || is_symbolic(sizes[i]) || is_symbolic(from[i]);
    if (!open && (low[i] < 0 || sizes[i] < 1 || low[i] > from[i] - 1 || sizes[i] > from[i] - low[i])) {
      return fail(
          fmt::format("slice: {} elements from {} along dimension {} of {}", sizes[i], low[i], i, print_shape(from)),
          site);
    }
    offset = size(SizeOp::add, offset, size(SizeOp::mul, low[i], strides[i]));
  }
  return view(x, std::move(sizes), offset, std::move(strides), site);
}

Value GraphBuilder::broadcast(Value x, Shape to, Site site) {
  const Shape from = shape(x);
  const Shape dense = dense_strides(from);
  bool fits = to.size() <= kMaxRank && from.size() <= to.size();
  Shape strides(to.size());
  for (std::size_t i = 0; fits && i < from.size(); ++i) {
    const std::size_t at = to.size() - from.size() + i;
    // Two symbols must be one: whether a dimension repeats is decided here.
    fits = from[i] == 1 || from[i] == to[at];
    strides[at] = from[i] == to[at] ? dense[i] : 0;
  }
  if (!fits) {
    return fail(fmt::format("broadcast: {} does not repeat to {}", print_shape(from, sizes_->entries()),
                            print_shape(to, sizes_->entries())),
                site);
  }
  return view(x, std::move(to), 0, std::move(strides), site);
}

DType GraphBuilder::dtype(Value value) const {
  return value.id_ < tensors_.size() ? tensors_[value.id_].type : DType::f32;
}

const Shape& GraphBuilder::shape(Value value) const {
  static const Shape kOfVoid(kMaxRank, 1);
  return value.id_ < tensors_.size() ? tensors_[value.id_].shape : kOfVoid;
}

void GraphBuilder::name(Value value, std::string name) {
  if (is_void(value)) { return; }
  TensorDraft& tensor = tensors_[value.id_];
  if (tensor.role == Role::intermediate || tensor.role == Role::constant) { tensor.name = std::move(name); }
}

Result<std::vector<std::byte>> GraphBuilder::finish() const {
  if (error_) { return *error_; }
  const auto refuse = [&](hal_code code, const std::string& what) {
    return Error(code, fmt::format("graph \"{}\": {}", name_, what));
  };
  if (outputs_.empty()) { return refuse(HAL_INVALID_ARGUMENT, "has no output; declare one with output()"); }
  if (name_.empty() || !is_name(name_)) {
    return refuse(HAL_INVALID_ARGUMENT, "its name is not 1 to 255 characters of printable ASCII");
  }
  for (const TensorDraft& tensor : tensors_) {
    if (!is_name(tensor.name)) {
      return refuse(HAL_INVALID_ARGUMENT,
                    fmt::format("the name \"{}\" is not up to 255 characters of printable ASCII", tensor.name));
    }
  }
  std::uint64_t attribute_bytes = 0;  // an upper bound: offsets into the attributes section have 32 bits
  for (const NodeDraft& node : nodes_) {
    const auto* map = std::get_if<MapAttributes>(&node.attributes);
    attribute_bytes += node.inputs.size() * sizeof(std::uint32_t) + sizeof(format::PadRecord) + 16 +
                       (map != nullptr ? map->code.size() * sizeof(format::InstructionRecord) : 0);
  }
  for (const Size& size : sizes_->entries()) {
    if (size.op == SizeOp::symbol && (size.name.empty() || !is_name(size.name))) {
      return refuse(HAL_INVALID_ARGUMENT,
                    fmt::format("symbol \"{}\" is not 1 to 255 characters of printable ASCII", size.name));
    }
  }
  static_assert(format::kMaxNodes == format::kMaxTensors);  // each node has a tensor of its own
  if (attribute_bytes > ~std::uint32_t{0}) {
    return refuse(HAL_OUT_OF_RANGE, fmt::format("{} bytes of attributes; the most are 2^32", attribute_bytes));
  }
  std::vector<std::byte> bytes;
  try {
    bytes = GraphWriter(*this).write();
  } catch (const std::bad_alloc&) { return refuse(HAL_OUT_OF_HOST_MEMORY, "no memory for its bytes"); }
  // Catches what only shows in the whole, such as two parameters of one name.
  if (auto view = View::verify_dynamic(bytes); !view) {
    return std::move(view).error().while_doing(fmt::format("finishing graph \"{}\"", name_));
  }
  return bytes;
}

}  // namespace hal::graph
