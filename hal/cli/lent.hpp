// SPDX-License-Identifier: Apache-2.0
// Host memory that queues were told to read or write. It must outlive that work also when the caller leaves early with
// an error, so the end of a Lent waits for the queues; memory of a queue that does not come to an end is never freed.
#pragma once

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "hal/hal.hpp"

namespace hal::cli {

template <class T>
class Lent {
 public:
  explicit Lent(T value) : value_(std::make_unique<T>(std::move(value))) {}
  Lent(Lent&&) noexcept = default;
  Lent& operator=(Lent&&) = delete;
  ~Lent() {
    bool done = true;
    for (Queue& queue : queues_) { done = queue.finish(kPatience).has_value() && done; }
    // A failed queue says at once that it has failed, not whether the device still holds the memory.
    if (!done) { forever().push_back(std::move(value_)); }
  }

  /// Call it before the first submission that names the memory.
  void to(const Queue& queue) { queues_.push_back(queue); }

  T& operator*() const { return *value_; }
  T* operator->() const { return value_.get(); }

 private:
  static constexpr std::chrono::seconds kPatience{2};
  static std::vector<std::unique_ptr<T>>& forever() {
    static auto* kept = new std::vector<std::unique_ptr<T>>;  // never destroyed: threads may still run then
    return *kept;
  }

  std::unique_ptr<T> value_;
  std::vector<Queue> queues_;
};

}  // namespace hal::cli
