// SPDX-License-Identifier: Apache-2.0
#include "core/arena.hpp"

#include <algorithm>
#include <bit>
#include <climits>

namespace hal::core {

Arena::Arena(const hal_allocator& from, std::uint64_t bytes, std::uint64_t unit) : from_(from), unit_(unit) {
  auto* all = Storage::make<Block>(from_);
  all->bytes = bytes / unit * unit;
  link(all);
}

Arena::~Arena() {
  for (Block* list : lists_) {
    while (list != nullptr) { Storage::unmake(from_, std::exchange(list, list->next)); }
  }
}

// The list in which a block of `bytes` hangs: its power of two, and which quarter above it.
unsigned Arena::list_of(std::uint64_t bytes) {
  const unsigned power = static_cast<unsigned>(std::bit_width(bytes)) - 1;
  const std::uint64_t quarter = power < 2 ? 0 : (bytes >> (power - 2)) & 3U;
  return power * kSteps + static_cast<unsigned>(quarter);
}

void Arena::link(Block* block) {
  const unsigned list = list_of(block->bytes);
  block->free = true;
  block->previous = nullptr;
  block->next = lists_[list];
  if (block->next != nullptr) { block->next->previous = block; }
  lists_[list] = block;
  filled_[list / 64] |= std::uint64_t{1} << (list % 64);
  free_bytes_ += block->bytes;
}

void Arena::unlink(Block* block) {
  const unsigned list = list_of(block->bytes);
  (block->previous != nullptr ? block->previous->next : lists_[list]) = block->next;
  if (block->next != nullptr) { block->next->previous = block->previous; }
  if (lists_[list] == nullptr) { filled_[list / 64] &= ~(std::uint64_t{1} << (list % 64)); }
  block->free = false;
  free_bytes_ -= block->bytes;
}

Arena::Block* Arena::take(std::uint64_t bytes) {
  if (bytes > free_bytes_) { return nullptr; }
  const std::uint64_t wanted = (bytes + unit_ - 1) & ~(unit_ - 1);
  const unsigned own = list_of(wanted);
  Block* found = nullptr;
  // In the lists above its own every block is large enough; in its own some may be.
  for (unsigned word = (own + 1) / 64; word < filled_.size() && found == nullptr; ++word) {
    const std::uint64_t above = word == (own + 1) / 64 ? ~std::uint64_t{0} << ((own + 1) % 64) : ~std::uint64_t{0};
    if (const std::uint64_t some = filled_[word] & above; some != 0) {
      found = lists_[word * 64 + static_cast<unsigned>(std::countr_zero(some))];
    }
  }
  int patience = found != nullptr ? 8 : INT_MAX;  // a tighter fit is worth a short look
  for (Block* block = lists_[own]; block != nullptr && patience-- > 0; block = block->next) {
    if (block->bytes >= wanted) {
      found = block;
      break;
    }
  }
  if (found == nullptr) { return nullptr; }
  Block* rest = found->bytes > wanted ? Storage::make<Block>(from_) : nullptr;
  unlink(found);
  if (rest != nullptr) {
    *rest = {found->offset + wanted, found->bytes - wanted, found, found->after, nullptr, nullptr, false};
    if (rest->after != nullptr) { rest->after->before = rest; }
    found->after = rest;
    found->bytes = wanted;
    link(rest);
  }
  return found;
}

void Arena::put(Block* block) {
  if (Block* before = block->before; before != nullptr && before->free) {
    unlink(before);
    before->bytes += block->bytes;
    before->after = block->after;
    if (before->after != nullptr) { before->after->before = before; }
    Storage::unmake(from_, std::exchange(block, before));
  }
  if (Block* after = block->after; after != nullptr && after->free) {
    unlink(after);
    block->bytes += after->bytes;
    block->after = after->after;
    if (block->after != nullptr) { block->after->before = block; }
    Storage::unmake(from_, after);
  }
  link(block);
}

std::uint64_t Arena::largest() const {
  for (std::size_t word = filled_.size(); word-- > 0;) {
    if (filled_[word] == 0) { continue; }
    const std::size_t list = word * 64 + 63 - static_cast<std::size_t>(std::countl_zero(filled_[word]));
    std::uint64_t most = 0;
    for (const Block* block = lists_[list]; block != nullptr; block = block->next) {
      most = std::max(most, block->bytes);
    }
    return most;
  }
  return 0;
}

}  // namespace hal::core
