// SPDX-License-Identifier: Apache-2.0
#include "digits/npy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>
#include <system_error>

#include "graph/rules.hpp"
#include "graph/shape.hpp"
#include "text/file.hpp"

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
  if (at == std::string_view::npos || header.rfind(key) != at) { return std::nullopt; }
  at = header.find_first_not_of(": ", at + key.size());
  if (at == std::string_view::npos) { return std::nullopt; }
  const std::size_t end = header.find_first_of(ends, at);
  if (end == std::string_view::npos) { return std::nullopt; }
  return header.substr(at, end - at);
}

// For messages: a stranger's text, cut and without what a terminal would obey.
std::string excerpt(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 60)) { out += c >= 0x20 && c <= 0x7E ? c : '?'; }
  return text.size() > 60 ? out + "..." : out;
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

constexpr std::size_t kFirst = 12;                          // magic, version and the longest length of the header
constexpr std::size_t kMostHeader = std::size_t{1} << 20U;  // numpy itself writes some hundred bytes

struct Header {
  std::size_t start = 0, end = 0;  // of the dictionary
  hal::DType dtype{};
  hal::graph::Shape shape;
  std::size_t data_bytes = 0;
};

hal::Error fail(const std::string& name, hal_code code, std::size_t at, const std::string& what) {
  return hal::Error(code, fmt::format("{}, byte {}: {}", name, at, what));
}

// Where the dictionary lies, from the first kFirst bytes (or the whole, if it is shorter).
hal::Result<Header> locate(std::string_view text, const std::string& name) {
  if (!text.starts_with(kMagic)) { return fail(name, HAL_INVALID_IMAGE, 0, "magic is not \\x93NUMPY: no .npy file"); }
  const auto byte = [&](std::size_t i) { return std::size_t{static_cast<unsigned char>(text[i])}; };
  const std::size_t major = text.size() > 6 ? byte(6) : 0;
  if (major < 1 || major > 3) {
    return fail(name, HAL_INVALID_IMAGE, 6, fmt::format("version is {}, expected 1 to 3", major));
  }
  const std::size_t length_bytes = major == 1 ? 2 : 4;
  Header header;
  header.start = 8 + length_bytes;
  if (text.size() < header.start) {
    return fail(name, HAL_INVALID_IMAGE, text.size(), "the file ends inside its first fields");
  }
  std::size_t length = 0;
  for (std::size_t i = 0; i < length_bytes; ++i) { length |= byte(8 + i) << (8 * i); }
  if (length > kMostHeader) {
    return fail(name, HAL_INVALID_IMAGE, 8, fmt::format("header has {} bytes, the most is {}", length, kMostHeader));
  }
  header.end = header.start + length;
  return header;
}

// Reads the dictionary, which `text` must hold whole.
hal::Result<Header> read_header(std::string_view text, const std::string& name) {
  HAL_TRY(Header out, locate(text, name));
  const std::size_t start = out.start;
  if (out.end > text.size()) {
    return fail(name, HAL_INVALID_IMAGE, 8,
                fmt::format("header has {} bytes, {} are left", out.end - start, text.size() - start));
  }
  const std::string_view header = text.substr(start, out.end - start);
  const auto descr = value_of(header, "'descr'", ",}");
  const auto order = value_of(header, "'fortran_order'", ",}");
  const auto sizes = value_of(header, "'shape'", ")");
  if (!descr || !order || !sizes || !sizes->starts_with('(') || descr->size() < 2 || descr->front() != '\'' ||
      descr->back() != '\'') {
    return fail(name, HAL_INVALID_IMAGE, start,
                "header has not 'descr', 'fortran_order' and 'shape' once each as numpy writes them");
  }
  if (*order != "False") {
    return fail(name, HAL_UNSUPPORTED, start, fmt::format("fortran_order is {}, expected False", excerpt(*order)));
  }
  const std::optional<hal::DType> type = dtype_of(descr->substr(1, descr->size() - 2));
  if (!type) {
    return fail(name, HAL_UNSUPPORTED, start,
                fmt::format("descr is {}, which Halyard has no type for", excerpt(*descr)));
  }
  std::optional<hal::graph::Shape> shape = shape_of(sizes->substr(1));
  if (!shape) {
    return fail(name, HAL_INVALID_IMAGE, start, fmt::format("shape is {}), expected whole numbers", excerpt(*sizes)));
  }
  if (shape->size() > hal::graph::kMaxRank) {
    return fail(name, HAL_UNSUPPORTED, start,
                fmt::format("shape is {}), the most is {} dimensions", excerpt(*sizes), hal::graph::kMaxRank));
  }
  const std::optional<std::int64_t> bytes = hal::graph::byte_count(*type, *shape);
  if (!bytes) {
    return fail(name, HAL_INVALID_IMAGE, start,
                fmt::format("shape is {}), sizes begin at 1 and their product fits 63 bits", excerpt(*sizes)));
  }
  out.dtype = *type;
  out.shape = *std::move(shape);
  out.data_bytes = static_cast<std::size_t>(*bytes);
  return out;
}

hal::Error wrong_length(const Header& header, const std::string& name, const std::string& found) {
  return fail(name, HAL_INVALID_IMAGE, header.end,
              fmt::format("{} bytes follow the header, {} {} has {}", found, hal::dtype_name(header.dtype),
                          hal::graph::print_shape(header.shape), header.data_bytes));
}

}  // namespace

hal::Result<Array> parse_npy(std::span<const std::byte> bytes, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  HAL_TRY(Header header, read_header(text, name));
  const std::span<const std::byte> data = bytes.subspan(header.end);
  if (data.size() != header.data_bytes) { return wrong_length(header, name, fmt::format("{}", data.size())); }
  return Array{header.dtype, std::move(header.shape), {data.begin(), data.end()}};
}

hal::Result<Array> load_npy(const std::string& path) {
  const auto failed = [&](const char* what) {
    const int error = errno;
    return hal::Error(HAL_NOT_FOUND, fmt::format("{}: {}: {}", path, what, std::generic_category().message(error)));
  };
  const hal::text::File in = hal::text::open_to_read(path.c_str());
  if (!in) { return failed("cannot be opened for reading"); }
  // Only what the fields read so far announce is read, and memory grows with what has come: neither an endless device
  // nor a header that lies takes more than the file has.
  std::string text;
  const auto read_to = [&](std::size_t size) {
    constexpr std::size_t kPiece = std::size_t{1} << 20U;
    while (text.size() < size && std::feof(in.get()) == 0 && std::ferror(in.get()) == 0) {
      const std::size_t have = text.size();
      text.resize(have + std::min(size - have, kPiece));
      text.resize(have + std::fread(text.data() + have, 1, text.size() - have, in.get()));
    }
    return std::ferror(in.get()) == 0;
  };
  if (!read_to(kFirst)) { return failed("cannot be read"); }
  HAL_TRY(Header header, locate(text, path));
  if (!read_to(header.end)) { return failed("cannot be read"); }
  HAL_TRY(header, read_header(text, path));
  const std::size_t end = header.end + header.data_bytes;  // at most 2^63 / 8 and some: no overflow
  if (!read_to(end)) { return failed("cannot be read"); }
  if (text.size() < end) { return wrong_length(header, path, fmt::format("{}", text.size() - header.end)); }
  if (text.size() > end || std::fgetc(in.get()) != EOF) {
    return wrong_length(header, path, fmt::format("more than {}", header.data_bytes));
  }
  const auto data = std::as_bytes(std::span(text)).subspan(header.end);
  return Array{header.dtype, std::move(header.shape), {data.begin(), data.end()}};
}

}  // namespace digits
