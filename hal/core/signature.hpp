// SPDX-License-Identifier: Apache-2.0
// The typed entries of a program, read from a manifest or from a tensor graph, and the check of arguments against them.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hal/hal.h"
#include "hal/result.hpp"

namespace hal::core {

// Owns everything that the hal_signature views point at. Move-only, because of those pointers.
class Signatures {
 public:
  Signatures() = default;
  Signatures(Signatures&&) = default;
  Signatures& operator=(Signatures&&) = default;
  Signatures(const Signatures&) = delete;
  Signatures& operator=(const Signatures&) = delete;

  // Adds an entry; params may still be appended to it until the next call.
  hal_signature& add(std::string name, hal_entry_kind kind);
  hal_param& add_param(std::string name);
  // The number of a symbol of the last entry, which is new if its name is. Errors: none; the caller bounds the count.
  std::uint8_t symbol(std::string_view name);
  std::uint8_t add_symbol(std::string_view name);

  // Specialisation constants with their defaults, in order.
  std::vector<hal_constant>& constants() { return constants_; }
  const std::vector<hal_constant>& constants() const { return constants_; }
  const char* keep(std::string text) { return text_.emplace_back(std::move(text)).c_str(); }

  const std::vector<hal_signature>& views() const { return views_; }
  const hal_signature* find(std::string_view name, std::uint32_t& index) const;
  std::string names() const;

 private:
  std::deque<std::string> text_;
  std::deque<std::vector<hal_param>> params_;
  std::deque<std::vector<const char*>> symbols_;
  std::vector<hal_constant> constants_;
  std::vector<hal_signature> views_;
};

inline constexpr std::size_t kMostSymbols = 64;

// Bits of one element; 0 for a number that is no hal_dtype.
std::uint32_t bits_of(hal_dtype dtype);
const char* name_of(hal_dtype dtype);

// docs/manifest.md has the grammar. Errors: INVALID_IMAGE with line and what was expected.
Result<Signatures> parse_manifest(std::string_view text);

// The one entry of a hal.graph image. Errors: INVALID_IMAGE with field and offset.
Result<Signatures> graph_signatures(const hal_image& image);

// One argument against one parameter. A length that only replay knows (HAL_REST), or that depends on extents, is not
// looked at. Errors: INVALID_ARGUMENT, OUT_OF_RANGE, naming entry and parameter.
Result<void> check_arg(const hal_signature& signature, std::uint32_t i, const hal_arg& arg);

// Extents that are given as scalars, from `args[first]` on, one for each symbol of the entry.
// Errors: INVALID_ARGUMENT, naming entry and symbol.
Result<void> read_extents(const hal_signature& signature, std::span<const hal_arg> args, std::size_t first,
                          std::span<std::int64_t> extents);

// The extents of an entry's symbols: those given behind the arguments, or else what the lengths of the slices say. Then
// every tensor's length is compared with its extents. `args` fit the parameters already.
// Errors: INVALID_ARGUMENT, naming entry, symbol or parameter.
Result<void> bind_extents(const hal_signature& signature, std::span<const hal_arg> args,
                          std::span<std::int64_t> extents);

}  // namespace hal::core
