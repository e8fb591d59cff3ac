// SPDX-License-Identifier: Apache-2.0
#include "emulator/core.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace rngd::emulator {

using namespace rqi;

namespace {

constexpr std::uint64_t kAllOnes = ~0ull;

std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }

}  // namespace

Core::Core(const CoreOptions& options)
    : options_(options),
      hbm_(options.hbm_bytes),
      doorbells_(kContexts * kQueuesPerContext * 2),
      controls_(kContexts * kQueuesPerContext),
      semaphores_(kContexts * kSemaphoresPerContext) {
  active_.reserve(kContexts * kQueuesPerContext);
}

void Core::ring_doorbell(std::uint64_t offset, std::uint32_t value) {
  const std::uint64_t page = offset / kDoorbellPage, within = offset % kDoorbellPage;
  if (page >= kContexts || within >= kQueuesPerContext * kDoorbellStride || within % 4 != 0) { return; }
  const std::uint64_t queue = page * kQueuesPerContext + within / kDoorbellStride;
  const std::uint64_t word = within % kDoorbellStride / 4;  // tail, control, head, nothing
  // Sequentially consistent with the worker's announcement that it sleeps.
  if (word == 1) { controls_[queue].store(value, std::memory_order_seq_cst); }
  if (word % 2 == 0) { doorbells_[queue * 2 + word / 2].store(value, std::memory_order_seq_cst); }
}

void Core::set_semaphore(std::uint64_t index, std::uint64_t value) {
  semaphores_[index].store(value, std::memory_order_seq_cst);
}

std::uint32_t Core::tail_of(const SubmissionQueue& queue) const {
  return doorbells_[(queue.context * kQueuesPerContext + queue.id) * 2].load(std::memory_order_seq_cst);
}

bool Core::skips(const SubmissionQueue& queue) const {
  return controls_[queue.context * kQueuesPerContext + queue.id].load(std::memory_order_seq_cst) != 0;
}

std::uint64_t Core::read(std::uint32_t bar, std::uint64_t offset, unsigned bytes) {
  if (bar == kBarFirmware) {
    if (offset >= kSemaphores && offset < kBar2Bytes) { return semaphore((offset - kSemaphores) / 8); }
    if (offset >= kFaultLog && offset < kFaultLog + kFaultRecords * sizeof(FaultRecord)) {
      const auto slot = low((offset - kFaultLog) / sizeof(FaultRecord));
      const std::uint32_t behind = (slot + kFaultRecords - first_fault_ % kFaultRecords) % kFaultRecords;
      std::uint64_t value = 0;
      if (behind < next_fault_ - first_fault_) {
        std::memcpy(&value, reinterpret_cast<const std::byte*>(&faults_[slot]) + offset % sizeof(FaultRecord), bytes);
      }
      return value;
    }
    switch (static_cast<Handshake>(offset)) {
      case Handshake::host_abi_min:
        return host_abi_min_;
      case Handshake::host_abi_max:
        return host_abi_max_;
      case Handshake::stage:
        return static_cast<std::uint32_t>(stage_);
      case Handshake::failure:
        return static_cast<std::uint32_t>(boot_failure_);
      case Handshake::device_abi:
        return stage_ == Stage::ready ? kFirmwareAbi : 0;
      case Handshake::firmware_version:
        return 1u << 16;
      case Handshake::pert_version:
        return 1u << 16;
      case Handshake::pe_mask:
        return (1u << kPes) - 1;
      case Handshake::hbm_bytes:
        return hbm_.bytes();
      default:
        return 0;
    }
  }
  if (bar != kBarRegisters || offset + bytes > kBar0Bytes) { return kAllOnes; }
  if (offset >= kPartitionStatus && offset < kPartitionStatus + kContexts * sizeof(PartitionRecord)) {
    const PartitionRecord record = partition_record(low((offset - kPartitionStatus) / sizeof(PartitionRecord)));
    std::uint64_t value = 0;
    std::memcpy(&value, reinterpret_cast<const std::byte*>(&record) + (offset - kPartitionStatus) % sizeof record,
                bytes);
    return value;
  }
  if (offset >= kPeCounters && offset < kPeCounters + sizeof counters_) {
    std::uint64_t value = 0;
    std::memcpy(&value, reinterpret_cast<const std::byte*>(counters_.data()) + (offset - kPeCounters), bytes);
    return value;
  }
  if (offset == kInterruptCause) { return std::exchange(causes_, 0u); }
  if (offset == kSemaphoreInterrupts) { return semaphore_interrupts_.load(); }
  switch (static_cast<Reg>(offset)) {
    case Reg::capabilities:
      return std::uint64_t{kMaxDepth} | 10ull << static_cast<unsigned>(Capability::ready_timeout) |
             std::uint64_t{kDoorbellStride} << static_cast<unsigned>(Capability::doorbell_stride) |
             std::uint64_t{kContexts} << static_cast<unsigned>(Capability::contexts) |
             1ull << static_cast<unsigned>(Capability::emulated);
    case Reg::version:
      return kVersion;
    case Reg::configuration:
      return configuration_;
    case Reg::status:
      return status_ | static_cast<std::uint32_t>(stage_) << 8;
    case Reg::admin_depths:
      return admin_depths_;
    case Reg::admin_sq:
      return admin_sq_;
    case Reg::admin_cq:
      return admin_cq_;
    case Reg::device_time_ns:
      return time_ns();
    case Reg::cycle_counter:
      return time_ns() / 1000 * (options_.timing.clock_hz / 1'000'000);
    case Reg::clock_hz:
      return options_.timing.clock_hz;
    case Reg::heartbeat:
      return time_ns() / 1'000'000;
    case Reg::boot_stage:
      return static_cast<std::uint32_t>(stage_);
    case Reg::first_fault:
      return first_fault_ == next_fault_ ? ~0u : first_fault_;
    case Reg::pe_present:
      return (1u << kPes) - 1;
    case Reg::pe_occupied:
      return occupied_mask();
    case Reg::identity:
      return kEmulatedDevice << 16 | kEmulatedVendor;
    case Reg::idle_milliwatts:
      return static_cast<std::uint64_t>(options_.timing.idle_watts * 1e3);
    default:
      return 0;
  }
}

void Core::write(std::uint32_t bar, std::uint64_t offset, std::uint64_t value) {
  if (bar == kBarFirmware) {
    switch (static_cast<Handshake>(offset)) {
      case Handshake::host_abi_min:
        host_abi_min_ = low(value);
        break;
      case Handshake::host_abi_max:
        host_abi_max_ = low(value);
        break;
      case Handshake::go:
        if (value == 1) { handshake_go(); }
        break;
      default:
        break;
    }
    return;
  }
  if (bar != kBarRegisters) { return; }
  if (offset == kSemaphoreInterrupts) { return semaphore_interrupts_.store(low(value)); }
  switch (static_cast<Reg>(offset)) {
    case Reg::configuration:
      configuration_ = low(value);
      enable((value & kEnable) != 0);
      break;
    case Reg::reset_key:
      if (value == kResetKey) { reset_device(); }
      break;
    case Reg::admin_depths:
      admin_depths_ = low(value);
      break;
    case Reg::admin_sq:
      admin_sq_ = value;
      break;
    case Reg::admin_cq:
      admin_cq_ = value;
      break;
    default:
      break;
  }
}

void Core::handshake_go() {
  if (stage_ != Stage::rom) { return; }
  now_.store(time_ns() + static_cast<std::uint64_t>(options_.timing.firmware_boot_ns), std::memory_order_relaxed);
  if (host_abi_min_ > kFirmwareAbi || host_abi_max_ < kFirmwareAbi) {
    stage_ = Stage::failed;
    boot_failure_ = HandshakeFailure::no_common_abi;
    return;
  }
  stage_ = Stage::ready;  // passes loader_verified and pert_loading within the boot time
}

void Core::enable(bool on) {
  Context& admin = contexts_[0];
  admin.valid = on;
  admin.sq[0] = {};
  admin.cq[0] = {};
  status_ &= ~(kStatusReady | kStatusFatal);
  if (!on) { return refresh_active(); }
  const std::uint32_t sq_depth = (admin_depths_ & 0xFFF) + 1, cq_depth = (admin_depths_ >> 16 & 0xFFF) + 1;
  auto* sq = reinterpret_cast<SubmissionEntry*>(iommu_.translate(admin_sq_, sq_depth * sizeof(SubmissionEntry)));
  auto* cq = reinterpret_cast<CompletionEntry*>(iommu_.translate(admin_cq_, cq_depth * sizeof(CompletionEntry)));
  const bool entry_sizes = (configuration_ & 0x00FF'0000u) == kEntrySizes;
  if (stage_ != Stage::ready || sq == nullptr || cq == nullptr || sq_depth < kMinDepth || cq_depth < kMinDepth ||
      admin_sq_ % 64 != 0 || admin_cq_ % 16 != 0 || !entry_sizes) {
    status_ |= kStatusFatal;
    return;
  }
  SubmissionQueue& queue = admin.sq[0];
  queue.valid = true;
  queue.depth = static_cast<std::uint16_t>(sq_depth);
  queue.base = sq;
  queue.iova = admin_sq_;
  CompletionQueue& completion = admin.cq[0];
  completion.valid = true;
  completion.depth = static_cast<std::uint16_t>(cq_depth);
  completion.base = cq;
  completion.iova = admin_cq_;
  doorbells_[0].store(0);
  doorbells_[1].store(0);
  status_ |= kStatusReady;
}

// Everything is lost; HBM reads as poison. Rings are not touched: their commands have no completion, and the driver,
// which asked for this, declares them lost.
void Core::reset_device() {
  for (Context& context : contexts_) { context = Context{}; }
  for (auto& doorbell : doorbells_) { doorbell.store(0); }
  for (auto& control : controls_) { control.store(0); }
  for (auto& semaphore : semaphores_) { semaphore.store(0); }
  hbm_.discard(0, hbm_.bytes());
  active_.clear();
  first_fault_ = next_fault_ = 0;
  injections_.clear();
  counters_ = {};
  configuration_ = status_ = admin_depths_ = host_abi_min_ = host_abi_max_ = 0;
  admin_sq_ = admin_cq_ = 0;
  semaphore_interrupts_.store(0);
  stage_ = Stage::rom;
  boot_failure_ = HandshakeFailure::none;
}

void Core::forget_host(std::uint64_t iova, std::uint64_t bytes) {
  const auto inside = [&](std::uint64_t at) { return at >= iova && at - iova < bytes; };
  for (Context& context : contexts_) {
    for (CompletionQueue& queue : context.cq) {
      if (queue.valid && inside(queue.iova)) { queue.valid = false; }
    }
    for (SubmissionQueue& queue : context.sq) {
      if (queue.valid && (inside(queue.iova) || !context.cq[queue.cq].valid)) { queue.valid = false; }
    }
  }
  refresh_active();
}

std::byte* Core::aperture(std::uint64_t offset, std::uint64_t bytes) {
  if (offset > hbm_.bytes() || bytes > hbm_.bytes() - offset) { return nullptr; }
  return hbm_.touch(offset, bytes);
}

void Core::refresh_active() {
  active_.clear();
  for (std::size_t c = 1; c < contexts_.size(); ++c) {
    for (SubmissionQueue& queue : contexts_[c].sq) {
      if (contexts_[c].valid && queue.valid) { active_.push_back(&queue); }
    }
  }
  next_active_ = 0;
}

bool Core::run() { return step_admin() || step(); }

// Every idle queue starts its next command at the present time; then the command that ends first ends.
bool Core::step() {
  bool progress = false;
  SubmissionQueue* first = nullptr;
  for (std::size_t i = 0; i < active_.size(); ++i) {
    SubmissionQueue& queue = *active_[(next_active_ + i) % active_.size()];
    if (queue.state == SubmissionQueue::State::idle || queue.state == SubmissionQueue::State::waiting ||
        (queue.state == SubmissionQueue::State::hung && skips(queue))) {
      progress = start_next(queue) || progress;
    }
    if (queue.state == SubmissionQueue::State::running &&
        (first == nullptr || queue.end < first->end || (queue.end == first->end && queue.order < first->order))) {
      first = &queue;
    }
  }
  if (!active_.empty()) { next_active_ = (next_active_ + 1) % active_.size(); }
  return (first != nullptr && finish(*first)) || progress;
}

bool Core::start_next(SubmissionQueue& queue) {
  const std::uint32_t tail = tail_of(queue);
  if (tail >= queue.depth || queue.head == tail) { return false; }  // a tail outside the ring is never followed
  Context& context = contexts_[queue.context];
  SubmissionEntry& entry = queue.entry;
  if (queue.state == SubmissionQueue::State::idle) {
    entry = queue.base[queue.head];
    queue.fetched = time_ns();
  }
  queue.outcome = {};
  if (queue.halted || context.faulted) {
    queue.outcome.status = queue.halted ? queue.halt_status : Status::aborted_by_earlier_failure;
  } else if (skips(queue)) {
    queue.outcome.status = Status::aborted_by_request;
  } else if ((entry.flags & kReservedFlags) != 0) {
    queue.outcome = failure(Status::invalid_field, 0x01);
  } else if (entry.context != queue.context) {
    queue.outcome = failure(Status::context_violation, entry.context);
  } else if ((entry.wait_semaphore != kNoSemaphore && entry.wait_semaphore >= kSemaphoresPerContext) ||
             (entry.signal_semaphore != kNoSemaphore && entry.signal_semaphore >= kSemaphoresPerContext)) {
    queue.outcome = failure(Status::bad_semaphore, entry.wait_semaphore, entry.signal_semaphore);
  } else {
    if (entry.wait_semaphore != kNoSemaphore &&
        semaphore(queue.context * kSemaphoresPerContext + entry.wait_semaphore) < entry.wait_value) {
      queue.state = SubmissionQueue::State::waiting;
      return false;
    }
    bool struck = false;
    queue.outcome = inject(queue, entry, struck);
    if (!struck) { queue.outcome = execute_entry(context, entry); }
  }
  // The engine that the command needs may be busy with another queue's.
  const bool compute = static_cast<Opcode>(entry.opcode) == Opcode::exec_graph;
  std::uint64_t& engine = compute ? context.compute_free : context.dma_free;
  const bool uses_engine = queue.outcome.cost_ns > 0;
  queue.started = std::max(time_ns(), context.ready_at);
  if (uses_engine) { queue.started = std::max(queue.started, engine); }
  queue.end = queue.started + static_cast<std::uint64_t>(options_.timing.command_ns + queue.outcome.cost_ns);
  queue.order = order_++;
  queue.state = SubmissionQueue::State::running;
  if (queue.outcome.hang) {
    const std::uint64_t limit_us = entry.timeout_us != 0 ? entry.timeout_us : queue.timeout_us;
    if (limit_us == ~0u) {  // no timeout at all: until someone aborts it
      queue.state = SubmissionQueue::State::hung;
      return true;
    }
    const double limit = limit_us != 0 ? static_cast<double>(limit_us) * 1e3 : options_.timing.default_timeout_ns;
    queue.end = queue.started + static_cast<std::uint64_t>(limit);
    queue.outcome.status = Status::timeout;
    queue.outcome.recovery = Recovery::queue;
  }
  if (uses_engine) { engine = queue.end; }
  return true;
}

// Release, signal, completion entry, interrupt: in this order.
bool Core::finish(SubmissionQueue& queue) {
  CompletionQueue& cq = contexts_[queue.context].cq[queue.cq];
  const std::uint32_t next_tail = (cq.tail + 1) % cq.depth;
  const std::uint32_t host_head =
      doorbells_[(cq.context * kQueuesPerContext + cq.id) * 2 + 1].load(std::memory_order_acquire);
  if (next_tail == host_head) { return false; }  // the host has to drain first
  now_.store(std::max(time_ns(), queue.end), std::memory_order_relaxed);
  const SubmissionEntry& entry = queue.entry;
  const Outcome& outcome = queue.outcome;
  const bool failed = outcome.status != Status::success;
  const bool collateral = outcome.status == Status::aborted_by_earlier_failure ||
                          outcome.status == Status::aborted_by_request || outcome.status == Status::aborted_by_reset;
  std::uint32_t info = ~0u;
  if (failed && !collateral) {
    info = record_fault(queue, outcome, true);
    queue.halted = true;
    queue.halt_status = Status::aborted_by_earlier_failure;
    if (outcome.recovery == Recovery::partition) { contexts_[queue.context].faulted = true; }
  }
  if (!failed && entry.signal_semaphore != kNoSemaphore) {
    set_semaphore(queue.context * kSemaphoresPerContext + entry.signal_semaphore, entry.signal_value);
    if ((semaphore_interrupts_.load(std::memory_order_relaxed) >> queue.context & 1u) != 0) {
      raise(0, kCauseSemaphore);
    }
  }
  if ((entry.flags & kTimestamps) != 0 && queue.timestamp_ring != 0) {
    const TimestampRecord record{queue.fetched, queue.started, queue.end, time_ns()};
    std::byte* slot =
        iommu_.translate(queue.timestamp_ring + entry.command % queue.depth * sizeof record, sizeof record);
    if (slot != nullptr) { std::memcpy(slot, &record, sizeof record); }
  }
  queue.head = (queue.head + 1) % queue.depth;
  queue.state = SubmissionQueue::State::idle;
  const bool silent = outcome.lose_completion || (!failed && (entry.flags & kNoCqeOnSuccess) != 0);
  if (!silent) { post(queue, entry.command, outcome, collateral, info); }
  return true;
}

bool Core::post(SubmissionQueue& queue, std::uint16_t command, const Outcome& outcome, bool collateral,
                std::uint32_t info) {
  CompletionQueue& cq = contexts_[queue.context].cq[queue.cq];
  CompletionEntry completion{};
  completion.result = outcome.result;
  completion.info = info;
  completion.sq_head = static_cast<std::uint16_t>(queue.head);
  completion.sq_id = queue.id;
  completion.command = command;
  completion.status = pack_status(outcome.status, outcome.recovery, collateral, cq.phase);
  CompletionEntry& slot = cq.base[cq.tail];
  // The host polls the status word; everything before it must be there first.
  std::memcpy(&slot, &completion, offsetof(CompletionEntry, status));
  std::atomic_ref<std::uint16_t>(slot.status).store(completion.status, std::memory_order_release);
  cq.tail = (cq.tail + 1) % cq.depth;
  if (cq.tail == 0) { cq.phase = !cq.phase; }
  raise(cq.vector, 0);
  return true;
}

std::uint32_t Core::record_fault(const SubmissionQueue& queue, const Outcome& outcome, bool event) {
  FaultRecord record{};
  const auto status = static_cast<std::uint16_t>(outcome.status);
  const Context& context = contexts_[queue.context];
  record.time_ns = time_ns();
  record.cycle = read(kBarRegisters, offset_of(Reg::cycle_counter), 8);
  record.event = event ? 1 : 0;
  record.context = queue.context;
  record.sq = queue.id;
  record.command = queue.entry.command;
  record.type = static_cast<std::uint8_t>(status >> 8);
  record.code = static_cast<std::uint8_t>(status & 0xFF);
  record.recovery = static_cast<std::uint8_t>(outcome.recovery);
  record.severity = outcome.recovery == Recovery::none ? 1 : 2;
  record.cluster = static_cast<std::uint8_t>(context.first_pe / kPesPerCluster);
  record.pe = context.first_pe;
  record.unit = queue.entry.opcode;
  record.address = outcome.address;
  record.program = outcome.program;
  record.op = outcome.op;
  std::ranges::copy(outcome.aux, record.aux);
  faults_[next_fault_ % kFaultRecords] = record;
  if (next_fault_ - first_fault_ == kFaultRecords) { ++first_fault_; }
  return next_fault_++;
}

void Core::raise(std::uint32_t vector, std::uint32_t cause) {
  interrupts_ |= 1ull << vector;
  causes_ |= cause;
}

std::uint64_t Core::take_interrupts() { return std::exchange(interrupts_, 0ull); }

std::uint32_t Core::occupied_mask() const {
  std::uint32_t mask = 0;
  for (std::size_t c = 1; c < contexts_.size(); ++c) {
    if (contexts_[c].valid) { mask |= ((1u << contexts_[c].pe_count) - 1) << contexts_[c].first_pe; }
  }
  return mask;
}

PartitionRecord Core::partition_record(std::uint32_t id) const {
  PartitionRecord record{};
  if (id == 0 || id >= kContexts || !contexts_[id].valid) { return record; }
  const Context& context = contexts_[id];
  record.valid = 1;
  record.first_pe = context.first_pe;
  record.pe_count = context.pe_count;
  record.window_base = context.window_base;
  record.window_bytes = context.window_bytes;
  record.programs = static_cast<std::uint32_t>(context.programs.size());
  for (const SubmissionQueue& queue : context.sq) {
    record.queues += queue.valid ? 1 : 0;
    if (queue.valid && queue.state != SubmissionQueue::State::idle) { record.state = 1; }
  }
  if (context.faulted) { record.state = 2; }
  return record;
}

}  // namespace rngd::emulator
