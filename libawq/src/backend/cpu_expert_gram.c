/*
 * The whole x^T x of an expert's inputs, for GPTQ. The pass gathers it where memory allows, or it
 * is the statistics themselves. Else the expert's tokens pass once more: that of down takes I x I
 * floats, 822 MB in Mixtral, so that it may be one expert at a time. The loops here share what one
 * expert takes between the threads.
 */
#include "backend/cpu.h"
#include "quant/gptq.h"

#include <math.h>

/* An expert that saw fewer tokens than OWN_TOKENS a column takes tokens of the layer into its
   x^T x. Those of gate and up are the same for all experts: COMMON_TOKENS a column, which count as
   COMMON_WEIGHT a column. Those of down pass the expert: INNER_TOKENS a column. */
#define OWN_TOKENS 8
#define COMMON_TOKENS 8
#define COMMON_WEIGHT 4
#define MOST_COMMON ((int64_t)16384)
#define INNER_TOKENS 2
#define MOST_INNER ((int64_t)4096)
/* Damping of experts with few tokens, which take more than AWQ__GPTQ_DAMPING. */
#define MOST_DAMPING 0.3

/* ---- what the pass gathers ---- */

static awq__seen *seen_of(const awq__block *block, int64_t e, awq__expert_part part)
{
    return awq__expert_reader(block, e, part)->seen;
}

static bool has_gptq(const awq__seen *seen)
{
    for (int64_t i = 0; i < seen->reader_count; i++)
        if (seen->readers[i].treatment && seen->readers[i].treatment->gptq)
            return true;
    return false;
}

bool awq__cpu_wants_gram(const awq__block *block, int64_t e, awq__expert_part part)
{
    const awq__seen *seen = seen_of(block, e, part);
    int64_t rows = block->settings->quantize.sketch_rows;
    return rows && seen->input->cols > rows && has_gptq(seen);
}

void awq__cpu_plan_grams(awq__block *block)
{
    int64_t left = awq__context_left_bytes(block->ctx) / 2;
    for (int part = AWQ__EXPERT_GATE; part <= AWQ__EXPERT_DOWN; part += AWQ__EXPERT_DOWN) {
        int64_t bytes = 0;
        for (int64_t e = 0; e < block->bundle_count; e++) {
            int64_t K = seen_of(block, e, (awq__expert_part)part)->input->cols;
            if (awq__cpu_wants_gram(block, e, (awq__expert_part)part))
                bytes += K * K * (int64_t)sizeof(float);
        }
        block->data->gathers[part] = bytes <= left;
        left -= bytes <= left ? bytes : 0;
    }
}

/* ---- tokens of the layer ---- */

static int64_t own_tokens(const awq__expert_state *state)
{
    return state->routed + state->borrowed;
}

int64_t awq__pooled_tokens(const awq__block *block, int64_t e, bool inner)
{
    const awq__layer *layer = block->layer;
    int64_t cols = inner ? layer->moe.experts[e].intermediate : layer->hidden;
    int64_t own = own_tokens(&block->data->states[e]);
    if (own >= OWN_TOKENS * cols)
        return 0;
    int64_t most = inner ? awq__min(INNER_TOKENS * cols, MOST_INNER)
                         : awq__min(COMMON_TOKENS * cols, MOST_COMMON);
    return awq__min(most, block->routes->tokens);
}

float awq__pooled_weight(const awq__block *block, int64_t count, int64_t cols, bool inner)
{
    double share = inner ? 1 : (double)(COMMON_WEIGHT * cols) / (double)count;
    return awq__unrouted_weight(block->routes) * (float)sqrt(share);
}

double awq__expert_damping(const awq__expert_state *state, int64_t cols)
{
    double own = (double)own_tokens(state);
    double damping = own > 0 ? AWQ__GPTQ_DAMPING * (1 + (double)cols / own) : MOST_DAMPING;
    return damping < MOST_DAMPING ? damping : MOST_DAMPING;
}

/* Do gate and up of this expert read what those of others do? */
static bool reads_common(const awq__block *block, int64_t e)
{
    const awq__moe *moe = &block->layer->moe;
    return e < moe->routed_count ? !moe->scales_input : !moe->shared_norm;
}

/* ---- passing tokens ---- */

/* What is in work. */
typedef struct gram_job {
    const awq__block *block;
    int64_t expert;
    bool inner;           /* of down: tokens pass gate and up */
    const float *factors; /* of its columns; NULL: 1 */
    awq__stats *whole;
    float *x, *y, *up; /* a block of tokens: [T,H]; [T,I] where inner */
} gram_job;

static size_t block_floats(const awq__layer *layer, bool inner)
{
    return (size_t)(awq__expert_tokens(layer) *
                    (layer->hidden + (inner ? 2 * layer->moe.intermediate : 0)));
}

/* y = the input of down. */
static awq_status pass_gate_up(const gram_job *j, int64_t T)
{
    const awq__block *block = j->block;
    const awq__expert *expert = &block->layer->moe.experts[j->expert];
    int64_t H = block->layer->hidden, I = expert->intermediate;
    AWQ__CHECK(
        awq__linear_parallel(block->ctx, block->data->compute, &expert->gate, T, j->x, H, j->y, I));
    AWQ__CHECK(
        awq__linear_parallel(block->ctx, block->data->compute, &expert->up, T, j->x, H, j->up, I));
    awq__expert_activate(&block->states->forward, block->layer, expert, T * I, j->y, j->up, j->y);
    return AWQ_OK;
}

/* A block of tokens. */
static awq_status add_block(const gram_job *j, int64_t T, const int64_t *tokens,
                            const float *weights)
{
    const awq__block *block = j->block;
    const awq__compute *compute = block->data->compute;
    int64_t K = j->whole->cols;
    float *rows = j->inner ? j->y : j->x;
    awq__gather_inputs(&block->states->forward, block->layer, block->routes, j->expert,
                       &block->states->normed, T, tokens, 1, j->x);
    if (j->inner)
        AWQ__CHECK(pass_gate_up(j, T));
    compute->scale(T, K, weights, j->factors, rows);
    return awq__stats_add_whole(block->ctx, compute, j->whole, T, rows, K);
}

/* By the blocks in which the pass had them. */
static awq_status add_own(const gram_job *j)
{
    const awq__block *block = j->block;
    const awq__routes *routes = block->routes;
    const awq__expert_state *state = &block->data->states[j->expert];
    const int64_t B = awq__expert_tokens(block->layer), first = routes->first[j->expert];
    for (int64_t at = 0, T = 0, end = own_tokens(state); at < end; at += T) {
        T = at < state->routed
                ? awq__expert_block_tokens(block->layer, routes, first + at, first + state->routed)
                : awq__min(B, end - at);
        AWQ__CHECK(add_block(j, T, state->tokens + at, state->weights + at));
    }
    return AWQ_OK;
}

static awq_status add_pooled(const gram_job *j, int64_t count)
{
    awq_status status;
    awq_context *ctx = j->block->ctx;
    const awq__routes *routes = j->block->routes;
    const int64_t B = awq__expert_tokens(j->block->layer);
    int64_t *tokens = awq__alloc(ctx, (size_t)count, sizeof *tokens, "tokens of the layer");
    float *weights = awq__alloc(ctx, (size_t)count, sizeof *weights, "tokens of the layer");
    AWQ__TRY_ALLOC(tokens && weights);
    float weight = awq__pooled_weight(j->block, count, j->whole->cols, j->inner);
    for (int64_t i = 0; i < count; i++) {
        tokens[i] = i * routes->tokens / count;
        weights[i] = weight;
    }
    for (int64_t at = 0; at < count; at += B)
        AWQ__TRY(add_block(j, awq__min(B, count - at), tokens + at, weights + at));
done:
    awq__free(tokens);
    awq__free(weights);
    return status;
}

/* Adds the expert's own tokens, or `pooled` ones of the layer. */
static awq_status add_tokens(gram_job *j, int64_t pooled)
{
    awq_status status;
    const awq__layer *layer = j->block->layer;
    const int64_t B = awq__expert_tokens(layer);
    float *space = awq__alloc_aligned(j->block->ctx, block_floats(layer, j->inner), sizeof *space,
                                      "an expert's inputs");
    AWQ__TRY_ALLOC(space);
    j->x = space;
    j->y = j->x + B * layer->hidden;
    j->up = j->y + B * layer->moe.intermediate;
    AWQ__TRY(pooled ? add_pooled(j, pooled) : add_own(j));
done:
    awq__free_aligned(space);
    return status;
}

awq_status awq__cpu_pool_grams(awq__block *block)
{
    int64_t H = block->layer->hidden, count = 0;
    gram_job j = {.block = block, .whole = &block->data->pooled};
    for (int64_t e = 0; e < block->bundle_count; e++)
        if (has_gptq(seen_of(block, e, AWQ__EXPERT_GATE)) && reads_common(block, e)) {
            count = awq__max(count, awq__pooled_tokens(block, e, false));
            j.expert = e;
        }
    if (!count)
        return AWQ_OK;
    AWQ__CHECK(awq__stats_create(block->ctx, H, H, &block->data->pooled));
    return add_tokens(&j, count);
}

/* ---- one expert ---- */

/* Its own tokens, as folded weights see them. */
static awq_status take_own(gram_job *j, const awq__reader *reader)
{
    const awq__input *input = reader->input;
    const awq__compute *compute = j->block->data->compute;
    awq__seen_data *data = reader->seen->data;
    int64_t K = input->cols;
    bool kept = data->stats.cols && !data->stats.rows;
    awq__stats *from = kept ? &data->stats : &data->whole;
    *j->whole = *from;
    *from = (awq__stats){0};
    if (!j->whole->cols) {
        AWQ__CHECK(awq__stats_create(j->block->ctx, K, K, j->whole));
        AWQ__CHECK(add_tokens(j, 0));
    }
    if (!kept)
        awq__stats_mirror(compute, j->whole);
    if (input->folded && !(kept && data->folded))
        awq__stats_rescale(compute, j->whole, input->unscale);
    if (!input->folded && kept && data->folded) /* the fold was taken back */
        awq__stats_rescale(compute, j->whole, input->scale);
    return AWQ_OK;
}

typedef struct addition {
    const awq__stats *pooled;
    const float *factors;
    awq__stats *whole;
} addition;

/* A row: a task. */
static awq_status add_row(void *arg, int64_t i, int worker)
{
    const addition *a = arg;
    (void)worker;
    int64_t K = a->whole->cols;
    const float *from = a->pooled->gram + i * K, *factors = a->factors;
    float *to = a->whole->gram + i * K;
    for (int64_t k = i; k < K; k++)
        to[k] += factors ? from[k] * factors[i] * factors[k] : from[k];
    return AWQ_OK;
}

static awq_status join_pooled(gram_job *j, const float *factors)
{
    const awq__block *block = j->block;
    int64_t count = awq__pooled_tokens(block, j->expert, j->inner);
    addition a = {&block->data->pooled, factors, j->whole};
    if (!count)
        return AWQ_OK;
    j->factors = factors;
    if (j->inner || !reads_common(block, j->expert))
        AWQ__CHECK(add_tokens(j, count));
    else
        AWQ__CHECK(awq__parallel_for(block->ctx, j->whole->cols, add_row, &a));
    awq__stats_mirror(block->data->compute, j->whole);
    return AWQ_OK;
}

awq_status awq__cpu_expert_gram(awq__block *block, const awq__reader *reader, awq__stats *whole,
                                double *damping)
{
    const awq__input *input = reader->input;
    const awq__bundle *bundle = reader->bundle;
    gram_job j = {.block = block,
                  .expert = bundle->expert,
                  .inner = reader == bundle->readers[AWQ__EXPERT_DOWN],
                  .whole = whole};
    *damping = awq__expert_damping(&block->data->states[bundle->expert], input->cols);
    AWQ__CHECK(take_own(&j, reader));
    return join_pooled(&j, input->folded ? input->unscale : NULL);
}

size_t awq__cpu_expert_gram_bytes(const awq__layer *layer)
{
    size_t K = (size_t)awq__max(layer->hidden, layer->moe.intermediate);
    size_t blocks = 2 * (size_t)AWQ__GPTQ_WIDEST_FIT * K;
    return (K * K + blocks + block_floats(layer, true)) * sizeof(float);
}
