// SPDX-License-Identifier: Apache-2.0
#include "core/bundle.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <string_view>

#include "core/annotation.hpp"
#include "graph/checksum.hpp"

namespace hal::core {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is little-endian");

constexpr char kMagic[8] = {'H', 'A', 'L', 'B', 'N', 'D', 'L', '\0'};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kAlignment = 64;
constexpr std::size_t kLongestFormat = 64;

struct Header {
  char magic[8];
  std::uint32_t version;
  std::uint32_t count;
  std::uint64_t bytes;     // of the whole file
  std::uint64_t checksum;  // of everything behind the header
};
struct Range {
  std::uint64_t offset;
  std::uint64_t bytes;
};
// Texts end in NUL, which their length counts. A manifest of {0, 0} is none.
struct Record {
  Range format, manifest, image;
};
static_assert(sizeof(Header) == 32 && sizeof(Record) == 48);

// Addresses of a process make no sense in a file, and would be believed by the process that reads it.
bool is_portable(std::string_view format) { return format != "host.functions"; }

Error damaged(const std::string& what) { return Error(HAL_INVALID_IMAGE, fmt::format("hal.bundle: {}", what)); }

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::uint32_t count)
      : bytes_(bytes), first_(sizeof(Header) + count * sizeof(Record)) {}

  Result<std::span<const std::byte>> range(const char* field, std::uint32_t i, const Range& range) const {
    if (range.offset < first_ || range.offset > bytes_.size() || range.bytes > bytes_.size() - range.offset) {
      return damaged(fmt::format("image {}: {} is {} of a file whose contents are bytes {} to {}", i, field,
                                 span_text(range.offset, range.bytes), first_, bytes_.size()));
    }
    return bytes_.subspan(range.offset, range.bytes);
  }
  Result<const char*> text(const char* field, std::uint32_t i, const Range& where) const {
    HAL_TRY(const auto bytes, range(field, i, where));
    const auto* chars = reinterpret_cast<const char*>(bytes.data());
    if (bytes.empty() || std::memchr(chars, 0, bytes.size()) != chars + bytes.size() - 1) {
      return damaged(
          fmt::format("image {}: {} at offset {} is no text that ends in its only NUL", i, field, where.offset));
    }
    return chars;
  }

 private:
  std::span<const std::byte> bytes_;
  std::uint64_t first_;
};

}  // namespace

Result<std::vector<std::byte>> write_bundle(std::span<const hal_image> images) {
  const auto bad = [](std::size_t i, const std::string& what) {
    return Error(HAL_INVALID_ARGUMENT, fmt::format("hal_bundle_create(): image {} {}", i, what));
  };
  if (images.empty() || images.size() > kMostImages) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("hal_bundle_create(): got {} images; a bundle has 1 to {}", images.size(), kMostImages));
  }
  std::vector<Record> records(images.size());
  std::vector<std::byte> out(sizeof(Header) + images.size() * sizeof(Record));
  const auto append = [&](const void* bytes, std::uint64_t size, std::uint64_t alignment) {
    out.resize((out.size() + alignment - 1) / alignment * alignment);
    const Range range{out.size(), size};
    const auto* first = static_cast<const std::byte*>(bytes);
    out.insert(out.end(), first, first + size);
    return range;
  };
  for (std::size_t i = 0; i < images.size(); ++i) {
    const hal_image& image = images[i];
    if (image.format == nullptr || *image.format == '\0' || std::strlen(image.format) >= kLongestFormat) {
      return bad(i, "has no format, or a name of more than 63 characters");
    }
    if (std::string_view(image.format) == "hal.bundle") { return bad(i, "is a bundle itself"); }
    if (!is_portable(image.format)) {
      return bad(i, fmt::format("is of format '{}', which holds addresses of this process", image.format));
    }
    if (image.bytes == nullptr || image.size == 0) { return bad(i, fmt::format("('{}') has no bytes", image.format)); }
    if (image.size > kMostBytes) {
      return bad(i, fmt::format("('{}') has {} bytes; the most is {}", image.format, image.size, kMostBytes));
    }
    if (image.constant_count != 0) {
      return bad(i, fmt::format("('{}') has constants; give them when the bundle is loaded", image.format));
    }
    records[i].format = append(image.format, std::strlen(image.format) + 1, 1);
    if (image.manifest != nullptr) { records[i].manifest = append(image.manifest, std::strlen(image.manifest) + 1, 1); }
    records[i].image = append(image.bytes, image.size, kAlignment);
  }
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.count = static_cast<std::uint32_t>(images.size());
  header.bytes = out.size();
  std::memcpy(out.data() + sizeof header, records.data(), records.size() * sizeof(Record));
  header.checksum = graph::checksum(std::span(out).subspan(sizeof header));
  std::memcpy(out.data(), &header, sizeof header);
  return out;
}

Result<std::vector<hal_image>> read_bundle(std::span<const std::byte> bytes) {
  Header header{};
  if (bytes.size() < sizeof header) {
    return damaged(fmt::format("the file has {} bytes, its header alone {}", bytes.size(), sizeof header));
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) { return damaged("magic at offset 0 is not HALBNDL"); }
  if (header.version != kVersion) {
    return Error(HAL_INCOMPATIBLE,
                 fmt::format("hal.bundle: version at offset 8 is {}, this library reads {}", header.version, kVersion));
  }
  if (header.count == 0 || header.count > kMostImages) {
    return damaged(fmt::format("count at offset 12 is {}, expected 1 to {}", header.count, kMostImages));
  }
  if (header.bytes != bytes.size()) {
    return damaged(fmt::format("bytes at offset 16 is {}, the file has {}", header.bytes, bytes.size()));
  }
  if (bytes.size() < sizeof header + header.count * sizeof(Record)) {
    return damaged(
        fmt::format("the file has {} bytes and ends inside its table of {} images", bytes.size(), header.count));
  }
  if (const std::uint64_t found = graph::checksum(bytes.subspan(sizeof header)); found != header.checksum) {
    return damaged(fmt::format("checksum at offset 24 is {:#x}, the contents have {:#x}", header.checksum, found));
  }
  std::vector<hal_image> images(header.count);
  const Reader reader(bytes, header.count);
  for (std::uint32_t i = 0; i < header.count; ++i) {
    Record record{};
    std::memcpy(&record, bytes.data() + sizeof header + i * sizeof record, sizeof record);
    hal_image& image = images[i];
    HAL_TRY(image.format, reader.text("format", i, record.format));
    const std::string_view format = image.format;
    if (format.empty() || format.size() >= kLongestFormat || format == "hal.bundle" || !is_portable(format)) {
      return damaged(
          fmt::format("image {}: '{}' is no format that a bundle may hold", i, format.substr(0, kLongestFormat)));
    }
    if (record.manifest.offset != 0 || record.manifest.bytes != 0) {
      HAL_TRY(image.manifest, reader.text("manifest", i, record.manifest));
    }
    HAL_TRY(const auto contents, reader.range("image", i, record.image));
    if (contents.empty() || record.image.offset % kAlignment != 0) {
      return damaged(fmt::format("image {}: its bytes at offset {} are empty or not aligned to {}", i,
                                 record.image.offset, kAlignment));
    }
    image.bytes = contents.data();
    image.size = contents.size();
  }
  return images;
}

}  // namespace hal::core
