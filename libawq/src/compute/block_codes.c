/* Matrices rounded to blocks of GGUF. */
#include "compute/block_codes.h"
#include "compute/block_fit.h"

#define TASK_ROWS 16

awq_status awq__block_codes_create(awq_context *ctx, awq__codes *codes)
{
    int64_t row = awq__block_row_bytes(codes->scheme.blocks, codes->cols);
    codes->blocks = awq__alloc_host(ctx, (size_t)codes->rows, (size_t)row, "blocks of codes");
    return codes->blocks ? AWQ_OK : AWQ_ERROR_MEMORY;
}

/* ---- to nearest ---- */

typedef struct rounding {
    awq_context *ctx;
    const awq__compute *compute;
    const awq__weight *weight;
    awq__codes *codes;
    awq__scratch scratch;
} rounding;

static int64_t work_floats(const awq__weight *weight)
{
    return awq__max(awq__weight_work(weight), TASK_ROWS * weight->cols);
}

static awq_status round_rows(void *arg, int64_t index, int worker)
{
    rounding *r = arg;
    const awq__codes *codes = r->codes;
    const awq__block_type *type = codes->scheme.blocks;
    int64_t first = index * TASK_ROWS, count = awq__min(TASK_ROWS, codes->rows - first);
    float *work = awq__scratch_get(&r->scratch, worker, (size_t)work_floats(r->weight));
    AWQ__CHECK_ALLOC(work);
    awq__weight_read(r->compute, r->weight, first, count, work);
    const awq__block_fit fit = {.compute = r->compute,
                                .type = type,
                                .effort = awq__block_effort_full,
                                .cols = codes->cols,
                                .importance = codes->importance};
    if (awq__block_fit_rows(&fit, count, work,
                            codes->blocks + first * awq__block_row_bytes(type, codes->cols)))
        return AWQ_OK;
    return awq__fail(r->ctx, AWQ_ERROR_NUMERIC,
                     "%s: a scale in rows %lld to %lld does not fit its stored type in %s",
                     r->weight->name, (long long)first, (long long)(first + count - 1),
                     awq__ggml_type_of(type->id)->name);
}

awq_status awq__block_codes_round(awq_context *ctx, const awq__compute *compute,
                                  const awq__weight *weight, awq__codes *codes)
{
    awq_status status;
    rounding r = {.ctx = ctx, .compute = compute, .weight = weight, .codes = codes};
    AWQ__TRY(awq__scratch_create(ctx, "rounding work space", &r.scratch));
    AWQ__TRY(awq__parallel_scratch(&r.scratch, (size_t)work_floats(weight),
                                   awq__ceil_div(codes->rows, TASK_ROWS), round_rows, &r));
done:
    awq__scratch_free(&r.scratch);
    return status;
}

void awq__block_codes_read(const awq__codes *codes, int64_t first, int64_t count, int64_t col,
                           int64_t cols, float *out)
{
    const awq__weight weight =
        awq__weight_blocks("", codes->scheme.blocks, codes->blocks, codes->rows, codes->cols, 0);
    weight.read_panel(&weight, first, count, col, cols, out);
}
