// SPDX-License-Identifier: Apache-2.0
// halyard replay: what the layer `record` wrote, run again and compared.
#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/files.hpp"
#include "cli/instance.hpp"
#include "cli/say.hpp"
#include "cli/usage.hpp"
#include "recording/replay.hpp"

namespace hal::cli {
namespace {

Result<int> replay_file(const std::string& path, const recording::ReplayOptions& options) {
  HAL_TRY(const std::vector<std::byte> bytes, read_file(path));
  Result<std::vector<recording::Record>> records = recording::read(bytes);
  if (!records) { return std::move(records).error().while_doing(fmt::format("reading {}", path)); }
  HAL_TRY(const Instance instance, open_instance());
  HAL_TRY(const recording::Outcome outcome, recording::replay(instance, *records, options));
  say("{} submissions, {} commands, {} comparisons of {} bytes{}\n", outcome.submissions, outcome.commands,
      outcome.compared, outcome.compared_bytes, options.device.empty() ? "" : fmt::format(" on {}", options.device));
  if (outcome.differences.empty()) {
    say("PASS: everything that the host looked at came out as recorded\n");
    return kOk;
  }
  const recording::Difference& first = outcome.differences.front();
  say("FAIL: {} comparison{} differ{}; the first is {}\n  written by {}\n  {}\n", outcome.differences.size(),
      outcome.differences.size() == 1 ? "" : "s", outcome.differences.size() == 1 ? "s" : "", first.where, first.writer,
      first.what);
  return kFailed;
}

}  // namespace

void add_replay(CLI::App& app, Body& body) {
  struct Options {
    std::string file;
    recording::ReplayOptions replay;
    double timeout_seconds = 60;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("replay", "Run a recording of the layer record again and compare what it writes");
  command->add_option("file", options->file, "What HALYARD_LAYERS=record=FILE wrote")->required();
  command->add_option("--device", options->replay.device, "URI of the device that does everything (as recorded)");
  command->add_option("--timeout", options->timeout_seconds, "Seconds that one wait may take")
      ->check(seconds(0.001, 86'400))
      ->capture_default_str();
  command->callback([&body, options] {
    body = [options] {
      options->replay.deadline = std::chrono::nanoseconds(static_cast<std::int64_t>(options->timeout_seconds * 1e9));
      return replay_file(options->file, options->replay);
    };
  });
}

}  // namespace hal::cli
