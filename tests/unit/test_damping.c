/* What GPTQ is told of an expert's inputs: its own tokens as they are routed, some of all where it
   has few, and a damping that grows as they get fewer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/values.h"
#include "quant/gptq.h"
#include "unit/layer_run.h"

enum { H = MADE_H, STARVED = 2, SWEEPS = 1, RANGES = 8 };

static handmade model;
static handmade_pass pass;

/* sum over the expert's tokens, and over all of the layer's, which count as 4 H, of x x^T. */
static void add_token(float *gram, int token, double weight)
{
    for (int i = 0; i < H; i++)
        for (int k = 0; k < H; k++)
            gram[i * H + k] += (float)(weight * weight * pass.x[token][i] * pass.x[token][k]);
}

/* The gate of an expert by GPTQ with that damping. */
static void round_gate(const fixture *f, int expert, double damping, float *out)
{
    const awq__compute *compute = awq__compute_fastest();
    const awq__scheme scheme = {.bits = 4, .group = H, .grid = AWQ__GRID_F16};
    const awq__gptq_effort effort = {.ranges = RANGES, .sweeps = SWEEPS};
    const awq__weight weight =
        awq__weight_plain("gate", AWQ_F32, model.gate_up[expert][0][0], MADE_I, H);
    float gram[H * H] = {0};
    handmade_tokens own;
    awq__gptq gptq;
    awq__codes codes;
    handmade_list(&pass, expert, 0, false, &own);
    for (int i = 0; i < own.count; i++)
        add_token(gram, own.index[i], own.weight[i]);
    for (int i = 0; i < MADE_T; i++)
        add_token(gram, i, pass.mean_weight * sqrt(4.0 * H / MADE_T));
    assert_ok(f, awq__gptq_create(f->ctx, compute, "gate", gram, H, H, damping, &gptq));
    assert_ok(f, awq__codes_create(f->ctx, MADE_I, H, &scheme, &codes));
    assert_ok(f, awq__gptq_round_all(f->ctx, compute, &gptq, &effort, &weight, &codes));
    awq__codes_read(&codes, 0, MADE_I, out);
    awq__codes_free(&codes);
    awq__gptq_free(&gptq);
}

/* The share of values that are others. */
static double share_of_others(const float *a, const float *b)
{
    int others = 0;
    for (int i = 0; i < MADE_I * H; i++)
        others += fabsf(a[i] - b[i]) > 1e-6f;
    return others / (double)(MADE_I * H);
}

static double damping_of(int tokens)
{
    return tokens ? fmin(0.3, 0.05 * (1 + H / (double)tokens)) : 0.3;
}

static void check_expert(const fixture *f, const awq_model *result, int expert)
{
    static const double wrong[] = {0.05, 0.5};
    char name[128];
    float expected[MADE_I * H];
    int64_t cols;
    handmade_tokens own;
    handmade_list(&pass, expert, 0, false, &own);
    snprintf(name, sizeof name, "model.layers.0.block_sparse_moe.experts.%d.w1", expert);
    float *stored = values_of(f, result, name, &cols);
    round_gate(f, expert, damping_of(own.count), expected);
    assert_true(share_of_others(stored, expected) < 0.005); /* sums round otherwise */
    for (int i = 0; i < 2; i++) {
        round_gate(f, expert, wrong[i], expected);
        assert_true(share_of_others(stored, expected) > 0.01);
    }
    free(stored);
}

static void fewer_tokens_are_damped_more(void **state)
{
    const fixture *f = *state;
    const char *options[] = {"quantize.method", "gptq", "quantize.gptq_sweeps", "1", NULL};
    awq_model *result;
    handmade_draw(&model, 41);
    handmade_starve(&model, STARVED);
    for (int t = 0; t < MADE_T; t++) /* another with a few tokens */
        for (int h = 0; h < H; h++)
            model.embedding[t][h] += (float)(t % 9 == 0) * 4 * model.router[0][h];
    model.router[0][0] = -0.35f;
    handmade_run(&model, &pass);
    cJSON *report = report_of(f, layer_recipe(f, &model, options));
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &result));
    for (int e = 0; e < MADE_E; e++) {
        assert_true(cJSON_IsTrue(awq__json_at(expert_of(report, e), "gptq")));
        check_expert(f, result, e);
    }
    awq_model_free(result);
    cJSON_Delete(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAYER_TEST(fewer_tokens_are_damped_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
