// SPDX-License-Identifier: Apache-2.0
// The demo's work: all digits, the network, and what the double-precision reference says about them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "digits/data.hpp"
#include "digits/network.hpp"
#include "hal/result.hpp"

namespace hal::cli::demo {

struct Job {
  digits::Digits digits;
  digits::Weights weights;
  std::int64_t count() const { return digits.count(); }
};

// What a device said: one label and kClasses probabilities an image.
struct Answers {
  std::vector<std::int32_t> labels;
  std::vector<float> probabilities;

  explicit Answers(std::int64_t count = 0)
      : labels(static_cast<std::size_t>(count)), probabilities(static_cast<std::size_t>(count * digits::kClasses)) {}
};

/// Reads FOLDER/data and FOLDER/digits/weights. An empty folder: beside the tool as installed, else the source tree.
Result<Job> load_job(const std::string& folder);

/// Runs the same graph through hal/graph/reference.
Result<Answers> reference_answers(const Job& job);

struct Verdict {
  std::int64_t images = 0;
  std::int64_t right = 0;         // the label is the one that a person gave
  std::int64_t agree = 0;         // the label is the reference's
  double largest_difference = 0;  // between a probability and the reference's
  std::string why;                // empty if the device agrees with the reference

  bool pass() const { return why.empty(); }
};

/// Agreement: every label is the reference's, and every probability is within graph::default_tolerance(f32) of it.
Verdict judge(const Job& job, const Answers& reference, const Answers& found);

}  // namespace hal::cli::demo
