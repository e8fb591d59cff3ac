// SPDX-License-Identifier: Apache-2.0
// Cards, and their partitions as devices: rngd:0/pe0, /pe0-1, /pe0-3; rngd:0 alone is its first four PEs, the largest
// partition there is.
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "backend.hpp"
#include "driver_kit/errors.hpp"
#include "driver_kit/params.hpp"
#include "emulator/emulated_card.h"

namespace hal::rngd_backend {

namespace {

constexpr const char* kName = "RNGD (emulated)";
constexpr std::uint64_t kCardMemory = (48ULL << 30U) - (512ULL << 20U);  // usable, as the emulated card declares it

struct Part {
  std::uint32_t first, count;
};

// "pe0", "pe2-3", "pe4-7", or nothing.
std::optional<Part> parse_part(std::string_view text) {
  if (text.empty()) { return Part{0, 4}; }
  const auto digit = [&](std::size_t at) -> std::optional<std::uint32_t> {
    if (at >= text.size() || text[at] < '0' || text[at] > '7') { return std::nullopt; }
    return static_cast<std::uint32_t>(text[at] - '0');
  };
  if (!text.starts_with("pe")) { return std::nullopt; }
  const auto first = digit(2);
  if (!first) { return std::nullopt; }
  if (text.size() == 3) { return Part{*first, 1}; }
  const auto last = digit(4);
  if (text.size() != 5 || text[3] != '-' || !last || *last <= *first) { return std::nullopt; }
  const Part part{*first, *last - *first + 1};
  const bool whole = (part.count == 2 || part.count == 4) && part.first % part.count == 0;
  return whole ? std::optional(part) : std::nullopt;
}

hal_device_info info_of(const Device& device, std::uint64_t bytes) {
  hal_device_info info{};
  info.uri = device.uri.c_str();
  info.name = device.name.c_str();
  info.driver = kOrigin;
  info.vendor = "Halyard (emulating FuriosaAI RNGD)";
  info.reason = "";
  info.memory_bytes = bytes;
  info.is_emulated = 1;
  info.usable = 1;
  return info;
}

// Opens the card for its first user. The driver's mutex is held.
Result<rngd_device*> use_card(Driver& driver, std::uint32_t index) {
  Card& card = driver.cards[index];
  if (card.device == nullptr) {
    rngd_emulated_card_options options{};
    options.index = index;
    rngd_bus bus;
    if (const int code = rngd_emulated_card_create(&options, &bus); code != 0) {
      return kit::error(kOrigin, HAL_OUT_OF_HOST_MEMORY,
                        fmt::format("emulated card {} cannot be made: {} (48 GiB of address space are needed, no "
                                    "memory to speak of; is 'ulimit -v' set?)",
                                    index, std::strerror(-code)));
    }
    rngd_error error{};
    if (rngd_device_open(&bus, &card.device, &error) != RNGD_OK) {
      return Error::adopt(make_error(error, fmt::format("card {}: {}", index, error.text)));
    }
  }
  ++card.users;
  return card.device;
}

void leave_card(Driver& driver, std::uint32_t index) {
  Card& card = driver.cards[index];
  if (--card.users != 0) { return; }
  rngd_device_close(card.device);
  card.device = nullptr;
}

}  // namespace

std::uint32_t device_count(hal_driver* self) {
  return static_cast<std::uint32_t>(static_cast<Driver*>(self)->cards.size());
}

void device_describe(hal_driver*, std::uint32_t, hal_device_info* out) {
  *out = {};  // no uri: the core makes "rngd:<i>"
  out->name = kName;
  out->vendor = "Halyard (emulating FuriosaAI RNGD)";
  out->reason = "";
  out->memory_bytes = kCardMemory;
  out->is_emulated = 1;
  out->usable = 1;
}

hal_error* device_open(hal_driver* self, const hal_device_request* request, hal_device_traits* out) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    auto& driver = *static_cast<Driver*>(self);
    if (request->index >= driver.cards.size()) {
      return kit::error(kOrigin, HAL_NOT_FOUND,
                        fmt::format("there is no card {}; there are {} (HALYARD_RNGD_CARDS sets how many)",
                                    request->index, driver.cards.size()));
    }
    const std::optional<Part> part = parse_part(request->part);
    if (!part) {
      return kit::error(kOrigin, HAL_INVALID_ARGUMENT,
                        fmt::format("'{}' is no part of an RNGD card; parts are pe0 to pe7, pe0-1, pe2-3, pe4-5, "
                                    "pe6-7, pe0-3 and pe4-7",
                                    request->part));
    }
    HAL_TRY(kit::Params params, kit::Params::parse(kOrigin, request->params));
    HAL_TRY(const std::size_t f32, params.choice("f32", {"exact", "bf16"}));
    HAL_CHECK(params.done());

    auto device = std::make_unique<Device>();
    device->driver = &driver;
    device->card = request->index;
    device->first_pe = part->first;
    device->pe_count = part->count;
    device->round_f32 = f32 == 1;
    device->uri = fmt::format("rngd:{}{}{}", request->index, *request->part != 0 ? "/" : "", request->part);
    device->name = fmt::format("{}, {} PE{}", kName, part->count, part->count == 1 ? "" : "s");
    device->key = fmt::format("compiled for {} PEs, f32 contractions {}", device->pe_count,
                              device->round_f32 ? "in bf16" : "exact");
    const std::lock_guard lock(driver.mutex);
    HAL_TRY(device->device, use_card(driver, request->index));
    rngd_error error{};
    if (rngd_partition_create(device->device, part->first, part->count, &device->partition, &error) != RNGD_OK) {
      leave_card(driver, request->index);
      return Error::adopt(
          make_error(error, fmt::format("{}: {}; close the device that holds them", device->uri, error.text)));
    }
    rngd_partition_info info;
    rngd_partition_get_info(device->partition, &info);
    *out = {};
    out->ops = 1U << HAL_OP_BARRIER | 1U << HAL_OP_FILL | 1U << HAL_OP_COPY | 1U << HAL_OP_RUN | 1U << HAL_OP_PREPARE |
               1U << HAL_OP_TIMESTAMP;
    out->memory_bytes = info.memory_bytes;
    out->info = info_of(*device, info.memory_bytes);
    out->impl = device.release();
    return {};
  });
}

void device_close(hal_driver*, void* device) {
  const std::unique_ptr<Device> self(static_cast<Device*>(device));
  const std::lock_guard lock(self->driver->mutex);
  rngd_partition_destroy(self->partition, nullptr);
  leave_card(*self->driver, self->card);
}

hal_verdict supports(hal_driver*, void*, const char* feature) {
  struct Answer {
    const char* feature;
    hal_support support;
    const char* why;
  };
  static constexpr Answer kAnswers[] = {
      {"kernel", HAL_NO,
       "RNGD is a graph device: no kernel language or kernel format of it is public; run a tensor graph"},
      {"graph", HAL_YES, "tensor graphs are compiled to the emulated card's own programs"},
      {"graph.dynamic", HAL_YES, "compiled for each set of sizes when a run first brings it"},
      {"constants", HAL_NO, "they belong to kernels, and there are none here"},
      {"virtual-memory", HAL_NO, "the user-mode driver has no such call yet"},
      {"share.fd", HAL_NO, "it needs virtual memory"},
      {"import.host", HAL_NO, "the card reaches host memory by DMA windows only"},
      {"fabric", HAL_NO, "a compute card; circuits and peers belong to the photonic port"},
      {"timestamp", HAL_EMULATED, "the emulated card's virtual clock, in ns since its power-on"},
      {"host-visible", HAL_NO, "HBM is reached by the card's DMA; the driver does not offer its aperture as memory"},
      {"partition", HAL_YES, "open rngd:<card>/pe<first>-<last> with 1, 2 or 4 aligned PEs; partitions are exclusive"},
      {"dtype.f32", HAL_YES, "vector engine; exact contractions unless opened with ?f32=bf16"},
      {"dtype.bf16", HAL_YES, "tensor unit, accumulating in f32"},
      {"dtype.i32", HAL_YES, "vector engine, wrapping"},
      {"dtype.u8", HAL_YES, "masks and conversions"},
      {"dtype.bool", HAL_YES, "masks and conversions"},
      {"dtype.f64", HAL_NO, "RNGD has no f64 arithmetic"},
      {"dtype.f16", HAL_NO, "RNGD has no f16 arithmetic; use bf16"},
      {"image.hal.graph", HAL_YES, "compiled when it is loaded"},
      {"image.rngd.image", HAL_YES, "the emulated card's own program container; needs a manifest"},
  };
  for (const Answer& answer : kAnswers) {
    if (std::strcmp(feature, answer.feature) == 0) { return {answer.support, answer.why}; }
  }
  if (std::strncmp(feature, "dtype.", 6) == 0) { return kit::no("not among f32, bf16, i32, u8 and bool"); }
  if (std::strncmp(feature, "image.", 6) == 0) { return kit::no("this device loads hal.graph and rngd.image"); }
  return kit::unknown_feature();
}

std::uint32_t number(hal_driver*, void* device, const char* name, std::uint64_t* out) {
  const auto& self = *static_cast<const Device*>(device);
  rngd_device_info info;
  rngd_device_get_info(self.device, &info);
  const std::pair<const char*, std::uint64_t> numbers[] = {
      {"memory.alignment", 4096},
      {"queue.limit", kQueueDepth - 1},
      {"pe.count", self.pe_count},
      {"partition.units", self.pe_count},
      {"sram.bytes", info.sram_bytes_per_pe * self.pe_count},
      {"clock.hz", info.clock_hz},
      {"device.ns", rngd_device_time(self.device)},
      {"program.lazy_loads", self.lazy_loads.load(std::memory_order_relaxed)},
  };
  for (const auto& [known, value] : numbers) {
    if (std::strcmp(name, known) == 0) {
      *out = value;
      return 1;
    }
  }
  return 0;
}

hal_error* report(hal_driver*, void* device, char** out) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    const auto& self = *static_cast<const Device*>(device);
    rngd_statistics card;
    rngd_device_get_statistics(self.device, &card);
    rngd_partition_info memory;
    rngd_partition_get_info(self.partition, &memory);
    const std::string text =
        fmt::format(R"({{"device": "{}", "emulated": true, "pes": {}, "memory_bytes": {}, "memory_used": {}, )"
                    R"("card": {{"modelled_ns": {}, "busy_pe_ns": {}, "programs": {}, "multiply_accumulates": {}, )"
                    R"("bytes_read": {}, "bytes_written": {}, "dma_commands": {}, "estimated_joules": {:.9f}}}}})",
                    self.uri, self.pe_count, memory.memory_bytes, memory.memory_used, card.device_ns, card.busy_pe_ns,
                    card.programs_run, card.multiply_accumulates, card.bytes_read, card.bytes_written,
                    card.dma_commands, card.energy_joules);
    *out = strdup(text.c_str());
    if (*out == nullptr) { return kit::error(kOrigin, HAL_OUT_OF_HOST_MEMORY, "no memory for the report"); }
    return {};
  });
}

}  // namespace hal::rngd_backend
