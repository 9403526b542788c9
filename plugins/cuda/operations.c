/* The operations of a device by its kernels: matrices, work space, and what is taken at a time. */
#include "device.h"

#include <string.h>

/* Values that are split into two terms at a time. */
#define MOST_SPLIT ((int64_t)1 << 27)

#define DID(call, what) awq__cuda_did(d, (call), (what))

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- how things are called here and there ---- */

static awq__cuda_weight weight_of(const awq__device_matrix *w)
{
    return (awq__cuda_weight){.dtype = w->type == AWQ__DEVICE_BF16 ? AWQ__CUDA_BF16 : AWQ__CUDA_F32,
                              .rows = w->rows,
                              .cols = w->cols,
                              .data = w->data,
                              .row_stride = w->cols,
                              .col_stride = 1,
                              .row_scale = w->row_scale,
                              .col_scale = w->col_scale};
}

static awq__cuda_scheme scheme_of(const awq__device_scheme *s)
{
    return (awq__cuda_scheme){.code = (awq__cuda_code)s->code,
                              .bits = s->bits,
                              .group = s->group,
                              .symmetric = s->symmetric,
                              .grid = (awq__cuda_grid)s->grid};
}

static awq__cuda_activation activation_of(const awq__device_activation *a)
{
    return (awq__cuda_activation){a->alpha, a->limit, a->up_offset};
}

static const awq__cuda_range *ranges_of(const float *ranges)
{
    return (const awq__cuda_range *)(const void *)ranges;
}

/* ---- memory ---- */

static void enter(void *device)
{
    awq__cuda_device *d = device;
    if (!d->error)
        DID((int)cudaSetDevice(d->index), "choosing the device");
}

static void copy(void *device, void *to, const void *from, size_t bytes)
{
    awq__cuda_device *d = device;
    if (!d->error)
        DID((int)cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, d->stream), "copy");
}

static void clear(void *device, void *array, size_t bytes)
{
    awq__cuda_device *d = device;
    if (!d->error)
        DID((int)cudaMemsetAsync(array, 0, bytes, d->stream), "clear");
}

static const char *finish(void *device)
{
    awq__cuda_device *d = device;
    DID((int)cudaStreamSynchronize(d->stream), "work on the device");
    return d->error ? d->failure : NULL;
}

/* ---- products ---- */

typedef struct split {
    uint16_t *high, *low; /* [T,K] */
} split;

static bool make_split(awq__cuda_device *d, int64_t T, int64_t K, split *s)
{
    size_t half = ((size_t)(T * K) * sizeof *s->high + 255) / 256 * 256;
    char *space = awq__cuda_work(d, 2 * half);
    *s = (split){(uint16_t *)(void *)space, (uint16_t *)(void *)(space + half)};
    return space != NULL;
}

static void free_split(awq__cuda_device *d, const split *s)
{
    awq__cuda_release(d, s->high);
}

static awq__cuda_terms terms_of(const split *s, int64_t T, int64_t K)
{
    return (awq__cuda_terms){.rows = T, .cols = K, .ld = K, .high = s->high, .low = s->low};
}

static int64_t rows_at_a_time(int64_t T, int64_t K)
{
    return min64(T, max64(MOST_SPLIT / K, 1));
}

static void finish_linear(awq__cuda_device *d, int64_t T, const awq__device_matrix *w, float *y)
{
    if (!d->error && (w->row_scale || w->bias))
        DID(awq__cuda_finish(d->queue, T, w->rows, w->row_scale, w->bias, w->bias_scale, y,
                             w->rows),
            "multipliers and biases of rows");
}

/* By two terms of x and the weights as they are. All have the same col_scale. */
static void linear_in_terms(awq__cuda_device *d, int64_t T, const float *x, int count,
                            const awq__device_matrix *w, float *const *y)
{
    int64_t K = w->cols, B = rows_at_a_time(T, K);
    split s;
    if (!make_split(d, B, K, &s))
        return;
    for (int64_t first = 0; first < T && !d->error; first += B) {
        int64_t rows = min64(B, T - first);
        const awq__cuda_terms terms = terms_of(&s, rows, K);
        DID(awq__cuda_split(d->queue, rows, K, x + first * K, K, NULL, 1, NULL, w->col_scale,
                            s.high, s.low),
            "terms of inputs");
        for (int i = 0; i < count && !d->error; i++) {
            const awq__cuda_terms matrix = {
                .rows = w[i].rows, .cols = K, .ld = K, .high = w[i].data};
            DID(awq__cuda_product(d->queue, &terms, &matrix, false, y[i] + first * w[i].rows,
                                  w[i].rows),
                "product");
        }
    }
    free_split(d, &s);
    for (int i = 0; i < count; i++)
        finish_linear(d, T, &w[i], y[i]);
}

/* Multipliers go into a copy of the weights. */
static void linear_in_f32(awq__cuda_device *d, bool tf32, int64_t T, const float *x,
                          const awq__device_matrix *w, float *y)
{
    const awq__cuda_weight weight = weight_of(w);
    bool plain = w->type == AWQ__DEVICE_F32 && !w->row_scale && !w->col_scale;
    float *widened = NULL;
    if (!plain)
        widened = awq__cuda_work(d, (size_t)(w->rows * w->cols) * sizeof *widened);
    if (!plain && !d->error)
        DID(awq__cuda_widen(d->queue, &weight, 0, w->rows, widened), "weights");
    if (!d->error)
        DID(awq__cuda_product_f32(d->queue, T, w->rows, w->cols, x, w->cols,
                                  plain ? w->data : widened, w->cols, tf32, false, y, w->rows),
            "product");
    awq__cuda_release(d, widened);
    if (!d->error && w->bias)
        DID(awq__cuda_finish(d->queue, T, w->rows, NULL, w->bias, w->bias_scale, y, w->rows),
            "biases");
}

static bool in_terms(const awq__device_matrix *w)
{
    return w->type == AWQ__DEVICE_BF16;
}

static void linear(void *device, awq__device_grade grade, int64_t T, const float *x, int count,
                   const awq__device_matrix *w, float *const *y)
{
    awq__cuda_device *d = device;
    for (int i = 0, end; i < count && !d->error; i = end) {
        end = i + 1;
        while (end < count && in_terms(&w[i]) && in_terms(&w[end]) &&
               w[end].col_scale == w[i].col_scale)
            end++;
        if (in_terms(&w[i]))
            linear_in_terms(d, T, x, end - i, w + i, y + i);
        else
            linear_in_f32(d, grade == AWQ__DEVICE_FAST, T, x, &w[i], y[i]);
    }
}

static void gram(void *device, int64_t T, int64_t K, int64_t g, const float *x, float *out)
{
    awq__cuda_device *d = device;
    int64_t B = rows_at_a_time(T, K);
    split s;
    if (d->error || !T || !make_split(d, B, K, &s))
        return;
    for (int64_t first = 0; first < T && !d->error; first += B) {
        int64_t rows = min64(B, T - first);
        const awq__cuda_terms terms = terms_of(&s, rows, K);
        if (DID(awq__cuda_split(d->queue, rows, K, x + first * K, K, NULL, 1, NULL, NULL, s.high,
                                s.low),
                "terms of inputs"))
            DID(awq__cuda_gram(d->queue, &terms, g, out), "Gram matrix");
    }
    free_split(d, &s);
    if (!d->error)
        DID(awq__cuda_gram_finish(d->queue, K, g, out), "Gram matrix");
}

static void sketch(void *device, int64_t T, int64_t K, const float *x, uint64_t seed, int64_t count,
                   float *rows)
{
    awq__cuda_device *d = device;
    if (!d->error && T)
        DID(awq__cuda_sketch(d->queue, T, K, x, K, NULL, seed, count, false, rows), "sketch");
}

static int64_t longest_of(const awq__device_attention *how)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < how->sequences; i++)
        longest = max64(longest, how->offsets[i + 1] - how->offsets[i]);
    return longest;
}

/* Offsets from 0 on, on the device; awq__cuda_release takes them. */
static int32_t *upload_offsets(awq__cuda_device *d, const awq__device_attention *how)
{
    int32_t *offsets = awq__cuda_work(d, (size_t)(how->sequences + 1) * sizeof *offsets);
    for (int64_t i = 0; offsets && i <= how->sequences; i++) {
        int32_t offset = (int32_t)(how->offsets[i] - how->offsets[0]);
        awq__cuda_upload(d, offsets + i, &offset, sizeof offset);
    }
    return offsets;
}

static void attention(void *device, const awq__device_attention *how, const float *q,
                      const float *k, const float *v, float *c)
{
    awq__cuda_device *d = device;
    int64_t D = how->head_dim;
    int32_t *offsets = upload_offsets(d, how);
    const awq__cuda_attention a = {.sequences = how->sequences,
                                   .offsets = offsets,
                                   .longest = longest_of(how),
                                   .heads = how->heads,
                                   .kv_heads = how->kv_heads,
                                   .D = D,
                                   .Dv = D,
                                   .window = how->window,
                                   .scale = how->scale,
                                   .q = q,
                                   .k = k,
                                   .v = v,
                                   .ldq = how->heads * D,
                                   .ldk = how->kv_heads * D,
                                   .ldv = how->kv_heads * D,
                                   .sinks = how->sinks,
                                   .c = c,
                                   .ldc = how->heads * D};
    if (!d->error)
        DID(awq__cuda_attend(d->queue, &a), "attention");
    awq__cuda_release(d, offsets);
}

/* ---- rows ---- */

static void rms_norm(void *device, int64_t T, int64_t H, const float *x, const float *weight,
                     double epsilon, float *out)
{
    awq__cuda_device *d = device;
    if (!d->error)
        DID(awq__cuda_rms_norm(d->queue, T, H, x, weight, 0, epsilon, out), "norm");
}

static void rotate(void *device, int64_t T, int64_t heads, int64_t D, int64_t pairs,
                   const int32_t *position, const float *cos_sin, float *x)
{
    awq__cuda_device *d = device;
    if (!d->error && pairs)
        DID(awq__cuda_rotate(d->queue, T, heads, D, pairs, false, position, cos_sin, x, heads * D),
            "rotary embedding");
}

static void activate(void *device, int64_t count, const awq__device_activation *how,
                     const float *gate, const float *up, float *out)
{
    awq__cuda_device *d = device;
    const awq__cuda_activation a = activation_of(how);
    if (!d->error)
        DID(awq__cuda_activate(d->queue, 1, count, &a, gate, up, count, NULL, out, NULL, NULL),
            "activation");
}

static void gather(void *device, int64_t T, int64_t K, const int32_t *index, const float *x,
                   float *out)
{
    awq__cuda_device *d = device;
    if (!d->error)
        DID(awq__cuda_gather(d->queue, T, K, index, 1, x, out), "tokens of an expert");
}

static void scale_rows(void *device, int64_t T, int64_t K, const float *weight, float *x)
{
    awq__cuda_device *d = device;
    if (!d->error)
        DID(awq__cuda_scale(d->queue, T, K, weight, NULL, x), "weights of tokens");
}

static void add_rows(void *device, int64_t T, int64_t H, const int32_t *index, const float *weight,
                     const float *x, float *out)
{
    awq__cuda_device *d = device;
    if (!d->error)
        DID(awq__cuda_add_rows(d->queue, T, H, index, weight, x, out), "sums of outputs");
}

static void count_special(void *device, int64_t count, const float *x, int32_t *counter)
{
    awq__cuda_device *d = device;
    if (!d->error)
        DID(awq__cuda_count_special(d->queue, count, x, counter), "a look at outputs");
}

/* ---- sums ---- */

static void add_abs(void *device, int64_t T, int64_t K, const float *x, double *sums)
{
    awq__cuda_device *d = device;
    if (!d->error && T)
        DID(awq__cuda_add_abs(d->queue, T, K, x, K, NULL, sums), "salience");
}

static void add_slopes(void *device, int64_t T, int64_t I, const awq__device_activation *how,
                       float step, const float *gate, const float *up, const float *weight,
                       double *sums)
{
    awq__cuda_device *d = device;
    const awq__cuda_activation a = activation_of(how);
    if (!d->error && T)
        DID(awq__cuda_add_slopes(d->queue, T, I, &a, step, gate, up, I, weight, sums), "slopes");
}

static void add_column_squares(void *device, const awq__device_matrix *w, double *sums)
{
    awq__cuda_device *d = device;
    const awq__cuda_weight weight = weight_of(w);
    if (!d->error)
        DID(awq__cuda_add_squares(d->queue, &weight, sums), "norms of columns");
}

static void add_w_mean(void *device, const awq__device_matrix *w, int64_t group, double *sums)
{
    awq__cuda_device *d = device;
    const awq__cuda_weight weight = weight_of(w);
    if (!d->error)
        DID(awq__cuda_add_w_mean(d->queue, &weight, group, sums), "magnitudes of weights");
}

/* Rows of a width that kernels like, which divides the count. */
static int64_t width_of(int64_t count)
{
    int64_t width = 1;
    while (width < 1024 && count % (2 * width) == 0)
        width *= 2;
    return width < 32 ? count : width;
}

static void add_squared_error(void *device, int64_t count, const float *a, const float *b,
                              double *sum)
{
    awq__cuda_device *d = device;
    double *found = awq__cuda_work(d, sizeof *found);
    int64_t N = width_of(count);
    if (!d->error)
        DID(b ? awq__cuda_squared_error(d->queue, count / N, N, a, b, NULL, found)
              : awq__cuda_dot(d->queue, count, a, a, found),
            "squared error");
    if (!d->error)
        DID(awq__cuda_add_doubles(d->queue, 1, found, sum), "squared error");
    awq__cuda_release(d, found);
}

static void largest_difference(void *device, int64_t count, const float *a, const float *b,
                               float *largest)
{
    awq__cuda_device *d = device;
    int64_t N = width_of(count);
    if (!d->error)
        DID(awq__cuda_largest_difference(d->queue, count / N, N, a, b, NULL, largest),
            "largest difference");
}

static void compare_logits(void *device, int64_t rows, int64_t V, const float *logits,
                           const float *reference, const int32_t *targets, double *stats)
{
    awq__cuda_device *d = device;
    awq__cuda_logit_stats *found = awq__cuda_work(d, sizeof *found);
    for (int64_t first = 0, count; first < rows && !d->error; first += count) {
        count = min64(rows - first, 65536);
        clear(d, found, sizeof *found);
        DID(awq__cuda_compare_logits(d->queue, count, V, logits + first * V,
                                     reference ? reference + first * V : NULL, V, targets + first,
                                     found),
            "logits");
        if (!d->error)
            DID(awq__cuda_add_stats(d->queue, found, stats), "logits");
    }
    awq__cuda_release(d, found);
}

/* ---- rounding ---- */

static void losses(void *device, const awq__device_matrix *w, const awq__device_scheme *how,
                   const float *ranges, const awq__device_gram *known, const float *row_weight,
                   int count, const float *scale, const float *unscale, double *out)
{
    awq__cuda_device *d = device;
    const awq__cuda_weight weight = weight_of(w);
    const awq__cuda_scheme scheme = scheme_of(how);
    const awq__cuda_stats stats = {known->cols, known->rows, known->values};
    void *space = awq__cuda_work(d, awq__cuda_losses_bytes(&weight, &stats, count));
    if (!d->error)
        DID(awq__cuda_add_losses(d->queue, &weight, &scheme, &stats, count, scale, unscale,
                                 ranges_of(ranges), row_weight, space, out),
            "losses");
    awq__cuda_release(d, space);
}

static void clip(void *device, const awq__device_matrix *w, const awq__device_scheme *how,
                 const awq__device_gram *known, float *ranges)
{
    awq__cuda_device *d = device;
    const awq__cuda_weight weight = weight_of(w);
    const awq__cuda_scheme scheme = scheme_of(how);
    if (!d->error)
        DID(awq__cuda_clip(d->queue, &weight, &scheme, known->values,
                           (awq__cuda_range *)(void *)ranges),
            "clip ranges");
}

static void quantize(void *device, const awq__device_matrix *w, const awq__device_scheme *how,
                     const float *ranges, uint8_t *codes, float *scales, uint8_t *zeros,
                     int32_t *bad)
{
    awq__cuda_device *d = device;
    const awq__cuda_weight weight = weight_of(w);
    const awq__cuda_scheme scheme = scheme_of(how);
    if (!d->error)
        DID(awq__cuda_quantize(d->queue, &weight, &scheme, 0, w->rows, ranges_of(ranges), codes,
                               scales, zeros),
            "rounding");
    count_special(d, w->rows * (w->cols / how->group), scales, bad);
}

static void fake_quantize(void *device, const awq__device_matrix *w, const awq__device_scheme *how,
                          const float *ranges, const float *unscale, float *out)
{
    awq__cuda_device *d = device;
    const awq__cuda_weight weight = weight_of(w);
    const awq__cuda_scheme scheme = scheme_of(how);
    size_t count = (size_t)(w->rows * w->cols), groups = count / (size_t)how->group;
    uint8_t *codes = awq__cuda_work(d, count), *zeros = awq__cuda_work(d, groups);
    float *scales = awq__cuda_work(d, groups * sizeof *scales);
    if (!d->error)
        DID(awq__cuda_quantize(d->queue, &weight, &scheme, 0, w->rows, ranges_of(ranges), codes,
                               scales, zeros),
            "rounding");
    if (!d->error)
        DID(awq__cuda_dequantize(d->queue, &scheme, w->rows, w->cols, codes, scales, zeros, unscale,
                                 out, NULL, NULL),
            "rounding");
    awq__cuda_release(d, codes);
    awq__cuda_release(d, zeros);
    awq__cuda_release(d, scales);
}

static void rescale_gram(void *device, const awq__device_gram *known, const float *factor)
{
    awq__cuda_device *d = device;
    if (d->error)
        return;
    if (known->rows)
        DID(awq__cuda_scale(d->queue, known->rows, known->cols, NULL, factor, known->values),
            "Gram matrix");
    else
        DID(awq__cuda_gram_rescale(d->queue, known->cols, known->group, factor, known->values),
            "Gram matrix");
}

static void gram_blocks(void *device, const awq__device_gram *from, const awq__device_gram *to)
{
    awq__cuda_device *d = device;
    if (d->error)
        return;
    if (from->rows) {
        clear(d, to->values, (size_t)(to->cols * to->group) * sizeof *to->values);
        gram(d, from->rows, from->cols, to->group, from->values, to->values);
    } else {
        DID(awq__cuda_gram_blocks(d->queue, from->cols, to->group, from->values, to->values),
            "Gram matrix");
    }
}

static void read_codes(void *device, int64_t N, int64_t K, const awq__device_scheme *how,
                       const uint8_t *codes, const float *scales, const uint8_t *zeros,
                       const float *unscale, float *out)
{
    awq__cuda_device *d = device;
    const awq__cuda_scheme scheme = scheme_of(how);
    if (!d->error)
        DID(awq__cuda_dequantize(d->queue, &scheme, N, K, codes, scales, zeros, unscale, out, NULL,
                                 NULL),
            "codes");
}

static void diagonal(void *device, const awq__device_gram *known, float *out)
{
    awq__cuda_device *d = device;
    if (!d->error)
        DID(awq__cuda_gram_diagonal(d->queue, known->cols, known->group, known->values, out),
            "diagonal");
}

static void gptq(void *device, const void *hessian, const awq__device_matrix *w,
                 const awq__device_scheme *how, int ranges, int sweeps, uint8_t *codes,
                 float *scales, uint8_t *zeros, int32_t *bad)
{
    awq__cuda_device *d = device;
    const awq__cuda_weight weight = weight_of(w);
    const awq__cuda_scheme scheme = scheme_of(how);
    awq__cuda_round_by_gptq(d, hessian, &weight, &scheme, ranges, sweeps, codes, scales, zeros);
    count_special(d, w->rows * (w->cols / how->group), scales, bad);
}

static void decode_mxfp4(void *device, int64_t rows, int64_t cols, const uint8_t *blocks,
                         const uint8_t *scales, void *out)
{
    awq__cuda_device *d = device;
    awq__cuda_terms terms;
    const awq__cuda_weight weight = {.dtype = AWQ__CUDA_MXFP4,
                                     .rows = rows,
                                     .cols = cols,
                                     .data = blocks,
                                     .row_stride = 1,
                                     .col_stride = 1,
                                     .scales = scales};
    if (!d->error)
        DID(awq__cuda_weight_terms(d->queue, &weight, out, &terms), "MXFP4");
}

const awq__device_operations awq__cuda_operations = {
    .struct_size = sizeof awq__cuda_operations,
    .enter = enter,
    .allocate = awq__cuda_allocate,
    .release = awq__cuda_release,
    .free_bytes = awq__cuda_free_bytes,
    .upload = awq__cuda_upload,
    .download = awq__cuda_download,
    .copy = copy,
    .clear = clear,
    .finish = finish,
    .linear = linear,
    .gram = gram,
    .sketch = sketch,
    .attention = attention,
    .rms_norm = rms_norm,
    .rotate = rotate,
    .activate = activate,
    .gather = gather,
    .scale_rows = scale_rows,
    .add_rows = add_rows,
    .count_special = count_special,
    .add_abs = add_abs,
    .add_slopes = add_slopes,
    .add_column_squares = add_column_squares,
    .add_w_mean = add_w_mean,
    .add_squared_error = add_squared_error,
    .largest_difference = largest_difference,
    .compare_logits = compare_logits,
    .losses = losses,
    .clip = clip,
    .quantize = quantize,
    .fake_quantize = fake_quantize,
    .rescale_gram = rescale_gram,
    .gram_blocks = gram_blocks,
    .read_codes = read_codes,
    .diagonal = diagonal,
    .hessian_bytes = awq__cuda_hessian_bytes,
    .factorize = awq__cuda_factorize,
    .gptq = gptq,
    .decode_mxfp4 = decode_mxfp4,
};
