// SPDX-License-Identifier: Apache-2.0
// Element types of tensors. Values equal hal_dtype in hal/hal.h, so a cast is the conversion.
#pragma once

#include <cstdint>
#include <string_view>

namespace hal {

enum class DType : std::uint8_t {
  f64 = 1,
  f32 = 2,
  f16 = 3,
  bf16 = 4,
  f8e4m3 = 5,
  f8e5m2 = 6,
  i64 = 7,
  i32 = 8,
  i8 = 9,
  i4 = 10,
  u8 = 11,
  boolean = 12,  // one byte, 0 or 1; other bytes have no meaning
  u32 = 13,
  u64 = 14,
};

/// Bits of one element; 0 if the value names no type. Bits, because i4 packs two to a byte (low half first).
constexpr std::uint32_t dtype_bits(DType type) {
  switch (type) {
    case DType::f64:
    case DType::i64:
    case DType::u64:
      return 64;
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 32;
    case DType::f16:
    case DType::bf16:
      return 16;
    case DType::f8e4m3:
    case DType::f8e5m2:
    case DType::i8:
    case DType::u8:
    case DType::boolean:
      return 8;
    case DType::i4:
      return 4;
  }
  return 0;
}

/// "f32", "bf16", "bool"; "?" if the value names no type.
constexpr std::string_view dtype_name(DType type) {
  switch (type) {
    case DType::f64:
      return "f64";
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::f8e4m3:
      return "f8e4m3";
    case DType::f8e5m2:
      return "f8e5m2";
    case DType::i64:
      return "i64";
    case DType::i32:
      return "i32";
    case DType::i8:
      return "i8";
    case DType::i4:
      return "i4";
    case DType::u8:
      return "u8";
    case DType::boolean:
      return "bool";
    case DType::u32:
      return "u32";
    case DType::u64:
      return "u64";
  }
  return "?";
}

constexpr bool is_floating(DType type) { return type >= DType::f64 && type <= DType::f8e5m2; }

/// u8 and bool: small enough that every value is exact in any floating type, so they mix with both families.
constexpr bool is_mask(DType type) { return type == DType::u8 || type == DType::boolean; }

}  // namespace hal
