/* SPDX-License-Identifier: Apache-2.0 */
/*
 * librngd: the user-mode driver of RNGD cards behind RQI v1 (Halyard's own queue interface; RNGD's real one is not
 * public). It knows nothing of who calls it and reaches the card only through an rngd_bus.
 *
 * Handles belong to the caller and are freed by their own destroy function, children first. Functions may be called
 * from any thread unless said otherwise; destroying an object that another call uses is the caller's mistake. An
 * rngd_error argument may be NULL; it is written only when the function fails.
 */
#ifndef HALYARD_RNGD_H
#define HALYARD_RNGD_H

#include <stddef.h>
#include <stdint.h>

#include "rqi/bus.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RNGD_VERSION 0x00010000u /* major << 16 | minor */

typedef enum rngd_status {
  RNGD_OK = 0,
  RNGD_WOULD_BLOCK = 1, /* the ring or its argument space is full; nothing was enqueued */
  RNGD_REACHED = 2,     /* notify: the value is there already, the callback will not run */
  RNGD_TIMEOUT = 3,     /* the time given to a wait has passed; nothing has changed */
  RNGD_INVALID_ARGUMENT = 4,
  RNGD_BUSY = 5, /* PEs of the partition, or the object, are in use */
  RNGD_NOT_FOUND = 6,
  RNGD_OUT_OF_MEMORY = 7, /* of the partition's HBM window */
  RNGD_OUT_OF_HOST_MEMORY = 8,
  RNGD_OUT_OF_RESOURCES = 9, /* queues, contexts, events */
  RNGD_UNSUPPORTED = 10,
  RNGD_PROGRAM_REJECTED = 11,
  RNGD_QUEUE_FAILED = 12, /* a command failed; rngd_queue_error() tells which and why */
  RNGD_ABORTED = 13,
  RNGD_DEVICE_LOST = 14,  /* reset, gone or without answer: close and open again */
  RNGD_INCOMPATIBLE = 15, /* firmware, interface or bus version */
  RNGD_EXECUTION_TIMEOUT = 16,
  RNGD_INDEX_OUT_OF_RANGE = 17,
  RNGD_FAULT = 18, /* any other fault of a command */
  RNGD_INTERNAL = 19
} rngd_status;

typedef struct rngd_device rngd_device;
typedef struct rngd_partition rngd_partition;
typedef struct rngd_queue rngd_queue;
typedef struct rngd_event rngd_event;
typedef struct rngd_program rngd_program;

typedef struct rngd_error {
  rngd_status status;
  uint16_t device_status; /* RQI status type << 8 | code; 0 if the device did not speak */
  uint8_t recovery;       /* 0 none, 1 queue, 2 partition, 3 cluster */
  uint8_t reserved;
  uint64_t command; /* its number in the queue; 0 if none */
  uint64_t address; /* by kind of fault: see text */
  uint64_t detail[2];
  uint32_t program, op; /* 0xFFFFFFFF none */
  char text[256];
} rngd_error;

uint32_t rngd_version(void);
/* "RNGD_BUSY"; and a sentence. Never NULL. */
const char* rngd_status_name(rngd_status status);
const char* rngd_status_text(rngd_status status);
/* "translation fault on read" for an rngd_error's device_status. Never NULL. */
const char* rngd_device_status_text(uint16_t device_status);

/* ---- device ---- */

typedef struct rngd_device_info {
  char model[32], serial[32], firmware[32], pert[32];
  uint32_t emulated;
  uint32_t pe_count, pes_per_cluster;
  uint32_t rqi_version;
  uint64_t hbm_bytes, usable_bytes, sram_bytes_per_pe, clock_hz;
} rngd_device_info;

typedef struct rngd_statistics { /* since the device was opened first; time is the device's own */
  uint64_t device_ns, busy_pe_ns, programs_run, multiply_accumulates;
  uint64_t bytes_read, bytes_written, dma_commands;
  double energy_joules; /* an estimate from a third party's power measurements; see docs/emulation/rngd.md */
} rngd_statistics;

typedef struct rngd_fault { /* one record of the device's fault log */
  uint64_t time_ns, address, detail[2];
  uint16_t device_status, context, queue, command;
  uint8_t recovery, pe, cluster, opcode;
  uint32_t program, op;
} rngd_fault;

typedef enum rngd_inject_effect {
  RNGD_INJECT_CLEAR = 0,
  RNGD_INJECT_STATUS = 1,          /* the command fails with `device_status` and does nothing */
  RNGD_INJECT_LOSE_COMPLETION = 2, /* the command works, its completion never comes */
  RNGD_INJECT_HANG = 3,            /* no progress until its time-out, if it has one */
  RNGD_INJECT_PE_EXCEPTION = 4     /* the partition faults */
} rngd_inject_effect;
#define RNGD_NO_TIMEOUT 0xFFFFFFFFu

/* Takes the bus (and releases it at close, or when this fails). Runs the firmware handshake.
   INCOMPATIBLE, DEVICE_LOST when the card does not come up. */
rngd_status rngd_device_open(const rngd_bus* bus, rngd_device** out, rngd_error* error);
/* Every partition, host buffer and registration must be gone. */
void rngd_device_close(rngd_device* device);
void rngd_device_get_info(rngd_device* device, rngd_device_info* out);
uint64_t rngd_device_time(rngd_device* device); /* device ns */
void rngd_device_get_statistics(rngd_device* device, rngd_statistics* out);
/* Copies up to `capacity` records from number `first` on; returns how many. */
uint32_t rngd_device_read_faults(rngd_device* device, uint32_t first, rngd_fault* out, uint32_t capacity);
/* Bit per PE that belongs to a partition of anybody's. */
uint32_t rngd_device_occupied(rngd_device* device);
/* Resets the card. Everything on it is lost: every object answers DEVICE_LOST from now on and can only be destroyed. */
rngd_status rngd_device_reset(rngd_device* device, rngd_error* error);
/* Emulated cards only: `count` matching commands after `skip` others suffer the effect. opcode 0xFFFF: any. */
rngd_status rngd_device_inject(rngd_device* device, rngd_inject_effect effect, uint16_t opcode, uint32_t skip,
                               uint32_t count, uint16_t device_status, rngd_error* error);

/* ---- partitions ---- */

typedef struct rngd_partition_info {
  uint32_t first_pe, pe_count;
  uint64_t memory_bytes, memory_used, memory_largest_free;
} rngd_partition_info;

/* Takes 1, 2 or 4 PEs, aligned to their number, for the caller alone. BUSY if one is taken. */
rngd_status rngd_partition_create(rngd_device* device, uint32_t first_pe, uint32_t pe_count, rngd_partition** out,
                                  rngd_error* error);
/* BUSY while queues or programs are left. Its memory reads as poison for the next owner. */
rngd_status rngd_partition_destroy(rngd_partition* partition, rngd_error* error);
void rngd_partition_get_info(rngd_partition* partition, rngd_partition_info* out);
/* Ends all work of the partition and makes it usable again after a fault. */
rngd_status rngd_partition_reset(rngd_partition* partition, rngd_error* error);

/* ---- memory ---- */

typedef enum rngd_space { RNGD_SPACE_HBM = 0, RNGD_SPACE_HOST = 1 } rngd_space;
typedef struct rngd_address {
  uint64_t value; /* add to it freely within one allocation */
  uint32_t space;
  uint32_t reserved;
} rngd_address;

/* HBM of the partition, aligned to 4 KiB. OUT_OF_MEMORY says what was asked, free and free in one piece. */
rngd_status rngd_memory_alloc(rngd_partition* partition, uint64_t bytes, rngd_address* out, rngd_error* error);
/* No command may use it any more. */
rngd_status rngd_memory_free(rngd_partition* partition, rngd_address address, rngd_error* error);
/* A host pointer into HBM through the aperture; plain loads and stores. UNSUPPORTED if the bus has none. */
rngd_status rngd_memory_map(rngd_partition* partition, rngd_address address, uint64_t bytes, void** out,
                            rngd_error* error);
void rngd_memory_unmap(rngd_partition* partition, rngd_address address, uint64_t bytes);
/* Host memory that the device can reach, page aligned. */
rngd_status rngd_host_alloc(rngd_device* device, uint64_t bytes, void** out, rngd_address* address, rngd_error* error);
void rngd_host_free(rngd_device* device, void* pointer, rngd_address address, uint64_t bytes);
/* Lets the device reach memory that is there already; ranges may overlap. */
rngd_status rngd_host_register(rngd_device* device, void* pointer, uint64_t bytes, rngd_address* out,
                               rngd_error* error);
void rngd_host_unregister(rngd_device* device, rngd_address address, uint64_t bytes);

/* ---- event counters ---- */

/* A 64-bit counter on the card that hosts and queues of one partition signal and wait for. Starts at 0, must only grow.
 */
rngd_status rngd_event_create(rngd_partition* partition, rngd_event** out, rngd_error* error);
void rngd_event_destroy(rngd_event* event);
uint64_t rngd_event_value(rngd_event* event);
rngd_status rngd_event_signal(rngd_event* event, uint64_t value, rngd_error* error);
/* Until the counter is at least `value`. TIMEOUT, DEVICE_LOST. */
rngd_status rngd_event_wait(rngd_event* event, uint64_t value, uint64_t timeout_ns);

/* ---- queues ---- */

typedef enum rngd_command_kind {
  RNGD_COMMAND_BARRIER = 0, /* does nothing, in order */
  RNGD_COMMAND_COPY = 1,
  RNGD_COMMAND_COPY_ND = 2, /* rows at up to 7 nested strides: pitched copies and more */
  RNGD_COMMAND_FILL = 3,
  RNGD_COMMAND_RUN = 4,
  RNGD_COMMAND_TIMESTAMP = 5
} rngd_command_kind;

typedef struct rngd_loop {
  uint32_t count; /* 1 to 65,536 */
  uint32_t reserved;
  int64_t from_stride, to_stride; /* bytes */
} rngd_loop;

typedef struct rngd_binding {
  rngd_address address;
  uint64_t bytes;
} rngd_binding;

typedef struct rngd_command {
  uint32_t kind;
  uint32_t timeout_us;    /* 0: the queue's; RNGD_NO_TIMEOUT */
  rngd_event* wait_event; /* optional: before the command, the counter must be at least wait_value */
  uint64_t wait_value;
  rngd_event* signal_event; /* optional: set to signal_value after the command */
  uint64_t signal_value;
  union {
    struct {
      rngd_address from, to;
      uint64_t bytes;
    } copy;
    struct {
      rngd_address from, to;
      uint64_t row_bytes;
      const rngd_loop* loops;
      uint32_t loop_count;
    } copy_nd; /* outermost first */
    struct {
      rngd_address to;
      uint64_t bytes, pattern;
      uint32_t pattern_bytes;
    } fill; /* 1, 2, 4 or 8; divides bytes */
    struct {
      rngd_program* program;
      const rngd_binding* bindings;
      uint32_t binding_count;
    } run; /* inputs, outputs, scratch */
    struct {
      rngd_address to;
      uint32_t cycles;
    } timestamp; /* a uint64_t: device ns, or cycles if not 0 */
  } u;
} rngd_command;

typedef struct rngd_queue_options {
  uint32_t depth;      /* power of two, 2 to 4096; 0: 1024. depth - 1 commands can be in flight */
  uint32_t timeout_us; /* for commands that name none; 0: the device's default */
  /* Called after commands have completed, or have left the ring behind a failure, from whichever thread made the device
     work, never from submit and never with a lock of the driver held; one call at a time per queue, `completed` never
     less than before. May be NULL. */
  void (*on_progress)(void* user, uint64_t completed);
  /* Called once when the queue fails, after the on_progress for everything before. May be NULL. */
  void (*on_failure)(void* user, const rngd_error* error);
  void* user;
} rngd_queue_options;

typedef void (*rngd_notify_function)(void* user, uint64_t completed, rngd_status status);

rngd_status rngd_queue_create(rngd_partition* partition, const rngd_queue_options* options, rngd_queue** out,
                              rngd_error* error);
/* Aborts what is left. On return no callback of the queue runs any more. Not from inside a callback. */
void rngd_queue_destroy(rngd_queue* queue);
/* All or none of `count` commands, numbered from *first on (1 for the first ever). Copies everything it is pointed to.
   One thread at a time per queue. Does not ring the doorbell of a sleeping device: rngd_queue_flush() does.
   WOULD_BLOCK, INVALID_ARGUMENT (nothing enqueued), QUEUE_FAILED, DEVICE_LOST. */
rngd_status rngd_queue_submit(rngd_queue* queue, const rngd_command* commands, uint32_t count, uint64_t* first,
                              rngd_error* error);
void rngd_queue_flush(rngd_queue* queue);
/* Commands that submit() would take now. */
uint32_t rngd_queue_space(rngd_queue* queue);
/* The number of the last command done; it only grows. The word may be read with acquire loads while the queue lives. */
uint64_t rngd_queue_completed(const rngd_queue* queue);
const uint64_t* rngd_queue_completed_word(const rngd_queue* queue);
uint64_t rngd_queue_submitted(const rngd_queue* queue);
/* The calling thread does the device's work, as far as there is some, until `value` is completed or the time has
   passed; it ends the piece of work that it is in. Never blocks. */
void rngd_queue_help(rngd_queue* queue, uint64_t value, uint64_t within_ns);
/* Flushes, helps, then sleeps. TIMEOUT, QUEUE_FAILED if the value will never come, DEVICE_LOST. */
rngd_status rngd_queue_wait(rngd_queue* queue, uint64_t value, uint64_t timeout_ns);
/* One callback when `value` is completed or the queue fails. A second notify replaces the first. REACHED. */
rngd_status rngd_queue_notify(rngd_queue* queue, uint64_t value, rngd_notify_function function, void* user);
/* A file descriptor that becomes readable whenever commands have completed. Owned by the queue. -1 if there is none. */
int rngd_queue_eventfd(rngd_queue* queue);
/* QUEUE_FAILED and the cause, or OK. */
rngd_status rngd_queue_error(rngd_queue* queue, rngd_error* out);
/* Drops what has not begun. The queue fails with ABORTED at the first command that was dropped, if any. */
rngd_status rngd_queue_abort(rngd_queue* queue, rngd_error* error);
/* Skips what has not begun, now and from now on: skipped commands count as completed, in order. Never blocks. */
void rngd_queue_cancel(rngd_queue* queue);
/* Makes a failed queue usable: all its commands count as completed. */
rngd_status rngd_queue_reset(rngd_queue* queue, rngd_error* error);

/* ---- programs ---- */

typedef struct rngd_binding_info {
  char name[64]; /* cut if longer */
  uint32_t output;
  uint32_t dtype; /* 2 f32, 4 bf16, 8 i32, 11 u8, 12 bool */
  uint32_t rank;
  uint32_t reserved;
  int64_t dims[8];
  uint64_t bytes;
} rngd_binding_info;

typedef struct rngd_program_info {
  uint32_t pe_count, binding_count, input_count, op_count;
  uint64_t constant_bytes, sram_bytes, scratch_bytes; /* scratch_bytes > 0: one more binding, last, aligned to 64 */
} rngd_program_info;

/* Verifies an rngd.image without a device. PROGRAM_REJECTED names field and byte. */
rngd_status rngd_image_check(const void* bytes, uint64_t size, rngd_program_info* out, rngd_error* error);
/* The card's firmware verifies the image again. Constants go to the partition's HBM. */
rngd_status rngd_program_load(rngd_partition* partition, const void* bytes, uint64_t size, rngd_program** out,
                              rngd_error* error);
void rngd_program_unload(rngd_program* program);
/* The device's number for it, as in rngd_error and rngd_fault. */
uint32_t rngd_program_id(const rngd_program* program);
void rngd_program_get_info(const rngd_program* program, rngd_program_info* out);
rngd_status rngd_program_get_binding(const rngd_program* program, uint32_t index, rngd_binding_info* out);

#ifdef __cplusplus
}
#endif
#endif
