/* SPDX-License-Identifier: Apache-2.0 */
/* Set by hand, so that tables read as tables. */
/* clang-format off */
/**
 * Halyard: one device API for accelerators that have nothing in common.
 *
 * The tour, in five sentences. An Instance loads drivers and lists devices by URI. A Device makes buffers, programs and
 * queues. A Queue is an in-order lane that owns a Timeline; each submission is an array of plain `hal_command` values,
 * waits for points, signals points, and returns its own Point. A Point is a timeline and a value; anybody may wait for it,
 * on the host or on any queue of any device, before or after it was signalled. Every failure is a `hal_error` that says
 * what was asked, what was found, where, and what to try.
 *
 * Rules for the whole header
 *   Results    Every function that can fail returns `hal_error*`: NULL is success. The caller owns the error and passes it
 *              to hal_release(). On failure no output is written unless its comment says so.
 *   Objects    Handles are counted: whoever makes or retains one calls hal_release() once. Releasing an object that
 *              submitted work still uses is legal; its storage lives until that work is done.
 *   Pointers   NULL for a pointer that a comment does not call optional is INVALID_ARGUMENT.
 *   Threads    Every function may be called from any thread at any time, on shared objects too, unless it says otherwise.
 *              Submissions to one queue from several threads are ordered as the calls return.
 *   Time       Durations are nanoseconds. HAL_FOREVER as a deadline is refused where a deadline is asked for: every wait
 *              ends. A host kernel that the waiting thread itself is running ends first (docs/ordering.md, ORD-15).
 *   Text       Strings are UTF-8 and end in NUL. A returned `const char*` lives as long as the object it came from.
 *
 * The C++20 face of the same calls is hal/hal.hpp. What a driver implements is hal/driver.h.
 */
#ifndef HAL_HAL_H
#define HAL_HAL_H

#include <stdint.h>

#if defined(__cplusplus)
#define HAL_NODISCARD [[nodiscard]]
extern "C" {
#else
#define HAL_NODISCARD __attribute__((warn_unused_result))
#endif
#define HAL_API __attribute__((visibility("default")))
/* For members that came later: a C++ initialiser of the older ones alone is complete. */
#if defined(__cplusplus)
#define HAL_ELSE(value) = value
#else
#define HAL_ELSE(value)
#endif

typedef struct hal_instance hal_instance;
typedef struct hal_device hal_device;
typedef struct hal_queue hal_queue;
typedef struct hal_timeline hal_timeline;
typedef struct hal_buffer hal_buffer;
typedef struct hal_pool hal_pool;
typedef struct hal_program hal_program;
typedef struct hal_commands hal_commands;
typedef struct hal_peer hal_peer;
typedef struct hal_physical hal_physical;
typedef struct hal_error hal_error;

/* ------------------------------------------------------------------------------------------------------------ objects */

/** Adds one owner to any object of this header, errors included. Returns its argument. NULL is allowed. */
HAL_API void* hal_retain(void* object);

/**
 * Takes one owner from any object of this header. NULL is allowed.
 *
 * Never fails, and never waits for submitted work or for functions of the caller's. A queue that still has work drains it first; a buffer, program or recording that work
 * still uses lives until that work is done; what waits for a timeline whose last owner goes fails with CANCELLED, because
 * nobody could signal it any more. The instance goes when the last object made from it has gone; whoever lets go of that
 * waits while the threads of the library end, which have nothing left to do then. In a host function or another callback
 * objects may be released too: what must not end there ends on another thread, and the function's own thread after it.
 */
HAL_API void hal_release(void* object);

/**
 * Names an object: errors of the core, the layers and the trace show the name. The text is copied; the last one counts.
 * Errors   INVALID_ARGUMENT  object is an error, or no object of this header
 */
HAL_NODISCARD HAL_API hal_error* hal_object_set_label(void* object, const char* label);

/**
 * Opens and closes a range of the application on the calling thread: "epoch 3", "decode". Errors made inside show the open
 * ranges, and layers of `instance` (optional) put them on the thread's row. `label` must be a literal or outlive the
 * instance. Ranges nest; beyond 16 deep they are counted, not shown. An end without a begin does nothing.
 */
HAL_API void hal_range_begin(hal_instance* instance, const char* label);
HAL_API void hal_range_end(hal_instance* instance);

/* ------------------------------------------------------------------------------------------------------------- errors */

typedef enum hal_code {
  HAL_OK = 0,
  HAL_INVALID_ARGUMENT = 1,      /* the call itself is wrong; nothing happened */
  HAL_OUT_OF_RANGE = 2,          /* a range ends outside its object */
  HAL_NOT_FOUND = 3,             /* a name, URI, file or entry does not exist */
  HAL_UNSUPPORTED = 4,           /* this device cannot do it; the text says why */
  HAL_UNAVAILABLE = 5,           /* it could, but something outside is missing or refuses */
  HAL_BUSY = 6,                  /* somebody holds it exclusively */
  HAL_WOULD_BLOCK = 7,           /* the declared limit of pending work is reached; nothing was submitted */
  HAL_OUT_OF_HOST_MEMORY = 8,
  HAL_OUT_OF_DEVICE_MEMORY = 9,  /* the text has the bytes asked for, free, and the largest block */
  HAL_DEADLINE_EXCEEDED = 10,    /* the wait ended; the work goes on */
  HAL_CANCELLED = 11,
  HAL_DEVICE_LOST = 12,
  HAL_PEER_LOST = 13,
  HAL_INVALID_IMAGE = 14,        /* bytes that are not what they claim to be; the text names field and offset */
  HAL_INCOMPATIBLE = 15,         /* well formed, but for another version or target */
  HAL_EXECUTION_FAILED = 16,     /* the device reported that the work itself went wrong */
  HAL_INTERNAL = 17              /* a rule of ours was broken; please report it */
} hal_code;

/** A place in a caller's source. Strings must be literals or outlive the instance. */
typedef struct hal_site {
  const char* file;
  const char* function;
  uint32_t line;
  uint32_t reserved;
} hal_site;

/** Names the place in the caller's source from which this thread makes its next object; layers show it. The C++ face calls
    it. `where` is read during the call; NULL forgets. */
HAL_API void hal_here(const hal_site* where);

/** What an error holds. Unknown strings are empty, never NULL. */
typedef struct hal_error_info {
  hal_code code;
  const char* what;        /* one sentence: what was asked, what was found, what to try */
  const char* origin;      /* who found it: "core", or a driver's name */
  const char* vendor_name; /* the vendor's own name of its code, such as CUDA_ERROR_INVALID_VALUE */
  int64_t vendor_code;     /* the vendor's own number; meaningful if vendor_name is not empty */
  hal_site where;          /* the call site of the submission or call that failed, if known */
  const hal_error* cause;  /* the first failure behind this one, or NULL; owned by the error */
} hal_error_info;

/** The constant's name, "INVALID_ARGUMENT"; "UNKNOWN_CODE" for any other number. */
HAL_API const char* hal_code_name(hal_code code);

/**
 * Makes an error. `cause` may be NULL; the new error takes over the caller's ownership of it.
 * The code OK is no error's: it becomes INTERNAL. Never returns NULL: if the host has no memory for it, `cause` comes back
 * where it has the same code, else a static error of that code whose text says no more than that.
 */
HAL_NODISCARD HAL_API hal_error* hal_error_create(const hal_error_info* info);

/** Reads an error without taking ownership. Strings live as long as the error. NULL gives HAL_OK and empty strings. */
HAL_API hal_error_info hal_error_describe(const hal_error* error);

/** The whole story, several lines, newest first: sentence, vendor's name and number, call site, then each cause. */
HAL_API const char* hal_error_text(const hal_error* error);

/* ------------------------------------------------------------------------------------------------------------- values */

typedef enum hal_dtype {
  HAL_F64 = 1, HAL_F32 = 2, HAL_F16 = 3, HAL_BF16 = 4, HAL_F8E4M3 = 5, HAL_F8E5M2 = 6,
  HAL_I64 = 7, HAL_I32 = 8, HAL_I8 = 9, HAL_I4 = 10, HAL_U8 = 11, HAL_BOOL = 12, HAL_U32 = 13, HAL_U64 = 14
} hal_dtype;

/** A timeline and a value. {NULL, 0} is always reached, another value of no timeline INVALID_ARGUMENT. A Point owns nothing. */
typedef struct hal_point {
  hal_timeline* timeline;
  uint64_t value;
} hal_point;

/**
 * A range of bytes: of a buffer, of host memory (buffer NULL: `offset` is the address), or of a recording's numbered slot
 * (hal_slot()). Host memory must stay valid until the submission's point is reached.
 */
typedef struct hal_slice {
  hal_buffer* buffer;
  uint64_t offset;
  uint64_t length;
} hal_slice;

static inline hal_slice hal_host(const void* address, uint64_t length) {
  hal_slice slice = {(hal_buffer*)0, (uint64_t)(uintptr_t)address, length};
  return slice;
}

/** As the length of a slot's range: up to the end of the slice that replay gives. */
#define HAL_REST UINT64_MAX

/** A range inside whatever slice the n-th slot is given at replay. Odd addresses cannot be buffers, so they name slots. */
static inline hal_slice hal_slot(uint32_t number, uint64_t offset, uint64_t length) {
  hal_slice slice = {(hal_buffer*)((uintptr_t)number * 2U + 1U), offset, length};
  return slice;
}

/**
 * What a submission waits for, what it signals besides its own timeline, and where it was called. All optional.
 *
 * Several submissions may be to signal one timeline: a value is reached once any that signals it or more is good, and lost,
 * which fails the timeline, once one of those has failed and no other submitted by then is left (docs/ordering.md, ORD-21).
 */
typedef struct hal_sync {
  const hal_point* waits;
  const hal_point* signals;
  uint32_t wait_count;
  uint32_t signal_count;
  const hal_site* where;
} hal_sync;

/** Work groups and the size of each. A group size of zeros means the entry's own. Shared bytes are added per group. */
typedef struct hal_grid {
  uint32_t groups[3];
  uint32_t group_size[3];
  uint32_t shared_bytes;
} hal_grid;

typedef enum hal_arg_kind { HAL_ARG_BUFFER = 1, HAL_ARG_SCALAR = 2, HAL_ARG_SLOT = 3 } hal_arg_kind;

/**
 * One argument of a run: a slice for buffers and tensors, or up to 16 bytes of scalar. Captured at submission. In a
 * recording a scalar may be HAL_ARG_SLOT: `value.slice` is hal_slot(n, offset, size), and each replay reads the scalar,
 * during the call, from the host memory that its table gives for slot n: hal_host(&value, sizeof value).
 */
typedef struct hal_arg {
  uint32_t kind; /* hal_arg_kind */
  uint32_t size; /* scalar and scalar slot: bytes used */
  union {
    hal_slice slice;
    unsigned char scalar[16];
  } value;
} hal_arg;

/** Memory of a peer, as its owner exported it with hal_buffer_export(). A plain value: send it by any means. */
typedef struct hal_remote {
  uint64_t key;
  uint64_t address;
  uint64_t length;
} hal_remote;

/* ----------------------------------------------------------------------------------------------------------- commands */

typedef enum hal_op {
  HAL_OP_BARRIER = 0,   /* nothing but its waits and signals */
  HAL_OP_FILL = 1,      /* repeats a 1, 2, 4 or 8 byte pattern over `to`; the length is a multiple of it */
  HAL_OP_COPY = 2,      /* moves from.length bytes; equal lengths; overlap inside one buffer is refused */
  HAL_OP_RUN = 3,       /* one entry of a program: a kernel (needs a grid) or a tensor graph (refuses one) */
  HAL_OP_PREPARE = 4,   /* lets the device move constants and warm up an entry before its first run */
  HAL_OP_EXECUTE = 5,   /* replays a recording with slots */
  HAL_OP_CALL = 6,      /* a host function, in queue order, on a thread of the core */
  HAL_OP_PUT = 7,       /* local bytes into a peer's memory */
  HAL_OP_GET = 8,       /* a peer's memory into local bytes */
  HAL_OP_SEND = 9,      /* a tagged message */
  HAL_OP_RECV = 10,     /* the matching message; shorter is OUT_OF_RANGE, never cut silently */
  HAL_OP_TIMESTAMP = 11,/* writes the device's clock, a uint64_t in ns, to `to` (8 bytes) */
  HAL_OP_CIRCUIT = 12,  /* sets a named permutation of light paths */
  HAL_OP_FREE = 13,     /* returns a buffer to its pool once this point is reached */
  HAL_OP_COUNT = 14
} hal_op;

/**
 * A host function of HAL_OP_CALL. It may wait: an instance adds threads for those that do, at most 4,096 or what the system
 * gives; beyond that a function waits for another to return, and a deadline says so.
 * Called exactly once after a successful submit: with `failure` NULL in queue order, or with
 * the queue's failure (borrowed) if it will never be its turn, so that it can release what `user` holds. May call any
 * function of this header except waits for its own queue's later work. Returns NULL or an error, which fails the queue and
 * whose ownership passes; the result is ignored (and released) if `failure` was given. It must not throw a C++ exception,
 * and neither may any other function that this header is given: there is nobody to catch it, and the program ends.
 */
typedef hal_error* (*hal_host_function)(void* user, const hal_error* failure);

/** One piece of work, as a value. The queue copies it (arguments too) at submission, so it may be reused at once. */
typedef struct hal_command {
  uint32_t op;       /* hal_op */
  uint32_t by_slot;  /* 0; in a recording n + 1 where slot n gives the command's value: hal_by_slot() sets it */
  const char* label; /* optional; shown in errors and traces; must outlive the work */
  union {
    struct { hal_slice to; uint64_t pattern; uint64_t pattern_bytes; } fill;
    struct { hal_slice to; hal_slice from; } copy;
    /* One argument for each parameter. An entry with symbols takes their extents behind them, as i64 scalars in the order
       of the symbols; they may be left out where the lengths of the slices say them. Prepare: all of them or none, and no grid.
       In a recording extents may be HAL_ARG_SLOT, of both. */
    struct { hal_program* program; const hal_arg* args; uint32_t entry; uint32_t arg_count; hal_grid grid;
             uint32_t has_grid; } run;
    struct { hal_commands* commands; const hal_slice* slots; uint64_t slot_count; } execute;
    struct { hal_host_function function; void* user; } call;
    struct { hal_peer* peer; hal_slice local; hal_remote remote; } transfer; /* put, get */
    struct { hal_peer* peer; hal_slice local; uint64_t tag; } message;       /* send, recv */
    struct { hal_slice to; } timestamp;
    struct { const char* permutation; } circuit;
    struct { hal_buffer* buffer; } free;
  } as;
} hal_command;

/**
 * In a recording: lets slot `number` give what of this command is neither a slice nor an argument, its value: the pattern of a
 * FILL, the grid of a kernel's RUN (a hal_grid), the remote memory of a PUT or GET (a hal_remote), the tag of a SEND or RECV
 * (8 bytes). The value that stands there is lost. Each replay reads as many bytes, during the call, from `offset` on in the host
 * memory that its table gives for the slot, and checks the value then. Other commands have no such value, and are refused.
 */
static inline void hal_by_slot(hal_command* command, uint32_t number, uint64_t offset) {
  command->by_slot = number + 1U;
  switch (command->op) { /* the offset stands in the first 8 bytes of the value */
    case HAL_OP_FILL: command->as.fill.pattern = offset; break;
    case HAL_OP_RUN:
      command->as.run.grid.groups[0] = (uint32_t)offset;
      command->as.run.grid.groups[1] = (uint32_t)(offset >> 32);
      command->as.run.has_grid = 1;
      break;
    case HAL_OP_PUT:
    case HAL_OP_GET: command->as.transfer.remote.key = offset; break;
    case HAL_OP_SEND:
    case HAL_OP_RECV: command->as.message.tag = offset; break;
    default: break;
  }
}

/* ----------------------------------------------------------------------------------------------------------- instance */

typedef enum hal_log_level { HAL_LOG_ERROR = 1, HAL_LOG_WARNING = 2, HAL_LOG_INFO = 3, HAL_LOG_DEBUG = 4 } hal_log_level;
typedef void (*hal_log_function)(void* user, hal_log_level level, const char* origin, const char* text);

/**
 * Where host memory comes from: buffers of the host device, staging memory, pools' blocks, recordings, work held back, and
 * every object of this header but errors. Small texts and lists, threads, and mapped memory (hal_physical) do not pass here.
 *
 * `allocate` returns `bytes` bytes aligned to `alignment` (a power of two, at most 4,096), or NULL: the call then fails with
 * OUT_OF_HOST_MEMORY. `deallocate` gets the same numbers back. Both are called from any thread, perhaps with locks of the
 * core held: they must not call this header, block or throw, and must work until the instance has gone.
 */
typedef struct hal_allocator {
  void* user;
  void* (*allocate)(void* user, uint64_t bytes, uint64_t alignment);
  void (*deallocate)(void* user, void* address, uint64_t bytes, uint64_t alignment);
} hal_allocator;

typedef struct hal_instance_desc {
  uint32_t struct_size;     /* sizeof(hal_instance_desc) */
  uint32_t pending_limit;   /* submissions a queue may hold back before WOULD_BLOCK; 0 = 65,536 */
  const char* drivers;      /* ':'-separated driver names or paths; NULL: HALYARD_DRIVERS, else all that are found */
  hal_log_function log;     /* gets what HALYARD_LOG lets pass (unset: warnings and errors), from any thread, perhaps several at
                               once; must not throw. NULL: standard error */
  void* log_user;
  const char* layers;       /* ','-separated "name" or "name=argument", as docs/layers.md lists them; the first is nearest to
                               the caller. NULL: HALYARD_LAYERS, else none. A struct_size that ends before `layers`,
                               `allocator` or `cache` is known too: what is missing is NULL or 0 */
  const hal_allocator* allocator; /* NULL: the C library's; copied */
  const char* cache;        /* folder for compiled programs (docs/programs.md); "": none; NULL: HALYARD_CACHE, else none */
  uint64_t cache_bytes;     /* bound of that folder; the files used longest ago go. 0: HALYARD_CACHE_MIB, else 1 GiB */
} hal_instance_desc;

/**
 * Loads drivers and lists devices. `desc` may be NULL for the defaults.
 *
 * A driver or device that cannot be used is not an error: it is listed by hal_instance_report() with the reason.
 * Errors   INVALID_ARGUMENT  struct_size is not one this library knows; `layers` names no layer, or gives one an argument
 *                            that it does not take (in HALYARD_LAYERS that is a warning, and no layer is used); the allocator
 *                            lacks a function
 *          OUT_OF_HOST_MEMORY
 */
HAL_NODISCARD HAL_API hal_error* hal_instance_create(const hal_instance_desc* desc, hal_instance** out);

/** One device as discovery saw it. */
typedef struct hal_device_info {
  const char* uri;         /* what hal_device_open() takes: "cuda:0", "rngd:0/pe0-3" */
  const char* name;        /* the device's own name; says "emulated" if it is */
  const char* driver;      /* the driver that offers it */
  const char* vendor;
  const char* reason;      /* empty if usable, else why not */
  uint64_t memory_bytes;
  uint32_t is_emulated;
  uint32_t usable;
} hal_device_info;

/** How many devices hal_instance_device() lists: driver by driver, each with usable ones first, then real before emulated. */
HAL_API uint32_t hal_instance_device_count(const hal_instance* instance);

/** The i-th device. Errors: OUT_OF_RANGE  i is not below the count. */
HAL_NODISCARD HAL_API hal_error* hal_instance_device(const hal_instance* instance, uint32_t i, hal_device_info* out);

/** Every driver that was tried and what came of it, one line each. Lives as long as the instance. */
HAL_API const char* hal_instance_report(const hal_instance* instance);

/** How many findings the layer `validation` has reported so far; 0 without it. */
HAL_API uint64_t hal_instance_findings(const hal_instance* instance);

/** A variable of the environment that the core, a driver or an emulator reads. `value` is NULL if it is not set. */
typedef struct hal_setting {
  const char* name;
  const char* help;
  const char* value;
} hal_setting;

/** The i-th setting; returns 0, and writes nothing, if i is behind the last. Strings live as long as the environment. */
HAL_API uint32_t hal_setting_describe(uint32_t i, hal_setting* out);

/* ------------------------------------------------------------------------------------------------------------- device */

/**
 * Opens a device by URI, "driver:index[/part][?key=value&...]". Opening the same URI again gives the same device, counted.
 *
 * Errors   INVALID_ARGUMENT  the URI has no driver, or a bad character; the text shows the position
 *          NOT_FOUND         no such driver or device; the text lists what there is
 *          UNAVAILABLE       the device is there but cannot be used, with the reason that discovery gave
 *          BUSY              somebody else holds it exclusively, or a partition that overlaps it is open
 */
HAL_NODISCARD HAL_API hal_error* hal_device_open(hal_instance* instance, const char* uri, hal_device** out);

HAL_API hal_device_info hal_device_describe(const hal_device* device);

typedef enum hal_support { HAL_NO = 0, HAL_YES = 1, HAL_EMULATED = 2 } hal_support;

/** An answer with its reason. `why` is never NULL and lives as long as the device. */
typedef struct hal_verdict {
  hal_support support;
  const char* why;
} hal_verdict;

/**
 * Asks for a capability by name: "kernel", "graph", "graph.dynamic", "constants", "fabric", "timestamp", "host-visible",
 * "partition", "virtual-memory", "import.host", "share.fd", "dtype.bf16", "image.<format>". An unknown name is HAL_NO with
 * "unknown feature". Constant for the life of the device.
 */
HAL_API hal_verdict hal_device_supports(hal_device* device, const char* feature);

/** A number that a device declares: "memory.bytes", "memory.alignment", "queue.limit", "program.cache.hits", ".misses",
    ".rejected" and ".written" (of the instance), "program.lazy_loads" (runs that did what PREPARE would have), "threads"
    (that serve a host device), "partition.units" (how many a device can be divided into), "pci.address" (hal/topology.h);
    docs/ has the drivers' own. Errors: NOT_FOUND  the device declares no such number. */
HAL_NODISCARD HAL_API hal_error* hal_device_number(hal_device* device, const char* name, uint64_t* out);

/* ------------------------------------------------------------------------------------------------------------- memory */

/**
 * Makes a buffer of `bytes` bytes. Contents are undefined.
 *
 * Errors   INVALID_ARGUMENT      bytes is 0
 *          OUT_OF_DEVICE_MEMORY  with bytes asked, free, the largest block, and the budget if there is one
 *          OUT_OF_HOST_MEMORY    the host had no memory for the call itself, or the application's allocator refused
 */
HAL_NODISCARD HAL_API hal_error* hal_buffer_create(hal_device* device, uint64_t bytes, hal_buffer** out);

typedef struct hal_buffer_info {
  uint64_t bytes;
  void* host;            /* host address if the host can reach it, else NULL */
  uint64_t address;      /* the device's own address of byte 0; 0 if the device has none to show */
  hal_device* device;    /* not retained */
} hal_buffer_info;

HAL_API hal_buffer_info hal_buffer_describe(const hal_buffer* buffer);

/** Registers a buffer with a fabric port and describes it for a peer. Errors: UNSUPPORTED  the device is no fabric port;
    INVALID_ARGUMENT  the buffer is a range or imported memory. */
HAL_NODISCARD HAL_API hal_error* hal_buffer_export(hal_buffer* buffer, hal_remote* out);

/** Called once, when no work can touch imported memory any more; on a thread of the core or inside hal_release(). */
typedef void (*hal_released_function)(void* user);

/**
 * Makes a buffer of host memory that the caller owns: no byte is copied, both sides see each other's writes as with any
 * host-visible buffer. The memory must stay until `released` (optional) was called: after the last owner's hal_release(), and
 * after work submitted before it. Two buffers over the same bytes are the caller's affair: only copies are checked for overlap.
 *
 * Errors   UNSUPPORTED       the device does not take host memory ("import.host" says why)
 *          INVALID_ARGUMENT  address is NULL, bytes is 0, or the range ends beyond the address space
 *          On error `released` is not called.
 */
HAL_NODISCARD HAL_API hal_error* hal_buffer_import_host(hal_device* device, void* address, uint64_t bytes,
                                                        hal_released_function released, void* user, hal_buffer** out);

/** How a pool is to behave. Zeros are the defaults. */
typedef struct hal_pool_desc {
  uint32_t struct_size;    /* sizeof(hal_pool_desc) */
  uint32_t prefault;       /* 1: the pages of new memory that the host reaches are touched when it is taken, not when used first */
  uint64_t limit_bytes;    /* bounds used plus cached bytes; 0 is no bound */
  uint64_t keep_bytes;     /* cached bytes above this go back to the device as soon as they may; 0 is no bound, 1 keeps nothing */
  uint64_t initial_bytes;  /* taken from the device at once, in one piece, and cut for buffers of any size; stays with the pool */
  const char* label;       /* optional; shown in errors; copied */
} hal_pool_desc;

/** Bytes are those of blocks, which are up to an eighth larger than what was asked for, or more where nothing else was
    left. All numbers are of one moment. */
typedef struct hal_pool_stats {
  uint64_t used_bytes;          /* in live buffers */
  uint64_t cached_bytes;        /* kept for the next allocation, the rest of the initial piece included */
  uint64_t peak_bytes;          /* the most that used_bytes has been */
  uint64_t allocations, hits;   /* buffers asked for; those that needed nothing new from the device */
  uint64_t cooling_bytes;       /* the part of cached_bytes that work still uses */
  uint64_t waste_bytes;         /* the part of used_bytes that nobody asked for */
  uint64_t largest_free_bytes;  /* the largest block that is ready for use */
  uint64_t limit_bytes;         /* the pool's limit, or the device's budget; 0 is none */
  uint64_t waits;               /* hits for which a queue was made to wait for another queue's work */
  uint64_t trims;               /* blocks given back to the device */
  uint64_t failures;            /* buffers refused */
} hal_pool_stats;

/**
 * Makes a pool: it keeps freed memory for the next allocation and knows by point when it may be reused. `desc` may be NULL.
 *
 * What a buffer is made of, in this order: a block that is ready; for hal_queue_alloc() a block that the same queue's order
 * protects, or that a wait of the call protects; new memory; and, where the limit, the budget or the device refuses that, a
 * larger block that order protects, or one at least as large that work of another queue still uses: the queue is then made to
 * wait for that work. Smaller blocks that work still uses are not joined. So a pool never makes queues wait
 * for each other unless the alternative is OUT_OF_DEVICE_MEMORY.
 *
 * Errors   INVALID_ARGUMENT      struct_size is not this header's, prefault is above 1, or initial_bytes is above limit_bytes
 *          OUT_OF_DEVICE_MEMORY  initial_bytes are not to be had
 */
HAL_NODISCARD HAL_API hal_error* hal_pool_create(hal_device* device, const hal_pool_desc* desc, hal_pool** out);
HAL_API hal_pool_stats hal_pool_describe(const hal_pool* pool);

/** Gives cached memory back to the device, down to `keep_bytes`. What work still uses, and the initial piece, stay. */
HAL_API void hal_pool_trim(hal_pool* pool, uint64_t keep_bytes);

/**
 * Bounds what this instance takes from a device in all: buffers, all pools with their caches, physical memory. 0 lifts the bound.
 * What is held above it stays; the next allocation that would need more first takes back every pool's cache, and then is
 * OUT_OF_DEVICE_MEMORY. Imported memory does not count.
 */
HAL_NODISCARD HAL_API hal_error* hal_device_set_budget(hal_device* device, uint64_t bytes);

/** The sums over all pools of a device and the pool behind hal_buffer_create(); peak_bytes is of everything held, caches too. */
HAL_API hal_pool_stats hal_device_memory(const hal_device* device);

/* ----------------------------------------------------------------------------------------------------- virtual memory */

typedef enum hal_access { HAL_ACCESS_NONE = 0, HAL_ACCESS_READ = 1, HAL_ACCESS_READ_WRITE = 2 } hal_access;

/**
 * Reserves a range of addresses, with no memory behind it, as a buffer: slices of it work like any other once memory is mapped
 * there, and are INVALID_ARGUMENT where none is, or for writing where it is read-only. `bytes`, and every offset and length of
 * the calls below, are multiples of hal_device_number("virtual.granularity"). HAL_OP_FREE refuses ranges.
 *
 * Errors   UNSUPPORTED           the device has no virtual memory ("virtual-memory" says why)
 *          INVALID_ARGUMENT      bytes is 0 or no multiple
 *          OUT_OF_DEVICE_MEMORY  no range of addresses is that long
 */
HAL_NODISCARD HAL_API hal_error* hal_virtual_create(hal_device* device, uint64_t bytes, hal_buffer** out);

/** Makes physical memory of zeros, without an address. Errors: as hal_virtual_create(); OUT_OF_DEVICE_MEMORY with the sizes. */
HAL_NODISCARD HAL_API hal_error* hal_physical_create(hal_device* device, uint64_t bytes, hal_physical** out);

/**
 * Maps bytes `from` on of `physical` at `offset` of `range`. The mapping owns the memory. The same memory may be mapped more than
 * once; which of its addresses sees a write first is then ordered by points, as for all work.
 *
 * Errors   INVALID_ARGUMENT  `range` is an ordinary buffer, the two are of different devices, access is NONE or unknown, a number
 *                            is no multiple, or something is mapped there already
 *          OUT_OF_RANGE      it does not fit into the range or the memory
 *          BUSY              what was unmapped there is still used by work submitted before
 */
HAL_NODISCARD HAL_API hal_error* hal_virtual_map(hal_buffer* range, uint64_t offset, hal_physical* physical, uint64_t from,
                                               uint64_t bytes, hal_access access);

/** Changes what new work may do with mapped bytes. Work submitted before is not touched: the device's own protection follows
    when that is done. access may be NONE. Errors: INVALID_ARGUMENT  `range` is an ordinary buffer, access is unknown, a number
    is no multiple, not all of it is mapped, or it cuts a mapping in two; OUT_OF_RANGE. */
HAL_NODISCARD HAL_API hal_error* hal_virtual_protect(hal_buffer* range, uint64_t offset, uint64_t bytes, hal_access access);

/** Takes mappings away from new work. Work submitted before keeps them until it is done, and the memory lives as long. What was
    not mapped is no error. Errors: INVALID_ARGUMENT  `range` is an ordinary buffer, a number is no multiple, or it cuts a
    mapping in two; OUT_OF_RANGE. */
HAL_NODISCARD HAL_API hal_error* hal_virtual_unmap(hal_buffer* range, uint64_t offset, uint64_t bytes);

/** A file descriptor of the memory, the caller's to close, that another device, instance or process imports: all see the same
    bytes. Errors: UNSUPPORTED  ("share.fd" says why), OUT_OF_HOST_MEMORY, UNAVAILABLE  no descriptor is left. */
HAL_NODISCARD HAL_API hal_error* hal_physical_export_fd(hal_physical* physical, int* out);

/** Physical memory out of such a descriptor, which stays the caller's and may be closed after the call.
    Errors: UNSUPPORTED; INVALID_ARGUMENT  fd is not open, is not shareable memory whose size is fixed for good, may not be
    written, or has fewer than `bytes` bytes. */
HAL_NODISCARD HAL_API hal_error* hal_physical_import_fd(hal_device* device, int fd, uint64_t bytes, hal_physical** out);

/* -------------------------------------------------------------------------------------------------------------- queue */

/** Makes an in-order queue. Errors: OUT_OF_HOST_MEMORY, or UNAVAILABLE when the device has no lane left or the system no
    thread. */
HAL_NODISCARD HAL_API hal_error* hal_queue_create(hal_device* device, const char* label, hal_queue** out);

/** The timeline that the queue owns: its value is the number of commands completed. Not retained for the caller. */
HAL_API hal_timeline* hal_queue_timeline(hal_queue* queue);

/**
 * Submits `count` commands as one piece of work: none starts before every wait is reached, all complete in order, then
 * the signals are given. Never blocks, never runs user code. `sync` and `out` may be NULL; count may be 0 only if sync
 * has waits or signals (the same as one barrier).
 *
 * Arguments are checked against program signatures here. If anything is wrong nothing is submitted.
 * Errors   INVALID_ARGUMENT   a command is malformed: the text names the command's index, label and field
 *          OUT_OF_RANGE       a slice ends outside its buffer
 *          UNSUPPORTED        the device cannot do this operation
 *          WOULD_BLOCK        the queue already holds back its declared limit; nothing was lost
 *          OUT_OF_HOST_MEMORY nothing was submitted. Where a lane that is full finds out too late, when the work has its
 *                             numbers already, the queue fails with this code instead
 *          UNAVAILABLE        a host function was given, and the system has no thread to call it on
 *          the queue's first failure, as cause, if the queue has failed
 */
HAL_NODISCARD HAL_API hal_error* hal_queue_submit(hal_queue* queue, const hal_command* commands, uint32_t count,
                                                  const hal_sync* sync, hal_point* out);

/** Allocates in queue order: the buffer may be used, by work and by the host, behind `out`. `out` may be NULL. The queue may
    be made to wait: see hal_pool_create(). Errors: as hal_buffer_create() and hal_queue_submit(); INVALID_ARGUMENT  the pool is
    of another device, or the queue captures. */
HAL_NODISCARD HAL_API hal_error* hal_queue_alloc(hal_queue* queue, hal_pool* pool, uint64_t bytes, const hal_sync* sync,
                                                 hal_buffer** out_buffer, hal_point* out);

/** Tells the device about everything submitted so far. Waiting does it by itself. */
HAL_NODISCARD HAL_API hal_error* hal_queue_flush(hal_queue* queue);

/** Fails every point not yet reached, and the queue itself, with CANCELLED. What runs on the device, or cannot
    be taken back from it, still comes to its end, though its point has failed. Idempotent. */
HAL_API void hal_queue_cancel(hal_queue* queue);

/** The last submissions of a queue, at most 64, oldest first, a line each: numbers, operation, label, arguments of the first
    command, call site, and whether it is done, on the device or held back. Always recorded; errors show the end of it by
    themselves. `out` is the caller's: hal_free_text(). Errors: OUT_OF_HOST_MEMORY. */
HAL_NODISCARD HAL_API hal_error* hal_queue_history(hal_queue* queue, char** out);

/* ----------------------------------------------------------------------------------------------------------- timeline */

/** Makes a timeline that stands at `initial`. Errors: INVALID_ARGUMENT  initial is UINT64_MAX. */
HAL_NODISCARD HAL_API hal_error* hal_timeline_create(hal_instance* instance, uint64_t initial, const char* label,
                                                     hal_timeline** out);

/** Reads the value; on a failed timeline the failure is returned (a counted copy) and `out` holds the last value. */
HAL_NODISCARD HAL_API hal_error* hal_timeline_value(hal_timeline* timeline, uint64_t* out);

/** Signals from the host. Errors: INVALID_ARGUMENT  value is not above the current one, or a queue owns the timeline. A
    signal after failure is ignored. */
HAL_NODISCARD HAL_API hal_error* hal_timeline_signal(hal_timeline* timeline, uint64_t value);

/** Fails a timeline for ever; everything that waits on a higher value fails with `cause`, whose ownership passes. The
    first failure stays. Queue timelines ignore it: use hal_queue_cancel(). */
HAL_API void hal_timeline_fail(hal_timeline* timeline, hal_error* cause);

/** Called once when a value is reached (error NULL) or can no longer be (error borrowed). Runs on a thread of the core.
    Errors: INVALID_ARGUMENT  function is NULL, or it is a point of a capture; UNAVAILABLE  the system gives no thread. The
    function is then not called. */
typedef void (*hal_reached_function)(void* user, const hal_error* error);
HAL_NODISCARD HAL_API hal_error* hal_timeline_on_reached(hal_timeline* timeline, uint64_t value,
                                                         hal_reached_function function, void* user);

/**
 * A file descriptor that becomes readable once the point is reached or can no longer be, for poll(), epoll and event loops.
 * It tells that, and not which: ask hal_wait() with a timeout of 0. It stays readable; there is nothing to read. The
 * zero Point's is readable at once. An eventfd, close-on-exec, the caller's to close, at any time. Until the point is
 * reached the core holds a second descriptor to it, because the caller's number may by then be somebody else's.
 *
 * Errors   UNAVAILABLE       the process or the system has no descriptor left
 *          INVALID_ARGUMENT  the point is of a capture, or has a value and no timeline
 */
HAL_NODISCARD HAL_API hal_error* hal_point_export_fd(hal_point point, int* out);

/**
 * Signals `value` when `fd` becomes readable: an eventfd, a pipe, a socket, a timer, a sync_file. Nothing is read from it.
 * The core keeps a duplicate, so the caller may close its own at once. If the other side hangs up without a byte (of a
 * socket too, whose end alone is readable), or the descriptor reports an error, the timeline fails with UNAVAILABLE. When the
 * timeline's last owner goes, or another signal is already higher, the descriptor is let go without effect. One descriptor
 * may be imported many times.
 *
 * Errors   INVALID_ARGUMENT  value is not above the current one; a queue owns the timeline; fd is not open, is open
 *                            for writing only (the end of a pipe that is written), or is of a kind that cannot be
 *                            waited for (a plain file)
 *          UNAVAILABLE       the process or the system has no descriptor left, or gives no thread
 */
HAL_NODISCARD HAL_API hal_error* hal_timeline_import_fd(hal_timeline* timeline, uint64_t value, int fd);

#define HAL_FOREVER UINT64_MAX
typedef enum hal_wait_mode { HAL_WAIT_ALL = 0, HAL_WAIT_ANY = 1 } hal_wait_mode;

/**
 * Blocks until all points are reached, or any. `timeout_ns` counts from the call; 0 only looks. `which` (optional) gets
 * the index of a reached point in ANY mode. No points: success for ALL, INVALID_ARGUMENT for ANY. A Point owns nothing:
 * the caller keeps the owners of the points' timelines until the call returns.
 *
 * Errors   DEADLINE_EXCEEDED  with every point that is missing, who was to signal it, what that waits for itself, and how it
 *                             ends: a cycle, a signal never submitted or left to the host, a host function that has not
 *                             returned, a full lane, or work on a device, with what that has completed during this wait
 *          INVALID_ARGUMENT   timeout_ns is HAL_FOREVER, mode is unknown, or a point is of a capture or has a value and no timeline
 *          the failure of a point as soon as one of them has failed, for ANY only if none is reached
 */
HAL_NODISCARD HAL_API hal_error* hal_wait(const hal_point* points, uint32_t count, hal_wait_mode mode,
                                          uint64_t timeout_ns, uint32_t* which);

/* ----------------------------------------------------------------------------------------------------------- programs */

/** A specialisation constant: the manifest declares name, type and default, a load may give another value. */
typedef struct hal_constant {
  const char* name;
  hal_dtype dtype;         /* the manifest's; a value of another type is refused, never converted */
  uint32_t size;           /* bytes used, the type's */
  unsigned char value[8];
} hal_constant;

/** A program in some format: "hal.graph", "ptx", "cubin", "rngd.image", "host.functions", "host.so", "hal.bundle", which holds
    several, or "hal.program", which hal_program_serialize() wrote. The manifest, our own text, has the signatures that no
    vendor's binary carries; hal.graph, hal.bundle and hal.program carry their own and take none. All that is pointed to is
    read during the call only. */
typedef struct hal_image {
  const char* format;
  const void* bytes;
  uint64_t size;
  const char* manifest; /* NULL for hal.graph, hal.bundle and hal.program, required else; docs/manifest.md has the grammar */
  const hal_constant* constants HAL_ELSE(nullptr); /* values in place of the manifest's defaults, in any order */
  uint64_t constant_count HAL_ELSE(0);
} hal_image;

typedef enum hal_param_kind { HAL_PARAM_SCALAR = 1, HAL_PARAM_BUFFER = 2, HAL_PARAM_TENSOR = 3 } hal_param_kind;
typedef enum hal_direction { HAL_IN = 1, HAL_OUT = 2, HAL_INOUT = 3 } hal_direction;

typedef struct hal_param {
  const char* name;
  hal_param_kind kind;
  hal_direction direction;
  hal_dtype dtype;
  uint32_t rank;
  int64_t dims[8];    /* tensors, -1 is dynamic; a buffer with rank 0 has any length */
  uint64_t bytes;     /* scalar: exact; tensor: exact, 0 if a dimension is dynamic; buffer: least length, 0 = any */
  uint8_t symbols[8]; /* of each dimension that is -1: which of the entry's symbols it is. Others: 0 */
} hal_param;

typedef enum hal_entry_kind { HAL_KERNEL = 1, HAL_GRAPH = 2 } hal_entry_kind;

typedef struct hal_signature {
  const char* name;
  hal_entry_kind kind;
  uint32_t param_count;
  const hal_param* params;
  uint32_t group_size[3]; /* kernels: used when a grid leaves it 0 */
  uint64_t shared_bytes;
  const char* const* symbols; /* names of the dynamic dimensions; equal names are equal extents */
  uint32_t symbol_count;
} hal_signature;

/** Says whether this device would load an image, without loading it. Never fails: bad bytes are HAL_NO with the reason.
    A bundle is taken if one of its images is; else the reason has one line for each. */
HAL_API hal_verdict hal_device_check(hal_device* device, const hal_image* image);

/**
 * Loads an image.
 *
 * Errors   INVALID_IMAGE     the bytes or the manifest are damaged: field and offset, or line
 *          INCOMPATIBLE      another version or target
 *          UNSUPPORTED       the device does not take this format, or an operation inside it, named; or the manifest
 *                            declares constants and the device denies "constants"
 *          INVALID_ARGUMENT  a constant is unknown, given twice, or not of the declared type: the text lists what there is; or
 *                            a manifest is given with a format that has its own signatures
 */
HAL_NODISCARD HAL_API hal_error* hal_program_load(hal_device* device, const hal_image* image, hal_program** out);

/**
 * Loads the first of several images that the device takes: the order is the caller's preference, the choice is
 * hal_device_check()'s. `chosen` (optional) gets its index. An image that is taken by check and fails to load is an error,
 * not a reason to try the next.
 *
 * Errors   INVALID_ARGUMENT  count is 0
 *          UNSUPPORTED       no image is taken; the text has one line for each, with the reason
 *          as hal_program_load() of the image chosen
 */
HAL_NODISCARD HAL_API hal_error* hal_program_load_any(hal_device* device, const hal_image* images, uint32_t count,
                                                      hal_program** out, uint32_t* chosen);

/**
 * Writes images into one, of the format "hal.bundle": a flat file that is verified before use (docs/programs.md). Constants
 * are not written: they are given when the bundle is loaded, and go to whichever image is chosen. The bytes are the
 * caller's: hal_free_bytes().
 *
 * Errors   INVALID_ARGUMENT  count is 0 or above 64, or an image has no format (or one of more than 63 characters), no bytes,
 *                            constants, or is "hal.bundle" or "host.functions"
 */
HAL_NODISCARD HAL_API hal_error* hal_bundle_create(const hal_image* images, uint32_t count, void** out_bytes,
                                                   uint64_t* out_size);
HAL_API void hal_free_bytes(void* bytes);
HAL_API uint32_t hal_program_entry_count(const hal_program* program);

/** Finds an entry by name. Errors: NOT_FOUND  with the names that exist. */
HAL_NODISCARD HAL_API hal_error* hal_program_entry(const hal_program* program, const char* name, uint32_t* out);

/** The signature of entry i; NULL if i is not below the count. Lives as long as the program. */
HAL_API const hal_signature* hal_program_signature(const hal_program* program, uint32_t i);

/**
 * Writes a loaded program as an image of the format "hal.program": the driver's compiled form, with signatures and
 * constants. It loads on devices of the same driver, version and kind, which is checked. The bytes are the caller's:
 * hal_free_bytes().
 *
 * Errors   UNSUPPORTED  the device has no form of this program that outlives the process
 */
HAL_NODISCARD HAL_API hal_error* hal_program_serialize(const hal_program* program, void** out_bytes, uint64_t* out_size);

/** The i-th specialisation constant with the value that this program was loaded with, in the manifest's order. Returns 0,
    and writes nothing, past the last. The name lives as long as the program. */
HAL_API uint32_t hal_program_constant(const hal_program* program, uint32_t i, hal_constant* out);

/**
 * Records an array of commands for replay. Slices, scalars and a command's value (hal_by_slot()) may name slots 0 to 255. Everything that can be checked
 * without the slots is checked here, once. The recording keeps its programs and buffers alive. It never changes, so any
 * number of threads may replay it at once.
 *
 * An EXECUTE of another recording is recorded as that recording's commands; its table may name slots of this one. A
 * recording holds at most 16,777,216 commands, and 32 levels of others.
 *
 * Errors   as hal_queue_submit(), and INVALID_ARGUMENT for CALL, FREE, and recordings that are too long or too deep
 */
HAL_NODISCARD HAL_API hal_error* hal_commands_create(hal_device* device, const hal_command* commands, uint32_t count,
                                                     hal_commands** out);

/**
 * From here to hal_queue_capture_end(), what any thread submits to this queue is recorded and does not run. Slots are
 * allowed, as in hal_commands_create(). A captured submission returns a point by which later submissions of the same
 * capture may wait, which means nothing more than their order; anything else refuses it.
 *
 * What cannot be captured is refused with INVALID_ARGUMENT at its verb, and the capture is then spoilt: CALL, FREE,
 * hal_queue_alloc(), waits for points from outside, signals.
 *
 * Errors   INVALID_ARGUMENT  the queue captures already
 *          the queue's first failure, as cause, if the queue has failed
 */
HAL_NODISCARD HAL_API hal_error* hal_queue_capture_begin(hal_queue* queue);

/** Ends a capture, in any case, and gives the recording. Errors: INVALID_ARGUMENT  the queue captures nothing, or, with that as
    cause, a submission could not be captured; of a queue that has failed its failure. */
HAL_NODISCARD HAL_API hal_error* hal_queue_capture_end(hal_queue* queue, hal_commands** out);

/* ------------------------------------------------------------------------------------------------------------- fabric */

/** The address by which other processes connect to a fabric port; valid until the device closes. Errors: UNSUPPORTED. */
HAL_NODISCARD HAL_API hal_error* hal_device_address(hal_device* device, const void** out_bytes, uint64_t* out_size);

/** Connects to a peer by the address that its owner exported; `rank` names it in errors and traces.
    Errors: UNSUPPORTED  no fabric port; PEER_LOST  nobody answers. */
HAL_NODISCARD HAL_API hal_error* hal_peer_connect(hal_device* device, const void* address, uint64_t size, uint32_t rank,
                                                  hal_peer** out);

/** A report in JSON, as the device keeps it: of a fabric port its circuits with bytes, modelled time and energy; of other
    devices their counters. Says "emulated" where it is. `out` is the caller's: hal_free_text(). Errors: UNSUPPORTED  the device
    keeps no report. */
HAL_NODISCARD HAL_API hal_error* hal_device_report(hal_device* device, char** out);
HAL_API void hal_free_text(char* text);

#if defined(__cplusplus)
}
#endif
#endif
