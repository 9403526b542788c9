/* The choice of schemes within a size, against an exhaustive search. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "plan/budget.h"

#include <math.h>

enum { UNITS = 6, CHOICES = 4 };

static uint64_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void totals(const awq__budget *b, const int32_t *chosen, double *loss, uint64_t *bytes)
{
    *loss = 0;
    *bytes = 0;
    for (int64_t u = 0; u < b->units; u++) {
        *loss += b->loss[u * b->choices + chosen[u]];
        *bytes += b->bytes[u * b->choices + chosen[u]];
    }
}

/* The least loss within the limit, over all ways to choose. */
static double exhaustive(const awq__budget *b)
{
    double best = INFINITY;
    int64_t ways = 1;
    for (int64_t u = 0; u < b->units; u++)
        ways *= b->choices;
    for (int64_t way = 0; way < ways; way++) {
        int32_t chosen[UNITS];
        double loss;
        uint64_t bytes;
        int64_t rest = way;
        for (int64_t u = 0; u < b->units; u++, rest /= b->choices)
            chosen[u] = (int32_t)(rest % b->choices);
        totals(b, chosen, &loss, &bytes);
        if (bytes <= b->limit && loss < best)
            best = loss;
    }
    return best;
}

/* Sizes as groups and bits give them, and losses that fall with the size. */
static void make(uint64_t *state, double *loss, uint64_t *bytes)
{
    static const uint64_t sizes[CHOICES] = {4125, 4250, 4500, 8125};
    for (int u = 0; u < UNITS; u++) {
        double scale = 1 + (double)(next(state) % 1000) / 50;
        for (int c = 0; c < CHOICES; c++) {
            bytes[u * CHOICES + c] = sizes[c];
            loss[u * CHOICES + c] = scale;
            scale *= 0.3 + 0.6 * (double)(next(state) % 1000) / 1000;
        }
    }
}

static void the_limit_is_kept_and_used(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 7;
    double worst = 1;
    for (int round = 0; round < 200; round++) {
        double loss[UNITS * CHOICES], found, uniform;
        uint64_t bytes[UNITS * CHOICES], used, least;
        int32_t chosen[UNITS], small[UNITS] = {0};
        make(&random, loss, bytes);
        awq__budget b = {.units = UNITS,
                         .choices = CHOICES,
                         .loss = loss,
                         .bytes = bytes,
                         .limit = UNITS * 4125 + next(&random) % (UNITS * 4100)};
        succeeds(ctx, awq__budget_solve(ctx, &b, chosen, &least));
        assert_int_equal(least, UNITS * 4125);
        totals(&b, chosen, &found, &used);
        assert_true(used <= b.limit);
        totals(&b, small, &uniform, &used);
        assert_true(found <= uniform);
        double ratio = found / exhaustive(&b);
        worst = ratio > worst ? ratio : worst;
    }
    if (!(worst < 1.35)) /* six units are few: one step more or less is much */
        fail_msg("up to %.3f times the least loss", worst);
}

static void a_whole_number_of_steps_is_the_optimum(void **state)
{
    awq_context *ctx = *state;
    /* Unit 1 saves most a byte, then unit 0; the last choice of unit 1 is above its hull. */
    static const double loss[] = {10, 6, 5, 20, 4, 3.9};
    static const uint64_t bytes[] = {100, 120, 140, 100, 110, 160};
    static const struct {
        uint64_t limit;
        int32_t chosen[2];
    } cases[] = {{200, {0, 0}}, {209, {0, 0}}, {210, {0, 1}}, {229, {0, 1}},
                 {230, {1, 1}}, {250, {2, 1}}, {299, {2, 1}}, {300, {2, 2}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__budget b = {2, 3, loss, bytes, cases[i].limit};
        int32_t chosen[2];
        uint64_t least;
        succeeds(ctx, awq__budget_solve(ctx, &b, chosen, &least));
        assert_memory_equal(chosen, cases[i].chosen, sizeof chosen);
    }
}

static void what_cannot_be_is_told(void **state)
{
    awq_context *ctx = *state;
    const double loss[] = {INFINITY, 6, NAN, 4};
    static const uint64_t bytes[] = {100, 120, 100, 110};
    int32_t chosen[2];
    uint64_t least;
    awq__budget b = {2, 2, loss, bytes, 229};
    assert_int_equal(awq__budget_solve(ctx, &b, chosen, &least), AWQ_ERROR_RECIPE);
    assert_int_equal(least, 230);
    b.limit = 1000;
    succeeds(ctx, awq__budget_solve(ctx, &b, chosen, &least));
    assert_int_equal(chosen[0], 1);
    assert_int_equal(chosen[1], 1);
    const double none[] = {INFINITY, NAN, 1, 1};
    b.loss = none;
    fails(ctx, awq__budget_solve(ctx, &b, chosen, &least), AWQ_ERROR_NUMERIC, "unit 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_is_kept_and_used),
        cmocka_unit_test(a_whole_number_of_steps_is_the_optimum),
        cmocka_unit_test(what_cannot_be_is_told),
    };
    return cmocka_run_group_tests(tests, make_context, free_context);
}
