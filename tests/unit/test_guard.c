/* What is worse than RTN is not kept. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "unit/layer_run.h"

#include "golden/values.h"
#include "support/tensor_bytes.h"

static handmade model;

/* Weights that rounding to 4 bits leaves as they are, and scaled columns do not. */
static void make_exact(float *row, int count, uint64_t *random)
{
    for (int i = 0; i < count; i++)
        row[i] = (float)((int)(awq__random(random) % 16) - 7) / 64;
    row[0] = -7.0f / 64;
    row[1] = 8.0f / 64;
}

/*
 * The first half of an expert's inner activations come in pairs of equal ones, which down subtracts
 * from one another: whatever rounding does to them, the output does not change, but the search,
 * which looks at one output at a time, sees nothing else. With `apart` they are added up. The other
 * half, exact without scales, counts `exact`.
 */
static void deceive(int expert, bool apart, float exact)
{
    uint64_t random = 5;
    for (int n = 0; n < MADE_I; n++) {
        bool paired = n < MADE_I / 2, second = paired && n % 2;
        for (int part = 0; part < 2; part++) {
            float(*rows)[MADE_H] = model.gate_up[expert][part];
            if (second)
                memcpy(rows[n], rows[n - 1], sizeof rows[n]);
            else if (!paired)
                make_exact(rows[n], MADE_H, &random);
        }
        for (int h = 0; h < MADE_H; h++) {
            float *down = model.down[expert][h];
            down[n] =
                second ? (apart ? down[n - 1] : -down[n - 1]) : down[n] * (paired ? 100.0f : exact);
        }
    }
}

static void deceive_all(bool apart)
{
    handmade_draw(&model, 21);
    for (int e = 0; e < MADE_E; e++)
        deceive(e, apart, 1);
}

static char warning[256]; /* of the layer; engines have some of the recipe, too */

static void listen(void *user, awq_log_level level, const char *text)
{
    (void)user;
    if (level == AWQ_LOG_WARNING && !strncmp(text, "layer ", strlen("layer ")))
        snprintf(warning, sizeof warning, "%s", text);
}

static cJSON *run_with(const fixture *f, const char *const *options)
{
    awq_recipe *recipe = layer_recipe(f, &model, options);
    assert_ok(f, awq_recipe_add_rule(recipe));
    assert_ok(f, awq_recipe_rule_set(recipe, 0, "projection", "down"));
    assert_ok(f, awq_recipe_rule_set(recipe, 0, "keep", "true"));
    warning[0] = 0;
    awq_context_set_log(f->ctx, listen, NULL);
    cJSON *report = report_of(f, recipe);
    awq_context_set_log(f->ctx, NULL, NULL);
    return report;
}

static cJSON *run(const fixture *f, const char *clip)
{
    const char *options[] = {"quantize.clip", clip, "calibration.min_expert_tokens", "20", NULL};
    return run_with(f, options);
}

static bool keeps_norm(const fixture *f)
{
    awq__checkpoint *result;
    assert_ok(f, awq__checkpoint_open(f->ctx, output, &result));
    bool same = tensor_is(
        f->ctx, awq__checkpoint_find(result, "model.layers.0.post_attention_layernorm.weight"),
        model.norm, sizeof model.norm);
    awq__checkpoint_free(result);
    return same;
}

static void rtn_is_used_where_it_is_better(void **state)
{
    const fixture *f = *state;
    deceive_all(false);
    cJSON *report = run(f, "false");
    const cJSON *experts = experts_of(report);
    assert_true(number_of(experts, "gate_up_loss") < 0.9 * number_of(experts, "gate_up_rtn_loss"));
    assert_true(cJSON_IsTrue(awq__json_at(experts, "fell_back_to_rtn")));
    for (int e = 0; e < MADE_E; e++)
        assert_true(number_of(expert_of(report, e), "error") ==
                    number_of(expert_of(report, e), "rtn_error"));
    assert_true(keeps_norm(f));
    assert_non_null(strstr(warning, "layer 0: scales and clipping made"));
    cJSON_Delete(report);
}

static void what_is_better_is_kept(void **state)
{
    const fixture *f = *state;
    deceive_all(true);
    cJSON *report = run(f, "false");
    double error = 0, plain = 0;
    assert_true(cJSON_IsFalse(awq__json_at(experts_of(report), "fell_back_to_rtn")));
    for (int e = 0; e < MADE_E; e++) {
        error += number_of(expert_of(report, e), "error");
        plain += number_of(expert_of(report, e), "rtn_error");
    }
    assert_true(error < 0.9 * plain);
    assert_false(keeps_norm(f));
    assert_string_equal(warning, "");
    cJSON_Delete(report);
}

/* An expert with borrowed tokens alone, which takes more harm than the others gain. */
static void experts_count_by_their_tokens(void **state)
{
    enum { STARVED = 1 };
    const fixture *f = *state;
    double gain = 0;
    handmade_draw(&model, 22);
    handmade_starve(&model, STARVED);
    for (int e = 0; e < MADE_E; e++)
        for (int h = 0; h < MADE_H; h++)
            for (int i = 0; i < MADE_I; i++)
                model.down[e][h][i] *= e == STARVED ? 1 : 0.1f;
    deceive(STARVED, false, 30);
    cJSON *report = run(f, "false");
    for (int e = 0; e < MADE_E; e++)
        if (e != STARVED)
            gain += number_of(expert_of(report, e), "rtn_error") -
                    number_of(expert_of(report, e), "error");
    const cJSON *starved = expert_of(report, STARVED);
    assert_true(number_of(starved, "tokens") == 0);
    assert_true(gain > 0);
    assert_true(number_of(starved, "error") - number_of(starved, "rtn_error") > gain);
    assert_true(cJSON_IsFalse(awq__json_at(experts_of(report), "fell_back_to_rtn")));
    cJSON_Delete(report);
}

/* Expert 0 is chosen by all tokens, but by all except the first with hardly any weight: ranges that
   suit the first alone do harm to the others. Expert 1 is chosen by these. */
static void one_token_for_an_expert(void)
{
    handmade_draw(&model, 23);
    memset(model.router, 0, sizeof model.router);
    model.norm[MADE_H / 2] = 1;
    for (int t = 0; t < MADE_T; t++) {
        model.embedding[t][0] = 1;
        model.embedding[t][1] = t ? -1 : 1;
    }
    model.router[0][1] = 4;
    model.router[1][1] = -4;
    model.router[2][0] = model.router[3][0] = -20;
}

static void ranges_are_used_where_they_are_better(void **state)
{
    const fixture *f = *state;
    one_token_for_an_expert();
    cJSON *without = run(f, "false"), *with = run(f, "true");
    assert_true(number_of(expert_of(with, 0), "tokens") == MADE_T);
    assert_true(cJSON_IsFalse(awq__json_at(expert_of(with, 0), "clipped")));
    assert_true(number_of(expert_of(with, 0), "error") ==
                number_of(expert_of(without, 0), "error"));
    assert_true(cJSON_IsTrue(awq__json_at(expert_of(with, 1), "clipped")));
    assert_true(number_of(expert_of(with, 1), "error") < number_of(expert_of(without, 1), "error"));
    cJSON_Delete(without);
    cJSON_Delete(with);
}

static void check_codes_are_nearest(const fixture *f)
{
    awq_model *result;
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &result));
    for (int e = 0; e < MADE_E; e++) {
        handmade_rounded nearest;
        char name[128];
        int64_t cols;
        handmade_round(f->ctx, &model, e, 4, NULL, &nearest);
        snprintf(name, sizeof name, "model.layers.0.block_sparse_moe.experts.%d.w1", e);
        float *stored = values_of(f, result, name, &cols);
        assert_memory_equal(stored, nearest.gate_up[0], sizeof nearest.gate_up[0]);
        free(stored);
    }
    awq_model_free(result);
}

/* Rows in pairs that are nearly equal: to nearest they become the same codes, which down subtracts
   from one another. GPTQ takes back the errors of each row by itself, and small differences grow.
 */
static void make_twins(void)
{
    uint64_t random = 7;
    handmade_draw(&model, 24);
    for (int i = 0; i < MADE_E * 2 * MADE_I; i++) {
        float *row = &model.gate_up[0][0][0][0] + i * MADE_H;
        if (i % 2 == 0)
            make_exact(row, MADE_H, &random);
        for (int k = 2; k < MADE_H && i % 2 == 0; k++)
            row[k] = fminf(row[k], 7.0f / 64) + 0.3f / 64;
        for (int k = 0; k < MADE_H && i % 2; k++)
            row[k] = row[k - MADE_H] + (float)(k > 1) * 0.02f / 64 * (float)(k % 3 - 1);
    }
    for (int i = 0; i < MADE_E * MADE_H * MADE_I; i += 2)
        (&model.down[0][0][0])[i + 1] = -(&model.down[0][0][0])[i];
}

static void compensated_codes_are_used_where_they_are_better(void **state)
{
    const fixture *f = *state;
    const char *options[] = {"quantize.method", "gptq", NULL};
    make_twins();
    cJSON *report = run_with(f, options);
    for (int e = 0; e < MADE_E; e++) {
        const cJSON *expert = expert_of(report, e);
        assert_true(number_of(expert, "gptq_error") > 2 * number_of(expert, "error"));
        assert_true(cJSON_IsFalse(awq__json_at(expert, "gptq")));
    }
    check_codes_are_nearest(f);
    cJSON_Delete(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAYER_TEST(rtn_is_used_where_it_is_better),
        LAYER_TEST(what_is_better_is_kept),
        LAYER_TEST(experts_count_by_their_tokens),
        LAYER_TEST(ranges_are_used_where_they_are_better),
        LAYER_TEST(compensated_codes_are_used_where_they_are_better),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
