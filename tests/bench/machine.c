#include "machine.h"

#include "compute/compute.h"

#include <string.h>
#include <time.h>

#define SIDE 768
#define TRIAD_FLOATS ((int64_t)1 << 24) /* of each array: well beyond any cache */
#define LEAST_ROUNDS 3
#define WINDOW_SECONDS 0.2

double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* One round is a task for each thread. */
typedef struct rounds {
    awq_context *ctx;
    awq__task_fn task;
    void *arg;
    int64_t tasks;
    double work; /* of a round */
} rounds;

/* What a processor second gives, of rounds that add up to a window: the clock of a process is too
   coarse for one of them. */
static void end_window(double work, double *processor_start, speed *s)
{
    double now = processor_seconds();
    s->processor = larger(s->processor, work / (now - *processor_start));
    *processor_start = now;
}

static awq_status run_rounds(const rounds *r, double seconds, speed *s)
{
    double total = 0, window = 0, window_work = 0;
    int count = 0;
    awq_status status = awq__parallel_for(r->ctx, r->tasks, r->task, r->arg); /* warm up */
    double processor_start = processor_seconds();
    *s = (speed){0};
    for (; status == AWQ_OK && (count < LEAST_ROUNDS || total < seconds); count++) {
        double start = awq__now_seconds();
        status = awq__parallel_for(r->ctx, r->tasks, r->task, r->arg);
        double took = awq__now_seconds() - start;
        total += took;
        window += took;
        window_work += r->work;
        s->best = larger(s->best, r->work / took);
        if (window < WINDOW_SECONDS)
            continue;
        end_window(window_work, &processor_start, s);
        window = window_work = 0;
    }
    if (s->processor == 0)
        end_window(window_work, &processor_start, s);
    s->mean = count * r->work / total;
    return status;
}

/* ---- products ---- */

static awq_status multiply(void *arg, int64_t index, int worker)
{
    float *a = (float *)arg + 3 * index * SIDE * SIDE, *b = a + SIDE * SIDE, *c = b + SIDE * SIDE;
    (void)worker;
    awq__compute_fastest()->multiply_nt(SIDE, SIDE, SIDE, a, SIDE, b, SIDE, 0, c, SIDE);
    return AWQ_OK;
}

static awq_status measure_products(awq_context *ctx, double seconds, machine *m)
{
    size_t count = (size_t)m->threads * 3 * SIDE * SIDE;
    float *matrices = awq__alloc_aligned(ctx, count, sizeof *matrices, "matrices");
    if (!matrices)
        return AWQ_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        matrices[i] = (float)(i % 7) - 3;
    const double operations = 2e-9 * SIDE * SIDE * SIDE;
    rounds r = {.ctx = ctx, .task = multiply, .arg = matrices, .tasks = 1, .work = operations};
    awq_status status = run_rounds(&r, seconds, &m->one);
    r.tasks = m->threads;
    r.work = operations * m->threads;
    if (status == AWQ_OK)
        status = run_rounds(&r, seconds, &m->all);
    awq__free_aligned(matrices);
    return status;
}

/* ---- memory ---- */

typedef struct triad_job {
    float *a, *b, *c;
    int64_t each;
} triad_job;

static awq_status triad(void *arg, int64_t index, int worker)
{
    const triad_job *j = arg;
    (void)worker;
    float *restrict a = j->a + index * j->each;
    const float *restrict b = j->b + index * j->each, *restrict c = j->c + index * j->each;
    for (int64_t i = 0; i < j->each; i++)
        a[i] = b[i] + 3 * c[i];
    return AWQ_OK;
}

static awq_status measure_memory(awq_context *ctx, double seconds, machine *m)
{
    float *arrays = awq__alloc_aligned(ctx, 3 * TRIAD_FLOATS, sizeof *arrays, "arrays");
    if (!arrays)
        return AWQ_ERROR_MEMORY;
    memset(arrays, 0, 3 * TRIAD_FLOATS * sizeof *arrays);
    triad_job j = {arrays, arrays + TRIAD_FLOATS, arrays + 2 * TRIAD_FLOATS,
                   TRIAD_FLOATS / m->threads};
    rounds r = {.ctx = ctx, .task = triad, .arg = &j, .tasks = m->threads};
    r.work = 3e-9 * (double)(j.each * m->threads) * sizeof *arrays;
    awq_status status = run_rounds(&r, seconds, &m->memory);
    awq__free_aligned(arrays);
    return status;
}

awq_status machine_measure(awq_context *ctx, double seconds, machine *m)
{
    *m = (machine){.threads = awq__threads(ctx)};
    awq_status status = measure_products(ctx, seconds, m);
    return status == AWQ_OK ? measure_memory(ctx, seconds, m) : status;
}
