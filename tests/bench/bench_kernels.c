/*
 * Rates of the CUDA kernels on the shapes of full-size layers: milliseconds (the median of several
 * runs), TFLOP/s or GB/s, and the share of what this device reaches in a large product of the same
 * arithmetic, or in a copy. Run by hand on a machine with a GPU.
 */
#include "kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS 5
#define QUEUES 4
#define ARENA_BYTES ((size_t)20 << 30)

static char *arena;
static size_t arena_at;
static awq__cuda_queue *queues[QUEUES];
#define Q (queues[0])

static void check(int error)
{
    if (!error)
        return;
    fprintf(stderr, "bench_kernels: %s\n", awq__cuda_error_text(error));
    exit(1);
}

static void *room(size_t bytes)
{
    void *at = arena + arena_at;
    arena_at += (bytes + 255) / 256 * 256;
    if (arena_at > ARENA_BYTES) {
        fprintf(stderr, "bench_kernels: %zu bytes are more than the arena has\n", arena_at);
        exit(1);
    }
    return at;
}

/* Random values, repeated from a block of 1 << 22: products of zeros are faster than true ones. */
static float *values(int64_t count)
{
    enum { BLOCK = 1 << 22 };
    static float *block;
    if (!block) {
        block = malloc(BLOCK * sizeof *block);
        if (!block)
            exit(1);
        for (int i = 0; i < BLOCK; i++)
            block[i] = (float)rand() / (float)RAND_MAX + (float)rand() / (float)RAND_MAX - 1;
    }
    float *to = room((size_t)count * sizeof *to);
    for (int64_t at = 0; at < count; at += BLOCK) {
        int64_t n = count - at < BLOCK ? count - at : BLOCK;
        check((int)cudaMemcpy(to + at, block, (size_t)n * sizeof *to, cudaMemcpyHostToDevice));
    }
    return to;
}

static awq__cuda_terms terms(int64_t rows, int64_t cols)
{
    float *x = values(rows * cols);
    uint16_t *high = room((size_t)(rows * cols) * 2), *low = room((size_t)(rows * cols) * 2);
    check(awq__cuda_split(Q, rows, cols, x, cols, NULL, 1, NULL, NULL, high, low));
    return (awq__cuda_terms){rows, cols, cols, high, low};
}

static awq__cuda_weight weight(int64_t rows, int64_t cols)
{
    awq__cuda_terms t = terms(rows, cols);
    return (awq__cuda_weight){.dtype = AWQ__CUDA_BF16,
                              .rows = rows,
                              .cols = cols,
                              .data = t.high,
                              .row_stride = cols,
                              .col_stride = 1};
}

/* ---- timing ---- */

typedef int (*work)(void *of);

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Milliseconds; all queues are waited for. */
static double time_of(work run, void *of)
{
    float times[RUNS];
    cudaEvent_t begin, end;
    check((int)cudaEventCreate(&begin));
    check((int)cudaEventCreate(&end));
    check(run(of));
    for (int i = 0; i < RUNS; i++) {
        check((int)cudaDeviceSynchronize());
        check((int)cudaEventRecord(begin, awq__cuda_queue_stream(Q)));
        for (int q = 1; q < QUEUES; q++)
            check((int)cudaStreamWaitEvent(awq__cuda_queue_stream(queues[q]), begin, 0));
        check(run(of));
        check((int)cudaDeviceSynchronize());
        check((int)cudaEventRecord(end, awq__cuda_queue_stream(Q)));
        check((int)cudaEventSynchronize(end));
        check((int)cudaEventElapsedTime(&times[i], begin, end));
    }
    check((int)cudaEventDestroy(begin));
    check((int)cudaEventDestroy(end));
    qsort(times, RUNS, sizeof *times, compare);
    return (double)times[RUNS / 2];
}

static double peak_bf16, peak_tf32, peak_f32, peak_copy;

static void report(const char *what, double ms, double amount, const char *unit, double peak)
{
    double rate = amount / ms / 1e9; /* T a second */
    if (!strcmp(unit, "GB/s"))
        rate *= 1e3;
    printf("%-58s %9.3f ms %8.1f %-8s %5.1f %%\n", what, ms, rate, unit,
           peak > 0 ? 100 * rate / peak : 100.0);
}

/* ---- products ---- */

typedef struct product_case {
    awq__cuda_terms x, w[8];
    float *y;
    int64_t count, matrices; /* products, in turn by the matrices */
    int queues;
} product_case;

static int run_products(void *of)
{
    product_case *c = of;
    for (int64_t i = 0; i < c->count; i++) {
        int q = (int)(i % c->queues);
        int error = awq__cuda_product(queues[q], &c->x, &c->w[i % c->matrices], false,
                                      c->y + q * c->x.rows * c->w[0].rows, c->w[0].rows);
        if (error)
            return error;
    }
    return 0;
}

static void products(const char *what, int64_t T, int64_t N, int64_t K, int64_t count, int two)
{
    size_t mark = arena_at;
    product_case c = {.x = terms(T, K), .count = count, .matrices = count < 8 ? count : 8};
    for (int64_t i = 0; i < c.matrices; i++) {
        c.w[i] = terms(N, K);
        c.w[i].low = NULL;
    }
    if (!two)
        c.x.low = NULL;
    c.y = values(T * N * QUEUES);
    for (c.queues = 1; c.queues <= QUEUES; c.queues *= QUEUES) {
        char line[96];
        double ms = time_of(run_products, &c);
        double flop = 2.0 * (double)T * (double)N * (double)K * (double)count * (two ? 2 : 1);
        snprintf(line, sizeof line, "%s, %d queue%s", what, c.queues, c.queues > 1 ? "s" : "");
        if (!two && count == 1 && c.queues == 1)
            peak_bf16 = flop / ms / 1e9;
        report(line, ms, flop, "TFLOP/s", peak_bf16);
        if (count == 1)
            break;
    }
    arena_at = mark;
}

typedef struct float_case {
    float *x, *w, *y;
    int64_t n;
    bool tf32;
} float_case;

static int run_float(void *of)
{
    float_case *c = of;
    return awq__cuda_product_f32(Q, c->n, c->n, c->n, c->x, c->n, c->w, c->n, c->tf32, false, c->y,
                                 c->n);
}

static int run_copy(void *of)
{
    float_case *c = of;
    return (int)cudaMemcpyAsync(c->y, c->x, (size_t)(c->n * c->n) * 4, cudaMemcpyDeviceToDevice,
                                awq__cuda_queue_stream(Q));
}

static void peaks(void)
{
    size_t mark = arena_at;
    float_case c = {.n = 8192, .tf32 = true};
    double flop = 2.0 * 8192 * 8192 * 8192;
    c.x = values(c.n * c.n);
    c.w = values(c.n * c.n);
    c.y = values(c.n * c.n);
    products("8192^3 in BF16", c.n, c.n, c.n, 1, 0);
    double ms = time_of(run_float, &c);
    peak_tf32 = flop / ms / 1e9;
    report("8192^3 in TF32", ms, flop, "TFLOP/s", peak_tf32);
    c.tf32 = false;
    ms = time_of(run_float, &c);
    peak_f32 = flop / ms / 1e9;
    report("8192^3 in F32", ms, flop, "TFLOP/s", peak_f32);
    arena_at = mark;
    c.n = 32768;
    c.x = values(c.n * c.n);
    c.y = values(c.n * c.n);
    ms = time_of(run_copy, &c);
    peak_copy = 2.0 * 4 * (double)(c.n * c.n) / ms / 1e6;
    report("copy of 4 GiB", ms, 2.0 * 4 * (double)(c.n * c.n), "GB/s", peak_copy);
    arena_at = mark;
}

/* ---- rows ---- */

typedef struct rows_case {
    int64_t T, K, k;
    float *x, *y, *out, *weight, *table;
    int32_t *index;
    uint16_t *high, *low;
    double *sums;
    awq__cuda_activation activation;
    awq__cuda_routing routing;
} rows_case;

static int run_split(void *of)
{
    rows_case *c = of;
    return awq__cuda_split(Q, c->T, c->K, c->x, c->K, c->index, c->k, NULL, NULL, c->high, c->low);
}

static int run_activate(void *of)
{
    rows_case *c = of;
    return awq__cuda_activate(Q, c->T, c->K, &c->activation, c->x, c->y, c->K, NULL, NULL, c->high,
                              c->low);
}

static int run_norm(void *of)
{
    rows_case *c = of;
    return awq__cuda_rms_norm(Q, c->T, c->K, c->x, c->weight, 0, 1e-6, c->out);
}

static int run_scatter(void *of)
{
    rows_case *c = of;
    return awq__cuda_scatter_add(Q, c->T, c->K, c->index, c->k, NULL, c->x, c->out);
}

static int run_abs(void *of)
{
    rows_case *c = of;
    return awq__cuda_add_abs(Q, c->T, c->K, c->x, c->K, NULL, c->sums);
}

static int run_slopes(void *of)
{
    rows_case *c = of;
    return awq__cuda_add_slopes(Q, c->T, c->K, &c->activation, 0.01f, c->x, c->y, c->K, NULL,
                                c->sums);
}

static int run_sketch(void *of)
{
    rows_case *c = of;
    return awq__cuda_sketch(Q, c->T, c->K, c->x, c->K, NULL, 5, 512, false, c->out);
}

static int run_route(void *of)
{
    rows_case *c = of;
    return awq__cuda_route(Q, c->T, 128, 8, &c->routing, c->x, 8, c->index, c->out);
}

static int run_group(void *of)
{
    rows_case *c = of;
    int32_t *first = (int32_t *)c->sums, *slots = (int32_t *)c->y, *place = slots + c->T * 8;
    return awq__cuda_group(Q, c->T * 8, 128, c->index, first, slots, place);
}

static void rows(void)
{
    size_t mark = arena_at;
    int64_t T = 65536, K = 2048, count = T * K;
    rows_case c = {.T = T,
                   .K = K,
                   .k = 1,
                   .activation = {1, INFINITY, 0},
                   .routing = {AWQ__CUDA_SOFTMAX_TOPK, true, 1}};
    int32_t *order = malloc((size_t)T * sizeof *order);
    if (!order)
        exit(1);
    for (int64_t t = 0; t < T; t++)
        order[t] = (int32_t)(t * 40503 % T);
    c.x = values(count);
    c.y = values(count);
    c.out = values(count);
    c.weight = values(K);
    c.high = room((size_t)count * 2);
    c.low = room((size_t)count * 2);
    c.sums = room((size_t)K * 16 + 4096);
    c.index = room((size_t)T * 8 * sizeof *c.index);
    check((int)cudaMemcpy(c.index, order, (size_t)T * sizeof *order, cudaMemcpyHostToDevice));
    free(order);
    double bytes = 4 * (double)count;
    report("split and gather [65536,2048]", time_of(run_split, &c), 2 * bytes, "GB/s", peak_copy);
    report("activate to terms", time_of(run_activate, &c), 3 * bytes, "GB/s", peak_copy);
    report("norm", time_of(run_norm, &c), 2 * bytes, "GB/s", peak_copy);
    report("scatter_add", time_of(run_scatter, &c), 3 * bytes, "GB/s", peak_copy);
    report("add_abs", time_of(run_abs, &c), bytes, "GB/s", peak_copy);
    report("add_slopes", time_of(run_slopes, &c), 2 * bytes, "GB/s", peak_copy);
    report("sketch of 512 rows", time_of(run_sketch, &c), bytes, "GB/s", peak_copy);
    report("route 8 of 128", time_of(run_route, &c), 4.0 * 128 * (double)T, "GB/s", peak_copy);
    report("group by 128 experts", time_of(run_group, &c), 12.0 * 8 * (double)T, "GB/s", peak_copy);
    arena_at = mark;
}

/* ---- attention ---- */

static int run_attention(void *of)
{
    return awq__cuda_attend(Q, of);
}

static void attention(const char *what, int64_t heads, int64_t kv, int64_t D, int64_t window,
                      int64_t L)
{
    size_t mark = arena_at;
    int64_t T = 65536, S = T / L;
    int32_t offsets[1025];
    awq__cuda_attention a = {.sequences = S,
                             .longest = L,
                             .heads = heads,
                             .kv_heads = kv,
                             .D = D,
                             .Dv = D,
                             .window = window,
                             .scale = 0.1f,
                             .ldq = heads * D,
                             .ldk = kv * D,
                             .ldv = kv * D,
                             .ldc = heads * D};
    for (int64_t i = 0; i <= S; i++)
        offsets[i] = (int32_t)(i * L);
    a.q = values(T * a.ldq);
    a.k = values(T * a.ldk);
    a.v = values(T * a.ldv);
    a.c = values(T * a.ldc);
    int32_t *there = room(sizeof offsets);
    check((int)cudaMemcpy(there, offsets, sizeof offsets, cudaMemcpyHostToDevice));
    a.offsets = there;
    double keys = window && window < L ? (double)window : (double)(L + 1) / 2;
    double ms = time_of(run_attention, &a);
    report(what, ms, 4.0 * (double)(T * heads * D) * keys, "TFLOP/s", peak_f32);
    arena_at = mark;
}

/* ---- statistics, search, clip, GPTQ ---- */

typedef struct gram_case {
    awq__cuda_terms x;
    int64_t g;
    float *gram;
} gram_case;

static int run_gram(void *of)
{
    gram_case *c = of;
    return awq__cuda_gram(Q, &c->x, c->g, c->gram);
}

static void gram(const char *what, int64_t T, int64_t K, int64_t g)
{
    size_t mark = arena_at;
    gram_case c = {terms(T, K), g, values(K * g)};
    double flop = 4.0 * (double)T * (double)K * (double)g;
    report(what, time_of(run_gram, &c), flop, "TFLOP/s", peak_bf16);
    arena_at = mark;
}

typedef struct weight_case {
    awq__cuda_weight weight;
    awq__cuda_scheme scheme;
    awq__cuda_stats stats;
    int64_t candidates;
    float *scale, *scales, *blocks;
    awq__cuda_range *range;
    uint8_t *codes, *zeros;
    void *space;
    double *losses;
    awq__cuda_gptq gptq;
    float *raw;
    int *failed, sweeps;
} weight_case;

static int run_losses(void *of)
{
    weight_case *c = of;
    return awq__cuda_add_losses(Q, &c->weight, &c->scheme, &c->stats, c->candidates, c->scale,
                                c->scale, NULL, NULL, c->space, c->losses);
}

static int run_clip(void *of)
{
    weight_case *c = of;
    return awq__cuda_clip(Q, &c->weight, &c->scheme, c->blocks, c->range);
}

static int run_quantize(void *of)
{
    weight_case *c = of;
    return awq__cuda_quantize(Q, &c->weight, &c->scheme, 0, c->weight.rows, c->range, c->codes,
                              c->scales, c->zeros);
}

static int run_factor(void *of)
{
    weight_case *c = of;
    return awq__cuda_gptq_factor(Q, &c->gptq, 1e3, 1, true, c->raw, c->space, c->failed);
}

static int run_gptq(void *of)
{
    weight_case *c = of;
    return awq__cuda_gptq_round(Q, &c->gptq, &c->scheme, 8, c->sweeps, false, &c->weight, c->space,
                                c->codes, c->scales, c->zeros);
}

static void searches(int64_t N, int64_t K)
{
    size_t mark = arena_at;
    char line[96];
    double elements = (double)(N * K);
    weight_case c = {.weight = weight(N, K),
                     .candidates = 8,
                     .scheme = {AWQ__CUDA_CODE_INTEGER, 4, 128, false, AWQ__CUDA_GRID_F16}};
    c.scale = values(8 * K);
    c.range = room((size_t)(N * K / 128) * sizeof *c.range);
    c.codes = room((size_t)(N * K));
    c.zeros = room((size_t)(N * K / 128));
    c.scales = room((size_t)(N * K / 128) * 4);
    c.losses = room(64);
    c.blocks = values(K * 128);
    c.stats = (awq__cuda_stats){K, 512, values(K * 512)};
    c.space = room(awq__cuda_losses_bytes(&c.weight, &c.stats, 8));
    snprintf(line, sizeof line, "losses of 8, [%lld,%lld], sketch 512", (long long)N, (long long)K);
    report(line, time_of(run_losses, &c), 8 * 2.0 * elements * 512, "TFLOP/s", peak_tf32);
    snprintf(line, sizeof line, "clip asymmetric g128 (26 ranges, half of G)");
    report(line, time_of(run_clip, &c), 26 * elements * 136, "TFLOP/s", peak_tf32);
    report("quantize within ranges", time_of(run_quantize, &c), elements * 3, "GB/s", peak_copy);
    arena_at = mark;
    if (K > 8192)
        return;
    c.stats = (awq__cuda_stats){K, 0, NULL};
    c.weight = weight(N, K);
    c.scale = values(8 * K);
    c.stats.gram = values(K * K);
    c.losses = room(64);
    c.space = room(awq__cuda_losses_bytes(&c.weight, &c.stats, 8));
    snprintf(line, sizeof line, "losses of 8, [%lld,%lld], whole G", (long long)N, (long long)K);
    report(line, time_of(run_losses, &c), 8 * 2.0 * elements * (double)K, "TFLOP/s", peak_tf32);
    arena_at = mark;
}

static void gptq(int64_t N, int64_t K)
{
    size_t mark = arena_at;
    char line[96];
    weight_case c = {.weight = weight(N, K),
                     .scheme = {AWQ__CUDA_CODE_INTEGER, 4, 128, false, AWQ__CUDA_GRID_F16}};
    int32_t *order = malloc((size_t)K * sizeof *order);
    if (!order)
        exit(1);
    for (int64_t k = 0; k < K; k++)
        order[k] = (int32_t)k;
    gram_case g = {terms(1024, K), K, values(K * K)};
    check((int)cudaMemset(g.gram, 0, (size_t)(K * K) * 4));
    check(run_gram(&g));
    check(awq__cuda_gram_finish(Q, K, K, g.gram));
    size_t blocks = awq__cuda_gptq_blocks_bytes(K, 128);
    c.gptq = (awq__cuda_gptq){K,         128,       g.gram,       values(K * K),
                              values(K), values(K), room(blocks), room(blocks),
                              room((size_t)K * sizeof *order)};
    check((int)cudaMemcpy(c.gptq.order, order, (size_t)K * sizeof *order, cudaMemcpyHostToDevice));
    free(order);
    c.raw = values(K);
    c.failed = room(4);
    c.codes = room((size_t)(N * K));
    c.zeros = room((size_t)(N * K / 128));
    c.scales = room((size_t)(N * K / 128) * 4);
    size_t factor = awq__cuda_gptq_factor_bytes(Q, &c.gptq), whole = awq__cuda_gptq_bytes(&c.gptq, N);
    c.space = room(factor > whole ? factor : whole);
    double cube = (double)K * (double)K * (double)K;
    snprintf(line, sizeof line, "gptq: factors of [%lld,%lld]", (long long)K, (long long)K);
    report(line, time_of(run_factor, &c), cube / 3, "TFLOP/s", peak_f32);
    for (c.sweeps = 0; c.sweeps < 2; c.sweeps++) {
        double square = (double)N * (double)K * (double)K;
        snprintf(line, sizeof line, "gptq: [%lld,%lld], %d sweeps", (long long)N, (long long)K,
                 c.sweeps);
        report(line, time_of(run_gptq, &c), square + c.sweeps * 8.0 * 128 * (double)(N * K), "TFLOP/s", peak_f32);
    }
    arena_at = mark;
}

/* ---- logits ---- */

typedef struct logits_case {
    float *p, *q;
    int32_t *targets;
    awq__cuda_logit_stats *stats;
} logits_case;

static int run_logits(void *of)
{
    logits_case *c = of;
    return awq__cuda_compare_logits(Q, 1024, 151936, c->q, c->p, 151936, c->targets, c->stats);
}

static void logits(void)
{
    size_t mark = arena_at;
    logits_case c = {values(1024 * 151936), values(1024 * 151936), room(4096), room(64)};
    check((int)cudaMemset(c.targets, 0, 4096));
    double bytes = 2.0 * 4 * 1024 * 151936;
    report("compare logits [1024,151936]", time_of(run_logits, &c), bytes, "GB/s", peak_copy);
    arena_at = mark;
}

int main(void)
{
    struct cudaDeviceProp device;
    check((int)cudaGetDeviceProperties(&device, 0));
    printf("%s\n", device.name);
    check((int)cudaMalloc((void **)&arena, ARENA_BYTES));
    for (int q = 0; q < QUEUES; q++)
        check(awq__cuda_queue_create(&queues[q]));
    peaks();
    products("Qwen3 gate and up, 32 x [4096,2048][1536,2048], 2 terms", 4096, 1536, 2048, 32, 1);
    products("Qwen3 gate, 64 x [4096,2048][768,2048], 2 terms", 4096, 768, 2048, 64, 1);
    products("Qwen3 down, 32 x [4096,768][2048,768], 2 terms", 4096, 2048, 768, 32, 1);
    products("Mixtral gate, [16384,4096][14336,4096], 2 terms", 16384, 14336, 4096, 2, 1);
    products("gpt-oss gate, 16 x [8192,2880][2880,2880], 2 terms", 8192, 2880, 2880, 16, 1);
    rows();
    attention("attention, 32 heads of 128, 4 kv, L 512", 32, 4, 128, 0, 512);
    attention("attention, 64 heads of 64, 8 kv, L 512, window 128", 64, 8, 64, 128, 512);
    attention("attention, 32 heads of 128, 8 kv, L 4096", 32, 8, 128, 0, 4096);
    gram("gram, 4096 tokens of 2048", 4096, 2048, 2048);
    gram("gram, 16384 tokens of 4096", 16384, 4096, 4096);
    gram("blocks of 128, 4096 tokens of 2048", 4096, 2048, 128);
    gram("blocks of 128, 65536 tokens of 2048", 65536, 2048, 128);
    searches(1536, 2048);
    searches(2048, 768);
    searches(14336, 4096);
    gptq(1536, 2048);
    gptq(2048, 768);
    gptq(14336, 4096);
    logits();
    for (int q = 0; q < QUEUES; q++)
        awq__cuda_queue_free(queues[q]);
    return 0;
}
