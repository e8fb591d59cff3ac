// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/ranks.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/fabric_error.hpp"
#include "cli/files.hpp"
#include "fabric/bootstrap/launcher.hpp"

namespace hal::cli::demo {
namespace {

namespace fs = std::filesystem;

// A folder that goes with its owner.
class Scratch {
 public:
  static Result<Scratch> make() {
    std::error_code problem;
    std::string path = (fs::temp_directory_path(problem) / "halyard-demo-XXXXXX").string();
    if (problem || mkdtemp(path.data()) == nullptr) {
      return Error(HAL_UNAVAILABLE, fmt::format("no temporary folder can be made as {}; TMPDIR names the place", path));
    }
    return Scratch(std::move(path));
  }
  Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    std::error_code ignored;
    if (!path_.empty()) { fs::remove_all(path_, ignored); }
  }
  const std::string& path() const { return path_; }

 private:
  explicit Scratch(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace

Result<FabricAccount> run_ranks(const RankOptions& options) {
  HAL_TRY(const Scratch scratch, Scratch::make());
  const std::string result = scratch.path() + "/account.json";
  fabric::LaunchOptions launch;
  launch.ranks = 2;
  launch.command = {fs::read_symlink("/proc/self/exe").string(),
                    "demo-rank",
                    "--result",
                    result,
                    "--batch",
                    fmt::format("{}", options.batch)};
  for (const std::string& device : options.devices) {
    launch.command.insert(launch.command.end(), {"--device", device});
  }
  if (!options.samples.empty()) { launch.command.insert(launch.command.end(), {"--samples", options.samples}); }
  launch.timeout = std::chrono::minutes(8);
  std::string log;
  launch.log = [&log](std::string_view line) { log += fmt::format("; {}", line); };
  std::fflush(stdout);
  const auto launched = fabric::launch(launch);
  if (!launched) { return to_error(launched.error()); }
  if (launched->exit_code != 0) {
    return Error(HAL_EXECUTION_FAILED, fmt::format("the ranks ended with exit code {}{}", launched->exit_code, log));
  }
  HAL_TRY(const std::vector<std::byte> bytes, read_file(result));
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  try {
    const nlohmann::json json = nlohmann::json::parse(text, text + bytes.size());
    FabricAccount account;
    json.at("labels").get_to(account.answers.labels);
    json.at("probabilities").get_to(account.answers.probabilities);
    json.at("names").get_to(account.names);
    json.at("fabric_bytes").get_to(account.fabric_bytes);
    json.at("device_bytes").get_to(account.device_bytes);
    json.at("run_ns").get_to(account.run_ns);
    json.at("ports").get_to(account.ports);
    return account;
  } catch (const nlohmann::json::exception& exception) {
    return Error(HAL_INTERNAL, fmt::format("rank 0's account cannot be read: {}", exception.what()));
  }
}

}  // namespace hal::cli::demo
