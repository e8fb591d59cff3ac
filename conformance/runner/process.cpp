// SPDX-License-Identifier: Apache-2.0
#include "conformance/runner/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

extern char** environ;

namespace hal::conformance {
namespace {

using Clock = std::chrono::steady_clock;

// One worker process and what it wrote.
class Worker {
 public:
  Worker(const ProcessSettings& process, const WorkerSettings& settings, const std::vector<std::string>& names) {
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    log_ = memfd_create("worker-log", MFD_CLOEXEC);
    if (log_ < 0 || pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) {
      why_not_ = std::string("no pipe for a worker: ") + std::strerror(errno);
      return;
    }
    std::vector<std::string> words = process.self;
    const auto add = [&words](const char* option, const std::string& value) {
      if (value.empty()) { return; }
      words.emplace_back(option);
      words.push_back(value);
    };
    words.emplace_back("--worker");
    add("--device", settings.device);
    add("--drivers", settings.drivers);
    add("--fault", settings.fault);
    add("--fault-inner", settings.fault_inner);
    add("--deadline-ms", std::to_string(settings.deadline_ms));
    add("--seed", std::to_string(settings.seed));
    std::vector<char*> argv;
    for (std::string& word : words) { argv.push_back(word.data()); }
    argv.push_back(nullptr);

    // The stream goes to descriptor 3 by way of a high number, because any of the pipe's ends may be 3 itself.
    const int high = fcntl(out[1], F_DUPFD_CLOEXEC, 64);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, log_, 1);
    posix_spawn_file_actions_adddup2(&actions, log_, 2);
    posix_spawn_file_actions_adddup2(&actions, high, kStreamDescriptor);
    const int failed = posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    for (const int end : {in[0], out[1], high}) { ::close(end); }
    stream_ = out[0];
    if (failed != 0) {
      pid_ = -1;
      why_not_ = "cannot start " + words.front() + ": " + std::strerror(failed);
      ::close(in[1]);
      return;
    }
    std::string list;
    for (const std::string& name : names) { list += name + "\n"; }
    feed(in[1], list);
    ::close(in[1]);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    if (pid_ > 0) { end(SIGKILL); }
    for (const int descriptor : {stream_, log_}) {
      if (descriptor >= 0) { ::close(descriptor); }
    }
  }

  const std::string& why_not() const { return why_not_; }

  enum class Next { line, closed, late };
  // The next line of the stream, or that none will come (in time).
  Next next(std::string& line, Clock::time_point deadline) {
    while (true) {
      if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
        line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return Next::line;
      }
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (left <= 0) { return Next::late; }
      pollfd ready{stream_, POLLIN, 0};
      const int n = poll(&ready, 1, static_cast<int>(std::min<long long>(left, 1000)));
      if (n <= 0) { continue; }
      char chunk[4096];
      const ssize_t got = ::read(stream_, chunk, sizeof chunk);
      if (got <= 0) { return Next::closed; }
      buffer_.append(chunk, static_cast<std::size_t>(got));
    }
  }

  // Reaps the process, by force if `signal` is given. Empty if it left with 0, else how it died.
  std::string end(int signal) {
    if (signal != 0) { ::kill(pid_, signal); }
    int status = 0;
    pid_t reaped = 0;
    do { reaped = waitpid(pid_, &status, 0); } while (reaped < 0 && errno == EINTR);
    pid_ = -1;
    if (WIFSIGNALED(status)) {
      const char* name = sigabbrev_np(WTERMSIG(status));
      return std::string("died of SIG") + (name != nullptr ? name : std::to_string(WTERMSIG(status)));
    }
    return WEXITSTATUS(status) == 0 ? "" : "left with exit code " + std::to_string(WEXITSTATUS(status));
  }

  // The end of what it printed.
  std::string log_tail() const {
    constexpr off_t kMost = 3000;
    const off_t size = lseek(log_, 0, SEEK_END);
    const off_t from = std::max<off_t>(0, size - kMost);
    std::string text(static_cast<std::size_t>(std::max<off_t>(0, size - from)), '\0');
    const ssize_t got = pread(log_, text.data(), text.size(), from);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) { text.pop_back(); }
    return text;
  }

 private:
  // A worker that dies early must not take the runner with it.
  static void feed(int descriptor, const std::string& text) {
    struct sigaction ignore{}, before{};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, &before);
    std::size_t done = 0;
    while (done < text.size()) {
      const ssize_t n = ::write(descriptor, text.data() + done, text.size() - done);
      if (n <= 0) { break; }
      done += static_cast<std::size_t>(n);
    }
    sigaction(SIGPIPE, &before, nullptr);
  }

  pid_t pid_ = -1;
  int stream_ = -1;
  int log_ = -1;
  std::string buffer_;
  std::string why_not_;
};

std::string requirement_of(const std::string& name) { return name.substr(0, name.find('/')); }

Status status_of(const std::string& text) {
  if (text == "pass") { return Status::pass; }
  return text == "unsupported" ? Status::unsupported : Status::fail;
}

std::string with_log(std::string what, const Worker& worker) {
  const std::string tail = worker.log_tail();
  return tail.empty() ? what : std::move(what) + "; the end of what it printed:\n" + tail;
}

void read_device(const nlohmann::json& line, DeviceFacts& out) {
  out.uri = line.value("uri", "");
  out.name = line.value("name", "");
  out.driver = line.value("driver", "");
  out.vendor = line.value("vendor", "");
  out.emulated = line.value("emulated", false);
  out.features = line.value("features", std::vector<std::string>{});
}

// Runs one batch; returns how many of its cases have a record now (at least 1), in order.
class Batch {
 public:
  Batch(const ProcessSettings& process, const WorkerSettings& settings, std::vector<std::string> names,
        Outcome& outcome, const std::function<void(const Record&)>& on_record)
      : process_(process), settings_(settings), names_(std::move(names)), outcome_(outcome), on_record_(on_record) {}

  std::size_t run() {
    Worker worker(process_, settings_, names_);
    if (!worker.why_not().empty()) {
      add(names_.front(), Status::not_run, worker.why_not());
      return done_;
    }
    const auto limit = std::chrono::milliseconds(process_.case_limit_ms);
    Clock::time_point deadline = Clock::now() + limit;
    std::string line, current;
    while (true) {
      const Worker::Next next = worker.next(line, deadline);
      if (next == Worker::Next::late) {
        worker.end(SIGKILL);
        const std::string what =
            with_log("no end after " + std::to_string(process_.case_limit_ms) + " ms; the worker was killed", worker);
        if (current.empty() && done_ == names_.size()) {
          worsen_last(Status::timeout, "passed, but the worker did not leave: " + what);
        } else {
          add(!current.empty() ? current : names_[done_], Status::timeout, what);
        }
        return done_;
      }
      if (next == Worker::Next::closed) { break; }
      deadline = Clock::now() + limit;
      const auto parsed = nlohmann::json::parse(line, nullptr, false);
      if (!parsed.is_object()) { continue; }
      const std::string kind = parsed.value("kind", "");
      if (kind == "device") { read_device(parsed, outcome_.device); }
      if (kind == "fatal") { fatal_ = parsed.value("what", ""); }
      if (kind == "start") { current = parsed.value("case", ""); }
      if (kind == "end") {
        current.clear();
        Record record;
        record.name = parsed.value("case", "");
        record.status = status_of(parsed.value("status", ""));
        record.what = parsed.value("what", "");
        record.file = parsed.value("file", "");
        record.line = parsed.value("line", 0U);
        record.checks = parsed.value("checks", std::uint64_t{0});
        record.ms = parsed.value("ms", 0.0);
        add(std::move(record));
        if (record_failed_ && process_.stop_at_first_failure) {
          worker.end(SIGKILL);
          return done_;
        }
      }
    }
    const std::string death = worker.end(0);
    if (!current.empty()) {
      add(current, Status::crash, with_log("the worker " + (death.empty() ? "left in the middle" : death), worker));
    } else if (!fatal_.empty()) {
      for (std::size_t i = done_; i < names_.size();) { add(names_[i], Status::not_run, fatal_), i = done_; }
    } else if (done_ == 0) {
      add(names_.front(), Status::crash,
          with_log("the worker " + (death.empty() ? "left" : death) + " before its first case began", worker));
    } else if (!death.empty()) {
      // Everything has its record, but leaving went wrong: the last case is the one nearest to it.
      worsen_last(Status::crash, with_log("passed, then the worker " + death + " while leaving", worker));
    }
    return done_;
  }

 private:
  void add(const std::string& name, Status status, std::string what) {
    Record record;
    record.name = name;
    record.status = status;
    record.what = std::move(what);
    add(std::move(record));
  }
  void worsen_last(Status status, const std::string& what) {
    Record& last = outcome_.records.back();
    if (last.bad()) { return; }
    last.status = status;
    last.what = what;
    if (on_record_) { on_record_(last); }
  }
  void add(Record record) {
    record.requirement = requirement_of(record.name);
    record_failed_ = record.bad();
    outcome_.records.push_back(std::move(record));
    if (on_record_) { on_record_(outcome_.records.back()); }
    ++done_;
  }

  const ProcessSettings& process_;
  const WorkerSettings& settings_;
  std::vector<std::string> names_;
  Outcome& outcome_;
  const std::function<void(const Record&)>& on_record_;
  std::size_t done_ = 0;
  bool record_failed_ = false;
  std::string fatal_;
};

}  // namespace

const char* status_name(Status status) {
  switch (status) {
    case Status::pass:
      return "pass";
    case Status::unsupported:
      return "not supported";
    case Status::fail:
      return "FAIL";
    case Status::timeout:
      return "TIMEOUT";
    case Status::crash:
      return "CRASH";
    case Status::not_run:
      return "NOT RUN";
  }
  return "?";
}

Outcome run_cases(const ProcessSettings& process, const WorkerSettings& worker, const std::vector<std::string>& names,
                  const std::function<void(const Record&)>& on_record) {
  Outcome outcome;
  for (std::size_t at = 0; at < names.size();) {
    const std::size_t end = std::min(names.size(), at + std::max(1U, process.batch));
    const auto first = names.begin() + static_cast<std::ptrdiff_t>(at);
    Batch batch(process, worker, {first, names.begin() + static_cast<std::ptrdiff_t>(end)}, outcome, on_record);
    at += batch.run();
    if (process.stop_at_first_failure && !outcome.records.empty() && outcome.records.back().bad()) { break; }
  }
  return outcome;
}

bool describe_device(const ProcessSettings& process, const WorkerSettings& settings, DeviceFacts& out,
                     std::string& why) {
  Worker worker(process, settings, {"-"});
  why = worker.why_not();
  if (!why.empty()) { return false; }
  const auto deadline = Clock::now() + std::chrono::milliseconds(process.case_limit_ms);
  std::string line;
  bool found = false;
  Worker::Next next{};
  while ((next = worker.next(line, deadline)) == Worker::Next::line) {
    const auto parsed = nlohmann::json::parse(line, nullptr, false);
    if (!parsed.is_object()) { continue; }
    if (parsed.value("kind", "") == "fatal") { why = parsed.value("what", ""); }
    if (parsed.value("kind", "") == "device") {
      read_device(parsed, out);
      found = true;
    }
  }
  const std::string death = worker.end(next == Worker::Next::late ? SIGKILL : 0);
  if (!found && why.empty()) {
    why = with_log("the worker " + (death.empty() ? "left without a word" : death), worker);
  }
  return found;
}

}  // namespace hal::conformance
