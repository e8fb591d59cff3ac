// SPDX-License-Identifier: Apache-2.0
// The manifest: signatures as text, one line each, for formats whose bytes carry no types. docs/manifest.md has the
// grammar.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "core/signature.hpp"

namespace hal::core {
namespace {

constexpr std::size_t kMostEntries = 4096, kMostParams = 256, kMostConstants = 256,
                      kLongestText = std::size_t{1} << 20U;

Error bad_line(std::size_t line, const std::string& what) {
  return Error(HAL_INVALID_IMAGE, fmt::format("manifest line {}: {}", line, what));
}

class Words {
 public:
  explicit Words(std::string_view line) : rest_(line.substr(0, line.find('#'))) {}
  std::string_view next() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t' || rest_.front() == '\r')) {
      rest_.remove_prefix(1);
    }
    const std::size_t end = std::min(rest_.find_first_of(" \t\r"), rest_.size());
    const std::string_view word = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return word;
  }

 private:
  std::string_view rest_;
};

bool is_name(std::string_view text) {
  if (text.empty() || text.size() > 255) { return false; }
  for (const char c : text) {
    const bool fine =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '$';
    if (!fine) { return false; }
  }
  return true;
}

// One dimension of a tensor: a number, the name of a symbol, or -1 for a symbol that nothing else names.
struct Dim {
  std::int64_t extent = -1;
  std::string_view symbol;
};

bool dims_of(std::string_view text, std::vector<Dim>& out) {
  while (true) {
    const std::string_view word = text.substr(0, text.find(','));
    if (out.size() == 8) { return false; }
    Dim dim;
    const bool named = is_name(word) && !(word[0] >= '0' && word[0] <= '9');
    if (named) {
      dim.symbol = word;
    } else {
      const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), dim.extent);
      if (problem != std::errc{} || end != word.data() + word.size()) { return false; }
    }
    out.push_back(dim);
    if (word.size() == text.size()) { return true; }
    text.remove_prefix(word.size() + 1);
  }
}

// Comma-separated numbers, at most `most`; false on anything else.
template <class Number>
bool numbers(std::string_view text, std::size_t most, std::vector<Number>& out) {
  while (true) {
    Number value{};
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc{} || out.size() == most) { return false; }
    out.push_back(value);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (text.empty()) { return true; }
    if (text.front() != ',') { return false; }
    text.remove_prefix(1);
  }
}

bool dtype_of(std::string_view text, hal_dtype& out) {
  for (int i = HAL_F64; i <= HAL_U64; ++i) {
    if (text == name_of(static_cast<hal_dtype>(i))) {
      out = static_cast<hal_dtype>(i);
      return true;
    }
  }
  return false;
}

Result<void> entry_line(Words& words, std::size_t line, Signatures& out) {
  const std::string_view name = words.next(), kind = words.next();
  if (!is_name(name)) { return bad_line(line, "an entry needs a name of letters, digits, '_', '.' or '$'"); }
  if (kind != "kernel" && kind != "graph") { return bad_line(line, "an entry is a 'kernel' or a 'graph'"); }
  std::uint32_t ignored = 0;
  if (out.find(name, ignored) != nullptr) { return bad_line(line, fmt::format("entry '{}' is there twice", name)); }
  if (out.views().size() == kMostEntries) { return bad_line(line, fmt::format("more than {} entries", kMostEntries)); }
  hal_signature& entry = out.add(std::string(name), kind == "kernel" ? HAL_KERNEL : HAL_GRAPH);
  bool has_group = false, has_shared = false;
  for (std::string_view word = words.next(); !word.empty(); word = words.next()) {
    std::vector<std::uint32_t> group;
    std::vector<std::uint64_t> shared;
    if ((word.starts_with("group=") && std::exchange(has_group, true)) ||
        (word.starts_with("shared=") && std::exchange(has_shared, true))) {
      return bad_line(line, fmt::format("'{}' is the second of its kind for entry '{}'", word, name));
    }
    if (word.starts_with("group=") && numbers(word.substr(6), 3, group)) {
      if (std::ranges::find(group, 0U) != group.end()) {
        return bad_line(line, fmt::format("'{}': a group has at least 1 item along each axis", word));
      }
      for (std::size_t axis = 0; axis < 3; ++axis) { entry.group_size[axis] = axis < group.size() ? group[axis] : 1; }
    } else if (word.starts_with("shared=") && numbers(word.substr(7), 1, shared)) {
      entry.shared_bytes = shared[0];
    } else {
      return bad_line(line, fmt::format("'{}' is neither group=x[,y[,z]] nor shared=bytes", word));
    }
  }
  return {};
}

Result<void> param_line(std::string_view kind, Words& words, std::size_t line, Signatures& out) {
  if (out.views().empty()) { return bad_line(line, fmt::format("'{}' stands before the first entry", kind)); }
  if (out.views().back().param_count == kMostParams) {
    return bad_line(line, fmt::format("more than {} parameters", kMostParams));
  }
  const std::string_view name = words.next();
  if (!is_name(name)) { return bad_line(line, "a parameter needs a name"); }
  const hal_signature& entry = out.views().back();
  for (const hal_param& other : std::span(entry.params, entry.param_count)) {
    if (other.name == name) {
      return bad_line(line, fmt::format("entry '{}' has a parameter '{}' already", entry.name, name));
    }
  }
  hal_direction direction = HAL_IN;
  if (kind != "scalar") {
    const std::string_view word = words.next();
    if (word == "in") {
      direction = HAL_IN;
    } else if (word == "out") {
      direction = HAL_OUT;
    } else if (word == "inout") {
      direction = HAL_INOUT;
    } else {
      return bad_line(line, fmt::format("'{}' is no direction; use in, out or inout", word));
    }
  }
  hal_dtype dtype{};
  if (const std::string_view word = words.next(); !dtype_of(word, dtype)) {
    return bad_line(line, fmt::format("'{}' is no element type", word));
  }
  const std::string_view dims_text = words.next();
  std::vector<Dim> dims;
  const bool wants_dims = kind == "tensor";
  if (kind == "scalar" ? !dims_text.empty() : (wants_dims || !dims_text.empty()) && !dims_of(dims_text, dims)) {
    return bad_line(line, fmt::format("'{}' are no dimensions of a {}", dims_text, kind));
  }
  if (kind == "buffer" && (dims.size() > 1 || (!dims.empty() && dims[0].extent < 0))) {
    return bad_line(line,
                    fmt::format("'{}' are no elements of a buffer; only a tensor has dynamic dimensions, a buffer "
                                "without a number has any length",
                                dims_text));
  }
  std::uint64_t elements = kind == "buffer" && dims.empty() ? 0 : 1;
  bool dynamic = false;
  for (const Dim& dim : dims) {
    if (dim.extent == -1) {
      dynamic = true;
      continue;
    }
    if (dim.extent < 1 || elements > (std::uint64_t{1} << 48U) / static_cast<std::uint64_t>(dim.extent)) {
      return bad_line(line, fmt::format("dimension {} is out of range", dim.extent));
    }
    elements *= static_cast<std::uint64_t>(dim.extent);
  }
  if (!words.next().empty()) { return bad_line(line, "there is more on the line than a parameter has"); }
  hal_param& param = out.add_param(std::string(name));
  param.kind = kind == "scalar" ? HAL_PARAM_SCALAR : kind == "buffer" ? HAL_PARAM_BUFFER : HAL_PARAM_TENSOR;
  param.direction = direction;
  param.dtype = dtype;
  param.rank = static_cast<std::uint32_t>(dims.size());
  param.bytes = dynamic ? 0 : (elements * bits_of(dtype) + 7) / 8;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    param.dims[i] = dims[i].extent;
    if (dims[i].extent != -1) { continue; }
    const std::string own = fmt::format("{}.{}", name, i);
    param.symbols[i] = out.symbol(dims[i].symbol.empty() ? std::string_view(own) : dims[i].symbol);
    if (out.views().back().symbol_count > kMostSymbols) {
      return bad_line(line, fmt::format("more than {} different dynamic dimensions in one entry", kMostSymbols));
    }
  }
  return {};
}

// The value of a constant in its own type's bytes.
template <class Number>
bool value_of(std::string_view text, hal_constant& out) {
  Number value{};
  int base = 10;
  if constexpr (std::is_integral_v<Number>) {
    if (text.starts_with("0x")) {
      base = 16;
      text.remove_prefix(2);
    }
  }
  const auto [end, problem] = [&] {
    if constexpr (std::is_integral_v<Number>) {
      return std::from_chars(text.data(), text.data() + text.size(), value, base);
    } else {
      return std::from_chars(text.data(), text.data() + text.size(), value);
    }
  }();
  if (problem != std::errc{} || end != text.data() + text.size()) { return false; }
  out.size = sizeof value;
  std::memcpy(out.value, &value, sizeof value);
  return true;
}

bool constant_value(std::string_view text, hal_constant& out) {
  switch (out.dtype) {
    case HAL_F64:
      return value_of<double>(text, out);
    case HAL_F32:
      return value_of<float>(text, out);
    case HAL_I64:
      return value_of<std::int64_t>(text, out);
    case HAL_I32:
      return value_of<std::int32_t>(text, out);
    case HAL_I8:
      return value_of<std::int8_t>(text, out);
    case HAL_U8:
      return value_of<std::uint8_t>(text, out);
    case HAL_U32:
      return value_of<std::uint32_t>(text, out);
    case HAL_U64:
      return value_of<std::uint64_t>(text, out);
    case HAL_BOOL:
      out.size = 1;
      out.value[0] = text == "true" ? 1 : 0;
      return text == "true" || text == "false";
    default:
      return false;
  }
}

Result<void> constant_line(Words& words, std::size_t line, Signatures& out) {
  if (!out.views().empty()) {
    return bad_line(line, "a constant stands behind an entry; constants are the program's and come first");
  }
  if (out.constants().size() == kMostConstants) {
    return bad_line(line, fmt::format("more than {} constants", kMostConstants));
  }
  const std::string_view name = words.next(), type = words.next(), value = words.next();
  if (!is_name(name)) { return bad_line(line, "a constant needs a name of letters, digits, '_', '.' or '$'"); }
  for (const hal_constant& other : out.constants()) {
    if (other.name == name) { return bad_line(line, fmt::format("constant '{}' is there twice", name)); }
  }
  hal_constant made{};
  if (!dtype_of(type, made.dtype)) { return bad_line(line, fmt::format("'{}' is no element type", type)); }
  if (!constant_value(value, made)) {
    return bad_line(line, fmt::format("'{}' is no default for a constant of type {}; constants are f64, f32, i64, i32, "
                                      "i8, u64, u32, u8 or bool (true, false)",
                                      value, type));
  }
  if (!words.next().empty()) { return bad_line(line, "there is more on the line than a constant has"); }
  made.name = out.keep(std::string(name));
  out.constants().push_back(made);
  return {};
}

}  // namespace

Result<Signatures> parse_manifest(std::string_view text) {
  if (text.size() > kLongestText) {
    return Error(HAL_INVALID_IMAGE,
                 fmt::format("manifest has {} bytes; at most {} are read", text.size(), kLongestText));
  }
  Signatures out;
  for (std::size_t line = 1; !text.empty(); ++line) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    Words words(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view first = words.next();
    if (first.empty()) { continue; }
    if (first == "entry") {
      HAL_CHECK(entry_line(words, line, out));
    } else if (first == "scalar" || first == "buffer" || first == "tensor") {
      HAL_CHECK(param_line(first, words, line, out));
    } else if (first == "constant") {
      HAL_CHECK(constant_line(words, line, out));
    } else {
      return bad_line(line,
                      fmt::format("'{}' is none of constant, entry, scalar, buffer, tensor", first.substr(0, 40)));
    }
  }
  if (out.views().empty()) { return Error(HAL_INVALID_IMAGE, "manifest names no entry"); }
  return out;
}

}  // namespace hal::core
