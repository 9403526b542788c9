/* All tensors of a result, and those that no layer has. */
#include "write/gguf.h"

static awq_status declare(void *user, const char *name, awq_dtype dtype, int rank,
                          const int64_t *shape)
{
    return awq__output_declare(user, name, dtype, rank, shape);
}

static awq_status write_widened(void *user, const awq__tensor *tensor, uint64_t at,
                                const void *data, size_t bytes)
{
    return awq__output_write_part(user, tensor->name, (size_t)at, data, bytes);
}

static awq_status write_undescribed(const awq__writer *writer, const awq__tensor *tensor,
                                    awq__copying copying)
{
    if (copying == AWQ__WIDENED)
        return awq__widen_undescribed(writer->ctx, writer->plan->model, tensor, write_widened,
                                      writer->output);
    return awq__output_write_from(writer->output, tensor->name, 0, tensor, 0, tensor->bytes);
}

/* Tensors that no module has are kept as they are, after all others. */
static awq_status each_undescribed(const awq__writer *writer, bool write)
{
    const awq_model *model = writer->plan->model;
    for (size_t i = 0; i < awq__checkpoint_count(model->arch->checkpoint); i++) {
        const awq__tensor *tensor = awq__checkpoint_at(model->arch->checkpoint, i);
        awq__copying copying;
        AWQ__CHECK(awq__result_copies(writer->ctx, model, tensor, &copying));
        if (copying != AWQ__COPIED && copying != AWQ__WIDENED)
            continue;
        awq_dtype dtype = copying == AWQ__WIDENED ? AWQ_BF16 : tensor->dtype;
        AWQ__CHECK(write ? write_undescribed(writer, tensor, copying)
                         : awq__output_declare(writer->output, tensor->name, dtype, tensor->rank,
                                               tensor->shape));
    }
    return AWQ_OK;
}

awq_status awq__write_layout(const awq__writer *writer, uint64_t shard_bytes)
{
    if (writer->plan->format->gguf)
        return awq__gguf_write_layout(writer, shard_bytes);
    for (int64_t n = -1; n <= writer->plan->model->arch->model.layer_count; n++)
        AWQ__CHECK(awq__result_tensors(writer->ctx, writer->plan, n, declare, writer->output));
    AWQ__CHECK(each_undescribed(writer, false));
    return awq__output_layout(writer->output, shard_bytes);
}

static awq_status write_end(const awq__writer *writer, size_t index)
{
    const awq_model *model = writer->plan->model;
    awq__loaded_module end;
    awq_status status;
    AWQ__TRY(awq__model_module(model, index, &end));
    if (writer->plan->format->gguf)
        AWQ__TRY(awq__gguf_write_end(writer, index, &end.found.weight));
    else
        AWQ__TRY(awq__store_weight(writer, &model->arch->modules[index], &end.found.weight));
done:
    awq__loaded_module_free(&end);
    return status;
}

awq_status awq__write_ends(const awq__writer *writer)
{
    const awq__arch *arch = writer->plan->model->arch;
    bool gguf = writer->plan->format->gguf;
    for (size_t i = 0; i < arch->module_count; i++)
        if (arch->modules[i].layer < 0)
            AWQ__CHECK(write_end(writer, i));
        else if (!gguf)
            AWQ__CHECK(awq__store_constants(writer, i));
    /* llama.cpp refuses files with tensors that it does not know. */
    return gguf ? AWQ_OK : each_undescribed(writer, true);
}

static awq_status keep(void *user, const char *name, awq_dtype dtype, int rank,
                       const int64_t *shape)
{
    (void)dtype;
    (void)rank;
    (void)shape;
    return awq__output_keep(user, name);
}

awq_status awq__write_keep(const awq__writer *writer, int64_t layer)
{
    return awq__result_tensors(writer->ctx, writer->plan, layer, keep, writer->output);
}
