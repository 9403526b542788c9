/* The norms before the experts, and which of them a token passes. */
#include "forward/layer.h"

#include <math.h>
#include <string.h>

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

float awq__unrouted_weight(const awq__routes *routes)
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

typedef struct route_job {
    const awq__forward *forward;
    const awq__layer *layer;
    const float *hidden, *x, *norm;
    float *x_out;
    int64_t tokens;
    awq__routes *routes;
    const float *logits, *token_gate; /* of all tokens where they are known, x NULL */
    awq__scratch scratch;
} route_job;

static awq_status norm_block(void *arg, int64_t index, int worker)
{
    route_job *j = arg;
    (void)worker;
    int64_t H = j->layer->hidden, begin = index * AWQ__TOKEN_BLOCK;
    int64_t T = awq__min(AWQ__TOKEN_BLOCK, j->tokens - begin);
    j->forward->compute->rms_norm(T, H, j->hidden + begin * H, j->norm, j->layer->epsilon,
                                  j->x_out + begin * H);
    return AWQ_OK;
}

awq_status awq__moe_input(const awq__forward *forward, const awq__layer *layer, int64_t T,
                          const float *hidden, const awq__normed *normed)
{
    route_job j = {.forward = forward,
                   .layer = layer,
                   .hidden = hidden,
                   .norm = layer->moe.norm,
                   .x_out = normed->x,
                   .tokens = T};
    int64_t blocks = awq__ceil_div(T, AWQ__TOKEN_BLOCK);
    AWQ__CHECK(awq__parallel_for(forward->ctx, blocks, norm_block, &j));
    if (!layer->moe.shared_norm)
        return AWQ_OK;
    j.norm = layer->moe.shared_norm;
    j.x_out = normed->shared;
    return awq__parallel_for(forward->ctx, blocks, norm_block, &j);
}

/* out[T,H] = what a router reads that does not read the experts' norm. weight [H]: work space. */
static void read_residual(const route_job *j, int64_t T, const float *hidden, float *weight,
                          float *out)
{
    const awq__moe *moe = &j->layer->moe;
    int64_t H = j->layer->hidden;
    for (int64_t h = 0; h < H; h++)
        weight[h] = (moe->router_input_scale ? moe->router_input_scale[h] : 1) *
                    (float)(1 / sqrt((double)H));
    j->forward->compute->rms_norm(T, H, hidden, weight, j->layer->epsilon, out);
}

/* Scores of x[T,H] -> the k = per_token - shared choices of the router. */
static awq_status choose(const route_job *j, int64_t T, const float *x, float *logits,
                         int32_t *index, float *weight, float *work)
{
    const awq__moe *moe = &j->layer->moe;
    int64_t H = j->layer->hidden, E = moe->routed_count;
    int64_t k = moe->per_token - (moe->expert_count - E);
    if (x)
        awq__linear(j->forward->compute, &moe->router, T, x, H, logits, E, work);
    else
        memcpy(logits, j->logits + (logits - j->routes->logits), (size_t)(T * E) * sizeof *logits);
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

/* weight[T] of the shared expert, for the tokens from `begin` on. */
static void weigh_shared(const route_job *j, int64_t begin, int64_t T, const float *x,
                         float *weight, float *work)
{
    const awq__moe *moe = &j->layer->moe;
    if (j->token_gate)
        memcpy(weight, j->token_gate + begin, (size_t)T * sizeof *weight);
    else if (moe->token_gate.rows)
        awq__linear(j->forward->compute, &moe->token_gate, T, x, j->layer->hidden, weight, 1, work);
    for (int64_t t = 0; t < T; t++)
        weight[t] = moe->token_gate.rows ? (float)(1 / (1 + exp(-(double)weight[t]))) : 1;
}

/* Floats of work space of a worker: what `most` takes, and the choices of a block. */
static int64_t route_work(const awq__layer *layer, int64_t *most)
{
    const awq__moe *moe = &layer->moe;
    *most = awq__max(moe->routed_count ? awq__weight_work(&moe->router) : 0, layer->hidden);
    int64_t residual = moe->reads_residual ? (AWQ__TOKEN_BLOCK + 1) * layer->hidden : 0;
    return *most + 2 * AWQ__TOKEN_BLOCK * moe->per_token + residual;
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
    const float *x = j->x ? j->x + begin * H : NULL;
    float *work = awq__scratch_get(&j->scratch, worker, (size_t)floats);
    AWQ__CHECK_ALLOC(work);
    float *weight = work + most, *shared_weight = weight + B * routed;
    int32_t *chosen = (int32_t *)(void *)(work + most + B * k);
    const float *read = x;
    if (moe->reads_residual) {
        float *residual = work + most + 2 * B * k;
        read_residual(j, T, j->hidden + begin * H, residual + B * H, residual);
        read = residual;
    }
    if (E)
        AWQ__CHECK(choose(j, T, read, j->routes->logits + begin * E, chosen, weight, work));
    for (int64_t i = 0; i < T * routed && moe->scales_input; i++)
        weight[i] = 1; /* awq__gather_inputs has it */
    if (shared)
        weigh_shared(j, begin, T, x, shared_weight, work);
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

static awq_status route_all(route_job *j)
{
    awq_context *ctx = j->forward->ctx;
    const awq__moe *moe = &j->layer->moe;
    awq__routes *routes = j->routes;
    int64_t T = j->tokens;
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
    awq_status status;
    AWQ__TRY(awq__scratch_create(ctx, "router work space", &j->scratch));
    AWQ__TRY_ALLOC(routes->logits && routes->index && routes->weight && routes->first &&
                   routes->slots);
    int64_t most;
    AWQ__TRY(awq__parallel_scratch(&j->scratch, (size_t)route_work(j->layer, &most),
                                   awq__ceil_div(T, AWQ__TOKEN_BLOCK), route_block, j));
    group_by_expert(routes);
done:
    awq__scratch_free(&j->scratch);
    if (status != AWQ_OK)
        awq__routes_free(routes);
    return status;
}

awq_status awq__moe_route(const awq__forward *forward, const awq__layer *layer, int64_t T,
                          const float *hidden, const float *x, awq__routes *routes)
{
    route_job j = {.forward = forward,
                   .layer = layer,
                   .hidden = hidden,
                   .x = x,
                   .tokens = T,
                   .routes = routes};
    return route_all(&j);
}

awq_status awq__moe_route_logits(const awq__forward *forward, const awq__layer *layer, int64_t T,
                                 const float *logits, const float *token_gate, awq__routes *routes)
{
    route_job j = {.forward = forward,
                   .layer = layer,
                   .tokens = T,
                   .routes = routes,
                   .logits = logits,
                   .token_gate = token_gate};
    return route_all(&j);
}
