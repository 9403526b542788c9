/* Results in GGUF: the head of the file, and where its tensors lie. */
#include "compute/blocks.h"
#include "write/gguf.h"

static awq_status declare(void *user, const char *name, const awq__ggml_type *type, int rank,
                          const int64_t *shape)
{
    return awq__output_declare_typed(user, name, type, rank, shape);
}

/* general.file_type: llama.cpp's number of the type that layer 0's gates have, as most bytes do. */
static awq_status file_type(const awq__model_plan *plan, uint32_t *number)
{
    static const struct numbered {
        awq__ggml type;
        uint32_t number;
    } numbers[] = {{AWQ__GGML_F32, 0},     {AWQ__GGML_F16, 1},     {AWQ__GGML_Q4_0, 2},
                   {AWQ__GGML_Q4_1, 3},    {AWQ__GGML_Q8_0, 7},    {AWQ__GGML_Q5_0, 8},
                   {AWQ__GGML_Q5_1, 9},    {AWQ__GGML_Q2_K, 10},   {AWQ__GGML_Q3_K, 12},
                   {AWQ__GGML_Q4_K, 15},   {AWQ__GGML_Q5_K, 17},   {AWQ__GGML_Q6_K, 18},
                   {AWQ__GGML_IQ4_NL, 25}, {AWQ__GGML_IQ4_XS, 30}, {AWQ__GGML_BF16, 32},
                   {AWQ__GGML_MXFP4, 38},  {AWQ__GGML_NVFP4, 39}};
    const awq__arch *arch = plan->model->arch;
    const awq__module *gate = &arch->modules[awq__arch_index(arch, 0, AWQ__PART_GATE, 0)];
    awq__gguf_target to;
    AWQ__CHECK(awq__gguf_target_of(plan, gate, false, &to));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].type == to.type->id)
            *number = numbers[i].number;
    return AWQ_OK;
}

awq_status awq__gguf_write_layout(const awq__writer *writer, uint64_t shard_bytes)
{
    awq_status status;
    awq_context *ctx = writer->ctx;
    const awq__model_plan *plan = writer->plan;
    const awq__arch *arch = plan->model->arch;
    awq__gguf_values values = {0};
    uint32_t number = 0;
    AWQ__TRY(awq__gguf_add_model(ctx, arch, awq__gguf_family_by_model(arch->model_type), &values));
    AWQ__TRY(file_type(plan, &number));
    AWQ__TRY(awq__gguf_add_u32(ctx, &values, "general.file_type", number));
    AWQ__TRY(awq__gguf_add_tokenizer(ctx, plan->model->directory, arch, &values));
    AWQ__TRY(awq__output_gguf(writer->output, "model", &values));
    for (int64_t n = -1; n <= arch->model.layer_count; n++)
        AWQ__TRY(awq__gguf_tensors(plan, n, declare, writer->output));
    AWQ__TRY(awq__output_layout(writer->output, shard_bytes));
done:
    awq__text_free(&values.bytes);
    return status;
}
