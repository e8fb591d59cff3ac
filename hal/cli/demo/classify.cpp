// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/classify.hpp"

#include <algorithm>
#include <array>
#include <chrono>

namespace hal::cli::demo {

using namespace std::chrono_literals;

Result<Classifier> Classifier::make(const Device& device, const digits::Weights& weights, std::int64_t batch) {
  HAL_TRY(const std::vector<std::byte> graph, digits::build_network(weights, batch));
  Classifier made;
  made.batch_ = batch;
  HAL_TRY(const Program program, device.load({"hal.graph", graph}));
  HAL_TRY(made.entry_, program.entry("digits"));
  HAL_TRY(made.queue_, device.queue("classify"));
  const auto images = static_cast<std::uint64_t>(batch);
  HAL_TRY(made.pixels_, device.buffer(images * digits::kPixels * sizeof(float)));
  HAL_TRY(made.labels_, device.buffer(images * sizeof(std::int32_t)));
  HAL_TRY(made.probabilities_, device.buffer(images * digits::kClasses * sizeof(float)));
  // A whole first batch, so that no device computes with memory that nobody wrote.
  HAL_CHECK(made.queue_.fill(made.pixels_, 0.0F));
  HAL_TRY(const Point ready, made.queue_.prepare(made.entry_));
  HAL_CHECK(wait(ready, 60s));
  return made;
}

Result<Point> Classifier::submit(const Range& range, std::span<const Point> waits) {
  const std::size_t count = range.labels.size();
  const std::array<Arg, 3> args{pixels_, labels_, probabilities_};
  Point last{};
  for (std::size_t first = 0; first < count; first += static_cast<std::size_t>(batch_)) {
    const std::size_t n = std::min(static_cast<std::size_t>(batch_), count - first);
    const Slice pixels = host(range.pixels.subspan(first * digits::kPixels, n * digits::kPixels));
    const Slice labels = host(range.labels.subspan(first, n));
    const Slice probabilities = host(range.probabilities.subspan(first * digits::kClasses, n * digits::kClasses));
    const std::array<Command, 4> commands{
        command::copy(pixels, pixels_.slice(0, pixels.length), "pixels"), command::run(entry_, args, {}, "digits"),
        command::copy(labels_.slice(0, labels.length), labels, "labels"),
        command::copy(probabilities_.slice(0, probabilities.length), probabilities, "probabilities")};
    HAL_TRY(last, queue_.submit(commands, {.more_waits = waits}));
    bytes_moved_ += pixels.length + labels.length + probabilities.length;
    waits = {};  // the queue is in order
  }
  return last;
}

}  // namespace hal::cli::demo
