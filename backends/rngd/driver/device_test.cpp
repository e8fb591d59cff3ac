// SPDX-License-Identifier: Apache-2.0
// Handshake, identity, partitions, memory, reset; and the wire format against golden bytes.
#include <cstring>
#include <string>

#include "driver/fixture.hpp"
#include "rqi/entries.hpp"
#include "rqi/registers.hpp"

using namespace rngd;
using namespace rngd::testing;

TEST_CASE("entries lie in memory as RQI v1 says", "[rngd][rqi]") {
  rqi::SubmissionEntry entry{};
  entry.opcode = 0x20;
  entry.flags = rqi::kBarrier | rqi::kTimestamps;
  entry.command = 0x1234;
  entry.context = 3;
  entry.pe_mask = 0xF;
  entry.engine = 4;
  entry.timeout_us = 0x01020304;
  entry.wait_semaphore = 0xFFFF;
  entry.signal_semaphore = 7;
  entry.wait_value = 0;
  entry.signal_value = 0x1122334455667788;
  entry.body.copy = {0x1000, 0x2000, 0x40, 1, 0, 2, 0};
  constexpr unsigned char kGolden[64] = {0x20, 0x21, 0x34, 0x12, 0x03, 0x00, 0x0F, 0x04, 0x04, 0x03, 0x02, 0x01, 0xFF,
                                         0xFF, 0x07, 0x00, 0,    0,    0,    0,    0,    0,    0,    0,    0x88, 0x77,
                                         0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0x10, 0,    0,    0,    0,    0,
                                         0,    0x00, 0x20, 0,    0,    0,    0,    0,    0,    0x40, 0,    0,    0,
                                         0,    0,    0,    0,    1,    0,    2,    0,    0,    0,    0,    0};
  CHECK(std::memcmp(&entry, kGolden, sizeof kGolden) == 0);

  const std::uint16_t status = rqi::pack_status(rqi::Status::translation_write, rqi::Recovery::queue, true, true);
  CHECK(status == (1 | 0x03 << 1 | 3 << 9 | 1 << 12 | 1 << 14));
  CHECK(rqi::status_of(status) == rqi::Status::translation_write);
  CHECK(rqi::recovery_of(status) == rqi::Recovery::queue);
  CHECK(rqi::collateral_of(status));
  CHECK(rqi::phase_of(status));
}

TEST_CASE("a card comes up and says what it is", "[rngd][device]") {
  Card card;
  rngd_device_info info;
  rngd_device_get_info(card.device, &info);
  CHECK(std::string(info.model) == "RNGD (emulated)");
  CHECK(info.emulated == 1);
  CHECK(info.pe_count == 8);
  CHECK(info.hbm_bytes == 2ull << 30);
  CHECK(info.usable_bytes == (2ull << 30) - (512ull << 20));
  CHECK(rngd_device_time(card.device) >= 1'500'000'000);  // it has booted
  CHECK(rngd_device_occupied(card.device) == 0);
}

TEST_CASE("a driver of another firmware ABI, an unknown bus and a dead card are refused", "[rngd][device]") {
  rngd_emulated_card_options options{};
  options.hbm_bytes = 1ull << 30;
  options.stepped = 1;
  rngd_bus bus;
  REQUIRE(rngd_emulated_card_create(&options, &bus) == 0);
  // By hand: an ABI that the firmware lacks.
  const auto field = [](rqi::Handshake f) { return rqi::offset_of(f); };
  bus.write32(bus.context, rqi::kBarFirmware, field(rqi::Handshake::host_abi_min), 7);
  bus.write32(bus.context, rqi::kBarFirmware, field(rqi::Handshake::host_abi_max), 9);
  bus.write32(bus.context, rqi::kBarFirmware, field(rqi::Handshake::go), 1);
  CHECK(bus.read32(bus.context, rqi::kBarFirmware, field(rqi::Handshake::stage)) ==
        static_cast<std::uint32_t>(rqi::Stage::failed));
  CHECK(bus.read32(bus.context, rqi::kBarFirmware, field(rqi::Handshake::failure)) ==
        static_cast<std::uint32_t>(rqi::HandshakeFailure::no_common_abi));
  // Enabling without a handshake, or with a ring that is not mapped, is fatal, not a crash.
  bus.write32(bus.context, rqi::kBarRegisters, rqi::offset_of(rqi::Reg::configuration),
              rqi::kEnable | rqi::kEntrySizes);
  CHECK((bus.read32(bus.context, rqi::kBarRegisters, rqi::offset_of(rqi::Reg::status)) & rqi::kStatusFatal) != 0);

  rngd_device* device = nullptr;
  rngd_error error{};
  rngd_bus wrong = bus;
  wrong.version = 99;
  wrong.release = [](void*) {};
  CHECK(rngd_device_open(&wrong, &device, &error) == RNGD_INCOMPATIBLE);
  rngd_bus dead = bus;
  dead.read32 = [](void*, uint32_t, uint64_t) { return ~0u; };
  dead.release = [](void*) {};
  CHECK(rngd_device_open(&dead, &device, &error) == RNGD_DEVICE_LOST);
  CHECK(std::string(error.text).find("ones") != std::string::npos);
  // The driver itself finds the card in any state and brings it up.
  REQUIRE(rngd_device_open(&bus, &device, &error) == RNGD_OK);
  rngd_device_close(device);
  options.hbm_bytes = 4096;
  CHECK(rngd_emulated_card_create(&options, &bus) != 0);
}

TEST_CASE("partitions are exclusive, aligned, and of 1, 2 or 4 PEs", "[rngd][partition]") {
  Card card;
  rngd_error error{};
  rngd_partition *quad = nullptr, *pair = nullptr, *other = nullptr;
  REQUIRE(rngd_partition_create(card.device, 0, 4, &quad, &error) == RNGD_OK);
  for (const auto& [first, pes] : {std::pair{0u, 1u}, {3u, 1u}, {2u, 2u}, {0u, 4u}}) {
    CHECK(rngd_partition_create(card.device, first, pes, &other, &error) == RNGD_BUSY);
    CHECK(std::string(error.text).find("0x0f") != std::string::npos);
  }
  for (const auto& [first, pes] :
       {std::pair{1u, 2u}, {2u, 4u}, {8u, 1u}, {0u, 8u}, {0u, 3u}, {0u, 0u}, {0xFFFFFFFCu, 4u}}) {
    CHECK(rngd_partition_create(card.device, first, pes, &other, &error) == RNGD_INVALID_ARGUMENT);
  }
  REQUIRE(rngd_partition_create(card.device, 6, 2, &pair, &error) == RNGD_OK);
  CHECK(rngd_device_occupied(card.device) == 0xCF);
  rngd_partition_info info;
  rngd_partition_get_info(quad, &info);
  CHECK(info.memory_bytes == 768ull << 20);  // half of the usable bytes
  CHECK(rngd_partition_destroy(quad, &error) == RNGD_OK);
  REQUIRE(rngd_partition_create(card.device, 2, 2, &other, &error) == RNGD_OK);
  CHECK(rngd_partition_destroy(other, &error) == RNGD_OK);
  rngd_queue* queue = nullptr;
  REQUIRE(rngd_queue_create(pair, nullptr, &queue, &error) == RNGD_OK);
  CHECK(rngd_partition_destroy(pair, &error) == RNGD_BUSY);
  rngd_queue_destroy(queue);
  CHECK(rngd_partition_destroy(pair, &error) == RNGD_OK);
  CHECK(rngd_device_occupied(card.device) == 0);
}

TEST_CASE("HBM: exhaustion says what is left, freed blocks merge, new bytes are poison", "[rngd][memory]") {
  Card card;
  Lane lane(card, 0, 1);
  rngd_partition_info info;
  rngd_partition_get_info(lane.partition, &info);
  rngd_address all{}, none{};
  rngd_error error{};
  REQUIRE(rngd_memory_alloc(lane.partition, info.memory_bytes, &all, &error) == RNGD_OK);
  CHECK(rngd_memory_alloc(lane.partition, 1, &none, &error) == RNGD_OUT_OF_MEMORY);
  CHECK(std::string(error.text) == "1 bytes asked, 0 free in the partition, 0 in one piece");
  CHECK(rngd_memory_alloc(lane.partition, 0, &none, &error) == RNGD_INVALID_ARGUMENT);
  REQUIRE(rngd_memory_free(lane.partition, all, &error) == RNGD_OK);
  CHECK(rngd_memory_free(lane.partition, all, &error) == RNGD_INVALID_ARGUMENT);

  const rngd_address a = lane.hbm(5000), b = lane.hbm(10), c = lane.hbm(10);
  CHECK(lane.download<std::uint32_t>(b, 2) == std::vector<std::uint32_t>{0xFFBAFFAD, 0xFFBAFFAD});
  lane.finish(Lane::fill(b, 8, 7, 4));
  CHECK(lane.download<std::uint32_t>(b, 2) == std::vector<std::uint32_t>{7, 7});
  REQUIRE(rngd_memory_free(lane.partition, b, &error) == RNGD_OK);
  const rngd_address again = lane.hbm(10);
  CHECK(again.value == b.value);
  CHECK(lane.download<std::uint32_t>(again, 1) == std::vector<std::uint32_t>{0xFFBAFFAD});  // not the old 7
  for (const rngd_address address : {a, again, c}) {
    CHECK(rngd_memory_free(lane.partition, address, &error) == RNGD_OK);
  }
  rngd_partition_get_info(lane.partition, &info);
  CHECK(info.memory_used == 0);
  CHECK(info.memory_largest_free == info.memory_bytes);
}

TEST_CASE("HBM through the aperture", "[rngd][memory]") {
  Card card;
  Lane lane(card, 0, 1);
  const rngd_address a = lane.hbm(4096);
  void* mapped = nullptr;
  REQUIRE(rngd_memory_map(lane.partition, a, 4096, &mapped, nullptr) == RNGD_OK);
  std::memset(mapped, 0x5A, 4096);
  CHECK(lane.download<unsigned char>(a, 2) == std::vector<unsigned char>{0x5A, 0x5A});
  CHECK(rngd_memory_map(lane.partition, a, 8192, &mapped, nullptr) == RNGD_INVALID_ARGUMENT);
  rngd_memory_unmap(lane.partition, a, 4096);
  rngd_memory_free(lane.partition, a, nullptr);
}

TEST_CASE("after a reset everything answers DEVICE_LOST and can be destroyed; the card opens again", "[rngd][device]") {
  Card card;
  {
    Lane lane(card, 0, 2);
    const rngd_address a = lane.hbm(64);
    REQUIRE(rngd_device_reset(card.device, nullptr) == RNGD_OK);
    rngd_command barrier{};
    CHECK(rngd_queue_submit(lane.queue, &barrier, 1, nullptr, nullptr) == RNGD_DEVICE_LOST);
    CHECK(rngd_queue_wait(lane.queue, 1, kForever) == RNGD_DEVICE_LOST);
    rngd_address other{};
    CHECK(rngd_memory_alloc(lane.partition, 64, &other, nullptr) == RNGD_DEVICE_LOST);
    CHECK(rngd_memory_free(lane.partition, a, nullptr) == RNGD_OK);
  }
  CHECK(rngd_device_reset(card.device, nullptr) == RNGD_DEVICE_LOST);
}

TEST_CASE("status names and texts", "[rngd][status]") {
  CHECK(std::string(rngd_status_name(RNGD_BUSY)) == "RNGD_BUSY");
  for (int status = RNGD_OK; status <= RNGD_INTERNAL; ++status) {
    CHECK(std::string(rngd_status_name(static_cast<rngd_status>(status))) != "RNGD_UNKNOWN");
    CHECK(std::string(rngd_status_text(static_cast<rngd_status>(status))) != "unknown status");
  }
  CHECK(std::string(rngd_device_status_text(0x302)) == "translation fault on read");
  CHECK(std::string(rngd_device_status_text(0xFFFF)) == "unknown device status");
  CHECK(rngd_version() == RNGD_VERSION);
}
