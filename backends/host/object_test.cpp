// SPDX-License-Identifier: Apache-2.0
// Images of the format "host.so": they run, and what is wrong with one is said before any of its code runs.
#include <elf.h>

#include <cstring>
#include <fstream>
#include <halyard_catch.hpp>
#include <iterator>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "hal/hal.hpp"

namespace {

constexpr std::chrono::seconds kPatience{60};

using Bytes = std::vector<std::byte>;

Bytes file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<char> chars((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const auto* first = reinterpret_cast<const std::byte*>(chars.data());
  return Bytes(first, first + chars.size());
}

const char* const kManifest =
    "entry axpy kernel group=64,1,1 shared=0\n"
    "  scalar n u32\n  scalar a f32\n  buffer x in f32\n  buffer y inout f32\n"
    "entry count kernel group=1,1,1 shared=0\n  buffer n out u32\n";

hal::Image image_of(const Bytes& bytes, const char* manifest = kManifest) {
  hal::Image image{};
  image.format = "host.so";
  image.bytes = bytes;
  image.manifest = manifest;
  return image;
}

struct Fixture {
  explicit Fixture(const std::string& uri = "host:0")
      : instance(hal::Instance::create("host").value()), device(instance.open(uri).value()) {}
  hal::Instance instance;
  hal::Device device;

  std::string refusal(const Bytes& bytes, hal_code code, const char* manifest = kManifest) const {
    const auto program = device.load(image_of(bytes, manifest));
    REQUIRE_FALSE(program);
    CHECK(program.error().code() == code);
    return std::string(program.error().text());
  }
};

Bytes with(Bytes bytes, std::size_t at, unsigned char value) {
  bytes[at] = static_cast<std::byte>(value);
  return bytes;
}

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("host.so: kernels of the user's compiler run in every mode, and on several threads") {
  const Bytes bytes = file(TEST_KERNELS);
  for (const char* uri : {"host:0", "host:0?threads=4", "host:0?mode=weak&seed=5", "host:0?mode=minimal"}) {
    const Fixture f(uri);
    CHECK(f.device.check_image(image_of(bytes)).support == HAL_YES);
    const hal::Program program = f.device.load(image_of(bytes)).value();
    hal::Queue queue = f.device.queue().value();
    constexpr std::uint32_t kCount = 100'003;  // no multiple of the group
    std::vector<float> x(kCount), y(kCount, 1.0F);
    std::iota(x.begin(), x.end(), 0.0F);
    const hal::Buffer in = f.device.buffer(kCount * 4).value(), out = f.device.buffer(kCount * 4 + 4).value();
    REQUIRE(queue.copy(hal::host(x), in));
    REQUIRE(queue.fill(out, 7.0F));
    REQUIRE(queue.copy(hal::host(y), out.slice(0, kCount * 4)));
    REQUIRE(queue.run(program.entry("axpy").value(), {kCount, 2.0F, in, out}, hal::Grid((kCount + 63) / 64)));
    std::vector<float> result(kCount + 1);
    REQUIRE(hal::wait(queue.copy(out, hal::host(result)).value(), kPatience));
    for (std::uint32_t i = 0; i < kCount; ++i) { REQUIRE(result[i] == 1.0F + 2.0F * static_cast<float>(i)); }
    CHECK(result[kCount] == 7.0F);
  }
}

TEST_CASE("host.so: kernels find the specialisation constants of their program") {
  const Fixture f;
  const Bytes bytes = file(TEST_KERNELS);
  hal::Queue queue = f.device.queue().value();
  const hal::Buffer x = f.device.buffer(256).value();
  const hal::Program program =
      f.device
          .load(image_of(bytes,
                         "constant factor u32 3\nentry scale kernel group=64,1,1 shared=0\n  buffer x inout u32\n"))
          .value();
  std::vector<std::uint32_t> out(64);
  REQUIRE(queue.fill(x, 14U));
  REQUIRE(queue.run(program.entry("scale").value(), {x}, hal::Grid(1)));
  REQUIRE(hal::wait(queue.copy(x, hal::host(out)).value(), kPatience));
  CHECK(out == std::vector<std::uint32_t>(64, 42));
}

TEST_CASE("host.so: each load has its own globals, and an image that went does not come back") {
  const Fixture f;
  const Bytes bytes = file(TEST_KERNELS);
  hal::Queue queue = f.device.queue().value();
  const hal::Buffer out = f.device.buffer(4).value();
  const auto count = [&](const hal::Program& program) {
    std::uint32_t n = 0;
    REQUIRE(queue.run(program.entry("count").value(), {out}, hal::Grid(1)));
    REQUIRE(hal::wait(queue.copy(out, hal_host(&n, 4)).value(), kPatience));
    return n;
  };
  const hal::Program a = f.device.load(image_of(bytes)).value(), b = f.device.load(image_of(bytes)).value();
  CHECK(count(a) == 1);
  CHECK(count(a) == 2);
  CHECK(count(b) == 1);
  for (int time = 0; time < 5; ++time) { CHECK(count(f.device.load(image_of(bytes)).value()) == 1); }
}

TEST_CASE("host.so: what is wrong with an image is named, with field and offset") {
  const Fixture f;
  const Bytes good = file(TEST_KERNELS);
  REQUIRE(good.size() > sizeof(Elf64_Ehdr));
  const Bytes text = {std::byte{'h'}, std::byte{'i'}};
  CHECK(has(f.refusal(text, HAL_INVALID_IMAGE), "offset 0: the bytes are no ELF file"));
  CHECK(has(f.refusal(Bytes(good.begin(), good.begin() + 40), HAL_INVALID_IMAGE), "fewer than an ELF header"));
  CHECK(has(f.refusal(with(good, 4, ELFCLASS32), HAL_INCOMPATIBLE), "class at offset 4 is 1"));
  CHECK(has(f.refusal(with(good, 5, 9), HAL_INCOMPATIBLE), "byte order at offset 5 is 9"));
  CHECK(has(f.refusal(with(good, 16, ET_REL), HAL_INVALID_IMAGE), "offset 16: type is 1"));
  CHECK(has(f.refusal(with(good, 18, EM_S390), HAL_INCOMPATIBLE), "machine at offset 18 is 22"));
  CHECK(has(f.refusal(with(good, 54, 1), HAL_INVALID_IMAGE), "offset 54: a program header has"));
  CHECK(has(f.refusal(Bytes(good.begin(), good.begin() + 200), HAL_INVALID_IMAGE), "cut short"));
  CHECK(has(f.refusal(file(OLD_KERNELS), HAL_INCOMPATIBLE),
            "version 99 of hal/host_kernel.h, this driver runs version 1"));
  CHECK(has(f.refusal(file(OTHER_OBJECT), HAL_INVALID_IMAGE), "exports no constant hal_host_image_abi"));
  CHECK(has(f.refusal(good, HAL_INVALID_IMAGE, "entry memcpy kernel group=1,1,1 shared=0\n  scalar n u32\n"),
            "no HAL_HOST_KERNEL(memcpy); it has: axpy, count, scale"));
  CHECK(f.device.check_image(image_of(text)).support == HAL_NO);
}

TEST_CASE("host.so: checking takes any bytes: every prefix, and thousands of damaged ones") {
  const Fixture f;
  const Bytes good = file(TEST_KERNELS);
  for (std::size_t size = 0; size < std::min<std::size_t>(good.size(), 1200); ++size) {
    CHECK(
        f.device.check_image(image_of(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)))).support ==
        HAL_NO);
  }
  std::mt19937 random(1);
  int refused = 0;
  for (int time = 0; time < 4000; ++time) {
    Bytes bad = good;
    for (int n = 0; n < 4; ++n) {
      // The tables that are read lie in the first part.
      bad[random() % std::min<std::size_t>(bad.size(), 4096)] = static_cast<std::byte>(random());
    }
    refused += f.device.check_image(image_of(bad)).support == HAL_NO ? 1 : 0;
  }
  CHECK(refused > 100);
}
