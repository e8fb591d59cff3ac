// SPDX-License-Identifier: Apache-2.0
// Kernels as functions of this process.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string_view>
#include <vector>

#include "driver_kit/clock.hpp"
#include "driver_kit/errors.hpp"
#include "hal/host_kernel.h"
#include "host.hpp"
#include "program.hpp"

namespace hal::host {

namespace {

constexpr std::uint64_t kMostEntries = 65'536;
constexpr std::uint32_t kFewArgs = 64;
constexpr std::uint64_t kSplitNs = 100'000;  // a launch that takes longer is worth waking other threads
constexpr std::uint64_t kPieceNs = 30'000;   // what a thread takes at a time
constexpr std::uint32_t kGroupNs = 64;       // a guess: nothing is known about a function

Error invalid(hal_code code, const std::string& what) { return kit::error(kOrigin, code, what); }

Result<hal_host_functions> read(std::span<const std::byte> image) {
  hal_host_functions table{};
  if (image.size() != sizeof(table)) {
    return invalid(HAL_INVALID_IMAGE,
                   fmt::format("a host.functions image has {} bytes, this one {}; pass sizeof(hal_host_functions)",
                               sizeof(table), image.size()));
  }
  std::memcpy(&table, image.data(), sizeof(table));
  if (table.magic != HAL_HOST_FUNCTIONS_MAGIC) {
    return invalid(HAL_INVALID_IMAGE,
                   fmt::format("magic at offset 0 is {:#x}, expected {:#x}", table.magic, HAL_HOST_FUNCTIONS_MAGIC));
  }
  if (table.version != HAL_HOST_FUNCTIONS_VERSION) {
    return invalid(HAL_INCOMPATIBLE, fmt::format("version at offset 4 is {}, this driver reads {}", table.version,
                                                 HAL_HOST_FUNCTIONS_VERSION));
  }
  if (table.entry_count == 0 || table.entry_count > kMostEntries) {
    return invalid(HAL_INVALID_IMAGE,
                   fmt::format("entry_count at offset 8 is {}, expected 1 to {}", table.entry_count, kMostEntries));
  }
  if (table.entries == nullptr) { return invalid(HAL_INVALID_IMAGE, "entries at offset 16 is NULL"); }
  for (std::uint64_t i = 0; i < table.entry_count; ++i) {
    const hal_host_entry& entry = table.entries[i];
    if (entry.name == nullptr || *entry.name == 0) {
      return invalid(HAL_INVALID_IMAGE, fmt::format("entry {} has no name", i));
    }
    if (entry.function == nullptr) {
      return invalid(HAL_INVALID_IMAGE, fmt::format("entry {} ('{}') has no function", i, entry.name));
    }
  }
  return table;
}

struct Kernel {
  hal_host_kernel function = nullptr;
  std::uint64_t shared_bytes = 0;
};

class Functions final : public Program {
 public:
  std::vector<Kernel> kernels;
  std::vector<std::array<unsigned char, 8>> values;  // of the specialisation constants
  std::vector<const void*> constants;                // where each lies
  const void* const* constants_table = nullptr;      // as a group gets them

  // A launch of one group without shared memory, with all that its function is given. Where an entry has more arguments
  // (extents of symbols are some), all of the program's launches go the general way.
  struct OneGroup {
    static constexpr std::uint32_t kArgs = 6;
    hal_host_kernel function;
    hal_host_group group;
    void* args[kArgs];
    decltype(hal_arg{}.value.scalar) scalars[kArgs];
  };
  static_assert(sizeof(OneGroup) <= kRoom);

  Captured capture_one_group(const hal_command& command, void* room) const noexcept override {
    const auto& run = command.as.run;
    const Kernel& kernel = kernels.data()[run.entry];  // the core has looked
    if ((kernel.shared_bytes | run.grid.shared_bytes) != 0) { return nullptr; }
    auto& launch = *new (room) OneGroup;
    const hal_arg* args = run.args;
    for (std::uint32_t i = 0; i != run.arg_count; ++i) {
      if (args[i].kind == HAL_ARG_BUFFER) {
        launch.args[i] = address_of(args[i].value.slice);
      } else {
        std::memcpy(launch.scalars[i], args[i].value.scalar, sizeof launch.scalars[i]);
        launch.args[i] = launch.scalars[i];
      }
    }
    launch.function = kernel.function;
    put_first_group(run.grid, launch.group);
    return [](void* captured) {
      const auto& ready = *static_cast<const OneGroup*>(captured);
      ready.function(&ready.group, ready.args);
    };
  }

  hal_error* run(const hal_command& command, Scratch& scratch, const kit::Perturb& perturb) override {
    const auto& run = command.as.run;
    const Kernel& kernel = kernels[run.entry];
    void* few[kFewArgs];
    std::vector<void*> many(run.arg_count > kFewArgs ? run.arg_count : 0);
    void** args = many.empty() ? few : many.data();
    read_args(command, args);
    hal_host_group group;
    put_first_group(run.grid, group);
    if (const std::uint64_t shared = kernel.shared_bytes + run.grid.shared_bytes; shared != 0) {
      if (shared > UINT32_MAX) {
        return kit::make_error(kOrigin, HAL_INVALID_ARGUMENT,
                               fmt::format("a group would have {} shared bytes; the most is {}", shared, UINT32_MAX));
      }
      group.shared_bytes = static_cast<std::uint32_t>(shared);
      group.shared = scratch.get(shared);
    }
    return kit::to_c(run_grid(kernel, group, args, scratch, perturb));
  }

  static void read_args(const hal_command& command, void** to) {
    const auto& run = command.as.run;
    for (const hal_arg *arg = run.args, *end = arg + run.arg_count; arg != end; ++arg) {
      // A copy of the scalar that this launch owns: the lane captured it.
      *to++ = arg->kind == HAL_ARG_BUFFER ? static_cast<void*>(address_of(arg->value.slice))
                                          : const_cast<unsigned char*>(arg->value.scalar);
    }
  }

  // The first group of the grid, without shared memory. Written where it is to be: a copy of what was just stored in
  // parts would wait for them.
  void put_first_group(const hal_grid& grid, hal_host_group& group) const {
    // Both counts and sizes in one, as they lie in the grid.
    constexpr std::size_t kCounts = offsetof(hal_host_group, group_count);
    constexpr std::size_t kBytes = offsetof(hal_grid, shared_bytes);
    static_assert(offsetof(hal_grid, groups) == 0 && kCounts + kBytes == offsetof(hal_host_group, shared_bytes));
    std::memset(group.group, 0, sizeof group.group);
    std::memcpy(reinterpret_cast<std::byte*>(&group) + kCounts, &grid, kBytes);
    group.shared_bytes = 0;
    group.shared = nullptr;
    group.constants = constants_table;
  }

  static Result<void> run_grid(const Kernel& kernel, hal_host_group& group, void** args, Scratch& scratch,
                               const kit::Perturb& perturb) {
    std::uint64_t count = std::uint64_t{group.group_count[0]} * group.group_count[1];
    if (__builtin_mul_overflow(count, group.group_count[2], &count)) {
      return invalid(HAL_INVALID_ARGUMENT, "the grid has more than 2^64 groups");
    }
    if (!perturb.on()) { return run_all(kernel, group, args, count, scratch); }
    // Groups may run in any order. Mode weak steps through them by a stride without a common divisor, from anywhere.
    std::uint64_t stride = 1;
    std::uint64_t at = 0;
    if (count > 1) {
      stride = perturb.pick(count, 31, count) | 1U;
      while (std::gcd(stride, count) != 1) { ++stride; }
      stride %= count;
      at = perturb.pick(count, 32, count);
    }
    for (std::uint64_t left = count; left > 0; --left) {
      group.group[0] = static_cast<std::uint32_t>(at % group.group_count[0]);
      group.group[1] = static_cast<std::uint32_t>(at / group.group_count[0] % group.group_count[1]);
      group.group[2] = static_cast<std::uint32_t>(at / group.group_count[0] / group.group_count[1]);
      kernel.function(&group, args);
      at = at >= count - stride ? at - (count - stride) : at + stride;
    }
    return {};
  }

  // Runs groups [first, last), numbered along axis 0 first.
  static void run_some(const Kernel& kernel, hal_host_group group, void* const* args, std::uint64_t first,
                       std::uint64_t last) {
    if (first != 0) {  // most launches are small, and a division takes as long as many functions
      group.group[0] = static_cast<std::uint32_t>(first % group.group_count[0]);
      group.group[1] = static_cast<std::uint32_t>(first / group.group_count[0] % group.group_count[1]);
      group.group[2] = static_cast<std::uint32_t>(first / group.group_count[0] / group.group_count[1]);
    }
    for (std::uint64_t i = first; i < last; ++i) {
      kernel.function(&group, args);
      if (++group.group[0] < group.group_count[0]) { continue; }
      group.group[0] = 0;
      if (++group.group[1] < group.group_count[1]) { continue; }
      group.group[1] = 0;
      ++group.group[2];
    }
  }

  // Nothing is known about a function, so the first group tells how long one takes. If the others would take long they
  // spread over the device's idle threads.
  static Result<void> run_all(const Kernel& kernel, const hal_host_group& group, void* const* args, std::uint64_t count,
                              Scratch& scratch) {
    if (count < 2 || scratch.pool == nullptr || scratch.pool->threads() < 2) {
      run_some(kernel, group, args, 0, count);
      return {};
    }
    const std::uint64_t began = kit::clock_ns();
    run_some(kernel, group, args, 0, 1);
    const std::uint64_t each = std::max<std::uint64_t>(1, kit::clock_ns() - began);
    const std::uint64_t left = count - 1;
    if (left < kSplitNs && each * left < kSplitNs) {
      run_some(kernel, group, args, 1, count);
      return {};
    }
    const std::uint64_t piece =
        std::max<std::uint64_t>(1, std::min(kPieceNs / each, left / (2 * scratch.pool->threads())));
    const std::thread::id here = std::this_thread::get_id();
    std::atomic<bool> no_memory{false};
    scratch.pool->parallel((left + piece - 1) / piece, [&](std::uint64_t i) {
      hal_host_group mine = group;
      if (mine.shared != nullptr && std::this_thread::get_id() != here) {
        thread_local Scratch own;
        try {
          mine.shared = own.get(mine.shared_bytes);
        } catch (const std::bad_alloc&) {
          no_memory.store(true, std::memory_order_relaxed);
          return;
        }
      }
      run_some(kernel, mine, args, 1 + i * piece, std::min(count, 1 + (i + 1) * piece));
    });
    if (!no_memory.load(std::memory_order_relaxed)) { return {}; }
    return invalid(HAL_OUT_OF_HOST_MEMORY,
                   fmt::format("no host memory for the {} shared bytes of a group", group.shared_bytes));
  }

  Result<void> prepare(const hal_command& command, Scratch& scratch) override {
    scratch.reserve(kernels[command.as.run.entry].shared_bytes);
    return {};
  }

  kit::CommandCost cost(const hal_command& command) const override {
    const hal_grid& grid = command.as.run.grid;
    const double groups = static_cast<double>(grid.groups[0]) * grid.groups[1] * grid.groups[2];
    return {kit::nanoseconds(groups * kGroupNs), true};
  }
};

}  // namespace

Result<void> check_functions(std::span<const std::byte> image) {
  HAL_TRY([[maybe_unused]] const auto table, read(image));
  return {};
}

Result<void> check_kernels(std::span<const hal_signature> signatures) {
  for (const hal_signature& signature : signatures) {
    if (signature.kind == HAL_KERNEL) { continue; }
    return invalid(HAL_INVALID_IMAGE,
                   fmt::format("entry '{}' is declared a graph, but functions are kernels", signature.name));
  }
  return {};
}

Result<std::unique_ptr<Program>> load_functions(std::span<const std::byte> image,
                                                std::span<const hal_signature> signatures,
                                                std::span<const hal_constant> constants) {
  HAL_TRY(const hal_host_functions table, read(image));
  HAL_CHECK(check_kernels(signatures));
  const std::span<const hal_host_entry> entries(table.entries, table.entry_count);
  auto program = std::make_unique<Functions>();
  program->values.resize(constants.size());
  for (std::size_t i = 0; i < constants.size(); ++i) {
    std::memcpy(program->values[i].data(), constants[i].value, sizeof constants[i].value);
    program->constants.push_back(program->values[i].data());
  }
  if (!program->constants.empty()) { program->constants_table = program->constants.data(); }
  for (const hal_signature& signature : signatures) {
    Kernel kernel;
    kernel.shared_bytes = signature.shared_bytes;
    std::string names;
    for (const hal_host_entry& entry : entries) {
      if (std::string_view(entry.name) == signature.name) { kernel.function = entry.function; }
      names += names.empty() ? entry.name : std::string(", ") + entry.name;
    }
    if (kernel.function == nullptr) {
      return invalid(HAL_INVALID_IMAGE,
                     fmt::format("the manifest has an entry '{}' and the image no such function; it has: {}",
                                 signature.name, names));
    }
    program->kernels.push_back(kernel);
  }
  const bool all_fit = std::all_of(signatures.begin(), signatures.end(), [](const hal_signature& entry) {
    return std::uint64_t{entry.param_count} + entry.symbol_count <= Functions::OneGroup::kArgs;
  });
  if (all_fit) { program->one_group = {kGroupNs, true}; }
  return std::unique_ptr<Program>(std::move(program));
}

}  // namespace hal::host
