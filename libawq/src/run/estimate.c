/*
 * Estimates what a run will need, from the plan and a short measurement of this machine. Operations
 * are the multiplications and additions of matrix products. Other work is included by the share of
 * the products' speed that a stage reaches, or by operations a weight. Both were measured on layers
 * of real size (tests/bench/README.md).
 */
#include "quant/gptq.h"
#include "run/job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Shares of the speed of large products that the stages reach. */
#define FORWARD_SHARE 0.65
#define STATISTICS_SHARE 0.4
#define SEARCH_SHARE 0.7
#define PROOF_SHARE 0.6
#define CLIP_SHARE 0.5
#define GPTQ_SHARE 0.65
/* Other work for a weight, in operations. */
#define READ_OPERATIONS 250   /* widened and looked at for NaN */
#define ROUND_OPERATIONS 1200 /* rounded and packed */
#define TRIAL_OPERATIONS 50   /* an error of rounding */
#define MEASURE_SECONDS 0.2
#define MOST_THREADS 1024
/* Of a device: the share of the speed of its large products that all of a layer reaches, and work
   space beside what stands in its memory. */
#define DEVICE_SHARE 0.08
#define DEVICE_WORK_BYTES 3e9
#define MEASURE_SIZE 512
#define MEASURE_READ_BYTES ((size_t)64 << 20)

typedef struct estimator {
    const awq__model_plan *plan;
    double tokens;      /* of the calibration */
    double operations;  /* of products */
    double effort;      /* operations at the products' speed that take as long as all */
    double read, write; /* bytes */
    double on_device;   /* bytes of the largest layer with its statistics on a device */
    int threads;
    awq_status status; /* a failure to find a module's weights */
} estimator;

static void add(estimator *e, double operations, double share)
{
    e->operations += operations;
    e->effort += operations / share;
}

/* ---- one matrix ---- */

/* How many candidates the coarse-to-fine search of ratios tries, of 2 + steps. */
static double candidate_count(int64_t steps)
{
    int64_t stride = 1, count = 2;
    while (stride * 6 < steps)
        stride *= 2;
    for (int64_t r = 0; r < steps; r += stride)
        count++;
    for (; stride > 1; stride /= 2)
        count += 2;
    return (double)awq__min(count, steps + 2);
}

/* Ranges that clip tries for a group. */
static double range_count(const awq__scheme *scheme)
{
    return scheme->code == AWQ__CODE_E2M1 ? 3 : scheme->symmetric ? 14 : 26;
}

/* Search, clip and rounding of a matrix whose input `tokens` tokens pass; `rows` of its gram. */
static void add_quantized(estimator *e, const awq__module *module, const awq__treatment *treatment,
                          const awq__scheme *scheme, double tokens, double rows)
{
    double N = (double)module->rows, K = (double)module->cols, g = (double)scheme->group;
    double weights = N * K;
    if (treatment->calibrate &&
        awq__has_own_gram(module->part)) /* what has one input has one gram */
        add(e, 2 * tokens * K * (rows < K ? g : K), STATISTICS_SHARE);
    if (treatment->scale) {
        double tried = candidate_count(e->plan->settings.quantize.ratio_steps);
        add(e, tried * 2 * rows * weights, SEARCH_SHARE);
        e->effort += tried * TRIAL_OPERATIONS * weights;
    }
    if (treatment->clip) {
        double tried = range_count(scheme);
        add(e, tried * g * weights, CLIP_SHARE);
        e->effort += tried * TRIAL_OPERATIONS * weights;
    }
    if (treatment->gptq) {
        bool joined = !awq__has_own_gram(module->part);
        double sweeps = (double)e->plan->settings.quantize.gptq_sweeps;
        double block = (double)awq__gptq_block(module->cols, scheme->group);
        double gram = rows < K && !joined ? tokens * K * K : 0, factor = joined ? 0 : K * K * K / 3;
        add(e, gram + factor + weights * (K + (1 + 4 * sweeps) * block), GPTQ_SHARE);
    }
    e->effort += ROUND_OPERATIONS * weights;
}

/* What a device has of a matrix: BF16, its gram or a sketch, exact blocks. */
static double device_bytes(const awq__module *module, const awq__treatment *treatment, double rows,
                           double group)
{
    double K = (double)module->cols, weights = (double)module->rows * K;
    bool own = treatment && treatment->calibrate && awq__has_own_gram(module->part);
    return 2 * weights + (own ? sizeof(float) * K * (rows + (rows < K ? group : 0)) : 0);
}

/* ---- one layer ---- */

/* Tokens that reach a module: all, or an expert's share of them. */
static double tokens_of(const estimator *e, const awq__module *module)
{
    const awq_arch_experts *experts = &e->plan->model->arch->layers[module->layer].experts;
    if (module->role != AWQ_ROLE_EXPERT)
        return e->tokens;
    return e->tokens * (double)experts->per_token / (double)experts->count;
}

static double module_bytes(estimator *e, const awq__module *module)
{
    awq__found found;
    awq_status status = awq__model_find(e->plan->model, module, NULL, &found);
    if (status != AWQ_OK)
        e->status = status;
    return status == AWQ_OK ? (double)found.bytes : 0;
}

static void add_layer(estimator *e, int64_t layer)
{
    const awq__arch *arch = e->plan->model->arch;
    double T = e->tokens, there = 0, stored = 0;
    double proven = fmin(T, AWQ__SAMPLE_TOKENS), scaled = 0;
    bool calibrates = e->plan->rules.calibrate;
    for (size_t i = arch->layer_first[layer]; i < arch->layer_first[layer + 1]; i++) {
        const awq__module *module = &arch->modules[i];
        const awq__treatment *treatment = e->plan->rules.of[i];
        double weights = (double)module->rows * (double)module->cols;
        double tokens = tokens_of(e, module), bytes = module_bytes(e, module);
        stored += bytes;
        if (calibrates && !module->vector)
            add(e, 2 * tokens * weights, FORWARD_SHARE);
        e->effort += READ_OPERATIONS * weights;
        if (!treatment)
            there += device_bytes(module, NULL, 0, 0);
        if (!treatment)
            continue;
        awq__scheme scheme = awq__model_plan_scheme(e->plan, i, AWQ_BF16);
        double least = (double)e->plan->settings.calibration.min_expert_tokens;
        double seen = module->role == AWQ_ROLE_EXPERT ? fmax(tokens, fmin(least, T)) : tokens;
        double rows = awq__gram_rows(e->plan, module, seen);
        add_quantized(e, module, treatment, &scheme, seen, rows);
        there += device_bytes(module, treatment, rows, (double)scheme.group);
        if (treatment->scale)
            scaled += weights * proven * tokens / T;
    }
    /* The block is run as it is and as it is folded. */
    add(e, 2 * 2 * scaled, PROOF_SHARE);
    e->read += stored;
    e->on_device = fmax(e->on_device, there);
}

/* ---- this machine ---- */

typedef struct measurement {
    const awq__compute *compute;
    float *matrices; /* [threads][3][MEASURE_SIZE^2] */
    double rates[MOST_THREADS];
} measurement;

static awq_status multiply(void *arg, int64_t index, int worker)
{
    measurement *m = arg;
    (void)worker;
    const int64_t n = MEASURE_SIZE;
    float *a = m->matrices + index * 3 * n * n;
    m->compute->multiply_nt(n, n, n, a, n, a + n * n, n, 0, a + 2 * n * n, n); /* wakes it up */
    double start = awq__now_seconds(), seconds = 0, operations = 0;
    while (seconds < MEASURE_SECONDS) {
        m->compute->multiply_nt(n, n, n, a, n, a + n * n, n, 0, a + 2 * n * n, n);
        operations += 2.0 * (double)(n * n * n);
        seconds = awq__now_seconds() - start;
    }
    m->rates[index] = operations / seconds;
    return AWQ_OK;
}

static awq_status measure_products(awq_context *ctx, int threads, double *rate)
{
    measurement m = {.compute = awq__compute_of(ctx)};
    size_t floats = 3 * (size_t)threads * MEASURE_SIZE * MEASURE_SIZE;
    m.matrices = awq__alloc_host(ctx, floats, sizeof *m.matrices, "a measurement");
    AWQ__CHECK_ALLOC(m.matrices);
    for (size_t i = 0; i < floats; i++)
        m.matrices[i] = 1;
    awq_status status = awq__parallel_for(ctx, threads, multiply, &m);
    *rate = 0;
    for (int i = 0; i < threads; i++)
        *rate += m.rates[i];
    awq__free_aligned(m.matrices);
    return status;
}

/* Bytes a second of the largest tensor's beginning, from the disk or the system's cache of it. */
static awq_status measure_reading(awq_context *ctx, const awq__arch *arch, double *rate)
{
    const awq__tensor *largest = NULL;
    for (size_t i = 0; arch->checkpoint && i < awq__checkpoint_count(arch->checkpoint); i++) {
        const awq__tensor *tensor = awq__checkpoint_at(arch->checkpoint, i);
        if (!largest || tensor->bytes > largest->bytes)
            largest = tensor;
    }
    *rate = 0;
    if (!largest)
        return AWQ_OK;
    size_t bytes = largest->bytes < MEASURE_READ_BYTES ? largest->bytes : MEASURE_READ_BYTES;
    size_t block = bytes < AWQ__READ_BLOCK ? bytes : AWQ__READ_BLOCK;
    uint8_t *to = awq__alloc(ctx, block, 1, "a measurement");
    awq_status status;
    AWQ__TRY_ALLOC(to);
    double start = awq__now_seconds();
    for (size_t at = 0; at < bytes; at += block)
        AWQ__TRY(awq__tensor_read(ctx, largest, at, bytes - at < block ? bytes - at : block, to));
    double seconds = awq__now_seconds() - start;
    if (seconds > 0)
        *rate = (double)bytes / seconds;
done:
    awq__free(to);
    return status;
}

/* ---- a device ---- */

static awq_status fill_device(awq_context *ctx, const estimator *e, awq_estimate *estimate)
{
    double states = 2 * sizeof(float) * e->tokens * (double)e->plan->model->arch->model.hidden_size;
    snprintf(estimate->device, sizeof estimate->device, "%s", awq__device_name(ctx));
    estimate->device_memory_bytes = (uint64_t)(states + e->on_device + DEVICE_WORK_BYTES);
    AWQ__CHECK(awq__device_rate(ctx, &estimate->operations_per_second));
    estimate->seconds = e->operations / (DEVICE_SHARE * estimate->operations_per_second);
    return AWQ_OK;
}

/* Nothing where the processor computes. */
static awq_status estimate_device(awq_context *ctx, const estimator *e, awq_estimate *estimate)
{
    awq_status status;
    const awq__settings *settings = &e->plan->settings;
    AWQ__TRY(awq__device_begin(ctx, settings->device, settings->device_memory));
    if (awq__device_name(ctx))
        AWQ__TRY(fill_device(ctx, e, estimate));
done:
    awq__device_end(ctx);
    return status;
}

/* ---- the whole ---- */

static double calibration_tokens(const awq__settings *settings)
{
    return (double)settings->calibration.samples * (double)settings->calibration.sequence_length;
}

/* Where memory is limited, fewer workers run. */
static void add_memory(const awq__memory_need *need, const awq__memory_limit *limit,
                       awq_estimate *estimate)
{
    bool limited = limit->source[0] != 0;
    double most = limited ? fmax(need->least, (double)limit->bytes - need->process) : INFINITY;
    estimate->memory_bytes = (uint64_t)(need->process + fmin(need->usual, most));
    estimate->least_memory_bytes = (uint64_t)(need->process + need->least);
    estimate->memory_limit_bytes = limited ? limit->bytes : 0;
    snprintf(estimate->memory_limit_source, sizeof estimate->memory_limit_source, "%s",
             limit->source);
}

awq_status awq__estimate(awq_context *ctx, const awq__model_plan *plan,
                         const awq__memory_need *need, const awq__memory_limit *limit,
                         uint64_t result_bytes, awq_estimate *estimate)
{
    const awq__arch *arch = plan->model->arch;
    estimator e = {.plan = plan,
                   .tokens = plan->rules.calibrate ? calibration_tokens(&plan->settings) : 0,
                   .threads = awq__threads(ctx)};
    if (e.threads > MOST_THREADS)
        e.threads = MOST_THREADS;
    for (int64_t n = 0; n < arch->model.layer_count; n++)
        add_layer(&e, n);
    *estimate = (awq_estimate){.threads = e.threads,
                               .calibration_tokens = (uint64_t)e.tokens,
                               .disk_bytes = result_bytes,
                               .operations = e.operations};
    AWQ__CHECK(e.status);
    AWQ__CHECK(measure_products(ctx, e.threads, &estimate->operations_per_second));
    AWQ__CHECK(measure_reading(ctx, arch, &estimate->read_bytes_per_second));
    add_memory(need, limit, estimate);
    estimate->seconds = e.effort / estimate->operations_per_second;
    if (awq__model_has_weights(plan->model))
        AWQ__CHECK(estimate_device(ctx, &e, estimate));
    if (estimate->read_bytes_per_second > 0)
        estimate->seconds += (e.read + (double)result_bytes) / estimate->read_bytes_per_second;
    return AWQ_OK;
}
