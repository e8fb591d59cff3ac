// SPDX-License-Identifier: Apache-2.0
// Devices, memory, programs and the optional parts: forwarded but for the faults that live here.
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <span>

#include "conformance/faults/shim.hpp"
#include "graph/format.hpp"

namespace hal::fault {
namespace {

std::uint32_t device_count(hal_driver* self) { return shim_of(self).ops.device_count(shim_of(self).inner); }

void device_describe(hal_driver* self, std::uint32_t i, hal_device_info* out) {
  Shim& shim = shim_of(self);
  shim.ops.device_describe(shim.inner, i, out);
  if (shim.is("SF-220")) { out->vendor = ""; }
}

hal_error* device_open(hal_driver* self, const hal_device_request* request, hal_device_traits* out) {
  Shim& shim = shim_of(self);
  hal_error* error = shim.ops.device_open(shim.inner, request, out);
  if (error != nullptr && shim.is("SF-223")) {
    hal_device_request bare = *request;
    bare.part = "";
    bare.params = "";
    hal_release(error);
    error = shim.ops.device_open(shim.inner, &bare, out);
  }
  if (error != nullptr) { return error; }
  if (shim.is("SF-220")) { out->info.vendor = ""; }
  if (shim.is("SF-218")) { [[maybe_unused]] const int forgotten = eventfd(0, EFD_CLOEXEC); }
  return nullptr;
}

void device_close(hal_driver* self, void* device) { shim_of(self).ops.device_close(shim_of(self).inner, device); }

hal_verdict supports(hal_driver* self, void* device, const char* feature) {
  Shim& shim = shim_of(self);
  const hal_verdict verdict = shim.ops.supports(shim.inner, device, feature);
  if (shim.is("SF-027") && std::string_view(feature) == "timestamp") { return {HAL_NO, "seeded fault"}; }
  if (shim.is("SF-242") && std::string_view(feature).starts_with("dtype.")) { return {HAL_YES, "seeded fault"}; }
  if (shim.is("SF-029") && std::string_view(feature) == "timestamp") {
    const std::lock_guard lock(shim.mutex);
    if (shim.made_a_lane) { return {verdict.support == HAL_NO ? HAL_YES : HAL_NO, "seeded fault"}; }
  }
  return verdict;
}

hal_error* memory_allocate(hal_driver* self, void* device, std::uint64_t bytes, hal_memory* out) {
  Shim& shim = shim_of(self);
  if (shim.is("SF-034")) {
    const std::lock_guard lock(shim.mutex);
    if (shim.out_of_memory) {
      return make_error(shim, HAL_OUT_OF_DEVICE_MEMORY, "seeded fault: 0 bytes free, largest block 0");
    }
  }
  if (shim.is("SF-212")) {
    const std::lock_guard lock(shim.mutex);
    if (shim.reuse_next && shim.last_device == device && shim.last.impl != nullptr && shim.last.bytes >= bytes) {
      shim.reuse_next = false;
      ++shim.users[shim.last.impl];
      *out = shim.last;
      out->bytes = bytes;
      return nullptr;
    }
    shim.reuse_next = true;
  }
  hal_error* error = shim.ops.memory_allocate(shim.inner, device, bytes, out);
  const std::lock_guard lock(shim.mutex);
  if (error != nullptr) {
    shim.out_of_memory = shim.out_of_memory || hal_error_describe(error).code == HAL_OUT_OF_DEVICE_MEMORY;
    return error;
  }
  if (shim.is("SF-212")) {
    shim.last = *out;
    shim.last_device = device;
    shim.users[out->impl] = 1;
  }
  return nullptr;
}

void memory_free(hal_driver* self, void* device, const hal_memory* memory) {
  Shim& shim = shim_of(self);
  if (shim.is("SF-212")) {
    const std::lock_guard lock(shim.mutex);
    if (--shim.users[memory->impl] > 0) { return; }
    if (shim.last.impl == memory->impl) { shim.last = {}; }
  }
  shim.ops.memory_free(shim.inner, device, memory);
}

hal_verdict program_check(hal_driver* self, void* device, const hal_image* image) {
  Shim& shim = shim_of(self);
  if (shim.is("SF-125")) { return {HAL_YES, "seeded fault"}; }
  return shim.ops.program_check(shim.inner, device, image);
}

hal_error* program_load(hal_driver* self, void* device, const hal_image* image, const hal_signature* signatures,
                        std::uint32_t count, void** out) {
  Shim& shim = shim_of(self);
  const bool changes = shim.is("SF-217") || shim.is("SF-241") || shim.is("SF-243");
  if (changes && std::string_view(image->format) == "hal.graph") {
    const auto* bytes = static_cast<const std::byte*>(image->bytes);
    std::vector<std::byte> changed(bytes, bytes + image->size);
    if (shim.is("SF-217")) { round_down(changed); }
    if (shim.is("SF-241")) { drop_signs(changed); }
    if (shim.is("SF-243")) { copy_views(changed); }
    hal_image other = *image;
    other.bytes = changed.data();
    return shim.ops.program_load(shim.inner, device, &other, signatures, count, out);
  }
  if (shim.is("SF-230") && image->constant_count != 0) {
    const std::lock_guard lock(shim.mutex);
    std::vector<hal_constant>& first = shim.first_constants[image->format];
    if (first.size() != image->constant_count) {
      first.assign(image->constants, image->constants + image->constant_count);
    }
    hal_image other = *image;
    std::vector<hal_constant> stale(image->constants, image->constants + image->constant_count);
    for (std::size_t i = 0; i < stale.size(); ++i) {
      std::memcpy(stale[i].value, first[i].value, sizeof first[i].value);
    }
    other.constants = stale.data();
    return shim.ops.program_load(shim.inner, device, &other, signatures, count, out);
  }
  std::vector<hal_signature> kinds;
  if (shim.is("SF-258") && image->manifest != nullptr) {
    kinds.assign(signatures, signatures + count);
    for (hal_signature& signature : kinds) { signature.kind = HAL_KERNEL; }
    signatures = kinds.data();
  }
  hal_error* error = shim.ops.program_load(shim.inner, device, image, signatures, count, out);
  if (error == nullptr && (shim.is("SF-231") || shim.is("SF-248") || shim.is("SF-253"))) {
    const std::lock_guard lock(shim.mutex);
    for (std::uint32_t i = 0; i < count; ++i) {
      shim.dynamic[*out].push_back(signatures[i].symbol_count != 0 ? signatures[i].param_count : UINT32_MAX);
    }
  }
  return error;
}

void program_unload(hal_driver* self, void* device, void* program) {
  Shim& shim = shim_of(self);
  {
    const std::lock_guard lock(shim.mutex);
    shim.graphs_run.erase(program);
    shim.dynamic.erase(program);
    shim.first_extents.erase(program);
    shim.last_run.erase(program);
  }
  shim.ops.program_unload(shim.inner, device, program);
}

bool loses_preparation(const Shim& shim) { return shim.is("SF-252") || shim.is("SF-254"); }

std::uint32_t number(hal_driver* self, void* device, const char* name, std::uint64_t* out) {
  Shim& shim = shim_of(self);
  if (shim.ops.number != nullptr && shim.ops.number(shim.inner, device, name, out) != 0) { return 1; }
  // A driver that never loads late declares no such number: then every run is said to.
  if (!loses_preparation(shim) || std::string_view(name) != "program.lazy_loads") { return 0; }
  *out = shim.runs.load();
  return 1;
}
hal_error* report(hal_driver* self, void* device, char** out) {
  return shim_of(self).ops.report(shim_of(self).inner, device, out);
}
hal_error* memory_export(hal_driver* self, void* device, const hal_memory* memory, hal_remote* out) {
  return shim_of(self).ops.memory_export(shim_of(self).inner, device, memory, out);
}
hal_error* address(hal_driver* self, void* device, const void** bytes, std::uint64_t* size) {
  return shim_of(self).ops.address(shim_of(self).inner, device, bytes, size);
}
hal_error* peer_connect(hal_driver* self, void* device, const void* bytes, std::uint64_t size, std::uint32_t rank,
                        void** out) {
  return shim_of(self).ops.peer_connect(shim_of(self).inner, device, bytes, size, rank, out);
}
void peer_close(hal_driver* self, void* device, void* peer) {
  shim_of(self).ops.peer_close(shim_of(self).inner, device, peer);
}

template <auto Entry>
struct Forward;
template <class R, class... Args, R (*hal_driver_ops::*Entry)(hal_driver*, Args...)>
struct Forward<Entry> {
  static R call(hal_driver* self, Args... args) { return (shim_of(self).ops.*Entry)(shim_of(self).inner, args...); }
  static void fill(const Shim& shim, hal_driver_ops& table) {
    table.*Entry = shim.ops.*Entry != nullptr ? &call : nullptr;
  }
};

hal_error* range_map(hal_driver* self, void* device, const hal_memory* range, std::uint64_t offset, void* physical,
                     std::uint64_t from, std::uint64_t bytes, hal_access access) {
  Shim& shim = shim_of(self);
  return shim.ops.range_map(shim.inner, device, range, shim.is("SF-244") ? 0 : offset, physical, from, bytes, access);
}

// The copy stays: a fault may leak.
hal_error* memory_import(hal_driver* self, void* device, void* memory, std::uint64_t bytes, hal_memory* out) {
  Shim& shim = shim_of(self);
  if (shim.is("SF-245")) { memory = std::memcpy(std::malloc(bytes), memory, bytes); }
  return shim.ops.memory_import(shim.inner, device, memory, bytes, out);
}

hal_error* physical_import_fd(hal_driver* self, void* device, int fd, std::uint64_t bytes, void** out) {
  Shim& shim = shim_of(self);
  if (shim.is("SF-246")) { return shim.ops.physical_create(shim.inner, device, bytes, out); }
  return shim.ops.physical_import_fd(shim.inner, device, fd, bytes, out);
}

// A driver that writes nothing writes something that nobody can read.
hal_error* program_serialize(hal_driver* self, void* device, void* program, void** out_bytes, std::uint64_t* out_size) {
  Shim& shim = shim_of(self);
  std::vector<std::byte> bytes(64);
  if (shim.ops.program_serialize != nullptr) {
    hal_error* error = shim.ops.program_serialize(shim.inner, device, program, out_bytes, out_size);
    if (!shim.is("SF-247")) { return error; }
    if (error == nullptr) {
      const auto* made = static_cast<const std::byte*>(*out_bytes);
      bytes.assign(made, made + *out_size);
      std::free(*out_bytes);
    }
    hal_release(error);
  }
  const std::lock_guard lock(shim.mutex);
  if (shim.first_serialized.empty()) { shim.first_serialized = std::move(bytes); }
  *out_size = shim.first_serialized.size();
  *out_bytes = std::malloc(shim.first_serialized.size());
  std::memcpy(*out_bytes, shim.first_serialized.data(), shim.first_serialized.size());
  return nullptr;
}

}  // namespace

namespace {

// Damaged graphs come here too: every range is checked, and what does not fit is left for the driver to refuse.
class GraphBytes {
 public:
  explicit GraphBytes(std::vector<std::byte>& bytes) : bytes_(bytes) { sound_ = get(0, header_); }
  ~GraphBytes() {
    namespace format = hal::graph::format;
    if (changed_) { std::memset(bytes_.data() + offsetof(format::Header, checksum), 0, sizeof header_.checksum); }
  }

  // Calls body(offset, record) for every whole record of a section.
  template <class Record, class Body>
  void each(hal::graph::format::SectionKind kind, Body&& body) {
    if (!sound_) { return; }
    const auto& section = header_.sections[static_cast<std::size_t>(kind)];
    for (std::uint64_t i = 0; i < section.bytes / sizeof(Record); ++i) {
      Record record{};
      if (!get(section.offset + i * sizeof record, record)) { return; }
      body(section.offset + i * sizeof record, record);
    }
  }
  std::uint64_t attributes(std::uint64_t offset) const {
    return header_.sections[static_cast<std::size_t>(hal::graph::format::SectionKind::attributes)].offset + offset;
  }
  template <class T>
  bool get(std::uint64_t offset, T& out) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) { return false; }
    std::memcpy(&out, bytes_.data() + offset, sizeof(T));
    return true;
  }
  template <class T>
  void set(std::uint64_t offset, const T& value) {
    std::memcpy(bytes_.data() + offset, &value, sizeof(T));
    changed_ = true;
  }

 private:
  std::vector<std::byte>& bytes_;
  hal::graph::format::Header header_{};
  bool sound_ = false, changed_ = false;
};

}  // namespace

void round_down(std::vector<std::byte>& graph) {
  using namespace hal::graph;
  GraphBytes bytes(graph);
  bytes.each<format::NodeRecord>(format::SectionKind::nodes, [&](std::uint64_t, const format::NodeRecord& node) {
    if (node.op != static_cast<std::uint8_t>(Op::map)) { return; }
    for (std::uint64_t k = 0; k < node.attributes_bytes / sizeof(format::InstructionRecord); ++k) {
      format::InstructionRecord instruction{};
      const std::uint64_t offset = bytes.attributes(node.attributes_offset) + k * sizeof instruction;
      if (!bytes.get(offset, instruction)) { return; }
      if (instruction.opcode == static_cast<std::uint8_t>(Opcode::round)) {
        bytes.set(offset, static_cast<std::uint8_t>(Opcode::floor));
      }
    }
  });
}

void drop_signs(std::vector<std::byte>& graph) {
  using namespace hal::graph;
  GraphBytes bytes(graph);
  bytes.each<format::TensorRecord>(format::SectionKind::tensors, [&](std::uint64_t at, format::TensorRecord record) {
    if (record.dtype != static_cast<std::uint8_t>(hal::DType::i8)) { return; }
    record.dtype = static_cast<std::uint8_t>(hal::DType::u8);
    bytes.set(at, record);
  });
}

void copy_views(std::vector<std::byte>& graph) {
  using namespace hal::graph;
  GraphBytes bytes(graph);
  std::vector<format::TensorRecord> tensors;
  bytes.each<format::TensorRecord>(
      format::SectionKind::tensors,
      [&](std::uint64_t, const format::TensorRecord& record) { tensors.push_back(record); });
  bytes.each<format::NodeRecord>(format::SectionKind::nodes, [&](std::uint64_t at, format::NodeRecord node) {
    std::uint32_t input = 0;
    const bool known = node.op == static_cast<std::uint8_t>(Op::view) &&
                       bytes.get(bytes.attributes(node.inputs_offset), input) && input < tensors.size() &&
                       node.output < tensors.size() && tensors[input].dims == tensors[node.output].dims;
    if (!known) { return; }
    node.op = static_cast<std::uint8_t>(Op::convert);
    node.attributes_bytes = 0;
    bytes.set(at, node);
  });
}

void fill_device_table(const Shim& shim, hal_driver_ops& table) {
  table.device_count = device_count;
  table.device_describe = device_describe;
  table.device_open = device_open;
  table.device_close = device_close;
  table.supports = supports;
  table.memory_allocate = memory_allocate;
  table.memory_free = memory_free;
  table.program_check = program_check;
  table.program_load = program_load;
  table.program_unload = program_unload;
  // What the driver does without, the shim does without.
  table.number = shim.ops.number != nullptr || loses_preparation(shim) ? number : nullptr;
  table.report = shim.ops.report != nullptr ? report : nullptr;
  table.memory_export = shim.ops.memory_export != nullptr ? memory_export : nullptr;
  table.address = shim.ops.address != nullptr ? address : nullptr;
  table.peer_connect = shim.ops.peer_connect != nullptr ? peer_connect : nullptr;
  table.peer_close = shim.ops.peer_close != nullptr ? peer_close : nullptr;
  table.memory_import = shim.ops.memory_import != nullptr ? memory_import : nullptr;
  Forward<&hal_driver_ops::memory_unimport>::fill(shim, table);
  Forward<&hal_driver_ops::range_reserve>::fill(shim, table);
  Forward<&hal_driver_ops::range_release>::fill(shim, table);
  table.range_map = shim.ops.range_map != nullptr ? range_map : nullptr;
  Forward<&hal_driver_ops::range_protect>::fill(shim, table);
  Forward<&hal_driver_ops::range_unmap>::fill(shim, table);
  Forward<&hal_driver_ops::physical_create>::fill(shim, table);
  Forward<&hal_driver_ops::physical_free>::fill(shim, table);
  Forward<&hal_driver_ops::physical_export_fd>::fill(shim, table);
  table.physical_import_fd = shim.ops.physical_import_fd != nullptr ? physical_import_fd : nullptr;
  table.program_serialize = shim.ops.program_serialize != nullptr || shim.is("SF-247") ? program_serialize : nullptr;
  Forward<&hal_driver_ops::program_key>::fill(shim, table);
}

}  // namespace hal::fault
