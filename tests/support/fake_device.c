/* See fake_device.h. */
#include "support/fake_device.h"
#include "awq/awq.h"
#include "compute/cpu.h"
#include "compute/weight.h"
#include "core/half.h"
#include "quant/gptq.h"
#include "quant/quant.h"

#include <stdlib.h>
#include <string.h>

/* Added to an address, so that it is none: no process has addresses with this bit. */
#define AWAY ((uintptr_t)1 << 62)

struct fake_device {
    size_t bytes, most;
    awq_context *ctx;
};

static long arrays;

long fake_device_arrays(void)
{
    return arrays;
}

void *fake_device_open(uint64_t memory_bytes)
{
    fake_device *device = calloc(1, sizeof *device);
    device->most = memory_bytes ? memory_bytes : (size_t)1 << 40;
    awq_context_create(&device->ctx);
    awq_context_set_threads(device->ctx, 1);
    return device;
}

void fake_device_close(void *d)
{
    fake_device *device = d;
    if (device)
        awq_context_free(device->ctx);
    free(device);
}

/* Where an array is; a host's pointer given as the device's gives an address that faults. */
static void *at(const void *array)
{
    return array ? (void *)((uintptr_t)array ^ AWAY) : NULL;
}

/* ---- memory: its size lies before an array ---- */

static void enter(void *d)
{
    (void)d;
}

static void *allocate(void *d, size_t bytes)
{
    fake_device *device = d;
    if (device->bytes + bytes > device->most)
        return NULL;
    size_t whole = (bytes + 255) / 256 * 256 + 256;
    size_t *array = aligned_alloc(256, whole);
    if (!array)
        return NULL;
    memset(array, 0xcd, whole);
    array[0] = bytes;
    device->bytes += bytes;
    arrays++;
    return (void *)(((uintptr_t)array + 256) ^ AWAY);
}

static void release(void *d, void *array)
{
    fake_device *device = d;
    if (!array)
        return;
    size_t *begin = (size_t *)(void *)((char *)at(array) - 256);
    device->bytes -= begin[0];
    arrays--;
    free(begin);
}

static size_t free_bytes(void *d)
{
    const fake_device *device = d;
    return device->most - device->bytes;
}

static void upload(void *d, void *to, const void *from, size_t bytes)
{
    (void)d;
    memcpy(at(to), from, bytes);
}

static void download(void *d, void *to, const void *from, size_t bytes)
{
    (void)d;
    memcpy(to, at(from), bytes);
}

static void copy(void *d, void *to, const void *from, size_t bytes)
{
    (void)d;
    memcpy(at(to), at(from), bytes);
}

static void clear(void *d, void *array, size_t bytes)
{
    (void)d;
    memset(at(array), 0, bytes);
}

static const char *finish(void *d)
{
    (void)d;
    return NULL;
}

/* ---- matrices ---- */

static float value_of(const awq__device_matrix *w, int64_t n, int64_t k)
{
    int64_t i = n * w->cols + k;
    float value = w->type == AWQ__DEVICE_BF16 ? awq__bf16_to_f32(((const uint16_t *)at(w->data))[i])
                                              : ((const float *)at(w->data))[i];
    const float *col = at(w->col_scale), *row = at(w->row_scale);
    value *= col ? col[k] : 1;
    return value * (row ? row[n] : 1);
}

/* With the multipliers, in host memory. */
static float *widened(const awq__device_matrix *w)
{
    float *out = malloc((size_t)(w->rows * w->cols) * sizeof *out);
    for (int64_t n = 0; n < w->rows; n++)
        for (int64_t k = 0; k < w->cols; k++)
            out[n * w->cols + k] = value_of(w, n, k);
    return out;
}

static const awq__compute *loops(void)
{
    return awq__compute_fastest();
}

static void linear(void *d, awq__device_grade grade, int64_t T, const float *x, int count,
                   const awq__device_matrix *w, float *const *y)
{
    (void)d;
    (void)grade;
    for (int i = 0; i < count; i++) {
        float *values = widened(&w[i]);
        loops()->multiply_nt(T, w[i].rows, w[i].cols, at(x), w[i].cols, values, w[i].cols, 0,
                             at(y[i]), w[i].rows);
        free(values);
        if (w[i].bias)
            loops()->add_row(T, w[i].rows, at(w[i].bias), at(w[i].bias_scale), at(y[i]), w[i].rows);
    }
}

static void gram(void *d, int64_t T, int64_t K, int64_t g, const float *x, float *out)
{
    (void)d;
    loops()->gram(T, K, g, at(x), K, at(out));
}

static void sketch(void *d, int64_t T, int64_t K, const float *x, uint64_t seed, int64_t count,
                   float *rows)
{
    (void)d;
    loops()->sketch(T, K, at(x), K, seed, count, at(rows));
}

static void attend(const awq__device_attention *a, int64_t L, int64_t head, const float *q,
                   const float *k, const float *v, float *c)
{
    int64_t D = a->head_dim, Q = a->heads * D, KV = a->kv_heads * D;
    int64_t kv = head / (a->heads / a->kv_heads);
    const float *sinks = at(a->sinks);
    float *scores = malloc((size_t)(L * L) * sizeof *scores);
    loops()->multiply_nt(L, L, D, q + head * D, Q, k + kv * D, KV, 0, scores, L);
    loops()->causal_softmax(L, L, 0, a->window, a->scale, sinks ? sinks[head] : -INFINITY, scores);
    loops()->multiply_nn(L, D, L, scores, L, v + kv * D, KV, 0, c + head * D, Q);
    free(scores);
}

static void attention(void *d, const awq__device_attention *a, const float *q, const float *k,
                      const float *v, float *c)
{
    int64_t Q = a->heads * a->head_dim, KV = a->kv_heads * a->head_dim;
    (void)d;
    for (int64_t s = 0; s < a->sequences; s++) {
        int64_t first = a->offsets[s] - a->offsets[0], L = a->offsets[s + 1] - a->offsets[s];
        for (int64_t head = 0; head < a->heads; head++)
            attend(a, L, head, (const float *)at(q) + first * Q, (const float *)at(k) + first * KV,
                   (const float *)at(v) + first * KV, (float *)at(c) + first * Q);
    }
}

/* ---- rows ---- */

static void rms_norm(void *d, int64_t T, int64_t H, const float *x, const float *weight,
                     double epsilon, float *out)
{
    (void)d;
    loops()->rms_norm(T, H, at(x), at(weight), epsilon, at(out));
}

static void rotate(void *d, int64_t T, int64_t heads, int64_t D, int64_t pairs,
                   const int32_t *position, const float *cos_sin, float *x)
{
    const int32_t *positions = at(position);
    (void)d;
    for (int64_t t = 0; t < T; t++)
        loops()->rotate(1, heads, D, pairs, false,
                        (const float *)at(cos_sin) + positions[t] * 2 * pairs,
                        (float *)at(x) + t * heads * D);
}

static void activate(void *d, int64_t count, const awq__device_activation *a, const float *gate,
                     const float *up, float *out)
{
    const awq__activation activation = {
        .alpha = a->alpha, .limit = a->limit, .up_offset = a->up_offset};
    (void)d;
    loops()->activate(count, &activation, at(gate), at(up), at(out));
}

static void gather(void *d, int64_t T, int64_t K, const int32_t *index, const float *x, float *out)
{
    const int32_t *rows = at(index);
    (void)d;
    for (int64_t t = 0; t < T; t++)
        memcpy((float *)at(out) + t * K, (const float *)at(x) + rows[t] * K,
               (size_t)K * sizeof *out);
}

static void scale_rows(void *d, int64_t T, int64_t K, const float *weight, float *x)
{
    (void)d;
    loops()->scale(T, K, at(weight), NULL, at(x));
}

static void add_rows(void *d, int64_t T, int64_t H, const int32_t *index, const float *weight,
                     const float *x, float *out)
{
    const int32_t *rows = at(index);
    const float *weights = at(weight);
    (void)d;
    for (int64_t t = 0; t < T; t++)
        loops()->combine(1, 1, H, weights ? weights + t : NULL, (const float *)at(x) + t * H,
                         (float *)at(out) + (rows ? rows[t] : t) * H);
}

static void count_special(void *d, int64_t count, const float *x, int32_t *counter)
{
    const float *values = at(x);
    int32_t *total = at(counter);
    (void)d;
    for (int64_t i = 0; i < count; i++)
        *total += !isfinite(values[i]);
}

/* ---- sums ---- */

static void add_abs(void *d, int64_t T, int64_t K, const float *x, double *sums)
{
    (void)d;
    loops()->add_abs(T, K, at(x), K, at(sums));
}

static void add_slope(int64_t I, const awq__activation *a, float step, float *gate, float *up,
                      float *moved, const float *inner, float factor, double *sums)
{
    for (int64_t i = 0; i < I; i++)
        moved[i] += step;
    float *out = malloc((size_t)I * sizeof *out);
    loops()->activate(I, a, gate, up, out);
    loops()->add_squares(1, I, out, inner, &factor, sums);
    free(out);
    for (int64_t i = 0; i < I; i++)
        moved[i] -= step;
}

static void add_slopes(void *d, int64_t T, int64_t I, const awq__device_activation *a, float step,
                       const float *gate, const float *up, const float *weight, double *sums)
{
    const awq__activation activation = {
        .alpha = a->alpha, .limit = a->limit, .up_offset = a->up_offset};
    size_t bytes = (size_t)I * sizeof *gate;
    float *g = malloc(bytes), *u = malloc(bytes), *inner = malloc(bytes);
    double *both = at(sums);
    (void)d;
    for (int64_t t = 0; t < T; t++) {
        float factor = ((const float *)at(weight))[t] / step;
        memcpy(g, (const float *)at(gate) + t * I, bytes);
        memcpy(u, (const float *)at(up) + t * I, bytes);
        loops()->activate(I, &activation, g, u, inner);
        add_slope(I, &activation, step, g, u, g, inner, factor, both);
        add_slope(I, &activation, step, g, u, u, inner, factor, both + I);
    }
    free(g);
    free(u);
    free(inner);
}

static void add_column_squares(void *d, const awq__device_matrix *w, double *sums)
{
    float *values = widened(w);
    (void)d;
    loops()->add_squares(w->rows, w->cols, values, NULL, NULL, at(sums));
    free(values);
}

static void add_w_mean(void *d, const awq__device_matrix *w, int64_t group, double *sums)
{
    float *values = widened(w);
    (void)d;
    loops()->add_w_mean(w->rows, w->cols, group, values, at(sums));
    free(values);
}

static void add_squared_error(void *d, int64_t count, const float *a, const float *b, double *sum)
{
    double *total = at(sum);
    const float *p = at(a), *q = at(b);
    (void)d;
    for (int64_t i = 0; i < count; i++) {
        double difference = (double)p[i] - (q ? (double)q[i] : 0);
        *total += difference * difference;
    }
}

static void largest_difference(void *d, int64_t count, const float *a, const float *b,
                               float *largest)
{
    (void)d;
    *(float *)at(largest) = (float)loops()->largest_difference(count, at(a), at(b));
}

static void compare_logits(void *d, int64_t rows, int64_t V, const float *logits,
                           const float *reference, const int32_t *targets, double *stats)
{
    awq__logit_stats s = {0};
    double *sums = at(stats);
    (void)d;
    loops()->compare_logits(rows, V, at(logits), at(reference), at(targets), &s);
    sums[0] += s.nll;
    sums[1] += s.reference_nll;
    sums[2] += s.kl;
    sums[3] += (double)s.same_top1;
}

/* ---- rounding ---- */

static awq__scheme scheme_of(const awq__device_scheme *s)
{
    return (awq__scheme){.code = (awq__code)s->code,
                         .bits = s->bits,
                         .group = s->group,
                         .symmetric = s->symmetric,
                         .grid = (awq__scale_grid)s->grid};
}

static awq__stats stats_of(const awq__device_gram *gram_of)
{
    return (awq__stats){.cols = gram_of->cols,
                        .group = gram_of->group,
                        .rows = gram_of->rows,
                        .gram = at(gram_of->values)};
}

static void losses(void *d, const awq__device_matrix *w, const awq__device_scheme *scheme,
                   const float *ranges, const awq__device_gram *gram_of, const float *row_weight,
                   int count, const float *scale, const float *unscale, double *out)
{
    const awq__scheme rounded = scheme_of(scheme);
    const awq__stats stats = stats_of(gram_of);
    int64_t N = w->rows, K = w->cols, width = stats.rows > K ? stats.rows : K;
    float *values = widened(w), *error = malloc((size_t)(N * K) * sizeof *error);
    float *product = malloc((size_t)(N * width) * sizeof *product);
    (void)d;
    for (int c = 0; c < count; c++) {
        loops()->quantize_error(N, K, &rounded, at(ranges),
                                scale ? (const float *)at(scale) + c * K : NULL,
                                scale ? (const float *)at(unscale) + c * K : NULL, values, error);
        ((double *)at(out))[c] +=
            awq__error_loss(loops(), &stats, N, error, at(row_weight), product);
    }
    free(values);
    free(error);
    free(product);
}

static void clip(void *d, const awq__device_matrix *w, const awq__device_scheme *scheme,
                 const awq__device_gram *gram_of, float *ranges)
{
    const fake_device *device = d;
    const awq__scheme rounded = scheme_of(scheme);
    const awq__stats stats = stats_of(gram_of);
    float *values = widened(w);
    awq__weight plain = awq__weight_plain("w", AWQ_F32, values, w->rows, w->cols);
    awq__search_clip(device->ctx, loops(), &plain, &rounded, &stats, at(ranges));
    free(values);
}

static void quantize(void *d, const awq__device_matrix *w, const awq__device_scheme *scheme,
                     const float *ranges, uint8_t *codes, float *scales, uint8_t *zeros,
                     int32_t *bad)
{
    const awq__scheme rounded = scheme_of(scheme);
    float *values = widened(w);
    (void)d;
    *(int32_t *)at(bad) += !loops()->quantize(w->rows, w->cols, &rounded, values, at(ranges),
                                              at(codes), at(scales), at(zeros));
    free(values);
}

static void fake_quantize(void *d, const awq__device_matrix *w, const awq__device_scheme *scheme,
                          const float *ranges, const float *unscale, float *out)
{
    const awq__scheme rounded = scheme_of(scheme);
    float *values = widened(w);
    (void)d;
    awq__fake_quantize(w->rows, w->cols, &rounded, at(ranges), at(unscale), values);
    memcpy(at(out), values, (size_t)(w->rows * w->cols) * sizeof *out);
    free(values);
}

static void rescale_gram(void *d, const awq__device_gram *gram_of, const float *factor)
{
    awq__stats stats = stats_of(gram_of);
    (void)d;
    stats.abs_sums = calloc((size_t)stats.cols, sizeof *stats.abs_sums);
    awq__stats_rescale(loops(), &stats, at(factor));
    free(stats.abs_sums);
}

static void gram_blocks(void *d, const awq__device_gram *from, const awq__device_gram *to)
{
    const fake_device *device = d;
    awq__stats whole = stats_of(from), blocks = {0};
    whole.abs_sums = calloc((size_t)whole.cols, sizeof *whole.abs_sums);
    awq__stats_blocks(device->ctx, loops(), &whole, to->group, &blocks);
    memcpy(at(to->values), blocks.gram, (size_t)(to->cols * to->group) * sizeof *to->values);
    awq__stats_free(&blocks);
    free(whole.abs_sums);
}

static void read_codes(void *d, int64_t N, int64_t K, const awq__device_scheme *scheme,
                       const uint8_t *codes, const float *scales, const uint8_t *zeros,
                       const float *unscale, float *out)
{
    const awq__codes of = {.rows = N,
                           .cols = K,
                           .scheme = scheme_of(scheme),
                           .codes = at(codes),
                           .scales = at(scales),
                           .zeros = at(zeros)};
    (void)d;
    awq__codes_read(&of, 0, N, at(out));
    loops()->scale(N, K, NULL, at(unscale), at(out));
}

static void diagonal(void *d, const awq__device_gram *gram_of, float *out)
{
    const awq__stats stats = stats_of(gram_of);
    (void)d;
    awq__stats_diagonal(&stats, at(out));
}

/* A Hessian is the gram and its damping: it is factorized again for each weight. */
typedef struct hessian {
    int64_t cols, group;
    double damping;
    float gram[];
} hessian;

static size_t hessian_bytes(void *d, int64_t K, int64_t g)
{
    (void)d;
    (void)g;
    return sizeof(hessian) + (size_t)(K * K) * sizeof(float);
}

static awq_status make_gptq(const fake_device *device, const hessian *h, float *work,
                            awq__gptq *gptq)
{
    memcpy(work, h->gram, (size_t)(h->cols * h->cols) * sizeof *work);
    return awq__gptq_create(device->ctx, loops(), "w", work, h->cols, h->group, h->damping, gptq);
}

static bool factorize(void *d, int64_t K, int64_t g, const int32_t *order, double damping,
                      double mean, bool again, float *gram_of, void *to)
{
    hessian *h = at(to);
    float *work = malloc((size_t)(K * K) * sizeof *work);
    awq__gptq gptq;
    (void)mean;
    if (!again)
        memcpy(h->gram, at(gram_of), (size_t)(K * K) * sizeof *work);
    h->cols = K;
    h->group = g;
    h->damping = damping;
    bool done = make_gptq(d, h, work, &gptq) == AWQ_OK && gptq.damping <= damping;
    for (int64_t k = 0; k < K && done; k++)
        done = gptq.order[k] == order[k];
    awq__gptq_free(&gptq);
    free(work);
    return done;
}

static void gptq_round(void *d, const void *from, const awq__device_matrix *w,
                       const awq__device_scheme *scheme, int ranges, int sweeps, uint8_t *codes,
                       float *scales, uint8_t *zeros, int32_t *bad)
{
    const fake_device *device = d;
    const hessian *h = at(from);
    const awq__gptq_effort effort = {ranges, sweeps};
    float *work = malloc((size_t)(h->cols * h->cols) * sizeof *work), *values = widened(w);
    awq__weight plain = awq__weight_plain("w", AWQ_F32, values, w->rows, w->cols);
    awq__codes to = {.rows = w->rows,
                     .cols = w->cols,
                     .scheme = scheme_of(scheme),
                     .codes = at(codes),
                     .scales = at(scales),
                     .zeros = at(zeros)};
    awq__gptq gptq;
    bool done = make_gptq(device, h, work, &gptq) == AWQ_OK &&
                awq__gptq_round_all(device->ctx, loops(), &gptq, &effort, &plain, &to) == AWQ_OK;
    *(int32_t *)at(bad) += !done;
    awq__gptq_free(&gptq);
    free(values);
    free(work);
}

static void decode_mxfp4(void *d, int64_t rows, int64_t cols, const uint8_t *blocks,
                         const uint8_t *scales, void *out)
{
    awq__weight weight = awq__weight_mxfp4("w", at(blocks), at(scales), rows, cols, 1);
    float *values = malloc((size_t)(rows * cols) * sizeof *values);
    uint16_t *to = at(out);
    (void)d;
    awq__weight_read(loops(), &weight, 0, rows, values);
    for (int64_t i = 0; i < rows * cols; i++)
        to[i] = awq__f32_to_bf16(values[i]);
    free(values);
}

const awq__device_operations fake_device_operations = {
    .struct_size = sizeof fake_device_operations,
    .enter = enter,
    .allocate = allocate,
    .release = release,
    .free_bytes = free_bytes,
    .upload = upload,
    .download = download,
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
    .hessian_bytes = hessian_bytes,
    .factorize = factorize,
    .gptq = gptq_round,
    .decode_mxfp4 = decode_mxfp4,
};
