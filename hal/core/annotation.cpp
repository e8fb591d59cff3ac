// SPDX-License-Identifier: Apache-2.0
#include "core/annotation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "core/api.hpp"

namespace hal::core {

std::atomic<bool> annotations_in_use{false};

namespace {

struct Annotation {
  std::string label;
  Observer* observer = nullptr;  // lives as long as the instance, which every object of it keeps
};

std::mutex annotations_mutex;

std::unordered_map<const void*, Annotation>& annotations() {
  static auto* all = new std::unordered_map<const void*, Annotation>;  // outlives static destructors
  return *all;
}

// Deep nesting keeps counting, but shows the outer ranges only.
struct Ranges {
  static constexpr std::uint32_t kMost = 16;
  std::array<const char*, kMost> open{};
  std::uint32_t depth = 0;
};
// Read at every submission under a layer: without the call that a library's thread locals cost otherwise.
thread_local Ranges thread_ranges __attribute__((tls_model("initial-exec")));
thread_local hal_site thread_site{};

void tell_range(hal_instance* instance, const char* label) {
  if (instance == nullptr) { return; }
  if (Observer* observer = cast(instance)->observer()) { observer->ranged(label); }
}

}  // namespace

void announce(Observer& observer, const hal_object& object, Made made) {
  made.site = std::exchange(thread_site, {});
  made.range = innermost_range();
  {
    const std::lock_guard lock(annotations_mutex);
    annotations()[&object].observer = &observer;
    annotations_in_use.store(true, std::memory_order_relaxed);
  }
  observer.made(object, made);
}

void forget(hal_object& object) {
  Observer* observer = nullptr;
  {
    const std::lock_guard lock(annotations_mutex);
    const auto found = annotations().find(&object);
    if (found == annotations().end()) { return; }
    observer = found->second.observer;
    annotations().erase(found);
  }
  tell(observer, [&](Observer& told) { told.gone(object); });
}

std::string label_of(const void* object) {
  if (!annotations_in_use.load(std::memory_order_relaxed)) { return {}; }
  const std::lock_guard lock(annotations_mutex);
  const auto found = annotations().find(object);
  return found == annotations().end() || found->second.label.empty() ? std::string()
                                                                     : fmt::format(" '{}'", found->second.label);
}

std::string owner_text(const Device& owner, const Device& here) {
  return fmt::format("{}{}", owner.uri(), &owner.instance() == &here.instance() ? "" : " of another instance");
}

std::string ranges() {
  const Ranges& mine = thread_ranges;
  return fmt::format("{}",
                     fmt::join(mine.open.begin(), mine.open.begin() + std::min(mine.depth, Ranges::kMost), " > "));
}

const char* innermost_range() {
  const Ranges& mine = thread_ranges;
  return mine.depth != 0 ? mine.open[std::min(mine.depth, Ranges::kMost) - 1] : "";
}

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_object_set_label(void* object, const char* label) {
  return guarded("hal_object_set_label", {object, label}, [&]() -> hal::Result<void> {
    const auto& head = *static_cast<const hal_object*>(object);
    const auto first = static_cast<std::uint32_t>(Kind::error);
    if (head.kind <= first || head.kind > static_cast<std::uint32_t>(Kind::physical)) {
      return hal::Error(
          HAL_INVALID_ARGUMENT,
          fmt::format("hal_object_set_label(): {}; give a handle of hal.h that is still owned",
                      head.kind == first ? "an error carries no label" : "this is no object of this library"));
    }
    Observer* observer = nullptr;
    {
      const std::lock_guard lock(annotations_mutex);
      Annotation& annotation = annotations()[object];
      annotation.label = label;
      observer = annotation.observer;
      annotations_in_use.store(true, std::memory_order_relaxed);
    }
    tell(observer, [&](Observer& told) { told.labelled(head, label); });
    return {};
  });
}

extern "C" void hal_here(const hal_site* where) {
  if (annotations_in_use.load(std::memory_order_relaxed)) { thread_site = where != nullptr ? *where : hal_site{}; }
}

extern "C" void hal_range_begin(hal_instance* instance, const char* label) {
  if (label == nullptr) { label = ""; }
  Ranges& mine = thread_ranges;
  const std::uint32_t depth = mine.depth;
  if (depth < Ranges::kMost) { mine.open[depth] = label; }
  mine.depth = depth + 1;
  tell_range(instance, label);
}

extern "C" void hal_range_end(hal_instance* instance) {
  Ranges& mine = thread_ranges;
  if (mine.depth == 0) { return; }
  --mine.depth;
  tell_range(instance, nullptr);
}
