// SPDX-License-Identifier: Apache-2.0
#include "image/builder.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "image/program.hpp"

namespace rngd::image {
namespace {

std::uint64_t align(std::uint64_t value, std::uint64_t to) { return (value + to - 1) / to * to; }

}  // namespace

std::uint32_t Builder::add(Dtype type, Dims dims, Location location, std::uint64_t offset, std::string_view name) {
  TensorRecord record{};
  record.dtype = static_cast<std::uint8_t>(type);
  record.rank = static_cast<std::uint8_t>(dims.size());
  record.location = static_cast<std::uint8_t>(location);
  record.offset = offset;
  record.bytes = element_bytes(type);
  for (std::size_t d = 0; d < dims.size() && d < kMaxRank; ++d) {
    record.dims[d] = dims[d];
    record.bytes *= static_cast<std::uint64_t>(dims[d]);
  }
  record.name_offset = static_cast<std::uint32_t>(names_.size());
  record.name_bytes = static_cast<std::uint32_t>(name.size());
  const auto bytes = std::as_bytes(std::span(name));
  names_.insert(names_.end(), bytes.begin(), bytes.end());
  tensors_.push_back(record);
  return static_cast<std::uint32_t>(tensors_.size() - 1);
}

std::uint32_t Builder::input(Dtype type, Dims dims, std::string_view name) {
  inputs_.push_back(add(type, dims, Location::input, 0, name));
  return inputs_.back();
}

std::uint32_t Builder::output(Dtype type, Dims dims, std::string_view name) {
  outputs_.push_back(add(type, dims, Location::output, 0, name));
  return outputs_.back();
}

std::uint32_t Builder::constant(Dtype type, Dims dims, std::span<const std::byte> bytes, std::string_view name) {
  return add(type, dims, Location::constant, constant_bytes(bytes), name);
}

std::uint32_t Builder::sram(Dtype type, Dims dims) {
  return placed(type, dims, Location::sram, align(sram_bytes_, 64));
}

std::uint32_t Builder::placed(Dtype type, Dims dims, Location location, std::uint64_t offset) {
  const std::uint32_t index = add(type, dims, location, offset, {});
  std::uint64_t& footprint = location == Location::scratch ? scratch_bytes_ : sram_bytes_;
  footprint = std::max(footprint, offset + tensors_[index].bytes);
  return index;
}

std::uint64_t Builder::constant_bytes(std::span<const std::byte> bytes) {
  const std::uint64_t offset = align(constants_.size(), 64);
  constants_.resize(offset);
  constants_.insert(constants_.end(), bytes.begin(), bytes.end());
  return offset;
}

void Builder::op(OpCode code, Inputs inputs, std::uint32_t out, std::span<const std::byte> attributes) {
  OpRecord record{};
  record.code = static_cast<std::uint8_t>(code);
  record.output = out;
  record.input_offset = static_cast<std::uint32_t>(attributes_.size());
  record.input_count = static_cast<std::uint32_t>(inputs.size());
  const auto indices = std::as_bytes(inputs);
  attributes_.insert(attributes_.end(), indices.begin(), indices.end());
  attributes_.resize(align(attributes_.size(), 8));
  record.attribute_offset = static_cast<std::uint32_t>(attributes_.size());
  record.attribute_bytes = static_cast<std::uint32_t>(attributes.size());
  attributes_.insert(attributes_.end(), attributes.begin(), attributes.end());
  attributes_.resize(align(attributes_.size(), 8));
  ops_.push_back(record);
}

void Builder::contract(std::uint32_t a, std::uint32_t b, std::uint32_t out, const ContractAttributes& attributes) {
  op(OpCode::contract, std::array{a, b}, out, attributes);
}

void Builder::map(Inputs inputs, std::uint32_t out, Dtype compute, std::span<const Instruction> code) {
  MapAttributes head{};
  head.instruction_count = static_cast<std::uint16_t>(code.size());
  head.compute = static_cast<std::uint8_t>(compute);
  std::vector<std::byte> bytes(sizeof head + code.size_bytes());
  std::memcpy(bytes.data(), &head, sizeof head);
  if (!code.empty()) { std::memcpy(bytes.data() + sizeof head, code.data(), code.size_bytes()); }
  op(OpCode::map, inputs, out, std::span<const std::byte>(bytes));
}

void Builder::reduce(std::uint32_t in, std::uint32_t out, const ReduceAttributes& attributes) {
  op(OpCode::reduce, std::array{in}, out, attributes);
}

void Builder::view(std::uint32_t in, std::uint32_t out, const ViewAttributes& attributes) {
  op(OpCode::view, std::array{in}, out, attributes);
}

void Builder::gather(std::uint32_t data, std::uint32_t indices, std::uint32_t out, std::uint32_t axis) {
  op(OpCode::gather, std::array{data, indices}, out, AxisAttributes{axis, 0});
}

void Builder::scatter(std::uint32_t base, std::uint32_t indices, std::uint32_t updates, std::uint32_t out,
                      std::uint32_t axis, ScatterMode mode) {
  op(OpCode::scatter, std::array{base, indices, updates}, out, AxisAttributes{axis, static_cast<std::uint32_t>(mode)});
}

void Builder::pad(std::uint32_t in, std::uint32_t out, const PadAttributes& attributes) {
  op(OpCode::pad, std::array{in}, out, attributes);
}

void Builder::convert(std::uint32_t in, std::uint32_t out) {
  op(OpCode::convert, std::array{in}, out, std::span<const std::byte>{});
}

void Builder::copy_constant(std::uint64_t offset, std::uint32_t out) {
  op(OpCode::constant, {}, out, ConstantAttributes{offset});
}

void Builder::concat(Inputs inputs, std::uint32_t out, std::uint32_t axis) {
  op(OpCode::concat, inputs, out, AxisAttributes{axis, 0});
}

std::vector<std::byte> Builder::finish(std::uint32_t ir_version) const {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.abi = kAbi;
  header.ir_version = ir_version;
  header.architecture = kArchitecture;
  header.pe_count = pe_count_;
  header.sram_bytes = sram_bytes_;
  header.scratch_bytes = scratch_bytes_;
  header.section_count = kSectionKinds;
  std::vector<std::uint32_t> bindings = inputs_;
  bindings.insert(bindings.end(), outputs_.begin(), outputs_.end());

  std::vector<std::byte> file(sizeof header);
  std::uint32_t kind = 0;
  const auto append = [&](std::span<const std::byte> bytes, std::uint64_t alignment) {
    file.resize(align(file.size(), alignment));
    header.sections[kind] = {kind + 1, 0, file.size(), bytes.size()};
    ++kind;
    file.insert(file.end(), bytes.begin(), bytes.end());
  };
  append(std::as_bytes(std::span(tensors_)), 8);
  append(std::as_bytes(std::span(ops_)), 8);
  append(attributes_, 8);
  append(constants_, 64);
  append(std::as_bytes(std::span(bindings)), 8);
  append(names_, 8);
  header.file_bytes = file.size();
  header.hash = hash(std::span(file).subspan(sizeof header));
  std::memcpy(file.data(), &header, sizeof header);
  return file;
}

}  // namespace rngd::image
