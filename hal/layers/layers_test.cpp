// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>
#include <string>
#include <vector>

#include "hal/graph.hpp"
#include "hal/hal.hpp"

namespace {

using namespace std::chrono_literals;
using hal::test::kSoon;

struct Logged {
  std::vector<std::string> lines;
  static void write(void* user, hal_log_level, const char* origin, const char* text) {
    static_cast<Logged*>(user)->lines.push_back(std::string(origin) + ": " + text);
  }
};

hal::Result<hal::Instance> with(const char* layers, Logged* log = nullptr) {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "host";
  desc.layers = layers;
  if (log != nullptr) {
    desc.log = Logged::write;
    desc.log_user = log;
  }
  return hal::Instance::create(desc);
}

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

TEST_CASE("layers: an unknown name and a bad argument are refused with what exists") {
  for (const char* list : {"nosuch", "mask=timestamp,nosuch=1", "nosuch,oom=1"}) {
    const auto made = with(list);
    REQUIRE(!made);
    CHECK(made.error().code() == HAL_INVALID_ARGUMENT);
    CHECK(has(made.error().what(), "'nosuch'"));
    CHECK(has(made.error().what(), "oom=each:N"));
  }
  for (const char* list : {"oom", "oom=0", "oom=-1", "oom=each:", "oom=random:7", "oom=17x", "mask", "mask=colour",
                           "mask=timestamp+colour", "mask=dtype.", "mask=dtype.zzz", "mask=dtype.F32", "trace"}) {
    INFO(list);
    const auto made = with(list);
    REQUIRE(!made);
    CHECK(made.error().code() == HAL_INVALID_ARGUMENT);
    CHECK(has(made.error().what(), "layer "));
  }
  CHECK(with(""));
}

TEST_CASE("layers: two that would write one file are refused, by whatever name") {
  for (const char* list :
       {"trace=same.out,record=same.out", "record=same.out,trace=./no/../same.out", "trace=same.out,trace=same.out"}) {
    INFO(list);
    const auto made = with(list);
    REQUIRE(!made);
    CHECK(made.error().code() == HAL_INVALID_ARGUMENT);
    CHECK(has(made.error().what(), "same.out, which layer "));
  }
  // Neither exists: a trace is written at the end.
  const std::string here = std::filesystem::current_path().string();
  for (const std::string& list :
       {"trace=never.out,trace=" + here + "/never.out", "trace=" + here + "/never.out,trace=never.out"}) {
    INFO(list);
    std::remove("never.out");
    const auto made = with(list.c_str());
    REQUIRE(!made);
    CHECK(has(made.error().what(), "never.out, which layer "));
  }
  std::remove("never.out");
  // Nor does what links lead to.
  std::filesystem::create_symlink("link.b", "link.a");
  std::filesystem::create_symlink(here + "/never.out", "link.b");
  for (const char* list :
       {"trace=link.a,trace=never.out", "trace=never.out,trace=link.b", "trace=link.b,trace=link.a"}) {
    INFO(list);
    const auto made = with(list);
    REQUIRE(!made);
    CHECK(has(made.error().what(), ", which layer "));
  }
  CHECK(with("trace=link.a,trace=other.out"));
  for (const char* name : {"link.a", "link.b", "never.out", "other.out"}) { std::remove(name); }
  // Two that cannot be looked up are not the same for that.
  for (const char* name : {"circle.a", "circle.b"}) {
    std::remove(name);
    std::filesystem::create_symlink(name, name);
  }
  CHECK(with("trace=circle.a/out,trace=circle.b/out"));
  std::remove("circle.a");
  std::remove("circle.b");
  CHECK(with("trace=/dev/null,record=/dev/null"));
  std::remove("same.out");
}

TEST_CASE("layers: a file on a full disk is told, however little was to be written") {
  for (const char* layers : {"record=/dev/full", "trace=/dev/full"}) {
    Logged log;
    REQUIRE(with(layers, &log));
    REQUIRE(log.lines.size() == 1);
    CHECK(has(log.lines[0], "/dev/full is incomplete"));
    CHECK(has(log.lines[0], "No space left on device"));
  }
}

TEST_CASE("layers: a desc from before there were layers still works") {
  hal_instance_desc desc{};
  desc.struct_size = offsetof(hal_instance_desc, layers);
  desc.drivers = "host";
  desc.layers = "nosuch";  // behind its end
  CHECK(hal::Instance::create(desc));
}

TEST_CASE("layers: mask denies with its name, refuses the use and leaves the rest") {
  const hal::Instance instance = with("mask=timestamp+dtype.bf16+report+number.memory.alignment+host-visible").value();
  const hal::Device device = instance.open("host:0").value();
  CHECK(device.supports("timestamp").support == HAL_NO);
  CHECK(has(device.supports("timestamp").why, "layer mask"));
  CHECK(device.supports("dtype.bf16").support == HAL_NO);
  CHECK(device.supports("graph").support == HAL_YES);
  CHECK(device.number("memory.alignment").error().code() == HAL_NOT_FOUND);
  CHECK(device.report().error().code() == HAL_UNSUPPORTED);
  hal::Buffer buffer = device.buffer(64).value();
  CHECK(buffer.host().empty());
  hal::Queue queue = device.queue("q").value();
  hal_command stamp{};
  stamp.op = HAL_OP_TIMESTAMP;
  stamp.as.timestamp.to = buffer.slice(0, 8);
  CHECK(hal::check(hal_queue_submit(queue.get(), &stamp, 1, nullptr, nullptr)).error().code() == HAL_UNSUPPORTED);
  std::vector<unsigned char> bytes(64);
  CHECK(queue.fill(buffer, std::uint8_t{7}));
  const hal::Point done = queue.copy(buffer, hal::host(bytes)).value();
  CHECK(hal::wait(done, kSoon));
  CHECK(bytes == std::vector<unsigned char>(64, 7));
}

TEST_CASE("layers: mask refuses images by format and kind, in check as in load") {
  hal::GraphBuilder builder("same");
  builder.output("y", builder.input("x", hal::DType::f32, {4}));
  const std::vector<std::byte> bytes = builder.finish().value();
  for (const char* layers : {"mask=graph", "mask=image.hal.graph"}) {
    const hal::Instance instance = with(layers).value();
    const hal::Device device = instance.open("host:0").value();
    const hal_image image{"hal.graph", bytes.data(), bytes.size(), nullptr};
    const hal_verdict verdict = hal_device_check(device.get(), &image);
    CHECK(verdict.support == HAL_NO);
    CHECK(has(verdict.why, "layer mask"));
    hal_program* program = nullptr;
    const hal::Result<void> loaded = hal::check(hal_program_load(device.get(), &image, &program));
    REQUIRE(!loaded);
    CHECK(loaded.error().code() == HAL_UNSUPPORTED);
  }
}

TEST_CASE("layers: mask judges a compiled program by its entries") {
  hal::GraphBuilder builder("same");
  builder.output("y", builder.input("x", hal::DType::f32, {4}));
  std::vector<std::byte> bytes;
  {
    const hal::Instance instance = with("").value();
    const hal::Device device = instance.open("host:0").value();
    bytes = device.load({"hal.graph", builder.finish().value()}).value().serialize().value();
  }
  const hal::Instance kernels = with("mask=kernel").value(), graphs = with("mask=graph").value();
  const hal::Device takes = kernels.open("host:0").value(), refuses = graphs.open("host:0").value();
  CHECK(takes.check_image({"hal.program", bytes}).support != HAL_NO);
  CHECK(takes.load({"hal.program", bytes}));
  const auto refused = refuses.load({"hal.program", bytes});
  REQUIRE(!refused);
  CHECK(refused.error().code() == HAL_UNSUPPORTED);
  CHECK(has(refused.error().text(), "is a tensor graph, which is hidden by the layer mask"));
}

TEST_CASE("layers: oom fails the call it was told to, with a text, and everything after works") {
  const hal::Instance instance = with("oom=2").value();
  const hal::Device device = instance.open("host:0").value();
  CHECK(device.queue("first"));
  const auto second = device.queue("second");
  REQUIRE(!second);
  CHECK(second.error().code() == HAL_OUT_OF_HOST_MEMORY);
  CHECK(has(second.error().text(), "allocation 2 of this instance fails on purpose"));
  CHECK(device.queue("third"));
  CHECK(device.buffer(64));
  const auto buffer = with("oom=1").value().open("host:0").value().buffer(64);
  REQUIRE(!buffer);
  CHECK(buffer.error().code() == HAL_OUT_OF_DEVICE_MEMORY);
  CHECK(has(buffer.error().text(), "64 bytes asked: allocation 1 of this instance fails on purpose"));
  CHECK(!has(buffer.error().text(), " free"));  // there was room: nobody asked the device
}

TEST_CASE("layers: oom on every n-th and at random; the same seed fails the same calls") {
  const auto pattern = [](const char* layers) {
    const hal::Instance instance = with(layers).value();
    const hal::Device device = instance.open("host:0").value();
    std::string out;
    for (int i = 0; i < 24; ++i) { out += device.queue("q") ? '.' : 'x'; }
    return out;
  };
  CHECK(pattern("oom=each:4") == "...x...x...x...x...x...x");
  CHECK(pattern("oom=random:7:3") == pattern("oom=random:7:3"));
  CHECK(pattern("oom=random:7:3") != pattern("oom=random:8:3"));
  CHECK(pattern("oom=each:4,oom=each:6").find("...x.") == 0);  // both count: the outer one first
}

TEST_CASE("layers: a memory failure of the driver is tried again after the cache was given back") {
  const hal::Instance instance = with("oom=2").value();
  const hal::Device device = instance.open("host:0").value();
  { const hal::Buffer cached = device.buffer(4096).value(); }
  CHECK(device.buffer(1 << 20));  // the second allocation fails, trimming frees the first, the third works
}

TEST_CASE("labels: errors of the core name objects and the open ranges") {
  const hal::Instance instance = with("").value();
  const hal::Device device = instance.open("host:0").value();
  hal::Queue queue = device.queue("q").value();
  hal::Buffer buffer = device.buffer(16).value();
  buffer.label("weights");
  const hal::Range outer(instance, "epoch"), inner(instance, "step");
  const auto wrong = queue.fill(buffer.slice(8, 16), std::uint8_t{1});
  REQUIRE(!wrong);
  CHECK(has(wrong.error().what(), "'weights'"));
  CHECK(has(wrong.error().text(), "in range epoch > step"));
  hal_error* error = wrong.error().info().cause != nullptr ? nullptr : hal::Error(wrong.error()).release();
  CHECK(hal::check(hal_object_set_label(error, "x")).error().code() == HAL_INVALID_ARGUMENT);
  hal_release(error);
  CHECK(hal::check(hal_object_set_label(nullptr, "x")).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(hal::check(hal_object_set_label(buffer.get(), nullptr)).error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("ranges: deep nesting and ends without a begin do no harm") {
  for (int i = 0; i < 100; ++i) { hal_range_begin(nullptr, "deep"); }
  for (int i = 0; i < 200; ++i) { hal_range_end(nullptr); }
  const hal::Error error(HAL_INTERNAL, "x");
  CHECK(!has(error.text(), "in range"));
}
