// SPDX-License-Identifier: Apache-2.0
#include "core/cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "cache/folder.hpp"

namespace hal::core {
namespace {

namespace fs = std::filesystem;

std::string system_text(int number) { return std::generic_category().message(number); }

// Makes the file `path` of the bytes. 0 or the system's number.
int write_file(const std::string& path, std::span<const std::byte> bytes) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) { return errno; }
  int failed = 0;
  while (!bytes.empty() && failed == 0) {
    const ssize_t done = ::write(file, bytes.data(), bytes.size());
    if (done < 0) {
      failed = errno == EINTR ? 0 : errno;
    } else {
      bytes = bytes.subspan(static_cast<std::size_t>(done));
    }
  }
  close(file);
  return failed;
}

}  // namespace

ProgramCache::ProgramCache(std::string folder, std::uint64_t limit_bytes, Warn warn)
    : folder_(std::move(folder)), limit_bytes_(limit_bytes), warn_(std::move(warn)) {}

std::string ProgramCache::path_of(const Digest& key) const {
  return (fs::path(folder_) / cache::file_name(hex(key))).string();
}

std::optional<std::vector<std::byte>> ProgramCache::read(const Digest& key, const std::string& identity) {
  const cache::Reader file(path_of(key));
  const auto wrong = [&](const std::string& why) {
    refused(key, why);
    return std::nullopt;
  };
  if (file.problem() == ENOENT || file.problem() == ENOTDIR) {
    ++misses;
    return std::nullopt;
  }
  if (file.problem() != 0) { return wrong(file.why()); }
  Result<std::vector<std::byte>> bytes = file.contents(limit_bytes_);
  if (!bytes) { return wrong(std::string(bytes.error().what())); }
  const Result<Compiled> found = read_compiled(*bytes);
  if (!found) { return wrong(std::string(found.error().what())); }
  if (found->source != key) { return wrong("it holds another program"); }
  if (found->identity != identity) { return wrong(fmt::format("it was made by: {}", found->identity)); }
  file.mark_as_used();  // the last to go
  return std::move(*bytes);
}

void ProgramCache::refused(const Digest& key, const std::string& why) {
  ++rejected;
  warn_(fmt::format("program cache: {} is ignored and will be written anew: {}", path_of(key), why));
}

void ProgramCache::write(const Digest& key, std::span<const std::byte> bytes) {
  if (bytes.size() > limit_bytes_) { return; }
  const std::string path = path_of(key);
  std::error_code problem;
  if (!fs::is_directory(folder_, problem)) {
    fs::create_directories(folder_, problem);
    if (!problem) { fs::permissions(folder_, fs::perms::owner_all, problem); }
    std::error_code none;
    if (!fs::is_directory(folder_, none)) {
      warn_(fmt::format("program cache: the folder {} cannot be made: {}", folder_,
                        fs::exists(folder_, none) ? "something else has its name" : problem.message()));
      return;
    }
  }
  const std::string made = (fs::path(folder_) / cache::unfinished_name(unfinished_.fetch_add(1))).string();
  unlink(made.c_str());  // left from a process of the same number
  int failed = write_file(made, bytes);
  if (failed == 0 && rename(made.c_str(), path.c_str()) != 0) { failed = errno; }
  if (failed != 0) {
    unlink(made.c_str());
    warn_(fmt::format("program cache: {} cannot be written: {}", path, system_text(failed)));
    return;
  }
  ++written;
  evict();
}

void ProgramCache::evict() const {
  const Result<std::vector<cache::File>> files = cache::files(folder_);
  if (!files) { return; }
  std::uint64_t sum = 0;
  std::error_code gone;  // another process may take a file away at any time
  for (const cache::File& file : *files) {
    if (!file.key.empty()) { sum += file.bytes; }
    if (file.is_abandoned()) { fs::remove(file.path, gone); }
  }
  for (const cache::File& file : *files) {
    if (sum <= limit_bytes_) { break; }
    if (file.key.empty()) { continue; }
    fs::remove(file.path, gone);
    sum -= file.bytes;
  }
}

}  // namespace hal::core
