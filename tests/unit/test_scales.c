/* The scale of the input that all experts share: which one is found, and what it is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "unit/layer_run.h"

#include "support/tensor_bytes.h"

enum { H = MADE_H, STEPS = 20 };

static handmade model;
static handmade_pass pass;

/* Mean |x| of each channel, and the mean over the rows of gate and up of all experts of |W| over
   the largest of its group. */
static void describe(double *salience, double *relative)
{
    for (int h = 0; h < H; h++) {
        salience[h] = relative[h] = 0;
        for (int t = 0; t < MADE_T; t++)
            salience[h] += fabs(pass.x[t][h]) / MADE_T;
    }
    const int rows = MADE_E * 2 * MADE_I;
    for (int n = 0; n < rows; n++) {
        const float *row = &model.gate_up[0][0][0][0] + n * H; /* a group is a row */
        double largest = 1e-6;
        for (int h = 0; h < H; h++)
            largest = fmax(largest, fabs((double)row[h]) + 1e-6);
        for (int h = 0; h < H; h++)
            relative[h] += fabs((double)row[h]) / largest / rows;
    }
}

static void scale_of(double ratio, double *scale)
{
    double salience[H], relative[H], low = INFINITY, high = 0;
    describe(salience, relative);
    for (int h = 0; h < H; h++) {
        scale[h] = pow(salience[h], ratio) / (pow(relative[h], 1 - ratio) + 1e-4);
        low = fmin(low, scale[h]);
        high = fmax(high, scale[h]);
    }
    for (int h = 0; h < H; h++)
        scale[h] /= sqrt(low * high);
}

static double loss_of(const fixture *f, const double *scale)
{
    double loss = 0;
    for (int e = 0; e < MADE_E; e++) {
        handmade_rounded rounded;
        handmade_tokens tokens;
        handmade_round(f->ctx, &model, e, 4, scale, &rounded);
        handmade_list(&pass, e, 0, false, &tokens);
        loss += handmade_gate_up_loss(&model, e, &pass, &tokens, &rounded);
    }
    return loss;
}

/* By what the norm was divided. */
static void stored_scale(const fixture *f, double *scale)
{
    awq__checkpoint *result;
    assert_ok(f, awq__checkpoint_open(f->ctx, output, &result));
    uint8_t *bytes = tensor_bytes(
        f->ctx, awq__checkpoint_find(result, "model.layers.0.post_attention_layernorm.weight"));
    for (int h = 0; h < H; h++) {
        float norm;
        memcpy(&norm, bytes + 4 * h, 4);
        scale[h] = (double)model.norm[h] / (double)norm;
    }
    awq__free(bytes);
    awq__checkpoint_free(result);
}

/* A run, whose report is the caller's, of a model where ratio 0 is not the best. */
static cJSON *run(const fixture *f, uint64_t seed)
{
    const char *none[] = {NULL};
    handmade_draw(&model, seed);
    handmade_run(&model, &pass);
    return report_of(f, layer_recipe(f, &model, none));
}

static void the_norm_takes_the_scale_of_the_ratio(void **state)
{
    const fixture *f = *state;
    double expected[H], found[H];
    cJSON *report = run(f, 11);
    double ratio = number_of(experts_of(report), "gate_up_ratio");
    assert_true(ratio > 0.1 && ratio < 0.9); /* both salience and weights count */
    scale_of(ratio, expected);
    stored_scale(f, found);
    for (int h = 0; h < H; h++)
        assert_near(found[h], expected[h], 1e-4, "a channel's scale");
    cJSON_Delete(report);
}

/* Of every fourth ratio, which the search tries first, and of those beside the one it ends with. */
static void the_ratio_with_the_least_loss_is_found(void **state)
{
    const fixture *f = *state;
    double scale[H], loss[STEPS];
    cJSON *report = run(f, 11);
    for (int r = 0; r < STEPS; r++) {
        scale_of((double)r / STEPS, scale);
        loss[r] = loss_of(f, scale);
    }
    int found = (int)lround(number_of(experts_of(report), "gate_up_ratio") * STEPS);
    assert_near(number_of(experts_of(report), "gate_up_loss"), loss[found], 0.01, "its loss");
    assert_near(number_of(experts_of(report), "gate_up_rtn_loss"), loss_of(f, NULL), 0.01,
                "the loss of RTN");
    for (int r = 0; r < STEPS; r++)
        if (r % 4 == 0 || abs(r - found) == 1)
            assert_true(loss[found] <= loss[r]);
    cJSON_Delete(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAYER_TEST(the_norm_takes_the_scale_of_the_ratio),
        LAYER_TEST(the_ratio_with_the_least_loss_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
