/* A scale that a norm takes up is what the norm's stored weights can stand for. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/convert.h"
#include "quant/quant.h"
#include "numbers.h"

enum { K = 96, STEPS = 20 };

typedef struct norm {
    double salience[K], w_mean[K];
    float values[K]; /* what the norm multiplies by */
    awq__candidates candidates;
} norm;

/* Stored weights about `middle` less shift, as BF16 has them. */
static void draw(norm *n, float middle, float shift, uint64_t seed)
{
    float *random = normals(&seed, 3 * K);
    for (int k = 0; k < K; k++) {
        n->salience[k] = exp(3 * (double)random[k]);
        n->w_mean[k] = exp((double)random[K + k]);
        n->values[k] = shift + awq__round_to_dtype(AWQ_BF16, middle - shift +
                                                                 0.3f * middle * random[2 * K + k]);
    }
    n->candidates = (awq__candidates){.cols = K,
                                      .salience = n->salience,
                                      .w_mean = n->w_mean,
                                      .steps = STEPS,
                                      .norm = n->values,
                                      .norm_dtype = AWQ_BF16,
                                      .norm_shift = shift};
    free(random);
}

/* What is divided by the scale can be stored, but for the rounding of F32. */
static void assert_stored(const norm *n, const float *scale)
{
    int64_t run = n->candidates.norm_cols ? n->candidates.norm_cols : K;
    float shift = n->candidates.norm_shift;
    for (int k = 0; k < K; k++) {
        float divided = n->values[k % run] / scale[k];
        float stored = awq__round_shifted(AWQ_BF16, shift, divided);
        assert_true(scale[k] > 0 && isfinite(scale[k]));
        assert_near((double)stored, (double)divided, 3e-7 * fmax(1, fabs((double)divided)));
    }
}

static void check(float middle, float shift, uint64_t seed)
{
    norm n;
    float scale[K];
    draw(&n, middle, shift, seed);
    for (int64_t i = 0; i < awq__candidate_count(&n.candidates); i++) {
        awq__candidate(&n.candidates, i, scale);
        assert_stored(&n, scale);
    }
}

static void plain_norms(void **state)
{
    (void)state;
    check(1, 0, 1);
    check(0.01f, 0, 2);
}

/* Where 1 + weight is small, weights near -1 have steps that are large beside it. */
static void norms_of_one_and_a_weight(void **state)
{
    (void)state;
    check(1, 1, 3);
    check(0.06f, 1, 4);
    check(5, 1, 5);
}

static void channels_without_effect_are_left_alone(void **state)
{
    (void)state;
    norm n;
    float scale[K];
    draw(&n, 1, 1, 6);
    n.values[7] = 0; /* a weight of -1 */
    n.values[8] = 1e-6f;
    for (int64_t i = 0; i < awq__candidate_count(&n.candidates); i++) {
        awq__candidate(&n.candidates, i, scale);
        assert_true(scale[7] == 1);
        assert_true(scale[8] > 0 && isfinite(scale[8]));
    }
}

/* A norm of few weights has the same for each run of columns. */
static void weights_that_serve_several_runs(void **state)
{
    (void)state;
    norm n;
    float scale[K];
    draw(&n, 1, 0, 7);
    n.candidates.norm_cols = K / 4;
    for (int k = K / 4; k < K; k++) {
        n.salience[k] = n.salience[k % (K / 4)];
        n.w_mean[k] = n.w_mean[k % (K / 4)];
    }
    for (int64_t i = 0; i < awq__candidate_count(&n.candidates); i++) {
        awq__candidate(&n.candidates, i, scale);
        assert_stored(&n, scale);
        for (int k = K / 4; k < K; k++)
            assert_true(scale[k] == scale[k % (K / 4)]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_norms),
        cmocka_unit_test(norms_of_one_and_a_weight),
        cmocka_unit_test(channels_without_effect_are_left_alone),
        cmocka_unit_test(weights_that_serve_several_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
