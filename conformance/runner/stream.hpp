// SPDX-License-Identifier: Apache-2.0
// What a worker tells its runner: one JSON object a line, written whole, so that a crash in the middle of a case leaves
// the case's start behind as proof. The only shared state of a worker process.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hal::conformance {

// Where the lines go; -1 drops them.
void stream_open(int descriptor);

void stream_line(const std::string& json);
void stream_begin_case(const std::string& name);
// The first call after a begin wins; later ones (another thread's failing check) are dropped.
void stream_end_case(std::string_view status, std::string_view what, std::string_view file, unsigned line,
                     std::uint64_t checks);
// Leaves the process without unwinding or destroying anything.
[[noreturn]] void stream_exit();

// "text" with quotes, escaped for JSON.
std::string quoted(std::string_view text);

}  // namespace hal::conformance
