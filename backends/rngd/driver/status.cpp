// SPDX-License-Identifier: Apache-2.0
// Names and sentences for the device's numbers: the one place where RQI statuses become librngd's.
#include <cstdarg>
#include <cstdio>

#include "driver/internal.hpp"

using rngd::rqi::Status;

namespace rngd::driver {

rngd_status fail(rngd_error* error, rngd_status status, const char* format, ...) {
  if (error != nullptr) {
    *error = {};
    error->status = status;
    error->program = error->op = ~0u;
    std::va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
  }
  return status;
}

rngd_status status_of(Status status) {
  switch (status) {
    case Status::success:
      return RNGD_OK;
    case Status::invalid_opcode:
    case Status::invalid_field:
    case Status::context_violation:
    case Status::bad_partition:
    case Status::binding_mismatch:
    case Status::bad_semaphore:
      return RNGD_INVALID_ARGUMENT;
    case Status::pe_busy:
    case Status::in_use:
      return RNGD_BUSY;
    case Status::no_such_object:
      return RNGD_NOT_FOUND;
    case Status::out_of_hbm:
      return RNGD_OUT_OF_MEMORY;
    case Status::no_memory:
      return RNGD_OUT_OF_HOST_MEMORY;
    case Status::unsupported_feature:
      return RNGD_UNSUPPORTED;
    case Status::program_format:
    case Status::program_too_old:
    case Status::verification_failed:
      return RNGD_PROGRAM_REJECTED;
    case Status::aborted_by_request:
    case Status::aborted_by_deletion:
    case Status::aborted_by_reset:
    case Status::aborted_by_earlier_failure:
      return RNGD_ABORTED;
    case Status::timeout:
      return RNGD_EXECUTION_TIMEOUT;
    case Status::index_out_of_range:
      return RNGD_INDEX_OUT_OF_RANGE;
    default:
      return RNGD_FAULT;
  }
}

namespace {

const char* opcode_name(std::uint8_t opcode) {
  switch (static_cast<rqi::Opcode>(opcode)) {
    case rqi::Opcode::nop:
      return "NOP";
    case rqi::Opcode::exec_graph:
      return "EXEC_GRAPH";
    case rqi::Opcode::dma_copy:
      return "DMA_COPY";
    case rqi::Opcode::dma_nd:
      return "DMA_ND";
    case rqi::Opcode::dma_fill:
      return "DMA_FILL";
    case rqi::Opcode::barrier:
      return "BARRIER";
    case rqi::Opcode::sem:
      return "SEM";
    case rqi::Opcode::timestamp:
      return "TIMESTAMP";
    case rqi::Opcode::marker:
      return "MARKER";
  }
  return "unknown command";
}

}  // namespace

void describe_fault(rngd_error& error, const rqi::CompletionEntry& completion, const rngd_fault* fault) {
  const Status status = rqi::status_of(completion.status);
  error.status = status_of(status);
  error.device_status = static_cast<std::uint16_t>(status);
  error.recovery = static_cast<std::uint8_t>(rqi::recovery_of(completion.status));
  error.program = error.op = ~0u;
  const char* text = rngd_device_status_text(error.device_status);
  if (fault == nullptr) {
    std::snprintf(error.text, sizeof error.text, "command %llu: %s", static_cast<unsigned long long>(error.command),
                  text);
    return;
  }
  error.address = fault->address;
  error.detail[0] = fault->detail[0];
  error.detail[1] = fault->detail[1];
  error.program = fault->program;
  error.op = fault->op;
  const auto u = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  int used = std::snprintf(error.text, sizeof error.text, "command %llu, %s: %s", u(error.command),
                           opcode_name(fault->opcode), text);
  if (used < 0 || static_cast<std::size_t>(used) >= sizeof error.text) { return; }
  char* rest = error.text + used;
  const std::size_t room = sizeof error.text - static_cast<std::size_t>(used);
  switch (status) {
    case Status::translation_read:
    case Status::translation_write:
      std::snprintf(rest, room, " at 0x%llx (%llu): the address is outside what this partition may reach",
                    u(fault->address), u(fault->detail[0]));
      break;
    case Status::binding_mismatch:
      if (fault->address == ~0ull) {
        std::snprintf(rest, room, ": %llu bindings given, the program has %llu", u(fault->detail[0]),
                      u(fault->detail[1]));
      } else {
        std::snprintf(rest, room, ": binding %llu has %llu, the program needs %llu", u(fault->address),
                      u(fault->detail[0]), u(fault->detail[1]));
      }
      break;
    case Status::index_out_of_range:
      std::snprintf(rest, room, ": op %u meets index %lld, valid are 0 to %llu", fault->op,
                    static_cast<long long>(fault->detail[0]), u(fault->detail[1] - 1));
      break;
    case Status::dma_alignment:
      std::snprintf(rest, room, ": 0x%llx is not aligned to %llu", u(fault->address), u(fault->detail[0]));
      break;
    default:
      std::snprintf(rest, room, " (0x%llx, 0x%llx, 0x%llx)", u(fault->address), u(fault->detail[0]),
                    u(fault->detail[1]));
      break;
  }
}

}  // namespace rngd::driver

uint32_t rngd_version(void) { return RNGD_VERSION; }

const char* rngd_status_name(rngd_status status) {
  switch (status) {
#define RNGD_NAME(name) \
  case name:            \
    return #name
    RNGD_NAME(RNGD_OK);
    RNGD_NAME(RNGD_WOULD_BLOCK);
    RNGD_NAME(RNGD_REACHED);
    RNGD_NAME(RNGD_TIMEOUT);
    RNGD_NAME(RNGD_INVALID_ARGUMENT);
    RNGD_NAME(RNGD_BUSY);
    RNGD_NAME(RNGD_NOT_FOUND);
    RNGD_NAME(RNGD_OUT_OF_MEMORY);
    RNGD_NAME(RNGD_OUT_OF_HOST_MEMORY);
    RNGD_NAME(RNGD_OUT_OF_RESOURCES);
    RNGD_NAME(RNGD_UNSUPPORTED);
    RNGD_NAME(RNGD_PROGRAM_REJECTED);
    RNGD_NAME(RNGD_QUEUE_FAILED);
    RNGD_NAME(RNGD_ABORTED);
    RNGD_NAME(RNGD_DEVICE_LOST);
    RNGD_NAME(RNGD_INCOMPATIBLE);
    RNGD_NAME(RNGD_EXECUTION_TIMEOUT);
    RNGD_NAME(RNGD_INDEX_OUT_OF_RANGE);
    RNGD_NAME(RNGD_FAULT);
    RNGD_NAME(RNGD_INTERNAL);
#undef RNGD_NAME
  }
  return "RNGD_UNKNOWN";
}

const char* rngd_status_text(rngd_status status) {
  switch (status) {
    case RNGD_OK:
      return "success";
    case RNGD_WOULD_BLOCK:
      return "the queue is full";
    case RNGD_REACHED:
      return "the value is reached already";
    case RNGD_TIMEOUT:
      return "the time given to the wait has passed";
    case RNGD_INVALID_ARGUMENT:
      return "invalid argument";
    case RNGD_BUSY:
      return "in use";
    case RNGD_NOT_FOUND:
      return "no such object";
    case RNGD_OUT_OF_MEMORY:
      return "out of device memory";
    case RNGD_OUT_OF_HOST_MEMORY:
      return "out of host memory";
    case RNGD_OUT_OF_RESOURCES:
      return "out of queues, contexts or events";
    case RNGD_UNSUPPORTED:
      return "not supported by this device";
    case RNGD_PROGRAM_REJECTED:
      return "the program was rejected";
    case RNGD_QUEUE_FAILED:
      return "a command of the queue failed";
    case RNGD_ABORTED:
      return "aborted";
    case RNGD_DEVICE_LOST:
      return "the device is lost";
    case RNGD_INCOMPATIBLE:
      return "incompatible firmware, interface or bus";
    case RNGD_EXECUTION_TIMEOUT:
      return "execution timed out on the device";
    case RNGD_INDEX_OUT_OF_RANGE:
      return "an index tensor holds an index out of range";
    case RNGD_FAULT:
      return "the device reported a fault";
    case RNGD_INTERNAL:
      return "internal error";
  }
  return "unknown status";
}

const char* rngd_device_status_text(uint16_t device_status) {
  switch (static_cast<Status>(device_status)) {
    case Status::success:
      return "success";
    case Status::invalid_opcode:
      return "invalid opcode";
    case Status::invalid_field:
      return "invalid field";
    case Status::id_conflict:
      return "identifier in use";
    case Status::queue_full:
      return "queue full";
    case Status::aborted_by_request:
      return "aborted by request";
    case Status::aborted_by_deletion:
      return "aborted by queue deletion";
    case Status::aborted_by_reset:
      return "aborted by reset";
    case Status::aborted_by_earlier_failure:
      return "aborted because an earlier command failed";
    case Status::timeout:
      return "execution timeout";
    case Status::context_violation:
      return "context violation";
    case Status::internal:
      return "internal firmware error";
    case Status::no_memory:
      return "the firmware has no memory left";
    case Status::bad_partition:
      return "bad partition size or alignment";
    case Status::pe_busy:
      return "processing elements busy";
    case Status::program_format:
      return "not a program";
    case Status::program_too_old:
      return "program version not supported";
    case Status::verification_failed:
      return "program verification failed";
    case Status::binding_mismatch:
      return "binding mismatch";
    case Status::out_of_hbm:
      return "out of HBM";
    case Status::bad_semaphore:
      return "bad semaphore";
    case Status::unsupported_feature:
      return "unsupported feature";
    case Status::no_such_object:
      return "no such object";
    case Status::in_use:
      return "object in use";
    case Status::hbm_uncorrected:
      return "uncorrected HBM error";
    case Status::sram_parity:
      return "SRAM parity error";
    case Status::poisoned_read:
      return "poisoned read";
    case Status::noc_timeout:
      return "on-chip network timeout";
    case Status::translation_read:
      return "translation fault on read";
    case Status::translation_write:
      return "translation fault on write";
    case Status::dma_alignment:
      return "DMA alignment";
    case Status::dma_packet:
      return "DMA packet size";
    case Status::dma_loop_limit:
      return "DMA loop limit";
    case Status::pe_exception:
      return "PE exception";
    case Status::tensor_unit_hang:
      return "tensor unit hang";
    case Status::index_out_of_range:
      return "index out of range";
  }
  return "unknown device status";
}
