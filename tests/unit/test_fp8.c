/* Weights in F8_E4M3: each code, blocks of scales, and tensors on disk that do not fit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/e4m3.h"
#include "compute/weight.h"
#include "core/convert.h"
#include "core/half.h"
#include "tables.h"
#include "temp_checkpoint.h"

#include <math.h>

/* The definition: a sign, an exponent with bias 7, a significand of 3 bits. */
static double defined(int code)
{
    int exponent = code >> 3 & 15, fraction = code & 7;
    double magnitude = exponent ? ldexp(1 + fraction / 8.0, exponent - 7) : ldexp(fraction, -9);
    if ((code & 127) == 127)
        return NAN;
    return code & 128 ? -magnitude : magnitude;
}

static void each_code_has_its_value(void **state)
{
    (void)state;
    for (int code = 0; code < 256; code++) {
        double value = (double)awq__e4m3_to_f32((uint8_t)code);
        assert_true(isnan(defined(code)) ? isnan(value) : value == defined(code));
        assert_true(isnan(value) || signbit(value) == (code > 127));
    }
    for (int code = 0; code < 255; code++)
        assert_true((double)awq__e8m0_to_f32((uint8_t)code) == ldexp(1, code - 127));
    assert_true(isnan(awq__e8m0_to_f32(255)));
}

/* All codes, at every place of a vector, for every length, with scales that round and overflow. */
static void all_loops_give_the_same_bits(void **state)
{
    (void)state;
    static const float scales[] = {1, 0x1p-3f, 1.1f, 3e-42f, 0, -2.7e-5f, 1e38f, INFINITY, NAN};
    uint8_t codes[256 + 7];
    float right[256 + 8], out[256 + 8];
    for (int i = 0; i < 256 + 7; i++)
        codes[i] = (uint8_t)(i * 3);
    for (awq__e4m3_loop *const *loop = awq__e4m3_loops(); *loop; loop++)
        for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
            for (size_t from = 0, count = 256; from < 8; from++, count -= 31) {
                right[count] = out[count] = -99;
                awq__e4m3_widen_reference(codes + from, count, scales[s], right);
                (*loop)(codes + from, count, scales[s], out);
                for (size_t i = 0; i < count; i++)
                    assert_true(isnan(right[i]) ? isnan(out[i])
                                                : awq__f32_bits(out[i]) == awq__f32_bits(right[i]));
                assert_true(out[count] == -99);
                assert_true(isnan(right[0]) ||
                            right[0] == awq__e4m3_to_f32(codes[from]) * scales[s]);
            }
}

/* ---- blocks ---- */

enum { N = 37, K = 83, MOST = 2 * N * K };

typedef struct grid {
    int64_t rows, cols; /* of a block */
    int64_t first, step, row_stride, col_stride;
    bool transposed;
} grid;

static float scale_at(awq_dtype dtype, const uint8_t *scales, int64_t index)
{
    float scale;
    if (awq_dtype_bits(dtype) == 8)
        return awq__e8m0_to_f32(scales[index]);
    assert_int_equal(awq__widen(NULL, dtype, scales + index * awq_dtype_bits(dtype) / 8, 1, &scale),
                     AWQ_OK);
    return scale;
}

/* Element (n, k) by the definition: its place in the tensor, and the block that this lies in. */
static float element(const grid *g, awq_dtype dtype, const uint8_t *codes, const uint8_t *scales,
                     int64_t n, int64_t k)
{
    int64_t row = g->first + n * g->step, cols = (K + g->cols - 1) / g->cols;
    int64_t rows = (g->first + N * g->step + g->rows - 1) / g->rows;
    int64_t block =
        g->transposed ? k / g->cols * rows + row / g->rows : row / g->rows * cols + k / g->cols;
    return (float)defined(codes[n * g->row_stride + k * g->col_stride]) *
           scale_at(dtype, scales, block);
}

static void check_grid(const grid *g, awq_dtype dtype, uint64_t *random)
{
    static uint8_t codes[MOST], scales[4 * MOST];
    static float out[MOST], panel[MOST];
    int64_t cols = (K + g->cols - 1) / g->cols;
    int64_t rows = (g->first + N * g->step + g->rows - 1) / g->rows;
    for (int i = 0; i < MOST; i++)
        codes[i] = (uint8_t)(awq__random(random) % 127 | (awq__random(random) & 128));
    for (int i = 0; i < MOST; i++) {
        float scale = 1e-3f * (float)(1 + awq__random(random) % 5000);
        if (awq_dtype_bits(dtype) == 8)
            scales[i] = (uint8_t)(100 + awq__random(random) % 40);
        else
            assert_int_equal(
                awq__narrow(NULL, dtype, &scale, 1, scales + i * awq_dtype_bits(dtype) / 8),
                AWQ_OK);
    }
    const awq__fp8_scales fp8 = {.data = scales,
                                 .dtype = dtype,
                                 .rows = g->rows,
                                 .cols = g->cols,
                                 .row_stride = g->transposed ? 1 : cols,
                                 .col_stride = g->transposed ? rows : 1,
                                 .first = g->first,
                                 .step = g->step};
    awq__weight w = awq__weight_fp8("w", codes, N, K, g->row_stride, g->col_stride, &fp8);
    assert_false(awq__weight_is_plain(&w));
    awq__weight_read(awq__compute_fastest(), &w, 0, N, out);
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++)
            assert_true(out[n * K + k] == element(g, dtype, codes, scales, n, k));
    w.read_panel(&w, 5, 9, 17, 40, panel);
    for (int64_t n = 0; n < 9; n++)
        assert_memory_equal(panel + n * 40, out + (5 + n) * K + 17, 40 * sizeof *out);
}

static void blocks_have_their_scales(void **state)
{
    (void)state;
    static const grid grids[] = {
        {.rows = 16, .cols = 16, .step = 1, .row_stride = K, .col_stride = 1},
        {.rows = 128, .cols = 128, .step = 1, .row_stride = K, .col_stride = 1},
        {.rows = 1, .cols = K, .step = 1, .row_stride = K, .col_stride = 1},
        {.rows = 5, .cols = 1, .step = 1, .row_stride = K, .col_stride = 1},
        /* up, behind gate; gate and up in turns; transposed */
        {.rows = 16, .cols = 32, .first = N, .step = 1, .row_stride = K, .col_stride = 1},
        {.rows = 16, .cols = 32, .first = 1, .step = 2, .row_stride = 2 * K, .col_stride = 1},
        {.rows = 7, .cols = 9, .step = 1, .row_stride = 1, .col_stride = N, .transposed = true},
        {.rows = 7,
         .cols = 300,
         .first = 1,
         .step = 2,
         .row_stride = 2,
         .col_stride = 2 * N,
         .transposed = true},
    };
    static const awq_dtype dtypes[] = {AWQ_F32, AWQ_BF16, AWQ_F16, AWQ_F8_E8M0, AWQ_U8};
    uint64_t random = 7;
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++)
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
            check_grid(&grids[i], dtypes[d], &random);
}

static void what_is_not_finite_is_told_with_its_place(void **state)
{
    fixture *f = *state;
    uint8_t codes[4 * 8] = {0};
    float scales[2] = {1, 2}, work[64];
    const awq__fp8_scales fp8 = {.data = (const uint8_t *)scales,
                                 .dtype = AWQ_F32,
                                 .rows = 2,
                                 .cols = 8,
                                 .row_stride = 1,
                                 .col_stride = 1,
                                 .step = 1,
                                 .offset = 100};
    awq__weight w = awq__weight_fp8("a.gate_proj", codes, 4, 8, 8, 1, &fp8);
    succeeds(f->ctx, awq__weight_check(f->ctx, &w, work));
    for (int i = 0; i < 2; i++) {
        codes[2 * 8 + 3] = i ? 0xff : 0x7f;
        fails(f->ctx, awq__weight_check(f->ctx, &w, work), AWQ_ERROR_NUMERIC,
              i ? "a.gate_proj: row 2, column 3 is byte 0xff of F8_E4M3, at offset 119 of its "
                  "tensor, times the scale 2: expected a finite number"
                : "row 2, column 3 is byte 0x7f of F8_E4M3, at offset 119");
    }
    codes[2 * 8 + 3] = 0x7e;
    scales[1] = 1e38f;
    fails(f->ctx, awq__weight_check(f->ctx, &w, work), AWQ_ERROR_NUMERIC,
          "byte 0x7e of F8_E4M3, at offset 119 of its tensor, times the scale 1e+38");
    scales[1] = NAN;
    fails(f->ctx, awq__weight_check(f->ctx, &w, work), AWQ_ERROR_NUMERIC, "times the scale nan");
}

/* ---- tensors on disk ---- */

static const awq__stored_scheme in_blocks = {.fp8 = true, .block_rows = 128, .block_cols = 128};
static const awq__stored_scheme no_blocks = {.fp8 = true};

/* DeepSeek's kv_a_proj_with_mqa, of 4.5 blocks of rows. */
#define WEIGHT                                                                                     \
    {                                                                                              \
        "a.weight", AWQ_F8_E4M3, 2,                                                                \
        {                                                                                          \
            576, 300                                                                               \
        }                                                                                          \
    }
#define FUSED                                                                                      \
    {                                                                                              \
        "a.weight", AWQ_F8_E4M3, 3,                                                                \
        {                                                                                          \
            2, 576, 300                                                                            \
        }                                                                                          \
    }

typedef struct disk_case {
    const awq__stored_scheme *stored;
    stored_tensor tensors[3];
    int64_t grid_rows, grid_cols;
    awq_status status;
    const char *message; /* NULL: it is found */
} disk_case;

static const disk_case disk_cases[] = {
    {&in_blocks, {WEIGHT, {"a.weight_scale_inv", AWQ_F32, 2, {5, 3}}}, 5, 3, AWQ_OK, NULL},
    {&in_blocks, {WEIGHT, {"a.weight_scale", AWQ_BF16, 2, {5, 3}}}, 5, 3, AWQ_OK, NULL},
    {&in_blocks, {WEIGHT, {"a.weight_scale_inv", AWQ_F8_E8M0, 2, {5, 3}}}, 5, 3, AWQ_OK, NULL},
    {&in_blocks, {FUSED, {"a.weight_scale_inv", AWQ_U8, 3, {2, 5, 3}}}, 5, 3, AWQ_OK, NULL},
    {&no_blocks, {WEIGHT, {"a.weight_scale", AWQ_F32, 0, {0}}}, 1, 1, AWQ_OK, NULL},
    {&no_blocks, {WEIGHT, {"a.weight_scale", AWQ_F32, 1, {1}}}, 1, 1, AWQ_OK, NULL},
    {&no_blocks, {WEIGHT, {"a.weight_scale", AWQ_F32, 2, {1, 1}}}, 1, 1, AWQ_OK, NULL},
    {&no_blocks, {WEIGHT, {"a.weight_scale", AWQ_F16, 1, {576}}}, 576, 1, AWQ_OK, NULL},
    {&no_blocks, {WEIGHT, {"a.weight_scale", AWQ_F16, 2, {576, 1}}}, 576, 1, AWQ_OK, NULL},
    {&no_blocks, {FUSED, {"a.weight_scale", AWQ_F32, 1, {2}}}, 1, 1, AWQ_OK, NULL},
    {&no_blocks, {FUSED, {"a.weight_scale", AWQ_F32, 2, {2, 576}}}, 576, 1, AWQ_OK, NULL},
    {&no_blocks, {FUSED, {"a.weight_scale", AWQ_F32, 3, {2, 1, 300}}}, 1, 300, AWQ_OK, NULL},
    {&in_blocks,
     {WEIGHT},
     0,
     0,
     AWQ_ERROR_FORMAT,
     "/out: the tensor a.weight_scale_inv, or a.weight_scale, is missing: a.weight is F8_E4M3"},
    {&in_blocks,
     {WEIGHT, {"a.weight_scale", AWQ_F32, 2, {5, 3}}, {"a.weight_scale_inv", AWQ_F32, 2, {5, 3}}},
     0,
     0,
     AWQ_ERROR_FORMAT,
     "a.weight_scale_inv and a.weight_scale are there, expected one of them alone"},
    {&in_blocks,
     {WEIGHT, {"a.weight_scale_inv", AWQ_F32, 2, {4, 3}}},
     0,
     0,
     AWQ_ERROR_FORMAT,
     "model.safetensors: a.weight_scale_inv is F32 [4, 3], expected [5, 3], a scale for each block "
     "of 128 x 128 of a.weight, which is [576, 300]"},
    {&in_blocks,
     {WEIGHT, {"a.weight_scale_inv", AWQ_F32, 2, {3, 5}}},
     0,
     0,
     AWQ_ERROR_FORMAT,
     "a.weight_scale_inv is F32 [3, 5], expected [5, 3]"},
    {&in_blocks,
     {WEIGHT, {"a.weight_scale_inv", AWQ_F32, 1, {1}}},
     0,
     0,
     AWQ_ERROR_FORMAT,
     "a.weight_scale_inv is F32 [1], expected [5, 3]"},
    {&in_blocks,
     {FUSED, {"a.weight_scale_inv", AWQ_F32, 3, {1, 5, 3}}},
     0,
     0,
     AWQ_ERROR_FORMAT,
     "a.weight_scale_inv is F32 [1, 5, 3], expected [2, 5, 3]"},
    {&no_blocks,
     {WEIGHT, {"a.weight_scale_inv", AWQ_F32, 2, {5, 3}}},
     0,
     0,
     AWQ_ERROR_FORMAT,
     "a.weight_scale_inv is F32 [5, 3], expected one scale of all of a.weight, which is [576, "
     "300], "
     "or [576, 1], one for each row: quantization_config has no size of blocks"},
    {&in_blocks,
     {WEIGHT, {"a.weight_scale_inv", AWQ_I32, 2, {5, 3}}},
     0,
     0,
     AWQ_ERROR_UNSUPPORTED,
     "a.weight_scale_inv is I32, expected F32, BF16, F16, F8_E8M0 or U8"},
    {&in_blocks,
     {{"a.weight", AWQ_BF16, 2, {576, 300}}, {"a.weight_scale_inv", AWQ_F32, 2, {5, 3}}},
     0,
     0,
     AWQ_ERROR_UNSUPPORTED,
     "a.weight is BF16, expected F8_E4M3, of which there are scales"},
    {&in_blocks,
     {{"a.weight", AWQ_F8_E5M2, 2, {576, 300}}, {"a.weight_scale_inv", AWQ_F32, 2, {5, 3}}},
     0,
     0,
     AWQ_ERROR_UNSUPPORTED,
     "a.weight is F8_E5M2, expected F8_E4M3"},
    {&in_blocks,
     {{"a.weight", AWQ_F8_E4M3, 2, {576, 301}}, {"a.weight_scale_inv", AWQ_F32, 2, {5, 3}}},
     0,
     0,
     AWQ_ERROR_FORMAT,
     "a.weight is F8_E4M3 [576, 301], expected [576, 300]"},
};

static void tensors_on_disk_are_checked(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < sizeof disk_cases / sizeof *disk_cases; i++) {
        const disk_case *c = &disk_cases[i];
        int count = c->tensors[2].name ? 3 : c->tensors[1].name ? 2 : 1;
        awq__checkpoint *checkpoint = write_checkpoint(f, c->tensors, NULL, count);
        int rank = c->tensors[0].rank;
        const int64_t shape[] = {2, 576, 300};
        awq__fp8_tensors t;
        bool found;
        awq_status status = awq__fp8_find(f->ctx, checkpoint, c->stored, "a.weight", rank,
                                          shape + 3 - rank, &t, &found);
        ends(f->ctx, status, c->status, c->message);
        if (!c->message) {
            assert_true(found);
            assert_int_equal(t.grid_rows, c->grid_rows);
            assert_int_equal(t.grid_cols, c->grid_cols);
        }
        awq__checkpoint_free(checkpoint);
    }
}

static void other_tensors_are_not_fp8(void **state)
{
    fixture *f = *state;
    const stored_tensor tensors[] = {{"a.weight", AWQ_BF16, 2, {576, 300}}};
    const int64_t shape[] = {576, 300};
    awq__checkpoint *checkpoint = write_checkpoint(f, tensors, NULL, 1);
    awq__fp8_tensors t;
    bool found = true;
    succeeds(f->ctx,
             awq__fp8_find(f->ctx, checkpoint, &in_blocks, "a.weight", 2, shape, &t, &found));
    assert_false(found);
    succeeds(f->ctx,
             awq__fp8_find(f->ctx, checkpoint, &in_blocks, "b.weight", 2, shape, &t, &found));
    assert_false(found);
    awq__checkpoint_free(checkpoint);
}

/* ---- config.json ---- */

static void configs_are_read(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *config, *message; /* NULL: it is read */
    } cases[] = {
        {"{}", NULL},
        {"{\"fmt\": null, \"weight_block_size\": null, \"ignored_layers\": null}", NULL},
        {"{\"fmt\": \"e4m3\", \"weight_block_size\": [128, 128], \"activation_scheme\": "
         "\"static\", \"modules_to_not_convert\": [\"gate\"]}",
         NULL},
        {"{\"fmt\": \"e5m2\"}", "a/config.json: quantization_config: fmt is \"e5m2\", but only "
                                "\"e4m3\" can be read"},
        {"{\"weight_block_size\": 128}",
         "weight_block_size is 128, but only null or two positive numbers can be read"},
        {"{\"weight_block_size\": [128]}", "weight_block_size is an array, but only"},
        {"{\"weight_block_size\": [128, 0]}", "weight_block_size is an array, but only"},
        {"{\"weight_block_size\": [-1, 128]}", "weight_block_size is an array, but only"},
        {"{\"ignored_layers\": \"gate\"}",
         "ignored_layers is \"gate\", but only null or an array of names can be read"},
        {"{\"modules_to_not_convert\": [1]}",
         "modules_to_not_convert is 1, but only an array of names can be read"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *config;
        awq__stored stored = {0};
        succeeds(f->ctx,
                 awq__json_parse(f->ctx, "t", cases[i].config, strlen(cases[i].config), &config));
        awq_status status =
            awq__disk_format_fp8.read_config(f->ctx, "a/config.json", config, &stored);
        ends(f->ctx, status, AWQ_ERROR_UNSUPPORTED, cases[i].message);
        awq__stored_free(&stored);
        cJSON_Delete(config);
    }
}

static void listed_modules_are_kept(void **state)
{
    fixture *f = *state;
    static const char text[] =
        "{\"weight_block_size\": [64, 128], \"modules_to_not_convert\": [\"gate\", \"lm_head\"],"
        " \"ignored_layers\": [\"model.layers.1\", \"self_attn.o_proj\"]}";
    static const struct {
        const char *module;
        bool kept;
    } cases[] = {
        {"model.layers.0.mlp.gate", true},
        {"model.layers.0.mlp.gate_proj", false},
        {"model.layers.0.mlp.experts.0.gate_proj", false},
        {"lm_head", true},
        {"model.layers.1.mlp.up_proj", true},
        {"model.layers.10.mlp.up_proj", false},
        {"model.layers.7.self_attn.o_proj", true},
        {"model.layers.7.self_attn.q_proj", false},
    };
    cJSON *config;
    awq__stored stored;
    succeeds(f->ctx, awq__json_parse(f->ctx, "t", text, strlen(text), &config));
    succeeds(f->ctx, awq__disk_format_fp8.read_config(f->ctx, "c", config, &stored));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const awq__stored_scheme *scheme;
        succeeds(f->ctx, awq__stored_find(f->ctx, &stored, cases[i].module, &scheme));
        assert_true((scheme == NULL) == cases[i].kept);
        assert_true(!scheme || (scheme->fp8 && scheme->block_rows == 64));
    }
    awq__stored_free(&stored);
    cJSON_Delete(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_code_has_its_value),
        cmocka_unit_test(all_loops_give_the_same_bits),
        cmocka_unit_test(blocks_have_their_scales),
        cmocka_unit_test_setup_teardown(what_is_not_finite_is_told_with_its_place, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(tensors_on_disk_are_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_tensors_are_not_fp8, set_up, tear_down),
        cmocka_unit_test_setup_teardown(configs_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(listed_modules_are_kept, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
