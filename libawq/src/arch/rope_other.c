/* Rotary frequencies of the types that change them otherwise than YaRN does, as transformers
   computes them. */
#include "arch/rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TWO_PI 6.283185307179586

static awq_status positive(const awq__rope_source *from, const char *member, double value)
{
    if (value > 0 && value < INFINITY)
        return AWQ_OK;
    return awq__fail(from->host->ctx, AWQ_ERROR_FORMAT, "%s: %s.%s is %g, expected more than 0",
                     from->host->file, from->object, member, value);
}

static awq_status read_llama3(const awq__rope_source *from, awq__rope_numbers *n)
{
    AWQ__CHECK(awq__rope_number(from, "factor", NULL, &n->factor));
    AWQ__CHECK(awq__rope_number(from, "low_freq_factor", NULL, &n->low));
    AWQ__CHECK(awq__rope_number(from, "high_freq_factor", NULL, &n->high));
    AWQ__CHECK(awq__rope_number(from, "original_max_position_embeddings", NULL, &n->positions));
    AWQ__CHECK(positive(from, "factor", n->factor));
    AWQ__CHECK(positive(from, "low_freq_factor", n->low));
    AWQ__CHECK(positive(from, "high_freq_factor", n->high));
    return positive(from, "original_max_position_embeddings", n->positions);
}

/* Long waves are slowed down by the factor, short ones are kept, and a ramp lies between. */
static void apply_llama3(const awq__rope_numbers *n, awq_rope *rope)
{
    for (int64_t i = 0; i < rope->pairs; i++) {
        double *frequency = &rope->inverse_frequency[i];
        double turns = n->positions * *frequency / TWO_PI;
        double kept = turns < n->low ? 0
                      : turns > n->high || n->high <= n->low
                          ? 1
                          : (turns - n->low) / (n->high - n->low);
        *frequency *= kept + (1 - kept) / n->factor;
    }
}

/* The factors of sequences no longer than those of the training. */
static awq_status read_longrope(const awq__rope_source *from, awq__rope_numbers *n)
{
    const double absent = NAN;
    double extended;
    AWQ__CHECK(awq__rope_positions(from, &n->positions));
    AWQ__CHECK(from->table->config_number(from->table, "max_position_embeddings", NULL, &extended));
    AWQ__CHECK(positive(from, "original_max_position_embeddings", n->positions));
    double factor = extended / n->positions;
    AWQ__CHECK(awq__rope_number(from, "attention_factor", &absent, &n->attention_factor));
    if (isnan(n->attention_factor))
        n->attention_factor = factor <= 1 ? 1 : sqrt(1 + log(factor) / log(n->positions));
    AWQ__CHECK(positive(from, "attention_factor", n->attention_factor));
    for (int i = 0; i < AWQ_ROPE_MAX_PAIRS; i++) {
        char member[32];
        snprintf(member, sizeof member, "short_factor.%d", i);
        AWQ__CHECK(awq__rope_number(from, member, i ? &absent : NULL, &n->divisors[i]));
        if (!isnan(n->divisors[i]))
            AWQ__CHECK(positive(from, member, n->divisors[i]));
    }
    return AWQ_OK;
}

static void apply_longrope(const awq__rope_numbers *n, awq_rope *rope)
{
    rope->attention_factor = n->attention_factor;
    for (int64_t i = 0; i < rope->pairs; i++)
        rope->inverse_frequency[i] /= isnan(n->divisors[i]) ? 1 : n->divisors[i];
}

/* Hunyuan's alpha makes the base larger. Without it the base grows with sequences that are longer
   than those of the training alone. */
static awq_status read_dynamic(const awq__rope_source *from, awq__rope_numbers *n)
{
    const double none = 0;
    AWQ__CHECK(awq__rope_number(from, "alpha", &none, &n->alpha));
    return n->alpha >= 0 && n->alpha < INFINITY ? AWQ_OK : positive(from, "alpha", n->alpha);
}

static void apply_dynamic(const awq__rope_numbers *n, int64_t head_dim, awq_rope *rope)
{
    double dim = (double)head_dim, base = n->theta;
    if (n->alpha > 0 && head_dim > 2)
        base *= pow(n->alpha, dim / (dim - 2));
    for (int64_t i = 0; i < rope->pairs; i++)
        rope->inverse_frequency[i] = pow(base, -2.0 * (double)i / dim);
}

/* A part of the pairs turns, with the frequencies that they have among all. */
static awq_status read_proportional(const awq__rope_source *from, awq__rope_numbers *n)
{
    const double all = 1;
    AWQ__CHECK(awq__rope_number(from, "partial_rotary_factor", &all, &n->part));
    AWQ__CHECK(awq__rope_number(from, "factor", &all, &n->factor));
    AWQ__CHECK(positive(from, "factor", n->factor));
    return n->part <= 1 ? positive(from, "partial_rotary_factor", n->part)
                        : awq__fail(from->host->ctx, AWQ_ERROR_FORMAT,
                                    "%s: %s.partial_rotary_factor is %g, expected at most 1",
                                    from->host->file, from->object, n->part);
}

static void apply_proportional(const awq__rope_numbers *n, int64_t head_dim, awq_rope *rope)
{
    int64_t turning = (int64_t)(n->part * (double)head_dim / 2);
    for (int64_t i = 0; i < rope->pairs; i++)
        rope->inverse_frequency[i] = i < turning ? rope->inverse_frequency[i] / n->factor : 0;
}

awq_status awq__rope_read_other(const awq__rope_source *from, awq__rope_numbers *numbers)
{
    if (!strcmp(numbers->type, "llama3"))
        return read_llama3(from, numbers);
    if (!strcmp(numbers->type, "longrope"))
        return read_longrope(from, numbers);
    if (!strcmp(numbers->type, "dynamic"))
        return read_dynamic(from, numbers);
    return strcmp(numbers->type, "proportional") ? AWQ_OK : read_proportional(from, numbers);
}

void awq__rope_apply_other(const awq__rope_numbers *numbers, int64_t head_dim, awq_rope *rope)
{
    if (!strcmp(numbers->type, "llama3"))
        apply_llama3(numbers, rope);
    if (!strcmp(numbers->type, "longrope"))
        apply_longrope(numbers, rope);
    if (!strcmp(numbers->type, "dynamic"))
        apply_dynamic(numbers, head_dim, rope);
    if (!strcmp(numbers->type, "proportional"))
        apply_proportional(numbers, head_dim, rope);
}
