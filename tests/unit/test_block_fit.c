/* Rounding to blocks of GGUF, against trying everything. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/half.h"
#include "compute/block_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 9, COLS = 512, RUN = 32 };

static float uniform(uint64_t *random)
{
    return (float)(awq__random(random) >> 40) * 0x1p-24f;
}

/* Somewhat like weights: a sum of uniform numbers, and now and then a larger one. */
static void fill_weights(uint64_t *random, float *w, int count)
{
    for (int i = 0; i < count; i++) {
        float sum = -2;
        for (int j = 0; j < 4; j++)
            sum += uniform(random);
        w[i] = sum * 0.05f * (i % 97 == 3 ? 4 : 1);
    }
}

static void fill_importance(uint64_t *random, float *h, int count)
{
    for (int i = 0; i < count; i++)
        h[i] = uniform(random) * (i % 31 == 7 ? 30 : 1);
}

static awq__block_fit fit_of(int type, const float *importance)
{
    return (awq__block_fit){.compute = awq__compute_fastest(),
                            .type = &awq__block_types[type],
                            .effort = awq__block_effort_full,
                            .cols = COLS,
                            .importance = importance};
}

/* sum of h (w - q)^2 over a part of a row */
static double error_of(const float *w, const float *q, const float *h, int count)
{
    double error = 0;
    for (int i = 0; i < count; i++)
        error += (double)h[i] * ((double)w[i] - q[i]) * ((double)w[i] - q[i]);
    return error;
}

/* The same with each weight as near as a scale and min let it be. */
static double nearest_error(const awq__block_type *type, float scale, float min, const float *w,
                            const float *h, int count)
{
    double error = 0;
    for (int i = 0; i < count; i++) {
        double least = INFINITY;
        for (int code = 0; code < type->codes; code++) {
            double q = (double)(scale * awq__block_value(type, code) - min) - (double)w[i];
            least = q * q < least ? q * q : least;
        }
        error += (double)h[i] * least;
    }
    return error;
}

/* Of one run, over all the numbers that the block may have for it, others being as they are. */
static double best_of_run(const awq__block_type *type, awq__ggml_block *block, int run,
                          const float *w, const float *h)
{
    float scales[AWQ__BLOCK_RUNS], mins[AWQ__BLOCK_RUNS];
    double best = INFINITY;
    int low = type->kind == AWQ__RUN_TIMES ? type->scale_low : 0;
    int high = type->kind == AWQ__RUN_TIMES   ? type->scale_high
               : type->kind == AWQ__RUN_E8M0  ? 254
               : type->kind == AWQ__RUN_UE4M3 ? 126
                                              : 0;
    for (int scale = low; scale <= high; scale++)
        for (int min = 0; min <= type->min_high; min++) {
            block->scale[run] = (int16_t)scale;
            block->min[run] = (int16_t)min;
            awq__block_scales(type, block, scales, mins);
            double error = nearest_error(type, scales[run], mins[run], w, h, type->run);
            best = error < best ? error : best;
        }
    return best;
}

/* What is found is close to the best there is: of whole numbers and bytes, for the block's d. */
static void numbers_of_runs_are_best(void **state)
{
    (void)state;
    uint64_t random = 11;
    float w[COLS], h[COLS], q[COLS];
    for (int t = 0; t < awq__block_type_count; t++) {
        const awq__block_type *type = &awq__block_types[t];
        if (type->kind == AWQ__RUN_PLAIN || type->codes > 32)
            continue; /* codes > 32: takes long */
        uint8_t bytes[2 * COLS];
        fill_weights(&random, w, COLS);
        fill_importance(&random, h, COLS);
        awq__block_fit fit = fit_of(t, h);
        assert_true(awq__block_fit_rows(&fit, 1, w, bytes));
        awq__blocks_decode(type, COLS / type->block, bytes, q);
        double found = 0, best = 0;
        for (int at = 0; at < COLS; at += 3 * type->run) {
            awq__ggml_block block = {0};
            type->unpack(bytes + at / type->block * type->bytes, &block);
            found += error_of(w + at, q + at, h + at, type->run);
            best += best_of_run(type, &block, at % type->block / type->run, w + at, h + at);
        }
        if (!(found <= best * 1.05))
            fail_msg("%s: an error of %g, where %g is possible", awq__ggml_type_of(type->id)->name,
                     found, best);
    }
}

/* And of an F16 number: all of those within a third of the one found. */
static void numbers_of_blocks_are_best(void **state)
{
    (void)state;
    uint64_t random = 12;
    float w[COLS], h[COLS], q[COLS];
    for (int t = 0; t < awq__block_type_count; t++) {
        const awq__block_type *type = &awq__block_types[t];
        if (type->kind != AWQ__RUN_PLAIN || type->has_min || type->codes > 32)
            continue;
        uint8_t bytes[2 * COLS];
        fill_weights(&random, w, COLS);
        fill_importance(&random, h, COLS);
        awq__block_fit fit = fit_of(t, h);
        assert_true(awq__block_fit_rows(&fit, 1, w, bytes));
        awq__blocks_decode(type, COLS / type->block, bytes, q);
        double found = 0, sum = 0;
        for (int at = 0; at < COLS; at += RUN) {
            awq__ggml_block block;
            double best = INFINITY;
            type->unpack(bytes + at / RUN * type->bytes, &block);
            for (int by = -512; by <= 512; by += 8) {
                float d = awq__f16_to_f32((uint16_t)(block.d + by));
                double error = nearest_error(type, d, 0, w + at, h + at, RUN);
                best = error < best ? error : best;
            }
            found += error_of(w + at, q + at, h + at, RUN);
            sum += best;
        }
        if (!(found <= sum * 1.05))
            fail_msg("%s: an error of %g, where %g is possible", awq__ggml_type_of(type->id)->name,
                     found, sum);
    }
}

static double total_error(const awq__block_fit *fit, const float *w, const float *h)
{
    static uint8_t bytes[ROWS * COLS * 2];
    static float q[ROWS * COLS];
    double error = 0;
    assert_true(awq__block_fit_rows(fit, ROWS, w, bytes));
    awq__blocks_decode(fit->type, ROWS * COLS / fit->type->block, bytes, q);
    for (int row = 0; row < ROWS; row++)
        error += error_of(w + row * COLS, q + row * COLS, h, COLS);
    return error;
}

/* A search pays, and so does knowing what counts. */
static void searches_and_importance_pay(void **state)
{
    (void)state;
    uint64_t random = 13;
    static float w[ROWS * COLS], h[COLS];
    fill_weights(&random, w, ROWS * COLS);
    fill_importance(&random, h, COLS);
    for (int t = 0; t < awq__block_type_count; t++) {
        awq__block_fit full = fit_of(t, h), blind = fit_of(t, NULL), quick = fit_of(t, h);
        quick.effort = (awq__block_effort){0};
        double least = total_error(&full, w, h);
        assert_true(least < total_error(&quick, w, h));
        /* Of MXFP4 one of few powers of two is chosen, mostly the same. */
        assert_true(least <
                    total_error(&blind, w, h) * (full.type->kind == AWQ__RUN_E8M0 ? 1 : .9));
    }
}

/* How far from the weights types of so many bits may be. */
static void errors_are_small(void **state)
{
    (void)state;
    static const struct budget {
        const char *name;
        double error; /* relative, root of the mean square */
    } budgets[] = {{"q4_0", .1},    {"q4_1", .085},  {"q5_0", .05},  {"q5_1", .042}, {"q8_0", .007},
                   {"q2_k", .3},    {"q3_k", .165},  {"q4_k", .08},  {"q5_k", .041}, {"q6_k", .021},
                   {"iq4_nl", .09}, {"iq4_xs", .09}, {"mxfp4", .13}, {"nvfp4", .11}};
    uint64_t random = 14;
    static float w[ROWS * COLS];
    float h[COLS];
    double squares = 0;
    fill_weights(&random, w, ROWS * COLS);
    for (int k = 0; k < COLS; k++)
        h[k] = 1;
    for (int i = 0; i < ROWS * COLS; i++)
        squares += (double)w[i] * (double)w[i];
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        const awq__block_type *type = awq__block_type_by_name(budgets[i].name);
        awq__block_fit fit = fit_of((int)(type - awq__block_types), NULL);
        double error = sqrt(total_error(&fit, w, h) / squares);
        if (!(error < budgets[i].error))
            fail_msg("%s: %g of the weights, expected less than %g", budgets[i].name, error,
                     budgets[i].error);
    }
}

/* A block's bytes depend on its weights alone. */
static void rows_are_independent(void **state)
{
    (void)state;
    uint64_t random = 15;
    static float w[ROWS * COLS];
    static uint8_t together[ROWS * COLS * 2], alone[ROWS * COLS * 2];
    fill_weights(&random, w, ROWS * COLS);
    for (int t = 0; t < awq__block_type_count; t++) {
        awq__block_fit fit = fit_of(t, NULL);
        size_t row_bytes = (size_t)(COLS / fit.type->block * fit.type->bytes);
        memset(together, 0xa5, sizeof together);
        assert_true(awq__block_fit_rows(&fit, ROWS, w, together));
        assert_int_equal(together[ROWS * row_bytes], 0xa5);
        for (size_t row = 0; row < ROWS; row++)
            assert_true(awq__block_fit_rows(&fit, 1, w + row * COLS, alone + row * row_bytes));
        assert_memory_equal(together, alone, ROWS * row_bytes);
    }
}

static void extremes(void **state)
{
    (void)state;
    float w[COLS], q[COLS];
    uint8_t bytes[2 * COLS];
    for (int t = 0; t < awq__block_type_count; t++) {
        awq__block_fit fit = fit_of(t, NULL);
        memset(w, 0, sizeof w);
        assert_true(awq__block_fit_rows(&fit, 1, w, bytes));
        awq__blocks_decode(fit.type, COLS / fit.type->block, bytes, q);
        for (int i = 0; i < COLS; i++)
            if (q[i] != 0)
                fail_msg("%s: %g", awq__ggml_type_of(fit.type->id)->name, (double)q[i]);
        static const float large[] = {1e9f, 1e19f, 1e37f, 3e38f};
        for (int l = 0; l < 4; l++) {
            for (int i = 0; i < COLS; i++)
                w[i] = i % 2 ? large[l] : -large[l];
            bool fits = awq__block_fit_rows(&fit, 1, w, bytes);
            if (fits != (fit.type->kind == AWQ__RUN_E8M0))
                fail_msg("%s: %g", awq__ggml_type_of(fit.type->id)->name, (double)large[l]);
        }
    }
}

/* ---- the operation under it ---- */

static void fill_runs(uint64_t *random, float *x, float *h, float *scale, float *min)
{
    fill_weights(random, x, RUN * AWQ__RUNS);
    fill_importance(random, h, RUN * AWQ__RUNS);
    for (int r = 0; r < AWQ__RUNS; r++) {
        scale[r] = r == 5 ? 0 : (uniform(random) - 0.3f) * 0.03f;
        min[r] = r % 3 ? 0 : uniform(random) * 0.1f;
    }
    /* Halfway between codes, below and above all of them. */
    for (int i = 0; i < RUN; i++)
        x[i * AWQ__RUNS + 8] = ((float)i - 16) * 0.5f * scale[8];
}

/* Errors are those of the codes. */
static void check_errors(const awq__block_type *type, const float *x, const float *h,
                         const float *scale, const float *min, const uint8_t *codes,
                         const float *errors)
{
    for (int r = 0; r < AWQ__RUNS; r++) {
        double sum = 0;
        for (int i = r; i < type->run * AWQ__RUNS; i += AWQ__RUNS) {
            double value = (double)awq__block_value(type, codes[i]);
            double off = (double)x[i] + (double)min[r] - (double)scale[r] * value;
            sum += (double)h[i] * off * off;
        }
        if (!(fabs((double)errors[r] - sum) <= 1e-5 * sum + 1e-12))
            fail_msg("run %d: an error of %g, expected %g", r, (double)errors[r], sum);
    }
}

static void tables_round_as_the_reference(void **state)
{
    (void)state;
    uint64_t random = 16;
    float x[RUN * AWQ__RUNS], h[RUN * AWQ__RUNS], scale[AWQ__RUNS], min[AWQ__RUNS];
    for (int t = 0; t < awq__block_type_count; t++) {
        const awq__block_type *type = &awq__block_types[t];
        awq__run_sums expected, found;
        float errors[AWQ__RUNS], found_errors[AWQ__RUNS];
        uint8_t codes[RUN * AWQ__RUNS], found_codes[RUN * AWQ__RUNS];
        fill_runs(&random, x, h, scale, min);
        awq__compute_reference()->round_runs(type, type->run, x, h, scale, min, &expected, codes);
        awq__compute_reference()->run_errors(type, type->run, x, h, scale, min, errors);
        check_errors(type, x, h, scale, min, codes, errors);
        for (const awq__compute *const *table = awq__compute_all(); *table; table++) {
            (*table)->round_runs(type, type->run, x, h, scale, min, &found, found_codes);
            assert_memory_equal(&found, &expected, sizeof found);
            assert_memory_equal(found_codes, codes, (size_t)type->run * AWQ__RUNS);
            memset(&found, 0xff, sizeof found);
            (*table)->round_runs(type, type->run, x, h, scale, min, &found, NULL);
            assert_memory_equal(&found, &expected, sizeof found);
            (*table)->run_errors(type, type->run, x, h, scale, min, found_errors);
            assert_memory_equal(found_errors, errors, sizeof errors);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_runs_are_best),
        cmocka_unit_test(numbers_of_blocks_are_best),
        cmocka_unit_test(searches_and_importance_pay),
        cmocka_unit_test(errors_are_small),
        cmocka_unit_test(rows_are_independent),
        cmocka_unit_test(extremes),
        cmocka_unit_test(tables_round_as_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
