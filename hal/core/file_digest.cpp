// SPDX-License-Identifier: Apache-2.0
#include "core/file_digest.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <mutex>
#include <vector>

namespace hal::core {
namespace {

using FileIdentity = std::array<std::int64_t, 7>;

constexpr std::size_t kMostKept = 64;  // drivers are few; whoever names ever new files cannot fill memory

struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) { ::close(number); }
  }
};

std::optional<FileIdentity> identity_of(int descriptor) {
  struct stat found{};
  if (::fstat(descriptor, &found) != 0) { return {}; }
  return FileIdentity{static_cast<std::int64_t>(found.st_dev),
                      static_cast<std::int64_t>(found.st_ino),
                      found.st_size,
                      found.st_mtim.tv_sec,
                      found.st_mtim.tv_nsec,
                      found.st_ctim.tv_sec,
                      found.st_ctim.tv_nsec};
}

std::optional<Digest> read_all(int descriptor) {
  Sha256 hash;
  std::vector<std::byte> part(std::size_t{1} << 16U);
  for (;;) {
    const ssize_t got = ::read(descriptor, part.data(), part.size());
    if (got < 0 && errno == EINTR) { continue; }
    if (got < 0) { return {}; }
    if (got == 0) { return hash.finish(); }
    hash.add(std::span(part).first(static_cast<std::size_t>(got)));
  }
}

}  // namespace

std::optional<Digest> file_digest(const std::string& path) {
  static std::mutex mutex;
  static std::map<FileIdentity, Digest> known;
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  const auto before = file.number >= 0 ? identity_of(file.number) : std::nullopt;
  if (!before) { return {}; }
  {
    const std::lock_guard lock(mutex);
    if (const auto found = known.find(*before); found != known.end()) { return found->second; }
  }
  const std::optional<Digest> digest = read_all(file.number);
  if (digest && identity_of(file.number) == before) {
    const std::lock_guard lock(mutex);
    if (known.size() >= kMostKept) { known.clear(); }
    known.emplace(*before, *digest);
  }
  return digest;
}

}  // namespace hal::core
