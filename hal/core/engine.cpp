// SPDX-License-Identifier: Apache-2.0
#include "core/engine.hpp"

#include <link.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "threads/thread.hpp"

namespace hal::core {
namespace {

constexpr std::chrono::seconds kLastTasks{5};  // how long the end of the process waits for a thread that is stuck

thread_local bool core_thread = false;

class TaskList {
 public:
  bool empty() const { return first_ == nullptr; }
  std::size_t size() const { return size_; }
  void push(Task& task) {
    task.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &task;
    last_ = &task;
    ++size_;
  }
  Task& pop() {
    Task& task = *first_;
    first_ = std::exchange(task.next, nullptr);
    if (first_ == nullptr) { last_ = nullptr; }
    --size_;
    return task;
  }

 private:
  Task *first_ = nullptr, *last_ = nullptr;
  std::size_t size_ = 0;
};

// `make` starts a thread.
template <class Make>
Result<void> started(Make make) {
  try {
    make();
    return {};
  } catch (const std::system_error& problem) {
    return Error(HAL_UNAVAILABLE, std::string("the system gives no thread: ") + problem.what());
  }
}

}  // namespace

struct Engine::State {
  struct Watch {
    int fd;
    Claim claim;
  };
  std::mutex mutex;
  std::condition_variable work;
  TaskList tasks;
  std::thread thread;
  bool stopping = false, busy = false, awaited = false;
  std::size_t announced = 0;       // Unfinished that live
  std::condition_variable rested;  // for whoever has set `awaited`
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
  Result<void> start(const std::shared_ptr<State>& self) {
    if (thread.joinable()) { return {}; }
    attend(self);
    return started([&] { thread = threads::start_thread("halyard", [self] { self->run(); }); });
  }

  // A program may release its last object while work is in flight, and return from main(). Then the thread gives back
  // what is left: lanes to drivers, a trace to its file. It comes to the end of that before the process takes the
  // static objects of those drivers away, so this is asked for anew whenever libraries were loaded.
  struct Attended {
    std::mutex mutex;
    std::vector<std::weak_ptr<State>> engines;
    unsigned long long libraries = 0;
    ::pid_t process = 0;
  };
  static Attended& attended() {
    static Attended& made = *new Attended;  // never deleted: it is needed when static objects go
    return made;
  }
  static void attend(const std::shared_ptr<State>& self) {
    Attended& all = attended();
    unsigned long long libraries = 0;
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* out) {
          *static_cast<unsigned long long*>(out) = info->dlpi_adds;
          return 1;  // each entry says the same
        },
        &libraries);
    const std::lock_guard lock(all.mutex);
    if (std::exchange(all.process, ::getpid()) != ::getpid()) { all.engines.clear(); }  // of the parent
    std::erase_if(all.engines, [](const std::weak_ptr<State>& one) { return one.expired(); });
    all.engines.push_back(self);
    if (std::exchange(all.libraries, libraries) != libraries) { std::atexit(await_all); }
  }
  static void await_all() {
    Attended& all = attended();
    if (core_thread || all.process != ::getpid()) { return; }  // a forked child has no such threads
    const auto end = std::chrono::steady_clock::now() + kLastTasks;
    for (std::size_t i = 0;; ++i) {
      std::shared_ptr<State> one;
      {
        const std::lock_guard lock(all.mutex);
        if (i >= all.engines.size()) { return; }
        one = all.engines[i].lock();
      }
      if (one) { one->await_rest(end); }
    }
  }
  void await_rest(std::chrono::steady_clock::time_point end) {
    std::unique_lock lock(mutex);
    awaited = true;
    rested.wait_until(lock, end, [this] { return tasks.empty() && !busy && announced == 0; });
  }
  void announce() {
    const std::lock_guard lock(mutex);
    ++announced;
  }
  void announced_has_come() {
    const std::lock_guard lock(mutex);
    --announced;
    rested.notify_all();
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
      if (Task* task = found->second.claim(event.events, found->second.fd)) { tasks.push(*task); }
      let_go(found->second.fd);
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
      const Task& task = tasks.pop();
      busy = true;
      lock.unlock();
      task.run(task.of);
      lock.lock();
      busy = false;
      if (awaited) { rested.notify_all(); }
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

Result<void> Engine::start() {
  const std::lock_guard lock(state_->mutex);
  return state_->start(state_);
}

void Engine::post(Task& task) noexcept {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->thread.joinable()) {
      state_->tasks.push(task);
      state_->wake();
      return;
    }
  }
  task.run(task.of);
}

Engine::Unfinished::Unfinished(Engine& engine) : state_(engine.state_) { state_->announce(); }

Engine::Unfinished::~Unfinished() {
  if (state_ != nullptr) { state_->announced_has_come(); }
}

std::uint64_t Engine::next_ticket() {
  const std::lock_guard lock(state_->mutex);
  return state_->next_ticket++;
}

Result<void> Engine::watch(std::uint64_t ticket, int fd, Claim claim) {
  struct Closing {  // until the watch owns it
    int fd;
    ~Closing() {
      if (fd >= 0) { ::close(fd); }
    }
  } closing{fd};
  const std::lock_guard lock(state_->mutex);
  HAL_CHECK(state_->start(state_));
  const auto added = state_->watches.try_emplace(ticket, State::Watch{fd, std::move(claim)}).first;
  epoll_event event{EPOLLIN | EPOLLRDHUP, {.u64 = ticket}};
  if (!state_->open_epoll() || ::epoll_ctl(state_->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
    const int reason = errno;
    state_->watches.erase(added);
    return Error(reason == EPERM ? HAL_INVALID_ARGUMENT : HAL_UNAVAILABLE,
                 reason == EPERM
                     ? std::string("a descriptor of this kind (a plain file or folder) cannot be waited for")
                     : std::string("the system gives no epoll: ") + std::strerror(reason));
  }
  closing.fd = -1;
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
  explicit State(std::chrono::milliseconds given) : patience(given) {}

  const std::chrono::milliseconds patience;
  std::mutex mutex;
  std::condition_variable work;
  TaskList tasks;
  std::list<std::thread> threads, ended;
  std::size_t idle = 0;
  bool stopping = false;

  // With the lock held, like the next.
  void add(const std::shared_ptr<State>& self) {
    const auto place = threads.emplace(threads.end());
    try {
      *place = threads::start_thread("halyard-calls", [self, place] { self->run(self, place); });
    } catch (...) {
      threads.erase(place);
      throw;
    }
  }
  // One more thread if all that there are have something to do. Without one the tasks wait for those.
  void add_if_busy(const std::shared_ptr<State>& self) {
    if (tasks.size() <= idle || threads.size() >= kMost || stopping) { return; }
    try {
      add(self);
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {}
  }
  // False if this thread is not needed any more.
  bool sleep(std::unique_lock<std::mutex>& lock) {
    const auto called = [this] { return stopping || !tasks.empty(); };
    ++idle;
    while (!called()) {
      if (threads.size() == 1) {
        work.wait(lock);
      } else if (work.wait_for(lock, patience) == std::cv_status::timeout && !called() && threads.size() > 1) {
        break;
      }
    }
    --idle;
    return !tasks.empty();
  }

  void run(const std::shared_ptr<State>& self, std::list<std::thread>::iterator place) {
    core_thread = true;
    std::unique_lock lock(mutex);
    while (sleep(lock)) {
      const Task& task = tasks.pop();
      add_if_busy(self);  // the system may have refused one before
      lock.unlock();
      task.run(task.of);
      lock.lock();
    }
    if (stopping) { return; }
    // Who leaves sees those off that left before.
    std::list<std::thread> gone;
    gone.swap(ended);
    ended.splice(ended.end(), threads, place);
    lock.unlock();
    for (std::thread& thread : gone) { thread.join(); }
  }
};

Workers::Workers(std::chrono::milliseconds patience) : state_(std::make_shared<State>(patience)) {}

Workers::~Workers() {
  std::list<std::thread> threads;
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    threads.swap(state_->threads);
    threads.splice(threads.end(), state_->ended);
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

Result<void> Workers::start() {
  const std::lock_guard lock(state_->mutex);
  if (!state_->threads.empty()) { return {}; }
  return started([this] { state_->add(state_); });
}

void Workers::post(Task& task) noexcept {
  const std::lock_guard lock(state_->mutex);
  state_->tasks.push(task);
  state_->add_if_busy(state_);
  state_->work.notify_one();
}

std::size_t Workers::threads() const {
  const std::lock_guard lock(state_->mutex);
  return state_->threads.size();
}

}  // namespace hal::core
