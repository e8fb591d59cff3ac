// SPDX-License-Identifier: Apache-2.0
#include "graph/view.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_set>
#include <utility>
#include <variant>

#include "graph/checksum.hpp"
#include "graph/element.hpp"
#include "graph/format.hpp"
#include "graph/rules.hpp"

namespace hal::graph {
namespace {

using format::SectionKind;

constexpr std::array<std::string_view, format::kSections> kSectionNames{"tensors",   "nodes", "attributes",
                                                                        "constants", "names", "sizes"};
constexpr std::uint32_t kUnwritten = std::numeric_limits<std::uint32_t>::max();

bool is_zero(std::span<const std::uint8_t> bytes) {
  return std::ranges::all_of(bytes, [](std::uint8_t byte) { return byte == 0; });
}

}  // namespace

// Reads front to back; every member function returns before it would read a byte that it has not checked.
class Verifier {
 public:
  explicit Verifier(std::span<const std::byte> bytes) : bytes_(bytes) {}

  Result<View> run() {
    HAL_CHECK(read_header());
    HAL_CHECK(read_sections());
    HAL_CHECK(read_sizes());
    HAL_CHECK(read_tensors());
    HAL_CHECK(read_nodes());
    HAL_CHECK(check_written());
    return std::move(view_);
  }

 private:
  static Error fail(std::uint64_t offset, const std::string& field, const std::string& text,
                    hal_code code = HAL_INVALID_IMAGE) {
    return Error(code, fmt::format("hal.graph, byte {}: {} {}", offset, field, text), "hal.graph", "", 0);
  }

  template <class T>
  T read(std::uint64_t offset) const {
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof(T));
    return value;
  }

  const format::Section& section(SectionKind kind) const { return header_.sections[std::to_underlying(kind)]; }

  Result<void> read_header() {
    using format::Header;
    if (bytes_.size() < sizeof(format::kMagic) || read<std::array<char, 4>>(0) != format::kMagic) {
      return fail(0, "magic", "is not \"HALG\": these bytes are no hal.graph");
    }
    if (bytes_.size() < sizeof(Header)) {
      return fail(bytes_.size(), "header",
                  fmt::format("ends after {} bytes, it has {}", bytes_.size(), sizeof(Header)));
    }
    header_ = read<Header>(0);
    if (header_.version_major != format::kVersionMajor || header_.version_minor > format::kVersionMinor) {
      return fail(offsetof(Header, version_major), "version",
                  fmt::format("is {}.{}, this reader knows {}.{} and older minors", header_.version_major,
                              header_.version_minor, format::kVersionMajor, format::kVersionMinor),
                  HAL_INCOMPATIBLE);
    }
    if (header_.total_bytes != bytes_.size()) {
      return fail(offsetof(Header, total_bytes), "total_bytes",
                  fmt::format("is {}, the graph given has {}: it was cut or something follows it", header_.total_bytes,
                              bytes_.size()));
    }
    if (header_.checksum != 0) {
      const std::uint64_t found = checksum(bytes_.subspan(sizeof(Header)));
      if (found != header_.checksum) {
        return fail(offsetof(Header, checksum), "checksum",
                    fmt::format("is {:#018x}, the bytes behind the header give {:#018x}: they were changed",
                                header_.checksum, found));
      }
    }
    return {};
  }

  Result<void> read_sections() {
    std::uint64_t end = sizeof(format::Header);
    for (std::size_t i = 0; i < format::kSections; ++i) {
      const format::Section& at = header_.sections[i];
      const std::uint64_t place = offsetof(format::Header, sections) + i * sizeof(format::Section);
      const std::string field = fmt::format("sections.{}", kSectionNames[i]);
      if (at.offset < end || at.offset > bytes_.size()) {
        return fail(
            place, field,
            fmt::format("starts at {}, expected {} (where the one before ends) to {}", at.offset, end, bytes_.size()));
      }
      if (at.bytes > bytes_.size() - at.offset) {
        return fail(place + sizeof(std::uint64_t), field,
                    fmt::format("has {} bytes from {}, the graph ends at {}", at.bytes, at.offset, bytes_.size()));
      }
      end = at.offset + at.bytes;
    }
    if (section(SectionKind::constants).offset % format::kConstantAlignment != 0) {
      return fail(offsetof(format::Header, sections) + 3 * sizeof(format::Section), "sections.constants",
                  fmt::format("starts at {}, expected a multiple of {}", section(SectionKind::constants).offset,
                              format::kConstantAlignment));
    }
    HAL_TRY(tensor_count_, count_records(SectionKind::tensors, sizeof(format::TensorRecord), format::kMaxTensors));
    HAL_TRY(node_count_, count_records(SectionKind::nodes, sizeof(format::NodeRecord), format::kMaxNodes));
    const std::uint64_t parameters = std::uint64_t{header_.inputs} + header_.outputs;
    if (parameters > tensor_count_) {
      return fail(offsetof(format::Header, inputs), "inputs and outputs",
                  fmt::format("are {}, there are {} tensors", parameters, tensor_count_));
    }
    if (header_.outputs == 0) {
      return fail(offsetof(format::Header, outputs), "outputs", "is 0, expected at least 1");
    }
    view_.inputs_ = header_.inputs;
    view_.outputs_ = header_.outputs;
    HAL_TRY(view_.name_,
            read_name(offsetof(format::Header, name_offset), "name", header_.name_offset, header_.name_bytes));
    if (view_.name_.empty()) {
      return fail(offsetof(format::Header, name_bytes), "name_bytes", "is 0, an entry has a name");
    }
    return {};
  }

  Result<std::uint32_t> count_records(SectionKind kind, std::uint64_t record, std::uint32_t most) {
    const std::uint64_t bytes = section(kind).bytes;
    const std::size_t i = std::to_underlying(kind);
    if (bytes % record != 0 || bytes / record > most) {
      return fail(offsetof(format::Header, sections) + i * sizeof(format::Section) + sizeof(std::uint64_t),
                  fmt::format("sections.{}", kSectionNames[i]),
                  fmt::format("has {} bytes, expected a multiple of {} up to {} records", bytes, record, most));
    }
    return static_cast<std::uint32_t>(bytes / record);
  }

  Result<std::string_view> read_name(std::uint64_t place, const std::string& field, std::uint32_t offset,
                                     std::uint32_t length) {
    const format::Section& names = section(SectionKind::names);
    if (length > format::kMaxNameBytes || offset > names.bytes || length > names.bytes - offset) {
      return fail(place, field,
                  fmt::format("has {} bytes at {} of the names section, which has {}; the most is {}", length, offset,
                              names.bytes, format::kMaxNameBytes));
    }
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + names.offset + offset, length);
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] < 0x20 || text[i] > 0x7E) {
        return fail(names.offset + offset + i, field,
                    fmt::format("has byte {:#04x}, expected printable ASCII", static_cast<unsigned char>(text[i])));
      }
    }
    return text;
  }

  // Symbols first or not, an operand is an earlier entry: no cycles.
  Result<void> read_sizes() {
    using Record = format::SizeRecord;
    HAL_TRY(const std::uint32_t count, count_records(SectionKind::sizes, sizeof(Record), kMaxSizes));
    std::unordered_set<std::string_view> names;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint64_t place = section(SectionKind::sizes).offset + std::uint64_t{i} * sizeof(Record);
      const Record record = read<Record>(place);
      const auto wrong = [&](std::size_t at, std::string_view field, const std::string& text) {
        return fail(place + at, fmt::format("size {} {}", i, field), text);
      };
      Size size;
      size.op = static_cast<SizeOp>(record.op);
      if (size.op < SizeOp::symbol || size.op > SizeOp::div) {
        return wrong(offsetof(Record, op), "op", fmt::format("is {}, expected 1 (symbol) to 5 (div)", record.op));
      }
      if (!is_zero(record.reserved)) { return wrong(offsetof(Record, reserved), "reserved", "is not 0"); }
      if (record.entries > 3) {
        return wrong(offsetof(Record, entries), "entries", fmt::format("is {}, expected 0 to 3", record.entries));
      }
      const bool is_symbol = size.op == SizeOp::symbol;
      HAL_TRY(const std::string_view name,
              read_name(place + offsetof(Record, name_offset), fmt::format("size {} name", i), record.name_offset,
                        record.name_bytes));
      if (name.empty() == is_symbol) {
        return wrong(offsetof(Record, name_bytes), "name_bytes",
                     fmt::format("is {}; symbols, and only they, have names", record.name_bytes));
      }
      if (is_symbol && !names.insert(name).second) {
        return wrong(offsetof(Record, name_offset), "name", fmt::format("is \"{}\", as another symbol's", name));
      }
      if (is_symbol && (record.a != 0 || record.b != 0 || record.entries != 0)) {
        return wrong(offsetof(Record, a), "a, b and entries", "of a symbol are not 0");
      }
      size.name = name;
      const auto operand = [&](std::int64_t value, unsigned bit, std::size_t at,
                               std::string_view field) -> Result<std::int64_t> {
        if (((record.entries >> bit) & 1U) != 0) {
          if (value >= 0 && value < i) { return symbolic_size(static_cast<std::size_t>(value)); }
          return wrong(at, field, fmt::format("is size {}, expected one before it", value));
        }
        if (!is_symbolic(value)) { return value; }
        return wrong(at, field, fmt::format("is {}, out of the range of literals", value));
      };
      HAL_TRY(size.a, operand(record.a, 0, offsetof(Record, a), "a"));
      HAL_TRY(size.b, operand(record.b, 1, offsetof(Record, b), "b"));
      view_.sizes_.push_back(std::move(size));
    }
    return {};
  }

  Result<void> read_tensors() {
    view_.tensors_.reserve(tensor_count_);
    std::unordered_set<std::string_view> parameters;
    for (std::uint32_t i = 0; i < tensor_count_; ++i) {
      const std::uint64_t place =
          section(SectionKind::tensors).offset + std::uint64_t{i} * sizeof(format::TensorRecord);
      HAL_TRY(Tensor tensor, read_tensor(i, place));
      if (i < view_.parameter_count()) {
        const std::string field = fmt::format("tensor {} name", i);
        if (tensor.name.empty()) {
          return fail(place + offsetof(format::TensorRecord, name_bytes), field, "is empty, a parameter has a name");
        }
        if (!parameters.insert(tensor.name).second) {
          return fail(place + offsetof(format::TensorRecord, name_offset), field,
                      fmt::format("is \"{}\", as another parameter's", tensor.name));
        }
      }
      view_.tensors_.push_back(tensor);
    }
    return {};
  }

  Result<Tensor> read_tensor(std::uint32_t i, std::uint64_t place) {
    using Record = format::TensorRecord;
    const Record record = read<Record>(place);
    const auto wrong = [&](std::size_t at, std::string_view field, const std::string& text) {
      return fail(place + at, fmt::format("tensor {} {}", i, field), text);
    };
    Tensor tensor;
    tensor.dtype = static_cast<DType>(record.dtype);
    tensor.role = static_cast<Role>(record.role);
    tensor.rank = record.rank;
    if (!is_graph_type(tensor.dtype)) {
      return wrong(
          offsetof(Record, dtype), "dtype",
          fmt::format("is {} ({}), types of graphs are 1 (f64) to 12 (bool)", record.dtype, dtype_name(tensor.dtype)));
    }
    if (record.rank > kMaxRank) {
      return wrong(offsetof(Record, rank), "rank", fmt::format("is {}, the most is {}", record.rank, kMaxRank));
    }
    const bool is_input = i < view_.inputs_;
    const bool is_output = !is_input && i < view_.parameter_count();
    const bool role_fits = is_input    ? tensor.role == Role::input
                           : is_output ? tensor.role == Role::output
                                       : tensor.role == Role::constant || tensor.role == Role::intermediate;
    if (!role_fits) {
      return wrong(offsetof(Record, role), "role",
                   fmt::format("is {}, expected {} at this place of the table", record.role,
                               is_input    ? "1 (input)"
                               : is_output ? "2 (output)"
                                           : "3 (constant) or 4 (intermediate)"));
    }
    if (record.reserved != 0 || record.reserved2 != 0) {
      return wrong(offsetof(Record, reserved), "reserved", "is not 0");
    }
    HAL_TRY(tensor.name, read_name(place + offsetof(Record, name_offset), fmt::format("tensor {} name", i),
                                   record.name_offset, record.name_bytes));
    tensor.dims = record.dims;
    for (std::size_t d = 0; d < kMaxRank; ++d) {
      const bool used = d < record.rank;
      if (used ? record.dims[d] >= 1 : record.dims[d] == 0) { continue; }
      if (used && record.dims[d] < 0 && tensor.role != Role::constant &&
          record.dims[d] >= -static_cast<std::int64_t>(view_.sizes_.size())) {
        const auto entry = static_cast<std::size_t>(-1 - record.dims[d]);
        if (tensor.role != Role::input || view_.sizes_[entry].op == SizeOp::symbol) {
          tensor.dims[d] = symbolic_size(entry);
          continue;
        }
        return wrong(offsetof(Record, dims) + d * sizeof(std::int64_t), fmt::format("dims[{}]", d),
                     fmt::format("is size {}, which is no symbol; an input's sizes are numbers and symbols", entry));
      }
      return wrong(offsetof(Record, dims) + d * sizeof(std::int64_t), fmt::format("dims[{}]", d),
                   fmt::format("is {}, expected {}", record.dims[d],
                               used ? fmt::format("1 or more, or -1 to -{} for the graph's sizes (no constant's)",
                                                  view_.sizes_.size())
                                    : "0 behind the rank"));
    }
    if (is_dynamic(tensor.shape())) {
      HAL_CHECK(read_constant(tensor, record.constant_offset, place + offsetof(Record, constant_offset), i));
      return tensor;
    }
    const std::optional<std::int64_t> bytes = byte_count(tensor.dtype, tensor.shape());
    if (!bytes || *bytes > format::kMaxTensorBytes) {
      return wrong(offsetof(Record, dims), "dims",
                   fmt::format("{} of {} are more than {} bytes", print_shape(tensor.shape()), dtype_name(tensor.dtype),
                               format::kMaxTensorBytes));
    }
    tensor.elements = element_count(tensor.shape()).value_or(0);
    tensor.bytes = static_cast<std::uint64_t>(*bytes);
    HAL_CHECK(read_constant(tensor, record.constant_offset, place + offsetof(Record, constant_offset), i));
    return tensor;
  }

  Result<void> read_constant(Tensor& tensor, std::uint64_t offset, std::uint64_t place, std::uint32_t i) {
    const std::string field = fmt::format("tensor {} constant_offset", i);
    if (tensor.role != Role::constant) {
      if (offset == format::kNoConstant) { return {}; }
      return fail(place, field, fmt::format("is {} on a tensor that is no constant, expected all ones", offset));
    }
    const format::Section& constants = section(SectionKind::constants);
    if (offset % format::kConstantAlignment != 0) {
      return fail(place, field, fmt::format("is {}, expected a multiple of {}", offset, format::kConstantAlignment));
    }
    if (offset > constants.bytes || tensor.bytes > constants.bytes - offset) {
      return fail(place, field,
                  fmt::format("is {}: {} bytes from there pass the section's end at {}", offset, tensor.bytes,
                              constants.bytes));
    }
    tensor.data = bytes_.subspan(constants.offset + offset, tensor.bytes);
    return {};
  }

  Result<void> read_nodes() {
    writer_.assign(tensor_count_, kUnwritten);
    view_.nodes_.reserve(node_count_);
    for (std::uint32_t i = 0; i < node_count_; ++i) {
      const std::uint64_t place = section(SectionKind::nodes).offset + std::uint64_t{i} * sizeof(format::NodeRecord);
      HAL_CHECK(read_node(i, place));
    }
    return {};
  }

  // Takes a range of the attributes section. Ranges follow each other, so that no byte is decoded twice: a small graph
  // cannot become a large View.
  Result<std::uint64_t> take_attributes(std::uint64_t place, const std::string& field, std::uint64_t offset,
                                        std::uint64_t length) {
    const format::Section& attributes = section(SectionKind::attributes);
    if (length == 0) { return attributes.offset; }
    if (offset < attributes_end_ || offset > attributes.bytes || length > attributes.bytes - offset) {
      return fail(place, field,
                  fmt::format("is {} with {} bytes, expected inside the attributes section's {} bytes and behind {}, "
                              "where the one before ends",
                              offset, length, attributes.bytes, attributes_end_));
    }
    attributes_end_ = offset + length;
    return attributes.offset + offset;
  }

  Result<void> read_node(std::uint32_t i, std::uint64_t place) {
    using Record = format::NodeRecord;
    const Record record = read<Record>(place);
    Node node;
    node.op = static_cast<Op>(record.op);
    node.output = record.output;
    const std::string label = fmt::format("node {} ({})", i, op_name(node.op));
    const auto wrong = [&](std::uint64_t at, std::string_view field, const std::string& text) {
      return fail(at, fmt::format("{} {}", label, field), text);
    };
    if (!is_zero(record.reserved)) { return wrong(place + offsetof(Record, reserved), "reserved", "is not 0"); }
    if (record.input_count > kMaxNodeInputs) {
      return wrong(place + offsetof(Record, input_count), "input_count",
                   fmt::format("is {}, the most is {}", record.input_count, kMaxNodeInputs));
    }
    HAL_TRY(const std::uint64_t inputs_place,
            take_attributes(place + offsetof(Record, inputs_offset), label + " inputs_offset", record.inputs_offset,
                            std::uint64_t{record.input_count} * sizeof(std::uint32_t)));
    std::vector<TensorType> types;
    for (std::uint32_t k = 0; k < record.input_count; ++k) {
      const std::uint64_t at = inputs_place + std::uint64_t{k} * sizeof(std::uint32_t);
      const auto input = read<std::uint32_t>(at);
      const std::string field = fmt::format("inputs[{}]", k);
      if (input >= tensor_count_) {
        return wrong(at, field, fmt::format("is tensor {}, there are {}", input, tensor_count_));
      }
      if (view_.tensors_[input].role != Role::input && writer_[input] == kUnwritten) {
        return wrong(at, field, fmt::format("is tensor {}, which no earlier node writes", input));
      }
      node.inputs.push_back(input);
      types.push_back(type_of(view_.tensors_[input]));
    }
    HAL_CHECK(check_output(node, i, place + offsetof(Record, output), label));
    HAL_TRY(const std::uint64_t attributes_place,
            take_attributes(place + offsetof(Record, attributes_offset), label + " attributes_offset",
                            record.attributes_offset, record.attributes_bytes));
    HAL_CHECK(read_attributes(node, attributes_place, record.attributes_bytes,
                              place + offsetof(Record, attributes_bytes), label));
    if (const auto violation = check_node(node.op, node.attributes, types, type_of(view_.tensors_[node.output]))) {
      std::uint64_t at = place;
      switch (violation->part) {
        case Violation::Part::node:
          at += violation->place;
          break;
        case Violation::Part::attributes:
          at = attributes_place + violation->place;
          break;
        case Violation::Part::input:
          at = inputs_place + violation->place * sizeof(std::uint32_t);
          break;
        case Violation::Part::output:
          at += offsetof(Record, output);
          break;
      }
      return wrong(at, violation->field, violation->text);
    }
    writer_[node.output] = i;
    view_.nodes_.push_back(std::move(node));
    return {};
  }

  static TensorType type_of(const Tensor& tensor) {
    return {tensor.dtype, Shape(tensor.shape().begin(), tensor.shape().end())};
  }

  Result<void> check_output(const Node& node, std::uint32_t i, std::uint64_t place, const std::string& label) {
    const std::string field = label + " output";
    if (node.output >= tensor_count_) {
      return fail(place, field, fmt::format("is tensor {}, there are {}", node.output, tensor_count_));
    }
    const Role role = view_.tensors_[node.output].role;
    if (role == Role::input) { return fail(place, field, fmt::format("is tensor {}, an input", node.output)); }
    if ((role == Role::constant) != (node.op == Op::constant)) {
      return fail(
          place, field,
          fmt::format("is tensor {}: constant nodes, and only they, write tensors of role constant", node.output));
    }
    if (writer_[node.output] != kUnwritten) {
      return fail(place, field,
                  fmt::format("is tensor {}, which node {} has written; node {} may not again", node.output,
                              writer_[node.output], i));
    }
    return {};
  }

  // Decodes the record of the node's operation. An unknown operation is left to check_node().
  Result<void> read_attributes(Node& node, std::uint64_t at, std::uint32_t bytes, std::uint64_t bytes_place,
                               const std::string& label) {
    const auto expect = [&](std::size_t expected) -> Result<void> {
      if (bytes == expected) { return {}; }
      return fail(bytes_place, label + " attributes_bytes", fmt::format("is {}, expected {}", bytes, expected));
    };
    const auto reserved = [&](std::size_t place, std::span<const std::uint8_t> field) -> Result<void> {
      if (is_zero(field)) { return {}; }
      return fail(at + place, label + " attributes.reserved", "is not 0");
    };
    switch (node.op) {
      case Op::contract: {
        HAL_CHECK(expect(sizeof(format::ContractRecord)));
        const auto record = read<format::ContractRecord>(at);
        HAL_CHECK(reserved(offsetof(format::ContractRecord, reserved), record.reserved));
        node.attributes =
            ContractAttributes{record.left, record.right, record.out, static_cast<DType>(record.accumulate)};
        return {};
      }
      case Op::map:
        return read_code(node, at, bytes, bytes_place, label);
      case Op::reduce: {
        HAL_CHECK(expect(sizeof(format::ReduceRecord)));
        const auto record = read<format::ReduceRecord>(at);
        HAL_CHECK(reserved(offsetof(format::ReduceRecord, reserved), {&record.reserved, 1}));
        if (record.keep_dims > 1) {
          return fail(at + offsetof(format::ReduceRecord, keep_dims), label + " attributes.keep_dims",
                      fmt::format("is {}, expected 0 or 1", record.keep_dims));
        }
        node.attributes = ReduceAttributes{record.axes, static_cast<ReduceOp>(record.op), record.keep_dims != 0,
                                           static_cast<DType>(record.accumulate)};
        return {};
      }
      case Op::view: {
        HAL_CHECK(expect(sizeof(format::ViewRecord)));
        const auto record = read<format::ViewRecord>(at);
        if (record.reserved != 0) {
          return fail(at + offsetof(format::ViewRecord, reserved), label + " attributes.reserved", "is not 0");
        }
        if (record.symbolic >= 1U << (kMaxRank + 1)) {
          return fail(at + offsetof(format::ViewRecord, symbolic), label + " attributes.symbolic",
                      fmt::format("is {:#x}, expected {} bits", record.symbolic, kMaxRank + 1));
        }
        ViewAttributes view{record.offset, record.strides};
        HAL_CHECK(read_symbolic(view.offset, record.symbolic, 0, at + offsetof(format::ViewRecord, offset),
                                label + " attributes.offset"));
        for (std::uint32_t d = 0; d < kMaxRank; ++d) {
          HAL_CHECK(read_symbolic(view.strides[d], record.symbolic, 1 + d,
                                  at + offsetof(format::ViewRecord, strides) + d * sizeof(std::int64_t),
                                  fmt::format("{} attributes.strides[{}]", label, d)));
        }
        node.attributes = view;
        return {};
      }
      case Op::gather: {
        HAL_CHECK(expect(sizeof(format::GatherRecord)));
        node.attributes = GatherAttributes{read<format::GatherRecord>(at).axis};
        return {};
      }
      case Op::scatter: {
        HAL_CHECK(expect(sizeof(format::ScatterRecord)));
        const auto record = read<format::ScatterRecord>(at);
        HAL_CHECK(reserved(offsetof(format::ScatterRecord, reserved), record.reserved));
        node.attributes = ScatterAttributes{record.axis, static_cast<ScatterMode>(record.mode)};
        return {};
      }
      case Op::pad: {
        HAL_CHECK(expect(sizeof(format::PadRecord)));
        const auto record = read<format::PadRecord>(at);
        node.attributes = PadAttributes{record.low, record.high, record.value};
        return {};
      }
      case Op::concat: {
        HAL_CHECK(expect(sizeof(format::ConcatRecord)));
        node.attributes = ConcatAttributes{read<format::ConcatRecord>(at).axis};
        return {};
      }
      case Op::convert:
      case Op::constant:
        return expect(0);
    }
    return {};
  }

  // Replaces the number of a size by the size.
  Result<void> read_symbolic(std::int64_t& value, std::uint32_t symbolic, std::uint32_t bit, std::uint64_t at,
                             const std::string& field) {
    const bool entry = ((symbolic >> bit) & 1U) != 0;
    if (entry && value >= 0 && static_cast<std::uint64_t>(value) < view_.sizes_.size()) {
      value = symbolic_size(static_cast<std::size_t>(value));
    } else if (entry || is_symbolic(value)) {
      return fail(at, field,
                  entry ? fmt::format("is size {}, there are {}", value, view_.sizes_.size())
                        : fmt::format("is {}, which no tensor has room for", value));
    }
    return {};
  }

  Result<void> read_code(Node& node, std::uint64_t at, std::uint32_t bytes, std::uint64_t bytes_place,
                         const std::string& label) {
    using Record = format::InstructionRecord;
    const std::uint64_t count = bytes / sizeof(Record);
    if (bytes % sizeof(Record) != 0 || count == 0 || count > kMaxInstructions) {
      return fail(
          bytes_place, label + " attributes_bytes",
          fmt::format("is {}, expected 1 to {} instructions of {} bytes", bytes, kMaxInstructions, sizeof(Record)));
    }
    MapAttributes map;
    map.code.reserve(count);
    for (std::uint64_t k = 0; k < count; ++k) {
      const std::uint64_t place = at + k * sizeof(Record);
      const auto record = read<Record>(place);
      if (!is_zero(record.reserved)) {
        return fail(place + offsetof(Record, reserved), fmt::format("{} attributes.code[{}].reserved", label, k),
                    "is not 0");
      }
      const auto opcode = static_cast<Opcode>(record.opcode);
      if (opcode == Opcode::size &&
          !(record.constant >= 0 && record.constant < static_cast<double>(view_.sizes_.size()) &&
            std::trunc(record.constant) == record.constant)) {
        return fail(place + offsetof(Record, constant), fmt::format("{} attributes.code[{}].constant", label, k),
                    fmt::format("is size {}, there are {}", record.constant, view_.sizes_.size()));
      }
      map.code.push_back({opcode, record.input, record.constant});
    }
    node.attributes = std::move(map);
    return {};
  }

  Result<void> check_written() {
    for (std::uint32_t i = 0; i < tensor_count_; ++i) {
      const Tensor& tensor = view_.tensors_[i];
      if (tensor.role == Role::input || writer_[i] != kUnwritten) { continue; }
      return fail(section(SectionKind::tensors).offset + std::uint64_t{i} * sizeof(format::TensorRecord),
                  fmt::format("tensor {} (\"{}\")", i, tensor.name), "is written by no node");
    }
    return {};
  }

  std::span<const std::byte> bytes_;
  format::Header header_{};
  std::uint32_t tensor_count_ = 0;
  std::uint32_t node_count_ = 0;
  std::uint64_t attributes_end_ = 0;
  std::vector<std::uint32_t> writer_;  // by tensor: the node that writes it
  View view_;
};

Result<View> View::verify_dynamic(std::span<const std::byte> bytes) { return Verifier(bytes).run(); }

Result<View> View::verify(std::span<const std::byte> bytes) {
  HAL_TRY(View view, verify_dynamic(bytes));
  if (view.is_dynamic()) {
    return Error(HAL_UNSUPPORTED,
                 fmt::format("graph \"{}\" has sizes that are known when it runs ({}); here all must be known at load",
                             view.name(), fmt::join(view.symbols(), ", ")),
                 "hal.graph", "", 0);
  }
  return view;
}

std::vector<std::string> View::symbols() const {
  std::vector<std::string> names;
  for (const Size& size : sizes_) {
    if (size.op == SizeOp::symbol) { names.push_back(size.name); }
  }
  return names;
}

Result<View> View::bind(std::span<const std::int64_t> extents) const {
  HAL_TRY(const std::vector<std::int64_t> values, evaluate_sizes(sizes_, extents));
  const auto fail = [&](const std::string& what) {
    const std::vector<std::string> names = symbols();
    std::string bound;
    for (std::size_t i = 0; i < names.size(); ++i) {
      bound += fmt::format("{}{} = {}", i == 0 ? "" : ", ", names[i], extents[i]);
    }
    return Error(HAL_INVALID_ARGUMENT, fmt::format("graph \"{}\" with {}: {}", name_, bound, what), "hal.graph", "", 0);
  };
  View view = *this;
  view.sizes_.clear();
  for (std::size_t t = 0; t < view.tensors_.size(); ++t) {
    Tensor& tensor = view.tensors_[t];
    if (!tensor.is_dynamic()) { continue; }
    for (std::size_t d = 0; d < tensor.rank; ++d) { tensor.dims[d] = resolve(tensor.dims[d], values); }
    const std::optional<std::int64_t> bytes = byte_count(tensor.dtype, tensor.shape());
    if (!bytes || *bytes > format::kMaxTensorBytes) {
      return fail(fmt::format("tensor {} (\"{}\") would be {} {}; sizes begin at 1, the most is {} bytes", t,
                              tensor.name, dtype_name(tensor.dtype), print_shape(tensor.shape()),
                              format::kMaxTensorBytes));
    }
    tensor.elements = element_count(tensor.shape()).value_or(0);
    tensor.bytes = static_cast<std::uint64_t>(*bytes);
  }
  const auto type_of = [&](std::uint32_t tensor) {
    const Tensor& at = view.tensors_[tensor];
    return TensorType{at.dtype, Shape(at.shape().begin(), at.shape().end())};
  };
  for (std::size_t i = 0; i < view.nodes_.size(); ++i) {
    Node& node = view.nodes_[i];
    if (auto* a = std::get_if<ViewAttributes>(&node.attributes)) {
      a->offset = resolve(a->offset, values);
      for (std::int64_t& stride : a->strides) { stride = resolve(stride, values); }
    }
    if (auto* a = std::get_if<MapAttributes>(&node.attributes)) {
      for (Instruction& at : a->code) {
        if (at.opcode != Opcode::size) { continue; }
        at = {Opcode::constant, 0, static_cast<double>(values[static_cast<std::size_t>(at.constant)])};
      }
    }
    std::vector<TensorType> types;
    for (const std::uint32_t input : node.inputs) { types.push_back(type_of(input)); }
    if (const auto violation = check_node(node.op, node.attributes, types, type_of(node.output))) {
      return fail(fmt::format("{} {} {}", view.node_label(i), violation->field, violation->text));
    }
  }
  return view;
}

std::string View::node_label(std::size_t node) const {
  const Node& at = nodes_[node];
  const std::string_view name = tensors_[at.output].name;
  if (name.empty()) { return fmt::format("node {} ({} %{})", node, op_name(at.op), at.output); }
  return fmt::format("node {} ({} \"{}\")", node, op_name(at.op), name);
}

std::string_view op_name(Op op) {
  switch (op) {
    case Op::contract:
      return "contract";
    case Op::map:
      return "map";
    case Op::reduce:
      return "reduce";
    case Op::view:
      return "view";
    case Op::gather:
      return "gather";
    case Op::scatter:
      return "scatter";
    case Op::pad:
      return "pad";
    case Op::convert:
      return "convert";
    case Op::constant:
      return "constant";
    case Op::concat:
      return "concat";
  }
  return "?";
}

}  // namespace hal::graph
