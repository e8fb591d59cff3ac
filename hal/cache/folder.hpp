// SPDX-License-Identifier: Apache-2.0
// The files of a program cache, for the cache itself and for whoever looks at a folder from outside.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "hal/result.hpp"

namespace hal::cache {

inline constexpr std::uint64_t kDefaultBytes = std::uint64_t{1} << 30U;

// A file of ours, by its name: "<key>.halprog", or what a process that writes one has not finished, or left.
struct File {
  std::filesystem::path path;
  std::string key;                       // 64 hex digits; empty: unfinished
  std::uint64_t bytes = 0;               // of a regular file
  std::filesystem::file_time_type used;  // never in the future

  // Unfinished for so long that nobody is writing it any more.
  bool is_abandoned() const;
};

std::string file_name(const std::string& key);
// Of the n-th file that this process writes.
std::string unfinished_name(std::uint64_t n);

// Ours, the one used longest ago first. Other files are not ours to count. Errors: NOT_FOUND  there is no such folder;
// UNAVAILABLE  it cannot be read.
Result<std::vector<File>> files(const std::string& folder);

// A folder is whoever's, so nothing in it is believed: pipes, links and endless files included.
class Reader {
 public:
  // Opens a file and does not wait; a link is a problem. `problem()` is the system's number if that failed, else 0.
  explicit Reader(const std::string& path);
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader();

  int problem() const { return problem_; }
  std::string why() const;  // `problem()` in words
  // The whole file, of at most `most` bytes. Errors: INVALID_IMAGE.
  Result<std::vector<std::byte>> contents(std::uint64_t most) const;
  void mark_as_used() const;

 private:
  int descriptor_;
  int problem_;
};

// What a file turned out to hold.
struct Contents {
  std::string identity;              // of the device that made it
  std::vector<std::string> entries;  // names
  std::uint64_t payload_bytes = 0;   // of the driver's own form
};

// Reads a file to its end, as a program that loads it would, and compares it with its name. Errors: INVALID_IMAGE,
// INCOMPATIBLE  with the reason; NOT_FOUND  it has gone.
Result<Contents> verify(const File& file, std::uint64_t most);

}  // namespace hal::cache
