// SPDX-License-Identifier: Apache-2.0
// Opening a card: bus, firmware handshake, admin queue, identity; and what concerns the whole card.
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <thread>

#include "driver/internal.hpp"

using namespace rngd;
using namespace rngd::driver;
using rqi::Reg;

namespace {

constexpr std::uint32_t kAdminDepth = 32;
constexpr auto kAnswerLimit = std::chrono::seconds(20);  // admin commands wait behind a running program

std::uint32_t read32(const rngd_bus& bus, Reg reg) {
  return bus.read32(bus.context, rqi::kBarRegisters, rqi::offset_of(reg));
}
std::uint64_t read64(const rngd_bus& bus, Reg reg) {
  return bus.read64(bus.context, rqi::kBarRegisters, rqi::offset_of(reg));
}
void write32(const rngd_bus& bus, Reg reg, std::uint32_t value) {
  bus.write32(bus.context, rqi::kBarRegisters, rqi::offset_of(reg), value);
}
void write64(const rngd_bus& bus, Reg reg, std::uint64_t value) {
  bus.write64(bus.context, rqi::kBarRegisters, rqi::offset_of(reg), value);
}
std::uint32_t read32(const rngd_bus& bus, rqi::Handshake field) {
  return bus.read32(bus.context, rqi::kBarFirmware, rqi::offset_of(field));
}
void write32(const rngd_bus& bus, rqi::Handshake field, std::uint32_t value) {
  bus.write32(bus.context, rqi::kBarFirmware, rqi::offset_of(field), value);
}

void on_event(void* user, std::uint32_t) {
  auto* device = static_cast<rngd_device*>(user);
  const std::scoped_lock lock(device->event_mutex);
  ++device->event_count;
  device->event_signal.notify_all();
}

// Polls a register until `done`; false after the limit. An all-ones answer is a card that is gone.
template <class F>
bool poll(F done, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) { return false; }
    std::this_thread::yield();
  }
  return true;
}

}  // namespace

void rngd_device::wait_event(std::uint64_t seen) {
  std::unique_lock lock(event_mutex);
  event_signal.wait_for(lock, std::chrono::milliseconds(2), [&] { return event_count != seen; });
}

rngd_status rngd_device::handshake(rngd_error* error) {
  if (bus.version != RNGD_BUS_VERSION || bus.struct_size < sizeof bus) {
    return fail(error, RNGD_INCOMPATIBLE, "bus version %u of %u bytes, this driver needs version %u of %zu",
                bus.version, bus.struct_size, RNGD_BUS_VERSION, sizeof bus);
  }
  const std::uint32_t version = read32(bus, Reg::version);
  if (version == ~0u) {
    return fail(error, RNGD_DEVICE_LOST, "the card does not answer: every register reads as ones");
  }
  if (version >> 16 != rqi::kVersion >> 16) {
    return fail(error, RNGD_INCOMPATIBLE, "queue interface version %u.%u, this driver speaks %u.x", version >> 16,
                version & 0xFFFF, rqi::kVersion >> 16);
  }
  const auto limit = std::chrono::milliseconds(
      500 * (read64(bus, Reg::capabilities) >> static_cast<unsigned>(rqi::Capability::ready_timeout) & 0xFF));
  const auto stage = [&] { return static_cast<rqi::Stage>(read32(bus, rqi::Handshake::stage)); };
  if (stage() != rqi::Stage::rom) {  // someone has left it running
    write32(bus, Reg::reset_key, rqi::kResetKey);
    if (!poll([&] { return stage() == rqi::Stage::rom; }, limit)) {
      return fail(error, RNGD_DEVICE_LOST, "the card does not come out of reset");
    }
  }
  write32(bus, rqi::Handshake::host_abi_min, rqi::kFirmwareAbi);
  write32(bus, rqi::Handshake::host_abi_max, rqi::kFirmwareAbi);
  write32(bus, rqi::Handshake::go, 1);
  if (!poll([&] { return stage() == rqi::Stage::ready || stage() == rqi::Stage::failed; }, limit)) {
    return fail(error, RNGD_DEVICE_LOST, "the firmware stays in boot stage %u", static_cast<unsigned>(stage()));
  }
  if (stage() == rqi::Stage::failed) {
    return fail(error, RNGD_INCOMPATIBLE,
                "the firmware refuses to start: failure %u (it offers ABI %u, this driver speaks %u)",
                read32(bus, rqi::Handshake::failure), read32(bus, rqi::Handshake::device_abi), rqi::kFirmwareAbi);
  }
  if (Pinned::make(bus, kAdminDepth * sizeof(rqi::SubmissionEntry), admin_sq, error) != RNGD_OK ||
      Pinned::make(bus, kAdminDepth * sizeof(rqi::CompletionEntry), admin_cq, error) != RNGD_OK ||
      Pinned::make(bus, 4096, admin_page, error) != RNGD_OK) {
    return error != nullptr ? error->status : RNGD_OUT_OF_HOST_MEMORY;
  }
  write32(bus, Reg::admin_depths, (kAdminDepth - 1) | (kAdminDepth - 1) << 16);
  write64(bus, Reg::admin_sq, admin_sq.iova());
  write64(bus, Reg::admin_cq, admin_cq.iova());
  write32(bus, Reg::configuration, rqi::kEnable | rqi::kEntrySizes);
  const auto status = [&] { return read32(bus, Reg::status); };
  if (!poll([&] { return (status() & (rqi::kStatusReady | rqi::kStatusFatal)) != 0; }, limit) ||
      (status() & rqi::kStatusFatal) != 0) {
    return fail(error, RNGD_DEVICE_LOST, "the card does not become ready (status 0x%x)", status());
  }
  if (const int code = bus.set_interrupt(bus.context, 0, on_event, this); code != 0) {
    return fail(error, code == -ENOMEM ? RNGD_OUT_OF_HOST_MEMORY : RNGD_OUT_OF_RESOURCES,
                "the bus takes no interrupt handler: out of memory or of vectors (error %d)", -code);
  }

  const std::scoped_lock lock(admin_mutex);
  rqi::SubmissionEntry entry{};
  entry.opcode = static_cast<std::uint8_t>(rqi::AdminOpcode::identify);
  entry.body.identify = {admin_page.iova(), 4096, 0, {}};
  if (const rngd_status result = admin_locked(entry, nullptr, error, "IDENTIFY"); result != RNGD_OK) { return result; }
  rqi::IdentifyPage page;
  std::memcpy(&page, admin_page.data(), sizeof page);
  std::memcpy(info.model, page.model, sizeof info.model - 1);
  std::memcpy(info.serial, page.serial, sizeof info.serial - 1);
  std::memcpy(info.firmware, page.firmware, sizeof info.firmware - 1);
  std::memcpy(info.pert, page.pert, sizeof info.pert - 1);
  info.emulated = page.emulated;
  info.pe_count = page.pe_count;
  info.pes_per_cluster = page.pes_per_cluster;
  info.rqi_version = page.rqi_version;
  info.hbm_bytes = page.hbm_bytes;
  info.usable_bytes = page.usable_bytes;
  info.sram_bytes_per_pe = page.sram_bytes_per_pe;
  info.clock_hz = page.clock_hz;
  return RNGD_OK;
}

rngd_status rngd_device::admin(rqi::SubmissionEntry& entry, std::uint32_t* result, rngd_error* error,
                               const char* what) {
  const std::scoped_lock lock(admin_mutex);
  return admin_locked(entry, result, error, what);
}

rngd_status rngd_device::admin_locked(rqi::SubmissionEntry& entry, std::uint32_t* result, rngd_error* error,
                                      const char* what) {
  if (lost.load()) { return fail(error, RNGD_DEVICE_LOST, "%s: the device was reset", what); }
  entry.command = ++admin_command;
  entry.wait_semaphore = entry.signal_semaphore = rqi::kNoSemaphore;
  std::memcpy(admin_sq.data() + admin_tail * sizeof entry, &entry, sizeof entry);
  admin_tail = (admin_tail + 1) % kAdminDepth;
  bus.write32(bus.context, rqi::kBarRegisters, rqi::sq_doorbell(0, 0), admin_tail);
  auto* slot = reinterpret_cast<rqi::CompletionEntry*>(admin_cq.data()) + admin_head;
  const auto end = std::chrono::steady_clock::now() + kAnswerLimit;
  const auto answered = [&] {
    return rqi::phase_of(std::atomic_ref<std::uint16_t>(slot->status).load(std::memory_order_acquire)) == admin_phase;
  };
  while (!answered()) {
    std::uint64_t seen = 0;
    {
      const std::scoped_lock lock(event_mutex);
      seen = event_count;
    }
    if ((bus.pump != nullptr && bus.pump(bus.context, 1) != 0) || answered()) { continue; }
    if (std::chrono::steady_clock::now() > end) {
      lost.store(true);
      return fail(error, RNGD_DEVICE_LOST, "%s: no answer from the firmware", what);
    }
    wait_event(seen);
  }
  rqi::CompletionEntry completion;
  std::memcpy(&completion, slot, sizeof completion);
  admin_head = (admin_head + 1) % kAdminDepth;
  if (admin_head == 0) { admin_phase = !admin_phase; }
  bus.write32(bus.context, rqi::kBarRegisters, rqi::cq_doorbell(0, 0), admin_head);
  if (result != nullptr) { *result = completion.result; }
  const rqi::Status status = rqi::status_of(completion.status);
  if (status == rqi::Status::success) { return RNGD_OK; }
  fail(error, status_of(status), "%s: %s", what, rngd_device_status_text(static_cast<std::uint16_t>(status)));
  if (error != nullptr) { error->device_status = static_cast<std::uint16_t>(status); }
  return status_of(status);
}

rngd_status rngd_device_open(const rngd_bus* bus, rngd_device** out, rngd_error* error) {
  auto* device = new (std::nothrow) rngd_device;
  if (device == nullptr) {
    bus->release(bus->context);
    return fail(error, RNGD_OUT_OF_HOST_MEMORY, "no memory for the device object");
  }
  device->bus = *bus;
  rngd_error why{};
  if (const rngd_status status = device->handshake(&why); status != RNGD_OK) {
    rngd_device_close(device);
    if (error != nullptr) { *error = why; }
    return status;
  }
  *out = device;
  return RNGD_OK;
}

void rngd_device_close(rngd_device* device) {
  const rngd_bus bus = device->bus;
  bus.set_interrupt(bus.context, 0, nullptr, nullptr);
  write32(bus, Reg::configuration, 0);
  delete device;
  bus.release(bus.context);
}

void rngd_device_get_info(rngd_device* device, rngd_device_info* out) { *out = device->info; }
uint64_t rngd_device_time(rngd_device* device) { return read64(device->bus, Reg::device_time_ns); }
uint32_t rngd_device_occupied(rngd_device* device) { return read32(device->bus, Reg::pe_occupied); }

void rngd_device_get_statistics(rngd_device* device, rngd_statistics* out) {
  *out = {};
  const rngd_bus& bus = device->bus;
  std::uint64_t busy_nj = 0;
  for (std::uint32_t pe = 0; pe < device->info.pe_count; ++pe) {
    const auto counter = [&](std::size_t offset) {
      return bus.read64(bus.context, rqi::kBarRegisters, rqi::kPeCounters + pe * sizeof(rqi::PeCounters) + offset);
    };
    out->busy_pe_ns += counter(offsetof(rqi::PeCounters, busy_ns));
    out->programs_run += counter(offsetof(rqi::PeCounters, executions));
    out->multiply_accumulates += counter(offsetof(rqi::PeCounters, multiply_accumulates));
    out->bytes_read += counter(offsetof(rqi::PeCounters, bytes_read));
    out->bytes_written += counter(offsetof(rqi::PeCounters, bytes_written));
    out->dma_commands += counter(offsetof(rqi::PeCounters, dma_commands));
    busy_nj += counter(offsetof(rqi::PeCounters, energy_nj));
  }
  out->device_ns = rngd_device_time(device);
  const double idle_watts = static_cast<double>(read32(bus, Reg::idle_milliwatts)) / 1e3;
  out->energy_joules = static_cast<double>(busy_nj) * 1e-9 + idle_watts * static_cast<double>(out->device_ns) * 1e-9;
}

namespace {

rngd_fault fault_of(const rqi::FaultRecord& record) {
  return {record.time_ns,
          record.address,
          {record.aux[0], record.aux[1]},
          static_cast<std::uint16_t>(record.type << 8 | record.code),
          record.context,
          record.sq,
          record.command,
          record.recovery,
          record.pe,
          record.cluster,
          record.unit,
          record.program,
          record.op};
}

}  // namespace

rngd_fault rngd_device::fault_record(std::uint32_t index) const {
  std::uint64_t words[sizeof(rqi::FaultRecord) / 8];
  for (std::size_t i = 0; i < std::size(words); ++i) {
    words[i] = bus.read64(bus.context, rqi::kBarFirmware,
                          rqi::kFaultLog + index % rqi::kFaultRecords * sizeof(rqi::FaultRecord) + i * 8);
  }
  rqi::FaultRecord record;
  std::memcpy(&record, words, sizeof record);
  return fault_of(record);
}

uint32_t rngd_device_read_faults(rngd_device* device, uint32_t first, rngd_fault* out, uint32_t capacity) {
  const std::scoped_lock lock(device->admin_mutex);
  std::uint32_t copied = 0;
  while (copied < capacity) {
    const std::uint32_t room = std::min<std::uint32_t>(capacity - copied, 4096 / sizeof(rqi::FaultRecord));
    rqi::SubmissionEntry entry{};
    entry.opcode = static_cast<std::uint8_t>(rqi::AdminOpcode::get_log);
    entry.body.log = {device->admin_page.iova(),
                      room * static_cast<std::uint32_t>(sizeof(rqi::FaultRecord)),
                      1,
                      first + copied,
                      0,
                      0};
    std::uint32_t got = 0;
    if (device->admin_locked(entry, &got, nullptr, "GET_LOG") != RNGD_OK || got == 0) { break; }
    for (std::uint32_t i = 0; i < got; ++i) {
      rqi::FaultRecord record;
      std::memcpy(&record, device->admin_page.data() + i * sizeof record, sizeof record);
      out[copied + i] = fault_of(record);
    }
    copied += got;
  }
  return copied;
}

rngd_status rngd_device_reset(rngd_device* device, rngd_error* error) {
  const std::scoped_lock lock(device->admin_mutex);
  if (device->lost.exchange(true)) { return fail(error, RNGD_DEVICE_LOST, "the device was reset before"); }
  write32(device->bus, Reg::reset_key, rqi::kResetKey);
  return RNGD_OK;
}

rngd_status rngd_device_inject(rngd_device* device, rngd_inject_effect effect, uint16_t opcode, uint32_t skip,
                               uint32_t count, uint16_t device_status, rngd_error* error) {
  const std::scoped_lock lock(device->admin_mutex);
  rqi::InjectRecord record{};
  record.effect = static_cast<std::uint32_t>(effect);
  record.skip = skip;
  record.count = count;
  record.opcode = opcode;
  record.context = record.sq = 0xFFFF;
  record.status = device_status;
  std::memcpy(device->admin_page.data(), &record, sizeof record);
  rqi::SubmissionEntry entry{};
  entry.opcode = static_cast<std::uint8_t>(rqi::AdminOpcode::inject);
  entry.body.raw[0] = device->admin_page.iova();
  return device->admin_locked(entry, nullptr, error, "INJECT");
}
