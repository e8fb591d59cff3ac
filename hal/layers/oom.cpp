// SPDX-License-Identifier: Apache-2.0
// The layer `oom`: allocations of memory, programs and lanes fail on purpose, each driver's counted together from 1.
#include <fmt/format.h>

#include <atomic>
#include <charconv>

#include "core/instance.hpp"
#include "layers/layers.hpp"
#include "layers/wrap.hpp"

namespace hal::layers {
namespace {

struct Plan {
  enum class Kind { once, each, random } kind = Kind::once;
  std::uint64_t n = 0, seed = 0;

  bool fails(std::uint64_t number) const {
    if (kind == Kind::once) { return number == n; }
    if (kind == Kind::each) { return number % n == 0; }
    std::uint64_t z = seed + number * 0x9e3779b97f4a7c15U;  // splitmix64: the same seed fails the same calls
    z = (z ^ z >> 30U) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27U) * 0x94d049bb133111ebU;
    return (z ^ z >> 31U) % n == 0;
  }
};

bool number_from(std::string_view text, std::uint64_t& out) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), out);
  return problem == std::errc{} && end == text.data() + text.size();
}

class Oom final : public core::Wrapper {
 public:
  explicit Oom(Plan plan) : plan_(plan) {}
  void wrap(core::LoadedDriver& driver) override { layers::wrap(driver, this, change); }

 private:
  // The failure of this call, or NULL.
  static hal_error* fail(hal_driver* self, hal_code code, const std::string& what) {
    auto& mine = *static_cast<Oom*>(wrapped(self).layer);
    const std::uint64_t number = mine.count_.fetch_add(1, std::memory_order_relaxed) + 1;
    if (!mine.plan_.fails(number)) { return nullptr; }
    return Error(code, fmt::format("{}: allocation {} of this instance fails on purpose", what, number), "layer oom",
                 "", 0)
        .release();
  }

  static void change(hal_driver_ops& table) {
    table.memory_allocate = [](hal_driver* self, void* device, std::uint64_t bytes, hal_memory* out) {
      const std::string what = fmt::format("{} bytes asked", bytes);
      hal_error* error = fail(self, HAL_OUT_OF_DEVICE_MEMORY, what);
      return error != nullptr ? error : wrapped(self).ops.memory_allocate(wrapped(self).inner, device, bytes, out);
    };
    table.program_load = [](hal_driver* self, void* device, const hal_image* image, const hal_signature* signatures,
                            std::uint32_t count, void** out) {
      hal_error* error = fail(self, HAL_OUT_OF_DEVICE_MEMORY, fmt::format("a program of {} bytes", image->size));
      return error != nullptr
                 ? error
                 : wrapped(self).ops.program_load(wrapped(self).inner, device, image, signatures, count, out);
    };
    table.lane_create = [](hal_driver* self, void* device, const char* label, void* core, hal_lane** out) {
      hal_error* error = fail(self, HAL_OUT_OF_HOST_MEMORY, "a lane");
      return error != nullptr ? error : wrapped(self).ops.lane_create(wrapped(self).inner, device, label, core, out);
    };
  }

  const Plan plan_;
  std::atomic<std::uint64_t> count_{0};
};

}  // namespace

Result<std::unique_ptr<core::Wrapper>> make_oom(std::string_view argument, core::Instance&) {
  Plan plan;
  std::string_view number = argument;
  if (number.starts_with("each:")) {
    plan.kind = Plan::Kind::each;
    number.remove_prefix(5);
  } else if (number.starts_with("random:")) {
    plan.kind = Plan::Kind::random;
    number.remove_prefix(7);
    const std::size_t colon = std::min(number.find(':'), number.size());
    if (!number_from(number.substr(0, colon), plan.seed)) { number = {}; }
    number.remove_prefix(std::min(colon + 1, number.size()));
  }
  if (!number_from(number, plan.n) || plan.n == 0) {
    return Error(
        HAL_INVALID_ARGUMENT,
        fmt::format("layer oom: '{}' is no plan; it takes N (the N-th allocation fails, from 1), each:N (every N-th) "
                    "or random:SEED:N (one in N, the same for the same seed)",
                    argument));
  }
  return std::unique_ptr<core::Wrapper>(std::make_unique<Oom>(plan));
}

}  // namespace hal::layers
