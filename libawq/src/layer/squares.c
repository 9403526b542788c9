#include "layer/squares.h"
#include "layer/experts.h"

static awq_status tell(awq__work *work, const awq__seen *seen, const awq__squares *to)
{
    awq__block *block = &work->block;
    int64_t tokens;
    float *squares =
        awq__alloc(block->ctx, (size_t)seen->input->cols, sizeof *squares, "mean squares");
    awq_status status;
    AWQ__TRY_ALLOC(squares);
    AWQ__TRY(work->backend->mean_squares(block, seen, squares, &tokens));
    for (int64_t i = 0; i < seen->reader_count; i++)
        AWQ__TRY(to->see(to->user, seen->readers[i].module, squares, tokens));
done:
    awq__free(squares);
    return status;
}

static awq_status measure(awq__work *work, const awq__squares *to)
{
    awq__block *block = &work->block;
    if (!work->backend->mean_squares)
        return awq__fail(block->ctx, AWQ_ERROR_UNSUPPORTED,
                         "the device does not tell the squares of inputs; the processors do");
    for (int64_t i = 0; i < block->reader_count; i++)
        block->readers[i].clips = true; /* so that blocks of a sketch are exact */
    AWQ__CHECK(work->backend->block_begin(block));
    AWQ__CHECK(awq__gather(work));
    for (int64_t i = 0; i < block->seen_count; i++)
        AWQ__CHECK(tell(work, &block->seen[i], to));
    return AWQ_OK;
}

awq_status awq__attention_squares(awq__quantizer *quantizer, const awq__layer *layer,
                                  const awq__squares *squares)
{
    awq__work work;
    awq_status status;
    AWQ__TRY(awq__attention_create(quantizer, layer, &work));
    AWQ__TRY(measure(&work, squares));
done:
    awq__work_free(&work);
    return status;
}

awq_status awq__experts_squares(awq__quantizer *quantizer, const awq__layer *layer,
                                const awq__routes *routes, const awq__squares *squares)
{
    awq__experts experts;
    awq_status status;
    AWQ__TRY(awq__experts_create(quantizer, layer, routes, false, &experts));
    AWQ__TRY(measure(&experts.work, squares));
done:
    awq__experts_free(&experts);
    return status;
}
