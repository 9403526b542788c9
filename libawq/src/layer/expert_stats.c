/*
 * Statistics of each expert's inputs over the tokens that it sees: taken where these pass it on
 * their way through the layer. Tokens that it borrows pass it once more, for this alone.
 */
#include "layer/experts.h"

#include <stdlib.h>
#include <string.h>

/* The step of the differences that stand for the derivatives of the activation. */
#define STEP 0.01f

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

float awq__unrouted_weight(const awq__experts_job *j)
{
    const awq__routes *routes = j->routes;
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
    float weight = state->borrowed ? awq__unrouted_weight(j) : 0;
    for (int64_t i = 0; i < state->borrowed; i++)
        state->weights[state->routed + i] = weight;
    return status;
}

/* ---- one block of tokens ---- */

typedef struct statistics {
    awq__experts_job *j;
    awq__scratch scratch;
} statistics;

/* Adds, for each column, the squares of weight * (moved - inner) / STEP: moved is the activation
   with `input`, which is gate or up, a step further. */
static void add_slopes(const statistics *s, const awq__expert_block *b, float *input, float *moved,
                       double *slope)
{
    const awq__experts_job *j = s->j;
    const awq__expert *expert = &j->layer->moe.experts[b->expert];
    const float *weight = j->experts[b->expert].weights + b->first;
    const awq__compute *compute = j->job->calibration.forward.compute;
    int64_t I = expert->intermediate;
    for (int64_t t = 0; t < b->tokens; t++) {
        float factor = weight[t] / STEP, *row = input + t * I;
        const float *inner = b->inner + t * I;
        compute->shift(I, STEP, row, row);
        awq__expert_activate(&j->job->calibration.forward, j->layer, expert, I, b->gate + t * I,
                             b->up + t * I, moved);
        compute->add_squares(1, I, moved, inner, &factor, slope);
        compute->shift(I, -STEP, row, row);
    }
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
            awq__stats_sketch(compute, stats, first + t, 1, 0, 1, x + t * K, K);
    else
        awq__stats_sketch(compute, stats, 0, stats->rows, (uint64_t)first, T, x, K);
}

/* Takes a block into the statistics of its expert. moved: I floats. */
static void take_block(const statistics *s, const awq__expert_block *b, float *moved)
{
    const awq__experts_job *j = s->j;
    awq__expert_state *state = &j->experts[b->expert];
    const awq__compute *compute = j->job->calibration.forward.compute;
    const float *weight = state->weights + b->first;
    int64_t H = j->layer->hidden, I = j->layer->moe.experts[b->expert].intermediate;
    int64_t T = b->tokens, all = state->routed + state->borrowed;
    if (state->slope) {
        add_slopes(s, b, b->gate, moved, state->slope);
        add_slopes(s, b, b->up, moved, state->slope + I);
    }
    compute->scale(T, H, weight, NULL, b->x);
    compute->scale(T, I, weight, NULL, b->inner);
    add_tokens(compute, &state->input, &state->blocks[0], all, b->first, T, b->x);
    add_tokens(compute, &state->inner, &state->blocks[1], all, b->first, T, b->inner);
}

static awq_status tap_block(void *user, int worker, const awq__expert_block *block)
{
    statistics *s = user;
    float *moved = awq__scratch_get(&s->scratch, worker, (size_t)s->j->layer->moe.intermediate);
    if (!moved)
        return AWQ_ERROR_MEMORY;
    take_block(s, block, moved);
    return AWQ_OK;
}

/* ---- an expert ---- */

/* What an error of output n of gate or up does to the expert's output, squared: the mean square of
   the activation's derivative times the norm of column n of down (a diagonal Gauss-Newton weight).
   squares: I cleared numbers. */
static awq_status weigh_rows(const awq__experts_job *j, int64_t e, double *squares, float *work)
{
    awq__expert_state *state = &j->experts[e];
    const awq__weight *down = &j->layer->moe.experts[e].down;
    const awq__compute *compute = j->job->calibration.forward.compute;
    int64_t I = down->cols, block = awq__weight_block(down);
    double total = 0;
    for (int64_t i = 0; i < state->routed + state->borrowed; i++)
        total += (double)state->weights[i] * (double)state->weights[i];
    for (int64_t first = 0; first < down->rows; first += block) {
        int64_t count = awq__min(block, down->rows - first);
        awq__weight_read(compute, down, first, count, work);
        compute->add_squares(count, I, work, NULL, NULL, squares);
    }
    for (int part = 0; part < 2; part++) {
        float *weight = awq__alloc(j->job->ctx, (size_t)I, sizeof *weight, "weights of outputs");
        if (!weight)
            return AWQ_ERROR_MEMORY;
        state->row_weight[part] = weight;
        for (int64_t n = 0; n < I; n++)
            weight[n] = (float)(squares[n] * state->slope[part * I + n] / (total > 0 ? total : 1));
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
    int64_t rows = j->job->plan->settings.quantize.sketch_rows;
    if (!rows || cols <= rows)
        return awq__stats_create(ctx, cols, cols, stats);
    rows = awq__max(1, awq__min(rows, state->routed + state->borrowed));
    awq_status status = awq__stats_create_sketch(ctx, cols, rows, stats);
    if (status == AWQ_OK && clip && group < cols)
        status = awq__stats_create(ctx, cols, group, blocks);
    return status;
}

/* Lists an expert's tokens and makes room for its statistics: a task. */
static awq_status begin_expert(void *arg, int64_t e, int worker)
{
    awq__experts_job *j = arg;
    (void)worker;
    awq__expert_state *state = &j->experts[e];
    int64_t H = j->layer->hidden, I = j->layer->moe.experts[e].intermediate;
    awq_status status = list_tokens(j, e);
    if (status == AWQ_OK)
        status = create_stats(j, e, 0, H, &state->input, &state->blocks[0]);
    if (status == AWQ_OK)
        status = create_stats(j, e, 1, I, &state->inner, &state->blocks[1]);
    if (status == AWQ_OK && j->slopes && (state->treatment[0] || state->treatment[1])) {
        state->slope = awq__alloc(j->job->ctx, 2 * (size_t)I, sizeof *state->slope, "slopes");
        status = state->slope ? AWQ_OK : AWQ_ERROR_MEMORY;
    }
    return status;
}

awq_status awq__experts_pass(awq__experts_job *j)
{
    awq_context *ctx = j->job->ctx;
    awq__stream *stream = &j->job->calibration;
    statistics s = {.j = j};
    awq_status status = awq__parallel_for(ctx, j->layer->moe.expert_count, begin_expert, j);
    if (status == AWQ_OK)
        status = awq__scratch_create(ctx, "expert statistics", &s.scratch);
    if (status == AWQ_OK)
        status = awq__moe_experts(&stream->forward, j->layer, stream->x, j->routes, stream->hidden,
                                  tap_block, &s);
    awq__scratch_free(&s.scratch);
    return status;
}

/* ---- what the forward pass does not give ---- */

static int64_t borrowed_floats(const awq__layer *layer)
{
    return awq__expert_tokens(layer) * (layer->hidden + 3 * layer->moe.intermediate) +
           layer->moe.intermediate + awq__expert_work(layer);
}

size_t awq__expert_statistics_bytes(const awq__layer *layer)
{
    return (size_t)borrowed_floats(layer) * sizeof(float);
}

static void pass_borrowed(const statistics *s, int64_t e, float *space)
{
    const awq__experts_job *j = s->j;
    const awq__expert_state *state = &j->experts[e];
    const awq__stream *stream = &j->job->calibration;
    const awq__expert *expert = &j->layer->moe.experts[e];
    const int64_t B = awq__expert_tokens(j->layer), H = j->layer->hidden, I = expert->intermediate;
    awq__expert_block b = {.expert = e, .x = space};
    b.gate = b.x + B * H;
    b.up = b.gate + B * I;
    b.inner = b.up + B * I;
    float *moved = b.inner + B * I, *work = moved + I;
    int64_t end = state->routed + state->borrowed;
    for (b.first = state->routed; b.first < end; b.first += B) {
        b.tokens = awq__min(B, end - b.first);
        stream->forward.compute->gather(b.tokens, H, state->tokens + b.first, 1, stream->x, b.x);
        awq__expert_parts(&stream->forward, j->layer, expert, b.tokens, b.x, b.gate, b.up, b.inner,
                          work);
        take_block(s, &b, moved);
    }
}

/* The tokens that an expert borrows, and its weights: a task. */
static awq_status finish_expert(void *arg, int64_t e, int worker)
{
    statistics *s = arg;
    awq__experts_job *j = s->j;
    const awq__expert_state *state = &j->experts[e];
    size_t I = (size_t)j->layer->moe.experts[e].intermediate;
    float *space = awq__scratch_get(&s->scratch, worker, (size_t)borrowed_floats(j->layer));
    double *squares = awq__alloc(j->job->ctx, I, sizeof *squares, "expert statistics");
    awq_status status = space && squares ? AWQ_OK : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK) {
        pass_borrowed(s, e, space);
        status = measure_weights(j, e, space);
    }
    if (status == AWQ_OK && state->slope)
        status = weigh_rows(j, e, squares, space);
    awq__free(squares);
    return status;
}

awq_status awq__experts_statistics(awq__experts_job *j)
{
    awq_context *ctx = j->job->ctx;
    statistics s = {.j = j};
    awq_status status = awq__scratch_create(ctx, "expert statistics", &s.scratch);
    if (status == AWQ_OK)
        status = awq__parallel_scratch(&s.scratch, (size_t)borrowed_floats(j->layer),
                                       j->layer->moe.expert_count, finish_expert, &s);
    awq__scratch_free(&s.scratch);
    return status;
}
