// SPDX-License-Identifier: Apache-2.0
// Loaded images with typed entries, arguments, grids, and recorded lists of commands.
#pragma once

#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "hal/buffer.hpp"

namespace hal {

using Signature = hal_signature;
using Verdict = hal_verdict;

// A program in some format. The views must live until check() or load() returns.
struct Image {
  const char* format;
  std::span<const std::byte> bytes;
  const char* manifest = nullptr;  // hal.graph needs none

  hal_image c() const { return {format, bytes.data(), bytes.size(), manifest}; }
};

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

class Program;

// One entry of a program; keeps the program alive.
class Entry {
 public:
  Entry() = default;
  hal_program* program() const { return program_.get(); }
  std::uint32_t index() const { return index_; }
  const Signature& signature() const { return *hal_program_signature(program_.get(), index_); }

 private:
  friend class Program;
  Entry(Handle<hal_program> program, std::uint32_t index) : program_(std::move(program)), index_(index) {}
  Handle<hal_program> program_;
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
};

// A recorded list with numbered slots; replayed by Queue::execute().
class Commands : public Handle<hal_commands> {
 public:
  using Handle::Handle;
};

}  // namespace hal
