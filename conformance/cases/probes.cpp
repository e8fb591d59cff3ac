// SPDX-License-Identifier: Apache-2.0
#include "conformance/cases/probes.hpp"

#include "conformance/cases/graphs.hpp"
#include "conformance/kernels/pack.hpp"

namespace hal::conformance {
namespace {

void image_refused(Case& t, const hal_image& image) {
  const hal_verdict verdict = hal_device_check(t.device(), &image);
  EXPECT_EQ(verdict.support, HAL_NO);
  EXPECT(*verdict.why != '\0');
  hal_program* const untouched = reinterpret_cast<hal_program*>(std::uintptr_t{0x5A5A});
  hal_program* program = untouched;
  EXPECT_CODE(hal_program_load(t.device(), &image, &program), HAL_UNSUPPORTED);
  EXPECT(program == untouched);
}

hal_image tiny_graph(std::vector<std::byte>& bytes) {
  bytes = identity_graph(4);
  return {"hal.graph", bytes.data(), bytes.size(), nullptr, nullptr, 0};
}

}  // namespace

void probe_absent(Case& t, const std::string& feature) {
  EXPECT(*hal_device_supports(t.device(), feature.c_str()).why != '\0');
  if (feature == "kernel") {
    for (const PackImage& image : kernel_pack()) { image_refused(t, image.image()); }
  } else if (feature == "graph") {
    std::vector<std::byte> bytes;
    image_refused(t, tiny_graph(bytes));
  } else if (feature == "graph.dynamic") {
    const std::vector<std::byte> bytes = dynamic_graph();
    image_refused(t, graph_image(bytes));
  } else if (feature == "timestamp") {
    auto queue = t.queue();
    auto place = t.filled(queue, 8, 0xA5);
    EXPECT_CODE(t.try_submit(queue, {timestamp(whole(place))}), HAL_UNSUPPORTED);
    t.expect_all(t.read(queue, place), 0, 8, 0xA5, "after a refused timestamp");
  } else if (feature == "fabric") {
    auto buffer = t.buffer(64);
    hal_remote remote{};
    EXPECT_CODE(hal_buffer_export(buffer, &remote), HAL_UNSUPPORTED);
    EXPECT_EQ(remote.key, std::uint64_t{0});
    const void* bytes = nullptr;
    std::uint64_t size = 77;
    EXPECT_CODE(hal_device_address(t.device(), &bytes, &size), HAL_UNSUPPORTED);
    EXPECT_EQ(size, std::uint64_t{77});
    hal_peer* peer = nullptr;
    EXPECT_CODE(hal_peer_connect(t.device(), "nobody", 6, 1, &peer), HAL_UNSUPPORTED);
    EXPECT(peer == nullptr);
  } else if (feature == "constants") {
    for (const PackImage& image : special_pack(Special::constants)) { image_refused(t, image.image()); }
  } else if (feature == "host-visible") {
    auto buffer = t.buffer(64);
    EXPECT(hal_buffer_describe(buffer).host == nullptr);
  } else if (feature == "virtual-memory") {
    hal_buffer* range = nullptr;
    EXPECT_CODE(hal_virtual_create(t.device(), 1U << 21U, &range), HAL_UNSUPPORTED);
    EXPECT(range == nullptr);
    hal_physical* memory = nullptr;
    EXPECT_CODE(hal_physical_create(t.device(), 1U << 21U, &memory), HAL_UNSUPPORTED);
    EXPECT(memory == nullptr);
  } else if (feature == "import.host") {
    Bytes mine(64, 0);
    hal_buffer* made = nullptr;
    EXPECT_CODE(hal_buffer_import_host(t.device(), mine.data(), 64, nullptr, nullptr, &made), HAL_UNSUPPORTED);
    EXPECT(made == nullptr);
  } else if (feature == "share.fd") {
    hal_physical* memory = nullptr;
    EXPECT_CODE(hal_physical_import_fd(t.device(), 0, 1U << 21U, &memory), HAL_UNSUPPORTED);
    EXPECT(memory == nullptr);
  }
}

void probe_present(Case& t, const std::string& feature) {
  if (feature == "kernel") {
    EXPECT(load_pack(t).get() != nullptr);
  } else if (feature == "graph") {
    std::vector<std::byte> bytes;
    const hal_image image = tiny_graph(bytes);
    EXPECT(hal_device_check(t.device(), &image).support != HAL_NO);
    Owned<hal_program> program;
    EXPECT_OK(hal_program_load(t.device(), &image, program.out()));
    EXPECT_EQ(hal_program_entry_count(program), 1U);
  } else if (feature == "graph.dynamic") {
    EXPECT_EQ(hal_program_signature(load_graph(t, dynamic_graph()), 0)->symbol_count, 1U);
  } else if (feature == "timestamp") {
    auto queue = t.queue();
    auto place = t.filled(queue, 8, 0);
    t.wait(t.submit(queue, {timestamp(whole(place))}));
    EXPECT(t.read_as<std::uint64_t>(queue, place)[0] != 0);
  } else if (feature == "fabric") {
    const void* bytes = nullptr;
    std::uint64_t size = 0;
    EXPECT_OK(hal_device_address(t.device(), &bytes, &size));
    EXPECT(bytes != nullptr && size > 0);
  } else if (feature == "constants") {
    const PackImage pack = special_for(t, Special::constants);
    const hal_image image = pack.image();
    Owned<hal_program> program;
    EXPECT_OK(hal_program_load(t.device(), &image, program.out()));
  } else if (feature == "host-visible") {
    auto queue = t.queue();
    auto buffer = t.filled(queue, 64, 0x3C);
    const auto* host = static_cast<const std::uint8_t*>(hal_buffer_describe(buffer).host);
    EXPECT(host != nullptr);
    t.expect_all(Bytes(host, host + 64), 0, 64, 0x3C, "seen from the host");
  } else if (feature == "virtual-memory") {
    std::uint64_t unit = 0;
    EXPECT_OK(hal_device_number(t.device(), "virtual.granularity", &unit));
    Owned<hal_buffer> range;
    EXPECT_OK(hal_virtual_create(t.device(), unit, range.out()));
  } else if (feature == "import.host") {
    Bytes mine(64, 0);
    Owned<hal_buffer> made;
    EXPECT_OK(hal_buffer_import_host(t.device(), mine.data(), 64, nullptr, nullptr, made.out()));
  } else if (feature == "share.fd") {
    std::uint64_t unit = 0;
    EXPECT_OK(hal_device_number(t.device(), "virtual.granularity", &unit));
    Owned<hal_physical> memory;
    EXPECT_OK(hal_physical_create(t.device(), unit, memory.out()));
  }
}

}  // namespace hal::conformance
