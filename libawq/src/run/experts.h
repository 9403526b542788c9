/* What the files that quantize the experts of a layer share. */
#ifndef AWQ__EXPERTS_H
#define AWQ__EXPERTS_H

#include "run/job.h"

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
    awq__found_scale own; /* of gate and up, as if the expert had an input of its own, or as it
                             has one */
    awq__range *range[3];
    bool clipped;
    double plain_error, error; /* of the output on a sample, by plain rounding and as chosen */
    double gptq_error;         /* the same by GPTQ, which is used if it is less */
    bool compensated;          /* it is */
} awq__expert_state;

typedef struct awq__experts_job {
    awq__job *job;
    const awq__layer *layer; /* the source's */
    awq__folded *folded;
    const awq__routes *routes;
    int64_t min_tokens;
    bool fold_input, fold_up;
    bool own_input; /* in place of fold_input, gate and up of each expert are scaled by themselves
                     */
    double *losses; /* [steps + 2] of the common scale's candidates, in a search by output */
    bool joined;    /* the common scale is made from the experts' own */
    bool weigh_tokens; /* each counts by its routing weight, else 1 */
    bool weigh_rows;   /* the search weighs errors of gate and up by what they do to the expert's
                          output, else by 1 */
    bool slopes;       /* what they do is measured */
    awq__scale_rounding rounding;
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
/* Has it an input scale of its own? Then gate and up are both quantized, which share it. */
bool awq__expert_has_own_input(const awq__experts_job *j, int64_t expert);
/* [H] What the folded layer multiplies the input of an expert's gate and up by, in the norm or at
   the expert; NULL: nothing. */
const float *awq__expert_unscale(const awq__experts_job *j, int64_t expert);

/* expert_stats.c: takes the calibration through the layer's experts, and on the way the statistics
   of their tokens. Then what is missing: borrowed tokens, and what the weights tell. */
awq_status awq__experts_pass(awq__experts_job *j);
awq_status awq__experts_statistics(awq__experts_job *j);
/* expert_search.c: the scales of the experts' common input (*input, if it is folded) and of each
   down. */
awq_status awq__experts_search(awq__experts_job *j, awq__found_scale *input);
/* expert_own.c: what each expert would choose for gate and up: its own input scale, or, where it
   lowers the sum of their losses, the beginning of a common one in place of that which was found.
 */
awq_status awq__experts_search_own(awq__experts_job *j);
awq_status awq__experts_search_joined(awq__experts_job *j, awq__found_scale *input);
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
/* What errors of the rows of an expert's gate or up count in the search; NULL: 1 each. */
const float *awq__expert_row_weight(const awq__experts_job *j, int64_t expert, int part);

#endif
