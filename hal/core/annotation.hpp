// SPDX-License-Identifier: Apache-2.0
// What is said about objects and calls beside the calls themselves: labels, call sites, ranges of the application.
#pragma once

#include <atomic>
#include <string>

#include "core/object.hpp"
#include "core/observer.hpp"

namespace hal::core {

// Remembers the observer that hears when `object` goes, fills in site and range of `made`, and tells it.
void announce(Observer& observer, const hal_object& object, Made made);

// " 'weights'", or empty.
std::string label_of(const void* object);

// The ranges that are open on this thread, outermost first, " > " between them.
std::string ranges();
const char* innermost_range();

}  // namespace hal::core
