// SPDX-License-Identifier: Apache-2.0
// Failures told where nothing may fail any more: in callbacks, on the core's threads, in functions without a result.
#pragma once

#include <string>

#include "hal/error.hpp"

namespace hal::core {

// The error of a code that says no more than that memory was missing to say more. Static; releasing it does nothing.
hal_error* bare_error(hal_code code) noexcept;

// What `make` makes, an Error of `code`, or the bare one if the host has no memory to word it.
template <class Make>
hal_error* worded(hal_code code, Make make) noexcept {
  try {
    return make().release();
  } catch (...) { return bare_error(code); }
}

// An error of the same code around `cause`, which it owns; without memory for the words, `cause` itself.
template <class Words>
hal_error* around(hal_error* cause, Words words, const hal_site& where) noexcept {
  try {
    const std::string what = words();
    hal_error_info info{};
    info.code = hal_error_describe(cause).code;
    info.what = what.c_str();
    info.origin = "core";
    info.where = where;
    info.cause = cause;
    return hal_error_create(&info);
  } catch (...) { return cause; }
}

}  // namespace hal::core
