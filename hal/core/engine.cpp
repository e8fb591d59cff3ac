// SPDX-License-Identifier: Apache-2.0
#include "core/engine.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace hal::core {
namespace {

constexpr std::size_t kMostWorkers = 64;

thread_local bool core_thread = false;

}  // namespace

struct Engine::State {
  struct Watch {
    int fd;
    Claim claim;
  };
  std::mutex mutex;
  std::condition_variable work;
  std::deque<Task> tasks;
  std::thread thread;
  bool stopping = false;
  // Descriptors that somebody imported. While there are any, the thread sleeps in epoll and `bell` wakes it.
  std::map<std::uint64_t, Watch> watches;
  std::uint64_t next_ticket = 1;  // 0 is the bell
  int epoll = -1, bell = -1;
  bool in_epoll = false;

  ~State() {
    for (const auto& [ticket, watch] : watches) { ::close(watch.fd); }
    if (epoll >= 0) { ::close(epoll); }
    if (bell >= 0) { ::close(bell); }
  }

  // All of these need the lock.
  void start(const std::shared_ptr<State>& self) {
    if (thread.joinable()) { return; }
    thread = std::thread([self] { self->run(); });
  }
  void wake() {
    if (in_epoll) {
      const std::uint64_t one = 1;
      [[maybe_unused]] const ssize_t written = ::write(bell, &one, sizeof one);  // a full bell rings already
    } else {
      work.notify_all();
    }
  }
  bool open_epoll() {
    if (epoll >= 0) { return true; }
    const int made = ::epoll_create1(EPOLL_CLOEXEC);
    const int rung = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    epoll_event event{EPOLLIN, {.u64 = 0}};
    if (made < 0 || rung < 0 || ::epoll_ctl(made, EPOLL_CTL_ADD, rung, &event) != 0) {
      const int reason = errno;
      if (made >= 0) { ::close(made); }
      if (rung >= 0) { ::close(rung); }
      errno = reason;
      return false;
    }
    epoll = made;
    bell = rung;
    return true;
  }
  void let_go(int fd) const {
    ::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr);  // closing does not do it while a forked child has the descriptor
    ::close(fd);
  }
  void sleep_in_epoll(std::unique_lock<std::mutex>& lock) {
    std::array<epoll_event, 16> events{};
    in_epoll = true;
    lock.unlock();
    const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    lock.lock();
    in_epoll = false;
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      if (event.data.u64 == 0) {
        std::uint64_t rung = 0;
        [[maybe_unused]] const ssize_t got = ::read(bell, &rung, sizeof rung);
        continue;
      }
      const auto found = watches.find(event.data.u64);
      if (found == watches.end()) { continue; }  // unwatched meanwhile
      let_go(found->second.fd);
      if (Task task = found->second.claim(event.events)) { tasks.push_back(std::move(task)); }
      watches.erase(found);
    }
  }

  void run() {
    core_thread = true;
    std::unique_lock lock(mutex);
    for (;;) {
      if (tasks.empty()) {
        if (stopping) { return; }
        if (!watches.empty()) {
          sleep_in_epoll(lock);
        } else {
          work.wait(lock, [this] { return stopping || !tasks.empty() || !watches.empty(); });
        }
        continue;
      }
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
    state_->wake();
  }
  if (!state_->thread.joinable()) { return; }
  if (state_->thread.get_id() == std::this_thread::get_id()) {
    state_->thread.detach();  // run() holds the state until it returns
  } else {
    state_->thread.join();
  }
}

void Engine::post(Task task) {
  const std::lock_guard lock(state_->mutex);
  state_->tasks.push_back(std::move(task));
  state_->start(state_);
  state_->wake();
}

std::uint64_t Engine::next_ticket() {
  const std::lock_guard lock(state_->mutex);
  return state_->next_ticket++;
}

Result<void> Engine::watch(std::uint64_t ticket, int fd, Claim claim) {
  const std::lock_guard lock(state_->mutex);
  epoll_event event{EPOLLIN | EPOLLRDHUP, {.u64 = ticket}};
  if (!state_->open_epoll() || ::epoll_ctl(state_->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
    const int reason = errno;
    ::close(fd);
    return Error(reason == EPERM ? HAL_INVALID_ARGUMENT : HAL_UNAVAILABLE,
                 reason == EPERM
                     ? std::string("a descriptor of this kind (a plain file or folder) cannot be waited for")
                     : std::string("the system gives no epoll: ") + std::strerror(reason));
  }
  state_->watches.emplace(ticket, State::Watch{fd, std::move(claim)});
  state_->start(state_);
  if (!state_->in_epoll) { state_->wake(); }  // epoll itself sees a descriptor that is added while it sleeps
  return {};
}

void Engine::unwatch(std::uint64_t ticket) {
  Claim dropped;  // after the lock
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->watches.find(ticket);
  if (found == state_->watches.end()) { return; }
  state_->let_go(found->second.fd);
  dropped = std::move(found->second.claim);
  state_->watches.erase(found);
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
