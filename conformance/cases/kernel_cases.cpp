// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "conformance/kernels/pack.hpp"

namespace hal::conformance {
namespace {

using u32 = std::uint32_t;

u32 groups_of_64(u32 n) { return (n + 63) / 64; }

// Runs one entry of the pack and waits.
void launch(Case& t, hal_queue* queue, hal_program* program, const char* entry, const std::vector<hal_arg>& args,
            u32 groups, u32 groups_y = 1) {
  t.wait(t.submit(queue, {run_kernel(program, entry_of(program, entry), args, groups, groups_y)}));
}

void expect_near(const char* what, std::size_t i, double found, double expected, double room) {
  count_check();
  if (!(std::fabs(found - expected) <= room)) {
    char numbers[160];
    std::snprintf(numbers, sizeof numbers, "element %zu: expected %.9g, found %.9g, off by %.3g where %.3g is allowed",
                  i, expected, found, std::fabs(found - expected), room);
    fail_case(HAL_HERE, std::string(what) + ": " + numbers);
  }
}

std::vector<float> random_floats(Case& t, std::size_t n) {
  std::vector<float> values(n);
  for (float& value : values) { value = t.random().unit(); }
  return values;
}

}  // namespace

HAL_CASE(EXE_001, "the pack lists its entries with their signatures") {
  auto program = load_pack(t);
  EXPECT_EQ(hal_program_entry_count(program), 8U);
  const hal_signature* saxpy = hal_program_signature(program, entry_of(program, "pack_saxpy"));
  EXPECT(saxpy != nullptr);
  EXPECT_EQ(std::string(saxpy->name), "pack_saxpy");
  EXPECT_EQ(saxpy->kind, HAL_KERNEL);
  EXPECT_EQ(saxpy->param_count, 4U);
  EXPECT_EQ(saxpy->group_size[0], 64U);
  EXPECT_EQ(std::string(saxpy->params[1].name), "a");
  EXPECT_EQ(saxpy->params[1].kind, HAL_PARAM_SCALAR);
  EXPECT_EQ(saxpy->params[1].dtype, HAL_F32);
  EXPECT_EQ(saxpy->params[1].bytes, std::uint64_t{4});
  EXPECT_EQ(saxpy->params[2].kind, HAL_PARAM_BUFFER);
  EXPECT_EQ(saxpy->params[2].direction, HAL_IN);
  EXPECT_EQ(saxpy->params[3].direction, HAL_INOUT);
  const hal_signature* matmul = hal_program_signature(program, entry_of(program, "pack_matmul"));
  EXPECT_EQ(matmul->group_size[0] * 100 + matmul->group_size[1] * 10 + matmul->group_size[2], 881U);
}

HAL_CASE(EXE_002, "damaged images are refused or harmless") {
  for (const PackImage& pack : kernel_pack()) {
    const hal_image good = pack.image();
    if (hal_device_check(t.device(), &good).support == HAL_NO) { continue; }
    const std::string bytes(static_cast<const char*>(pack.bytes), pack.size);
    hal_program* none = nullptr;
    hal_image bad = good;
    // Binary images hold addresses of this process: only their head may be damaged here.
    for (std::size_t size = 1; size < bytes.size(); size += pack.text ? 1 + bytes.size() / 40 : 1) {
      bad.bytes = bytes.data();
      bad.size = size;
      hal_error* error = hal_program_load(t.device(), &bad, &none);
      EXPECT(error != nullptr && none == nullptr);
      EXPECT_CODE(error, HAL_INVALID_IMAGE, HAL_INCOMPATIBLE, HAL_UNSUPPORTED);
    }
    for (int round = 0; round < (pack.text ? 60 : 8); ++round) {
      std::string damaged = bytes;
      // The NUL at the end of a text stays where it is.
      const std::size_t at = pack.text ? t.random().below(damaged.size() - 1) : static_cast<std::size_t>(round);
      damaged[at] = static_cast<char>(damaged[at] ^ (pack.text ? 1 + static_cast<char>(t.random().below(120)) : 0x55));
      bad.bytes = damaged.data();
      bad.size = damaged.size();
      Owned<hal_program> program;  // some damage is only to a comment or a name
      hal_error* error = hal_program_load(t.device(), &bad, program.out());
      if (error != nullptr) { EXPECT_CODE(error, HAL_INVALID_IMAGE, HAL_INCOMPATIBLE, HAL_UNSUPPORTED, HAL_NOT_FOUND); }
      if (!pack.text) { EXPECT(program.get() == nullptr); }
    }
  }
  auto queue = t.queue();
  auto program = load_pack(t);
  auto out = t.filled(queue, 40, 0);
  launch(t, queue, program, "pack_fill", {scalar<u32>(10), scalar<u32>(7), arg(whole(out))}, 1);
  for (const u32 value : t.read_as<u32>(queue, out)) { EXPECT_EQ(value, 7U); }
}

HAL_CASE(EXE_004, "unknown entries are not found") {
  auto program = load_pack(t);
  for (const char* name : {"", "pack_fil", "pack_filll", "PACK_FILL", "pack_fill "}) {
    u32 entry = 4711;
    hal_error* error = hal_program_entry(program, name, &entry);
    EXPECT_EQ(hal_error_describe(error).code, HAL_NOT_FOUND);
    EXPECT(text_of(error).find("pack_saxpy") != std::string::npos);
    EXPECT_EQ(entry, 4711U);
  }
  EXPECT(hal_program_signature(program, hal_program_entry_count(program)) == nullptr);
  EXPECT(hal_program_signature(program, UINT32_MAX) == nullptr);
}

HAL_CASE(EXE_005, "arguments arrive bit for bit") {
  auto queue = t.queue();
  auto program = load_pack(t);
  Bytes letters(256);
  std::iota(letters.begin(), letters.end(), std::uint8_t{0});
  auto bytes = t.upload(queue, letters);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t out_at = 8 * t.random().below(4), byte_at = t.random().below(200);
    auto out = t.filled(queue, 128, 0xBB);
    const u32 u = static_cast<u32>(t.random().next());
    const std::uint64_t wide = t.random().next() | 0x8000000100000000U;
    const float f = t.random().unit() * 1e-30F;
    const double d = static_cast<double>(t.random().unit()) * 1e200;
    const auto i = static_cast<std::int32_t>(-1 - static_cast<std::int32_t>(t.random().below(1U << 30U)));
    launch(t, queue, program, "pack_echo",
           {scalar(u), scalar(wide), scalar(f), scalar(d), scalar(i), arg(slice(bytes, byte_at, 3)),
            arg(slice(out, out_at, 48))},
           1);
    const Bytes found = t.read(queue, out);
    std::array<std::uint64_t, 6> values{};
    std::memcpy(values.data(), found.data() + out_at, 48);
    EXPECT_EQ(values[0], u);
    EXPECT_EQ(values[1], wide);
    EXPECT_EQ(values[2], std::bit_cast<u32>(f));
    EXPECT_EQ(values[3], std::bit_cast<std::uint64_t>(d));
    EXPECT_EQ(values[4], static_cast<std::uint64_t>(std::int64_t{i}));
    EXPECT_EQ(values[5], byte_at);
    t.expect_all(found, 0, out_at, 0xBB, "before the slice");
    t.expect_all(found, out_at + 48, 128 - out_at - 48, 0xBB, "behind the slice");
  }
}

HAL_CASE(EXE_006, "arguments that do not fit are refused") {
  auto queue = t.queue();
  auto program = load_pack(t);
  auto out = t.filled(queue, 64, 0x1F);
  const u32 entry = entry_of(program, "pack_fill");
  const std::vector<hal_arg> good = {scalar<u32>(16), scalar<u32>(1), arg(whole(out))};
  const std::uint64_t before = t.submit(queue, {barrier()}).value;
  const auto refused = [&](std::vector<hal_arg> args, u32 which) {
    EXPECT_CODE(t.try_submit(queue, {run_kernel(program, which, args, 1)}), HAL_INVALID_ARGUMENT, HAL_OUT_OF_RANGE);
  };
  refused({good[0], good[1]}, entry);
  refused({good[0], good[1], good[2], good[2]}, entry);
  refused({good[0], good[2], good[2]}, entry);
  refused({good[0], good[1], good[1]}, entry);
  refused({scalar<std::uint64_t>(16), good[1], good[2]}, entry);
  refused({scalar<std::uint8_t>(16), good[1], good[2]}, entry);
  refused({good[0], good[1], arg(slice(out, 60, 8))}, entry);
  refused(good, hal_program_entry_count(program));
  hal_error* error = t.try_submit(
      queue, {run_kernel(program, entry, std::vector<hal_arg>{good[0], scalar<std::uint16_t>(1), good[2]}, 1)});
  EXPECT(text_of(error).find("value") != std::string::npos);  // the parameter's name
  EXPECT_EQ(t.submit(queue, {barrier()}).value, before + 1);
  t.expect_all(t.read(queue, out), 0, 64, 0x1F, "after refusals");
}

HAL_CASE(EXE_007, "arguments are captured at submission") {
  auto queue = t.queue();
  auto gate = t.timeline();
  auto program = load_pack(t);
  const u32 entry = entry_of(program, "pack_fill");
  std::vector<Owned<hal_buffer>> outs;
  hal_point last{};
  t.submit(queue, {barrier()}, {{{gate, 1}}});
  std::vector<hal_arg> args;
  for (u32 i = 0; i < 6; ++i) {
    outs.push_back(t.buffer(64));
    args = {scalar<u32>(16), scalar<u32>(100 + i), arg(whole(outs[i]))};
    last = t.submit(queue, {run_kernel(program, entry, args, 1)});
    args = {scalar<u32>(1), scalar<u32>(0xDEAD), arg(whole(outs[0]))};
  }
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(last);
  for (u32 i = 0; i < 6; ++i) {
    for (const u32 value : t.read_as<u32>(queue, outs[i])) { EXPECT_EQ(value, 100 + i); }
  }
}

HAL_CASE(EXE_007, "each launch keeps its own scalars") {
  auto queue = t.queue();
  auto program = load_pack(t);
  const u32 entry = entry_of(program, "pack_iota");
  auto out = t.buffer(64 * 32);
  std::vector<std::vector<hal_arg>> args;
  for (u32 i = 0; i < 32; ++i) {
    args.push_back({scalar<u32>(16), scalar<u32>(1000 * i), arg(slice(out, i * 64, 64))});
  }
  std::vector<hal_command> commands;
  for (const auto& each : args) { commands.push_back(run_kernel(program, entry, each, 1)); }
  t.wait(t.submit(queue, commands));
  const auto values = t.read_as<u32>(queue, out);
  for (u32 i = 0; i < values.size(); ++i) { EXPECT_EQ(values[i], 1000 * (i / 16) + i % 16); }
}

HAL_CASE(EXE_008, "every item runs exactly once") {
  auto queue = t.queue();
  auto program = load_pack(t);
  for (const u32 n : {1U, 2U, 63U, 64U, 65U, 127U, 500U, 1009U}) {
    auto counter = t.filled(queue, 4, 0);
    auto out = t.filled(queue, std::uint64_t{n} * 4 + 64, 0xFF);
    launch(t, queue, program, "pack_ticket", {scalar(n), arg(whole(counter)), arg(whole(out))}, groups_of_64(n));
    EXPECT_EQ(t.read_as<u32>(queue, counter)[0], n);
    const auto drawn = t.read_as<u32>(queue, out);
    std::vector<int> seen(n, 0);
    for (u32 i = 0; i < n; ++i) {
      EXPECT(drawn[i] < n);
      ++seen[drawn[i]];
    }
    for (const int times : seen) { EXPECT_EQ(times, 1); }
    for (u32 i = n; i < drawn.size(); ++i) { EXPECT_EQ(drawn[i], UINT32_MAX); }
    launch(t, queue, program, "pack_iota", {scalar(n), scalar<u32>(7), arg(whole(out))}, groups_of_64(n));
    const auto line = t.read_as<u32>(queue, out);
    for (u32 i = 0; i < n; ++i) { EXPECT_EQ(line[i], i + 7); }
  }
}

HAL_CASE(EXE_014, "barriers, shared memory and atomics") {
  auto queue = t.queue();
  auto program = load_pack(t);
  for (const u32 n : {1U, 64U, 1000U, 4096U}) {
    std::vector<u32> values(n);
    u32 expected = 5;
    for (u32& value : values) {
      value = static_cast<u32>(t.random().next());
      expected += value;
    }
    auto x = t.upload(queue, values);
    auto sum = t.upload(queue, std::vector<u32>{5});
    launch(t, queue, program, "pack_reduce", {scalar(n), arg(whole(x)), arg(whole(sum))}, groups_of_64(n));
    EXPECT_EQ(t.read_as<u32>(queue, sum)[0], expected);
  }
}

HAL_CASE(EXE_015, "a program outlives its handle while it works") {
  auto queue = t.queue();
  auto gate = t.timeline();
  auto out = t.filled(queue, 256, 0);
  hal_point point{};
  {
    auto program = load_pack(t);
    const std::vector<hal_arg> args = {scalar<u32>(64), scalar<u32>(42), arg(whole(out))};
    point = t.submit(queue, {run_kernel(program, entry_of(program, "pack_fill"), args, 1)}, {{{gate, 1}}});
  }
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(point);
  for (const u32 value : t.read_as<u32>(queue, out)) { EXPECT_EQ(value, 42U); }
}

HAL_CASE(EXE_018, "damaged manifests are refused with their line") {
  const PackImage pack = pack_for(t);
  hal_program* none = nullptr;
  const auto refused = [&](const char* manifest, const char* line) {
    hal_image image = pack.image();
    image.manifest = manifest;
    EXPECT_EQ(hal_device_check(t.device(), &image).support, HAL_NO);
    hal_error* error = hal_program_load(t.device(), &image, &none);
    EXPECT_EQ(hal_error_describe(error).code, HAL_INVALID_IMAGE);
    EXPECT(text_of(error).find(line) != std::string::npos);
    EXPECT(none == nullptr);
  };
  refused("entry pack_fill kernel group=64,1,1\n  scalar n u32\n  nonsense value u32\n", "line 3");
  refused("\n# a comment\nentry pack_fill\n", "line 3");
  refused("entry pack_fill kernel group=many\n", "line 1");
  refused("entry pack_fill kernel group=64,1,1\n  scalar n u33\n", "line 2");
  refused("  scalar n u32\n", "line 1");
  refused("entry pack_fill kernel group=64,1,1\n  buffer out sideways u32\n", "line 2");
}

HAL_CASE(EXE_028, "a kernel is no graph") {
  const PackImage pack = pack_for(t);
  hal_image image = pack.image();
  std::string manifest = image.manifest;
  const std::string declared = "entry pack_fill kernel";
  const std::size_t at = manifest.find(declared);
  EXPECT(at != std::string::npos);
  const std::size_t end = manifest.find('\n', at);
  manifest.replace(at, end - at, "entry pack_fill graph");
  image.manifest = manifest.c_str();
  hal_program* none = nullptr;
  EXPECT_CODE(hal_program_load(t.device(), &image, &none), HAL_INVALID_IMAGE);
  EXPECT(none == nullptr);
}

HAL_CASE(EXE_019, "a kernel needs a grid") {
  auto queue = t.queue();
  auto program = load_pack(t);
  auto out = t.filled(queue, 64, 0x2A);
  const std::vector<hal_arg> args = {scalar<u32>(16), scalar<u32>(1), arg(whole(out))};
  EXPECT_CODE(t.try_submit(queue, {run_graph(program, entry_of(program, "pack_fill"), args)}), HAL_INVALID_ARGUMENT);
  hal_command prepare = run_kernel(program, entry_of(program, "pack_fill"), {}, 1);
  prepare.op = HAL_OP_PREPARE;
  EXPECT_CODE(t.try_submit(queue, {prepare}), HAL_INVALID_ARGUMENT, HAL_UNSUPPORTED);
  t.expect_all(t.read(queue, out), 0, 64, 0x2A, "after the refusals");
}

HAL_CASE(EXE_020, "check and load agree on images that are none") {
  Bytes noise(512);
  for (std::uint8_t& byte : noise) { byte = static_cast<std::uint8_t>(t.random().next()); }
  noise.back() = 0;
  for (const char* format : {"no.such.format", "", "hal.graph", "ptx", "cubin", "rngd.image", "spirv"}) {
    for (const std::uint64_t size : {std::uint64_t{512}, std::uint64_t{1}}) {
      const hal_image image = {format, noise.data(), size, "entry main kernel group=1,1,1\n"};
      const hal_verdict verdict = hal_device_check(t.device(), &image);
      EXPECT_EQ(verdict.support, HAL_NO);
      EXPECT(*verdict.why != '\0');
      hal_program* none = nullptr;
      EXPECT_CODE(hal_program_load(t.device(), &image, &none), HAL_UNSUPPORTED, HAL_INVALID_IMAGE, HAL_INCOMPATIBLE,
                  HAL_INVALID_ARGUMENT);
      EXPECT(none == nullptr);
    }
  }
}

HAL_CASE(EXE_021, "fill, iota and saxpy") {
  auto queue = t.queue();
  auto program = load_pack(t);
  constexpr u32 n = 333;
  auto out = t.filled(queue, n * 4, 0);
  launch(t, queue, program, "pack_fill", {scalar(n), scalar<u32>(0xC0FFEE), arg(whole(out))}, groups_of_64(n));
  for (const u32 value : t.read_as<u32>(queue, out)) { EXPECT_EQ(value, 0xC0FFEEU); }
  launch(t, queue, program, "pack_iota", {scalar(n), scalar<u32>(90), arg(whole(out))}, groups_of_64(n));
  const auto line = t.read_as<u32>(queue, out);
  for (u32 i = 0; i < n; ++i) { EXPECT_EQ(line[i], i + 90); }
  const auto x = random_floats(t, n), y = random_floats(t, n);
  const float a = t.random().unit() * 3;
  auto dx = t.upload(queue, x), dy = t.upload(queue, y);
  launch(t, queue, program, "pack_saxpy", {scalar(n), scalar(a), arg(whole(dx)), arg(whole(dy))}, groups_of_64(n));
  const auto found = t.read_as<float>(queue, dy);
  for (u32 i = 0; i < n; ++i) {
    const double product = static_cast<double>(a) * static_cast<double>(x[i]), term = static_cast<double>(y[i]);
    // One rounding if fused, two if not.
    expect_near("saxpy", i, static_cast<double>(found[i]), product + term,
                0x1p-23 * (std::fabs(product) + std::fabs(term)));
  }
}

HAL_CASE(EXE_021, "tiled matrix product") {
  auto queue = t.queue();
  auto program = load_pack(t);
  for (const auto& [m, n, k] : {std::array<u32, 3>{8, 8, 8}, {1, 1, 1}, {13, 21, 37}, {24, 16, 5}}) {
    const auto a = random_floats(t, m * k), b = random_floats(t, k * n);
    auto da = t.upload(queue, a), db = t.upload(queue, b), dc = t.filled(queue, std::uint64_t{m} * n * 4, 0xFF);
    launch(t, queue, program, "pack_matmul",
           {scalar(m), scalar(n), scalar(k), arg(whole(da)), arg(whole(db)), arg(whole(dc))}, (n + 7) / 8, (m + 7) / 8);
    const auto found = t.read_as<float>(queue, dc);
    for (u32 i = 0; i < m * n; ++i) {
      double sum = 0, absolute = 0;
      for (u32 p = 0; p < k; ++p) {
        const double term = static_cast<double>(a[i / n * k + p]) * static_cast<double>(b[p * n + i % n]);
        sum += term;
        absolute += std::fabs(term);
      }
      expect_near("matmul", i, static_cast<double>(found[i]), sum, (k + 1) * 0x1p-24 * absolute);
    }
  }
}

HAL_CASE(EXE_021, "row softmax") {
  auto queue = t.queue();
  auto program = load_pack(t);
  constexpr u32 rows = 7, columns = 50;
  auto x = random_floats(t, rows * columns);
  for (float& value : x) { value *= 8; }
  auto dx = t.upload(queue, x), dy = t.filled(queue, rows * columns * 4, 0xFF);
  launch(t, queue, program, "pack_softmax", {scalar(columns), arg(whole(dx)), arg(whole(dy))}, rows);
  const auto found = t.read_as<float>(queue, dy);
  for (u32 row = 0; row < rows; ++row) {
    double sum = 0;
    for (u32 i = 0; i < columns; ++i) { sum += std::exp(static_cast<double>(x[row * columns + i])); }
    for (u32 i = 0; i < columns; ++i) {
      const double expected = std::exp(static_cast<double>(x[row * columns + i])) / sum;
      // The difference to the largest is rounded before exp: up to 16 * 2^-24 relative, twice; exp itself, sum,
      // division.
      expect_near("softmax", row * columns + i, static_cast<double>(found[row * columns + i]), expected,
                  (2 * 16 + 2 * 16 + columns + 4) * 0x1p-24 * expected);
    }
  }
}

}  // namespace hal::conformance
