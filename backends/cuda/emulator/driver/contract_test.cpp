// SPDX-License-Identifier: Apache-2.0
// The contract of the driver API that the emulated driver keeps, tested through the exported symbols only. Order is
// proved with gates (memory words that a stream waits for) and unique values, never with time.
#include <dlfcn.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "cuda_abi.hpp"

#include <halyard_catch.hpp>

using namespace hal::cuda::abi;

namespace {

struct Cuda {
#define X(name, version, need, symbol) Fn_##name* name = nullptr;
#include "driver_symbols.inc"
#undef X
  Cuda() {
    void* library = dlopen(HALYARD_TEST_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) { throw std::runtime_error(dlerror()); }
    GetProcAddress = reinterpret_cast<Fn_GetProcAddress*>(dlsym(library, "cuGetProcAddress_v2"));
    CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
#define X(name, version, need, symbol)                                                                    \
  if (GetProcAddress("cu" #name, reinterpret_cast<void**>(&name), version, 0, &status) != CUDA_SUCCESS) { \
    throw std::runtime_error("cu" #name);                                                                 \
  }
#include "driver_symbols.inc"
#undef X
  }
};

Cuda& cuda() {
  static Cuda table;
  return table;
}

// A context for one test: current on this thread, gone at the end.
struct Session {
  Session() {
    REQUIRE(cuda().Init(0) == CUDA_SUCCESS);
    REQUIRE(cuda().DevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS);
    REQUIRE(cuda().CtxSetCurrent(context) == CUDA_SUCCESS);
  }
  ~Session() { cuda().DevicePrimaryCtxRelease(0); }
  CUstream stream() const {
    CUstream s = nullptr;
    REQUIRE(cuda().StreamCreate(&s, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
    return s;
  }
  CUdeviceptr device(std::size_t bytes) const {
    CUdeviceptr p = 0;
    REQUIRE(cuda().MemAlloc(&p, bytes) == CUDA_SUCCESS);
    return p;
  }
  template <class T>
  T* pinned(std::size_t count) const {
    void* p = nullptr;
    REQUIRE(cuda().MemHostAlloc(&p, count * sizeof(T), 0) == CUDA_SUCCESS);
    std::memset(p, 0, count * sizeof(T));
    return static_cast<T*>(p);
  }
  CUcontext context = nullptr;
};

CUdeviceptr address(void* p) { return reinterpret_cast<CUdeviceptr>(p); }
void open(std::uint64_t* gate) { __atomic_store_n(gate, 1, __ATOMIC_SEQ_CST); }

const char* const kAddOne = R"(.version 7.0
.target sm_80
.address_size 64
.global .align 4 .u32 step = 1;
.visible .entry add_one(.param .u64 data, .param .u32 count)
{
  .reg .pred %p; .reg .b32 %r<5>; .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [data];
  ld.param.u32 %r1, [count];
  mov.u32 %r2, %tid.x;
  setp.ge.u32 %p, %r2, %r1;
  @%p bra DONE;
  mul.wide.u32 %rd2, %r2, 4;
  add.s64 %rd3, %rd1, %rd2;
  ld.global.u32 %r3, [%rd3];
  ld.global.u32 %r4, [step];
  add.u32 %r3, %r3, %r4;
  st.global.u32 [%rd3], %r3;
DONE:
  ret;
}
)";

CUfunction add_one(CUmodule* module) {
  REQUIRE(cuda().ModuleLoadDataEx(module, kAddOne, 0, nullptr, nullptr) == CUDA_SUCCESS);
  CUfunction f = nullptr;
  REQUIRE(cuda().ModuleGetFunction(&f, *module, "add_one") == CUDA_SUCCESS);
  return f;
}

}  // namespace

TEST_CASE("the device says that it is emulated, and what it is") {
  Session s;
  char name[128];
  REQUIRE(cuda().DeviceGetName(name, sizeof(name), 0) == CUDA_SUCCESS);
  REQUIRE(std::string(name).find("emulated") != std::string::npos);
  int major = 0;
  REQUIRE(cuda().DeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0) == CUDA_SUCCESS);
  REQUIRE(major == 10);
  int count = 0;
  REQUIRE(cuda().DeviceGetCount(&count) == CUDA_SUCCESS);
  REQUIRE(count == 1);
  CUdevice device = 0;
  REQUIRE(cuda().DeviceGet(&device, 1) == CUDA_ERROR_INVALID_DEVICE);
  const char* text = nullptr;
  REQUIRE(cuda().GetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text) == CUDA_SUCCESS);
  REQUIRE(std::string(text) == "CUDA_ERROR_ILLEGAL_ADDRESS");
}

TEST_CASE("symbols are found by name and ABI version") {
  void* f = nullptr;
  CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
  REQUIRE(cuda().GetProcAddress("cuMemAlloc", &f, 3010, 0, &status) == CUDA_ERROR_NOT_FOUND);
  REQUIRE(status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  REQUIRE(cuda().GetProcAddress("cuNoSuchThing", &f, 13000, 0, &status) == CUDA_ERROR_NOT_FOUND);
  REQUIRE(status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  REQUIRE(f == nullptr);
}

TEST_CASE("calls without a context are refused") {
  REQUIRE(cuda().Init(0) == CUDA_SUCCESS);
  std::thread([] {
    CUdeviceptr p = 0;
    REQUIRE(cuda().MemAlloc(&p, 16) == CUDA_ERROR_INVALID_CONTEXT);
    CUstream stream = nullptr;
    REQUIRE(cuda().StreamCreate(&stream, 1) == CUDA_ERROR_INVALID_CONTEXT);
  }).join();
}

TEST_CASE("memory: poison, ranges, limits") {
  Session s;
  CUstream stream = s.stream();
  const CUdeviceptr p = s.device(100);
  auto* host = s.pinned<unsigned char>(100);
  REQUIRE(cuda().MemcpyDtoHAsync(host, p, 100, stream) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamSynchronize(stream) == CUDA_SUCCESS);
  REQUIRE(host[0] == 0xff);
  REQUIRE(host[99] == 0xff);
  REQUIRE(cuda().MemcpyDtoHAsync(host, p + 1, 100, stream) == CUDA_ERROR_INVALID_VALUE);
  REQUIRE(cuda().MemsetD32Async(p + 2, 1, 4, stream) == CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  REQUIRE(cuda().MemGetAddressRange(&base, &bytes, p + 50) == CUDA_SUCCESS);
  REQUIRE(base == p);
  REQUIRE(bytes == 100);
  CUdeviceptr q = 0;
  REQUIRE(cuda().MemAlloc(&q, 0) == CUDA_ERROR_INVALID_VALUE);
  REQUIRE(cuda().MemAlloc(&q, std::size_t{1} << 60) == CUDA_ERROR_OUT_OF_MEMORY);
  std::size_t before = 0, after = 0, total = 0;
  REQUIRE(cuda().MemGetInfo(&before, &total) == CUDA_SUCCESS);
  REQUIRE(cuda().MemFree(p) == CUDA_SUCCESS);
  REQUIRE(cuda().MemFree(p) == CUDA_ERROR_INVALID_VALUE);
  REQUIRE(cuda().MemGetInfo(&after, &total) == CUDA_SUCCESS);
  REQUIRE(after > before);
  int local = 0;
  REQUIRE(cuda().MemHostRegister(&local, sizeof(local), 0) == CUDA_SUCCESS);
  REQUIRE(cuda().MemHostRegister(&local, sizeof(local), 0) == CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  REQUIRE(cuda().MemHostUnregister(&local) == CUDA_SUCCESS);
  REQUIRE(cuda().MemHostUnregister(&local) == CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

TEST_CASE("a stream runs in order and behind the caller's back") {
  Session s;
  CUstream stream = s.stream();
  auto* gate = s.pinned<std::uint64_t>(1);
  auto* out = s.pinned<std::uint32_t>(4);
  const CUdeviceptr p = s.device(16);
  REQUIRE(cuda().StreamWaitValue64(stream, address(gate), 1, CU_STREAM_WAIT_VALUE_GEQ) == CUDA_SUCCESS);
  REQUIRE(cuda().MemsetD32Async(p, 1, 4, stream) == CUDA_SUCCESS);
  REQUIRE(cuda().MemsetD16Async(p + 4, 2, 2, stream) == CUDA_SUCCESS);
  REQUIRE(cuda().MemsetD8Async(p + 8, 3, 4, stream) == CUDA_SUCCESS);
  REQUIRE(cuda().MemcpyDtoHAsync(out, p, 16, stream) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamQuery(stream) == CUDA_ERROR_NOT_READY);
  open(gate);
  REQUIRE(cuda().StreamSynchronize(stream) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamQuery(stream) == CUDA_SUCCESS);
  REQUIRE(out[0] == 1);
  REQUIRE(out[1] == 0x00020002);
  REQUIRE(out[2] == 0x03030303);
  REQUIRE(out[3] == 1);
}

TEST_CASE("events order streams, and a wait takes the record that is the latest at its call") {
  Session s;
  CUstream a = s.stream(), b = s.stream();
  auto* gate = s.pinned<std::uint64_t>(1);
  auto* word = s.pinned<std::uint64_t>(2);
  CUevent event = nullptr;
  REQUIRE(cuda().EventCreate(&event, 0) == CUDA_SUCCESS);
  // Never recorded: reached.
  REQUIRE(cuda().EventQuery(event) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamWaitEvent(b, event, 0) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamWaitValue64(a, address(gate), 1, CU_STREAM_WAIT_VALUE_EQ) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamWriteValue64(a, address(&word[0]), 41, 0) == CUDA_SUCCESS);
  REQUIRE(cuda().EventRecord(event, a) == CUDA_SUCCESS);
  REQUIRE(cuda().EventQuery(event) == CUDA_ERROR_NOT_READY);
  REQUIRE(cuda().StreamWaitEvent(b, event, 0) == CUDA_SUCCESS);
  REQUIRE(cuda().MemcpyAsync(address(&word[1]), address(&word[0]), 8, b) == CUDA_SUCCESS);
  REQUIRE(cuda().EventDestroy(event) == CUDA_SUCCESS);  // with work that still uses it
  open(gate);
  REQUIRE(cuda().StreamSynchronize(b) == CUDA_SUCCESS);
  REQUIRE(word[1] == 41);
}

TEST_CASE("event times and their conditions") {
  Session s;
  CUstream a = s.stream();
  CUevent start = nullptr, end = nullptr, untimed = nullptr;
  REQUIRE(cuda().EventCreate(&start, 0) == CUDA_SUCCESS);
  REQUIRE(cuda().EventCreate(&end, CU_EVENT_BLOCKING_SYNC) == CUDA_SUCCESS);
  REQUIRE(cuda().EventCreate(&untimed, CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS);
  float ms = -1.0f;
  REQUIRE(cuda().EventElapsedTime(&ms, start, end) == CUDA_ERROR_INVALID_HANDLE);
  REQUIRE(cuda().EventRecord(start, a) == CUDA_SUCCESS);
  REQUIRE(cuda().EventRecord(end, a) == CUDA_SUCCESS);
  REQUIRE(cuda().EventRecord(untimed, a) == CUDA_SUCCESS);
  REQUIRE(cuda().EventSynchronize(untimed) == CUDA_SUCCESS);
  REQUIRE(cuda().EventElapsedTime(&ms, start, end) == CUDA_SUCCESS);
  REQUIRE(ms >= 0.0f);
  REQUIRE(cuda().EventElapsedTime(&ms, start, untimed) == CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("host functions run in order and may not call the driver") {
  Session s;
  CUstream stream = s.stream();
  struct State {
    std::atomic<int> result{-1};
    CUstream stream = nullptr;
  } state;
  state.stream = stream;
  auto* word = s.pinned<std::uint64_t>(1);
  REQUIRE(cuda().LaunchHostFunc(
              stream,
              [](void* user) {
                auto* st = static_cast<State*>(user);
                st->result = cuda().StreamQuery(st->stream);
              },
              &state) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamWriteValue64(stream, address(word), 7, 0) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamSynchronize(stream) == CUDA_SUCCESS);
  REQUIRE(state.result == CUDA_ERROR_NOT_PERMITTED);
  REQUIRE(word[0] == 7);
}

TEST_CASE("memory operations compare as documented") {
  Session s;
  CUstream stream = s.stream();
  auto* word = s.pinned<std::uint64_t>(2);
  // Signed and cyclic: 2^63 + 5 counts as after 2^63 - 1.
  word[0] = (1ull << 63) + 5;
  REQUIRE(cuda().StreamWaitValue64(stream, address(word), (1ull << 63) - 1, CU_STREAM_WAIT_VALUE_GEQ) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamWaitValue64(stream, address(word), 4, CU_STREAM_WAIT_VALUE_AND) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamWaitValue32(stream, address(word), 5, CU_STREAM_WAIT_VALUE_EQ) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamWaitValue64(stream, address(word), 1, CU_STREAM_WAIT_VALUE_NOR) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamSynchronize(stream) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamWaitValue64(stream, address(word), 1, 9) == CUDA_ERROR_INVALID_VALUE);
  REQUIRE(cuda().StreamWriteValue64(stream, address(word) + 4, 1, 0) == CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("kernels: load, variables, parameters, launch") {
  Session s;
  CUstream stream = s.stream();
  CUmodule module = nullptr;
  CUfunction f = add_one(&module);
  std::size_t offset = 0, size = 0;
  REQUIRE(cuda().FuncGetParamInfo(f, 1, &offset, &size) == CUDA_SUCCESS);
  REQUIRE(offset == 8);
  REQUIRE(size == 4);
  REQUIRE(cuda().FuncGetParamInfo(f, 2, &offset, &size) == CUDA_ERROR_INVALID_VALUE);
  CUfunction none = nullptr;
  REQUIRE(cuda().ModuleGetFunction(&none, module, "add_two") == CUDA_ERROR_NOT_FOUND);
  CUdeviceptr step = 0;
  REQUIRE(cuda().ModuleGetGlobal(&step, &size, module, "step") == CUDA_SUCCESS);
  REQUIRE(size == 4);
  auto* data = s.pinned<std::uint32_t>(8);
  CUdeviceptr p = address(data);
  unsigned count = 7;
  void* arguments[] = {&p, &count};
  REQUIRE(cuda().LaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, stream, arguments, nullptr) == CUDA_SUCCESS);
  REQUIRE(cuda().MemsetD32Async(step, 10, 1, stream) == CUDA_SUCCESS);
  CUlaunchConfig config{};
  config.gridDimX = config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
  config.blockDimX = 32;
  config.hStream = stream;
  REQUIRE(cuda().LaunchKernelEx(&config, f, arguments, nullptr) == CUDA_SUCCESS);
  count = 0;  // arguments were taken at the call
  REQUIRE(cuda().StreamSynchronize(stream) == CUDA_SUCCESS);
  REQUIRE(data[6] == 11);
  REQUIRE(data[7] == 0);
  REQUIRE(cuda().LaunchKernel(f, 0, 1, 1, 32, 1, 1, 0, stream, arguments, nullptr) == CUDA_ERROR_INVALID_VALUE);
  REQUIRE(cuda().LaunchKernel(f, 1, 1, 1, 2048, 1, 1, 0, stream, arguments, nullptr) == CUDA_ERROR_INVALID_VALUE);
  REQUIRE(cuda().LaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, nullptr, arguments, nullptr) == CUDA_ERROR_NOT_SUPPORTED);
  REQUIRE(cuda().ModuleUnload(module) == CUDA_SUCCESS);
}

TEST_CASE("images that do not load say why, with the line") {
  Session s;
  char log[512];
  CUjit_option names[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  const auto load = [&](const char* image) {
    void* values[] = {log, reinterpret_cast<void*>(sizeof(log))};
    CUlibrary library = nullptr;
    return cuda().LibraryLoadData(&library, image, names, values, 2, nullptr, nullptr, 0);
  };
  REQUIRE(load(".version 7.0\n.target sm_80\n.address_size 64\n.entry k() {\n  wgmma.fence.sync.aligned;\n}\n") ==
          CUDA_ERROR_INVALID_PTX);
  REQUIRE(std::string(log).find("line 5") != std::string::npos);
  REQUIRE(std::string(log).find("wgmma.fence.sync.aligned") != std::string::npos);
  REQUIRE(load(".version 99.0\n.target sm_80\n") == CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
  REQUIRE(load(".version 8.0\n.target sm_90a\n") == CUDA_ERROR_NO_BINARY_FOR_GPU);
  REQUIRE(load("\x7f"
               "ELF") == CUDA_ERROR_NO_BINARY_FOR_GPU);
  REQUIRE(load("hello") == CUDA_ERROR_INVALID_PTX);
}

TEST_CASE("a kernel fault is sticky for the context and lets everything end") {
  {
    Session s;
    CUstream a = s.stream(), b = s.stream();
    auto* gate = s.pinned<std::uint64_t>(1);
    CUmodule module = nullptr;
    CUfunction f = add_one(&module);
    REQUIRE(cuda().StreamWaitValue64(b, address(gate), 1, CU_STREAM_WAIT_VALUE_EQ) == CUDA_SUCCESS);  // never opened
    CUdeviceptr p = s.device(4);
    unsigned count = 2;  // one more than there is
    void* arguments[] = {&p, &count};
    std::atomic<bool> ran{false};
    REQUIRE(cuda().LaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, a, arguments, nullptr) == CUDA_SUCCESS);
    const CUresult queued =
        cuda().LaunchHostFunc(a, [](void* user) { *static_cast<std::atomic<bool>*>(user) = true; }, &ran);
    REQUIRE((queued == CUDA_SUCCESS || queued == CUDA_ERROR_ILLEGAL_ADDRESS));
    REQUIRE(cuda().StreamSynchronize(a) == CUDA_ERROR_ILLEGAL_ADDRESS);
    REQUIRE(cuda().StreamSynchronize(b) == CUDA_ERROR_ILLEGAL_ADDRESS);
    REQUIRE(cuda().MemFree(p) == CUDA_ERROR_ILLEGAL_ADDRESS);
    REQUIRE_FALSE(ran);  // host functions are not called after an error
  }
  Session again;  // a new context starts clean
  again.device(4);
}

TEST_CASE("work that is pending when a stream is destroyed still runs") {
  Session s;
  CUstream stream = s.stream();
  auto* gate = s.pinned<std::uint64_t>(2);
  REQUIRE(cuda().StreamWaitValue64(stream, address(gate), 1, CU_STREAM_WAIT_VALUE_EQ) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamWriteValue64(stream, address(&gate[1]), 5, 0) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamDestroy(stream) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamQuery(stream) == CUDA_ERROR_INVALID_HANDLE);
  open(gate);
  REQUIRE(cuda().CtxSynchronize() == CUDA_SUCCESS);
  REQUIRE(gate[1] == 5);
}

TEST_CASE("stream-ordered allocation") {
  Session s;
  CUstream stream = s.stream();
  CUdeviceptr p = 0;
  REQUIRE(cuda().MemAllocAsync(&p, 4096, stream) == CUDA_SUCCESS);
  REQUIRE(cuda().MemsetD8Async(p, 1, 4096, stream) == CUDA_SUCCESS);
  REQUIRE(cuda().MemFreeAsync(p, stream) == CUDA_SUCCESS);
  REQUIRE(cuda().StreamSynchronize(stream) == CUDA_SUCCESS);
  REQUIRE(cuda().MemFreeAsync(p, stream) == CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("many threads use one context") {
  Session s;
  std::atomic<int> good{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      if (cuda().CtxSetCurrent(s.context) != CUDA_SUCCESS) { return; }
      CUstream stream = nullptr;
      CUdeviceptr p = 0;
      void* host = nullptr;
      bool fine = cuda().StreamCreate(&stream, 1) == CUDA_SUCCESS && cuda().MemAlloc(&p, 4096) == CUDA_SUCCESS &&
                  cuda().MemHostAlloc(&host, 4096, 0) == CUDA_SUCCESS;
      for (int i = 0; i < 50 && fine; ++i) {
        const auto value = static_cast<unsigned char>(t * 50 + i);
        fine = cuda().MemsetD8Async(p, value, 4096, stream) == CUDA_SUCCESS &&
               cuda().MemcpyDtoHAsync(host, p, 4096, stream) == CUDA_SUCCESS &&
               cuda().StreamSynchronize(stream) == CUDA_SUCCESS && static_cast<unsigned char*>(host)[4095] == value;
      }
      good += fine && cuda().StreamDestroy(stream) == CUDA_SUCCESS ? 1 : 0;
    });
  }
  for (auto& t : threads) { t.join(); }
  REQUIRE(good == 4);
}

TEST_CASE("one thread waits for the context while another destroys streams") {
  Session s;
  auto* words = s.pinned<std::uint64_t>(2);
  std::atomic<bool> good{true};
  std::jthread waiter([&](const std::stop_token& stop) {
    if (cuda().CtxSetCurrent(s.context) != CUDA_SUCCESS) { good = false; }
    while (!stop.stop_requested()) {
      if (cuda().CtxSynchronize() != CUDA_SUCCESS) { good = false; }
    }
  });
  for (std::uint64_t i = 1; i <= 100; ++i) {
    CUstream stream = s.stream();
    CHECK(cuda().StreamWaitValue64(stream, address(words), i, CU_STREAM_WAIT_VALUE_EQ) == CUDA_SUCCESS);
    CHECK(cuda().StreamWriteValue64(stream, address(&words[1]), i, 0) == CUDA_SUCCESS);
    CHECK(cuda().StreamDestroy(stream) == CUDA_SUCCESS);
    __atomic_store_n(words, i, __ATOMIC_SEQ_CST);
    CHECK(cuda().CtxSynchronize() == CUDA_SUCCESS);
    CHECK(__atomic_load_n(&words[1], __ATOMIC_SEQ_CST) == i);
  }
  waiter.request_stop();
  waiter.join();
  CHECK(good);
}
