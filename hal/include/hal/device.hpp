// SPDX-License-Identifier: Apache-2.0
// One target, named by a URI that every call and tool takes back.
#pragma once

#include <source_location>
#include <span>
#include <string>
#include <vector>

#include "hal/program.hpp"
#include "hal/queue.hpp"

namespace hal {

using DeviceInfo = hal_device_info;

class Device : public Handle<hal_device> {
 public:
  using Handle::Handle;

  DeviceInfo info() const { return hal_device_describe(get()); }
  std::string uri() const { return info().uri; }
  bool is_emulated() const { return info().is_emulated != 0; }

  // Yes, no or emulated, with the reason.
  Verdict supports(const char* feature) const { return hal_device_supports(get(), feature); }
  Result<std::uint64_t> number(const char* name) const {
    std::uint64_t out = 0;
    HAL_CHECK(check(hal_device_number(get(), name, &out)));
    return out;
  }
  Verdict check_image(const Image& image) const {
    const hal_image c = image.c();
    return hal_device_check(get(), &c);
  }

  // Errors: INVALID_IMAGE with field and offset or line, INCOMPATIBLE, UNSUPPORTED.
  Result<Program> load(const Image& image, std::source_location where = std::source_location::current()) const {
    here(where);
    const hal_image c = image.c();
    hal_program* program = nullptr;
    HAL_CHECK(check(hal_program_load(get(), &c, &program)));
    return Program(program);
  }
  // The first image that the device takes; `chosen` gets its index. Errors: UNSUPPORTED with a line for each image.
  Result<Program> load_any(std::span<const Image> images, std::uint32_t* chosen = nullptr,
                           std::source_location where = std::source_location::current()) const {
    here(where);
    std::vector<hal_image> all;
    for (const Image& image : images) { all.push_back(image.c()); }
    hal_program* program = nullptr;
    HAL_CHECK(check(hal_program_load_any(get(), all.data(), static_cast<std::uint32_t>(all.size()), &program, chosen)));
    return Program(program);
  }
  Result<Queue> queue(const std::string& label = "queue",
                      std::source_location where = std::source_location::current()) const {
    here(where);
    hal_queue* queue = nullptr;
    HAL_CHECK(check(hal_queue_create(get(), label.c_str(), &queue)));
    return Queue(queue);
  }
  // Errors: INVALID_ARGUMENT  0 bytes; OUT_OF_DEVICE_MEMORY  with sizes.
  Result<Buffer> buffer(std::uint64_t bytes, std::source_location where = std::source_location::current()) const {
    here(where);
    hal_buffer* buffer = nullptr;
    HAL_CHECK(check(hal_buffer_create(get(), bytes, &buffer)));
    return Buffer(buffer);
  }
  // A buffer over host memory that the caller keeps until `released` is called. Errors: UNSUPPORTED, INVALID_ARGUMENT.
  Result<Buffer> import_host(std::span<std::byte> bytes, hal_released_function released = nullptr,
                             void* user = nullptr) const {
    hal_buffer* buffer = nullptr;
    HAL_CHECK(check(hal_buffer_import_host(get(), bytes.data(), bytes.size(), released, user, &buffer)));
    return Buffer(buffer);
  }
  Result<Pool> pool(const PoolOptions& options = {},
                    std::source_location where = std::source_location::current()) const {
    here(where);
    const hal_pool_desc desc = options.c();
    hal_pool* pool = nullptr;
    HAL_CHECK(check(hal_pool_create(get(), &desc, &pool)));
    return Pool(pool);
  }
  Result<Pool> pool(std::uint64_t limit_bytes, std::source_location where = std::source_location::current()) const {
    return pool(PoolOptions{.limit_bytes = limit_bytes}, where);
  }
  // Bounds what this instance takes from the device in all; 0 lifts it.
  Result<void> set_budget(std::uint64_t bytes) const { return check(hal_device_set_budget(get(), bytes)); }
  // The sums over all pools of this device.
  hal_pool_stats memory() const { return hal_device_memory(get()); }

  // Virtual memory. Errors: UNSUPPORTED, INVALID_ARGUMENT  no multiple of number("virtual.granularity").
  Result<VirtualBuffer> reserve(std::uint64_t bytes) const {
    hal_buffer* range = nullptr;
    HAL_CHECK(check(hal_virtual_create(get(), bytes, &range)));
    return VirtualBuffer(range);
  }
  Result<Physical> physical(std::uint64_t bytes) const {
    hal_physical* physical = nullptr;
    HAL_CHECK(check(hal_physical_create(get(), bytes, &physical)));
    return Physical(physical);
  }
  // Memory out of a descriptor of Physical::export_fd(), of any process. The descriptor stays the caller's.
  Result<Physical> import_fd(int fd, std::uint64_t bytes) const {
    hal_physical* physical = nullptr;
    HAL_CHECK(check(hal_physical_import_fd(get(), fd, bytes, &physical)));
    return Physical(physical);
  }
  Result<Commands> record(std::span<const Command> commands,
                          std::source_location where = std::source_location::current()) const {
    here(where);
    hal_commands* recorded = nullptr;
    HAL_CHECK(
        check(hal_commands_create(get(), commands.data(), static_cast<std::uint32_t>(commands.size()), &recorded)));
    return Commands(recorded);
  }

  // Fabric ports: how others reach this one, and reaching others.
  Result<std::vector<std::byte>> address() const {
    const void* bytes = nullptr;
    std::uint64_t size = 0;
    HAL_CHECK(check(hal_device_address(get(), &bytes, &size)));
    const auto* first = static_cast<const std::byte*>(bytes);
    return std::vector<std::byte>(first, first + size);
  }
  Result<Peer> connect(std::span<const std::byte> address, std::uint32_t rank) const {
    hal_peer* peer = nullptr;
    HAL_CHECK(check(hal_peer_connect(get(), address.data(), address.size(), rank, &peer)));
    return Peer(peer);
  }

  // The device's own account of itself, as JSON.
  Result<std::string> report() const {
    char* text = nullptr;
    HAL_CHECK(check(hal_device_report(get(), &text)));
    std::string out(text);
    hal_free_text(text);
    return out;
  }
};

}  // namespace hal
