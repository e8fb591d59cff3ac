// SPDX-License-Identifier: Apache-2.0
// Errors as drivers make them: with the driver's name as origin, and never as an exception across the table.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "hal/driver.h"
#include "hal/result.hpp"

namespace hal::kit {

// A C error from `origin`, a driver's name. The call site stays empty: it is the user's, and only the core knows it.
// `vendor_name` and `vendor_code` are the vendor's own words for the failure, "" if it has none.
// Needs no memory itself, and what it makes is an error also where the host has none for the words.
inline hal_error* make_error(const char* origin, hal_code code, const char* what, const char* vendor_name = "",
                             std::int64_t vendor_code = 0, hal_error* cause = nullptr) noexcept {
  hal_error_info info{};
  info.code = code;
  info.what = what;
  info.origin = origin;
  info.vendor_name = vendor_name;
  info.vendor_code = vendor_code;
  info.cause = cause;
  return hal_error_create(&info);
}
inline hal_error* make_error(const char* origin, hal_code code, const std::string& what, const char* vendor_name = "",
                             std::int64_t vendor_code = 0, hal_error* cause = nullptr) noexcept {
  return make_error(origin, code, what.c_str(), vendor_name, vendor_code, cause);
}

// The same for functions that return Result<T>.
inline Error error(const char* origin, hal_code code, const char* what, const char* vendor_name = "",
                   std::int64_t vendor_code = 0) noexcept {
  return Error::adopt(make_error(origin, code, what, vendor_name, vendor_code));
}
inline Error error(const char* origin, hal_code code, const std::string& what, const char* vendor_name = "",
                   std::int64_t vendor_code = 0) noexcept {
  return error(origin, code, what.c_str(), vendor_name, vendor_code);
}

// A result as the table wants it: nullptr, or the error with its ownership.
inline hal_error* to_c(Result<void>&& result) { return result ? nullptr : std::move(result).error().release(); }

inline hal_error* unhandled(const char* origin, const char* what) noexcept {
  try {
    return make_error(origin, HAL_INTERNAL, std::string("the driver did not handle: ") + what);
  } catch (...) { return make_error(origin, HAL_INTERNAL, what); }
}

// The exception that is being handled, as an error. Apart, so that guarded() costs nothing where nothing is thrown.
[[gnu::noinline, gnu::cold]] inline hal_error* caught(const char* origin) noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return make_error(origin, HAL_OUT_OF_HOST_MEMORY, "host memory ran out inside the driver");
  } catch (const std::system_error& thrown) {
    const bool scarce = thrown.code() == std::errc::resource_unavailable_try_again;
    return scarce ? make_error(origin, HAL_UNAVAILABLE, "the system gives the driver no thread")
                  : unhandled(origin, thrown.what());
  } catch (const std::exception& thrown) { return unhandled(origin, thrown.what()); } catch (...) {
    return make_error(origin, HAL_INTERNAL, "the driver did not handle an exception of no known kind");
  }
}

// Runs the body of a table entry, `hal_error*()` or `Result<void>()`, and turns what it throws into an error.
template <class Body>
[[gnu::always_inline]] inline hal_error* guarded(const char* origin, Body&& body) noexcept {
  try {
    if constexpr (std::is_same_v<std::invoke_result_t<Body>, hal_error*>) {
      return std::forward<Body>(body)();
    } else {
      return to_c(std::forward<Body>(body)());
    }
  } catch (...) { return caught(origin); }
}

// The first thing hal_driver_entry() does: nullptr, or INCOMPATIBLE with both versions.
inline hal_error* check_abi(const hal_host_api* host, const char* origin) {
  if (host->abi_major == HAL_DRIVER_ABI_MAJOR) { return nullptr; }
  return make_error(origin, HAL_INCOMPATIBLE,
                    "the driver speaks border version " + std::to_string(HAL_DRIVER_ABI_MAJOR) + ", this library " +
                        std::to_string(host->abi_major) + "; rebuild the driver against this library's hal/driver.h");
}

}  // namespace hal::kit
