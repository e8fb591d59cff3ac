// SPDX-License-Identifier: Apache-2.0
#include "conformance/cases/graphs.hpp"

#include <cmath>
#include <cstring>

#include "graph/element.hpp"
#include "graph/reference.hpp"
#include "graph/view.hpp"

namespace hal::conformance {
namespace {

constexpr double kUnitF32 = 0x1p-24;  // half a unit in the last place, relative
constexpr double kUnitBf16 = 0x1p-9;

graph::View view_of(const GraphBytes& bytes) {
  auto view = graph::View::verify(bytes);
  if (!view) { fail_case(HAL_HERE, "the case's own graph does not verify: " + std::string(view.error().text())); }
  return *std::move(view);
}

Tensors absolute(const graph::View& view, Tensors inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const graph::Tensor& tensor = view.inputs()[i];
    for (std::int64_t k = 0; k < tensor.elements; ++k) {
      graph::store_element(tensor.dtype, inputs[i].data(), k,
                           std::fabs(graph::load_element(tensor.dtype, inputs[i].data(), k)));
    }
  }
  return inputs;
}

bool has_kind(const graph::View& view, DType type) {
  for (const graph::Tensor& tensor : view.inputs()) {
    if (tensor.dtype == type) { return true; }
  }
  return false;
}

}  // namespace

GraphBytes finish(const GraphBuilder& builder) {
  auto bytes = builder.finish();
  if (!bytes) { fail_case(HAL_HERE, "the case's own graph cannot be built: " + std::string(bytes.error().text())); }
  return *std::move(bytes);
}

hal_image graph_image(const GraphBytes& bytes) {
  return {"hal.graph", bytes.data(), bytes.size(), nullptr, nullptr, 0};
}

Owned<hal_program> load_graph(Case& t, const GraphBytes& bytes) {
  const hal_image image = graph_image(bytes);
  Owned<hal_program> program;
  EXPECT_OK(hal_program_load(t.device(), &image, program.out()));
  return program;
}

GraphBytes identity_graph(std::int64_t n) {
  GraphBuilder b("identity");
  b.output("y", b.map({b.input("x", DType::f32, {n})}, graph::arg(0) + 0.0));
  return finish(b);
}

GraphBytes dynamic_graph() {
  GraphBuilder b("dynamic");
  b.output("y", b.map({b.input("x", DType::f32, {b.symbol("n")})}, graph::arg(0) + 0.0));
  return finish(b);
}

Tensors random_inputs(Case& t, const GraphBytes& bytes) {
  const graph::View view = view_of(bytes);
  Tensors inputs;
  for (const graph::Tensor& tensor : view.inputs()) {
    std::vector<std::byte> data(tensor.bytes);
    for (std::int64_t i = 0; i < tensor.elements; ++i) {
      const bool floating = tensor.dtype == DType::f32 || tensor.dtype == DType::bf16 || tensor.dtype == DType::f64;
      const double value =
          floating ? static_cast<double>(t.random().unit()) : static_cast<double>(t.random().below(101)) - 50;
      graph::store_element(tensor.dtype, data.data(), i, value);
    }
    inputs.push_back(std::move(data));
  }
  return inputs;
}

Tensors run_on_device(Case& t, hal_queue* queue, hal_program* program, const GraphBytes& bytes, const Tensors& inputs) {
  const graph::View view = view_of(bytes);
  std::vector<Owned<hal_buffer>> buffers;
  std::vector<hal_command> commands;
  std::vector<hal_arg> args;
  for (const auto& input : inputs) {
    buffers.push_back(t.buffer(input.size()));
    commands.push_back(copy(whole(buffers.back()), hal_host(input.data(), input.size())));
    args.push_back(arg(whole(buffers.back())));
  }
  Tensors outputs;
  for (const graph::Tensor& tensor : view.outputs()) {
    buffers.push_back(t.buffer(tensor.bytes));
    outputs.emplace_back(tensor.bytes);
    commands.push_back(fill(whole(buffers.back()), 0xEE));  // what a run leaves out must not look right by accident
    args.push_back(arg(whole(buffers.back())));
  }
  commands.push_back(run_graph(program, 0, args));
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    commands.push_back(copy(hal_host(outputs[i].data(), outputs[i].size()), whole(buffers[inputs.size() + i])));
  }
  t.wait(t.submit(queue, commands));
  return outputs;
}

Tensors run_reference(const GraphBytes& bytes, const Tensors& inputs) {
  std::vector<std::span<const std::byte>> spans(inputs.begin(), inputs.end());
  auto outputs = graph::evaluate_reference(view_of(bytes), spans);
  if (!outputs) {
    fail_case(HAL_HERE, "the reference refuses the case's own graph: " + std::string(outputs.error().text()));
  }
  return *std::move(outputs);
}

Bound exact() { return nullptr; }

Bound sum_of(std::int64_t terms, DType result) {
  const double roundings = static_cast<double>(terms + 1) * kUnitF32;
  const double store = result == DType::bf16 ? kUnitBf16 : kUnitF32;
  // Both sides round at the store, so a value near a tie may differ by a whole unit.
  return [=](double reference, double absolute) {
    return absolute * roundings + 2 * store * std::fabs(reference) + 1e-37;
  };
}

Bound ulps(double count, double absolute) {
  return [=](double reference, double) { return 2 * kUnitF32 * count * std::fabs(reference) + absolute; };
}

void compare(const char* name, const GraphBytes& bytes, const Tensors& inputs, const Tensors& found,
             const Bound& bound) {
  const graph::View view = view_of(bytes);
  const Tensors expected = run_reference(bytes, inputs);
  // Indices are i32 inputs too; their absolute values are themselves, so this stays a legal run.
  const Tensors condition =
      bound && !has_kind(view, DType::i32) ? run_reference(bytes, absolute(view, inputs)) : expected;
  EXPECT_EQ(found.size(), expected.size());
  for (std::size_t output = 0; output < expected.size(); ++output) {
    const graph::Tensor& tensor = view.outputs()[output];
    for (std::int64_t i = 0; i < tensor.elements; ++i) {
      const double want = graph::load_element(tensor.dtype, expected[output].data(), i);
      const double have = graph::load_element(tensor.dtype, found[output].data(), i);
      if (!is_floating(tensor.dtype) &&
          graph::load_integer(tensor.dtype, expected[output].data(), i) !=
              graph::load_integer(tensor.dtype, found[output].data(), i) &&
          want == have) {
        fail_case(HAL_HERE, std::string(name) + ": element " + std::to_string(i) + " of '" + std::string(tensor.name) +
                                "' differs in bits that a double does not show");
      }
      const double room = bound ? bound(want, graph::load_element(tensor.dtype, condition[output].data(), i)) : 0;
      const bool same = std::isnan(want) ? std::isnan(have) : want == have || std::fabs(want - have) <= room;
      if (!same) {
        char numbers[160];
        std::snprintf(numbers, sizeof numbers, "expected %.9g, found %.9g, off by %.3g where %.3g is allowed", want,
                      have, std::fabs(want - have), room);
        fail_case(HAL_HERE, std::string(name) + ": element " + std::to_string(i) + " of '" + std::string(tensor.name) +
                                "': " + numbers);
      }
    }
    count_check();
  }
}

void expect_graph(Case& t, const char* name, const GraphBytes& bytes, const Tensors& inputs, const Bound& bound) {
  auto queue = t.queue();
  auto program = load_graph(t, bytes);
  compare(name, bytes, inputs, run_on_device(t, queue, program, bytes, inputs), bound);
}

void expect_graph(Case& t, const char* name, const GraphBuilder& builder, const Bound& bound) {
  const GraphBytes bytes = finish(builder);
  expect_graph(t, name, bytes, random_inputs(t, bytes), bound);
}

std::uint64_t lazy_loads(Case& t) {
  std::uint64_t count = 0;
  hal_error* error = hal_device_number(t.device(), "program.lazy_loads", &count);
  if (error != nullptr) { EXPECT_CODE(error, HAL_NOT_FOUND); }
  return count;
}

}  // namespace hal::conformance
