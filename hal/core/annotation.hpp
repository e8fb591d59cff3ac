// SPDX-License-Identifier: Apache-2.0
// What is said about objects and calls beside the calls themselves: labels, call sites, ranges of the application.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "core/object.hpp"
#include "core/observer.hpp"

namespace hal::core {

class Device;

// Remembers the observer that hears when `object` goes, fills in site and range of `made`, and tells it.
void announce(Observer& observer, const hal_object& object, Made made);

// " 'weights'", or empty.
std::string label_of(const void* object);

// "bytes 8 to 24"; where the end would be beyond 2^64, "18446744073709551600 bytes from byte 32 on".
inline std::string span_text(std::uint64_t offset, std::uint64_t length) {
  if (length > UINT64_MAX - offset) {
    return std::to_string(length) + " bytes from byte " + std::to_string(offset) + " on";
  }
  return "bytes " + std::to_string(offset) + " to " + std::to_string(offset + length);
}

// Whose something is, beside `here`: "host:0", or "host:0 of another instance".
std::string owner_text(const Device& owner, const Device& here);

// The ranges that are open on this thread, outermost first, " > " between them.
std::string ranges();
const char* innermost_range();

}  // namespace hal::core
