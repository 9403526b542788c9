/* Tensors of the source that the architecture does not describe: other towers, layers that predict
   further tokens. A result keeps their values. */
#include "core/convert.h"
#include "format/names.h"
#include "write/result.h"

#include <stdio.h>
#include <string.h>

/* ---- what a tensor belongs to ---- */

/* The name without what it ends in and with `instead`; NULL where it does not end so or is long. */
static const char *rename_end(const char *name, const char *ending, const char *instead,
                              char out[AWQ_NAME_BYTES + 16])
{
    size_t length = strlen(name), end = strlen(ending), more = strlen(instead);
    if (!awq__ends_with(name, ending) || length - end + more >= AWQ_NAME_BYTES + 16)
        return NULL;
    memcpy(out, name, length - end);
    memcpy(out + length - end, instead, more + 1);
    return out;
}

/* The name of the weights that a tensor helps to read, or whose use it tells of; NULL: of none. */
static const char *weights_of(const char *name, char out[AWQ_NAME_BYTES + 16])
{
    static const char *const endings[][2] = {
        {"_scale_inv", ""},
        {"_scale", ""},
        {"_packed", ""},
        {"_shape", ""},
        {"_g_idx", ""},
        {"_zero_point", ""},
        {".input_scale", ".weight"},
        {".activation_scale", ".weight"},
    };
    for (size_t i = sizeof endings / sizeof *endings; i-- > 0;)
        if (rename_end(name, endings[i][0], endings[i][1], out))
            return out;
    return NULL;
}

static bool is_described(const awq_model *model, const char *name)
{
    char of[AWQ_NAME_BYTES + 16];
    if (awq__arch_stores(model->arch, name))
        return true;
    return model->format && weights_of(name, of) && awq__arch_stores(model->arch, of);
}

/* A head that some write although it is the embedding. */
static awq_status is_tied_copy(awq_context *ctx, const awq__arch *arch, const awq__tensor *tensor,
                               bool *is)
{
    char name[AWQ_NAME_BYTES + 8];
    snprintf(name, sizeof name, "%s.weight", arch->model.embedding);
    const awq__tensor *embedding = awq__checkpoint_find(arch->checkpoint, name);
    *is = !arch->model.head[0] && embedding && tensor->dtype == embedding->dtype &&
          tensor->rank == 2 && tensor->shape[0] == embedding->shape[0] &&
          tensor->bytes == embedding->bytes;
    return *is ? awq__tensor_compare(ctx, tensor, embedding, is) : AWQ_OK;
}

/* ---- F8_E4M3 ---- */

static bool may_have_scales(const awq_model *model, const awq__tensor *tensor)
{
    return model->format && tensor && tensor->dtype == AWQ_F8_E4M3 && tensor->bytes &&
           (tensor->rank == 2 || tensor->rank == 3);
}

static awq_status has_scales(awq_context *ctx, const awq_model *model, const awq__tensor *tensor,
                             bool *has)
{
    const awq__tensor *one, *other;
    AWQ__CHECK(awq__suffix_find(ctx, model->arch->checkpoint, tensor->name, "_scale_inv", &one));
    AWQ__CHECK(awq__suffix_find(ctx, model->arch->checkpoint, tensor->name, "_scale", &other));
    *has = one || other;
    return AWQ_OK;
}

/* The tensor with its scales, if quantization_config says that it has some. */
static awq_status find_fp8(awq_context *ctx, const awq_model *model, const awq__tensor *tensor,
                           awq__fp8_tensors *found, bool *is_fp8)
{
    char module[AWQ_NAME_BYTES + 16];
    const awq__stored_scheme *stored;
    *is_fp8 = false;
    if (!may_have_scales(model, tensor))
        return AWQ_OK;
    const char *name = rename_end(tensor->name, ".weight", "", module);
    AWQ__CHECK(awq__stored_find(ctx, &model->stored, name ? name : tensor->name, &stored));
    if (!stored || !stored->fp8)
        return AWQ_OK;
    AWQ__CHECK(has_scales(ctx, model, tensor, is_fp8));
    return *is_fp8 ? awq__fp8_find(ctx, model->arch->checkpoint, stored, tensor->name, tensor->rank,
                                   tensor->shape, found, is_fp8)
                   : AWQ_OK;
}

/* Does it belong to weights in FP8? */
static awq_status is_taken_in(awq_context *ctx, const awq_model *model, const awq__tensor *tensor,
                              bool *is)
{
    char of[AWQ_NAME_BYTES + 16];
    awq__fp8_tensors tensors;
    *is = false;
    if (!model->format || !weights_of(tensor->name, of))
        return AWQ_OK;
    return find_fp8(ctx, model, awq__checkpoint_find(model->arch->checkpoint, of), &tensors, is);
}

/* ---- what becomes of them ---- */

static awq_status check_codes(awq_context *ctx, const awq_model *model, const awq__tensor *tensor)
{
    if (!model->format || !awq__ends_with(tensor->name, ".weight_packed"))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                     "%s: %s holds codes of %s, and the %s architecture does not describe it: a "
                     "result, whose quantization_config is another, cannot keep it",
                     tensor->file, tensor->name, model->format->name,
                     model->arch->plugin->table.id);
}

awq_status awq__result_copies(awq_context *ctx, const awq_model *model, const awq__tensor *tensor,
                              awq__copying *copying)
{
    awq__fp8_tensors tensors;
    bool tied, is_fp8, taken_in;
    *copying = AWQ__NOT_COPIED;
    if (is_described(model, tensor->name))
        return AWQ_OK;
    AWQ__CHECK(is_tied_copy(ctx, model->arch, tensor, &tied));
    if (tied)
        return AWQ_OK;
    AWQ__CHECK(check_codes(ctx, model, tensor));
    AWQ__CHECK(find_fp8(ctx, model, tensor, &tensors, &is_fp8));
    AWQ__CHECK(is_taken_in(ctx, model, tensor, &taken_in));
    *copying = is_fp8 ? AWQ__WIDENED : taken_in ? AWQ__TAKEN_IN : AWQ__COPIED;
    return AWQ_OK;
}

uint64_t awq__copied_bytes(const awq__tensor *tensor, awq__copying copying)
{
    return copying == AWQ__COPIED ? tensor->bytes : copying == AWQ__WIDENED ? 2 * tensor->bytes : 0;
}

/* ---- widening ---- */

typedef struct widening {
    awq_context *ctx;
    awq__fp8_tensors tensors;
    int64_t rows, cols; /* of a matrix; a tensor may have several */
    uint8_t *codes, *scales, *narrow;
    float *values;
    awq__widened_visit visit;
    void *user;
} widening;

static awq__weight matrix_at(const widening *w, int64_t index)
{
    const awq__tensor *scale = w->tensors.scale;
    int64_t grid = w->tensors.grid_rows * w->tensors.grid_cols;
    const awq__fp8_scales scales = {.data = w->scales +
                                            index * grid * (awq_dtype_bits(scale->dtype) / 8),
                                    .dtype = scale->dtype,
                                    .rows = w->tensors.block_rows,
                                    .cols = w->tensors.block_cols,
                                    .row_stride = w->tensors.grid_cols,
                                    .col_stride = 1,
                                    .step = 1,
                                    .offset = index * w->rows * w->cols};
    return awq__weight_fp8(w->tensors.weight->name, w->codes, w->rows, w->cols, w->cols, 1,
                           &scales);
}

static awq_status widen_matrix(widening *w, int64_t index)
{
    const awq__tensor *tensor = w->tensors.weight;
    int64_t size = w->rows * w->cols;
    AWQ__CHECK(awq__tensor_read(w->ctx, tensor, (uint64_t)(index * size), (size_t)size, w->codes));
    awq__weight weight = matrix_at(w, index);
    AWQ__CHECK(awq__weight_check(w->ctx, &weight, w->values));
    int64_t block = awq__weight_block(&weight);
    for (int64_t first = 0; first < w->rows; first += block) {
        int64_t count = awq__min(block, w->rows - first) * w->cols;
        weight.read(&weight, first, count / w->cols, w->values);
        AWQ__CHECK(awq__narrow(w->ctx, AWQ_BF16, w->values, (size_t)count, w->narrow));
        AWQ__CHECK(w->visit(w->user, tensor, 2 * (uint64_t)(index * size + first * w->cols),
                            w->narrow, 2 * (size_t)count));
    }
    return AWQ_OK;
}

static awq_status allocate(widening *w)
{
    const awq__weight shape = {.rows = w->rows, .cols = w->cols};
    size_t work = (size_t)awq__weight_work(&shape);
    w->codes = awq__alloc_host(w->ctx, (size_t)(w->rows * w->cols), 1, "weights to widen");
    w->scales = awq__alloc_host(w->ctx, w->tensors.scale->bytes, 1, "scales of weights");
    w->values = awq__alloc_host(w->ctx, work, sizeof *w->values, "weights to widen");
    w->narrow = awq__alloc_host(w->ctx, work, 2, "weights to widen");
    return w->codes && w->scales && w->values && w->narrow ? AWQ_OK : AWQ_ERROR_MEMORY;
}

awq_status awq__widen_undescribed(awq_context *ctx, const awq_model *model,
                                  const awq__tensor *tensor, awq__widened_visit visit, void *user)
{
    widening w = {.ctx = ctx,
                  .rows = tensor->shape[tensor->rank - 2],
                  .cols = tensor->shape[tensor->rank - 1],
                  .visit = visit,
                  .user = user};
    bool is_fp8;
    awq_status status;
    AWQ__TRY(find_fp8(ctx, model, tensor, &w.tensors, &is_fp8));
    AWQ__TRY(allocate(&w));
    AWQ__TRY(awq__tensor_read(ctx, w.tensors.scale, 0, w.tensors.scale->bytes, w.scales));
    for (int64_t i = 0; i < (tensor->rank == 3 ? tensor->shape[0] : 1); i++)
        AWQ__TRY(widen_matrix(&w, i));
done:
    awq__free_aligned(w.codes);
    awq__free_aligned(w.scales);
    awq__free_aligned(w.values);
    awq__free_aligned(w.narrow);
    return status;
}
