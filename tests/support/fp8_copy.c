#include "support/fp8_copy.h"

#include "checkpoint/checkpoint.h"
#include "core/convert.h"
#include "core/half.h"
#include "core/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NAME 256

typedef struct copier {
    awq_context *ctx;
    const fp8_copy *how;
    awq__checkpoint *from;
    awq__output *to, *twin;
} copier;

/* ---- what becomes FP8 ---- */

static bool ends_with(const char *name, size_t length, const char *end)
{
    return length >= strlen(end) && !strncmp(name + length - strlen(end), end, strlen(end));
}

/* How much of a tensor's name is that of its module; 0 where it stays BF16. */
static size_t module_length(const copier *c, const awq__tensor *tensor)
{
    static const char *const ends[] = {"_proj.weight", ".w1.weight", ".w2.weight", ".w3.weight"};
    size_t length = strlen(tensor->name);
    bool fused = tensor->rank == 3 && ends_with(tensor->name, length, "_proj"), linear = fused;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        linear |= tensor->rank == 2 && ends_with(tensor->name, length, ends[i]);
    length -= fused ? 0 : strlen(".weight");
    return linear && !(c->how->kept && ends_with(tensor->name, length, c->how->kept)) ? length : 0;
}

/* Matrices [R,C] with grids of blocks. */
typedef struct grid {
    int64_t E, R, C, block_rows, block_cols, rows, cols;
} grid;

static grid grid_of(const copier *c, const awq__tensor *tensor)
{
    const fp8_copy *how = c->how;
    grid g = {.E = tensor->rank == 3 ? tensor->shape[0] : 1,
              .R = tensor->shape[tensor->rank - 2],
              .C = tensor->shape[tensor->rank - 1]};
    bool blocks = how->scales == FP8_OF_BLOCKS;
    g.block_rows = blocks ? how->block_rows : how->scales == FP8_OF_ROWS ? 1 : g.R;
    g.block_cols = blocks ? how->block_cols : g.C;
    g.rows = awq__ceil_div(g.R, g.block_rows);
    g.cols = awq__ceil_div(g.C, g.block_cols);
    return g;
}

static void scale_name(const copier *c, const char *tensor, char name[NAME])
{
    snprintf(name, NAME, "%s%s", tensor, c->how->compressed ? "_scale" : "_scale_inv");
}

static awq_status declare(const copier *c, const awq__tensor *tensor)
{
    char name[NAME];
    bool is_fp8 = module_length(c, tensor) > 0;
    if (c->twin)
        AWQ__CHECK(
            awq__output_declare(c->twin, tensor->name, tensor->dtype, tensor->rank, tensor->shape));
    AWQ__CHECK(awq__output_declare(c->to, tensor->name, is_fp8 ? AWQ_F8_E4M3 : tensor->dtype,
                                   tensor->rank, tensor->shape));
    if (!is_fp8)
        return AWQ_OK;
    grid g = grid_of(c, tensor);
    int64_t shape[] = {g.E, g.rows, g.cols};
    int lead = tensor->rank == 3 ? 0 : 1, rank = tensor->rank;
    if (c->how->scales == FP8_OF_WHOLE)
        rank--; /* [1], or [E, 1] */
    scale_name(c, tensor->name, name);
    return awq__output_declare(c->to, name, c->how->scale_dtype, rank, shape + lead);
}

/* ---- values ---- */

static uint8_t nearest(float value)
{
    uint8_t best = 0;
    for (int code = 1; code < 0x7f; code++)
        if (fabsf(awq__e4m3_to_f32((uint8_t)code) - fabsf(value)) <
            fabsf(awq__e4m3_to_f32(best) - fabsf(value)))
            best = (uint8_t)code;
    return (uint8_t)(best | (value < 0 ? 0x80 : 0));
}

/* The power of two by which the largest of a block becomes at most 448. */
static int exponent_of(const grid *g, const float *x, int64_t row, int64_t col)
{
    float largest = 0;
    int exponent;
    for (int64_t n = row; n < row + g->block_rows && n < g->R; n++)
        for (int64_t k = col; k < col + g->block_cols && k < g->C; k++)
            largest = fmaxf(largest, fabsf(x[n * g->C + k]));
    frexpf(largest / 448, &exponent);
    return largest > 0 ? exponent : 0;
}

static void store_scale(awq_dtype dtype, int exponent, int64_t index, uint8_t *scales)
{
    float scale = ldexpf(1, exponent);
    if (awq_dtype_bits(dtype) == 8)
        scales[index] = (uint8_t)(exponent + 127);
    else
        awq__narrow(NULL, dtype, &scale, 1, scales + index * (awq_dtype_bits(dtype) / 8));
}

/* One matrix: its codes and scales, and in x the values that they stand for. */
static void convert(const copier *c, const grid *g, float *x, uint8_t *codes, int64_t at,
                    uint8_t *scales)
{
    for (int64_t i = 0; i < g->rows * g->cols; i++) {
        int64_t row = i / g->cols * g->block_rows, col = i % g->cols * g->block_cols;
        int exponent = exponent_of(g, x, row, col);
        store_scale(c->how->scale_dtype, exponent, at * g->rows * g->cols + i, scales);
        for (int64_t n = row; n < row + g->block_rows && n < g->R; n++)
            for (int64_t k = col; k < col + g->block_cols && k < g->C; k++) {
                codes[n * g->C + k] = nearest(ldexpf(x[n * g->C + k], -exponent));
                x[n * g->C + k] = ldexpf(awq__e4m3_to_f32(codes[n * g->C + k]), exponent);
            }
    }
}

/* ---- writing ---- */

static void edit(const copier *c, const char *name, uint8_t *data, size_t bytes)
{
    if (c->how->edit)
        c->how->edit(name, data, bytes);
}

static awq_status write_fp8(const copier *c, const awq__tensor *tensor)
{
    grid g = grid_of(c, tensor);
    size_t count = (size_t)(g.E * g.R * g.C);
    size_t scale_bytes =
        (size_t)(g.E * g.rows * g.cols) * (size_t)awq_dtype_bits(c->how->scale_dtype) / 8;
    float *x = awq__alloc(c->ctx, count, sizeof *x, "values");
    uint8_t *codes = awq__alloc(c->ctx, count, 1, "codes"), *floats = NULL;
    uint8_t *scales = awq__alloc(c->ctx, scale_bytes, 1, "scales");
    char name[NAME];
    awq_status status;
    AWQ__TRY_ALLOC(x && codes && scales);
    AWQ__TRY(awq__tensor_copy(c->ctx, tensor, (size_t)1 << 30, &floats));
    AWQ__TRY(awq__widen(c->ctx, tensor->dtype, floats, count, x));
    for (int64_t e = 0; e < g.E; e++)
        convert(c, &g, x + e * g.R * g.C, codes + e * g.R * g.C, e, scales);
    scale_name(c, tensor->name, name);
    edit(c, tensor->name, codes, count);
    edit(c, name, scales, scale_bytes);
    AWQ__TRY(awq__output_write(c->to, tensor->name, codes, count));
    AWQ__TRY(awq__output_write(c->to, name, scales, scale_bytes));
    AWQ__TRY(awq__narrow(c->ctx, tensor->dtype, x, count, floats));
    if (c->twin)
        AWQ__TRY(awq__output_write(c->twin, tensor->name, floats, tensor->bytes));
done:
    awq__free(x);
    awq__free(codes);
    awq__free(scales);
    awq__free(floats);
    return status;
}

static awq_status write_tensor(const copier *c, const awq__tensor *tensor)
{
    if (module_length(c, tensor))
        return write_fp8(c, tensor);
    if (c->twin)
        AWQ__CHECK(awq__output_write_from(c->twin, tensor->name, 0, tensor, 0, tensor->bytes));
    return awq__output_write_from(c->to, tensor->name, 0, tensor, 0, tensor->bytes);
}

/* ---- config.json ---- */

static awq_status print_compressed(const copier *c, awq__text *text)
{
    static const char *const strategies[] = {"block", "channel", "tensor"};
    const fp8_copy *how = c->how;
    AWQ__CHECK(awq__text_append(
        c->ctx, text,
        "{\"quant_method\": \"compressed-tensors\", \"format\": \"float-quantized\", "
        "\"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": "
        "8, \"type\": \"float\", \"symmetric\": true, \"dynamic\": false, \"strategy\": \"%s\"",
        strategies[how->scales]));
    if (how->scales == FP8_OF_BLOCKS)
        AWQ__CHECK(awq__text_append(c->ctx, text, ", \"block_structure\": [%lld, %lld]",
                                    (long long)how->block_rows, (long long)how->block_cols));
    AWQ__CHECK(awq__text_append(c->ctx, text,
                                "}, \"input_activations\": {\"num_bits\": 8, "
                                "\"type\": \"float\", \"dynamic\": true}}}, "
                                "\"ignore\": [\"re:.*(gate|lm_head)$\""));
    if (how->kept)
        AWQ__CHECK(awq__text_append(c->ctx, text, ", \"re:.*%s$\"", how->kept));
    return awq__text_append(c->ctx, text, "]}");
}

static awq_status print_fp8(const copier *c, awq__text *text)
{
    const fp8_copy *how = c->how;
    AWQ__CHECK(awq__text_append(c->ctx, text,
                                "{\"quant_method\": \"fp8\", \"fmt\": \"e4m3\", "
                                "\"activation_scheme\": \"dynamic\""));
    if (how->scales == FP8_OF_BLOCKS)
        AWQ__CHECK(awq__text_append(c->ctx, text, ", \"weight_block_size\": [%lld, %lld]",
                                    (long long)how->block_rows, (long long)how->block_cols));
    if (how->kept)
        AWQ__CHECK(
            awq__text_append(c->ctx, text, ", \"modules_to_not_convert\": [\"%s\"]", how->kept));
    return awq__text_append(c->ctx, text, "}");
}

static awq_status write_config(const copier *c, const char *path)
{
    awq__text config = {0}, edited = {0};
    char *text = NULL;
    size_t bytes;
    awq_status status;
    AWQ__TRY(c->how->compressed ? print_compressed(c, &config) : print_fp8(c, &config));
    AWQ__TRY(awq__read_text_file(c->ctx, path, (size_t)1 << 20, &text, &bytes));
    AWQ__TRY(awq__json_set_member(c->ctx, path, text, bytes, "quantization_config", config.data,
                                  &edited));
    AWQ__TRY(awq__output_text(c->to, "config.json", edited.data, edited.length));
    if (c->twin)
        AWQ__TRY(awq__output_text(c->twin, "config.json", text, bytes));
done:
    awq__text_free(&config);
    awq__text_free(&edited);
    awq__free(text);
    return status;
}

static awq_status copy_files(const copier *c, const char *from)
{
    static const char *const files[] = {"tokenizer.json", "calib.jsonl", "eval.txt"};
    char path[1200];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", from, files[i]);
        if (!awq__is_file(path))
            continue;
        AWQ__CHECK(awq__output_copy(c->to, path));
        if (c->twin)
            AWQ__CHECK(awq__output_copy(c->twin, path));
    }
    snprintf(path, sizeof path, "%s/config.json", from);
    return write_config(c, path);
}

static awq_status write_all(const copier *c, const char *from)
{
    for (size_t i = 0; i < awq__checkpoint_count(c->from); i++)
        AWQ__CHECK(declare(c, awq__checkpoint_at(c->from, i)));
    AWQ__CHECK(awq__output_layout(c->to, UINT64_MAX));
    if (c->twin)
        AWQ__CHECK(awq__output_layout(c->twin, UINT64_MAX));
    for (size_t i = 0; i < awq__checkpoint_count(c->from); i++)
        AWQ__CHECK(write_tensor(c, awq__checkpoint_at(c->from, i)));
    AWQ__CHECK(copy_files(c, from));
    AWQ__CHECK(awq__output_commit(c->to));
    return c->twin ? awq__output_commit(c->twin) : AWQ_OK;
}

awq_status fp8_copy_write(awq_context *ctx, const char *from, const char *directory,
                          const char *twin, const fp8_copy *how)
{
    copier c = {.ctx = ctx, .how = how};
    awq_status status;
    AWQ__TRY(awq__checkpoint_open(ctx, from, &c.from));
    AWQ__TRY(awq__output_begin(ctx, directory, false, &c.to));
    if (twin)
        AWQ__TRY(awq__output_begin(ctx, twin, false, &c.twin));
    AWQ__TRY(write_all(&c, from));
done:
    awq__output_free(c.to);
    awq__output_free(c.twin);
    awq__checkpoint_free(c.from);
    return status;
}
