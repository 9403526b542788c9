/* Which tokens an expert with few of its own borrows, and what they count. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "unit/layer_run.h"

enum { STARVED = 1, LEAST = 10 };

static handmade model;
static handmade_pass pass;

static cJSON *run(const fixture *f, const char *least)
{
    const char *options[] = {"calibration.min_expert_tokens", least, NULL};
    handmade_run(&model, &pass);
    return report_of(f, layer_recipe(f, &model, options));
}

/* Error of RTN over the tokens that an expert is judged by. */
static double rtn_error(const fixture *f, int expert, int least, bool farthest)
{
    handmade_rounded rounded;
    handmade_tokens tokens;
    handmade_round(f->ctx, &model, expert, 4, NULL, &rounded);
    handmade_list(&pass, expert, least, farthest, &tokens);
    return handmade_output_error(&model, expert, &pass, &tokens, &rounded);
}

static void the_nearest_tokens_are_borrowed(void **state)
{
    const fixture *f = *state;
    handmade_draw(&model, 1);
    handmade_starve(&model, STARVED);
    cJSON *report = run(f, "10");
    const cJSON *expert = expert_of(report, STARVED);
    assert_true(number_of(expert, "tokens") == 0 && number_of(expert, "borrowed") == LEAST);
    double nearest = rtn_error(f, STARVED, LEAST, false);
    assert_near(number_of(expert, "rtn_error"), nearest, 1e-3, "the nearest tokens' error");
    double farthest = rtn_error(f, STARVED, LEAST, true);
    assert_true(fabs(farthest / nearest - 1) > 0.05);
    cJSON_Delete(report);
}

/* Of equally near ones the first. */
static void the_first_of_equals_are_borrowed(void **state)
{
    const fixture *f = *state;
    handmade_draw(&model, 2);
    handmade_starve(&model, STARVED);
    for (int t = 0; t < MADE_T; t++) /* the norm of the hidden state is in every logit */
        for (int h = 1; h < MADE_H; h++)
            model.embedding[t][h] = t % 2 ? -model.embedding[t - 1][h] : model.embedding[t][h];
    for (int h = 1; h < MADE_H; h++)
        model.router[STARVED][h] = 0;
    cJSON *report = run(f, "9"); /* of five pairs, the first token of the last one */
    assert_near(number_of(expert_of(report, STARVED), "rtn_error"), rtn_error(f, STARVED, 9, false),
                1e-3, "the first tokens' error");
    cJSON_Delete(report);
}

static void no_more_are_borrowed_than_are_missing(void **state)
{
    const fixture *f = *state;
    handmade_draw(&model, 3);
    handmade_starve(&model, STARVED);
    cJSON *report = run(f, "55");
    int some = 0, none = 0;
    for (int e = 0; e < MADE_E; e++) {
        handmade_tokens own;
        handmade_list(&pass, e, 0, false, &own);
        int missing = own.count < 55 ? 55 - own.count : 0;
        assert_true(number_of(expert_of(report, e), "tokens") == own.count);
        assert_true(number_of(expert_of(report, e), "borrowed") == missing);
        assert_near(number_of(expert_of(report, e), "rtn_error"), rtn_error(f, e, 55, false), 1e-3,
                    "error over the expert's own tokens");
        some += missing > 0;
        none += missing == 0;
    }
    assert_true(some > 1 && none > 0);
    cJSON_Delete(report);
}

/* What the search weighs: a token as it is routed, a borrowed one as they are in the mean, and an
   output by what it does to the expert's. */
static void tokens_and_outputs_are_weighed(void **state)
{
    const fixture *f = *state;
    double loss = 0, unweighed = 0;
    handmade_draw(&model, 4);
    handmade_starve(&model, STARVED);
    cJSON *report = run(f, "60");
    for (int e = 0; e < MADE_E; e++) {
        handmade_rounded rounded;
        handmade_tokens tokens;
        handmade_round(f->ctx, &model, e, 4, NULL, &rounded);
        handmade_list(&pass, e, 60, false, &tokens);
        loss += handmade_gate_up_loss(&model, e, &pass, &tokens, &rounded);
        for (int i = tokens.routed; i < tokens.count; i++)
            tokens.weight[i] = 1;
        unweighed += handmade_gate_up_loss(&model, e, &pass, &tokens, &rounded);
    }
    assert_near(number_of(experts_of(report), "gate_up_rtn_loss"), loss, 0.01, "the loss");
    assert_true(unweighed > 1.1 * loss);
    cJSON_Delete(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAYER_TEST(the_nearest_tokens_are_borrowed),
        LAYER_TEST(the_first_of_equals_are_borrowed),
        LAYER_TEST(no_more_are_borrowed_than_are_missing),
        LAYER_TEST(tokens_and_outputs_are_weighed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
