// SPDX-License-Identifier: Apache-2.0
// halyard bench: ours, the limit and the peers in turns, with the cores' placement checked round each repetition.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "cli/bench/outside.hpp"
#include "cli/bench/report.hpp"
#include "cli/bench/words.hpp"
#include "cli/command.hpp"
#include "cli/instance.hpp"
#include "cli/say.hpp"
#include "cli/usage.hpp"

namespace hal::cli {
namespace {

using bench::Row;

struct Options {
  std::vector<std::string> devices, with;
  std::string only;
  int repetitions = 15;
  bool json = false, list = false, no_peers = false;
};

void append(std::vector<Row>& to, std::vector<Row> more) { std::ranges::move(more, std::back_inserter(to)); }

// The devices asked for, or every usable one that no other of the list overlaps.
Result<std::vector<Row>> collect(const Instance& instance, const Options& options) {
  std::vector<std::string> uris = options.devices;
  for (auto at = uris.begin(); at != uris.end(); ++at) {
    if (std::find(uris.begin(), at, *at) != at) { return usage_error(fmt::format("--device {} is given twice", *at)); }
  }
  if (uris.empty()) {
    for (const DeviceInfo& info : instance.devices()) {
      if (info.usable != 0) { uris.push_back(info.uri); }
    }
  }
  std::vector<Row> rows;
  for (const std::string& uri : uris) {
    Result<Device> device = instance.open(uri);
    if (!device) {
      // Partitions of one card exclude each other; the first one listed stands for the card.
      if (options.devices.empty() && device.error().code() == HAL_BUSY) { continue; }
      return std::move(device).error();
    }
    HAL_TRY(std::vector<Row> more, bench::device_rows(*device));
    append(rows, std::move(more));
    if (std::string_view(device->info().driver) != "host") { continue; }
    HAL_TRY(more, bench::submit_rows(instance, *device));
    append(rows, std::move(more));
    if (device->supports("host-visible").support != HAL_NO) {
      HAL_TRY(more, bench::memory_rows(*device));
      append(rows, std::move(more));
    }
    HAL_TRY(more, bench::math_rows(*device));
    append(rows, std::move(more));
    HAL_TRY(more, bench::library_rows(*device));
    append(rows, std::move(more));
  }
  if (!options.only.empty()) {
    std::erase_if(rows, [&](const Row& row) { return row.name.find(options.only) == std::string::npos; });
    if (rows.empty()) {
      return Error(HAL_NOT_FOUND,
                   fmt::format("no row's name has '{}' in it; halyard bench --list prints them", options.only));
    }
  }
  return rows;
}

// The peers that this build knows how to ask, in programs of their own: what they load and start is theirs alone.
std::vector<std::string> own_peers(std::vector<std::string>& notes) {
  std::error_code error;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", error).replace_filename("halyard-peers");
  if (::access(program.c_str(), X_OK) != 0) {
    notes.push_back(fmt::format("no peers of this build: {}: {}", program, std::strerror(errno)));
    return {};
  }
  const std::string quoted = bench::quoted_word(program);
  return {quoted + " onednn", quoted + " openblas", "OPENBLAS_CORETYPE=SkylakeX " + quoted + " openblas",
          quoted + " opencl", quoted + " tbb"};
}

Result<int> run(const Options& options) {
  HAL_TRY(const Instance instance, open_instance());
  HAL_TRY(std::vector<Row> rows, collect(instance, options));
  if (options.list) {
    for (const Row& row : rows) { say("{}\t{}\n", row.name, row.device); }
    return kOk;
  }
  std::vector<std::string> notes;
  for (const std::string& peer : options.no_peers ? std::vector<std::string>() : own_peers(notes)) {
    // One that this machine is too much for costs its own figures only.
    if (const auto added = bench::add_peers({peer}, rows, notes); !added) {
      notes.push_back(fmt::format("no figures of a peer: {}", added.error().what()));
    }
  }
  HAL_CHECK(bench::add_peers(options.with, rows, notes));
  const Machine machine = read_machine();
  std::vector<double> probes;
  HAL_TRY(const std::vector<bench::Measured> all, bench::measure(rows, options.repetitions, probes));
  bench::print_report(all, probes, machine, notes, options.repetitions, options.json);
  return kOk;
}

}  // namespace

void add_bench(CLI::App& app, Body& body) {
  CLI::App* command = app.add_subcommand("bench", "Measure every device: ours, the limit and the peers in turns");
  auto options = std::make_shared<Options>();
  command->add_option("--device", options->devices, "URI; may be given again; every usable device if left out");
  command->add_option("--only", options->only, "Only rows whose name contains this");
  command->add_option(
      "--with", options->with,
      "More peers: a file of results, or a program that answers and its arguments, in the shell's quotes and with "
      "NAME=VALUE in front if need be (docs/performance.md); may be given again");
  command->add_flag("--no-peers", options->no_peers, "Leave out the peers that this build knows");
  command->add_flag("--list", options->list, "Print the rows and measure nothing");
  command->add_option("--repetitions", options->repetitions, "Of each row")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_flag("--json", options->json, "Machine-readable, schema halyard-bench/2");
  command->callback([&body, options] { body = [options] { return run(*options); }; });
}

}  // namespace hal::cli
