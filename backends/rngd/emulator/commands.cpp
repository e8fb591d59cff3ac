// SPDX-License-Identifier: Apache-2.0
// What each submission entry does. A guest's mistake becomes a status and a fault record, never the emulator's crash.
#include <algorithm>
#include <cstring>
#include <new>

#include "emulator/core.hpp"

namespace rngd::emulator {

using namespace rqi;

Core::Outcome Core::failure(Status status, std::uint64_t address, std::uint64_t aux0, std::uint64_t aux1) {
  Outcome outcome;
  outcome.status = status;
  outcome.recovery = Recovery::queue;
  outcome.address = address;
  outcome.aux[0] = aux0;
  outcome.aux[1] = aux1;
  return outcome;
}

std::byte* Core::reach(const Context& context, std::uint8_t space, std::uint64_t address, std::uint64_t bytes) {
  if (space == static_cast<std::uint8_t>(Space::host)) { return iommu_.translate(address, bytes); }
  if (space != static_cast<std::uint8_t>(Space::hbm) || address < context.window_base ||
      address - context.window_base > context.window_bytes ||
      bytes > context.window_bytes - (address - context.window_base)) {
    return nullptr;
  }
  return hbm_.touch(address, bytes);
}

Core::Outcome Core::inject(const SubmissionQueue& queue, const SubmissionEntry& entry, bool& struck) {
  for (auto it = injections_.begin(); it != injections_.end(); ++it) {
    const bool matches = (it->opcode == 0xFFFF || it->opcode == entry.opcode) &&
                         (it->context == 0xFFFF || it->context == queue.context) &&
                         (it->sq == 0xFFFF || it->sq == queue.id);
    if (!matches) { continue; }
    if (it->skip > 0) {
      --it->skip;
      continue;
    }
    const InjectRecord record = *it;
    if (--it->count == 0) { injections_.erase(it); }
    Outcome outcome;
    struck = true;
    switch (static_cast<InjectEffect>(record.effect)) {
      case InjectEffect::status:
        return failure(static_cast<Status>(record.status));
      case InjectEffect::lose_completion:
        outcome = execute_entry(contexts_[queue.context], entry);
        outcome.lose_completion = true;
        return outcome;
      case InjectEffect::hang:
        outcome.hang = true;
        return outcome;
      default:
        outcome = failure(Status::pe_exception);
        outcome.recovery = Recovery::partition;
        return outcome;
    }
  }
  return {};
}

Core::Outcome Core::execute_entry(Context& context, const SubmissionEntry& entry) {
  try {
    switch (static_cast<Opcode>(entry.opcode)) {
      case Opcode::nop:
      case Opcode::barrier:
      case Opcode::sem:
      case Opcode::marker:
        return {};
      case Opcode::exec_graph:
        return exec_graph(context, entry);
      case Opcode::dma_copy:
        return dma_copy(context, entry);
      case Opcode::dma_nd:
        return dma_nd(context, entry);
      case Opcode::dma_fill:
        return dma_fill(context, entry);
      case Opcode::timestamp:
        return timestamp(context, entry);
    }
  } catch (const std::bad_alloc&) { return failure(Status::no_memory); }
  return failure(Status::invalid_opcode, entry.opcode);
}

void Core::count(const Context& context, const Outcome& outcome, std::uint64_t read, std::uint64_t written,
                 std::uint64_t macs, bool execution) {
  const std::uint64_t busy = execution ? static_cast<std::uint64_t>(outcome.cost_ns) : 0;
  for (std::uint32_t pe = context.first_pe; pe < context.first_pe + context.pe_count; ++pe) {
    PeCounters& counters = counters_[pe];
    counters.busy_ns += busy;
    counters.energy_nj += static_cast<std::uint64_t>(static_cast<double>(busy) * options_.timing.watts_per_pe);
    counters.executions += execution ? 1 : 0;
    counters.multiply_accumulates += macs / context.pe_count;
  }
  // Bytes belong to the transfer, not to each PE: they are booked on the first.
  PeCounters& counters = counters_[context.first_pe];
  counters.bytes_read += read;
  counters.bytes_written += written;
  counters.dma_commands += execution ? 0 : 1;
}

Core::Outcome Core::dma_copy(Context& context, const SubmissionEntry& entry) {
  const DmaCopyBody& body = entry.body.copy;
  if (body.reserved != 0) { return failure(Status::invalid_field, 0x20 + offsetof(DmaCopyBody, reserved)); }
  const std::byte* from = reach(context, body.source_space, body.source, body.bytes);
  if (from == nullptr) { return failure(Status::translation_read, body.source, body.bytes, body.source_space); }
  std::byte* to = reach(context, body.destination_space, body.destination, body.bytes);
  if (to == nullptr) {
    return failure(Status::translation_write, body.destination, body.bytes, body.destination_space);
  }
  std::memmove(to, from, body.bytes);
  Outcome outcome;
  const bool host = body.source_space != 0 || body.destination_space != 0;
  outcome.cost_ns = options_.timing.copy_ns(body.bytes, host, context.pe_count);
  count(context, outcome, body.bytes, body.bytes, 0, false);
  return outcome;
}

Core::Outcome Core::dma_fill(Context& context, const SubmissionEntry& entry) {
  const DmaFillBody& body = entry.body.fill;
  const std::uint64_t width = body.pattern_bytes;
  if ((width != 1 && width != 2 && width != 4 && width != 8) || body.bytes % width != 0 || body.reserved != 0) {
    return failure(Status::invalid_field, 0x20 + offsetof(DmaFillBody, pattern_bytes), width, body.bytes);
  }
  std::byte* to = reach(context, body.space, body.destination, body.bytes);
  if (to == nullptr) { return failure(Status::translation_write, body.destination, body.bytes, body.space); }
  if (width == 1) {
    std::memset(to, static_cast<int>(body.pattern & 0xFF), body.bytes);
  } else {
    for (std::uint64_t i = 0; i < body.bytes; i += width) { std::memcpy(to + i, &body.pattern, width); }
  }
  Outcome outcome;
  outcome.cost_ns = options_.timing.copy_ns(body.bytes, body.space != 0, context.pe_count);
  count(context, outcome, 0, body.bytes, 0, false);
  return outcome;
}

Core::Outcome Core::dma_nd(Context& context, const SubmissionEntry& entry) {
  const DmaNdBody& body = entry.body.nd;
  if (body.count == 0 || body.flags != 0 || body.reserved != 0 || body.stride < sizeof(DmaDescriptor)) {
    return failure(Status::invalid_field, 0x20 + offsetof(DmaNdBody, count), body.count, body.stride);
  }
  Outcome outcome;
  std::uint64_t moved = 0;
  for (std::uint32_t i = 0; i < body.count; ++i) {
    const std::byte* at = iommu_.translate(body.descriptor + std::uint64_t{i} * body.stride, sizeof(DmaDescriptor));
    if (at == nullptr) { return failure(Status::translation_read, body.descriptor + std::uint64_t{i} * body.stride); }
    DmaDescriptor descriptor;
    std::memcpy(&descriptor, at, sizeof descriptor);
    if (descriptor.version != 1 || descriptor.flags != 0 || descriptor.index_base != 0 || descriptor.reserved != 0) {
      return failure(Status::unsupported_feature, i, descriptor.version,
                     descriptor.flags);  // gather and scatter: not here
    }
    if (descriptor.loop_count < 1 || descriptor.loop_count > kDmaLoops) {
      return failure(Status::dma_loop_limit, i, descriptor.loop_count);
    }
    if (descriptor.packet_bytes < 1 || descriptor.packet_bytes > kDmaPacketLimit) {
      return failure(Status::dma_packet, i, descriptor.packet_bytes);
    }
    // The whole reach is checked before the first byte moves.
    __extension__ using Wide = __int128;
    Wide source_low = descriptor.source, source_high = source_low, target_low = descriptor.destination,
         target_high = target_low;
    std::uint64_t packets = 1;
    for (unsigned loop = 0; loop < descriptor.loop_count; ++loop) {
      const DmaLoop& level = descriptor.loops[loop];
      if (level.count < 1 || level.count > kDmaIterationLimit || level.reserved != 0) {
        return failure(Status::dma_loop_limit, i, level.count, loop);
      }
      if (packets > (1ull << 40) / level.count) { return failure(Status::dma_loop_limit, i, packets, loop); }
      packets *= level.count;
      const Wide source_reach = Wide{level.count - 1} * level.source_stride;
      const Wide target_reach = Wide{level.count - 1} * level.destination_stride;
      (source_reach < 0 ? source_low : source_high) += source_reach;
      (target_reach < 0 ? target_low : target_high) += target_reach;
    }
    const Wide limit = Wide{1} << 63;
    const bool sane = source_low >= 0 && target_low >= 0 && source_high < limit && target_high < limit;
    const auto from_address = static_cast<std::uint64_t>(source_low),
               to_address = static_cast<std::uint64_t>(target_low);
    const std::byte* from = !sane
                                ? nullptr
                                : reach(context, descriptor.source_space, from_address,
                                        static_cast<std::uint64_t>(source_high - source_low) + descriptor.packet_bytes);
    if (from == nullptr) { return failure(Status::translation_read, descriptor.source, i, descriptor.source_space); }
    std::byte* to = reach(context, descriptor.destination_space, to_address,
                          static_cast<std::uint64_t>(target_high - target_low) + descriptor.packet_bytes);
    if (to == nullptr) {
      return failure(Status::translation_write, descriptor.destination, i, descriptor.destination_space);
    }
    from += descriptor.source - from_address;
    to += descriptor.destination - to_address;
    std::uint32_t index[kDmaLoops] = {};
    std::int64_t source = 0, target = 0;
    for (std::uint64_t packet = 0; packet < packets; ++packet) {
      std::memmove(to + target, from + source, descriptor.packet_bytes);
      for (unsigned loop = descriptor.loop_count; loop-- > 0;) {  // the last loop is the innermost
        const DmaLoop& level = descriptor.loops[loop];
        source += level.source_stride;
        target += level.destination_stride;
        if (++index[loop] < level.count) { break; }
        source -= level.source_stride * level.count;
        target -= level.destination_stride * level.count;
        index[loop] = 0;
      }
    }
    moved += packets * descriptor.packet_bytes;
    const bool host = descriptor.source_space != 0 || descriptor.destination_space != 0;
    // One request moves at most 256 bytes, so short packets waste the engine [BOOK, A].
    const std::uint64_t requests = (descriptor.packet_bytes + 255) / 256 * 256;
    outcome.cost_ns +=
        options_.timing.copy_ns(packets * (host ? descriptor.packet_bytes : requests), host, context.pe_count);
  }
  count(context, outcome, moved, moved, 0, false);
  return outcome;
}

Core::Outcome Core::timestamp(Context& context, const SubmissionEntry& entry) {
  const TimestampBody& body = entry.body.timestamp;
  if (body.domain > 1) { return failure(Status::unsupported_feature, body.domain); }
  std::byte* to = reach(context, body.space, body.destination, 8);
  if (to == nullptr) { return failure(Status::translation_write, body.destination, 8, body.space); }
  const std::uint64_t value = body.domain == 0 ? time_ns() : read(kBarRegisters, offset_of(Reg::cycle_counter), 8);
  std::memcpy(to, &value, 8);
  return {};
}

Core::Outcome Core::exec_graph(Context& context, const SubmissionEntry& entry) {
  const ExecGraphBody& body = entry.body.exec;
  const auto found = context.programs.find(body.program);
  if (found == context.programs.end()) { return failure(Status::no_such_object, body.program); }
  const LoadedProgram& loaded = found->second;
  const image::Program& program = loaded.program;
  const auto mismatch = [&](std::uint64_t binding, std::uint64_t have, std::uint64_t need) {
    Outcome outcome = failure(Status::binding_mismatch, binding, have, need);
    outcome.program = body.program;
    return outcome;
  };
  if (body.entry_point != 0 || body.argument_bytes != 0 || body.profile_buffer != 0 || body.group_tag != 0) {
    return failure(Status::unsupported_feature, body.entry_point);
  }
  const std::size_t needed = program.bindings.size() + (program.scratch_bytes != 0 ? 1 : 0);
  if (body.binding_count != needed) { return mismatch(~0ull, body.binding_count, needed); }
  std::vector<Binding> bindings(needed);
  if (needed > 0) {
    const std::byte* table = iommu_.translate(body.binding_table, needed * sizeof(Binding));
    if (table == nullptr) { return failure(Status::translation_read, body.binding_table, needed * sizeof(Binding)); }
    std::memcpy(bindings.data(), table, needed * sizeof(Binding));
  }
  std::vector<std::byte*> pointers(needed);
  for (std::size_t i = 0; i < needed; ++i) {
    const Binding& binding = bindings[i];
    const bool scratch = i == program.bindings.size();
    const image::Tensor* tensor = scratch ? nullptr : &program.tensors[program.bindings[i]];
    const std::uint64_t bytes = scratch ? program.scratch_bytes : tensor->bytes;
    const Direction direction = scratch                   ? Direction::scratch
                                : i < program.input_count ? Direction::input
                                                          : Direction::output;
    if (binding.bytes < bytes) { return mismatch(i, binding.bytes, bytes); }
    if (binding.direction != static_cast<std::uint8_t>(direction)) {
      return mismatch(i, binding.direction, static_cast<std::uint64_t>(direction));
    }
    if (!scratch && binding.dtype != static_cast<std::uint8_t>(tensor->dtype)) {
      return mismatch(i, binding.dtype, static_cast<std::uint64_t>(tensor->dtype));
    }
    if (binding.flags != 0 || binding.reserved != 0 || binding.space != static_cast<std::uint8_t>(Space::hbm)) {
      return failure(Status::invalid_field, body.binding_table + i * sizeof(Binding), binding.space, binding.flags);
    }
    if (scratch && binding.address % 64 != 0) { return failure(Status::dma_alignment, binding.address, 64, i); }
    pointers[i] = reach(context, binding.space, binding.address, bytes);
    if (pointers[i] == nullptr) {
      return failure(direction == Direction::input ? Status::translation_read : Status::translation_write,
                     binding.address, bytes, i);
    }
    for (std::size_t k = 0; k < i; ++k) {  // inputs may share bytes with inputs, nothing else may
      const bool apart =
          bindings[k].address + bindings[k].bytes <= binding.address || binding.address + bytes <= bindings[k].address;
      if (!apart && i >= program.input_count) { return mismatch(i, binding.address, k); }
    }
  }
  Outcome outcome;
  outcome.program = body.program;
  if (program.ir_version < image::kIrVersion) {
    outcome.hang = true;
    return outcome;
  }
  if (context.sram_bytes < program.sram_bytes) {
    context.sram = std::make_unique_for_overwrite<std::byte[]>(program.sram_bytes);
    context.sram_bytes = program.sram_bytes;
    poison(context.sram.get(), context.sram_bytes);
  }
  const std::byte* constants =
      program.constants.empty() && loaded.resident == 0 ? nullptr : hbm_.touch(loaded.resident, 0);
  // The tensor DMA reads and writes HBM at any byte [BOOK, A]; the executor's loops want elements aligned.
  std::vector<std::unique_ptr<std::byte[]>> aligned(program.bindings.size());
  std::vector<std::byte*> operands(pointers.begin(), pointers.begin() + static_cast<std::ptrdiff_t>(aligned.size()));
  for (std::size_t i = 0; i < aligned.size(); ++i) {
    const image::Tensor& tensor = program.tensors[program.bindings[i]];
    if (bindings[i].address % image::element_bytes(tensor.dtype) == 0) { continue; }
    aligned[i] = std::make_unique_for_overwrite<std::byte[]>(tensor.bytes);
    operands[i] = aligned[i].get();
    if (i < program.input_count) { std::memcpy(operands[i], pointers[i], tensor.bytes); }
  }
  const ExecutionFault fault = execute(
      program, {operands, constants, context.sram.get(), program.scratch_bytes != 0 ? pointers.back() : nullptr});
  for (std::size_t i = program.input_count; i < aligned.size(); ++i) {
    if (aligned[i] != nullptr && !fault.failed) {
      std::memcpy(pointers[i], operands[i], program.tensors[program.bindings[i]].bytes);
    }
  }
  if (fault.failed) {
    outcome = failure(Status::index_out_of_range, 0, static_cast<std::uint64_t>(fault.index), fault.limit);
    outcome.program = body.program;
    outcome.op = fault.op;
  }
  outcome.cost_ns = loaded.cost_ns;
  outcome.result = static_cast<std::uint32_t>(std::min(loaded.cost_ns, 4e9));
  count(context, outcome, loaded.bytes_read, loaded.bytes_written, loaded.macs, true);
  return outcome;
}

}  // namespace rngd::emulator
