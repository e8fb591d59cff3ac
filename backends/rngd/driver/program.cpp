// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <new>

#include "driver/internal.hpp"

using namespace rngd;
using namespace rngd::driver;

namespace {

rngd_program_info info_of(const image::Program& program) {
  return {program.pe_count,         static_cast<std::uint32_t>(program.bindings.size()),
          program.input_count,      static_cast<std::uint32_t>(program.ops.size()),
          program.constants.size(), program.sram_bytes,
          program.scratch_bytes};
}

rngd_binding_info binding_of(const image::Program& program, std::uint32_t index) {
  const image::Tensor& tensor = program.tensors[program.bindings[index]];
  rngd_binding_info info{};
  std::memcpy(info.name, tensor.name.data(), std::min(tensor.name.size(), sizeof info.name - 1));
  info.output = tensor.location == image::Location::output ? 1 : 0;
  info.dtype = static_cast<std::uint32_t>(tensor.dtype);
  info.rank = tensor.rank;
  std::ranges::copy(tensor.dims, info.dims);
  info.bytes = tensor.bytes;
  return info;
}

std::span<const std::byte> view(const void* bytes, std::uint64_t size) {
  return {static_cast<const std::byte*>(bytes), size};
}

void unload(const rngd_partition& partition, std::uint32_t id) {
  rqi::SubmissionEntry entry{};
  entry.opcode = static_cast<std::uint8_t>(rqi::AdminOpcode::unload_program);
  entry.body.unload.program = id;
  entry.body.unload.context = partition.context;
  partition.device->admin(entry, nullptr, nullptr, "UNLOAD_PROGRAM");
}

}  // namespace

rngd_status rngd_image_check(const void* bytes, uint64_t size, rngd_program_info* out, rngd_error* error) {
  try {
    const auto program = image::parse(view(bytes, size), true);
    if (!program) { return fail(error, RNGD_PROGRAM_REJECTED, "%s", program.error().text.c_str()); }
    if (out != nullptr) { *out = info_of(*program); }
    return RNGD_OK;
  } catch (const std::bad_alloc&) { return fail(error, RNGD_OUT_OF_HOST_MEMORY, "no memory to verify the program"); }
}

rngd_status rngd_program_load(rngd_partition* partition, const void* bytes, uint64_t size, rngd_program** out,
                              rngd_error* error) {
  rngd_device* device = partition->device;
  if (size < sizeof(image::Header) || size > 0xFFFF'FFFFu) {
    return fail(error, RNGD_PROGRAM_REJECTED, "header: %llu bytes, an rngd.image has %zu to 2^32 - 1",
                static_cast<unsigned long long>(size), sizeof(image::Header));
  }
  // How much HBM the constants take; the firmware checks that the claim is true.
  image::Header header;
  std::memcpy(&header, bytes, sizeof header);
  const std::uint64_t constants =
      std::min(header.sections[static_cast<std::uint32_t>(image::SectionKind::constants) - 1].bytes, size);
  rngd_address resident{};
  if (constants != 0) {
    if (const rngd_status status = rngd_memory_alloc(partition, constants, &resident, error); status != RNGD_OK) {
      return status;
    }
  }
  const auto give_back = [&] {
    if (constants != 0) { rngd_memory_free(partition, resident, nullptr); }
  };
  Pinned copy;
  if (const rngd_status status = Pinned::make(device->bus, size, copy, error); status != RNGD_OK) {
    give_back();
    return status;
  }
  std::memcpy(copy.data(), bytes, size);
  std::uint32_t id = 0;
  rngd_status status = RNGD_OK;
  {
    const std::scoped_lock lock(device->admin_mutex);
    rqi::SubmissionEntry entry{};
    entry.opcode = static_cast<std::uint8_t>(rqi::AdminOpcode::load_program);
    entry.body.load = {
        copy.iova(), resident.value, device->admin_page.iova(), static_cast<std::uint32_t>(size), partition->context,
        224};
    device->admin_page.data()[0] = std::byte{0};
    status = device->admin_locked(entry, &id, error, "LOAD_PROGRAM");
    const auto* reason = reinterpret_cast<const char*>(device->admin_page.data());
    if (status != RNGD_OK && error != nullptr && reason[0] != 0) {
      const std::uint16_t device_status = error->device_status;
      fail(error, status, "%.223s", reason);
      error->device_status = device_status;
    }
  }
  if (status != RNGD_OK) {
    give_back();  // needs the admin queue
    return status;
  }
  try {
    const auto program = image::parse(view(copy.data(), size), true);
    auto made = std::make_unique<rngd_program>();
    made->partition = partition;
    made->id = id;
    made->resident = resident.value;
    made->info = info_of(*program);
    for (std::uint32_t i = 0; i < made->info.binding_count; ++i) { made->bindings.push_back(binding_of(*program, i)); }
    {
      const std::scoped_lock lock(partition->mutex);
      ++partition->programs;
    }
    *out = made.release();
    return RNGD_OK;
  } catch (const std::bad_alloc&) {
    unload(*partition, id);
    give_back();
    return fail(error, RNGD_OUT_OF_HOST_MEMORY, "no memory for the program object");
  }
}

void rngd_program_unload(rngd_program* program) {
  rngd_partition* partition = program->partition;
  unload(*partition, program->id);
  if (program->info.constant_bytes != 0) {
    rngd_memory_free(partition, {program->resident, RNGD_SPACE_HBM, 0}, nullptr);
  }
  {
    const std::scoped_lock lock(partition->mutex);
    --partition->programs;
  }
  delete program;
}

uint32_t rngd_program_id(const rngd_program* program) { return program->id; }

void rngd_program_get_info(const rngd_program* program, rngd_program_info* out) { *out = program->info; }

rngd_status rngd_program_get_binding(const rngd_program* program, uint32_t index, rngd_binding_info* out) {
  if (index >= program->bindings.size()) { return RNGD_NOT_FOUND; }
  *out = program->bindings[index];
  return RNGD_OK;
}
