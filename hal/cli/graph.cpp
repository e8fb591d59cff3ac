// SPDX-License-Identifier: Apache-2.0
// halyard graph: a hal.graph file as text or picture, against another file, or on several devices.
#include <fmt/format.h>

#include <charconv>
#include <sstream>

#include "cli/command.hpp"
#include "cli/files.hpp"
#include "cli/graph_compare.hpp"
#include "cli/say.hpp"
#include "cli/usage.hpp"
#include "graph/difference.hpp"
#include "graph/draw.hpp"
#include "graph/fuse.hpp"
#include "graph/plan.hpp"
#include "graph/print.hpp"

namespace hal::cli {
namespace {

struct Options {
  std::string path, svg, compare;
  std::vector<std::string> sizes;
  std::string seed;  // empty: not given
  GraphComparison comparison;
};

Result<graph::View> verified(const std::string& path, std::span<const std::byte> bytes) {
  Result<graph::View> view = graph::View::verify_dynamic(bytes);
  if (!view) { return std::move(view).error().while_doing(fmt::format("reading {}", path)); }
  return view;
}

// The graph with the sizes of the command line in the place of its symbols; as it is if none are given.
Result<graph::View> sized(const graph::View& view, const std::vector<std::string>& sizes) {
  if (sizes.empty()) { return view; }
  const std::vector<std::string> symbols = view.symbols();
  std::vector<std::int64_t> extents(symbols.size(), 0);
  for (const std::string& text : sizes) {
    const std::size_t equals = std::min(text.find('='), text.size());
    const auto symbol = std::ranges::find(symbols, text.substr(0, equals));
    std::int64_t size = 0;
    const char* const from = text.data() + std::min(equals + 1, text.size());
    const auto [end, problem] = std::from_chars(from, text.data() + text.size(), size);
    if (symbol == symbols.end() || problem != std::errc{} || end != text.data() + text.size() || size < 1) {
      return Error(HAL_INVALID_ARGUMENT, fmt::format("--size {}: expected NAME=SIZE with a symbol of the graph ({})",
                                                     text, fmt::join(symbols, ", ")));
    }
    std::int64_t& extent = extents[static_cast<std::size_t>(symbol - symbols.begin())];
    if (extent != 0) { return usage_error(fmt::format("--size {}: '{}' is given twice", text, *symbol)); }
    extent = size;
  }
  return view.bind(extents);
}

// What only a comparison of devices reads is refused elsewhere: silence would look as if it had been used.
Result<void> no_inputs_here(const Options& options) {
  if (options.comparison.inputs.empty() && options.seed.empty()) { return {}; }
  return usage_error(fmt::format("{} says what devices are compared with, and none are; try --compare reference,host:0",
                                 options.seed.empty() ? "--in" : "--seed"));
}

Result<std::uint64_t> seed_of(const std::string& text) {
  std::uint64_t seed = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (problem == std::errc() && end == text.data() + text.size()) { return seed; }
  return usage_error(fmt::format("--seed {}: expected a whole number from 0 to {}", text, UINT64_MAX));
}

// "reference" or what has a colon is a place to run; anything else is a file.
bool names_places(const std::string& text) {
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    if (part != "reference" && part.find(':') == std::string::npos) { return false; }
  }
  return !text.empty();
}

Result<int> run(const Options& options) {
  HAL_TRY(const std::vector<std::byte> bytes, read_file(options.path));
  HAL_TRY(const graph::View symbolic, verified(options.path, bytes));
  HAL_TRY(const graph::View view, sized(symbolic, options.sizes));
  if (!options.compare.empty() && !names_places(options.compare)) {
    HAL_CHECK(no_inputs_here(options));
    HAL_TRY(const std::vector<std::byte> other_bytes, read_file(options.compare));
    HAL_TRY(const graph::View other, verified(options.compare, other_bytes));
    const std::string difference = graph::structural_difference(symbolic, other);
    say("{}", difference.empty() ? "the graphs are the same\n" : difference);
    return difference.empty() ? kOk : kFailed;
  }
  if (options.compare.empty()) { HAL_CHECK(no_inputs_here(options)); }
  if (view.is_dynamic()) {
    if (options.svg.empty() && options.compare.empty()) {
      say("{}  sizes are symbolic: give --size {}=N for steps and memory\n", graph::print(view),
          view.symbols().front());
      return kOk;
    }
    return Error(HAL_INVALID_ARGUMENT, fmt::format("{} has symbolic sizes ({}): give --size NAME=N for each",
                                                   options.path, fmt::join(view.symbols(), ", ")));
  }
  if (!options.compare.empty()) {
    GraphComparison comparison = options.comparison;
    if (!options.seed.empty()) { HAL_TRY(comparison.seed, seed_of(options.seed)); }
    std::istringstream parts(options.compare);
    for (std::string part; std::getline(parts, part, ',');) { comparison.places.push_back(part); }
    HAL_TRY(const bool agree, compare_places(view, comparison));
    return agree ? kOk : kFailed;
  }
  const std::vector<graph::FusedStep> steps = graph::fuse(view);
  if (!options.svg.empty()) {
    HAL_TRY(const std::string picture, graph::draw_svg(view, steps));
    HAL_CHECK(write_file(options.svg, std::as_bytes(std::span(picture))));
    say("{} nodes in {} steps -> {}\n", view.nodes().size(), steps.size(), options.svg);
    return kOk;
  }
  HAL_TRY(const graph::Plan plan, graph::plan_memory(view, steps, {.alignment = 64, .in_place = true}));
  say("{}{}", graph::print(view), graph::print_steps(view, steps, plan));
  return kOk;
}

}  // namespace

void add_graph(CLI::App& app, Body& body) {
  CLI::App* command = app.add_subcommand("graph", "Verify a hal.graph file; print, draw or compare it");
  auto options = std::make_shared<Options>();
  command->add_option("FILE", options->path, "A file of format hal.graph")->required();
  CLI::Option* svg = command->add_option("--svg", options->svg, "Draw it into this file instead");
  command
      ->add_option(
          "--compare", options->compare,
          "Another hal.graph file: what it has other; or two or more of 'reference' and device URIs, joined by "
          "commas: do they agree, and which node differs first")
      ->excludes(svg);
  command->add_option("--size", options->sizes, "NAME=N, for each symbolic size")->check(named_value());
  command->add_option("--in", options->comparison.inputs, "NAME=FILE.npy, an input to compare devices with")
      ->check(named_value());
  command->add_option("--seed", options->seed, "Of the inputs that no --in gives (1)");
  command->callback([&body, options] { body = [options] { return run(*options); }; });
}

}  // namespace hal::cli
