// SPDX-License-Identifier: Apache-2.0
// The names in a folder. Not fs::directory_iterator: libstdc++'s ends the process when it finds no memory for a name.
#pragma once

#include <dirent.h>

#include <cerrno>
#include <memory>
#include <string>

namespace hal::core {

// Calls tell(name) for each, "." and ".." too. 0, or the system's number of what went wrong.
template <class Tell>
int each_entry(const std::string& folder, Tell tell) {
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), [](DIR* dir) { return ::closedir(dir); });
  if (open == nullptr) { return errno; }
  for (;;) {
    errno = 0;  // the end and a failure look the same but for this
    const dirent* entry = ::readdir(open.get());
    if (entry == nullptr) { return errno; }
    tell(static_cast<const char*>(entry->d_name));
  }
}

}  // namespace hal::core
