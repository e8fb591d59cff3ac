// SPDX-License-Identifier: Apache-2.0
#include "core/engine.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace hal::core {
namespace {

constexpr std::size_t kMostWorkers = 64;

thread_local bool core_thread = false;

}  // namespace

struct Engine::State {
  std::mutex mutex;
  std::condition_variable work;
  std::deque<Task> tasks;
  std::thread thread;
  bool stopping = false;

  void run() {
    core_thread = true;
    std::unique_lock lock(mutex);
    for (;;) {
      work.wait(lock, [this] { return stopping || !tasks.empty(); });
      if (tasks.empty()) { return; }
      Task task = std::move(tasks.front());
      tasks.pop_front();
      lock.unlock();
      task();
      task = nullptr;  // what it holds is released outside the lock: the last reference may post again
      lock.lock();
    }
  }
};

Engine::Engine() : state_(std::make_shared<State>()) {}

Engine::~Engine() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->work.notify_all();
  if (!state_->thread.joinable()) { return; }
  if (state_->thread.get_id() == std::this_thread::get_id()) {
    state_->thread.detach();  // run() holds the state until it returns
  } else {
    state_->thread.join();
  }
}

void Engine::post(Task task) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->tasks.push_back(std::move(task));
    if (!state_->thread.joinable()) {
      state_->thread = std::thread([state = state_] { state->run(); });
    }
  }
  state_->work.notify_one();
}

bool Engine::on_core_thread() { return core_thread; }

CoreScope::CoreScope() : before_(core_thread) { core_thread = true; }
CoreScope::~CoreScope() { core_thread = before_; }

struct Workers::State {
  std::mutex mutex;
  std::condition_variable work;
  std::deque<Task> tasks;
  std::vector<std::thread> threads;
  std::size_t idle = 0;
  bool stopping = false;

  void run() {
    core_thread = true;
    std::unique_lock lock(mutex);
    for (;;) {
      ++idle;
      work.wait(lock, [this] { return stopping || !tasks.empty(); });
      --idle;
      if (tasks.empty()) { return; }
      Task task = std::move(tasks.front());
      tasks.pop_front();
      lock.unlock();
      task();
      task = nullptr;
      lock.lock();
    }
  }
};

Workers::Workers() : state_(std::make_shared<State>()) {}

Workers::~Workers() {
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    threads.swap(state_->threads);
  }
  state_->work.notify_all();
  for (std::thread& thread : threads) {
    if (thread.get_id() == std::this_thread::get_id()) {
      thread.detach();
    } else {
      thread.join();
    }
  }
}

void Workers::post(Task task) {
  const std::lock_guard lock(state_->mutex);
  state_->tasks.push_back(std::move(task));
  if (state_->tasks.size() > state_->idle && state_->threads.size() < kMostWorkers) {
    state_->threads.emplace_back([state = state_] { state->run(); });
  } else {
    state_->work.notify_one();
  }
}

}  // namespace hal::core
