// SPDX-License-Identifier: Apache-2.0
#include "core/compiled.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace hal::core {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is little-endian");

constexpr char kMagic[8] = {'H', 'A', 'L', 'P', 'R', 'O', 'G', '\0'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kAlignment = 64, kLongestText = 4096, kMostEntries = 4096, kMostParams = 256,
                      kMostConstants = 256;
constexpr std::int64_t kMostElements = std::int64_t{1} << 48U;

struct Header {
  char magic[8];
  std::uint32_t version;
  std::uint32_t reserved;
  std::uint64_t bytes;  // of the whole file
  std::uint64_t reserved_too;
  Digest digest;  // of everything behind the header
};
static_assert(sizeof(Header) == 64);

class Writer {
 public:
  std::vector<std::byte> bytes = std::vector<std::byte>(sizeof(Header));

  template <class T>
  void number(T value) {
    const auto* first = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), first, first + sizeof value);
  }
  void text(std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    const auto* first = reinterpret_cast<const std::byte*>(value.data());
    bytes.insert(bytes.end(), first, first + value.size());
  }
};

Error damaged(std::size_t offset, const std::string& what) {
  return Error(HAL_INVALID_IMAGE, fmt::format("hal.program: offset {}: {}", offset, what));
}

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::size_t offset() const { return offset_; }
  Error bad(const std::string& what) const { return damaged(offset_, what); }

  template <class T>
  Result<T> number(const char* field) {
    T value{};
    HAL_TRY(const auto found, take(field, sizeof value));
    std::memcpy(&value, found.data(), sizeof value);
    return value;
  }
  // A number in [least, most].
  template <class T>
  Result<T> number(const char* field, T least, T most) {
    const std::size_t at = offset_;
    HAL_TRY(const T value, number<T>(field));
    if (value < least || value > most) {
      return damaged(at, fmt::format("{} is {}, expected {} to {}", field, value, least, most));
    }
    return value;
  }
  Result<std::string> text(const char* field) {
    HAL_TRY(const auto size, number<std::uint32_t>(field, 0, kLongestText));
    const std::size_t at = offset_;
    HAL_TRY(const auto found, take(field, size));
    std::string value(reinterpret_cast<const char*>(found.data()), found.size());
    if (value.find('\0') != std::string::npos) { return damaged(at, fmt::format("{} holds a NUL", field)); }
    return value;
  }
  Result<std::span<const std::byte>> take(const char* field, std::uint64_t size) {
    if (size > bytes_.size() - offset_) {
      return bad(fmt::format("{} has {} bytes, the file {} more", field, size, bytes_.size() - offset_));
    }
    const auto found = bytes_.subspan(offset_, size);
    offset_ += size;
    return found;
  }
  Result<void> align() {
    const std::size_t to = (offset_ + kAlignment - 1) / kAlignment * kAlignment;
    HAL_TRY([[maybe_unused]] const auto padding, take("padding", to - offset_));
    return {};
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t offset_ = sizeof(Header);
};

void write_param(Writer& out, const hal_param& param) {
  out.text(param.name);
  for (const std::uint32_t value : {static_cast<std::uint32_t>(param.kind), static_cast<std::uint32_t>(param.direction),
                                    static_cast<std::uint32_t>(param.dtype), param.rank}) {
    out.number(value);
  }
  out.number(param.bytes);
  for (std::uint32_t axis = 0; axis < param.rank; ++axis) {
    out.number(param.dims[axis]);
    out.number(static_cast<std::uint32_t>(param.symbols[axis]));
  }
}

Result<void> read_param(Reader& in, std::uint32_t symbols, Signatures& out) {
  HAL_TRY(std::string name, in.text("a parameter's name"));
  hal_param& param = out.add_param(std::move(name));
  HAL_TRY(const auto kind, in.number<std::uint32_t>("kind", HAL_PARAM_SCALAR, HAL_PARAM_TENSOR));
  HAL_TRY(const auto direction, in.number<std::uint32_t>("direction", HAL_IN, HAL_INOUT));
  HAL_TRY(const auto dtype, in.number<std::uint32_t>("dtype", HAL_F64, HAL_U64));
  param.kind = static_cast<hal_param_kind>(kind);
  param.direction = static_cast<hal_direction>(direction);
  param.dtype = static_cast<hal_dtype>(dtype);
  // A scalar is one value: what is larger would not fit into an argument.
  HAL_TRY(param.rank, in.number<std::uint32_t>("rank", 0, param.kind == HAL_PARAM_SCALAR ? 0 : 8));
  HAL_TRY(param.bytes, in.number<std::uint64_t>("bytes", 0, std::uint64_t{1} << 52U));
  std::int64_t elements = 1;
  bool dynamic = false;
  for (std::uint32_t axis = 0; axis < param.rank; ++axis) {
    HAL_TRY(param.dims[axis], in.number<std::int64_t>("a dimension", -1, kMostElements));
    HAL_TRY(const auto symbol, in.number<std::uint32_t>("a symbol", 0, kMostSymbols));
    param.symbols[axis] = static_cast<std::uint8_t>(symbol);
    if (param.dims[axis] == -1) {
      if (param.kind != HAL_PARAM_TENSOR || symbol >= symbols) { return in.bad("a dimension names no symbol"); }
      dynamic = true;
    } else if (__builtin_mul_overflow(elements, param.dims[axis], &elements) || elements > kMostElements) {
      return in.bad("a parameter has too many elements");
    }
  }
  // Whoever trusts a signature trusts its lengths, so they are what the dimensions say.
  const std::uint64_t bytes = (static_cast<std::uint64_t>(elements) * bits_of(param.dtype) + 7) / 8;
  const bool any = param.kind == HAL_PARAM_BUFFER && param.rank == 0;
  if (any ? param.bytes != 0 : param.bytes != (dynamic ? 0 : bytes)) {
    return in.bad(fmt::format("a parameter's bytes are {}, its dimensions say {}", param.bytes, dynamic ? 0 : bytes));
  }
  return {};
}

void write_signatures(Writer& out, const Signatures& signatures) {
  out.number(static_cast<std::uint32_t>(signatures.constants().size()));
  for (const hal_constant& constant : signatures.constants()) {
    out.text(constant.name);
    out.number(static_cast<std::uint32_t>(constant.dtype));
    out.number(constant.size);
    for (const unsigned char byte : constant.value) { out.number(byte); }
  }
  out.number(static_cast<std::uint32_t>(signatures.views().size()));
  for (const hal_signature& entry : signatures.views()) {
    out.text(entry.name);
    out.number(static_cast<std::uint32_t>(entry.kind));
    for (const std::uint32_t size : entry.group_size) { out.number(size); }
    out.number(entry.shared_bytes);
    out.number(entry.symbol_count);
    for (std::uint32_t s = 0; s < entry.symbol_count; ++s) { out.text(entry.symbols[s]); }
    out.number(entry.param_count);
    for (std::uint32_t i = 0; i < entry.param_count; ++i) { write_param(out, entry.params[i]); }
  }
}

Result<void> read_signatures(Reader& in, Signatures& out) {
  HAL_TRY(const auto constants, in.number<std::uint32_t>("the count of constants", 0, kMostConstants));
  for (std::uint32_t i = 0; i < constants; ++i) {
    hal_constant constant{};
    HAL_TRY(std::string name, in.text("a constant's name"));
    HAL_TRY(const auto dtype, in.number<std::uint32_t>("dtype", HAL_F64, HAL_U64));
    HAL_TRY(constant.size, in.number<std::uint32_t>("size", 1, 8));
    HAL_TRY(const auto value, in.take("a constant's value", sizeof constant.value));
    constant.name = out.keep(std::move(name));
    constant.dtype = static_cast<hal_dtype>(dtype);
    std::memcpy(constant.value, value.data(), sizeof constant.value);
    out.constants().push_back(constant);
  }
  HAL_TRY(const auto entries, in.number<std::uint32_t>("the count of entries", 1, kMostEntries));
  for (std::uint32_t i = 0; i < entries; ++i) {
    HAL_TRY(std::string name, in.text("an entry's name"));
    HAL_TRY(const auto kind, in.number<std::uint32_t>("kind", HAL_KERNEL, HAL_GRAPH));
    hal_signature& entry = out.add(std::move(name), static_cast<hal_entry_kind>(kind));
    for (std::uint32_t& size : entry.group_size) { HAL_TRY(size, in.number<std::uint32_t>("a group size")); }
    HAL_TRY(entry.shared_bytes, in.number<std::uint64_t>("shared bytes"));
    HAL_TRY(const auto symbols, in.number<std::uint32_t>("the count of symbols", 0, kMostSymbols));
    for (std::uint32_t s = 0; s < symbols; ++s) {
      HAL_TRY(const std::string symbol, in.text("a symbol's name"));
      out.add_symbol(symbol);
    }
    HAL_TRY(const auto params, in.number<std::uint32_t>("the count of parameters", 0, kMostParams));
    for (std::uint32_t p = 0; p < params; ++p) { HAL_CHECK(read_param(in, symbols, out)); }
  }
  return {};
}

}  // namespace

std::vector<std::byte> write_compiled(const std::string& identity, const Digest& source, const Signatures& signatures,
                                      std::span<const std::byte> payload) {
  Writer out;
  out.text(identity);
  out.bytes.insert(out.bytes.end(), source.begin(), source.end());
  write_signatures(out, signatures);
  out.number(static_cast<std::uint64_t>(payload.size()));
  out.bytes.resize((out.bytes.size() + kAlignment - 1) / kAlignment * kAlignment);
  out.bytes.insert(out.bytes.end(), payload.begin(), payload.end());
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.bytes = out.bytes.size();
  header.digest = sha256(std::span(out.bytes).subspan(sizeof header));
  std::memcpy(out.bytes.data(), &header, sizeof header);
  return std::move(out.bytes);
}

Result<Compiled> read_compiled(std::span<const std::byte> bytes) {
  Header header{};
  if (bytes.size() < sizeof header) {
    return damaged(0, fmt::format("the file has {} bytes, its header alone {}", bytes.size(), sizeof header));
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) { return damaged(0, "the magic is not HALPROG"); }
  if (header.version != kVersion) {
    return Error(HAL_INCOMPATIBLE, fmt::format("hal.program: version at offset 8 is {}, this library reads {}",
                                               header.version, kVersion));
  }
  if (header.reserved != 0 || header.reserved_too != 0) { return damaged(12, "reserved bytes are not 0"); }
  if (header.bytes != bytes.size()) {
    return damaged(16, fmt::format("bytes is {}, the file has {}", header.bytes, bytes.size()));
  }
  if (sha256(bytes.subspan(sizeof header)) != header.digest) { return damaged(32, "the digest is not the contents'"); }
  Reader in(bytes);
  Compiled out;
  HAL_TRY(out.identity, in.text("the identity"));
  HAL_TRY(const auto source, in.take("the source", out.source.size()));
  std::memcpy(out.source.data(), source.data(), out.source.size());
  HAL_CHECK(read_signatures(in, out.signatures));
  HAL_TRY(const auto size, in.number<std::uint64_t>("the payload's size", 1, bytes.size()));
  HAL_CHECK(in.align());
  if (size != bytes.size() - in.offset()) {
    return in.bad(fmt::format("the payload has {} bytes, the file {} more", size, bytes.size() - in.offset()));
  }
  HAL_TRY(out.payload, in.take("the payload", size));
  return out;
}

}  // namespace hal::core
