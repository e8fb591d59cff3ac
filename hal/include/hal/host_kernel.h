/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Kernels as C functions: the image format "host.functions" of the host device.
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

#if defined(__cplusplus)
}
#endif
#endif
