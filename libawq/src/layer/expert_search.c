/* The scales of a layer's experts: of their common input, and of the input of each down. */
#include "layer/experts.h"

#include <math.h>
#include <string.h>

typedef struct salience_job {
    const awq__stream *stream;
    int64_t H;
    double *sums; /* [blocks of tokens][H] */
} salience_job;

static awq_status add_block(void *arg, int64_t index, int worker)
{
    salience_job *j = arg;
    (void)worker;
    int64_t first = index * AWQ__TOKEN_BLOCK;
    int64_t T = awq__min(AWQ__TOKEN_BLOCK, j->stream->tokens - first);
    j->stream->forward.compute->add_abs(T, j->H, j->stream->x + first * j->H, j->H,
                                        j->sums + index * j->H);
    return AWQ_OK;
}

/* Mean |x| of each channel over all tokens of the layer. */
static awq_status layer_salience(const awq__experts_job *j, double *salience)
{
    awq_context *ctx = j->job->ctx;
    int64_t H = j->layer->hidden, T = j->job->calibration.tokens;
    int64_t blocks = awq__ceil_div(T, AWQ__TOKEN_BLOCK);
    salience_job s = {.stream = &j->job->calibration, .H = H};
    s.sums = awq__alloc(ctx, (size_t)(blocks * H), sizeof *s.sums, "salience");
    awq_status status = s.sums ? awq__parallel_for(ctx, blocks, add_block, &s) : AWQ_ERROR_MEMORY;
    for (int64_t h = 0; h < H && status == AWQ_OK; h++) {
        salience[h] = 0;
        for (int64_t b = 0; b < blocks; b++)
            salience[h] += s.sums[b * H + h] / (double)T;
        if (!isfinite(salience[h]))
            status =
                awq__fail(ctx, AWQ_ERROR_NUMERIC,
                          "%s: its output on the calibration tokens is not finite in channel %lld",
                          awq__expert_module(j, 0, 0)->name, (long long)h);
    }
    awq__free(s.sums);
    return status;
}

static void layer_relative(const awq__experts_job *j, double *relative)
{
    int64_t H = j->layer->hidden, rows = 0;
    memset(relative, 0, (size_t)H * sizeof *relative);
    for (int64_t e = 0; e < j->layer->moe.expert_count; e++)
        rows += j->experts[e].relative_rows;
    for (int64_t e = 0; e < j->layer->moe.expert_count; e++) {
        const awq__expert_state *state = &j->experts[e];
        for (int64_t h = 0; h < H && state->relative_rows; h++)
            relative[h] += state->relative[h] * (double)state->relative_rows / (double)rows;
    }
}

/* ---- the scales of down ---- */

/* Salience and relative weights of one down, and its set. [2][I] of doubles are the caller's. */
static awq_status down_set(const awq__experts_job *j, int64_t e, double *space,
                           awq__search_set *set)
{
    const awq__stats *inner = &j->experts[e].inner;
    const awq__weight *down = &j->layer->moe.experts[e].down;
    int64_t I = down->cols, stride = j->layer->moe.intermediate;
    float *work =
        awq__alloc_aligned(j->job->ctx, (size_t)awq__weight_work(down), sizeof *work, "weights");
    if (!work)
        return AWQ_ERROR_MEMORY;
    for (int64_t k = 0; k < I; k++)
        space[k] = inner->abs_sums[k] / (double)awq__max(inner->tokens, 1);
    awq__mean_relative(j->job->calibration.forward.compute, &down, 1, awq__expert_group(j, e, 1),
                       space + I, work);
    awq__free_aligned(work);
    *set = (awq__search_set){
        .candidates = {.cols = I, .salience = space, .relative = space + I, .steps = j->steps},
        .name = down->name,
        .scale = j->folded->down_scale + e * stride,
        .unscale = j->folded->down_unscale + e * stride};
    return AWQ_OK;
}

/* ---- all of them together ---- */

typedef struct searcher {
    awq__experts_job *j;
    double *input;         /* [2][H] salience and relative weights of the common input */
    double *downs;         /* [E][2][I] */
    awq__search_set *sets; /* one for the common input, then one an expert */
    awq__search_item *items;
    int64_t set_count, item_count;
    int64_t *expert_of; /* [set_count] the expert whose down it is */
} searcher;

static void add_input_set(searcher *s)
{
    awq__experts_job *j = s->j;
    int64_t set = s->set_count++, H = j->layer->hidden;
    s->sets[set] = (awq__search_set){.candidates = {.cols = H,
                                                    .salience = s->input,
                                                    .relative = s->input + H,
                                                    .steps = j->steps,
                                                    .norm = j->layer->moe.norm,
                                                    .norm_dtype = j->layer->moe.norm_dtype},
                                     .name = j->layer->moe.experts[0].gate.name,
                                     .scale = j->folded->moe_scale,
                                     .unscale = j->folded->moe_unscale};
    s->expert_of[set] = -1;
    for (int64_t e = 0; e < j->layer->moe.expert_count; e++)
        for (int part = 0; part < 2; part++)
            if (j->experts[e].treatment[part])
                s->items[s->item_count++] =
                    (awq__search_item){.weight = awq__expert_weight(j->layer, e, part),
                                       .stats = &j->experts[e].input,
                                       .row_weight = j->experts[e].row_weight[part],
                                       .scheme = awq__expert_scheme(j, e, part),
                                       .set = set};
}

static awq_status add_down_sets(searcher *s)
{
    awq__experts_job *j = s->j;
    awq_status status = AWQ_OK;
    for (int64_t e = 0; e < j->layer->moe.expert_count && status == AWQ_OK; e++) {
        int64_t set = s->set_count;
        if (!awq__expert_scales_down(j, e))
            continue;
        status = down_set(j, e, s->downs + e * 2 * j->layer->moe.intermediate, &s->sets[set]);
        s->items[s->item_count++] = (awq__search_item){.weight = awq__expert_weight(j->layer, e, 2),
                                                       .stats = &j->experts[e].inner,
                                                       .scheme = awq__expert_scheme(j, e, 2),
                                                       .set = set};
        s->expert_of[set] = e;
        s->set_count++;
    }
    return status;
}

static awq_status run_search(searcher *s, awq__found_scale *input)
{
    awq__experts_job *j = s->j;
    awq_status status = AWQ_OK;
    if (j->fold_input) {
        status = layer_salience(j, s->input);
        layer_relative(j, s->input + j->layer->hidden);
        add_input_set(s);
    }
    if (status == AWQ_OK && j->fold_up)
        status = add_down_sets(s);
    if (status == AWQ_OK)
        status = awq__search_moments(j->job->ctx, j->job->calibration.forward.compute, s->items,
                                     s->item_count, s->sets, s->set_count);
    for (int64_t i = 0; i < s->set_count && status == AWQ_OK; i++)
        if (s->expert_of[i] < 0)
            *input = s->sets[i].found;
        else
            j->experts[s->expert_of[i]].down = s->sets[i].found;
    return status;
}

awq_status awq__experts_search(awq__experts_job *j, awq__found_scale *input)
{
    awq_context *ctx = j->job->ctx;
    size_t E = (size_t)j->layer->moe.expert_count, I = (size_t)j->layer->moe.intermediate;
    searcher s = {.j = j};
    s.input = awq__alloc(ctx, 2 * (size_t)j->layer->hidden, sizeof *s.input, "salience");
    s.downs = awq__alloc(ctx, j->fold_up ? 2 * E * I : 1, sizeof *s.downs, "salience");
    s.sets = awq__alloc(ctx, E + 1, sizeof *s.sets, "scale search");
    s.items = awq__alloc(ctx, 3 * E, sizeof *s.items, "scale search");
    s.expert_of = awq__alloc(ctx, E + 1, sizeof *s.expert_of, "scale search");
    awq_status status = s.input && s.downs && s.sets && s.items && s.expert_of
                            ? run_search(&s, input)
                            : AWQ_ERROR_MEMORY;
    awq__free(s.input);
    awq__free(s.downs);
    awq__free(s.sets);
    awq__free(s.items);
    awq__free(s.expert_of);
    return status;
}
