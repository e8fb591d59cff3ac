// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/job.hpp"

#include <fmt/format.h>

#include <cstring>
#include <filesystem>

#include "graph/compare.hpp"
#include "graph/reference.hpp"

namespace hal::cli::demo {
namespace {

namespace fs = std::filesystem;

std::string find_folder() {
  std::error_code problem;
  const fs::path self = fs::read_symlink("/proc/self/exe", problem);
  if (!problem) {
    const fs::path installed = self.parent_path().parent_path() / "share" / "halyard" / "samples";
    if (fs::exists(installed, problem)) { return installed.string(); }
  }
  return HALYARD_SAMPLES_DIR;
}

}  // namespace

Result<Job> load_job(const std::string& folder) {
  const std::string from = folder.empty() ? find_folder() : folder;
  const auto explain = [&](Error error) {
    return std::move(error).while_doing(
        fmt::format("reading the demo's digits and weights from {} (--samples FOLDER names another place)", from));
  };
  Result<digits::Digits> digits = digits::load_digits(from + "/data");
  if (!digits) { return explain(std::move(digits).error()); }
  Result<digits::Weights> weights = digits::load_weights(from + "/digits/weights");
  if (!weights) { return explain(std::move(weights).error()); }
  return Job{*std::move(digits), *std::move(weights)};
}

Result<Answers> reference_answers(const Job& job) {
  HAL_TRY(const std::vector<std::byte> bytes, digits::build_network(job.weights, job.count()));
  HAL_TRY(const graph::View view, graph::View::verify(bytes));
  const std::span<const std::byte> pixels = std::as_bytes(std::span(job.digits.pixels));
  HAL_TRY(const auto outputs, graph::evaluate_reference(view, {&pixels, 1}));
  Answers answers(job.count());
  std::memcpy(answers.labels.data(), outputs[0].data(), outputs[0].size());
  std::memcpy(answers.probabilities.data(), outputs[1].data(), outputs[1].size());
  return answers;
}

Verdict judge(const Job& job, const Answers& reference, const Answers& found) {
  Verdict verdict;
  verdict.images = job.count();
  for (std::size_t i = 0; i < reference.labels.size(); ++i) {
    verdict.right += found.labels[i] == job.digits.labels[i] ? 1 : 0;
    verdict.agree += found.labels[i] == reference.labels[i] ? 1 : 0;
  }
  const graph::Comparison probabilities = graph::compare(DType::f32, std::as_bytes(std::span(found.probabilities)),
                                                         std::as_bytes(std::span(reference.probabilities)));
  verdict.largest_difference = probabilities.max_absolute;
  if (verdict.agree != verdict.images) {
    verdict.why = fmt::format("{} labels differ from the reference's", verdict.images - verdict.agree);
  } else if (!probabilities) {
    verdict.why = "probabilities: " + probabilities.text();
  }
  return verdict;
}

}  // namespace hal::cli::demo
