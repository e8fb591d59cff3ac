// SPDX-License-Identifier: Apache-2.0
#include "vm/executor.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "vm/helpers.hpp"

namespace hal::emulated_cuda {

void Machine::fail(FaultKind kind, std::uint32_t line, std::uint64_t address, std::uint32_t thread) {
  if (fault.kind != FaultKind::none) { return; }
  fault = {kind, line, address, {cta[0], cta[1], cta[2]}, thread};
  stop->store(true, std::memory_order_relaxed);
}

std::byte* Machine::translate_slow(std::uint64_t address, std::uint64_t bytes, std::uint32_t slot) {
  MemoryRange found;
  if (!memory->find(address, found)) { return nullptr; }
  cache[slot % kCached] = found;
  const std::uint64_t at = address - found.begin;
  return at < found.length && found.length - at >= bytes ? found.bytes + at : nullptr;
}

namespace {

constexpr std::uint32_t kBarriers = 16;
constexpr std::uint32_t kNowhere = 0xffffffffu;
// Backward jumps before another split or warp gets its turn: spinning threads must not starve the one they wait for.
constexpr std::uint32_t kPatience = 4096;
// Below this much work the helpers cost more than they give.
constexpr std::uint64_t kWorthSharing = 1u << 15;

struct AlignedFree {
  void operator()(std::byte* p) const { std::free(p); }
};

// Memory of one executor thread, kept between launches.
struct Scratch {
  std::unique_ptr<std::byte, AlignedFree> bytes;
  std::size_t capacity = 0;
  std::vector<Warp> warps;

  std::byte* reserve(std::size_t size) {
    if (size > capacity) {
      const std::size_t rounded = (size + 4095) / 4096 * 4096;
      bytes.reset(static_cast<std::byte*>(std::aligned_alloc(64, rounded)));
      if (!bytes) { throw std::bad_alloc(); }
      std::memset(bytes.get(), 0, rounded);
      capacity = rounded;
    }
    return bytes.get();
  }
};

class CtaRunner {
 public:
  CtaRunner(const Program& program, const LaunchShape& shape, const std::byte* parameters, const MemoryResolver& memory,
            std::atomic<bool>& stop, Scratch& scratch)
      : program_(program), shape_(shape), scratch_(scratch), code_(program.code.data()) {
    threads_ = shape.block[0] * shape.block[1] * shape.block[2];
    warp_count_ = (threads_ + kLanes - 1) / kLanes;
    machine_.memory = &memory;
    machine_.stop = &stop;
    machine_.parameters = parameters;
    machine_.parameter_bytes = program.parameter_bytes;
    machine_.shared_bytes = program.shared_bytes + shape.dynamic_shared;
    machine_.local_bytes = program.local_bytes;
    const std::size_t rows = std::size_t{program.row_bytes} * warp_count_;
    const std::size_t shared = (machine_.shared_bytes + 63) / 64 * 64;
    const std::size_t local = std::size_t{program.local_bytes} * warp_count_ * kLanes;
    std::byte* bytes = scratch.reserve(rows + shared + local + 64);
    machine_.shared = bytes + rows;
    machine_.local = bytes + rows + shared;
    if (scratch.warps.size() < warp_count_) { scratch.warps.resize(warp_count_); }
    for (std::uint32_t i = 0; i < warp_count_; ++i) {
      Warp& w = scratch.warps[i];
      w.rows = bytes + std::size_t{program.row_bytes} * i;
      w.machine = &machine_;
      w.first_thread = i * kLanes;
      fill_constants(w, i);
    }
  }

  void run(std::uint32_t x, std::uint32_t y, std::uint32_t z) {
    machine_.cta[0] = x;
    machine_.cta[1] = y;
    machine_.cta[2] = z;
    // Fresh shared memory holds no useful values on a GPU either; all ones is a NaN and a wild index.
    std::memset(machine_.shared, 0xff, machine_.shared_bytes);
    for (std::uint32_t i = 0; i < warp_count_; ++i) {
      Warp& w = warp(i);
      fill(w, Special::ctaid_x, x);
      fill(w, Special::ctaid_y, y);
      fill(w, Special::ctaid_z, z);
      const std::uint32_t left = threads_ - i * kLanes;
      w.live = left >= kLanes ? 0xffffffffu : (1u << left) - 1;
      w.split_count = 1;
      w.turn = 0;
      w.splits[0] = {0, w.live, SplitState::ready, 0};
    }
    for (;;) {
      bool alive = false, progress = false;
      for (std::uint32_t i = 0; i < warp_count_; ++i) {
        Warp& w = warp(i);
        if (w.split_count == 0) { continue; }
        progress = run_warp(w) || progress;
        if (machine_.fault.kind != FaultKind::none) { return; }
        alive = alive || w.split_count != 0;
      }
      if (!alive) { return; }
      progress = release_barriers() || progress;
      if (!progress) { return deadlock(); }
      if (machine_.stop->load(std::memory_order_relaxed)) { return; }
    }
  }

  const Fault& fault() const { return machine_.fault; }

 private:
  Warp& warp(std::uint32_t i) { return scratch_.warps[i]; }

  void fill(Warp& w, Special which, std::uint32_t value) {
    const std::uint32_t row = program_.special_rows[static_cast<std::size_t>(which)];
    if (row != kNoRow) { std::fill_n(w.row<std::uint32_t>(row), kLanes, value); }
  }
  template <class F>
  void fill_each(Warp& w, Special which, F f) {
    const std::uint32_t row = program_.special_rows[static_cast<std::size_t>(which)];
    if (row == kNoRow) { return; }
    for (std::uint32_t l = 0; l < kLanes; ++l) { w.row<std::uint32_t>(row)[l] = f(l); }
  }

  void fill_constants(Warp& w, std::uint32_t index) {
    for (const ConstantRow& c : program_.constants) {
      switch (c.size) {
        case 1:
          std::fill_n(w.row<std::uint8_t>(c.row), kLanes, static_cast<std::uint8_t>(c.bits));
          break;
        case 2:
          std::fill_n(w.row<std::uint16_t>(c.row), kLanes, static_cast<std::uint16_t>(c.bits));
          break;
        case 4:
          std::fill_n(w.row<std::uint32_t>(c.row), kLanes, static_cast<std::uint32_t>(c.bits));
          break;
        default:
          std::fill_n(w.row<std::uint64_t>(c.row), kLanes, c.bits);
          break;
      }
    }
    const std::uint32_t bx = shape_.block[0], by = shape_.block[1];
    fill_each(w, Special::tid_x, [&](std::uint32_t l) { return (w.first_thread + l) % bx; });
    fill_each(w, Special::tid_y, [&](std::uint32_t l) { return (w.first_thread + l) / bx % by; });
    fill_each(w, Special::tid_z, [&](std::uint32_t l) { return (w.first_thread + l) / (bx * by); });
    fill(w, Special::ntid_x, bx);
    fill(w, Special::ntid_y, by);
    fill(w, Special::ntid_z, shape_.block[2]);
    fill(w, Special::nctaid_x, shape_.grid[0]);
    fill(w, Special::nctaid_y, shape_.grid[1]);
    fill(w, Special::nctaid_z, shape_.grid[2]);
    fill_each(w, Special::laneid, [](std::uint32_t l) { return l; });
    fill(w, Special::warpid, index);
    fill(w, Special::nwarpid, warp_count_);
    fill(w, Special::smid, 0);
    fill(w, Special::nsmid, 1);
    fill(w, Special::gridid, static_cast<std::uint32_t>(shape_.grid_id));
    fill_each(w, Special::lanemask_eq, [](std::uint32_t l) { return 1u << l; });
    fill_each(w, Special::lanemask_lt, [](std::uint32_t l) { return (1u << l) - 1; });
    fill_each(w, Special::lanemask_le, [](std::uint32_t l) { return (2u << l) - 1; });
    fill_each(w, Special::lanemask_gt, [](std::uint32_t l) { return ~((2u << l) - 1); });
    fill_each(w, Special::lanemask_ge, [](std::uint32_t l) { return ~((1u << l) - 1); });
    fill(w, Special::dynamic_smem_size, shape_.dynamic_shared);
    fill(w, Special::total_smem_size, program_.shared_bytes + shape_.dynamic_shared);
  }

  // Joins splits that stand at the same instruction. A lane group that waits for others is woken by their arrival.
  static void merge(Warp& w) {
    for (std::uint32_t i = 0; i < w.split_count; ++i) {
      for (std::uint32_t k = i + 1; k < w.split_count;) {
        if (w.splits[k].pc == w.splits[i].pc && w.splits[k].state != SplitState::at_barrier &&
            w.splits[i].state != SplitState::at_barrier) {
          w.splits[i].mask |= w.splits[k].mask;
          w.splits[i].state = SplitState::ready;
          w.splits[k] = w.splits[--w.split_count];
        } else {
          ++k;
        }
      }
    }
  }

  // Lets the warp run until every split waits or is done, or patience ends. True: something ran.
  bool run_warp(Warp& w) {
    bool ran = false;
    std::uint32_t patience = kPatience;
    while (w.split_count != 0) {
      if (w.split_count > 1) { merge(w); }
      // The lowest instruction first, which brings diverged lanes together again by itself.
      std::uint32_t best = kNowhere, skip = w.turn;
      for (std::uint32_t i = 0; i < w.split_count; ++i) {
        if (w.splits[i].state != SplitState::ready) { continue; }
        if (best == kNowhere || w.splits[i].pc < w.splits[best].pc) { best = i; }
      }
      if (best == kNowhere) { return ran; }
      if (skip != 0 && w.split_count > 1) {  // after lost patience another split goes first
        for (std::uint32_t i = 0; i < w.split_count; ++i) {
          const std::uint32_t candidate = (best + skip + i) % w.split_count;
          if (w.splits[candidate].state == SplitState::ready) {
            best = candidate;
            break;
          }
        }
      }
      ran = true;
      if (!run_split(w, best, patience)) { return ran; }
      if (patience == 0) {
        ++w.turn;
        return ran;
      }
      w.turn = 0;
    }
    return ran;
  }

  // Lanes that wait for others must look again when some have ended.
  static void wake_converging(Warp& w) {
    for (std::uint32_t i = 0; i < w.split_count; ++i) {
      if (w.splits[i].state == SplitState::converging) { w.splits[i].state = SplitState::ready; }
    }
  }

  // The nearest place ahead where other lanes of the warp stand.
  static std::uint32_t meeting_point(const Warp& w, std::uint32_t self, std::uint32_t pc) {
    std::uint32_t nearest = kNowhere;
    for (std::uint32_t i = 0; i < w.split_count; ++i) {
      if (i != self && w.splits[i].state != SplitState::at_barrier && w.splits[i].pc > pc) {
        nearest = std::min(nearest, w.splits[i].pc);
      }
    }
    return nearest;
  }

  // Runs one split until it meets another, diverges, waits or ends. False: a fault.
  bool run_split(Warp& w, std::uint32_t self, std::uint32_t& patience) {
    std::uint32_t pc = w.splits[self].pc;
    const std::uint32_t mask = w.splits[self].mask;
    const std::uint32_t limit = w.split_count > 1 ? meeting_point(w, self, pc) : kNowhere;
    for (;;) {
      const Instruction& i = code_[pc];
      std::uint32_t active = mask;
      if (i.guard != kNoRow) {
        const std::uint32_t p = w.predicate(i.guard);
        active &= i.guard_negated ? ~p : p;
      }
      switch (i.control) {
        case Control::none:
          if (active != 0) { i.run(w, i, active); }
          ++pc;
          break;
        case Control::memory:
          if (active != 0) {
            i.run(w, i, active);
            if (machine_.fault.kind != FaultKind::none) [[unlikely]] { return false; }
          }
          ++pc;
          break;
        case Control::branch: {
          if (active == 0) {
            ++pc;
            break;
          }
          const bool backward = i.target <= pc;
          if (active == mask) {
            pc = i.target;
          } else {
            w.splits[w.split_count++] = {i.target, active, SplitState::ready, 0};
            w.splits[self].mask = mask & ~active;
            w.splits[self].pc = pc + 1;
            if (backward) { --patience; }
            return true;
          }
          if (backward && --patience == 0) {
            w.splits[self].pc = pc;
            return true;
          }
          if (w.split_count > 1) {
            w.splits[self].pc = pc;
            return true;
          }
          break;
        }
        case Control::exit:
          w.live &= ~active;
          if (active != 0) { wake_converging(w); }
          if (active == mask) {
            w.splits[self] = w.splits[--w.split_count];
            return true;
          }
          if (active != 0) {
            w.splits[self].mask = mask & ~active;
            w.splits[self].pc = pc + 1;
            return true;
          }
          ++pc;
          break;
        case Control::trap:
          if (active != 0) {
            machine_.fail(FaultKind::trap, i.line, 0,
                          w.first_thread + static_cast<std::uint32_t>(std::countr_zero(active)));
            return false;
          }
          ++pc;
          break;
        case Control::barrier:
          if (active == 0) {
            ++pc;
            break;
          }
          if (active != mask) {  // some lanes pass by
            w.splits[w.split_count++] = {pc + 1, mask & ~active, SplitState::ready, 0};
          }
          w.splits[self].mask = active;
          w.splits[self].pc = pc + 1;
          arrive(w, w.splits[self], i, active);
          return true;
        case Control::converge: {
          if (active == 0) {
            ++pc;
            break;
          }
          const std::uint32_t first = static_cast<std::uint32_t>(std::countr_zero(active));
          const std::uint32_t members = w.row<std::uint32_t>(i.member)[first] & w.live;
          if ((active & members) != members) {  // members are still elsewhere
            w.splits[self].pc = pc;
            w.splits[self].state = SplitState::converging;
            return true;
          }
          i.run(w, i, active);
          ++pc;
          break;
        }
      }
      if (pc == limit) {
        w.splits[self].pc = pc;
        return true;
      }
    }
  }

  void arrive(Warp& w, Split& split, const Instruction& i, std::uint32_t active) {
    const std::uint32_t first = static_cast<std::uint32_t>(std::countr_zero(active));
    split.barrier = w.row<std::uint32_t>(i.rows[0])[first] % kBarriers;
    split.state = SplitState::at_barrier;
    barrier_expects_[split.barrier] = i.rows[1] == kNoRow ? 0 : w.row<std::uint32_t>(i.rows[1])[first];
  }

  bool release_barriers() {
    bool released = false;
    for (std::uint32_t b = 0; b < kBarriers; ++b) {
      std::uint32_t lanes = 0, whole_warps = 0, live = 0;
      for (std::uint32_t i = 0; i < warp_count_; ++i) {
        const Warp& w = warp(i);
        std::uint32_t waiting = 0;
        for (std::uint32_t k = 0; k < w.split_count; ++k) {
          if (w.splits[k].state == SplitState::at_barrier && w.splits[k].barrier == b) { waiting |= w.splits[k].mask; }
        }
        lanes += static_cast<std::uint32_t>(std::popcount(waiting));
        whole_warps += waiting != 0 && waiting == w.live ? 1 : 0;
        live += static_cast<std::uint32_t>(std::popcount(w.live));
      }
      // With a count the hardware counts whole warps; without, every thread that has not ended must come.
      if (lanes == 0 || (barrier_expects_[b] != 0 ? whole_warps * kLanes < barrier_expects_[b] : lanes != live)) {
        continue;
      }
      for (std::uint32_t i = 0; i < warp_count_; ++i) {
        Warp& w = warp(i);
        for (std::uint32_t k = 0; k < w.split_count; ++k) {
          if (w.splits[k].state == SplitState::at_barrier && w.splits[k].barrier == b) {
            w.splits[k].state = SplitState::ready;
          }
        }
      }
      released = true;
    }
    return released;
  }

  void deadlock() {
    for (std::uint32_t i = 0; i < warp_count_; ++i) {
      const Warp& w = warp(i);
      if (w.split_count == 0) { continue; }
      const Split& s = w.splits[0];
      const std::uint32_t at = s.state == SplitState::at_barrier ? s.pc - 1 : s.pc;
      machine_.fail(FaultKind::deadlock, code_[at].line, 0,
                    w.first_thread + static_cast<std::uint32_t>(std::countr_zero(s.mask)));
      return;
    }
  }

  const Program& program_;
  const LaunchShape& shape_;
  Scratch& scratch_;
  const Instruction* code_;
  Machine machine_;
  std::uint32_t threads_ = 0, warp_count_ = 0;
  std::uint32_t barrier_expects_[kBarriers] = {};
};

}  // namespace

Fault run_grid(const Program& program, const LaunchShape& shape, const std::byte* parameters,
               const MemoryResolver& memory) {
  const std::uint64_t blocks = std::uint64_t{shape.grid[0]} * shape.grid[1] * shape.grid[2];
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> next{0};
  std::mutex mutex;
  Fault fault;
  const auto run_blocks = [&] {
    if (next.load(std::memory_order_relaxed) >= blocks) { return; }
    thread_local Scratch scratch;
    CtaRunner runner(program, shape, parameters, memory, stop, scratch);
    for (std::uint64_t block = next.fetch_add(1, std::memory_order_relaxed);
         block < blocks && !stop.load(std::memory_order_relaxed);
         block = next.fetch_add(1, std::memory_order_relaxed)) {
      const std::uint64_t row = block / shape.grid[0];
      runner.run(static_cast<std::uint32_t>(block % shape.grid[0]), static_cast<std::uint32_t>(row % shape.grid[1]),
                 static_cast<std::uint32_t>(row / shape.grid[1]));
      if (runner.fault().kind != FaultKind::none) {
        const std::lock_guard lock(mutex);
        if (fault.kind == FaultKind::none) { fault = runner.fault(); }
        break;
      }
    }
  };
  // A thread without memory takes no blocks; the others do.
  const auto work = [&]() noexcept {
    try {
      run_blocks();
    } catch (const std::bad_alloc&) {}
  };
  const std::uint64_t threads = blocks * shape.block[0] * shape.block[1] * shape.block[2];
  if (blocks > 1 && threads * program.code.size() >= kWorthSharing * 8) {
    run_with_helpers(work);
  } else {
    work();
  }
  if (fault.kind == FaultKind::none && next.load(std::memory_order_relaxed) < blocks) { throw std::bad_alloc(); }
  return fault;
}

}  // namespace hal::emulated_cuda
