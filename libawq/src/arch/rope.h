/* The host's config_rope, and the numbers that it computes from. */
#ifndef AWQ__ROPE_H
#define AWQ__ROPE_H

#include "arch/arch.h"

/* What config.json says of rotary frequencies, in whichever form. */
typedef struct awq__rope_numbers {
    const char *type; /* "default", "linear", "yarn" ...; borrowed from config.json */
    double theta, factor;
    /* Of yarn, and some of others: */
    double attention_factor;
    double positions; /* of the training before the extension */
    double beta_fast, beta_slow;
    int truncate;                        /* the ramp's ends to whole pairs */
    double low, high;                    /* of llama3: turns between which the ramp lies */
    double alpha;                        /* of dynamic; 0: none */
    double part;                         /* of proportional: of the pairs that turn */
    double divisors[AWQ_ROPE_MAX_PAIRS]; /* of longrope; NAN: none */
} awq__rope_numbers;
/* `table` is that of an awq__host. */
awq_status awq__rope_read(const awq_host *table, awq__rope_numbers *numbers);
/* What yarn multiplies cosine and sine by, where config.json leaves it open. */
double awq__yarn_attention_factor(double factor);

/* As awq_host.config_rope says, and config_rope_at. */
awq_status awq__config_rope(const awq_host *table, int64_t head_dim, awq_rope *rope);
awq_status awq__config_rope_at(const awq_host *table, const char *object, int64_t head_dim,
                               awq_rope *rope);

/* ---- rope_source.c ---- */

/* Where the parameters stand. */
typedef struct awq__rope_source {
    const awq_host *table;
    const awq__host *host;
    const char *object; /* "rope_parameters" or "rope_scaling", or the path of another */
    int count;          /* of the first two, those that there are */
    bool alone;         /* nothing outside the object counts */
} awq__rope_source;
typedef struct awq__rope_key {
    char text[128];
} awq__rope_key;
awq__rope_key awq__rope_key_of(const awq__rope_source *from, const char *member);
awq_status awq__rope_number(const awq__rope_source *from, const char *member,
                            const double *fallback, double *value);
/* Of the training: a value outside the object counts first, and max_position_embeddings last. */
awq_status awq__rope_positions(const awq__rope_source *from, double *positions);
/* Finds the object. */
awq_status awq__rope_find(awq__rope_source *from);

/* ---- rope_other.c ---- */

/* What other types than default, linear and yarn have; they change nothing of those. */
awq_status awq__rope_read_other(const awq__rope_source *from, awq__rope_numbers *numbers);
void awq__rope_apply_other(const awq__rope_numbers *numbers, int64_t head_dim, awq_rope *rope);

/* ---- arch_rope.c ---- */

/* What was read of an opened model. AWQ_ERROR_UNSUPPORTED if its plugin has described others. */
awq_status awq__arch_rope(awq_context *ctx, const awq__arch *arch, awq__rope_numbers *numbers);

#endif
