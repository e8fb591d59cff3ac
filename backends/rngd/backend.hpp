// SPDX-License-Identifier: Apache-2.0
// The HAL driver of RNGD cards: translates the border's commands into librngd's and knows nothing below that. A card is
// opened when the first of its partitions is, and closed with the last.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "driver/rngd.h"
#include "driver_kit/background.hpp"
#include "driver_kit/verdicts.hpp"
#include "graph/image_copy.hpp"
#include "graph/instances.hpp"
#include "hal/driver.h"
#include "hal/result.hpp"

namespace hal::rngd_backend {

inline constexpr const char* kOrigin = "rngd";
inline constexpr std::uint32_t kQueueDepth = 1024;

struct Card {
  rngd_device* device = nullptr;
  std::uint32_t users = 0;
};

struct Driver : hal_driver {
  const hal_host_api* host = nullptr;
  std::mutex mutex;
  std::vector<Card> cards;
};

struct Device;

// Constants that lie on the card once for all programs of a graph.
struct SharedConstants {
  explicit SharedConstants(Device& its_device) : device(its_device) {}
  ~SharedConstants();
  SharedConstants(const SharedConstants&) = delete;
  SharedConstants& operator=(const SharedConstants&) = delete;

  Device& device;
  rngd_address memory{};
  std::vector<rngd_binding> bindings;
};

// A program on the card, for known sizes. Goes with its last user: the Program, or commands in flight.
struct Loaded {
  explicit Loaded(Device& its_device) : device(its_device) {}
  ~Loaded();
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;

  Device& device;
  rngd_program* handle = nullptr;
  rngd_program_info info{};
  rngd_address scratch{};                            // one for all lanes: a partition runs one program at a time
  std::vector<std::string> labels;                   // of each operation, for errors; empty for an rngd.image
  std::vector<std::byte> image;                      // as compiled, for program_serialize()
  std::shared_ptr<const SharedConstants> constants;  // null: they are in the image

  std::uint32_t shared() const {
    return constants != nullptr ? static_cast<std::uint32_t>(constants->bindings.size()) : 0;
  }
};

// A graph whose sizes come with its runs: the card's programs are compiled for sizes, one for each set.
struct OpenGraph {
  OpenGraph(graph::ImageCopy its_image, graph::View view) : image(std::move(its_image)), instances(std::move(view)) {}

  graph::ImageCopy image;
  graph::Instances<Loaded> instances;
  std::shared_ptr<const SharedConstants> constants;
};

struct Program {
  std::shared_ptr<const Loaded> fixed;
  std::unique_ptr<OpenGraph> open;  // one of the two

  // The card's program for a RUN, or PREPARE; null if it has to be made first, which obtain() does and which takes
  // long.
  std::shared_ptr<const Loaded> find(const hal_command& command) const;
  Result<std::shared_ptr<const Loaded>> obtain(Device& device, const hal_command& command) const;
};

struct Device {
  Driver* driver = nullptr;
  std::uint32_t card = 0;
  rngd_device* device = nullptr;
  rngd_partition* partition = nullptr;
  std::uint32_t first_pe = 0, pe_count = 0;
  bool round_f32 = false;  // f32 contractions on the tensor unit, operands rounded to bf16
  std::string uri, name, key;
  kit::Verdicts verdicts;
  std::mutex mutex;
  std::vector<const Loaded*> programs;
  std::atomic<std::uint64_t> lazy_loads{0};  // runs that had to wait for a program of their sizes
  kit::Background background{kOrigin, "hal-rngd-make"};
};

// status.cpp: the one place where librngd's codes become ours
hal_code code_of(const rngd_error& error);
hal_error* make_error(const rngd_error& error, const char* what) noexcept;
hal_error* make_error(const rngd_error& error, const std::string& what) noexcept;

// device.cpp
std::uint32_t device_count(hal_driver* self);
void device_describe(hal_driver* self, std::uint32_t i, hal_device_info* out);
hal_error* device_open(hal_driver* self, const hal_device_request* request, hal_device_traits* out);
void device_close(hal_driver* self, void* device);
hal_verdict supports(hal_driver* self, void* device, const char* feature);
std::uint32_t number(hal_driver* self, void* device, const char* name, std::uint64_t* out);
hal_error* report(hal_driver* self, void* device, char** out);

// memory.cpp
hal_error* memory_allocate(hal_driver* self, void* device, std::uint64_t bytes, hal_memory* out);
void memory_free(hal_driver* self, void* device, const hal_memory* memory);

// lane.cpp
hal_error* lane_create(hal_driver* self, void* device, const char* label, void* core, hal_lane** out);
void lane_destroy(hal_driver* self, void* device, hal_lane* lane);
std::uint32_t submit(hal_driver* self, hal_lane* lane, std::uint64_t first, const hal_command* commands,
                     std::uint32_t count);
void flush(hal_driver* self, hal_lane* lane);
void help(hal_driver* self, hal_lane* lane, std::uint64_t number, std::uint64_t within_ns);
void lane_cancel(hal_driver* self, hal_lane* lane);

// program.cpp
hal_verdict program_check(hal_driver* self, void* device, const hal_image* image);
hal_error* program_load(hal_driver* self, void* device, const hal_image* image, const hal_signature* signatures,
                        std::uint32_t signature_count, void** out);
void program_unload(hal_driver* self, void* device, void* program);
hal_error* program_serialize(hal_driver* self, void* device, void* program, void** out_bytes, std::uint64_t* out_size);
const char* program_key(hal_driver* self, void* device);

}  // namespace hal::rngd_backend
