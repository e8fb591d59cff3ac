// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/harness.hpp"
#include "threads/fence.hpp"

#include <dlfcn.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace hal::kit {

namespace {

[[noreturn]] void raise(hal_error* error) {
  const std::string text = hal_error_text(error);
  hal_release(error);
  throw std::runtime_error(text);
}

void log_to_stderr(const hal_host_api*, hal_log_level level, const char* origin, const char* text) {
  if (level <= HAL_LOG_WARNING) { std::fprintf(stderr, "%s: %s\n", origin, text); }
}

const char* setting_from_environment(const hal_host_api*, const char* name) { return std::getenv(name); }

hal_driver_entry_function entry_of(const std::string& file) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* symbol = library != nullptr ? dlsym(library, HAL_DRIVER_ENTRY) : nullptr;
  if (symbol == nullptr) { throw std::runtime_error(dlerror()); }
  return reinterpret_cast<hal_driver_entry_function>(symbol);
}

// Long enough for a sanitizer on a busy machine, short enough that a lost wake-up is a failed test and not a hang.
constexpr std::chrono::seconds kPatience{60};

}  // namespace

// ---------------------------------------------------------------------------------------------------------- commands

hal_slice whole(hal_buffer* buffer) { return {buffer, 0, buffer->memory.bytes}; }

hal_arg buffer_arg(hal_slice slice) {
  hal_arg arg{};
  arg.kind = HAL_ARG_BUFFER;
  arg.value.slice = slice;
  return arg;
}

hal_command fill(hal_slice to, std::uint64_t pattern, std::uint64_t pattern_bytes) {
  hal_command command{};
  command.op = HAL_OP_FILL;
  command.as.fill = {to, pattern, pattern_bytes};
  return command;
}

hal_command copy(hal_slice to, hal_slice from) {
  hal_command command{};
  command.op = HAL_OP_COPY;
  command.as.copy = {to, from};
  return command;
}

hal_command run(hal_program* program, std::span<const hal_arg> args) {
  hal_command command{};
  command.op = HAL_OP_RUN;
  command.as.run.program = program;
  command.as.run.args = args.data();
  command.as.run.arg_count = static_cast<std::uint32_t>(args.size());
  return command;
}

// ------------------------------------------------------------------------------------------------------------ driver

Harness::Harness(hal_driver_entry_function entry)
    : api_{sizeof(hal_host_api), HAL_DRIVER_ABI_MAJOR, HAL_DRIVER_ABI_MINOR, log_to_stderr, setting_from_environment,
           hal_error_create,     Lane::on_reached,     Lane::on_failed,      nullptr} {
  if (hal_error* error = entry(&api_, &driver_)) { raise(error); }
}

Harness::Harness(const std::string& file) : Harness(entry_of(file)) {}

Harness::~Harness() { ops().destroy(driver_); }

hal_error* Harness::try_open(std::uint32_t index, const std::string& params, const std::string& part,
                             hal_device_traits* out) const {
  const hal_device_request request{index, 0, part.c_str(), params.c_str()};
  return ops().device_open(driver_, &request, out);
}

std::unique_ptr<Harness::Device> Harness::open(std::uint32_t index, const std::string& params,
                                               const std::string& part) {
  hal_device_traits traits{};
  if (hal_error* error = try_open(index, params, part, &traits)) { raise(error); }
  return std::make_unique<Device>(*this, traits);
}

// ------------------------------------------------------------------------------------------------------------ device

Harness::Device::~Device() {
  for (const auto& program : programs_) { host_.ops().program_unload(host_.driver(), impl(), program->impl); }
  for (const auto& buffer : buffers_) { host_.ops().memory_free(host_.driver(), impl(), &buffer->memory); }
  host_.ops().device_close(host_.driver(), impl());
}

hal_buffer* Harness::Device::allocate(std::uint64_t bytes) {
  auto buffer = std::make_unique<hal_buffer>();
  buffer->device_impl = impl();
  if (hal_error* error = host_.ops().memory_allocate(host_.driver(), impl(), bytes, &buffer->memory)) { raise(error); }
  return buffers_.emplace_back(std::move(buffer)).get();
}

hal_program* Harness::Device::load(const hal_image& image, std::span<const hal_signature> signatures) {
  auto program = std::make_unique<hal_program>();
  program->device_impl = impl();
  if (hal_error* error = host_.ops().program_load(host_.driver(), impl(), &image, signatures.data(),
                                                  static_cast<std::uint32_t>(signatures.size()), &program->impl)) {
    raise(error);
  }
  return programs_.emplace_back(std::move(program)).get();
}

// -------------------------------------------------------------------------------------------------------------- lane

Harness::Lane::Lane(Device& device, const char* label) : device_(device) {
  Harness& host = device.host();
  if (hal_error* error = host.ops().lane_create(host.driver(), device.impl(), label, this, &lane_)) { raise(error); }
  lane_->unfenced = threads::fence_other_threads() ? 1 : 0;
}

Harness::Lane::~Lane() {
  Harness& host = device_.host();
  if (!failure() && completed() < submitted_) {
    cancel();
    wait(submitted_);
  }
  host.ops().lane_destroy(host.driver(), device_.impl(), lane_);
  hal_release(failure_);
}

void Harness::Lane::on_reached(hal_lane* lane) {
  auto& self = *static_cast<Lane*>(lane->core);
  self.reached_calls_.fetch_add(1, std::memory_order_relaxed);
  // Empty critical section: a waiter is either before its test, and sees the counter, or asleep, and is woken.
  { const std::lock_guard lock(self.mutex_); }
  self.changed_.notify_all();
}

void Harness::Lane::on_failed(hal_lane* lane, std::uint64_t number, hal_error* error) {
  auto& self = *static_cast<Lane*>(lane->core);
  if (self.at_failure) { self.at_failure(); }
  {
    const std::lock_guard lock(self.mutex_);
    if (self.failure_ == nullptr) {
      self.failure_ = error;
      self.failed_number_.store(number, std::memory_order_release);
    } else {
      hal_release(error);
    }
  }
  self.changed_.notify_all();
}

std::uint64_t Harness::Lane::submit(std::span<const hal_command> commands) {
  hal_driver* driver = device_.host().driver();
  while (!commands.empty() && failure() == nullptr) {
    const std::uint32_t batch = device_.traits().max_batch;
    auto count = static_cast<std::uint32_t>(commands.size());
    if (batch != 0 && count > batch) { count = batch; }
    const std::uint64_t before = completed();
    const std::uint32_t taken = ops().submit(driver, lane_, submitted_ + 1, commands.data(), count);
    submitted_ += taken;
    commands = commands.subspan(taken);
    if (taken < count && before < submitted_ && !wait(before + 1)) { break; }
  }
  return submitted_;
}

void Harness::Lane::flush() {
  if (ops().flush != nullptr) { ops().flush(device_.host().driver(), lane_); }
}

void Harness::Lane::cancel() {
  if (ops().lane_cancel != nullptr) { ops().lane_cancel(device_.host().driver(), lane_); }
}

bool Harness::Lane::wait(std::uint64_t number, bool help) {
  hal_driver* driver = device_.host().driver();
  if (completed() >= number) { return true; }
  if (help && ops().help != nullptr) {
    ops().help(driver, lane_, number, static_cast<std::uint64_t>(std::chrono::nanoseconds(kPatience).count()));
  }
  if (completed() >= number) { return true; }
  // The core's side of hal_lane_publish(): store wake_at, fence all threads, then look again.
  __atomic_store_n(&lane_->wake_at, number, __ATOMIC_SEQ_CST);
  (void)threads::fence_other_threads();
  if (ops().notify != nullptr) { ops().notify(driver, lane_); }
  std::unique_lock lock(mutex_);
  const bool settled = changed_.wait_for(lock, kPatience, [&] {
    return __atomic_load_n(&lane_->completed, __ATOMIC_SEQ_CST) >= number || failure_ != nullptr;
  });
  __atomic_store_n(&lane_->wake_at, UINT64_MAX, __ATOMIC_SEQ_CST);
  if (!settled) {
    throw std::runtime_error("the lane stands at " + std::to_string(completed()) + " and never reached " +
                             std::to_string(number) + ": a lost wake-up or a lost command");
  }
  return completed() >= number;
}

void Harness::Lane::finish() {
  if (!wait(submitted_)) { raise(static_cast<hal_error*>(hal_retain(failure_))); }
}

const hal_error* Harness::Lane::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

}  // namespace hal::kit
