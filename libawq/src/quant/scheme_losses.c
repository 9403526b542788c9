/* What schemes do to the output of matrices whose scales are known. */
#include "quant/quant.h"

typedef struct losses_job {
    const awq__compute *compute;
    const awq__scheme_item *items;
    int64_t scheme_count, space;
    double *losses;
    awq__scratch scratch;
} losses_job;

/* A matrix: a task. Blocks of rows are added in their order. */
static awq_status run_item(void *arg, int64_t index, int worker)
{
    losses_job *j = arg;
    const awq__scheme_item *item = &j->items[index];
    const awq__weight *weight = item->weight;
    int64_t K = weight->cols, block = awq__weight_block(weight);
    float *values = awq__scratch_get(&j->scratch, worker, (size_t)j->space);
    AWQ__CHECK_ALLOC(values);
    float *error = values + block * K, *product = error + block * K;
    double *losses = j->losses + index * j->scheme_count;
    for (int64_t s = 0; s < j->scheme_count; s++)
        losses[s] = 0;
    for (int64_t first = 0; first < weight->rows; first += block) {
        int64_t n = awq__min(block, weight->rows - first);
        const float *row_weight = item->row_weight ? item->row_weight + first : NULL;
        awq__weight_read(j->compute, weight, first, n, values);
        for (int64_t s = 0; s < j->scheme_count; s++) {
            j->compute->quantize_error(n, K, &item->schemes[s], NULL, item->scale, item->unscale,
                                       values, error);
            losses[s] += awq__error_loss(j->compute, item->stats, n, error, row_weight, product);
        }
    }
    return AWQ_OK;
}

awq_status awq__scheme_losses(awq_context *ctx, const awq__compute *compute,
                              const awq__scheme_item *items, int64_t item_count,
                              int64_t scheme_count, double *losses)
{
    losses_job j = {
        .compute = compute, .items = items, .scheme_count = scheme_count, .losses = losses};
    for (int64_t i = 0; i < item_count; i++)
        j.space = awq__max(j.space, awq__gram_loss_space(items[i].weight, items[i].stats));
    awq_status status;
    AWQ__TRY(awq__scratch_create(ctx, "losses of schemes", &j.scratch));
    AWQ__TRY(awq__parallel_scratch(&j.scratch, (size_t)j.space, item_count, run_item, &j));
done:
    awq__scratch_free(&j.scratch);
    return status;
}
