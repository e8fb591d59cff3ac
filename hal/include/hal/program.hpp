// SPDX-License-Identifier: Apache-2.0
// Loaded images with typed entries, arguments, grids, and recorded lists of commands.
#pragma once

#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "hal/buffer.hpp"

namespace hal {

using Signature = hal_signature;
using Verdict = hal_verdict;

// A program in some format. The views must live until check() or load() returns.
struct Image {
  const char* format;
  std::span<const std::byte> bytes;
  const char* manifest = nullptr;  // hal.graph, hal.bundle and hal.program take none
  std::span<const hal_constant> constants = {};

  hal_image c() const { return {format, bytes.data(), bytes.size(), manifest, constants.data(), constants.size()}; }
};

// The element type of a C++ number; there is none for 16 and 128 bits.
template <class T>
  requires std::is_arithmetic_v<T>
constexpr hal_dtype dtype_of() {
  if constexpr (std::is_same_v<T, bool>) {
    return HAL_BOOL;
  } else if constexpr (std::is_floating_point_v<T>) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "f32 and f64 are the C++ numbers with an element type");
    return sizeof(T) == 8 ? HAL_F64 : HAL_F32;
  } else {
    static_assert(sizeof(T) == 1 || sizeof(T) == 4 || sizeof(T) == 8, "there is no 16-bit integer element type");
    if constexpr (std::is_signed_v<T>) { return sizeof(T) == 1 ? HAL_I8 : sizeof(T) == 4 ? HAL_I32 : HAL_I64; }
    return sizeof(T) == 1 ? HAL_U8 : sizeof(T) == 4 ? HAL_U32 : HAL_U64;
  }
}

// A value for a specialisation constant; its type must be the one that the manifest declares. `name` must live as long
// as the image that uses it.
template <class T>
  requires std::is_arithmetic_v<T>
hal_constant constant(const char* name, T value) {
  hal_constant made{name, dtype_of<T>(), sizeof(T), {}};
  std::memcpy(made.value, &value, sizeof value);
  return made;
}

struct Grid : hal_grid {
  explicit Grid(std::uint32_t x, std::uint32_t y = 1, std::uint32_t z = 1) : hal_grid{{x, y, z}, {0, 0, 0}, 0} {}
  Grid& group(std::uint32_t x, std::uint32_t y = 1, std::uint32_t z = 1) {
    group_size[0] = x, group_size[1] = y, group_size[2] = z;
    return *this;
  }
  Grid& shared(std::uint32_t bytes) {
    shared_bytes = bytes;
    return *this;
  }
};

// One argument of a run: a buffer or slice, or a number.
struct Arg : hal_arg {
  Arg(const Buffer& buffer) : Arg(buffer.all()) {}           // NOLINT: {n, x, y} must read so
  Arg(Slice slice) : hal_arg{HAL_ARG_BUFFER, 0, {slice}} {}  // NOLINT
  template <class T>
    requires std::is_arithmetic_v<T>
  Arg(T number) : hal_arg{HAL_ARG_SCALAR, sizeof(T), {}} {  // NOLINT
    std::memcpy(value.scalar, &number, sizeof number);
  }
};

// The extent of a dynamic dimension, behind the arguments of a run.
inline Arg extent(std::int64_t value) { return Arg(value); }

// A scalar that each replay of a recording reads from host memory: hal::host(value) in its table of slots.
template <class T>
  requires std::is_arithmetic_v<T>
Arg scalar_slot(std::uint32_t number, std::uint64_t offset = 0) {
  Arg arg{T{}};
  arg.kind = HAL_ARG_SLOT;
  arg.value.slice = hal_slot(number, offset, sizeof(T));
  return arg;
}

class Program;

// One entry of a program; keeps the program alive.
class Entry {
 public:
  Entry() = default;
  hal_program* program() const { return program_.get(); }
  std::uint32_t index() const { return index_; }
  const Signature& signature() const { return *signature_; }

 private:
  friend class Program;
  Entry(Handle<hal_program> program, std::uint32_t index)
      : program_(std::move(program)), signature_(hal_program_signature(program_.get(), index)), index_(index) {}
  Handle<hal_program> program_;
  const Signature* signature_ = nullptr;
  std::uint32_t index_ = 0;
};

class Program : public Handle<hal_program> {
 public:
  using Handle::Handle;
  std::uint32_t size() const { return hal_program_entry_count(get()); }
  // Errors: NOT_FOUND  with the names that exist.
  Result<Entry> entry(const std::string& name) const {
    std::uint32_t index = 0;
    HAL_CHECK(check(hal_program_entry(get(), name.c_str(), &index)));
    return Entry(*this, index);
  }
  // Entry i, which must be below size().
  Entry entry(std::uint32_t i) const { return {*this, i}; }
  // An image of the format "hal.program". Errors: UNSUPPORTED.
  Result<std::vector<std::byte>> serialize() const {
    void* bytes = nullptr;
    std::uint64_t size = 0;
    HAL_CHECK(check(hal_program_serialize(get(), &bytes, &size)));
    const auto* first = static_cast<const std::byte*>(bytes);
    std::vector<std::byte> out(first, first + size);
    hal_free_bytes(bytes);
    return out;
  }
  // The specialisation constants with the values that this program was loaded with.
  std::vector<hal_constant> constants() const {
    std::vector<hal_constant> all;
    for (hal_constant each{}; hal_program_constant(get(), static_cast<std::uint32_t>(all.size()), &each) != 0;) {
      all.push_back(each);
    }
    return all;
  }
};

// Several images in one, of the format "hal.bundle". Errors: INVALID_ARGUMENT.
inline Result<std::vector<std::byte>> bundle(std::span<const Image> images) {
  std::vector<hal_image> all;
  for (const Image& image : images) { all.push_back(image.c()); }
  void* bytes = nullptr;
  std::uint64_t size = 0;
  HAL_CHECK(check(hal_bundle_create(all.data(), static_cast<std::uint32_t>(all.size()), &bytes, &size)));
  const auto* first = static_cast<const std::byte*>(bytes);
  std::vector<std::byte> out(first, first + size);
  hal_free_bytes(bytes);
  return out;
}

}  // namespace hal
