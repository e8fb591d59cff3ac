// SPDX-License-Identifier: Apache-2.0
// Cancelling against a publish at that very moment. The device publishes between two instructions of the cancel: the
// lane lies in a page that cannot be touched, the first touch opens it, one instruction runs, and then it is the
// device's turn.
#include <halyard_catch.hpp>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HALYARD_NO_STEPS 1  // it reads on the program's behalf, under locks of its own
#endif
#endif
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(HALYARD_NO_STEPS)

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <csignal>

#include "core/order_fixture.hpp"

using namespace hal::test;

namespace {

// Calls `then` once, on whatever thread touches the page first, behind the instruction that does.
class FirstTouch {
 public:
  FirstTouch(void* page, void (*then)()) {
    page_ = page;
    then_ = then;
    struct sigaction act{};
    act.sa_flags = SA_SIGINFO;
    act.sa_sigaction = touched;
    ::sigaction(SIGSEGV, &act, &before_[0]);
    act.sa_sigaction = stepped;
    ::sigaction(SIGTRAP, &act, &before_[1]);
    ::mprotect(page_, static_cast<std::size_t>(::getpagesize()), PROT_NONE);
  }
  ~FirstTouch() {
    ::mprotect(page_, static_cast<std::size_t>(::getpagesize()), PROT_READ | PROT_WRITE);
    ::sigaction(SIGSEGV, &before_[0], nullptr);
    ::sigaction(SIGTRAP, &before_[1], nullptr);
  }
  FirstTouch(const FirstTouch&) = delete;
  FirstTouch& operator=(const FirstTouch&) = delete;

 private:
  static constexpr greg_t kSingleStep = 0x100;  // of the processor's flags

  static void touched(int signal, siginfo_t* info, void* context) {
    const auto offset = static_cast<char*>(info->si_addr) - static_cast<char*>(page_);
    if (offset < 0 || offset >= ::getpagesize()) {  // somebody's crash
      std::signal(signal, SIG_DFL);
      return;
    }
    ::mprotect(page_, static_cast<std::size_t>(::getpagesize()), PROT_READ | PROT_WRITE);
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] |= kSingleStep;
  }
  static void stepped(int, siginfo_t*, void* context) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~kSingleStep;
    then_();
  }

  static inline void* page_ = nullptr;
  static inline void (*then_)() = nullptr;
  struct sigaction before_[2];
};

std::atomic<bool> device_may{false}, device_did{false};

}  // namespace

TEST_CASE("order: what a lane publishes while it is cancelled stays reached for whoever saw it") {
  Manual m;
  hal::Queue queue = m.device.queue("lane").value();
  const Point one = queue.fill(m.at(0), std::uint32_t{1}).value(), two = queue.fill(m.at(1), std::uint32_t{2}).value(),
              three = queue.fill(m.at(2), std::uint32_t{3}).value();
  m.control.complete("lane", 1);
  device_may = device_did = false;
  bool seen = false;
  std::thread other([&] {
    while (!device_may) { std::this_thread::yield(); }
    m.control.complete("lane", 2);
    seen = hal::wait(two, 0ns).has_value();
    device_did = true;
  });
  {
    const FirstTouch trap(m.control.lane("lane"), [] {
      device_may = true;
      while (!device_did) {}
    });
    queue.cancel();
  }
  const bool trapped = device_may.exchange(true);
  other.join();
  REQUIRE(trapped);
  CHECK(seen);  // the cancel had looked, and had told nobody
  for (const Point& point : {one, two}) { CHECK(hal::wait(point, 0ns)); }
  CHECK(hal::wait(three, kSoon).error().code() == HAL_CANCELLED);
  m.control.complete("lane", 3);
  CHECK_FALSE(hal::wait(three, 0ns));
}

#endif
