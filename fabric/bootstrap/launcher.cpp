// SPDX-License-Identifier: Apache-2.0
#include "fabric/bootstrap/launcher.hpp"

#include "fabric/bootstrap/descriptor.hpp"
#include "fabric/bootstrap/rendezvous.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>

// glibc 2.36's header forgets to say that its functions are C.
extern "C" {
#include <sys/pidfd.h>
}

extern char** environ;

namespace hal::fabric {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kKillAfter{2000};
constexpr int kExplainMs = 200;

struct Child {
  RankExit exit;
  Descriptor pidfd;
  bool running = false;
};

// SIGINT and SIGTERM come as readable bytes while this lives.
class SignalsAsFile {
 public:
  SignalsAsFile() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, &before_);
    file_ = Descriptor(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  ~SignalsAsFile() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsAsFile(const SignalsAsFile&) = delete;
  SignalsAsFile& operator=(const SignalsAsFile&) = delete;

  int fd() const noexcept { return file_.get(); }
  const sigset_t& before() const noexcept { return before_; }

 private:
  sigset_t before_{};
  Descriptor file_;
};

std::string describe(const RankExit& exit) {
  if (exit.signal != 0) {
    const char* name = sigabbrev_np(exit.signal);
    return fmt::format("it was ended by SIG{}", name != nullptr ? name : std::to_string(exit.signal));
  }
  return fmt::format("it exited with code {}", exit.code);
}

void take_status(const siginfo_t& info, RankExit& out) {
  if (info.si_code == CLD_EXITED) {
    out.code = info.si_status;
  } else {
    out.signal = info.si_status;
  }
}

bool names_world(std::string_view variable) {
  return variable.starts_with("HALYARD_RANK=") || variable.starts_with("HALYARD_WORLD_SIZE=") ||
         variable.starts_with("HALYARD_RENDEZVOUS=");
}

class Launch {
 public:
  explicit Launch(const LaunchOptions& options) : options_(options) {}
  // Whatever goes wrong on the way, no rank outlives this.
  ~Launch() {
    for (Child& child : children_) {
      if (!child.running) { continue; }
      ::kill(child.exit.pid, SIGKILL);
      ::waitpid(child.exit.pid, nullptr, 0);
    }
  }
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  Result<LaunchResult> run() {
    if (options_.command.empty()) { return fail(HAL_INVALID_ARGUMENT, "nothing to launch: no program was given"); }
    HAL_FABRIC_TRY(rendezvous_, Rendezvous::open(options_.ranks));
    rendezvous_->explain = [this](unsigned rank) { return explain(rank); };
    for (unsigned rank = 0; rank < options_.ranks; ++rank) { HAL_FABRIC_CHECK(start(rank)); }
    if (options_.timeout) { timeout_at_ = Clock::now() + *options_.timeout; }
    while (running() > 0) { round(); }
    for (Child& child : children_) { result_.ranks.push_back(child.exit); }
    return std::move(result_);
  }

 private:
  void log(const std::string& line) const {
    if (options_.log) { options_.log(line); }
  }

  std::size_t running() const {
    std::size_t count = 0;
    for (const Child& child : children_) { count += child.running ? 1U : 0U; }
    return count;
  }

  Result<void> start(unsigned rank) {
    // Everything that allocates happens before fork(): the caller may have other threads.
    std::vector<std::string> environment;
    for (char** variable = environ; *variable != nullptr; ++variable) {
      if (!names_world(*variable)) { environment.emplace_back(*variable); }
    }
    for (const auto& [name, value] : options_.environment) { environment.push_back(name + "=" + value); }
    environment.push_back(fmt::format("HALYARD_RANK={}", rank));
    environment.push_back(fmt::format("HALYARD_WORLD_SIZE={}", options_.ranks));
    environment.push_back("HALYARD_RENDEZVOUS=" + rendezvous_->address());
    std::vector<char*> envp;
    for (std::string& variable : environment) { envp.push_back(variable.data()); }
    envp.push_back(nullptr);
    std::vector<std::string> arguments = options_.command;
    std::vector<char*> argv;
    for (std::string& argument : arguments) { argv.push_back(argument.data()); }
    argv.push_back(nullptr);
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) { return fail_errno(HAL_UNAVAILABLE, errno, "no pipe for a rank"); }
    Descriptor read_end(ends[0]);
    Descriptor write_end(ends[1]);
    const pid_t parent = ::getpid();

    const pid_t pid = ::fork();
    if (pid < 0) { return fail_errno(HAL_UNAVAILABLE, errno, fmt::format("rank {} cannot be forked", rank)); }
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() == parent) {  // else the launcher ended before the line above
        ::pthread_sigmask(SIG_SETMASK, &signals_.before(), nullptr);
        if (rank != 0) {
          const int nothing = ::open("/dev/null", O_RDONLY);
          if (nothing >= 0) { ::dup2(nothing, STDIN_FILENO); }
        }
        ::execvpe(argv[0], argv.data(), envp.data());
      }
      const int error = errno;
      (void)!::write(write_end.get(), &error, sizeof error);
      ::_exit(127);
    }
    write_end.reset();
    Child child;
    child.exit.rank = rank;
    child.exit.pid = pid;
    child.running = true;
    child.pidfd = Descriptor(::pidfd_open(pid, 0));
    const int pidfd_error = errno;
    children_.push_back(std::move(child));
    if (!children_.back().pidfd) { return fail_errno(HAL_UNAVAILABLE, pidfd_error, "no descriptor for a process"); }
    int error = 0;
    ssize_t got = 0;
    do { got = ::read(read_end.get(), &error, sizeof error); } while (got < 0 && errno == EINTR);
    if (got == sizeof error) {
      return fail_errno(HAL_NOT_FOUND, error, fmt::format("the program \"{}\" cannot be run", options_.command[0]));
    }
    return {};
  }

  // A rank's connection closed; its process is probably ending. Wait a little to learn how.
  std::string explain(unsigned rank) {
    Child& child = children_[rank];
    if (!child.running) { return describe(child.exit); }
    pollfd wait{child.pidfd.get(), POLLIN, 0};
    siginfo_t info{};
    if (::poll(&wait, 1, kExplainMs) == 1 &&
        ::waitid(P_PIDFD, static_cast<id_t>(child.pidfd.get()), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid != 0) {
      RankExit seen;
      take_status(info, seen);
      return describe(seen);
    }
    return {};
  }

  void round() {
    std::vector<pollfd> waits;
    waits.push_back({rendezvous_->wait_fd(), POLLIN, 0});
    waits.push_back({signals_.fd(), POLLIN, 0});
    for (const Child& child : children_) {
      if (child.running) { waits.push_back({child.pidfd.get(), POLLIN, 0}); }
    }
    ::poll(waits.data(), waits.size(), milliseconds_to_next_step());
    signalfd_siginfo signal{};
    if (::read(signals_.fd(), &signal, sizeof signal) == sizeof signal) {
      log(fmt::format("SIG{}, ending the ranks", sigabbrev_np(static_cast<int>(signal.ssi_signo))));
      if (result_.exit_code == 0) { result_.exit_code = 128 + static_cast<int>(signal.ssi_signo); }
      stop_at(Clock::now());
    }
    for (Child& child : children_) {
      if (child.running) { collect(child); }
    }
    rendezvous_->serve(0);
    step(Clock::now());
  }

  void collect(Child& child) {
    siginfo_t info{};
    const int status = ::waitid(P_PIDFD, static_cast<id_t>(child.pidfd.get()), &info, WEXITED | WNOHANG);
    if (status != 0 && errno == ECHILD) {
      // The program ignores SIGCHLD or waits for any child: the status is gone, the end is not.
      log(fmt::format("somebody else took the exit status of rank {}", child.exit.rank));
      info.si_pid = child.exit.pid;
      info.si_code = CLD_EXITED;
      info.si_status = 255;
    } else if (status != 0 || info.si_pid == 0) {
      return;
    }
    child.running = false;
    take_status(info, child.exit);
    if (child.exit.code == 0 && child.exit.signal == 0) {
      // Its goodbye, if it said one, is in the socket already.
      rendezvous_->serve(0);
      rendezvous_->mark_left(child.exit.rank);
      return;
    }
    log(fmt::format("rank {} (pid {}): {}{}", child.exit.rank, child.exit.pid, describe(child.exit),
                    child.exit.stopped ? ", as the launcher asked" : ""));
    rendezvous_->mark_lost(child.exit.rank, describe(child.exit));
    if (result_.exit_code == 0) {
      result_.exit_code = child.exit.signal != 0 ? 128 + child.exit.signal : child.exit.code;
    }
    if (!term_at_) { stop_at(Clock::now() + options_.grace); }
  }

  void stop_at(Clock::time_point when) {
    if (!term_at_ || when < *term_at_) { term_at_ = when; }
  }

  void step(Clock::time_point now) {
    if (timeout_at_ && now >= *timeout_at_ && !result_.timed_out) {
      log(fmt::format("{} ms are over with {} ranks running", options_.timeout->count(), running()));
      result_.timed_out = true;
      if (result_.exit_code == 0) { result_.exit_code = 124; }
      stop_at(now);
    }
    if (term_at_ && now >= *term_at_ && !kill_at_) {
      kill_at_ = now + kKillAfter;
      signal_all(SIGTERM);
    }
    if (kill_at_ && now >= *kill_at_) {
      kill_at_ = now + kKillAfter;
      signal_all(SIGKILL);
    }
  }

  void signal_all(int signal) {
    for (Child& child : children_) {
      if (!child.running) { continue; }
      log(fmt::format("SIG{} to rank {} (pid {})", sigabbrev_np(signal), child.exit.rank, child.exit.pid));
      child.exit.stopped = true;
      ::kill(child.exit.pid, signal);
      if (signal == SIGTERM) { ::kill(child.exit.pid, SIGCONT); }  // a stopped process could not obey
    }
  }

  int milliseconds_to_next_step() const {
    auto next = Clock::time_point::max();
    if (timeout_at_ && !result_.timed_out) { next = std::min(next, *timeout_at_); }
    if (term_at_ && !kill_at_) { next = std::min(next, *term_at_); }
    if (kill_at_) { next = std::min(next, *kill_at_); }
    if (next == Clock::time_point::max()) { return -1; }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
  }

  const LaunchOptions& options_;
  SignalsAsFile signals_;
  std::unique_ptr<Rendezvous> rendezvous_;
  std::vector<Child> children_;
  std::optional<Clock::time_point> timeout_at_;
  std::optional<Clock::time_point> term_at_;
  std::optional<Clock::time_point> kill_at_;
  LaunchResult result_;
};

}  // namespace

Result<LaunchResult> launch(const LaunchOptions& options) { return Launch(options).run(); }

}  // namespace hal::fabric
