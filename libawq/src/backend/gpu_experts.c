/* The block of experts on a device: norm, router, and experts one after the other. */
#include "backend/gpu.h"

/* Arrays of an expert's tokens take at most this many floats (1 GB). */
#define MOST_FLOATS ((int64_t)1 << 28)
#define LEAST_TOKENS 1024

bool awq__gpu_takes_experts(const awq__layer *layer)
{
    const awq__moe *moe = &layer->moe;
    bool plain_sum = !moe->post_norm && !moe->experts_post_norm && !moe->shared_post_norm &&
                     !moe->layer_scalar && layer->branch_multiplier == 1;
    bool plain_inputs = !moe->shared_norm && !moe->reads_residual && !moe->scales_input;
    bool plain_activation = !moe->activate; /* a plugin's function */
    for (int64_t e = 0; e < moe->expert_count; e++)
        plain_activation &= moe->experts[e].activation.kind == AWQ_ACTIVATION_SILU;
    return plain_sum && plain_inputs && plain_activation;
}

/* ---- norm and router ---- */

awq_status awq__gpu_moe_input(awq__frame *f, const awq__layer *layer, int64_t T,
                              const float *hidden, float *x)
{
    const float *norm;
    AWQ__CHECK(awq__frame_vector(f, layer->moe.norm, layer->hidden, &norm));
    f->run->rms_norm(f->d, T, layer->hidden, hidden, norm, layer->epsilon, x);
    return AWQ_OK;
}

/* Products of x with a small matrix, to the host's out[T,N], which the caller frees. Nothing where
   there is no matrix. */
static awq_status read_products(awq__frame *f, const awq__weight *weight, int64_t T, const float *x,
                                float **out)
{
    awq__device_matrix matrix;
    float *products;
    size_t floats = (size_t)(T * weight->rows);
    *out = NULL;
    if (!weight->rows)
        return AWQ_OK;
    *out = awq__alloc_host(f->ctx, floats, sizeof **out, "router logits");
    AWQ__CHECK_ALLOC(*out);
    AWQ__CHECK(awq__gpu_matrix_once(f, weight, &matrix));
    AWQ__CHECK(awq__frame_floats(f, (int64_t)floats, "router logits", &products));
    f->run->linear(f->d, AWQ__DEVICE_EXACT, T, x, 1, &matrix, &products);
    f->run->download(f->d, *out, products, floats * sizeof **out);
    return awq__gpu_finish(f->ctx, f->gpu);
}

/* The host chooses: what it needs are logits, and it has plugins' functions. */
awq_status awq__gpu_moe_route(awq__frame *f, const awq__forward *forward, const awq__layer *layer,
                              int64_t T, const float *x, awq__routes *routes)
{
    awq_status status;
    const awq__moe *moe = &layer->moe;
    float *logits = NULL, *token_gate = NULL;
    AWQ__TRY(read_products(f, &moe->router, T, x, &logits));
    AWQ__TRY(read_products(f, &moe->token_gate, T, x, &token_gate));
    AWQ__TRY(awq__moe_route_logits(forward, layer, T, logits, token_gate, routes));
done:
    awq__free_aligned(logits);
    awq__free_aligned(token_gate);
    return status;
}

/* The experts' inputs stay in the host's memory. */
static awq_status route_by_cpu(awq__states *states, const awq__layer *layer, awq__routes *routes)
{
    states->device->x_is_latest = false;
    AWQ__CHECK(awq__gpu_to_host(states));
    return awq__cpu_route(states, layer, routes);
}

awq_status awq__gpu_route(awq__states *states, const awq__layer *layer, awq__routes *routes)
{
    awq_status status;
    if (!awq__gpu_takes_experts(layer))
        return route_by_cpu(states, layer, routes);
    awq__frame frame = awq__frame_begin(states->forward.ctx);
    struct awq__gpu_states *device = states->device;
    *routes = (awq__routes){0};
    AWQ__TRY(awq__gpu_make_x(states));
    AWQ__TRY(awq__gpu_moe_input(&frame, layer, states->tokens, device->hidden, device->x));
    device->x_is_latest = true;
    AWQ__TRY(
        awq__gpu_moe_route(&frame, &states->forward, layer, states->tokens, device->x, routes));
done:
    return awq__frame_end(&frame, status);
}

/* ---- one expert ---- */

int64_t awq__gpu_expert_tokens(const awq__layer *layer)
{
    int64_t floats = 2 * layer->hidden + 3 * layer->moe.intermediate;
    return awq__max(MOST_FLOATS / floats / LEAST_TOKENS, 1) * LEAST_TOKENS;
}

awq_status awq__gpu_passed_create(awq__frame *f, const awq__layer *layer, int64_t tokens,
                                  awq__gpu_passed *passed)
{
    const char *what = "tokens of an expert";
    int64_t H = layer->hidden, I = layer->moe.intermediate;
    AWQ__CHECK(awq__frame_floats(f, tokens * H, what, &passed->x));
    AWQ__CHECK(awq__frame_floats(f, tokens * H, what, &passed->z));
    AWQ__CHECK(awq__frame_floats(f, tokens * I, what, &passed->gate));
    AWQ__CHECK(awq__frame_floats(f, tokens * I, what, &passed->up));
    return awq__frame_floats(f, tokens * I, what, &passed->inner);
}

awq_status awq__gpu_pass_expert(awq__frame *f, const awq__layer *layer, bool output,
                                awq__device_grade grade, const awq__gpu_passed *p)
{
    const awq__expert *expert = &layer->moe.experts[p->expert];
    const awq__device_activation a = {expert->activation.alpha, expert->activation.limit,
                                      expert->activation.up_offset};
    awq__device_matrix gate_up[2], down;
    float *const outputs[] = {p->gate, p->up};
    size_t kept = f->count;
    AWQ__CHECK(awq__gpu_matrix_of(f, &expert->gate, &gate_up[0]));
    AWQ__CHECK(awq__gpu_matrix_of(f, &expert->up, &gate_up[1]));
    AWQ__CHECK(awq__gpu_matrix_of(f, &expert->down, &down));
    f->run->linear(f->d, grade, p->tokens, p->x, 2, gate_up, outputs);
    f->run->activate(f->d, p->tokens * expert->intermediate, &a, p->gate, p->up, p->inner);
    if (output)
        f->run->linear(f->d, grade, p->tokens, p->inner, 1, &down, &p->z);
    awq__frame_back(f, kept);
    return AWQ_OK;
}

/* ---- all of them ---- */

/* In the order of the slots. */
typedef struct slots {
    const int32_t *token;
    const float *weight;
    int32_t *special; /* [experts] outputs that are not finite */
} slots;

static awq_status upload_slots(awq__frame *f, const awq__routes *routes, slots *s)
{
    awq_status status;
    int64_t k = routes->per_token, count = routes->tokens * k;
    int32_t *token = awq__alloc(f->ctx, (size_t)count, sizeof *token, "router groups");
    float *weight = awq__alloc(f->ctx, (size_t)count, sizeof *weight, "router groups");
    size_t special = (size_t)routes->experts * sizeof *s->special;
    AWQ__TRY_ALLOC(token && weight);
    for (int64_t i = 0; i < count; i++) {
        token[i] = (int32_t)(routes->slots[i] / k);
        weight[i] = routes->weight[routes->slots[i]];
    }
    AWQ__TRY(awq__frame_copy(f, token, (size_t)count * sizeof *token, &s->token));
    AWQ__TRY(awq__frame_vector(f, weight, count, &s->weight));
    AWQ__TRY(awq__frame_bytes(f, special, "counts", &s->special));
    f->run->clear(f->d, s->special, special);
done:
    awq__free(token);
    awq__free(weight);
    return status;
}

static awq_status check_special(awq__frame *f, const awq__layer *layer, const slots *s)
{
    awq_status status;
    int64_t E = layer->moe.expert_count;
    int32_t *special = awq__alloc(f->ctx, (size_t)E, sizeof *special, "counts");
    AWQ__CHECK_ALLOC(special);
    f->run->download(f->d, special, s->special, (size_t)E * sizeof *special);
    AWQ__TRY(awq__gpu_finish(f->ctx, f->gpu));
    for (int64_t e = 0; e < E; e++)
        if (special[e])
            AWQ__TRY(awq__not_finite(f->ctx, layer->moe.experts[e].down.name, "outputs"));
done:
    awq__free(special);
    return status;
}

/* The p->tokens slots from `at` on. */
static awq_status pass_slots(awq__frame *f, const awq__layer *layer, const float *x, const slots *s,
                             int64_t at, const awq__gpu_passed *p, float *out,
                             const awq__gpu_expert_tap *tap)
{
    int64_t H = layer->hidden;
    f->run->gather(f->d, p->tokens, H, s->token + at, x, p->x);
    AWQ__CHECK(awq__gpu_pass_expert(f, layer, true, AWQ__DEVICE_EXACT, p));
    f->run->count_special(f->d, p->tokens * H, p->z, s->special + p->expert);
    f->run->add_rows(f->d, p->tokens, H, s->token + at, s->weight + at, p->z, out);
    return tap ? tap->see(tap->user, f, p) : AWQ_OK;
}

static int64_t most_tokens(const awq__routes *routes)
{
    int64_t most = 1;
    for (int64_t e = 0; e < routes->experts; e++)
        most = awq__max(most, routes->first[e + 1] - routes->first[e]);
    return most;
}

awq_status awq__gpu_moe_experts(awq__frame *f, const awq__layer *layer, const float *x,
                                const awq__routes *routes, float *out,
                                const awq__gpu_expert_tap *tap)
{
    slots s;
    awq__gpu_passed p = {0};
    int64_t B = awq__min(awq__gpu_expert_tokens(layer), most_tokens(routes));
    AWQ__CHECK(upload_slots(f, routes, &s));
    AWQ__CHECK(awq__gpu_passed_create(f, layer, B, &p));
    for (p.expert = 0; p.expert < routes->experts; p.expert++) {
        int64_t begin = routes->first[p.expert], end = routes->first[p.expert + 1];
        for (int64_t at = begin; at < end; at += B) {
            p.first = at - begin;
            p.tokens = awq__min(B, end - at);
            AWQ__CHECK(pass_slots(f, layer, x, &s, at, &p, out, tap));
        }
    }
    return check_special(f, layer, &s);
}

/* Their inputs are the host's: awq__gpu_route. */
static awq_status by_cpu(awq__states *states, const awq__layer *layer, const awq__routes *routes)
{
    AWQ__CHECK(awq__gpu_to_host(states));
    AWQ__CHECK(awq__cpu_experts(states, layer, routes));
    return awq__gpu_to_device(states);
}

awq_status awq__gpu_experts(awq__states *states, const awq__layer *layer, const awq__routes *routes)
{
    awq_status status;
    if (!awq__gpu_takes_experts(layer))
        return by_cpu(states, layer, routes);
    awq__frame frame = awq__frame_begin(states->forward.ctx);
    AWQ__TRY(awq__gpu_moe_experts(&frame, layer, states->device->x, routes, states->device->hidden,
                                  NULL));
done:
    return awq__frame_end(&frame, status);
}
