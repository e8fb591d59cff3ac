// SPDX-License-Identifier: Apache-2.0
// Programs: loading, running, and what goes wrong.
#include <array>
#include <string>

#include "driver/fixture.hpp"
#include "image/sample_images.hpp"

using namespace rngd;
using namespace rngd::testing;

namespace {

struct Loaded {
  rngd_program* program = nullptr;
  Loaded(Lane& lane, const std::vector<std::byte>& image) {
    rngd_error error{};
    const rngd_status status = rngd_program_load(lane.partition, image.data(), image.size(), &program, &error);
    INFO(error.text);
    REQUIRE(status == RNGD_OK);
  }
  ~Loaded() { rngd_program_unload(program); }
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;
};

}  // namespace

TEST_CASE("a dense layer runs, on 1, 2 and 4 PEs alike", "[rngd][run]") {
  const std::uint32_t pes = GENERATE(1u, 2u, 4u);
  Card card(GENERATE(true, false));
  Lane lane(card, 4, pes);
  const Loaded loaded(lane, image::dense_image(2, pes));
  rngd_program_info info;
  rngd_program_get_info(loaded.program, &info);
  CHECK(info.binding_count == 2);
  CHECK(info.input_count == 1);
  CHECK(info.pe_count == pes);
  rngd_binding_info binding;
  REQUIRE(rngd_program_get_binding(loaded.program, 1, &binding) == RNGD_OK);
  CHECK(std::string(binding.name) == "y");
  CHECK(binding.output == 1);
  CHECK(binding.bytes == 24);
  CHECK(rngd_program_get_binding(loaded.program, 2, &binding) == RNGD_NOT_FOUND);

  const rngd_address x = lane.hbm(32), y = lane.hbm(24);
  const std::array<float, 8> values{1, 0, 0, 0, 0, 0, 0, -1};
  lane.upload(x, values.data(), 32);
  lane.finish(Lane::run(loaded.program, {{x, 32}, {y, 24}}));
  CHECK(lane.download<float>(y, 6) == std::vector<float>{0, 2, 13, 0, 0, 0});
  rngd_statistics statistics;
  rngd_device_get_statistics(card.device, &statistics);
  CHECK(statistics.programs_run == pes);
  CHECK(statistics.busy_pe_ns > 0);
}

TEST_CASE("every operation, constants and scratch", "[rngd][run]") {
  Card card;
  Lane lane(card, 0, 2);
  const Loaded loaded(lane, image::every_op_image());
  rngd_program_info info;
  rngd_program_get_info(loaded.program, &info);
  REQUIRE(info.scratch_bytes == 72);
  const rngd_address x = lane.hbm(32), y = lane.hbm(80), sums = lane.hbm(16), scratch = lane.hbm(72);
  std::vector<std::uint16_t> identity(16);
  for (std::size_t i = 0; i < 4; ++i) { identity[i * 5] = 0x4000; }  // 2.0
  lane.upload(x, identity.data(), 32);
  lane.finish(Lane::run(loaded.program, {{x, 32}, {y, 80}, {sums, 16}, {scratch, 72}}));
  CHECK(lane.download<float>(sums, 4) == std::vector<float>{4, 4, 4, 4});
  // taken = rows 2 and 0 of 4 I; scattered adds them back: rows 2 and 0 become 8; padded by 0.5, truncated to i32.
  CHECK(lane.download<float>(y, 20) == std::vector<float>{0, 0, 4, 0, 0, 0, 0, 8, 0, 0, 4, 0, 0, 0, 0, 8, 0, 0, 0, 0});
}

TEST_CASE("bindings that do not fit are refused with the binding's number", "[rngd][run]") {
  Card card;
  Lane lane(card, 0, 1);
  const Loaded loaded(lane, image::dense_image(2));
  const rngd_address x = lane.hbm(32), y = lane.hbm(24);
  const auto refused = [&](const std::vector<rngd_binding>& bindings, std::uint16_t status, const char* text) {
    const rngd_error error = lane.fails(Lane::run(loaded.program, bindings));
    CHECK(error.device_status == status);
    CHECK(std::string(error.text).find(text) != std::string::npos);
    REQUIRE(rngd_queue_reset(lane.queue, nullptr) == RNGD_OK);
  };
  refused({{x, 32}}, 0x106, "1 bindings given, the program has 2");
  refused({{x, 31}, {y, 24}}, 0x106, "binding 0 has 31, the program needs 32");
  refused({{x, 32}, {x, 24}}, 0x106, "binding 1");  // the output over the input
  refused({{{0, RNGD_SPACE_HBM, 0}, 32}, {y, 24}}, 0x302, "outside what this partition may reach");
  lane.finish(Lane::run(loaded.program, {{x, 32}, {y, 24}}));
}

TEST_CASE("tensors may begin at any byte", "[rngd][run]") {
  Card card;
  Lane lane(card, 0, 1);
  const Loaded loaded(lane, image::dense_image(2));
  rngd_address x = lane.hbm(33), y = lane.hbm(27);
  x.value += 1;
  y.value += 3;
  const std::array<float, 8> values{1, 0, 0, 0, 0, 0, 0, -1};
  lane.upload(x, values.data(), 32);
  lane.finish(Lane::run(loaded.program, {{x, 32}, {y, 24}}));
  CHECK(lane.download<float>(y, 6) == std::vector<float>{0, 2, 13, 0, 0, 0});
}

TEST_CASE("an index out of range is a fault with operation and index", "[rngd][run]") {
  Card card;
  Lane lane(card, 0, 1);
  image::Builder b(1);
  using D = std::array<std::int64_t, 1>;
  const auto data = b.input(image::Dtype::f32, D{4}), indices = b.input(image::Dtype::i32, D{1}),
             out = b.output(image::Dtype::f32, D{1});
  b.gather(data, indices, out, 0);
  const Loaded loaded(lane, b.finish());
  const rngd_address x = lane.hbm(16), i = lane.hbm(4), y = lane.hbm(4);
  // The indices were never written: poison is an index that no tensor has.
  const rngd_error error = lane.fails(Lane::run(loaded.program, {{x, 16}, {i, 4}, {y, 4}}));
  CHECK(error.status == RNGD_INDEX_OUT_OF_RANGE);
  CHECK(error.op == 0);
  CHECK(std::string(error.text).find("valid are 0 to 3") != std::string::npos);
}

TEST_CASE("programs are refused with field and byte", "[rngd][run]") {
  Card card;
  Lane lane(card, 0, 1);
  rngd_program* program = nullptr;
  rngd_error error{};
  auto image = image::dense_image(2);
  image[70] ^= std::byte{1};  // a section's place
  CHECK(rngd_program_load(lane.partition, image.data(), image.size(), &program, &error) == RNGD_PROGRAM_REJECTED);
  CHECK(std::string(error.text).find("(byte 0x") != std::string::npos);
  CHECK(error.device_status != 0);
  CHECK(rngd_image_check(image.data(), image.size(), nullptr, &error) == RNGD_PROGRAM_REJECTED);
  CHECK(rngd_program_load(lane.partition, image.data(), 10, &program, &error) == RNGD_PROGRAM_REJECTED);
  const auto wide = image::dense_image(2, 4);
  CHECK(rngd_program_load(lane.partition, wide.data(), wide.size(), &program, &error) == RNGD_PROGRAM_REJECTED);
  CHECK(std::string(error.text).find("header.pe_count: 4 PEs, the partition has 1") == 0);
  rngd_partition_info info;
  rngd_partition_get_info(lane.partition, &info);
  CHECK(info.memory_used == 0);
}

TEST_CASE("an old program loads and times out, where the card is told to", "[rngd][run]") {
  Card card(true, true);
  Lane lane(card, 0, 1);
  image::Builder b(1);
  const auto x = b.input(image::Dtype::f32, std::array<std::int64_t, 1>{1}),
             y = b.output(image::Dtype::f32, std::array<std::int64_t, 1>{1});
  b.map(std::array{x}, y, image::Dtype::f32, std::array{image::in(0)});
  const Loaded loaded(lane, b.finish(0));
  const rngd_address from = lane.hbm(4), to = lane.hbm(4);
  CHECK(lane.fails(Lane::run(loaded.program, {{from, 4}, {to, 4}})).status == RNGD_EXECUTION_TIMEOUT);
}
