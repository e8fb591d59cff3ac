// SPDX-License-Identifier: Apache-2.0
#include "core/pool.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/device.hpp"

namespace hal::core {

std::uint64_t size_class(std::uint64_t bytes) {
  constexpr std::uint64_t kLeast = 64, kLargest = std::uint64_t{1} << 62U;
  if (bytes <= kLeast) { return kLeast; }
  if (bytes > kLargest) { return bytes; }  // no device has it; the driver says so
  const std::uint64_t step = std::max(std::bit_floor(bytes - 1) / 8, kLeast);
  return (bytes + step - 1) / step * step;
}

void populate(void* address, std::uint64_t bytes) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(address) & ~(page - 1);
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(address) + bytes;
#if defined(MADV_POPULATE_WRITE)
  if (::madvise(reinterpret_cast<void*>(begin), (end - begin + page - 1) & ~(page - 1), MADV_POPULATE_WRITE) == 0) {
    return;
  }
#endif
  // An older kernel. The contents are nobody's yet, so a byte of each page may be written.
  auto* first = static_cast<volatile unsigned char*>(address);
  for (std::uint64_t at = 0; at < bytes; at += page) { first[at] = 0; }
  first[bytes - 1] = 0;
}

// ------------------------------------------------------------------------------------------------------------- lists

// Eight classes for each power of two; below 1,024 bytes fewer, and none is below 64.
std::size_t BlockLists::list_of(std::uint64_t bytes) {
  const std::uint64_t below = std::max<std::uint64_t>(bytes, 64) - 1;
  const unsigned power = static_cast<unsigned>(std::bit_width(below)) - 1;
  return std::min<std::size_t>(power * 8 + (below >> (power - 3) & 7U), kLists - 1);
}

void BlockLists::push_front(Block& block) {
  const std::size_t at = list_of(block.bytes);
  List& list = lists_[at];
  block.previous = nullptr;
  block.next = list.first;
  (block.next != nullptr ? block.next->previous : list.last) = &block;
  list.first = &block;
  filled_[at / 64] |= std::uint64_t{1} << (at % 64);
}

void BlockLists::push_back(Block& block) {
  const std::size_t at = list_of(block.bytes);
  List& list = lists_[at];
  block.next = nullptr;
  block.previous = list.last;
  (block.previous != nullptr ? block.previous->next : list.first) = &block;
  list.last = &block;
  filled_[at / 64] |= std::uint64_t{1} << (at % 64);
}

void BlockLists::remove(Block& block) {
  const std::size_t at = list_of(block.bytes);
  List& list = lists_[at];
  (block.previous != nullptr ? block.previous->next : list.first) = block.next;
  (block.next != nullptr ? block.next->previous : list.last) = block.previous;
  if (list.first == nullptr) { filled_[at / 64] &= ~(std::uint64_t{1} << (at % 64)); }
}

Block* BlockLists::first_from(std::size_t list) const {
  for (std::size_t word = list / 64; word < filled_.size(); ++word) {
    const std::uint64_t from = word == list / 64 ? ~std::uint64_t{0} << (list % 64) : ~std::uint64_t{0};
    if (const std::uint64_t some = filled_[word] & from; some != 0) {
      return lists_[word * 64 + static_cast<std::size_t>(std::countr_zero(some))].first;
    }
  }
  return nullptr;
}

Block* BlockLists::largest() const {
  for (std::size_t word = filled_.size(); word-- > 0;) {
    if (filled_[word] != 0) {
      return lists_[word * 64 + 63 - static_cast<std::size_t>(std::countl_zero(filled_[word]))].first;
    }
  }
  return nullptr;
}

// -------------------------------------------------------------------------------------------------------------- pool

Pool::Pool(Device& device, const hal_pool_desc& desc)
    : device_(device),
      label_(desc.label != nullptr ? desc.label : ""),
      limit_(desc.limit_bytes),
      keep_(desc.keep_bytes != 0 ? desc.keep_bytes : UINT64_MAX),
      initial_(desc.initial_bytes),
      prefault_(desc.prefault != 0) {
  stats_.limit_bytes = limit_;
  device_.memory().join(*this);
}

Pool::~Pool() {
  device_.memory().leave(*this);
  Block* list = nullptr;
  shed(list);
  device_.memory().free_blocks(list);
  if (arena_memory_.bytes != 0) {
    arena_.reset();
    device_.driver().memory_free(device_.driver_self(), device_.impl(), &arena_memory_);
    device_.memory().give_back(arena_memory_.bytes);
  }
}

Result<void> Pool::take_initial() {
  if (initial_ == 0) { return {}; }
  // Every block starts where the driver's own allocations may start.
  std::uint64_t alignment = 0;
  if (device_.driver().number == nullptr ||
      device_.driver().number(device_.driver_self(), device_.impl(), "memory.alignment", &alignment) == 0 ||
      !std::has_single_bit(alignment)) {
    alignment = 4096;
  }
  const std::uint64_t unit = std::max<std::uint64_t>(alignment, 64);
  const std::uint64_t bytes = std::max(initial_ / unit * unit, unit);
  arena_.emplace(device_.instance().allocator(), bytes, unit);
  HAL_CHECK(device_.memory().take(bytes, [&] { return allocate(bytes, arena_memory_); }));
  arena_memory_.bytes = bytes;
  if (prefault_ && arena_memory_.host != nullptr) { populate(arena_memory_.host, bytes); }
  unit_ = unit;
  stats_.cached_bytes = bytes;
  return {};
}

Result<void> Pool::allocate(std::uint64_t bytes, hal_memory& out) {
  return call_driver(device_.loaded(), "memory_allocate", [&] {
    return device_.driver().memory_allocate(device_.driver_self(), device_.impl(), bytes, &out);
  });
}

// A block that nobody uses.
Block* Pool::take_ready(std::uint64_t wanted) {
  if (Block* block = ready_.first(wanted)) {
    ready_.remove(*block);
    return block;
  }
  if (!arena_) { return nullptr; }
  Arena::Block* cut = arena_->take(wanted);
  if (cut == nullptr) { return nullptr; }
  Block* block = nullptr;
  try {
    block = Storage::make<Block>(device_.instance().allocator());
  } catch (...) {
    arena_->put(cut);
    throw;
  }
  block->cut = cut;
  block->bytes = cut->bytes;
  block->memory = arena_memory_;
  block->memory.offset += cut->offset;
  if (block->memory.host != nullptr) { block->memory.host = static_cast<std::byte*>(block->memory.host) + cut->offset; }
  if (block->memory.address != 0) { block->memory.address += cut->offset; }
  return block;
}

namespace {

// Whether only work before the caller's still uses a block: of its own queue, or of a queue that it waits for anyhow.
bool is_protected(const Block& block, const Timeline* lane, std::span<const hal_point> waits) {
  return block.lane == lane || std::any_of(waits.begin(), waits.end(), [&](const hal_point& wait) {
           return wait.timeline == block.lane && wait.value >= block.number;
         });
}

}  // namespace

Block* Pool::take_protected(std::uint64_t wanted, const Timeline* lane, std::span<const hal_point> waits) {
  constexpr int kPatience = 64;  // with very many in flight a new block is the cheaper answer
  int looked = 0;
  for (Block* block = cooling_.first(wanted); block != nullptr && looked < kPatience; block = block->next, ++looked) {
    if (!is_protected(*block, lane, waits)) { continue; }
    end_use(*block);
    return block;
  }
  return nullptr;
}

// Takes a block out of use by work; cooled() will not find it any more.
void Pool::end_use(Block& block) {
  cooling_.remove(block);
  stats_.cooling_bytes -= block.bytes;
  block.lane = nullptr;
  block.ticket = 0;
}

Block* Pool::take_cached(std::uint64_t wanted, const Timeline* lane, std::span<const hal_point> waits) {
  Block* block = take_ready(wanted);
  return block != nullptr || lane == nullptr ? block : take_protected(wanted, lane, waits);
}

void Pool::hand_out(Block& block, std::uint64_t asked) {
  block.asked = asked;
  stats_.used_bytes += block.bytes;
  stats_.waste_bytes += block.bytes - asked;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.used_bytes);
}

void Pool::warm(Block& block, std::uint64_t asked) {
  stats_.cached_bytes -= block.bytes;
  ++stats_.hits;
  hand_out(block, asked);
}

// True if `wanted` bytes more are within the limit; what must go for that is moved to `surplus`. If that is not enough
// everything stays.
bool Pool::fits(std::uint64_t wanted, Block*& surplus) {
  if (limit_ == 0) { return true; }
  const std::uint64_t fixed = stats_.used_bytes + stats_.cooling_bytes + (arena_ ? arena_->free_bytes() : 0);
  if (wanted > limit_ || fixed > limit_ - wanted) { return false; }
  shed_above(limit_ - wanted - stats_.used_bytes, surplus);
  return true;
}

Error Pool::over_limit(std::uint64_t asked) const {
  return {
      HAL_OUT_OF_DEVICE_MEMORY,
      fmt::format("pool{}{}{} of {} was asked for {} bytes; its limit of {} has {} in use, {} that work still holds "
                  "and {} free, the largest block {}",
                  label_.empty() ? "" : " '", label_, label_.empty() ? "" : "'", device_.uri(), asked, limit_,
                  stats_.used_bytes, stats_.cooling_bytes,
                  limit_ - std::min(limit_, stats_.used_bytes + stats_.cooling_bytes),
                  arena_ ? arena_->largest() : limit_ - std::min(limit_, stats_.used_bytes + stats_.cooling_bytes))};
}

Result<Pool::Taken> Pool::take(std::uint64_t asked, const Timeline* lane, std::span<const hal_point> waits) {
  const std::uint64_t rounded = size_class(asked);
  const std::uint64_t wanted = rounded > UINT64_MAX - unit_ ? rounded : (rounded + unit_ - 1) / unit_ * unit_;
  Block* surplus = nullptr;
  std::optional<Error> refused;
  {
    const std::lock_guard lock(mutex_);
    ++stats_.allocations;
    Block* block = take_cached(wanted, lane, waits);
    if (block == nullptr && limit_ != 0) {  // what is done counts against the limit until somebody looks
      look();
      block = take_ready(wanted);
    }
    if (block != nullptr) {
      warm(*block, asked);
      return Taken{block, {}};
    }
    if (fits(wanted, surplus)) {
      stats_.used_bytes += wanted;  // now, so that two threads together keep the limit
    } else {
      refused = over_limit(asked);
    }
  }
  // The driver is never called with our lock held: what it does to allocate may bring it back into the core.
  device_.memory().free_blocks(surplus);
  if (!refused) {
    Result<Block*> block = grow(wanted, asked);
    if (block) { return Taken{*block, {}}; }
    refused = std::move(block).error();
  }
  if (lane != nullptr && refused->code() == HAL_OUT_OF_DEVICE_MEMORY) {
    return behind_work(wanted, asked, lane, waits, *std::move(refused));
  }
  const std::lock_guard lock(mutex_);
  ++stats_.failures;
  return *std::move(refused);
}

// New memory from the device; `wanted` is counted as used already.
Result<Block*> Pool::grow(std::uint64_t wanted, std::uint64_t asked) {
  Block* block = nullptr;
  Result<void> grown;
  try {
    block = Storage::make<Block>(device_.instance().allocator());
    grown = device_.memory().take(wanted, [&] { return allocate(wanted, block->memory); });
  } catch (const std::bad_alloc&) {
    grown = Error(HAL_OUT_OF_HOST_MEMORY, "the host has no memory left for a block of a pool");
  }
  {
    const std::lock_guard lock(mutex_);
    stats_.used_bytes -= wanted;
    if (grown) {
      block->bytes = block->memory.bytes = wanted;
      hand_out(*block, asked);
    }
  }
  if (!grown) {
    if (block != nullptr) { Storage::unmake(device_.instance().allocator(), block); }
    return std::move(grown).error().while_doing(fmt::format("allocating {} bytes on {}", asked, device_.uri()));
  }
  if (prefault_ && block->memory.host != nullptr) { populate(block->memory.host, wanted); }
  return block;
}

// Nothing is left but memory that work still uses, of this size or larger. What the caller's own order protects it may
// have at once. Of other queues' work it waits for the end, however that ends. The gate is a timeline of its own, so
// that the other queue's failure does not become this one's.
Result<Pool::Taken> Pool::behind_work(std::uint64_t wanted, std::uint64_t asked, const Timeline* asking,
                                      std::span<const hal_point> waits, Error refused) {
  // Each time that the lock was free work may have ended, and a larger block than was asked for be ready.
  const auto take_idle = [&] {
    look();
    Block* block = take_ready(wanted);
    if (block == nullptr) {
      block = ready_.find(wanted, [](const Block&) { return true; });
      if (block != nullptr) { ready_.remove(*block); }
    }
    return block;
  };
  const auto hand_out = [&](Taken taken) {
    warm(*taken.block, asked);
    return taken;
  };
  for (;;) {
    Taken taken;
    Ref<Timeline> lane;  // of the oldest that fits; empty if it is on its way out, and then its work is done
    std::uint64_t number = 0;
    bool any = false;
    {
      const std::lock_guard lock(mutex_);
      if (Block* idle = take_idle()) { return hand_out({idle, {}}); }
      if (Block* block = cooling_.find(wanted, [&](const Block& one) { return is_protected(one, asking, waits); })) {
        end_use(*block);
        return hand_out({block, {}});
      }
      if (const Block* oldest = cooling_.find(wanted, [](const Block&) { return true; })) {
        any = true;
        lane = try_share(oldest->lane);
        number = oldest->number;
      }
    }
    if (lane) {
      taken.gate = Timeline::plain(device_.instance(), 0, "memory that another queue's work still uses");
      if (Observer* observer = device_.instance().observer()) {
        announce(*observer, taken.gate->object, {.label = taken.gate->label().c_str(), .internal = true});
        const hal_point signal{taken.gate.get(), 1};
        observer->promised(*lane, number, {&signal, 1});
      }
      lane->when(number, [gate = taken.gate](const hal_error*) { gate->advance(1); }, Timeline::Until::physical);
    }
    const std::lock_guard lock(mutex_);
    if (Block* idle = take_idle()) { return hand_out({idle, {}}); }
    if (!any) {
      ++stats_.failures;
      return refused;
    }
    taken.block = take_behind(wanted, lane.get(), number);
    if (taken.block != nullptr) {
      ++stats_.waits;
      return hand_out(std::move(taken));
    }
    // Another thread took it meanwhile: there may be a next.
  }
}

// A block that only the lane's work up to `number` still uses.
Block* Pool::take_behind(std::uint64_t wanted, const Timeline* lane, std::uint64_t number) {
  Block* block = cooling_.find(wanted, [&](const Block& one) { return one.lane == lane && one.number <= number; });
  if (block != nullptr) { end_use(*block); }
  return block;
}

// ------------------------------------------------------------------------------------------------------ coming back

void Pool::make_ready(Block& block) {
  if (block.cut == nullptr) {
    ready_.push_front(block);
    return;
  }
  arena_->put(block.cut);
  Storage::unmake(device_.instance().allocator(), &block);
}

void Pool::put(Block& block) {
  Block* surplus = nullptr;
  {
    const std::lock_guard lock(mutex_);
    stats_.used_bytes -= block.bytes;
    stats_.waste_bytes -= block.bytes - block.asked;
    stats_.cached_bytes += block.bytes;
    make_ready(block);
    if (stats_.cached_bytes > keep_) { shed_above(keep_, surplus); }
  }
  if (surplus != nullptr) { device_.memory().free_blocks(surplus); }
}

std::unique_ptr<Pool::Return> Pool::prepare_return() {
  auto made = std::make_unique<Return>();
  made->device = Ref<Device>::share(&device_);
  made->pool = shared_from_this();
  made->of = made.get();
  made->ended = [](void* of, const hal_error*) {
    const std::unique_ptr<Return> mine(static_cast<Return*>(of));
    mine->pool->cooled(mine->bytes, mine->ticket);
  };
  return made;
}

void Pool::put_after(Block& block, const Ref<Timeline>& lane, std::uint64_t number,
                     std::unique_ptr<Return> prepared) noexcept {
  prepared->bytes = block.bytes;
  {
    const std::lock_guard lock(mutex_);
    stats_.used_bytes -= block.bytes;
    stats_.waste_bytes -= block.bytes - block.asked;
    stats_.cached_bytes += block.bytes;
    stats_.cooling_bytes += block.bytes;
    prepared->ticket = block.ticket = next_ticket_++;
    block.lane = lane.get();
    block.number = number;
    cooling_.push_back(block);
  }
  lane->when(*prepared.release(), number, Timeline::Until::physical);
}

// Tickets grow along each list, and the oldest usually comes first.
Block* Pool::find_cooling(std::uint64_t bytes, std::uint64_t ticket) const {
  Block* block = cooling_.first(bytes);
  while (block != nullptr && block->ticket < ticket) { block = block->next; }
  return block != nullptr && block->ticket == ticket ? block : nullptr;
}

// Whoever has seen that work is done finds its memory ready, also before the lane has told us.
void Pool::look() {
  cooling_.each([this](Block& block) {
    if (hal_lane_completed(block.lane->lane()) < block.number) { return; }
    end_use(block);
    make_ready(block);
  });
}

// Work has let go of a block. On any thread, perhaps inside a driver's call, so nothing is freed here.
void Pool::cooled(std::uint64_t bytes, std::uint64_t ticket) {
  bool above = false;
  {
    const std::lock_guard lock(mutex_);
    if (Block* block = find_cooling(bytes, ticket)) {  // or somebody took it before
      end_use(*block);
      make_ready(*block);
    }
    above = stats_.cached_bytes > keep_;
  }
  if (!above) { return; }
  {
    const std::lock_guard lock(mutex_);
    if (trim_posted_) { return; }
    trim_posted_ = true;
    kept_device_ = Ref<Device>::share(&device_);
    kept_self_ = shared_from_this();
    task_ = {[](void* of) {
               auto& self = *static_cast<Pool*>(of);
               Ref<Device> device;
               std::shared_ptr<Pool> kept;
               {
                 const std::lock_guard inside(self.mutex_);
                 self.trim_posted_ = false;
                 device = std::move(self.kept_device_);
                 kept = std::move(self.kept_self_);
               }
               self.trim(self.keep_);
             },
             this};
  }
  device_.instance().engine().post(task_);
}

void Pool::end(Pool* pool, const Ref<Device>& device) noexcept {
  if (!Engine::on_core_thread()) {
    Storage::unmake(device->instance().allocator(), pool);
    return;
  }
  pool->kept_device_ = device;
  pool->task_ = {[](void* of) {
                   auto* self = static_cast<Pool*>(of);
                   const Ref<Device> kept = std::move(self->kept_device_);
                   Storage::unmake(kept->instance().allocator(), self);
                 },
                 pool};
  device->instance().engine().post(pool->task_);
}

// ----------------------------------------------------------------------------------------------------------- shedding

// Moves ready blocks to `list`, the largest first, until at most `keep` bytes are cached.
void Pool::shed_above(std::uint64_t keep, Block*& list) {
  while (stats_.cached_bytes > keep) {
    Block* block = ready_.largest();
    if (block == nullptr) { return; }
    ready_.remove(*block);
    stats_.cached_bytes -= block->bytes;
    ++stats_.trims;
    block->next = list;
    list = block;
  }
}

void Pool::shed(Block*& list) {
  const std::lock_guard lock(mutex_);
  look();
  shed_above(0, list);
}

void Pool::trim(std::uint64_t keep) {
  Block* list = nullptr;
  {
    const std::lock_guard lock(mutex_);
    look();
    shed_above(keep, list);
  }
  device_.memory().free_blocks(list);
}

hal_pool_stats Pool::stats() {
  const std::lock_guard lock(mutex_);
  look();
  hal_pool_stats out = stats_;
  const Block* largest = ready_.largest();
  out.largest_free_bytes = std::max(largest != nullptr ? largest->bytes : 0, arena_ ? arena_->largest() : 0);
  return out;
}

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_pool_create(hal_device* device, const hal_pool_desc* desc, hal_pool** out) {
  return guarded("hal_pool_create", {device, out}, [&]() -> hal::Result<void> {
    const hal_pool_desc plain{sizeof(hal_pool_desc), 0, 0, 0, 0, nullptr};
    const hal_pool_desc& wanted = desc != nullptr ? *desc : plain;
    if (wanted.struct_size != sizeof plain) {
      return hal::Error(HAL_INVALID_ARGUMENT, fmt::format("hal_pool_desc.struct_size is {}; this library knows {}",
                                                          wanted.struct_size, sizeof plain));
    }
    if (wanted.prefault > 1) {
      return hal::Error(HAL_INVALID_ARGUMENT, fmt::format("hal_pool_desc.prefault is {}; 0 or 1", wanted.prefault));
    }
    if (wanted.limit_bytes != 0 && wanted.initial_bytes > wanted.limit_bytes) {
      return hal::Error(HAL_INVALID_ARGUMENT, fmt::format("hal_pool_desc.initial_bytes is {}, above limit_bytes of {}",
                                                          wanted.initial_bytes, wanted.limit_bytes));
    }
    Device& of = *cast(device);
    const hal_allocator& from = of.instance().allocator();
    auto share = Ref<Device>::share(&of);
    // The last owner may be a driver's call into the core, and freeing memory would call that driver back.
    std::shared_ptr<Pool> pool(
        Storage::make<Pool>(from, of, wanted), [kept = share](Pool* gone) { Pool::end(gone, kept); },
        FromHost<Pool>(from));
    HAL_CHECK(pool->take_initial());
    auto* made = Storage::make<PoolHandle>(from);
    init(made->object, Kind::pool, [](hal_object* object) {
      auto* self = reinterpret_cast<PoolHandle*>(object);
      Storage::unmake(self->device->instance().allocator(), self);
    });
    made->device = std::move(share);
    made->pool = std::move(pool);
    if (Observer* observer = of.instance().observer()) { announce(*observer, made->object, {.device = &of}); }
    *out = made;
    return {};
  });
}

extern "C" hal_pool_stats hal_pool_describe(const hal_pool* pool) {
  return pool != nullptr ? static_cast<const PoolHandle*>(pool)->pool->stats() : hal_pool_stats{};
}

extern "C" void hal_pool_trim(hal_pool* pool, std::uint64_t keep_bytes) {
  if (pool != nullptr) { static_cast<PoolHandle*>(pool)->pool->trim(keep_bytes); }
}

extern "C" hal_error* hal_device_set_budget(hal_device* device, std::uint64_t bytes) {
  return guarded("hal_device_set_budget", {device}, [&]() -> hal::Result<void> {
    cast(device)->memory().set_budget(bytes);
    return {};
  });
}

extern "C" hal_pool_stats hal_device_memory(const hal_device* device) {
  return device != nullptr ? cast(device)->memory().stats() : hal_pool_stats{};
}
