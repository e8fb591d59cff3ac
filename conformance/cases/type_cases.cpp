// SPDX-License-Identifier: Apache-2.0
// The matrix of primitives and element types, what devices say of types, and moves bit by bit.
#include "graph/cases.hpp"

#include <cmath>
#include <cstring>
#include <string>
#include <string_view>

#include "conformance/cases/graphs.hpp"
#include "graph/element.hpp"
#include "graph/view.hpp"

namespace hal::conformance {
namespace {

using graph::ScatterMode;
using graph::Value;

// Half a unit in the last place, relative, and the smallest subnormal.
struct Precision {
  double half_unit, smallest;
};
Precision precision_of(DType type) {
  switch (type) {
    case DType::f64:
      return {0x1p-53, 0};
    case DType::f16:
      return {0x1p-11, 0x1p-24};
    case DType::bf16:
      return {0x1p-9, 0};
    case DType::f8e4m3:
      return {0x1p-4, 0x1p-9};
    case DType::f8e5m2:
      return {0x1p-3, 0x1p-16};
    default:
      return {0x1p-24, 0};
  }
}

// How exact a case must be. The inputs of floating cases are eighths up to 4, so sums, products of two and polynomials
// of them are exact in f32 in any order: only one rounding is left, and that has one result. What computes with more
// roundings gets those, in the type that they happen in, and one unit for the store.
Bound bound_of(std::string_view name, DType type) {
  const bool is = is_floating(type);
  const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  double roundings = 0;
  double absolute = 0;
  if (is && has(".map.functions")) {
    roundings = 3 * 16;  // three functions within 16 units, as GRF-001 has it
    absolute = type == DType::f64 ? 0x1p-48 : 0x1p-18;
  } else if (is && has(".map.quotient")) {
    roundings = 4;
  } else if (is && has(".reduce.prod")) {
    roundings = 2 * 21;
  } else if (is && has(".scatter.add")) {
    // A device may round after each of the two updates; base and updates are at most 4.
    absolute = 3 * 2 * precision_of(type).half_unit * 12;
  } else {
    return exact();
  }
  const double compute = type == DType::f64 ? 0x1p-53 : 0x1p-24;
  const Precision store = precision_of(type);
  return [=](double reference, double) {
    return (roundings * compute + 2 * store.half_unit) * std::fabs(reference) + store.smallest + absolute;
  };
}

std::string_view dtype_feature(DType type, std::string& keep) {
  keep = "dtype." + std::string(dtype_name(type));
  return keep;
}
bool declares(Case& t, DType type) {
  std::string name;
  return hal_device_supports(t.device(), dtype_feature(type, name).data()).support != HAL_NO;
}

// Every case of one type. Those that have a tensor of a type that the device denies must be refused, by that name.
void run_type(Case& t, DType type) {
  const std::string prefix = std::string(dtype_name(type)) + ".";
  std::size_t cases = 0;
  for (const graph::Case& test : graph::type_cases()) {
    if (!test.name.starts_with(prefix)) { continue; }
    ++cases;
    const auto view = graph::View::verify(test.bytes);
    EXPECT(view.has_value());
    std::string denied;
    for (const graph::Tensor& tensor : view->tensors()) {
      if (!declares(t, tensor.dtype)) { denied += std::string(dtype_name(tensor.dtype)) + " "; }
    }
    const hal_image image = graph_image(test.bytes);
    const hal_verdict verdict = hal_device_check(t.device(), &image);
    if (denied.empty()) {
      if (verdict.support == HAL_NO) { fail_case(HAL_HERE, test.name + ": is refused: " + verdict.why); }
      expect_graph(t, test.name.c_str(), test.bytes, test.inputs, bound_of(test.name, type));
      continue;
    }
    if (verdict.support != HAL_NO) { fail_case(HAL_HERE, test.name + ": loads, though the device denies " + denied); }
    bool named = false;
    for (const graph::Tensor& tensor : view->tensors()) {
      named = named || std::string_view(verdict.why).find(dtype_name(tensor.dtype)) != std::string_view::npos;
    }
    if (!named) { fail_case(HAL_HERE, test.name + ": is refused without the type's name: " + verdict.why); }
    hal_program* none = nullptr;
    EXPECT_CODE(hal_program_load(t.device(), &image, &none), HAL_UNSUPPORTED);
    EXPECT(none == nullptr);
  }
  EXPECT(cases > 20);
}

}  // namespace

HAL_CASE(GRF_004, "f64 in every primitive") { run_type(t, DType::f64); }
HAL_CASE(GRF_004, "f32 in every primitive") { run_type(t, DType::f32); }
HAL_CASE(GRF_004, "f16 in every primitive") { run_type(t, DType::f16); }
HAL_CASE(GRF_004, "bf16 in every primitive") { run_type(t, DType::bf16); }
HAL_CASE(GRF_004, "f8e4m3 in every primitive") { run_type(t, DType::f8e4m3); }
HAL_CASE(GRF_004, "f8e5m2 in every primitive") { run_type(t, DType::f8e5m2); }
HAL_CASE(GRF_004, "i64 in every primitive") { run_type(t, DType::i64); }
HAL_CASE(GRF_004, "i32 in every primitive") { run_type(t, DType::i32); }
HAL_CASE(GRF_004, "i8 in every primitive") { run_type(t, DType::i8); }
HAL_CASE(GRF_004, "i4 in every primitive") { run_type(t, DType::i4); }
HAL_CASE(GRF_004, "u8 in every primitive") { run_type(t, DType::u8); }
HAL_CASE(GRF_004, "bool in every primitive") { run_type(t, DType::boolean); }

HAL_CASE(GRF_007, "declared types are those that load") {
  for (int type = HAL_F64; type <= HAL_U64; ++type) {
    const auto dtype = static_cast<DType>(type);
    const bool declared = declares(t, dtype);
    GraphBuilder b("typed");
    b.output("y", b.view(b.input("x", dtype, {9}), {9}, 8, {-1}));
    const auto bytes = b.finish();
    if (!bytes) {  // no type of tensor graphs
      if (declared) { fail_case(HAL_HERE, "declares dtype." + std::string(dtype_name(dtype)) + ", which graphs lack"); }
      continue;
    }
    const hal_image image = graph_image(*bytes);
    const hal_verdict verdict = hal_device_check(t.device(), &image);
    if ((verdict.support != HAL_NO) != declared) {
      fail_case(HAL_HERE, "dtype." + std::string(dtype_name(dtype)) + (declared ? " is declared" : " is denied") +
                              ", and a graph of it says: " + verdict.why);
    }
  }
  EXPECT(declares(t, DType::f32));
  EXPECT(declares(t, DType::i32));
}

HAL_CASE(GRF_008, "moves keep every bit") {
  auto queue = t.queue();
  for (int type = HAL_F64; type <= HAL_U8; ++type) {
    const auto dtype = static_cast<DType>(type);
    if (!declares(t, dtype)) { continue; }
    // Even counts everywhere: half bytes of i4 pair up, so that whole outputs can be compared as bytes.
    GraphBuilder b("moves");
    const Value x = b.input("x", dtype, {6, 8}), i = b.input("i", DType::i32, {4});
    b.output("view", b.view(x, {6, 8}, 47, {-8, -1}));
    b.output("gather", b.gather(x, i, 0));
    b.output("set", b.scatter(b.view(x, {6, 8}, 0, {8, 1}), i, b.slice(x, {2, 0}, {4, 8}), 0, ScatterMode::set));
    b.output("pad", b.pad(x, {1, 0}, {0, 2}, 0));
    b.output("concat", b.concat({x, x}, 1));
    const GraphBytes bytes = finish(b);
    Tensors inputs = random_inputs(t, bytes);
    for (std::byte& byte : inputs[0]) { byte = static_cast<std::byte>(t.random().next()); }
    const std::int32_t rows[] = {5, 0, 3, 5};
    std::memcpy(inputs[1].data(), rows, sizeof rows);
    auto program = load_graph(t, bytes);
    const Tensors found = run_on_device(t, queue, program, bytes, inputs);

    // By bits, without any arithmetic of elements.
    const std::size_t bits = dtype_bits(dtype);
    const auto bit = [&](const std::vector<std::byte>& from, std::size_t element, std::size_t k) {
      const std::size_t at = element * bits + k;
      return (std::to_integer<unsigned>(from[at / 8]) >> (at % 8)) & 1U;
    };
    const auto expect = [&](std::size_t output, const char* name, std::size_t count, const auto& source) {
      for (std::size_t e = 0; e < count; ++e) {
        const long from = source(e);
        for (std::size_t k = 0; k < bits; ++k) {
          const unsigned want = from < 0 ? 0 : bit(inputs[0], static_cast<std::size_t>(from), k);
          if (bit(found[output], e, k) == want) { continue; }
          fail_case(HAL_HERE, std::string(name) + " of " + std::string(dtype_name(dtype)) + ": element " +
                                  std::to_string(e) + " differs in bit " + std::to_string(k));
        }
      }
      count_check();
    };
    const auto at = [](std::size_t row, std::size_t column) { return static_cast<long>(row * 8 + column); };
    expect(0, "view", 48, [](std::size_t e) { return 47 - static_cast<long>(e); });
    expect(1, "gather", 32, [&](std::size_t e) { return at(static_cast<std::size_t>(rows[e / 8]), e % 8); });
    expect(2, "scatter", 48, [&](std::size_t e) {
      long from = static_cast<long>(e);
      for (std::size_t j = 0; j < 4; ++j) {
        if (static_cast<std::size_t>(rows[j]) == e / 8) { from = at(2 + j, e % 8); }
      }
      return from;
    });
    expect(3, "pad", 70, [&](std::size_t e) { return e / 10 == 0 || e % 10 >= 8 ? -1 : at(e / 10 - 1, e % 10); });
    expect(4, "concat", 96, [&](std::size_t e) { return at(e / 16, e % 8); });
  }
}

}  // namespace hal::conformance
