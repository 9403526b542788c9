/* What the files of the plugin's host side share: a device that is open. */
#ifndef AWQ__CUDA_DEVICE_H
#define AWQ__CUDA_DEVICE_H

#include "kernels.h"
#include "backend/device.h"

#include <stddef.h>

/* One allocation of a device that is cut up here. */
#define AWQ__CUDA_PLACES 4096 /* of tables: 12 bits */
typedef struct awq__cuda_span awq__cuda_span;
typedef struct awq__cuda_arena {
    char *memory;
    awq__cuda_span *spans; /* all, in the order of addresses */
    /* By address those that are cut out, by size those of them that nobody has. */
    awq__cuda_span *by_place[AWQ__CUDA_PLACES], *by_size[AWQ__CUDA_PLACES];
    size_t free_bytes;
} awq__cuda_arena;

/* Pinned memory in two halves: while one crosses, the other is filled. */
#define AWQ__CUDA_STAGE_BYTES ((size_t)64 << 20) /* of a half */
typedef struct awq__cuda_stage {
    char *halves[2];
    cudaEvent_t crossed[2]; /* all that a half had */
    int half;
    size_t used; /* of it */
} awq__cuda_stage;

typedef struct awq__cuda_device {
    int index;
    awq__cuda_queue *queue;
    cudaStream_t stream;
    awq__cuda_arena arena;
    awq__cuda_stage up, down;
    int error;         /* the first */
    char failure[256]; /* what it was; "" while there is none */
} awq__cuda_device;

/* Remembers the first error, if it is one; `what` failed. Returns whether all is well. */
bool awq__cuda_did(awq__cuda_device *device, int error, const char *what);

/* ---- arena.c ---- */

/* Free it also after a failure. */
int awq__cuda_arena_create(awq__cuda_arena *arena, size_t bytes);
void awq__cuda_arena_free(awq__cuda_arena *arena);
void *awq__cuda_allocate(void *device, size_t bytes);
void awq__cuda_release(void *device, void *array);
size_t awq__cuda_free_bytes(void *device);

/* ---- memory.c ---- */

/* Takes an arena of so many bytes and the staging. Free it also after a failure. */
int awq__cuda_memory_create(awq__cuda_device *device, size_t bytes);
void awq__cuda_memory_free(awq__cuda_device *device);
void awq__cuda_upload(void *device, void *to, const void *from, size_t bytes);
void awq__cuda_download(void *device, void *to, const void *from, size_t bytes);
/* NULL after a failure, which is remembered. */
void *awq__cuda_work(awq__cuda_device *device, size_t bytes);

/* ---- small.cu: what the operations need beside the kernels ---- */

/* out[index[t]] += weight[t] * x[t]; index NULL: t; weight NULL: 1 */
int awq__cuda_add_rows(const awq__cuda_queue *queue, int64_t T, int64_t H, const int32_t *index,
                       const float *weight, const float *x, float *out);
/* *counter += how many values are infinite or NaN */
int awq__cuda_count_special(const awq__cuda_queue *queue, int64_t count, const float *x,
                            int32_t *counter);
/* to[i] += from[i] */
int awq__cuda_add_doubles(const awq__cuda_queue *queue, int64_t count, const double *from,
                          double *to);
/* to[0..3] += the members of stats */
int awq__cuda_add_stats(const awq__cuda_queue *queue, const awq__cuda_logit_stats *stats,
                        double *to);

/* ---- hessian.c: see awq__device_operations ---- */

size_t awq__cuda_hessian_bytes(void *device, int64_t K, int64_t g);
bool awq__cuda_factorize(void *device, int64_t K, int64_t g, const int32_t *order, double damping,
                         double mean, bool again, float *gram, void *hessian);
void awq__cuda_round_by_gptq(void *device, const void *hessian, const awq__cuda_weight *weight,
                             const awq__cuda_scheme *scheme, int ranges, int sweeps, uint8_t *codes,
                             float *scales, uint8_t *zeros);

/* ---- operations.c ---- */

extern const awq__device_operations awq__cuda_operations;

#endif
