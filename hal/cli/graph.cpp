// SPDX-License-Identifier: Apache-2.0
// halyard graph: a hal.graph file as text.
#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/files.hpp"
#include "graph/print.hpp"

namespace hal::cli {
namespace {

Result<int> run(const std::string& path) {
  HAL_TRY(const std::vector<std::byte> bytes, read_file(path));
  Result<graph::View> view = graph::View::verify(bytes);
  if (!view) { return std::move(view).error().while_doing(fmt::format("reading {}", path)); }
  fmt::print("{}", graph::print(*view));
  return kOk;
}

}  // namespace

void add_graph(CLI::App& app, Body& body) {
  CLI::App* command = app.add_subcommand("graph", "Verify a hal.graph file and print it");
  auto path = std::make_shared<std::string>();
  command->add_option("FILE", *path, "A file of format hal.graph")->required();
  command->callback([&body, path] { body = [path] { return run(*path); }; });
}

}  // namespace hal::cli
