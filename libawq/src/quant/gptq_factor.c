/* The Hessian of error-compensated rounding: order of columns, damping, factors. */
#include "quant/gptq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct item {
    double key;
    int64_t number;
} item;

/* Falling keys; equal ones in their order. */
static int compare_items(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    return x->number < y->number ? -1 : 1;
}

static void order_columns(int64_t K, int64_t g, const float *diagonal, int64_t stride, item *items,
                          int64_t *order)
{
    item *groups = items + K;
    for (int64_t b = 0; b < K / g; b++) {
        groups[b] = (item){0, b};
        for (int64_t k = b * g; k < (b + 1) * g; k++) {
            items[k] = (item){(double)diagonal[k * stride], k};
            groups[b].key += items[k].key;
        }
        qsort(items + b * g, (size_t)g, sizeof *items, compare_items);
    }
    qsort(groups, (size_t)(K / g), sizeof *groups, compare_items);
    for (int64_t p = 0; p < K; p++)
        order[p] = items[groups[p / g].number * g + p % g].number;
}

awq_status awq__gptq_order(awq_context *ctx, int64_t cols, int64_t group, const float *diagonal,
                           int64_t stride, int64_t *order)
{
    size_t count = (size_t)cols + (size_t)(cols / group);
    item *items = awq__alloc(ctx, count, sizeof *items, "the order of columns");
    AWQ__CHECK_ALLOC(items);
    order_columns(cols, group, diagonal, stride, items, order);
    awq__free(items);
    return AWQ_OK;
}

/* Rows and columns into their order. */
static void reorder(const awq__gptq *gptq, float *row, bool *moved)
{
    int64_t K = gptq->cols;
    const int64_t *order = gptq->order;
    size_t bytes = (size_t)K * sizeof *row;
    for (int64_t i = 0; i < K; i++) {
        memcpy(row, gptq->h + i * K, bytes);
        for (int64_t p = 0; p < K; p++)
            gptq->h[i * K + p] = row[order[p]];
        moved[i] = false;
    }
    for (int64_t start = 0; start < K; start++) { /* each cycle of rows by way of `row` */
        if (moved[start])
            continue;
        memcpy(row, gptq->h + start * K, bytes);
        for (int64_t i = start; !moved[i]; i = order[i]) {
            moved[i] = true;
            memcpy(gptq->h + i * K, moved[order[i]] ? row : gptq->h + order[i] * K, bytes);
        }
    }
}

/* Factorizes with more and more damping. What is below the diagonal outlives each attempt. */
static bool factorize(const awq__compute *compute, awq__gptq *gptq, const float *raw, double mean)
{
    int64_t K = gptq->cols;
    float *h = gptq->h;
    for (int attempt = 0; attempt <= AWQ__GPTQ_RETRIES; attempt++) {
        if (attempt) {
            gptq->damping = awq__gptq_more_damping(gptq->damping);
            for (int64_t i = 0; i < K; i++)
                for (int64_t k = i + 1; k < K; k++)
                    h[i * K + k] = h[k * K + i];
        }
        for (int64_t k = 0; k < K; k++)
            h[k * K + k] = mean > 0 ? (float)((double)raw[k] + gptq->damping * mean) : 1;
        if (compute->factor(K, h))
            return true;
    }
    return false;
}

/* The block of columns first .. first+S-1. */
static void make_block(const awq__compute *compute, const awq__gptq *gptq, int64_t first, float *v)
{
    int64_t K = gptq->cols, S = awq__min(gptq->block, K - first);
    float *half = gptq->halves + first * gptq->block, *block = gptq->blocks + first * gptq->block;
    for (int64_t i = 0; i < S; i++)
        for (int64_t j = 0; j < S; j++) {
            float d = gptq->pivots[first + j];
            v[i * S + j] = j > i ? gptq->h[(first + i) * K + first + j] : (float)(i == j);
            half[i * S + j] = v[i * S + j] * d;
        }
    compute->multiply_nt(S, S, S, half, S, v, S, 0, block, S);
    for (int64_t i = 0; i < S; i++)
        gptq->curves[first + i] = block[i * (S + 1)];
}

awq_status awq__gptq_create(awq_context *ctx, const awq__compute *compute, const char *name,
                            float *gram, int64_t cols, int64_t group, double damping,
                            awq__gptq *gptq)
{
    *gptq = (awq__gptq){.cols = cols,
                        .group = group,
                        .damping = damping,
                        .h = gram,
                        .block = awq__gptq_block(cols, group)};
    size_t K = (size_t)cols;
    float *row = awq__alloc_aligned(ctx, 2 * K, sizeof *row, "a row of the Hessian");
    bool *moved = awq__alloc(ctx, K, sizeof *moved, "the order of columns");
    size_t S = (size_t)gptq->block;
    float *v = awq__alloc_aligned(ctx, S * S, sizeof *v, "a block of the Hessian");
    gptq->blocks = awq__alloc_aligned(ctx, K * S, sizeof *v, "blocks of the Hessian");
    gptq->halves = awq__alloc_aligned(ctx, K * S, sizeof *v, "blocks of the Hessian");
    gptq->pivots = awq__alloc_aligned(ctx, K, sizeof *gptq->pivots, "the Hessian's diagonal");
    gptq->curves = awq__alloc_aligned(ctx, K, sizeof *gptq->curves, "the Hessian's diagonal");
    gptq->order = awq__alloc(ctx, K, sizeof *gptq->order, "the order of columns");
    awq_status status;
    AWQ__TRY_ALLOC(row && moved && v && gptq->blocks && gptq->halves && gptq->pivots &&
                   gptq->curves && gptq->order);
    float *raw = row + K;
    double mean = 0;
    AWQ__TRY(awq__gptq_order(ctx, cols, group, gram, cols + 1, gptq->order));
    reorder(gptq, row, moved);
    for (int64_t k = 0; k < cols; k++) {
        raw[k] = gram[k * cols + k];
        mean += (double)raw[k] / (double)cols;
    }
    if (!(mean >= 0 && isfinite(mean)) || !factorize(compute, gptq, raw, mean))
        AWQ__TRY(awq__fail(ctx, AWQ_ERROR_NUMERIC,
                           "%s: the Gram matrix of its input is not positive definite with a "
                           "damping of %g (the mean of its diagonal is %g)",
                           name, gptq->damping, mean));
    for (int64_t k = 0; k < cols; k++)
        gptq->pivots[k] = gram[k * (cols + 1)];
    for (int64_t first = 0; first < cols; first += gptq->block)
        make_block(compute, gptq, first, v);
done:
    awq__free_aligned(v);
    awq__free_aligned(row);
    awq__free(moved);
    if (status != AWQ_OK)
        awq__gptq_free(gptq);
    return status;
}

void awq__gptq_free(awq__gptq *gptq)
{
    awq__free_aligned(gptq->blocks);
    awq__free_aligned(gptq->halves);
    awq__free_aligned(gptq->pivots);
    awq__free_aligned(gptq->curves);
    awq__free(gptq->order);
    *gptq = (awq__gptq){0};
}
