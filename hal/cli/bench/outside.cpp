// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/outside.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>

#include "cli/bench/line.hpp"
#include "cli/bench/peer_program.hpp"
#include "text/utf8.hpp"

namespace hal::cli::bench {
namespace {

// Only the host's rows have peers: nobody else has our devices.
bool takes_peers(const Row& row) { return row.device.starts_with("host:"); }

Result<void> add_program(const std::string& command, std::vector<Row>& rows, std::vector<std::string>& notes) {
  HAL_TRY(const std::shared_ptr<PeerProgram> program, PeerProgram::start(command));
  std::map<std::string, std::string> missing;  // said once
  for (Row& row : rows) {
    if (!takes_peers(row)) { continue; }
    HAL_TRY(const Line first, program->ask(row.name));
    if (first.nothing) { continue; }
    Subject peer{first.subject, {}, first.missing, program};
    if (!first.missing.empty()) {
      if (missing.emplace(first.subject, first.missing).second) {
        notes.push_back(fmt::format("{} is missing: {}", first.subject, first.missing));
      }
    } else {
      peer.once = [program, name = row.name]() -> Result<double> {
        HAL_TRY(const Line answer, program->ask(name));
        if (answer.nothing || !answer.missing.empty()) {
          return Error(HAL_UNAVAILABLE, answer.nothing ? "it stopped answering" : answer.missing);
        }
        return answer.ns;
      };
    }
    row.peers.push_back(std::move(peer));
  }
  notes.insert(notes.end(), program->notes.begin(), program->notes.end());
  return {};
}

// A file's repetitions are what they are: given out in turn, again from the start when they run out.
Result<void> add_file(const std::string& path, std::vector<Row>& rows, std::vector<std::string>& notes) {
  std::ifstream file(path);
  if (!file) { return Error(HAL_UNAVAILABLE, fmt::format("{} cannot be read: {}", path, std::strerror(errno))); }
  std::map<std::pair<std::string, std::string>, std::vector<double>> samples;
  std::string text;
  for (int number = 1; std::getline(file, text); ++number) {
    const std::string where = fmt::format("{}:{}", path, number);
    if (text.empty()) { continue; }
    if (text.starts_with("#")) {
      notes.push_back(text::plain(fmt::format("{} (from {})", text.substr(1), path)));
      continue;
    }
    HAL_TRY(const Line line, parse_line(text, where));
    if (std::ranges::none_of(rows, [&](const Row& row) { return takes_peers(row) && row.name == line.row; })) {
      return Error(HAL_NOT_FOUND,
                   fmt::format("{}: no row '{}'; halyard bench --list prints those there are", where, line.row));
    }
    if (line.nothing || !line.missing.empty()) { continue; }
    samples[{line.row, line.subject}].push_back(line.ns);
  }
  for (const auto& [key, values] : samples) {
    for (Row& row : rows) {
      if (!takes_peers(row) || row.name != key.first) { continue; }
      row.peers.push_back({key.second + " (from a file)",
                           [taken = values, at = std::make_shared<std::size_t>(0)]() -> Result<double> {
                             return taken[(*at)++ % taken.size()];
                           },
                           {}});
    }
  }
  return {};
}

bool is_data(const std::string& path) {
  struct stat about{};
  return ::stat(path.c_str(), &about) == 0 && S_ISREG(about.st_mode) && ::access(path.c_str(), X_OK) != 0;
}

}  // namespace

Result<void> add_peers(const std::vector<std::string>& given, std::vector<Row>& rows, std::vector<std::string>& notes) {
  for (const std::string& one : given) {
    HAL_CHECK(is_data(one) ? add_file(one, rows, notes) : add_program(one, rows, notes));
  }
  return {};
}

}  // namespace hal::cli::bench
