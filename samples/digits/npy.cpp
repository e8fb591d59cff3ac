// SPDX-License-Identifier: Apache-2.0
#include "digits/npy.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>

#include "graph/shape.hpp"

namespace digits {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

std::optional<hal::DType> dtype_of(std::string_view descr) {
  using hal::DType;
  constexpr std::array<std::pair<std::string_view, DType>, 10> kTypes{{{"<f8", DType::f64},
                                                                       {"<f4", DType::f32},
                                                                       {"<f2", DType::f16},
                                                                       {"<i8", DType::i64},
                                                                       {"<i4", DType::i32},
                                                                       {"|i1", DType::i8},
                                                                       {"|u1", DType::u8},
                                                                       {"<u4", DType::u32},
                                                                       {"<u8", DType::u64},
                                                                       {"|b1", DType::boolean}}};
  for (const auto& [name, type] : kTypes) {
    if (descr == name) { return type; }
  }
  return std::nullopt;
}

// The text between `key` and the first of `ends`, without blanks around it: enough for the one dictionary that numpy
// writes, whose values hold no quotes or nested braces.
std::optional<std::string_view> value_of(std::string_view header, std::string_view key, std::string_view ends) {
  std::size_t at = header.find(key);
  if (at == std::string_view::npos) { return std::nullopt; }
  at = header.find_first_not_of(": ", at + key.size());
  if (at == std::string_view::npos) { return std::nullopt; }
  const std::size_t end = header.find_first_of(ends, at);
  if (end == std::string_view::npos) { return std::nullopt; }
  return header.substr(at, end - at);
}

// "1797, 8, 8" or "10," or "" as sizes.
std::optional<hal::graph::Shape> shape_of(std::string_view text) {
  hal::graph::Shape shape;
  while (true) {
    const std::size_t at = text.find_first_not_of(", ");
    if (at == std::string_view::npos) { return shape; }
    text.remove_prefix(at);
    std::int64_t size = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), size);
    if (status != std::errc{} || shape.size() > hal::graph::kMaxRank) { return std::nullopt; }
    shape.push_back(size);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (!text.empty() && text.front() != ',') { return std::nullopt; }
  }
}

}  // namespace

hal::Result<Array> parse_npy(std::span<const std::byte> bytes, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto fail = [&](hal_code code, std::size_t at, const std::string& what) {
    return hal::Error(code, fmt::format("{}, byte {}: {}", name, at, what));
  };
  if (!text.starts_with(kMagic)) { return fail(HAL_INVALID_IMAGE, 0, "magic is not \\x93NUMPY: no .npy file"); }
  const auto byte = [&](std::size_t i) { return std::to_integer<std::size_t>(bytes[i]); };
  const std::size_t major = text.size() > 6 ? byte(6) : 0;
  if (major < 1 || major > 3) {
    return fail(HAL_INVALID_IMAGE, 6, fmt::format("version is {}, expected 1 to 3", major));
  }
  const std::size_t length_bytes = major == 1 ? 2 : 4;
  const std::size_t start = 8 + length_bytes;
  if (text.size() < start) { return fail(HAL_INVALID_IMAGE, text.size(), "the file ends inside its first fields"); }
  std::size_t length = 0;
  for (std::size_t i = 0; i < length_bytes; ++i) { length |= byte(8 + i) << (8 * i); }
  if (length > text.size() - start) {
    return fail(HAL_INVALID_IMAGE, 8, fmt::format("header has {} bytes, {} are left", length, text.size() - start));
  }
  const std::string_view header = text.substr(start, length);
  const auto descr = value_of(header, "'descr'", ",}");
  const auto order = value_of(header, "'fortran_order'", ",}");
  const auto sizes = value_of(header, "'shape'", ")");
  if (!descr || !order || !sizes || !sizes->starts_with('(') || descr->size() < 2 || descr->front() != '\'' ||
      descr->back() != '\'') {
    return fail(HAL_INVALID_IMAGE, start, "header has no 'descr', 'fortran_order' and 'shape' as numpy writes them");
  }
  if (*order != "False") {
    return fail(HAL_UNSUPPORTED, start, fmt::format("fortran_order is {}, expected False", *order));
  }
  const std::optional<hal::DType> type = dtype_of(descr->substr(1, descr->size() - 2));
  if (!type) { return fail(HAL_UNSUPPORTED, start, fmt::format("descr is {}, which Halyard has no type for", *descr)); }
  std::optional<hal::graph::Shape> shape = shape_of(sizes->substr(1));
  if (!shape) { return fail(HAL_INVALID_IMAGE, start, fmt::format("shape is {}), expected whole numbers", *sizes)); }
  if (shape->size() > hal::graph::kMaxRank) {
    return fail(HAL_UNSUPPORTED, start, fmt::format("shape is {}), the most is 8 dimensions", *sizes));
  }
  const std::optional<std::int64_t> expected = hal::graph::byte_count(*type, *shape);
  const std::size_t found = text.size() - start - length;
  if (!expected || static_cast<std::uint64_t>(*expected) != found) {
    return fail(HAL_INVALID_IMAGE, start + length,
                fmt::format("{} bytes follow the header, {} of shape {}) has {}", found, *descr, *sizes,
                            expected ? fmt::format("{}", *expected) : "no valid size"));
  }
  const std::span<const std::byte> data = bytes.subspan(start + length);
  return Array{*type, *std::move(shape), {data.begin(), data.end()}};
}

hal::Result<Array> load_npy(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) { return hal::Error(HAL_NOT_FOUND, fmt::format("{}: cannot be opened for reading", path)); }
  const std::string content{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) { return hal::Error(HAL_NOT_FOUND, fmt::format("{}: reading failed", path)); }
  return parse_npy(std::as_bytes(std::span(content)), path);
}

}  // namespace digits
