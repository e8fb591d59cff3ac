// SPDX-License-Identifier: Apache-2.0
// One plug-in that is wrong in one way, chosen by the build: see HALYARD_BAD_DRIVERS.
#include <cstddef>
#include <cstdlib>
#include <stdexcept>

#include "hal/driver.h"

namespace {

[[maybe_unused]] void misbehave() {
#if defined(BAD_calls_throw)
  throw std::runtime_error("the card is on fire");
#elif defined(BAD_calls_exit)
  std::exit(0);
#endif
}

[[maybe_unused]] hal_driver_ops table() {
  hal_driver_ops ops{};
  ops.struct_size = sizeof ops;
  ops.abi_major = HAL_DRIVER_ABI_MAJOR;
  ops.name = "bad";
  ops.destroy = [](hal_driver*) {};
#if !defined(BAD_null_slot)
  ops.device_count = [](hal_driver*) -> std::uint32_t {
#if defined(BAD_count_throws)
    throw 7;
#elif defined(BAD_counts_wrongly)
    return UINT32_MAX;
#endif
    return 1;
  };
  ops.device_describe = [](hal_driver*, std::uint32_t, hal_device_info* out) {
#if defined(BAD_describe_throws)
    throw std::runtime_error("no such card");
#endif
    out->usable = 1;  // and every string stays NULL
  };
  ops.device_open = [](hal_driver*, const hal_device_request*, [[maybe_unused]] hal_device_traits* out) -> hal_error* {
#if defined(BAD_open_throws)
    throw std::runtime_error("the card is on fire");
#elif defined(BAD_open_exits)
    std::exit(3);
#endif
    out->memory_bytes = 1 << 20;
    return nullptr;
  };
  ops.device_close = [](hal_driver*, void*) {};
  ops.supports = [](hal_driver*, void*, const char*) { return hal_verdict{HAL_NO, "bad"}; };
  ops.memory_allocate = [](hal_driver*, void*, std::uint64_t, hal_memory*) -> hal_error* {
    misbehave();
    return nullptr;
  };
  ops.memory_free = [](hal_driver*, void*, const hal_memory*) {};
  ops.lane_create = [](hal_driver*, void*, const char*, void*, hal_lane**) -> hal_error* {
    misbehave();
    return nullptr;
  };
  ops.lane_destroy = [](hal_driver*, void*, hal_lane*) {};
  ops.submit = [](hal_driver*, hal_lane*, std::uint64_t, const hal_command*, std::uint32_t n) { return n; };
  ops.program_check = [](hal_driver*, void*, const hal_image*) {
    misbehave();
    return hal_verdict{HAL_NO, "bad"};
  };
  ops.program_load = [](hal_driver*, void*, const hal_image*, const hal_signature*, std::uint32_t,
                        void**) -> hal_error* {
    misbehave();
    return nullptr;
  };
  ops.program_unload = [](hal_driver*, void*, void*) {};
#endif
#if defined(BAD_calls_throw)
  ops.report = [](hal_driver*, void*, char**) -> hal_error* { return misbehave(), nullptr; };
  ops.memory_import = [](hal_driver*, void*, void*, std::uint64_t, hal_memory*) -> hal_error* {
    return misbehave(), nullptr;
  };
  ops.memory_unimport = [](hal_driver*, void*, const hal_memory*) {};
  ops.address = [](hal_driver*, void*, const void**, std::uint64_t*) -> hal_error* { return misbehave(), nullptr; };
  ops.peer_connect = [](hal_driver*, void*, const void*, std::uint64_t, std::uint32_t, void**) -> hal_error* {
    return misbehave(), nullptr;
  };
  ops.peer_close = [](hal_driver*, void*, void*) {};
#elif defined(BAD_half_virtual)
  ops.range_map = [](hal_driver*, void*, const hal_memory*, std::uint64_t, void*, std::uint64_t, std::uint64_t,
                     hal_access) -> hal_error* { return nullptr; };
#elif defined(BAD_half_import)
  ops.memory_import = [](hal_driver*, void*, void*, std::uint64_t, hal_memory*) -> hal_error* { return nullptr; };
#elif defined(BAD_half_share)
  ops.physical_import_fd = [](hal_driver*, void*, int, std::uint64_t, void**) -> hal_error* { return nullptr; };
#elif defined(BAD_cut_entry)
  ops.number = [](hal_driver*, void*, const char*, std::uint64_t*) -> std::uint32_t { return 0; };
  ops.struct_size = offsetof(hal_driver_ops, number) + 4;
#endif
  return ops;
}

[[maybe_unused]] hal_driver_ops bad_ops = table();
[[maybe_unused]] hal_driver driver{&bad_ops};

}  // namespace

#if !defined(BAD_no_entry)
extern "C" HAL_API hal_error* hal_driver_entry([[maybe_unused]] const hal_host_api* host,
                                               [[maybe_unused]] hal_driver** out) {
#if defined(BAD_wrong_major)
  bad_ops.abi_major = HAL_DRIVER_ABI_MAJOR + 1;
#elif defined(BAD_short_table)
  bad_ops.struct_size = 16;
#elif defined(BAD_bad_name)
  bad_ops.name = "no such:name";
#elif defined(BAD_throws)
  throw std::runtime_error("no exception may cross");
#elif defined(BAD_exits)
  std::exit(3);
#elif defined(BAD_crashes)
  std::abort();
#elif defined(BAD_no_driver)
  return nullptr;
#elif defined(BAD_fails)
  hal_error_info info{};
  info.code = HAL_UNAVAILABLE;
  info.what = "libchip.so.1 is not installed; get it from your vendor";
  return host->error_create(&info);
#endif
#if !defined(BAD_no_driver) && !defined(BAD_throws) && !defined(BAD_fails) && !defined(BAD_exits) && \
    !defined(BAD_crashes)
  driver.ops = &bad_ops;  // the core has put its own copy there
  *out = &driver;
  return nullptr;
#endif
}
#endif
