/* Choices that are corrected or made among groups, and gates by GELU. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "awq/plugin.h"
#include "tables.h"

#include <math.h>
#include <stdlib.h>

#define E 12
#define K 3

static double sigmoid(float x)
{
    return 1 / (1 + exp(-(double)x));
}

static double softmax(const float *logits, int64_t e)
{
    double total = 0;
    for (int64_t i = 0; i < E; i++)
        total += exp((double)logits[i]);
    return exp((double)logits[e]) / total;
}

typedef struct example {
    awq__routing routing;
    float logits[E], correction[E], expert_scale[E];
    double choice[E], score[E]; /* by the definition */
} example;

/* The sum of the two largest choices of a group, or the largest. */
static double group_of(const example *x, int64_t group)
{
    int64_t size = E / x->routing.groups;
    double first = -INFINITY, second = -INFINITY;
    for (int64_t e = group * size; e < (group + 1) * size; e++) {
        if (x->choice[e] > first) {
            second = first;
            first = x->choice[e];
        } else if (x->choice[e] > second) {
            second = x->choice[e];
        }
    }
    return x->routing.group_score == AWQ_GROUP_TOP2_SUM ? first + second : first;
}

static bool is_kept(const example *x, int64_t e)
{
    int64_t size = x->routing.groups ? E / x->routing.groups : E, better = 0;
    for (int64_t g = 0; g < x->routing.groups; g++)
        better += group_of(x, g) > group_of(x, e / size);
    return !x->routing.groups || better < x->routing.groups_kept;
}

static void check(const awq__compute *table, const example *x)
{
    int32_t index[K];
    float weight[K];
    double sum = 0;
    table->route(1, E, K, &x->routing, x->logits, index, weight);
    for (int i = 0; i < K; i++)
        sum += x->score[index[i]];
    for (int i = 0; i < K; i++) {
        int64_t better = 0;
        for (int64_t e = 0; e < E; e++)
            better += is_kept(x, e) && x->choice[e] > x->choice[index[i]];
        assert_true(is_kept(x, index[i]));
        assert_int_equal(better, i);
        double expected = x->score[index[i]] * (double)x->routing.scaling;
        if (x->routing.renormalize)
            expected /= fmax(sum, (double)x->routing.weight_floor);
        if (x->routing.expert_scale)
            expected *= (double)x->expert_scale[index[i]];
        assert_true(fabs((double)weight[i] - expected) <= 1e-6 * fabs(expected));
    }
}

static void fill(example *x, uint64_t *random, int round)
{
    x->routing =
        (awq__routing){.scoring = round % 2 ? AWQ_SCORING_SIGMOID_TOPK : AWQ_SCORING_SOFTMAX_TOPK,
                       .renormalize = round / 2 % 2,
                       .scaling = 2.5f,
                       .weight_floor = round / 4 % 2 && round / 2 % 2 ? 10 : 0,
                       .groups = round / 8 % 2 ? 4 : 0,
                       .groups_kept = round / 8 % 2 ? 2 : 0,
                       .group_score = round / 16 % 2,
                       .correction = round / 32 % 2 ? x->correction : NULL,
                       .expert_scale = round / 64 % 2 ? x->expert_scale : NULL};
    for (int64_t e = 0; e < E; e++) {
        x->logits[e] = normal(random);
        x->correction[e] = 0.3f * normal(random);
        x->expert_scale[e] = 1 + 0.2f * normal(random);
    }
    for (int64_t e = 0; e < E; e++) {
        bool is_sigmoid = x->routing.scoring == AWQ_SCORING_SIGMOID_TOPK;
        x->score[e] = is_sigmoid ? sigmoid(x->logits[e]) : softmax(x->logits, e);
        x->choice[e] = x->score[e] + (x->routing.correction ? (double)x->correction[e] : 0);
    }
}

static void choices_are_by_the_definition(void **state)
{
    (void)state;
    uint64_t random = 71;
    FOR_EACH_TABLE(table)
    for (int round = 0; round < 1024; round++) {
        example x;
        fill(&x, &random, round);
        check(table, &x);
    }
}

static void a_correction_changes_no_weight(void **state)
{
    (void)state;
    const float logits[] = {0, 1, 2, 3}, correction[] = {5, 0, 0, 0};
    const awq__routing routing = {
        .scoring = AWQ_SCORING_SIGMOID_TOPK, .scaling = 1, .correction = correction};
    int32_t index[2];
    float weight[2];
    FOR_EACH_TABLE(table)
    {
        table->route(1, 4, 2, &routing, logits, index, weight);
        assert_int_equal(index[0], 0);
        assert_int_equal(index[1], 3);
        assert_true(weight[0] == 0.5f);
        assert_true(fabs((double)weight[1] - sigmoid(3)) < 1e-6);
    }
}

static void ties_are_of_choices_and_of_groups(void **state)
{
    (void)state;
    const float logits[] = {2, 1, 1, -2}, correction[] = {0, 0, 0.1f, 0};
    const int32_t chosen[] = {0, 1};
    awq__routing routing = {.scoring = AWQ_SCORING_SIGMOID_TOPK, .scaling = 1};
    assert_true(awq__route_near_tie(4, &routing, logits, 2, chosen, 1e-4));
    routing.correction = correction;
    assert_false(awq__route_near_tie(4, &routing, logits, 2, chosen, 1e-4));
    const float groups[] = {2, 1, 2, -2};
    routing = (awq__routing){
        .scoring = AWQ_SCORING_SIGMOID_TOPK, .scaling = 1, .groups = 2, .groups_kept = 1};
    assert_true(awq__route_near_tie(4, &routing, groups, 1, chosen, 1e-4));
    routing.group_score = AWQ_GROUP_TOP2_SUM;
    assert_false(awq__route_near_tie(4, &routing, groups, 1, chosen, 1e-4));
}

static void gelu_is_right(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    static float gate[COUNT], up[COUNT], out[COUNT];
    uint64_t random = 72;
    for (int i = 0; i < COUNT; i++) {
        gate[i] = (i % 3 ? 2 : 20) * normal(&random);
        up[i] = normal(&random);
    }
    FOR_EACH_TABLE(table)
    for (int kind = AWQ_ACTIVATION_GELU_TANH; kind <= AWQ_ACTIVATION_GELU; kind++) {
        const awq__activation a = {.alpha = 1, .limit = INFINITY, .kind = kind};
        table->activate(COUNT, &a, gate, up, out);
        for (int i = 0; i < COUNT; i++) {
            double g = (double)gate[i], inner = 0.7978845608028654 * (g + 0.044715 * g * g * g);
            double factor = kind == AWQ_ACTIVATION_GELU ? 0.5 * (1 + erf(g / sqrt(2)))
                                                        : 0.5 * (1 + tanh(inner));
            double expected = g * factor * (double)up[i];
            assert_true(fabs((double)out[i] - expected) <=
                        3e-6 * fabs(expected) + 3e-7 * fabs((double)up[i]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_are_by_the_definition),
        cmocka_unit_test(a_correction_changes_no_weight),
        cmocka_unit_test(ties_are_of_choices_and_of_groups),
        cmocka_unit_test(gelu_is_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
