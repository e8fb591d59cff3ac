// SPDX-License-Identifier: Apache-2.0
#include "cli/graph_compare.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "cli/instance.hpp"
#include "cli/lent.hpp"
#include "cli/say.hpp"
#include "cli/usage.hpp"
#include "digits/npy.hpp"
#include "graph/compare.hpp"
#include "graph/probe.hpp"
#include "graph/reference.hpp"
#include "graph/rules.hpp"
#include "hal/hal.hpp"

namespace hal::cli {
namespace {

using Bytes = std::vector<std::byte>;
using Tensors = std::vector<Bytes>;

constexpr std::size_t kShownAtOnce = 32;
constexpr std::chrono::seconds kPatience{120};

class Place {
 public:
  static Result<Place> open(const Instance& instance, const std::string& name) {
    Place place;
    place.name_ = name;
    if (name == "reference") { return place; }
    HAL_TRY(place.device_, instance.open(name));
    place.is_device_ = true;
    return place;
  }

  const std::string& name() const { return name_; }

  std::string text() const {
    if (!is_device_) { return "reference (double precision)"; }
    const DeviceInfo info = device_.info();
    return fmt::format("{} ({}{})", name_, info.name, info.is_emulated != 0 ? ", emulated" : "");
  }

  Result<Tensors> run(std::span<const std::byte> image, const Tensors& inputs) const {
    Result<Tensors> out = is_device_ ? on_device(image, inputs) : on_reference(image, inputs);
    if (!out) { return std::move(out).error().while_doing(fmt::format("running the graph on {}", name_)); }
    return out;
  }

 private:
  static Result<Tensors> on_reference(std::span<const std::byte> image, const Tensors& inputs) {
    HAL_TRY(const graph::View view, graph::View::verify(image));
    const std::vector<std::span<const std::byte>> spans(inputs.begin(), inputs.end());
    return graph::evaluate_reference(view, spans);
  }

  Result<Tensors> on_device(std::span<const std::byte> image, const Tensors& inputs) const {
    HAL_TRY(const graph::View view, graph::View::verify(image));
    HAL_TRY(const Program program, device_.load({"hal.graph", image}));
    const Entry entry = program.entry(0U);
    HAL_TRY(Queue queue, device_.queue("halyard graph"));
    // Host memory outlives work that uses it, also if this returns early.
    Lent<Tensors> memory(inputs);
    memory.to(queue);
    std::vector<Buffer> buffers;
    std::vector<Arg> args;
    for (std::size_t t = 0; t < view.parameter_count(); ++t) {
      HAL_TRY(Buffer buffer, device_.buffer(view.tensor(t).bytes));
      if (t < inputs.size()) {
        HAL_CHECK(queue.copy(host((*memory)[t]), buffer));
      } else {
        memory->emplace_back(view.tensor(t).bytes);
      }
      args.emplace_back(buffer);
      buffers.push_back(std::move(buffer));
    }
    HAL_CHECK(queue.run(entry, args));
    Point done{};
    for (std::size_t t = inputs.size(); t < buffers.size(); ++t) {
      HAL_TRY(done, queue.copy(buffers[t], host((*memory)[t])));
    }
    HAL_CHECK(wait(done, kPatience));
    return Tensors(memory->begin() + static_cast<std::ptrdiff_t>(inputs.size()), memory->end());
  }

  std::string name_;
  Device device_;
  bool is_device_ = false;
};

// What is not there in memory is not filled with numbers: a graph of a few hundred bytes can ask for 2^46.
Result<void> check_room(const graph::View& view) {
  const auto machine =
      static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  std::uint64_t bytes = 0;
  const graph::Tensor* largest = nullptr;
  for (std::size_t t = 0; t < view.parameter_count(); ++t) {
    const graph::Tensor& tensor = view.tensor(t);
    bytes = tensor.bytes > UINT64_MAX - bytes ? UINT64_MAX : bytes + tensor.bytes;
    if (largest == nullptr || tensor.bytes > largest->bytes) { largest = &tensor; }
  }
  if (bytes <= machine / 4) { return {}; }  // held for two places, and by a device in host memory
  return Error(
      HAL_OUT_OF_HOST_MEMORY,
      fmt::format("graph \"{}\": inputs and outputs are {} bytes, of which \"{}\" {}{} is {}; a comparison takes a "
                  "quarter of this machine's memory at most, {} bytes",
                  view.name(), bytes, largest->name, dtype_name(largest->dtype), graph::print_shape(largest->shape()),
                  largest->bytes, machine / 4));
}

Result<Tensors> inputs_of(const graph::View& view, const GraphComparison& options) {
  Tensors inputs = graph::random_inputs(view, options.seed);
  for (const std::string& text : options.inputs) {
    const std::size_t equals = text.find('=');
    const std::string name = text.substr(0, std::min(equals, text.size()));
    const auto tensor = std::ranges::find(view.inputs(), name, &graph::Tensor::name);
    if (equals == std::string::npos || tensor == view.inputs().end()) {
      return Error(HAL_INVALID_ARGUMENT,
                   fmt::format("--in {}: expected NAME=FILE.npy with an input of graph \"{}\"", text, view.name()));
    }
    HAL_TRY(digits::Array array, digits::load_npy(text.substr(equals + 1)));
    if (array.dtype != tensor->dtype || !std::ranges::equal(array.shape, tensor->shape())) {
      return Error(HAL_INVALID_ARGUMENT, fmt::format("--in {}: the file holds {}{}, the input is {}{}", text,
                                                     dtype_name(array.dtype), graph::print_shape(array.shape),
                                                     dtype_name(tensor->dtype), graph::print_shape(tensor->shape())));
    }
    inputs[static_cast<std::size_t>(tensor - view.inputs().begin())] = std::move(array.bytes);
  }
  return inputs;
}

// Prints the first node, in order of execution, whose result is not the same at both places.
Result<void> find_first(const graph::View& view, const Tensors& inputs, const Place& a, const Place& b) {
  std::vector<std::uint32_t> nodes;
  for (std::uint32_t i = 0; i < view.nodes().size(); ++i) {
    if (view.nodes()[i].op != graph::Op::constant) { nodes.push_back(i); }
  }
  for (std::size_t first = 0; first < nodes.size(); first += kShownAtOnce) {
    const std::size_t count = std::min(kShownAtOnce, nodes.size() - first);
    std::vector<std::uint32_t> shown;
    for (std::size_t k = 0; k < count; ++k) { shown.push_back(view.nodes()[nodes[first + k]].output); }
    HAL_TRY(const Bytes image, graph::showing(view, shown));
    HAL_TRY(const Tensors of_a, a.run(image, inputs));
    HAL_TRY(const Tensors of_b, b.run(image, inputs));
    for (std::size_t k = 0; k < count; ++k) {
      const graph::Tensor& tensor = view.tensor(shown[k]);
      const auto same = graph::compare(tensor.dtype, of_b[k], of_a[k]);
      if (same) { continue; }
      say("  the first to differ is {}, %{} {}{}: {}\n", view.node_label(nodes[first + k]), shown[k],
          dtype_name(tensor.dtype), graph::print_shape(tensor.shape()), same.text());
      return {};
    }
  }
  say("  every node agrees when its result is stored: the difference is in what a device computes between\n");
  return {};
}

}  // namespace

Result<bool> compare_places(const graph::View& view, const GraphComparison& options) {
  if (options.places.size() < 2) {
    return usage_error("--compare: expected two devices or more, such as reference,host:0");
  }
  HAL_CHECK(check_room(view));
  HAL_TRY(const Instance instance, open_instance());
  HAL_TRY(const Tensors inputs, inputs_of(view, options));
  std::vector<std::uint32_t> outputs;
  for (std::size_t t = view.inputs().size(); t < view.parameter_count(); ++t) {
    outputs.push_back(static_cast<std::uint32_t>(t));
  }
  HAL_TRY(const Bytes image, graph::showing(view, outputs));
  HAL_TRY(const Place first, Place::open(instance, options.places[0]));
  HAL_TRY(const Tensors expected, first.run(image, inputs));
  say("graph \"{}\" with seed {}: {} is what the others are held against\n", view.name(), options.seed, first.text());
  bool all = true;
  for (std::size_t p = 1; p < options.places.size(); ++p) {
    HAL_TRY(const Place place, Place::open(instance, options.places[p]));
    HAL_TRY(const Tensors found, place.run(image, inputs));
    say("{}\n", place.text());
    bool agrees = true;
    for (std::size_t o = 0; o < found.size(); ++o) {
      const graph::Tensor& tensor = view.outputs()[o];
      const auto same = graph::compare(tensor.dtype, found[o], expected[o]);
      say("  {} {}{}: {}\n", tensor.name, dtype_name(tensor.dtype), graph::print_shape(tensor.shape()), same.text());
      agrees = agrees && same;
    }
    if (!agrees) { HAL_CHECK(find_first(view, inputs, first, place)); }
    all = all && agrees;
  }
  return all;
}

}  // namespace hal::cli
