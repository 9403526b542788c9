/*
 * The whole x^T x of an expert's inputs, for GPTQ. That of down takes I x I floats, 822 MB in
 * Mixtral, so that it may be one expert at a time: the loops here share what one expert takes
 * between the threads.
 */
#include "backend/cpu.h"

/* An expert that saw fewer tokens than OWN_TOKENS a column takes POOLED_TOKENS a column of the
   layer's into its x^T x, but no more than MOST_POOLED. */
#define OWN_TOKENS 8
#define POOLED_TOKENS 2
#define MOST_POOLED ((int64_t)4096)
/* Damping of experts with few tokens, which take more than AWQ__GPTQ_DAMPING. */
#define MOST_DAMPING 0.3

/* What is in work. */
typedef struct gram_job {
    const awq__block *block;
    int64_t expert;
    bool inner; /* of down: tokens pass gate and up */
    awq__stats *whole;
    float *x, *y, *up; /* a block of tokens: [T,H]; [T,I] where inner */
} gram_job;

static int64_t own_tokens(const awq__expert_state *state)
{
    return state->routed + state->borrowed;
}

/* Tokens of the layer, spread evenly, that join those of an expert with few: without them its
   x^T x would not tell what other inputs do. */
static int64_t pooled_tokens(const gram_job *j)
{
    const awq__layer *layer = j->block->layer;
    int64_t cols = awq__max(layer->hidden, layer->moe.experts[j->expert].intermediate);
    if (own_tokens(&j->block->data->states[j->expert]) >= OWN_TOKENS * cols)
        return 0;
    return awq__min(awq__min(POOLED_TOKENS * cols, MOST_POOLED), j->block->routes->tokens);
}

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

static awq_status add_tokens(const gram_job *j, int64_t count, const int64_t *tokens,
                             const float *weights)
{
    const awq__block *block = j->block;
    const awq__compute *compute = block->data->compute;
    const int64_t B = awq__expert_tokens(block->layer);
    float *rows = j->inner ? j->y : j->x;
    for (int64_t first = 0; first < count; first += B) {
        int64_t T = awq__min(B, count - first), K = j->whole->cols;
        awq__gather_inputs(&block->states->forward, block->layer, block->routes, j->expert,
                           &block->states->normed, T, tokens + first, 1, j->x);
        if (j->inner)
            AWQ__CHECK(pass_gate_up(j, T));
        compute->scale(T, K, weights + first, NULL, rows);
        AWQ__CHECK(awq__stats_add_whole(block->ctx, compute, j->whole, T, rows, K));
    }
    return AWQ_OK;
}

static awq_status add_pooled(const gram_job *j)
{
    awq_status status;
    awq_context *ctx = j->block->ctx;
    const awq__routes *routes = j->block->routes;
    int64_t count = pooled_tokens(j);
    int64_t *tokens = awq__alloc(ctx, (size_t)count, sizeof *tokens, "tokens of the layer");
    float *weights = awq__alloc(ctx, (size_t)count, sizeof *weights, "tokens of the layer");
    AWQ__TRY_ALLOC(tokens && weights);
    float mean = awq__unrouted_weight(routes);
    for (int64_t i = 0; i < count; i++) {
        tokens[i] = i * routes->tokens / count;
        weights[i] = mean;
    }
    AWQ__TRY(add_tokens(j, count, tokens, weights));
done:
    awq__free(tokens);
    awq__free(weights);
    return status;
}

static awq_status add_all_tokens(gram_job *j)
{
    awq_status status;
    const awq__layer *layer = j->block->layer;
    const awq__expert_state *state = &j->block->data->states[j->expert];
    const int64_t B = awq__expert_tokens(layer);
    float *space = awq__alloc_aligned(j->block->ctx, block_floats(layer, j->inner), sizeof *space,
                                      "an expert's inputs");
    AWQ__TRY_ALLOC(space);
    j->x = space;
    j->y = j->x + B * layer->hidden;
    j->up = j->y + B * layer->moe.experts[j->expert].intermediate;
    AWQ__TRY(add_tokens(j, own_tokens(state), state->tokens, state->weights));
    AWQ__TRY(add_pooled(j));
done:
    awq__free_aligned(space);
    return status;
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
    double own = (double)own_tokens(&block->data->states[bundle->expert]),
           cols = (double)input->cols;
    *damping = own > 0 ? AWQ__GPTQ_DAMPING * (1 + cols / own) : MOST_DAMPING;
    *damping = *damping < MOST_DAMPING ? *damping : MOST_DAMPING;
    AWQ__CHECK(awq__stats_create(block->ctx, input->cols, input->cols, whole));
    AWQ__CHECK(add_all_tokens(&j));
    awq__stats_mirror(block->data->compute, whole);
    if (input->folded)
        awq__stats_rescale(block->data->compute, whole, input->unscale);
    return AWQ_OK;
}

size_t awq__cpu_expert_gram_bytes(const awq__layer *layer)
{
    size_t K = (size_t)awq__max(layer->hidden, layer->moe.intermediate);
    return (K * K + block_floats(layer, true)) * sizeof(float);
}
