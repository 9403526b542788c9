/* Statistics of each expert's inputs over the tokens that it sees, and the scale of its down
 * projection. */
#include "run/experts.h"

#include <stdlib.h>
#include <string.h>

typedef struct nearness {
    float logit;
    int64_t token;
} nearness;

static int compare_nearness(const void *a, const void *b)
{
    const nearness *p = a, *q = b;
    if (p->logit != q->logit)
        return p->logit > q->logit ? -1 : 1;
    return (p->token > q->token) - (p->token < q->token);
}

/*
 * An expert that saw fewer than min_tokens borrows the tokens that came nearest to being routed to
 * it, by the router's logit, until it has as many: the fewer its own, the more its statistics are
 * the layer's.
 */
static awq_status borrow(awq__experts_job *j, int64_t e)
{
    awq__expert_state *state = &j->experts[e];
    const awq__routes *routes = j->routes;
    int64_t wanted = j->min_tokens - state->routed, others = 0, next = 0;
    if (wanted <= 0)
        return AWQ_OK;
    nearness *list =
        awq__alloc(j->job->ctx, (size_t)routes->tokens, sizeof *list, "tokens to borrow");
    if (!list)
        return AWQ_ERROR_MEMORY;
    for (int64_t t = 0; t < routes->tokens; t++) {
        while (next < state->routed && state->tokens[next] < t) /* its own tokens rise */
            next++;
        if (next < state->routed && state->tokens[next] == t)
            continue;
        list[others++] = (nearness){routes->logits[t * routes->routed + e], t};
    }
    qsort(list, (size_t)others, sizeof *list, compare_nearness);
    state->borrowed = awq__min(wanted, others);
    for (int64_t i = 0; i < state->borrowed; i++)
        state->tokens[state->routed + i] = list[i].token;
    awq__free(list);
    return AWQ_OK;
}

static awq_status list_tokens(awq__experts_job *j, int64_t e)
{
    awq__expert_state *state = &j->experts[e];
    const awq__routes *routes = j->routes;
    int64_t first = routes->first[e];
    state->routed = routes->first[e + 1] - first;
    size_t most = (size_t)(state->routed + awq__max(0, j->min_tokens - state->routed));
    state->tokens = awq__alloc(j->job->ctx, most, sizeof *state->tokens, "an expert's tokens");
    if (!state->tokens)
        return AWQ_ERROR_MEMORY;
    for (int64_t i = 0; i < state->routed; i++)
        state->tokens[i] = routes->slots[first + i] / routes->per_token;
    return borrow(j, e);
}

/* x -> input statistics, a(gate(x), up(x)) -> inner statistics, over the expert's tokens. */
static void gather(const awq__experts_job *j, int64_t e, awq__stats *input, awq__stats *inner,
                   float *space)
{
    const awq__expert_state *state = &j->experts[e];
    const awq__stream *stream = &j->job->calibration;
    const awq__compute *compute = stream->forward.compute;
    const awq__expert *expert = &j->layer->moe.experts[e];
    const int64_t B = AWQ__TOKEN_BLOCK, H = j->layer->hidden, I = expert->intermediate;
    float *x = space, *y = x + B * H, *up = y + B * I, *work = up + B * I;
    int64_t count = state->routed + state->borrowed;
    for (int64_t first = 0; first < count; first += B) {
        int64_t T = awq__min(B, count - first);
        for (int64_t i = 0; i < T; i++)
            memcpy(x + i * H, stream->x + state->tokens[first + i] * H, (size_t)H * sizeof *x);
        awq__stats_add(compute, input, T, x, H);
        awq__expert_inner(&stream->forward, j->layer, expert, T, x, y, up, work);
        awq__stats_add(compute, inner, T, y, I);
    }
}

static awq_status search_down(awq__experts_job *j, int64_t e, const awq__stats *inner, float *work)
{
    awq__expert_state *state = &j->experts[e];
    awq_context *ctx = j->job->ctx;
    const awq__compute *compute = j->job->calibration.forward.compute;
    const awq__weight *down = &j->layer->moe.experts[e].down;
    int64_t I = down->cols, stride = j->layer->moe.intermediate;
    awq__scheme scheme = awq__expert_scheme(j, e, 2);
    double *salience = awq__alloc(ctx, 2 * (size_t)I, sizeof *salience, "salience");
    if (!salience)
        return AWQ_ERROR_MEMORY;
    double *relative = salience + I;
    for (int64_t k = 0; k < I; k++)
        salience[k] = inner->abs_sums[k] / (double)awq__max(inner->tokens, 1);
    awq__mean_relative(compute, &down, 1, scheme.group, relative, work);
    awq__candidates candidates = {.cols = I,
                                  .salience = salience,
                                  .relative = relative,
                                  .steps = j->steps,
                                  .rounding = j->rounding};
    awq_status status = awq__search_linear(ctx, compute, &down, 1, &scheme, &candidates, inner,
                                           j->folded->down_scale + e * stride,
                                           j->folded->down_unscale + e * stride, &state->down);
    awq__free(salience);
    return status;
}

static awq_status measure_weights(awq__experts_job *j, int64_t e, float *work)
{
    awq__expert_state *state = &j->experts[e];
    const awq__expert *expert = &j->layer->moe.experts[e];
    const awq__weight *weights[2];
    int64_t count = 0;
    if (state->quantize[0])
        weights[count++] = &expert->gate;
    if (state->quantize[1])
        weights[count++] = &expert->up;
    if (!count)
        return AWQ_OK;
    state->relative =
        awq__alloc(j->job->ctx, (size_t)j->layer->hidden, sizeof *state->relative, "weights");
    if (!state->relative)
        return AWQ_ERROR_MEMORY;
    awq__scheme scheme = awq__expert_scheme(j, e, state->quantize[0] ? 0 : 1);
    awq__mean_relative(j->job->calibration.forward.compute, weights, count, scheme.group,
                       state->relative, work);
    state->relative_rows = count * expert->gate.rows;
    return AWQ_OK;
}

/* All of one expert: a task. */
static awq_status run_expert(void *arg, int64_t e, int worker)
{
    awq__experts_job *j = arg;
    (void)worker;
    awq__expert_state *state = &j->experts[e];
    awq_context *ctx = j->job->ctx;
    const int64_t B = AWQ__TOKEN_BLOCK, H = j->layer->hidden;
    const int64_t I = j->layer->moe.experts[e].intermediate;
    awq__stats inner = {0};
    size_t floats = (size_t)(B * (H + 2 * I) + awq__expert_work(j->layer));
    float *space = awq__alloc_aligned(ctx, floats, sizeof *space, "expert statistics");
    awq_status status = space ? list_tokens(j, e) : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK)
        status = awq__stats_create(ctx, H, awq__expert_scheme(j, e, 0).group, &state->input);
    /* The search wants all of x^T x, clipping alone its blocks. */
    bool search = j->fold_up && state->quantize[2];
    int64_t group = awq__expert_scheme(j, e, 2).group;
    if (status == AWQ_OK)
        status = awq__stats_create(ctx, I, search ? I : group, &inner);
    if (status == AWQ_OK) {
        gather(j, e, &state->input, &inner, space);
        status = measure_weights(j, e, space);
    }
    if (status == AWQ_OK && search)
        status = search_down(j, e, &inner, space);
    if (status == AWQ_OK && inner.group != group) {
        status = awq__stats_blocks(ctx, &inner, group, &state->inner);
        awq__stats_free(&inner);
    } else if (status == AWQ_OK) {
        state->inner = inner;
    } else {
        awq__stats_free(&inner);
    }
    awq__free(space);
    return status;
}

awq_status awq__experts_statistics(awq__experts_job *j)
{
    return awq__parallel_for(j->job->ctx, j->layer->moe.expert_count, run_expert, j);
}
