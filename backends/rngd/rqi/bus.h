// SPDX-License-Identifier: Apache-2.0
// The register-level bus between the user-mode driver and a card. Flat and C, so that a card can live in this process,
// behind a socket or behind PCI without the driver noticing. The in-process emulated card is one implementation.
#ifndef HALYARD_RNGD_BUS_H
#define HALYARD_RNGD_BUS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RNGD_BUS_VERSION 1u

/* Runs on whatever thread made the device progress; no lock of the bus is held. */
typedef void (*rngd_bus_interrupt)(void* user, uint32_t vector);

typedef struct rngd_bus {
  uint32_t struct_size; /* sizeof(rngd_bus) of the implementation; slots past it do not exist */
  uint32_t version;     /* RNGD_BUS_VERSION */
  void* context;        /* first argument of every function */

  /* Register access. Offsets are naturally aligned. A card that is gone reads as all ones. Any thread. */
  uint32_t (*read32)(void* context, uint32_t bar, uint64_t offset);
  uint64_t (*read64)(void* context, uint32_t bar, uint64_t offset);
  void (*write32)(void* context, uint32_t bar, uint64_t offset, uint32_t value);
  void (*write64)(void* context, uint32_t bar, uint64_t offset, uint64_t value);

  /* A posted doorbell: an awake device sees it soon; kick() makes sure that a sleeping one does. Never blocks. */
  void (*post32)(void* context, uint32_t bar, uint64_t offset, uint32_t value);
  void (*kick)(void* context);

  /* Lets the device read and write host memory. 0 or a negative errno. Unmapping waits for the access in progress. */
  int (*map_host)(void* context, void* address, uint64_t bytes, uint64_t* iova);
  int (*unmap_host)(void* context, uint64_t iova, uint64_t bytes);

  /* A host pointer to a range of a memory BAR (4, the HBM aperture); NULL when it cannot be mapped. */
  void* (*map_bar)(void* context, uint32_t bar, uint64_t offset, uint64_t bytes);
  void (*unmap_bar)(void* context, uint32_t bar, uint64_t offset, uint64_t bytes);

  /* One handler per vector; a null handler removes it and waits until it no longer runs (not from inside it). */
  int (*set_interrupt)(void* context, uint32_t vector, rngd_bus_interrupt handler, void* user);

  /* Optional (may be NULL): lets the calling thread do the device's work. 1 progress was made, 0 nothing to do or
     another thread is at it. Interrupt handlers run inside; with `quiet` all but vector 0 are left to the device's own
     thread, if it has one, so that a caller who holds locks does not meet its own callbacks. */
  int (*pump)(void* context, uint32_t quiet);

  /* Ends the bus and whatever it owns. No other call may be in progress. */
  void (*release)(void* context);
} rngd_bus;

#ifdef __cplusplus
}
#endif
#endif
