/* What one head makes of queries, keys and values: causal softmax, by blocks of queries. */
#include "forward/layer.h"

/* Some queries, all of one chunk of keys, which begins at key `begin`. */
static void attend_some(const awq__mixing *m, const awq__head_values *h, int64_t begin,
                        int64_t first, int64_t count, float *scores)
{
    const awq__attention *a = &m->layer->attention;
    const awq__compute *compute = m->forward->compute;
    int64_t keys = first + count - begin;
    compute->multiply_nt(count, keys, h->key_dim, h->q + first * h->ldq, h->ldq,
                         h->k + begin * h->ldk, h->ldk, 0, scores, keys);
    compute->causal_softmax(count, keys, first - begin, a->window, a->scale, h->sink, scores);
    compute->multiply_nn(count, h->value_dim, keys, scores, keys, h->v + begin * h->ldv, h->ldv, 0,
                         h->c + first * h->ldc, h->ldc);
}

void awq__attend(const awq__mixing *m, const awq__head_values *head, float *scores)
{
    int64_t L = m->tokens, chunk = m->layer->attention.chunk;
    chunk = chunk ? chunk : L;
    for (int64_t begin = 0; begin < L; begin += chunk) {
        int64_t end = awq__min(L, begin + chunk);
        for (int64_t first = begin; first < end; first += AWQ__QUERIES)
            attend_some(m, head, begin, first, awq__min(AWQ__QUERIES, end - first), scores);
    }
}
