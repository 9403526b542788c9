/* Comparing logits on a device, some tokens at a time. */
#include "backend/gpu.h"

#define MOST_LOGITS ((int64_t)1 << 27) /* floats of one set of logits */

typedef struct head {
    const awq__head *of;
    awq__device_matrix matrix;
    const float *norm;
    float *x, *logits; /* of some tokens */
} head;

static awq_status prepare(awq__frame *f, const awq__head *of, int64_t tokens, head *h)
{
    h->of = of;
    AWQ__CHECK(awq__gpu_matrix_once(f, of->weight, &h->matrix));
    AWQ__CHECK(awq__frame_vector(f, of->norm, of->weight->cols, &h->norm));
    AWQ__CHECK(awq__frame_floats(f, tokens * of->weight->cols, "logits", &h->x));
    return awq__frame_floats(f, tokens * of->weight->rows, "logits", &h->logits);
}

static void make_logits(const awq__frame *f, const head *h, int64_t first, int64_t count)
{
    int64_t H = h->of->weight->cols;
    f->run->rms_norm(f->d, count, H, h->of->states->device->hidden + first * H, h->norm,
                     h->of->epsilon, h->x);
    f->run->linear(f->d, AWQ__DEVICE_EXACT, count, h->x, 1, &h->matrix, &h->logits);
}

static awq_status compare(awq__frame *f, head *judged, head *reference, const int32_t *targets,
                          awq__logit_stats *stats)
{
    const awq__states *states = judged->of->states;
    int64_t V = judged->matrix.rows, B = awq__max(MOST_LOGITS / V, 1);
    double *sums, read[4];
    AWQ__CHECK(awq__frame_bytes(f, sizeof read, "sums", &sums));
    f->run->clear(f->d, sums, sizeof read);
    for (int64_t first = 0; first < states->tokens; first += B) {
        int64_t count = awq__min(B, states->tokens - first);
        make_logits(f, judged, first, count);
        if (reference)
            make_logits(f, reference, first, count);
        f->run->compare_logits(f->d, count, V, judged->logits, reference ? reference->logits : NULL,
                               targets + first, sums);
    }
    f->run->download(f->d, read, sums, sizeof read);
    *stats = (awq__logit_stats){read[0], read[1], read[2], (int64_t)read[3]};
    return AWQ_OK;
}

/* Multipliers and caps of logits are the host's. */
static bool is_plain(const awq__head *of)
{
    return !of || (of->multiplier == 1 && of->cap == 0);
}

static awq_status by_cpu(const awq__head *judged, const awq__head *reference,
                         const int32_t *targets, awq__logit_stats *stats)
{
    AWQ__CHECK(awq__gpu_to_host(judged->states));
    if (reference)
        AWQ__CHECK(awq__gpu_to_host(reference->states));
    return awq__cpu_compare_logits(judged, reference, targets, stats);
}

awq_status awq__gpu_compare_logits(const awq__head *judged, const awq__head *reference,
                                   const int32_t *targets, awq__logit_stats *stats)
{
    awq_status status;
    const awq__states *states = judged->states;
    if (!is_plain(judged) || !is_plain(reference))
        return by_cpu(judged, reference, targets, stats);
    awq__frame f = awq__frame_begin(states->forward.ctx);
    head ours = {0}, other = {0};
    const int32_t *there;
    int64_t B = awq__min(awq__max(MOST_LOGITS / judged->weight->rows, 1), states->tokens);
    *stats = (awq__logit_stats){0};
    AWQ__TRY(awq__frame_copy(&f, targets, (size_t)states->tokens * sizeof *targets, &there));
    AWQ__TRY(prepare(&f, judged, B, &ours));
    if (reference)
        AWQ__TRY(prepare(&f, reference, B, &other));
    AWQ__TRY(compare(&f, &ours, reference ? &other : NULL, there, stats));
done:
    return awq__frame_end(&f, status);
}
