/* Where a module's weights lie in a checkpoint. */
#include "model/model.h"

#define FLOATS (1u << AWQ_BF16 | 1u << AWQ_F16 | 1u << AWQ_F32)

/* A model, and those of its tensors that are in memory. */
typedef struct finder {
    const awq_model *model;
    awq__held *held;
} finder;

/* What is found of a tensor; data is NULL where it is not held. */
typedef struct located {
    awq_dtype dtype;
    size_t bytes;
    const uint8_t *data;
} located;

/* The tensor that a checkpoint of a model without weights would have. */
static awq_status describe_tensor(const awq_model *model, const char *name, unsigned dtypes,
                                  int rank, const int64_t *shape, located *out)
{
    bool fits = true;
    *out = (located){.dtype = dtypes == FLOATS ? model->dtype : AWQ_U8};
    out->bytes = (size_t)awq_dtype_bits(out->dtype) / 8;
    for (int i = 0; i < rank; i++)
        fits &= !awq__mul_overflows(out->bytes, (size_t)shape[i], &out->bytes) &&
                out->bytes <= AWQ__MAX_MODEL_BYTES;
    return fits ? AWQ_OK
                : awq__fail(model->ctx, AWQ_ERROR_FORMAT,
                            "%s: the tensor %s would be larger than 2^53 bytes",
                            model->arch->config_path, name);
}

/* A tensor of one of the dtypes (a set of bits) and of this shape, or a failure that names it. */
static awq_status find_tensor(const finder *f, const char *name, unsigned dtypes, int rank,
                              const int64_t *shape, located *out)
{
    const awq_model *model = f->model;
    if (!awq__model_has_weights(model))
        return describe_tensor(model, name, dtypes, rank, shape, out);
    const awq__tensor *tensor = awq__checkpoint_find(model->arch->checkpoint, name);
    if (!tensor)
        return awq__fail(model->ctx, AWQ_ERROR_FORMAT,
                         "%s: the tensor %s is missing, which the %s architecture has",
                         model->directory, name, model->arch->plugin->table.id);
    if (!(dtypes & 1u << tensor->dtype))
        return awq__fail(
            model->ctx, AWQ_ERROR_UNSUPPORTED, "%s: %s is %s, expected %s%s", tensor->file, name,
            awq_dtype_name(tensor->dtype), dtypes == FLOATS ? "BF16, F16 or F32" : "U8",
            tensor->dtype == AWQ_F8_E4M3 ? ", since quantization_config does not say that it is FP8"
                                         : "");
    bool same = tensor->rank == rank;
    for (int i = 0; i < rank && same; i++)
        same = tensor->shape[i] == shape[i];
    if (same) {
        *out = (located){tensor->dtype, tensor->bytes, awq__held_at(f->held, tensor)};
        return AWQ_OK;
    }
    char found[AWQ__SHAPE_BYTES], expected[AWQ__SHAPE_BYTES];
    return awq__fail(model->ctx, AWQ_ERROR_FORMAT, "%s: %s is %s %s, expected %s", tensor->file,
                     name, awq_dtype_name(tensor->dtype),
                     awq__shape_text(tensor->rank, tensor->shape, found),
                     awq__shape_text(rank, shape, expected));
}

/* A tensor by the name of its module. */
static awq_status find_named(const finder *f, const awq__module *module, const char *suffix,
                             int rank, const int64_t *shape, located *tensor)
{
    char *name = awq__format(f->model->ctx, "%s%s", awq__stored_name(module), suffix);
    AWQ__CHECK_ALLOC(name);
    awq_status status = find_tensor(f, name, FLOATS, rank, shape, tensor);
    awq__free(name);
    return status;
}

/* NULL if there is no data. */
static const uint8_t *data_at(const located *tensor, int64_t offset)
{
    return tensor->data ? tensor->data + offset : NULL;
}

/* Tensors that are called by their full names have been stored as matrices of one row, too. */
static bool is_row(const finder *f, const awq__module *module)
{
    if (!module->vector || *module->suffix || !awq__model_has_weights(f->model))
        return false;
    const awq__tensor *tensor =
        awq__checkpoint_find(f->model->arch->checkpoint, awq__stored_name(module));
    return tensor && tensor->rank == 2 && tensor->shape[0] == 1;
}

static awq_status find_plain(const finder *f, const awq__module *module, awq__found *found)
{
    const int64_t shape[] = {module->rows, module->cols}, filters[] = {shape[0], 1, shape[1]};
    const int64_t row[] = {1, module->rows};
    found->row = is_row(f, module);
    int rank = module->vector && !found->row ? 1 : module->convolution ? 3 : 2;
    located tensor;
    AWQ__CHECK(find_named(f, module, module->suffix, rank,
                          module->convolution ? filters
                          : found->row        ? row
                                              : shape,
                          &tensor));
    found->weight =
        awq__weight_plain(module->name, tensor.dtype, tensor.data, module->rows, module->cols);
    found->bytes = tensor.bytes;
    return AWQ_OK;
}

static awq_status find_bias(const finder *f, const awq__module *module, awq__found *found)
{
    const int64_t shape[] = {module->rows};
    located tensor;
    AWQ__CHECK(find_named(f, module, ".bias", 1, shape, &tensor));
    found->bias = tensor.data;
    found->bias_dtype = tensor.dtype;
    found->bias_stride = 1;
    found->bytes += tensor.bytes;
    return AWQ_OK;
}

/* ---- parts of fused tensors ---- */

/* Which rows of gate_up [2I,H], or of down [H,I], are the module's: first, first + step, ... */
typedef struct slice {
    const awq_arch_experts *experts;
    int64_t all_rows, first, step;
} slice;

static slice slice_of(const awq_model *model, const awq__module *module)
{
    const awq_arch_experts *experts = &model->arch->layers[module->layer].experts;
    slice s = {.experts = experts, .all_rows = module->rows, .step = 1};
    if (module->part == AWQ__PART_DOWN)
        return s;
    s.all_rows = 2 * module->rows;
    s.step = experts->interleaved ? 2 : 1;
    if (module->part == AWQ__PART_UP)
        s.first = experts->interleaved ? 1 : module->rows;
    return s;
}

static awq_status find_fused_floats(const finder *f, const awq__module *module, const slice *s,
                                    const char *name, awq__found *found)
{
    int64_t E = s->experts->count, N = s->all_rows, K = module->cols;
    bool transposed = s->experts->layout == AWQ_EXPERTS_FUSED_TRANSPOSED;
    const int64_t shape[] = {E, transposed ? K : N, transposed ? N : K};
    located tensor;
    AWQ__CHECK(find_tensor(f, name, FLOATS, 3, shape, &tensor));
    int64_t row_stride = transposed ? s->step : s->step * K, col_stride = transposed ? N : 1;
    int64_t first = module->expert * N * K + (transposed ? s->first : s->first * K);
    int64_t size = awq_dtype_bits(tensor.dtype) / 8;
    found->weight = awq__weight_strided(module->name, tensor.dtype, data_at(&tensor, first * size),
                                        module->rows, K, row_stride, col_stride);
    found->bytes = (uint64_t)(module->rows * K * size);
    return AWQ_OK;
}

static awq_status find_fused_mxfp4(const finder *f, const awq__module *module, const slice *s,
                                   const char *blocks_name, const char *scales_name,
                                   awq__found *found)
{
    int64_t E = s->experts->count, N = s->all_rows, K = module->cols;
    const int64_t shape[] = {E, N, K / 32, 16};
    located blocks, scales;
    AWQ__CHECK(find_tensor(f, blocks_name, 1u << AWQ_U8, 4, shape, &blocks));
    AWQ__CHECK(find_tensor(f, scales_name, 1u << AWQ_U8, 3, shape, &scales));
    int64_t first = module->expert * N + s->first;
    found->weight = awq__weight_mxfp4(module->name, data_at(&blocks, first * (K / 2)),
                                      data_at(&scales, first * (K / 32)), module->rows, K, s->step);
    found->packed = true;
    found->scheme =
        (awq__scheme){.code = AWQ__CODE_E2M1, .bits = 4, .group = 32, .symmetric = true};
    found->bytes = (uint64_t)(module->rows * (K / 2 + K / 32));
    return AWQ_OK;
}

static awq_status find_fused_bias(const finder *f, const awq__module *module, const slice *s,
                                  const char *name, awq__found *found)
{
    const int64_t shape[] = {s->experts->count, s->all_rows};
    located tensor;
    AWQ__CHECK(find_tensor(f, name, FLOATS, 2, shape, &tensor));
    int64_t size = awq_dtype_bits(tensor.dtype) / 8;
    found->bias = data_at(&tensor, (module->expert * s->all_rows + s->first) * size);
    found->bias_dtype = tensor.dtype;
    found->bias_stride = s->step;
    found->bytes += (uint64_t)(module->rows * size);
    return AWQ_OK;
}

/* ---- F8_E4M3 ---- */

/* Where element [0, 0] of a matrix lies in a tensor, and how its rows and columns follow. */
typedef struct laid_out {
    int64_t element, row_stride, col_stride;
    int64_t grid, first, step; /* of scales before its own, and of rows in what has the scales */
    bool transposed;           /* columns lie as rows of the tensor */
} laid_out;

static void take_fp8(const finder *f, const awq__module *module, const awq__fp8_tensors *t,
                     const laid_out *at, awq__found *found)
{
    const uint8_t *data = awq__held_at(f->held, t->weight);
    const uint8_t *scales = awq__held_at(f->held, t->scale);
    int64_t size = awq_dtype_bits(t->scale->dtype) / 8;
    const awq__fp8_scales fp8 = {.data = scales ? scales + at->grid * size : NULL,
                                 .dtype = t->scale->dtype,
                                 .rows = at->transposed ? t->block_cols : t->block_rows,
                                 .cols = at->transposed ? t->block_rows : t->block_cols,
                                 .row_stride = at->transposed ? 1 : t->grid_cols,
                                 .col_stride = at->transposed ? t->grid_cols : 1,
                                 .first = at->first,
                                 .step = at->step,
                                 .offset = at->element};
    found->weight = awq__weight_fp8(module->name, data ? data + at->element : NULL, module->rows,
                                    module->cols, at->row_stride, at->col_stride, &fp8);
    found->fp8 = true;
}

/* By the module's own name, if it is so. */
static awq_status find_fp8(const finder *f, const awq__module *module,
                           const awq__stored_scheme *stored, awq__found *found)
{
    const int64_t shape[] = {module->rows, module->cols};
    const laid_out at = {.row_stride = module->cols, .col_stride = 1, .step = 1};
    awq__fp8_tensors tensors;
    bool is_fp8;
    char *name = awq__format(f->model->ctx, "%s%s", awq__stored_name(module), module->suffix);
    AWQ__CHECK_ALLOC(name);
    awq_status status = awq__fp8_find(f->model->ctx, f->model->arch->checkpoint, stored, name, 2,
                                      shape, &tensors, &is_fp8);
    awq__free(name);
    AWQ__CHECK(status);
    if (!is_fp8)
        return AWQ_OK;
    take_fp8(f, module, &tensors, &at, found);
    found->fp8_blocks = stored->block_rows > 0;
    found->bytes = tensors.weight->bytes + tensors.scale->bytes;
    return AWQ_OK;
}

/* As a part of a fused tensor. */
static awq_status find_fused_fp8(const finder *f, const awq__module *module, const slice *s,
                                 const char *name, awq__found *found)
{
    int64_t E = s->experts->count, N = s->all_rows, K = module->cols;
    bool transposed = s->experts->layout == AWQ_EXPERTS_FUSED_TRANSPOSED, is_fp8 = false;
    const int64_t shape[] = {E, transposed ? K : N, transposed ? N : K};
    const awq__stored_scheme *stored;
    awq__fp8_tensors t;
    AWQ__CHECK(awq__stored_find(f->model->ctx, &f->model->stored, module->name, &stored));
    if (stored && stored->fp8)
        AWQ__CHECK(awq__fp8_find(f->model->ctx, f->model->arch->checkpoint, stored, name, 3, shape,
                                 &t, &is_fp8));
    if (!is_fp8)
        return AWQ_OK;
    const laid_out at = {.element = module->expert * N * K + (transposed ? s->first : s->first * K),
                         .row_stride = transposed ? s->step : s->step * K,
                         .col_stride = transposed ? N : 1,
                         .grid = module->expert * t.grid_rows * t.grid_cols,
                         .first = s->first,
                         .step = s->step,
                         .transposed = transposed};
    take_fp8(f, module, &t, &at, found);
    found->bytes =
        (uint64_t)(module->rows * K) + t.scale->bytes * (uint64_t)module->rows / (uint64_t)(E * N);
    return AWQ_OK;
}

/* ---- how a module is stored ---- */

static awq_status find_fused_weight(const finder *f, const awq__module *module, const slice *s,
                                    char names[][AWQ__FUSED_NAME_BYTES], awq__found *found)
{
    int down = module->part == AWQ__PART_DOWN;
    if (s->experts->layout == AWQ_EXPERTS_FUSED_MXFP4)
        return find_fused_mxfp4(f, module, s, names[2 * down], names[2 * down + 1], found);
    if (f->model->format && awq__model_has_weights(f->model))
        AWQ__CHECK(find_fused_fp8(f, module, s, names[down], found));
    return found->fp8 ? AWQ_OK : find_fused_floats(f, module, s, names[down], found);
}

static awq_status find_fused(const finder *f, const awq__module *module, awq__found *found)
{
    char names[AWQ__MAX_FUSED][AWQ__FUSED_NAME_BYTES];
    const slice s = slice_of(f->model, module);
    int parts = s.experts->layout == AWQ_EXPERTS_FUSED_MXFP4 ? 2 : 1;
    awq__fused_names(s.experts, s.experts->layout, names);
    AWQ__CHECK(find_fused_weight(f, module, &s, names, found));
    return module->bias
               ? find_fused_bias(f, module, &s, names[2 * parts + (module->part == AWQ__PART_DOWN)],
                                 found)
               : AWQ_OK;
}

/* Of the tensors that store a module in codes, as the checkpoint has them: what is not needed to
   read may be missing, and what others wrote may be larger. */
static awq_status add_stored_bytes(const awq_model *model, const awq__module *module,
                                   awq__found *found)
{
    awq__spec specs[AWQ__MAX_SPECS];
    int count = model->format->specs(module->rows, module->cols, &found->scheme, specs);
    for (int i = 0; i < count; i++) {
        char *name = awq__format(model->ctx, "%s%s", awq__stored_name(module), specs[i].suffix);
        AWQ__CHECK_ALLOC(name);
        const awq__tensor *tensor = awq__checkpoint_find(model->arch->checkpoint, name);
        found->bytes += tensor ? tensor->bytes : 0;
        awq__free(name);
    }
    return AWQ_OK;
}

static awq_status find_packed(const finder *f, const awq__module *module,
                              const awq__stored_scheme *stored, awq__found *found)
{
    const awq_model *model = f->model;
    const awq__disk_format *format = model->format;
    AWQ__CHECK(format->open(model->ctx, model->arch->checkpoint, f->held, stored,
                            awq__stored_name(module), module->rows, module->cols, &found->weight,
                            &found->packed));
    if (!found->packed)
        return AWQ_OK;
    found->scheme = (awq__scheme){
        .bits = stored->bits, .group = found->weight.group, .symmetric = stored->symmetric};
    format->complete(&found->scheme, found->weight.dtype);
    return add_stored_bytes(model, module, found);
}

/* In codes or in FP8, if quantization_config says so and its tensors are there. */
static awq_status find_quantized(const finder *f, const awq__module *module, awq__found *found)
{
    const awq__stored_scheme *stored;
    AWQ__CHECK(
        awq__stored_find(f->model->ctx, &f->model->stored, awq__stored_name(module), &stored));
    if (!stored)
        return AWQ_OK;
    return stored->fp8 ? find_fp8(f, module, stored, found) : find_packed(f, module, stored, found);
}

/* ---- what a model without weights would have ---- */

static void describe_fp8(const awq__module *module, const awq__stored_scheme *stored,
                         awq__found *found)
{
    bool blocks = stored->block_rows > 0;
    const awq__fp8_scales fp8 = {.dtype = AWQ_F32,
                                 .rows = blocks ? stored->block_rows : module->rows,
                                 .cols = blocks ? stored->block_cols : module->cols,
                                 .step = 1};
    int64_t grid = awq__ceil_div(module->rows, fp8.rows) * awq__ceil_div(module->cols, fp8.cols);
    found->weight =
        awq__weight_fp8(module->name, NULL, module->rows, module->cols, module->cols, 1, &fp8);
    found->fp8 = true;
    found->fp8_blocks = blocks;
    found->bytes = (uint64_t)(module->rows * module->cols) + sizeof(float) * (uint64_t)grid;
}

static awq_status describe_codes(const awq_model *model, const awq__module *module,
                                 const awq__stored_scheme *stored, awq__found *found)
{
    awq__spec specs[AWQ__MAX_SPECS];
    int64_t group = stored->group < 0 ? module->cols : stored->group;
    if (module->cols % group)
        return awq__fail(model->ctx, AWQ_ERROR_FORMAT,
                         "%s: %s is [%lld, %lld], which groups of %lld do not divide",
                         model->arch->config_path, module->name, (long long)module->rows,
                         (long long)module->cols, (long long)group);
    found->weight = awq__weight_plain(module->name, AWQ_BF16, NULL, module->rows, module->cols);
    found->packed = true;
    found->scheme =
        (awq__scheme){.bits = stored->bits, .group = group, .symmetric = stored->symmetric};
    model->format->complete(&found->scheme, AWQ_BF16);
    int count = model->format->specs(module->rows, module->cols, &found->scheme, specs);
    for (int i = 0; i < count; i++)
        found->bytes += awq__spec_bytes(&specs[i]);
    return AWQ_OK;
}

/* Routers and heads are floats in all releases, whether they are listed or no linears of the kind
   that lists are about. */
static awq_status describe_quantized(const finder *f, const awq__module *module, awq__found *found)
{
    const awq__stored_scheme *stored;
    bool linear = awq__is_linear(module) && module->role != AWQ_ROLE_ROUTER &&
                  module->role != AWQ_ROLE_HEAD && module->part != AWQ__PART_TOKEN_GATE;
    if (f->model->format->fused || !linear)
        return AWQ_OK; /* it tells of experts alone, which the architecture describes */
    AWQ__CHECK(awq__stored_find(f->model->ctx, &f->model->stored, module->name, &stored));
    if (!stored)
        return AWQ_OK;
    if (stored->fp8)
        describe_fp8(module, stored, found);
    else
        AWQ__CHECK(describe_codes(f->model, module, stored, found));
    return AWQ_OK;
}

/* ---- how a module is stored ---- */

static awq_status find_stored(const finder *f, const awq__module *module, awq__found *found)
{
    if (!f->model->format || module->vector || module->convolution)
        return AWQ_OK;
    return awq__model_has_weights(f->model) ? find_quantized(f, module, found)
                                            : describe_quantized(f, module, found);
}

awq_status awq__model_find(const awq_model *model, const awq__module *module, awq__held *held,
                           awq__found *found)
{
    const finder f = {model, held};
    *found = (awq__found){0};
    if (model->gguf)
        return awq__model_find_gguf(model, module, held, found);
    if (module->fused)
        return find_fused(&f, module, found);
    AWQ__CHECK(find_stored(&f, module, found));
    if (!found->packed && !found->fp8)
        AWQ__CHECK(find_plain(&f, module, found));
    return module->bias ? find_bias(&f, module, found) : AWQ_OK;
}
