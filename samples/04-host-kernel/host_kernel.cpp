// SPDX-License-Identifier: Apache-2.0
// Loads kernels that your own compiler made, mandelbrot.c, and runs one on the host device.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <hal/hal.hpp>
#include <iterator>
#include <vector>

namespace {

constexpr std::uint32_t kWidth = 72, kHeight = 30, kSteps = 200;
constexpr float kScale = 1.0F / 24;

// The signature: an ELF file knows names, not parameters.
constexpr const char* kManifest =
    "entry mandelbrot kernel group=64,1,1 shared=0\n"
    "  scalar width u32\n"
    "  scalar steps u32\n"
    "  scalar scale f32\n"
    "  buffer out out u32\n";

std::vector<char> read(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// The same without a device.
std::uint32_t expected(std::uint32_t column, std::uint32_t row) {
  const float cx = static_cast<float>(column) * kScale - 2.0F, cy = static_cast<float>(row) * kScale - 1.25F;
  float x = 0, y = 0;
  for (std::uint32_t step = 0; step < kSteps; ++step) {
    const float xx = x * x, yy = y * y;
    if (!(xx + yy <= 4.0F)) { return step; }
    y = 2 * x * y + cy;
    x = xx - yy + cx;
  }
  return kSteps;
}

}  // namespace

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  const std::vector<char> object = read(argc > 1 ? argv[1] : KERNELS);
  hal::Image image{};
  image.format = "host.so";
  image.bytes = std::as_bytes(std::span(object));
  image.manifest = kManifest;

  const hal::Instance instance = hal::Instance::create("host").value();
  const hal::Device device = instance.open("host:0").value();
  const hal::Program program = device.load(image).value();  // refuses, with the reason, what is no such image
  const hal::Entry mandelbrot = program.entry("mandelbrot").value();

  hal::Queue queue = device.queue().value();
  const hal::Buffer out = device.buffer(kWidth * kHeight * 4).value();
  std::vector<std::uint32_t> stays(kWidth * kHeight);
  queue.run(mandelbrot, {kWidth, kSteps, kScale, out}, hal::Grid((kWidth + 63) / 64, kHeight)).value();
  hal::wait(queue.copy(out, hal::host(stays)).value(), 10s).value();

  bool good = true;
  for (std::uint32_t row = 0; row < kHeight; ++row) {
    for (std::uint32_t column = 0; column < kWidth; ++column) {
      const std::uint32_t n = stays[row * kWidth + column], wanted = expected(column, row);
      // Compilers may fuse a product and a sum, which moves points near the edge by a step or many.
      good = good && (n == wanted || (wanted > 8 && n > 8));
      std::putchar(n >= kSteps ? '#' : n > 12 ? '+' : n > 6 ? '.' : ' ');
    }
    std::putchar('\n');
  }
  std::puts(good ? "PASS" : "FAIL");
  return good ? 0 : 1;
} catch (const hal::Exception& exception) { return std::fprintf(stderr, "%s\nFAIL\n", exception.what()), 1; }
