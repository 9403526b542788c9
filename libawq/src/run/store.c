/* What goes to the output: packed codes, changed floats, and copies. */
#include "run/job.h"
#include "core/convert.h"

#include <math.h>

static awq_status write_tensor(awq__job *job, const awq__module *module, const char *suffix,
                               const void *data, size_t bytes)
{
    char *name = awq__format(job->ctx, "%s%s", module->name, suffix);
    awq_status status = name ? awq__output_write(job->output, name, data, bytes) : AWQ_ERROR_MEMORY;
    awq__free(name);
    return status;
}

awq_status awq__store_codes(awq__job *job, const awq__module *module, const awq__codes *codes)
{
    awq__spec specs[AWQ__MAX_SPECS];
    int count = job->plan->format->specs(codes->rows, codes->cols, &codes->scheme, specs);
    awq_status status = AWQ_OK;
    for (int i = 0; i < count && status == AWQ_OK; i++) {
        size_t bytes = (size_t)awq__spec_bytes(&specs[i]);
        void *packed = awq__alloc_aligned(job->ctx, bytes, 1, "packed codes");
        if (!packed)
            return AWQ_ERROR_MEMORY;
        job->plan->format->pack(codes, i, packed);
        status = write_tensor(job, module, specs[i].suffix, packed, bytes);
        awq__free(packed);
    }
    return status;
}

/* A fold may have made a value larger than its stored type holds. */
static awq_status check_range(awq_context *ctx, const awq__weight *weight, const float *values,
                              int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(awq__round_to_dtype(weight->dtype, values[i])))
            return awq__fail(ctx, AWQ_ERROR_NUMERIC,
                             "%s: a folded weight of %g does not fit its stored type %s",
                             weight->name, (double)values[i], awq_dtype_name(weight->dtype));
    return AWQ_OK;
}

awq_status awq__store_weight(awq__job *job, const awq__module *module, const awq__weight *weight)
{
    size_t size = (size_t)awq_dtype_bits(weight->dtype) / 8;
    size_t bytes = (size_t)weight->rows * (size_t)weight->cols * size;
    if (!weight->col_scale && !weight->row_scale)
        return write_tensor(job, module, ".weight", weight->data, bytes);
    int64_t block = awq__weight_block(weight);
    float *work = awq__alloc_aligned(job->ctx, (size_t)awq__weight_work(weight), sizeof *work,
                                     "a changed weight");
    uint8_t *stored = awq__alloc_aligned(job->ctx, bytes, 1, "a changed weight");
    awq_status status = work && stored ? AWQ_OK : AWQ_ERROR_MEMORY;
    for (int64_t first = 0; first < weight->rows && status == AWQ_OK; first += block) {
        int64_t n = awq__min(block, weight->rows - first);
        awq__weight_read(weight, first, n, work);
        status = check_range(job->ctx, weight, work, n * weight->cols);
        if (status == AWQ_OK)
            status = awq__narrow(job->ctx, weight->dtype, work, (size_t)(n * weight->cols),
                                 stored + (size_t)(first * weight->cols) * size);
    }
    if (status == AWQ_OK)
        status = write_tensor(job, module, ".weight", stored, bytes);
    awq__free(work);
    awq__free(stored);
    return status;
}

awq_status awq__store_vector(awq__job *job, const awq__module *module, const float *values)
{
    awq__found found;
    awq_status status = awq__model_find(job->plan->model, module, &found);
    if (status != AWQ_OK)
        return status;
    void *stored = awq__alloc(job->ctx, found.plain->bytes, 1, module->name);
    if (!stored)
        return AWQ_ERROR_MEMORY;
    status = awq__narrow(job->ctx, found.plain->dtype, values, (size_t)module->rows, stored);
    if (status == AWQ_OK)
        status = write_tensor(job, module, ".weight", stored, found.plain->bytes);
    awq__free(stored);
    return status;
}

awq_status awq__store_rounded(awq__job *job, const awq__module *module, const awq__weight *weight,
                              const float *limit)
{
    awq__scheme scheme = awq__rules_scheme(&job->plan->rules, module, weight->dtype);
    awq__codes codes = {0};
    float *work = awq__alloc_aligned(job->ctx, (size_t)awq__weight_work(weight), sizeof *work,
                                     "rounding work space");
    awq_status status =
        work ? awq__codes_create(job->ctx, weight->rows, weight->cols, &scheme, &codes)
             : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK)
        status = awq__codes_round(job->ctx, awq__compute_fastest(), weight, limit, work, &codes);
    if (status == AWQ_OK)
        status = awq__store_codes(job, module, &codes);
    awq__codes_free(&codes);
    awq__free(work);
    return status;
}
