/* The search for what each group's codes cover. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "problem.h"
#include "tables.h"

/* The loss of one group of one row with its block of the statistics. */
static double group_loss(const problem *p, const awq__stats *blocks, const awq__scheme *scheme,
                         int64_t group, awq__range range)
{
    int64_t g = scheme->group, block = group % (p->K / g);
    float *d = copy_of(p->w + group * g, g);
    awq__fake_quantize(1, g, scheme, &range, NULL, d);
    double loss = 0;
    for (int64_t k = 0; k < g; k++)
        d[k] -= p->w[group * g + k];
    for (int64_t i = 0; i < g; i++)
        for (int64_t j = 0; j < g; j++)
            loss += (double)d[i] * (double)d[j] * (double)blocks->gram[(block * g + i) * g + j];
    free(d);
    return loss;
}

/* Of a group's weights and 0. */
static awq__range extent(const problem *p, int64_t g, int64_t group)
{
    awq__range range = {0, 0};
    for (int64_t k = group * g; k < group * g + g; k++) {
        range.low = fminf(range.low, p->w[k]);
        range.high = fmaxf(range.high, p->w[k]);
    }
    return range;
}

static bool is_whole(awq__range range)
{
    return range.high == INFINITY;
}

static void make_blocks(awq_context *ctx, const problem *p, int64_t g, awq__stats *blocks)
{
    succeeds(ctx, awq__stats_create(ctx, p->K, g, blocks));
    awq__stats_add(awq__compute_fastest(), blocks, p->T, p->x, p->K);
}

/* What the search for integer codes gave for all groups of a problem. */
typedef struct outcome {
    int clipped, whole;
    double plain, shares, chosen; /* losses: of whole ranges, the best shares alone, the result */
} outcome;

static void check_group(const problem *p, const awq__stats *blocks, const awq__scheme *scheme,
                        int64_t i, awq__range found, outcome *sums)
{
    awq__range w = extent(p, scheme->group, i);
    float largest = fmaxf(-w.low, w.high);
    double chosen = group_loss(p, blocks, scheme, i, found);
    double plain = group_loss(p, blocks, scheme, i, awq__whole_range()), best = plain;
    for (int step = 1; step <= 11; step++) {
        float end = largest * (1 - 0.05f * (float)step);
        double loss =
            group_loss(p, blocks, scheme, i, (awq__range){fmaxf(w.low, -end), fminf(w.high, end)});
        assert_true(chosen <= loss + 1e-3 * fabs(loss) + 1e-6);
        best = fmin(best, loss);
    }
    assert_true(chosen <= plain + 1e-6 * fabs(plain));
    assert_true(found.low <= 0 && found.high >= 0);
    if (!is_whole(found)) /* no end moves far beyond the weights */
        assert_true(found.low >= 1.15f * w.low && found.high <= 1.15f * w.high);
    sums->clipped += !is_whole(found);
    sums->whole += is_whole(found);
    sums->plain += plain;
    sums->shares += best;
    sums->chosen += chosen;
}

static void no_share_of_the_whole_is_better(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 7;
    static const int64_t shapes[][3] = {/* N, K, g */ {6, 64, 32}, {5, 66, 33}, {4, 24, 24}};
    outcome sums[2] = {{0}};
    for (int s = 0; s < 6; s++) {
        problem p;
        int64_t N = shapes[s % 3][0], K = shapes[s % 3][1], g = shapes[s % 3][2];
        make_problem(ctx, &p, 30, N, K, 3, &random);
        for (int64_t n = 0; n < N; n++)
            p.w[n * K + 1] *= n % 2 ? 5 : 30; /* something to clip */
        for (int64_t k = 0; k < g; k++)
            p.w[k] = 0; /* and a group with nothing */
        const awq__scheme scheme = {
            .bits = 3, .group = g, .symmetric = s >= 3, .grid = AWQ__GRID_F16};
        awq__stats blocks;
        awq__range *range = space_for(N * K / g, sizeof *range);
        make_blocks(ctx, &p, g, &blocks);
        FOR_EACH_TABLE(table)
        {
            succeeds(ctx, awq__search_clip(ctx, table, &p.weight, &scheme, &blocks, range));
            assert_true(is_whole(range[0]));
            for (int64_t i = 0; i < N * K / g; i++)
                check_group(&p, &blocks, &scheme, i, range[i], &sums[s >= 3]);
        }
        awq__stats_free(&blocks);
        free(range);
        free_problem(&p);
    }
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        assert_true(sums[symmetric].clipped > 20 && sums[symmetric].whole > 4);
        assert_true(sums[symmetric].chosen < 0.99 * sums[symmetric].shares);
        assert_true(sums[symmetric].shares < 0.8 * sums[symmetric].plain);
    }
}

/* The least loss with both ends cut alike: to a share of the larger magnitude, and from the best of
   these by one more factor. */
static double alike_loss(const problem *p, const awq__stats *blocks, const awq__scheme *scheme,
                         int64_t i)
{
    awq__range w = extent(p, scheme->group, i), base = w;
    double best = group_loss(p, blocks, scheme, i, awq__whole_range());
    for (int step = 1; step <= 11; step++) {
        float end = fmaxf(-w.low, w.high) * (1 - 0.05f * (float)step);
        awq__range range = {fmaxf(w.low, -end), fminf(w.high, end)};
        double loss = group_loss(p, blocks, scheme, i, range);
        if (loss < best) {
            best = loss;
            base = range;
        }
    }
    for (int sign = -1; sign <= 1; sign += 2) {
        float by = 1 + 0.025f * (float)sign;
        awq__range range = {by * base.low, by * base.high};
        best = fmin(best, group_loss(p, blocks, scheme, i, range));
    }
    return best;
}

/* One sign's weights are many and matter; the other's are few, and the farthest hardly does. */
static void each_end_is_cut_by_itself(void **state)
{
    awq_context *ctx = *state;
    enum { N = 16, K = 128, G = 32, COUNT = N * K / G };
    uint64_t random = 8;
    for (int sign = -1; sign <= 1; sign += 2) {
        problem p;
        make_problem(ctx, &p, 60, N, K, 1, &random);
        for (int64_t i = 0; i < N * K; i++)
            p.w[i] = (float)sign * (i % G == 7   ? between(&random, 0.9f, 1.2f)
                                    : i % G < 20 ? -between(&random, 0, 0.6f)
                                                 : between(&random, 0, 0.45f));
        for (int64_t i = 0; i < p.T * K; i++)
            p.x[i] *= i % G == 7 ? 0.01f : 1;
        const awq__scheme scheme = {.bits = 4, .group = G, .grid = AWQ__GRID_F16};
        awq__stats blocks;
        awq__range range[COUNT];
        make_blocks(ctx, &p, G, &blocks);
        FOR_EACH_TABLE(table)
        {
            double plain = 0, chosen = 0, alike = 0, far_share = 0, near_share = 0;
            succeeds(ctx, awq__search_clip(ctx, table, &p.weight, &scheme, &blocks, range));
            for (int64_t i = 0; i < COUNT; i++) {
                awq__range w = extent(&p, G, i), r = is_whole(range[i]) ? w : range[i];
                float far = sign > 0 ? r.high / w.high : r.low / w.low;
                float near = sign > 0 ? r.low / w.low : r.high / w.high;
                double whole = group_loss(&p, &blocks, &scheme, i, awq__whole_range());
                double found = group_loss(&p, &blocks, &scheme, i, range[i]);
                assert_true(found <= whole * (1 + 1e-5));
                far_share += far / COUNT;
                near_share += near / COUNT;
                plain += whole;
                chosen += found;
                alike += alike_loss(&p, &blocks, &scheme, i);
            }
            assert_true(far_share < 0.7 && near_share > 0.85);
            assert_true(chosen < 0.6 * plain && chosen < 0.95 * alike);
        }
        awq__stats_free(&blocks);
        free_problem(&p);
    }
}

/* No range with a loss that is no number, and where all are such the weights stay whole. */
static void what_is_not_finite_is_left_whole(void **state)
{
    awq_context *ctx = *state;
    enum { N = 3, K = 64, G = 32 };
    static const float wrong[] = {NAN, INFINITY};
    uint64_t random = 10;
    for (int i = 0; i < 4; i++) {
        problem p;
        make_problem(ctx, &p, 20, N, K, 3, &random);
        for (int64_t n = 0; n < N; n++)
            p.w[n * K + G + 1] *= 5;
        const awq__scheme scheme = {.code = i < 2 ? AWQ__CODE_INTEGER : AWQ__CODE_E2M1,
                                    .bits = i < 2 ? 3 : 4,
                                    .group = G,
                                    .grid = AWQ__GRID_F16};
        awq__stats blocks;
        awq__range range[N * K / G], expected[N * K / G];
        make_blocks(ctx, &p, G, &blocks);
        succeeds(ctx, awq__search_clip(ctx, awq__compute_fastest(), &p.weight, &scheme, &blocks,
                                       expected));
        blocks.gram[5 * G + 6] = NAN;
        p.w[K + G + 3] = wrong[i % 2]; /* of the second row alone */
        FOR_EACH_TABLE(table)
        {
            succeeds(ctx, awq__search_clip(ctx, table, &p.weight, &scheme, &blocks, range));
            for (int64_t at = 0; at < N * K / G; at++) {
                if (at % (K / G) == 0 || at == 3)
                    assert_true(is_whole(range[at]));
                else
                    assert_memory_equal(&range[at], &expected[at], sizeof *range);
            }
        }
        awq__stats_free(&blocks);
        free_problem(&p);
    }
}

/* E2M1 codes: the scale of the largest magnitude, the next one, and the one before. */
static void powers_of_two_are_the_best_of_three(void **state)
{
    awq_context *ctx = *state;
    enum { N = 12, K = 96, G = 32, COUNT = N * K / G };
    uint64_t random = 9;
    problem p;
    make_problem(ctx, &p, 30, N, K, 3, &random);
    for (int64_t i = 0; i < COUNT; i++) /* largest magnitudes all over a power of two */
        p.w[i * G + 5] = between(&random, 4, 8) * (i % 2 ? 1 : -1);
    for (int64_t k = 0; k < G; k++) {
        p.w[k] = 0;
        p.w[G + k] = k % 2 ? 1.5f : -6; /* exact as it is */
        /* An outlier that matters less than what its scale would drown, and one that is cut off. */
        p.w[2 * G + k] = k == 7 ? 4 : k % 2 ? 0.24f : -0.26f;
        p.w[3 * G + k] = k % 3 ? 7.9f : -4;
    }
    for (int64_t t = 0; t < p.T; t++)
        p.x[t * K + 2 * G + 7] *= 0.01f;
    const awq__scheme scheme = {.code = AWQ__CODE_E2M1, .bits = 4, .group = G};
    awq__stats blocks;
    awq__range range[COUNT];
    make_blocks(ctx, &p, G, &blocks);
    FOR_EACH_TABLE(table)
    {
        int chosen[3] = {0};
        succeeds(ctx, awq__search_clip(ctx, table, &p.weight, &scheme, &blocks, range));
        for (int64_t i = 0; i < COUNT; i++) {
            awq__range w = extent(&p, G, i);
            float largest = fmaxf(-w.low, w.high);
            const float tried[] = {INFINITY, 2 * largest, largest / 2};
            double found = group_loss(&p, &blocks, &scheme, i, range[i]);
            int which = -1;
            for (int j = 0; j < 3; j++) {
                double loss =
                    group_loss(&p, &blocks, &scheme, i, (awq__range){-tried[j], tried[j]});
                assert_true(found <= loss * (1 + 1e-3) + 1e-6);
                which = range[i].high == tried[j] ? j : which;
            }
            assert_true(which >= 0);
            chosen[which]++;
        }
        assert_true(is_whole(range[0]) && is_whole(range[1]));
        assert_true(range[2].high == 2);
        assert_true(range[3].high == 2 * 7.9f);
        assert_true(chosen[0] > 4 && chosen[1] > 4 && chosen[2] > 0);
    }
    awq__stats_free(&blocks);
    free_problem(&p);
}

static void ranges_of_all_blocks_of_rows_are_found(void **state)
{
    awq_context *ctx = *state;
    enum { N = 600, K = 512, G = 128 };
    uint64_t random = 8;
    float *row = normals(&random, K), *w = floats(N * K);
    awq__range *range = space_for(N * K / G, sizeof *range);
    row[3] *= 6;
    for (int64_t n = 0; n < N; n++)
        memcpy(w + n * K, row, K * sizeof *w); /* equal rows have equal ranges */
    float *x = normals(&random, 4 * K);
    const awq__weight weight = awq__weight_plain("w", AWQ_F32, w, N, K);
    assert_true(awq__weight_block(&weight) < N);
    const awq__scheme scheme = {.bits = 3, .group = G, .grid = AWQ__GRID_F16};
    awq__stats blocks;
    succeeds(ctx, awq__stats_create(ctx, K, G, &blocks));
    awq__stats_add(awq__compute_fastest(), &blocks, 4, x, K);
    succeeds(ctx, awq__search_clip(ctx, awq__compute_fastest(), &weight, &scheme, &blocks, range));
    for (int64_t n = 1; n < N; n++)
        assert_memory_equal(range + n * (K / G), range, K / G * sizeof *range);
    awq__stats_free(&blocks);
    free(row);
    free(w);
    free(x);
    free(range);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(no_share_of_the_whole_is_better),        TEST(each_end_is_cut_by_itself),
        TEST(what_is_not_finite_is_left_whole),       TEST(powers_of_two_are_the_best_of_three),
        TEST(ranges_of_all_blocks_of_rows_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
