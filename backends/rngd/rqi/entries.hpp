// SPDX-License-Identifier: Apache-2.0
// RQI v1: submission and completion entries, bindings, descriptors and records as they lie in memory. Little endian,
// reserved bits zero. Ours (grade D); see registers.hpp.
#pragma once
#include <cstddef>
#include <cstdint>

namespace rngd::rqi {

enum class Opcode : std::uint8_t {
  nop = 0x00,
  exec_graph = 0x10,
  dma_copy = 0x20,
  dma_nd = 0x21,
  dma_fill = 0x22,
  barrier = 0x30,
  sem = 0x31,
  timestamp = 0x32,
  marker = 0x34,
};

enum class AdminOpcode : std::uint8_t {
  identify = 0x01,
  get_log = 0x02,
  abort = 0x08,
  create_cq = 0x10,
  delete_cq = 0x11,
  create_sq = 0x12,
  delete_sq = 0x13,
  create_partition = 0x20,
  destroy_partition = 0x21,
  query_partition = 0x22,
  discard_memory = 0x28,
  load_program = 0x30,
  unload_program = 0x31,
  reset = 0x40,
  inject = 0x7F,
};

enum Flag : std::uint8_t {
  kBarrier = 1 << 0,
  kAcquire = 1 << 1,
  kRelease = 1 << 2,
  kForceIrq = 1 << 3,
  kNoCqeOnSuccess = 1 << 4,
  kTimestamps = 1 << 5,
  kReservedFlags = 0xC0,
};

enum class Space : std::uint8_t { hbm = 0, host = 1 };
inline constexpr std::uint16_t kNoSemaphore = 0xFFFF;

struct ExecGraphBody {
  std::uint32_t program;
  std::uint16_t entry_point;
  std::uint16_t binding_count;
  std::uint64_t binding_table;  // IOVA of Binding[binding_count]
  std::uint64_t profile_buffer;
  std::uint32_t argument_bytes;
  std::uint32_t group_tag;
};
struct DmaCopyBody {
  std::uint64_t source, destination, bytes;
  std::uint8_t source_space, destination_space;
  std::uint16_t channel;
  std::uint32_t reserved;
};
struct DmaNdBody {
  std::uint64_t descriptor;  // IOVA of DmaDescriptor[count]
  std::uint32_t count, stride;
  std::uint64_t residue;
  std::uint32_t flags, reserved;
};
struct DmaFillBody {
  std::uint64_t destination, bytes, pattern;
  std::uint8_t pattern_bytes, space;
  std::uint16_t channel;
  std::uint32_t reserved;
};
struct TimestampBody {
  std::uint64_t destination;
  std::uint32_t domain;  // 0 device ns, 1 cycles
  std::uint8_t space, reserved[19];
};
struct MarkerBody {
  std::uint64_t token, reserved[3];
};

// Admin bodies.
struct IdentifyBody {
  std::uint64_t destination;
  std::uint32_t bytes, page;
  std::uint64_t reserved[2];
};
struct GetLogBody {
  std::uint64_t destination;
  std::uint32_t bytes, page, first, reserved0;
  std::uint64_t reserved1;
};
struct CreateCqBody {
  std::uint64_t base;
  std::uint16_t id, context, depth, vector;
  std::uint64_t reserved[2];
};
struct CreateSqBody {
  std::uint64_t base;
  std::uint16_t id, context, depth, cq;
  std::uint32_t timeout_us;
  std::uint16_t priority, engine_class;  // class 0 compute, 1 DMA
  std::uint64_t timestamp_ring;
};
struct DeleteQueueBody {
  std::uint16_t id, context;
  std::uint32_t reserved0;
  std::uint64_t reserved[3];
};
struct PartitionBody {  // create: first_pe and pe_count; destroy and query: context
  std::uint64_t destination;
  std::uint8_t first_pe, pe_count;
  std::uint16_t context;
  std::uint32_t flags;  // destroy: bit 0 abort what still runs
  std::uint64_t quota, reserved;
};
struct DiscardBody {
  std::uint64_t address, bytes;
  std::uint16_t context, reserved0;
  std::uint32_t reserved1;
  std::uint64_t reserved2;
};
struct LoadProgramBody {
  std::uint64_t image;
  std::uint64_t resident;  // HBM address inside the partition's window for the constants
  std::uint64_t error;     // IOVA of a text buffer for the reason of a rejection; 0 none
  std::uint32_t bytes;
  std::uint16_t context, error_bytes;
};
struct UnloadProgramBody {
  std::uint32_t program;
  std::uint16_t context, reserved0;
  std::uint64_t reserved[3];
};
struct AbortBody {
  std::uint16_t context, sq, command, reserved0;  // command 0xFFFF: every entry
  std::uint64_t reserved[3];
};
enum class ResetLevel : std::uint8_t { queue = 1, partition = 2, cluster = 3, device = 5 };
struct ResetBody {
  std::uint8_t level, cluster;
  std::uint16_t context, sq, reserved0;
  std::uint64_t reserved[3];
};

struct SubmissionEntry {
  std::uint8_t opcode, flags;
  std::uint16_t command;
  std::uint16_t context;
  std::uint8_t pe_mask, engine;
  std::uint32_t timeout_us;
  std::uint16_t wait_semaphore, signal_semaphore;
  std::uint64_t wait_value, signal_value;
  union {
    ExecGraphBody exec;
    DmaCopyBody copy;
    DmaNdBody nd;
    DmaFillBody fill;
    TimestampBody timestamp;
    MarkerBody marker;
    IdentifyBody identify;
    GetLogBody log;
    CreateCqBody create_cq;
    CreateSqBody create_sq;
    DeleteQueueBody delete_queue;
    PartitionBody partition;
    DiscardBody discard;
    LoadProgramBody load;
    UnloadProgramBody unload;
    AbortBody abort;
    ResetBody reset;
    std::uint64_t raw[4];
  } body;
};

struct CompletionEntry {
  std::uint32_t result, info;
  std::uint16_t sq_head, sq_id, command, status;
};

enum class StatusType : std::uint8_t { generic = 0, command = 1, memory = 2, fabric = 3, execution = 4 };
enum class Recovery : std::uint8_t { none = 0, queue = 1, partition = 2, cluster = 3 };

/// Status type in the high byte, code in the low one.
enum class Status : std::uint16_t {
  success = 0x000,
  invalid_opcode = 0x001,
  invalid_field = 0x002,
  id_conflict = 0x003,
  queue_full = 0x004,
  aborted_by_request = 0x005,
  aborted_by_deletion = 0x006,
  aborted_by_reset = 0x007,
  aborted_by_earlier_failure = 0x008,
  timeout = 0x009,
  context_violation = 0x00A,
  internal = 0x00B,
  no_memory = 0x00C,  // the firmware's own; on an emulated card, its process'
  bad_partition = 0x101,
  pe_busy = 0x102,
  program_format = 0x103,
  program_too_old = 0x104,
  verification_failed = 0x105,
  binding_mismatch = 0x106,
  out_of_hbm = 0x107,
  bad_semaphore = 0x108,
  unsupported_feature = 0x109,
  no_such_object = 0x10A,
  in_use = 0x10B,
  hbm_uncorrected = 0x202,
  sram_parity = 0x203,
  poisoned_read = 0x204,
  noc_timeout = 0x301,
  translation_read = 0x302,
  translation_write = 0x303,
  dma_alignment = 0x304,
  dma_packet = 0x305,
  dma_loop_limit = 0x306,
  pe_exception = 0x401,
  tensor_unit_hang = 0x402,
  index_out_of_range = 0x403,
};

constexpr std::uint16_t pack_status(Status status, Recovery recovery, bool collateral, bool phase) {
  const auto value = static_cast<std::uint16_t>(status);
  return static_cast<std::uint16_t>((phase ? 1u : 0u) | (value & 0xFFu) << 1 | (value >> 8 & 7u) << 9 |
                                    static_cast<unsigned>(recovery) << 12 | (collateral ? 1u << 14 : 0u));
}
constexpr bool phase_of(std::uint16_t status) { return (status & 1u) != 0; }
constexpr Status status_of(std::uint16_t status) {
  return static_cast<Status>((status >> 1 & 0xFFu) | (status >> 9 & 7u) << 8);
}
constexpr Recovery recovery_of(std::uint16_t status) { return static_cast<Recovery>(status >> 12 & 3u); }
constexpr bool collateral_of(std::uint16_t status) { return (status >> 14 & 1u) != 0; }

enum class Direction : std::uint8_t { input = 0, output = 1, scratch = 2 };

struct Binding {  // positional: inputs, outputs, then scratch
  std::uint64_t address, bytes;
  std::uint32_t layout;
  std::uint8_t dtype, direction, space, rank;
  std::uint32_t flags, reserved;
};

inline constexpr unsigned kDmaLoops = 8;
inline constexpr std::uint32_t kDmaPacketLimit = 4096, kDmaIterationLimit = 65536;  // [BOOK], grade A
struct DmaLoop {
  std::uint32_t count, reserved;
  std::int64_t source_stride, destination_stride;
};
struct DmaDescriptor {
  std::uint8_t version, loop_count;
  std::uint16_t flags;
  std::uint32_t packet_bytes;
  std::uint64_t source, destination;
  std::uint8_t source_space, destination_space, spare[6];
  std::uint64_t index_base;
  std::uint32_t index_count, index_scale;
  std::uint64_t tag, reserved;
  DmaLoop loops[kDmaLoops];
};

struct TimestampRecord {
  std::uint64_t fetched, started, ended, completed;
};

struct FaultRecord {
  std::uint64_t time_ns, cycle;
  std::uint16_t event, context, sq, command;
  std::uint8_t type, code, recovery, severity, chip, cluster, pe, unit;
  std::uint64_t address;
  std::uint32_t program, op;
  std::uint64_t aux[2];
};

struct PartitionRecord {
  std::uint8_t valid, first_pe, pe_count, state;  // state 0 idle, 1 working, 2 faulted
  std::uint32_t queues;
  std::uint64_t window_base, window_bytes;
  std::uint32_t programs, reserved0;
  std::uint64_t reserved[4];
};

struct PeCounters {
  std::uint64_t busy_ns, executions, multiply_accumulates, bytes_read, bytes_written, dma_commands;
  std::uint64_t energy_nj;  // while busy, estimated; the idle board is extra (Reg::idle_milliwatts)
  std::uint64_t reserved[25];
};

struct IdentifyPage {
  char model[32], serial[32], firmware[32], pert[32];
  std::uint32_t rqi_version, pe_count, pes_per_cluster, clusters;
  std::uint64_t hbm_bytes, usable_base, usable_bytes, sram_bytes_per_pe, clock_hz;
  std::uint32_t max_depth, contexts, semaphores_per_context, queues_per_context;
  std::uint32_t emulated, image_abi_min, image_abi_max, reserved0;
  std::uint8_t reserved[56];
};

enum class InjectEffect : std::uint32_t { none = 0, status = 1, lose_completion = 2, hang = 3, pe_exception = 4 };
struct InjectRecord {                 // one entry of a fault plan
  std::uint32_t effect;               // InjectEffect; none empties the plan
  std::uint32_t skip;                 // matching commands that pass first
  std::uint32_t count;                // how often it strikes after that
  std::uint16_t opcode, context, sq;  // what it matches; 0xFFFF any
  std::uint16_t status;               // Status for InjectEffect::status
  std::uint32_t reserved[11];
};

static_assert(sizeof(SubmissionEntry) == 64 && offsetof(SubmissionEntry, command) == 0x02 &&
              offsetof(SubmissionEntry, context) == 0x04 && offsetof(SubmissionEntry, pe_mask) == 0x06 &&
              offsetof(SubmissionEntry, timeout_us) == 0x08 && offsetof(SubmissionEntry, wait_semaphore) == 0x0C &&
              offsetof(SubmissionEntry, signal_semaphore) == 0x0E && offsetof(SubmissionEntry, wait_value) == 0x10 &&
              offsetof(SubmissionEntry, signal_value) == 0x18 && offsetof(SubmissionEntry, body) == 0x20);
static_assert(sizeof(ExecGraphBody) == 32 && sizeof(DmaCopyBody) == 32 && sizeof(DmaNdBody) == 32);
static_assert(sizeof(DmaFillBody) == 32 && sizeof(TimestampBody) == 32 && sizeof(MarkerBody) == 32);
static_assert(sizeof(IdentifyBody) == 32 && sizeof(GetLogBody) == 32 && sizeof(CreateCqBody) == 32);
static_assert(sizeof(CreateSqBody) == 32 && sizeof(DeleteQueueBody) == 32 && sizeof(PartitionBody) == 32);
static_assert(sizeof(DiscardBody) == 32 && sizeof(LoadProgramBody) == 32 && sizeof(UnloadProgramBody) == 32);
static_assert(sizeof(AbortBody) == 32 && sizeof(ResetBody) == 32);
static_assert(sizeof(CompletionEntry) == 16 && offsetof(CompletionEntry, sq_head) == 8 &&
              offsetof(CompletionEntry, sq_id) == 10 && offsetof(CompletionEntry, command) == 12 &&
              offsetof(CompletionEntry, status) == 14);
static_assert(sizeof(Binding) == 32 && sizeof(DmaLoop) == 24 && sizeof(DmaDescriptor) == 256);
static_assert(offsetof(DmaDescriptor, loops) == 64);
static_assert(sizeof(TimestampRecord) == 32 && sizeof(FaultRecord) == 64 && sizeof(PartitionRecord) == 64);
static_assert(sizeof(PeCounters) == 256 && sizeof(IdentifyPage) == 272 && sizeof(InjectRecord) == 64);

}  // namespace rngd::rqi
