/* Clipping of each expert's matrices, and the guard: rounding is tried on a sample of its tokens.
 */
#include "run/experts.h"

#include <string.h>

static void read_codes(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    awq__codes_read((const awq__codes *)(const void *)weight->data, first, count, out);
}

/* Codes in place of a weight; unscale (or NULL) takes the fold out of their columns. */
static awq__weight weight_of_codes(const awq__codes *codes, const float *unscale,
                                   const awq__weight *source)
{
    return (awq__weight){.rows = codes->rows,
                         .cols = codes->cols,
                         .read = read_codes,
                         .data = (const uint8_t *)(const void *)codes,
                         .col_scale = unscale,
                         .bias = source->bias,
                         .bias_scale = source->bias_scale,
                         .name = source->name};
}

typedef struct sample {
    int64_t T;
    float *x, *y, *up, *expected, *output, *work;
} sample;

static float *take_sample(const awq__experts_job *j, int64_t e, sample *s)
{
    const awq__expert_state *state = &j->experts[e];
    const awq__stream *stream = &j->job->calibration;
    const int64_t B = AWQ__TOKEN_BLOCK, H = j->layer->hidden;
    const int64_t I = j->layer->moe.experts[e].intermediate;
    int64_t count = state->routed ? state->routed : state->borrowed;
    int64_t stride = awq__max(awq__ceil_div(count, B), 1);
    s->T = awq__ceil_div(count, stride);
    size_t floats = (size_t)(s->T * (3 * H + 2 * I) + awq__expert_work(j->layer));
    float *space = awq__alloc_aligned(j->job->ctx, floats, sizeof *space, "a sample of tokens");
    if (!space)
        return NULL;
    s->x = space;
    s->expected = s->x + s->T * H;
    s->output = s->expected + s->T * H;
    s->y = s->output + s->T * H;
    s->up = s->y + s->T * I;
    s->work = s->up + s->T * I;
    for (int64_t i = 0; i < s->T; i++)
        memcpy(s->x + i * H, stream->x + state->tokens[i * stride] * H, (size_t)H * sizeof *s->x);
    return space;
}

static void run_sample(const awq__experts_job *j, const awq__expert *expert, const sample *s,
                       float *output)
{
    const awq__forward *forward = &j->job->calibration.forward;
    int64_t H = j->layer->hidden, I = expert->intermediate;
    awq__expert_inner(forward, j->layer, expert, s->T, s->x, s->y, s->up, s->work);
    awq__linear(forward->compute, &expert->down, s->T, s->y, I, output, H, s->work);
}

/* Error of the expert with its quantized parts rounded: as in `layer` (folded or the source's),
   with limits or without. */
static awq_status rounded_error(const awq__experts_job *j, int64_t e, const awq__layer *layer,
                                float *const *limit, const sample *s, double *error)
{
    const awq__compute *compute = j->job->calibration.forward.compute;
    const float *unscale = layer == j->layer ? NULL : j->folded->moe_unscale;
    awq__expert expert = layer->moe.experts[e];
    awq__weight *parts[] = {&expert.gate, &expert.up, &expert.down};
    awq__codes codes[3] = {0};
    awq_status status = AWQ_OK;
    for (int part = 0; part < 3 && status == AWQ_OK; part++) {
        awq__weight source = *parts[part];
        if (!j->experts[e].quantize[part]) {
            if (part < 2) /* x is not folded: take the fold out of the columns */
                parts[part]->col_scale = NULL;
            continue;
        }
        awq__scheme scheme = awq__expert_scheme(j, e, part);
        status = awq__codes_create(j->job->ctx, source.rows, source.cols, &scheme, &codes[part]);
        if (status == AWQ_OK)
            status = awq__codes_round(j->job->ctx, compute, &source, limit ? limit[part] : NULL,
                                      s->work, &codes[part]);
        *parts[part] = weight_of_codes(&codes[part], part < 2 ? unscale : NULL, &source);
    }
    if (status == AWQ_OK) {
        run_sample(j, &expert, s, s->output);
        *error = compute->squared_error(s->T, j->layer->hidden, s->output, s->expected, NULL);
    }
    for (int part = 0; part < 3; part++)
        awq__codes_free(&codes[part]);
    return status;
}

static awq_status search_limits(awq__experts_job *j, int64_t e)
{
    awq__expert_state *state = &j->experts[e];
    const awq__folded *folded = j->folded;
    const awq__compute *compute = j->job->calibration.forward.compute;
    int64_t stride = j->layer->moe.intermediate;
    if (folded->moe_unscale)
        awq__stats_rescale(&state->input, folded->moe_unscale);
    if (j->fold_up && state->quantize[2])
        awq__stats_rescale(&state->inner, folded->down_unscale + e * stride);
    awq_status status = AWQ_OK;
    for (int part = 0; part < 3 && status == AWQ_OK; part++) {
        if (!state->quantize[part])
            continue;
        const awq__weight *weight = awq__expert_weight(&folded->layer, e, part);
        awq__scheme scheme = awq__expert_scheme(j, e, part);
        size_t groups = (size_t)(weight->rows * (weight->cols / scheme.group));
        state->limit[part] = awq__alloc_aligned(j->job->ctx, groups, sizeof(float), "clip limits");
        if (!state->limit[part])
            return AWQ_ERROR_MEMORY;
        status = awq__search_clip(j->job->ctx, compute, weight, &scheme,
                                  part < 2 ? &state->input : &state->inner, state->limit[part]);
    }
    return status;
}

static void drop_limits(awq__expert_state *state)
{
    for (int part = 0; part < 3; part++) {
        awq__free(state->limit[part]);
        state->limit[part] = NULL;
    }
}

/* All of one expert: a task. Limits stay only if they do not make the sample's output worse. */
static awq_status run_expert(void *arg, int64_t e, int worker)
{
    awq__experts_job *j = arg;
    (void)worker;
    awq__expert_state *state = &j->experts[e];
    double with_limits = 0;
    sample s;
    float *space = take_sample(j, e, &s);
    if (!space)
        return AWQ_ERROR_MEMORY;
    run_sample(j, &j->layer->moe.experts[e], &s, s.expected);
    awq_status status = rounded_error(j, e, j->layer, NULL, &s, &state->plain_error);
    if (status == AWQ_OK)
        status = rounded_error(j, e, &j->folded->layer, NULL, &s, &state->error);
    if (status == AWQ_OK && j->job->plan->rules.clip) {
        status = search_limits(j, e);
        if (status == AWQ_OK)
            status = rounded_error(j, e, &j->folded->layer, state->limit, &s, &with_limits);
        state->clipped = status == AWQ_OK && with_limits < state->error;
        if (state->clipped)
            state->error = with_limits;
        else
            drop_limits(state);
    }
    awq__free(space);
    return status;
}

awq_status awq__experts_clip(awq__experts_job *j)
{
    return awq__parallel_for(j->job->ctx, j->layer->moe.expert_count, run_expert, j);
}
