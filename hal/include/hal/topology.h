/* SPDX-License-Identifier: Apache-2.0 */
/* Set by hand, so that tables read as tables. */
/* clang-format off */
/**
 * How a machine is built, and where a device hangs in it: memory nodes, CPUs, distances, pinning.
 *
 * A library of its own (libhal-topology, CMake target halyard::topology) above hal/hal.h, because hwloc, which reads the
 * machine, takes milliseconds that nobody should pay who does not ask. The rules of hal/hal.h hold here too: results,
 * counted objects, threads, text. A topology never changes once it is open.
 *
 * Memory nodes are numbered 0, 1, ... in the order of hwloc's logical index; CPUs (hardware threads) by the operating
 * system's number, written as a list: "0-3,8".
 */
#ifndef HAL_TOPOLOGY_H
#define HAL_TOPOLOGY_H

#include "hal/hal.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct hal_topology hal_topology;

/**
 * Reads a machine. `source` is NULL for this one, "xml:PATH" for one that hwloc's lstopo exported, or "synthetic:TEXT"
 * with hwloc's description of an invented one, such as "synthetic:pack:2 numa:1 core:4 pu:2". PCI devices of this machine
 * are read at the first question about one: they cost ten times the rest.
 *
 * Files are of hwloc 2's format (version="2.x" in their tag <topology>).
 *
 * Errors   INVALID_ARGUMENT  another prefix, a synthetic text that hwloc refuses, or a file that is no topology
 *          INCOMPATIBLE      the file is of hwloc 1 or 3; the text says which
 *          NOT_FOUND         the file cannot be read, with the system's reason
 *          OUT_OF_RANGE      the file is larger than 64 MiB, or the text describes more than 65,536 CPUs
 *          UNAVAILABLE       hwloc cannot read this machine, with the system's reason
 */
HAL_NODISCARD HAL_API hal_error* hal_topology_open(const char* source, hal_topology** out);

typedef struct hal_topology_info {
  const char* source;       /* "this machine", or the source it was opened with */
  uint32_t is_this_machine; /* only then can a thread be pinned */
  uint32_t packages, nodes, cores, cpus;
} hal_topology_info;

HAL_API hal_topology_info hal_topology_describe(const hal_topology* topology);

#define HAL_NO_PACKAGE UINT32_MAX

/** A memory node: memory and the CPUs closest to it. */
typedef struct hal_topology_node {
  uint64_t memory_bytes;
  const char* cpus;         /* "0-3,8"; "" for memory without CPUs */
  uint32_t cpu_count;
  uint32_t package;         /* HAL_NO_PACKAGE if it lies in none, or the machine does not say */
  uint32_t os_index;        /* the number that numactl takes */
} hal_topology_node;

/** The i-th memory node. Errors: OUT_OF_RANGE  i is not below the count of nodes. */
HAL_NODISCARD HAL_API hal_error* hal_topology_node_at(const hal_topology* topology, uint32_t i, hal_topology_node* out);

/**
 * How much longer memory of node `to` takes seen from node `from`, as the firmware says it (ACPI's SLIT: 10 is the own
 * node). Without such a table `measured` is 0 and `value` is ours: 10 for the own node, 15 in the same package, 20 else (and without packages).
 * Errors: OUT_OF_RANGE  no such node.
 */
typedef struct hal_topology_distance {
  uint64_t value;
  uint32_t measured;
} hal_topology_distance;
HAL_NODISCARD HAL_API hal_error* hal_topology_distance_between(const hal_topology* topology, uint32_t from, uint32_t to,
                                                               hal_topology_distance* out);

#define HAL_ANY_NODE UINT32_MAX

/** Where something hangs. */
typedef struct hal_locality {
  uint32_t node;            /* the closest memory node; HAL_ANY_NODE if it is equally near to several */
  uint32_t cpu_count;
  const char* cpus;         /* the closest CPUs; lives as long as the topology */
  const char* how;          /* how this is known: "PCI 0000:3b:00.0", or why it is not */
} hal_locality;

/**
 * The place of an open device. A device is found by the number "pci.address" that its driver declares. One without (the
 * host, every emulated device) hangs nowhere: all nodes, all CPUs, and `how` says so.
 * Errors: NOT_FOUND  the driver names a PCI address that this topology does not have.
 */
HAL_NODISCARD HAL_API hal_error* hal_topology_locate(hal_topology* topology, hal_device* device, hal_locality* out);

/** The place of a PCI function: domain << 16 | bus << 8 | device << 3 | function. Errors: NOT_FOUND  none has the address. */
HAL_NODISCARD HAL_API hal_error* hal_topology_locate_pci(hal_topology* topology, uint64_t address, hal_locality* out);

/** Binds the calling thread to the CPUs of a memory node, or to all of them with HAL_ANY_NODE; in both cases only to those
    that the thread which opened the topology was allowed then (taskset, containers).
    Errors: OUT_OF_RANGE  no such node, or one without CPUs; UNSUPPORTED  this is another machine's topology;
    UNAVAILABLE  none of these CPUs is allowed, or the system refuses, with its reason. */
HAL_NODISCARD HAL_API hal_error* hal_topology_pin(const hal_topology* topology, uint32_t node);

/**
 * Draws packages, memory nodes and CPUs, and the devices given where they hang, as SVG text. `out` is the caller's:
 * hal_free_text(). Devices may be NULL if the count is 0. Errors: as hal_topology_locate().
 */
HAL_NODISCARD HAL_API hal_error* hal_topology_draw(hal_topology* topology, hal_device* const* devices, uint32_t count,
                                                   char** out);

#if defined(__cplusplus)
}
#endif
#endif
