/*
 * The scales of gate and up that each expert would choose for itself. Where the format multiplies
 * the input of each, it has them. Else experts share their input, so one vector serves all; that of
 * the layer's pooled statistics need not be the best compromise, and those of the experts give
 * others to try.
 */
#include "run/experts.h"

#include <math.h>

enum { JOINED = 2 }; /* vectors that are tried beside the layer's */

typedef struct own_search {
    awq__experts_job *j;
    double *statistics;     /* [E][2][H] salience and relative weights */
    float *scale, *unscale; /* [E][H] own scales and their inverses */
    const float *ones;      /* [H] what stands for a norm where the scales are stored */
    float *given;           /* [1 + JOINED][H] the layer's vector, and the joined ones */
    awq__search_set *sets;  /* [E] */
    awq__search_item *items;
    int64_t *expert_of; /* [sets] */
    int64_t set_count, item_count;
} own_search;

static void add_items(own_search *s, int64_t e, int64_t set)
{
    const awq__experts_job *j = s->j;
    const awq__expert_state *state = &j->experts[e];
    for (int part = 0; part < 2; part++)
        if (state->treatment[part])
            s->items[s->item_count++] =
                (awq__search_item){.weight = awq__expert_weight(j->layer, e, part),
                                   .stats = &state->input,
                                   .row_weight = awq__expert_row_weight(j, e, part),
                                   .scheme = awq__expert_scheme(j, e, part),
                                   .set = set};
}

/* The type in which the result stores the scales of an expert's input, as it does those of a norm.
 */
static awq_dtype stored_dtype(const awq__experts_job *j, int64_t e)
{
    awq__scheme scheme = awq__expert_scheme(j, e, 0);
    return j->job->plan->format->input_dtype(&scheme);
}

/* Stored by itself, a scale has no reason not to be exact. */
static awq__scale_rounding stored_rounding(const awq__experts_job *j)
{
    return j->rounding == AWQ__ROUNDING_POWER_OF_TWO ? j->rounding : AWQ__ROUNDING_NORM;
}

static void add_set(own_search *s, int64_t e)
{
    const awq__experts_job *j = s->j;
    const awq__expert_state *state = &j->experts[e];
    int64_t H = j->layer->hidden;
    double *salience = s->statistics + e * 2 * H;
    for (int64_t h = 0; h < H; h++) {
        salience[h] = state->input.abs_sums[h] / (double)awq__max(state->input.tokens, 1);
        salience[H + h] = state->relative[h];
    }
    s->sets[s->set_count] = (awq__search_set){.candidates = {.cols = H,
                                                             .salience = salience,
                                                             .relative = salience + H,
                                                             .steps = j->steps,
                                                             .rounding = AWQ__ROUNDING_NONE},
                                              .name = j->layer->moe.experts[e].gate.name,
                                              .scale = s->scale + e * H,
                                              .unscale = s->unscale + e * H};
    if (s->ones) {
        s->sets[s->set_count].candidates.rounding = stored_rounding(j);
        s->sets[s->set_count].candidates.norm = s->ones;
        s->sets[s->set_count].candidates.norm_dtype = stored_dtype(j, e);
    }
    s->expert_of[s->set_count] = e;
    add_items(s, e, s->set_count++);
}

/* Their geometric mean, weighed by what each expert has to lose: its loss without scales. */
static void join(own_search *s, float *joined)
{
    int64_t H = s->j->layer->hidden;
    double total = 0;
    for (int64_t i = 0; i < s->set_count; i++)
        total += s->sets[i].found.identity_loss;
    for (int64_t h = 0; h < H; h++) {
        double sum = 0;
        for (int64_t i = 0; i < s->set_count && total > 0; i++)
            sum += s->sets[i].found.identity_loss / total * log((double)s->sets[i].scale[h]);
        joined[h] = (float)exp(sum);
    }
}

/* The layer's vector, the joined one, and their mean: the best of them becomes the layer's. */
static awq_status choose_joined(own_search *s, awq__found_scale *input)
{
    awq__experts_job *j = s->j;
    int64_t H = j->layer->hidden;
    float *layer = s->given, *joined = s->given + H, *between = s->given + 2 * H;
    join(s, joined);
    for (int64_t h = 0; h < H; h++) {
        layer[h] = j->folded->moe_scale[h];
        between[h] = sqrtf(layer[h] * joined[h]);
    }
    awq__search_set set = {.candidates = {.cols = H,
                                          .steps = JOINED,
                                          .given = s->given,
                                          .rounding = j->rounding,
                                          .norm = j->layer->moe.norm,
                                          .norm_dtype = j->layer->moe.norm_dtype},
                           .name = j->layer->moe.experts[0].gate.name,
                           .scale = j->folded->moe_scale,
                           .unscale = j->folded->moe_unscale};
    for (int64_t i = 0; i < s->item_count; i++)
        s->items[i].set = 0;
    awq_status status = awq__search_moments(j->job->ctx, j->job->calibration.forward.compute,
                                            s->items, s->item_count, &set, 1);
    j->joined = status == AWQ_OK && set.found.candidate > 1;
    if (j->joined)
        input->loss = set.found.loss;
    return status;
}

static awq_status search_sets(own_search *s)
{
    awq__experts_job *j = s->j;
    awq_status status = awq__search_moments(j->job->ctx, j->job->calibration.forward.compute,
                                            s->items, s->item_count, s->sets, s->set_count);
    for (int64_t i = 0; i < s->set_count && status == AWQ_OK; i++)
        j->experts[s->expert_of[i]].own = s->sets[i].found;
    return status;
}

static awq_status search_joined(own_search *s, awq__found_scale *input)
{
    const awq__experts_job *j = s->j;
    for (int64_t e = 0; e < j->layer->moe.expert_count; e++)
        if (j->experts[e].relative_rows)
            add_set(s, e);
    awq_status status = search_sets(s);
    return status == AWQ_OK && s->set_count ? choose_joined(s, input) : status;
}

/* The inverse is what is stored, which the search had within a rounding of F32. */
static void settle_own(own_search *s, int64_t e)
{
    const awq__experts_job *j = s->j;
    int64_t H = j->layer->hidden;
    awq_dtype dtype = stored_dtype(j, e);
    for (int64_t h = e * H; h < (e + 1) * H; h++)
        s->unscale[h] = awq__fold_norm(AWQ__ROUNDING_NORM, dtype, 1, s->scale[h]);
}

static awq_status search_own(own_search *s)
{
    const awq__experts_job *j = s->j;
    for (int64_t e = 0; e < j->layer->moe.expert_count; e++)
        if (awq__expert_has_own_input(j, e))
            add_set(s, e);
    awq_status status = search_sets(s);
    for (int64_t i = 0; i < s->set_count && status == AWQ_OK; i++)
        settle_own(s, s->expert_of[i]);
    return status;
}

/* release it also after a failure. */
static awq_status create(awq__experts_job *j, own_search *s)
{
    awq_context *ctx = j->job->ctx;
    size_t E = (size_t)j->layer->moe.expert_count, H = (size_t)j->layer->hidden;
    *s = (own_search){.j = j};
    s->statistics = awq__alloc(ctx, 2 * E * H, sizeof *s->statistics, "salience");
    s->given = awq__alloc_aligned(ctx, (1 + JOINED) * H, sizeof *s->given, "scales");
    s->sets = awq__alloc(ctx, E, sizeof *s->sets, "scale search");
    s->items = awq__alloc(ctx, 2 * E, sizeof *s->items, "scale search");
    s->expert_of = awq__alloc(ctx, E, sizeof *s->expert_of, "scale search");
    return s->statistics && s->given && s->sets && s->items && s->expert_of ? AWQ_OK
                                                                            : AWQ_ERROR_MEMORY;
}

static void release(own_search *s)
{
    awq__free(s->statistics);
    awq__free_aligned(s->given);
    awq__free(s->sets);
    awq__free(s->items);
    awq__free(s->expert_of);
}

awq_status awq__experts_search_joined(awq__experts_job *j, awq__found_scale *input)
{
    own_search s;
    size_t count = (size_t)(j->layer->moe.expert_count * j->layer->hidden);
    awq_status status = create(j, &s);
    float *scales = awq__alloc_aligned(j->job->ctx, 2 * count, sizeof *scales, "scales");
    if (!scales)
        status = AWQ_ERROR_MEMORY;
    if (status == AWQ_OK) {
        s.scale = scales;
        s.unscale = scales + count;
        status = search_joined(&s, input);
    }
    awq__free_aligned(scales);
    release(&s);
    return status;
}

awq_status awq__experts_search_own(awq__experts_job *j)
{
    own_search s;
    awq_status status = create(j, &s);
    if (status == AWQ_OK) {
        for (int64_t h = 0; h < j->layer->hidden; h++)
            s.given[h] = 1;
        s.ones = s.given;
        s.scale = j->folded->own_scale;
        s.unscale = j->folded->own_unscale;
        status = search_own(&s);
    }
    release(&s);
    return status;
}
