/* The proof that a fold leaves the experts as they were sees tokens that go to other experts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "unit/layer_run.h"

static handmade model;

/* With one expert a token, which counts 1, what goes to the same expert comes out the same. */
static void rerouted_tokens_stop_the_run(void **state)
{
    const fixture *f = *state;
    const char *none[] = {NULL};
    double error;
    long long rerouted;
    handmade_draw(&model, 31);
    model.per_token = 1;
    awq_recipe *recipe = layer_recipe(f, &model, none);
    run_uncompensated(f, recipe, MADE_E);
    const char *by = strstr(awq_context_message(f->ctx), "by ");
    const char *and = strstr(awq_context_message(f->ctx), "and ");
    assert_true(by && sscanf(by, "by %lf", &error) == 1 && error < 1e-4);
    assert_true(and&&sscanf(and, "and %lld of 96 tokens", &rerouted) == 1 && rerouted > 5);
    awq_recipe_free(recipe);
}

/* Experts so alike to the router that the last bits decide. */
static void near_ties_may_fall_otherwise(void **state)
{
    const fixture *f = *state;
    const char *none[] = {NULL};
    handmade_draw(&model, 32);
    model.per_token = 1;
    for (int e = 1; e < MADE_E; e += 2)
        for (int h = 0; h < MADE_H; h++)
            model.router[e][h] = model.router[e - 1][h] * (1 + (float)((h + e) % 3 - 1) * 1.2e-7f);
    cJSON *report = report_of(f, layer_recipe(f, &model, none));
    assert_true(number_of(experts_of(report), "fold_error") < 1e-4);
    assert_true(number_of(experts_of(report), "fold_tokens") == MADE_T);
    cJSON_Delete(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAYER_TEST(rerouted_tokens_stop_the_run),
        LAYER_TEST(near_ties_may_fall_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
