/* All tensors of a result, and those that no layer has. */
#include "write/gguf.h"

static awq_status declare(void *user, const char *name, awq_dtype dtype, int rank,
                          const int64_t *shape)
{
    return awq__output_declare(user, name, dtype, rank, shape);
}

/* Tensors that no module has are kept as they are, after all others. */
static awq_status each_undescribed(const awq__writer *writer, bool write)
{
    const awq__arch *arch = writer->plan->model->arch;
    for (size_t i = 0; i < awq__checkpoint_count(arch->checkpoint); i++) {
        const awq__tensor *tensor = awq__checkpoint_at(arch->checkpoint, i);
        bool copies;
        AWQ__CHECK(awq__result_copies(writer->ctx, arch, tensor, &copies));
        if (copies && write)
            AWQ__CHECK(
                awq__output_write_from(writer->output, tensor->name, 0, tensor, 0, tensor->bytes));
        else if (copies)
            AWQ__CHECK(awq__output_declare(writer->output, tensor->name, tensor->dtype,
                                           tensor->rank, tensor->shape));
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
