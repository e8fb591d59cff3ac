// SPDX-License-Identifier: Apache-2.0
#include "cli/binding.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>

#include "cli/files.hpp"
#include "cli/table.hpp"
#include "cli/usage.hpp"
#include "graph/element.hpp"
#include "graph/rules.hpp"

namespace hal::cli {
namespace {

using Named = std::map<std::string, std::string, std::less<>>;

DType dtype_of(const hal_param& param) { return static_cast<DType>(param.dtype); }

graph::Shape shape_of(const hal_param& param) { return {param.dims, param.dims + param.rank}; }

// "[n, 4]": a dimension that is known when the entry runs by its symbol's name.
std::string shape_text(const Signature& signature, const hal_param& param) {
  std::string text = "[";
  for (std::uint32_t axis = 0; axis < param.rank; ++axis) {
    text += axis == 0 ? "" : ", ";
    text += param.dims[axis] >= 0 ? fmt::format("{}", param.dims[axis]) : signature.symbols[param.symbols[axis]];
  }
  return text + "]";
}

// What the files and shapes so far say of the entry's symbols; 0 is nothing.
using Extents = std::array<std::int64_t, 256>;

// Is this a shape for the parameter? Then its symbols are known from here on.
bool fits(const hal_param& param, const graph::Shape& shape, Extents& extents) {
  if (shape.size() != param.rank) { return false; }
  for (std::uint32_t axis = 0; axis < param.rank; ++axis) {
    std::int64_t expected = param.dims[axis];
    if (expected < 0) {
      std::int64_t& known = extents[param.symbols[axis]];
      if (known == 0) { known = shape[axis]; }
      expected = known;
    }
    if (shape[axis] != expected) { return false; }
  }
  return true;
}

Error wrong(const Signature& signature, const std::string& what) {
  return Error(HAL_INVALID_ARGUMENT, fmt::format("{}; the entry is {}", what, signature_text(signature)));
}

Result<Named> split(const Signature& signature, const std::vector<std::string>& options, const char* option) {
  Named out;
  for (const std::string& text : options) {
    const std::size_t equals = text.find('=');  // named_value() has seen it
    const std::string name = text.substr(0, equals);
    const bool known = std::any_of(signature.params, signature.params + signature.param_count,
                                   [&](const hal_param& param) { return name == param.name; });
    if (!known) { return wrong(signature, fmt::format("{} {}: there is no parameter '{}'", option, text, name)); }
    if (!out.emplace(name, text.substr(equals + 1)).second) {
      return usage_error(fmt::format("{} {}: '{}' is given twice", option, text, name));
    }
  }
  return out;
}

// The option's value for a parameter, and takes it off the list.
std::optional<std::string> take(Named& from, const char* name) {
  const auto found = from.find(std::string_view(name));
  if (found == from.end()) { return std::nullopt; }
  std::string value = std::move(found->second);
  from.erase(found);
  return value;
}

template <class T>
bool parse(const std::string& text, Arg& out) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size()) { return false; }
  out = Arg(value);
  return true;
}

Result<Arg> scalar(const Signature& signature, const hal_param& param, const std::string& text) {
  Arg arg(0);
  bool done = false;
  switch (dtype_of(param)) {
    case DType::f64:
      done = parse<double>(text, arg);
      break;
    case DType::f32:
      done = parse<float>(text, arg);
      break;
    case DType::i64:
      done = parse<std::int64_t>(text, arg);
      break;
    case DType::i32:
      done = parse<std::int32_t>(text, arg);
      break;
    case DType::i8:
      done = parse<signed char>(text, arg);
      break;
    case DType::u8:
      done = parse<unsigned char>(text, arg);
      break;
    case DType::u32:
      done = parse<std::uint32_t>(text, arg);
      break;
    case DType::u64:
      done = parse<std::uint64_t>(text, arg);
      break;
    default:
      return Error(HAL_UNSUPPORTED, fmt::format("--set {}: scalars of type {} have no text form here", param.name,
                                                dtype_name(dtype_of(param))));
  }
  if (!done) {
    return wrong(signature,
                 fmt::format("--set {}={}: is no {} in range", param.name, text, dtype_name(dtype_of(param))));
  }
  return arg;
}

// An f32 array as the bf16 one that the device wants, and back.
digits::Array converted(const digits::Array& from, DType type) {
  digits::Array to{type, from.shape, {}};
  const auto count = graph::element_count(from.shape).value_or(0);
  to.bytes.resize(static_cast<std::size_t>(count) * dtype_bits(type) / 8);
  for (std::int64_t i = 0; i < count; ++i) {
    graph::store_element(type, to.bytes.data(), i, graph::load_element(from.dtype, from.bytes.data(), i));
  }
  return to;
}

Result<digits::Array> read_input(const Signature& signature, const hal_param& param, const std::string& path,
                                 Extents& extents) {
  HAL_TRY(digits::Array array, digits::load_npy(path));
  const DType type = dtype_of(param);
  if (type == DType::bf16 && array.dtype == DType::f32) { array = converted(array, DType::bf16); }
  if (array.dtype != type) {
    return wrong(signature, fmt::format("--in {}={}: the file holds {}, the parameter is {}", param.name, path,
                                        dtype_name(array.dtype), dtype_name(type)));
  }
  const bool good =
      param.kind == HAL_PARAM_TENSOR ? fits(param, array.shape, extents) : array.bytes.size() >= param.bytes;
  if (!good) {
    return wrong(signature,
                 fmt::format("--in {}={}: the file's shape is {}", param.name, path, graph::print_shape(array.shape)));
  }
  return array;
}

// What a parameter that is only written gets: the signature's shape, or the command line's.
Result<digits::Array> make_output(const Signature& signature, const hal_param& param,
                                  const std::optional<std::string>& text, Extents& extents) {
  digits::Array array{dtype_of(param), shape_of(param), {}};
  for (std::uint32_t axis = 0; axis < param.rank && !text; ++axis) {
    if (param.dims[axis] >= 0) { continue; }
    array.shape[axis] = extents[param.symbols[axis]];
    if (array.shape[axis] == 0) {
      return wrong(signature, fmt::format("nothing says what '{0}' of '{1}' is: give --shape {1}=SIZES",
                                          signature.symbols[param.symbols[axis]], param.name));
    }
  }
  if (text) {
    array.shape.clear();
    const char* at = text->data();
    const char* const end = at + text->size();
    for (const char* next = at; next != end; at = next + 1) {
      std::int64_t size = 0;
      const auto parsed = std::from_chars(at, end, size);
      if (parsed.ec != std::errc{} || (parsed.ptr != end && *parsed.ptr != ',') || parsed.ptr + 1 == end) {
        return wrong(signature, fmt::format("--shape {}={}: expected sizes such as 4,8", param.name, *text));
      }
      array.shape.push_back(size);
      next = parsed.ptr;
    }
  } else if (param.rank == 0 && param.kind == HAL_PARAM_BUFFER) {
    const std::uint32_t bits = dtype_bits(array.dtype);
    if (param.bytes == 0 || bits == 0) {
      return wrong(signature, fmt::format("'{0}' may have any size: give --shape {0}=COUNT", param.name));
    }
    array.shape = {static_cast<std::int64_t>((param.bytes * 8 + bits - 1) / bits)};
  }
  const std::optional<std::int64_t> bytes = graph::byte_count(array.dtype, array.shape);
  if (!bytes || array.shape.size() > graph::kMaxRank || static_cast<std::uint64_t>(*bytes) < param.bytes ||
      (param.kind == HAL_PARAM_TENSOR && !fits(param, array.shape, extents))) {
    return wrong(signature, fmt::format("--shape {}={} does not fit", param.name, graph::print_shape(array.shape)));
  }
  array.bytes.resize(static_cast<std::size_t>(*bytes));
  return array;
}

const char* direction_text(hal_direction direction) {
  return direction == HAL_IN ? "in" : direction == HAL_OUT ? "out" : "inout";
}

}  // namespace

std::string signature_text(const Signature& signature) {
  std::string out = fmt::format("{} {}(", signature.kind == HAL_KERNEL ? "kernel" : "graph", signature.name);
  for (std::uint32_t i = 0; i < signature.param_count; ++i) {
    const hal_param& param = signature.params[i];
    out += i == 0 ? "" : ", ";
    if (param.kind == HAL_PARAM_SCALAR) {
      out += fmt::format("scalar {} {}", param.name, dtype_name(dtype_of(param)));
    } else {
      out += fmt::format("{} {} {}{}", direction_text(param.direction), param.name, dtype_name(dtype_of(param)),
                         shape_text(signature, param));
    }
  }
  return out + ")";
}

Result<Binding> Binding::make(const Device& device, const Signature& signature, const BindingOptions& options) {
  HAL_TRY(Named inputs, split(signature, options.inputs, "--in"));
  HAL_TRY(Named outputs, split(signature, options.outputs, "--out"));
  HAL_TRY(Named scalars, split(signature, options.scalars, "--set"));
  HAL_TRY(const Named told_of, split(signature, options.shapes, "--shape"));
  Named shapes = told_of;
  // What files and options say of a symbol counts wherever in the signature it stands, so what follows from it is last.
  Extents extents{};
  std::vector<digits::Array> arrays(signature.param_count);
  for (std::uint32_t i = 0; i < signature.param_count; ++i) {
    const hal_param& param = signature.params[i];
    if (param.kind == HAL_PARAM_SCALAR || param.direction == HAL_OUT) { continue; }
    const std::optional<std::string> path = take(inputs, param.name);
    if (!path) { return wrong(signature, fmt::format("'{0}' is missing: give --in {0}=FILE.npy", param.name)); }
    HAL_TRY(arrays[i], read_input(signature, param, *path, extents));
  }
  for (const bool told : {true, false}) {
    for (std::uint32_t i = 0; i < signature.param_count; ++i) {
      const hal_param& param = signature.params[i];
      const bool output = param.kind != HAL_PARAM_SCALAR && param.direction == HAL_OUT;
      if (!output || told_of.contains(param.name) != told) { continue; }
      HAL_TRY(arrays[i], make_output(signature, param, take(shapes, param.name), extents));
    }
  }
  Binding binding;
  for (std::uint32_t i = 0; i < signature.param_count; ++i) {
    const hal_param& param = signature.params[i];
    if (param.kind == HAL_PARAM_SCALAR) {
      const std::optional<std::string> text = take(scalars, param.name);
      if (!text) { return wrong(signature, fmt::format("'{0}' is missing: give --set {0}=NUMBER", param.name)); }
      HAL_TRY(const Arg arg, scalar(signature, param, *text));
      binding.args_.push_back(arg);
      continue;
    }
    Slot slot;
    slot.name = param.name;
    slot.read = param.direction != HAL_OUT;
    slot.array = std::move(arrays[i]);
    if (param.direction != HAL_IN) { slot.out_path = take(outputs, param.name).value_or(""); }
    HAL_TRY(slot.buffer, device.buffer(slot.array.bytes.size()));
    binding.args_.emplace_back(slot.buffer);
    binding.slots_.push_back(std::move(slot));
  }
  for (const auto& [left, option] : {std::pair(&inputs, "--in"), std::pair(&outputs, "--out"),
                                     std::pair(&scalars, "--set"), std::pair(&shapes, "--shape")}) {
    if (!left->empty()) {
      return wrong(signature, fmt::format("{} {}: does not fit that parameter's kind", option, left->begin()->first));
    }
  }
  return binding;
}

Result<void> Binding::upload(Queue& queue) const {
  for (const Slot& slot : slots_) {
    if (slot.read) { HAL_CHECK(queue.copy(host(slot.array.bytes), slot.buffer)); }
  }
  return {};
}

Result<Point> Binding::download(Queue& queue) {
  for (Slot& slot : slots_) {
    if (!slot.out_path.empty()) { HAL_CHECK(queue.copy(slot.buffer, host(slot.array.bytes))); }
  }
  return queue.barrier();
}

Result<std::uint64_t> Binding::save() const {
  std::uint64_t written = 0;
  for (const Slot& slot : slots_) {
    if (slot.out_path.empty()) { continue; }
    HAL_TRY(const auto bytes, to_npy(slot.array.dtype == DType::bf16 ? converted(slot.array, DType::f32) : slot.array));
    HAL_CHECK(write_file(slot.out_path, bytes));
    ++written;
  }
  return written;
}

std::vector<std::string> Binding::summary() const {
  std::vector<std::string> lines;
  for (const Slot& slot : slots_) {
    if (slot.out_path.empty()) { continue; }
    lines.push_back(fmt::format("{} {}{} -> {}", slot.name, dtype_name(slot.array.dtype),
                                graph::print_shape(slot.array.shape), slot.out_path));
  }
  return lines;
}

}  // namespace hal::cli
