// SPDX-License-Identifier: Apache-2.0
#include "graph/cases.hpp"

#include <cmath>
#include <halyard_catch.hpp>
#include <set>

#include "graph/compare.hpp"
#include "graph/element.hpp"
#include "graph/print.hpp"
#include "graph/signature.hpp"
#include "graph/test_tensors.hpp"

namespace {

using namespace hal::graph;
using hal::DType;

}  // namespace

TEST_CASE("cases: names are unique, graphs verify, and the reference runs each or says why not") {
  std::set<std::string> names;
  std::set<Op> ops;
  std::set<Opcode> opcodes;
  for (const Case& test : graph_cases()) {
    CAPTURE(test.name);
    CHECK(names.insert(test.name).second);
    const auto view = View::verify(test.bytes);
    REQUIRE(view);
    for (const Node& node : view->nodes()) {
      ops.insert(node.op);
      if (node.op != Op::map) { continue; }
      for (const Instruction& at : node.as<MapAttributes>().code) { opcodes.insert(at.opcode); }
    }
    CHECK_FALSE(print(*view).empty());
    const auto outputs = expected_outputs(test);
    if (test.fails_out_of_range) {
      REQUIRE_FALSE(outputs);
      CHECK(outputs.error().code() == HAL_OUT_OF_RANGE);
      continue;
    }
    REQUIRE(outputs);
    REQUIRE(outputs->size() == view->outputs().size());
    for (std::size_t i = 0; i < outputs->size(); ++i) { CHECK((*outputs)[i].size() == view->outputs()[i].bytes); }
  }
  CHECK(ops.size() == 10);
  CHECK(opcodes.size() == 33);
  CHECK(names.size() >= 250);
}

TEST_CASE("cases: every primitive in every element type") {
  std::set<std::string> names;
  std::set<std::pair<Op, DType>> seen;
  for (const Case& test : type_cases()) {
    CAPTURE(test.name);
    CHECK(names.insert(test.name).second);
    const auto view = View::verify(test.bytes);
    REQUIRE(view);
    for (const Node& node : view->nodes()) { seen.insert({node.op, view->tensor(node.output).dtype}); }
    REQUIRE(expected_outputs(test));
  }
  CHECK(seen.size() == 10 * 12);
}

TEST_CASE("cases: every layer in every element type is what it is in f64, or is refused by its name") {
  const std::set<std::string> integers{"i64", "i32", "i8", "i4", "u8", "bool"};
  const std::set<std::string> real{"sigmoid",       "tanh",         "silu",        "gelu",           "gelu_tanh",
                                   "softmax",       "log_softmax",  "layer_norm",  "rms_norm",       "batch_norm",
                                   "group_norm",    "average_pool", "attention",   "attention.mask", "rotary",
                                   "resize_linear", "quantise.i8",  "quantise.u8", "quantise.i4"};
  const LayerCases all = layer_cases();
  for (const RefusedLayer& one : all.refused) {
    INFO(one.type << "." << one.layer << ": " << one.why);
    CHECK(integers.contains(one.type) == real.contains(one.layer));
    CHECK((real.contains(one.layer) || one.layer == "dequantise"));
    CHECK(one.why.find(one.layer.substr(0, one.layer.find('.')) + ": ") != std::string::npos);
  }
  CHECK(all.refused.size() == integers.size() * real.size() + 6);  // dequantise of the six floating types
  CHECK(all.cases.size() + all.refused.size() == std::size_t{12} * 39);
  const auto numbers = [](const Case& test, std::size_t output, DType& type) {
    const View view = View::verify(test.bytes).value();
    const Tensor& tensor = view.outputs()[output];
    const auto bytes = expected_outputs(test).value()[output];
    std::vector<double> out;
    for (std::int64_t i = 0; i < tensor.elements; ++i) { out.push_back(load_element(tensor.dtype, bytes.data(), i)); }
    type = tensor.dtype;
    return out;
  };
  for (std::size_t c = 0; c < all.cases.size(); ++c) {
    CAPTURE(all.cases[c].name);
    for (std::size_t o = 0; o < View::verify(all.cases[c].bytes).value().outputs().size(); ++o) {
      DType type{}, exact_type{};
      const auto found = numbers(all.cases[c], o, type), exact = numbers(all.exact[c], o, exact_type);
      REQUIRE(found.size() == exact.size());
      // Half a unit in the last place for each rounding on the way, of which no layer has more than two in a row.
      const double bound = type == DType::f8e5m2   ? 0x1p-3
                           : type == DType::f8e4m3 ? 0x1p-4
                           : type == DType::bf16   ? 0x1p-8
                           : type == DType::f16    ? 0x1p-11
                           : type == DType::f32    ? 0x1p-23
                                                   : 0;
      for (std::size_t i = 0; i < found.size(); ++i) {
        // A sum that is stored to bool is 1 if it is not 0.
        const double wanted = type == DType::boolean ? (exact[i] != 0 ? 1 : 0) : exact[i];
        CAPTURE(i, found[i], wanted);
        CHECK(std::fabs(found[i] - wanted) <= bound * (1 + std::fabs(wanted)));
      }
    }
  }
}

TEST_CASE("cases: the same bytes every time") {
  const auto first = graph_cases();
  const auto second = graph_cases();
  REQUIRE(first.size() == second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    CHECK((first[i].bytes == second[i].bytes && first[i].inputs == second[i].inputs));
  }
}

TEST_CASE("compare: tolerance, NaN, infinities and lengths") {
  const auto f32 = [](std::vector<float> values) { return testing::bytes_of(values); };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(compare(DType::f32, f32({1, nan, inf, -inf, 0}), f32({1.00005F, nan, inf, -inf, -0.0F})));
  const Comparison wrong = compare(DType::f32, f32({1, 2, 3, inf}), f32({1, 2.5F, nan, -inf}));
  CHECK(wrong.mismatches == 3);
  CHECK(wrong.first == 1);
  CHECK(wrong.found == 2);
  CHECK(wrong.expected == 2.5);
  CHECK(wrong.text() == "3 of 4 differ, first [1]: found 2, expected 2.5");
  CHECK_FALSE(compare(DType::f32, f32({1, 2}), f32({1})));
  CHECK_FALSE(compare(DType::i32, testing::bytes_of<std::int32_t>({1}), testing::bytes_of<std::int32_t>({2})));
}

TEST_CASE("signature: inputs, then outputs, as the C API describes them") {
  GraphBuilder b("entry");
  const auto x = b.input("x", DType::bf16, {2, 3});
  const auto n = b.input("n", DType::i32, {});
  b.output("y", b.convert(x, DType::f32));
  b.output("m", n);
  const auto bytes = b.finish().value();
  const Signature signature(View::verify(bytes).value());
  const hal_signature& c = signature.describe();
  CHECK(std::string(c.name) == "entry");
  CHECK(c.kind == HAL_GRAPH);
  REQUIRE(c.param_count == 4);
  CHECK(std::string(c.params[0].name) == "x");
  CHECK(c.params[0].direction == HAL_IN);
  CHECK(c.params[0].dtype == HAL_BF16);
  CHECK(c.params[0].bytes == 12);
  CHECK(c.params[0].rank == 2);
  CHECK(c.params[0].dims[1] == 3);
  CHECK(c.params[1].rank == 0);
  CHECK(c.params[1].bytes == 4);
  CHECK(std::string(c.params[2].name) == "y");
  CHECK(c.params[2].direction == HAL_OUT);
  CHECK(c.params[3].dtype == HAL_I32);
}

TEST_CASE("signature: symbols come first, then the sizes that outputs make of them") {
  GraphBuilder b("entry");
  const std::int64_t n = b.symbol("n");
  const std::int64_t m = b.symbol("m");
  const auto x = b.input("x", DType::f32, {m, 3});
  const auto y = b.input("y", DType::f32, {n, m});
  b.output("both", b.concat({x, x}, 0));
  b.output("sum", b.contract("nm,mk->nk", y, x));
  const auto bytes = b.finish().value();
  const View view = View::verify_dynamic(bytes).value();
  const Signature signature(view);
  const hal_signature& c = signature.describe();
  REQUIRE(c.symbol_count == 3);
  CHECK(std::string(c.symbols[0]) == "n");
  CHECK(std::string(c.symbols[1]) == "m");
  CHECK(std::string(c.symbols[2]) == "(m + m)");
  CHECK(c.params[0].dims[0] == -1);
  CHECK(c.params[0].symbols[0] == 1);
  CHECK(c.params[0].dims[1] == 3);
  CHECK(c.params[0].bytes == 0);
  CHECK(c.params[1].symbols[0] == 0);
  CHECK(c.params[1].symbols[1] == 1);
  CHECK(c.params[2].symbols[0] == 2);
  CHECK(c.params[3].symbols[0] == 0);

  using Extents64 = std::vector<std::int64_t>;
  CHECK(bind_signature(view, Extents64{2, 5, 10}).value().tensor(2).dims[0] == 10);
  CHECK_THAT(testing::refusal(bind_signature(view, Extents64{2, 5, 9}), HAL_INVALID_ARGUMENT),
             Catch::Matchers::Contains("axis 0 of argument 2 (") &&
                 Catch::Matchers::Contains(") is 9, and (m + m) is 10 with n = 2, m = 5"));
  CHECK_THAT(testing::refusal(bind_signature(view, Extents64{2, 5}), HAL_INVALID_ARGUMENT),
             Catch::Matchers::Contains("takes 3 extents, 2 were given"));
}

TEST_CASE("dtype: values are those of the C API") {
  CHECK(static_cast<int>(DType::f64) == HAL_F64);
  CHECK(static_cast<int>(DType::f32) == HAL_F32);
  CHECK(static_cast<int>(DType::f16) == HAL_F16);
  CHECK(static_cast<int>(DType::bf16) == HAL_BF16);
  CHECK(static_cast<int>(DType::f8e4m3) == HAL_F8E4M3);
  CHECK(static_cast<int>(DType::f8e5m2) == HAL_F8E5M2);
  CHECK(static_cast<int>(DType::i64) == HAL_I64);
  CHECK(static_cast<int>(DType::i32) == HAL_I32);
  CHECK(static_cast<int>(DType::i8) == HAL_I8);
  CHECK(static_cast<int>(DType::i4) == HAL_I4);
  CHECK(static_cast<int>(DType::u8) == HAL_U8);
  CHECK(static_cast<int>(DType::boolean) == HAL_BOOL);
  CHECK(static_cast<int>(DType::u32) == HAL_U32);
  CHECK(static_cast<int>(DType::u64) == HAL_U64);
}
