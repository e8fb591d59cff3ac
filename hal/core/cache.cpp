// SPDX-License-Identifier: Apache-2.0
#include "core/cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>

namespace hal::core {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnd = ".halprog", kTemporary = ".new-";

std::string system_text(int number) { return std::generic_category().message(number); }

class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (descriptor_ >= 0) { close(descriptor_); }
  }
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

// The whole file of at most `most` bytes, or the reason.
Result<std::vector<std::byte>> contents(const File& file, std::uint64_t most) {
  const auto bad = [](const std::string& why) { return Error(HAL_INVALID_IMAGE, why); };
  struct stat about{};
  if (fstat(file.get(), &about) != 0) { return bad(system_text(errno)); }
  if (!S_ISREG(about.st_mode)) { return bad("it is no regular file"); }
  if (static_cast<std::uint64_t>(about.st_size) > most) {
    return bad(fmt::format("it has {} bytes, and the folder's bound is {}", about.st_size, most));
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(about.st_size));
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t got = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) { continue; }
    if (got < 0) { return bad(system_text(errno)); }
    if (got == 0) { return bad("it became shorter while it was read"); }
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

// 0 or the system's number.
int write_all(const File& file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(file.get(), bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) { continue; }
    if (done < 0) { return errno; }
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  return 0;
}

}  // namespace

ProgramCache::ProgramCache(std::string folder, std::uint64_t limit_bytes, Warn warn)
    : folder_(std::move(folder)), limit_bytes_(limit_bytes), warn_(std::move(warn)) {}

std::string ProgramCache::path_of(const Digest& key) const {
  return (fs::path(folder_) / (hex(key) + std::string(kEnd))).string();
}

std::optional<std::vector<std::byte>> ProgramCache::read(const Digest& key, const std::string& identity) {
  const std::string path = path_of(key);
  // Not blocking: a pipe in the place of a file must not hold the load.
  const File file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    if (errno == ENOENT || errno == ENOTDIR) {
      ++misses;
    } else {
      refused(key, system_text(errno));
    }
    return std::nullopt;
  }
  const auto wrong = [&](const std::string& why) {
    refused(key, why);
    return std::nullopt;
  };
  Result<std::vector<std::byte>> bytes = contents(file, limit_bytes_);
  if (!bytes) { return wrong(std::string(bytes.error().what())); }
  const Result<Compiled> found = read_compiled(*bytes);
  if (!found) { return wrong(std::string(found.error().what())); }
  if (found->source != key) { return wrong("it holds another program"); }
  if (found->identity != identity) { return wrong(fmt::format("it was made by: {}", found->identity)); }
  futimens(file.get(), nullptr);  // used now: the last to go. Failing to say so does no harm
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
  const std::string made =
      (fs::path(folder_) / fmt::format("{}{}-{}", kTemporary, getpid(), temporary_.fetch_add(1))).string();
  int failed = 0;
  {
    // A name that is left from a process of the same number is taken over.
    unlink(made.c_str());
    const File file(open(made.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    failed = file.get() < 0 ? errno : write_all(file, bytes);
  }
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
  struct Entry {
    fs::file_time_type used;
    std::uint64_t bytes;
    fs::path path;
  };
  std::vector<Entry> entries;
  std::uint64_t sum = 0;
  std::error_code problem;
  const auto old = fs::file_time_type::clock::now() - std::chrono::hours(1);
  for (fs::directory_iterator at(folder_, problem); !problem && at != fs::directory_iterator(); at.increment(problem)) {
    const fs::directory_entry& each = *at;
    // Another process may take a file away at any time: whatever cannot be asked is not ours to count.
    std::error_code gone;
    const std::string name = each.path().filename().string();
    const auto used = each.last_write_time(gone);
    const auto bytes = gone ? 0 : each.file_size(gone);
    if (gone) { continue; }
    if (name.starts_with(kTemporary) && used < old) { fs::remove(each.path(), gone); }  // of a process that died
    if (!name.ends_with(kEnd)) { continue; }
    entries.push_back({used, bytes, each.path()});
    sum += bytes;
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  for (const Entry& entry : entries) {
    if (sum <= limit_bytes_) { break; }
    std::error_code gone;
    fs::remove(entry.path, gone);
    sum -= entry.bytes;
  }
}

}  // namespace hal::core
