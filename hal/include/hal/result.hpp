// SPDX-License-Identifier: Apache-2.0
// A value or an Error. [[nodiscard]], so a dropped failure is a compiler warning; C++20, so no std::expected.
#pragma once

#include <optional>
#include <stdexcept>
#include <utility>
#include <variant>

#include "hal/error.hpp"

namespace hal {

// What .value() throws when there is none.
class Exception : public std::runtime_error {
 public:
  explicit Exception(Error error) : std::runtime_error(std::string(error.text())), error_(std::move(error)) {}
  const Error& error() const { return error_; }

 private:
  Error error_;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return state_.index() == 0; }
  bool has_value() const { return state_.index() == 0; }

  T& operator*() & { return *std::get_if<0>(&state_); }
  const T& operator*() const& { return *std::get_if<0>(&state_); }
  T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }

  // Throws Exception when this holds an error.
  T& value() & {
    check();
    return **this;
  }
  const T& value() const& {
    check();
    return **this;
  }
  T&& value() && {
    check();
    return std::move(**this);
  }

  const Error& error() const& { return *std::get_if<1>(&state_); }
  Error&& error() && { return std::move(*std::get_if<1>(&state_)); }

 private:
  void check() const {
    if (!has_value()) { throw Exception(error()); }
  }
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return !error_; }
  bool has_value() const { return !error_; }
  void value() const {
    if (error_) { throw Exception(*error_); }
  }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

 private:
  std::optional<Error> error_;
};

// A C result as a C++ one.
inline Result<void> check(hal_error* error) {
  if (error != nullptr) { return Error::adopt(error); }
  return {};
}

}  // namespace hal

// HAL_TRY(auto x, f()): x = f()'s value, or return its error. HAL_CHECK(f()): the same without a value.
#define HAL_CAT_(a, b) a##b
#define HAL_CAT(a, b) HAL_CAT_(a, b)
#define HAL_TRY_(tmp, decl, ...)               \
  auto tmp = (__VA_ARGS__);                    \
  if (!tmp) { return std::move(tmp).error(); } \
  decl = *std::move(tmp)
#define HAL_TRY(decl, ...) HAL_TRY_(HAL_CAT(hal_try_, __COUNTER__), decl, __VA_ARGS__)
#define HAL_CHECK(...)                                                                          \
  do {                                                                                          \
    if (auto hal_check_ = (__VA_ARGS__); !hal_check_) { return std::move(hal_check_).error(); } \
  } while (false)
