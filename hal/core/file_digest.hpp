// SPDX-License-Identifier: Apache-2.0
// The digest of a whole file, read once in a process for as long as the file stays what it was.
#pragma once

#include <optional>
#include <string>

#include "core/sha256.hpp"

namespace hal::core {

// Nothing if the file cannot be read to its end. A file is taken for the same while device, inode, size and both of its
// times of change are; who writes one in place within the clock's tick of a reading is not noticed. Any thread.
std::optional<Digest> file_digest(const std::string& path);

}  // namespace hal::core
