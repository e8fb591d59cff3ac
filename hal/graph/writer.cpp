// SPDX-License-Identifier: Apache-2.0
#include "graph/writer.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "graph/checksum.hpp"
#include "graph/format.hpp"

namespace hal::graph {
namespace {

// Appends the bytes of `count` records and returns where they begin.
template <class T>
std::size_t append(std::vector<std::byte>& to, const T* records, std::size_t count) {
  const std::size_t at = to.size();
  to.resize(at + count * sizeof(T));
  if (count != 0) { std::memcpy(to.data() + at, records, count * sizeof(T)); }
  return at;
}

void align(std::vector<std::byte>& bytes, std::size_t alignment) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
}

struct RecordWriter {
  std::vector<std::byte> bytes;

  template <class Record>
  void put(const Record& record) {
    append(bytes, &record, 1);
  }
  void operator()(std::monostate) const {}
  void operator()(const ContractAttributes& a) {
    put(format::ContractRecord{a.left, a.right, a.out, std::to_underlying(a.accumulate), {}});
  }
  void operator()(const MapAttributes& a) {
    for (const Instruction& at : a.code) {
      put(format::InstructionRecord{std::to_underlying(at.opcode), at.input, {}, at.constant});
    }
  }
  void operator()(const ReduceAttributes& a) {
    put(format::ReduceRecord{a.axes, std::to_underlying(a.op), static_cast<std::uint8_t>(a.keep_dims ? 1 : 0),
                             std::to_underlying(a.accumulate), 0});
  }
  void operator()(const ViewAttributes& a) {
    format::ViewRecord record{a.offset, a.strides, 0, 0};
    const auto number = [&](std::int64_t& value, unsigned bit) {
      if (!is_symbolic(value)) { return; }
      value = static_cast<std::int64_t>(size_entry(value));
      record.symbolic |= 1U << bit;
    };
    number(record.offset, 0);
    for (unsigned d = 0; d < kMaxRank; ++d) { number(record.strides[d], 1 + d); }
    put(record);
  }
  void operator()(const GatherAttributes& a) { put(format::GatherRecord{a.axis, 0}); }
  void operator()(const ScatterAttributes& a) { put(format::ScatterRecord{a.axis, std::to_underlying(a.mode), {}}); }
  void operator()(const PadAttributes& a) { put(format::PadRecord{a.low, a.high, a.value}); }
  void operator()(const ConcatAttributes& a) { put(format::ConcatRecord{a.axis, 0}); }
};

}  // namespace

void GraphWriter::order_tensors() {
  order_ = draft_.inputs_;
  order_.insert(order_.end(), draft_.outputs_.begin(), draft_.outputs_.end());
  for (std::uint32_t i = 0; i < draft_.tensors_.size(); ++i) {
    const Role role = draft_.tensors_[i].role;
    if (role == Role::constant || role == Role::intermediate) { order_.push_back(i); }
  }
  place_of_.resize(order_.size());
  for (std::uint32_t place = 0; place < order_.size(); ++place) { place_of_[order_[place]] = place; }
}

GraphWriter::Span GraphWriter::put_name(const std::string& name) {
  const std::size_t at = append(names_, name.data(), name.size());
  return {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(name.size())};
}

template <class T>
GraphWriter::Span GraphWriter::put_attributes(const T* records, std::size_t count) {
  align(attributes_, 8);
  const std::size_t at = append(attributes_, records, count);
  return {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(count * sizeof(T))};
}

void GraphWriter::write_node(const GraphBuilder::NodeDraft& node) {
  std::vector<std::uint32_t> inputs;
  for (const std::uint32_t input : node.inputs) { inputs.push_back(place_of_[input]); }
  RecordWriter record;
  std::visit(record, node.attributes);
  const Span input_span = put_attributes(inputs.data(), inputs.size());
  const Span attribute_span = put_attributes(record.bytes.data(), record.bytes.size());
  const format::NodeRecord out{.op = std::to_underlying(node.op),
                               .reserved = {},
                               .output = place_of_[node.output],
                               .inputs_offset = input_span.offset,
                               .input_count = static_cast<std::uint32_t>(inputs.size()),
                               .attributes_offset = attribute_span.offset,
                               .attributes_bytes = attribute_span.bytes};
  append(nodes_, &out, 1);
}

void GraphWriter::write_size(const Size& size) {
  format::SizeRecord record{};
  record.op = std::to_underlying(size.op);
  const Span name = put_name(size.name);
  record.name_offset = size.name.empty() ? 0 : name.offset;
  record.name_bytes = name.bytes;
  const auto operand = [&](std::int64_t value, unsigned bit) {
    if (!is_symbolic(value)) { return value; }
    record.entries = static_cast<std::uint8_t>(record.entries | 1U << bit);
    return static_cast<std::int64_t>(size_entry(value));
  };
  record.a = operand(size.a, 0);
  record.b = operand(size.b, 1);
  append(sizes_, &record, 1);
}

std::vector<std::byte> GraphWriter::write() {
  order_tensors();
  const Span entry_name = put_name(draft_.name_);
  for (const std::uint32_t i : order_) {
    const GraphBuilder::TensorDraft& tensor = draft_.tensors_[i];
    const Span name = put_name(tensor.name);
    format::TensorRecord record{};
    record.dtype = std::to_underlying(tensor.type);
    record.rank = static_cast<std::uint8_t>(tensor.shape.size());
    record.role = std::to_underlying(tensor.role);
    record.name_offset = name.offset;
    record.name_bytes = name.bytes;
    std::ranges::transform(tensor.shape, record.dims.begin(), [](std::int64_t size) {
      return is_symbolic(size) ? -1 - static_cast<std::int64_t>(size_entry(size)) : size;
    });
    record.constant_offset = format::kNoConstant;
    if (tensor.role == Role::constant) {
      align(constants_, format::kConstantAlignment);
      record.constant_offset = append(constants_, tensor.data.data(), tensor.data.size());
    }
    append(tensors_, &record, 1);
  }
  for (const GraphBuilder::NodeDraft& node : draft_.nodes_) { write_node(node); }
  for (const Size& size : draft_.sizes_->entries()) { write_size(size); }

  format::Header header{};
  header.magic = format::kMagic;
  header.version_major = format::kVersionMajor;
  header.version_minor = format::kVersionMinor;
  header.inputs = static_cast<std::uint32_t>(draft_.inputs_.size());
  header.outputs = static_cast<std::uint32_t>(draft_.outputs_.size());
  header.name_offset = entry_name.offset;
  header.name_bytes = entry_name.bytes;
  std::vector<std::byte> bytes(sizeof(header));
  const std::array sections{&tensors_, &nodes_, &attributes_, &constants_, &names_, &sizes_};
  for (std::size_t i = 0; i < sections.size(); ++i) {
    align(bytes, sections[i] == &constants_ ? format::kConstantAlignment : 8);
    header.sections[i] = {bytes.size(), sections[i]->size()};
    append(bytes, sections[i]->data(), sections[i]->size());
  }
  header.total_bytes = bytes.size();
  header.checksum = checksum(std::span(bytes).subspan(sizeof(header)));
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

}  // namespace hal::graph
