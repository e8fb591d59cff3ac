// SPDX-License-Identifier: Apache-2.0
// Choice between images, specialisation constants, dynamic dimensions.
#include <array>
#include <bit>
#include <cstdlib>

#include "conformance/cases/graphs.hpp"
#include "conformance/kernels/pack.hpp"

namespace hal::conformance {
namespace {

using u32 = std::uint32_t;

template <class T>
hal_constant constant(const char* name, hal_dtype dtype, T value) {
  hal_constant made{};
  made.name = name;
  made.dtype = dtype;
  made.size = sizeof value;
  const auto bytes = std::bit_cast<std::array<unsigned char, sizeof(T)>>(value);
  std::copy(bytes.begin(), bytes.end(), made.value);
  return made;
}

Owned<hal_program> load_special(Case& t, const std::vector<hal_constant>& constants) {
  const PackImage pack = special_for(t, Special::constants);
  hal_image image = pack.image();
  image.constants = constants.data();
  image.constant_count = constants.size();
  EXPECT(hal_device_check(t.device(), &image).support != HAL_NO);
  Owned<hal_program> program;
  EXPECT_OK(hal_program_load(t.device(), &image, program.out()));
  return program;
}

void expect_constants(Case& t, hal_queue* queue, hal_program* program, u32 count, float scale, std::int64_t wide,
                      std::uint8_t small) {
  auto out = t.filled(queue, 32, 0xEE);
  const std::vector<hal_arg> args = {arg(whole(out))};
  t.wait(t.submit(queue, {run_kernel(program, entry_of(program, "spec_constants"), args, 1)}));
  const auto found = t.read_as<std::uint64_t>(queue, out);
  EXPECT_EQ(found[0], std::uint64_t{count});
  EXPECT_EQ(found[1], std::uint64_t{std::bit_cast<u32>(scale)});
  EXPECT_EQ(found[2], std::bit_cast<std::uint64_t>(wide));
  EXPECT_EQ(found[3], std::uint64_t{small});
}

}  // namespace

HAL_CASE(EXE_012, "constants have the values of the load") {
  auto queue = t.queue();
  auto plain = load_special(t, {});
  expect_constants(t, queue, plain, 16, 0.5F, -1, 200);
  hal_constant seen{};
  EXPECT_EQ(hal_program_constant(plain, 3, &seen), 1U);
  EXPECT_EQ(std::string(seen.name), "spec_small");
  EXPECT_EQ(hal_program_constant(plain, 4, &seen), 0U);
  for (int round = 0; round < 4; ++round) {
    const u32 count = static_cast<u32>(t.random().next());
    const float scale = t.random().unit() * 1e-20F;
    const auto wide = static_cast<std::int64_t>(t.random().next());
    const auto small = static_cast<std::uint8_t>(t.random().next());
    auto all = load_special(t, {constant("spec_small", HAL_U8, small), constant("spec_wide", HAL_I64, wide),
                                constant("spec_count", HAL_U32, count), constant("spec_scale", HAL_F32, scale)});
    expect_constants(t, queue, all, count, scale, wide, small);
    auto some = load_special(t, {constant("spec_wide", HAL_I64, wide)});
    expect_constants(t, queue, some, 16, 0.5F, wide, 200);
  }
  const PackImage pack = special_for(t, Special::constants);
  hal_image image = pack.image();
  hal_program* none = nullptr;
  const std::vector<std::vector<hal_constant>> wrong = {
      {constant("spec_coun", HAL_U32, u32{1})},
      {constant("spec_count", HAL_I32, u32{1})},
      {constant("spec_count", HAL_U32, std::uint64_t{1})},
      {constant("spec_count", HAL_U32, u32{1}), constant("spec_count", HAL_U32, u32{1})}};
  for (const auto& constants : wrong) {
    image.constants = constants.data();
    image.constant_count = constants.size();
    EXPECT_EQ(hal_device_check(t.device(), &image).support, HAL_NO);
    EXPECT_CODE(hal_program_load(t.device(), &image, &none), HAL_INVALID_ARGUMENT);
    EXPECT(none == nullptr);
  }
}

HAL_CASE(EXE_013, "loads with different constants are independent") {
  auto queue = t.queue();
  auto a = load_special(t, {constant("spec_count", HAL_U32, u32{7})});
  auto b = load_special(t, {constant("spec_count", HAL_U32, u32{8}), constant("spec_small", HAL_U8, std::uint8_t{9})});
  for (int round = 0; round < 3; ++round) {
    expect_constants(t, queue, a, 7, 0.5F, -1, 200);
    expect_constants(t, queue, b, 8, 0.5F, -1, 9);
  }
  b.reset();
  expect_constants(t, queue, a, 7, 0.5F, -1, 200);
}

HAL_CASE(EXE_022, "the first image that the device takes is loaded") {
  const std::vector<std::byte> graph = identity_graph(4);
  const hal_image strange = {"no.such.format", graph.data(), graph.size(), "entry a kernel", nullptr, 0};
  std::vector<hal_image> images = {strange, strange};
  hal_program* none = nullptr;
  u32 chosen = 4711;
  hal_error* error = hal_program_load_any(t.device(), images.data(), 2, &none, &chosen);
  EXPECT_EQ(hal_error_describe(error).code, HAL_UNSUPPORTED);
  const std::string text = text_of(error);
  EXPECT(text.find("image 0 ('no.such.format')") != std::string::npos);
  EXPECT(text.find("image 1 ('no.such.format')") != std::string::npos);
  EXPECT(none == nullptr && chosen == 4711);
  EXPECT_CODE(hal_program_load_any(t.device(), images.data(), 0, &none, nullptr), HAL_INVALID_ARGUMENT);

  const PackImage special = t.supports("kernel") ? special_for(t, Special::extents) : PackImage{};
  const hal_image usable = t.supports("kernel") ? special.image()
                           : t.supports("graph")
                               ? hal_image{"hal.graph", graph.data(), graph.size(), nullptr, nullptr, 0}
                               : hal_image{};
  if (usable.format != nullptr) {
    images = {strange, usable, usable};
    Owned<hal_program> program;
    EXPECT_OK(hal_program_load_any(t.device(), images.data(), 3, program.out(), &chosen));
    EXPECT_EQ(chosen, 1U);
  }
  // As one file; host functions are addresses and cannot be in one.
  images = {strange, strange};
  const bool in_file = usable.format != nullptr && std::string_view(usable.format) != "host.functions";
  if (in_file) { images.push_back(usable); }
  void* bytes = nullptr;
  std::uint64_t size = 0;
  EXPECT_OK(hal_bundle_create(images.data(), static_cast<u32>(images.size()), &bytes, &size));
  std::vector<unsigned char> file(static_cast<unsigned char*>(bytes), static_cast<unsigned char*>(bytes) + size);
  hal_free_bytes(bytes);
  hal_image bundle = {"hal.bundle", file.data(), file.size(), nullptr, nullptr, 0};
  EXPECT_EQ(hal_device_check(t.device(), &bundle).support != HAL_NO, in_file);
  Owned<hal_program> program;
  error = hal_program_load(t.device(), &bundle, program.out());
  if (in_file) {
    EXPECT_OK(error);
  } else {
    EXPECT_CODE(error, HAL_UNSUPPORTED);
  }
  for (std::uint64_t cut = 1; cut < size; cut += 1 + size / 50) {
    bundle.size = cut;
    EXPECT_EQ(hal_device_check(t.device(), &bundle).support, HAL_NO);
    EXPECT_CODE(hal_program_load(t.device(), &bundle, &none), HAL_INVALID_IMAGE);
  }
  bundle.size = size;
  for (int round = 0; round < 40; ++round) {
    std::vector<unsigned char> damaged = file;
    damaged[t.random().below(size)] ^= static_cast<unsigned char>(1 + t.random().below(255));
    bundle.bytes = damaged.data();
    EXPECT_CODE(hal_program_load(t.device(), &bundle, &none), HAL_INVALID_IMAGE, HAL_INCOMPATIBLE);
  }
  EXPECT(none == nullptr);
}

HAL_CASE(EXE_023, "extents of dynamic dimensions") {
  auto queue = t.queue();
  const PackImage pack = special_for(t, Special::extents);
  const hal_image image = pack.image();
  Owned<hal_program> program;
  EXPECT_OK(hal_program_load(t.device(), &image, program.out()));
  const u32 entry = entry_of(program, "spec_extents");
  const hal_signature* signature = hal_program_signature(program, entry);
  EXPECT_EQ(signature->symbol_count, 2U);
  EXPECT_EQ(std::string(signature->symbols[1]), "columns");
  EXPECT_EQ(signature->params[0].dims[0], std::int64_t{-1});
  auto x = t.buffer(1024), y = t.buffer(1024), out = t.filled(queue, 16, 0xEE);
  const auto extent = [](std::int64_t value) { return scalar(value); };
  const auto shape = [&](std::int64_t rows, std::int64_t columns) {
    return std::vector<hal_arg>{arg(slice(x, 0, static_cast<std::uint64_t>(rows * columns) * 4)),
                                arg(slice(y, 0, static_cast<std::uint64_t>(rows) * 12)), arg(whole(out))};
  };
  for (std::int64_t rows = 1; rows <= 8; rows += 3) {
    for (std::int64_t columns = 1; columns <= 32; columns *= 2) {
      for (const bool given : {false, true}) {
        std::vector<hal_arg> args = shape(rows, columns);
        if (given) { args.insert(args.end(), {extent(rows), extent(columns)}); }
        t.wait(t.submit(queue, {run_kernel(program, entry, args, 1)}));
        const auto found = t.read_as<std::int64_t>(queue, out);
        EXPECT_EQ(found[0], rows);
        EXPECT_EQ(found[1], columns);
      }
    }
  }
  // Recorded once, replayed with several shapes.
  const std::vector<hal_arg> open = {arg(hal_slot(0, 0, HAL_REST)), arg(hal_slot(1, 0, HAL_REST)), arg(whole(out))};
  const hal_command command = run_kernel(program, entry, open, 1);
  Owned<hal_commands> recording;
  EXPECT_OK(hal_commands_create(t.device(), &command, 1, recording.out()));
  for (std::int64_t rows = 1; rows <= 4; ++rows) {
    const std::vector<hal_arg> args = shape(rows, 5);
    const std::array<hal_slice, 2> slots = {args[0].value.slice, args[1].value.slice};
    t.wait(t.submit(queue, {execute(recording, slots)}));
    EXPECT_EQ(t.read_as<std::int64_t>(queue, out)[0], rows);
  }
  t.wait(t.submit(queue, {fill(whole(out), 0x33)}));
  const std::uint64_t before = t.submit(queue, {barrier()}).value;
  const auto refused = [&](const std::vector<hal_arg>& args) {
    EXPECT_CODE(t.try_submit(queue, {run_kernel(program, entry, args, 1)}), HAL_INVALID_ARGUMENT, HAL_OUT_OF_RANGE);
  };
  std::vector<hal_arg> args = shape(2, 5);
  args[1] = arg(slice(y, 0, 20));
  refused(args);  // no whole number of rows
  args = shape(2, 5);
  args[0] = arg(slice(x, 0, 36));
  refused(args);
  args = shape(2, 5);
  args.push_back(extent(2));
  refused(args);  // one of two
  args.push_back(extent(4));
  refused(args);  // not the length
  args[4] = extent(0);
  refused(args);
  args[4] = extent(INT64_MAX);
  refused(args);
  args[4] = scalar<u32>(5);
  refused(args);
  EXPECT_EQ(t.submit(queue, {barrier()}).value, before + 1);
  t.expect_all(t.read(queue, out), 0, 16, 0x33, "after refusals");
}

}  // namespace hal::conformance
