/* Grouped-query attention, a sequence a task. */
#include "forward/layer.h"

#include <math.h>
#include <string.h>

/* Queries that share a block of scores: bounds the block to QUERIES x sequence length. */
#define QUERIES 128

awq_status awq__rotary_create(awq_context *ctx, const awq_rope *rope, int64_t length,
                              awq__rotary *rotary)
{
    *rotary = (awq__rotary){.pairs = rope->pairs, .length = length};
    size_t count;
    if (awq__mul_overflows((size_t)length, 2 * (size_t)rope->pairs, &count))
        return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: rotary table of %lld positions",
                         (long long)length);
    rotary->cos_sin = awq__alloc_aligned(ctx, count, sizeof(float), "the rotary table");
    AWQ__CHECK_ALLOC(rotary->cos_sin);
    for (int64_t t = 0; t < length; t++)
        for (int64_t i = 0; i < rope->pairs; i++) {
            /* The product is rounded to F32 as the models were trained with it. */
            float angle = (float)t * (float)rope->inverse_frequency[i];
            float *row = rotary->cos_sin + t * 2 * rope->pairs;
            row[i] = (float)(cos((double)angle) * rope->attention_factor);
            row[rope->pairs + i] = (float)(sin((double)angle) * rope->attention_factor);
        }
    return AWQ_OK;
}

void awq__rotary_free(awq__rotary *rotary)
{
    awq__free_aligned(rotary->cos_sin);
    *rotary = (awq__rotary){0};
}

typedef struct job {
    const awq__forward *forward;
    const awq__layer *layer;
    const float *hidden;
    float *out;
    bool add;
    awq__attention_tap tap;
    void *user;
    int64_t longest;
    awq__scratch scratch;
} job;

/* The work space of one sequence, cut out of a worker's allocation. */
typedef struct space {
    float *x, *q, *k, *v, *c, *scores, *work;
} space;

static size_t space_floats(const job *j, space *s, float *base)
{
    const awq__attention *a = &j->layer->attention;
    int64_t L = j->longest, H = j->layer->hidden, Q = a->heads * a->head_dim;
    int64_t KV = a->kv_heads * a->head_dim;
    int64_t work = awq__max(awq__max(awq__weight_work(&a->q), awq__weight_work(&a->k)),
                            awq__max(awq__weight_work(&a->v), awq__weight_work(&a->o)));
    int64_t sizes[] = {L * H, L * Q, L * KV, L * KV, L * Q, QUERIES * L, work};
    float **parts[] = {&s->x, &s->q, &s->k, &s->v, &s->c, &s->scores, &s->work};
    size_t at = 0;
    for (int i = 0; i < 7; i++) {
        *parts[i] = base ? base + at : NULL;
        at += (size_t)(sizes[i] + 15) / 16 * 16; /* keeps each part aligned to 64 bytes */
    }
    return at;
}

int64_t awq__attention_work(const awq__layer *layer, int64_t longest)
{
    const job j = {.layer = layer, .longest = longest};
    space parts;
    return (int64_t)space_floats(&j, &parts, NULL);
}

static void attend(const job *j, const space *s, int64_t L)
{
    const awq__attention *a = &j->layer->attention;
    const awq__compute *compute = j->forward->compute;
    int64_t D = a->head_dim, Q = a->heads * D, KV = a->kv_heads * D;
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
                                 s->c + first * Q + head * D, Q);
        }
    }
}

static awq_status run_sequence(void *arg, int64_t index, int worker)
{
    job *j = arg;
    const awq__forward *forward = j->forward;
    const awq__compute *compute = forward->compute;
    const awq__layer *layer = j->layer;
    const awq__attention *a = &layer->attention;
    const int64_t *offsets = forward->sequences->offsets;
    int64_t H = layer->hidden, D = a->head_dim, Q = a->heads * D, KV = a->kv_heads * D;
    int64_t begin = offsets[index], L = offsets[index + 1] - begin;
    space s;
    float *floats = awq__scratch_get(&j->scratch, worker, space_floats(j, &s, NULL));
    AWQ__CHECK_ALLOC(floats);
    space_floats(j, &s, floats);
    compute->rms_norm(L, H, j->hidden + begin * H, a->norm, layer->epsilon, s.x);
    awq__linear(compute, &a->q, L, s.x, H, s.q, Q, s.work);
    awq__linear(compute, &a->k, L, s.x, H, s.k, KV, s.work);
    awq__linear(compute, &a->v, L, s.x, H, s.v, KV, s.work);
    if (a->q_norm) {
        int64_t q_rows = a->norm_across_heads ? L : L * a->heads;
        int64_t k_rows = a->norm_across_heads ? L : L * a->kv_heads;
        compute->rms_norm(q_rows, L * Q / q_rows, s.q, a->q_norm, layer->epsilon, s.q);
        compute->rms_norm(k_rows, L * KV / k_rows, s.k, a->k_norm, layer->epsilon, s.k);
    }
    compute->rotate(L, a->heads, D, forward->rotary->pairs, forward->rotary->cos_sin, s.q);
    compute->rotate(L, a->kv_heads, D, forward->rotary->pairs, forward->rotary->cos_sin, s.k);
    attend(j, &s, L);
    if (j->tap)
        j->tap(j->user, index, worker, L, s.x, s.c);
    if (!j->out)
        return AWQ_OK;
    /* The input is not needed any more once it has been normed: x takes the output. */
    awq__linear(compute, &a->o, L, s.c, Q, s.x, H, s.work);
    AWQ__CHECK(awq__check_finite(forward, a->o.name, "outputs", L * H, s.x));
    float *out = j->out + begin * H;
    if (j->add)
        compute->combine(L, 1, H, NULL, s.x, out);
    else
        memcpy(out, s.x, (size_t)(L * H) * sizeof *out);
    return AWQ_OK;
}

awq_status awq__attention_forward(const awq__forward *forward, const awq__layer *layer,
                                  const float *hidden, bool add, float *out, awq__attention_tap tap,
                                  void *user)
{
    job j = {.forward = forward,
             .layer = layer,
             .hidden = hidden,
             .out = out,
             .add = add,
             .tap = tap,
             .user = user};
    const awq__sequences *sequences = forward->sequences;
    for (int64_t i = 0; i < sequences->count; i++)
        j.longest = awq__max(j.longest, sequences->offsets[i + 1] - sequences->offsets[i]);
    awq_status status;
    AWQ__TRY(awq__scratch_create(forward->ctx, "attention work space", &j.scratch));
    space parts;
    AWQ__TRY(awq__parallel_scratch(&j.scratch, space_floats(&j, &parts, NULL), sequences->count,
                                   run_sequence, &j));
done:
    awq__scratch_free(&j.scratch);
    return status;
}
