// SPDX-License-Identifier: Apache-2.0
#include "conformance/runner/stream.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <mutex>

#include "text/utf8.hpp"

namespace hal::conformance {
namespace {

struct State {
  std::mutex mutex;
  int descriptor = -1;
  std::string current;
  std::chrono::steady_clock::time_point start;
};

State& state() {
  static auto* the_state = new State;  // outlives every thread of a worker that leaves in the middle
  return *the_state;
}

void write_line(int descriptor, std::string line) {
  line += '\n';
  std::size_t done = 0;
  while (descriptor >= 0 && done < line.size()) {
    const ssize_t n = ::write(descriptor, line.data() + done, line.size() - done);
    if (n <= 0) { return; }  // the runner is gone
    done += static_cast<std::size_t>(n);
  }
}

}  // namespace

std::string quoted(std::string_view text) {
  const bool ascii_only = !text::valid_utf8(text);  // bytes that no reader of JSON would take become '?'
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
    } else {
      out += ascii_only && byte >= 0x80 ? '?' : c;
    }
  }
  return out + '"';
}

void stream_open(int descriptor) { state().descriptor = descriptor; }

void stream_line(const std::string& json) {
  const std::lock_guard lock(state().mutex);
  write_line(state().descriptor, json);
}

void stream_begin_case(const std::string& name) {
  const std::lock_guard lock(state().mutex);
  state().current = name;
  state().start = std::chrono::steady_clock::now();
  write_line(state().descriptor, "{\"kind\":\"start\",\"case\":" + quoted(name) + "}");
}

void stream_end_case(std::string_view status, std::string_view what, std::string_view file, unsigned line,
                     std::uint64_t checks) {
  const std::lock_guard lock(state().mutex);
  if (state().current.empty()) { return; }
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - state().start;
  write_line(state().descriptor,
             "{\"kind\":\"end\",\"case\":" + quoted(state().current) + ",\"status\":" + quoted(status) +
                 ",\"what\":" + quoted(what) + ",\"file\":" + quoted(file) + ",\"line\":" + std::to_string(line) +
                 ",\"checks\":" + std::to_string(checks) + ",\"ms\":" + std::to_string(took.count()) + "}");
  state().current.clear();
}

void stream_exit() { ::_exit(0); }

}  // namespace hal::conformance
