// SPDX-License-Identifier: Apache-2.0
// Bytes from strangers: whatever is changed, verify() answers with a field and an offset, or with a sound graph.
#include "graph/view.hpp"

#include <cstring>
#include <halyard_catch.hpp>
#include <random>

#include "graph/cases.hpp"
#include "graph/format.hpp"
#include "graph/plan.hpp"
#include "graph/test_tensors.hpp"

namespace {

using namespace hal::graph;
using namespace hal::graph::testing;
using Catch::Matchers::Contains;
using hal::DType;

// One node of each operation, so that every record is somewhere in the bytes.
std::vector<std::byte> sample() {
  GraphBuilder b("sample");
  const Value x = b.input("x", DType::f32, {2, 3});
  const Value i = b.input("i", DType::i32, {2});
  const std::vector<float> weights(9, 0.5F);
  const Value w = b.constant({3, 3}, std::span<const float>(weights));
  Value y = b.contract("mk,kn->mn", x, w);
  y = b.map({y, x}, max(arg(0), arg(1) * 2.0));
  y = b.gather(y, i, 1);
  y = b.scatter(y, i, y, 1, ScatterMode::add);
  y = b.pad(y, {1, 0}, {0, 0}, 0);
  y = b.view(y, {2, 3}, 0, {1, 2});
  y = b.concat({y, x}, 0);
  y = b.convert(y, DType::bf16);
  b.output("y", b.reduce(y, ReduceOp::sum, {1}));
  return b.finish().value();
}

// A graph whose bytes can be changed field by field; the checksum is taken off.
class Bytes {
 public:
  Bytes() : bytes_(sample()) {
    std::memcpy(&header_, bytes_.data(), sizeof(header_));
    set(offsetof(format::Header, checksum), std::uint64_t{0});
  }

  std::uint64_t section(format::SectionKind kind) const {
    return header_.sections[static_cast<std::size_t>(kind)].offset;
  }
  std::uint64_t tensor(std::uint64_t i) const {
    return section(format::SectionKind::tensors) + i * sizeof(format::TensorRecord);
  }
  std::uint64_t node(Op op) const {
    std::uint64_t at = section(format::SectionKind::nodes);
    while (std::to_integer<std::uint8_t>(bytes_[at]) != static_cast<std::uint8_t>(op)) {
      at += sizeof(format::NodeRecord);
    }
    return at;
  }
  template <class T>
  T get(std::uint64_t at) const {
    T value;
    std::memcpy(&value, bytes_.data() + at, sizeof(T));
    return value;
  }
  std::uint64_t attributes(Op op) const {
    return section(format::SectionKind::attributes) +
           get<std::uint32_t>(node(op) + offsetof(format::NodeRecord, attributes_offset));
  }
  std::uint64_t inputs(Op op) const {
    return section(format::SectionKind::attributes) +
           get<std::uint32_t>(node(op) + offsetof(format::NodeRecord, inputs_offset));
  }
  template <class T>
  Bytes& set(std::uint64_t at, T value) {
    std::memcpy(bytes_.data() + at, &value, sizeof(T));
    return *this;
  }

  std::vector<std::byte>& raw() { return bytes_; }
  hal::Result<View> verify() const { return View::verify(bytes_); }

 private:
  std::vector<std::byte> bytes_;
  format::Header header_{};
};

// Sets one field and expects a refusal that names its byte and says `text`.
template <class T>
void refuses(std::uint64_t at, T value, const std::string& text, std::int64_t named_byte = -1) {
  Bytes bytes;
  bytes.set(at, value);
  const std::uint64_t byte = named_byte < 0 ? at : static_cast<std::uint64_t>(named_byte);
  CHECK_THAT(refusal(bytes.verify(), HAL_INVALID_IMAGE),
             Contains("hal.graph, byte " + std::to_string(byte) + ": ") && Contains(text));
}

using std::uint32_t;
using std::uint64_t;
using std::uint8_t;

}  // namespace

TEST_CASE("view: the sample is sound and holds every operation") {
  const Bytes bytes;
  const auto view = bytes.verify().value();
  CHECK(view.name() == "sample");
  CHECK(view.nodes().size() == 10);
  CHECK(view.node_label(1) == "node 1 (contract %4)");
}

TEST_CASE("view: header fields") {
  using format::Header;
  CHECK_THAT(refusal(View::verify({}), HAL_INVALID_IMAGE), Contains("byte 0: magic"));
  refuses(0, 'X', "magic");
  refuses(offsetof(Header, total_bytes), uint64_t{7}, "total_bytes is 7");
  refuses(offsetof(Header, checksum), uint64_t{7}, "checksum");
  refuses(offsetof(Header, inputs), uint32_t{0xFFFFFFFF}, "inputs and outputs are");
  refuses(offsetof(Header, outputs), uint32_t{0}, "outputs is 0");
  refuses(offsetof(Header, name_offset), uint32_t{0xFFFFFF00}, "name has");
  refuses(offsetof(Header, name_bytes), uint32_t{0}, "name_bytes is 0");
  refuses(offsetof(Header, name_bytes), uint32_t{256}, "the most is 255", offsetof(Header, name_offset));
  Bytes newer;
  newer.set(offsetof(Header, version_minor), std::uint16_t{1});
  CHECK_THAT(refusal(newer.verify(), HAL_INCOMPATIBLE), Contains("version is 2.1"));
  for (std::size_t i = 0; i < format::kSections; ++i) {
    const std::uint64_t at = offsetof(Header, sections) + i * sizeof(format::Section);
    refuses(at, ~uint64_t{0}, "starts at");
    refuses(at, uint64_t{0}, "starts at 0");
    refuses(at + 8, ~uint64_t{0}, "the graph ends at");
  }
  refuses(offsetof(Header, sections) + 8, uint64_t{87}, "expected a multiple of 88");
}

TEST_CASE("view: tensor fields") {
  using format::TensorRecord;
  const Bytes good;
  const std::uint64_t first = good.tensor(0);
  const std::uint64_t last = good.tensor(4);
  refuses(first + offsetof(TensorRecord, dtype), uint8_t{0}, "tensor 0 dtype is 0");
  refuses(first + offsetof(TensorRecord, dtype), uint8_t{13},
          "tensor 0 dtype is 13 (u32), types of graphs are 1 (f64) to 12 (bool)");
  refuses(first + offsetof(TensorRecord, rank), uint8_t{9}, "rank is 9, the most is 8");
  refuses(first + offsetof(TensorRecord, role), uint8_t{2}, "role is 2, expected 1 (input)");
  refuses(last + offsetof(TensorRecord, role), uint8_t{1}, "expected 3 (constant) or 4");
  refuses(first + offsetof(TensorRecord, reserved), uint8_t{1}, "reserved is not 0");
  refuses(first + offsetof(TensorRecord, name_bytes), uint32_t{0}, "is empty, a parameter has a name");
  refuses(first + offsetof(TensorRecord, dims), std::int64_t{0}, "dims[0] is 0, expected 1 or more");
  refuses(first + offsetof(TensorRecord, dims), std::int64_t{-1}, "dims[0] is -1");
  refuses(first + offsetof(TensorRecord, dims) + 16, std::int64_t{1}, "dims[2] is 1, expected 0 behind the rank");
  refuses(first + offsetof(TensorRecord, dims), std::int64_t{1} << 62, "are more than");
  refuses(first + offsetof(TensorRecord, constant_offset), uint64_t{0}, "on a tensor that is no constant");
  const std::uint64_t constant = good.tensor(3);
  refuses(constant + offsetof(TensorRecord, constant_offset), uint64_t{1}, "expected a multiple of 64");
  refuses(constant + offsetof(TensorRecord, constant_offset), uint64_t{64}, "pass the section's end");
  refuses(constant + offsetof(TensorRecord, constant_offset), ~uint64_t{0} - 63, "pass the section's end");
  refuses(good.section(format::SectionKind::names), '\n', "expected printable ASCII");
  Bytes same;
  same.set(same.tensor(1) + offsetof(TensorRecord, name_offset),
           same.get<uint32_t>(same.tensor(0) + offsetof(TensorRecord, name_offset)));
  CHECK_THAT(refusal(same.verify(), HAL_INVALID_IMAGE), Contains("as another parameter's"));
}

TEST_CASE("view: node fields") {
  using format::NodeRecord;
  const Bytes good;
  const std::uint64_t contract = good.node(Op::contract);
  refuses(contract, uint8_t{0}, "op is 0");
  refuses(contract, uint8_t{11}, "op is 11");
  refuses(contract + offsetof(NodeRecord, reserved), uint8_t{1}, "reserved is not 0");
  refuses(contract + offsetof(NodeRecord, output), uint32_t{99}, "output is tensor 99, there are");
  refuses(contract + offsetof(NodeRecord, output), uint32_t{0}, "an input");
  refuses(contract + offsetof(NodeRecord, output), uint32_t{3}, "constant nodes, and only they");
  refuses(contract + offsetof(NodeRecord, input_count), uint32_t{1}, "input_count is 1, expected 2");
  refuses(contract + offsetof(NodeRecord, input_count), uint32_t{65}, "the most is 64");
  refuses(contract + offsetof(NodeRecord, inputs_offset), ~uint32_t{0}, "inputs_offset");
  refuses(contract + offsetof(NodeRecord, attributes_offset), uint32_t{0}, "attributes_offset");
  refuses(contract + offsetof(NodeRecord, attributes_bytes), uint32_t{8}, "attributes_bytes is 8, expected 32");
  refuses(good.inputs(Op::contract), uint32_t{99}, "inputs[0] is tensor 99");
  refuses(good.inputs(Op::contract), uint32_t{5}, "which no earlier node writes");
  // A tensor that two nodes write.
  refuses(good.node(Op::map) + offsetof(NodeRecord, output), uint32_t{4}, "which node 1 has written");
  // A section with one node less leaves its tensor unwritten.
  const std::uint64_t nodes = offsetof(format::Header, sections) + sizeof(format::Section) + 8;
  refuses(nodes, good.get<uint64_t>(nodes) - sizeof(NodeRecord), "is written by no node",
          static_cast<std::int64_t>(good.tensor(2)));
}

TEST_CASE("view: attributes of each operation") {
  const Bytes good;
  const std::uint64_t contract = good.attributes(Op::contract);
  refuses(contract, uint8_t{32}, "attributes.left[0] is label 32");
  refuses(contract, good.get<uint8_t>(contract + 1), "left[1] repeats label", static_cast<std::int64_t>(contract + 1));
  refuses(contract + 2, uint8_t{1}, "left[2] is 1 behind the last dimension");
  refuses(contract + 16, uint8_t{9}, "out[0] is label 9, which neither operand has");
  refuses(contract + 24, uint8_t{8}, "accumulate is i32; f32 accumulates in f32 or f64");
  refuses(contract + 25, uint8_t{1}, "reserved");
  const std::uint64_t map = good.attributes(Op::map);
  refuses(map, uint8_t{77}, "code[0] has opcode 77");
  refuses(map + 1, uint8_t{5}, "code[0] reads input 5", static_cast<std::int64_t>(map));
  refuses(map + 2, uint8_t{5}, "code[0].reserved");
  refuses(map, uint8_t{3}, "takes 2 values; the stack has 0");
  refuses(good.node(Op::map) + offsetof(format::NodeRecord, attributes_bytes), uint32_t{17},
          "instructions of 16 bytes");
  const std::uint64_t reduce = good.attributes(Op::reduce);
  refuses(reduce, uint32_t{0}, "axes is 0x0");
  refuses(reduce, uint32_t{0x80000001}, "axes is 0x80000001");
  refuses(reduce + 4, uint8_t{9}, "op is 9");
  refuses(reduce + 5, uint8_t{2}, "keep_dims is 2");
  const std::uint64_t view = good.attributes(Op::view);
  refuses(view, std::int64_t{-1}, "offset -1 and the strides reach elements -1 to");
  refuses(view + 8, std::int64_t{1} << 62, "reach elements 0 to", static_cast<std::int64_t>(view));
  refuses(view + 16, std::int64_t{1} << 62, "strides[1] is 4611686018427387904, which overflows");
  refuses(view + 24, std::int64_t{1}, "strides[2] is 1 behind the last dimension");
  refuses(good.attributes(Op::gather), uint32_t{2}, "axis is 2");
  refuses(good.attributes(Op::scatter), uint32_t{2}, "axis is 2");
  refuses(good.attributes(Op::scatter) + 4, uint8_t{3}, "mode is 3");
  const std::uint64_t pad = good.attributes(Op::pad);
  refuses(pad, std::int64_t{-1}, "low[0] is -1");
  refuses(pad + 64, std::numeric_limits<std::int64_t>::max(), "high[0] is 9223372036854775807");
  refuses(pad + 16, std::int64_t{1}, "low[2] is 1, expected 0");
  refuses(good.attributes(Op::concat), uint32_t{7}, "axis is 7");
}

TEST_CASE("view: every truncation of every case is refused") {
  const std::vector<std::byte> bytes = sample();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto result = View::verify(std::span(bytes).first(length));
    REQUIRE_FALSE(result);
    REQUIRE(std::string(result.error().what()).starts_with("hal.graph, byte "));
  }
  for (const Case& test : graph_cases()) {
    for (std::size_t length = 0; length < test.bytes.size(); length += 37) {
      REQUIRE_FALSE(View::verify(std::span(test.bytes).first(length)));
    }
  }
}

TEST_CASE("view: with a checksum every changed byte is found") {
  std::vector<std::byte> bytes = sample();
  for (std::byte& at : bytes) {
    at ^= std::byte{0x20};
    REQUIRE_FALSE(View::verify(bytes));
    at ^= std::byte{0x20};
  }
  CHECK(View::verify(bytes));
}

TEST_CASE("view: without one every byte may take any value and the answer is an error or a graph that runs") {
  std::size_t refused = 0;
  std::size_t accepted = 0;
  Bytes bytes;
  std::mt19937 random(3);
  for (std::byte& at : bytes.raw()) {
    const std::byte kept = at;
    for (const unsigned value : {0U, 1U, 0x7FU, 0x80U, 0xFFU, static_cast<unsigned>(random() % 256)}) {
      at = static_cast<std::byte>(value);
      if (at == kept) { continue; }
      const auto view = bytes.verify();
      if (!view) {
        ++refused;
        REQUIRE(std::string(view.error().what()).starts_with("hal.graph, byte "));
        continue;
      }
      ++accepted;
      std::vector<std::vector<std::byte>> inputs;
      std::size_t total = 0;
      for (const Tensor& input : view->inputs()) { total += input.bytes; }
      if (total > 4096) { continue; }
      for (const Tensor& input : view->inputs()) { inputs.emplace_back(input.bytes); }
      const std::vector<std::span<const std::byte>> spans(inputs.begin(), inputs.end());
      const auto outcome = evaluate_reference(*view, spans, {.elements = 100000, .multiply_adds = 100000});
      REQUIRE((outcome || outcome.error().code() != HAL_INTERNAL));
      REQUIRE(plan_memory(*view));
    }
    at = kept;
  }
  CHECK(refused > 1000);
  CHECK(accepted > 100);  // constants, numbers in expressions, names
}

TEST_CASE("view: bytes need no alignment") {
  const std::vector<std::byte> bytes = sample();
  std::vector<std::byte> moved(bytes.size() + 1);
  std::memcpy(moved.data() + 1, bytes.data(), bytes.size());
  CHECK(View::verify(std::span(moved).subspan(1)));
}
