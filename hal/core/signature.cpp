// SPDX-License-Identifier: Apache-2.0
#include "core/signature.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

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
  symbols_.emplace_back();
  return views_.emplace_back(signature);
}

hal_param& Signatures::add_param(std::string name) {
  hal_param& param = params_.back().emplace_back();
  param.name = text_.emplace_back(std::move(name)).c_str();
  views_.back().params = params_.back().data();  // the vector may have moved
  views_.back().param_count = static_cast<std::uint32_t>(params_.back().size());
  return param;
}

std::uint8_t Signatures::symbol(std::string_view name) {
  const std::vector<const char*>& names = symbols_.back();
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) { return static_cast<std::uint8_t>(i); }
  }
  return add_symbol(name);
}

std::uint8_t Signatures::add_symbol(std::string_view name) {
  std::vector<const char*>& names = symbols_.back();
  names.push_back(keep(std::string(name)));
  views_.back().symbols = names.data();  // the vector may have moved
  views_.back().symbol_count = static_cast<std::uint32_t>(names.size());
  return static_cast<std::uint8_t>(names.size() - 1);
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
    if (arg.kind != HAL_ARG_SCALAR && arg.kind != HAL_ARG_SLOT) {
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
  if (slice.length == HAL_REST) { return {}; }                            // of a slot; replay looks again
  if (param.kind == HAL_PARAM_TENSOR && param.bytes == 0) { return {}; }  // bind_extents() looks at it
  if (param.kind == HAL_PARAM_TENSOR && slice.length != param.bytes) {
    return bad(HAL_INVALID_ARGUMENT,
               fmt::format("is a tensor of {} bytes, got a slice of {}", param.bytes, slice.length));
  }
  if (slice.length < param.bytes) {
    return bad(HAL_OUT_OF_RANGE, fmt::format("needs at least {} bytes, got a slice of {}", param.bytes, slice.length));
  }
  return {};
}

namespace {

constexpr std::int64_t kMostElements = std::int64_t{1} << 48U;

Error bad_entry(const hal_signature& signature, const std::string& why) {
  return Error(HAL_INVALID_ARGUMENT, fmt::format("entry '{}' {}", signature.name, why));
}

// "n,4": the dimensions as the manifest writes them.
std::string dims_text(const hal_signature& signature, const hal_param& param) {
  std::string out;
  for (std::uint32_t axis = 0; axis < param.rank; ++axis) {
    if (axis != 0) { out += ','; }
    out +=
        param.dims[axis] < 0 ? std::string(signature.symbols[param.symbols[axis]]) : std::to_string(param.dims[axis]);
  }
  return out;
}

// What a tensor's length says about the only symbol of it that is not known yet. False if it says nothing.
Result<bool> derive(const hal_signature& signature, std::uint32_t i, const hal_slice& slice,
                    std::span<std::int64_t> extents) {
  const hal_param& param = signature.params[i];
  const std::uint32_t bits = bits_of(param.dtype);
  if (bits < 8 || slice.length == HAL_REST || slice.length == 0) {
    return false;
  }  // half bytes: the last one may be padding
  std::int64_t known = 1;
  std::uint32_t unknown = 0, axes = 0;
  for (std::uint32_t axis = 0; axis < param.rank; ++axis) {
    const std::int64_t extent = param.dims[axis] >= 0 ? param.dims[axis] : extents[param.symbols[axis]];
    if (extent == 0) {
      if (axes != 0 && unknown != param.symbols[axis]) { return false; }
      unknown = param.symbols[axis];
      ++axes;
    } else if (__builtin_mul_overflow(known, extent, &known) || known > kMostElements) {
      return false;  // the comparison of lengths says it better
    }
  }
  if (axes != 1) { return false; }
  const std::uint64_t unit = static_cast<std::uint64_t>(known) * (bits / 8);
  if (slice.length % unit != 0) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("argument {} ('{}') of entry '{}' is a tensor of {} {}; a slice of {} bytes is no whole "
                             "number of '{}', each of {}",
                             i, param.name, signature.name, dims_text(signature, param), name_of(param.dtype),
                             slice.length, signature.symbols[unknown], unit));
  }
  extents[unknown] = static_cast<std::int64_t>(slice.length / unit);
  return true;
}

}  // namespace

Result<void> read_extents(const hal_signature& signature, std::span<const hal_arg> args, std::size_t first,
                          std::span<std::int64_t> extents) {
  for (std::size_t s = 0; s < extents.size(); ++s) {
    const hal_arg& arg = args[first + s];
    if (arg.kind != HAL_ARG_SCALAR || arg.size != 8) {
      return bad_entry(
          signature,
          fmt::format("takes the extent of '{}' as an i64 scalar of 8 bytes in argument {}, got kind {} of {}",
                      signature.symbols[s], first + s, arg.kind, arg.size));
    }
    std::memcpy(&extents[s], arg.value.scalar, 8);
    if (extents[s] < 1 || extents[s] > kMostElements) {
      return bad_entry(signature, fmt::format("is given {} as the extent of '{}'; it must be 1 to {}", extents[s],
                                              signature.symbols[s], kMostElements));
    }
  }
  return {};
}

Result<void> bind_extents(const hal_signature& signature, std::span<const hal_arg> args,
                          std::span<std::int64_t> extents) {
  const auto bad = [&](const std::string& why) { return bad_entry(signature, why); };
  std::fill(extents.begin(), extents.end(), 0);  // 0: not known
  if (args.size() == signature.param_count) {
    for (bool found = true; found;) {
      found = false;
      for (std::uint32_t i = 0; i < signature.param_count; ++i) {
        const hal_param& param = signature.params[i];
        if (param.kind != HAL_PARAM_TENSOR || param.bytes != 0) { continue; }
        HAL_TRY(const bool derived, derive(signature, i, args[i].value.slice, extents));
        found = found || derived;
      }
    }
    for (std::size_t s = 0; s < extents.size(); ++s) {
      if (extents[s] != 0) { continue; }
      return bad(
          fmt::format("has a symbol '{}' whose extent no slice's length tells; give its {} extents, as i64 scalars, "
                      "behind the {} arguments",
                      signature.symbols[s], signature.symbol_count, signature.param_count));
    }
  } else {
    HAL_CHECK(read_extents(signature, args, signature.param_count, extents));
  }
  for (std::uint32_t i = 0; i < signature.param_count; ++i) {
    const hal_param& param = signature.params[i];
    if (param.kind != HAL_PARAM_TENSOR || param.bytes != 0) { continue; }
    std::int64_t elements = 1;
    for (std::uint32_t axis = 0; axis < param.rank; ++axis) {
      const std::int64_t extent = param.dims[axis] >= 0 ? param.dims[axis] : extents[param.symbols[axis]];
      if (__builtin_mul_overflow(elements, extent, &elements) || elements > kMostElements) {
        return bad(fmt::format("would have more than {} elements in argument {} ('{}')", kMostElements, i, param.name));
      }
    }
    const std::uint64_t bytes = (static_cast<std::uint64_t>(elements) * bits_of(param.dtype) + 7) / 8;
    if (args[i].value.slice.length != bytes) {
      std::string values;
      for (std::uint32_t axis = 0; axis < param.rank; ++axis) {
        const std::int64_t extent = param.dims[axis] >= 0 ? param.dims[axis] : extents[param.symbols[axis]];
        values += fmt::format("{}{}", axis != 0 ? "," : "", extent);
      }
      return bad(fmt::format("takes a tensor of {} = {} {} in argument {} ('{}'), {} bytes; got a slice of {}",
                             dims_text(signature, param), values, name_of(param.dtype), i, param.name, bytes,
                             args[i].value.slice.length));
    }
  }
  return {};
}

}  // namespace hal::core
