// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/trace_merge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/files.hpp"

namespace hal::cli::demo {
namespace {

using nlohmann::ordered_json;

Result<ordered_json> read_trace(const std::string& path) {
  HAL_TRY(const std::vector<std::byte> bytes, read_file(path));
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  ordered_json trace = ordered_json::parse(text, text + bytes.size(), nullptr, /*allow_exceptions=*/false);
  if (!trace.is_object() || !trace.contains("traceEvents") || !trace["traceEvents"].is_array()) {
    return Error(HAL_INVALID_IMAGE, fmt::format("{} is no trace: it has no array \"traceEvents\"", path));
  }
  return trace;
}

// Rows are told apart by pid.
std::int64_t free_pid(const ordered_json& events) {
  std::int64_t out = 0;
  for (const ordered_json& event : events) {
    if (const auto pid = event.find("pid"); pid != event.end() && pid->is_number_integer()) {
      out = std::max(out, pid->get<std::int64_t>() + 1);
    }
  }
  return out;
}

// Arrows are told apart by id, which is unique in one process only.
void move_to(ordered_json& event, std::int64_t first_pid, const std::string& prefix) {
  if (!event.is_object()) { return; }
  if (const auto pid = event.find("pid"); pid != event.end() && pid->is_number_integer()) {
    *pid = pid->get<std::int64_t>() + first_pid;
  }
  if (const auto id = event.find("id"); id != event.end() && id->is_string()) { *id = prefix + id->get<std::string>(); }
  const auto name = event.find("name");
  if (name == event.end() || *name != "process_name") { return; }
  if (const auto args = event.find("args"); args != event.end() && args->is_object()) {
    (*args)["name"] = prefix + args->value("name", "");
  }
}

}  // namespace

Result<void> merge_traces(const std::string& path, const std::vector<TracePart>& parts) {
  HAL_TRY(ordered_json whole, read_trace(path));
  ordered_json& events = whole["traceEvents"];
  for (const TracePart& part : parts) {
    Result<ordered_json> more = read_trace(part.path);
    if (!more) {
      if (more.error().code() == HAL_NOT_FOUND) { continue; }
      return std::move(more).error();
    }
    const std::int64_t first_pid = free_pid(events);
    for (ordered_json& event : (*more)["traceEvents"]) {
      move_to(event, first_pid, part.prefix);
      events.push_back(std::move(event));
    }
  }
  const std::string text = whole.dump();
  HAL_CHECK(write_file(path, std::as_bytes(std::span(text))));
  for (const TracePart& part : parts) { (void)std::remove(part.path.c_str()); }
  return {};
}

}  // namespace hal::cli::demo
