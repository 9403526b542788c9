/* The scales of a block's inputs, with losses that a device finds. */
#include "backend/gpu.h"

/* ---- w_mean ---- */

/* Of the readers of the same tokens: queued, to be read when all are. */
static awq_status weigh_seen(awq__frame *f, awq__seen *seen, double *sums)
{
    const awq__reader *first = awq__seen_quantized(seen);
    for (int64_t i = 0; i < seen->reader_count; i++) {
        awq__device_matrix matrix;
        if (!seen->readers[i].treatment)
            continue;
        AWQ__CHECK(awq__gpu_matrix_of(f, seen->readers[i].weight, &matrix));
        f->run->add_w_mean(f->d, &matrix, first->scheme.group, sums);
        seen->data->w_rows += seen->readers[i].weight->rows;
    }
    return AWQ_OK;
}

static bool is_weighed(const awq__seen *seen)
{
    return seen->input->scale && awq__seen_quantized(seen);
}

static awq_status read_means(awq__frame *f, awq__seen *seen, const double *sums)
{
    int64_t K = seen->input->cols;
    double *means = awq__alloc(f->ctx, (size_t)K, sizeof *means, "magnitudes of weights");
    AWQ__CHECK_ALLOC(means);
    seen->data->w_mean = means;
    f->run->download(f->d, means, sums, (size_t)K * sizeof *means);
    for (int64_t k = 0; k < K; k++)
        means[k] /= (double)seen->data->w_rows;
    return AWQ_OK;
}

static awq_status weigh(awq__frame *f, awq__block *block)
{
    int64_t cols = 0, at = 0;
    double *sums;
    for (int64_t i = 0; i < block->seen_count; i++)
        cols += is_weighed(&block->seen[i]) ? block->seen[i].input->cols : 0;
    AWQ__CHECK(awq__frame_bytes(f, (size_t)cols * sizeof *sums, "magnitudes of weights", &sums));
    f->run->clear(f->d, sums, (size_t)cols * sizeof *sums);
    for (int64_t i = 0; i < block->seen_count; i++) {
        awq__seen *seen = &block->seen[i];
        seen->data->w_rows = 0;
        if (!is_weighed(seen))
            continue;
        AWQ__CHECK(weigh_seen(f, seen, sums + at));
        at += seen->input->cols;
    }
    at = 0;
    for (int64_t i = 0; i < block->seen_count; i++) {
        if (!is_weighed(&block->seen[i]))
            continue;
        AWQ__CHECK(read_means(f, &block->seen[i], sums + at));
        at += block->seen[i].input->cols;
    }
    return AWQ_OK;
}

/* ---- losses ---- */

/* A set's scales on the device. */
typedef struct trial {
    const float *scale, *unscale;
} trial;

static awq_status upload_trials(awq__frame *f, const awq__search_item *items, int64_t item_count,
                                const awq__search_trial *trials, trial *there)
{
    for (int64_t i = 0; i < item_count; i++) {
        const awq__search_trial *from = &trials[items[i].set];
        trial *to = &there[items[i].set];
        int64_t count = from->count * items[i].weight->cols;
        if (to->scale || !count)
            continue;
        AWQ__CHECK(awq__frame_vector(f, from->scale, count, &to->scale));
        AWQ__CHECK(awq__frame_vector(f, from->unscale, count, &to->unscale));
    }
    return AWQ_OK;
}

static awq_status queue_item(awq__frame *f, const awq__block *block, const awq__search_item *item,
                             int64_t count, const trial *there, double *losses)
{
    const awq__reader *reader = item->of;
    const awq__device_scheme scheme = awq__gpu_scheme(&item->scheme);
    awq__device_matrix matrix;
    if (!count)
        return AWQ_OK;
    AWQ__CHECK(awq__gpu_matrix_of(f, item->weight, &matrix));
    f->run->losses(f->d, &matrix, &scheme, NULL, &awq__gpu_seen_of(block, reader->seen)->stats,
                   awq__gpu_row_weight(block, reader), (int)count, there->scale, there->unscale,
                   losses);
    return AWQ_OK;
}

static awq_status find_losses(void *user, const awq__search_item *items, int64_t item_count,
                              const awq__search_trial *trials, int64_t set_count, int64_t most,
                              double *losses)
{
    awq_status status;
    const awq__block *block = user;
    awq__frame f = awq__frame_begin(block->ctx);
    size_t bytes = (size_t)(item_count * most) * sizeof *losses;
    double *there;
    trial *scales = awq__alloc(f.ctx, (size_t)set_count, sizeof *scales, "scale search");
    AWQ__TRY_ALLOC(scales);
    AWQ__TRY(awq__frame_bytes(&f, bytes, "losses", &there));
    f.run->clear(f.d, there, bytes);
    AWQ__TRY(upload_trials(&f, items, item_count, trials, scales));
    for (int64_t i = 0; i < item_count; i++)
        AWQ__TRY(queue_item(&f, block, &items[i], trials[items[i].set].count, &scales[items[i].set],
                            there + i * most));
    f.run->download(f.d, losses, there, bytes);
done:
    awq__free(scales);
    return awq__frame_end(&f, status);
}

/* Scales are chosen: where clip ranges have statistics of their own, the others make room. */
static void drop_sketches(const awq__block *block)
{
    const struct awq__gpu_block *device = block->data->device;
    for (int64_t i = 0; i < block->seen_count; i++) {
        awq__gpu_seen *seen = &device->seen[i];
        if (!seen->blocks.values)
            continue;
        awq__gpu_free(device->gpu, seen->stats.values);
        seen->stats = (awq__device_gram){0};
    }
}

awq_status awq__gpu_search(awq__block *block)
{
    awq_status status;
    if (block->data->device->by_cpu)
        return awq__cpu_search(block);
    awq__frame f = awq__frame_begin(block->ctx);
    AWQ__TRY(weigh(&f, block));
done:
    AWQ__CHECK(awq__frame_end(&f, status));
    AWQ__CHECK(awq__cpu_search_by(block, find_losses));
    drop_sketches(block);
    return AWQ_OK;
}

/* ---- what schemes do ---- */

static awq_status queue_schemes(awq__frame *f, const awq__block *block, const awq__reader *reader,
                                const awq__scheme *schemes, int64_t choices, double *losses)
{
    const awq__input *input = reader->input;
    awq__device_matrix matrix;
    const float *scale, *unscale;
    size_t kept = f->count;
    AWQ__CHECK(awq__gpu_matrix_of(f, reader->weight, &matrix));
    AWQ__CHECK(awq__frame_vector(f, input->scale, input->cols, &scale));
    AWQ__CHECK(awq__frame_vector(f, input->unscale, input->cols, &unscale));
    for (int64_t c = 0; c < choices; c++) {
        const awq__device_scheme scheme = awq__gpu_scheme(&schemes[c]);
        f->run->losses(f->d, &matrix, &scheme, NULL, &awq__gpu_seen_of(block, reader->seen)->stats,
                       awq__gpu_row_weight(block, reader), 1, scale, unscale, losses + c);
    }
    awq__frame_back(f, kept);
    return AWQ_OK;
}

awq_status awq__gpu_scheme_losses(awq__block *block, const int64_t *readers, int64_t count,
                                  const awq__scheme *schemes, int64_t choices, double *losses)
{
    awq_status status;
    size_t bytes = (size_t)(count * choices) * sizeof *losses;
    double *there;
    if (block->data->device->by_cpu)
        return awq__cpu_scheme_losses(block, readers, count, schemes, choices, losses);
    awq__frame f = awq__frame_begin(block->ctx);
    AWQ__TRY(awq__frame_bytes(&f, bytes, "losses", &there));
    f.run->clear(f.d, there, bytes);
    for (int64_t i = 0; i < count; i++)
        AWQ__TRY(queue_schemes(&f, block, &block->readers[readers[i]], schemes + i * choices,
                               choices, there + i * choices));
    f.run->download(f.d, losses, there, bytes);
done:
    return awq__frame_end(&f, status);
}
