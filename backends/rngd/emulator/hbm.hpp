// SPDX-License-Identifier: Apache-2.0
// The card's HBM: a sparse address space, backed on first touch, filled with a poison pattern that is a NaN in f32 and
// bf16 and a negative index in i32.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace rngd::emulator {

inline constexpr std::uint32_t kPoison = 0xFFBAFFAD;

class Hbm {
 public:
  explicit Hbm(std::uint64_t bytes);
  ~Hbm();
  Hbm(const Hbm&) = delete;
  Hbm& operator=(const Hbm&) = delete;

  bool ok() const { return base_ != nullptr; }
  std::uint64_t bytes() const { return bytes_; }
  /// The range, backed and poisoned where it was never touched. The caller has checked the bounds.
  std::byte* touch(std::uint64_t address, std::uint64_t bytes);
  /// Forgets whole pages inside the range: they read as poison again and cost no host memory.
  void discard(std::uint64_t address, std::uint64_t bytes);

 private:
  static constexpr std::uint64_t kPage = 4096;
  std::byte* base_ = nullptr;
  std::uint64_t bytes_;
  std::vector<std::uint64_t> touched_;  // bit per page
};

void poison(std::byte* from, std::uint64_t bytes);

}  // namespace rngd::emulator
