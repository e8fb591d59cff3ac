// SPDX-License-Identifier: Apache-2.0
#include "core/signature.hpp"

#include <fmt/format.h>

#include <array>

namespace hal::core {
namespace {

struct DtypeRow {
  const char* name;
  std::uint32_t bits;
};
// Indexed by hal_dtype.
constexpr std::array<DtypeRow, 15> kDtypes{{{"?", 0},
                                            {"f64", 64},
                                            {"f32", 32},
                                            {"f16", 16},
                                            {"bf16", 16},
                                            {"f8e4m3", 8},
                                            {"f8e5m2", 8},
                                            {"i64", 64},
                                            {"i32", 32},
                                            {"i8", 8},
                                            {"i4", 4},
                                            {"u8", 8},
                                            {"bool", 8},
                                            {"u32", 32},
                                            {"u64", 64}}};

}  // namespace

std::uint32_t bits_of(hal_dtype dtype) {
  const auto i = static_cast<std::size_t>(dtype);
  return i < kDtypes.size() ? kDtypes[i].bits : 0;
}

const char* name_of(hal_dtype dtype) {
  const auto i = static_cast<std::size_t>(dtype);
  return i < kDtypes.size() ? kDtypes[i].name : "?";
}

hal_signature& Signatures::add(std::string name, hal_entry_kind kind) {
  hal_signature signature{};
  signature.name = text_.emplace_back(std::move(name)).c_str();
  signature.kind = kind;
  params_.emplace_back();
  return views_.emplace_back(signature);
}

hal_param& Signatures::add_param(std::string name) {
  hal_param& param = params_.back().emplace_back();
  param.name = text_.emplace_back(std::move(name)).c_str();
  views_.back().params = params_.back().data();  // the vector may have moved
  views_.back().param_count = static_cast<std::uint32_t>(params_.back().size());
  return param;
}

const hal_signature* Signatures::find(std::string_view name, std::uint32_t& index) const {
  for (std::uint32_t i = 0; i < views_.size(); ++i) {
    if (views_[i].name == name) {
      index = i;
      return &views_[i];
    }
  }
  return nullptr;
}

std::string Signatures::names() const {
  std::string out;
  for (const hal_signature& signature : views_) { out += fmt::format("{}{}", out.empty() ? "" : ", ", signature.name); }
  return out;
}

Result<void> check_arg(const hal_signature& signature, std::uint32_t i, const hal_arg& arg) {
  const hal_param& param = signature.params[i];
  const auto bad = [&](hal_code code, const std::string& why) {
    return Error(code, fmt::format("argument {} ('{}') of entry '{}' {}", i, param.name, signature.name, why));
  };
  if (param.kind == HAL_PARAM_SCALAR) {
    if (arg.kind != HAL_ARG_SCALAR) {
      return bad(HAL_INVALID_ARGUMENT, fmt::format("must be a scalar {}, got kind {}", name_of(param.dtype), arg.kind));
    }
    if (arg.size != param.bytes) {
      return bad(HAL_INVALID_ARGUMENT,
                 fmt::format("is a scalar {} of {} bytes, got {} bytes", name_of(param.dtype), param.bytes, arg.size));
    }
    return {};
  }
  if (arg.kind != HAL_ARG_BUFFER) {
    return bad(HAL_INVALID_ARGUMENT, fmt::format("must be a buffer, got kind {}", arg.kind));
  }
  const hal_slice& slice = arg.value.slice;
  if (slice.buffer == nullptr) {
    return bad(HAL_INVALID_ARGUMENT, "is host memory; a program takes buffers of its device: copy it there first");
  }
  if (param.kind == HAL_PARAM_TENSOR && slice.length != param.bytes) {
    return bad(HAL_INVALID_ARGUMENT,
               fmt::format("is a tensor of {} bytes, got a slice of {}", param.bytes, slice.length));
  }
  if (slice.length < param.bytes) {
    return bad(HAL_OUT_OF_RANGE, fmt::format("needs at least {} bytes, got a slice of {}", param.bytes, slice.length));
  }
  return {};
}

}  // namespace hal::core
