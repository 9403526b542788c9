/*
 * The values of a result beside those of its source.
 *
 * What a fold has done is read from the result itself: the norm before a layer's linears tells what
 * their columns were multiplied by. Where the rows of one linear take up what the columns of the
 * next were multiplied by (v and o, up and down), each of their values bounds the multiplier; there
 * must be one that all allow, and those of the two linears must cancel. Then
 *
 *   - what stays float is the source bit for bit or, where a fold has changed it, the folded source
 *     within two roundings to its type;
 *   - each code by nearest rounding stands for the value next to the folded weight, of those that
 *     its group has; only the ends of a range that was searched stand for what lies beyond them
 * too, as far again as the range is wide;
 *   - where GPTQ moves errors from column to column, a row is off by less than a step in the mean,
 *     with multipliers that are fitted.
 */
#include "run/verify.h"
#include "core/convert.h"
#include "core/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FOLD_ROUNDING 0x1p-7 /* relative: of weight and norm, to BF16, with room for more */
#define GPTQ_STEPS 1.0       /* root of a row's mean squared error */
#define GPTQ_CANCEL 3.0      /* what the product of fitted multipliers may be, or one over it */
#define SMALLEST 1e-6        /* below it types round coarsely */

/* In place of a column. */
#define WHOLE_ROW (-1)
#define BIAS (-2)

/* The interval of multipliers that the values allow. */
typedef struct range {
    double low, high;
} range;

typedef struct comparison {
    awq_context *ctx;
    const awq__module *module;
    awq__found before, after;
    float *ratio; /* [N] of a norm that scales fold into: what its readers' columns take up */
    /* The ratio of the norm that makes the input, for columns k, k + norm_cols, ...; NULL: 1. */
    const float *norm;
    int64_t norm_cols;
    awq__producing makes;         /* rows that make what another linear reads */
    float *cols;                  /* [K] known multipliers of columns */
    range *row_range, *col_range; /* [N], [K] of unknown ones, 1 where there are none */
    bool unknown_rows, unknown_cols;
    bool gptq, same, wrong;
    bool widened;     /* the source has codes or FP8, the result floats of their type */
    int64_t row, col; /* the first that is wrong */
    double found, expected;
} comparison;

static void find_wrong(comparison *c, int64_t row, int64_t col, double found, double expected)
{
    if (c->wrong)
        return;
    c->wrong = true;
    c->row = row;
    c->col = col;
    c->found = found;
    c->expected = expected;
}

/* Element [row, col] of the result is y, which stands for what lies in `cell`; the source has x. */
static void bound(comparison *c, int64_t row, int64_t col, double y, double x, range cell)
{
    cell.low -= SMALLEST;
    cell.high += SMALLEST;
    if (isnan(x)) /* the norm is 0 before and after: its readers' columns do not matter */
        return;
    range *r = c->unknown_rows   ? &c->row_range[row]
               : c->unknown_cols ? &c->col_range[col]
                                 : &(range){1, 1};
    double low = x > 0 ? cell.low / x : x < 0 ? cell.high / x : 0;
    double high = x > 0 ? cell.high / x : x < 0 ? cell.low / x : INFINITY;
    double before = r->high < INFINITY ? (r->low + r->high) / 2 : 1;
    bool allowed = x != 0 || (cell.low <= 0 && cell.high >= 0);
    r->low = fmax(r->low, low * (low > 0 ? 1 - FOLD_ROUNDING : 1 + FOLD_ROUNDING));
    r->high = fmin(r->high, high * (high > 0 ? 1 + FOLD_ROUNDING : 1 - FOLD_ROUNDING));
    if (!allowed || !isfinite(x) || !(r->low <= r->high))
        find_wrong(c, row, col, y, x * before);
}

/* ---- reading both in blocks of rows ---- */

/* One block: rows first .. first + count - 1 of the result and of the source, [count,K]. */
typedef void (*visit)(comparison *c, int64_t first, int64_t count, const float *q, const float *w,
                      double *work);

static awq_status each_block(comparison *c, visit function, double *work)
{
    int64_t N = c->module->rows, K = c->module->cols;
    int64_t block =
        awq__min(awq__weight_block(&c->before.weight), awq__weight_block(&c->after.weight));
    float *q = awq__alloc_host(c->ctx, (size_t)(block * K), sizeof *q, "weights to compare");
    float *w = awq__alloc_host(c->ctx, (size_t)(block * K), sizeof *w, "weights to compare");
    for (int64_t first = 0; first < N && q && w; first += block) {
        int64_t count = awq__min(block, N - first);
        awq__weight_read(awq__compute_of(c->ctx), &c->after.weight, first, count, q);
        awq__weight_read(awq__compute_of(c->ctx), &c->before.weight, first, count, w);
        function(c, first, count, q, w, work);
    }
    awq_status status = q && w ? AWQ_OK : AWQ_ERROR_MEMORY;
    awq__free_aligned(q);
    awq__free_aligned(w);
    return status;
}

static void see_whether_same(comparison *c, int64_t first, int64_t count, const float *q,
                             const float *w, double *work)
{
    (void)first;
    (void)work;
    for (int64_t i = 0; i < count * c->module->cols; i++) {
        float x = c->widened ? awq__round_to_dtype(c->after.weight.dtype, w[i]) : w[i];
        c->same &= awq__f32_bits(q[i]) == awq__f32_bits(x);
    }
}

/* ---- multipliers ---- */

/* Rows that make nothing for another linear have a multiplier of 1. */
static bool is_unknown_row(const comparison *c, int64_t row)
{
    const awq__producing *makes = &c->makes;
    return c->unknown_rows && row % makes->stride >= makes->stride - makes->run;
}

/* work [2,K]: the sums of y x and of x x over all rows of a column. */
static void add_products(comparison *c, int64_t first, int64_t count, const float *q,
                         const float *w, double *work)
{
    int64_t K = c->module->cols;
    for (int64_t n = 0; n < count; n++) {
        double row[2] = {0};
        for (int64_t k = 0; k < K; k++) {
            double x = (double)w[n * K + k] * (double)c->cols[k], y = (double)q[n * K + k];
            if (isnan(x))
                continue;
            row[0] += y * x;
            row[1] += x * x;
            work[k] += y * x;
            work[K + k] += x * x;
        }
        double fitted = row[1] > 0 ? row[0] / row[1] : 1;
        if (is_unknown_row(c, first + n))
            c->row_range[first + n] = (range){fitted, fitted};
    }
}

/* The multipliers with the least squares of errors, of codes that are not the nearest. */
static awq_status fit(comparison *c)
{
    int64_t K = c->module->cols;
    double *sums = awq__alloc(c->ctx, (size_t)(2 * K), sizeof *sums, "multipliers");
    awq_status status;
    AWQ__TRY_ALLOC(sums);
    AWQ__TRY(each_block(c, add_products, sums));
    for (int64_t k = 0; k < K && c->unknown_cols; k++) {
        double fitted = sums[K + k] > 0 ? sums[k] / sums[K + k] : 1;
        c->col_range[k] = (range){fitted, fitted};
    }
done:
    awq__free(sums);
    return status;
}

static bool is_fitted(const comparison *c)
{
    return c->gptq && c->after.packed;
}

static awq_status find_multipliers(comparison *c)
{
    for (int64_t k = 0; k < c->module->cols && c->norm; k++)
        c->cols[k] = c->norm[k % c->norm_cols];
    if (is_fitted(c) && (c->unknown_rows || c->unknown_cols))
        return fit(c);
    for (int64_t n = 0; n < c->module->rows; n++)
        if (is_unknown_row(c, n))
            c->row_range[n] = (range){0, INFINITY};
    for (int64_t k = 0; k < c->module->cols && c->unknown_cols; k++)
        c->col_range[k] = (range){0, INFINITY};
    return AWQ_OK;
}

/* ---- floats ---- */

static void compare_floats(comparison *c, int64_t first, int64_t count, const float *q,
                           const float *w, double *work)
{
    int64_t K = c->module->cols;
    (void)work;
    for (int64_t n = 0; n < count; n++)
        for (int64_t k = 0; k < K; k++) {
            double y = (double)q[n * K + k];
            bound(c, first + n, k, y, (double)w[n * K + k] * (double)c->cols[k], (range){y, y});
        }
}

/* ---- codes ---- */

static int compare_numbers(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The different values of a group, sorted. Returns their number. */
static int64_t list_values(const float *q, int64_t count, double *values)
{
    int64_t different = 0;
    for (int64_t i = 0; i < count; i++)
        values[i] = (double)q[i];
    qsort(values, (size_t)count, sizeof *values, compare_numbers);
    for (int64_t i = 0; i < count; i++)
        if (!different || values[i] != values[different - 1])
            values[different++] = values[i];
    return different;
}

/* What y, one of the values, stands for by nearest rounding. */
static range cell_of(double y, const double *values, int64_t count)
{
    const double *at = bsearch(&y, values, (size_t)count, sizeof *values, compare_numbers);
    if (!at) /* not a number */
        return (range){INFINITY, -INFINITY};
    int64_t i = at - values;
    double width = count > 1 ? values[count - 1] - values[0] : fabs(y);
    return (range){i > 0 ? (values[i - 1] + y) / 2 : y - width,
                   i < count - 1 ? (values[i + 1] + y) / 2 : y + width};
}

/* work [K + 1] */
static void compare_nearest(comparison *c, int64_t first, int64_t count, const float *q,
                            const float *w, double *work)
{
    int64_t K = c->module->cols, G = c->after.scheme.group, values = 0;
    for (int64_t n = 0; n < count; n++)
        for (int64_t k = 0; k < K; k++) {
            double y = (double)q[n * K + k];
            if (k % G == 0)
                values = list_values(q + n * K + k, awq__min(G, K - k), work);
            bound(c, first + n, k, y, (double)w[n * K + k] * (double)c->cols[k],
                  cell_of(y, work, values));
        }
}

/* work [K + 1] */
static void compare_means(comparison *c, int64_t first, int64_t count, const float *q,
                          const float *w, double *work)
{
    int64_t K = c->module->cols, G = c->after.scheme.group, values = 0;
    for (int64_t n = 0; n < count; n++) {
        double off = 0, steps = 0;
        for (int64_t k = 0; k < K; k++) {
            double multiplier = c->row_range[first + n].low * c->col_range[k].low;
            double x = (double)w[n * K + k] * (double)c->cols[k] * multiplier;
            if (k % G == 0)
                values = list_values(q + n * K + k, awq__min(G, K - k), work);
            double step = values > 1 ? (work[values - 1] - work[0]) / (double)(values - 1) : 0;
            if (isnan(x))
                continue;
            off += ((double)q[n * K + k] - x) * ((double)q[n * K + k] - x);
            steps += step * step + SMALLEST * SMALLEST;
        }
        if (!(off <= GPTQ_STEPS * GPTQ_STEPS * steps))
            find_wrong(c, first + n, WHOLE_ROW, sqrt(off / (double)K), sqrt(steps / (double)K));
    }
}

/* ---- one matrix ---- */

static awq_status compare_values(comparison *c)
{
    double *work = NULL;
    awq_status status;
    AWQ__TRY(find_multipliers(c));
    work = awq__alloc(c->ctx, (size_t)c->module->cols + 1, sizeof *work, "a group");
    AWQ__TRY_ALLOC(work);
    visit compare = is_fitted(c)      ? compare_means
                    : c->after.packed ? compare_nearest
                                      : compare_floats;
    AWQ__TRY(each_block(c, compare, work));
done:
    awq__free(work);
    return status;
}

/* A bias goes with its row. */
static awq_status compare_bias(comparison *c)
{
    int64_t N = c->module->rows;
    float *values = awq__alloc(c->ctx, (size_t)(2 * N), sizeof *values, "biases to compare");
    AWQ__CHECK_ALLOC(values);
    const awq__found *both[] = {&c->before, &c->after};
    for (int i = 0; i < 2; i++) {
        awq__weight bias = awq__weight_strided(c->module->name, both[i]->bias_dtype, both[i]->bias,
                                               N, 1, both[i]->bias_stride, 1);
        awq__weight_read(awq__compute_of(c->ctx), &bias, 0, N, values + i * N);
    }
    for (int64_t n = 0; n < N; n++) {
        double x = (double)values[n], y = (double)values[N + n];
        double room = is_fitted(c) ? (GPTQ_CANCEL - 1) * fabs(y) : 0;
        if (y != x && c->unknown_rows)
            bound(c, n, BIAS, y, x, (range){y - room, y + room});
        else if (y != x)
            find_wrong(c, n, BIAS, y, x);
    }
    awq__free(values);
    return AWQ_OK;
}

static awq_status compare_matrix(void *arg, int64_t index, int worker)
{
    comparison *c = (comparison *)arg + index;
    (void)worker;
    if (c->module->vector)
        return AWQ_OK;
    c->widened = (c->before.packed || c->before.fp8) && !c->after.packed && !c->after.fp8;
    c->same = c->widened || (c->before.packed == c->after.packed &&
                             (c->before.packed || c->before.weight.dtype == c->after.weight.dtype));
    if (c->same)
        AWQ__CHECK(each_block(c, see_whether_same, NULL));
    bool may_differ = c->after.packed || c->norm || c->unknown_rows || c->unknown_cols;
    if ((!c->same || c->norm) && may_differ)
        AWQ__CHECK(compare_values(c));
    else if (!c->same)
        find_wrong(c, -1, -1, 0, 0);
    c->same &= !c->norm;
    return c->before.bias && c->after.bias ? compare_bias(c) : AWQ_OK;
}

/* ---- a layer ---- */

typedef struct layer_job {
    awq_verification *v;
    const awq__verified *part;
    comparison *all;
} layer_job;

static awq_status compare_vector(layer_job *j, comparison *c)
{
    int64_t N = c->module->rows;
    float *values = awq__alloc(c->ctx, (size_t)(2 * N), sizeof *values, "vectors to compare");
    float shift = c->module->plus_one ? 1 : 0;
    AWQ__CHECK_ALLOC(values);
    awq__weight_read(awq__compute_of(c->ctx), &c->before.weight, 0, N, values);
    awq__weight_read(awq__compute_of(c->ctx), &c->after.weight, 0, N, values + N);
    c->same = c->before.weight.dtype == c->after.weight.dtype;
    for (int64_t n = 0; n < N; n++) {
        c->same &= values[n] == values[N + n];
        if (c->ratio)
            /* NAN, nothing to compare, where both are 0 */
            c->ratio[n] = (values[n] + shift) / (values[N + n] + shift);
    }
    awq__free(values);
    return c->same || c->ratio ? AWQ_OK
                               : awq__find_problem(j->v, "%s: %s is not the same as in the source",
                                                   j->part->result->directory, c->module->name);
}

static comparison *at_part(const layer_job *j, awq__part part, int64_t expert)
{
    const awq__arch *arch = j->part->source->arch;
    return &j->all[awq__arch_index(arch, j->part->layer, part, expert) - j->part->first];
}

static awq_status compare_vectors(layer_job *j)
{
    for (size_t i = 0; i < j->part->count; i++)
        if (j->all[i].module->vector)
            AWQ__CHECK(compare_vector(j, &j->all[i]));
    for (size_t i = 0; i < j->part->count; i++) {
        comparison *c = &j->all[i];
        awq__part part = awq__norm_of(j->part->source->arch, c->module);
        const comparison *norm = part != AWQ__PART_EMBEDDING ? at_part(j, part, -1) : NULL;
        c->norm = norm && !norm->same ? norm->ratio : NULL;
        c->norm_cols = norm ? norm->module->rows : 0;
    }
    return AWQ_OK;
}

/* Where v's rows take up what o's columns were multiplied by, and up's what down's were; NULL where
   the module has no such partner. */
static comparison *partner_of(const layer_job *j, const comparison *c)
{
    return c->makes.fold ? at_part(j, c->makes.reader, c->module->expert) : NULL;
}

static void allow_folds(layer_job *j)
{
    for (size_t i = 0; i < j->part->count; i++) {
        comparison *c = &j->all[i], *partner = partner_of(j, c);
        if (partner)
            c->unknown_rows = partner->unknown_cols = partner->after.packed;
    }
}

static awq_status prepare(layer_job *j, size_t index)
{
    comparison *c = &j->all[index - j->part->first];
    const awq__module *module = &j->part->source->arch->modules[index];
    *c = (comparison){.ctx = j->v->ctx, .module = module, .gptq = j->part->gptq};
    AWQ__CHECK(awq__model_find(j->part->source, module, j->part->source_held, &c->before));
    AWQ__CHECK(awq__model_find(j->part->result, &j->part->result->arch->modules[index],
                               j->part->result_held, &c->after));
    c->makes = awq__produces(j->part->source->arch, module);
    if (module->vector && !awq__fold_of_norm(module->part))
        return AWQ_OK;
    if (module->vector) {
        c->ratio = awq__alloc(c->ctx, (size_t)module->rows, sizeof *c->ratio, "multipliers");
        return c->ratio ? AWQ_OK : AWQ_ERROR_MEMORY;
    }
    c->cols = awq__alloc(c->ctx, (size_t)module->cols, sizeof *c->cols, "multipliers");
    c->col_range = awq__alloc(c->ctx, (size_t)module->cols, sizeof *c->col_range, "multipliers");
    c->row_range = awq__alloc(c->ctx, (size_t)module->rows, sizeof *c->row_range, "multipliers");
    AWQ__CHECK_ALLOC(c->cols && c->col_range && c->row_range);
    for (int64_t k = 0; k < module->cols; k++)
        c->cols[k] = 1, c->col_range[k] = (range){1, 1};
    for (int64_t n = 0; n < module->rows; n++)
        c->row_range[n] = (range){1, 1};
    return AWQ_OK;
}

static awq_status tell(layer_job *j, const comparison *c)
{
    const char *directory = j->part->result->directory, *name = c->module->name;
    j->v->result.copied += c->same && !c->wrong;
    j->v->result.rescaled += !c->same && !c->wrong && !c->after.packed;
    j->v->result.rounded += !c->same && !c->wrong && c->after.packed;
    if (!c->wrong)
        return AWQ_OK;
    if (c->row < 0)
        return awq__find_problem(j->v, "%s: %s is not the same as in the source", directory, name);
    if (c->col == WHOLE_ROW)
        return awq__find_problem(j->v,
                                 "%s: %s: row %lld is off by %g in the mean, more than its step of "
                                 "%g: not a rounding of the source",
                                 directory, name, (long long)c->row, c->found, c->expected);
    if (c->col == BIAS)
        return awq__find_problem(j->v, "%s: the bias of %s is %g at %lld, expected %g", directory,
                                 name, c->found, (long long)c->row, c->expected);
    return awq__find_problem(j->v,
                             "%s: %s is %g at [%lld, %lld], where the source has, with its "
                             "folds, %g",
                             directory, name, c->found, (long long)c->row, (long long)c->col,
                             c->expected);
}

/* Can they be each other's inverse? */
static bool may_cancel(range a, range b, bool fitted)
{
    double room = fitted ? GPTQ_CANCEL : 1 + FOLD_ROUNDING;
    return a.low * b.low <= room && a.high * b.high >= 1 / room;
}

/* Row i of the one, column i of the other: of o, of each head that shares what v makes. */
static awq_status check_cancelling(layer_job *j, const comparison *rows, const comparison *cols)
{
    const awq__producing *makes = &rows->makes;
    bool fitted = is_fitted(rows) || is_fitted(cols);
    int64_t D = makes->run, skipped = makes->stride - D;
    if (rows->wrong || cols->wrong)
        return AWQ_OK;
    for (int64_t i = 0; i < cols->module->cols; i++) {
        int64_t row = i / D / makes->shared * makes->stride + skipped + i % D;
        range r = rows->row_range[row], c = cols->col_range[i];
        if (!may_cancel(r, c, fitted))
            return awq__find_problem(j->v,
                                     "%s: row %lld of %s was multiplied by %g to %g, but column "
                                     "%lld of %s by %g to %g: they do not cancel",
                                     j->part->result->directory, (long long)row, rows->module->name,
                                     r.low, r.high, (long long)i, cols->module->name, c.low,
                                     c.high);
    }
    return AWQ_OK;
}

static awq_status check_pairs(layer_job *j)
{
    for (size_t i = 0; i < j->part->count; i++) {
        const comparison *partner = partner_of(j, &j->all[i]);
        if (partner)
            AWQ__CHECK(check_cancelling(j, &j->all[i], partner));
    }
    return AWQ_OK;
}

static awq_status compare_layer(layer_job *j)
{
    for (size_t i = 0; i < j->part->count; i++)
        AWQ__CHECK(prepare(j, j->part->first + i));
    allow_folds(j);
    AWQ__CHECK(compare_vectors(j));
    AWQ__CHECK(awq__parallel_for(j->v->ctx, (int64_t)j->part->count, compare_matrix, j->all));
    for (size_t i = 0; i < j->part->count; i++)
        AWQ__CHECK(tell(j, &j->all[i]));
    return check_pairs(j);
}

awq_status awq__verify_values(awq_verification *v, const awq__verified *part)
{
    layer_job j = {.v = v, .part = part};
    j.all = awq__alloc(v->ctx, part->count, sizeof *j.all, "modules to compare");
    awq_status status;
    AWQ__TRY_ALLOC(j.all);
    AWQ__TRY(compare_layer(&j));
done:
    for (size_t i = 0; i < part->count && j.all; i++) {
        awq__free(j.all[i].ratio);
        awq__free(j.all[i].cols);
        awq__free(j.all[i].col_range);
        awq__free(j.all[i].row_range);
    }
    awq__free(j.all);
    return status;
}
