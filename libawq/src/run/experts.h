/* What the files that quantize the experts of a layer share. */
#ifndef AWQ__EXPERTS_H
#define AWQ__EXPERTS_H

#include "run/job.h"

/* What is known of one expert. Parts are 0 gate, 1 up, 2 down. */
typedef struct awq__expert_state {
    bool quantize[3];
    int64_t *tokens; /* the routed ones, then the borrowed ones */
    int64_t routed, borrowed;
    awq__stats input, inner; /* of gate and up, and of down, in blocks of the group */
    double *relative;        /* [H] of its quantized gate and up */
    int64_t relative_rows;
    awq__found_scale down;
    float *limit[3];
    bool clipped;
    double plain_error, error; /* of the output on a sample, by plain rounding and as chosen */
} awq__expert_state;

typedef struct awq__experts_job {
    awq__job *job;
    const awq__layer *layer; /* the source's */
    awq__folded *folded;
    const awq__routes *routes;
    int64_t min_tokens;
    bool fold_input, fold_up;
    awq__scale_rounding rounding;
    int64_t steps;
    awq__expert_state *experts; /* [expert_count] */
    int64_t first_by_name;      /* experts before it are stored in fused tensors */
} awq__experts_job;

/* The scheme of an expert's part, its module, and its folded weight. */
const awq__module *awq__expert_module(const awq__experts_job *j, int64_t expert, int part);
awq__scheme awq__expert_scheme(const awq__experts_job *j, int64_t expert, int part);
const awq__weight *awq__expert_weight(const awq__layer *layer, int64_t expert, int part);

/* expert_stats.c: tokens, statistics and the scale of down, for all experts. */
awq_status awq__experts_statistics(awq__experts_job *j);
/* expert_clip.c: limits, and what rounding does to the output of each expert on a sample. */
awq_status awq__experts_clip(awq__experts_job *j);

#endif
