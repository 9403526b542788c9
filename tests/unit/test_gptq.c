/* Error-compensated rounding against the paper's column by column updates in doubles, and what it
   promises. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/nf4.h"
#include "context.h"
#include "quant/gptq.h"
#include "tables.h"

#define MODULE "experts.5.down_proj"

/* ---- problems ---- */

typedef struct problem {
    awq_context *ctx;
    const awq__compute *table;
    awq__scheme scheme;
    int64_t N, K;
    float *w, *gram; /* [N,K], [K,K] */
    awq__weight weight;
} problem;

/* Inputs whose neighbouring channels are alike and whose sizes differ. */
static float *correlated_gram(uint64_t *random, int64_t T, int64_t K)
{
    float *x = floats(T * K), *gram = floats(K * K), *size = floats(K);
    for (int64_t k = 0; k < K; k++)
        size[k] = expf(normal(random));
    for (int64_t t = 0; t < T; t++) {
        float common = normal(random), last = 0;
        for (int64_t k = 0; k < K; k++) {
            last = 0.8f * last + 0.6f * normal(random);
            x[t * K + k] = size[k] * (last + 0.5f * common);
        }
    }
    awq__compute_fastest()->gram(T, K, K, x, K, gram);
    free(x);
    free(size);
    return gram;
}

static problem make_problem(awq_context *ctx, const awq__compute *table, uint64_t *random,
                            awq__scheme scheme, int64_t N, int64_t K)
{
    problem p = {.ctx = ctx, .table = table, .scheme = scheme, .N = N, .K = K};
    p.w = normals(random, N * K);
    p.gram = correlated_gram(random, 2 * K, K);
    p.weight = awq__weight_plain(MODULE, AWQ_F32, p.w, N, K);
    return p;
}

static void free_problem(problem *p)
{
    free(p->w);
    free(p->gram);
}

static awq__scheme integer(int bits, int64_t group, bool symmetric)
{
    return (awq__scheme){
        .bits = bits, .group = group, .symmetric = symmetric, .grid = AWQ__GRID_F16};
}

static awq__scheme e2m1(int64_t group)
{
    return (awq__scheme){.code = AWQ__CODE_E2M1, .bits = 4, .group = group};
}

static awq__scheme nf4(int64_t group, awq__scale_grid grid)
{
    return (awq__scheme){
        .code = AWQ__CODE_NF4, .bits = 4, .group = group, .symmetric = true, .grid = grid};
}

/* By cuts of `cut` rows, from the last to the first. */
static awq__codes round_by(const problem *p, double damping, awq__gptq_effort effort, int64_t cut)
{
    awq__gptq gptq;
    awq__codes codes;
    float *h = copy_of(p->gram, p->K * p->K);
    succeeds(p->ctx,
             awq__gptq_create(p->ctx, p->table, MODULE, h, p->K, p->scheme.group, damping, &gptq));
    succeeds(p->ctx, awq__codes_create(p->ctx, p->N, p->K, &p->scheme, &codes));
    float *work = floats(awq__gptq_work(gptq.cols, gptq.group));
    bool settles = p->scheme.grid == AWQ__GRID_NESTED;
    for (int64_t first = (p->N - 1) / cut * cut; first >= 0 && settles; first -= cut)
        succeeds(p->ctx,
                 awq__gptq_choose(p->ctx, awq__compute_fastest(), &gptq, &effort, &p->weight, first,
                                  awq__min(cut, p->N - first), work, &codes));
    if (settles)
        awq__codes_nest(&codes);
    for (int64_t first = (p->N - 1) / cut * cut; first >= 0; first -= cut)
        succeeds(p->ctx, awq__gptq_round(p->ctx, p->table, &gptq, &effort, &p->weight, first,
                                         awq__min(cut, p->N - first), work, &codes));
    free(work);
    free(h);
    awq__gptq_free(&gptq);
    return codes;
}

static awq__codes round_all(const problem *p, double damping, awq__gptq_effort effort)
{
    return round_by(p, damping, effort, (p->N / AWQ__GPTQ_ROWS + 1) * AWQ__GPTQ_ROWS);
}

static awq__codes round_nearest(const problem *p)
{
    awq__codes codes;
    succeeds(p->ctx, awq__codes_create(p->ctx, p->N, p->K, &p->scheme, &codes));
    succeeds(p->ctx, awq__codes_round(p->ctx, p->table, &p->weight, NULL, &codes));
    return codes;
}

static void same_codes(const awq__codes *a, const awq__codes *b)
{
    int64_t count = a->rows * a->cols, groups = count / a->scheme.group;
    assert_memory_equal(a->codes, b->codes, (size_t)count);
    assert_memory_equal(a->scales, b->scales, (size_t)groups * sizeof *a->scales);
    assert_memory_equal(a->zeros, b->zeros, (size_t)groups);
}

static double damping_of(const problem *p, double share)
{
    double mean = 0;
    for (int64_t k = 0; k < p->K; k++)
        mean += (double)p->gram[k * p->K + k] / (double)p->K;
    return share * mean;
}

/* (w - q) H (w - q)^T of row n, added being on the diagonal of H. */
static double row_loss(const problem *p, const float *q, double added, int64_t n)
{
    double loss = 0;
    for (int64_t i = 0; i < p->K; i++) {
        double d = (double)p->w[n * p->K + i] - (double)q[i], sum = added * d;
        for (int64_t j = 0; j < p->K; j++)
            sum += (double)p->gram[i * p->K + j] * ((double)p->w[n * p->K + j] - (double)q[j]);
        loss += d * sum;
    }
    return loss;
}

/* Of all rows; frees the codes. */
static double loss_of(const problem *p, awq__codes codes, double share)
{
    double loss = 0, added = damping_of(p, share);
    float *q = floats(p->K);
    for (int64_t n = 0; n < p->N; n++) {
        awq__codes_read(&codes, n, 1, q);
        loss += row_loss(p, q, added, n);
    }
    free(q);
    awq__codes_free(&codes);
    return loss;
}

/* ---- the paper's way ---- */

typedef struct keyed {
    double key;
    int64_t number;
} keyed;

static int falling(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    return x->key < y->key ? 1 : x->key > y->key ? -1 : x->number < y->number ? -1 : 1;
}

/* Groups by the sum of their diagonal, columns of a group by their own. */
static int64_t *expected_order(const problem *p)
{
    int64_t K = p->K, g = p->scheme.group, *order = space_for(K, sizeof *order);
    keyed *groups = space_for(K / g, sizeof *groups), *columns = space_for(g, sizeof *columns);
    for (int64_t b = 0; b < K / g; b++) {
        groups[b].number = b;
        for (int64_t k = b * g; k < (b + 1) * g; k++)
            groups[b].key += (double)p->gram[k * K + k];
    }
    qsort(groups, (size_t)(K / g), sizeof *groups, falling);
    for (int64_t i = 0; i < K / g; i++) {
        for (int64_t k = 0; k < g; k++) {
            int64_t column = groups[i].number * g + k;
            columns[k] = (keyed){(double)p->gram[column * K + column], column};
        }
        qsort(columns, (size_t)g, sizeof *columns, falling);
        for (int64_t k = 0; k < g; k++)
            order[i * g + k] = columns[k].number;
    }
    free(groups);
    free(columns);
    return order;
}

/* Gauss and Jordan: a[K,K], positive definite, becomes its inverse. */
static void invert(double *a, int64_t K)
{
    for (int64_t k = 0; k < K; k++) {
        double pivot = 1 / a[k * K + k];
        a[k * K + k] = 1;
        for (int64_t j = 0; j < K; j++)
            a[k * K + j] *= pivot;
        for (int64_t i = 0; i < K; i++) {
            double factor = a[i * K + k];
            if (i == k)
                continue;
            a[i * K + k] = 0;
            for (int64_t j = 0; j < K; j++)
                a[i * K + j] -= factor * a[k * K + j];
        }
    }
}

/* a = U^T U; U takes the place of its upper triangle. */
static void cholesky(double *a, int64_t K)
{
    for (int64_t i = 0; i < K; i++) {
        for (int64_t m = 0; m < i; m++)
            for (int64_t j = i; j < K; j++)
                a[i * K + j] -= a[m * K + i] * a[m * K + j];
        double root = sqrt(a[i * K + i]);
        for (int64_t j = i; j < K; j++)
            a[i * K + j] /= root;
    }
}

static double *paper_factor(const problem *p, const int64_t *order, double share)
{
    int64_t K = p->K;
    double *u = space_for(K * K, sizeof *u), added = damping_of(p, share);
    for (int64_t i = 0; i < K; i++)
        for (int64_t j = 0; j < K; j++)
            u[i * K + j] = (double)p->gram[order[i] * K + order[j]] + (i == j ? added : 0);
    invert(u, K);
    cholesky(u, K);
    return u;
}

/* In scales. */
static double meaning(const awq__scheme *scheme, int code, double zero)
{
    return scheme->code == AWQ__CODE_E2M1  ? (double)awq__e2m1[code]
           : scheme->code == AWQ__CODE_NF4 ? (double)awq__nf4[code]
                                           : (double)code - zero;
}

/* The nearest code to w, and in *margin how far w is from where another would be nearer, in
   scales. */
static int nearest_code(const awq__scheme *scheme, double w, double scale, double zero,
                        double *margin)
{
    int count = 1 << scheme->bits, best = 0;
    double least = INFINITY, second = INFINITY;
    for (int code = 0; code < count; code++) {
        if (scheme->code == AWQ__CODE_E2M1 && code == 8) /* -0 */
            continue;
        double distance = fabs(w / scale - meaning(scheme, code, zero));
        if (distance < least) {
            second = least;
            least = distance;
            best = code;
        } else if (distance < second) {
            second = distance;
        }
    }
    *margin = (second - least) / 2;
    return best;
}

static double value_of(const awq__scheme *scheme, int code, double scale, double zero)
{
    return scale * meaning(scheme, code, zero);
}

/* Rounds row n of the weight with the scales that were found, in doubles, column by column, and
   compares codes as long as none was a matter of float rounding. Returns how many were compared. */
static int64_t compare_row(const problem *p, const awq__codes *codes, const int64_t *order,
                           const double *u, int64_t n)
{
    int64_t K = p->K, g = p->scheme.group, i = 0;
    double *w = space_for(K, sizeof *w);
    for (int64_t k = 0; k < K; k++)
        w[k] = (double)p->w[n * K + order[k]];
    for (; i < K; i++) {
        int64_t group = (n * K + order[i]) / g;
        double scale = (double)codes->scales[group], zero = (double)codes->zeros[group], margin;
        int code = nearest_code(&p->scheme, w[i], scale, zero, &margin);
        if (margin < (p->scheme.code == AWQ__CODE_NF4 ? 1e-4 : 1e-3)) /* whose values lie closer */
            break;
        if (code != codes->codes[n * K + order[i]])
            fail_msg("row %d, column %d: code %d, expected %d", (int)n, (int)order[i],
                     (int)codes->codes[n * K + order[i]], code);
        double error = (w[i] - value_of(&p->scheme, code, scale, zero)) / u[i * K + i];
        for (int64_t j = i; j < K; j++)
            w[j] -= error * u[i * K + j];
    }
    free(w);
    return i;
}

static void compare_with_paper(awq_context *ctx, const awq__compute *table, awq__scheme scheme,
                               int64_t N, int64_t K, uint64_t *random)
{
    problem p = make_problem(ctx, table, random, scheme, N, K);
    int64_t *order = expected_order(&p), compared = 0;
    double *u = paper_factor(&p, order, 0.05);
    awq__codes nearest = round_nearest(&p);
    for (int ranges = 1; ranges <= 10; ranges += 9) {
        awq__codes codes = round_all(&p, 0.05, (awq__gptq_effort){.ranges = ranges});
        if (ranges == 1) {
            int64_t groups = N * K / scheme.group;
            assert_memory_equal(codes.scales, nearest.scales, (size_t)groups * sizeof(float));
            assert_memory_equal(codes.zeros, nearest.zeros, (size_t)groups);
        }
        for (int64_t n = 0; n < N; n++)
            compared += compare_row(&p, &codes, order, u, n);
        awq__codes_free(&codes);
    }
    assert_true(compared > N * K);
    awq__codes_free(&nearest);
    free(order);
    free(u);
    free_problem(&p);
}

static void codes_are_those_of_the_paper(void **state)
{
    uint64_t random = 1;
    FOR_EACH_TABLE(table)
    {
        for (int bits = 2; bits <= 8; bits++) {
            compare_with_paper(*state, table, integer(bits, 32, false), 5, 96, &random);
            compare_with_paper(*state, table, integer(bits, 32, true), 5, 96, &random);
        }
        compare_with_paper(*state, table, e2m1(32), 9, 96, &random);
        compare_with_paper(*state, table, nf4(32, AWQ__GRID_F32), 9, 96, &random);
        compare_with_paper(*state, table, nf4(32, AWQ__GRID_NESTED), 150, 96, &random);
        compare_with_paper(*state, table, integer(4, 7, false), 3, 49, &random); /* odd blocks */
        compare_with_paper(*state, table, integer(4, 150, true), 131, 150, &random); /* rows */
        compare_with_paper(*state, table, integer(4, 1, false), 2, 3, &random);
    }
}

/* ---- the factors ---- */

static void factors_multiply_to_the_matrix(void **state)
{
    uint64_t random = 2;
    (void)state;
    FOR_EACH_TABLE(table)
    {
        for (int s = 0; s < ODD_SIZES; s++) {
            int64_t K = odd_sizes[s];
            float *h = correlated_gram(&random, 3 * K + 5, K), *f = copy_of(h, K * K);
            assert_true(table->factor(K, f));
            for (int64_t i = 0; i < K; i++)
                for (int64_t j = i; j < K; j++) {
                    double sum = 0, size = sqrt((double)h[i * K + i] * (double)h[j * K + j]);
                    for (int64_t m = j; m < K; m++)
                        sum += (i < m ? (double)f[i * K + m] : 1) * (double)f[m * K + m] *
                               (j < m ? (double)f[j * K + m] : 1);
                    assert_near_at(sum, h[i * K + j], 1e-5 * size, "h", i * K + j);
                    if (i < j) /* what is below the diagonal stays */
                        assert_true(f[j * K + i] == h[j * K + i]);
                }
            free(h);
            free(f);
        }
    }
}

static void matrices_without_factors(void **state)
{
    (void)state;
    FOR_EACH_TABLE(table)
    {
        float indefinite[] = {1, 2, 2, 1}, zero[] = {0}, nan[] = {1, NAN, NAN, 1};
        float infinite[] = {1, 0, 0, 0, INFINITY, 0, 0, 0, 1};
        assert_false(table->factor(2, indefinite));
        assert_false(table->factor(1, zero));
        assert_false(table->factor(2, nan));
        assert_false(table->factor(3, infinite));
    }
}

static void product_with_a_transposed_matrix(void **state)
{
    uint64_t random = 3;
    (void)state;
    FOR_EACH_TABLE(table)
    {
        for (int s = 0; s < ODD_SIZES; s++) {
            int64_t T = odd_sizes[s], N = 33, K = 10 + s, ldx = T + 3, ldw = N + 1, ldy = N + 2;
            float *x = normals(&random, K * ldx), *w = normals(&random, K * ldw);
            float *y = normals(&random, T * ldy), *before = copy_of(y, T * ldy);
            table->multiply_tn(T, N, K, x, ldx, w, ldw, 1, y, ldy);
            for (int64_t t = 0; t < T; t++) {
                for (int64_t n = 0; n < N; n++) {
                    double sum = (double)before[t * ldy + n];
                    for (int64_t k = 0; k < K; k++)
                        sum += (double)x[k * ldx + t] * (double)w[k * ldw + n];
                    assert_near_at(y[t * ldy + n], sum, 1e-4, "y", t * ldy + n);
                }
                assert_memory_equal(&y[t * ldy + N], &before[t * ldy + N], 2 * sizeof *y);
            }
            y[0] = NAN;
            table->multiply_tn(T, N, K, x, ldx, w, ldw, 0, y, ldy);
            assert_true(isfinite(y[0]));
            free(x);
            free(w);
            free(y);
            free(before);
        }
    }
}

/* ---- promises ---- */

static const awq__gptq_effort plain = {.ranges = 1}, usual = {.ranges = 8, .sweeps = 1};

/* Without correlations there is nothing to compensate. */
static void identity_is_nearest_rounding(void **state)
{
    uint64_t random = 4;
    awq__scheme schemes[] = {integer(4, 32, false),  integer(3, 96, true),
                             integer(8, 32, false),  e2m1(32),
                             nf4(32, AWQ__GRID_F32), nf4(32, AWQ__GRID_NESTED)};
    FOR_EACH_TABLE(table)
    {
        for (int s = 0; s < 6; s++) {
            problem p = make_problem(*state, table, &random, schemes[s], 140, 96);
            for (int64_t i = 0; i < 32; i++)
                p.w[i] = 0; /* a group without a range */
            for (int64_t i = 0; i < p.K * p.K; i++)
                p.gram[i] = i % (p.K + 1) == 0;
            awq__codes nearest = round_nearest(&p), codes = round_all(&p, 0, plain);
            same_codes(&codes, &nearest);
            awq__codes_free(&codes);
            memset(p.gram, 0, (size_t)(p.K * p.K) * sizeof *p.gram); /* an expert without tokens */
            codes = round_all(&p, 0.01, plain);
            same_codes(&codes, &nearest);
            awq__codes_free(&codes);
            awq__codes_free(&nearest);
            free_problem(&p);
        }
    }
}

static void loss_is_below_that_of_nearest_rounding(void **state)
{
    uint64_t random = 5;
    awq__scheme schemes[] = {integer(2, 64, false),  integer(3, 32, true),
                             integer(4, 64, false),  integer(4, 128, true),
                             integer(8, 32, false),  e2m1(32),
                             nf4(64, AWQ__GRID_F32), nf4(64, AWQ__GRID_NESTED)};
    for (int s = 0; s < 8; s++) {
        problem p = make_problem(*state, awq__compute_fastest(), &random, schemes[s], 64, 128);
        double nearest = loss_of(&p, round_nearest(&p), 0.01);
        double first = loss_of(&p, round_all(&p, 0.01, plain), 0.01);
        double best = loss_of(&p, round_all(&p, 0.01, usual), 0.01);
        assert_true(first < 0.8 * nearest);
        assert_true(best < 0.95 * first);
        free_problem(&p);
    }
}

/* Within a block, which has all columns here. */
static void sweeps_never_add_to_the_loss(void **state)
{
    uint64_t random = 6;
    const struct {
        awq__scheme scheme;
        int64_t K;
    } cases[] = {{integer(3, 32, false), 128},
                 {integer(4, 160, true), 160},
                 {integer(4, 20, false), 120},
                 {integer(4, 512, false), 512},
                 {e2m1(40), 120},
                 {nf4(64, AWQ__GRID_NESTED), 128}};
    for (int i = 0; i < 6; i++) {
        problem p =
            make_problem(*state, awq__compute_fastest(), &random, cases[i].scheme, 4, cases[i].K);
        awq__gptq_effort effort = {.ranges = 4};
        double before = loss_of(&p, round_all(&p, 0.02, effort), 0.02), start = before;
        for (effort.sweeps = 1; effort.sweeps <= 4; effort.sweeps++) {
            double after = loss_of(&p, round_all(&p, 0.02, effort), 0.02);
            assert_true(after <= before * (1 + 1e-4));
            before = after;
        }
        assert_true(before < 0.999 * start);
        free_problem(&p);
    }
}

/* Of several blocks each is better by what those behind can take back, and so is the whole. */
static void sweeps_of_blocks_lower_the_loss(void **state)
{
    uint64_t random = 12;
    awq__scheme schemes[] = {integer(2, 32, false), integer(4, 96, true), integer(4, 640, false),
                             e2m1(32)};
    for (int s = 0; s < 4; s++) {
        problem p = make_problem(*state, awq__compute_fastest(), &random, schemes[s], 64,
                                 schemes[s].group == 640 ? 1280 : 480);
        double first = loss_of(&p, round_all(&p, 0.02, (awq__gptq_effort){.ranges = 4}), 0.02);
        double swept =
            loss_of(&p, round_all(&p, 0.02, (awq__gptq_effort){.ranges = 4, .sweeps = 1}), 0.02);
        assert_true(swept < 0.99 * first);
        free_problem(&p);
    }
}

/* After many sweeps no other code of any one column is better. */
static void sweeps_end_where_no_code_can_be_better(void **state)
{
    uint64_t random = 7;
    awq__scheme schemes[] = {integer(4, 40, false), integer(3, 20, true), e2m1(40),
                             nf4(20, AWQ__GRID_F32)};
    for (int s = 0; s < 4; s++) {
        problem p = make_problem(*state, awq__compute_fastest(), &random, schemes[s], 3, 40);
        awq__codes codes = round_all(&p, 0.02, (awq__gptq_effort){.ranges = 4, .sweeps = 100});
        double added = damping_of(&p, 0.02);
        float *q = floats(p.K);
        for (int64_t n = 0; n < p.N; n++) {
            awq__codes_read(&codes, n, 1, q);
            double loss = row_loss(&p, q, added, n);
            for (int64_t k = 0; k < p.K; k++) {
                int64_t group = (n * p.K + k) / p.scheme.group;
                float kept = q[k];
                for (int code = 0; code < 1 << p.scheme.bits; code++) {
                    q[k] = (float)value_of(&p.scheme, code, (double)codes.scales[group],
                                           (double)codes.zeros[group]);
                    assert_true(row_loss(&p, q, added, n) >= loss * (1 - 1e-4));
                }
                q[k] = kept;
            }
        }
        free(q);
        awq__codes_free(&codes);
        free_problem(&p);
    }
}

static void cuts_of_rows_change_nothing(void **state)
{
    uint64_t random = 8;
    awq__scheme schemes[] = {integer(4, 64, false), e2m1(32), nf4(64, AWQ__GRID_NESTED)};
    for (int s = 0; s < 3; s++) {
        int64_t N = 3 * AWQ__GPTQ_ROWS + 5;
        problem p = make_problem(*state, awq__compute_fastest(), &random, schemes[s], N, 320);
        awq__codes whole = round_all(&p, 0.01, usual);
        for (int64_t blocks = 1; blocks <= 3; blocks++) {
            awq__codes parts = round_by(&p, 0.01, usual, blocks * AWQ__GPTQ_ROWS);
            same_codes(&parts, &whole);
            awq__codes_free(&parts);
        }
        awq__codes_free(&whole);
        free_problem(&p);
    }
}

/* Channels that no token had: their weights are rounded to the nearest and disturb no others. */
static void dead_channels(void **state)
{
    uint64_t random = 9;
    problem p =
        make_problem(*state, awq__compute_fastest(), &random, integer(4, 32, false), 20, 64);
    for (int64_t k = 0; k < 64; k += 5)
        for (int64_t j = 0; j < 64; j++)
            p.gram[k * 64 + j] = p.gram[j * 64 + k] = 0;
    for (int64_t n = 0; n < 20; n++) { /* not where they would set the range */
        for (int64_t k = 0; k < 64; k++)
            p.w[n * 64 + k] = fmaxf(-1, fminf(1, p.w[n * 64 + k]));
        for (int64_t k = 1; k < 64; k += 32) {
            p.w[n * 64 + k] = 1.5f;
            p.w[n * 64 + k + 1] = -1.5f;
        }
    }
    awq__codes first = round_all(&p, 0.01, plain), nearest = round_nearest(&p);
    for (int64_t n = 0; n < 20; n++)
        for (int64_t k = 0; k < 64; k += 5)
            if (k % 32 != 1 && k % 32 != 2) {
                assert_int_equal(first.codes[n * 64 + k], nearest.codes[n * 64 + k]);
                p.w[n * 64 + k] = -p.w[n * 64 + k];
            }
    awq__codes other = round_all(&p, 0.01, plain);
    for (int64_t i = 0; i < 20 * 64; i++)
        if (i % 64 % 5 || i % 32 == 1 || i % 32 == 2)
            assert_int_equal(other.codes[i], first.codes[i]);
    awq__codes_free(&other);
    awq__codes_free(&first);
    awq__codes_free(&nearest);
    free_problem(&p);
}

/* Fewer tokens than channels, and no damping asked for. */
static void damping_rises_until_the_gram_is_definite(void **state)
{
    enum { K = 12 };
    FOR_EACH_TABLE(table)
    {
        float gram[K * K], hopeless[K * K];
        awq__gptq gptq;
        for (int i = 0; i < K * K; i++) { /* least eigenvalues: 1 - 11 * 0.13 and 1 - 11 * 4 */
            gram[i] = i % (K + 1) ? -0.13f : 1;
            hopeless[i] = i % (K + 1) ? -4 : 1;
        }
        succeeds(*state, awq__gptq_create(*state, table, MODULE, gram, K, 4, 0.05, &gptq));
        assert_near(gptq.damping, 0.5, 1e-12);
        for (int i = 0; i < K; i++) {
            assert_near_at(gptq.curves[i], 1.5, 1e-5, "diagonal", i);
            for (int j = 0; j < i; j++)
                assert_true(gptq.h[i * K + j] == -0.13f);
        }
        awq__gptq_free(&gptq);
        fails(*state, awq__gptq_create(*state, table, MODULE, hopeless, K, 4, 0, &gptq),
              AWQ_ERROR_NUMERIC, MODULE ": the Gram matrix of its input");
        hopeless[0] = NAN;
        fails(*state, awq__gptq_create(*state, table, MODULE, hopeless, K, 4, 0.1, &gptq),
              AWQ_ERROR_NUMERIC, MODULE);
    }
}

static void scales_that_do_not_fit(void **state)
{
    uint64_t random = 10;
    problem p = make_problem(*state, awq__compute_fastest(), &random, integer(4, 32, false), 5, 64);
    p.w[3 * 64 + 40] = 3e7f;
    awq__gptq gptq;
    awq__codes codes;
    succeeds(p.ctx, awq__gptq_create(p.ctx, p.table, MODULE, p.gram, 64, 32, 0.01, &gptq));
    succeeds(p.ctx, awq__codes_create(p.ctx, 5, 64, &p.scheme, &codes));
    float *work = floats(awq__gptq_work(gptq.cols, gptq.group));
    fails(p.ctx, awq__gptq_round(p.ctx, p.table, &gptq, &plain, &p.weight, 0, 5, work, &codes),
          AWQ_ERROR_NUMERIC, MODULE ": a group scale in rows 0 to 4 does not fit");
    free(work);
    awq__codes_free(&codes);
    awq__gptq_free(&gptq);
    free_problem(&p);
}

/* A fold's multipliers are part of the weight. */
static void multipliers_count(void **state)
{
    uint64_t random = 11;
    problem p = make_problem(*state, awq__compute_fastest(), &random, integer(4, 32, false), 7, 64);
    float *scale = floats(64), *row = floats(7);
    for (int64_t k = 0; k < 64; k++)
        scale[k] = between(&random, 0.5f, 2);
    for (int64_t n = 0; n < 7; n++)
        row[n] = between(&random, 0.5f, 2);
    p.weight.col_scale = scale;
    p.weight.row_scale = row;
    awq__codes folded = round_all(&p, 0.01, usual);
    p.weight.col_scale = p.weight.row_scale = NULL;
    for (int64_t i = 0; i < 7 * 64; i++)
        p.w[i] = p.w[i] * scale[i % 64] * row[i / 64];
    awq__codes expected = round_all(&p, 0.01, usual);
    same_codes(&folded, &expected);
    awq__codes_free(&folded);
    awq__codes_free(&expected);
    free(scale);
    free(row);
    free_problem(&p);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        CASE(codes_are_those_of_the_paper),
        CASE(factors_multiply_to_the_matrix),
        CASE(matrices_without_factors),
        CASE(product_with_a_transposed_matrix),
        CASE(identity_is_nearest_rounding),
        CASE(loss_is_below_that_of_nearest_rounding),
        CASE(sweeps_never_add_to_the_loss),
        CASE(sweeps_of_blocks_lower_the_loss),
        CASE(sweeps_end_where_no_code_can_be_better),
        CASE(cuts_of_rows_change_nothing),
        CASE(dead_channels),
        CASE(damping_rises_until_the_gram_is_definite),
        CASE(scales_that_do_not_fit),
        CASE(multipliers_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
