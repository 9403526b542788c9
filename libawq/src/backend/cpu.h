/* What the files of the CPU's backend share. */
#ifndef AWQ__BACKEND_CPU_H
#define AWQ__BACKEND_CPU_H

#include "backend/backend.h"

struct awq__states {
    awq__forward forward;
    awq__rotary rotary;
    int64_t tokens, width; /* T, H */
    float *hidden, *x;     /* [T,H] */
};

/* cpu_logits.c: see awq__backend. */
awq_status awq__cpu_compare_logits(const awq__head *judged, const awq__head *reference,
                                   const int32_t *targets, awq__logit_stats *stats);

#endif
