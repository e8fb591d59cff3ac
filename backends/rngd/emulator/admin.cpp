// SPDX-License-Identifier: Apache-2.0
// The firmware's side of the admin queue.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <new>

#include "emulator/core.hpp"

namespace rngd::emulator {

using namespace rqi;

namespace {

template <std::size_t N>
void put(char (&field)[N], const char* text) {
  std::snprintf(field, N, "%s", text);
}

bool valid_depth(std::uint32_t depth) { return depth >= kMinDepth && depth <= kMaxDepth && std::has_single_bit(depth); }

}  // namespace

Core::Context* Core::context_of(std::uint32_t id) {
  return id >= 1 && id < kContexts && contexts_[id].valid ? &contexts_[id] : nullptr;
}

bool Core::step_admin() {
  SubmissionQueue& queue = contexts_[0].sq[0];
  const CompletionQueue& cq = contexts_[0].cq[0];
  if (!queue.valid || !cq.valid) { return false; }
  const std::uint32_t tail = tail_of(queue);
  if (tail >= queue.depth || tail == queue.head) { return false; }
  if ((cq.tail + 1) % cq.depth == doorbells_[1].load(std::memory_order_acquire)) { return false; }
  queue.entry = queue.base[queue.head];
  const std::uint16_t command = queue.entry.command;
  Outcome outcome;
  try {
    outcome = execute_admin(queue.entry);
  } catch (const std::bad_alloc&) { outcome = failure(Status::no_memory); }
  if (!contexts_[0].sq[0].valid) { return true; }  // the command was a reset
  const bool failed = outcome.status != Status::success;
  if (failed) { outcome.recovery = Recovery::none; }
  queue.head = (queue.head + 1) % queue.depth;
  const std::uint32_t info = failed ? record_fault(queue, outcome, false) : ~0u;
  post(queue, command, outcome, false, info);
  causes_ |= kCauseAdmin;
  return true;
}

Core::Outcome Core::execute_admin(const SubmissionEntry& entry) {
  if (entry.context != 0) { return failure(Status::context_violation, entry.context); }
  switch (static_cast<AdminOpcode>(entry.opcode)) {
    case AdminOpcode::identify:
      return identify(entry.body.identify);
    case AdminOpcode::get_log:
      return get_log(entry.body.log);
    case AdminOpcode::abort:
      return abort_entries(entry.body.abort);
    case AdminOpcode::create_cq:
      return create_cq(entry.body.create_cq);
    case AdminOpcode::delete_cq:
      return delete_queue(entry.body.delete_queue, false);
    case AdminOpcode::create_sq:
      return create_sq(entry.body.create_sq);
    case AdminOpcode::delete_sq:
      return delete_queue(entry.body.delete_queue, true);
    case AdminOpcode::create_partition:
      return create_partition(entry.body.partition);
    case AdminOpcode::destroy_partition:
      return destroy_partition(entry.body.partition);
    case AdminOpcode::query_partition:
      return query_partition(entry.body.partition);
    case AdminOpcode::discard_memory:
      return discard_memory(entry.body.discard);
    case AdminOpcode::load_program:
      return load_program(entry.body.load);
    case AdminOpcode::unload_program:
      return unload_program(entry.body.unload);
    case AdminOpcode::reset:
      return reset_part(entry.body.reset);
    case AdminOpcode::inject:
      return add_injection(entry.body.raw[0]);
  }
  return failure(Status::invalid_opcode, entry.opcode);
}

Core::Outcome Core::identify(const IdentifyBody& body) {
  IdentifyPage page{};
  if (body.page != 0 || body.bytes < sizeof page) { return failure(Status::invalid_field, body.page, body.bytes); }
  std::byte* to = iommu_.translate(body.destination, sizeof page);
  if (to == nullptr) { return failure(Status::translation_write, body.destination, sizeof page); }
  put(page.model, "RNGD (emulated)");
  std::snprintf(page.serial, sizeof page.serial, "EMULATED-%04u", options_.index);
  put(page.firmware, "1.0.0+emulated");
  put(page.pert, "1.0.0+emulated");
  page.rqi_version = kVersion;
  page.pe_count = kPes;
  page.pes_per_cluster = kPesPerCluster;
  page.clusters = kPes / kPesPerCluster;
  page.hbm_bytes = hbm_.bytes();
  page.usable_base = kHbmReserved;
  page.usable_bytes = hbm_.bytes() - 2 * kHbmReserved;
  page.sram_bytes_per_pe = image::kSramBytesPerPe;
  page.clock_hz = options_.timing.clock_hz;
  page.max_depth = kMaxDepth;
  page.contexts = kContexts;
  page.semaphores_per_context = kSemaphoresPerContext;
  page.queues_per_context = kQueuesPerContext;
  page.emulated = 1;
  page.image_abi_min = page.image_abi_max = image::kAbi;
  std::memcpy(to, &page, sizeof page);
  return {};
}

Core::Outcome Core::get_log(const GetLogBody& body) {
  if (body.page != 1) { return failure(Status::unsupported_feature, body.page); }  // 1: faults
  const std::uint32_t first = std::clamp(body.first, first_fault_, next_fault_);
  const std::uint32_t wanted = std::min<std::uint32_t>(next_fault_ - first, body.bytes / sizeof(FaultRecord));
  std::byte* to = iommu_.translate(body.destination, wanted * sizeof(FaultRecord));
  if (to == nullptr) { return failure(Status::translation_write, body.destination, body.bytes); }
  for (std::uint32_t i = 0; i < wanted; ++i) {
    std::memcpy(to + i * sizeof(FaultRecord), &faults_[(first + i) % kFaultRecords], sizeof(FaultRecord));
  }
  Outcome outcome;
  outcome.result = wanted;
  return outcome;
}

Core::Outcome Core::create_cq(const CreateCqBody& body) {
  Context* context = context_of(body.context);
  if (context == nullptr) { return failure(Status::no_such_object, body.context); }
  if (body.id >= kQueuesPerContext || !valid_depth(body.depth) || body.vector >= kVectors || body.base % 16 != 0) {
    return failure(Status::invalid_field, body.id, body.depth, body.vector);
  }
  CompletionQueue& queue = context->cq[body.id];
  if (queue.valid) { return failure(Status::id_conflict, body.id); }
  auto* base = reinterpret_cast<CompletionEntry*>(iommu_.translate(body.base, body.depth * sizeof(CompletionEntry)));
  if (base == nullptr) { return failure(Status::translation_write, body.base, body.depth * sizeof(CompletionEntry)); }
  queue = {};
  queue.valid = true;
  queue.id = body.id;
  queue.context = body.context;
  queue.depth = body.depth;
  queue.vector = body.vector;
  queue.base = base;
  queue.iova = body.base;
  doorbells_[(body.context * kQueuesPerContext + body.id) * 2 + 1].store(0);
  return {};
}

Core::Outcome Core::create_sq(const CreateSqBody& body) {
  Context* context = context_of(body.context);
  if (context == nullptr) { return failure(Status::no_such_object, body.context); }
  if (body.id >= kQueuesPerContext || !valid_depth(body.depth) || body.engine_class > 1 || body.base % 64 != 0 ||
      body.cq >= kQueuesPerContext || !context->cq[body.cq].valid) {
    return failure(Status::invalid_field, body.id, body.depth, body.cq);
  }
  SubmissionQueue& queue = context->sq[body.id];
  if (queue.valid) { return failure(Status::id_conflict, body.id); }
  const auto* base =
      reinterpret_cast<SubmissionEntry*>(iommu_.translate(body.base, body.depth * sizeof(SubmissionEntry)));
  if (base == nullptr) { return failure(Status::translation_read, body.base, body.depth * sizeof(SubmissionEntry)); }
  queue = {};
  queue.valid = true;
  queue.id = body.id;
  queue.context = body.context;
  queue.depth = body.depth;
  queue.cq = body.cq;
  queue.engine_class = body.engine_class;
  queue.base = base;
  queue.iova = body.base;
  queue.timeout_us = body.timeout_us;
  queue.timestamp_ring = body.timestamp_ring;
  ++context->cq[body.cq].users;
  doorbells_[(body.context * kQueuesPerContext + body.id) * 2].store(0);
  controls_[body.context * kQueuesPerContext + body.id].store(0);
  refresh_active();
  return {};
}

Core::Outcome Core::delete_queue(const DeleteQueueBody& body, bool submission) {
  Context* context = context_of(body.context);
  if (context == nullptr || body.id >= kQueuesPerContext) {
    return failure(Status::no_such_object, body.context, body.id);
  }
  if (submission) {
    SubmissionQueue& queue = context->sq[body.id];
    if (!queue.valid) { return failure(Status::no_such_object, body.id); }
    halt(queue, Status::aborted_by_deletion, true);
    queue.valid = false;
    --context->cq[queue.cq].users;
    refresh_active();
    return {};
  }
  CompletionQueue& queue = context->cq[body.id];
  if (!queue.valid) { return failure(Status::no_such_object, body.id); }
  if (queue.users != 0) { return failure(Status::in_use, body.id, queue.users); }
  queue.valid = false;
  return {};
}

// Ends what is in flight and everything behind it, one completion each.
void Core::halt(SubmissionQueue& queue, Status status, bool collateral) {
  const std::uint32_t tail = tail_of(queue);
  Outcome outcome;
  outcome.status = status;
  outcome.recovery = Recovery::queue;
  while (tail < queue.depth && queue.head != tail) {
    CompletionQueue& cq = contexts_[queue.context].cq[queue.cq];
    const std::uint32_t host_head =
        doorbells_[(cq.context * kQueuesPerContext + cq.id) * 2 + 1].load(std::memory_order_acquire);
    if (!cq.valid || (cq.tail + 1) % cq.depth == host_head) { break; }
    // What runs in virtual time has already happened: it completes as it is, unless it hangs.
    const bool flying = queue.state == SubmissionQueue::State::running;
    if (flying) {
      finish(queue);
      continue;
    }
    const std::uint16_t command =
        queue.state == SubmissionQueue::State::idle ? queue.base[queue.head].command : queue.entry.command;
    queue.head = (queue.head + 1) % queue.depth;
    queue.state = SubmissionQueue::State::idle;
    post(queue, command, outcome, collateral, ~0u);
  }
  queue.halted = true;
  queue.halt_status = status;
}

Core::Outcome Core::create_partition(const PartitionBody& body) {
  const std::uint32_t count = body.pe_count;
  if ((count != 1 && count != 2 && count != 4) || body.first_pe % count != 0 || body.first_pe + count > kPes ||
      body.flags != 0) {
    return failure(Status::bad_partition, body.first_pe, count);
  }
  const std::uint32_t mask = ((1u << count) - 1) << body.first_pe;
  if ((occupied_mask() & mask) != 0) { return failure(Status::pe_busy, body.first_pe, count, occupied_mask()); }
  const std::uint64_t per_pe = (hbm_.bytes() - 2 * kHbmReserved) / kPes / 4096 * 4096;
  if (body.quota > per_pe * count) { return failure(Status::out_of_hbm, body.quota, per_pe * count); }
  for (std::uint32_t id = 1; id < kContexts; ++id) {
    Context& context = contexts_[id];
    if (context.valid) { continue; }
    context = Context{};
    context.valid = true;
    context.first_pe = body.first_pe;
    context.pe_count = body.pe_count;
    context.window_base = kHbmReserved + per_pe * body.first_pe;
    context.window_bytes = body.quota != 0 ? body.quota / 4096 * 4096 : per_pe * count;
    context.ready_at = time_ns() + static_cast<std::uint64_t>(options_.timing.partition_change_ns);
    for (std::uint32_t s = 0; s < kSemaphoresPerContext; ++s) { set_semaphore(id * kSemaphoresPerContext + s, 0); }
    Outcome outcome;
    outcome.result = id;
    return outcome;
  }
  return failure(Status::in_use, kContexts);
}

Core::Outcome Core::destroy_partition(const PartitionBody& body) {
  Context* context = context_of(body.context);
  if (context == nullptr) { return failure(Status::no_such_object, body.context); }
  for (SubmissionQueue& queue : context->sq) {
    if (!queue.valid) { continue; }
    const bool busy = queue.state != SubmissionQueue::State::idle || queue.head != tail_of(queue);
    if (busy && (body.flags & 1u) == 0) { return failure(Status::in_use, body.context, queue.id); }
    halt(queue, Status::aborted_by_deletion, true);
  }
  hbm_.discard(context->window_base, context->window_bytes);  // the next tenant finds poison
  *context = Context{};
  refresh_active();
  return {};
}

Core::Outcome Core::query_partition(const PartitionBody& body) {
  const PartitionRecord record = partition_record(body.context);
  std::byte* to = iommu_.translate(body.destination, sizeof record);
  if (to == nullptr) { return failure(Status::translation_write, body.destination, sizeof record); }
  std::memcpy(to, &record, sizeof record);
  return {};
}

Core::Outcome Core::discard_memory(const DiscardBody& body) {
  Context* context = context_of(body.context);
  if (context == nullptr) { return failure(Status::no_such_object, body.context); }
  if (body.bytes != 0 && reach(*context, 0, body.address, 0) == nullptr) {
    return failure(Status::translation_write, body.address, body.bytes);
  }
  if (body.bytes > context->window_base + context->window_bytes - body.address) {
    return failure(Status::translation_write, body.address, body.bytes);
  }
  hbm_.discard(body.address, body.bytes);
  return {};
}

Core::Outcome Core::load_program(const LoadProgramBody& body) {
  Context* context = context_of(body.context);
  if (context == nullptr) { return failure(Status::no_such_object, body.context); }
  const std::byte* bytes = iommu_.translate(body.image, body.bytes);
  if (bytes == nullptr) { return failure(Status::translation_read, body.image, body.bytes); }
  const auto reject = [&](Status status, const std::string& text, std::uint64_t offset) {
    std::byte* to = body.error == 0 || body.error_bytes == 0 ? nullptr : iommu_.translate(body.error, body.error_bytes);
    if (to != nullptr) { std::snprintf(reinterpret_cast<char*>(to), body.error_bytes, "%s", text.c_str()); }
    return failure(status, offset);
  };
  const std::vector<std::byte> copy(bytes, bytes + body.bytes);  // the host may change its bytes while we look
  auto program = image::parse(copy, options_.accept_old_ir);
  if (!program) {
    const image::Rejection& why = program.error();
    const Status status = why.reason == image::Reason::format    ? Status::program_format
                          : why.reason == image::Reason::version ? Status::program_too_old
                                                                 : Status::verification_failed;
    return reject(status, why.text, why.offset);
  }
  if (program->pe_count > context->pe_count) {
    return reject(Status::verification_failed,
                  "header.pe_count: " + std::to_string(program->pe_count) + " PEs, the partition has " +
                      std::to_string(context->pe_count) + " (byte " +
                      std::to_string(offsetof(image::Header, pe_count)) + ")",
                  offsetof(image::Header, pe_count));
  }
  LoadedProgram loaded;
  loaded.resident = body.resident;
  if (!program->constants.empty()) {
    std::byte* to = body.resident % 64 == 0 ? reach(*context, 0, body.resident, program->constants.size()) : nullptr;
    if (to == nullptr) { return failure(Status::translation_write, body.resident, program->constants.size()); }
    std::memcpy(to, program->constants.data(), program->constants.size());
  }
  loaded.cost_ns = options_.timing.launch_ns;
  for (const image::Op& op : program->ops) {
    const Work work = work_of(*program, op);
    loaded.cost_ns += options_.timing.operation_ns(work, program->pe_count);
    loaded.macs += work.tensor_macs;
    loaded.bytes_read += work.hbm_bytes;
  }
  for (const std::uint32_t index : program->bindings) {
    const image::Tensor& tensor = program->tensors[index];
    if (tensor.location == image::Location::output) { loaded.bytes_written += tensor.bytes; }
  }
  loaded.bytes_read -= std::min(loaded.bytes_read, loaded.bytes_written);
  program->constants.clear();
  program->constants.shrink_to_fit();
  loaded.program = std::move(*program);
  Outcome outcome;
  outcome.result = next_program_++;
  context->programs.emplace(outcome.result, std::move(loaded));
  return outcome;
}

Core::Outcome Core::unload_program(const UnloadProgramBody& body) {
  Context* context = context_of(body.context);
  if (context == nullptr || context->programs.erase(body.program) == 0) {
    return failure(Status::no_such_object, body.program);
  }
  return {};
}

Core::Outcome Core::abort_entries(const AbortBody& body) {
  Context* context = context_of(body.context);
  if (context == nullptr || body.sq >= kQueuesPerContext || !context->sq[body.sq].valid) {
    return failure(Status::no_such_object, body.sq);
  }
  if (body.command != 0xFFFF) {
    return failure(Status::unsupported_feature, body.command);
  }  // in-order queues: all or nothing
  halt(context->sq[body.sq], Status::aborted_by_request, true);
  return {};
}

Core::Outcome Core::reset_part(const ResetBody& body) {
  const auto reset_queue = [&](SubmissionQueue& queue) {
    if (queue.valid) { halt(queue, Status::aborted_by_reset, true); }
  };
  const auto reset_partition = [&](Context& context) {
    for (SubmissionQueue& queue : context.sq) { reset_queue(queue); }
    for (SubmissionQueue& queue : context.sq) { queue.halted = false; }
    context.faulted = false;
    context.sram.reset();
    context.sram_bytes = 0;
  };
  switch (static_cast<ResetLevel>(body.level)) {
    case ResetLevel::queue: {
      Context* context = context_of(body.context);
      if (context == nullptr || body.sq >= kQueuesPerContext || !context->sq[body.sq].valid) {
        return failure(Status::no_such_object, body.sq);
      }
      reset_queue(context->sq[body.sq]);
      context->sq[body.sq].halted = false;
      return {};
    }
    case ResetLevel::partition: {
      Context* context = context_of(body.context);
      if (context == nullptr) { return failure(Status::no_such_object, body.context); }
      reset_partition(*context);
      return {};
    }
    case ResetLevel::cluster:
      for (std::size_t c = 1; c < contexts_.size(); ++c) {
        if (contexts_[c].valid && contexts_[c].first_pe / kPesPerCluster == body.cluster) {
          reset_partition(contexts_[c]);
        }
      }
      return {};
    default:
      return failure(Status::invalid_field, body.level);  // the whole device: by its reset register
  }
}

Core::Outcome Core::add_injection(std::uint64_t iova) {
  const std::byte* from = iommu_.translate(iova, sizeof(InjectRecord));
  if (from == nullptr) { return failure(Status::translation_read, iova, sizeof(InjectRecord)); }
  InjectRecord record;
  std::memcpy(&record, from, sizeof record);
  if (record.effect == static_cast<std::uint32_t>(InjectEffect::none)) {
    injections_.clear();
    return {};
  }
  if (record.effect > static_cast<std::uint32_t>(InjectEffect::pe_exception) || record.count == 0 ||
      (record.effect == static_cast<std::uint32_t>(InjectEffect::status) && record.status == 0)) {
    return failure(Status::invalid_field, record.effect, record.count);
  }
  injections_.push_back(record);
  return {};
}

}  // namespace rngd::emulator
