/* The loss of a linear from second moments of its input, and the search for scales by it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "problem.h"
#include "tables.h"

/* W - Q(W s)/s in plain loops; the caller's to free. */
static float *weight_errors(const problem *p, const awq__scheme *scheme, const float *scale,
                            const awq__range *range)
{
    float *q = copy_of(p->w, p->N * p->K);
    for (int64_t i = 0; i < p->N * p->K; i++)
        q[i] *= scale ? scale[i % p->K] : 1;
    awq__fake_quantize(p->N, p->K, scheme, range, NULL, q);
    for (int64_t i = 0; i < p->N * p->K; i++)
        q[i] = p->w[i] - q[i] / (scale ? scale[i % p->K] : 1);
    return q;
}

/* |x (W - Q(W s)/s)^T|^2 */
static double direct_loss(const problem *p, const awq__scheme *scheme, const float *scale,
                          const awq__range *range)
{
    float *q = weight_errors(p, scheme, scale, range);
    double loss = 0;
    for (int64_t t = 0; t < p->T; t++)
        for (int64_t n = 0; n < p->N; n++) {
            double error = 0;
            for (int64_t k = 0; k < p->K; k++)
                error += (double)p->x[t * p->K + k] * (double)q[n * p->K + k];
            loss += error * error;
        }
    free(q);
    return loss;
}

/* sum over rows n of row_weight[n] * e_n G e_n^T for these moments G, whole or a sketch R of R^T R.
 */
static double moment_loss(const problem *p, const awq__scheme *scheme, const float *scale,
                          const awq__stats *stats, const float *row_weight)
{
    float *q = weight_errors(p, scheme, scale, NULL);
    int64_t K = p->K, rows = stats->rows ? stats->rows : K;
    double loss = 0;
    for (int64_t n = 0; n < p->N; n++) {
        double row_loss = 0;
        for (int64_t i = 0; i < rows; i++) {
            double product = 0;
            for (int64_t k = 0; k < K; k++)
                product += (double)stats->gram[i * K + k] * (double)q[n * K + k];
            row_loss += product * (stats->rows ? product : (double)q[n * K + i]);
        }
        loss += row_loss * (row_weight ? (double)row_weight[n] : 1);
    }
    free(q);
    return loss;
}

static void make_sketch(awq_context *ctx, const problem *p, int64_t rows, awq__stats *sketch)
{
    succeeds(ctx, awq__stats_create_sketch(ctx, p->K, rows, sketch));
    awq__stats_sketch(awq__compute_fastest(), sketch, 0, rows, 99, p->T, p->x, p->K);
}

static double found_loss(const awq__compute *table, const awq__weight *weight,
                         const awq__scheme *scheme, const awq__range *range,
                         const awq__stats *stats)
{
    float *space = floats(awq__gram_loss_space(weight, stats));
    double loss = awq__gram_loss(table, weight, scheme, range, stats, space);
    free(space);
    return loss;
}

/* With a multiplier of the columns, and the statistics of an input that was divided by it. */
static void the_loss_is_that_of_the_outputs(void **state)
{
    uint64_t random = 1;
    static const int64_t shapes[][4] = {
        /* T, N, K, g */ {50, 20, 96, 32}, {3, 7, 33, 33}, {1, 140, 2048, 128}};
    for (int i = 0; i < 3; i++) {
        problem p;
        make_problem(*state, &p, shapes[i][0], shapes[i][1], shapes[i][2], 10, &random);
        const awq__scheme scheme = {
            .bits = 4, .group = shapes[i][3], .symmetric = i == 1, .grid = AWQ__GRID_F16};
        float *scale = floats(p.K), *unscale = floats(p.K);
        awq__range *range = space_for(p.N * p.K / scheme.group, sizeof *range);
        awq__candidate(&p.candidates, 6, scale);
        for (int64_t k = 0; k < p.K; k++)
            unscale[k] = 1 / scale[k];
        for (int64_t j = 0; j < p.N * p.K / scheme.group; j++)
            range[j] = (awq__range){-between(&random, 1, 3), between(&random, 1, 3)};
        for (int with = 0; with < 4; with++) {
            const awq__range *r = with & 1 ? range : NULL;
            const float *s = with & 2 ? scale : NULL;
            if (with == 2) {
                p.weight.col_scale = scale;
                awq__stats_rescale(awq__compute_reference(), &p.stats, unscale);
            }
            double expected = direct_loss(&p, &scheme, s, r);
            assert_true(expected > 0);
            FOR_EACH_TABLE(table)
            {
                if (i == 2 && table == awq__compute_reference())
                    continue; /* it would take long */
                assert_near(found_loss(table, &p.weight, &scheme, r, &p.stats), expected,
                            2e-3 * expected);
            }
        }
        free(scale);
        free(unscale);
        free(range);
        free_problem(&p);
    }
}

/* ---- the search ---- */

static const awq__scheme scheme4 = {.bits = 4, .group = 32, .grid = AWQ__GRID_BF16_F16};

/* The best of one linear; scale and unscale are checked. */
static awq__found_scale search_one(awq_context *ctx, const awq__compute *table, const problem *p,
                                   const awq__scheme *scheme, const awq__stats *stats,
                                   const float *row_weight)
{
    float *scale = floats(p->K), *unscale = floats(p->K), *expected = floats(p->K);
    const awq__search_item item = {
        .weight = &p->weight, .stats = stats, .row_weight = row_weight, .scheme = *scheme};
    awq__search_set set = {
        .candidates = p->candidates, .name = "layer.w", .scale = scale, .unscale = unscale};
    succeeds(ctx, awq__search_sets(ctx, table, &item, 1, &set, 1));
    awq__candidate(&p->candidates, set.found.candidate, expected);
    assert_memory_equal(scale, expected, (size_t)p->K * sizeof *scale);
    for (int64_t k = 0; k < p->K; k++)
        assert_true(unscale[k] == 1 / scale[k]);
    free(scale);
    free(unscale);
    free(expected);
    return set.found;
}

/* Losses of all candidates, by plain loops. */
static double *all_losses(const problem *p, const awq__scheme *scheme, const awq__stats *stats,
                          const float *row_weight)
{
    int64_t count = awq__candidate_count(&p->candidates);
    double *losses = space_for(count, sizeof *losses);
    float *scale = floats(p->K);
    for (int64_t c = 0; c < count; c++) {
        awq__candidate(&p->candidates, c, scale);
        losses[c] = moment_loss(p, scheme, scale, stats, row_weight);
    }
    free(scale);
    return losses;
}

/* Whether losses of ratios fall to a least one and then rise. */
static bool have_one_valley(const double *losses, int64_t count)
{
    int64_t i = 1;
    while (i < count && losses[i] < losses[i - 1])
        i++;
    while (i < count && losses[i] > losses[i - 1])
        i++;
    return i == count;
}

/* Each row's error counts as it is told: whole moments and sketches, all tables. */
static void rows_count_by_their_weights(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 3;
    problem p;
    make_problem(ctx, &p, 60, 24, 128, 30, &random);
    awq__stats sketch;
    make_sketch(ctx, &p, 20, &sketch);
    float *weight = floats(p.N);
    for (int64_t n = 0; n < p.N; n++)
        weight[n] = n % 5 ? between(&random, 0, 4) : 0;
    for (int with = 0; with < 4; with++) {
        const awq__stats *stats = with & 1 ? &sketch : &p.stats;
        const float *row_weight = with & 2 ? weight : NULL;
        double *losses = all_losses(&p, &scheme4, stats, row_weight);
        FOR_EACH_TABLE(table)
        {
            awq__found_scale found = search_one(ctx, table, &p, &scheme4, stats, row_weight);
            assert_near(found.identity_loss, losses[0], 1e-3 * losses[0]);
            assert_near(found.loss, losses[found.candidate], 1e-3 * found.loss);
            assert_true(found.loss < 0.5 * found.identity_loss); /* what AWQ is for */
        }
        free(losses);
    }
    for (int64_t n = 0; n < p.N; n++) /* only the first row counts: the others may be anything */
        weight[n] = n == 0;
    awq__found_scale found =
        search_one(ctx, awq__compute_fastest(), &p, &scheme4, &p.stats, weight);
    for (int64_t i = p.K; i < p.N * p.K; i++)
        p.w[i] = normal(&random);
    awq__found_scale again =
        search_one(ctx, awq__compute_fastest(), &p, &scheme4, &p.stats, weight);
    assert_memory_equal(&found, &again, sizeof found);
    free(weight);
    awq__stats_free(&sketch);
    free_problem(&p);
}

/* Weights of several blocks of rows, the last of which counts most, and a sketch in which each
   token has a row of its own. */
static void every_block_of_rows_counts(void **state)
{
    awq_context *ctx = *state;
    enum { T = 3, N = 700, K = 512, G = 128, ROWS = 5 };
    uint64_t random = 2;
    problem p = {.T = T, .N = N, .K = K};
    p.x = normals(&random, T * K);
    p.w = normals(&random, N * K);
    p.weight = awq__weight_plain("layer.w", AWQ_F32, p.w, N, K);
    assert_true(awq__weight_block(&p.weight) < N);
    p.salience = space_for(K, sizeof(double));
    p.w_mean = space_for(K, sizeof(double));
    p.candidates =
        (awq__candidates){.cols = K, .salience = p.salience, .w_mean = p.w_mean, .steps = 1};
    succeeds(ctx, awq__stats_create_sketch(ctx, K, ROWS, &p.stats));
    for (int64_t t = 0; t < T; t++)
        awq__stats_sketch(awq__compute_fastest(), &p.stats, t + 1, 1, 7, 1, p.x + t * K, K);
    const awq__scheme scheme = {.bits = 3, .group = G, .grid = AWQ__GRID_F32};
    awq__range *range = space_for(N * K / G, sizeof *range);
    float *row_weight = floats(N);
    for (int64_t n = 0; n < N; n++) {
        float size = n < N - 12 ? 1 : 30;
        row_weight[n] = between(&random, 0, 2);
        for (int64_t k = 0; k < K; k++)
            p.w[n * K + k] *= size;
        for (int64_t b = 0; b < K / G; b++)
            range[n * K / G + b] =
                (awq__range){-size * between(&random, 1, 3), size * between(&random, 1, 3)};
    }
    for (int64_t k = 0; k < K; k++) {
        p.salience[k] = between(&random, 0.5f, 2);
        p.w_mean[k] = 0.3;
    }
    for (int with = 0; with < 2; with++) {
        double expected = direct_loss(&p, &scheme, NULL, with ? range : NULL);
        FOR_EACH_TABLE(table)
        assert_near(found_loss(table, &p.weight, &scheme, with ? range : NULL, &p.stats), expected,
                    1e-3 * expected);
    }
    double expected = moment_loss(&p, &scheme, NULL, &p.stats, row_weight);
    FOR_EACH_TABLE(table)
    {
        awq__found_scale found = search_one(ctx, table, &p, &scheme, &p.stats, row_weight);
        assert_near(found.identity_loss, expected, 1e-3 * expected);
    }
    free(range);
    free(row_weight);
    free_problem(&p);
}

/* What is found is no worse than either end or any of six ratios and more that are evenly apart,
   and where losses have one valley it is what trying all ratios finds. */
static void few_tries_find_the_least(void **state)
{
    awq_context *ctx = *state;
    static const int64_t steps[] = {1, 3, 7, 10, 13, 20, 33};
    uint64_t random = 4;
    int valleys = 0, inside = 0;
    for (int round = 0; round < 105; round++) {
        problem p;
        make_problem(ctx, &p, 1 + round % 40, 6, 64, 1 + (float)(round % 8) * 4, &random);
        const awq__scheme scheme = {.bits = 2 + round % 5,
                                    .group = round % 3 ? 32 : 64,
                                    .symmetric = round % 2 == 0,
                                    .grid = AWQ__GRID_F16};
        p.candidates.steps = steps[round % 7];
        double *losses = all_losses(&p, &scheme, &p.stats, NULL);
        awq__found_scale found =
            search_one(ctx, awq__compute_fastest(), &p, &scheme, &p.stats, NULL);
        int64_t count = p.candidates.steps + 2, least = 0;
        for (int64_t c = 1; c < count; c++)
            least = losses[c] < losses[least] ? c : least;
        assert_near(found.identity_loss, losses[0], 1e-3 * losses[0]);
        assert_near(found.loss, losses[found.candidate], 1e-3 * losses[0]);
        assert_true(found.loss <= found.identity_loss);
        for (int64_t end = 1; end < count; end += p.candidates.steps) /* both are always tried */
            assert_true(found.loss <= losses[end] * 1.001);
        int64_t stride = 1;
        while (stride * 6 < p.candidates.steps)
            stride *= 2;
        for (int64_t ratio = 0; ratio < p.candidates.steps; ratio += stride)
            assert_true(found.loss <= losses[1 + ratio] * 1.001);
        if (least && have_one_valley(losses + 1, count - 1)) {
            valleys++;
            inside += least > 1 && least < count - 1;
            assert_near(found.loss, losses[least], 1e-3 * losses[least]);
        }
        free(losses);
        free_problem(&p);
    }
    assert_true(valleys > 20 && inside > 10);
}

/* Weights that the codes hold exactly: nothing can be gained, and the identity is kept. */
static void nothing_to_gain_keeps_the_identity(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 4;
    problem p;
    make_problem(ctx, &p, 20, 4, 64, 30, &random);
    for (int64_t i = 0; i < p.N * p.K; i++)
        p.w[i] = i % 32 < 2 ? 15 * (float)(i % 32) : (float)(i % 16);
    const awq__weight *list[] = {&p.weight};
    float *scale = floats(p.K), *unscale = floats(p.K);
    awq__found_scale found;
    succeeds(ctx, awq__search_linear(ctx, awq__compute_fastest(), list, 1, &scheme4, &p.candidates,
                                     &p.stats, scale, unscale, &found));
    assert_int_equal(found.candidate, 0);
    assert_true(found.loss == 0);
    for (int64_t k = 0; k < p.K; k++)
        assert_true(scale[k] == 1 && unscale[k] == 1);
    free(scale);
    free(unscale);
    free_problem(&p);
}

static void matrices_that_share_an_input_share_a_scale(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 5;
    problem p, other;
    make_problem(ctx, &p, 40, 16, 96, 20, &random);
    make_problem(ctx, &other, 40, 5, 96, 20, &random);
    const awq__weight *list[] = {&p.weight, &other.weight};
    float *scale = floats(p.K), *unscale = floats(p.K), *again = floats(p.K);
    awq__found_scale found, repeated;
    succeeds(ctx, awq_context_set_threads(ctx, 1));
    succeeds(ctx, awq__search_linear(ctx, awq__compute_fastest(), list, 2, &scheme4, &p.candidates,
                                     &p.stats, scale, unscale, &found));
    free(other.x);
    other.x = copy_of(p.x, p.T * p.K);
    double expected =
        direct_loss(&p, &scheme4, scale, NULL) + direct_loss(&other, &scheme4, scale, NULL);
    assert_near(found.loss, expected, 1e-3 * expected);
    for (int threads = 2; threads <= 5; threads += 3) { /* the same bits */
        succeeds(ctx, awq_context_set_threads(ctx, threads));
        succeeds(ctx, awq__search_linear(ctx, awq__compute_fastest(), list, 2, &scheme4,
                                         &p.candidates, &p.stats, again, unscale, &repeated));
        assert_memory_equal(again, scale, (size_t)p.K * sizeof *scale);
        assert_true(repeated.loss == found.loss);
    }
    free(scale);
    free(unscale);
    free(again);
    free_problem(&p);
    free_problem(&other);
}

/* ---- several inputs at once ---- */

enum { SETS = 3, PER_SET = 3, ITEMS = SETS * PER_SET };

/* Linears of three inputs, with statistics, weights of rows and schemes of all kinds. */
typedef struct crowd {
    problem linears[ITEMS];
    awq__stats sketches[ITEMS];
    float *row_weight;
    awq__search_item items[ITEMS];
    awq__search_set sets[SETS];
} crowd;

static void make_crowd(awq_context *ctx, crowd *c, uint64_t *random)
{
    static const int64_t columns[SETS] = {64, 96, 128};
    static const awq__scheme schemes[] = {
        {.bits = 4, .group = 32, .grid = AWQ__GRID_F16},
        {.code = AWQ__CODE_E2M1, .bits = 4, .group = 32},
        {.bits = 3, .group = 32, .symmetric = true, .grid = AWQ__GRID_F32}};
    memset(c, 0, sizeof *c);
    c->row_weight = floats(50);
    for (int n = 0; n < 50; n++)
        c->row_weight[n] = between(random, 0, 2);
    for (int i = 0; i < ITEMS; i++) { /* the items of a set do not stand together */
        problem *p = &c->linears[i];
        int set = i % SETS;
        make_problem(ctx, p, 30 + i, 5 + 4 * i, columns[set], 20, random);
        make_sketch(ctx, p, 10 + i, &c->sketches[i]);
        c->items[i] = (awq__search_item){.weight = &p->weight,
                                         .stats = i % 2 ? &c->sketches[i] : &p->stats,
                                         .row_weight = i % 4 < 2 ? c->row_weight : NULL,
                                         .scheme = schemes[(i + i / 3) % 3],
                                         .set = set};
    }
    for (int s = 0; s < SETS; s++) {
        c->linears[s].candidates.steps = 20;
        c->sets[s] = (awq__search_set){.candidates = c->linears[s].candidates,
                                       .name = "w",
                                       .scale = floats(columns[s]),
                                       .unscale = floats(columns[s])};
    }
}

static void free_crowd(crowd *c)
{
    for (int i = 0; i < ITEMS; i++) {
        awq__stats_free(&c->sketches[i]);
        free_problem(&c->linears[i]);
    }
    for (int s = 0; s < SETS; s++) {
        free(c->sets[s].scale);
        free(c->sets[s].unscale);
    }
    free(c->row_weight);
}

static void sets_at_once_are_as_one_by_one(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 7;
    crowd c;
    make_crowd(ctx, &c, &random);
    FOR_EACH_TABLE(table)
    {
        succeeds(ctx, awq__search_sets(ctx, table, c.items, ITEMS, c.sets, SETS));
        for (int s = 0; s < SETS; s++) {
            size_t K = (size_t)c.sets[s].candidates.cols;
            float scale[128], unscale[128];
            awq__search_item own[PER_SET];
            awq__search_set alone = c.sets[s];
            alone.scale = scale;
            alone.unscale = unscale;
            memset(&alone.found, 0, sizeof alone.found);
            double expected = 0;
            for (int i = 0; i < PER_SET; i++) {
                own[i] = c.items[i * SETS + s];
                own[i].set = 0;
                expected += moment_loss(&c.linears[i * SETS + s], &own[i].scheme, c.sets[s].scale,
                                        own[i].stats, own[i].row_weight);
            }
            assert_near(c.sets[s].found.loss, expected, 1e-3 * expected);
            assert_true(c.sets[s].found.loss < c.sets[s].found.identity_loss);
            succeeds(ctx, awq__search_sets(ctx, table, own, PER_SET, &alone, 1));
            assert_memory_equal(scale, c.sets[s].scale, K * sizeof *scale);
            assert_memory_equal(unscale, c.sets[s].unscale, K * sizeof *scale);
            assert_memory_equal(&alone.found, &c.sets[s].found, sizeof alone.found);
        }
    }
    free_crowd(&c);
}

/* Matrices of several blocks of rows besides: more tasks than threads. */
static void threads_change_no_bit(void **state)
{
    awq_context *ctx = *state;
    enum { N = 1100, K = 1024, T = 40, ROWS = 6 };
    uint64_t random = 8;
    crowd c;
    make_crowd(ctx, &c, &random);
    problem large = {.T = T, .N = N, .K = K};
    large.x = normals(&random, T * K);
    large.w = normals(&random, N * K);
    large.weight = awq__weight_plain("large", AWQ_F32, large.w, N, K);
    assert_true(awq__weight_block(&large.weight) < N / 2);
    large.salience = space_for(K, sizeof(double));
    large.w_mean = space_for(K, sizeof(double));
    for (int k = 0; k < K; k++) {
        large.salience[k] = k % 37 == 5 ? 20 : 1;
        large.w_mean[k] = 0.3;
    }
    for (int i = 0; i < T * K; i++)
        large.x[i] *= (float)large.salience[i % K];
    make_sketch(ctx, &large, ROWS, &large.stats);
    awq__search_item items[ITEMS + 1];
    awq__search_set sets[SETS + 1], first[SETS + 1];
    memcpy(items, c.items, sizeof c.items);
    memcpy(sets, c.sets, sizeof c.sets);
    items[ITEMS] = (awq__search_item){
        .weight = &large.weight, .stats = &large.stats, .scheme = scheme4, .set = SETS};
    sets[SETS] = (awq__search_set){
        .candidates = {.cols = K, .salience = large.salience, .w_mean = large.w_mean, .steps = 20},
        .name = "large",
        .scale = floats(K),
        .unscale = floats(K)};
    static const int threads[] = {1, 2, 5};
    for (int t = 0; t < 3; t++) {
        succeeds(ctx, awq_context_set_threads(ctx, threads[t]));
        succeeds(ctx,
                 awq__search_sets(ctx, awq__compute_fastest(), items, ITEMS + 1, sets, SETS + 1));
        for (int s = 0; s <= SETS; s++) {
            size_t bytes = (size_t)sets[s].candidates.cols * sizeof(float);
            assert_true(sets[s].found.candidate > 0);
            if (t == 0) {
                first[s] = sets[s];
                first[s].scale = copy_of(sets[s].scale, sets[s].candidates.cols);
            }
            assert_memory_equal(&sets[s].found, &first[s].found, sizeof first[s].found);
            assert_memory_equal(sets[s].scale, first[s].scale, bytes);
        }
    }
    for (int s = 0; s <= SETS; s++)
        free(first[s].scale);
    free(sets[SETS].scale);
    free(sets[SETS].unscale);
    free_problem(&large);
    free_crowd(&c);
}

static void nothing_to_scale_is_no_error(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 9;
    problem p;
    float scale[64], unscale[64];
    make_problem(ctx, &p, 10, 4, 64, 10, &random);
    awq__search_set set = {
        .candidates = p.candidates, .name = "w", .scale = scale, .unscale = unscale};
    succeeds(ctx, awq__search_sets(ctx, awq__compute_fastest(), NULL, 0, NULL, 0));
    succeeds(ctx, awq__search_sets(ctx, awq__compute_fastest(), NULL, 0, &set, 1));
    assert_int_equal(set.found.candidate, 0);
    for (int k = 0; k < 64; k++)
        assert_true(scale[k] == 1 && unscale[k] == 1);
    free_problem(&p);
}

/* ---- what is not finite ---- */

/* Channel 0 has weights that a large scale takes past F32: such candidates lose. */
static void scales_that_overflow_never_win(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 10;
    for (int code = 0; code < 2; code++) {
        problem p;
        awq__scheme scheme = {.bits = 4, .group = 32, .grid = AWQ__GRID_F32};
        if (code)
            scheme.code = AWQ__CODE_E2M1;
        make_problem(ctx, &p, 20, 4, 64, 10, &random);
        for (int64_t n = 0; n < p.N; n++)
            p.w[n * p.K] = 1e25f;
        for (int64_t k = 0; k < p.K; k++) /* what it is worth is next to nothing */
            p.stats.gram[k] = p.stats.gram[k * p.K] = 0;
        p.stats.gram[0] = 1e-37f;
        p.salience[0] = 1e30;
        p.candidates.steps = 20;
        double *losses = all_losses(&p, &scheme, &p.stats, NULL);
        int64_t finite = 0;
        for (int64_t c = 0; c < 22; c++)
            finite += isfinite(losses[c]) != 0;
        assert_true(finite > 4 && finite < 20);
        FOR_EACH_TABLE(table)
        {
            awq__found_scale found = search_one(ctx, table, &p, &scheme, &p.stats, NULL);
            assert_true(isfinite(losses[found.candidate]));
            assert_near(found.loss, losses[found.candidate], 1e-3 * fabs(found.loss));
            assert_true(found.loss <= found.identity_loss);
        }
        free(losses);
        free_problem(&p);
    }
}

/* Sums of errors times these moments are beyond F32 unless errors are as small as the identity's.
   Those of the last candidate have one sign, so that its loss is infinite, of either sign. */
static void infinite_losses_never_win(void **state)
{
    awq_context *ctx = *state;
    enum { K = 32 };
    uint64_t random = 11;
    const awq__scheme scheme = {.bits = 8, .group = K, .grid = AWQ__GRID_BF16};
    for (int negative = 0; negative < 2; negative++) {
        problem p;
        float scale[K], unscale[K], errors[K], product[K];
        make_problem(ctx, &p, 20, 1, K, 10, &random);
        for (int64_t k = 0; k < K; k++)
            p.w[k] = 0.5f + fabsf(p.w[k]);
        p.w[3] = 1.8f; /* its error has the sign of the others */
        for (int64_t i = 0; i < K * K; i++)
            p.stats.gram[i] = negative ? -3e38f : 3e38f;
        p.salience[3] = 1e12;
        awq__candidate(&p.candidates, p.candidates.steps + 1, scale);
        for (int64_t k = 0; k < K; k++)
            unscale[k] = 1 / scale[k];
        FOR_EACH_TABLE(table)
        {
            table->quantize_error(1, K, &scheme, NULL, scale, unscale, p.w, errors);
            table->multiply_nn(1, K, K, errors, K, p.stats.gram, K, 0, product, K);
            double loss = table->weighted_dot(1, K, product, errors, NULL);
            assert_true(loss == (negative ? -INFINITY : INFINITY));
            awq__found_scale found = search_one(ctx, table, &p, &scheme, &p.stats, NULL);
            assert_true(isfinite(found.identity_loss) && isfinite(found.loss));
            assert_true(found.loss <= found.identity_loss);
            assert_true(found.candidate < p.candidates.steps + 1);
        }
        free_problem(&p);
    }
}

static void statistics_that_overflow_are_an_error(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 6;
    problem p;
    make_problem(ctx, &p, 10, 4, 32, 1, &random);
    const awq__weight *list[] = {&p.weight};
    float scale[32], unscale[32];
    awq__found_scale found;
    p.stats.gram[5] = INFINITY;
    fails(ctx,
          awq__search_linear(ctx, awq__compute_fastest(), list, 1, &scheme4, &p.candidates,
                             &p.stats, scale, unscale, &found),
          AWQ_ERROR_NUMERIC, "layer.w");
    free_problem(&p);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(the_loss_is_that_of_the_outputs),    TEST(rows_count_by_their_weights),
        TEST(every_block_of_rows_counts),         TEST(few_tries_find_the_least),
        TEST(nothing_to_gain_keeps_the_identity), TEST(matrices_that_share_an_input_share_a_scale),
        TEST(sets_at_once_are_as_one_by_one),     TEST(threads_change_no_bit),
        TEST(nothing_to_scale_is_no_error),       TEST(scales_that_overflow_never_win),
        TEST(infinite_losses_never_win),          TEST(statistics_that_overflow_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
