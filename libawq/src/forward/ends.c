/* The two ends of a model, embedding and head, and its sequences. */
#include "forward/layer.h"

#include <math.h>

awq__sequences awq__some_sequences(const awq__sequences *all, int64_t first, int64_t most)
{
    awq__sequences some = {.count = 1, .offsets = all->offsets + first, .ids = all->ids};
    while (first + some.count < all->count &&
           some.offsets[some.count + 1] - some.offsets[0] <= most)
        some.count++;
    return some;
}

typedef struct embed_job {
    const awq__forward *forward;
    const awq__weight *embedding;
    float multiplier, *hidden;
} embed_job;

static awq_status embed_block(void *arg, int64_t index, int worker)
{
    embed_job *j = arg;
    (void)worker;
    const awq__sequences *sequences = j->forward->sequences;
    int64_t T = awq__token_count(sequences), H = j->embedding->cols;
    int64_t end = awq__min((index + 1) * AWQ__TOKEN_BLOCK, T);
    for (int64_t t = index * AWQ__TOKEN_BLOCK; t < end; t++) {
        float *row = j->hidden + t * H;
        awq__weight_read(j->forward->compute, j->embedding, sequences->ids[t], 1, row);
        if (j->multiplier != 1)
            j->forward->compute->scale(1, H, &j->multiplier, NULL, row);
    }
    return AWQ_OK;
}

awq_status awq__embed(const awq__forward *forward, const awq__weight *embedding, float multiplier,
                      float *hidden)
{
    embed_job j = {forward, embedding, multiplier, hidden};
    int64_t T = awq__token_count(forward->sequences);
    return awq__parallel_for(forward->ctx, awq__ceil_div(T, AWQ__TOKEN_BLOCK), embed_block, &j);
}

void awq__head_logits(const awq__compute *compute, const awq__weight *head, const float *norm,
                      double epsilon, int64_t T, const float *hidden, float *x, float *logits,
                      float *work)
{
    compute->rms_norm(T, head->cols, hidden, norm, epsilon, x);
    awq__linear(compute, head, T, x, head->cols, logits, head->rows, work);
}

void awq__finish_logits(int64_t count, float multiplier, float cap, float *logits)
{
    for (int64_t i = 0; i < count && multiplier != 1; i++)
        logits[i] *= multiplier;
    for (int64_t i = 0; i < count && cap != 0; i++)
        logits[i] = cap * tanhf(logits[i] / cap);
}
