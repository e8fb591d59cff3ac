// SPDX-License-Identifier: Apache-2.0
// RQI v1, "Renegade Queue Interface": register map. This interface is Halyard's own invention (grade D throughout).
// RNGD's real command interface is not public; nothing here describes it. Low offsets follow NVMe's conventions so that
// existing knowledge applies.
#pragma once
#include <cstdint>

namespace rngd::rqi {

inline constexpr std::uint32_t kVersion = 0x0001'0000;  // major.minor in the high and low half
inline constexpr std::uint32_t kFirmwareAbi = 1;

// PCI identity of the emulated card. Deliberately not Furiosa's (0x1ed2): a vendor driver must never bind to it.
inline constexpr std::uint32_t kEmulatedVendor = 0xFFFE;  // assigned to nobody
inline constexpr std::uint32_t kEmulatedDevice = 0x10F7;

inline constexpr std::uint32_t kBarRegisters = 0, kBarFirmware = 2, kBarHbm = 4;
inline constexpr std::uint64_t kBar0Bytes = 128 << 10, kBar2Bytes = 1 << 20;

inline constexpr std::uint32_t kContexts = 16;          // context 0 is the admin's; 1..15 belong to partitions
inline constexpr std::uint32_t kQueuesPerContext = 64;  // submission queues with a doorbell in one page
inline constexpr std::uint32_t kPes = 8, kPesPerCluster = 4;
inline constexpr std::uint32_t kSemaphoresPerContext = 4096;
inline constexpr std::uint32_t kMinDepth = 2, kMaxDepth = 4096;
inline constexpr std::uint32_t kVectors = 64;
inline constexpr std::uint64_t kHbmReserved = 256ull << 20;  // first and last, for firmware (2.8: grade B arithmetic)

/// BAR 0
enum class Reg : std::uint32_t {
  capabilities = 0x00,  // 64 bit: see Capability
  version = 0x08,
  irq_mask_set = 0x0C,
  irq_mask_clear = 0x10,
  configuration = 0x14,  // bit 0 enable, bits 14-15 shutdown, 16-19 log2 SQE bytes, 20-23 log2 CQE bytes
  status = 0x1C,         // bit 0 ready, bit 1 fatal, bits 2-3 shutdown state, bits 8-11 boot stage
  reset_key = 0x20,      // writing kResetKey resets the device
  admin_depths = 0x24,   // SQ depth in bits 0-11, CQ depth in bits 16-27, both minus one
  admin_sq = 0x28,       // 64 bit
  admin_cq = 0x30,       // 64 bit
  device_time_ns = 0x40,
  cycle_counter = 0x48,
  clock_hz = 0x50,
  heartbeat = 0x58,
  boot_stage = 0x60,
  first_fault = 0x64,  // index of the oldest fault record, 0xFFFFFFFF none
  pe_present = 0x68,
  pe_occupied = 0x6C,
  identity = 0x70,  // device << 16 | vendor
  idle_milliwatts = 0x74,
};

inline constexpr std::uint32_t kPartitionStatus = 0x01000;      // 16 x 64 bytes (PartitionRecord)
inline constexpr std::uint32_t kPeCounters = 0x02000;           // 8 x 256 bytes (PeCounters)
inline constexpr std::uint32_t kInterruptCause = 0x04000;       // read: causes of vector 0 since the last read
inline constexpr std::uint32_t kSemaphoreInterrupts = 0x04008;  // bit per context: semaphore changes raise vector 0
inline constexpr std::uint32_t kDoorbells = 0x10000;            // 16 pages of 4 KiB
inline constexpr std::uint32_t kDoorbellPage = 0x1000, kDoorbellStride = 16;

constexpr std::uint32_t sq_doorbell(std::uint32_t context, std::uint32_t queue) {
  return kDoorbells + context * kDoorbellPage + queue * kDoorbellStride;
}
/// Writing 1 makes the queue skip what has not begun: one completion each, aborted by request.
constexpr std::uint32_t sq_control(std::uint32_t context, std::uint32_t queue) {
  return sq_doorbell(context, queue) + 4;
}
constexpr std::uint32_t cq_doorbell(std::uint32_t context, std::uint32_t queue) {
  return sq_doorbell(context, queue) + 8;
}

/// BAR 2
inline constexpr std::uint32_t kHandshake = 0x00000, kFaultLog = 0x20000, kSemaphores = 0x80000;
inline constexpr std::uint32_t kFaultRecords = 1024;  // record n at kFaultLog + n % kFaultRecords * 64
enum class Handshake : std::uint32_t {
  host_abi_min = 0x00,
  host_abi_max = 0x04,
  go = 0x08,
  stage = 0x0C,
  failure = 0x10,           // HandshakeFailure
  device_abi = 0x14,        // the ABI that both sides will speak
  firmware_version = 0x18,  // major << 16 | minor
  pert_version = 0x1C,
  pe_mask = 0x20,
  hbm_bytes = 0x28,  // 64 bit
};
enum class Stage : std::uint32_t { rom = 0, loader_verified = 1, pert_loading = 2, ready = 3, failed = 15 };
enum class HandshakeFailure : std::uint32_t { none = 0, no_common_abi = 1, firmware_crash = 2 };

inline constexpr std::uint32_t kResetKey = 0x4E564D45;
inline constexpr std::uint32_t kEnable = 1, kEntrySizes = (6u << 16) | (4u << 20);
inline constexpr std::uint32_t kStatusReady = 1, kStatusFatal = 2;
inline constexpr std::uint32_t kCauseSemaphore = 1, kCauseEvent = 2, kCauseAdmin = 4;

enum class Capability : unsigned {  // bit positions in Reg::capabilities above the sizes
  max_depth = 0,                    // 16 bits
  ready_timeout = 16,               // 8 bits, units of 500 ms
  doorbell_stride = 24,             // 8 bits, bytes
  contexts = 32,                    // 8 bits
  emulated = 40,
  sriov = 41,
  p2p = 42,
  preempt = 43,
};

constexpr std::uint32_t offset_of(Reg reg) { return static_cast<std::uint32_t>(reg); }
constexpr std::uint32_t offset_of(Handshake field) { return kHandshake + static_cast<std::uint32_t>(field); }
constexpr std::uint32_t semaphore_offset(std::uint32_t context, std::uint32_t index) {
  return kSemaphores + (context * kSemaphoresPerContext + index) * 8;
}
static_assert(semaphore_offset(kContexts - 1, kSemaphoresPerContext - 1) + 8 == kBar2Bytes);
static_assert(kDoorbells + kContexts * kDoorbellPage == kBar0Bytes);

}  // namespace rngd::rqi
