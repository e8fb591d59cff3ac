/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Kernels as C functions: the image formats "host.functions" and "host.so" of the host device.
 *
 * The image's bytes are one hal_host_functions, its size is sizeof(hal_host_functions), and its manifest gives the
 * signature of every entry. The host device calls the function once for each work group; the function loops over the
 * items of its group, so a barrier inside a group is the end of one loop and the beginning of the next.
 *
 *   static void axpy(const hal_host_group* group, void* const* args) {
 *     const uint32_t n = *(const uint32_t*)args[0];
 *     const float a = *(const float*)args[1];
 *     const float* x = (const float*)args[2];
 *     float* y = (float*)args[3];
 *     const uint32_t first = group->group[0] * group->group_size[0];
 *     for (uint32_t i = first; i < first + group->group_size[0] && i < n; ++i) { y[i] += a * x[i]; }
 *   }
 *   static const hal_host_entry kEntries[] = {{"axpy", axpy}};
 *   static const hal_host_functions kFunctions = HAL_HOST_FUNCTIONS(kEntries, 1);
 *   hal_image image = {"host.functions", &kFunctions, sizeof(kFunctions),
 *                      "entry axpy kernel group=256,1,1 shared=0\n"
 *                      "  scalar n u32\n  scalar a f32\n  buffer x in f32\n  buffer y inout f32\n"};
 *
 * Threads  Groups of one launch may run in any order and at the same time, on any thread. A function must not throw,
 *          longjmp or keep what it was given.
 * Trust    An address cannot be checked: the functions run inside the caller's process with its rights. Magic, version,
 *          count and names are checked.
 */
#ifndef HAL_HOST_KERNEL_H
#define HAL_HOST_KERNEL_H

#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

/** Which group this is, of how many, and how large each is. */
typedef struct hal_host_group {
  uint32_t group[3]; /* this group's index */
  uint32_t group_count[3];
  uint32_t group_size[3]; /* items; the grid's, or the entry's own if the grid left it 0 */
  uint32_t shared_bytes;  /* the entry's own plus the grid's */
  void* shared;           /* this group's alone, 64-byte aligned, contents undefined; NULL if shared_bytes is 0 */
  const void* const*
      constants; /* the place of each specialisation constant, in the manifest's order; NULL without any */
} hal_host_group;

/** `args` has one pointer for each parameter: a buffer's or tensor's first byte, or the place of a scalar's value.
   Behind them, if the entry has dynamic dimensions, one for each symbol: the place of its extent, an int64_t. */
typedef void (*hal_host_kernel)(const hal_host_group* group, void* const* args);

typedef struct hal_host_entry {
  const char* name; /* as in the manifest */
  hal_host_kernel function;
} hal_host_entry;

#define HAL_HOST_FUNCTIONS_MAGIC 0x464c4148U /* "HALF" */
#define HAL_HOST_FUNCTIONS_VERSION 1U

/** The image. Entries are read while it is loaded; the functions must stay until the program is released. */
typedef struct hal_host_functions {
  uint32_t magic;
  uint32_t version;
  uint64_t entry_count;
  const hal_host_entry* entries;
} hal_host_functions;

#define HAL_HOST_FUNCTIONS(entries, count) {HAL_HOST_FUNCTIONS_MAGIC, HAL_HOST_FUNCTIONS_VERSION, (count), (entries)}

/*
 * The format "host.so": the bytes of an ELF shared object, compiled by your compiler for this machine. A program of
 * another language or process can make it, and it loads wherever the file gets to.
 *
 *   HAL_HOST_IMAGE()                       // once in the image
 *   HAL_HOST_KERNEL(axpy) {                // an exported function (group, args), "entry axpy" of the manifest
 *     const float a = *(const float*)args[1];
 *     const float* x = (const float*)args[2];
 *     float* y = (float*)args[3];
 *     hal_for_each_item(i, group, *(const uint32_t*)args[0]) { y[i] += a * x[i]; }
 *   }
 *
 *   hal_host_kernels(axpy axpy.c)          # CMake, after find_package(halyard); or
 *   cc -O3 -shared -fPIC -I... axpy.c -o axpy.so
 *
 * Exported names, machine and version are read from the bytes before any of the image's code runs; damaged bytes are
 * errors. Then the system's loader runs its constructors, in this process and with its rights: one that exits, throws
 * or crashes takes the process with it. Each load is a copy of its own, with its own globals. Its destructors run when
 * the program is released.
 */
#define HAL_HOST_IMAGE_ABI 1U

#if defined(__cplusplus)
#define HAL_HOST_EXTERN extern "C"
#define HAL_HOST_DECLARED
#else
#define HAL_HOST_EXTERN
#define HAL_HOST_DECLARED extern
#endif

#define HAL_HOST_IMAGE()                                                                                      \
  HAL_HOST_EXTERN __attribute__((visibility("default"))) HAL_HOST_DECLARED const uint32_t hal_host_image_abi; \
  const uint32_t hal_host_image_abi = HAL_HOST_IMAGE_ABI;

#define HAL_HOST_KERNEL(name)                                                                                    \
  HAL_HOST_EXTERN                                                                                                \
  __attribute__((visibility("default"))) void hal_kernel_##name(const hal_host_group* group, void* const* args); \
  void hal_kernel_##name(const hal_host_group* group, void* const* args)

/** Said of a loop whose iterations do not need each other's results: compilers may then make vector code of it. */
#if defined(__clang__)
#define HAL_HOST_INDEPENDENT_ITEMS _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define HAL_HOST_INDEPENDENT_ITEMS _Pragma("GCC ivdep")
#else
#define HAL_HOST_INDEPENDENT_ITEMS
#endif

/**
 * Loops over the items of this group along axis 0, numbered over the whole grid, as far as they are below `limit`. The
 * body must not depend on the order of its items: the loop becomes vector code. A barrier of the group is the end of
 * one such loop and the beginning of the next.
 */
#define hal_for_each_item(i, group_, limit_) \
  HAL_HOST_INDEPENDENT_ITEMS                 \
  for (uint64_t i = hal_first_item(group_), i##_end = hal_end_item(group_, limit_); i < i##_end; ++i)

static inline uint64_t hal_first_item(const hal_host_group* group) {
  return (uint64_t)group->group[0] * group->group_size[0];
}
static inline uint64_t hal_end_item(const hal_host_group* group, uint64_t limit) {
  const uint64_t end = hal_first_item(group) + group->group_size[0];
  return end < limit ? end : limit;
}

#if defined(__cplusplus)
}
#endif
#endif
