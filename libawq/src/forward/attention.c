/* Grouped-query attention by softmax, of one sequence. */
#include "forward/layer.h"

#include <math.h>
#include <string.h>

/* Queries that share a block of scores: bounds the block to QUERIES x sequence length. */
#define QUERIES 128

/* With output gates `projected` has what q gives, a query and its gate for each head; without,
   that is `q`. */
typedef struct space {
    float *projected, *q, *k, *v, *scores, *work;
} space;

static size_t cut(const awq__layer *layer, int64_t L, float *base, space *s)
{
    const awq__attention *a = &layer->attention;
    int64_t Q = a->heads * a->head_dim, KV = a->kv_heads * a->head_dim;
    int64_t work = awq__max(awq__max(awq__weight_work(&a->q), awq__weight_work(&a->k)),
                            awq__weight_work(&a->v));
    int64_t projected = a->output_gate ? 2 * L * Q : 0;
    const int64_t sizes[] = {projected, L * Q, L * KV, L * KV, QUERIES * L, work};
    float **const parts[] = {&s->projected, &s->q, &s->k, &s->v, &s->scores, &s->work};
    return awq__cut_space(base, sizes, parts, 6);
}

static size_t floats(const awq__layer *layer, int64_t tokens)
{
    space unused;
    return cut(layer, tokens, NULL, &unused);
}

static void attend(const awq__mixing *m, const space *s)
{
    const awq__attention *a = &m->layer->attention;
    const awq__compute *compute = m->forward->compute;
    int64_t L = m->tokens, D = a->head_dim, Q = a->heads * D, KV = a->kv_heads * D;
    float scale = (float)(1 / sqrt((double)D));
    for (int64_t head = 0; head < a->heads; head++) {
        float sink = a->sinks ? a->sinks[head] : -INFINITY;
        int64_t kv = head / (a->heads / a->kv_heads);
        for (int64_t first = 0; first < L; first += QUERIES) {
            int64_t count = awq__min(QUERIES, L - first), keys = first + count;
            compute->multiply_nt(count, keys, D, s->q + first * Q + head * D, Q, s->k + kv * D, KV,
                                 0, s->scores, keys);
            compute->causal_softmax(count, keys, first, a->window, scale, sink, s->scores);
            compute->multiply_nn(count, D, keys, s->scores, keys, s->v + kv * D, KV, 0,
                                 m->c + first * Q + head * D, Q);
        }
    }
}

static void norm_heads(const awq__mixing *m, const space *s)
{
    const awq__attention *a = &m->layer->attention;
    const awq__compute *compute = m->forward->compute;
    int64_t L = m->tokens, Q = a->heads * a->head_dim, KV = a->kv_heads * a->head_dim;
    int64_t q_rows = a->norm_across_heads ? L : L * a->heads;
    int64_t k_rows = a->norm_across_heads ? L : L * a->kv_heads;
    compute->rms_norm(q_rows, L * Q / q_rows, s->q, a->q_norm, m->layer->epsilon, s->q);
    compute->rms_norm(k_rows, L * KV / k_rows, s->k, a->k_norm, m->layer->epsilon, s->k);
}

static void project_queries(const awq__mixing *m, const space *s)
{
    const awq__attention *a = &m->layer->attention;
    int64_t D = a->head_dim, count = m->tokens * a->heads;
    awq__linear(m->forward->compute, &a->q, m->tokens, m->x, m->layer->hidden,
                a->output_gate ? s->projected : s->q, a->q.rows, s->work);
    for (int64_t i = 0; i < count && a->output_gate; i++)
        memcpy(s->q + i * D, s->projected + 2 * i * D, (size_t)D * sizeof *s->q);
}

/* c *= sigmoid(gate) */
static void apply_gates(const awq__mixing *m, const space *s)
{
    const awq__attention *a = &m->layer->attention;
    int64_t D = a->head_dim, count = m->tokens * a->heads;
    for (int64_t i = 0; i < count && a->output_gate; i++) {
        const float *gate = s->projected + (2 * i + 1) * D;
        for (int64_t k = 0; k < D; k++)
            m->c[i * D + k] *= (float)(1 / (1 + exp(-(double)gate[k])));
    }
}

static void mix(const awq__mixing *m)
{
    const awq__compute *compute = m->forward->compute;
    const awq__rotary *rotary = m->forward->rotary;
    const awq__attention *a = &m->layer->attention;
    int64_t L = m->tokens, H = m->layer->hidden, D = a->head_dim;
    space s;
    cut(m->layer, L, m->space, &s);
    project_queries(m, &s);
    awq__linear(compute, &a->k, L, m->x, H, s.k, a->kv_heads * D, s.work);
    awq__linear(compute, &a->v, L, m->x, H, s.v, a->kv_heads * D, s.work);
    if (a->q_norm)
        norm_heads(m, &s);
    compute->rotate(L, a->heads, D, rotary->pairs, false, rotary->cos_sin, s.q);
    compute->rotate(L, a->kv_heads, D, rotary->pairs, false, rotary->cos_sin, s.k);
    attend(m, &s);
    apply_gates(m, &s);
}

const awq__mixer awq__softmax_mixer = {floats, mix};
