// SPDX-License-Identifier: Apache-2.0
#include "cli/files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "text/file.hpp"

namespace hal::cli {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

const char* npy_type(DType type) {
  switch (type) {
    case DType::f64:
      return "<f8";
    case DType::f32:
      return "<f4";
    case DType::f16:
      return "<f2";
    case DType::i64:
      return "<i8";
    case DType::i32:
      return "<i4";
    case DType::i8:
      return "|i1";
    case DType::u8:
      return "|u1";
    case DType::u32:
      return "<u4";
    case DType::u64:
      return "<u8";
    case DType::boolean:
      return "|b1";
    default:
      return nullptr;
  }
}

}  // namespace

Result<std::vector<std::byte>> read_file(const std::string& path, std::size_t most) {
  const text::File file = text::open_to_read(path.c_str());
  if (!file) { return Error(HAL_NOT_FOUND, fmt::format("{} cannot be opened: {}", path, reason(errno))); }
  // What is no plain file may have no end: a device or a pipe is given less room than a file that lies there whole.
  std::error_code ignored;
  const bool plain = std::filesystem::is_regular_file(path, ignored);
  const std::size_t room = plain ? most : std::min(most, std::size_t{1} << 28U);
  std::vector<std::byte> bytes;
  std::size_t size = 0;
  do {
    if (size > room) {
      return Error(HAL_OUT_OF_RANGE, fmt::format("{} gives more than {} bytes{}", path, room,
                                                 plain ? "" : " and is no plain file; copy what is meant into one"));
    }
    bytes.resize(size + (std::size_t{1} << 20U));
    const std::size_t got = std::fread(bytes.data() + size, 1, bytes.size() - size, file.get());
    if (got == 0 && std::ferror(file.get()) != 0) {
      return Error(HAL_NOT_FOUND, fmt::format("{} cannot be read: {}", path, reason(errno)));
    }
    size += got;
  } while (std::feof(file.get()) == 0);
  bytes.resize(size);
  return bytes;
}

Result<void> write_file(const std::string& path, std::span<const std::byte> bytes) {
  // A rename would put a plain file where a device or a pipe was: those are written to as they are.
  std::error_code ignored;
  const auto kind = std::filesystem::status(path, ignored).type();
  const bool in_place = kind != std::filesystem::file_type::regular && kind != std::filesystem::file_type::not_found;
  const std::string draft = in_place ? path : path + ".part";
  const auto fail = [&](int error) {
    if (!in_place) { (void)std::remove(draft.c_str()); }
    return Error(HAL_UNAVAILABLE, fmt::format("{} cannot be written: {}", path, reason(error)));
  };
  text::File file(std::fopen(draft.c_str(), "wb"));
  if (!file) { return fail(errno); }
  if (std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) { return fail(errno); }
  if (std::fclose(file.release()) != 0) { return fail(errno); }
  if (!in_place && std::rename(draft.c_str(), path.c_str()) != 0) { return fail(errno); }
  return {};
}

Result<std::vector<std::byte>> to_npy(const digits::Array& array) {
  const char* type = npy_type(array.dtype);
  if (type == nullptr) {
    return Error(HAL_UNSUPPORTED, fmt::format("numpy has no type for {}", dtype_name(array.dtype)));
  }
  std::string shape;
  for (const std::int64_t size : array.shape) { shape += fmt::format("{},", size); }
  if (array.shape.size() > 1) { shape.pop_back(); }  // numpy writes (2, 3) and (2,)
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", type, shape);
  constexpr std::size_t kFixed = 10;  // magic, version, length of the header
  header.append(63 - (kFixed + header.size()) % 64, ' ');
  header += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() & 0xFFU);
  out += static_cast<char>(header.size() >> 8U);
  out += header;
  std::vector<std::byte> bytes(out.size() + array.bytes.size());
  std::memcpy(bytes.data(), out.data(), out.size());
  if (!array.bytes.empty()) { std::memcpy(bytes.data() + out.size(), array.bytes.data(), array.bytes.size()); }
  return bytes;
}

}  // namespace hal::cli
