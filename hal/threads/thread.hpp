// SPDX-License-Identifier: Apache-2.0
// Threads of a library take no signals that a program is sent: those belong to its own threads. What a thread brings
// upon itself, by a fault, is for whoever handles faults, and a profiler's clock counts all threads.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <cstring>
#include <thread>
#include <utility>

namespace hal::threads {

class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF}) { sigdelset(&all, own); }
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// A thread with a name that tools show. Throws std::system_error if there is no thread left.
template <class Body>
std::thread start_thread(const char* name, Body&& body) {
  std::thread thread;
  {
    const SignalsBlocked blocked;
    thread = std::thread(std::forward<Body>(body));
  }
  char shown[16] = {};  // as much as Linux keeps
  std::strncpy(shown, name, sizeof(shown) - 1);
  pthread_setname_np(thread.native_handle(), shown);
  return thread;
}

}  // namespace hal::threads
