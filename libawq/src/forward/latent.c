/*
 * Latent attention (MLA, arXiv 2405.04434) of one sequence, a head at a time: queries, keys and
 * values of all heads together would take many times what the latents do.
 */
#include "forward/layer.h"

#include <math.h>
#include <string.h>

typedef struct space {
    float *q_latent; /* [L,q_rank] */
    float *kv;       /* [L,kv_rank+rope] what kv_a makes: latent, rope key */
    float *latent;   /* [L,kv_rank] normed */
    float *q, *k;    /* [L,nope+rope] of one head */
    float *kv_head;  /* [L,nope+value] what kv_b makes of one head */
    float *scores, *work;
} space;

static int64_t work_of(const awq__attention *a)
{
    const awq__latent *m = &a->latent;
    int64_t queries = m->q_rank ? awq__max(awq__weight_work(&m->q_a), awq__weight_work(&m->q_b))
                                : awq__weight_work(&a->q);
    return awq__max(queries, awq__max(awq__weight_work(&m->kv_a), awq__weight_work(&m->kv_b)));
}

static size_t cut(const awq__layer *layer, int64_t L, float *base, space *s)
{
    const awq__latent *m = &layer->attention.latent;
    int64_t head = L * (m->nope + m->rope);
    const int64_t sizes[] = {
        L * m->q_rank, L * (m->kv_rank + m->rope), L * m->kv_rank,   head,
        head,          L * (m->nope + m->value),   AWQ__QUERIES * L, work_of(&layer->attention)};
    float **const parts[] = {&s->q_latent, &s->kv,      &s->latent, &s->q,
                             &s->k,        &s->kv_head, &s->scores, &s->work};
    return awq__cut_space(base, sizes, parts, 8);
}

static size_t floats(const awq__layer *layer, int64_t tokens)
{
    space unused;
    return cut(layer, tokens, NULL, &unused);
}

/* Turns rope channels: x [L, width]. */
static void rotate(const awq__mixing *m, int64_t width, float *x)
{
    const awq__attention *a = &m->layer->attention;
    if (a->rope < 0)
        return;
    const awq__rotary *rotary = &m->forward->rotary[a->rope];
    m->forward->compute->rotate(m->tokens, 1, width, rotary->pairs, m->layer->attention.adjacent,
                                rotary->cos_sin, x);
}

static void make_q_latent(const awq__mixing *m, const space *s)
{
    const awq__compute *compute = m->forward->compute;
    const awq__latent *latent = &m->layer->attention.latent;
    int64_t L = m->tokens, R = latent->q_rank;
    awq__linear(compute, &latent->q_a, L, m->x, m->layer->hidden, s->q_latent, R, s->work);
    compute->rms_norm(L, R, s->q_latent, latent->q_norm, latent->epsilon, s->q_latent);
    awq__mixing_show(m, AWQ__VECTOR_Q_LATENT, s->q_latent);
}

/* The latent, and the rope key, which stays behind it in kv. */
static void make_kv_latent(const awq__mixing *m, const space *s)
{
    const awq__compute *compute = m->forward->compute;
    const awq__latent *latent = &m->layer->attention.latent;
    int64_t L = m->tokens, R = latent->kv_rank, width = R + latent->rope;
    awq__linear(compute, &latent->kv_a, L, m->x, m->layer->hidden, s->kv, width, s->work);
    for (int64_t t = 0; t < L; t++)
        compute->rms_norm(1, R, s->kv + t * width, latent->kv_norm, latent->epsilon,
                          s->latent + t * R);
    rotate(m, width, s->kv + R);
    awq__mixing_show(m, AWQ__VECTOR_KV_LATENT, s->latent);
}

/* q, k and kv_head of one head. */
static void make_head(const awq__mixing *m, const space *s, int64_t head)
{
    const awq__compute *compute = m->forward->compute;
    const awq__attention *a = &m->layer->attention;
    const awq__latent *latent = &a->latent;
    const awq__weight *q = latent->q_rank ? &latent->q_b : &a->q;
    const float *from = latent->q_rank ? s->q_latent : m->x;
    int64_t L = m->tokens, nope = latent->nope, rope = latent->rope, R = latent->kv_rank;
    int64_t D = nope + rope, width = nope + latent->value;
    awq__linear_rows(compute, q, head * D, D, L, from, q->cols, s->q, D, s->work);
    rotate(m, D, s->q + nope);
    awq__linear_rows(compute, &latent->kv_b, head * width, width, L, s->latent, R, s->kv_head,
                     width, s->work);
    for (int64_t t = 0; t < L; t++) {
        memcpy(s->k + t * D, s->kv_head + t * width, (size_t)nope * sizeof *s->k);
        memcpy(s->k + t * D + nope, s->kv + t * (R + rope) + R, (size_t)rope * sizeof *s->k);
    }
}

static void mix(const awq__mixing *m)
{
    const awq__attention *a = &m->layer->attention;
    const awq__latent *latent = &a->latent;
    int64_t D = latent->nope + latent->rope, V = latent->value, ldv = latent->nope + V;
    space s;
    cut(m->layer, m->tokens, m->space, &s);
    if (latent->q_rank)
        make_q_latent(m, &s);
    make_kv_latent(m, &s);
    for (int64_t head = 0; head < a->heads; head++) {
        const awq__head_values values = {.key_dim = D,
                                         .value_dim = V,
                                         .q = s.q,
                                         .k = s.k,
                                         .v = s.kv_head + latent->nope,
                                         .c = m->c + head * V,
                                         .ldq = D,
                                         .ldk = D,
                                         .ldv = ldv,
                                         .ldc = a->heads * V,
                                         .sink = -INFINITY};
        make_head(m, &s, head);
        awq__attend(m, &values, s.scores);
    }
}

const awq__mixer awq__latent_mixer = {floats, mix};
