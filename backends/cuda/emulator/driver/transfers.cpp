// SPDX-License-Identifier: Apache-2.0
// Allocation, copies and fills.
#include <cstring>

#include "driver/context.hpp"
#include "driver/exports.hpp"

using namespace hal::emulated_cuda;

namespace {

using ContextPointer = std::shared_ptr<Context>;

CUresult enter_stream(CUstream handle, ContextPointer& context, Stream*& stream) {
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  CUresult error = CUDA_SUCCESS;
  stream = stream_of(*context, handle, error);
  return error;
}

// One side of a copy.
struct Place {
  std::byte* bytes = nullptr;
  bool pageable = false;
};

CUresult device_place(Context& context, CUdeviceptr address, std::size_t bytes, Place& place) {
  const Allocation a = context.shared->memory.around(address);
  if (a.kind == MemoryKind::unknown || a.begin + a.length - address < bytes) { return CUDA_ERROR_INVALID_VALUE; }
  place.bytes = a.bytes + (address - a.begin);
  return CUDA_SUCCESS;
}

CUresult host_place(Context& context, const void* pointer, std::size_t bytes, Place& place) {
  if (pointer == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  const auto address = reinterpret_cast<std::uint64_t>(pointer);
  const Allocation a = context.shared->memory.around(address);
  if (a.kind == MemoryKind::device) { return device_place(context, address, bytes, place); }
  place.pageable = a.kind == MemoryKind::unknown || a.begin + a.length - address < bytes;
  place.bytes = const_cast<std::byte*>(static_cast<const std::byte*>(pointer));
  return CUDA_SUCCESS;
}

// Copies from pageable memory take their bytes now, copies to it return when they are done: the documented behaviour of
// the asynchronous copies for memory that is not pinned.
CUresult copy(Context& context, Stream& stream, const Place& to, const Place& from, std::size_t bytes) {
  if (bytes == 0) { return CUDA_SUCCESS; }
  Command c;
  c.to = to.bytes;
  c.from = from.bytes;
  c.bytes = bytes;
  if (from.pageable) {
    c.kind = Command::Kind::copy_staged;
    const CUresult staged = guarded([&] {
      c.data.assign(from.bytes, from.bytes + bytes);
      return CUDA_SUCCESS;
    });
    if (staged != CUDA_SUCCESS) { return staged; }
  }
  if (const CUresult error = stream.enqueue(std::move(c)); error != CUDA_SUCCESS) { return error; }
  if (to.pageable) {
    stream.wait(stream.submitted());
    return static_cast<CUresult>(context.shared->fault.load());
  }
  return CUDA_SUCCESS;
}

CUresult fill(CUstream handle, CUdeviceptr to, std::uint64_t value, std::size_t count, std::uint8_t width) {
  ContextPointer context;
  Stream* stream = nullptr;
  if (const CUresult error = enter_stream(handle, context, stream); error != CUDA_SUCCESS) { return error; }
  if (count == 0) { return CUDA_SUCCESS; }
  Place place;
  if (to % width != 0 || count > (std::size_t{1} << 60) / width) { return CUDA_ERROR_INVALID_VALUE; }
  if (const CUresult error = device_place(*context, to, count * width, place); error != CUDA_SUCCESS) { return error; }
  Command c;
  c.kind = Command::Kind::fill;
  c.to = place.bytes;
  c.bytes = count;
  c.value = value;
  c.width = width;
  return stream->enqueue(std::move(c));
}

}  // namespace

CUresult cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (free == nullptr || total == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  *total = context->shared->memory.capacity();
  *free = *total - context->shared->memory.used();
  return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr* address, std::size_t bytes) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (address == nullptr || bytes == 0) { return CUDA_ERROR_INVALID_VALUE; }
  return guarded([&] {
    const std::uint64_t made = context->shared->memory.allocate(bytes);
    if (made == 0) { return CUDA_ERROR_OUT_OF_MEMORY; }
    *address = made;
    return CUDA_SUCCESS;
  });
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  ContextPointer context;
  const CUresult entered = enter(context);
  if (!context) { return entered; }
  if (address == 0) { return entered; }
  context->synchronize();  // as the real call does: nothing may still use the memory
  if (!context->shared->memory.release(address)) { return CUDA_ERROR_INVALID_VALUE; }
  return static_cast<CUresult>(context->shared->fault.load());
}

CUresult cuMemAllocAsync(CUdeviceptr* address, std::size_t bytes, CUstream handle) {
  ContextPointer context;
  Stream* stream = nullptr;
  if (const CUresult error = enter_stream(handle, context, stream); error != CUDA_SUCCESS) { return error; }
  return cuMemAlloc_v2(address, bytes);  // the address is known at once; nothing has to run for it
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
  ContextPointer context;
  Stream* stream = nullptr;
  if (const CUresult error = enter_stream(handle, context, stream); error != CUDA_SUCCESS) { return error; }
  const Allocation a = context->shared->memory.around(address);
  if (a.kind != MemoryKind::device || a.begin != address) { return CUDA_ERROR_INVALID_VALUE; }
  Command c;
  c.kind = Command::Kind::free_memory;
  c.value = address;
  return stream->enqueue(std::move(c));
}

CUresult cuMemHostAlloc(void** pointer, std::size_t bytes, unsigned flags) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (pointer == nullptr || bytes == 0 || flags > 7) { return CUDA_ERROR_INVALID_VALUE; }
  void* made = context->shared->memory.allocate_host(bytes);
  if (made == nullptr) { return CUDA_ERROR_OUT_OF_MEMORY; }
  *pointer = made;
  return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void* pointer) {
  ContextPointer context;
  const CUresult entered = enter(context);
  if (!context) { return entered; }
  context->synchronize();
  if (!context->shared->memory.release_host(pointer)) { return CUDA_ERROR_INVALID_VALUE; }
  return static_cast<CUresult>(context->shared->fault.load());
}

CUresult cuMemHostRegister_v2(void* pointer, std::size_t bytes, unsigned flags) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (flags > (CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP)) { return CUDA_ERROR_NOT_SUPPORTED; }
  return context->shared->memory.register_host(pointer, bytes);
}

CUresult cuMemHostUnregister(void* pointer) {
  ContextPointer context;
  const CUresult entered = enter(context);
  if (!context) { return entered; }
  context->synchronize();
  if (!context->shared->memory.unregister_host(pointer)) { return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED; }
  return static_cast<CUresult>(context->shared->fault.load());
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* address, void* pointer, unsigned flags) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (address == nullptr || flags != 0) { return CUDA_ERROR_INVALID_VALUE; }
  const Allocation a = context->shared->memory.around(reinterpret_cast<std::uint64_t>(pointer));
  if (a.kind != MemoryKind::pinned && a.kind != MemoryKind::registered) { return CUDA_ERROR_INVALID_VALUE; }
  *address = reinterpret_cast<std::uint64_t>(pointer);  // one address space
  return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, std::size_t* bytes, CUdeviceptr address) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  const Allocation a = context->shared->memory.around(address);
  if (a.kind == MemoryKind::unknown) { return CUDA_ERROR_NOT_FOUND; }
  if (base != nullptr) { *base = a.begin; }
  if (bytes != nullptr) { *bytes = a.length; }
  return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr address) {
  ContextPointer context;
  if (const CUresult error = enter(context); error != CUDA_SUCCESS) { return error; }
  if (data == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  const Allocation a = context->shared->memory.around(address);
  if (a.kind == MemoryKind::unknown) { return CUDA_ERROR_INVALID_VALUE; }
  const auto put = [data](const auto& value) {
    std::memcpy(data, &value, sizeof(value));
    return CUDA_SUCCESS;
  };
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      return put(context.get());
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      return put(static_cast<unsigned>(a.kind == MemoryKind::device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST));
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      return put(address);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      return a.kind == MemoryKind::device ? CUDA_ERROR_INVALID_VALUE : put(address);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      return put(0);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      return put(a.begin);
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      return put(static_cast<std::size_t>(a.length));
  }
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream handle) {
  ContextPointer context;
  Stream* stream = nullptr;
  if (const CUresult error = enter_stream(handle, context, stream); error != CUDA_SUCCESS) { return error; }
  Place a, b;
  if (const CUresult error = host_place(*context, reinterpret_cast<void*>(to), bytes, a); error != CUDA_SUCCESS) {
    return error;
  }
  if (const CUresult error = host_place(*context, reinterpret_cast<void*>(from), bytes, b); error != CUDA_SUCCESS) {
    return error;
  }
  return copy(*context, *stream, a, b, bytes);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, std::size_t bytes, CUstream handle) {
  ContextPointer context;
  Stream* stream = nullptr;
  if (const CUresult error = enter_stream(handle, context, stream); error != CUDA_SUCCESS) { return error; }
  Place a, b;
  if (const CUresult error = device_place(*context, to, bytes, a); error != CUDA_SUCCESS) { return error; }
  if (const CUresult error = host_place(*context, from, bytes, b); error != CUDA_SUCCESS) { return error; }
  return copy(*context, *stream, a, b, bytes);
}

CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, std::size_t bytes, CUstream handle) {
  ContextPointer context;
  Stream* stream = nullptr;
  if (const CUresult error = enter_stream(handle, context, stream); error != CUDA_SUCCESS) { return error; }
  Place a, b;
  if (const CUresult error = host_place(*context, to, bytes, a); error != CUDA_SUCCESS) { return error; }
  if (const CUresult error = device_place(*context, from, bytes, b); error != CUDA_SUCCESS) { return error; }
  return copy(*context, *stream, a, b, bytes);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream handle) {
  ContextPointer context;
  Stream* stream = nullptr;
  if (const CUresult error = enter_stream(handle, context, stream); error != CUDA_SUCCESS) { return error; }
  Place a, b;
  if (const CUresult error = device_place(*context, to, bytes, a); error != CUDA_SUCCESS) { return error; }
  if (const CUresult error = device_place(*context, from, bytes, b); error != CUDA_SUCCESS) { return error; }
  return copy(*context, *stream, a, b, bytes);
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, std::size_t count, CUstream stream) {
  return fill(stream, to, value, count, 1);
}
CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, std::size_t count, CUstream stream) {
  return fill(stream, to, value, count, 2);
}
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, std::size_t count, CUstream stream) {
  return fill(stream, to, value, count, 4);
}
