// SPDX-License-Identifier: Apache-2.0
// halyard run: one entry of a program on one device, arrays in and out as .npy files.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "cli/binding.hpp"
#include "cli/command.hpp"
#include "cli/files.hpp"
#include "cli/instance.hpp"
#include "cli/lent.hpp"
#include "cli/say.hpp"
#include "cli/table.hpp"
#include "cli/usage.hpp"
#include "hal/hal.hpp"

namespace hal::cli {
namespace {

struct Options {
  std::string device, graph, image, manifest, entry, grid, group;
  BindingOptions binding;
  double timeout_seconds = 60;
};

struct Source {
  std::string format, path;
  std::vector<std::byte> bytes;
  std::string manifest;
};

Result<Source> read_source(const Options& options) {
  Source source;
  if (!options.graph.empty()) {
    source.format = "hal.graph";
    source.path = options.graph;
  } else {
    const std::size_t colon = options.image.find(':');
    if (colon == 0 || colon == std::string::npos || colon + 1 == options.image.size()) {
      return usage_error(fmt::format("--image {}: expected FORMAT:FILE, such as ptx:kernels.ptx", options.image));
    }
    source.format = options.image.substr(0, colon);
    source.path = options.image.substr(colon + 1);
  }
  if (source.format == "host.functions") {
    return usage_error(
        "--image host.functions: such an image holds addresses of the process that made it "
        "and cannot come from a file; samples/01-hello loads one from C++");
  }
  HAL_TRY(source.bytes, read_file(source.path));
  if (!options.manifest.empty()) {
    HAL_TRY(const std::vector<std::byte> text, read_file(options.manifest));
    source.manifest.assign(reinterpret_cast<const char*>(text.data()), text.size());
    if (const std::size_t nul = source.manifest.find('\0'); nul != std::string::npos) {
      return Error(HAL_INVALID_IMAGE,
                   fmt::format("--manifest {}: byte {} is 0, and a manifest is text", options.manifest, nul));
    }
  }
  return source;
}

Result<Entry> find_entry(const Program& program, const std::string& name) {
  if (!name.empty()) { return program.entry(name); }
  if (program.size() == 1) { return program.entry(0U); }
  std::string names;
  for (std::uint32_t i = 0; i < program.size(); ++i) {
    names += fmt::format("{}{}", i == 0 ? "" : ", ", program.entry(i).signature().name);
  }
  return Error(HAL_INVALID_ARGUMENT,
               fmt::format("the program has {} entries ({}): name one with --entry", program.size(), names));
}

// "256" or "16,16" or "8,8,4".
Result<std::array<std::uint32_t, 3>> three(const std::string& text, const char* option) {
  std::array<std::uint32_t, 3> out{1, 1, 1};
  const char* at = text.data();
  const char* const end = at + text.size();
  for (std::size_t i = 0;; ++i) {
    const bool room = i < out.size();
    const auto [next, problem] = std::from_chars(at, end, out[room ? i : 0]);
    if (!room || problem != std::errc{} || (next != end && *next != ',')) {
      return usage_error(fmt::format("{} {}: expected one to three numbers, such as 64 or 8,8,1", option, text));
    }
    if (next == end) { return out; }
    at = next + 1;
  }
}

Result<std::optional<Grid>> read_grid(const Options& options) {
  if (options.grid.empty()) { return std::optional<Grid>(); }
  HAL_TRY(const auto groups, three(options.grid, "--grid"));
  Grid grid(groups[0], groups[1], groups[2]);
  if (!options.group.empty()) {
    HAL_TRY(const auto size, three(options.group, "--group"));
    grid.group(size[0], size[1], size[2]);
  }
  return std::optional(grid);
}

Result<int> run(const Options& options) {
  HAL_TRY(const std::optional<Grid> grid, read_grid(options));
  HAL_TRY(const Source source, read_source(options));
  HAL_TRY(const Instance instance, open_instance());
  HAL_TRY(const Device device, instance.open(options.device));
  Result<Program> program =
      device.load({source.format.c_str(), source.bytes, source.manifest.empty() ? nullptr : source.manifest.c_str()});
  if (!program) {
    return std::move(program).error().while_doing(fmt::format("loading {} on {}", source.path, options.device));
  }
  HAL_TRY(const Entry entry, find_entry(*program, options.entry));
  HAL_TRY(Binding bound, Binding::make(device, entry.signature(), options.binding));

  HAL_TRY(Queue queue, device.queue("halyard run"));
  Lent<Binding> binding(std::move(bound));
  binding.to(queue);
  const auto start = std::chrono::steady_clock::now();
  HAL_CHECK(binding->upload(queue));
  HAL_CHECK(queue.run(entry, binding->args(), grid));
  HAL_TRY(const Point done, binding->download(queue));
  HAL_CHECK(wait(done, std::chrono::nanoseconds(static_cast<std::int64_t>(options.timeout_seconds * 1e9))));
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  HAL_TRY(const std::uint64_t written, binding->save());

  const DeviceInfo info = device.info();
  say("{} on {} ({}{}): {} with copies\n", entry.signature().name, info.uri, info.name,
      info.is_emulated != 0 ? ", emulated" : "", time_text(took.count()));
  for (const std::string& line : binding->summary()) { say("  {}\n", line); }
  if (written == 0) { say("  no --out was given, so nothing was written\n"); }
  return kOk;
}

}  // namespace

void add_run(CLI::App& app, Body& body) {
  CLI::App* command = app.add_subcommand("run", "Run one entry of a program on a device, arrays as .npy files");
  auto options = std::make_shared<Options>();
  command->add_option("--device", options->device, "URI, as 'halyard devices' lists it")->required();
  CLI::Option_group* what = command->add_option_group("program");
  what->add_option("--graph", options->graph, "File of format hal.graph");
  what->add_option("--image", options->image, "FORMAT:FILE, such as ptx:kernels.ptx");
  what->require_option(1);
  command->add_option("--manifest", options->manifest, "File with the entries' signatures, for formats without types");
  command->add_option("--entry", options->entry, "Which entry; may be left out if there is one");
  command->add_option("--in", options->binding.inputs, "NAME=FILE.npy, for each buffer or tensor that is read")
      ->check(named_value());
  command->add_option("--out", options->binding.outputs, "NAME=FILE.npy, for each result to keep")
      ->check(named_value());
  command->add_option("--set", options->binding.scalars, "NAME=NUMBER, for each scalar")->check(named_value());
  command
      ->add_option("--shape", options->binding.shapes,
                   "NAME=4,8 for a written buffer whose size the signature leaves open")
      ->check(named_value());
  command->add_option("--grid", options->grid, "Kernels: groups, X[,Y[,Z]]");
  command->add_option("--group", options->group, "Kernels: group size, if not the entry's own")->needs("--grid");
  command->add_option("--timeout", options->timeout_seconds, "Seconds to wait")
      ->capture_default_str()
      ->check(seconds(0.001, 86'400));
  command->callback([&body, options] { body = [options] { return run(*options); }; });
}

}  // namespace hal::cli
