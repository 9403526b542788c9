/*
 * The seam between the orders of work and the arithmetic: what a device does with arrays that the
 * host never looks into.
 *
 * Operations are as large as the steps of a layer, so that a backend decides by itself about tasks,
 * threads and batches. Weights are handed over as they are stored. What comes back is small:
 * routes, losses, counts, scales, codes. Each operation returns a status, with the message in the
 * context, and may be cancelled by the caller's progress callback between operations only.
 */
#ifndef AWQ__BACKEND_H
#define AWQ__BACKEND_H

#include "forward/layer.h"

/* Hidden states of all tokens of a set of sequences, [T,H], and the normed input of the last
   layer's experts. They lie where the backend has its arrays. */
typedef struct awq__states awq__states;

/* What makes logits of hidden states. */
typedef struct awq__head {
    const awq__states *states;
    const awq__weight *weight; /* [V,H] */
    const float *norm;         /* [H], of the host */
    double epsilon;
} awq__head;

typedef struct awq__backend {
    const char *name;
    const awq__memory *memory; /* of its arrays */

    /* ---- hidden states ---- */

    /* Embeds the ids: rows of embedding [V,H], of which a copy is kept. The sequences are borrowed.
     *states is NULL after a failure. */
    awq_status (*states_create)(awq_context *ctx, const awq_rope *rope,
                                const awq__sequences *sequences, const awq__weight *embedding,
                                awq__states **states);
    /* Takes NULL. */
    void (*states_free)(awq__states *states);
    /* hidden += attention(norm(hidden)) */
    awq_status (*attention)(awq__states *states, const awq__layer *layer);
    /* x = norm(hidden), and where the router sends it. *routes is the caller's to free. */
    awq_status (*route)(awq__states *states, const awq__layer *layer, awq__routes *routes);
    /* hidden += experts(x) */
    awq_status (*experts)(awq__states *states, const awq__layer *layer, const awq__routes *routes);
    /* The sum of the squares of hidden. */
    awq_status (*sum_squares)(awq__states *states, double *sum);
    /* Logits of all tokens against targets[T], -1 for none, and against those of a reference with
       as many tokens and as large a vocabulary, or NULL. */
    awq_status (*compare_logits)(const awq__head *judged, const awq__head *reference,
                                 const int32_t *targets, awq__logit_stats *stats);
} awq__backend;

/* This machine's processors, by the compute table of the context. */
extern const awq__backend awq__backend_cpu;
/* Bytes of work space of a worker of its compare_logits; head is [V,H]. */
double awq__cpu_logits_bytes(const awq__weight *head);

#endif
