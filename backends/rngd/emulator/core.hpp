// SPDX-License-Identifier: Apache-2.0
// The device core: a deterministic state machine over virtual time. Inputs are register accesses, doorbells and run();
// there is no thread, wall clock or environment in here. One thread at a time may call it, except where stated.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "emulator/execute.hpp"
#include "emulator/hbm.hpp"
#include "emulator/iommu.hpp"
#include "emulator/timing.hpp"
#include "rqi/entries.hpp"
#include "rqi/registers.hpp"

namespace rngd::emulator {

struct CoreOptions {
  std::uint64_t hbm_bytes = 48ull << 30;
  std::uint32_t index = 0;
  bool accept_old_ir = false;  // load programs of an older IR, which then time out when run
  Timing timing{};
};

class Core {
 public:
  explicit Core(const CoreOptions& options);

  // -- from any thread, at any time --
  void ring_doorbell(std::uint64_t offset, std::uint32_t value);
  std::uint64_t semaphore(std::uint64_t index) const { return semaphores_[index].load(std::memory_order_seq_cst); }
  void set_semaphore(std::uint64_t index, std::uint64_t value);
  std::uint64_t time_ns() const { return now_.load(std::memory_order_relaxed); }
  Iommu& iommu() { return iommu_; }
  std::uint64_t hbm_bytes() const { return hbm_.bytes(); }

  // -- one thread at a time --
  std::uint64_t read(std::uint32_t bar, std::uint64_t offset, unsigned bytes);
  void write(std::uint32_t bar, std::uint64_t offset, std::uint64_t value);
  /// Processes a command; false when there was nothing to do.
  bool run();
  /// Bit per vector raised since the last call.
  std::uint64_t take_interrupts();
  /// A mapping is about to go: queues whose rings lie in it stop.
  void forget_host(std::uint64_t iova, std::uint64_t bytes);
  std::byte* aperture(std::uint64_t offset, std::uint64_t bytes);
  bool ok() const { return hbm_.ok(); }

 private:
  struct Outcome {
    rqi::Status status = rqi::Status::success;
    rqi::Recovery recovery = rqi::Recovery::none;
    double cost_ns = 0;
    std::uint32_t result = 0;
    std::uint64_t address = 0;  // for the fault record
    std::uint64_t aux[2] = {};
    std::uint32_t program = ~0u, op = ~0u;
    bool hang = false;  // never ends by itself
    bool lose_completion = false;
  };
  struct CompletionQueue {
    bool valid = false;
    std::uint16_t id = 0, context = 0, depth = 0, vector = 0;
    rqi::CompletionEntry* base = nullptr;
    std::uint64_t iova = 0;
    std::uint32_t tail = 0;
    bool phase = true;
    std::uint32_t users = 0;
  };
  struct SubmissionQueue {
    enum class State { idle, waiting, running, hung };
    bool valid = false;
    bool halted = false;  // a command failed: the rest is aborted until the queue is reset
    rqi::Status halt_status = rqi::Status::aborted_by_earlier_failure;
    State state = State::idle;
    std::uint16_t id = 0, context = 0, depth = 0, cq = 0, engine_class = 0;
    const rqi::SubmissionEntry* base = nullptr;
    std::uint64_t iova = 0, timestamp_ring = 0;
    std::uint32_t head = 0, timeout_us = 0;
    // The command in flight.
    rqi::SubmissionEntry entry{};
    Outcome outcome{};
    std::uint64_t fetched = 0, started = 0, end = 0, order = 0;
  };
  struct LoadedProgram {
    image::Program program;
    std::uint64_t resident = 0;
    double cost_ns = 0;
    std::uint64_t macs = 0, bytes_read = 0, bytes_written = 0;
  };
  struct Context {
    bool valid = false;
    std::uint8_t first_pe = 0, pe_count = 0;
    bool faulted = false;
    std::uint64_t window_base = 0, window_bytes = 0;
    std::uint64_t ready_at = 0, compute_free = 0, dma_free = 0;
    std::array<SubmissionQueue, rqi::kQueuesPerContext> sq{};
    std::array<CompletionQueue, rqi::kQueuesPerContext> cq{};
    std::map<std::uint32_t, LoadedProgram> programs;
    std::unique_ptr<std::byte[]> sram;
    std::uint64_t sram_bytes = 0;
  };

  // core.cpp: registers, scheduling, completion
  void reset_device();
  void handshake_go();
  void enable(bool on);
  std::uint32_t tail_of(const SubmissionQueue& queue) const;
  bool skips(const SubmissionQueue& queue) const;
  bool start_next(SubmissionQueue& queue);
  bool finish(SubmissionQueue& queue);
  bool post(SubmissionQueue& queue, std::uint16_t command, const Outcome& outcome, bool collateral, std::uint32_t info);
  std::uint32_t record_fault(const SubmissionQueue& queue, const Outcome& outcome, bool event);
  void refresh_active();
  bool step();
  void raise(std::uint32_t vector, std::uint32_t cause);
  rqi::PartitionRecord partition_record(std::uint32_t context) const;
  std::uint32_t occupied_mask() const;

  // commands.cpp: what each submission entry does
  Outcome execute_entry(Context& context, const rqi::SubmissionEntry& entry);
  Outcome exec_graph(Context& context, const rqi::SubmissionEntry& entry);
  Outcome dma_copy(Context& context, const rqi::SubmissionEntry& entry);
  Outcome dma_nd(Context& context, const rqi::SubmissionEntry& entry);
  Outcome dma_fill(Context& context, const rqi::SubmissionEntry& entry);
  Outcome timestamp(Context& context, const rqi::SubmissionEntry& entry);
  std::byte* reach(const Context& context, std::uint8_t space, std::uint64_t address, std::uint64_t bytes);
  static Outcome failure(rqi::Status status, std::uint64_t address = 0, std::uint64_t aux0 = 0, std::uint64_t aux1 = 0);
  Outcome inject(const SubmissionQueue& queue, const rqi::SubmissionEntry& entry, bool& struck);
  void count(const Context& context, const Outcome& outcome, std::uint64_t read, std::uint64_t written,
             std::uint64_t macs, bool execution);

  // admin.cpp: the admin queue
  bool step_admin();
  Outcome execute_admin(const rqi::SubmissionEntry& entry);
  Outcome identify(const rqi::IdentifyBody& body);
  Outcome get_log(const rqi::GetLogBody& body);
  Outcome create_cq(const rqi::CreateCqBody& body);
  Outcome create_sq(const rqi::CreateSqBody& body);
  Outcome delete_queue(const rqi::DeleteQueueBody& body, bool submission);
  Outcome create_partition(const rqi::PartitionBody& body);
  Outcome destroy_partition(const rqi::PartitionBody& body);
  Outcome query_partition(const rqi::PartitionBody& body);
  Outcome discard_memory(const rqi::DiscardBody& body);
  Outcome load_program(const rqi::LoadProgramBody& body);
  Outcome unload_program(const rqi::UnloadProgramBody& body);
  Outcome abort_entries(const rqi::AbortBody& body);
  Outcome reset_part(const rqi::ResetBody& body);
  Outcome add_injection(std::uint64_t iova);
  Context* context_of(std::uint32_t id);
  void halt(SubmissionQueue& queue, rqi::Status status, bool collateral);

  CoreOptions options_;
  Hbm hbm_;
  Iommu iommu_;
  std::vector<std::atomic<std::uint32_t>> doorbells_, controls_;
  std::vector<std::atomic<std::uint64_t>> semaphores_;
  std::atomic<std::uint64_t> now_{0};
  std::atomic<std::uint32_t> semaphore_interrupts_{0};
  std::array<Context, rqi::kContexts> contexts_{};
  std::vector<SubmissionQueue*> active_;  // has room for all
  std::size_t next_active_ = 0;
  std::uint64_t order_ = 0;
  std::uint32_t next_program_ = 1;
  // Record n lies at n % kFaultRecords: noting a fault needs no memory.
  std::array<rqi::FaultRecord, rqi::kFaultRecords> faults_{};
  std::uint32_t first_fault_ = 0, next_fault_ = 0;
  std::vector<rqi::InjectRecord> injections_;
  std::array<rqi::PeCounters, rqi::kPes> counters_{};
  std::uint64_t interrupts_ = 0;
  std::uint32_t causes_ = 0;
  // Registers.
  std::uint32_t configuration_ = 0, status_ = 0, admin_depths_ = 0, host_abi_min_ = 0, host_abi_max_ = 0;
  std::uint64_t admin_sq_ = 0, admin_cq_ = 0;
  rqi::Stage stage_ = rqi::Stage::rom;
  rqi::HandshakeFailure boot_failure_ = rqi::HandshakeFailure::none;
};

}  // namespace rngd::emulator
