// SPDX-License-Identifier: Apache-2.0
// A queue of a port. Commands wait in a ring; the engine's thread takes one after the other, so a transfer and the copy
// behind it need no lock and no thread of their own.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fabric/port/port.hpp"

namespace hal::fabric {

class PortLane : public hal_lane, public std::enable_shared_from_this<PortLane> {
 public:
  static constexpr std::size_t kCapacity = 1024;

  PortLane(Port& port, void* core_lane);

  static PortLane& of(hal_lane* lane) { return *static_cast<PortLane*>(lane); }

  std::uint32_t submit(std::uint64_t first, const hal_command* commands, std::uint32_t count);
  void cancel();
  // After this nothing is published and nobody is called.
  void close();
  // Keeps the lane for the core, which knows it by address only.
  std::shared_ptr<PortLane> self_for_core;

  // -- on the engine's thread --
  void advance() noexcept;
  void circuit_set(const Result<Reconfiguration>& result);

 private:
  struct Slot {
    std::uint64_t number = 0;
    hal_command command{};
    std::string permutation;
    bool starved = false;      // there was no memory for that
    Picoseconds submitted{0};  // the plane's time then: everything this waited for has happened before
  };
  enum class Outcome { done, pending, again };

  void wake();
  Outcome execute() noexcept;
  Outcome execute_or_throw();
  Outcome copy(const hal_slice& to, const hal_slice& from);
  Outcome fill();
  Outcome transfer();
  Outcome message();
  Outcome circuit();
  Outcome timestamp();
  Outcome failed(const Failure& failure);
  // Gives the operation local memory that lives as long as it: the buffer's own, or a copy of host memory. False if
  // there is none.
  bool hold(const hal_slice& local, bool fill_it, Operation& operation);
  Outcome no_memory(const hal_slice& local);
  void begin(Operation operation, const hal_slice& local, Picoseconds ends);
  void finish_current();

  Port& port_;
  std::mutex mutex_;
  std::vector<Slot> waiting_{kCapacity};  // a ring, so that taking a command asks for no memory
  std::size_t oldest_ = 0, held_ = 0;
  Engine::Task task_;  // advances
  std::atomic<bool> woken_ = false;
  std::atomic<bool> cancelled_ = false;

  // Of the engine's thread.
  Slot current_;
  bool running_ = false;
  bool stopped_ = false;        // failed or closed
  std::uint64_t progress_ = 0;  // bytes of the current copy or fill that are done
  Picoseconds now_{0};          // virtual time of the last command done
};

}  // namespace hal::fabric
