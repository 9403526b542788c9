/* The host's config_rope, and the numbers that it computes from. */
#ifndef AWQ__ROPE_H
#define AWQ__ROPE_H

#include "arch/arch.h"

/* What config.json says of rotary frequencies, in whichever form. */
typedef struct awq__rope_numbers {
    const char *type; /* "default", "linear" or "yarn"; borrowed from config.json */
    double theta, factor;
    /* Of yarn alone: */
    double attention_factor;
    double positions; /* of the training before the extension */
    double beta_fast, beta_slow;
    int truncate; /* the ramp's ends to whole pairs */
} awq__rope_numbers;
/* `table` is that of an awq__host. */
awq_status awq__rope_read(const awq_host *table, awq__rope_numbers *numbers);
/* What yarn multiplies cosine and sine by, where config.json leaves it open. */
double awq__yarn_attention_factor(double factor);

/* As awq_host.config_rope says. */
awq_status awq__config_rope(const awq_host *table, int64_t head_dim, awq_rope *rope);

/* ---- arch_rope.c ---- */

/* What was read of an opened model. AWQ_ERROR_UNSUPPORTED if its plugin has described others. */
awq_status awq__arch_rope(awq_context *ctx, const awq__arch *arch, awq__rope_numbers *numbers);

#endif
