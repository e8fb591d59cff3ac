// SPDX-License-Identifier: Apache-2.0
// The first CPU device of any OpenCL platform; on Debian that is PoCL.
#include "cli/bench/names.hpp"
#include "cli/bench/peers/peer.hpp"

#if defined(HALYARD_PEER_OPENCL)
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <fmt/format.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "cli/bench/timing.hpp"
#endif

namespace hal::cli::bench::peers {

#if defined(HALYARD_PEER_OPENCL)
namespace {

void demand(cl_int code, const char* what) {
  if (code != CL_SUCCESS) { throw std::runtime_error(fmt::format("{} answered {}", what, code)); }
}

struct State {
  cl_device_id device = nullptr;
  cl_context context = nullptr;
  cl_command_queue queue = nullptr;
  cl_kernel kernel = nullptr;

  cl_mem buffer(std::size_t bytes) const {
    cl_int code = CL_SUCCESS;
    cl_mem made = clCreateBuffer(context, CL_MEM_READ_WRITE, bytes, nullptr, &code);
    demand(code, "clCreateBuffer()");
    const cl_uint one = 1;
    demand(clEnqueueFillBuffer(queue, made, &one, sizeof one, 0, bytes, 0, nullptr, nullptr), "clEnqueueFillBuffer()");
    demand(clFinish(queue), "clFinish()");
    return made;
  }

  void open() {
    cl_int code = CL_SUCCESS;
    context = clCreateContext(nullptr, 1, &device, nullptr, nullptr, &code);
    demand(code, "clCreateContext()");
    queue = clCreateCommandQueue(context, device, 0, &code);
    demand(code, "clCreateCommandQueue()");
    const char* source = "__kernel void empty(float a, __global const float* x, __global float* y) {}";
    cl_program program = clCreateProgramWithSource(context, 1, &source, nullptr, &code);
    demand(code, "clCreateProgramWithSource()");
    demand(clBuildProgram(program, 1, &device, "", nullptr, nullptr), "clBuildProgram()");
    kernel = clCreateKernel(program, "empty", &code);
    demand(code, "clCreateKernel()");
    const float a = 1;
    cl_mem x = buffer(4096), y = buffer(4096);
    demand(clSetKernelArg(kernel, 0, sizeof a, &a), "clSetKernelArg()");
    demand(clSetKernelArg(kernel, 1, sizeof(cl_mem), &x), "clSetKernelArg()");
    demand(clSetKernelArg(kernel, 2, sizeof(cl_mem), &y), "clSetKernelArg()");
  }

  void launch() const {
    const std::size_t one = 1;
    demand(clEnqueueNDRangeKernel(queue, kernel, 1, nullptr, &one, &one, 0, nullptr, nullptr),
           "clEnqueueNDRangeKernel()");
  }
  void finish() const { demand(clFinish(queue), "clFinish()"); }
};

State& state() {
  static State only;
  return only;
}

double cold() {
  constexpr int kRounds = 4;
  double ns = 0;
  for (int i = 0; i < kRounds; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    ns += timed(1, [] {
      state().launch();
      state().finish();
    });
  }
  return ns / kRounds;
}

std::size_t bytes_in(const std::string& row) {
  const std::string text = row.substr(row.find(' ') + 1);
  return static_cast<std::size_t>(std::stod(text)) << (text.find("MiB") != std::string::npos   ? 20U
                                                       : text.find("KiB") != std::string::npos ? 10U
                                                                                               : 0U);
}

Once prepare(const std::string& row) {
  if (state().context == nullptr) { state().open(); }
  if (row == kThreadedCold) { return cold; }
  if (row == kPipelined) {
    return [] {
      constexpr int kMany = 200;
      return timed_warm(1,
                        [] {
                          for (int i = 0; i < kMany; ++i) { state().launch(); }
                          state().finish();
                        }) /
             kMany;
    };
  }
  if (row == kWarmBuffer) {
    return [] {
      return timed(200, [] {
        cl_int code = CL_SUCCESS;
        cl_mem made = clCreateBuffer(state().context, CL_MEM_READ_WRITE, 1U << 20U, nullptr, &code);
        demand(code, "clCreateBuffer()");
        clReleaseMemObject(made);
      });
    };
  }
  if (row.starts_with("copy") || row.starts_with("fill")) {
    const std::size_t bytes = bytes_in(row);
    cl_mem from = state().buffer(bytes), to = state().buffer(bytes);
    const int count = bytes >= 1U << 20U ? 2 : 20;
    if (row.starts_with("copy")) {
      return [=] {
        return timed_warm(count, [&] {
          demand(clEnqueueCopyBuffer(state().queue, from, to, 0, 0, bytes, 0, nullptr, nullptr),
                 "clEnqueueCopyBuffer()");
          state().finish();
        });
      };
    }
    return [=] {
      return timed_warm(count, [&] {
        const cl_uint pattern = 0x01020304;
        demand(clEnqueueFillBuffer(state().queue, to, &pattern, sizeof pattern, 0, bytes, 0, nullptr, nullptr),
               "clEnqueueFillBuffer()");
        state().finish();
      });
    };
  }
  return [] {
    return timed_warm(20, [] {
      state().launch();
      state().finish();
    });
  };
}

// Finds the device; the rest waits until a row is asked for.
void find(Peer& peer) {
  cl_platform_id platforms[8];
  cl_uint count = 0;
  if (clGetPlatformIDs(8, platforms, &count) != CL_SUCCESS || count == 0) {
    peer.missing = "no OpenCL platform is installed (pocl-opencl-icd is Debian's)";
    return;
  }
  for (cl_uint i = 0; i < count; ++i) {
    if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_CPU, 1, &state().device, nullptr) != CL_SUCCESS) { continue; }
    char name[256] = "", version[256] = "";
    clGetDeviceInfo(state().device, CL_DEVICE_NAME, sizeof name - 1, name, nullptr);
    clGetPlatformInfo(platforms[i], CL_PLATFORM_VERSION, sizeof version - 1, version, nullptr);
    peer.notes.push_back(fmt::format("OpenCL: {}, device {}", version, name));
    if (std::string(version).find("PoCL") != std::string::npos ||
        std::string(version).find("pocl") != std::string::npos) {
      peer.name = "PoCL";
    }
    return;
  }
  peer.missing = "no OpenCL platform here has a CPU device";
}

}  // namespace
#endif

Peer opencl() {
  Peer peer{"OpenCL", {}, {kEmptyDispatch, kThreadedHot, kThreadedCold, kPipelined, kWarmBuffer}, {}, {}};
  for (const char* size : {"4.0 KiB", "1.0 MiB", "16.0 MiB"}) {
    peer.rows.push_back(std::string("copy ") + size);
    peer.rows.push_back(std::string("fill ") + size + ", 4-byte pattern");
  }
#if defined(HALYARD_PEER_OPENCL)
  find(peer);
  peer.prepare = prepare;
#else
  peer.missing = "this build found no OpenCL headers and loader";
#endif
  return peer;
}

}  // namespace hal::cli::bench::peers
