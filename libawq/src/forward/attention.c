/* Grouped-query attention by softmax, of one sequence. */
#include "forward/layer.h"

#include <math.h>
#include <string.h>

/* With output gates `projected` has what q gives, a query and its gate for each head; without,
   that is `q`. */
typedef struct space {
    float *projected, *q, *k, *v, *scores, *ones, *work;
} space;

static size_t cut(const awq__layer *layer, int64_t L, float *base, space *s)
{
    const awq__attention *a = &layer->attention;
    int64_t Q = a->heads * a->head_dim, KV = a->kv_heads * a->head_dim;
    int64_t work = awq__max(awq__weight_work(&a->q), awq__weight_work(&a->k));
    if (!a->value_is_key)
        work = awq__max(work, awq__weight_work(&a->v));
    int64_t ones = a->bare_norms ? a->head_dim : 0, projected = a->output_gate ? 2 * L * Q : 0;
    const int64_t sizes[] = {projected, L * Q, L * KV, L * KV, AWQ__QUERIES * L, ones, work};
    float **const parts[] = {&s->projected, &s->q, &s->k, &s->v, &s->scores, &s->ones, &s->work};
    return awq__cut_space(base, sizes, parts, 7);
}

static size_t floats(const awq__layer *layer, int64_t tokens)
{
    space unused;
    return cut(layer, tokens, NULL, &unused);
}

static void attend(const awq__mixing *m, const space *s)
{
    const awq__attention *a = &m->layer->attention;
    int64_t D = a->head_dim;
    for (int64_t head = 0; head < a->heads; head++) {
        int64_t kv = head / (a->heads / a->kv_heads);
        const awq__head_values values = {.key_dim = D,
                                         .value_dim = D,
                                         .q = s->q + head * D,
                                         .k = s->k + kv * D,
                                         .v = s->v + kv * D,
                                         .c = m->c + head * D,
                                         .ldq = a->heads * D,
                                         .ldk = a->kv_heads * D,
                                         .ldv = a->kv_heads * D,
                                         .ldc = a->heads * D,
                                         .sink = a->sinks ? a->sinks[head] : -INFINITY};
        awq__attend(m, &values, s->scores);
    }
}

/* ---- what is done to queries, keys and values before ---- */

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

/* Norms without weights, of the heads of q, k or v. */
static void norm_bare(const awq__mixing *m, const space *s, int which)
{
    const awq__attention *a = &m->layer->attention;
    float *const parts[] = {s->q, s->k, s->v};
    int64_t heads[] = {a->heads, a->kv_heads, a->kv_heads}, D = a->head_dim;
    for (int64_t d = 0; d < D && a->bare_norms; d++)
        s->ones[d] = 1;
    for (int i = 0; i < 3; i++)
        if (a->bare_norms & which & 1 << i)
            m->forward->compute->rms_norm(m->tokens * heads[i], D, parts[i], s->ones,
                                          m->layer->epsilon, parts[i]);
}

static void norm(const awq__mixing *m, const space *s)
{
    if (m->layer->attention.q_norm)
        norm_heads(m, s);
    norm_bare(m, s, AWQ_BARE_NORM_Q | AWQ_BARE_NORM_K);
}

static void clip(float limit, int64_t count, float *x)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] = x[i] > limit ? limit : x[i]; /* NaN stays NaN */
        x[i] = x[i] < -limit ? -limit : x[i];
    }
}

static void clip_all(const awq__mixing *m, const space *s)
{
    const awq__attention *a = &m->layer->attention;
    int64_t L = m->tokens, Q = a->heads * a->head_dim, KV = a->kv_heads * a->head_dim;
    clip(a->clip, L * Q, s->q);
    clip(a->clip, L * KV, s->k);
    clip(a->clip, L * KV, s->v);
}

static void turn(const awq__mixing *m, const space *s)
{
    const awq__attention *a = &m->layer->attention;
    const awq__compute *compute = m->forward->compute;
    if (a->rope < 0)
        return;
    const awq__rotary *rotary = &m->forward->rotary[a->rope];
    compute->rotate(m->tokens, a->heads, a->head_dim, rotary->pairs, a->adjacent, rotary->cos_sin,
                    s->q);
    compute->rotate(m->tokens, a->kv_heads, a->head_dim, rotary->pairs, a->adjacent,
                    rotary->cos_sin, s->k);
}

/* Queries of far positions are made larger. */
static void heat(const awq__mixing *m, float *q)
{
    const awq__attention *a = &m->layer->attention;
    int64_t Q = a->heads * a->head_dim;
    for (int64_t t = 0; t < m->tokens; t++) {
        double steps = floor((double)(t + 1) / a->temperature_floor);
        float factor = (float)(1 + a->temperature_scale * log1p(steps));
        m->forward->compute->scale(1, Q, &factor, NULL, q + t * Q);
    }
}

static void project(const awq__mixing *m, const space *s)
{
    const awq__compute *compute = m->forward->compute;
    const awq__attention *a = &m->layer->attention;
    int64_t L = m->tokens, H = m->layer->hidden, D = a->head_dim;
    project_queries(m, s);
    awq__linear(compute, &a->k, L, m->x, H, s->k, a->kv_heads * D, s->work);
    if (a->value_is_key)
        memcpy(s->v, s->k, (size_t)(L * a->kv_heads * D) * sizeof *s->v);
    else
        awq__linear(compute, &a->v, L, m->x, H, s->v, a->kv_heads * D, s->work);
}

static void mix(const awq__mixing *m)
{
    const awq__attention *a = &m->layer->attention;
    space s;
    cut(m->layer, m->tokens, m->space, &s);
    project(m, &s);
    norm_bare(m, &s, AWQ_BARE_NORM_V);
    if (!a->norm_after_rope)
        norm(m, &s);
    if (a->clip < INFINITY)
        clip_all(m, &s);
    turn(m, &s);
    if (a->norm_after_rope)
        norm(m, &s);
    if (a->temperature_floor > 0)
        heat(m, s.q);
    attend(m, &s);
    apply_gates(m, &s);
}

const awq__mixer awq__softmax_mixer = {floats, mix};
