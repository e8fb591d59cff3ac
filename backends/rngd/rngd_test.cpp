// SPDX-License-Identifier: Apache-2.0
// The HAL driver through its table: partitions, memory, order, graphs against the reference, failures.
#include <algorithm>
#include <array>
#include <cstring>
#include <halyard_catch.hpp>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "driver_kit/apart_check.hpp"
#include "driver_kit/harness.hpp"
#include "driver_kit/open_graph_check.hpp"
#include "graph/cases.hpp"
#include "graph/compare.hpp"
#include "graph/random_graph.hpp"
#include "graph/reference.hpp"
#include "graph/signature.hpp"
#include "graph/view.hpp"
#include "hal/graph.hpp"

using namespace hal::kit;
namespace graph = hal::graph;
using Bytes = std::vector<std::byte>;

namespace {

hal_command barrier() { return {}; }

void refused(const Harness& host, const std::string& part, const std::string& params, hal_code code,
             const std::string& words) {
  hal_device_traits traits{};
  hal_error* error = host.try_open(0, params, part, &traits);
  REQUIRE(error != nullptr);
  CHECK(hal_error_describe(error).code == code);
  CHECK(std::string(hal_error_describe(error).what).find(words) != std::string::npos);
  hal_release(error);
}

// Loads a graph, runs it on device buffers, and gives the outputs, or the lane's failure.
struct Outcome {
  std::vector<Bytes> outputs;
  hal_code code = HAL_OK;
  std::string text;
};
Outcome evaluate(Harness::Device& device, std::span<const std::byte> bytes, const std::vector<Bytes>& inputs) {
  const auto view = graph::View::verify(bytes).value();
  const graph::Signature signature(view);
  const hal_image image{"hal.graph", bytes.data(), bytes.size(), nullptr};
  hal_program* program = device.load(image, {&signature.describe(), 1});
  Harness::Lane lane(device);
  std::vector<hal_arg> args;
  for (std::size_t i = 0; i < view.parameter_count(); ++i) {
    const hal_arg& arg = args.emplace_back(buffer_arg(whole(device.allocate(view.tensor(i).bytes))));
    if (i < inputs.size()) { lane.submit({copy(arg.value.slice, hal_host(inputs[i].data(), inputs[i].size()))}); }
  }
  lane.submit({run(program, args)});
  Outcome outcome;
  for (std::size_t i = inputs.size(); i < view.parameter_count(); ++i) {
    Bytes& output = outcome.outputs.emplace_back(view.tensor(i).bytes);
    lane.submit({copy(hal_host(output.data(), output.size()), args[i].value.slice)});
  }
  if (!lane.wait(lane.submitted())) {
    outcome.code = hal_error_describe(lane.failure()).code;
    outcome.text = hal_error_describe(lane.failure()).what;
  }
  return outcome;
}

}  // namespace

TEST_CASE("rngd: partitions by URI, exclusive", "[rngd][hal]") {
  Harness host{std::string(RNGD_DRIVER)};
  REQUIRE(host.ops().device_count(host.driver()) == 1);
  hal_device_info info{};
  host.ops().device_describe(host.driver(), 0, &info);
  CHECK(std::string(info.name).find("emulated") != std::string::npos);
  CHECK(info.is_emulated == 1);
  const auto pair = host.open(0, "", "pe0-1");
  CHECK(std::string(pair->traits().info.uri) == "rngd:0/pe0-1");
  CHECK(pair->traits().info.is_emulated == 1);
  refused(host, "", "", HAL_BUSY, "0x03");
  refused(host, "pe1", "", HAL_BUSY, "close the device that holds them");
  for (const char* part : {"pe8", "pe1-2", "pe0-4", "pe", "pe0-", "quad", "pe3-0", "pe0-7"}) {
    refused(host, part, "", HAL_INVALID_ARGUMENT, "is no part of an RNGD card");
  }
  refused(host, "pe4", "speed=9", HAL_INVALID_ARGUMENT, "speed");
  const auto other = host.open(0, "", "pe4-7");
  std::uint64_t pes = 0;
  CHECK(host.ops().number(host.driver(), other->impl(), "pe.count", &pes) == 1);
  CHECK(pes == 4);
  CHECK(host.ops().supports(host.driver(), other->impl(), "kernel").support == HAL_NO);
  CHECK(host.ops().supports(host.driver(), other->impl(), "graph").support == HAL_YES);
  CHECK(std::string(host.ops().supports(host.driver(), other->impl(), "wings").why) == "unknown feature");
}

TEST_CASE("rngd: allocation says what is left", "[rngd][hal]") {
  Harness host{std::string(RNGD_DRIVER)};
  const auto device = host.open(0, "", "pe0");
  hal_memory memory{};
  hal_error* error = host.ops().memory_allocate(host.driver(), device->impl(), 1ULL << 40U, &memory);
  CHECK(hal_error_describe(error).code == HAL_OUT_OF_DEVICE_MEMORY);
  CHECK(std::string(hal_error_describe(error).what).find("1099511627776 bytes asked") == 0);
  CHECK(std::string(hal_error_describe(error).vendor_name) == "RNGD_OUT_OF_MEMORY");
  hal_release(error);
}

TEST_CASE("rngd: fills and copies in order, host memory included, more commands than the ring holds", "[rngd][hal]") {
  Harness host{std::string(RNGD_DRIVER)};
  const auto device = host.open(0, "", "pe0");
  hal_buffer* a = device->allocate(4096);
  hal_buffer* b = device->allocate(4096);
  std::vector<std::uint32_t> words(3000);
  {
    Harness::Lane lane(*device);
    for (std::uint32_t i = 0; i < words.size(); ++i) {
      lane.submit({fill({a, 0, 4}, i, 4), copy({b, 8, 4}, {a, 0, 4}), copy(hal_host(&words[i], 4), {b, 8, 4})});
    }
    lane.finish();
    CHECK(lane.completed() == 9000);
    std::uint64_t stamp = 0, source = 77, target = 0;
    hal_command time{};
    time.op = HAL_OP_TIMESTAMP;
    time.as.timestamp.to = hal_host(&stamp, 8);
    lane.submit({time, copy(hal_host(&target, 8), hal_host(&source, 8)), fill(hal_host(&source, 8), 5, 8)});
    lane.finish();
    CHECK(stamp > 0);
    CHECK(target == 77);
    CHECK(source == 5);
  }
  std::vector<std::uint32_t> want(words.size());
  std::iota(want.begin(), want.end(), 0U);
  CHECK(words == want);
}

TEST_CASE("rngd: a published number comes without help", "[rngd][hal]") {
  Harness host{std::string(RNGD_DRIVER)};
  const auto device = host.open(0, "", "pe0");
  Harness::Lane lane(*device);
  for (int i = 0; i < 50; ++i) {
    lane.submit({barrier(), barrier()});
    REQUIRE(lane.wait(lane.submitted(), false));
  }
}

TEST_CASE("rngd: graphs equal the reference on 1 and 4 PEs", "[rngd][hal][graph]") {
  Harness host{std::string(RNGD_DRIVER)};
  const std::string part = GENERATE("pe0", "pe4-7");
  const auto device = host.open(0, "", part);
  std::size_t ran = 0;
  std::vector<graph::Case> cases = graph::graph_cases();
  std::ranges::move(graph::type_cases(), std::back_inserter(cases));
  std::ranges::move(graph::layer_cases().cases, std::back_inserter(cases));
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    auto random = graph::testing::random_graph(seed, 10 + seed * 2);
    cases.push_back({"random." + std::to_string(seed), std::move(random.bytes), std::move(random.inputs)});
  }
  for (const graph::Case& test : cases) {
    INFO(test.name);
    const hal_image image{"hal.graph", test.bytes.data(), test.bytes.size(), nullptr};
    const hal_verdict verdict = host.ops().program_check(host.driver(), device->impl(), &image);
    if (verdict.support == HAL_NO) {
      CHECK(std::string(verdict.why).find("the emulated RNGD runs f32, bf16, i32, u8 and bool") != std::string::npos);
      continue;
    }
    ++ran;
    const auto view = graph::View::verify(test.bytes).value();
    const Outcome outcome = evaluate(*device, test.bytes, test.inputs);
    if (test.fails_out_of_range) {
      CHECK(outcome.code == HAL_OUT_OF_RANGE);
      CHECK(outcome.text.find(" in node ") != std::string::npos);
      continue;
    }
    INFO(outcome.text);
    REQUIRE(outcome.code == HAL_OK);
    const auto expected = graph::expected_outputs(test).value();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const auto result = graph::compare(view.outputs()[i].dtype, outcome.outputs[i], expected[i]);
      INFO(result.text());
      CHECK(result);
    }
  }
  CHECK(ran > 150);
}

TEST_CASE("rngd: a failed command fails the lane once, and nothing behind it happens", "[rngd][hal]") {
  Harness host{std::string(RNGD_DRIVER)};
  const auto device = host.open(0, "", "pe0");
  hal_buffer* a = device->allocate(64);
  std::uint32_t after = 1;
  {
    Harness::Lane lane(*device);
    // Beyond the partition's memory: what the core would have refused.
    lane.submit({fill(whole(a), 3, 4), fill({a, 1ULL << 40U, 4}, 9, 4), fill(hal_host(&after, 4), 9, 4)});
    CHECK_FALSE(lane.wait(3));
    CHECK(lane.failed_number() == 2);
    CHECK(lane.completed() == 1);
    const hal_error_info info = hal_error_describe(lane.failure());
    CHECK(info.code == HAL_EXECUTION_FAILED);
    CHECK(std::string(info.vendor_name) == "RNGD_FAULT");
    CHECK(info.vendor_code == 0x303);
    CHECK(std::string(info.what).find("DMA_FILL: translation fault on write") != std::string::npos);
  }
  CHECK(after == 1);
  // A command that cannot even be handed over keeps its place in the order.
  Harness::Lane lane(*device);
  hal_command bad = copy(whole(a), hal_host(nullptr, 64));
  lane.submit({barrier(), bad, fill(hal_host(&after, 4), 9, 4)});
  CHECK_FALSE(lane.wait(3));
  CHECK(lane.failed_number() == 2);
  CHECK(lane.completed() == 1);
  CHECK(hal_error_describe(lane.failure()).code == HAL_INVALID_ARGUMENT);
  CHECK(after == 1);
}

TEST_CASE("rngd: cancel publishes everything", "[rngd][hal]") {
  Harness host{std::string(RNGD_DRIVER)};
  const auto device = host.open(0, "", "pe0");
  Harness::Lane lane(*device);
  std::vector<hal_command> many(500, barrier());
  lane.submit(many);
  lane.cancel();
  CHECK(lane.wait(500));
  CHECK(lane.failure() == nullptr);
}

TEST_CASE("rngd: images that do not load say why", "[rngd][hal]") {
  Harness host{std::string(RNGD_DRIVER)};
  const auto device = host.open(0, "", "pe0");
  const auto why = [&](const char* format, const std::string& bytes) {
    const hal_image image{format, bytes.data(), bytes.size(), nullptr};
    const hal_verdict verdict = host.ops().program_check(host.driver(), device->impl(), &image);
    CHECK(verdict.support == HAL_NO);
    return std::string(verdict.why);
  };
  CHECK(why("ptx", ".version 8.0").find("RNGD is a graph device") != std::string::npos);
  CHECK(why("rngd.image", "short").find("header: 5 bytes") == 0);
  CHECK(why("hal.graph", "short") != "");
}

TEST_CASE("rngd: f32 contractions on the tensor unit round their operands", "[rngd][hal][graph]") {
  Harness host{std::string(RNGD_DRIVER)};
  hal::GraphBuilder builder("product");
  const auto x = builder.input("x", hal::DType::f32, {1, 1});
  builder.output("y", builder.contract("ab,bc->ac", x, x));
  const auto bytes = builder.finish().value();
  const float value = 1.0F + 1.0F / 512;  // not a bf16
  Bytes input(4);
  std::memcpy(input.data(), &value, 4);
  const auto result = [&](const char* params) {
    const auto device = host.open(0, params, "pe0");
    const Outcome outcome = evaluate(*device, bytes, {input});
    float y = 0;
    std::memcpy(&y, outcome.outputs.at(0).data(), 4);
    return y;
  };
  CHECK(result("") == value * value);
  CHECK(result("f32=bf16") == 1.0F);
}

TEST_CASE("rngd: intermediates that do not fit on chip go to HBM", "[rngd][hal][graph]") {
  Harness host{std::string(RNGD_DRIVER)};
  constexpr std::int64_t kSide = 3000;  // 36 MB of f32 between two nodes; one PE has 32 MiB
  hal::GraphBuilder builder("outer");
  const auto x = builder.input("x", hal::DType::f32, {kSide, 1});
  const auto y = builder.input("y", hal::DType::f32, {1, kSide});
  const auto sums = builder.map({x, y}, graph::arg(0) + graph::arg(1));
  builder.output("most", builder.reduce(sums, graph::ReduceOp::max, {0, 1}));
  const auto bytes = builder.finish().value();
  std::vector<float> values(kSide);
  std::iota(values.begin(), values.end(), 0.0F);
  Bytes input(values.size() * 4);
  std::memcpy(input.data(), values.data(), input.size());
  for (const char* part : {"pe0", "pe0-1"}) {
    const auto device = host.open(0, "", part);
    const Outcome outcome = evaluate(*device, bytes, {input, input});
    REQUIRE(outcome.code == HAL_OK);
    float most = 0;
    std::memcpy(&most, outcome.outputs.at(0).data(), 4);
    CHECK(most == 5998.0F);
  }
}

TEST_CASE("rngd: the report is about the emulated card", "[rngd][hal]") {
  Harness host{std::string(RNGD_DRIVER)};
  const auto device = host.open(0, "", "pe0");
  char* text = nullptr;
  REQUIRE(hal::check(host.ops().report(host.driver(), device->impl(), &text)));
  CHECK(std::string(text).find("\"emulated\": true") != std::string::npos);
  std::free(text);
}

TEST_CASE("rngd: graphs whose sizes come with their runs", "[rngd][hal][graph]") {
  Harness host{std::string(RNGD_DRIVER)};
  const auto device = host.open(0, "", "pe0-1");
  hal::kit::OpenGraphCheck(*device).run_all();
}

TEST_CASE("rngd: the programs of a graph whose sizes come with its runs share its large constants",
          "[rngd][hal][graph]") {
  Harness host{std::string(RNGD_DRIVER)};
  const auto device = host.open(0, "", "pe0-1");
  const auto used = [&] {
    char* text = nullptr;
    REQUIRE(hal::check(host.ops().report(host.driver(), device->impl(), &text)));
    const std::string report(text);
    std::free(text);
    constexpr std::string_view kField = "\"memory_used\": ";
    return std::stoull(report.substr(report.find(kField) + kField.size()));
  };
  // One constant that is shared, one behind it that is not worth it, and the shared one as an index and as an operand.
  std::vector<std::int32_t> rows(1024 * 16);
  std::vector<std::int32_t> bias(16);
  for (std::size_t i = 0; i < rows.size(); ++i) { rows[i] = static_cast<std::int32_t>(i * 7 % 13) % 4; }
  for (std::size_t i = 0; i < bias.size(); ++i) { bias[i] = static_cast<std::int32_t>(i) - 8; }
  hal::GraphBuilder b("shared");
  const hal::graph::Value x = b.input("x", hal::DType::i32, {b.symbol("n"), 1024});
  const hal::graph::Value table = b.constant({1024, 16}, std::span<const std::int32_t>(rows));
  const hal::graph::Value product = b.contract("nk,ko->no", x, table);
  b.output("product",
           b.map({product, b.constant({16}, std::span<const std::int32_t>(bias))}, graph::arg(0) + graph::arg(1)));
  b.output("taken", b.gather(x, b.slice(table, {3, 0}, {1, 16}), 1));
  const auto bytes = b.finish().value();
  const auto view = graph::View::verify_dynamic(bytes).value();
  const graph::Signature signature(view);
  const hal_image image{"hal.graph", bytes.data(), bytes.size(), nullptr};
  const std::uint64_t before = used();
  hal_program* program = device->load(image, {&signature.describe(), 1});
  const std::uint64_t loaded = used();
  CHECK(loaded - before >= rows.size() * 4);
  Harness::Lane lane(*device);
  for (std::int64_t n = 1; n <= 5; ++n) {
    CAPTURE(n);
    const auto bound = view.bind(std::span(&n, 1)).value();
    std::vector<std::int32_t> in(static_cast<std::size_t>(n) * 1024);
    for (std::size_t i = 0; i < in.size(); ++i) { in[i] = static_cast<std::int32_t>(i * 5 % 11) - 5; }
    const std::span<const std::byte> raw = std::as_bytes(std::span(in));
    const auto expected = graph::evaluate_reference(bound, {&raw, 1}).value();
    std::vector<hal_arg> args;
    std::vector<Bytes> found;
    for (std::size_t t = 0; t < bound.parameter_count(); ++t) {
      const std::uint64_t size = bound.tensor(t).bytes;
      args.push_back(buffer_arg(whole(device->allocate(size))));
      if (t != 0) { found.emplace_back(size); }
    }
    const std::uint64_t idle = used();
    lane.submit({copy(args[0].value.slice, hal_host(in.data(), raw.size()))});
    hal_arg& extent = args.emplace_back();
    extent = {HAL_ARG_SCALAR, 8, {}};
    std::memcpy(extent.value.scalar, &n, 8);
    lane.submit({run(program, args)});
    for (std::size_t t = 0; t < found.size(); ++t) {
      lane.submit({copy(hal_host(found[t].data(), found[t].size()), args[t + 1].value.slice)});
    }
    lane.finish();
    CHECK(found == expected);
    CHECK(used() - idle < rows.size() * 4);  // the small one, and what the program itself takes
  }
}

TEST_CASE("rngd: an output shares no bytes with another argument", "[rngd][hal][graph]") {
  Harness host{std::string(RNGD_DRIVER)};
  const auto device = host.open(0, "", "pe0-1");
  hal::kit::ApartCheck(*device, false).run_all();
}
