// SPDX-License-Identifier: Apache-2.0
// The CUDA driver through its table, on whatever device the default libraries offer; the emulated one is always there.
#include <algorithm>
#include <cstring>
#include <halyard_catch.hpp>
#include <iterator>
#include <limits>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "driver_kit/apart_check.hpp"
#include "driver_kit/harness.hpp"
#include "driver_kit/open_graph_check.hpp"
#include "graph/cases.hpp"
#include "graph/compare.hpp"
#include "graph/random_graph.hpp"
#include "graph/signature.hpp"
#include "graph/view.hpp"
#include "hal/graph.hpp"
#include "scale_kernel.hpp"

using hal::cuda::kScale, hal::cuda::ScaleSignature;
using hal::kit::buffer_arg, hal::kit::copy, hal::kit::fill, hal::kit::Harness;
using Bytes = std::vector<std::byte>;

namespace {

struct Opened {
  Harness host{std::string(CUDA_DRIVER)};
  std::unique_ptr<Harness::Device> device;
  Opened() {
    // The emulated device is the last one; a real GPU, where there is one, comes first and is tested by hand.
    device = host.open(host.ops().device_count(host.driver()) - 1);
  }
};

template <class T>
hal_arg scalar_arg(T value) {
  hal_arg a{};
  a.kind = HAL_ARG_SCALAR;
  a.size = sizeof(T);
  std::memcpy(a.value.scalar, &value, sizeof(T));
  return a;
}
hal_command run(hal_program* program, const std::vector<hal_arg>& args, std::uint32_t groups) {
  hal_command c = hal::kit::run(program, args);
  if (groups != 0) {
    c.as.run.has_grid = 1;
    c.as.run.grid.groups[0] = groups;
    c.as.run.grid.groups[1] = c.as.run.grid.groups[2] = 1;
  }
  return c;
}

// The signature of `scale`.
constexpr std::byte kUntouched{0x5a};
const hal_image kImage{"ptx", kScale, std::strlen(kScale), nullptr};

}  // namespace

TEST_CASE("cuda: the device says what it is, and that it is emulated") {
  Opened o;
  hal_device_info info{};
  o.host.ops().device_describe(o.host.driver(), o.host.ops().device_count(o.host.driver()) - 1, &info);
  CHECK(info.is_emulated == 1);
  CHECK(std::string(info.name).find("emulated") != std::string::npos);
  CHECK(o.host.ops().supports(o.host.driver(), o.device->impl(), "kernel").support == HAL_EMULATED);
  CHECK(o.host.ops().supports(o.host.driver(), o.device->impl(), "dtype.i4").support == HAL_NO);
  CHECK(std::string(o.host.ops().supports(o.host.driver(), o.device->impl(), "wings").why) == "unknown feature");
  std::uint64_t n = 0;
  CHECK(o.host.ops().number(o.host.driver(), o.device->impl(), "compute_capability", &n) == 1);
  CHECK(n == 100);
  CHECK(o.host.ops().number(o.host.driver(), o.device->impl(), "no.such", &n) == 0);
  hal_device_traits traits{};
  hal_error* error = o.host.try_open(0, "colour=red", "", &traits);
  CHECK(hal_error_describe(error).code == HAL_INVALID_ARGUMENT);
  hal_release(error);
}

TEST_CASE("cuda: out of memory says how much there is") {
  Opened o;
  hal_memory memory{};
  hal_error* error = o.host.ops().memory_allocate(o.host.driver(), o.device->impl(), std::uint64_t{1} << 50, &memory);
  REQUIRE(error != nullptr);
  CHECK(hal_error_describe(error).code == HAL_OUT_OF_DEVICE_MEMORY);
  CHECK(std::string(hal_error_text(error)).find("free") != std::string::npos);
  hal_release(error);
}

TEST_CASE("cuda: copies and fills of every kind, also through the staging buffer") {
  Opened o;
  Harness::Lane lane(*o.device);
  const std::uint64_t n = (9u << 20) + 3;  // more than two staging buffers
  hal_buffer* a = o.device->allocate(n);
  hal_buffer* b = o.device->allocate(n);
  std::vector<unsigned char> in(n), out(n), moved(n);
  for (std::size_t i = 0; i < n; ++i) { in[i] = static_cast<unsigned char>(i * 7 + i / 251); }
  lane.submit({copy({a, 0, n}, hal_host(in.data(), n)), copy({b, 0, n}, {a, 0, n}),
               copy(hal_host(out.data(), n), {b, 0, n}), copy(hal_host(moved.data(), n), hal_host(out.data(), n))});
  lane.finish();
  CHECK(out == in);
  CHECK(moved == in);  // the host copy came after the copy that fills its source
  lane.submit({fill({a, 0, 64}, 0xab, 1), fill({a, 2, 4}, 0x0102, 2), fill({a, 9, 8}, 0x11223344, 4),
               fill({a, 32, 16}, 0x8877665544332211u, 8), copy(hal_host(out.data(), 64), {a, 0, 64})});
  lane.finish();
  CHECK(out[0] == 0xab);
  CHECK(out[2] == 0x02);
  CHECK(out[5] == 0x01);
  CHECK(out[9] == 0x44);
  CHECK(out[16] == 0x11);
  CHECK(out[17] == 0xab);
  CHECK(out[32] == 0x11);
  CHECK(out[47] == 0x88);
}

TEST_CASE("cuda: more commands than a lane holds are taken piece by piece, in order") {
  Opened o;
  Harness::Lane lane(*o.device);
  hal_buffer* a = o.device->allocate(4);
  std::vector<std::uint32_t> seen(600);
  std::vector<hal_command> commands;
  for (std::uint32_t i = 0; i < 600; ++i) {
    commands.push_back(fill({a, 0, 4}, i, 4));
    commands.push_back(copy(hal_host(&seen[i], 4), {a, 0, 4}));
  }
  lane.submit(commands);
  lane.finish();
  for (std::uint32_t i = 0; i < 600; ++i) { REQUIRE(seen[i] == i); }
}

TEST_CASE("cuda: a kernel from PTX with a manifest's signature") {
  Opened o;
  Harness::Lane lane(*o.device);
  const ScaleSignature s;
  CHECK(o.host.ops().program_check(o.host.driver(), o.device->impl(), &kImage).support == HAL_EMULATED);
  hal_program* program = o.device->load(kImage, {&s.signature, 1});
  std::vector<float> data(1000, 2.0f), back(1000);
  hal_buffer* a = o.device->allocate(4000);
  std::uint64_t times[2] = {0, 0};
  hal_command clock{};
  clock.op = HAL_OP_TIMESTAMP;
  clock.as.timestamp.to = hal_host(&times[0], 8);
  hal_command later = clock;
  later.as.timestamp.to = hal_host(&times[1], 8);
  {
    const std::vector<hal_arg> args{buffer_arg({a, 0, 4000}), scalar_arg(999u), scalar_arg(1.5f)};
    lane.submit({clock, copy({a, 0, 4000}, hal_host(data.data(), 4000)), run(program, args, 16), later,
                 copy(hal_host(back.data(), 4000), {a, 0, 4000})});
  }  // arguments were captured
  lane.finish();
  CHECK(back[0] == 3.0f);
  CHECK(back[998] == 3.0f);
  CHECK(back[999] == 2.0f);
  CHECK(times[0] != 0);
  CHECK(times[1] >= times[0]);
}

TEST_CASE("cuda: images that do not fit are refused with the reason") {
  Opened o;
  const auto refused = [&](const hal_image& image, ScaleSignature& s) {
    void* program = nullptr;
    hal_error* error = o.host.ops().program_load(o.host.driver(), o.device->impl(), &image, &s.signature, 1, &program);
    REQUIRE(error != nullptr);
    const std::pair<hal_code, std::string> result{hal_error_describe(error).code, hal_error_text(error)};
    hal_release(error);
    return result;
  };
  ScaleSignature wrong_size;
  wrong_size.params[1].bytes = 8;
  CHECK(refused(kImage, wrong_size).second.find("8 bytes in the manifest and 4 in the PTX") != std::string::npos);
  ScaleSignature few;
  few.signature.param_count = 2;
  CHECK(refused(kImage, few).first == HAL_INVALID_IMAGE);
  ScaleSignature other;
  other.signature.name = "scales";
  CHECK(refused(kImage, other).second.find("scales") != std::string::npos);
  ScaleSignature good;
  const std::string bad = ".version 7.0\n.target sm_80\n.address_size 64\n.entry scale() {\n  frob.b32 %r1;\n}\n";
  const auto broken = refused({"ptx", bad.data(), bad.size(), nullptr}, good);
  CHECK(broken.first == HAL_INVALID_IMAGE);
  CHECK(broken.second.find("line 5") != std::string::npos);
  CHECK(broken.second.find("CUDA_ERROR_INVALID_PTX") != std::string::npos);
  CHECK(refused({"spirv", "x", 1, nullptr}, good).first == HAL_UNSUPPORTED);
  CHECK(refused({"hal.graph", "x", 1, nullptr}, good).first == HAL_INVALID_IMAGE);
  CHECK(o.host.ops().program_check(o.host.driver(), o.device->impl(), &kImage).support == HAL_EMULATED);
}

TEST_CASE("cuda: a lane waits for another one on the device") {
  Opened o;
  Harness::Lane a(*o.device), b(*o.device);
  const std::uint64_t n = 4u << 20;
  hal_buffer* x = o.device->allocate(n);
  hal_buffer* y = o.device->allocate(n);
  std::vector<unsigned char> out(n);
  CHECK(o.host.ops().lane_wait(o.host.driver(), b.get(), a.get(), 1) == 0);  // not submitted yet
  const std::uint64_t last = a.submit({fill({x, 0, n}, 1, 1), fill({x, 0, n}, 2, 1), copy({y, 0, n}, {x, 0, n})});
  REQUIRE(o.host.ops().lane_wait(o.host.driver(), b.get(), a.get(), last) == 1);
  b.submit({copy(hal_host(out.data(), n), {y, 0, n})});
  b.finish();
  CHECK(out[0] == 2);
  CHECK(out[n - 1] == 2);
  a.finish();
}

TEST_CASE("cuda: a kernel fault fails the lane once, at its command") {
  Opened o;
  const ScaleSignature s;
  hal_program* program = o.device->load(kImage, {&s.signature, 1});
  hal_buffer* a = o.device->allocate(64);
  Harness::Lane lane(*o.device);
  const std::vector<hal_arg> args{buffer_arg({a, 0, 64}), scalar_arg(17u), scalar_arg(1.0f)};
  lane.submit({fill({a, 0, 64}, 0, 4), run(program, args, 1), fill({a, 0, 64}, 0, 4)});
  REQUIRE_FALSE(lane.wait(lane.submitted()));
  REQUIRE(lane.failure() != nullptr);
  CHECK(lane.failed_number() == 2);
  CHECK(lane.completed() == 1);
  CHECK(hal_error_describe(lane.failure()).code == HAL_DEVICE_LOST);
  CHECK(std::string(hal_error_describe(lane.failure()).vendor_name) == "CUDA_ERROR_ILLEGAL_ADDRESS");
}

namespace {

// Where reductions of angles and the special values of powers are decided.
hal::graph::Case hard_points() {
  constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> x{0.0,
                              -0.0,
                              0.5,
                              -2.0,
                              3.141592653589793,
                              1e5,
                              -1e9,
                              2147483647.5,
                              2147483648.5,
                              1e15,
                              -1e22,
                              0x1p80,
                              6381956970095103.0 * 0x1p797,
                              1e300,
                              -1.7e308,
                              kInf,
                              kNan,
                              -8.0,
                              1.0,
                              kNan,
                              -1.0,
                              0.5,
                              2.0,
                              -kInf,
                              -kInf,
                              0.0,
                              -0.0,
                              10.0,
                              10.0,
                              10.0,
                              -2.0};
  const std::vector<double> y{0.0,   -3.0, kInf, 3.0,   2.5,  -61.0, 0.5,     33.0,  -33.0, 20.5, 13.0,
                              2.0,   1.0,  -1.0, 0.125, -1.0, 0.0,   1.0 / 3, kNan,  1.0,   kInf, kInf,
                              -kInf, 3.0,  0.5,  -1.0,  -1.0, 300.0, -300.0,  400.0, 2.0};
  hal::GraphBuilder b("hard");
  const auto n = static_cast<std::int64_t>(x.size());
  const auto a = b.input("a", hal::DType::f64, {n}), c = b.input("c", hal::DType::f64, {n});
  b.output("sine", b.map({a}, hal::graph::sin(hal::graph::arg(0))));
  b.output("cosine", b.map({a}, cos(hal::graph::arg(0))));
  b.output("power", b.map({a, c}, pow(hal::graph::arg(0), hal::graph::arg(1))));
  hal::graph::Case made{"hard points of f64", b.finish().value(), {}};
  for (const std::vector<double>* values : {&x, &y}) {
    const auto bytes = std::as_bytes(std::span(*values));
    made.inputs.emplace_back(bytes.begin(), bytes.end());
  }
  return made;
}

}  // namespace

TEST_CASE("cuda: graphs agree with the reference") {
  Opened o;
  std::vector<hal::graph::Case> cases = hal::graph::graph_cases();
  std::ranges::move(hal::graph::type_cases(), std::back_inserter(cases));
  std::ranges::move(hal::graph::layer_cases().cases, std::back_inserter(cases));
  cases.push_back(hard_points());
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    auto random = hal::graph::testing::random_graph(seed, 10 + seed * 2);
    cases.push_back({"random." + std::to_string(seed), std::move(random.bytes), std::move(random.inputs)});
  }
  for (const hal::graph::Case& test : cases) {
    INFO(test.name);
    const auto view = hal::graph::View::verify(test.bytes).value();
    const hal::graph::Signature signature(view);
    const hal_image image{"hal.graph", test.bytes.data(), test.bytes.size(), nullptr};
    const hal_verdict verdict = o.host.ops().program_check(o.host.driver(), o.device->impl(), &image);
    if (verdict.support == HAL_NO) {
      CHECK(std::string(verdict.why).find("has type i4") !=
            std::string::npos);  // the only reason a case may be refused
      continue;
    }
    hal_program* program = o.device->load(image, {&signature.describe(), 1});
    Harness::Lane lane(*o.device);
    std::vector<hal_arg> args;
    std::vector<Bytes> results;
    for (std::size_t t = 0; t < view.parameter_count(); ++t) {
      const std::uint64_t size = view.tensor(t).bytes;
      args.push_back(buffer_arg({o.device->allocate(size), 0, size}));
      if (t < test.inputs.size()) {
        lane.submit({copy(args[t].value.slice, hal_host(test.inputs[t].data(), size))});
      } else {
        results.emplace_back(size, kUntouched);
      }
    }
    lane.submit({run(program, args, 0)});
    std::byte witness{7};
    for (std::size_t t = test.inputs.size(); t < args.size(); ++t) {
      Bytes& result = results[t - test.inputs.size()];
      lane.submit({copy(hal_host(result.data(), result.size()), args[t].value.slice)});
    }
    if (test.fails_out_of_range) {
      const std::byte other{1};
      REQUIRE_FALSE(lane.wait(lane.submitted()));
      CHECK(hal_error_describe(lane.failure()).code == HAL_OUT_OF_RANGE);
      lane.submit({copy(hal_host(&witness, 1), hal_host(&other, 1))});
      CHECK(witness == std::byte{7});
      // The copies after the failed run never ran, nor will they.
      for (const Bytes& result : results) { CHECK(result.front() == kUntouched); }
      continue;
    }
    lane.finish();
    const auto expected = hal::graph::expected_outputs(test).value();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const hal::DType type = view.outputs()[i].dtype;
      hal::graph::Tolerance tolerance = hal::graph::default_tolerance(type);
      // Rounded after each update, which docs/graph.md allows: a unit each, of values up to 12.
      if (hal::dtype_bits(type) == 8 && test.name.find("scatter.add") != std::string::npos) {
        tolerance.absolute = hal::is_floating(type) ? 3 : 0;
      }
      const auto comparison = hal::graph::compare(type, results[i], expected[i], tolerance);
      INFO(comparison.text());
      CHECK(static_cast<bool>(comparison));
    }
  }
}

TEST_CASE("cuda: an output may be the very bytes of an input of one expression, and shares none otherwise") {
  Opened o;
  hal::kit::ApartCheck(*o.device, true).run_all();
}

TEST_CASE("cuda: many lanes from many threads") {
  Opened o;
  std::atomic<int> good{0};
  std::vector<std::jthread> threads;  // joined also where there is no memory for the next one
  for (unsigned t = 0; t < 4; ++t) {
    hal_buffer* a = o.device->allocate(4096);
    threads.emplace_back([&, a, t] {
      try {
        Harness::Lane lane(*o.device);
        std::vector<unsigned char> out(4096);
        bool fine = true;
        for (unsigned i = 0; i < 20 && fine; ++i) {
          lane.submit({fill({a, 0, 4096}, t * 20 + i, 1), copy(hal_host(out.data(), 4096), {a, 0, 4096})});
          lane.finish();
          fine = out[4095] == t * 20 + i;
        }
        good += fine ? 1 : 0;
      } catch (const std::exception&) {}  // of the harness
    });
  }
  for (auto& thread : threads) { thread.join(); }
  CHECK(good == 4);
}

TEST_CASE("cuda: an expression of f32 before a sum of f64 has the host's constants, bit by bit") {
  // Nothing here is one of f32's numbers. Each sum is exact in f64, so its order does not show.
  hal::GraphBuilder b("rounded");
  const hal::graph::Value x = b.input("x", hal::DType::f32, {64, 4});
  const hal::graph::Expr tenth =
      hal::graph::select(hal::graph::equal(hal::graph::arg(0), 0.1), 7.3, hal::graph::arg(0) * 0.1);
  b.output("y", b.reduce(b.map({x}, tenth), hal::graph::ReduceOp::sum, {1}, hal::graph::KeepDims::no,
                         {hal::DType::f64, hal::DType::f64}));
  const std::vector<std::byte> image = b.finish().value();
  std::vector<float> in(64 * 4);
  for (std::size_t i = 0; i < in.size(); ++i) { in[i] = i % 5 == 0 ? 0.1F : 1.0F + static_cast<float>(i) * 0.37F; }
  const auto sums = [&](Harness::Device& device) {
    const hal::graph::Signature signature(hal::graph::View::verify(image).value());
    hal_program* program = device.load({"hal.graph", image.data(), image.size(), nullptr}, {&signature.describe(), 1});
    hal_buffer *from = device.allocate(in.size() * 4), *to = device.allocate(64 * 8);
    std::vector<std::uint64_t> out(64);
    Harness::Lane lane(device);
    lane.submit({copy({from, 0, in.size() * 4}, hal_host(in.data(), in.size() * 4)),
                 run(program, {buffer_arg({from, 0, in.size() * 4}), buffer_arg({to, 0, 64 * 8})}, 0)});
    lane.submit({copy(hal_host(out.data(), 64 * 8), {to, 0, 64 * 8})});
    lane.finish();
    return out;
  };
  Opened o;
  Harness host{std::string(HOST_DRIVER)};
  CHECK(sums(*o.device) == sums(*host.open(0)));
}

TEST_CASE("cuda: graphs whose sizes come with their runs") {
  Opened o;
  hal::kit::OpenGraphCheck(*o.device).run_all();
}
