/* SPDX-License-Identifier: Apache-2.0 */
/* Set by hand, so that tables read as tables. */
/* clang-format off */
/**
 * The border: what a driver gives to the core, and what it gets.
 *
 * A driver executes; the core orders. Waits, signals, deferral, failure propagation, deadlines and argument checks happen
 * above this header, so a driver never sees a point or a timeline of somebody else. It offers lanes:
 *
 *   - A lane is in order and asynchronous. The core numbers its commands 1, 2, 3, ... without gaps and hands them over
 *     with submit(), which never blocks and takes what fits.
 *   - The driver executes them in that order (or so that nobody can tell), and publishes the number of the last one done
 *     with hal_lane_publish(). That is all the synchronisation there is.
 *   - A command that goes wrong is reported once with hal_lane_fail(). Nothing after it on that lane executes or is
 *     published.
 *
 * A driver is one shared object that exports one symbol, hal_driver_entry(). Every call goes through one table, so a layer
 * (validation, trace, fault injection) is a driver that wraps a driver. docs/porting.md walks backends/template.
 *
 * No function of the table may throw or end the process. Out of hal_driver_entry(), device_count(), device_describe(), program_check() and
 * every entry that returns hal_error* an exception becomes an error that names driver and entry; out of any other it ends the program.
 *
 * Required entries are marked so; a null optional entry means "this device does without", never a crash. Entries that go
 * together are there together, or the driver is refused. Entries are only ever appended; one that a table ends inside of is
 * none.
 */
#ifndef HAL_DRIVER_H
#define HAL_DRIVER_H

#include "hal/hal.h"

#if defined(__cplusplus)
extern "C" {
#endif

#define HAL_DRIVER_ABI_MAJOR 1
#define HAL_DRIVER_ABI_MINOR 1

typedef struct hal_driver_ops hal_driver_ops;
typedef struct hal_host_api hal_host_api;

/** The head of a driver's own instance struct. The core may point `ops` at its own completed copy of the table. */
typedef struct hal_driver {
  const hal_driver_ops* ops;
} hal_driver;

/** The driver's answer to an allocation. `offset` is 0 from the driver; pools that cut blocks set it. */
typedef struct hal_memory {
  void* impl;       /* the driver's own handle */
  void* host;       /* host address of this buffer's byte 0, if plain loads and stores reach it; else NULL */
  uint64_t address; /* device address of this buffer's byte 0; 0 if there is none */
  uint64_t offset;  /* of this buffer's byte 0 inside impl */
  uint64_t bytes;   /* usable bytes */
} hal_memory;

/** The head of every object that hal_retain() and hal_release() take. The core's own; drivers neither read nor write it. */
typedef struct hal_object {
  uint32_t kind;
  uint32_t owners;
  void (*dispose)(struct hal_object* self);
} hal_object;

/* The part of the core's objects that a driver may read. */
struct hal_buffer {
  hal_object object;
  hal_memory memory;
  void* device_impl; /* whose memory this is: compare with your own */
};
struct hal_program {
  hal_object object;
  void* impl;
  void* device_impl;
};
struct hal_peer {
  hal_object object;
  void* impl;
  void* device_impl;
};
struct hal_physical {
  hal_object object;
  void* impl;
  void* device_impl;
};
struct hal_commands {
  hal_object object;
  void* impl; /* NULL: a recording is replayed by the core */
  void* device_impl;
};

/**
 * The shared words of a lane: the head of the driver's own lane struct, zeroed by the driver but for `host`, `core` and
 * `wake_at` = UINT64_MAX. A driver reads and writes both counters with the functions below only.
 */
typedef struct hal_lane {
  uint64_t completed __attribute__((aligned(64))); /* the driver writes: the last command done */
  uint64_t wake_at;                                /* the core writes: call reached() once completed is this high */
  const hal_host_api* host;                        /* as given to hal_driver_entry() */
  void* core;                                      /* as given to lane_create() */
  uint32_t unfenced;                               /* the core writes 1 if it fences all threads when it arms */
} hal_lane;

/** What the core offers to a driver. Every function may be called from any thread. */
struct hal_host_api {
  uint32_t struct_size;
  uint16_t abi_major, abi_minor;

  void (*log)(const hal_host_api* host, hal_log_level level, const char* origin, const char* text);

  /** A setting by name, "HALYARD_CUDA_LIBRARIES": from the environment. NULL if unset. Drivers do not read it themselves. */
  const char* (*setting)(const hal_host_api* host, const char* name);

  hal_error* (*error_create)(const hal_error_info* info);

  /** Someone waits for what the lane just published. Cheap; never calls back into the driver. Hold no lock that submit(),
      help() or notify() takes. */
  void (*reached)(hal_lane* lane);

  /** Command `number` failed; everything before it has been published. Ownership of `error` passes. First call wins. */
  void (*failed)(hal_lane* lane, uint64_t number, hal_error* error);

  /** The application's allocator for host memory, or NULL: use your own. Lives until the driver's destroy(). */
  const hal_allocator* allocator;
};

/** The first half of hal_lane_publish(), for who can tell the core later: nonzero if host->reached() has to be called.
    Whoever arms wake_at looks at the counter again. If it fences all threads in between (membarrier(2)) a store and a load
    in no order of their own are enough here; otherwise they are in one order with its own. One of the two sides always
    sees the other. */
static inline int hal_lane_count(hal_lane* lane, uint64_t number) {
  if (__atomic_load_n(&lane->unfenced, __ATOMIC_RELAXED) != 0) {
    __atomic_store_n(&lane->completed, number, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
  } else {
    (void)__atomic_exchange_n(&lane->completed, number, __ATOMIC_SEQ_CST);
  }
  return __atomic_load_n(&lane->wake_at, __ATOMIC_SEQ_CST) <= number;
}

/** Publishes that all commands up to `number` are done and their effects are visible to whoever reads the counter; tells
    the core if somebody waits for that. */
static inline void hal_lane_publish(hal_lane* lane, uint64_t number) {
  if (hal_lane_count(lane, number)) { lane->host->reached(lane); }
}

static inline uint64_t hal_lane_completed(const hal_lane* lane) {
  return __atomic_load_n(&lane->completed, __ATOMIC_ACQUIRE);
}

static inline void hal_lane_fail(hal_lane* lane, uint64_t number, hal_error* error) {
  lane->host->failed(lane, number, error);
}

/** What to open: the i-th device as enumerated, the part of the URI behind '/' and the one behind '?', "" if absent. */
typedef struct hal_device_request {
  uint32_t index;
  uint32_t reserved;
  const char* part;
  const char* params;
} hal_device_request;

/** What the core must know of an open device. */
typedef struct hal_device_traits {
  void* impl;
  uint32_t ops;          /* bit n: this device executes hal_op n. CALL, FREE and EXECUTE are the core's own */
  uint32_t max_batch;    /* the most commands one submit() may be given; 0 = any */
  uint64_t memory_bytes;
  hal_device_info info;  /* strings live until device_close() */
} hal_device_traits;

struct hal_driver_ops {
  uint32_t struct_size;
  uint16_t abi_major, abi_minor;
  const char* name; /* the URI's scheme */

  /* -- driver -- */
  /** Required. Last call on this driver: all its devices are closed. */
  void (*destroy)(hal_driver* self);
  /** Required. Cheap: no device is opened, no heavy library is loaded. Asked once, when an instance is made. */
  uint32_t (*device_count)(hal_driver* self);
  /** Required. Fills everything but `driver`. `uri` may be NULL for "<name>:<i>", or name a part ("rngd:0/pe0-3"). */
  void (*device_describe)(hal_driver* self, uint32_t i, hal_device_info* out);
  /** Required. Errors: NOT_FOUND, UNAVAILABLE, BUSY, INVALID_ARGUMENT for parts and params it does not know. */
  hal_error* (*device_open)(hal_driver* self, const hal_device_request* request, hal_device_traits* out);
  /** Required. All lanes, memory and programs of the device are gone. */
  void (*device_close)(hal_driver* self, void* device);
  /** Required. Strings live until device_close(). */
  hal_verdict (*supports)(hal_driver* self, void* device, const char* feature);

  /* -- memory -- */
  /** Required. bytes > 0. Errors: OUT_OF_DEVICE_MEMORY with asked, free and largest block in the text. */
  hal_error* (*memory_allocate)(hal_driver* self, void* device, uint64_t bytes, hal_memory* out);
  /** Required. No command that uses it is left. */
  void (*memory_free)(hal_driver* self, void* device, const hal_memory* memory);

  /* -- lanes -- */
  /** Required. `core` goes into the lane's head. `out` gets a lane, or there is an error. */
  hal_error* (*lane_create)(hal_driver* self, void* device, const char* label, void* core, hal_lane** out);
  /** Required. All commands are published, or the lane has failed. On return no publish or host call of this
      lane is still running. Never called from inside a host call. */
  void (*lane_destroy)(hal_driver* self, void* device, hal_lane* lane);
  /**
   * Required. Takes a prefix of the commands, numbered first, first+1, ..., and returns how many: fewer than `count` when
   * the lane is full just now; the core comes again after the next publish, so at least one command must then be in
   * flight. Never blocks. Calls on one lane are serialised by the core. Everything pointed to (args) is copied before
   * return. Slices are resolved: a buffer is this device's own, NULL is host memory; never a slot, never zero length.
   */
  uint32_t (*submit)(hal_driver* self, hal_lane* lane, uint64_t first, const hal_command* commands, uint32_t count);

  /* -- programs -- */
  /** Required. Would this image load? Bytes may be hostile. The reason lives until device_close(). */
  hal_verdict (*program_check)(hal_driver* self, void* device, const hal_image* image);
  /** Required. `signatures` are the core's reading of manifest or graph, already verified. `out` may stay NULL where the driver
      needs nothing of its own: program_unload() is then not called. */
  hal_error* (*program_load)(hal_driver* self, void* device, const hal_image* image, const hal_signature* signatures,
                             uint32_t signature_count, void** out);
  /** Required. */
  void (*program_unload)(hal_driver* self, void* device, void* program);

  /* -- optional -- */
  /** A declared number, as hal_device_number(). Returns 1 if known. */
  uint32_t (*number)(hal_driver* self, void* device, const char* name, uint64_t* out);
  /** Rings doorbells that submit() held back. */
  void (*flush)(hal_driver* self, hal_lane* lane);
  /** The core has set wake_at and will sleep: make sure that a publish comes without further calls. Implies flush. */
  void (*notify)(hal_driver* self, hal_lane* lane);
  /** A thread that waits for `within_ns` (ns, never 0) lends itself: execute what can be executed now, up to `number`, and
      return, begin nothing that is likely to end after that time, and come back once it has passed. May do nothing. */
  void (*help)(hal_driver* self, hal_lane* lane, uint64_t number, uint64_t within_ns);
  /** Makes what is submitted to `lane` from now on wait on the device for `number` of `other`, a lane of the same device
      whose command `number` is usually submitted already. Returns 0 if it cannot, and the core then defers. Only order is
      handed over: the core says that a command behind the wait is reached once `lane` has published it and `other`'s
      number is known to be good, and fails it otherwise. If `other` fails or is cancelled before `number`, the driver
      ends the wait: what is behind it may then execute or be skipped, and is published, or the lane fails. */
  uint32_t (*lane_wait)(hal_driver* self, hal_lane* lane, hal_lane* other, uint64_t number);
  /** Commands of this lane that have not begun are skipped from now on, but still published in order, so that the core
      learns when the device is done with their memory. Never blocks. */
  void (*lane_cancel)(hal_driver* self, hal_lane* lane);
  /** JSON text about the device, made with malloc(). */
  hal_error* (*report)(hal_driver* self, void* device, char** out);

  /* -- optional: fabric ports. peer_connect and peer_close: both or none. -- */
  hal_error* (*memory_export)(hal_driver* self, void* device, const hal_memory* memory, hal_remote* out);
  hal_error* (*address)(hal_driver* self, void* device, const void** out_bytes, uint64_t* out_size);
  hal_error* (*peer_connect)(hal_driver* self, void* device, const void* address, uint64_t size, uint32_t rank, void** out);
  void (*peer_close)(hal_driver* self, void* device, void* peer);

  /* -- optional: host memory of the caller ("import.host"). Both or none. -- */
  /** bytes > 0, the range does not wrap. Errors: as the driver has them. */
  hal_error* (*memory_import)(hal_driver* self, void* device, void* address, uint64_t bytes, hal_memory* out);
  /** No command that uses it is left. The bytes stay the caller's. */
  void (*memory_unimport)(hal_driver* self, void* device, const hal_memory* memory);

  /* -- optional: virtual memory ("virtual-memory"). All seven or none; number() declares "virtual.granularity". Offsets and
        lengths are multiples of it and lie inside; calls on one range are serialised. -- */
  /** Addresses without memory. Errors: OUT_OF_DEVICE_MEMORY. */
  hal_error* (*range_reserve)(hal_driver* self, void* device, uint64_t bytes, hal_memory* out);
  /** Nothing is mapped in it any more. */
  void (*range_release)(hal_driver* self, void* device, const hal_memory* range);
  /** Nothing is mapped there. access is READ or READ_WRITE. */
  hal_error* (*range_map)(hal_driver* self, void* device, const hal_memory* range, uint64_t offset, void* physical,
                          uint64_t from, uint64_t bytes, hal_access access);
  /** All of it is mapped. No command that uses it is left. */
  hal_error* (*range_protect)(hal_driver* self, void* device, const hal_memory* range, uint64_t offset, uint64_t bytes,
                              hal_access access);
  /** All of it is mapped. No command that uses it is left. */
  void (*range_unmap)(hal_driver* self, void* device, const hal_memory* range, uint64_t offset, uint64_t bytes);
  /** Memory of zeros. Errors: OUT_OF_DEVICE_MEMORY with asked, free and largest block in the text. */
  hal_error* (*physical_create)(hal_driver* self, void* device, uint64_t bytes, void** out);
  /** No mapping of it is left. */
  void (*physical_free)(hal_driver* self, void* device, void* physical);

  /* -- optional: sharing physical memory ("share.fd"). Both or none. -- */
  hal_error* (*physical_export_fd)(hal_driver* self, void* device, void* physical, int* out);
  /** The descriptor stays the caller's. Errors: INVALID_ARGUMENT. */
  hal_error* (*physical_import_fd)(hal_driver* self, void* device, int fd, uint64_t bytes, void** out);

  /* -- optional: compiled programs -- */
  /** The program's own form, made with malloc(), which program_check() and program_load() take back as an image of the format
      "<name>.cache", with the same signatures, on devices with the same name, driver file and program_key(). Such bytes may
      be hostile all the same. Errors: UNSUPPORTED  this program has none. */
  hal_error* (*program_serialize)(hal_driver* self, void* device, void* program, void** out_bytes, uint64_t* out_size);
  /** What else decides whether that form still fits: the vendor library's version, options of this device. NULL entry:
      loading an image costs no more than loading its serialised form, so the core caches nothing. Lives until
      device_close(). */
  const char* (*program_key)(hal_driver* self, void* device);
};

/**
 * The one symbol of a driver. Makes the driver, or says why it cannot be used here: UNAVAILABLE when a vendor library is
 * missing, INCOMPATIBLE when host->abi_major is not the driver's. Must not throw, exit, print or start threads.
 */
typedef hal_error* (*hal_driver_entry_function)(const hal_host_api* host, hal_driver** out);
#define HAL_DRIVER_ENTRY "hal_driver_entry"

#if defined(__cplusplus)
}
#endif
#endif
