/*
 * Checks that the products of a table are right on this machine. Older builds of OpenBLAS have
 * kernels that compute something else, or leave part of it out, on some younger processors.
 *
 * All numbers here are integers, so small that every partial sum is an integer below 2^24. In F32
 * any order of additions then gives the same, exact result, and a single wrong bit is a fault. A
 * product y = x w is right if y v = x (w v) for a vector v without zeros, unless faults cancel each
 * other within a row. This check takes a small part of the time of the product itself.
 */
#include "compute/begin.h"
#include "compute/processor.h"
#include "core/blas.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* x has values up to 511, of more bits than BF16 has, and w -1, 0 and 1: 511 * K stays below 2^24.
 */
#define LARGEST_X 511
/* Of one matrix: more than the kernels' blocks of rows, of columns and of terms. */
#define MOST_T ((int64_t)460)
#define MOST_N ((int64_t)140)
#define MOST_K ((int64_t)800)
#define EDGES 70  /* more than the rows and the columns of any kernel's tile */
#define PACKED 58 /* with 300 terms, more operations than OpenBLAS multiplies without packing */
#define PACKED_K 300
#define MOST_FACTOR 200 /* of a matrix to be factored: more than is done without blocks */

typedef enum kind { NT, NN, TN, KINDS } kind;
static const char *const kind_names[KINDS] = {"x w^T", "x w", "x^T w"};

typedef struct check {
    const awq__compute *compute;
    float *x, *w, *y;
} check;

typedef struct shape {
    kind kind;
    int64_t T, N, K;
    float beta;
} shape;

static float integer(uint64_t *random, int64_t largest)
{
    return (float)((int64_t)(awq__random(random) >> 32) % (2 * largest + 1) - largest);
}

static float x_at(const check *c, const shape *s, int64_t t, int64_t k)
{
    return s->kind == TN ? c->x[k * s->T + t] : c->x[t * s->K + k];
}

static float w_at(const check *c, const shape *s, int64_t n, int64_t k)
{
    return s->kind == NT ? c->w[n * s->K + k] : c->w[k * s->N + n];
}

static double v_at(int64_t n)
{
    return (double)(n + 1);
}

static void multiply(const check *c, const shape *s)
{
    switch (s->kind) {
    case NT:
        c->compute->multiply_nt(s->T, s->N, s->K, c->x, s->K, c->w, s->K, s->beta, c->y, s->N);
        break;
    case NN:
        c->compute->multiply_nn(s->T, s->N, s->K, c->x, s->K, c->w, s->N, s->beta, c->y, s->N);
        break;
    default:
        c->compute->multiply_tn(s->T, s->N, s->K, c->x, s->T, c->w, s->N, s->beta, c->y, s->N);
    }
}

/* Sums of at most 140 * 140 * 511 * 800 in doubles: exact. What was in y is 1 where beta adds it,
   and else NaN, which must not stay. */
static bool product_is_right(const check *c, const shape *s)
{
    double folded[MOST_K] = {0}, ones = 0;
    for (int64_t i = 0; i < s->T * s->N; i++)
        c->y[i] = s->beta == 0 ? NAN : 1;
    multiply(c, s);
    for (int64_t n = 0; n < s->N; n++)
        ones += v_at(n);
    for (int64_t n = 0; n < s->N; n++)
        for (int64_t k = 0; k < s->K; k++)
            folded[k] += (double)w_at(c, s, n, k) * v_at(n);
    for (int64_t t = 0; t < s->T; t++) {
        double expected = (double)s->beta * ones, found = 0;
        for (int64_t k = 0; k < s->K; k++)
            expected += (double)x_at(c, s, t, k) * folded[k];
        for (int64_t n = 0; n < s->N; n++)
            found += (double)c->y[t * s->N + n] * v_at(n);
        if (found != expected) /* also for NaN */
            return false;
    }
    return true;
}

/* Every number of rows and of columns up to EDGES, both without and with packing, with and without
   what was there; and one product of several blocks. False with the shape that is wrong. */
static bool products_are_right(const check *c, shape *s)
{
    for (int i = 1; i <= EDGES; i++)
        for (int k = 0; k < KINDS; k++) {
            *s = (shape){(kind)k, i, 1 + i * 29 % EDGES, 1 + i * 43 % EDGES, (float)(i % 2)};
            if (!product_is_right(c, s))
                return false;
        }
    for (int i = 0; i < EDGES; i++) {
        *s = (shape){(kind)(i % KINDS), PACKED + i, PACKED + i * 29 % EDGES, PACKED_K,
                     (float)(i / KINDS % 2)};
        if (!product_is_right(c, s))
            return false;
    }
    for (int k = 0; k < KINDS; k++) {
        *s = (shape){(kind)k, MOST_T - k, MOST_N - k, MOST_K - k, 1};
        if (!product_is_right(c, s))
            return false;
    }
    return true;
}

/* The Gram matrix is a product of x with itself: 8 terms of at most 511^2 stay below 2^24. */
static bool gram_is_right(const check *c)
{
    enum { T = 8, K = 96, G = 48 };
    float *gram = c->y;
    memset(gram, 0, sizeof *gram * K * G);
    c->compute->gram(T, K, G, c->x, K, gram);
    for (int i = 0; i < K; i++)
        for (int j = 0; j < G; j++) {
            double expected = 0;
            for (int t = 0; t < T; t++)
                expected += (double)c->x[t * K + i] * (double)c->x[t * K + i / G * G + j];
            if ((double)gram[i * G + j] != expected)
                return false;
        }
    return true;
}

/* (I + V) D (I + V)^T with V of -1, 0 and 1 and D of powers of 4, whose roots are integers. */
static void make_definite(int64_t K, const float *v, const float *d, float *h)
{
    for (int64_t i = 0; i < K; i++)
        for (int64_t j = i; j < K; j++) {
            float sum = i == j ? d[j] : v[i * K + j] * d[j];
            for (int64_t k = j + 1; k < K; k++)
                sum += v[i * K + k] * v[j * K + k] * d[k];
            h[i * K + j] = h[j * K + i] = sum;
        }
}

static bool factor_is_right(const check *c, int64_t K)
{
    float d[MOST_FACTOR], *v = c->w, *h = c->y;
    for (int64_t k = 0; k < K; k++)
        d[k] = k % 3 ? k % 3 == 1 ? 4 : 16 : 1;
    make_definite(K, v, d, h);
    if (!c->compute->factor(K, h))
        return false;
    for (int64_t i = 0; i < K; i++) {
        if (h[i * K + i] != d[i])
            return false;
        for (int64_t j = i + 1; j < K; j++)
            if (h[i * K + j] != v[i * K + j])
                return false;
    }
    return true;
}

/* What helps: another core's kernels where there are any. */
static void remedy(char *text, size_t size)
{
    const char *core = awq__blas_core(), *older = awq__older_core(core);
    int used = 0;
    if (older)
        used = snprintf(text, size, "OPENBLAS_CORETYPE=%s in the environment takes older kernels",
                        older);
    else
        used = snprintf(text, size, "another version of OpenBLAS is needed");
    if (sysconf(_SC_LEVEL2_CACHE_SIZE) <= 0 && used > 0 && (size_t)used < size)
        snprintf(
            text + used, size - (size_t)used,
            "; or the size of a cache is read as 0 here, and OPENBLAS_L2_SIZE=1024 gives it to "
            "OpenBLAS 0.3.28 and later");
}

static awq_status wrong(awq_context *ctx, const awq__compute *compute, const char *what)
{
    char help[256];
    remedy(help, sizeof help);
    return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                     "%s with kernels for %s (%s) computes wrong %s on this processor: %s",
                     awq__blas_name(), awq__blas_core(), compute->name, what, help);
}

static awq_status run_check(awq_context *ctx, const check *c)
{
    shape s;
    char what[96];
    if (!products_are_right(c, &s)) {
        snprintf(what, sizeof what, "products %s of %lld x %lld x %lld numbers", kind_names[s.kind],
                 (long long)s.T, (long long)s.N, (long long)s.K);
        return wrong(ctx, c->compute, what);
    }
    if (!gram_is_right(c))
        return wrong(ctx, c->compute, "sums of squares");
    for (int64_t K = 1; K <= EDGES; K++)
        if (!factor_is_right(c, K))
            return wrong(ctx, c->compute, "triangular factors");
    if (!factor_is_right(c, MOST_FACTOR))
        return wrong(ctx, c->compute, "triangular factors");
    return AWQ_OK;
}

awq_status awq__compute_check(awq_context *ctx, const awq__compute *compute)
{
    uint64_t random = 1;
    check c = {compute, .x = awq__alloc_host(ctx, MOST_T * MOST_K, sizeof *c.x, "a check"),
               .w = awq__alloc_host(ctx, MOST_N * MOST_K, sizeof *c.w, "a check"),
               .y = awq__alloc_host(ctx, MOST_T * MOST_N, sizeof *c.y, "a check")};
    awq_status status;
    AWQ__TRY_ALLOC(c.x && c.w && c.y);
    for (int64_t i = 0; i < MOST_T * MOST_K; i++)
        c.x[i] = integer(&random, LARGEST_X);
    for (int64_t i = 0; i < MOST_N * MOST_K; i++)
        c.w[i] = integer(&random, 1);
    AWQ__TRY(run_check(ctx, &c));
done:
    awq__free_aligned(c.x);
    awq__free_aligned(c.w);
    awq__free_aligned(c.y);
    return status;
}
