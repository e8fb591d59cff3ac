// SPDX-License-Identifier: Apache-2.0
// Streams, events, host functions and stream memory operations.
#include <bit>

#include "driver/context.hpp"
#include "driver/exports.hpp"

using namespace hal::emulated_cuda;

namespace {

using ContextPointer = std::shared_ptr<Context>;

// Context and stream of a call that enqueues.
CUresult enter_stream(CUstream handle, ContextPointer& context, Stream*& stream) {
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  CUresult error = CUDA_SUCCESS;
  stream = stream_of(*context, handle, error);
  return error;
}

// Where a memory operation reaches its word.
CUresult word_at(Context& context, CUdeviceptr address, std::uint64_t bytes, std::byte*& at) {
  const Allocation a = context.shared->memory.around(address);
  if (address % bytes != 0 || a.kind == MemoryKind::unknown || a.begin + a.length - address < bytes) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  at = a.bytes + (address - a.begin);
  return CUDA_SUCCESS;
}

CUresult value_operation(CUstream handle, CUdeviceptr address, std::uint64_t value, unsigned flags, std::uint8_t width,
                         Command::Kind kind) {
  ContextPointer context;
  Stream* stream = nullptr;
  if (const CUresult error = enter_stream(handle, context, stream); error != CUDA_SUCCESS) { return error; }
  const unsigned highest =
      kind == Command::Kind::wait_value ? CU_STREAM_WAIT_VALUE_NOR : CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER;
  if (flags > highest) { return CUDA_ERROR_INVALID_VALUE; }
  Command c;
  c.kind = kind;
  c.width = width;
  c.flags = flags;
  c.value = value;
  if (const CUresult error = word_at(*context, address, width, c.to); error != CUDA_SUCCESS) { return error; }
  c.from = c.to;
  return stream->enqueue(std::move(c));
}

}  // namespace

CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int priority) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (stream == nullptr || flags > CU_STREAM_NON_BLOCKING) { return CUDA_ERROR_INVALID_VALUE; }
  return guarded([&] {
    auto made = std::make_shared<Stream>(context->shared, flags, priority);
    const std::lock_guard lock(context->mutex);
    context->reap();
    context->streams.emplace(made.get(), made);
    *stream = reinterpret_cast<CUstream>(made.get());
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamCreate(CUstream* stream, unsigned flags) { return cuStreamCreateWithPriority(stream, flags, 0); }

CUresult cuStreamDestroy_v2(CUstream handle) {
  ContextPointer context;
  const CUresult entered = enter(context);
  if (!context) { return entered; }
  const std::lock_guard lock(context->mutex);
  const auto it = context->streams.find(handle);
  if (it == context->streams.end()) { return CUDA_ERROR_INVALID_HANDLE; }
  it->second->close();
  context->ending.insert(context->streams.extract(it));
  context->reap();
  return entered;
}

// Waits in a lost context too: a host function that runs may not outlive what it uses.
CUresult cuStreamSynchronize(CUstream handle) {
  ContextPointer context;
  const CUresult entered = enter(context);
  if (!context) { return entered; }
  CUresult error = CUDA_SUCCESS;
  Stream* stream = stream_of(*context, handle, error);
  if (stream == nullptr) { return error; }
  stream->wait(stream->submitted());
  return static_cast<CUresult>(context->shared->fault.load());
}

// The same: of a lost context's stream it says that it has ended once it has.
CUresult cuStreamQuery(CUstream handle) {
  ContextPointer context;
  const CUresult entered = enter(context);
  if (!context) { return entered; }
  CUresult error = CUDA_SUCCESS;
  const Stream* stream = stream_of(*context, handle, error);
  if (stream == nullptr) { return error; }
  return stream->idle() ? static_cast<CUresult>(context->shared->fault.load()) : CUDA_ERROR_NOT_READY;
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned flags) {
  ContextPointer context;
  Stream* stream = nullptr;
  if (const CUresult error = enter_stream(handle, context, stream); error != CUDA_SUCCESS) { return error; }
  if (flags > 1) { return CUDA_ERROR_INVALID_VALUE; }
  auto event = event_of(*context, event_handle);
  if (!event) { return CUDA_ERROR_INVALID_HANDLE; }
  // Waits for the record that is the latest now; an event never recorded is reached.
  const std::uint64_t recorded = event->recorded.load();
  if (event->completed.load() >= recorded) { return CUDA_SUCCESS; }
  Command c;
  c.kind = Command::Kind::wait_event;
  c.value = recorded;
  c.event = std::move(event);
  return stream->enqueue(std::move(c));
}

CUresult cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr address, cuuint64_t value, unsigned flags) {
  return value_operation(stream, address, value, flags, 8, Command::Kind::write_value);
}
CUresult cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned flags) {
  return value_operation(stream, address, value, flags, 4, Command::Kind::write_value);
}
CUresult cuStreamWaitValue64_v2(CUstream stream, CUdeviceptr address, cuuint64_t value, unsigned flags) {
  return value_operation(stream, address, value, flags, 8, Command::Kind::wait_value);
}
CUresult cuStreamWaitValue32_v2(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned flags) {
  return value_operation(stream, address, value, flags, 4, Command::Kind::wait_value);
}

CUresult cuEventCreate(CUevent* event, unsigned flags) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (event == nullptr || flags > 7) { return CUDA_ERROR_INVALID_VALUE; }
  if ((flags & CU_EVENT_INTERPROCESS) != 0) { return CUDA_ERROR_NOT_SUPPORTED; }
  return guarded([&] {
    auto made = std::make_shared<Event>(flags);
    const std::lock_guard lock(context->mutex);
    context->events.emplace(made.get(), made);
    *event = reinterpret_cast<CUevent>(made.get());
    return CUDA_SUCCESS;
  });
}

CUresult cuEventDestroy_v2(CUevent handle) {
  ContextPointer context;
  const CUresult entered = enter(context);
  if (!context) { return entered; }
  const std::lock_guard lock(context->mutex);
  if (context->events.erase(handle) == 0) { return CUDA_ERROR_INVALID_HANDLE; }
  return entered;
}

CUresult cuEventRecord(CUevent handle, CUstream stream_handle) {
  ContextPointer context;
  Stream* stream = nullptr;
  if (const CUresult error = enter_stream(stream_handle, context, stream); error != CUDA_SUCCESS) { return error; }
  Command c;
  c.kind = Command::Kind::record;
  c.event = event_of(*context, handle);
  if (!c.event) { return CUDA_ERROR_INVALID_HANDLE; }
  return stream->enqueue(std::move(c));
}

CUresult cuEventQuery(CUevent handle) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  const auto event = event_of(*context, handle);
  if (!event) { return CUDA_ERROR_INVALID_HANDLE; }
  return event->completed.load() >= event->recorded.load() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuEventSynchronize(CUevent handle) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  const auto event = event_of(*context, handle);
  if (!event) { return CUDA_ERROR_INVALID_HANDLE; }
  const std::uint64_t recorded = event->recorded.load();
  context->shared->signals.wait([&] { return event->completed.load() >= recorded || context->shared->failed(); });
  return static_cast<CUresult>(context->shared->fault.load());
}

CUresult cuEventElapsedTime(float* milliseconds, CUevent start_handle, CUevent end_handle) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (milliseconds == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  const auto start = event_of(*context, start_handle), end = event_of(*context, end_handle);
  if (!start || !end || ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) != 0 || start->recorded.load() == 0 ||
      end->recorded.load() == 0) {
    return CUDA_ERROR_INVALID_HANDLE;
  }
  if (start->completed.load() < start->recorded.load() || end->completed.load() < end->recorded.load()) {
    return CUDA_ERROR_NOT_READY;
  }
  *milliseconds = static_cast<float>(static_cast<double>(end->time_ns.load() - start->time_ns.load()) / 1.0e6);
  return CUDA_SUCCESS;
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void* user) {
  ContextPointer context;
  Stream* stream = nullptr;
  if (const CUresult error = enter_stream(handle, context, stream); error != CUDA_SUCCESS) { return error; }
  if (function == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  Command c;
  c.kind = Command::Kind::host_function;
  c.function = function;
  c.user = user;
  return stream->enqueue(std::move(c));
}
