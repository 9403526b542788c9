/*
 * Statistics of each expert's inputs over the tokens that it sees: taken where these pass it on
 * their way through the layer. Tokens that it borrows pass it once more, for this alone.
 */
#include "backend/cpu.h"

#include <stdlib.h>

#define SLOPE_TOKENS ((int64_t)8) /* whose derivatives are taken at a time */

/* ---- an expert's tokens ---- */

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
 * An expert that saw fewer tokens than are wanted borrows those that came nearest to being routed
 * to it, by the router's logit, until it has as many: the fewer its own, the more its statistics
 * are the layer's.
 */
static awq_status borrow(const awq__block *block, int64_t e, int64_t wanted)
{
    awq__expert_state *state = &block->data->states[e];
    const awq__routes *routes = block->routes;
    int64_t others = 0, next = 0;
    nearness *list =
        awq__alloc(block->ctx, (size_t)routes->tokens, sizeof *list, "tokens to borrow");
    AWQ__CHECK_ALLOC(list);
    for (int64_t t = 0; t < routes->tokens; t++) {
        while (next < state->routed && state->tokens[next] < t) /* its own tokens rise */
            next++;
        if (next < state->routed && state->tokens[next] == t)
            continue;
        list[others++] = (nearness){routes->logits[t * routes->routed + e], t};
    }
    qsort(list, (size_t)others, sizeof *list, compare_nearness);
    state->borrowed = awq__min(wanted, others);
    float weight = state->borrowed ? awq__unrouted_weight(routes) : 0;
    for (int64_t i = 0; i < state->borrowed; i++) {
        state->tokens[state->routed + i] = list[i].token;
        state->weights[state->routed + i] = weight;
    }
    awq__free(list);
    return AWQ_OK;
}

int64_t awq__sample_stride(const awq__expert_state *state)
{
    int64_t count = state->routed ? state->routed : state->borrowed;
    return awq__max(awq__ceil_div(count, AWQ__TOKEN_BLOCK), 1);
}

int64_t awq__sample_tokens(const awq__expert_state *state)
{
    int64_t count = state->routed ? state->routed : state->borrowed;
    return awq__ceil_div(count, awq__sample_stride(state));
}

awq_status awq__cpu_list_tokens(const awq__block *block, int64_t e)
{
    awq_context *ctx = block->ctx;
    awq__expert_state *state = &block->data->states[e];
    const awq__routes *routes = block->routes;
    int64_t first = routes->first[e];
    state->routed = routes->first[e + 1] - first;
    int64_t wanted = block->settings->calibration.min_expert_tokens - state->routed;
    size_t most = (size_t)(state->routed + awq__max(0, wanted));
    state->tokens = awq__alloc(ctx, most, sizeof *state->tokens, "an expert's tokens");
    state->weights = awq__alloc(ctx, most, sizeof *state->weights, "an expert's tokens");
    AWQ__CHECK_ALLOC(state->tokens && state->weights);
    for (int64_t i = 0; i < state->routed; i++) {
        state->tokens[i] = routes->slots[first + i] / routes->per_token;
        state->weights[i] = routes->weight[routes->slots[first + i]];
    }
    if (wanted > 0)
        AWQ__CHECK(borrow(block, e, wanted));
    block->bundles[e].routed = state->routed;
    block->bundles[e].borrowed = state->borrowed;
    block->bundles[e].sampled = awq__sample_tokens(state);
    return AWQ_OK;
}

/* ---- one block of tokens ---- */

typedef struct statistics {
    awq__block *block;
    awq__scratch scratch;
} statistics;

/* Adds, for each column, the squares of weight * (moved - inner) / AWQ__SLOPE_STEP: moved is the
   activation with `input`, which is gate or up, a step further. moved: SLOPE_TOKENS x I floats. */
static void add_slopes(const awq__block *block, const awq__expert_block *b, float *input,
                       float *moved, double *slopes)
{
    const awq__compute *compute = block->data->compute;
    const awq__expert *expert = &block->layer->moe.experts[b->expert];
    const float *weight = block->data->states[b->expert].weights + b->first;
    int64_t I = expert->intermediate;
    for (int64_t first = 0; first < b->tokens; first += SLOPE_TOKENS) {
        int64_t T = awq__min(SLOPE_TOKENS, b->tokens - first), at = first * I;
        float factors[SLOPE_TOKENS];
        for (int64_t t = 0; t < T; t++)
            factors[t] = weight[first + t] / AWQ__SLOPE_STEP;
        compute->shift(T * I, AWQ__SLOPE_STEP, input + at, input + at);
        awq__expert_activate(&block->states->forward, block->layer, expert, T * I, b->gate + at,
                             b->up + at, moved);
        compute->add_squares(T, I, moved, b->inner + at, factors, slopes);
        compute->shift(T * I, -AWQ__SLOPE_STEP, input + at, input + at);
    }
}

/* Adds x[T,K], the expert's tokens from `first` on, of so many. A sketch that has as many rows as
   there are tokens gives each its own. */
static awq_status add_tokens(const awq__block *block, awq__seen *seen, int64_t tokens,
                             int64_t first, int64_t T, const float *x)
{
    const awq__compute *compute = block->data->compute;
    awq__stats *stats = &seen->data->stats, *blocks = &seen->data->blocks;
    int64_t K = stats->cols;
    if (blocks->cols)
        awq__stats_add(compute, blocks, T, x, K);
    if (seen->data->whole.cols)
        AWQ__CHECK(awq__stats_add_whole(block->ctx, compute, &seen->data->whole, T, x, K));
    if (!stats->rows) {
        awq__stats_add(compute, stats, T, x, K);
        return AWQ_OK;
    }
    compute->add_abs(T, K, x, K, stats->abs_sums);
    stats->tokens += T;
    if (stats->rows >= tokens)
        for (int64_t t = 0; t < T; t++)
            awq__stats_sketch(compute, stats, first + t, 1, 0, 1, x + t * K, K);
    else
        awq__stats_sketch(compute, stats, 0, stats->rows, (uint64_t)first, T, x, K);
    return AWQ_OK;
}

static awq__seen *seen_of(const awq__block *block, int64_t e, awq__expert_part part)
{
    return awq__expert_reader(block, e, part)->seen;
}

/* Takes a block into the statistics of its expert. moved: see add_slopes. */
static awq_status take_block(const awq__block *block, const awq__expert_block *b, float *moved)
{
    const awq__expert_state *state = &block->data->states[b->expert];
    const awq__compute *compute = block->data->compute;
    const float *weight = state->weights + b->first;
    int64_t I = block->layer->moe.experts[b->expert].intermediate;
    int64_t T = b->tokens, all = state->routed + state->borrowed;
    if (state->slopes) {
        add_slopes(block, b, b->gate, moved, state->slopes);
        add_slopes(block, b, b->up, moved, state->slopes + I);
    }
    compute->scale(T, block->layer->hidden, weight, NULL, b->x);
    compute->scale(T, I, weight, NULL, b->inner);
    AWQ__CHECK(
        add_tokens(block, seen_of(block, b->expert, AWQ__EXPERT_GATE), all, b->first, T, b->x));
    return add_tokens(block, seen_of(block, b->expert, AWQ__EXPERT_DOWN), all, b->first, T,
                      b->inner);
}

static awq_status tap_block(void *user, int worker, const awq__expert_block *block)
{
    statistics *s = user;
    int64_t I = s->block->layer->moe.intermediate;
    float *moved = awq__scratch_get(&s->scratch, worker, (size_t)(SLOPE_TOKENS * I));
    AWQ__CHECK_ALLOC(moved);
    return take_block(s->block, block, moved);
}

/* ---- the pass ---- */

/* Whole, or a sketch and, for clip ranges, exact blocks. */
static awq_status create_stats(const awq__block *block, int64_t e, awq__expert_part part)
{
    awq_context *ctx = block->ctx;
    const awq__expert_state *state = &block->data->states[e];
    awq__seen *seen = seen_of(block, e, part);
    const awq__reader *first = awq__seen_quantized(seen);
    int64_t cols = seen->input->cols, group = first ? first->scheme.group : cols;
    int64_t rows = block->settings->quantize.sketch_rows;
    if (!rows || cols <= rows)
        return awq__stats_create(ctx, cols, cols, &seen->data->stats);
    rows = awq__max(1, awq__min(rows, state->routed + state->borrowed));
    AWQ__CHECK(awq__stats_create_sketch(ctx, cols, rows, &seen->data->stats));
    if (block->data->gathers[part] && awq__cpu_wants_gram(block, e, part))
        AWQ__CHECK(awq__stats_create(ctx, cols, cols, &seen->data->whole));
    if (first && first->clips && group < cols)
        AWQ__CHECK(awq__stats_create(ctx, cols, group, &seen->data->blocks));
    return AWQ_OK;
}

/* Lists an expert's tokens and makes room for its statistics: a task. */
static awq_status begin_expert(void *arg, int64_t e, int worker)
{
    awq__block *block = arg;
    awq__expert_state *state = &block->data->states[e];
    size_t I = (size_t)block->layer->moe.experts[e].intermediate;
    (void)worker;
    AWQ__CHECK(awq__cpu_list_tokens(block, e));
    AWQ__CHECK(create_stats(block, e, AWQ__EXPERT_GATE));
    AWQ__CHECK(create_stats(block, e, AWQ__EXPERT_DOWN));
    if (!block->row_weights || !awq__seen_quantized(seen_of(block, e, AWQ__EXPERT_GATE)))
        return AWQ_OK;
    state->slopes = awq__alloc(block->ctx, 2 * I, sizeof *state->slopes, "slopes");
    AWQ__CHECK_ALLOC(state->slopes);
    return AWQ_OK;
}

awq_status awq__cpu_experts_pass(awq__block *block)
{
    awq_status status;
    awq__states *states = block->states;
    statistics s = {.block = block};
    block->data->sample = awq__proof_sample(block->ctx, states, &block->data->sampled);
    AWQ__TRY_ALLOC(block->data->sample);
    awq__cpu_plan_grams(block);
    AWQ__TRY(awq__parallel_for(block->ctx, block->bundle_count, begin_expert, block));
    AWQ__TRY(awq__scratch_create(block->ctx, "expert statistics", &s.scratch));
    AWQ__TRY(awq__moe_experts(&states->forward, block->layer, &states->normed, block->routes,
                              states->hidden, tap_block, &s));
done:
    awq__scratch_free(&s.scratch);
    return status;
}

/* ---- what the pass does not give ---- */

static int64_t borrowed_floats(const awq__layer *layer)
{
    return awq__expert_tokens(layer) * (layer->hidden + 3 * layer->moe.intermediate) +
           SLOPE_TOKENS * layer->moe.intermediate + awq__expert_work(layer);
}

size_t awq__cpu_statistics_bytes(const awq__layer *layer)
{
    return (size_t)borrowed_floats(layer) * sizeof(float);
}

static awq_status pass_borrowed(const awq__block *block, int64_t e, float *space)
{
    const awq__expert_state *state = &block->data->states[e];
    const awq__layer *layer = block->layer;
    const awq__states *states = block->states;
    const awq__expert *expert = &layer->moe.experts[e];
    const int64_t B = awq__expert_tokens(layer), H = layer->hidden, I = expert->intermediate;
    awq__expert_block b = {.expert = e, .x = space};
    b.gate = b.x + B * H;
    b.up = b.gate + B * I;
    b.inner = b.up + B * I;
    float *moved = b.inner + B * I, *work = moved + SLOPE_TOKENS * I;
    int64_t end = state->routed + state->borrowed;
    for (b.first = state->routed; b.first < end; b.first += B) {
        b.tokens = awq__min(B, end - b.first);
        awq__gather_inputs(&states->forward, layer, block->routes, e, &states->normed, b.tokens,
                           state->tokens + b.first, 1, b.x);
        awq__expert_parts(&states->forward, layer, expert, b.tokens, b.x, b.gate, b.up, b.inner,
                          work);
        AWQ__CHECK(take_block(block, &b, moved));
    }
    return AWQ_OK;
}

/* squares[k] = the sum of the squares of column k. */
static void square_columns(const awq__compute *compute, const awq__weight *weight, float *work,
                           double *squares)
{
    int64_t block = awq__weight_block(weight);
    for (int64_t first = 0; first < weight->rows; first += block) {
        int64_t count = awq__min(block, weight->rows - first);
        awq__weight_read(compute, weight, first, count, work);
        compute->add_squares(count, weight->cols, work, NULL, NULL, squares);
    }
}

/* What an error of output n of gate or up does to the expert's output, squared: the mean square of
   the activation's derivative times the norm of column n of down (a diagonal Gauss-Newton weight).
   squares: I cleared numbers. */
static awq_status weigh_rows(const awq__block *block, int64_t e, double *squares, float *work)
{
    const awq__expert_state *state = &block->data->states[e];
    const awq__weight *down = &block->layer->moe.experts[e].down;
    int64_t I = down->cols;
    double total = 0;
    for (int64_t i = 0; i < state->routed + state->borrowed; i++)
        total += (double)state->weights[i] * (double)state->weights[i];
    square_columns(block->data->compute, down, work, squares);
    for (int part = 0; part < 2; part++) {
        float *weight = awq__alloc(block->ctx, (size_t)I, sizeof *weight, "weights of outputs");
        AWQ__CHECK_ALLOC(weight);
        awq__expert_reader(block, e, (awq__expert_part)part)->data->row_weight = weight;
        for (int64_t n = 0; n < I; n++)
            weight[n] = (float)(squares[n] * state->slopes[part * I + n] / (total > 0 ? total : 1));
    }
    return AWQ_OK;
}

/* The tokens that an expert borrows, and its row weights: a task. */
static awq_status finish_expert(void *arg, int64_t e, int worker)
{
    awq_status status;
    statistics *s = arg;
    const awq__block *block = s->block;
    const awq__layer *layer = block->layer;
    size_t I = (size_t)layer->moe.experts[e].intermediate;
    float *space = awq__scratch_get(&s->scratch, worker, (size_t)borrowed_floats(layer));
    double *squares = awq__alloc(block->ctx, I, sizeof *squares, "expert statistics");
    AWQ__TRY_ALLOC(space && squares);
    AWQ__TRY(pass_borrowed(block, e, space));
    if (block->data->states[e].slopes)
        AWQ__TRY(weigh_rows(block, e, squares, space));
done:
    awq__free(squares);
    return status;
}

/* ---- salience ---- */

typedef struct salience_job {
    const awq__states *states;
    int64_t H;
    double *sums; /* [blocks of tokens][H] */
} salience_job;

static awq_status add_abs(void *arg, int64_t index, int worker)
{
    salience_job *j = arg;
    (void)worker;
    int64_t first = index * AWQ__TOKEN_BLOCK;
    int64_t T = awq__min(AWQ__TOKEN_BLOCK, j->states->tokens - first);
    j->states->forward.compute->add_abs(T, j->H, j->states->normed.x + first * j->H, j->H,
                                        j->sums + index * j->H);
    return AWQ_OK;
}

/* Of the input of gate and up, over all tokens of the layer. */
static awq_status layer_salience(const awq__block *block, const awq__input *input)
{
    awq_status status;
    awq_context *ctx = block->ctx;
    const awq__states *states = block->states;
    double *salience = awq__cpu_salience(block, input);
    int64_t H = input->cols, T = states->tokens, blocks = awq__ceil_div(T, AWQ__TOKEN_BLOCK);
    salience_job j = {.states = states, .H = H};
    j.sums = awq__alloc(ctx, (size_t)(blocks * H), sizeof *j.sums, "salience");
    AWQ__TRY_ALLOC(j.sums);
    AWQ__TRY(awq__parallel_for(ctx, blocks, add_abs, &j));
    for (int64_t h = 0; h < H; h++) {
        salience[h] = 0;
        for (int64_t b = 0; b < blocks; b++)
            salience[h] += j.sums[b * H + h] / (double)T;
    }
done:
    awq__free(j.sums);
    return status;
}

/* Of the input of a down, over its expert's tokens. */
static void seen_salience(const awq__block *block, const awq__input *input)
{
    const awq__stats *stats = &input->seen->data->stats;
    double *salience = awq__cpu_salience(block, input);
    for (int64_t k = 0; k < input->cols && salience; k++)
        salience[k] = stats->abs_sums[k] / (double)awq__max(stats->tokens, 1);
}

awq_status awq__cpu_experts_statistics(awq__block *block)
{
    awq_status status;
    statistics s = {.block = block};
    AWQ__TRY(awq__scratch_create(block->ctx, "expert statistics", &s.scratch));
    AWQ__TRY(awq__parallel_scratch(&s.scratch, (size_t)borrowed_floats(block->layer),
                                   block->bundle_count, finish_expert, &s));
    if (awq__cpu_salience(block, &block->inputs[0]))
        AWQ__TRY(layer_salience(block, &block->inputs[0]));
    for (int64_t i = 1; i < block->input_count; i++)
        seen_salience(block, &block->inputs[i]);
    AWQ__TRY(awq__cpu_pool_grams(block));
done:
    awq__scratch_free(&s.scratch);
    return status;
}
