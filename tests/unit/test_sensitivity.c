/* What mixed precision measures of each unit, and what it chooses by that. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "unit/layer_run.h"

enum { CHOICES = 2, FINER = 2 };
static const int bits[CHOICES] = {4, 8};

static handmade model;
static handmade_pass pass;

/* Bits that two experts with 8 and two with 4 take, of codes, and of scale and zero point in groups
   of 32. */
#define TARGET "6.8"

static cJSON *run(const fixture *f, const char *method, const char *unit)
{
    const char *options[] = {"format",
                             "compressed-tensors",
                             "quantize.method",
                             method,
                             "quantize.symmetric",
                             "false",
                             "quantize.target_bits",
                             TARGET,
                             "quantize.target_schemes",
                             "4:32, 8:32",
                             "quantize.target_unit",
                             unit,
                             NULL};
    awq_recipe *recipe = layer_recipe(f, &model, options);
    assert_ok(f, awq_recipe_clear(recipe, "quantize.group_size"));
    return report_of(f, recipe);
}

static void draw(void)
{
    handmade_draw(&model, 51);
    for (int e = 0; e < MADE_E; e++) /* they differ in what they add */
        for (int h = 0; h < MADE_H; h++)
            for (int i = 0; i < MADE_I; i++)
                model.down[e][h][i] *= 0.5f + (float)((e + 2) % MADE_E);
    handmade_run(&model, &pass);
}

/* What rounding an expert to nearest does to the hidden state, which the next norm divides by. */
static double loss_of(const fixture *f, int expert, int choice)
{
    handmade_rounded rounded;
    handmade_tokens own;
    handmade_round(f->ctx, &model, expert, bits[choice], NULL, &rounded);
    handmade_list(&pass, expert, 0, false, &own);
    return (handmade_gate_up_loss(&model, expert, &pass, &own, &rounded) +
            handmade_down_loss(&model, expert, &pass, &own, &rounded)) /
           handmade_square(&model, &pass);
}

static const cJSON *unit_of(const cJSON *report, int unit)
{
    return cJSON_GetArrayItem(awq__json_at(report, "mixed.units"), unit);
}

static double reported(const cJSON *report, int unit, int choice)
{
    return cJSON_GetArrayItem(awq__json_at(unit_of(report, unit), "loss"), choice)->valuedouble;
}

static void experts_are_measured_each(void **state)
{
    const fixture *f = *state;
    double gain[MADE_E];
    draw();
    cJSON *report = run(f, "rtn", "expert");
    for (int e = 0; e < MADE_E; e++) {
        gain[e] = loss_of(f, e, 0) - loss_of(f, e, 1);
        for (int c = 0; c < CHOICES; c++)
            assert_near(reported(report, e, c), loss_of(f, e, c), 0.01, "an expert's loss");
    }
    for (int e = 0; e < MADE_E; e++) { /* those that gain most have more bits */
        int ahead = 0;
        for (int other = 0; other < MADE_E; other++)
            ahead += gain[other] > gain[e];
        assert_int_equal((int)number_of(unit_of(report, e), "chosen"), ahead < FINER);
    }
    cJSON_Delete(report);
}

static void a_layer_is_the_sum_of_its_experts(void **state)
{
    const fixture *f = *state;
    draw();
    cJSON *report = run(f, "rtn", "layer");
    for (int c = 0; c < CHOICES; c++) {
        double sum = 0;
        for (int e = 0; e < MADE_E; e++)
            sum += loss_of(f, e, c);
        assert_near(reported(report, 0, c), sum, 0.01, "the layer's loss");
    }
    assert_true(number_of(unit_of(report, 0), "chosen") == 0); /* 8 bits are too many */
    cJSON_Delete(report);
}

/* Losses are those of what is written: with scales where these are searched. */
static void scales_count(void **state)
{
    const fixture *f = *state;
    draw();
    cJSON *report = run(f, "awq", "expert");
    for (int e = 0; e < MADE_E; e++)
        assert_true(reported(report, e, 0) > 0 && reported(report, e, 0) < 0.9 * loss_of(f, e, 0));
    cJSON_Delete(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAYER_TEST(experts_are_measured_each),
        LAYER_TEST(a_layer_is_the_sum_of_its_experts),
        LAYER_TEST(scales_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
