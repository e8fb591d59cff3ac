// SPDX-License-Identifier: Apache-2.0
#include "vm/rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "ptx/error.hpp"

namespace hal::emulated_cuda {
namespace {

constexpr std::uint64_t kLargestShared = 1u << 20;
constexpr std::uint64_t kLargestLocal = 512u << 10;  // of each thread, as on a GPU
constexpr std::uint32_t kLargestRowBlock = 64u << 20;

constexpr std::pair<std::string_view, Special> kSpecialNames[] = {{"%tid.x", Special::tid_x},
                                                                  {"%tid.y", Special::tid_y},
                                                                  {"%tid.z", Special::tid_z},
                                                                  {"%ntid.x", Special::ntid_x},
                                                                  {"%ntid.y", Special::ntid_y},
                                                                  {"%ntid.z", Special::ntid_z},
                                                                  {"%ctaid.x", Special::ctaid_x},
                                                                  {"%ctaid.y", Special::ctaid_y},
                                                                  {"%ctaid.z", Special::ctaid_z},
                                                                  {"%nctaid.x", Special::nctaid_x},
                                                                  {"%nctaid.y", Special::nctaid_y},
                                                                  {"%nctaid.z", Special::nctaid_z},
                                                                  {"%laneid", Special::laneid},
                                                                  {"%warpid", Special::warpid},
                                                                  {"%nwarpid", Special::nwarpid},
                                                                  {"%smid", Special::smid},
                                                                  {"%nsmid", Special::nsmid},
                                                                  {"%gridid", Special::gridid},
                                                                  {"%lanemask_eq", Special::lanemask_eq},
                                                                  {"%lanemask_lt", Special::lanemask_lt},
                                                                  {"%lanemask_le", Special::lanemask_le},
                                                                  {"%lanemask_gt", Special::lanemask_gt},
                                                                  {"%lanemask_ge", Special::lanemask_ge},
                                                                  {"%dynamic_smem_size", Special::dynamic_smem_size},
                                                                  {"%total_smem_size", Special::total_smem_size}};

std::uint64_t aligned(std::uint64_t offset, std::uint64_t align) { return (offset + align - 1) / align * align; }

}  // namespace

bool is_float(Type type) {
  return type == Type::f16 || type == Type::bf16 || type == Type::f16x2 || type == Type::bf16x2 || type == Type::f32 ||
         type == Type::f64;
}
bool is_signed(Type type) { return type == Type::s8 || type == Type::s16 || type == Type::s32 || type == Type::s64; }
const char* bits_name(std::uint32_t bytes) {
  return bytes == 1 ? "b8" : bytes == 2 ? "b16" : bytes == 4 ? "b32" : bytes == 8 ? "b64" : "pred";
}
const char* bits_name(Type type) { return bits_name(size_of(type)); }
const char* number_name(Type type) {
  switch (type) {
    case Type::f16:
      return "f16";
    case Type::bf16:
      return "bf16";
    case Type::f16x2:
      return "f16x2";
    case Type::bf16x2:
      return "bf16x2";
    case Type::f32:
      return "f32";
    case Type::f64:
      return "f64";
    case Type::s8:
      return "s8";
    case Type::s16:
      return "s16";
    case Type::s32:
      return "s32";
    case Type::s64:
      return "s64";
    case Type::pred:
      return "pred";
    default:
      break;
  }
  const std::uint32_t size = size_of(type);
  return size == 1 ? "u8" : size == 2 ? "u16" : size == 4 ? "u32" : "u64";
}

Rows::Rows(Program& program, const Syntax& module, const Kernel& kernel, std::span<const std::uint64_t> addresses)
    : program_(program),
      module_(module),
      kernel_(kernel),
      addresses_(addresses),
      registers_(kernel.registers.size(), kNoRow) {
  std::fill(std::begin(program_.special_rows), std::end(program_.special_rows), kNoRow);
  std::uint64_t shared = 0, local = 0;
  // Module-scope shared variables belong to every kernel, at the same offsets.
  for (const Symbol& s : module_.globals) {
    if (s.space == Space::shared && !s.external) { shared = aligned(shared, s.align) + s.bytes; }
  }
  for (const Symbol& s : kernel_.variables) {
    std::uint64_t& end = s.space == Space::shared ? shared : local;
    variables_.push_back(aligned(end, s.align));
    end = variables_.back() + s.bytes;
  }
  if (shared > kLargestShared || local > kLargestLocal) {
    throw PtxError(kernel_.line, fmt::format("kernel '{}' wants {} bytes of shared and {} bytes of local memory; the "
                                             "limits are {} and {}",
                                             kernel_.name, shared, local, kLargestShared, kLargestLocal));
  }
  program_.shared_bytes = static_cast<std::uint32_t>(aligned(shared, 16));
  program_.local_bytes = static_cast<std::uint32_t>(aligned(local, 16));
}

std::uint32_t Rows::allocate(std::uint32_t bytes_per_lane) {
  const std::uint32_t row = program_.row_bytes;
  program_.row_bytes += bytes_per_lane == 0 ? 64 : std::max(64u, bytes_per_lane * kLanes);
  if (program_.row_bytes > kLargestRowBlock) {
    throw PtxError(kernel_.line, fmt::format("kernel '{}' uses too many registers", kernel_.name));
  }
  return row;
}

std::uint32_t Rows::temporary(std::uint32_t size) { return allocate(size); }

std::uint32_t Rows::register_row(std::uint32_t index) {
  if (registers_[index] == kNoRow) {
    const std::uint32_t size = size_of(kernel_.registers[index].type);
    registers_[index] = allocate(size);
    program_.registers += size <= 4 ? (size == 0 ? 0 : 1) : 2;
  }
  return registers_[index];
}

std::uint32_t Rows::constant(std::uint64_t bits, std::uint32_t size) {
  if (size < 8) { bits &= (1ull << (8 * size)) - 1; }
  const auto [it, fresh] = constants_.try_emplace({size, bits}, 0);
  if (fresh) {
    it->second = allocate(size);
    program_.constants.push_back({it->second, size, bits});
  }
  return it->second;
}

std::uint32_t Rows::special(Special which) {
  std::uint32_t& row = program_.special_rows[static_cast<std::size_t>(which)];
  if (row == kNoRow) { row = allocate(4); }
  return row;
}

const Symbol& Rows::symbol(const Operand& o) const {
  if (o.parameter) { return kernel_.parameters[o.index]; }
  return o.module_scope ? module_.globals[o.index] : kernel_.variables[o.index];
}

std::uint64_t Rows::address(const Operand& o, std::uint32_t line) const {
  const Symbol& s = symbol(o);
  if (o.parameter) { return s.offset + o.bits; }
  if (!o.module_scope) { return variables_[o.index] + o.bits; }
  if (s.space != Space::shared) { return addresses_[o.index] + o.bits; }
  if (s.external) { return program_.shared_bytes + o.bits; }
  std::uint64_t offset = 0;
  for (std::uint32_t i = 0; i <= o.index; ++i) {
    const Symbol& other = module_.globals[i];
    if (other.space != Space::shared || other.external) { continue; }
    offset = aligned(offset, other.align);
    if (i == o.index) { return offset + o.bits; }
    offset += other.bytes;
  }
  throw PtxError(line, fmt::format("'{}' has no address", s.name));
}

std::uint32_t Rows::predicate(const Operand& o, std::uint32_t line) {
  if (o.kind == OperandKind::sink) { return kNoRow; }
  if (o.kind != OperandKind::reg || kernel_.registers[o.index].type != Type::pred) {
    throw PtxError(line, fmt::format("'{}' is not a predicate register", o.text));
  }
  return register_row(o.index);
}

std::uint32_t Rows::destination(const Operand& o, Type type, std::uint32_t line) {
  if (o.kind == OperandKind::sink) { return kNoRow; }
  if (o.kind != OperandKind::reg) { throw PtxError(line, fmt::format("'{}' is not a register", o.text)); }
  const Type have = kernel_.registers[o.index].type;
  if (size_of(have) != size_of(type)) {
    throw PtxError(
        line, fmt::format("register {} has {} bytes, the instruction writes {}", o.text, size_of(have), size_of(type)));
  }
  return register_row(o.index);
}

std::uint32_t Rows::source(const Operand& o, Type type, std::uint32_t line) {
  const std::uint32_t size = size_of(type);
  switch (o.kind) {
    case OperandKind::reg: {
      if (o.negated) { throw PtxError(line, fmt::format("'!{}': only predicates can be inverted", o.text)); }
      const std::uint32_t have = size_of(kernel_.registers[o.index].type);
      if (have != size || size == 0) {
        throw PtxError(line, fmt::format("register {} has {} bytes, the instruction reads {}", o.text, have, size));
      }
      return register_row(o.index);
    }
    case OperandKind::integer:
      if (is_float(type) && size >= 4 && type != Type::f16x2 && type != Type::bf16x2) {
        throw PtxError(line, fmt::format("the integer '{}' where a floating value is needed", o.text));
      }
      return constant(o.bits, size);
    case OperandKind::floating: {
      const double value = std::bit_cast<double>(o.bits);
      if (size == 4) { return constant(std::bit_cast<std::uint32_t>(static_cast<float>(value)), 4); }
      if (size == 8) { return constant(o.bits, 8); }
      throw PtxError(line, fmt::format("the floating value '{}' where {} bytes are needed", o.text, size));
    }
    case OperandKind::special: {
      for (const auto& [name, which] : kSpecialNames) {
        if (name == o.text) {
          if (size != 4) { throw PtxError(line, fmt::format("special register {} has 4 bytes", o.text)); }
          return special(which);
        }
      }
      throw PtxError(line,
                     fmt::format("register '{}' is not declared, or a special register that is not supported", o.text));
    }
    case OperandKind::symbol:
      if (size < 4) { throw PtxError(line, fmt::format("the address of '{}' does not fit", o.text)); }
      return constant(address(o, line), size);
    case OperandKind::address:
    case OperandKind::vector:
    case OperandKind::label:
    case OperandKind::sink:
      break;
  }
  throw PtxError(line, fmt::format("'{}' is not a value", o.text));
}

}  // namespace hal::emulated_cuda
