/* Clipping of each expert's matrices, and the guard: rounding is tried on a sample of its tokens.
 */
#include "layer/experts.h"

#include <string.h>

static void read_codes(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    awq__codes_read((const awq__codes *)(const void *)weight->data, first, count, out);
}

static void read_codes_panel(const awq__weight *weight, int64_t first, int64_t count, int64_t col,
                             int64_t cols, float *out)
{
    awq__codes_read_panel((const awq__codes *)(const void *)weight->data, first, count, col, cols,
                          out);
}

/* Codes in place of a weight; unscale (or NULL) takes the fold out of their columns. */
static awq__weight weight_of_codes(const awq__codes *codes, const float *unscale,
                                   const awq__weight *source)
{
    return (awq__weight){.rows = codes->rows,
                         .cols = codes->cols,
                         .read = read_codes,
                         .read_panel = read_codes_panel,
                         .data = (const uint8_t *)(const void *)codes,
                         .col_scale = unscale,
                         .bias = source->bias,
                         .bias_scale = source->bias_scale,
                         .name = source->name};
}

typedef struct sample {
    int64_t T;
    float *x, *y, *up, *expected, *output;
} sample;

static size_t sample_floats(const awq__layer *layer, int64_t T)
{
    return (size_t)(T * (3 * layer->hidden + 2 * layer->moe.intermediate));
}

static float *take_sample(const awq__experts_job *j, int64_t e, sample *s)
{
    const awq__expert_state *state = &j->experts[e];
    const awq__stream *stream = &j->job->calibration;
    const int64_t B = AWQ__TOKEN_BLOCK, H = j->layer->hidden;
    const int64_t I = j->layer->moe.experts[e].intermediate;
    int64_t count = state->routed ? state->routed : state->borrowed;
    int64_t stride = awq__max(awq__ceil_div(count, B), 1);
    s->T = awq__ceil_div(count, stride);
    float *space = awq__alloc_aligned(j->job->ctx, sample_floats(j->layer, s->T), sizeof *space,
                                      "a sample of tokens");
    if (!space)
        return NULL;
    s->x = space;
    s->expected = s->x + s->T * H;
    s->output = s->expected + s->T * H;
    s->y = s->output + s->T * H;
    s->up = s->y + s->T * I;
    for (int64_t i = 0; i < s->T; i++)
        stream->forward.compute->gather(1, H, state->tokens + i * stride, 1, stream->x,
                                        s->x + i * H);
    return space;
}

/* y[T,N] of x[T,K]. */
static awq_status multiply(const awq__experts_job *j, const awq__weight *weight, int64_t T,
                           const float *x, float *y)
{
    return awq__linear_parallel(j->job->ctx, j->job->calibration.forward.compute, weight, T, x,
                                weight->cols, y, weight->rows);
}

/* What the expert gives before anything is rounded. */
static awq_status run_sample(const awq__experts_job *j, int64_t e, const sample *s)
{
    const awq__expert *expert = &j->layer->moe.experts[e];
    awq_status status = multiply(j, &expert->gate, s->T, s->x, s->y);
    if (status == AWQ_OK)
        status = multiply(j, &expert->up, s->T, s->x, s->up);
    if (status == AWQ_OK)
        awq__expert_activate(&j->job->calibration.forward, j->layer, expert,
                             s->T * expert->intermediate, s->y, s->up, s->y);
    return status == AWQ_OK ? multiply(j, &expert->down, s->T, s->y, s->expected) : status;
}

static awq_status round_part(const awq__experts_job *j, int64_t e, const awq__layer *layer,
                             int part, const awq__range *range, awq__codes *codes)
{
    const awq__weight *source = awq__expert_weight(layer, e, part);
    awq__scheme scheme = awq__expert_scheme(j, e, part);
    awq_status status = awq__codes_create(j->job->ctx, source->rows, source->cols, &scheme, codes);
    if (status == AWQ_OK)
        status = awq__codes_round(j->job->ctx, j->job->calibration.forward.compute, source, range,
                                  codes);
    return status;
}

/* y[T,N] = the part's output of x[T,K]. Where it is quantized, codes take the place of its weight,
   which is in `layer` (folded or the source's): given ones, or to nearest within range or without,
   which live no longer than this. */
static awq_status run_part(const awq__experts_job *j, int64_t e, const awq__layer *layer, int part,
                           const awq__codes *given, const awq__range *range, const sample *s,
                           const float *x, float *y)
{
    const awq__weight *source = awq__expert_weight(layer, e, part);
    /* x is not folded: the fold is taken out of the columns of gate and up */
    const float *unscale = part < 2 && source->col_scale ? awq__expert_unscale(j, e) : NULL;
    awq__weight used = *source;
    awq__codes rounded = {0};
    awq_status status = AWQ_OK;
    if (j->experts[e].treatment[part]) {
        if (!given)
            status = round_part(j, e, layer, part, range, &rounded);
        used = weight_of_codes(given ? given : &rounded, unscale, source);
    } else if (part < 2) {
        used.col_scale = NULL;
    }
    if (status == AWQ_OK)
        status = multiply(j, &used, s->T, x, y);
    awq__codes_free(&rounded);
    return status;
}

/* Error of the expert's output with codes in place of its quantized parts. codes [3] or NULL; range
   [3] or NULL. */
static awq_status codes_error(const awq__experts_job *j, int64_t e, const awq__layer *layer,
                              const awq__codes *codes, awq__range *const *range, const sample *s,
                              double *error)
{
    const awq__forward *forward = &j->job->calibration.forward;
    const awq__expert *expert = &layer->moe.experts[e];
    const float *x[] = {s->x, s->x, s->y};
    float *y[] = {s->y, s->up, s->output};
    awq_status status = AWQ_OK;
    for (int part = 0; part < 3 && status == AWQ_OK; part++) {
        if (part == 2)
            awq__expert_activate(forward, layer, expert, s->T * expert->intermediate, s->y, s->up,
                                 s->y);
        status = run_part(j, e, layer, part, codes ? &codes[part] : NULL,
                          range ? range[part] : NULL, s, x[part], y[part]);
    }
    if (status == AWQ_OK)
        *error =
            forward->compute->squared_error(s->T, j->layer->hidden, s->output, s->expected, NULL);
    return status;
}

awq_status awq__expert_error(const awq__experts_job *j, int64_t e, const awq__codes codes[3],
                             double *error)
{
    sample s;
    float *space = take_sample(j, e, &s);
    if (!space)
        return AWQ_ERROR_MEMORY;
    awq_status status = run_sample(j, e, &s);
    if (status == AWQ_OK)
        status = codes_error(j, e, &j->folded->layer, codes, NULL, &s, error);
    awq__free_aligned(space);
    return status;
}

/* What ranges are chosen by, of the input of gate and up (0) or of down (1). */
static awq__stats *range_stats(awq__expert_state *state, int which)
{
    awq__stats *all = which ? &state->inner : &state->input;
    return state->blocks[which].cols ? &state->blocks[which] : all;
}

static awq_status search_part(awq__experts_job *j, int64_t e, int part)
{
    awq__expert_state *state = &j->experts[e];
    awq_context *ctx = j->job->ctx;
    const awq__compute *compute = j->job->calibration.forward.compute;
    const awq__weight *weight = awq__expert_weight(&j->folded->layer, e, part);
    awq__scheme scheme = awq__expert_scheme(j, e, part);
    size_t groups = (size_t)(weight->rows * (weight->cols / scheme.group));
    const awq__stats *stats = range_stats(state, part == 2);
    awq__stats made = {0};
    state->range[part] =
        awq__alloc_aligned(ctx, groups, sizeof *state->range[part], "ranges of groups");
    awq_status status = state->range[part] ? AWQ_OK : AWQ_ERROR_MEMORY;
    bool cut = stats->group != scheme.group || stats->rows;
    if (status == AWQ_OK && cut)
        status = awq__stats_blocks(ctx, compute, stats, scheme.group, &made);
    if (status == AWQ_OK)
        status = awq__search_clip(ctx, compute, weight, &scheme, cut ? &made : stats,
                                  state->range[part]);
    awq__stats_free(&made);
    return status;
}

/* Takes the fold into the statistics of gate and up (0) or of down (1). */
static void rescale(const awq__compute *compute, awq__expert_state *state, int which,
                    const float *factor)
{
    awq__stats_rescale(compute, range_stats(state, which), factor);
}

static bool clips(const awq__expert_state *state, int part)
{
    return state->treatment[part] && state->treatment[part]->clip;
}

static awq_status search_ranges(awq__experts_job *j, int64_t e)
{
    awq__expert_state *state = &j->experts[e];
    const awq__folded *folded = j->folded;
    const awq__compute *compute = j->job->calibration.forward.compute;
    const float *unscale = awq__expert_unscale(j, e);
    int64_t stride = j->layer->moe.intermediate;
    if (unscale)
        rescale(compute, state, 0, unscale);
    if (awq__expert_scales_down(j, e))
        rescale(compute, state, 1, folded->down_unscale + e * stride);
    awq_status status = AWQ_OK;
    for (int part = 0; part < 3 && status == AWQ_OK; part++)
        if (clips(state, part))
            status = search_part(j, e, part);
    return status;
}

static void drop_ranges(awq__expert_state *state)
{
    for (int part = 0; part < 3; part++) {
        awq__free_aligned(state->range[part]);
        state->range[part] = NULL;
    }
}

/* All of one expert: a task. Ranges stay only if they do not make the sample's output worse. */
static awq_status run_expert(void *arg, int64_t e, int worker)
{
    awq__experts_job *j = arg;
    (void)worker;
    awq__expert_state *state = &j->experts[e];
    double with_ranges = 0;
    sample s;
    float *space = take_sample(j, e, &s);
    if (!space)
        return AWQ_ERROR_MEMORY;
    awq_status status = run_sample(j, e, &s);
    if (status == AWQ_OK)
        status = codes_error(j, e, j->layer, NULL, NULL, &s, &state->plain_error);
    if (status == AWQ_OK)
        status = codes_error(j, e, &j->folded->layer, NULL, NULL, &s, &state->error);
    if (status == AWQ_OK && (clips(state, 0) || clips(state, 1) || clips(state, 2))) {
        status = search_ranges(j, e);
        if (status == AWQ_OK)
            status = codes_error(j, e, &j->folded->layer, NULL, state->range, &s, &with_ranges);
        state->clipped = status == AWQ_OK && with_ranges < state->error;
        if (state->clipped)
            state->error = with_ranges;
        else
            drop_ranges(state);
    }
    awq__free_aligned(space);
    return status;
}

/* Of a worker: the sample, and beside it the codes of one part with their scales and a block of its
   weights, or the three blocks of a part's rows that awq__search_clip works on. */
size_t awq__expert_clip_bytes(const awq__layer *layer)
{
    size_t weights = (size_t)layer->hidden * (size_t)layer->moe.intermediate;
    size_t block = (size_t)awq__expert_work(layer) * sizeof(float);
    size_t codes = weights + weights / 4 + block, blocks = 3 * block;
    return sample_floats(layer, AWQ__TOKEN_BLOCK) * sizeof(float) +
           (codes > blocks ? codes : blocks);
}

awq_status awq__experts_clip(awq__experts_job *j)
{
    return awq__parallel_nested(j->job->ctx, awq__expert_clip_bytes(j->layer),
                                j->layer->moe.expert_count, run_expert, j);
}
