// SPDX-License-Identifier: Apache-2.0
#include "digits/network.hpp"

#include <cstring>
#include <halyard_catch.hpp>

#include "digits/data.hpp"
#include "graph/element.hpp"
#include "graph/print.hpp"
#include "graph/reference.hpp"

namespace {

struct Score {
  int right = 0;
  std::vector<std::int32_t> labels;
};

// Classifies all digits with the reference evaluator.
Score classify(hal::DType type) {
  const auto digits = digits::load_digits(SAMPLES_DIR "/data").value();
  const auto weights = digits::load_weights(SAMPLES_DIR "/digits/weights").value();
  const auto bytes = digits::build_network(weights, digits.count(), type).value();
  const auto view = hal::graph::View::verify(bytes).value();
  std::vector<std::byte> pixels(view.inputs()[0].bytes);
  for (std::size_t i = 0; i < digits.pixels.size(); ++i) {
    hal::graph::store_element(type, pixels.data(), static_cast<std::int64_t>(i), static_cast<double>(digits.pixels[i]));
  }
  const std::span<const std::byte> input(pixels);
  const auto outputs = hal::graph::evaluate_reference(view, {&input, 1}).value();
  Score score;
  score.labels.resize(digits.labels.size());
  std::memcpy(score.labels.data(), outputs[0].data(), outputs[0].size());
  for (std::size_t i = 0; i < score.labels.size(); ++i) { score.right += score.labels[i] == digits.labels[i] ? 1 : 0; }
  return score;
}

}  // namespace

TEST_CASE("digits: the committed weights classify as the README says") {
  const Score score = classify(hal::DType::f32);
  CHECK(score.labels.size() == 1797);
  CHECK(score.right == 1778);
}

TEST_CASE("digits: bf16 loses little") {
  const Score f32 = classify(hal::DType::f32);
  const Score bf16 = classify(hal::DType::bf16);
  int same = 0;
  for (std::size_t i = 0; i < f32.labels.size(); ++i) { same += f32.labels[i] == bf16.labels[i] ? 1 : 0; }
  CHECK(same >= 1780);
  CHECK(bf16.right >= 1765);
}

TEST_CASE("digits: the signature") {
  const auto weights = digits::load_weights(SAMPLES_DIR "/digits/weights").value();
  const auto bytes = digits::build_network(weights, 5).value();
  const auto view = hal::graph::View::verify(bytes).value();
  INFO(hal::graph::print(view));
  CHECK(view.name() == "digits");
  REQUIRE(view.parameter_count() == 3);
  CHECK(view.tensor(0).name == "pixels");
  CHECK(view.tensor(1).name == "label");
  CHECK(view.tensor(2).name == "probabilities");
}

TEST_CASE("digits: bad arguments") {
  const auto weights = digits::load_weights(SAMPLES_DIR "/digits/weights").value();
  CHECK_FALSE(digits::build_network(weights, 0));
  CHECK_FALSE(digits::build_network(weights, 1, hal::DType::i32));
  CHECK_FALSE(digits::load_weights(SAMPLES_DIR "/data"));
  CHECK_FALSE(digits::load_digits(SAMPLES_DIR "/digits/weights"));
}
