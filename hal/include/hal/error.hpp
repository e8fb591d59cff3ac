// SPDX-License-Identifier: Apache-2.0
// A failure and its story: code, sentence, origin, the vendor's own name and number, call site, cause.
#pragma once

#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

#include "hal/hal.h"

namespace hal {

// One counted word. Copying shares the same immutable error; a moved-from Error may only be assigned or destroyed.
class [[nodiscard]] Error {
 public:
  Error(hal_code code, const std::string& what, std::source_location at = std::source_location::current())
      : Error(code, what, "", "", 0, nullptr, at) {}

  // With the vendor's own name and number, as a driver reports them.
  Error(hal_code code, const std::string& what, const char* origin, const char* vendor_name, std::int64_t vendor_code,
        hal_error* cause = nullptr, std::source_location at = std::source_location::current()) {
    hal_error_info info{};
    info.code = code;
    info.what = what.c_str();
    info.origin = origin;
    info.vendor_name = vendor_name;
    info.vendor_code = vendor_code;
    info.where = {at.file_name(), at.function_name(), at.line(), 0};
    info.cause = cause;
    error_ = hal_error_create(&info);
  }

  // Takes over the caller's ownership of a C error.
  static Error adopt(hal_error* error) { return Error(error); }

  Error(const Error& other) : error_(static_cast<hal_error*>(hal_retain(other.error_))) {}
  Error(Error&& other) noexcept : error_(std::exchange(other.error_, nullptr)) {}
  Error& operator=(Error other) noexcept {
    std::swap(error_, other.error_);
    return *this;
  }
  ~Error() { hal_release(error_); }

  hal_code code() const { return hal_error_describe(error_).code; }
  std::string_view what() const { return hal_error_describe(error_).what; }
  // The whole story, one line each, newest first.
  std::string_view text() const { return hal_error_text(error_); }
  hal_error_info info() const { return hal_error_describe(error_); }
  const hal_error* get() const { return error_; }

  // Gives the C error to the caller, who releases it.
  [[nodiscard]] hal_error* release() && { return std::exchange(error_, nullptr); }

  // Adds what the caller was doing; the newest line is read first.
  Error while_doing(const std::string& what, std::source_location at = std::source_location::current()) && {
    const hal_code kept = code();
    return Error(kept, what, "", "", 0, std::exchange(error_, nullptr), at);
  }

 private:
  explicit Error(hal_error* error) : error_(error) {}
  hal_error* error_ = nullptr;
};

}  // namespace hal
