// SPDX-License-Identifier: Apache-2.0
// Classifies images on one device, batch by batch, all of it submitted before the first batch is done.
#pragma once

#include "cli/demo/job.hpp"
#include "hal/hal.hpp"

namespace hal::cli::demo {

// Where the images are and where the answers go: host memory, whole when the point is reached.
struct Range {
  std::span<const float> pixels;
  std::span<std::int32_t> labels;
  std::span<float> probabilities;
};

class Classifier {
 public:
  /// Builds the network for batches of `batch` images, loads it and lets the device prepare.
  static Result<Classifier> make(const Device& device, const digits::Weights& weights, std::int64_t batch);

  /// Submits everything at once; nothing begins before `waits` are reached. The last batch may be a part of one.
  Result<Point> submit(const Range& range, std::span<const Point> waits = {});

  const Queue& queue() const { return queue_; }
  std::uint64_t bytes_moved() const { return bytes_moved_; }  // between host and device, by what was submitted

 private:
  std::int64_t batch_ = 0;
  Entry entry_;
  Queue queue_;
  Buffer pixels_, labels_, probabilities_;
  std::uint64_t bytes_moved_ = 0;
};

}  // namespace hal::cli::demo
