/* The block of experts by blocks of their tokens, and the sum of their outputs. */
#include "forward/layer.h"

#include <math.h>
#include <string.h>

/* Expert outputs wait for their sum in at most this many floats (256 MB). */
#define SLOT_FLOATS ((int64_t)1 << 26)
#define SMALLEST_CHUNK 512
/* A block of an expert's tokens takes at most this many floats of work space (64 MB): dozens of
   workers have room. */
#define BLOCK_FLOATS ((int64_t)1 << 24)
#define SMALLEST_BLOCK 128

/* ---- inputs ---- */

float awq__input_weight(const awq__moe *moe, float logit)
{
    return (float)((double)moe->routing.scaling / (1 + exp(-(double)logit)));
}

void awq__gather_inputs(const awq__forward *forward, const awq__layer *layer,
                        const awq__routes *routes, int64_t expert, const awq__normed *normed,
                        int64_t T, const int64_t *index, int64_t step, float *out)
{
    const awq__moe *moe = &layer->moe;
    bool routed = expert < moe->routed_count;
    const float *from = routed || !moe->shared_norm ? normed->x : normed->shared;
    forward->compute->gather(T, layer->hidden, index, step, from, out);
    if (!routed || !moe->scales_input)
        return;
    for (int64_t t = 0; t < T; t++) {
        const float *logits = routes->logits + index[t] / step * routes->routed;
        float weight = awq__input_weight(moe, logits[expert]);
        forward->compute->scale(1, layer->hidden, &weight, NULL, out + t * layer->hidden);
    }
}

/* ---- one expert ---- */

void awq__expert_activate(const awq__forward *forward, const awq__layer *layer,
                          const awq__expert *expert, int64_t count, const float *gate,
                          const float *up, float *out)
{
    if (layer->moe.activate)
        layer->moe.activate(layer->number, gate, up, count, out);
    else
        forward->compute->activate(count, &expert->activation, gate, up, out);
}

void awq__expert_parts(const awq__forward *forward, const awq__layer *layer,
                       const awq__expert *expert, int64_t T, const float *x, float *gate, float *up,
                       float *y, float *work)
{
    int64_t H = layer->hidden, I = expert->intermediate;
    awq__linear(forward->compute, &expert->gate, T, x, H, gate, I, work);
    awq__linear(forward->compute, &expert->up, T, x, H, up, I, work);
    awq__expert_activate(forward, layer, expert, T * I, gate, up, y);
}

int64_t awq__expert_work(const awq__layer *layer)
{
    /* The routed ones have the same shapes; the shared one, the last, has its own. */
    const awq__moe *moe = &layer->moe;
    const awq__expert *ends[] = {&moe->experts[0], &moe->experts[moe->expert_count - 1]};
    int64_t work = 0;
    for (int i = 0; i < 2; i++) {
        work = awq__max(work, awq__weight_work(&ends[i]->gate));
        work = awq__max(work, awq__weight_work(&ends[i]->up));
        work = awq__max(work, awq__weight_work(&ends[i]->down));
    }
    return work;
}

static int64_t block_floats(const awq__layer *layer, int64_t tokens)
{
    return tokens * (2 * layer->hidden + 3 * layer->moe.intermediate);
}

int64_t awq__experts_work(const awq__layer *layer)
{
    return block_floats(layer, awq__expert_tokens(layer)) + awq__expert_work(layer);
}

int64_t awq__experts_waiting(const awq__layer *layer, int64_t T)
{
    int64_t slots = layer->hidden * layer->moe.per_token;
    return slots * awq__min(awq__max(SLOT_FLOATS / slots, SMALLEST_CHUNK), T);
}

int64_t awq__expert_tokens(const awq__layer *layer)
{
    int64_t tokens = AWQ__TOKEN_BLOCK;
    while (tokens > SMALLEST_BLOCK && block_floats(layer, tokens) > BLOCK_FLOATS)
        tokens /= 2;
    return tokens;
}

/* One block of one expert's tokens within a chunk of all tokens. */
typedef struct block {
    int64_t expert, first, count; /* into slots */
} block;

typedef struct expert_job {
    const awq__forward *forward;
    const awq__layer *layer;
    const awq__routes *routes;
    const awq__normed *normed;
    float *out;
    int64_t chunk_first, chunk_count; /* tokens */
    block *blocks;
    float *outputs; /* [chunk_count * k, H]: the outputs of the chunk's slots */
    awq__expert_tap tap;
    void *user;
    awq__turns turns; /* of the blocks of each expert at the tap */
    size_t space;     /* floats of a worker */
    awq__scratch scratch;
    awq__scratch sums; /* [2,H]: of a token whose outputs are normed before they are added */
} expert_job;

static awq_status show_block(expert_job *j, int64_t index, int worker,
                             const awq__expert_block *shown)
{
    if (!awq__turns_wait(&j->turns, shown->expert, shown->first, index))
        return AWQ_ERROR_CANCELLED;
    awq_status status = j->tap(j->user, worker, shown);
    awq__turns_pass(&j->turns, shown->expert, shown->tokens);
    return status;
}

static awq_status pass_block(expert_job *j, int64_t index, int worker)
{
    const awq__moe *moe = &j->layer->moe;
    const block *b = &j->blocks[index];
    int64_t H = j->layer->hidden, I = moe->intermediate, T = b->count;
    const int64_t B = awq__expert_tokens(j->layer), *slots = j->routes->slots + b->first;
    float *x = awq__scratch_get(&j->scratch, worker, j->space);
    AWQ__CHECK_ALLOC(x);
    const awq__expert *expert = &moe->experts[b->expert];
    float *z = x + B * H, *up = z + B * H, *y = up + B * I, *gate = j->tap ? y + B * I : y;
    float *work = gate + B * I;
    const awq__compute *compute = j->forward->compute;
    awq__gather_inputs(j->forward, j->layer, j->routes, b->expert, j->normed, T, slots,
                       moe->per_token, x);
    awq__expert_parts(j->forward, j->layer, expert, T, x, gate, up, y, work);
    awq__linear(compute, &expert->down, T, y, expert->intermediate, z, H, work);
    AWQ__CHECK(awq__check_finite(j->forward, expert->down.name, "outputs", T * H, z));
    compute->scatter(T, H, slots, j->chunk_first * moe->per_token, z, j->outputs);
    if (!j->tap)
        return AWQ_OK;
    awq__expert_block shown = {.expert = b->expert,
                               .first = b->first - j->routes->first[b->expert],
                               .tokens = T,
                               .x = x,
                               .gate = gate,
                               .up = up,
                               .inner = y};
    return show_block(j, index, worker, &shown);
}

static awq_status run_block(void *arg, int64_t index, int worker)
{
    expert_job *j = arg;
    awq_status status = pass_block(j, index, worker);
    if (status != AWQ_OK)
        awq__turns_fail(&j->turns, index);
    return status;
}

/* ---- the sum ---- */

/* y[H] = norm of y, times the weight of a norm that may be missing. */
static void norm_in_place(const expert_job *j, const float *norm, float *y)
{
    if (norm)
        j->forward->compute->rms_norm(1, j->layer->hidden, y, norm, j->layer->epsilon, y);
}

static bool is_plain_sum(const awq__layer *layer)
{
    const awq__moe *moe = &layer->moe;
    return !moe->post_norm && !moe->experts_post_norm && !moe->shared_post_norm &&
           !moe->layer_scalar && layer->branch_multiplier == 1;
}

/* Adds the outputs parts[k,H] of one token to out[H], with norms and multipliers; y [H] and z [H]
   are work space. */
static void add_normed(const expert_job *j, const float *weight, const float *parts, float *y,
                       float *z, float *out)
{
    const awq__moe *moe = &j->layer->moe;
    const awq__compute *compute = j->forward->compute;
    int64_t H = j->layer->hidden, shared = moe->expert_count - moe->routed_count;
    int64_t routed = moe->per_token - shared;
    memset(y, 0, (size_t)H * sizeof *y);
    compute->combine(1, routed, H, weight, parts, y);
    if (routed)
        norm_in_place(j, moe->experts_post_norm, y);
    memset(z, 0, (size_t)H * sizeof *z);
    if (shared) {
        compute->combine(1, 1, H, weight + routed, parts + routed * H, z);
        norm_in_place(j, moe->shared_post_norm, z);
        compute->combine(1, 1, H, NULL, z, y);
    }
    norm_in_place(j, moe->post_norm, y);
    compute->combine(1, 1, H, &j->layer->branch_multiplier, y, out);
    if (moe->layer_scalar)
        compute->scale(1, H, moe->layer_scalar, NULL, out);
}

static awq_status add_block_normed(expert_job *j, int64_t begin, int64_t count, int worker)
{
    int64_t H = j->layer->hidden, k = j->layer->moe.per_token, token = j->chunk_first + begin;
    float *y = awq__scratch_get(&j->sums, worker, (size_t)(2 * H));
    AWQ__CHECK_ALLOC(y);
    for (int64_t t = 0; t < count; t++)
        add_normed(j, j->routes->weight + (token + t) * k, j->outputs + (begin + t) * k * H, y,
                   y + H, j->out + (token + t) * H);
    return AWQ_OK;
}

/* Adds a token's expert outputs in the order of its choices. */
static awq_status add_outputs(void *arg, int64_t index, int worker)
{
    expert_job *j = arg;
    int64_t H = j->layer->hidden, k = j->layer->moe.per_token;
    int64_t begin = index * AWQ__TOKEN_BLOCK, token = j->chunk_first + begin;
    int64_t count = awq__min(AWQ__TOKEN_BLOCK, j->chunk_count - begin);
    if (!is_plain_sum(j->layer))
        return add_block_normed(j, begin, count, worker);
    j->forward->compute->combine(count, k, H, j->routes->weight + token * k,
                                 j->outputs + begin * k * H, j->out + token * H);
    return AWQ_OK;
}

/* ---- all of it ---- */

static int64_t chunk_tokens(const awq__layer *layer, const awq__routes *routes)
{
    return awq__experts_waiting(layer, routes->tokens) / (routes->per_token * layer->hidden);
}

int64_t awq__expert_block_tokens(const awq__layer *layer, const awq__routes *routes, int64_t slot,
                                 int64_t end)
{
    int64_t k = routes->per_token, chunk = chunk_tokens(layer, routes), count = 1;
    int64_t next_chunk = (routes->slots[slot] / k / chunk + 1) * chunk * k;
    int64_t most = awq__min(awq__expert_tokens(layer), end - slot);
    while (count < most && routes->slots[slot + count] < next_chunk)
        count++;
    return count;
}

/* Cuts each expert's slots of the chunk into blocks. The first blocks of all experts come before
   the second ones, so that those of one expert seldom wait for each other at the tap. */
static int64_t cut_blocks(const expert_job *j, int64_t *next, block *blocks)
{
    const awq__routes *routes = j->routes;
    int64_t count = 0, before = -1;
    int64_t end_slot = (j->chunk_first + j->chunk_count) * routes->per_token;
    while (count > before) {
        before = count;
        for (int64_t e = 0; e < routes->experts; e++) {
            int64_t at = next[e], end = routes->first[e + 1];
            if (at == end || routes->slots[at] >= end_slot)
                continue;
            int64_t tokens = awq__expert_block_tokens(j->layer, routes, at, end);
            blocks[count++] = (block){e, at, tokens};
            next[e] += tokens;
        }
    }
    return count;
}

awq_status awq__moe_experts(const awq__forward *forward, const awq__layer *layer,
                            const awq__normed *normed, const awq__routes *routes, float *out,
                            awq__expert_tap tap, void *user)
{
    awq_context *ctx = forward->ctx;
    int64_t H = layer->hidden, k = routes->per_token, E = routes->experts, T = routes->tokens;
    int64_t chunk = chunk_tokens(layer, routes);
    int64_t most = awq__expert_tokens(layer);
    expert_job j = {.forward = forward,
                    .layer = layer,
                    .routes = routes,
                    .normed = normed,
                    .out = out,
                    .tap = tap,
                    .user = user,
                    .space = (size_t)awq__experts_work(layer)};
    int64_t *next = awq__alloc(ctx, (size_t)E, sizeof *next, "expert blocks");
    j.blocks = awq__alloc(ctx, (size_t)(chunk * k / most + E), sizeof *j.blocks, "expert blocks");
    j.outputs = awq__alloc_aligned(ctx, (size_t)(chunk * k * H), sizeof(float), "expert outputs");
    awq_status status;
    AWQ__TRY(awq__scratch_create(ctx, "expert work space", &j.scratch));
    AWQ__TRY(awq__scratch_create(ctx, "sums of experts", &j.sums));
    AWQ__TRY(awq__turns_create(ctx, E, &j.turns));
    AWQ__TRY_ALLOC(next && j.blocks && j.outputs);
    memcpy(next, routes->first, (size_t)E * sizeof *next);
    for (int64_t first = 0; first < T; first += chunk) {
        j.chunk_first = first;
        j.chunk_count = awq__min(chunk, T - first);
        int64_t blocks = cut_blocks(&j, next, j.blocks);
        AWQ__TRY(awq__parallel_scratch(&j.scratch, j.space, blocks, run_block, &j));
        AWQ__TRY(awq__parallel_for(ctx, awq__ceil_div(j.chunk_count, AWQ__TOKEN_BLOCK), add_outputs,
                                   &j));
    }
done:
    awq__turns_free(&j.turns);
    awq__scratch_free(&j.scratch);
    awq__scratch_free(&j.sums);
    awq__free_aligned(j.outputs);
    awq__free(j.blocks);
    awq__free(next);
    return status;
}
