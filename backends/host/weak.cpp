// SPDX-License-Identifier: Apache-2.0
#include "weak.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace hal::host {

void WeakState::note(std::uint64_t lane, std::uint64_t number, std::uint64_t pieces_left, bool overtakes) {
  const std::lock_guard lock(mutex_);
  Lane& of = lanes_[lane];
  ++of.steps;
  of.overtakes += overtakes ? 1 : 0;
  for (const std::uint64_t word : {number, pieces_left}) { of.digest = (of.digest ^ word) * 0x100000001b3U; }
}

std::string WeakState::report() const {
  const std::lock_guard lock(mutex_);
  std::string lanes;
  for (const auto& [number, lane] : lanes_) {
    lanes += fmt::format(R"({}{{"lane":{},"steps":{},"overtakes":{},"schedule":"{:016x}"}})", lanes.empty() ? "" : ",",
                         number, lane.steps, lane.overtakes, lane.digest);
  }
  return fmt::format(R"("lanes":[{}])", lanes);
}

// The first and last pages of a large block: touching all of it would take longer than most programs run.
constexpr std::uint64_t kEdge = 1U << 20U;

void Quarantine::poison(const Block& block) {
  std::memset(block.begin, block.poison, std::min(block.bytes, kEdge));
  if (block.bytes > kEdge) { std::memset(block.begin + block.bytes - kEdge, block.poison, kEdge); }
}

std::optional<std::uint64_t> Quarantine::written(const Block& block) {
  const auto expected = static_cast<std::byte>(block.poison);
  const auto first_written = [&](std::uint64_t begin, std::uint64_t end) -> std::optional<std::uint64_t> {
    const std::byte* found =
        std::find_if(block.begin + begin, block.begin + end, [&](std::byte byte) { return byte != expected; });
    if (found == block.begin + end) { return std::nullopt; }
    return static_cast<std::uint64_t>(found - block.begin);
  };
  if (const auto at = first_written(0, std::min(block.bytes, kEdge))) { return at; }
  return block.bytes > kEdge ? first_written(block.bytes - kEdge, block.bytes) : std::nullopt;
}

}  // namespace hal::host
