// SPDX-License-Identifier: Apache-2.0
// A graph whose sizes come with its runs, and the closed graphs that were made of it: one for each set of extents, made
// once, and the last few kept. Written once for all drivers, each of which makes and runs closed graphs only.
//
//   graph::Instances<Closed> instances(view);        // `Closed` is the driver's: steps, launches, a compiled image
//   graph::GivenExtents extents(command, view);
//   auto closed = instances.find(extents.span());  // null: it has to be made, which may take long
//   HAL_TRY(closed, instances.obtain(extents.span(), [&](graph::View bound) { return make(bound); }));
#pragma once

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "graph/signature.hpp"
#include "graph/view.hpp"
#include "hal/hal.h"

namespace hal::graph {

/// The extents that a RUN of the graph has behind its arguments, and a PREPARE in their place, or not at all
/// (docs/programs.md).
class GivenExtents {
 public:
  GivenExtents(const hal_command& command, const View& view) {
    const auto& run = command.as.run;
    for (std::size_t i = command.op == HAL_OP_RUN ? view.parameter_count() : 0;
         i < run.arg_count && count_ < values_.size(); ++i) {
      std::memcpy(&values_[count_++], run.args[i].value.scalar, sizeof(std::int64_t));
    }
  }
  std::span<const std::int64_t> span() const { return {values_.data(), count_}; }

 private:
  static constexpr std::size_t kMost = 64;  // symbols of an entry
  std::array<std::int64_t, kMost> values_;
  std::size_t count_ = 0;
};

/// Any thread. Whoever runs an instance keeps its reference until the device is done with it.
template <class Closed>
class Instances {
 public:
  using Ref = std::shared_ptr<const Closed>;
  using Extents = std::span<const std::int64_t>;

  /// `most` are kept; the one used longest ago goes.
  explicit Instances(View view, std::size_t most = 8) : view_(std::move(view)), most_(most) {}

  const View& view() const { return view_; }

  /// The instance of these extents, which now was used last; null if it is not there.
  Ref find(Extents extents) {
    const std::lock_guard lock(mutex_);
    return look(extents);
  }

  /// That, or made now by `make(View)`, a Result<Ref>, with no lock held. Who asks for the same meanwhile waits for it.
  /// An instance that had to go is destroyed here, by the first call after its last use that makes another.
  /// Errors: bind_signature()'s and make()'s; both leave nothing behind.
  template <class Make>
  Result<Ref> obtain(Extents extents, Make&& make) {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (Ref found = look(extents)) { return found; }
      if (std::ranges::none_of(making_, [&](Extents other) { return std::ranges::equal(other, extents); })) { break; }
      made_.wait(lock);
    }
    making_.push_back(extents);
    lock.unlock();
    const Making done{*this, extents};
    HAL_TRY(View bound, bind_signature(view_, extents));
    HAL_TRY(Ref made, make(std::move(bound)));
    keep({extents.begin(), extents.end()}, made);
    return made;
  }

 private:
  struct Kept {
    std::vector<std::int64_t> extents;
    Ref closed;
  };
  // Takes what is being made off the list again, however that ends.
  struct Making {
    Instances& of;
    Extents extents;
    ~Making() {
      const std::lock_guard lock(of.mutex_);
      of.making_.erase(std::ranges::find(of.making_, extents.data(), &Extents::data));
      of.made_.notify_all();
    }
  };

  Ref look(Extents extents) {
    const auto found =
        std::ranges::find_if(kept_, [&](const Kept& kept) { return std::ranges::equal(kept.extents, extents); });
    if (found == kept_.end()) { return nullptr; }
    std::rotate(kept_.begin(), found, found + 1);
    return kept_.front().closed;
  }

  void keep(std::vector<std::int64_t> extents, const Ref& made) {
    std::vector<Ref> gone;  // after the lock: it may take long
    const std::lock_guard lock(mutex_);
    gone.reserve(retired_.size() + 1);
    kept_.reserve(most_ + 1);
    retired_.reserve(retired_.size() + 1);  // nothing throws behind this
    kept_.insert(kept_.begin(), {std::move(extents), made});
    if (kept_.size() > most_) {
      retired_.push_back(std::move(kept_.back().closed));
      kept_.pop_back();
    }
    const auto idle = std::ranges::partition(retired_, [](const Ref& ref) { return ref.use_count() != 1; });
    std::ranges::move(idle, std::back_inserter(gone));
    retired_.erase(idle.begin(), idle.end());
  }

  const View view_;
  const std::size_t most_;
  std::mutex mutex_;
  std::condition_variable made_;
  std::vector<Kept> kept_;  // used last in front
  std::vector<Ref> retired_;
  std::vector<Extents> making_;  // spans of those who make
};

}  // namespace hal::graph
