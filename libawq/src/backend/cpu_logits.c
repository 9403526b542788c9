/* Comparing logits on the CPU, a block of tokens a task. */
#include "backend/cpu.h"

#define ROWS 64 /* tokens whose logits are worked on at a time */

typedef struct compare_job {
    const awq__head *judged, *reference; /* reference NULL: there is none */
    const int32_t *targets;
    awq__logit_stats *stats; /* one a task */
    awq__scratch scratch;
} compare_job;

static void logits_of(const awq__head *head, int64_t first, int64_t count, float *x, float *logits,
                      float *work)
{
    const awq__states *states = head->states;
    awq__head_logits(states->forward.compute, head->weight, head->norm, head->epsilon, count,
                     states->hidden + first * states->width, x, logits, work);
    awq__finish_logits(count * head->weight->rows, head->multiplier, head->cap, logits);
}

static int64_t widest(const compare_job *j)
{
    int64_t other = j->reference ? j->reference->weight->cols : 0;
    return awq__max(j->judged->weight->cols, other);
}

/* Floats of work space of a worker: two sets of logits, normed hidden states, a block of weights.
 */
static int64_t compare_work(const compare_job *j)
{
    int64_t other = j->reference ? awq__weight_work(j->reference->weight) : 0;
    return ROWS * (2 * j->judged->weight->rows + widest(j)) +
           awq__max(awq__weight_work(j->judged->weight), other);
}

double awq__cpu_logits_bytes(const awq__weight *head)
{
    return 4 * (double)(ROWS * (2 * head->rows + head->cols) + awq__weight_work(head));
}

static awq_status compare_block(void *arg, int64_t index, int worker)
{
    compare_job *j = arg;
    int64_t V = j->judged->weight->rows, first = index * ROWS;
    int64_t count = awq__min(ROWS, j->judged->states->tokens - first);
    float *logits = awq__scratch_get(&j->scratch, worker, (size_t)compare_work(j));
    AWQ__CHECK_ALLOC(logits);
    float *reference = logits + ROWS * V;
    float *x = reference + ROWS * V, *work = x + ROWS * widest(j);
    logits_of(j->judged, first, count, x, logits, work);
    if (j->reference)
        logits_of(j->reference, first, count, x, reference, work);
    j->judged->states->forward.compute->compare_logits(
        count, V, logits, j->reference ? reference : NULL, j->targets + first, &j->stats[index]);
    return AWQ_OK;
}

awq_status awq__cpu_compare_logits(const awq__head *judged, const awq__head *reference,
                                   const int32_t *targets, awq__logit_stats *total)
{
    awq_status status;
    awq_context *ctx = judged->states->forward.ctx;
    int64_t tasks = awq__ceil_div(judged->states->tokens, ROWS);
    compare_job j = {.judged = judged, .reference = reference, .targets = targets};
    *total = (awq__logit_stats){0};
    j.stats = awq__alloc(ctx, (size_t)tasks, sizeof *j.stats, "logit statistics");
    AWQ__TRY_ALLOC(j.stats);
    AWQ__TRY(awq__scratch_create(ctx, "logits", &j.scratch));
    AWQ__TRY(awq__parallel_scratch(&j.scratch, (size_t)compare_work(&j), tasks, compare_block, &j));
    for (int64_t i = 0; i < tasks; i++) {
        total->nll += j.stats[i].nll;
        total->reference_nll += j.stats[i].reference_nll;
        total->kl += j.stats[i].kl;
        total->same_top1 += j.stats[i].same_top1;
    }
done:
    awq__scratch_free(&j.scratch);
    awq__free(j.stats);
    return status;
}
