// SPDX-License-Identifier: Apache-2.0
// How everything below the HAL port reports failure. The fabric library uses the HAL's codes but none of its functions,
// so that the port, a driver, never links libhal; port/status turns a Failure into a hal_error in one place.
#pragma once

#include <fmt/format.h>
#include <hal/hal.h>

#include <cstdint>
#include <expected>
#include <new>
#include <string>
#include <utility>

namespace hal::fabric {

struct Failure {
  hal_code code = HAL_INTERNAL;
  std::string what;         // one sentence: what was asked, what was found, what to try
  std::string vendor_name;  // "FI_ENOMEM", "ECONNREFUSED"; empty if the failure is our own
  std::int64_t vendor_code = 0;
};

template <class T>
using Result = std::expected<T, Failure>;

template <class... Args>
std::unexpected<Failure> fail(hal_code code, fmt::format_string<Args...> text, Args&&... args) {
  return std::unexpected(Failure{code, fmt::format(text, std::forward<Args>(args)...), {}, 0});
}

// The same where nothing may be thrown: `words` makes the sentence, and one that there is no memory for says so.
template <class Words>
std::unexpected<Failure> fail_surely(hal_code code, Words&& words) noexcept {
  try {
    return std::unexpected(Failure{code, words(), {}, 0});
  } catch (const std::bad_alloc&) { return std::unexpected(Failure{code, "out of memory", {}, 0}); }  // fits in place
}

// A failed system call, by its errno.
std::unexpected<Failure> fail_errno(hal_code code, int error, const std::string& what);

}  // namespace hal::fabric

// HAL_FABRIC_TRY(auto x, f()): x = f()'s value, or return its failure. HAL_FABRIC_CHECK(f()): the same without a value.
#define HAL_FABRIC_CAT_(a, b) a##b
#define HAL_FABRIC_CAT(a, b) HAL_FABRIC_CAT_(a, b)
#define HAL_FABRIC_TRY_(tmp, decl, ...)                         \
  auto tmp = (__VA_ARGS__);                                     \
  if (!tmp) { return std::unexpected(std::move(tmp).error()); } \
  decl = *std::move(tmp)
#define HAL_FABRIC_TRY(decl, ...) HAL_FABRIC_TRY_(HAL_FABRIC_CAT(fabric_try_, __COUNTER__), decl, __VA_ARGS__)
#define HAL_FABRIC_CHECK(...)                                   \
  do {                                                          \
    if (auto fabric_check_ = (__VA_ARGS__); !fabric_check_) {   \
      return std::unexpected(std::move(fabric_check_).error()); \
    }                                                           \
  } while (false)
