/* GPTQ to blocks of GGUF: the error in the output falls, and blocks keep their numbers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/block_codes.h"
#include "context.h"
#include "quant/gptq_blocks.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 150, COLS = 512, TOKENS = 2048 };

static float weights[ROWS * COLS], inputs[TOKENS * COLS], gram[COLS * COLS], work_gram[COLS * COLS];

static float uniform(uint64_t *random)
{
    return (float)(awq__random(random) >> 40) * 0x1p-23f - 1;
}

/* Inputs of which neighbours resemble each other, some much larger. */
static void make_problem(void)
{
    uint64_t random = 21;
    for (int i = 0; i < ROWS * COLS; i++)
        weights[i] = (uniform(&random) + uniform(&random) + uniform(&random)) * 0.02f;
    for (int t = 0; t < TOKENS; t++) {
        float last = 0;
        for (int k = 0; k < COLS; k++) {
            last = 0.8f * last + uniform(&random);
            inputs[t * COLS + k] = last * (k % 61 == 5 ? 8 : 1);
        }
    }
    memset(gram, 0, sizeof gram);
    awq__compute_fastest()->gram(TOKENS, COLS, COLS, inputs, COLS, gram);
}

/* sum over the rows of e G e^T */
static double loss_of(const awq__codes *codes)
{
    static float error[ROWS * COLS], product[ROWS * COLS];
    double sums[ROWS], loss = 0;
    awq__codes_read(codes, 0, ROWS, error);
    for (int i = 0; i < ROWS * COLS; i++)
        error[i] -= weights[i];
    awq__compute_fastest()->quadratic(ROWS, COLS, error, gram, product, sums);
    for (int n = 0; n < ROWS; n++)
        loss += sums[n];
    return loss;
}

static void round_all(awq_context *ctx, const awq__scheme *scheme, bool gptq, awq__codes *codes)
{
    const awq__weight weight = awq__weight_plain("w", AWQ_F32, weights, ROWS, COLS);
    const awq__gptq_effort effort = {.ranges = 8, .sweeps = 1};
    float importance[COLS];
    awq__gptq factors;
    for (int k = 0; k < COLS; k++)
        importance[k] = gram[k * COLS + k];
    succeeds(ctx, awq__codes_create(ctx, ROWS, COLS, scheme, codes));
    codes->importance = importance;
    if (!gptq) {
        succeeds(ctx, awq__codes_round(ctx, awq__compute_fastest(), &weight, NULL, codes));
        return;
    }
    memcpy(work_gram, gram, sizeof gram);
    succeeds(ctx, awq__gptq_create(ctx, awq__compute_fastest(), "w", work_gram, COLS, scheme->group,
                                   0.01, &factors));
    succeeds(ctx,
             awq__gptq_round_all(ctx, awq__compute_fastest(), &factors, &effort, &weight, codes));
    awq__gptq_free(&factors);
}

static void errors_are_taken_back(void **state)
{
    awq_context *ctx = *state;
    make_problem();
    for (int t = 0; t < awq__block_type_count; t++) {
        const awq__scheme scheme = awq__block_scheme(&awq__block_types[t]);
        awq__codes nearest, compensated;
        round_all(ctx, &scheme, false, &nearest);
        round_all(ctx, &scheme, true, &compensated);
        double before = loss_of(&nearest), after = loss_of(&compensated);
        if (!(after < 0.8 * before))
            fail_msg("%s: a loss of %g, and %g by GPTQ", awq__ggml_type_of(scheme.blocks->id)->name,
                     before, after);
        awq__codes_free(&nearest);
        awq__codes_free(&compensated);
    }
}

/* The same bytes for any number of threads. */
static void threads_do_not_matter(void **state)
{
    awq_context *ctx = *state;
    const awq__scheme scheme = awq__block_scheme(awq__block_type_by_name("q4_k"));
    awq__codes one, three;
    make_problem();
    succeeds(ctx, awq_context_set_threads(ctx, 1));
    round_all(ctx, &scheme, true, &one);
    succeeds(ctx, awq_context_set_threads(ctx, 3));
    round_all(ctx, &scheme, true, &three);
    assert_memory_equal(one.blocks, three.blocks,
                        (size_t)(ROWS * awq__block_row_bytes(scheme.blocks, COLS)));
    awq__codes_free(&one);
    awq__codes_free(&three);
}

/* What no F16 holds is told with the module. */
static void large_weights_are_refused(void **state)
{
    awq_context *ctx = *state;
    const awq__scheme scheme = awq__block_scheme(awq__block_type_by_name("q4_k"));
    const awq__weight weight = awq__weight_plain("huge", AWQ_F32, weights, ROWS, COLS);
    awq__codes codes;
    make_problem();
    weights[100 * COLS] = 1e12f;
    succeeds(ctx, awq__codes_create(ctx, ROWS, COLS, &scheme, &codes));
    fails(ctx, awq__codes_round(ctx, awq__compute_fastest(), &weight, NULL, &codes),
          AWQ_ERROR_NUMERIC,
          "huge: a scale in rows 96 to 111 does not fit its stored type in q4_k");
    awq__codes_free(&codes);
}

/* Codes are those that round_runs gives, also halfway between two. */
static void ties_go_as_in_rounding_to_nearest(void **state)
{
    (void)state;
    enum { RUN_MAX = 32, LANES = AWQ__GPTQ_ROWS };
    for (int t = 0; t < awq__block_type_count; t++) {
        const awq__block_type *type = &awq__block_types[t];
        static float x[RUN_MAX * AWQ__RUNS], h[RUN_MAX * AWQ__RUNS];
        static uint8_t codes[RUN_MAX * AWQ__RUNS];
        float scale[AWQ__RUNS], min[AWQ__RUNS] = {0};
        awq__run_sums sums;
        for (int r = 0; r < AWQ__RUNS; r++)
            scale[r] = 1;
        for (int i = 0; i < type->run * AWQ__RUNS; i++)
            x[i] = (float)(i % 56 - 28) * 0.5f;
        awq__compute_reference()->round_runs(type, type->run, x, h, scale, min, &sums, codes);
        for (int i = 0; i < type->run * AWQ__RUNS; i++) {
            float w[LANES] = {0}, e[LANES] = {0}, ones[LANES], none[LANES] = {0}, change[LANES];
            uint8_t code[LANES];
            awq__scheme scheme = awq__block_scheme(type);
            scheme.blocks = type;
            for (int r = 0; r < LANES; r++)
                ones[r] = 1;
            w[0] = x[i];
            awq__compute_fastest()->round_columns(&(awq__columns){.scheme = &scheme,
                                                                  .count = 1,
                                                                  .scales = ones,
                                                                  .zeros = none,
                                                                  .w = w,
                                                                  .e = e,
                                                                  .x = none,
                                                                  .change = change,
                                                                  .codes = code});
            if (code[0] != codes[i])
                fail_msg("%s: %g is %d, expected %d", awq__ggml_type_of(type->id)->name,
                         (double)x[i], code[0], codes[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(errors_are_taken_back, make_context, free_context),
        cmocka_unit_test_setup_teardown(threads_do_not_matter, make_context, free_context),
        cmocka_unit_test(ties_go_as_in_rounding_to_nearest),
        cmocka_unit_test_setup_teardown(large_weights_are_refused, make_context, free_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
