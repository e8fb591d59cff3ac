// SPDX-License-Identifier: Apache-2.0
// A loaded image of any format, as a lane sees it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "driver_kit/lane_pool.hpp"
#include "driver_kit/software_lane.hpp"
#include "hal/driver.h"
#include "hal/result.hpp"

namespace hal::host {

struct Device;

// Memory of one lane for what a run needs besides its arguments: shared memory of groups, intermediates of graphs.
class Scratch {
 public:
  static constexpr std::size_t kPage = 4096;
  static constexpr std::size_t up_to_page(std::size_t bytes) { return (bytes + kPage - 1) & ~(kPage - 1); }

  // Begins a page, contents undefined, valid until the next call. Throws std::bad_alloc.
  std::byte* get(std::size_t bytes) {
    if (bytes > size_) {
      if (late != nullptr) { late->fetch_add(1, std::memory_order_relaxed); }
      grow(bytes);
    }
    return bytes_.get();
  }
  // Obtains and touches now what get() will be asked for.
  void reserve(std::size_t bytes);

  kit::LanePool* pool = nullptr;               // whose idle threads may take part in a run
  std::atomic<std::uint64_t>* late = nullptr;  // counts what runs had to obtain because nobody had prepared them

 private:
  void grow(std::size_t bytes);
  struct Free {
    void operator()(std::byte* bytes) const;
  };
  std::unique_ptr<std::byte, Free> bytes_;
  std::size_t size_ = 0;
};

class Program : public kit::LaneProgram {
 public:
  // What a run does to each argument, if it does nothing else; empty if that is not known. Set while loading.
  std::vector<hal_direction> directions;

  // `command` is a RUN or PREPARE of this program, checked by the core. Called from several lanes at once.
  virtual hal_error* run(const hal_command& command, Scratch& scratch, const kit::Perturb& perturb) = 0;
  // Obtains for the lane what a run of the entry needs, as far as it is known without arguments.
  virtual Result<void> prepare(const hal_command& command, Scratch& scratch) = 0;
  // What program_serialize() writes and load_graph() reads; empty if the program lives in this process alone.
  virtual std::span<const std::byte> portable() const { return {}; }
  virtual kit::CommandCost cost(const hal_command& command) const = 0;

  Captured capture_one_group(const hal_command& /*command*/, void* /*room*/) const noexcept override { return nullptr; }
};

// Of a RUN or PREPARE.
inline Program& program_of(const hal_command& command) {
  return *static_cast<Program*>(static_cast<kit::LaneProgram*>(command.as.run.program->impl));
}

// functions.cpp: "host.functions". Errors: INVALID_IMAGE, INCOMPATIBLE.
Result<void> check_functions(std::span<const std::byte> image);
// INVALID_IMAGE for an entry that is declared a graph.
Result<void> check_kernels(std::span<const hal_signature> signatures);
Result<std::unique_ptr<Program>> load_functions(std::span<const std::byte> image,
                                                std::span<const hal_signature> signatures,
                                                std::span<const hal_constant> constants);

// object_program.cpp: "host.so". Errors: INVALID_IMAGE, INCOMPATIBLE, UNAVAILABLE.
Result<void> check_object(std::span<const std::byte> image);
Result<std::unique_ptr<Program>> load_object(std::span<const std::byte> image,
                                             std::span<const hal_signature> signatures,
                                             std::span<const hal_constant> constants);

// graph/graph_program.cpp: "hal.graph". Errors: INVALID_IMAGE, INCOMPATIBLE, UNSUPPORTED naming the node.
Result<void> check_graph(std::span<const std::byte> image);
// `pool` lends idle threads to large steps; may be null.
Result<std::unique_ptr<Program>> load_graph(std::span<const std::byte> image, kit::LanePool* pool);

}  // namespace hal::host
