// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "core/annotation.hpp"
#include "core/explain.hpp"
#include "core/failure.hpp"
#include "core/object.hpp"

// Immutable once made, so it is shared between threads and counted like any other object.
struct hal_error {
  hal_object object;
  hal_code code = HAL_OK;
  std::string what, origin, vendor_name, file, function, range;
  std::int64_t vendor_code = 0;
  std::uint32_t line = 0;
  bool bare = false;  // see bare_error()
  hal_error* cause = nullptr;
  std::string notes;  // lines that only the whole story shows: see with_notes()
  // Written once, on the first request: most errors are never printed.
  bool told = false;
  std::string story;
};

namespace {

void dispose(hal_object* object) {
  auto* error = reinterpret_cast<hal_error*>(object);
  // A chain of causes may be long; releasing it in a loop keeps the stack flat.
  while (error != nullptr) {
    hal_error* cause = error->cause;
    error->cause = nullptr;
    delete error;
    if (cause == nullptr || __atomic_fetch_sub(&cause->object.owners, 1U, __ATOMIC_ACQ_REL) != 1U) { return; }
    error = cause;
  }
}

constexpr const char* kNoWords = "the host has no memory left, not even to say more about this";
constexpr std::uint32_t kForGood = 1U << 30U;  // owners: too many to ever reach zero

// One error for each code, for when there is no memory to make one.
class BareErrors {
 public:
  BareErrors() {
    for (std::size_t code = 0; code < kCodes; ++code) {
      auto* made = new (storage_.data() + code * sizeof(hal_error)) hal_error;
      made->object = {static_cast<std::uint32_t>(hal::core::Kind::error), kForGood, dispose};
      made->code = static_cast<hal_code>(code);
      made->bare = true;
      errors_[code] = made;
    }
  }
  hal_error* of(hal_code code) const { return errors_[std::min<std::size_t>(static_cast<std::size_t>(code), kLast)]; }

 private:
  static constexpr std::size_t kLast = HAL_INTERNAL, kCodes = kLast + 1;
  alignas(
      hal_error) std::array<std::byte, kCodes * sizeof(hal_error)> storage_;  // never destroyed: others may hold them
  std::array<hal_error*, kCodes> errors_;
};

// What is left of an error that there was no memory for.
hal_error* without_words(hal_code code, hal_error* cause) {
  if (cause != nullptr && cause->code == code) { return cause; }
  hal_release(cause);
  return hal::core::bare_error(code);
}

const char* text_or_empty(const char* text) { return text != nullptr ? text : ""; }
const char* what_of(const hal_error& error) { return error.bare ? kNoWords : error.what.c_str(); }

void tell(const hal_error& error, std::string& out) {
  out += *what_of(error) == '\0' ? hal_code_name(error.code) : what_of(error);
  out += fmt::format(" [{}", hal_code_name(error.code));
  if (!error.vendor_name.empty()) { out += fmt::format(", {} {}", error.vendor_name, error.vendor_code); }
  if (!error.origin.empty()) { out += fmt::format(", from {}", error.origin); }
  if (!error.file.empty()) { out += fmt::format(", {}:{}", error.file, error.line); }
  if (!error.range.empty()) { out += fmt::format(", in range {}", error.range); }
  out += "]";
  if (!error.notes.empty()) { out += "\n" + error.notes; }
}

}  // namespace

namespace hal::core {

hal_error* with_notes(hal_error* error, std::string notes) {
  while (!notes.empty() && notes.back() == '\n') { notes.pop_back(); }
  if (!error->bare) { error->notes = std::move(notes); }  // a bare one is everybody's
  return error;
}

hal_error* bare_error(hal_code code) noexcept {
  static const BareErrors errors;
  hal_error* error = errors.of(code);
  retain(error->object);
  return error;
}

}  // namespace hal::core

extern "C" const char* hal_code_name(hal_code code) {
  switch (code) {
    case HAL_OK:
      return "OK";
    case HAL_INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case HAL_OUT_OF_RANGE:
      return "OUT_OF_RANGE";
    case HAL_NOT_FOUND:
      return "NOT_FOUND";
    case HAL_UNSUPPORTED:
      return "UNSUPPORTED";
    case HAL_UNAVAILABLE:
      return "UNAVAILABLE";
    case HAL_BUSY:
      return "BUSY";
    case HAL_WOULD_BLOCK:
      return "WOULD_BLOCK";
    case HAL_OUT_OF_HOST_MEMORY:
      return "OUT_OF_HOST_MEMORY";
    case HAL_OUT_OF_DEVICE_MEMORY:
      return "OUT_OF_DEVICE_MEMORY";
    case HAL_DEADLINE_EXCEEDED:
      return "DEADLINE_EXCEEDED";
    case HAL_CANCELLED:
      return "CANCELLED";
    case HAL_DEVICE_LOST:
      return "DEVICE_LOST";
    case HAL_PEER_LOST:
      return "PEER_LOST";
    case HAL_INVALID_IMAGE:
      return "INVALID_IMAGE";
    case HAL_INCOMPATIBLE:
      return "INCOMPATIBLE";
    case HAL_EXECUTION_FAILED:
      return "EXECUTION_FAILED";
    case HAL_INTERNAL:
      return "INTERNAL";
  }
  return "UNKNOWN_CODE";
}

extern "C" hal_error* hal_error_create(const hal_error_info* info) {
  // An error that says it is none would be taken for a failure and for success: that is a fault of whoever made it.
  const hal_code code = info == nullptr || info->code == HAL_OK ? HAL_INTERNAL : info->code;
  auto* cause = info != nullptr ? const_cast<hal_error*>(info->cause) : nullptr;
  hal_error* error = nullptr;
  try {
    error = new hal_error;
    hal::core::init(error->object, hal::core::Kind::error, dispose);
    error->code = code;
    if (info == nullptr) { return error; }
    error->what = text_or_empty(info->what);
    error->origin = text_or_empty(info->origin);
    error->vendor_name = text_or_empty(info->vendor_name);
    error->vendor_code = info->vendor_code;
    error->file = text_or_empty(info->where.file);
    error->function = text_or_empty(info->where.function);
    error->line = info->where.line;
    error->range = hal::core::ranges();
    error->cause = cause;
    return error;
  } catch (const std::exception&) {
    delete error;
    return without_words(code, cause);
  }
}

extern "C" hal_error_info hal_error_describe(const hal_error* error) {
  hal_error_info info{};
  info.what = info.origin = info.vendor_name = "";
  info.where = {"", "", 0, 0};
  if (error == nullptr) { return info; }
  info.code = error->code;
  info.what = what_of(*error);
  info.origin = error->origin.c_str();
  info.vendor_name = error->vendor_name.c_str();
  info.vendor_code = error->vendor_code;
  info.where = {error->file.c_str(), error->function.c_str(), error->line, 0};
  info.cause = error->cause;
  return info;
}

extern "C" const char* hal_error_text(const hal_error* error) {
  if (error == nullptr) { return "OK"; }
  if (error->bare) { return kNoWords; }
  auto* mine = const_cast<hal_error*>(error);
  try {
    // One lock for all: few errors are printed. std::call_once() would do, but not for a story that memory ends early.
    static std::mutex telling;
    const std::lock_guard lock(telling);
    if (mine->told) { return mine->story.c_str(); }
    std::string story;
    tell(*mine, story);
    for (const hal_error* cause = mine->cause; cause != nullptr; cause = cause->cause) {
      story += "\n  because ";
      tell(*cause, story);
    }
    mine->story = std::move(story);
    mine->told = true;
  } catch (const std::exception&) { return what_of(*mine); }
  return mine->story.c_str();
}
