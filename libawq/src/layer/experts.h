/* What the files that quantize the experts of a layer share. */
#ifndef AWQ__EXPERTS_H
#define AWQ__EXPERTS_H

#include "layer/quantize.h"

/* What is known of one expert. Parts are 0 gate, 1 up, 2 down. */
typedef struct awq__expert_state {
    const awq__treatment *treatment[3]; /* NULL: stays float */
    int64_t *tokens;                    /* the routed ones, then the borrowed ones */
    float *weights;                     /* how much each token counts */
    int64_t routed, borrowed;
    awq__stats input, inner; /* of gate and up, and of down, tokens times their weights; whole or
                                sketches */
    awq__stats blocks[2]; /* of the same inputs, exact for each group, where those are sketches */
    double *slope;        /* [2][I] of gate and up: sums over tokens of the squared derivative of
                             what it activates; NULL: not needed */
    float *row_weight[2]; /* [I] of gate and up: what an output's squared error counts in the
                             expert's output */
    double *relative;     /* [H] of its quantized gate and up */
    int64_t relative_rows;
    awq__found_scale down;
    awq__range *range[3];
    bool clipped;
    double plain_error, error; /* of the output on a sample, by plain rounding and as chosen */
    double gptq_error;         /* the same by GPTQ, which is used if it is less */
    bool compensated;          /* it is */
} awq__expert_state;

typedef struct awq__experts_job {
    awq__quantizer *job;
    const awq__layer *layer; /* the source's */
    awq__folded *folded;
    const awq__routes *routes;
    int64_t min_tokens;
    bool fold_input, fold_up;
    bool slopes; /* what errors of gate and up do to the expert's output is measured */
    int64_t steps;
    awq__expert_state *experts; /* [expert_count] */
    int64_t first_by_name;      /* experts before it are stored in fused tensors */
} awq__experts_job;

/* quantize_experts.c: what is known before any calibration; free also after a failure. */
awq_status awq__experts_create(awq__experts_job *j);
void awq__experts_free(awq__experts_job *j);
/* The scheme of an expert's quantized part, the columns that share a scale in the input of gate and
   up (0) or of down (1), all where nothing is quantized; the part's module, and its weight. */
const awq__module *awq__expert_module(const awq__experts_job *j, int64_t expert, int part);
awq__scheme awq__expert_scheme(const awq__experts_job *j, int64_t expert, int part);
bool awq__expert_scales_down(const awq__experts_job *j, int64_t expert);
int64_t awq__expert_group(const awq__experts_job *j, int64_t expert, int input);
const awq__weight *awq__expert_weight(const awq__layer *layer, int64_t expert, int part);
/* [H] What the folded norm multiplies the input of an expert's gate and up by; NULL: nothing. */
const float *awq__expert_unscale(const awq__experts_job *j, int64_t expert);

/* expert_stats.c: takes the calibration through the layer's experts, and on the way the statistics
   of their tokens. Then what is missing: borrowed tokens, and what the weights tell. */
awq_status awq__experts_pass(awq__experts_job *j);
awq_status awq__experts_statistics(awq__experts_job *j);
/* expert_search.c: the scales of the experts' common input (*input, if it is folded) and of each
   down. */
awq_status awq__experts_search(awq__experts_job *j, awq__found_scale *input);
/* expert_clip.c: ranges, and what rounding does to the output of each expert on a sample. */
awq_status awq__experts_clip(awq__experts_job *j);
/* What the codes of an expert's quantized parts (of its folded weights) do to its output on the
   same sample. */
awq_status awq__expert_error(const awq__experts_job *j, int64_t expert, const awq__codes codes[3],
                             double *error);
/* expert_gptq.c: codes of the expert's quantized parts, which the caller frees: by GPTQ, or to
   nearest where that is better on the sample. */
awq_status awq__expert_round(awq__experts_job *j, int64_t expert, awq__codes codes[3]);
/* What that takes of memory, work space of the loops inside apart. */
size_t awq__expert_round_bytes(const awq__layer *layer);
/* What workers of the others take: of awq__experts_statistics, awq__experts_clip, and of writing
   experts that are not rounded by awq__expert_round. */
size_t awq__expert_statistics_bytes(const awq__layer *layer);
size_t awq__expert_clip_bytes(const awq__layer *layer);
size_t awq__expert_store_bytes(const awq__layer *layer);
/* expert_moments.c: the whole x^T x of the input of gate and up, or of down (inner), as the folded
   weights see it, over the expert's tokens and, where these are few, others of the layer. *stats is
   made, and the caller's to free also after a failure. */
awq_status awq__expert_moments(const awq__experts_job *j, int64_t expert, bool inner,
                               awq__stats *stats);
/* What the larger of the two takes, with the work space to make it. */
size_t awq__expert_moments_bytes(const awq__layer *layer);
/* expert_stats.c: what a token counts that no router has sent: as the layer's routed ones in the
   mean. */
float awq__unrouted_weight(const awq__experts_job *j);

#endif
