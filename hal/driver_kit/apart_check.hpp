// SPDX-License-Identifier: Apache-2.0
// What drivers that refuse outputs on other arguments' bytes (driver_kit/apart.hpp) have in common, for their tests.
#pragma once

#include <cstring>
#include <halyard_catch.hpp>
#include <string>
#include <vector>

#include "driver_kit/harness.hpp"
#include "graph/signature.hpp"
#include "graph/view.hpp"
#include "hal/graph.hpp"

namespace hal::kit {

class ApartCheck {
 public:
  // `in_place`: one expression may write where it reads.
  ApartCheck(Harness::Device& device, bool in_place)
      : device_(device), in_place_(in_place), bytes_(device.allocate(3 * kBytes)) {
    GraphBuilder twice("twice"), turned("turned"), product("product");
    const graph::Value x = twice.input("x", DType::f32, {32, 32});
    twice.output("y", twice.map({x}, graph::arg(0) + graph::arg(0)));
    const graph::Value t = turned.input("x", DType::f32, {32, 32});
    turned.output("y", turned.map({t, turned.transpose(t, {1, 0})}, graph::arg(0) + graph::arg(1)));
    product.output("y", product.contract("mk,kn->mn", product.input("x", DType::f32, {32, 32}),
                                         product.input("w", DType::f32, {32, 32}), DType::f32));
    twice_ = load(twice);
    turned_ = load(turned);
    product_ = load(product);
  }

  void run_all() {
    const hal_arg first = at(0), second = at(kBytes), middle = at(64);
    allowed();
    if (!in_place_) { refused(twice_, {first, first}); }
    refused(twice_, {first, middle});
    refused(turned_, {first, first});
    refused(product_, {first, second, first});
    refused(product_, {first, second, second});
    refused(product_, {first, first, middle});
  }

 private:
  static constexpr std::uint64_t kBytes = 32 * 32 * 4;

  hal_program* load(GraphBuilder& builder) {
    const std::vector<std::byte> bytes = builder.finish().value();
    const graph::Signature signature(graph::View::verify(bytes).value());
    return device_.load({"hal.graph", bytes.data(), bytes.size(), nullptr}, {&signature.describe(), 1});
  }

  hal_arg at(std::uint64_t offset) const { return buffer_arg({bytes_, offset, kBytes}); }

  // Inputs may be the same bytes in any case.
  void allowed() {
    const float one = 1.0F;
    std::uint32_t pattern = 0;
    std::memcpy(&pattern, &one, sizeof pattern);
    const hal_arg first = at(0), second = at(kBytes), doubled = in_place_ ? first : at(2 * kBytes);
    const std::vector<hal_arg> of_one = {first, doubled}, of_two = {doubled, doubled, second};
    float got[2] = {};
    const auto last_of = [&](const hal_arg& arg) {
      return hal_slice{bytes_, arg.value.slice.offset + kBytes - sizeof(float), sizeof(float)};
    };
    Harness::Lane lane(device_);
    lane.submit({fill(whole(bytes_), pattern, 4), run(twice_, of_one), run(product_, of_two),
                 copy(hal_host(&got[0], 4), last_of(doubled)), copy(hal_host(&got[1], 4), last_of(second))});
    lane.finish();
    CHECK(got[0] == 2.0F);
    CHECK(got[1] == 32 * 4.0F);
  }

  void refused(hal_program* program, const std::vector<hal_arg>& args) {
    INFO(args.size() << " arguments");
    Harness::Lane lane(device_);
    const std::uint64_t number = lane.submit({run(program, args)});
    REQUIRE_FALSE(lane.wait(number));
    CHECK(hal_error_describe(lane.failure()).code == HAL_INVALID_ARGUMENT);
    CHECK(std::string(hal_error_text(lane.failure())).find("shares bytes with argument") != std::string::npos);
  }

  Harness::Device& device_;
  const bool in_place_;
  hal_buffer* bytes_;
  hal_program *twice_ = nullptr, *turned_ = nullptr, *product_ = nullptr;
};

}  // namespace hal::kit
