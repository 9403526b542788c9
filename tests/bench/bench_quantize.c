/*
 * One whole quantization, with what it took: seconds of each stage, their share, peak memory, and
 * this machine's matrix product speed measured just before, to set them against.
 *
 *   bench_quantize PLUGIN_DIR OPTION=VALUE...      (options of a recipe; lists take one value)
 */
#include "awq/awq.h"
#include "compute/compute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define SIDE 2048

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* GFLOP/s of a single-precision product on one thread, the best of five. */
static double product_speed(void)
{
    size_t count = (size_t)SIDE * SIDE;
    float *a = calloc(count, sizeof *a), *b = calloc(count, sizeof *b),
          *c = calloc(count, sizeof *c);
    double best = 0;
    if (!a || !b || !c)
        exit(1);
    for (size_t i = 0; i < count; i++)
        a[i] = b[i] = (float)(i % 7) - 3;
    for (int i = 0; i < 5; i++) {
        double start = now();
        awq__compute_fastest()->multiply_nt(SIDE, SIDE, SIDE, a, SIDE, b, SIDE, 0, c, SIDE);
        double speed = 2.0 * SIDE * SIDE * SIDE / (now() - start) * 1e-9;
        best = speed > best ? speed : best;
    }
    free(a);
    free(b);
    free(c);
    return best;
}

static void print_line(void *user, awq_log_level level, const char *text)
{
    (void)user;
    (void)level;
    printf("%s\n", text);
}

static int check(const awq_context *ctx, awq_status status)
{
    if (status != AWQ_OK)
        fprintf(stderr, "%s: %s\n", awq_status_name(status), awq_context_message(ctx));
    return status != AWQ_OK;
}

int main(int count, char **arguments)
{
    awq_context *ctx;
    awq_recipe *recipe;
    awq_report *report;
    if (count < 3 || awq_context_create(&ctx) != AWQ_OK)
        return 2;
    awq_context_set_log(ctx, print_line, NULL);
    if (check(ctx, awq_context_add_plugin_path(ctx, arguments[1])) ||
        check(ctx, awq_recipe_create(ctx, &recipe)))
        return 1;
    for (int i = 2; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (!value)
            return 2;
        *value = 0;
        if (check(ctx, awq_recipe_set(recipe, arguments[i], value + 1, NULL)))
            return 2;
    }
    printf("single-precision product, one thread: %.1f GFLOP/s; threads: %d\n", product_speed(),
           awq_context_threads(ctx));
    awq_quantize_options options = {.struct_size = sizeof options, .force = true, .restart = true};
    double start = now();
    if (check(ctx, awq_quantize(ctx, recipe, &options, &report)))
        return 1;
    double seconds = now() - start;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("seconds: %.2f\npeak memory: %.0f MB\n", seconds, (double)usage.ru_maxrss / 1024);
    const awq_eval_result *result = awq_report_evaluation(report);
    if (result)
        printf("perplexity %.4f -> %.4f, KL %.6f, top-1 %.4f, same experts %.4f\n",
               result->reference_perplexity, result->perplexity, result->kl, result->top1_agreement,
               result->router_topk_agreement);
    awq_report_free(report);
    awq_recipe_free(recipe);
    awq_context_free(ctx);
    return 0;
}
