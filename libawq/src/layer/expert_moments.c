/*
 * The whole x^T x of an expert's inputs, for error-compensated rounding. That of down takes I x I
 * floats, 822 MB in Mixtral, so that it may be one expert at a time: the loops here share what one
 * expert takes between the threads.
 */
#include "layer/experts.h"

#include <string.h>

/* An expert that saw fewer tokens than OWN_TOKENS a column takes POOLED_TOKENS a column of the
   layer's into its whole moments, but no more than MOST_POOLED. */
#define OWN_TOKENS 8
#define POOLED_TOKENS 2
#define MOST_POOLED ((int64_t)4096)

/* ---- tokens ---- */

/* Tokens of the layer, spread evenly, that join those of an expert with few: without them its
   moments would not tell what other inputs do. */
static int64_t pooled_tokens(const awq__experts_job *j, int64_t e)
{
    const awq__expert_state *state = &j->experts[e];
    int64_t cols = awq__max(j->layer->hidden, j->layer->moe.experts[e].intermediate);
    int64_t own = state->routed + state->borrowed;
    if (own >= OWN_TOKENS * cols)
        return 0;
    return awq__min(awq__min(POOLED_TOKENS * cols, MOST_POOLED), j->routes->tokens);
}

typedef struct tokens {
    int64_t count;
    const int64_t *index;
    const float *weight;
} tokens;

/* A block of tokens: x[T,H] and, for the moments of the input of down, y[T,I]. */
typedef struct passage {
    float *x, *y, *up;
} passage;

static size_t passage_floats(const awq__layer *layer, bool inner)
{
    return (size_t)(awq__expert_tokens(layer) *
                    (layer->hidden + (inner ? 2 * layer->moe.intermediate : 0)));
}

static awq_status add_tokens(const awq__experts_job *j, int64_t e, bool inner, const tokens *list,
                             const passage *p, awq__stats *stats)
{
    const awq__stream *stream = &j->job->calibration;
    const awq__forward *forward = &stream->forward;
    const awq__expert *expert = &j->layer->moe.experts[e];
    const int64_t B = awq__expert_tokens(j->layer), H = j->layer->hidden, I = expert->intermediate;
    awq_status status = AWQ_OK;
    for (int64_t first = 0; first < list->count && status == AWQ_OK; first += B) {
        int64_t T = awq__min(B, list->count - first);
        forward->compute->gather(T, H, list->index + first, 1, stream->x, p->x);
        if (inner) {
            status = awq__linear_parallel(forward->ctx, forward->compute, &expert->gate, T, p->x, H,
                                          p->y, I);
            if (status == AWQ_OK)
                status = awq__linear_parallel(forward->ctx, forward->compute, &expert->up, T, p->x,
                                              H, p->up, I);
            if (status == AWQ_OK)
                awq__expert_activate(forward, j->layer, expert, T * I, p->y, p->up, p->y);
        }
        if (status != AWQ_OK)
            break;
        float *rows = inner ? p->y : p->x;
        forward->compute->scale(T, stats->cols, list->weight + first, NULL, rows);
        status = awq__stats_add_whole(forward->ctx, forward->compute, stats, T, rows, stats->cols);
    }
    return status;
}

static awq_status add_all_tokens(const awq__experts_job *j, int64_t e, bool inner,
                                 awq__stats *stats)
{
    awq_context *ctx = j->job->ctx;
    const awq__expert_state *state = &j->experts[e];
    const int64_t B = awq__expert_tokens(j->layer), pooled = pooled_tokens(j, e);
    const tokens own = {state->routed + state->borrowed, state->tokens, state->weights};
    float *space =
        awq__alloc_aligned(ctx, passage_floats(j->layer, inner), sizeof *space, "expert moments");
    int64_t *index = awq__alloc(ctx, (size_t)pooled, sizeof *index, "tokens of the layer");
    float *weight = awq__alloc(ctx, (size_t)pooled, sizeof *weight, "tokens of the layer");
    awq_status status = space && index && weight ? AWQ_OK : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK) {
        passage p = {.x = space, .y = space + B * j->layer->hidden};
        p.up = p.y + B * j->layer->moe.experts[e].intermediate;
        float mean = awq__unrouted_weight(j);
        for (int64_t i = 0; i < pooled; i++) {
            index[i] = i * j->routes->tokens / pooled;
            weight[i] = mean;
        }
        status = add_tokens(j, e, inner, &own, &p, stats);
        if (status == AWQ_OK)
            status = add_tokens(j, e, inner, &(tokens){pooled, index, weight}, &p, stats);
    }
    awq__free_aligned(space);
    awq__free(index);
    awq__free(weight);
    return status;
}

awq_status awq__expert_moments(const awq__experts_job *j, int64_t e, bool inner, awq__stats *stats)
{
    const awq__compute *compute = j->job->calibration.forward.compute;
    const awq__expert *folded = &j->folded->layer.moe.experts[e];
    int64_t K = inner ? folded->intermediate : j->layer->hidden;
    const float *unscale = inner ? NULL : awq__expert_unscale(j, e);
    if (inner && folded->down.col_scale)
        unscale = j->folded->down_unscale + e * j->layer->moe.intermediate;
    awq_status status = awq__stats_create(j->job->ctx, K, K, stats);
    if (status != AWQ_OK)
        return status;
    status = add_all_tokens(j, e, inner, stats);
    awq__stats_mirror(compute, stats);
    if (unscale)
        awq__stats_rescale(compute, stats, unscale);
    return status;
}

size_t awq__expert_moments_bytes(const awq__layer *layer)
{
    size_t K = (size_t)awq__max(layer->hidden, layer->moe.intermediate);
    return (K * K + passage_floats(layer, true)) * sizeof(float);
}
