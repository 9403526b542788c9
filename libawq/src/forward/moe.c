/* The block of experts: norm, router, and experts by blocks of their tokens. */
#include "forward/layer.h"

#include <math.h>
#include <string.h>

/* Expert outputs wait for their sum in at most this many floats (256 MB). */
#define SLOT_FLOATS ((int64_t)1 << 26)
#define SMALLEST_CHUNK 512
/* A block of an expert's tokens takes at most this many floats of work space (128 MB). */
#define BLOCK_FLOATS ((int64_t)1 << 25)
#define SMALLEST_BLOCK 128

void awq__routes_free(awq__routes *routes)
{
    awq__free_aligned(routes->logits);
    awq__free(routes->index);
    awq__free(routes->weight);
    awq__free(routes->first);
    awq__free(routes->slots);
    *routes = (awq__routes){0};
}

bool awq__routes_same(const awq__routes *a, const awq__routes *b, int64_t t)
{
    int64_t shared = 0, k = a->per_token;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++)
            shared += a->index[t * k + i] == b->index[t * k + j];
    return shared == k;
}

int64_t awq__routes_same_count(const awq__routes *a, const awq__routes *b)
{
    int64_t same = 0;
    for (int64_t t = 0; t < a->tokens; t++)
        same += awq__routes_same(a, b, t);
    return same;
}

typedef struct route_job {
    const awq__forward *forward;
    const awq__layer *layer;
    const float *hidden, *x;
    float *x_out;
    int64_t tokens;
    awq__routes *routes;
    awq__scratch scratch;
} route_job;

static awq_status norm_block(void *arg, int64_t index, int worker)
{
    route_job *j = arg;
    (void)worker;
    int64_t H = j->layer->hidden, begin = index * AWQ__TOKEN_BLOCK;
    int64_t T = awq__min(AWQ__TOKEN_BLOCK, j->tokens - begin);
    j->forward->compute->rms_norm(T, H, j->hidden + begin * H, j->layer->moe.norm,
                                  j->layer->epsilon, j->x_out + begin * H);
    return AWQ_OK;
}

awq_status awq__moe_input(const awq__forward *forward, const awq__layer *layer, int64_t T,
                          const float *hidden, float *x)
{
    route_job j = {.forward = forward, .layer = layer, .hidden = hidden, .x_out = x, .tokens = T};
    return awq__parallel_for(forward->ctx, awq__ceil_div(T, AWQ__TOKEN_BLOCK), norm_block, &j);
}

/* Scores of x[T,H] -> the k = per_token - shared choices of the router. */
static awq_status choose(const route_job *j, int64_t T, const float *x, float *logits,
                         int32_t *index, float *weight, float *work)
{
    const awq__moe *moe = &j->layer->moe;
    int64_t H = j->layer->hidden, E = moe->routed_count;
    int64_t k = moe->per_token - (moe->expert_count - E);
    awq__linear(j->forward->compute, &moe->router, T, x, H, logits, E, work);
    AWQ__CHECK(awq__check_finite(j->forward, moe->router.name, "logits", T * E, logits));
    if (moe->route)
        moe->route(j->layer->number, logits, T, E, k, index, weight);
    else
        j->forward->compute->route(T, E, k, &moe->routing, logits, index, weight);
    for (int64_t i = 0; i < T * k; i++) /* a plugin's function is other people's code */
        if (index[i] < 0 || index[i] >= E)
            return awq__fail(j->forward->ctx, AWQ_ERROR_PLUGIN,
                             "%s: routed to expert %d, expected 0 to %lld", moe->router.name,
                             (int)index[i], (long long)E - 1);
    return AWQ_OK;
}

/* weight[T] of the shared expert. */
static void weigh_shared(const route_job *j, int64_t T, const float *x, float *weight, float *work)
{
    const awq__moe *moe = &j->layer->moe;
    if (moe->token_gate.rows)
        awq__linear(j->forward->compute, &moe->token_gate, T, x, j->layer->hidden, weight, 1, work);
    for (int64_t t = 0; t < T; t++)
        weight[t] = moe->token_gate.rows ? (float)(1 / (1 + exp(-(double)weight[t]))) : 1;
}

/* Floats of work space of a worker: what `most` takes, and the choices of a block. */
static int64_t route_work(const awq__layer *layer, int64_t *most)
{
    const awq__moe *moe = &layer->moe;
    *most = awq__max(moe->routed_count ? awq__weight_work(&moe->router) : 0, layer->hidden);
    return *most + 2 * AWQ__TOKEN_BLOCK * moe->per_token;
}

static awq_status route_block(void *arg, int64_t index, int worker)
{
    route_job *j = arg;
    const awq__moe *moe = &j->layer->moe;
    const int64_t B = AWQ__TOKEN_BLOCK;
    int64_t H = j->layer->hidden, E = moe->routed_count, k = moe->per_token;
    int64_t shared = moe->expert_count - E, routed = k - shared;
    int64_t begin = index * B, T = awq__min(B, j->tokens - begin);
    int64_t most, floats = route_work(j->layer, &most);
    const float *x = j->x + begin * H;
    float *work = awq__scratch_get(&j->scratch, worker, (size_t)floats);
    AWQ__CHECK_ALLOC(work);
    float *weight = work + most, *shared_weight = weight + B * routed;
    int32_t *chosen = (int32_t *)(void *)(work + most + B * k);
    if (E)
        AWQ__CHECK(choose(j, T, x, j->routes->logits + begin * E, chosen, weight, work));
    if (shared)
        weigh_shared(j, T, x, shared_weight, work);
    for (int64_t t = 0; t < T; t++) {
        int32_t *to = j->routes->index + (begin + t) * k;
        float *to_weight = j->routes->weight + (begin + t) * k;
        memcpy(to, chosen + t * routed, (size_t)routed * sizeof *to);
        memcpy(to_weight, weight + t * routed, (size_t)routed * sizeof *to_weight);
        if (shared) {
            to[routed] = (int32_t)E;
            to_weight[routed] = shared_weight[t];
        }
    }
    return AWQ_OK;
}

/* Groups the T*k choices by expert. */
static void group_by_expert(awq__routes *routes)
{
    int64_t count = routes->tokens * routes->per_token, E = routes->experts;
    memset(routes->first, 0, (size_t)(E + 1) * sizeof *routes->first);
    for (int64_t i = 0; i < count; i++)
        routes->first[routes->index[i] + 1]++;
    for (int64_t e = 0; e < E; e++)
        routes->first[e + 1] += routes->first[e];
    for (int64_t i = 0; i < count; i++)
        routes->slots[routes->first[routes->index[i]]++] = i;
    for (int64_t e = E; e > 0; e--) /* each start has moved to its end: move them back */
        routes->first[e] = routes->first[e - 1];
    routes->first[0] = 0;
}

awq_status awq__moe_route(const awq__forward *forward, const awq__layer *layer, int64_t T,
                          const float *x, awq__routes *routes)
{
    awq_context *ctx = forward->ctx;
    const awq__moe *moe = &layer->moe;
    size_t chosen = (size_t)(T * moe->per_token), E = (size_t)moe->expert_count;
    *routes = (awq__routes){.tokens = T,
                            .experts = moe->expert_count,
                            .per_token = moe->per_token,
                            .routed = moe->routed_count};
    routes->logits =
        awq__alloc_host(ctx, (size_t)(T * moe->routed_count), sizeof(float), "router logits");
    routes->index = awq__alloc(ctx, chosen, sizeof *routes->index, "router choices");
    routes->weight = awq__alloc(ctx, chosen, sizeof *routes->weight, "router weights");
    routes->first = awq__alloc(ctx, E + 1, sizeof *routes->first, "router groups");
    routes->slots = awq__alloc(ctx, chosen, sizeof *routes->slots, "router groups");
    route_job j = {.forward = forward, .layer = layer, .x = x, .tokens = T, .routes = routes};
    awq_status status;
    AWQ__TRY(awq__scratch_create(ctx, "router work space", &j.scratch));
    AWQ__TRY_ALLOC(routes->logits && routes->index && routes->weight && routes->first &&
                   routes->slots);
    int64_t most;
    AWQ__TRY(awq__parallel_scratch(&j.scratch, (size_t)route_work(layer, &most),
                                   awq__ceil_div(T, AWQ__TOKEN_BLOCK), route_block, &j));
    group_by_expert(routes);
done:
    awq__scratch_free(&j.scratch);
    if (status != AWQ_OK)
        awq__routes_free(routes);
    return status;
}

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
    const float *x;
    float *out;
    int64_t chunk_first, chunk_count; /* tokens */
    block *blocks;
    float *outputs; /* [chunk_count * k, H]: the outputs of the chunk's slots */
    awq__expert_tap tap;
    void *user;
    awq__turns turns; /* of the blocks of each expert at the tap */
    size_t space;     /* floats of a worker */
    awq__scratch scratch;
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
    int64_t H = j->layer->hidden, I = moe->intermediate, k = moe->per_token, T = b->count;
    const int64_t B = awq__expert_tokens(j->layer), *slots = j->routes->slots + b->first;
    float *x = awq__scratch_get(&j->scratch, worker, j->space);
    AWQ__CHECK_ALLOC(x);
    const awq__expert *expert = &moe->experts[b->expert];
    float *z = x + B * H, *up = z + B * H, *y = up + B * I, *gate = j->tap ? y + B * I : y;
    float *work = gate + B * I;
    const awq__compute *compute = j->forward->compute;
    compute->gather(T, H, slots, k, j->x, x);
    awq__expert_parts(j->forward, j->layer, expert, T, x, gate, up, y, work);
    awq__linear(compute, &expert->down, T, y, expert->intermediate, z, H, work);
    AWQ__CHECK(awq__check_finite(j->forward, expert->down.name, "outputs", T * H, z));
    compute->scatter(T, H, slots, j->chunk_first * k, z, j->outputs);
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

/* Adds a token's expert outputs in the order of its choices. */
static awq_status add_outputs(void *arg, int64_t index, int worker)
{
    expert_job *j = arg;
    (void)worker;
    int64_t H = j->layer->hidden, k = j->layer->moe.per_token;
    int64_t begin = index * AWQ__TOKEN_BLOCK, token = j->chunk_first + begin;
    int64_t count = awq__min(AWQ__TOKEN_BLOCK, j->chunk_count - begin);
    j->forward->compute->combine(count, k, H, j->routes->weight + token * k,
                                 j->outputs + begin * k * H, j->out + token * H);
    return AWQ_OK;
}

/* Cuts each expert's slots of the chunk into blocks; the slots of a group rise, so they are a
 * range. */
static int64_t cut_blocks(const awq__routes *routes, int64_t most, int64_t end_token, int64_t *next,
                          block *blocks)
{
    int64_t count = 0, end_slot = end_token * routes->per_token;
    for (int64_t e = 0; e < routes->experts; e++) {
        int64_t begin = next[e], end = begin;
        while (end < routes->first[e + 1] && routes->slots[end] < end_slot)
            end++;
        for (int64_t at = begin; at < end; at += most)
            blocks[count++] = (block){e, at, awq__min(most, end - at)};
        next[e] = end;
    }
    return count;
}

awq_status awq__moe_experts(const awq__forward *forward, const awq__layer *layer, const float *x,
                            const awq__routes *routes, float *out, awq__expert_tap tap, void *user)
{
    awq_context *ctx = forward->ctx;
    int64_t H = layer->hidden, k = routes->per_token, E = routes->experts, T = routes->tokens;
    int64_t chunk = awq__experts_waiting(layer, T) / (k * H);
    int64_t most = awq__expert_tokens(layer);
    expert_job j = {.forward = forward,
                    .layer = layer,
                    .routes = routes,
                    .x = x,
                    .out = out,
                    .tap = tap,
                    .user = user,
                    .space = (size_t)awq__experts_work(layer)};
    int64_t *next = awq__alloc(ctx, (size_t)E, sizeof *next, "expert blocks");
    j.blocks = awq__alloc(ctx, (size_t)(chunk * k / most + E), sizeof *j.blocks, "expert blocks");
    j.outputs = awq__alloc_aligned(ctx, (size_t)(chunk * k * H), sizeof(float), "expert outputs");
    awq_status status;
    AWQ__TRY(awq__scratch_create(ctx, "expert work space", &j.scratch));
    AWQ__TRY(awq__turns_create(ctx, E, &j.turns));
    AWQ__TRY_ALLOC(next && j.blocks && j.outputs);
    memcpy(next, routes->first, (size_t)E * sizeof *next);
    for (int64_t first = 0; first < T; first += chunk) {
        j.chunk_first = first;
        j.chunk_count = awq__min(chunk, T - first);
        int64_t blocks = cut_blocks(routes, most, first + j.chunk_count, next, j.blocks);
        AWQ__TRY(awq__parallel_scratch(&j.scratch, j.space, blocks, run_block, &j));
        AWQ__TRY(awq__parallel_for(ctx, awq__ceil_div(j.chunk_count, AWQ__TOKEN_BLOCK), add_outputs,
                                   &j));
    }
done:
    awq__turns_free(&j.turns);
    awq__scratch_free(&j.scratch);
    awq__free_aligned(j.outputs);
    awq__free(j.blocks);
    awq__free(next);
    return status;
}
