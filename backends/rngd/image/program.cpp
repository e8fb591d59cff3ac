// SPDX-License-Identifier: Apache-2.0
#include "image/program.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "image/verify_ops.hpp"

static_assert(std::endian::native == std::endian::little, "rngd.image and RQI are little endian");

namespace rngd::image {

const char* name_of(Dtype type) {
  switch (type) {
    case Dtype::f32:
      return "f32";
    case Dtype::bf16:
      return "bf16";
    case Dtype::i32:
      return "i32";
    case Dtype::u8:
      return "u8";
    case Dtype::boolean:
      return "bool";
  }
  return "unknown";
}

const char* name_of(OpCode code) {
  switch (code) {
    case OpCode::contract:
      return "contract";
    case OpCode::map:
      return "map";
    case OpCode::reduce:
      return "reduce";
    case OpCode::view:
      return "view";
    case OpCode::gather:
      return "gather";
    case OpCode::scatter:
      return "scatter";
    case OpCode::pad:
      return "pad";
    case OpCode::convert:
      return "convert";
    case OpCode::constant:
      return "constant";
    case OpCode::concat:
      return "concat";
  }
  return "unknown";
}

std::uint64_t hash(std::span<const std::byte> bytes) {
  std::uint64_t value = 0xcbf29ce484222325ull;
  for (const std::byte byte : bytes) { value = (value ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3ull; }
  return value;
}

namespace {

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, bool accept_old_ir) : bytes_(bytes), accept_old_ir_(accept_old_ir) {}

  std::expected<Program, Rejection> run() {
    const bool ok = header() && sections() && tensors() && bindings() && ops();
    if (!ok) { return std::unexpected(std::move(rejection_)); }
    return std::move(program_);
  }

 private:
  bool reject(Reason reason, std::uint64_t offset, std::string text) {
    rejection_ = {reason, offset, fmt::format("{} (byte {:#x})", text, offset)};
    return false;
  }
  bool wrong(std::uint64_t offset, std::string text) { return reject(Reason::verification, offset, std::move(text)); }

  template <class T>
  T read(std::uint64_t offset) const {
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }

  bool header() {
    if (bytes_.size() < sizeof(Header)) {
      return reject(Reason::format, 0,
                    fmt::format("header: {} bytes, {} needed for an rngd.image", bytes_.size(), sizeof(Header)));
    }
    header_ = read<Header>(0);
    if (std::memcmp(header_.magic, kMagic, sizeof kMagic) != 0) {
      return reject(Reason::format, 0, "header.magic: not \"RNGDIMG1\"");
    }
    if (header_.abi != kAbi) {
      return reject(Reason::version, offsetof(Header, abi),
                    fmt::format("header.abi: {}, this firmware reads {}", header_.abi, kAbi));
    }
    if (header_.file_bytes != bytes_.size()) {
      return reject(Reason::format, offsetof(Header, file_bytes),
                    fmt::format("header.file_bytes: {}, but {} bytes were given", header_.file_bytes, bytes_.size()));
    }
    if (header_.hash != hash(bytes_.subspan(sizeof(Header)))) {
      return reject(Reason::format, offsetof(Header, hash), "header.hash: does not match the bytes after the header");
    }
    if (header_.architecture != kArchitecture) {
      return reject(Reason::version, offsetof(Header, architecture),
                    fmt::format("header.architecture: {}, expected {}", header_.architecture, kArchitecture));
    }
    if (header_.ir_version > kIrVersion || (header_.ir_version < kIrVersion && !accept_old_ir_)) {
      return reject(Reason::version, offsetof(Header, ir_version),
                    fmt::format("header.ir_version: {}, this firmware runs {}; compile the program again",
                                header_.ir_version, kIrVersion));
    }
    if (header_.pe_count != 1 && header_.pe_count != 2 && header_.pe_count != 4) {
      return wrong(offsetof(Header, pe_count), fmt::format("header.pe_count: {}, must be 1, 2 or 4", header_.pe_count));
    }
    if (header_.sram_bytes > header_.pe_count * kSramBytesPerPe) {
      return wrong(offsetof(Header, sram_bytes),
                   fmt::format("header.sram_bytes: {} does not fit the {} bytes of {} PE(s)", header_.sram_bytes,
                               header_.pe_count * kSramBytesPerPe, header_.pe_count));
    }
    if (header_.scratch_bytes > kMaxTensorBytes) {
      return wrong(offsetof(Header, scratch_bytes), fmt::format("header.scratch_bytes: {} is over the limit of {}",
                                                                header_.scratch_bytes, kMaxTensorBytes));
    }
    if (header_.section_count != kSectionKinds || header_.reserved != 0) {
      return wrong(offsetof(Header, section_count),
                   fmt::format("header.section_count: {}, expected {}", header_.section_count, kSectionKinds));
    }
    program_.pe_count = header_.pe_count;
    program_.ir_version = header_.ir_version;
    program_.sram_bytes = header_.sram_bytes;
    program_.scratch_bytes = header_.scratch_bytes;
    return true;
  }

  // Sections come in the order of SectionKind, each present once (it may be empty).
  bool sections() {
    constexpr std::uint64_t kUnit[] = {sizeof(TensorRecord), sizeof(OpRecord), 8, 1, 4, 1};
    for (std::uint32_t i = 0; i < kSectionKinds; ++i) {
      const Section& section = header_.sections[i];
      const std::uint64_t at = offsetof(Header, sections) + i * sizeof(Section);
      if (section.kind != i + 1 || section.reserved != 0) {
        return wrong(at, fmt::format("section[{}].kind: {}, expected {}", i, section.kind, i + 1));
      }
      const std::uint64_t alignment = section.kind == static_cast<std::uint32_t>(SectionKind::constants) ? 64 : 8;
      if (section.offset < sizeof(Header) || section.offset > bytes_.size() ||
          section.bytes > bytes_.size() - section.offset || section.offset % alignment != 0) {
        return wrong(at + offsetof(Section, offset),
                     fmt::format("section[{}]: {} bytes at {} do not lie aligned to {} inside the file of {}", i,
                                 section.bytes, section.offset, alignment, bytes_.size()));
      }
      if (section.bytes % kUnit[i] != 0) {
        return wrong(at + offsetof(Section, bytes),
                     fmt::format("section[{}].bytes: {} is not a multiple of {}", i, section.bytes, kUnit[i]));
      }
    }
    const Section& constants = section(SectionKind::constants);
    const auto from = bytes_.subspan(constants.offset, constants.bytes);
    program_.constants.assign(from.begin(), from.end());
    return true;
  }
  const Section& section(SectionKind kind) const { return header_.sections[static_cast<std::uint32_t>(kind) - 1]; }

  bool tensors() {
    const Section& table = section(SectionKind::tensors);
    const Section& names = section(SectionKind::names);
    const std::uint64_t count = table.bytes / sizeof(TensorRecord);
    if (count == 0 || count > kMaxTensors) {
      return wrong(table.offset, fmt::format("tensors: {}, must be 1 to {}", count, kMaxTensors));
    }
    program_.tensors.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t at = table.offset + i * sizeof(TensorRecord);
      const auto record = read<TensorRecord>(at);
      Tensor tensor{};
      const auto dtype = static_cast<Dtype>(record.dtype);
      if (dtype != Dtype::f32 && dtype != Dtype::bf16 && dtype != Dtype::i32 && dtype != Dtype::u8 &&
          dtype != Dtype::boolean) {
        return wrong(at,
                     fmt::format("tensor[{}].dtype: {}, supported are f32, bf16, i32, u8 and bool", i, record.dtype));
      }
      if (record.rank > kMaxRank) {
        return wrong(at + 1, fmt::format("tensor[{}].rank: {} exceeds {}", i, record.rank, kMaxRank));
      }
      if (record.location < 1 || record.location > 5) {
        return wrong(at + 2, fmt::format("tensor[{}].location: {} is unknown", i, record.location));
      }
      if (record.reserved0 != 0 || record.reserved1 != 0) {
        return wrong(at + 3, fmt::format("tensor[{}].reserved: not zero", i));
      }
      tensor.dtype = dtype;
      tensor.rank = record.rank;
      tensor.location = static_cast<Location>(record.location);
      tensor.elements = 1;
      for (std::uint32_t d = 0; d < record.rank; ++d) {
        const std::int64_t extent = record.dims[d];
        const std::uint64_t field = at + offsetof(TensorRecord, dims) + d * 8;
        if (extent < 1 || static_cast<std::uint64_t>(extent) > kMaxTensorBytes / tensor.elements) {
          return wrong(field,
                       fmt::format("tensor[{}].dims[{}]: {} is below 1 or makes the tensor too large", i, d, extent));
        }
        tensor.dims[d] = extent;
        tensor.elements *= static_cast<std::uint64_t>(extent);
      }
      tensor.bytes = tensor.elements * element_bytes(dtype);
      tensor.offset = record.offset;
      if (tensor.bytes != record.bytes || tensor.bytes > kMaxTensorBytes) {
        return wrong(at + offsetof(TensorRecord, bytes),
                     fmt::format("tensor[{}].bytes: {}, its shape needs {}", i, record.bytes, tensor.bytes));
      }
      if (record.name_offset > names.bytes || record.name_bytes > names.bytes - record.name_offset ||
          record.name_bytes > 4096) {
        return wrong(at + offsetof(TensorRecord, name_offset),
                     fmt::format("tensor[{}].name: outside the names section", i));
      }
      tensor.name.assign(reinterpret_cast<const char*>(bytes_.data() + names.offset + record.name_offset),
                         record.name_bytes);
      if (!placed(tensor, i, at + offsetof(TensorRecord, offset))) { return false; }
      program_.tensors.push_back(std::move(tensor));
    }
    return true;
  }

  bool placed(const Tensor& tensor, std::uint64_t i, std::uint64_t at) {
    std::uint64_t room = 0;
    switch (tensor.location) {
      case Location::input:
      case Location::output:
        room = tensor.bytes;
        break;
      case Location::constant:
        room = program_.constants.size();
        break;
      case Location::sram:
        room = header_.sram_bytes;
        break;
      case Location::scratch:
        room = header_.scratch_bytes;
        break;
    }
    if (tensor.bytes > room || tensor.offset > room - tensor.bytes ||
        tensor.offset % element_bytes(tensor.dtype) != 0) {
      return wrong(at, fmt::format("tensor[{}].offset: {} bytes at {} do not lie aligned in its location of {} bytes",
                                   i, tensor.bytes, tensor.offset, room));
    }
    return true;
  }

  bool bindings() {
    const Section& table = section(SectionKind::bindings);
    const std::uint64_t count = table.bytes / 4;
    std::vector<bool> bound(program_.tensors.size());
    if (count > 4096) { return wrong(table.offset, fmt::format("bindings: {}, at most 4096", count)); }
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto index = read<std::uint32_t>(table.offset + i * 4);
      if (index >= program_.tensors.size()) {
        return wrong(table.offset + i * 4,
                     fmt::format("binding[{}]: tensor {} of {}", i, index, program_.tensors.size()));
      }
      Tensor& tensor = program_.tensors[index];
      const bool input = tensor.location == Location::input;
      if ((!input && tensor.location != Location::output) || bound[index]) {
        return wrong(table.offset + i * 4,
                     fmt::format("binding[{}]: tensor {} is not an input or output, or is bound twice", i, index));
      }
      if (input && program_.input_count != i) {
        return wrong(table.offset + i * 4, fmt::format("binding[{}]: an input after an output", i));
      }
      program_.input_count += input ? 1 : 0;
      bound[index] = true;
      tensor.binding = static_cast<std::uint32_t>(i);
      program_.bindings.push_back(index);
    }
    for (std::size_t t = 0; t < bound.size(); ++t) {
      const Location where = program_.tensors[t].location;
      if (!bound[t] && (where == Location::input || where == Location::output)) {
        return wrong(table.offset, fmt::format("bindings: tensor {} is an input or output without a position", t));
      }
    }
    return true;
  }

  bool ops() {
    const Section& table = section(SectionKind::ops);
    const Section& attributes = section(SectionKind::attributes);
    const std::uint64_t count = table.bytes / sizeof(OpRecord);
    if (count > kMaxOps) { return wrong(table.offset, fmt::format("ops: {}, at most {}", count, kMaxOps)); }
    std::vector<bool> written(program_.tensors.size());
    for (std::size_t t = 0; t < written.size(); ++t) {
      const Location where = program_.tensors[t].location;
      written[t] = where == Location::input || where == Location::constant;
    }
    program_.ops.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t at = table.offset + i * sizeof(OpRecord);
      const auto record = read<OpRecord>(at);
      if (record.code < 1 || record.code > 10) {
        return wrong(at, fmt::format("op[{}].code: {} is unknown", i, record.code));
      }
      if (record.input_count > kMaxInputs || record.flags != 0 || record.reserved[0] != 0 || record.reserved[1] != 0) {
        return wrong(at + 1, fmt::format("op[{}].input_count: {} exceeds {}, or a reserved field is not zero", i,
                                         record.input_count, kMaxInputs));
      }
      if (record.input_offset % 4 != 0 || record.input_offset > attributes.bytes ||
          record.input_count * 4ull > attributes.bytes - record.input_offset) {
        return wrong(at + offsetof(OpRecord, input_offset),
                     fmt::format("op[{}].input_offset: {} inputs at {} are outside the section", i, record.input_count,
                                 record.input_offset));
      }
      Op op{};
      op.code = static_cast<OpCode>(record.code);
      op.output = record.output;
      for (std::uint32_t k = 0; k < record.input_count; ++k) {
        const std::uint64_t input_at = attributes.offset + record.input_offset + k * 4ull;
        const auto input = read<std::uint32_t>(input_at);
        if (input >= written.size() || !written[input]) {
          return wrong(input_at,
                       fmt::format("op[{}].inputs[{}]: tensor {} does not exist or is not written yet", i, k, input));
        }
        op.inputs.push_back(input);
      }
      if (record.output >= written.size() || written[record.output]) {
        return wrong(at + offsetof(OpRecord, output),
                     fmt::format("op[{}].output: tensor {} does not exist or is written twice", i, record.output));
      }
      written[record.output] = true;
      if (record.attribute_offset % 8 != 0 || record.attribute_offset > attributes.bytes ||
          record.attribute_bytes > attributes.bytes - record.attribute_offset) {
        return wrong(at + offsetof(OpRecord, attribute_offset),
                     fmt::format("op[{}].attributes: {} bytes at {} are outside the section", i, record.attribute_bytes,
                                 record.attribute_offset));
      }
      const std::uint64_t attributes_at = attributes.offset + record.attribute_offset;
      if (std::string why = disjoint(op); !why.empty()) {
        return wrong(at, fmt::format("op[{}] ({}): {}", i, name_of(op.code), why));
      }
      if (auto why = verify_op(program_, bytes_.subspan(attributes_at, record.attribute_bytes), op); why) {
        return wrong(attributes_at + why->offset, fmt::format("op[{}] ({}).{}", i, name_of(op.code), why->text));
      }
      program_.ops.push_back(std::move(op));
    }
    for (std::size_t t = 0; t < written.size(); ++t) {
      if (!written[t] && program_.tensors[t].location == Location::output) {
        return wrong(table.offset, fmt::format("ops: output tensor {} is never written", t));
      }
    }
    return true;
  }

  // No operation may write over what it reads.
  std::string disjoint(const Op& op) const {
    const Tensor& out = program_.tensors[op.output];
    for (std::size_t k = 0; k < op.inputs.size(); ++k) {
      const Tensor& in = program_.tensors[op.inputs[k]];
      if (in.location == out.location && (in.location == Location::sram || in.location == Location::scratch) &&
          in.offset < out.offset + out.bytes && out.offset < in.offset + in.bytes) {
        return fmt::format("output overlaps input {} in the same memory", k);
      }
    }
    return {};
  }

  std::span<const std::byte> bytes_;
  bool accept_old_ir_;
  Header header_{};
  Program program_{};
  Rejection rejection_{};
};

}  // namespace

std::expected<Program, Rejection> parse(std::span<const std::byte> bytes, bool accept_old_ir) {
  return Parser(bytes, accept_old_ir).run();
}

}  // namespace rngd::image
