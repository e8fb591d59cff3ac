// SPDX-License-Identifier: Apache-2.0
// Opening what a stranger's name stands for.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

namespace hal::text {

struct CloseFile {
  void operator()(std::FILE* file) const { (void)std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// nullptr with errno's reason. A pipe that nobody writes to opens at once and is empty: fopen() waits for a writer for
// ever.
inline File open_to_read(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) { return nullptr; }
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0 && ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0) {
    if (std::FILE* file = ::fdopen(fd, "rb")) { return File(file); }
  }
  (void)::close(fd);
  return nullptr;
}

}  // namespace hal::text
