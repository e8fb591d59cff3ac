// SPDX-License-Identifier: Apache-2.0
// A queue's life, and its completions: drained by whichever thread the interrupt arrives on, with no lock held while
// callbacks run.
#include <sys/eventfd.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <thread>

#include "driver/internal.hpp"

using namespace rngd;
using namespace rngd::driver;

namespace {

void on_interrupt(void* user, std::uint32_t) { static_cast<rngd_queue*>(user)->drain(); }

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(
      std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}

}  // namespace

// Whoever raises the count from zero drains for all who come meanwhile; nobody waits for anybody.
void rngd_queue::drain() {
  if (drain_requests.fetch_add(1, std::memory_order_acq_rel) == 0) { release_drain(); }
}

void rngd_queue::release_drain() {
  std::uint32_t claimed = 1;
  do {
    drain_once();
    claimed = drain_requests.fetch_sub(claimed, std::memory_order_acq_rel) - claimed;
  } while (claimed != 0);
}

void rngd_queue::claim_drain() {
  std::uint32_t nobody = 0;
  while (!drain_requests.compare_exchange_weak(nobody, 1, std::memory_order_acq_rel)) {
    nobody = 0;
    std::this_thread::yield();
  }
}

void rngd_queue::drain_once() {
  const rngd_bus& bus = partition->device->bus;
  auto* entries = reinterpret_cast<rqi::CompletionEntry*>(cq_memory.data());
  const std::uint64_t before = load_completed();
  std::uint64_t done = before, freed = retired.load(std::memory_order_relaxed);
  bool failing = failed.load(std::memory_order_relaxed), failed_now = false;
  rngd_error why{};
  std::uint32_t taken = 0;
  for (;; ++taken) {
    rqi::CompletionEntry& slot = entries[cq_head];
    const std::uint16_t status = std::atomic_ref<std::uint16_t>(slot.status).load(std::memory_order_acquire);
    if (rqi::phase_of(status) != phase) { break; }
    const rqi::CompletionEntry completion = slot;
    cq_head = (cq_head + 1) & mask;
    if (cq_head == 0) { phase = !phase; }
    ++freed;
    if (completion.command != static_cast<std::uint16_t>(freed)) {
      const std::uint64_t missing = freed;
      while (static_cast<std::uint16_t>(freed) != completion.command) { ++freed; }
      if (!failing) {
        failing = failed_now = true;
        why.command = missing;
        fail(&why, RNGD_INTERNAL, "the completion of command %llu never came, that of command %llu did",
             static_cast<unsigned long long>(missing), static_cast<unsigned long long>(freed));
        why.command = missing;
      }
    }
    if (failing) { continue; }
    const rqi::Status outcome = rqi::status_of(completion.status);
    if (outcome == rqi::Status::success ||
        (outcome == rqi::Status::aborted_by_request && cancelled.load(std::memory_order_seq_cst))) {
      done = freed;
      continue;
    }
    failing = failed_now = true;
    why.command = freed;
    if (completion.info != ~0u) {
      const rngd_fault fault = partition->device->fault_record(completion.info);
      describe_fault(why, completion, &fault);
    } else {
      describe_fault(why, completion, nullptr);
    }
  }
  if (taken == 0) { return; }
  bus.post32(bus.context, rqi::kBarRegisters, cq_doorbell, cq_head);
  if (done != before) { std::atomic_ref<std::uint64_t>(completed).store(done, std::memory_order_seq_cst); }
  retired.store(freed, std::memory_order_seq_cst);
  if ((done != before || (failing && !failed_now)) && options.on_progress != nullptr) {
    options.on_progress(options.user, done);
  }
  if (failed_now) { set_failed(why); }
  take_notification(done);
  wake();
}

void rngd_queue::set_failed(const rngd_error& why) {
  {
    const std::scoped_lock lock(mutex);
    error = why;
  }
  failed.store(true, std::memory_order_seq_cst);
  if (options.on_failure != nullptr) { options.on_failure(options.user, &why); }
}

void rngd_queue::take_notification(std::uint64_t done) {
  const std::uint64_t at = notify_at.load(std::memory_order_seq_cst);
  if (at == ~0ull || (at > done && !failed.load(std::memory_order_seq_cst))) { return; }
  rngd_notify_function function = nullptr;
  void* user = nullptr;
  {
    const std::scoped_lock lock(mutex);
    if (notify_at.load(std::memory_order_relaxed) > done && !failed.load()) { return; }  // replaced by a later one
    notify_at.store(~0ull, std::memory_order_relaxed);
    std::swap(function, notify_function);
    user = notify_user;
  }
  if (function != nullptr) { function(user, done, at <= done ? RNGD_OK : RNGD_QUEUE_FAILED); }
}

void rngd_queue::wake() {
  if (const int fd = event_fd.load(std::memory_order_relaxed); fd >= 0) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(fd, &one, sizeof one);  // full means that it is readable already
  }
  if (waiters.load(std::memory_order_seq_cst) != 0) {
    const std::scoped_lock lock(mutex);
    progressed.notify_all();
  }
}

namespace {

// A number among the partition's queues, and an interrupt.
rngd_status take_place(rngd_queue& queue, rngd_error* error) {
  rngd_partition& partition = *queue.partition;
  const std::scoped_lock lock(partition.mutex, partition.device->vector_mutex);
  if (partition.queues_taken == ~0ull || partition.device->vectors_taken == ~0ull) {
    return fail(error, RNGD_OUT_OF_RESOURCES,
                "all %u queues of the partition, or all interrupts of the card, are in use", rqi::kQueuesPerContext);
  }
  queue.id = static_cast<std::uint16_t>(__builtin_ctzll(~partition.queues_taken));
  queue.vector = static_cast<std::uint32_t>(__builtin_ctzll(~partition.device->vectors_taken));
  partition.queues_taken |= 1ull << queue.id;
  partition.device->vectors_taken |= 1ull << queue.vector;
  partition.queues.push_back(&queue);  // has room for all
  return RNGD_OK;
}

void leave_place(rngd_queue& queue) {
  rngd_partition& partition = *queue.partition;
  const rngd_bus& bus = partition.device->bus;
  bus.set_interrupt(bus.context, queue.vector, nullptr, nullptr);
  const std::scoped_lock lock(partition.mutex, partition.device->vector_mutex);
  partition.queues_taken &= ~(1ull << queue.id);
  partition.device->vectors_taken &= ~(1ull << queue.vector);
  std::erase(partition.queues, &queue);
}

rngd_status create_cq(rngd_queue& queue, rngd_error* error) {
  rqi::SubmissionEntry entry{};
  entry.opcode = static_cast<std::uint8_t>(rqi::AdminOpcode::create_cq);
  entry.body.create_cq = {queue.cq_memory.iova(),
                          queue.id,
                          queue.partition->context,
                          static_cast<std::uint16_t>(queue.depth),
                          static_cast<std::uint16_t>(queue.vector),
                          {}};
  return queue.partition->device->admin(entry, nullptr, error, "CREATE_CQ");
}

rngd_status create_sq(rngd_queue& queue, rngd_error* error) {
  rqi::SubmissionEntry entry{};
  entry.opcode = static_cast<std::uint8_t>(rqi::AdminOpcode::create_sq);
  entry.body.create_sq = {queue.sq_memory.iova(),
                          queue.id,
                          queue.partition->context,
                          static_cast<std::uint16_t>(queue.depth),
                          queue.id,
                          queue.options.timeout_us,
                          0,
                          0,
                          0};
  return queue.partition->device->admin(entry, nullptr, error, "CREATE_SQ");
}

void delete_queue(rngd_queue& queue, rqi::AdminOpcode opcode) {
  rqi::SubmissionEntry entry{};
  entry.opcode = static_cast<std::uint8_t>(opcode);
  entry.body.delete_queue.id = queue.id;
  entry.body.delete_queue.context = queue.partition->context;
  queue.partition->device->admin(entry, nullptr, nullptr, "DELETE_QUEUE");
}

// What the card knows of a queue. All or nothing.
rngd_status create_on_card(rngd_queue& queue, rngd_error* error) {
  if (const rngd_status status = create_cq(queue, error); status != RNGD_OK) { return status; }
  const rngd_bus& bus = queue.partition->device->bus;
  rngd_status status = RNGD_OK;
  if (const int code = bus.set_interrupt(bus.context, queue.vector, on_interrupt, &queue); code != 0) {
    status = fail(error, code == -ENOMEM ? RNGD_OUT_OF_HOST_MEMORY : RNGD_OUT_OF_RESOURCES,
                  "the bus takes no interrupt handler: out of memory or of vectors (error %d)", -code);
  }
  if (status == RNGD_OK) { status = create_sq(queue, error); }
  if (status != RNGD_OK) { delete_queue(queue, rqi::AdminOpcode::delete_cq); }
  return status;
}

}  // namespace

rngd_status rngd_queue_create(rngd_partition* partition, const rngd_queue_options* options, rngd_queue** out,
                              rngd_error* error) {
  rngd_device* device = partition->device;
  const std::uint32_t depth = options != nullptr && options->depth != 0 ? options->depth : 1024;
  if (depth < rqi::kMinDepth || depth > rqi::kMaxDepth || !std::has_single_bit(depth)) {
    return fail(error, RNGD_INVALID_ARGUMENT, "depth %u: a power of two from %u to %u is needed", depth, rqi::kMinDepth,
                rqi::kMaxDepth);
  }
  std::unique_ptr<rngd_queue> queue(new (std::nothrow) rngd_queue);
  if (queue != nullptr) { queue->arena_end.reset(new (std::nothrow) std::uint64_t[depth]()); }
  if (queue == nullptr || queue->arena_end == nullptr) {
    return fail(error, RNGD_OUT_OF_HOST_MEMORY, "no memory for the queue object");
  }
  queue->partition = partition;
  if (options != nullptr) { queue->options = *options; }
  queue->depth = depth;
  queue->mask = depth - 1;
  rngd_status status = Pinned::make(device->bus, depth * sizeof(rqi::SubmissionEntry), queue->sq_memory, error);
  if (status == RNGD_OK) {
    status = Pinned::make(device->bus, depth * sizeof(rqi::CompletionEntry), queue->cq_memory, error);
  }
  if (status == RNGD_OK) { status = Pinned::make(device->bus, 256 << 10, queue->arena, error); }
  if (status == RNGD_OK) { status = take_place(*queue, error); }
  if (status != RNGD_OK) { return status; }
  queue->ring = reinterpret_cast<rqi::SubmissionEntry*>(queue->sq_memory.data());
  queue->sq_doorbell = rqi::sq_doorbell(partition->context, queue->id);
  queue->cq_doorbell = rqi::cq_doorbell(partition->context, queue->id);
  status = create_on_card(*queue, error);
  if (status != RNGD_OK) {
    leave_place(*queue);
    return status;
  }
  *out = queue.release();
  return RNGD_OK;
}

void rngd_queue_destroy(rngd_queue* queue) {
  delete_queue(*queue, rqi::AdminOpcode::delete_sq);
  delete_queue(*queue, rqi::AdminOpcode::delete_cq);
  leave_place(*queue);
  if (const int fd = queue->event_fd.load(); fd >= 0) { close(fd); }
  delete queue;
}

uint64_t rngd_queue_completed(const rngd_queue* queue) { return queue->load_completed(); }
const uint64_t* rngd_queue_completed_word(const rngd_queue* queue) { return &queue->completed; }
uint64_t rngd_queue_submitted(const rngd_queue* queue) { return queue->load_submitted(); }

void rngd_queue_flush(rngd_queue* queue) {
  const rngd_bus& bus = queue->partition->device->bus;
  bus.kick(bus.context);
}

void rngd_queue_help(rngd_queue* queue, uint64_t value, uint64_t within_ns) {
  const rngd_bus& bus = queue->partition->device->bus;
  if (bus.pump == nullptr) { return bus.kick(bus.context); }
  const std::uint64_t start = now_ns();
  while (queue->load_completed() < value && !queue->failed.load(std::memory_order_relaxed) &&
         bus.pump(bus.context, 0) != 0 && now_ns() - start < within_ns) {}
}

rngd_status rngd_queue_wait(rngd_queue* queue, uint64_t value, uint64_t timeout_ns) {
  const std::uint64_t start = now_ns();
  rngd_device* device = queue->partition->device;
  for (std::uint64_t waited = 0;;) {
    rngd_queue_help(queue, value, timeout_ns - waited);
    if (queue->load_completed() >= value) { return RNGD_OK; }
    if (queue->failed.load(std::memory_order_seq_cst)) { return RNGD_QUEUE_FAILED; }
    if (device->lost.load()) { return RNGD_DEVICE_LOST; }
    waited = now_ns() - start;
    if (waited >= timeout_ns) { return RNGD_TIMEOUT; }
    device->bus.kick(device->bus.context);
    queue->waiters.fetch_add(1, std::memory_order_seq_cst);
    {
      std::unique_lock lock(queue->mutex);
      // In slices, because a reset of the device wakes nobody.
      const auto slice = std::chrono::nanoseconds(std::min<std::uint64_t>(timeout_ns - waited, 20'000'000));
      queue->progressed.wait_for(lock, slice, [&] { return queue->load_completed() >= value || queue->failed.load(); });
    }
    queue->waiters.fetch_sub(1, std::memory_order_seq_cst);
  }
}

rngd_status rngd_queue_notify(rngd_queue* queue, uint64_t value, rngd_notify_function function, void* user) {
  {
    const std::scoped_lock lock(queue->mutex);
    queue->notify_function = function;
    queue->notify_user = user;
    queue->notify_at.store(value, std::memory_order_seq_cst);
    if (queue->load_completed() >= value || queue->failed.load(std::memory_order_seq_cst)) {
      queue->notify_at.store(~0ull, std::memory_order_relaxed);
      queue->notify_function = nullptr;
      return queue->load_completed() >= value ? RNGD_REACHED : RNGD_QUEUE_FAILED;
    }
  }
  rngd_queue_flush(queue);
  return RNGD_OK;
}

int rngd_queue_eventfd(rngd_queue* queue) {
  const std::scoped_lock lock(queue->mutex);
  int fd = queue->event_fd.load();
  if (fd < 0) {
    fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    queue->event_fd.store(fd);
  }
  return fd;
}

rngd_status rngd_queue_error(rngd_queue* queue, rngd_error* out) {
  if (!queue->failed.load(std::memory_order_seq_cst)) { return RNGD_OK; }
  const std::scoped_lock lock(queue->mutex);
  if (out != nullptr) { *out = queue->error; }
  return RNGD_QUEUE_FAILED;
}

rngd_status rngd_queue_abort(rngd_queue* queue, rngd_error* error) {
  rqi::SubmissionEntry entry{};
  entry.opcode = static_cast<std::uint8_t>(rqi::AdminOpcode::abort);
  entry.body.abort = {queue->partition->context, queue->id, 0xFFFF, 0, {}};
  return queue->partition->device->admin(entry, nullptr, error, "ABORT");
}

void rngd_queue_cancel(rngd_queue* queue) {
  const rngd_bus& bus = queue->partition->device->bus;
  queue->cancelled.store(true, std::memory_order_seq_cst);
  bus.post32(bus.context, rqi::kBarRegisters, rqi::sq_control(queue->partition->context, queue->id), 1);
  bus.kick(bus.context);
}

rngd_status rngd_queue_reset(rngd_queue* queue, rngd_error* error) {
  rqi::SubmissionEntry entry{};
  entry.opcode = static_cast<std::uint8_t>(rqi::AdminOpcode::reset);
  entry.body.reset.level = static_cast<std::uint8_t>(rqi::ResetLevel::queue);
  entry.body.reset.context = queue->partition->context;
  entry.body.reset.sq = queue->id;
  const rngd_status status = queue->partition->device->admin(entry, nullptr, error, "RESET queue");
  if (status != RNGD_OK) { return status; }
  queue->claim_drain();
  queue->drain_once();  // the completions of what the reset has aborted
  {
    const std::scoped_lock lock(queue->mutex);
    queue->error = {};
  }
  const std::uint64_t all = queue->load_submitted();
  std::atomic_ref<std::uint64_t>(queue->completed).store(all, std::memory_order_seq_cst);
  queue->retired.store(all, std::memory_order_seq_cst);
  queue->failed.store(false, std::memory_order_seq_cst);
  queue->take_notification(all);
  queue->release_drain();
  queue->wake();
  return RNGD_OK;
}
