// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <filesystem>
#include <map>

#include "conformance/cases/case.hpp"
#include "conformance/cases/probes.hpp"
#include "text/utf8.hpp"

namespace hal::conformance {
namespace {

std::string line_of(const hal_device_info& info) {
  return std::string(info.uri) + "|" + info.name + "|" + info.driver + "|" + info.vendor + "|" + info.reason + "|" +
         std::to_string(info.memory_bytes) + "|" + std::to_string(info.is_emulated) + "|" + std::to_string(info.usable);
}

std::string listing(hal_instance* instance) {
  std::string text;
  for (std::uint32_t i = 0; i < hal_instance_device_count(instance); ++i) {
    hal_device_info info{};
    EXPECT_OK(hal_instance_device(instance, i, &info));
    text += line_of(info) + "\n";
  }
  return text;
}

std::string capabilities(Case& t) {
  std::string text;
  for (const char* feature : kFeatures) {
    const hal_verdict verdict = hal_device_supports(t.device(), feature);
    text += std::string(feature) + "=" + std::to_string(verdict.support) + "(" + verdict.why + ")\n";
  }
  for (const char* feature : {"dtype.f32", "dtype.bf16", "dtype.i32", "dtype.f64", "image.hal.graph", "image.ptx"}) {
    text += std::string(feature) + "=" + std::to_string(hal_device_supports(t.device(), feature).support) + "\n";
  }
  return text;
}

std::size_t entries(const char* folder) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    static_cast<void>(entry);
    ++count;
  }
  return count;
}

// The URI under test with something put at the end of its part or of its parameters.
std::string with_part(const std::string& uri, const std::string& part) {
  const std::size_t query = std::min(uri.find('?'), uri.size());
  return uri.substr(0, query) + "/" + part + uri.substr(query);
}
std::string with_param(const std::string& uri, const std::string& param) {
  return uri + (uri.find('?') == std::string::npos ? "?" : "&") + param;
}

}  // namespace

HAL_CASE(DISC_003, "the list of devices stays as it is") {
  const std::string first = listing(t.instance());
  EXPECT(!first.empty());
  for (int round = 0; round < 20; ++round) {
    Owned<hal_device> again;
    EXPECT_OK(hal_device_open(t.instance(), t.uri().c_str(), again.out()));
    EXPECT_EQ(listing(t.instance()), first);
    EXPECT_EQ(std::string(hal_device_describe(again).name), hal_device_describe(t.device()).name);
  }
  EXPECT_EQ(listing(t.instance()), first);
}

HAL_CASE(DISC_005, "unknown devices are not found") {
  const std::string scheme = t.uri().substr(0, t.uri().find(':'));
  for (const std::string& uri : {std::string("nosuchdriver:0"), scheme + ":4000"}) {
    hal_device* device = nullptr;
    hal_error* error = hal_device_open(t.instance(), uri.c_str(), &device);
    EXPECT_EQ(hal_error_describe(error).code, HAL_NOT_FOUND);
    const std::string text = text_of(error);
    EXPECT(text.find(scheme) != std::string::npos);  // it lists what there is
    EXPECT(device == nullptr);
  }
}

HAL_CASE(DISC_005, "malformed URIs are invalid arguments") {
  for (const char* uri : {"", ":0", "host:", "a b:0", "host:0/", "host:0?", "host:zero", "host:-1", "host:\x01",
                          "host:99999999999999999999"}) {
    hal_device* device = nullptr;
    EXPECT_CODE(hal_device_open(t.instance(), uri, &device), HAL_INVALID_ARGUMENT);
    EXPECT(device == nullptr);
  }
}

HAL_CASE(DISC_006, "a second handle is the same device and outlives the first") {
  Owned<hal_device> first, second;
  EXPECT_OK(hal_device_open(t.instance(), t.uri().c_str(), first.out()));
  EXPECT_OK(hal_device_open(t.instance(), t.uri().c_str(), second.out()));
  EXPECT(first.get() == second.get() && first.get() == t.device());
  auto queue = t.queue_on(first);
  auto gate = t.timeline();
  auto buffer = t.filled(queue, 64, 1);
  const hal_point point = t.submit(queue, {fill(whole(buffer), 2)}, {{{gate, 1}}});
  first.reset();
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(point);
  second.reset();
  t.expect_all(t.read(queue, buffer), 0, 64, 2, "after both handles are gone");
}

HAL_CASE(DISC_008, "identity strings are there, valid and constant") {
  const hal_device_info info = hal_device_describe(t.device());
  const std::string before = line_of(info);
  for (const char* name : {info.uri, info.name, info.driver, info.vendor}) {
    EXPECT(name != nullptr && *name != '\0');
    EXPECT(text::valid_utf8(name));
  }
  EXPECT_EQ(std::string(info.reason), "");
  const bool says_so = std::string(info.name).find("emulated") != std::string::npos;
  EXPECT_EQ(says_so, info.is_emulated != 0);
  auto queue = t.queue();
  auto buffer = t.filled(queue, 4096, 7);
  EXPECT_EQ(line_of(hal_device_describe(t.device())), before);
}

HAL_CASE(DISC_009, "opening and closing leaves nothing behind") {
  t.give_up_device();
  auto instance = t.own_instance();
  const auto round = [&] {
    auto device = t.open_in(instance);
    auto queue = t.queue_on(device);
    Owned<hal_buffer> buffer;
    EXPECT_OK(hal_buffer_create(device, 256, buffer.out()));
    t.wait(t.submit(queue, {fill(whole(buffer), 9)}));
  };
  for (int i = 0; i < 3; ++i) { round(); }
  const std::size_t descriptors = entries("/proc/self/fd");
  const std::size_t threads = entries("/proc/self/task");
  for (int i = 0; i < 8; ++i) { round(); }
  // A joined thread may be listed a moment longer; what leaks stays for ever.
  const std::uint64_t end = now_ns() + t.deadline_ns();
  while ((entries("/proc/self/task") > threads || entries("/proc/self/fd") > descriptors) && now_ns() < end) {}
  EXPECT(entries("/proc/self/task") <= threads);
  EXPECT(entries("/proc/self/fd") <= descriptors);
}

HAL_CASE(DISC_010, "an index past the end is out of range") {
  const std::uint32_t count = hal_instance_device_count(t.instance());
  EXPECT(count > 0);
  for (const std::uint32_t i : {count, count + 1, UINT32_MAX}) {
    hal_device_info info{};
    info.memory_bytes = 12345;
    EXPECT_CODE(hal_instance_device(t.instance(), i, &info), HAL_OUT_OF_RANGE);
    EXPECT_EQ(info.memory_bytes, std::uint64_t{12345});
  }
}

HAL_CASE(DISC_011, "unknown parts and parameters are refused") {
  t.give_up_device();
  auto instance = t.own_instance();
  for (const std::string& uri : {with_param(t.uri(), "nosuchparameter=1"), with_part(t.uri(), "nosuchpart")}) {
    hal_device* device = nullptr;
    EXPECT_CODE(hal_device_open(instance, uri.c_str(), &device), HAL_INVALID_ARGUMENT, HAL_NOT_FOUND);
    EXPECT(device == nullptr);
  }
}

HAL_CASE(CAP_002, "capabilities are constant") {
  const std::string before = capabilities(t);
  auto queue = t.queue();
  EXPECT_EQ(capabilities(t), before);
  auto buffer = t.filled(queue, 4096, 1);
  EXPECT_EQ(capabilities(t), before);
  hal_release(t.try_submit(queue, {fill(slice(buffer, 0, 5000), 1)}));
  EXPECT_EQ(capabilities(t), before);
}

HAL_CASE(CAP_006, "absent features refuse cleanly") {
  for (const char* feature : kFeatures) {
    if (!t.supports(feature)) { probe_absent(t, feature); }
  }
  count_check();
}

HAL_CASE(CAP_007, "present features work") {
  for (const char* feature : kFeatures) {
    if (t.supports(feature)) { probe_present(t, feature); }
  }
  // A device that computes nothing at all would pass the loop above; every device here moves data.
  auto queue = t.queue();
  auto buffer = t.filled(queue, 16, 0x42);
  t.expect_all(t.read(queue, buffer), 0, 16, 0x42, "a fill");
}

HAL_CASE(CAP_013, "every answer has a reason") {
  for (const char* feature : kFeatures) { EXPECT(*hal_device_supports(t.device(), feature).why != '\0'); }
  for (const char* feature : {"", "no-such-feature", "kernel ", "KERNEL"}) {
    const hal_verdict verdict = hal_device_supports(t.device(), feature);
    EXPECT_EQ(verdict.support, HAL_NO);
    EXPECT(std::strstr(verdict.why, "unknown feature") != nullptr);
  }
}

}  // namespace hal::conformance
