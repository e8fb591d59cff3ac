// SPDX-License-Identifier: Apache-2.0
// Compiled programs in a folder, one file each, named by their key.
//
// Nothing here can make a load fail or answer wrongly: a file that is damaged, foreign or cut short is a warning and is
// written anew. Several processes may use one folder: a file appears whole, by a rename, and what was read is verified.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/compiled.hpp"

namespace hal::core {

class ProgramCache {
 public:
  using Warn = std::function<void(const std::string& text)>;

  // The folder is made when the first file is written. `limit_bytes` bounds the files' sum: the ones used longest ago
  // go.
  ProgramCache(std::string folder, std::uint64_t limit_bytes, Warn warn);

  // The bytes of a file that is a whole hal.program with this key and identity; nothing otherwise.
  std::optional<std::vector<std::byte>> read(const Digest& key, const std::string& identity);
  void write(const Digest& key, std::span<const std::byte> bytes);
  // What the driver said against a file that was read.
  void refused(const Digest& key, const std::string& why);

  std::atomic<std::uint64_t> hits{0}, misses{0}, rejected{0}, written{0};

 private:
  std::string path_of(const Digest& key) const;
  void evict() const;

  const std::string folder_;
  const std::uint64_t limit_bytes_;
  const Warn warn_;
  std::atomic<std::uint64_t> unfinished_{0};
};

}  // namespace hal::core
