// SPDX-License-Identifier: Apache-2.0
// The files of a program cache, for the cache itself and for whoever looks at a folder from outside.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/compiled.hpp"

namespace hal::core {

inline constexpr std::uint64_t kDefaultCacheBytes = std::uint64_t{1} << 30U;

// A file of ours, by its name: "<key>.halprog", or what a process that writes one has not finished, or left.
struct CacheFile {
  std::filesystem::path path;
  std::string key;  // 64 hex digits; empty: unfinished
  std::uint64_t bytes = 0;
  std::filesystem::file_time_type used;

  // Unfinished for so long that nobody is writing it any more.
  bool is_abandoned() const;
};

std::string cache_file_name(const Digest& key);
// Of the n-th file that this process writes.
std::string unfinished_name(std::uint64_t n);

// Ours, the one used longest ago first. Other files are not ours to count. Errors: NOT_FOUND  there is no such folder;
// UNAVAILABLE  it cannot be read.
Result<std::vector<CacheFile>> cache_files(const std::string& folder);

// A folder is whoever's, so nothing in it is believed: pipes, links and endless files included.
class CacheReader {
 public:
  // Opens a file and does not wait. `problem()` is the system's number if that failed, else 0.
  explicit CacheReader(const std::string& path);
  CacheReader(const CacheReader&) = delete;
  CacheReader& operator=(const CacheReader&) = delete;
  ~CacheReader();

  int problem() const { return problem_; }
  // The whole file, of at most `most` bytes. Errors: INVALID_IMAGE.
  Result<std::vector<std::byte>> contents(std::uint64_t most) const;
  void mark_as_used() const;

 private:
  int descriptor_;
  int problem_;
};

// Reads a file to its end and compares it with its name; `storage` gets its bytes. Errors: INVALID_IMAGE, INCOMPATIBLE
// with the reason; NOT_FOUND  it has gone.
Result<Compiled> verify_cache_file(const CacheFile& file, std::uint64_t most, std::vector<std::byte>& storage);

}  // namespace hal::core
