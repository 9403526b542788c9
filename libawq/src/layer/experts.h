/* The experts of a layer: one input of gate and up of all, and one of each expert's down. */
#ifndef AWQ__EXPERTS_H
#define AWQ__EXPERTS_H

#include "layer/input.h"

/* Readers of an expert's bundle. */
typedef enum awq__expert_part {
    AWQ__EXPERT_GATE,
    AWQ__EXPERT_UP,
    AWQ__EXPERT_DOWN,
} awq__expert_part;

/* What is known of one expert's tokens. */
typedef struct awq__expert_state {
    int64_t *tokens; /* the routed ones, then the borrowed ones */
    float *weights;  /* how much each token counts */
    int64_t routed, borrowed;
    double *slopes; /* [2][I] of gate and up: sums over tokens of the squared derivative of what it
                       activates; NULL: not needed */
} awq__expert_state;

/* It stays where it is: its block refers to it. */
typedef struct awq__experts {
    awq__block block; /* bundle e is expert e's; so is state e */
    const awq__routes *routes;
    awq__expert_state *states; /* [expert_count] */
    awq__expert *folded;       /* [expert_count] of the folded layer */
    bool slopes;               /* row weights of gate and up are wanted */
    float *sample;             /* [T,H] hidden states for the proof */
    int64_t sampled;
} awq__experts;

/* experts.c: the inputs. Row weights come with scales, and else where `slopes` says so. Free also
   after a failure. */
awq_status awq__experts_create(awq__quantizer *quantizer, const awq__layer *layer,
                               const awq__routes *routes, bool slopes, awq__experts *experts);
void awq__experts_free(awq__experts *experts);

static inline awq__reader *awq__expert_reader(const awq__experts *experts, int64_t expert,
                                              awq__expert_part part)
{
    return experts->block.bundles[expert].readers[part];
}

/* expert_stats.c: takes the calibration through the layer's experts, and on the way the statistics
   of their tokens. Then what is missing: borrowed tokens, row weights and salience. */
awq_status awq__experts_pass(awq__experts *experts);
awq_status awq__experts_statistics(awq__experts *experts);
/* Weight of a token that no router has sent: the mean of the layer's routed ones. */
float awq__unrouted_weight(const awq__routes *routes);

/* expert_gram.c, expert_sample.c: functions of awq__block_kind. */
awq_status awq__expert_gram(const awq__block *block, const awq__bundle *bundle,
                            const awq__reader *reader, awq__stats *whole, double *damping);
awq_status awq__expert_clip(const awq__block *block, awq__bundle *bundle);
awq_status awq__expert_error(const awq__block *block, const awq__bundle *bundle,
                             const awq__codes *codes, double *error);
/* Tokens in the sample of an expert. */
int64_t awq__expert_sampled(const awq__expert_state *state);

/* ---- memory of workers, work space of the loops inside apart ---- */

size_t awq__expert_statistics_bytes(const awq__layer *layer);
size_t awq__expert_clip_bytes(const awq__layer *layer);
size_t awq__expert_gram_bytes(const awq__layer *layer);
/* Of rounding a bundle by GPTQ, and of rounding and writing one linear to nearest. */
size_t awq__expert_round_bytes(const awq__layer *layer);
size_t awq__expert_store_bytes(const awq__layer *layer);

#endif
