/* SPDX-License-Identifier: Apache-2.0 */
/* The few calls that the host driver makes of oneDNN. The library is large (tens of megabytes, and a thread pool), so
   it hangs on a module of its own that is opened at the first product large enough to need it. */
#ifndef HAL_HOST_ONEDNN_MODULE_H
#define HAL_HOST_ONEDNN_MODULE_H

#include <stdint.h>

/* Element types by dnnl_data_type_t's numbers, which the library promises to keep. */
enum { HALYARD_ONEDNN_BF16 = 2, HALYARD_ONEDNN_F32 = 3, HALYARD_ONEDNN_S32 = 4, HALYARD_ONEDNN_S8 = 5 };

/* out[b, i, j] = sum over p of left[b, i, p] * right[b, p, j], summed in f32, or for s8 in s32, which wraps. Strides in
   elements. The inner stride of each operand, in either direction, is 1; that of out's columns too. */
typedef struct halyard_matmul {
  int32_t in_type, out_type;
  int64_t batch, m, n, k;
  int64_t left[3], right[3], out[3]; /* of batch, rows, columns */
} halyard_matmul;

typedef struct halyard_onednn {
  /* NULL if the library has no way to do it here; `why` then says so. */
  void* (*create)(const halyard_matmul* shape, uint64_t* scratch_bytes, char* why, uint64_t why_size);
  /* On the calling thread alone. May be called from several threads at once, each with its own scratch. 0 is success.
   */
  int (*run)(const void* product, const void* left, const void* right, void* out, void* scratch);
  void (*destroy)(void* product);
} halyard_onednn;

#define HALYARD_ONEDNN_ENTRY "halyard_onednn_v1"
typedef const halyard_onednn* (*halyard_onednn_entry)(void);

#endif
