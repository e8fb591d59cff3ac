// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <mutex>
#include <new>
#include <string>

#include "core/annotation.hpp"
#include "core/explain.hpp"
#include "core/object.hpp"

// Immutable once made, so it is shared between threads and counted like any other object.
struct hal_error {
  hal_object object;
  hal_code code = HAL_OK;
  std::string what, origin, vendor_name, file, function, range;
  std::int64_t vendor_code = 0;
  std::uint32_t line = 0;
  hal_error* cause = nullptr;
  std::string notes;  // lines that only the whole story shows: see with_notes()
  // Written once, on the first request: most errors are never printed.
  std::once_flag told;
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

// What is left to say when there is no memory to say it in. Never freed: its count starts too high to reach zero.
hal_error* out_of_host_memory() {
  alignas(hal_error) static unsigned char storage[sizeof(hal_error)];
  static hal_error* error = [] {
    auto* made = new (storage) hal_error;
    made->object = {static_cast<std::uint32_t>(hal::core::Kind::error), 1U << 30U, dispose};
    made->code = HAL_OUT_OF_HOST_MEMORY;
    return made;
  }();
  hal::core::retain(error->object);
  return error;
}

const char* text_or_empty(const char* text) { return text != nullptr ? text : ""; }

void tell(const hal_error& error, std::string& out) {
  out += error.what.empty() ? hal_code_name(error.code) : error.what;
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
  // The one static error is everybody's.
  if (error->code != HAL_OUT_OF_HOST_MEMORY) { error->notes = std::move(notes); }
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
  try {
    auto* error = new hal_error;
    hal::core::init(error->object, hal::core::Kind::error, dispose);
    error->code = info != nullptr ? info->code : HAL_INTERNAL;
    if (info == nullptr) { return error; }
    error->what = text_or_empty(info->what);
    error->origin = text_or_empty(info->origin);
    error->vendor_name = text_or_empty(info->vendor_name);
    error->vendor_code = info->vendor_code;
    error->file = text_or_empty(info->where.file);
    error->function = text_or_empty(info->where.function);
    error->line = info->where.line;
    error->range = hal::core::ranges();
    error->cause = const_cast<hal_error*>(info->cause);
    return error;
  } catch (const std::bad_alloc&) { return out_of_host_memory(); }
}

extern "C" hal_error_info hal_error_describe(const hal_error* error) {
  hal_error_info info{};
  info.what = info.origin = info.vendor_name = "";
  info.where = {"", "", 0, 0};
  if (error == nullptr) { return info; }
  info.code = error->code;
  info.what = error->what.c_str();
  info.origin = error->origin.c_str();
  info.vendor_name = error->vendor_name.c_str();
  info.vendor_code = error->vendor_code;
  info.where = {error->file.c_str(), error->function.c_str(), error->line, 0};
  info.cause = error->cause;
  return info;
}

extern "C" const char* hal_error_text(const hal_error* error) {
  if (error == nullptr) { return "OK"; }
  auto* mine = const_cast<hal_error*>(error);
  try {
    std::call_once(mine->told, [mine] {
      std::string story;
      tell(*mine, story);
      for (const hal_error* cause = mine->cause; cause != nullptr; cause = cause->cause) {
        story += "\n  because ";
        tell(*cause, story);
      }
      mine->story = std::move(story);
    });
  } catch (const std::bad_alloc&) { return hal_code_name(mine->code); }
  return mine->story.c_str();
}
