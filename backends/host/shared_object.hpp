// SPDX-License-Identifier: Apache-2.0
// An ELF shared object in memory: what it exports is read from its bytes, before any of its code runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "hal/result.hpp"

namespace hal::host {

class SharedObject {
 public:
  // `image` must outlive the object. Errors: INVALID_IMAGE  damaged, with field and offset; INCOMPATIBLE  for another
  // machine. Any bytes are safe to read.
  static Result<SharedObject> read(std::span<const std::byte> image);

  // The 32-bit constant that a data symbol holds in the file; nothing if it is not exported or not initialised.
  std::optional<std::uint32_t> constant(const std::string& name) const;
  bool has_function(const std::string& name) const;
  // The names behind `prefix` of exported functions, ", " between them; at most 20.
  std::string functions(const std::string& prefix) const;

 private:
  struct Symbol {
    std::uint64_t address = 0, size = 0;
    bool function = false;
  };
  std::span<const std::byte> image_;
  std::map<std::string, Symbol, std::less<>> symbols_;
};

// A shared object loaded from bytes. Its constructors have run; its destructors run with this.
class LoadedObject {
 public:
  // Errors: UNAVAILABLE  the system's loader refuses, with its words.
  static Result<LoadedObject> load(std::span<const std::byte> image);
  LoadedObject(LoadedObject&& other) noexcept;
  LoadedObject& operator=(LoadedObject&&) = delete;
  ~LoadedObject();

  void* symbol(const std::string& name) const;  // nullptr if there is none

 private:
  LoadedObject(void* handle, int file, std::string path) : handle_(handle), file_(file), path_(std::move(path)) {}
  void* handle_;
  int file_;  // kept open: the loader knows objects by path, and this one is the number of the descriptor
  std::string path_;
};

}  // namespace hal::host
