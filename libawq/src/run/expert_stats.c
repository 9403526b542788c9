/* Statistics of each expert's inputs over the tokens that it sees. */
#include "run/experts.h"

#include <stdlib.h>
#include <string.h>

/* The step of the differences that stand for the derivatives of the activation. */
#define STEP 0.01f
/* An expert that saw fewer tokens than OWN_TOKENS a column takes POOLED_TOKENS a column of the
   layer's into its whole moments, but no more than MOST_POOLED. */
#define OWN_TOKENS 8
#define POOLED_TOKENS 2
#define MOST_POOLED ((int64_t)4096)

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

/* The mean routing weight of the layer, for tokens that are borrowed. */
static float mean_weight(const awq__routes *routes)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < routes->tokens * routes->per_token; i++)
        if (routes->index[i] < routes->routed) {
            sum += (double)routes->weight[i];
            count++;
        }
    return count && sum > 0 ? (float)(sum / (double)count) : 1;
}

static awq_status list_tokens(awq__experts_job *j, int64_t e)
{
    awq__expert_state *state = &j->experts[e];
    const awq__routes *routes = j->routes;
    int64_t first = routes->first[e];
    state->routed = routes->first[e + 1] - first;
    size_t most = (size_t)(state->routed + awq__max(0, j->min_tokens - state->routed));
    state->tokens = awq__alloc(j->job->ctx, most, sizeof *state->tokens, "an expert's tokens");
    state->weights = awq__alloc(j->job->ctx, most, sizeof *state->weights, "an expert's tokens");
    if (!state->tokens || !state->weights)
        return AWQ_ERROR_MEMORY;
    for (int64_t i = 0; i < state->routed; i++) {
        state->tokens[i] = routes->slots[first + i] / routes->per_token;
        state->weights[i] = routes->weight[routes->slots[first + i]];
    }
    awq_status status = borrow(j, e);
    float weight = state->borrowed ? mean_weight(routes) : 0;
    for (int64_t i = 0; i < state->borrowed; i++)
        state->weights[state->routed + i] = weight;
    return status;
}

/* ---- one block of tokens ---- */

/* A block of an expert's tokens on its way through the expert. */
typedef struct passage {
    float *x, *gate, *up, *y, *moved, *work; /* [B,H], [B,I] each */
    float *weight;                           /* [B] of the tokens */
    double *slope[2];                        /* [I] sums of squared derivatives by gate and by up */
    double *squares;                         /* [I] work space */
} passage;

/* Adds (weight * (moved - y) / STEP)^2 of each column: moved is the activation with one of its
   inputs a step further. */
static void add_slopes(const passage *p, int64_t T, int64_t I, double *slope)
{
    for (int64_t t = 0; t < T; t++) {
        float factor = p->weight[t] / STEP;
        for (int64_t n = 0; n < I; n++) {
            float difference = (p->moved[t * I + n] - p->y[t * I + n]) * factor;
            slope[n] += (double)(difference * difference);
        }
    }
}

static void step_activation(const awq__forward *forward, const awq__layer *layer,
                            const awq__expert *expert, const passage *p, int64_t T, float *input,
                            double *slope)
{
    int64_t count = T * expert->intermediate;
    for (int64_t i = 0; i < count; i++)
        input[i] += STEP;
    awq__expert_activate(forward, layer, expert, count, p->gate, p->up, p->moved);
    for (int64_t i = 0; i < count; i++)
        input[i] -= STEP;
    add_slopes(p, T, expert->intermediate, slope);
}

static void scale_rows(int64_t T, int64_t K, const float *weight, float *x)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < K; k++)
            x[t * K + k] *= weight[t];
}

/* Adds x[T,K], the expert's tokens from `first` on. A sketch that has as many rows as there are
   tokens gives each its own. */
static void add_tokens(const awq__compute *compute, awq__stats *stats, awq__stats *blocks,
                       int64_t tokens, int64_t first, int64_t T, const float *x)
{
    int64_t K = stats->cols;
    if (blocks->cols)
        awq__stats_add(compute, blocks, T, x, K);
    if (!stats->rows) {
        awq__stats_add(compute, stats, T, x, K);
        return;
    }
    compute->add_abs(T, K, x, K, stats->abs_sums);
    stats->tokens += T;
    if (stats->rows >= tokens)
        for (int64_t t = 0; t < T; t++)
            awq__stats_sketch(stats, first + t, 1, 0, 1, x + t * K, K);
    else
        awq__stats_sketch(stats, 0, stats->rows, (uint64_t)first, T, x, K);
}

static void pass_block(const awq__experts_job *j, int64_t e, int64_t first, int64_t T, passage *p)
{
    awq__expert_state *state = &j->experts[e];
    const awq__stream *stream = &j->job->calibration;
    const awq__forward *forward = &stream->forward;
    const awq__expert *expert = &j->layer->moe.experts[e];
    int64_t H = j->layer->hidden, I = expert->intermediate, all = state->routed + state->borrowed;
    for (int64_t i = 0; i < T; i++)
        memcpy(p->x + i * H, stream->x + state->tokens[first + i] * H, (size_t)H * sizeof *p->x);
    memcpy(p->weight, state->weights + first, (size_t)T * sizeof *p->weight);
    awq__linear(forward->compute, &expert->gate, T, p->x, H, p->gate, I, p->work);
    awq__linear(forward->compute, &expert->up, T, p->x, H, p->up, I, p->work);
    awq__expert_activate(forward, j->layer, expert, T * I, p->gate, p->up, p->y);
    if (p->slope[0]) {
        step_activation(forward, j->layer, expert, p, T, p->gate, p->slope[0]);
        step_activation(forward, j->layer, expert, p, T, p->up, p->slope[1]);
    }
    scale_rows(T, H, p->weight, p->x);
    scale_rows(T, I, p->weight, p->y);
    add_tokens(forward->compute, &state->input, &state->blocks[0], all, first, T, p->x);
    add_tokens(forward->compute, &state->inner, &state->blocks[1], all, first, T, p->y);
}

/* ---- an expert ---- */

/* What an error of output n of gate or up does to the expert's output, squared: the mean square of
   the activation's derivative times the norm of column n of down (a diagonal Gauss-Newton weight).
 */
static awq_status weigh_rows(const awq__experts_job *j, int64_t e, const passage *p)
{
    awq__expert_state *state = &j->experts[e];
    const awq__weight *down = &j->layer->moe.experts[e].down;
    int64_t I = down->cols, block = awq__weight_block(down);
    double total = 0;
    for (int64_t i = 0; i < state->routed + state->borrowed; i++)
        total += (double)state->weights[i] * (double)state->weights[i];
    for (int64_t first = 0; first < down->rows; first += block) {
        int64_t count = awq__min(block, down->rows - first);
        awq__weight_read(down, first, count, p->work);
        for (int64_t r = 0; r < count; r++)
            for (int64_t n = 0; n < I; n++)
                p->squares[n] += (double)(p->work[r * I + n] * p->work[r * I + n]);
    }
    for (int part = 0; part < 2; part++) {
        float *weight = awq__alloc(j->job->ctx, (size_t)I, sizeof *weight, "weights of outputs");
        if (!weight)
            return AWQ_ERROR_MEMORY;
        state->row_weight[part] = weight;
        for (int64_t n = 0; n < I; n++)
            weight[n] = (float)(p->squares[n] * p->slope[part][n] / (total > 0 ? total : 1));
    }
    return AWQ_OK;
}

static awq_status measure_weights(awq__experts_job *j, int64_t e, float *work)
{
    awq__expert_state *state = &j->experts[e];
    const awq__expert *expert = &j->layer->moe.experts[e];
    const awq__weight *weights[2];
    int64_t count = 0;
    if (state->treatment[0])
        weights[count++] = &expert->gate;
    if (state->treatment[1])
        weights[count++] = &expert->up;
    if (!count)
        return AWQ_OK;
    state->relative =
        awq__alloc(j->job->ctx, (size_t)j->layer->hidden, sizeof *state->relative, "weights");
    if (!state->relative)
        return AWQ_ERROR_MEMORY;
    awq__mean_relative(j->job->calibration.forward.compute, weights, count,
                       awq__expert_group(j, e, 0), state->relative, work);
    state->relative_rows = count * expert->gate.rows;
    return AWQ_OK;
}

/* Second moments of `cols` columns: whole, or a sketch and, for the choice of ranges, exact blocks.
 */
static awq_status create_stats(const awq__experts_job *j, int64_t e, int input, int64_t cols,
                               awq__stats *stats, awq__stats *blocks)
{
    const awq__expert_state *state = &j->experts[e];
    const awq__treatment *treatment = state->treatment[input ? 2 : 0];
    if (!treatment && !input)
        treatment = state->treatment[1];
    bool clip = treatment && treatment->clip;
    int64_t group = awq__expert_group(j, e, input);
    awq_context *ctx = j->job->ctx;
    int64_t rows = awq__recipe_int(j->job->recipe, "quantize.sketch_rows");
    if (!rows || cols <= rows)
        return awq__stats_create(ctx, cols, cols, stats);
    rows = awq__max(1, awq__min(rows, state->routed + state->borrowed));
    awq_status status = awq__stats_create_sketch(ctx, cols, rows, stats);
    if (status == AWQ_OK && clip && group < cols)
        status = awq__stats_create(ctx, cols, group, blocks);
    return status;
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
    bool weigh = j->weigh && (state->treatment[0] || state->treatment[1]);
    size_t floats = (size_t)(B * (H + 4 * I + 1) + awq__expert_work(j->layer));
    float *space = awq__alloc_aligned(ctx, floats, sizeof *space, "expert statistics");
    double *slopes = awq__alloc(ctx, 3 * (size_t)I, sizeof *slopes, "expert statistics");
    awq_status status = space && slopes ? list_tokens(j, e) : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK)
        status = create_stats(j, e, 0, H, &state->input, &state->blocks[0]);
    if (status == AWQ_OK)
        status = create_stats(j, e, 1, I, &state->inner, &state->blocks[1]);
    if (status == AWQ_OK) {
        passage p = {.x = space, .squares = slopes + 2 * I};
        p.gate = p.x + B * H;
        p.up = p.gate + B * I;
        p.y = p.up + B * I;
        p.moved = p.y + B * I;
        p.weight = p.moved + B * I;
        p.work = p.weight + B;
        if (weigh) {
            p.slope[0] = slopes;
            p.slope[1] = slopes + I;
        }
        int64_t count = state->routed + state->borrowed;
        for (int64_t first = 0; first < count; first += B)
            pass_block(j, e, first, awq__min(B, count - first), &p);
        status = measure_weights(j, e, p.work);
        if (status == AWQ_OK && weigh)
            status = weigh_rows(j, e, &p);
    }
    awq__free(space);
    awq__free(slopes);
    return status;
}

awq_status awq__experts_statistics(awq__experts_job *j)
{
    return awq__parallel_for(j->job->ctx, j->layer->moe.expert_count, run_expert, j);
}

/* ---- whole moments ---- */

/* Tokens of the layer, spread evenly, that join those of an expert with few: without them its
   moments would not tell what other inputs do. */
static int64_t pooled_tokens(const awq__experts_job *j, int64_t e, int64_t cols)
{
    const awq__expert_state *state = &j->experts[e];
    int64_t own = state->routed + state->borrowed;
    if (own >= OWN_TOKENS * cols)
        return 0;
    return awq__min(awq__min(POOLED_TOKENS * cols, MOST_POOLED), j->routes->tokens);
}

static void add_moments(const awq__experts_job *j, int64_t e, const int64_t *tokens,
                        const float *weights, int64_t count, float *space, awq__stats *input,
                        awq__stats *inner)
{
    const awq__stream *stream = &j->job->calibration;
    const awq__expert *expert = &j->layer->moe.experts[e];
    const int64_t B = AWQ__TOKEN_BLOCK, H = j->layer->hidden, I = expert->intermediate;
    float *x = space, *y = x + B * H, *up = y + B * I, *work = up + B * I;
    for (int64_t first = 0; first < count; first += B) {
        int64_t T = awq__min(B, count - first);
        for (int64_t i = 0; i < T; i++)
            memcpy(x + i * H, stream->x + tokens[first + i] * H, (size_t)H * sizeof *x);
        awq__expert_inner(&stream->forward, j->layer, expert, T, x, y, up, work);
        scale_rows(T, H, weights + first, x);
        scale_rows(T, I, weights + first, y);
        awq__stats_add(stream->forward.compute, input, T, x, H);
        awq__stats_add(stream->forward.compute, inner, T, y, I);
    }
}

static awq_status add_all_moments(const awq__experts_job *j, int64_t e, awq__stats *input,
                                  awq__stats *inner)
{
    awq_context *ctx = j->job->ctx;
    const awq__expert_state *state = &j->experts[e];
    const int64_t B = AWQ__TOKEN_BLOCK, H = j->layer->hidden;
    const int64_t I = j->layer->moe.experts[e].intermediate;
    int64_t pooled = pooled_tokens(j, e, awq__max(H, I));
    size_t floats = (size_t)(B * (H + 2 * I) + awq__expert_work(j->layer));
    float *space = awq__alloc_aligned(ctx, floats, sizeof *space, "expert statistics");
    int64_t *tokens = awq__alloc(ctx, (size_t)pooled, sizeof *tokens, "tokens of the layer");
    float *weights = awq__alloc(ctx, (size_t)pooled, sizeof *weights, "tokens of the layer");
    awq_status status = space && tokens && weights ? AWQ_OK : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK) {
        float weight = mean_weight(j->routes);
        for (int64_t i = 0; i < pooled; i++) {
            tokens[i] = i * j->routes->tokens / pooled;
            weights[i] = weight;
        }
        add_moments(j, e, state->tokens, state->weights, state->routed + state->borrowed, space,
                    input, inner);
        add_moments(j, e, tokens, weights, pooled, space, input, inner);
    }
    awq__free(space);
    awq__free(tokens);
    awq__free(weights);
    return status;
}

awq_status awq__expert_moments(const awq__experts_job *j, int64_t e, awq__stats *input,
                               awq__stats *inner)
{
    awq_context *ctx = j->job->ctx;
    const awq__expert *folded = &j->folded->layer.moe.experts[e];
    int64_t H = j->layer->hidden, I = folded->intermediate, stride = j->layer->moe.intermediate;
    *input = *inner = (awq__stats){0};
    awq_status status = awq__stats_create(ctx, H, H, input);
    if (status == AWQ_OK)
        status = awq__stats_create(ctx, I, I, inner);
    if (status == AWQ_OK)
        status = add_all_moments(j, e, input, inner);
    if (status == AWQ_OK && folded->gate.col_scale)
        awq__stats_rescale(input, j->folded->moe_unscale);
    if (status == AWQ_OK && folded->down.col_scale)
        awq__stats_rescale(inner, j->folded->down_unscale + e * stride);
    return status;
}
