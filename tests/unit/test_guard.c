/* What is worse than plain rounding is not kept. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "unit/layer_run.h"

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
 * The first half of each expert's inner activations come in pairs of equal ones, which down
 * subtracts from one another: whatever rounding does to them, the output does not change, but the
 * search, which looks at one output at a time, sees nothing else. With `apart` they are added up.
 * All else is exact without scales.
 */
static void deceive(bool apart)
{
    uint64_t random = 5;
    handmade_draw(&model, 21);
    for (int e = 0; e < MADE_E; e++)
        for (int n = 0; n < MADE_I; n++) {
            bool paired = n < MADE_I / 2, second = paired && n % 2;
            for (int part = 0; part < 2; part++) {
                float(*rows)[MADE_H] = model.gate_up[e][part];
                if (second)
                    memcpy(rows[n], rows[n - 1], sizeof rows[n]);
                else if (!paired)
                    make_exact(rows[n], MADE_H, &random);
            }
            for (int h = 0; h < MADE_H; h++) {
                float *down = model.down[e][h];
                down[n] = second ? (apart ? down[n - 1] : -down[n - 1])
                                 : down[n] * (paired ? 100.0f : 1.0f);
            }
        }
}

static char warning[256]; /* of the layer; engines have some of the recipe, too */

static void listen(void *user, awq_log_level level, const char *text)
{
    (void)user;
    if (level == AWQ_LOG_WARNING && !strncmp(text, "layer ", strlen("layer ")))
        snprintf(warning, sizeof warning, "%s", text);
}

static cJSON *run(const fixture *f)
{
    const char *options[] = {"quantize.clip", "false", NULL};
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

static void plain_rounding_is_used_where_it_is_better(void **state)
{
    const fixture *f = *state;
    deceive(false);
    cJSON *report = run(f);
    const cJSON *experts = experts_of(report);
    assert_true(number_of(experts, "gate_up_loss") <
                0.9 * number_of(experts, "gate_up_plain_loss"));
    assert_true(cJSON_IsTrue(awq__json_at(experts, "fell_back_to_plain_rounding")));
    for (int e = 0; e < MADE_E; e++)
        assert_true(number_of(expert_of(report, e), "error") ==
                    number_of(expert_of(report, e), "plain_error"));
    assert_true(keeps_norm(f));
    assert_non_null(strstr(warning, "layer 0: scales and clipping made"));
    cJSON_Delete(report);
}

static void what_is_better_is_kept(void **state)
{
    const fixture *f = *state;
    deceive(true);
    cJSON *report = run(f);
    double error = 0, plain = 0;
    assert_true(cJSON_IsFalse(awq__json_at(experts_of(report), "fell_back_to_plain_rounding")));
    for (int e = 0; e < MADE_E; e++) {
        error += number_of(expert_of(report, e), "error");
        plain += number_of(expert_of(report, e), "plain_error");
    }
    assert_true(error < 0.9 * plain);
    assert_false(keeps_norm(f));
    assert_string_equal(warning, "");
    cJSON_Delete(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAYER_TEST(plain_rounding_is_used_where_it_is_better),
        LAYER_TEST(what_is_better_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
