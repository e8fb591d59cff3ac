// SPDX-License-Identifier: Apache-2.0
#include "cache/folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <system_error>

#include "core/compiled.hpp"
#include "core/entries.hpp"

namespace hal::cache {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnd = ".halprog", kUnfinished = ".new-", kHex = "0123456789abcdef";
constexpr std::size_t kKeyDigits = 2 * sizeof(core::Digest);

std::string system_text(int number) { return std::generic_category().message(number); }

// What cannot be told, and what lies in the future, is now: nobody takes away a file because a clock was wrong.
fs::file_time_type time_of(const struct stat* about) {
  using namespace std::chrono;
  const auto now = system_clock::now();
  const seconds whole(about != nullptr ? std::max<std::int64_t>(about->st_mtim.tv_sec, 0) : INT64_MAX);
  if (whole > duration_cast<seconds>(now.time_since_epoch())) { return fs::file_time_type::clock::from_sys(now); }
  const sys_time<nanoseconds> then(whole + nanoseconds(about->st_mtim.tv_nsec));
  return fs::file_time_type::clock::from_sys(std::min<sys_time<nanoseconds>>(then, now));
}

}  // namespace

bool File::is_abandoned() const {
  return key.empty() && used < fs::file_time_type::clock::now() - std::chrono::hours(1);
}

std::string file_name(const std::string& key) { return key + std::string(kEnd); }

std::string unfinished_name(std::uint64_t n) { return fmt::format("{}{}-{}", kUnfinished, getpid(), n); }

Result<std::vector<File>> files(const std::string& folder) {
  std::error_code problem;
  if (!fs::is_directory(folder, problem)) {
    return Error(HAL_NOT_FOUND, fmt::format("there is no folder {}{}", folder,
                                            fs::exists(folder, problem) ? "; something else has its name" : ""));
  }
  std::vector<File> found;
  const int failed = core::each_entry(folder, [&](const std::string& name) {
    const bool whole =
        name.size() == kKeyDigits + kEnd.size() && name.ends_with(kEnd) && name.find_first_not_of(kHex) == kKeyDigits;
    if (!whole && !name.starts_with(kUnfinished)) { return; }
    fs::path path = fs::path(folder) / name;
    struct stat about{};
    const bool known = lstat(path.c_str(), &about) == 0;  // a link is what it is, and not what it points to
    if (!known && errno == ENOENT) { return; }            // another process took it away
    const bool regular = known && S_ISREG(about.st_mode);
    found.push_back({std::move(path), whole ? name.substr(0, kKeyDigits) : std::string(),
                     regular ? static_cast<std::uint64_t>(about.st_size) : 0, time_of(known ? &about : nullptr)});
  });
  if (failed != 0) { return Error(HAL_UNAVAILABLE, fmt::format("{} cannot be read: {}", folder, system_text(failed))); }
  std::sort(found.begin(), found.end(), [](const File& a, const File& b) { return a.used < b.used; });
  return found;
}

// Not blocking: a pipe in the place of a file must not hold whoever looks. No links: the cache makes none.
Reader::Reader(const std::string& path)
    : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)),
      problem_(descriptor_ < 0 ? errno : 0) {}

Reader::~Reader() {
  if (descriptor_ >= 0) { close(descriptor_); }
}

std::string Reader::why() const { return problem_ == ELOOP ? "it is a link" : system_text(problem_); }

Result<std::vector<std::byte>> Reader::contents(std::uint64_t most) const {
  const auto bad = [](const std::string& why) { return Error(HAL_INVALID_IMAGE, why); };
  struct stat about{};
  if (fstat(descriptor_, &about) != 0) { return bad(system_text(errno)); }
  if (!S_ISREG(about.st_mode)) { return bad("it is no regular file"); }
  if (static_cast<std::uint64_t>(about.st_size) > most) {
    return bad(fmt::format("it has {} bytes, and the folder's bound is {}", about.st_size, most));
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(about.st_size));
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t got = ::read(descriptor_, bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) { continue; }
    if (got < 0) { return bad(system_text(errno)); }
    if (got == 0) { return bad("it became shorter while it was read"); }
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

void Reader::mark_as_used() const { futimens(descriptor_, nullptr); }  // failing to say so does no harm

Result<Contents> verify(const File& file, std::uint64_t most) {
  const Reader reader(file.path.string());
  if (reader.problem() != 0) {
    return Error(reader.problem() == ENOENT ? HAL_NOT_FOUND : HAL_INVALID_IMAGE, reader.why());
  }
  HAL_TRY(const auto bytes, reader.contents(most));
  HAL_TRY(const core::Compiled found, core::read_compiled(bytes));
  if (core::hex(found.source) != file.key) { return Error(HAL_INVALID_IMAGE, "it holds another program"); }
  Contents out{found.identity, {}, found.payload.size()};
  for (const hal_signature& entry : found.signatures.views()) { out.entries.emplace_back(entry.name); }
  return out;
}

}  // namespace hal::cache
