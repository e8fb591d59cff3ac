// SPDX-License-Identifier: Apache-2.0
// Sizes that are known when a graph runs: built, written, read, bound and refused.
#include "graph/sizes.hpp"

#include <array>
#include <cstring>
#include <halyard_catch.hpp>

#include "graph/element.hpp"
#include "graph/format.hpp"
#include "graph/print.hpp"
#include "graph/test_tensors.hpp"
#include "hal/nn.hpp"

namespace {

using namespace hal::graph;
using namespace hal::graph::testing;
using Catch::Matchers::Contains;
using hal::DType;

using Floats = std::vector<float>;
using Extents64 = std::vector<std::int64_t>;

Floats counted(std::int64_t count) {
  Floats values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) { values[i] = static_cast<float>(i % 17) / 4 - 2; }
  return values;
}

// Builds one graph with symbols and one with numbers, and compares what they compute.
template <class Build>
void same_as_static(const Build& build, const std::vector<Extents64>& bindings) {
  GraphBuilder dynamic("dynamic");
  build(dynamic, Extents64{dynamic.symbol("a"), dynamic.symbol("b")});
  const auto bytes = dynamic.finish().value();
  const View view = View::verify_dynamic(bytes).value();
  REQUIRE(view.is_dynamic());
  REQUIRE(view.symbols() == std::vector<std::string>{"a", "b"});
  for (const Extents64& extents : bindings) {
    CAPTURE(extents[0], extents[1]);
    const View bound = view.bind(extents).value();
    CHECK_FALSE(bound.is_dynamic());
    GraphBuilder fixed("fixed");
    build(fixed, extents);
    const auto fixed_bytes = fixed.finish().value();
    const View expected = View::verify(fixed_bytes).value();
    REQUIRE(bound.tensors().size() == expected.tensors().size());
    for (std::size_t t = 0; t < bound.tensors().size(); ++t) {
      CHECK(std::ranges::equal(bound.tensor(t).shape(), expected.tensor(t).shape()));
      CHECK(bound.tensor(t).bytes == expected.tensor(t).bytes);
      CHECK(bound.tensor(t).elements == expected.tensor(t).elements);
    }
    std::vector<std::vector<std::byte>> inputs;
    for (const Tensor& tensor : expected.inputs()) { inputs.push_back(bytes_of(counted(tensor.elements))); }
    const std::vector<std::span<const std::byte>> spans(inputs.begin(), inputs.end());
    CHECK(evaluate_reference(bound, spans).value() == evaluate_reference(expected, spans).value());
  }
}

}  // namespace

TEST_CASE("sizes: a network over a symbolic batch is the network of each batch") {
  const auto build = [](GraphBuilder& b, const Extents64& n) {
    const Value x = b.input("x", DType::f32, {n[0], n[1], 4});
    const Value w = b.constant({4, 3}, std::span<const float>(counted(12)));
    Value y = b.contract("abk,kn->abn", x, w);
    y = b.map({y, b.constant({3}, std::span<const float>(counted(3)))}, max(arg(0) + arg(1), 0.0));
    y = b.transpose(y, {1, 2, 0});
    b.output("scores", hal::nn::softmax(b, b.reduce(y, ReduceOp::sum, {0})));
    b.output("y", y);
  };
  same_as_static(build, {{1, 1}, {2, 5}, {7, 3}, {1, 16}});
}

TEST_CASE("sizes: every primitive, with sizes that are sums, products and quotients") {
  const auto build = [](GraphBuilder& b, const Extents64& n) {
    const Value x = b.input("x", DType::f32, {n[0], n[1]});
    const Value y = b.input("y", DType::f32, {n[1], n[0]});
    const std::int64_t both = b.size(SizeOp::mul, n[0], n[1]);
    const Value line = b.reshape(x, {both});
    b.output("joined", b.concat({line, b.reshape(y, {both}), line}, 0));
    b.output("padded", b.pad(x, {1, 2}, {0, 3}, -1.0));
    b.output("sliced", b.slice(x, {0, b.size(SizeOp::sub, n[1], 1)}, {n[0], 1}));
    b.output("half", b.slice(x, {0, 0}, {n[0], b.size(SizeOp::div, b.size(SizeOp::add, n[1], 1), 2)}));
    b.output("wide", b.broadcast(b.slice(x, {0, 0}, {n[0], 1}), {3, n[0], n[1]}));
    b.output("mean", b.map({b.reduce(x, ReduceOp::sum, {1})}, arg(0) / hal::graph::size_of(n[1])));
    b.output("outer", b.contract("ab,bc->ac", x, y));
    b.output("turned", b.convert(b.transpose(x, {1, 0}), DType::bf16));
    const std::vector<std::int32_t> first{0, 0, 0};
    const Value index = b.constant({3}, std::span<const std::int32_t>(first));
    const Value taken = b.gather(x, index, 0);
    b.output("taken", taken);
    b.output("placed", b.scatter(x, index, taken, 0, ScatterMode::add));
    b.output("last", b.view(x, {}, b.size(SizeOp::sub, both, 1), {}));
  };
  same_as_static(build, {{1, 1}, {2, 5}, {6, 3}, {1, 16}});
}

TEST_CASE("sizes: a graph with symbols is refused where all sizes must be known, and prints them") {
  GraphBuilder b("stream");
  const std::int64_t batch = b.symbol("batch");
  const Value x = b.input("x", DType::f32, {batch, 4});
  b.output("y", b.concat({x, x}, 0));
  const auto bytes = b.finish().value();
  CHECK_THAT(refusal(View::verify(bytes), HAL_UNSUPPORTED), Contains("known when it runs (batch)"));
  const View view = View::verify_dynamic(bytes).value();
  CHECK_THAT(print(view), Contains("\"x\" f32[batch, 4]") && Contains("\"y\" f32[(batch + batch), 4]"));
  CHECK(view.tensor(0).is_dynamic());
  CHECK(view.tensor(0).bytes == 0);
}

TEST_CASE("sizes: what extents make wrong is refused by name when the graph is bound") {
  const auto refused = [](const auto& build, const Extents64& extents) {
    GraphBuilder b("late");
    build(b);
    const auto bytes = b.finish().value();
    return refusal(View::verify_dynamic(bytes).value().bind(extents), HAL_INVALID_ARGUMENT);
  };
  const auto add = [](GraphBuilder& b) {
    const Value x = b.input("x", DType::f32, {b.symbol("n"), 2});
    const Value sum = b.map({x, b.input("y", DType::f32, {b.symbol("m"), 2})}, arg(0) + arg(1));
    b.output("sum", sum);
  };
  CHECK_THAT(refused(add, {3, 4}), Contains("graph \"late\" with n = 3, m = 4: node 0 (map \"sum\") inputs["));
  CHECK(refused(add, {3, 3}) == "no error");
  CHECK_THAT(refused(add, {3}), Contains("2 symbols, 1 extents"));
  CHECK_THAT(refused(add, {0, 0}), Contains("symbol \"n\" is given extent 0"));
  CHECK_THAT(refused(add, {-5, 1}), Contains("extent -5"));
  CHECK_THAT(refused(add, {(std::int64_t{1} << 48U) + 1, 1}), Contains("extents are 1 to 2^48"));
  CHECK_THAT(refused(add, {std::int64_t{1} << 47U, std::int64_t{1} << 47U}), Contains("the most is"));
  const auto last_rows = [](GraphBuilder& b) {
    const std::int64_t n = b.symbol("n");
    const Value x = b.input("x", DType::f32, {n, 2});
    b.output("y", b.slice(x, {b.size(SizeOp::sub, n, 3), 0}, {3, 2}));
  };
  CHECK(refused(last_rows, {3}) == "no error");
  CHECK_THAT(refused(last_rows, {2}), Contains("n = 2: node 0 (view \"y\") attributes.offset -2"));
  const auto shrinks = [](GraphBuilder& b) {
    const std::int64_t n = b.symbol("n");
    b.output("y", b.slice(b.input("x", DType::f32, {n}), {0}, {b.size(SizeOp::sub, n, 4)}));
  };
  CHECK_THAT(refused(shrinks, {4}), Contains("tensor 1 (\"y\") would be f32 [0]"));
  const auto divides = [](GraphBuilder& b) {
    const std::int64_t n = b.symbol("n");
    b.output("y", b.view(b.input("x", DType::f32, {n}), {b.size(SizeOp::div, 8, b.size(SizeOp::sub, n, 2))}, 0, {0}));
  };
  CHECK(refused(divides, {6}) == "no error");
  CHECK_THAT(refused(divides, {2}), Contains("size (8 / (n - 2)) has no value: it is 8 / 0"));
  const auto overflows = [](GraphBuilder& b) {
    std::int64_t n = b.symbol("n");
    const Value x = b.input("x", DType::f32, {n});
    for (int i = 0; i < 3; ++i) { n = b.size(SizeOp::mul, n, n); }
    b.output("y", b.view(x, {n}, 0, {0}));
  };
  CHECK_THAT(refused(overflows, {std::int64_t{1} << 20U}), Contains("overflows"));
  const auto contracts = [](GraphBuilder& b) {
    const Value x = b.input("x", DType::f32, {2, b.symbol("n")});
    b.output("y", b.contract("mk,kn->mn", x, b.constant({3, 1}, std::span<const float>(counted(3)))));
  };
  CHECK(refused(contracts, {3}) == "no error");
  CHECK_THAT(refused(contracts, {4}), Contains("node 1 (contract \"y\") attributes.right[0] gives label 1 size 3"));
}

TEST_CASE("sizes: mistakes that no extents can mend are the builder's") {
  const auto mistake = [](const auto& build) {
    GraphBuilder b("early");
    b.output("y", build(b, b.input("x", DType::f32, {b.symbol("n"), 4})));
    return refusal(b.finish(), HAL_INVALID_ARGUMENT);
  };
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.reshape(x, {b.symbol("n"), 5}); }), Contains("reshape"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.reshape(x, {b.symbol("m"), 4}); }), Contains("reshape"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.broadcast(x, {b.symbol("m"), 4}); }),
             Contains("broadcast: [n, 4] does not repeat to [m, 4]"));
  // Arithmetic past the table: no symbol comes out of it.
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.view(x, {b.symbol("n") * 2, 4}, 0, {0, 1}); }),
             Contains("sizes begin at 1"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.view(x, {b.symbol("n") + 3, 4}, 0, {0, 1}); }),
             Contains("sizes begin at 1"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value) { return b.constant({b.symbol("n")}, std::span<const float>()); }),
             Contains("a constant's sizes are numbers"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) {
               (void)b.symbol("");
               return x;
             }),
             Contains("symbol \"\" is not 1 to 255"));
}

TEST_CASE("sizes: the table folds numbers and gives equal expressions one entry") {
  SizeTable table;
  const std::int64_t n = table.symbol("n");
  const std::int64_t m = table.symbol("m");
  CHECK(table.symbol("n") == n);
  CHECK(table.make(SizeOp::mul, 6, 7) == 42);
  CHECK(table.make(SizeOp::div, -7, 2) == -4);
  CHECK_FALSE(table.make(SizeOp::div, 1, 0));
  CHECK_FALSE(table.make(SizeOp::mul, std::int64_t{1} << 40U, std::int64_t{1} << 40U));
  CHECK(table.make(SizeOp::mul, n, 1) == n);
  CHECK(table.make(SizeOp::add, 0, n) == n);
  CHECK(table.make(SizeOp::sub, n, n) == 0);
  CHECK(table.make(SizeOp::mul, n, m) == table.make(SizeOp::mul, m, n));
  CHECK(table.make(SizeOp::add, 3, n) == table.make(SizeOp::add, n, 3));
  CHECK(table.make(SizeOp::sub, n, m) != table.make(SizeOp::sub, m, n));
  const std::int64_t product = table.make(SizeOp::mul, table.make(SizeOp::mul, n, m).value(), 4).value();
  CHECK(table.same_count(Extents64{n, 2, m, 2}, Extents64{product}));
  CHECK_FALSE(table.same_count(Extents64{n, 2, m}, Extents64{product}));
  CHECK_FALSE(table.same_count(Extents64{n, n}, Extents64{n, m}));
  CHECK(print_size(product, table.entries()) == "((n * m) * 4)");
  CHECK(evaluate_sizes(table.entries(), Extents64{2, 3}).value()[size_entry(product)] == 24);
}

TEST_CASE("sizes: no arithmetic on a symbol within reach gives another, or an ordinary size") {
  for (const std::size_t entry : {std::size_t{0}, std::size_t{1}, std::size_t{4095}}) {
    const std::int64_t n = symbolic_size(entry);
    CHECK(is_symbolic(n));
    CHECK(size_entry(n) == entry);
    for (std::int64_t k = 1; k < 1000; ++k) {
      if (is_symbolic(n + k) || is_symbolic(n - k) || (k > 1 && is_symbolic(n * k)) || (k > 1 && is_symbolic(n / k))) {
        FAIL("entry " << entry << " and " << k);
      }
    }
  }
  CHECK_FALSE(is_symbolic(symbolic_size(4096)));
  for (const std::int64_t size : {std::int64_t{-1}, std::int64_t{0}, std::int64_t{1}, INT64_MIN, INT64_MAX}) {
    CHECK_FALSE(is_symbolic(size));
  }
}

TEST_CASE("sizes: damaged tables are refused with the field and its byte") {
  GraphBuilder b("bytes");
  const std::int64_t n = b.symbol("n");
  const std::int64_t m = b.symbol("m");
  const std::int64_t both = b.size(SizeOp::mul, n, m);
  const Value x = b.input("x", DType::f32, {n, m});
  const Value line = b.view(x, {both}, 0, {1});
  b.output("y", b.map({line, b.constant({1}, std::span<const float>(counted(1)))}, arg(0) / hal::graph::size_of(both)));
  const auto good = b.finish().value();
  format::Header header{};
  std::memcpy(&header, good.data(), sizeof(header));
  const auto section = [&](format::SectionKind kind) { return header.sections[static_cast<std::size_t>(kind)].offset; };
  const std::uint64_t sizes = section(format::SectionKind::sizes);
  const std::uint64_t tensors = section(format::SectionKind::tensors);
  const auto refuses = [&]<class T>(std::uint64_t at, T value, const std::string& text) {
    auto bytes = good;
    std::memset(bytes.data() + offsetof(format::Header, checksum), 0, 8);
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    CHECK_THAT(refusal(View::verify_dynamic(bytes), HAL_INVALID_IMAGE),
               Contains("hal.graph, byte " + std::to_string(at) + ": ") && Contains(text));
  };
  using Record = format::SizeRecord;
  const std::uint64_t product = sizes + 2 * sizeof(Record);
  refuses(sizes, std::uint8_t{0}, "size 0 op is 0");
  refuses(sizes, std::uint8_t{6}, "size 0 op is 6");
  refuses(sizes + offsetof(Record, name_offset), ~std::uint32_t{0}, "size 0 name has");
  refuses(sizes + offsetof(Record, name_bytes), std::uint32_t{0}, "symbols, and only they, have names");
  refuses(
      sizes + sizeof(Record) + offsetof(Record, name_offset),
      [&] {
        std::uint32_t first = 0;
        std::memcpy(&first, good.data() + sizes + offsetof(Record, name_offset), 4);
        return first;
      }(),
      "size 1 name is \"n\", as another symbol's");
  refuses(sizes + offsetof(Record, a), std::int64_t{1}, "of a symbol are not 0");
  refuses(product + offsetof(Record, entries), std::uint8_t{4}, "entries is 4");
  refuses(product + offsetof(Record, reserved), std::uint8_t{1}, "reserved is not 0");
  refuses(product + offsetof(Record, a), std::int64_t{2}, "size 2 a is size 2, expected one before it");
  refuses(product + offsetof(Record, b), std::int64_t{-1}, "size 2 b is size -1, expected one before it");
  const auto dims = [](std::uint64_t tensor) { return tensor + offsetof(format::TensorRecord, dims); };
  refuses(dims(tensors), std::int64_t{-3}, "dims[0] is size 2, which is no symbol");
  refuses(dims(tensors), std::int64_t{-4}, "dims[0] is -4, expected 1 or more, or -1 to -3");
  std::uint64_t constant = tensors;
  while (std::to_integer<int>(good[constant + offsetof(format::TensorRecord, role)]) != 3) {
    constant += sizeof(format::TensorRecord);
  }
  refuses(dims(constant), std::int64_t{-1}, "dims[0] is -1");
  const auto node_attributes = [&](Op op) {
    std::uint64_t at = section(format::SectionKind::nodes);
    while (std::to_integer<int>(good[at]) != static_cast<int>(op)) { at += sizeof(format::NodeRecord); }
    std::uint32_t offset = 0;
    std::memcpy(&offset, good.data() + at + offsetof(format::NodeRecord, attributes_offset), 4);
    return section(format::SectionKind::attributes) + offset;
  };
  const std::uint64_t view = node_attributes(Op::view);
  refuses(view + offsetof(format::ViewRecord, symbolic), std::uint32_t{512}, "symbolic is 0x200");
  refuses(view + offsetof(format::ViewRecord, reserved), std::uint32_t{1}, "reserved is not 0");
  refuses(view, symbolic_size(1), "which no tensor has room for");
  const std::uint64_t code = node_attributes(Op::map);
  refuses(code + sizeof(format::InstructionRecord) + offsetof(format::InstructionRecord, constant), 3.0,
          "code[1].constant is size 3, there are 3");
  refuses(code + sizeof(format::InstructionRecord) + offsetof(format::InstructionRecord, constant), 0.5, "is size 0.5");
}
