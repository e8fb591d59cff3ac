/* SPDX-License-Identifier: Apache-2.0 */
/* An emulated RNGD card in this process. The queue interface behind its bus, RQI v1, is Halyard's own. */
#ifndef HALYARD_RNGD_EMULATED_CARD_H
#define HALYARD_RNGD_EMULATED_CARD_H

#include "rqi/bus.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rngd_emulated_card_options {
  uint64_t hbm_bytes;     /* 0: 48 GiB; address space, not memory: pages are backed when touched. At least 1 GiB */
  uint32_t index;         /* appears in the serial number */
  uint32_t stepped;       /* 1: no device thread; the card works only inside pump() */
  uint32_t accept_old_ir; /* 1: programs of an older IR load, and time out when run */
  uint32_t reserved;
} rngd_emulated_card_options;

/* Makes a card and fills `bus`; bus->release() ends it. 0 or a negative errno. `options` may be NULL. */
int rngd_emulated_card_create(const rngd_emulated_card_options* options, rngd_bus* bus);

#ifdef __cplusplus
}
#endif
#endif
