// SPDX-License-Identifier: Apache-2.0
// Bundles, the choice between images, and specialisation constants.
#include <array>
#include <cstring>
#include <halyard_catch.hpp>

#include "graph/add_graph.hpp"
#include "hal/hal.hpp"
#include "hal/host_kernel.h"

using namespace std::chrono_literals;

namespace {

void echo(const hal_host_group* group, void* const* args) {
  auto* out = static_cast<unsigned char*>(args[0]);
  std::memcpy(out, group->constants[0], 4);
  std::memcpy(out + 4, group->constants[1], 4);
  std::memcpy(out + 8, group->constants[2], 8);
}
constexpr hal_host_entry kEntries[] = {{"echo", echo}};
constexpr hal_host_functions kFunctions = HAL_HOST_FUNCTIONS(kEntries, 1);
constexpr const char* kManifest =
    "constant rows u32 16\nconstant scale f32 0.5\nconstant wide i64 -1\nentry echo kernel group=1\n buffer out out u8 "
    "16\n";

constexpr const char* kPtx = R"(
.version 7.8
.target sm_80
.address_size 64
.visible .const .align 4 .u32 rows;
.visible .const .align 4 .f32 scale;
.visible .const .align 8 .b64 wide;
.visible .entry echo(.param .u64 out)
{
  .reg .b32 %r<3>;
  .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [out];
  cvta.to.global.u64 %rd2, %rd1;
  ld.const.u32 %r1, [rows];
  st.global.u32 [%rd2], %r1;
  ld.const.b32 %r2, [scale];
  st.global.b32 [%rd2+4], %r2;
  ld.const.b64 %rd3, [wide];
  st.global.b64 [%rd2+8], %rd3;
  ret;
}
)";

struct Echoed {
  std::uint32_t rows = 0;
  float scale = 0;
  std::int64_t wide = 0;
};

Echoed run_echo(const hal::Device& device, const hal::Program& program) {
  hal::Queue queue = device.queue("q").value();
  hal::Buffer out = device.buffer(16).value();
  Echoed found;
  REQUIRE(queue.run(program.entry("echo").value(), {out}, hal::Grid(1)));
  REQUIRE(hal::wait(queue.copy(out, hal_host(&found, sizeof found)).value(), 20s));
  return found;
}

}  // namespace

TEST_CASE("bundle: the first image that the device takes is loaded, and each refusal has its reason") {
  hal::Instance instance = hal::Instance::create("host").value();
  hal::Device device = instance.open("host:0").value();
  const auto four = hal::add_graph(4), eight = hal::add_graph(8);
  const std::array images{hal::Image{"ptx", std::as_bytes(std::span(kPtx, 5)), "entry add kernel"},
                          hal::Image{"hal.graph", std::span(four).first(30)}, hal::Image{"hal.graph", eight},
                          hal::Image{"hal.graph", four}};
  std::uint32_t chosen = 99;
  hal::Program program = device.load_any(images, &chosen).value();
  CHECK(chosen == 2);
  CHECK(program.entry(0).signature().params[0].dims[0] == 8);
  chosen = 99;
  const hal::Error none = device.load_any(std::span(images).first(2), &chosen).error();
  CHECK(none.code() == HAL_UNSUPPORTED);
  CHECK(none.what().find("image 0 ('ptx'): ") != std::string_view::npos);
  CHECK(none.what().find("image 1 ('hal.graph'): ") != std::string_view::npos);
  CHECK(chosen == 99);
  CHECK(device.load_any({}).error().code() == HAL_INVALID_ARGUMENT);

  // The same as one file.
  const std::vector<std::byte> file = hal::bundle(images).value();
  CHECK(device.check_image({"hal.bundle", file}).support == HAL_YES);
  CHECK(device.load({"hal.bundle", file}).value().entry(0).signature().params[0].dims[0] == 8);
  const std::vector<std::byte> hopeless = hal::bundle(std::span(images).first(2)).value();
  const hal::Verdict verdict = device.check_image({"hal.bundle", hopeless});
  CHECK(verdict.support == HAL_NO);
  CHECK(std::string(verdict.why).find("image 1 ('hal.graph'): ") != std::string::npos);
  CHECK(device.load({"hal.bundle", hopeless}).error().code() == HAL_UNSUPPORTED);
}

TEST_CASE("bundle: damaged files are refused with field and offset") {
  hal::Instance instance = hal::Instance::create("host").value();
  hal::Device device = instance.open("host:0").value();
  const auto graph = hal::add_graph(4);
  const std::array images{hal::Image{"hal.graph", graph}, hal::Image{"ptx", graph, "entry a kernel"}};
  const std::vector<std::byte> good = hal::bundle(images).value();
  for (std::size_t size = 1; size < good.size(); size += 7) {
    CHECK(device.load({"hal.bundle", std::span(good).first(size)}).error().code() == HAL_INVALID_IMAGE);
  }
  for (std::size_t at = 0; at < good.size(); at += 3) {
    std::vector<std::byte> bad = good;
    bad[at] ^= std::byte{0x41};
    const auto code = device.load({"hal.bundle", bad}).error().code();
    CHECK((code == HAL_INVALID_IMAGE || code == HAL_INCOMPATIBLE));
  }
  const auto refused = [](std::span<const hal::Image> some) { return hal::bundle(some).error().code(); };
  const std::array inner{hal::Image{"hal.bundle", good}}, addresses{hal::Image{"host.functions", good, ""}},
      empty{hal::Image{"hal.graph", {}}};
  CHECK(refused({}) == HAL_INVALID_ARGUMENT);
  CHECK(refused(inner) == HAL_INVALID_ARGUMENT);
  CHECK(refused(addresses) == HAL_INVALID_ARGUMENT);
  CHECK(refused(empty) == HAL_INVALID_ARGUMENT);
}

TEST_CASE("constants: defaults, values, and independent loads on host and emulated CUDA") {
  const std::string drivers = "host:cuda";
  hal::Instance instance = hal::Instance::create(drivers).value();
  const std::array images{hal::Image{"host.functions", std::as_bytes(std::span(&kFunctions, 1)), kManifest},
                          hal::Image{"ptx", std::as_bytes(std::span(kPtx, std::strlen(kPtx) + 1)), kManifest}};
  for (std::size_t i = 0; i < 2; ++i) {
    const auto opened = instance.open(i == 0 ? "host:0" : "cuda:0");
    REQUIRE(opened);
    const hal::Device& device = *opened;
    const std::array<hal_constant, 2> values{hal::constant("wide", std::int64_t{-77}), hal::constant("rows", 3U)};
    hal::Image with = images[i];
    with.constants = values;
    hal::Program plain = device.load(images[i]).value(), special = device.load(with).value();
    const Echoed first = run_echo(device, plain), second = run_echo(device, special), third = run_echo(device, plain);
    CHECK((first.rows == 16 && first.scale == 0.5F && first.wide == -1));
    CHECK((second.rows == 3 && second.scale == 0.5F && second.wide == -77));
    CHECK((third.rows == 16 && third.wide == -1));
    REQUIRE(special.constants().size() == 3);
    CHECK(std::string(special.constants()[2].name) == "wide");
    CHECK(special.constants()[0].value[0] == 3);

    const auto refused = [&](std::span<const hal_constant> some) {
      hal::Image bad = images[i];
      bad.constants = some;
      CHECK(device.check_image(bad).support == HAL_NO);
      const hal::Error error = device.load(bad).error();
      CHECK(error.code() == HAL_INVALID_ARGUMENT);
      return std::string(error.what());
    };
    CHECK(refused(std::array{hal::constant("row", 3U)}).find("it has: rows u32, scale f32, wide i64") !=
          std::string::npos);
    CHECK(refused(std::array{hal::constant("rows", 3)}).find("'rows' is u32 of 4 bytes, got i32 of 4") !=
          std::string::npos);
    CHECK(refused(std::array{values[0], values[0]}).find("twice") != std::string::npos);
  }
  hal::Device host = instance.open("host:0").value();
  const auto graph = hal::add_graph(4);
  const std::array<hal_constant, 1> some{hal::constant("rows", 3U)};
  CHECK(host.load({"hal.graph", graph, nullptr, some}).error().what().find("it has: none") != std::string_view::npos);
  // A constant without a variable in the PTX.
  hal::Device cuda = instance.open("cuda:0").value();
  hal::Image lacking = images[1];
  lacking.manifest = "constant columns u32 1\nentry echo kernel\n buffer out out u8 16\n";
  CHECK(cuda.check_image(lacking).support == HAL_NO);
  CHECK(cuda.load(lacking).error().text().find("constant 'columns'") != std::string_view::npos);
  lacking.manifest = "constant rows u64 1\nentry echo kernel\n buffer out out u8 16\n";
  CHECK(cuda.load(lacking).error().text().find("8 bytes in the manifest and 4 in the PTX") != std::string_view::npos);
}
