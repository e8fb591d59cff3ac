// SPDX-License-Identifier: Apache-2.0
// Writes an rngd.image. Checks nothing: parse() does, for builders and strangers alike.
#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "image/format.hpp"

namespace rngd::image {

class Builder {
 public:
  explicit Builder(std::uint32_t pe_count) : pe_count_(pe_count) {}

  using Dims = std::span<const std::int64_t>;
  /// Tensors return their index. Inputs must be added before outputs to bind in the order added.
  std::uint32_t input(Dtype type, Dims dims, std::string_view name = {});
  std::uint32_t output(Dtype type, Dims dims, std::string_view name = {});
  std::uint32_t constant(Dtype type, Dims dims, std::span<const std::byte> bytes, std::string_view name = {});
  /// On chip at `offset`, or at the next free place.
  std::uint32_t sram(Dtype type, Dims dims);
  std::uint32_t placed(Dtype type, Dims dims, Location location, std::uint64_t offset);

  using Inputs = std::span<const std::uint32_t>;
  void contract(std::uint32_t a, std::uint32_t b, std::uint32_t out, const ContractAttributes& attributes);
  void map(Inputs inputs, std::uint32_t out, Dtype compute, std::span<const Instruction> code);
  void reduce(std::uint32_t in, std::uint32_t out, const ReduceAttributes& attributes);
  void view(std::uint32_t in, std::uint32_t out, const ViewAttributes& attributes);
  void gather(std::uint32_t data, std::uint32_t indices, std::uint32_t out, std::uint32_t axis);
  void scatter(std::uint32_t base, std::uint32_t indices, std::uint32_t updates, std::uint32_t out, std::uint32_t axis,
               ScatterMode mode);
  void pad(std::uint32_t in, std::uint32_t out, const PadAttributes& attributes);
  void convert(std::uint32_t in, std::uint32_t out);
  void copy_constant(std::uint64_t offset, std::uint32_t out);
  void concat(Inputs inputs, std::uint32_t out, std::uint32_t axis);

  /// Appends to the constants section, aligned to 64; returns the offset.
  std::uint64_t constant_bytes(std::span<const std::byte> bytes);
  std::uint64_t sram_bytes() const { return sram_bytes_; }

  std::vector<std::byte> finish(std::uint32_t ir_version = kIrVersion) const;

 private:
  std::uint32_t add(Dtype type, Dims dims, Location location, std::uint64_t offset, std::string_view name);
  void op(OpCode code, Inputs inputs, std::uint32_t out, std::span<const std::byte> attributes);
  template <class T>
  void op(OpCode code, Inputs inputs, std::uint32_t out, const T& attributes) {
    op(code, inputs, out, std::as_bytes(std::span(&attributes, 1)));
  }

  std::uint32_t pe_count_;
  std::uint64_t sram_bytes_ = 0, scratch_bytes_ = 0;
  std::vector<TensorRecord> tensors_;
  std::vector<OpRecord> ops_;
  std::vector<std::uint32_t> inputs_, outputs_;
  std::vector<std::byte> attributes_, constants_, names_;
};

}  // namespace rngd::image
