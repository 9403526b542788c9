/* Writes the tensors of a result: packed codes, changed floats, and copies. */
#include "write/gguf.h"
#include "core/convert.h"
#include "core/half.h"

static awq_status write_tensor(const awq__writer *writer, const awq__module *module,
                               const char *suffix, const void *data, size_t bytes)
{
    char *name = awq__format(writer->ctx, "%s%s", module->name, suffix);
    awq_status status =
        name ? awq__output_write(writer->output, name, data, bytes) : AWQ_ERROR_MEMORY;
    awq__free(name);
    return status;
}

/* Writes the constant tensors of the codes, or the others. */
static awq_status pack_codes(const awq__writer *writer, const awq__module *module,
                             const awq__codes *codes, bool constant)
{
    awq__spec specs[AWQ__MAX_SPECS];
    int count = writer->plan->format->specs(codes->rows, codes->cols, &codes->scheme, specs);
    for (int i = 0; i < count; i++) {
        if ((writer->plan->format->constant >> i & 1) != constant)
            continue;
        size_t bytes = (size_t)awq__spec_bytes(&specs[i]);
        void *packed = awq__alloc_host(writer->ctx, bytes, 1, "packed codes");
        AWQ__CHECK_ALLOC(packed);
        writer->plan->format->pack(codes, i, packed);
        awq_status status = write_tensor(writer, module, specs[i].suffix, packed, bytes);
        awq__free_aligned(packed);
        AWQ__CHECK(status);
    }
    return AWQ_OK;
}

/* Rounds values to the dtype and writes them. */
static awq_status write_floats(const awq__writer *writer, const awq__module *module,
                               const char *suffix, awq_dtype dtype, const float *values,
                               int64_t count)
{
    size_t bytes = (size_t)count * (size_t)awq_dtype_bits(dtype) / 8;
    void *stored = awq__alloc(writer->ctx, bytes, 1, module->name);
    awq_status status;
    AWQ__TRY_ALLOC(stored);
    AWQ__TRY(awq__store_narrow(writer->ctx, module->name, dtype, values, count, stored));
    AWQ__TRY(write_tensor(writer, module, suffix, stored, bytes));
done:
    awq__free(stored);
    return status;
}

static awq_status store_bias(const awq__writer *writer, const awq__module *module,
                             const awq__weight *weight)
{
    awq__found found;
    if (!weight->bias)
        return AWQ_OK;
    AWQ__CHECK(awq__model_find(writer->plan->model, module, NULL, &found));
    float *values = awq__alloc(writer->ctx, (size_t)weight->rows, sizeof *values, module->name);
    AWQ__CHECK_ALLOC(values);
    for (int64_t n = 0; n < weight->rows; n++)
        values[n] = awq__bias_of(weight, n);
    awq_status status =
        write_floats(writer, module, ".bias", found.bias_dtype, values, weight->rows);
    awq__free(values);
    return status;
}

/* The weight with its multipliers, block by block, in its own dtype. */
static awq_status store_changed(const awq__writer *writer, const awq__module *module,
                                const awq__weight *weight)
{
    size_t size = (size_t)awq_dtype_bits(weight->dtype) / 8;
    size_t bytes = (size_t)weight->rows * (size_t)weight->cols * size;
    int64_t block = awq__weight_block(weight);
    float *work = awq__alloc_host(writer->ctx, (size_t)awq__weight_work(weight), sizeof *work,
                                  "a changed weight");
    uint8_t *stored = awq__alloc_host(writer->ctx, bytes, 1, "a changed weight");
    awq_status status;
    AWQ__TRY_ALLOC(work && stored);
    for (int64_t first = 0; first < weight->rows; first += block) {
        int64_t n = awq__min(block, weight->rows - first);
        awq__weight_read(awq__compute_of(writer->ctx), weight, first, n, work);
        AWQ__TRY(awq__store_narrow(writer->ctx, weight->name, weight->dtype, work, n * weight->cols,
                                   stored + (size_t)(first * weight->cols) * size));
    }
    AWQ__TRY(write_tensor(writer, module, module->suffix, stored, bytes));
done:
    awq__free_aligned(work);
    awq__free_aligned(stored);
    return status;
}

/* Scales as they are; exponents become the floats that they stand for. */
static awq_status store_fp8_scales(const awq__writer *writer, const awq__module *module,
                                   const awq__weight *weight, const awq__spec *spec)
{
    size_t bytes = (size_t)awq__spec_bytes(spec);
    if (spec->dtype == weight->fp8.dtype)
        return write_tensor(writer, module, spec->suffix, weight->fp8.data, bytes);
    float *scales = awq__alloc(writer->ctx, bytes, 1, module->name);
    AWQ__CHECK_ALLOC(scales);
    for (size_t i = 0; i < bytes / sizeof *scales; i++)
        scales[i] = awq__e8m0_to_f32(weight->fp8.data[i]);
    awq_status status = write_tensor(writer, module, spec->suffix, scales, bytes);
    awq__free(scales);
    return status;
}

static awq_status store_fp8(const awq__writer *writer, const awq__module *module,
                            const awq__weight *weight, const awq__scheme *scheme)
{
    awq__spec specs[AWQ__MAX_SPECS];
    awq__fp8_specs(weight->rows, weight->cols, scheme, weight->fp8.dtype, specs);
    if (weight->row_scale || weight->col_scale)
        return awq__fail(writer->ctx, AWQ_ERROR_PROOF,
                         "%s: was to stay in F8_E4M3, but a fold has changed it", module->name);
    AWQ__CHECK(write_tensor(writer, module, specs[0].suffix, weight->data,
                            (size_t)awq__spec_bytes(&specs[0])));
    return store_fp8_scales(writer, module, weight, &specs[1]);
}

/* The matrix itself. */
static awq_status store_matrix(const awq__writer *writer, const awq__module *module,
                               const awq__weight *weight)
{
    const awq__scheme *fp8 = awq__model_plan_kept_fp8(
        writer->plan, (size_t)(module - writer->plan->model->arch->modules));
    size_t size = (size_t)awq_dtype_bits(weight->dtype) / 8;
    if (fp8)
        return store_fp8(writer, module, weight, fp8);
    if (!awq__weight_is_plain(weight))
        return store_changed(writer, module, weight);
    return write_tensor(writer, module, module->suffix, weight->data,
                        (size_t)weight->rows * (size_t)weight->cols * size);
}

awq_status awq__store_weight(const awq__writer *writer, const awq__module *module,
                             const awq__weight *weight)
{
    if (writer->plan->format->gguf)
        return awq__gguf_store_weight(writer, module, weight);
    AWQ__CHECK(store_matrix(writer, module, weight));
    return store_bias(writer, module, weight);
}

/* The source's tensor, bit for bit. */
static awq_status copy_tensor(const awq__writer *writer, const awq__module *module)
{
    char *from = awq__format(writer->ctx, "%s%s", awq__stored_name(module), module->suffix);
    char *to = awq__format(writer->ctx, "%s%s", module->name, module->suffix);
    awq_status status;
    AWQ__TRY_ALLOC(from && to);
    const awq__tensor *tensor = awq__checkpoint_find(writer->plan->model->arch->checkpoint, from);
    AWQ__TRY(awq__output_write_from(writer->output, to, 0, tensor, 0, tensor->bytes));
done:
    awq__free(from);
    awq__free(to);
    return status;
}

static awq_status write_shifted(const awq__writer *writer, const awq__module *module,
                                awq_dtype dtype, const float *values)
{
    float *stored = awq__alloc(writer->ctx, (size_t)module->rows, sizeof *stored, module->name);
    AWQ__CHECK_ALLOC(stored);
    awq__compute_of(writer->ctx)->shift(module->rows, -1, values, stored);
    awq_status status = write_floats(writer, module, module->suffix, dtype, stored, module->rows);
    awq__free(stored);
    return status;
}

awq_status awq__store_vector(const awq__writer *writer, const awq__module *module,
                             const float *source, const float *values)
{
    if (writer->plan->format->gguf)
        return awq__gguf_store_vector(writer, module, values);
    if (module->plus_one && values == source)
        return copy_tensor(writer, module);
    awq__found found;
    AWQ__CHECK(awq__model_find(writer->plan->model, module, NULL, &found));
    if (module->plus_one)
        return write_shifted(writer, module, found.weight.dtype, values);
    return write_floats(writer, module, module->suffix, found.weight.dtype, values, module->rows);
}

awq_status awq__store_codes(const awq__writer *writer, const awq__module *module,
                            const awq__weight *weight, const awq__codes *codes)
{
    if (writer->plan->format->gguf)
        return awq__gguf_store_codes(writer, module, weight, codes);
    awq__note_small_scales(writer, (size_t)(module - writer->plan->model->arch->modules), codes);
    AWQ__CHECK(pack_codes(writer, module, codes, false));
    return store_bias(writer, module, weight);
}

awq_status awq__store_constants(const awq__writer *writer, size_t index)
{
    const awq__model_plan *plan = writer->plan;
    const awq__module *module = &plan->model->arch->modules[index];
    awq__spec specs[AWQ__MAX_SPECS];
    awq__found found;
    int count;
    AWQ__CHECK(awq__result_specs(plan, index, specs, &count));
    if (!count || !plan->rules.of[index])
        return AWQ_OK; /* it is a part of a fused tensor, or stays float */
    AWQ__CHECK(awq__model_find(plan->model, module, NULL, &found));
    const awq__codes codes = {
        .scheme = awq__model_plan_scheme(plan, index, found.weight.dtype),
        .rows = module->rows,
        .cols = module->cols,
    };
    return pack_codes(writer, module, &codes, true);
}
