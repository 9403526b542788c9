/* The public functions on matrices: thin over what the driver uses. */
#include "awq/tensor.h"

#include "compute/begin.h"
#include "format/format.h"
#include "quant/quant.h"

#include <math.h>
#include <string.h>

#define MAX_STEPS 1000
#define GEMM_PACK 8 /* rows that share a word */
#define MX_GROUP 32

struct awq_statistics {
    awq_context *ctx;
    awq__stats stats; /* whole: one group */
};

struct awq_quantized {
    awq__codes codes;
};

static const awq__scheme mx_scheme = {
    .code = AWQ__CODE_E2M1, .bits = 4, .group = MX_GROUP, .symmetric = true, .grid = AWQ__GRID_F32};

/* Of a matrix with so many columns. */
static awq_status check_scheme(awq_context *ctx, const awq_scheme *scheme, int64_t columns)
{
    if (scheme->bits < 2 || scheme->bits > 8)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "scheme: %d bits, expected 2 to 8", scheme->bits);
    if (scheme->group_size != -1 && (scheme->group_size < 1 || columns % scheme->group_size))
        return awq__fail(
            ctx, AWQ_ERROR_ARGUMENT,
            "scheme: group_size %lld does not divide %lld columns (-1 is the whole row)",
            (long long)scheme->group_size, (long long)columns);
    if ((unsigned)scheme->scale_type > AWQ_SCALE_BF16)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "scheme: scale_type %d is none of awq_scale_type",
                         (int)scheme->scale_type);
    if ((unsigned)scheme->code > AWQ_CODE_E2M1)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "scheme: code %d is none of awq_code",
                         (int)scheme->code);
    if (scheme->code == AWQ_CODE_E2M1 && (scheme->bits != 4 || scheme->group_size != MX_GROUP))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "scheme: E2M1 codes of %d bits in groups of %lld, expected 4 bits in "
                         "groups of 32",
                         scheme->bits, (long long)scheme->group_size);
    return AWQ_OK;
}

static awq_status check_matrix(awq_context *ctx, const awq_matrix *matrix, const awq_scheme *scheme)
{
    if (!matrix->data || matrix->rows < 1 || matrix->columns < 1 ||
        (matrix->dtype != AWQ_BF16 && matrix->dtype != AWQ_F16 && matrix->dtype != AWQ_F32))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "matrix: %s [%lld, %lld], expected BF16, F16 or F32 data of positive size",
                         awq_dtype_name(matrix->dtype), (long long)matrix->rows,
                         (long long)matrix->columns);
    return check_scheme(ctx, scheme, matrix->columns);
}

/* Of a matrix and a scheme that have been found right; either array may be NULL. */
static awq_status check_arrays(awq_context *ctx, const awq_matrix *matrix, const awq_scheme *scheme,
                               const float *scales, const awq_range *ranges)
{
    int64_t K = matrix->columns, groups = scheme->group_size < 0 ? 1 : K / scheme->group_size;
    for (int64_t k = 0; k < K && scales; k++)
        if (!(scales[k] > 0) || isinf(scales[k]))
            return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                             "scales: %g in column %lld, expected positive and finite",
                             (double)scales[k], (long long)k);
    for (int64_t i = 0; i < matrix->rows * groups && ranges; i++)
        if (!(ranges[i].low <= 0 && ranges[i].high >= 0))
            return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                             "ranges: %g to %g in row %lld, group %lld, expected one with 0 in it",
                             (double)ranges[i].low, (double)ranges[i].high, (long long)(i / groups),
                             (long long)(i % groups));
    return AWQ_OK;
}

static awq__scheme inner_scheme(const awq_scheme *scheme, int64_t columns)
{
    static const awq__scale_grid grids[] = {AWQ__GRID_F32, AWQ__GRID_F16, AWQ__GRID_BF16_F16,
                                            AWQ__GRID_BF16};
    if (scheme->code == AWQ_CODE_E2M1)
        return mx_scheme;
    return (awq__scheme){.code = AWQ__CODE_INTEGER,
                         .bits = scheme->bits,
                         .group = scheme->group_size < 0 ? columns : scheme->group_size,
                         .symmetric = scheme->symmetric,
                         .grid = grids[scheme->scale_type]};
}

static awq__weight inner_weight(const awq_matrix *matrix, const float *scales)
{
    awq__weight weight =
        awq__weight_plain("matrix", matrix->dtype, matrix->data, matrix->rows, matrix->columns);
    weight.col_scale = scales;
    return weight;
}

/* Work space for a matrix whose values have been found finite; NULL, with the failure recorded, if
 * not. */
static awq_status checked_work(awq_context *ctx, const awq__weight *weight, float **work)
{
    *work = awq__alloc_aligned(ctx, (size_t)awq__weight_work(weight), sizeof **work, "work space");
    if (!*work)
        return AWQ_ERROR_MEMORY;
    awq_status status = awq__weight_check(ctx, weight, *work);
    if (status != AWQ_OK) {
        awq__free_aligned(*work);
        *work = NULL;
    }
    return status;
}

/* ---- statistics ---- */

awq_status awq_statistics_create(awq_context *ctx, int64_t columns, awq_statistics **out)
{
    if (out)
        *out = NULL;
    awq_status status =
        awq__enter(ctx, "awq_statistics_create", (awq__argument[]){{"out", out}, {0}});
    if (status != AWQ_OK)
        return status;
    if (columns < 1)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "columns: %lld is not positive",
                         (long long)columns);
    status = awq__compute_begin(ctx);
    if (status != AWQ_OK)
        return status;
    awq_statistics *statistics = awq__alloc(ctx, 1, sizeof *statistics, "statistics");
    if (!statistics)
        return AWQ_ERROR_MEMORY;
    statistics->ctx = ctx;
    status = awq__stats_create(ctx, columns, columns, &statistics->stats);
    if (status == AWQ_OK)
        *out = statistics;
    else
        awq__free(statistics);
    return status;
}

void awq_statistics_free(awq_statistics *statistics)
{
    if (statistics)
        awq__stats_free(&statistics->stats);
    awq__free(statistics);
}

awq_status awq_statistics_add(awq_statistics *statistics, const float *x, int64_t tokens)
{
    awq_status status = awq__enter(statistics ? statistics->ctx : NULL, "awq_statistics_add", NULL);
    if (status != AWQ_OK)
        return status;
    int64_t K = statistics->stats.cols;
    if (tokens && !x)
        return awq__fail(statistics->ctx, AWQ_ERROR_ARGUMENT, "x: is NULL, expected %lld tokens",
                         (long long)tokens);
    if (tokens < 0)
        return awq__fail(statistics->ctx, AWQ_ERROR_ARGUMENT, "x: %lld tokens, expected 0 or more",
                         (long long)tokens);
    for (int64_t i = 0; i < tokens * K; i++)
        if (!isfinite(x[i]))
            return awq__fail(statistics->ctx, AWQ_ERROR_NUMERIC,
                             "x: token %lld, channel %lld is not finite", (long long)(i / K),
                             (long long)(i % K));
    if (!tokens)
        return AWQ_OK;
    const awq__compute *compute = awq__compute_of(statistics->ctx);
    status = awq__stats_add_whole(statistics->ctx, compute, &statistics->stats, tokens, x, K);
    awq__stats_mirror(compute, &statistics->stats);
    return status;
}

void awq_statistics_salience(const awq_statistics *statistics, float *salience)
{
    if (!statistics || !salience)
        return;
    double tokens = (double)awq__max(statistics->stats.tokens, 1);
    for (int64_t k = 0; k < statistics->stats.cols; k++)
        salience[k] = (float)(statistics->stats.abs_sums[k] / tokens);
}

/* ---- searches ---- */

static awq_status check_search(awq_context *ctx, const awq_matrix *matrix, const awq_scheme *scheme,
                               const awq_statistics *statistics)
{
    awq_status status = check_matrix(ctx, matrix, scheme);
    if (status == AWQ_OK && matrix->columns != statistics->stats.cols)
        status = awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                           "matrix: %lld columns, but the statistics are of %lld",
                           (long long)matrix->columns, (long long)statistics->stats.cols);
    return status;
}

static awq_status search(awq_context *ctx, const awq__weight *const *weights, int64_t count,
                         const awq__scheme *scheme, const awq__stats *stats, int steps,
                         float *scales, awq__found_scale *found)
{
    const awq__compute *compute = awq__compute_of(ctx);
    int64_t K = stats->cols, work = 0;
    for (int64_t i = 0; i < count; i++)
        work = awq__max(work, awq__weight_work(weights[i]));
    double *salience = awq__alloc(ctx, 2 * (size_t)K, sizeof *salience, "salience");
    float *space = awq__alloc_aligned(ctx, (size_t)(work + K), sizeof *space, "work space");
    awq_status status = salience && space ? AWQ_OK : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK) {
        for (int64_t k = 0; k < K; k++)
            salience[k] = stats->abs_sums[k] / (double)awq__max(stats->tokens, 1);
        awq__w_mean(compute, weights, count, scheme->group, salience + K, space);
        awq__candidates candidates = {
            .cols = K, .salience = salience, .w_mean = salience + K, .steps = steps};
        status = awq__search_linear(ctx, compute, weights, count, scheme, &candidates, stats,
                                    scales, space + work, found);
    }
    awq__free(salience);
    awq__free_aligned(space);
    return status;
}

awq_status awq_search_scales(awq_context *ctx, const awq_matrix *matrices, size_t count,
                             const awq_scheme *scheme, const awq_statistics *statistics, int steps,
                             float *scales, awq_scale_result *result)
{
    awq_status status = awq__enter(ctx, "awq_search_scales",
                                   (awq__argument[]){{"matrices", matrices},
                                                     {"scheme", scheme},
                                                     {"statistics", statistics},
                                                     {"scales", scales},
                                                     {0}});
    if (status != AWQ_OK)
        return status;
    if (!count || steps < 1 || steps > MAX_STEPS)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "%zu matrices and %d steps, expected 1 or more and 1 to %d", count, steps,
                         MAX_STEPS);
    awq__weight *weights = awq__alloc(ctx, count, sizeof *weights, "matrices");
    const awq__weight **list = awq__alloc(ctx, count, sizeof *list, "matrices");
    status = weights && list ? AWQ_OK : AWQ_ERROR_MEMORY;
    for (size_t i = 0; i < count && status == AWQ_OK; i++) {
        float *work;
        status = check_search(ctx, &matrices[i], scheme, statistics);
        if (status != AWQ_OK)
            break;
        weights[i] = inner_weight(&matrices[i], NULL);
        list[i] = &weights[i];
        status = checked_work(ctx, &weights[i], &work);
        awq__free_aligned(work);
    }
    if (status == AWQ_OK) {
        awq__scheme inner = inner_scheme(scheme, matrices[0].columns);
        awq__found_scale found;
        status =
            search(ctx, list, (int64_t)count, &inner, &statistics->stats, steps, scales, &found);
        if (status == AWQ_OK && result)
            *result = (awq_scale_result){
                .ratio = found.candidate ? (double)(found.candidate - 1) / (double)steps : -1,
                .plain_loss = found.identity_loss,
                .loss = found.loss};
    }
    awq__free(weights);
    awq__free(list);
    return status;
}

awq_status awq_search_clips(awq_context *ctx, const awq_matrix *matrix, const awq_scheme *scheme,
                            const awq_statistics *statistics, const float *scales,
                            awq_range *ranges)
{
    awq_status status = awq__enter(ctx, "awq_search_clips",
                                   (awq__argument[]){{"matrix", matrix},
                                                     {"scheme", scheme},
                                                     {"statistics", statistics},
                                                     {"ranges", ranges},
                                                     {0}});
    if (status != AWQ_OK)
        return status;
    status = check_search(ctx, matrix, scheme, statistics);
    if (status == AWQ_OK)
        status = check_arrays(ctx, matrix, scheme, scales, NULL);
    if (status != AWQ_OK)
        return status;
    int64_t K = matrix->columns;
    awq__weight weight = inner_weight(matrix, scales);
    awq__scheme inner = inner_scheme(scheme, K);
    awq__stats blocks = {0};
    float *work, *unscale = awq__alloc_aligned(ctx, (size_t)K, sizeof *unscale, "scales");
    status = unscale ? checked_work(ctx, &weight, &work) : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK) {
        awq__free_aligned(work);
        status =
            awq__stats_blocks(ctx, awq__compute_of(ctx), &statistics->stats, inner.group, &blocks);
    }
    if (status == AWQ_OK && scales) {
        for (int64_t k = 0; k < K; k++)
            unscale[k] = 1 / scales[k];
        awq__stats_rescale(awq__compute_of(ctx), &blocks, unscale);
    }
    if (status == AWQ_OK)
        status = awq__search_clip(ctx, awq__compute_of(ctx), &weight, &inner, &blocks,
                                  (awq__range *)ranges);
    awq__stats_free(&blocks);
    awq__free_aligned(unscale);
    return status;
}

/* ---- codes ---- */

awq_status awq_quantized_create(awq_context *ctx, const awq_matrix *matrix,
                                const awq_scheme *scheme, const float *scales,
                                const awq_range *ranges, awq_quantized **out)
{
    if (out)
        *out = NULL;
    awq_status status =
        awq__enter(ctx, "awq_quantized_create",
                   (awq__argument[]){{"matrix", matrix}, {"scheme", scheme}, {"out", out}, {0}});
    if (status != AWQ_OK)
        return status;
    status = check_matrix(ctx, matrix, scheme);
    if (status == AWQ_OK)
        status = check_arrays(ctx, matrix, scheme, scales, ranges);
    if (status != AWQ_OK)
        return status;
    awq__weight weight = inner_weight(matrix, scales);
    awq__scheme inner = inner_scheme(scheme, matrix->columns);
    float *work = NULL;
    awq_quantized *quantized = awq__alloc(ctx, 1, sizeof *quantized, "a quantized matrix");
    status = quantized ? checked_work(ctx, &weight, &work) : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK)
        status = awq__codes_create(ctx, matrix->rows, matrix->columns, &inner, &quantized->codes);
    if (status == AWQ_OK)
        status = awq__codes_round(ctx, awq__compute_of(ctx), &weight, (const awq__range *)ranges,
                                  &quantized->codes);
    awq__free_aligned(work);
    if (status == AWQ_OK)
        *out = quantized;
    else
        awq_quantized_free(quantized);
    return status;
}

void awq_quantized_free(awq_quantized *quantized)
{
    if (quantized)
        awq__codes_free(&quantized->codes);
    awq__free(quantized);
}

void awq_quantized_describe(const awq_quantized *quantized, awq_scheme *scheme, int64_t *rows,
                            int64_t *columns)
{
    if (!quantized)
        return;
    static const awq_scale_type types[] = {AWQ_SCALE_F32, AWQ_SCALE_F16, AWQ_SCALE_BF16_F16,
                                           AWQ_SCALE_BF16};
    const awq__scheme *inner = &quantized->codes.scheme;
    if (scheme)
        *scheme =
            (awq_scheme){.bits = inner->bits,
                         .group_size = inner->group,
                         .symmetric = inner->symmetric,
                         .scale_type = types[inner->grid],
                         .code = inner->code == AWQ__CODE_E2M1 ? AWQ_CODE_E2M1 : AWQ_CODE_INTEGER};
    if (rows)
        *rows = quantized->codes.rows;
    if (columns)
        *columns = quantized->codes.cols;
}

const uint8_t *awq_quantized_codes(const awq_quantized *quantized)
{
    return quantized ? quantized->codes.codes : NULL;
}

const float *awq_quantized_scales(const awq_quantized *quantized)
{
    return quantized ? quantized->codes.scales : NULL;
}

const uint8_t *awq_quantized_zeros(const awq_quantized *quantized)
{
    return quantized ? quantized->codes.zeros : NULL;
}

void awq_quantized_values(const awq_quantized *quantized, float *out)
{
    if (quantized && out)
        awq__codes_read(&quantized->codes, 0, quantized->codes.rows, out);
}

/* ---- packing ---- */

/* For codes that are yet to be read. */
static awq_status create_empty(awq_context *ctx, int64_t rows, int64_t columns,
                               const awq__scheme *scheme, awq_quantized **out)
{
    awq_quantized *quantized = awq__alloc(ctx, 1, sizeof *quantized, "a quantized matrix");
    awq_status status = quantized ? awq__codes_create(ctx, rows, columns, scheme, &quantized->codes)
                                  : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK)
        *out = quantized;
    else
        awq__free(quantized);
    return status;
}

awq_status awq_pack_gemm(awq_context *ctx, const awq_quantized *quantized, uint32_t *qweight,
                         uint32_t *qzeros, uint16_t *scales)
{
    awq_status status = awq__enter(ctx, "awq_pack_gemm",
                                   (awq__argument[]){{"quantized", quantized},
                                                     {"qweight", qweight},
                                                     {"qzeros", qzeros},
                                                     {"scales", scales},
                                                     {0}});
    if (status != AWQ_OK)
        return status;
    const awq__codes *codes = &quantized->codes;
    if (codes->scheme.code != AWQ__CODE_INTEGER)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "quantized: E2M1 codes, expected integers");
    if (codes->scheme.bits != 4 || codes->rows % GEMM_PACK)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "quantized: %d bits and %lld rows, expected 4 bits and a multiple of 8",
                         codes->scheme.bits, (long long)codes->rows);
    if (codes->scheme.grid != AWQ__GRID_F16 && codes->scheme.grid != AWQ__GRID_BF16_F16)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "quantized: scales of %s, expected AWQ_SCALE_F16 or AWQ_SCALE_BF16_F16",
                         codes->scheme.grid == AWQ__GRID_F32 ? "AWQ_SCALE_F32" : "AWQ_SCALE_BF16");
    void *parts[] = {qweight, qzeros, scales};
    for (int i = 0; i < 3; i++)
        awq__disk_format_awq.pack(codes, i, parts[i]);
    return AWQ_OK;
}

awq_status awq_unpack_gemm(awq_context *ctx, int64_t rows, int64_t columns, int64_t group_size,
                           const uint32_t *qweight, const uint32_t *qzeros, const uint16_t *scales,
                           awq_quantized **out)
{
    if (out)
        *out = NULL;
    awq_status status = awq__enter(
        ctx, "awq_unpack_gemm",
        (awq__argument[]){
            {"qweight", qweight}, {"qzeros", qzeros}, {"scales", scales}, {"out", out}, {0}});
    if (status != AWQ_OK)
        return status;
    if (rows < 1 || rows % GEMM_PACK || columns < 1 ||
        (group_size != -1 && (group_size < 1 || columns % group_size)))
        return awq__fail(
            ctx, AWQ_ERROR_ARGUMENT,
            "[%lld, %lld] in groups of %lld: expected rows in eights, and groups that divide "
            "the columns",
            (long long)rows, (long long)columns, (long long)group_size);
    awq__scheme scheme = {
        .bits = 4, .group = group_size < 0 ? columns : group_size, .grid = AWQ__GRID_F16};
    status = create_empty(ctx, rows, columns, &scheme, out);
    if (status == AWQ_OK)
        awq__gemm_unpack(&(*out)->codes, qweight, qzeros, scales);
    return status;
}

/* Whether words of codes fill up: P = 32/bits divides K, and N where there are zero points. */
static awq_status check_words(awq_context *ctx, const char *what, int64_t rows, int64_t columns,
                              int bits, bool symmetric)
{
    int pack = 32 / bits;
    if (columns % pack || (!symmetric && rows % pack))
        return awq__fail(
            ctx, AWQ_ERROR_ARGUMENT, "%s: [%lld, %lld] of %s codes, expected %s in multiples of %d",
            what, (long long)rows, (long long)columns, symmetric ? "symmetric" : "asymmetric",
            symmetric ? "columns" : "rows and columns", pack);
    return AWQ_OK;
}

static awq_status no_zeros(awq_context *ctx)
{
    return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                     "weight_zero_point: is NULL, which only symmetric codes allow");
}

awq_status awq_pack_compressed(awq_context *ctx, const awq_quantized *quantized,
                               uint32_t *weight_packed, void *weight_scale,
                               uint32_t *weight_zero_point)
{
    awq_status status = awq__enter(ctx, "awq_pack_compressed",
                                   (awq__argument[]){{"quantized", quantized},
                                                     {"weight_packed", weight_packed},
                                                     {"weight_scale", weight_scale},
                                                     {0}});
    if (status != AWQ_OK)
        return status;
    const awq__codes *codes = &quantized->codes;
    const awq__scheme *scheme = &codes->scheme;
    if (scheme->code != AWQ__CODE_INTEGER)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "quantized: E2M1 codes, expected integers");
    if (scheme->bits != 4 && scheme->bits != 8)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "quantized: %d bits, expected 4 or 8",
                         scheme->bits);
    status =
        check_words(ctx, "quantized", codes->rows, codes->cols, scheme->bits, scheme->symmetric);
    if (status != AWQ_OK)
        return status;
    if (!scheme->symmetric && !weight_zero_point)
        return no_zeros(ctx);
    /* Number 2 is weight_shape. */
    awq__disk_format_compressed.pack(codes, 0, weight_packed);
    awq__disk_format_compressed.pack(codes, 1, weight_scale);
    if (!scheme->symmetric)
        awq__disk_format_compressed.pack(codes, 3, weight_zero_point);
    return AWQ_OK;
}

awq_status awq_unpack_compressed(awq_context *ctx, int64_t rows, int64_t columns,
                                 const awq_scheme *scheme, const uint32_t *weight_packed,
                                 const void *weight_scale, const uint32_t *weight_zero_point,
                                 awq_quantized **out)
{
    if (out)
        *out = NULL;
    awq_status status = awq__enter(ctx, "awq_unpack_compressed",
                                   (awq__argument[]){{"scheme", scheme},
                                                     {"weight_packed", weight_packed},
                                                     {"weight_scale", weight_scale},
                                                     {"out", out},
                                                     {0}});
    if (status != AWQ_OK)
        return status;
    if (rows < 1 || columns < 1)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "[%lld, %lld]: expected a positive size",
                         (long long)rows, (long long)columns);
    status = check_scheme(ctx, scheme, columns);
    if (status != AWQ_OK)
        return status;
    if (scheme->code != AWQ_CODE_INTEGER || (scheme->bits != 4 && scheme->bits != 8))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "scheme: %s of %d bits, expected integers of 4 or 8",
                         scheme->code == AWQ_CODE_E2M1 ? "E2M1 codes" : "integers", scheme->bits);
    status = check_words(ctx, "weight_packed", rows, columns, scheme->bits, scheme->symmetric);
    if (status == AWQ_OK && !scheme->symmetric && !weight_zero_point)
        status = no_zeros(ctx);
    awq__scheme inner = inner_scheme(scheme, columns);
    if (status == AWQ_OK)
        status = create_empty(ctx, rows, columns, &inner, out);
    if (status == AWQ_OK)
        awq__compressed_unpack(&(*out)->codes, weight_packed, weight_scale, weight_zero_point);
    return status;
}

/* What both directions ask of a matrix in the GPTQ layout. */
static awq_status check_gptq(awq_context *ctx, const char *what, int64_t rows, int64_t columns,
                             const awq__scheme *scheme, int version)
{
    if (version != 1 && version != 2)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "version: %d, expected 1 or 2", version);
    if (scheme->code != AWQ__CODE_INTEGER ||
        (scheme->bits != 2 && scheme->bits != 4 && scheme->bits != 8))
        return awq__fail(
            ctx, AWQ_ERROR_ARGUMENT, "%s: %s of %d bits, expected integers of 2, 4 or 8", what,
            scheme->code == AWQ__CODE_INTEGER ? "integers" : "E2M1 codes", scheme->bits);
    if (scheme->grid != AWQ__GRID_F16 && scheme->grid != AWQ__GRID_BF16_F16)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "%s: scales of %s, expected AWQ_SCALE_F16 or AWQ_SCALE_BF16_F16", what,
                         scheme->grid == AWQ__GRID_F32 ? "AWQ_SCALE_F32" : "AWQ_SCALE_BF16");
    /* Zero points are stored for symmetric codes too. */
    return check_words(ctx, what, rows, columns, scheme->bits, false);
}

awq_status awq_pack_gptq(awq_context *ctx, const awq_quantized *quantized, int version,
                         uint32_t *qweight, uint32_t *qzeros, uint16_t *scales)
{
    awq_status status = awq__enter(ctx, "awq_pack_gptq",
                                   (awq__argument[]){{"quantized", quantized},
                                                     {"qweight", qweight},
                                                     {"qzeros", qzeros},
                                                     {"scales", scales},
                                                     {0}});
    if (status != AWQ_OK)
        return status;
    const awq__codes *codes = &quantized->codes;
    int64_t G = codes->cols / codes->scheme.group;
    status = check_gptq(ctx, "quantized", codes->rows, codes->cols, &codes->scheme, version);
    for (int64_t i = 0; i < codes->rows * G && version == 1 && status == AWQ_OK; i++)
        if (!codes->zeros[i])
            status = awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                               "quantized: the zero point of row %lld, group %lld is 0, which "
                               "version 1 cannot store; version 2 or symmetric codes fit",
                               (long long)(i / G), (long long)(i % G));
    if (status == AWQ_OK)
        awq__gptq_pack(codes, version == 1, qweight, qzeros, scales);
    return status;
}

awq_status awq_unpack_gptq(awq_context *ctx, int64_t rows, int64_t columns,
                           const awq_scheme *scheme, int version, const uint32_t *qweight,
                           const uint32_t *qzeros, const uint16_t *scales, awq_quantized **out)
{
    if (out)
        *out = NULL;
    awq_status status = awq__enter(ctx, "awq_unpack_gptq",
                                   (awq__argument[]){{"scheme", scheme},
                                                     {"qweight", qweight},
                                                     {"qzeros", qzeros},
                                                     {"scales", scales},
                                                     {"out", out},
                                                     {0}});
    if (status != AWQ_OK)
        return status;
    if (rows < 1 || columns < 1)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "[%lld, %lld]: expected a positive size",
                         (long long)rows, (long long)columns);
    status = check_scheme(ctx, scheme, columns);
    if (status != AWQ_OK)
        return status;
    awq__scheme inner = inner_scheme(scheme, columns);
    status = check_gptq(ctx, "scheme", rows, columns, &inner, version);
    if (status == AWQ_OK)
        status = create_empty(ctx, rows, columns, &inner, out);
    if (status == AWQ_OK)
        awq__gptq_unpack(&(*out)->codes, version == 1, qweight, qzeros, scales);
    return status;
}

awq_status awq_pack_mxfp4(awq_context *ctx, const awq_quantized *quantized, uint8_t *blocks,
                          uint8_t *scales)
{
    awq_status status = awq__enter(
        ctx, "awq_pack_mxfp4",
        (awq__argument[]){{"quantized", quantized}, {"blocks", blocks}, {"scales", scales}, {0}});
    if (status != AWQ_OK)
        return status;
    const awq__codes *codes = &quantized->codes;
    if (codes->scheme.code != AWQ__CODE_E2M1)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "quantized: integers of %d bits, expected E2M1",
                         codes->scheme.bits);
    awq__disk_format_mxfp4.pack(codes, 0, blocks);
    awq__disk_format_mxfp4.pack(codes, 1, scales);
    return AWQ_OK;
}

awq_status awq_unpack_mxfp4(awq_context *ctx, int64_t rows, int64_t columns, const uint8_t *blocks,
                            const uint8_t *scales, awq_quantized **out)
{
    if (out)
        *out = NULL;
    awq_status status =
        awq__enter(ctx, "awq_unpack_mxfp4",
                   (awq__argument[]){{"blocks", blocks}, {"scales", scales}, {"out", out}, {0}});
    if (status != AWQ_OK)
        return status;
    if (rows < 1 || columns < 1 || columns % MX_GROUP)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "[%lld, %lld]: expected a positive size, and columns in multiples of 32",
                         (long long)rows, (long long)columns);
    status = create_empty(ctx, rows, columns, &mx_scheme, out);
    if (status == AWQ_OK)
        awq__mxfp4_unpack(&(*out)->codes, blocks, scales);
    return status;
}
