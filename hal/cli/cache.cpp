// SPDX-License-Identifier: Apache-2.0
// halyard cache: what is in the folder of compiled programs, whether it is whole, and how to be rid of it.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "cache/folder.hpp"
#include "cli/command.hpp"
#include "cli/json_text.hpp"
#include "cli/say.hpp"
#include "cli/table.hpp"
#include "cli/usage.hpp"
#include "hal/hal.hpp"
#include "text/utf8.hpp"

namespace hal::cli {
namespace {

struct Options {
  std::string folder;
  bool json = false;
  bool damaged = false;
};

// What one file turned out to be.
struct Found {
  cache::File file;
  std::int64_t age_seconds = 0;
  std::string problem;  // empty: it is whole
  cache::Contents contents;
};

std::optional<std::string> setting(std::string_view name) {
  for (const hal_setting& each : settings()) {
    if (name == each.name && each.value != nullptr) { return each.value; }
  }
  return std::nullopt;
}

// The bound of the folder's files, as the core takes it.
std::uint64_t bound() {
  const std::string text = setting("HALYARD_CACHE_MIB").value_or("");
  std::uint64_t mib = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), mib);
  const bool fine = problem == std::errc() && end == text.data() + text.size() && mib > 0 && mib <= UINT64_MAX >> 20U;
  return fine ? mib << 20U : cache::kDefaultBytes;
}

Result<std::string> folder_of(const Options& options) {
  if (!options.folder.empty()) { return options.folder; }
  if (auto named = setting("HALYARD_CACHE")) { return *named; }
  return usage_error("which folder? Give --folder, or set HALYARD_CACHE as programs do");
}

Result<std::vector<Found>> look(const std::string& folder) {
  HAL_TRY(const auto files, cache::files(folder));
  const std::uint64_t most = bound();
  const auto now = std::filesystem::file_time_type::clock::now();
  std::vector<Found> all;
  for (const cache::File& file : files) {
    if (file.key.empty() && !file.is_abandoned()) { continue; }  // somebody writes it now
    Found found{file, std::chrono::duration_cast<std::chrono::seconds>(now - file.used).count(), {}, {}};
    if (file.key.empty()) {
      found.problem = "it was never finished";
    } else if (auto contents = cache::verify(file, most)) {
      found.contents = *std::move(contents);
    } else if (contents.error().code() == HAL_NOT_FOUND) {
      continue;  // another process took it away
    } else {
      found.problem = text::plain(contents.error().what());
    }
    all.push_back(std::move(found));
  }
  return all;
}

std::string age_text(std::int64_t seconds) {
  if (seconds < 120) { return fmt::format("{} s ago", seconds); }
  if (seconds < 120 * 60) { return fmt::format("{} min ago", seconds / 60); }
  if (seconds < 48 * 3600) { return fmt::format("{} h ago", seconds / 3600); }
  return fmt::format("{} days ago", seconds / 86'400);
}

std::string as_json(const std::string& folder, const std::vector<Found>& all) {
  using nlohmann::ordered_json;
  ordered_json files = ordered_json::array();
  for (const Found& found : all) {
    ordered_json file;
    file["file"] = found.file.path.filename().string();
    file["key"] = found.file.key;
    file["bytes"] = found.file.bytes;
    file["age_seconds"] = found.age_seconds;
    file["problem"] = found.problem;
    file["identity"] = found.contents.identity;
    file["entries"] = found.contents.entries;
    file["payload_bytes"] = found.contents.payload_bytes;
    files.push_back(std::move(file));
  }
  ordered_json out;
  out["schema"] = "halyard-cache/1";
  out["folder"] = folder;
  out["bound_bytes"] = bound();
  out["files"] = std::move(files);
  return json_text(out);
}

std::string totals(const std::string& folder, const std::vector<Found>& all) {
  std::uint64_t bytes = 0;
  for (const Found& found : all) { bytes += found.file.bytes; }
  return fmt::format("{} file{}, {} of at most {} in {}", all.size(), all.size() == 1 ? "" : "s", bytes_text(bytes),
                     bytes_text(bound()), folder);
}

Result<int> list(const Options& options) {
  HAL_TRY(const std::string folder, folder_of(options));
  HAL_TRY(const std::vector<Found> all, look(folder));
  if (options.json) {
    fmt::print("{}", as_json(folder, all));
    return kOk;
  }
  if (!all.empty()) {
    Table table({{"KEY"}, {"SIZE", Align::right}, {"USED", Align::right}, {"ENTRIES"}, {"MADE BY"}});
    for (const Found& found : all) {
      table.row({found.file.key.empty() ? "none" : found.file.key.substr(0, 16), bytes_text(found.file.bytes),
                 age_text(found.age_seconds),
                 found.problem.empty() ? fmt::format("{}", fmt::join(found.contents.entries, ", ")) : "damaged",
                 found.problem.empty() ? found.contents.identity : found.problem});
    }
    say("{}", table.text());
  }
  say("{}\n", totals(folder, all));
  return kOk;
}

Result<int> verify(const Options& options) {
  HAL_TRY(const std::string folder, folder_of(options));
  HAL_TRY(const std::vector<Found> all, look(folder));
  std::size_t damaged = 0;
  for (const Found& found : all) {
    if (found.problem.empty()) { continue; }
    ++damaged;
    say("{}: {}\n", text::plain(found.file.path.string()), found.problem);
  }
  say("{}: {}\n", totals(folder, all),
      damaged == 0 ? "all whole"
                   : fmt::format("{} damaged; 'halyard cache clear --damaged' takes {} away", damaged,
                                 damaged == 1 ? "it" : "them"));
  return damaged == 0 ? kOk : kFailed;
}

Result<int> clear(const Options& options) {
  HAL_TRY(const std::string folder, folder_of(options));
  HAL_TRY(const std::vector<Found> all, look(folder));
  std::size_t removed = 0;
  std::uint64_t bytes = 0;
  std::string failed;
  for (const Found& found : all) {
    if (options.damaged && found.problem.empty()) { continue; }
    const std::string path = found.file.path.string();
    if (::unlink(path.c_str()) == 0) {  // a link goes, and not what it points to
      ++removed;
      bytes += found.file.bytes;
    } else if (errno != ENOENT) {
      failed += fmt::format("{}{}: {}", failed.empty() ? "" : "; ", text::plain(path), std::strerror(errno));
    }
  }
  say("{} file{} removed, {}\n", removed, removed == 1 ? "" : "s", bytes_text(bytes));
  if (failed.empty()) { return kOk; }
  return Error(HAL_UNAVAILABLE, fmt::format("not everything could be removed: {}", failed));
}

}  // namespace

void add_cache(CLI::App& app, Body& body) {
  CLI::App* command = app.add_subcommand("cache", "Look at a folder of compiled programs, verify it or clear it");
  command->require_subcommand(1);
  auto options = std::make_shared<Options>();
  const auto add = [&](const char* name, const char* help, Result<int> (*run)(const Options&)) {
    CLI::App* sub = command->add_subcommand(name, help);
    sub->add_option("--folder", options->folder, "Which folder (HALYARD_CACHE)");
    sub->callback([&body, options, run] { body = [options, run] { return run(*options); }; });
    return sub;
  };
  add("list", "The programs in it: key, size, when used last, entries, and who made them", list)
      ->add_flag("--json", options->json, "Machine-readable, schema halyard-cache/1");
  add("verify", "Read every file to its end; exit code 1 if one is damaged", verify);
  add("clear", "Remove the programs; other files stay", clear)
      ->add_flag("--damaged", options->damaged, "Only what is damaged or was never finished");
}

}  // namespace hal::cli
