// SPDX-License-Identifier: Apache-2.0
// The manifest: signatures as text, one line each, for formats whose bytes carry no types. docs/manifest.md has the
// grammar.
#include <fmt/format.h>

#include <charconv>

#include "core/signature.hpp"

namespace hal::core {
namespace {

constexpr std::size_t kMostEntries = 4096, kMostParams = 256, kLongestText = std::size_t{1} << 20U;

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
  for (std::string_view word = words.next(); !word.empty(); word = words.next()) {
    std::vector<std::uint32_t> group;
    std::vector<std::uint64_t> shared;
    if (word.starts_with("group=") && numbers(word.substr(6), 3, group)) {
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
  std::vector<std::int64_t> dims;
  const bool wants_dims = kind == "tensor";
  if (kind == "scalar" ? !dims_text.empty()
                       : (wants_dims || !dims_text.empty()) && !numbers(dims_text, wants_dims ? 8 : 1, dims)) {
    return bad_line(line, fmt::format("'{}' are no dimensions of a {}", dims_text, kind));
  }
  std::uint64_t elements = kind == "buffer" && dims.empty() ? 0 : 1;
  for (const std::int64_t dim : dims) {
    if (dim < 1 || elements > (std::uint64_t{1} << 48U) / static_cast<std::uint64_t>(dim)) {
      return bad_line(line, fmt::format("dimension {} is out of range", dim));
    }
    elements *= static_cast<std::uint64_t>(dim);
  }
  if (!words.next().empty()) { return bad_line(line, "there is more on the line than a parameter has"); }
  hal_param& param = out.add_param(std::string(name));
  param.kind = kind == "scalar" ? HAL_PARAM_SCALAR : kind == "buffer" ? HAL_PARAM_BUFFER : HAL_PARAM_TENSOR;
  param.direction = direction;
  param.dtype = dtype;
  param.rank = static_cast<std::uint32_t>(dims.size());
  for (std::size_t i = 0; i < dims.size(); ++i) { param.dims[i] = dims[i]; }
  param.bytes = (elements * bits_of(dtype) + 7) / 8;
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
    } else {
      return bad_line(line, fmt::format("'{}' is none of entry, scalar, buffer, tensor", first.substr(0, 40)));
    }
  }
  if (out.views().empty()) { return Error(HAL_INVALID_IMAGE, "manifest names no entry"); }
  return out;
}

}  // namespace hal::core
