/*
 * A table of operations with a memory of its own does a whole run: what a backend for another
 * device needs. Its operations are those of the fastest table, but look where the arrays are.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/compute.h"
#include "runs.h"

#include <stdatomic.h>
#include <sys/mman.h>

/* ---- the memory: a range of addresses that are used one after the other ---- */

#define ADDRESSES ((size_t)64 << 30)
#define PAGE ((size_t)4096)

static unsigned char *device;
static _Atomic size_t used;
static _Atomic long arrays, elsewhere, operations;

static void *allocate(size_t bytes)
{
    size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
    size_t at = atomic_fetch_add(&used, whole);
    if (at + whole > ADDRESSES || mprotect(device + at, whole, PROT_READ | PROT_WRITE))
        return NULL;
    atomic_fetch_add(&arrays, 1);
    return device + at;
}

static void release(void *array)
{
    (void)array;
    atomic_fetch_sub(&arrays, 1);
}

static const awq__memory memory = {.allocate = allocate, .release = release};

/* ---- the operations ---- */

static const awq__compute *inner;

static void look_at(const void *array, const char *operation)
{
    const unsigned char *at = array;
    atomic_fetch_add(&operations, 1);
    if (!array || (at >= device && at < device + ADDRESSES))
        return;
    if (!atomic_fetch_add(&elsewhere, 1))
        print_error("%s: an array is not in the table's memory\n", operation);
}
#define look(array) look_at(array, __func__)

static void multiply_nt(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    look(x);
    look(w);
    look(y);
    inner->multiply_nt(T, N, K, x, ldx, w, ldw, beta, y, ldy);
}

static void multiply_nn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    look(x);
    look(w);
    look(y);
    inner->multiply_nn(T, N, K, x, ldx, w, ldw, beta, y, ldy);
}

static void multiply_tn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    look(x);
    look(w);
    look(y);
    inner->multiply_tn(T, N, K, x, ldx, w, ldw, beta, y, ldy);
}

static void gram(int64_t T, int64_t K, int64_t g, const float *x, int64_t ldx, float *out)
{
    look(x);
    look(out);
    inner->gram(T, K, g, x, ldx, out);
}

static void rms_norm(int64_t T, int64_t H, const float *x, const float *weight, double epsilon,
                     float *out)
{
    look(x);
    look(weight);
    look(out);
    inner->rms_norm(T, H, x, weight, epsilon, out);
}

static void rotate(int64_t T, int64_t heads, int64_t D, int64_t pairs, const float *cos_sin,
                   float *x)
{
    look(cos_sin);
    look(x);
    inner->rotate(T, heads, D, pairs, cos_sin, x);
}

static void causal_softmax(int64_t T, int64_t S, int64_t first, int64_t window, float scale,
                           float sink, float *scores)
{
    look(scores);
    inner->causal_softmax(T, S, first, window, scale, sink, scores);
}

static void activate(int64_t count, const awq__activation *activation, const float *gate,
                     const float *up, float *out)
{
    look(gate);
    look(up);
    look(out);
    inner->activate(count, activation, gate, up, out);
}

static void gather(int64_t T, int64_t K, const int64_t *index, int64_t step, const float *x,
                   float *out)
{
    look(x);
    look(out);
    inner->gather(T, K, index, step, x, out);
}

static void scatter(int64_t T, int64_t K, const int64_t *index, int64_t first, const float *x,
                    float *out)
{
    look(x);
    look(out);
    inner->scatter(T, K, index, first, x, out);
}

static void combine(int64_t T, int64_t k, int64_t H, const float *weight, const float *parts,
                    float *out)
{
    look(parts);
    look(out);
    inner->combine(T, k, H, weight, parts, out);
}

static void sketch(int64_t T, int64_t K, const float *x, int64_t ldx, uint64_t seed, int64_t count,
                   float *rows)
{
    look(x);
    look(rows);
    inner->sketch(T, K, x, ldx, seed, count, rows);
}

static void mirror(int64_t K, float *m)
{
    look(m);
    inner->mirror(K, m);
}

/* Factors may be anywhere: they are small. */
static void scale(int64_t N, int64_t K, const float *row, const float *col, float *x)
{
    look(x);
    inner->scale(N, K, row, col, x);
}

static double squared_error(int64_t T, int64_t N, const float *a, const float *b,
                            const float *weight)
{
    look(a);
    look(b);
    return inner->squared_error(T, N, a, b, weight);
}

static double weighted_dot(int64_t N, int64_t K, const float *a, const float *b,
                           const float *weight)
{
    look(a);
    look(b);
    return inner->weighted_dot(N, K, a, b, weight);
}

static void quadratic(int64_t N, int64_t K, const float *e, const float *m, float *product,
                      double *sums)
{
    look(e);
    look(m);
    look(product);
    inner->quadratic(N, K, e, m, product, sums);
}

static void group_extents(int64_t N, int64_t K, int64_t g, const float *w, awq__range *range)
{
    look(w);
    look(range);
    inner->group_extents(N, K, g, w, range);
}

static bool quantize(int64_t N, int64_t K, const awq__scheme *scheme, const float *w,
                     const awq__range *range, uint8_t *codes, float *scales, uint8_t *zeros)
{
    look(w);
    look(range);
    look(codes);
    look(scales);
    look(zeros);
    return inner->quantize(N, K, scheme, w, range, codes, scales, zeros);
}

static void quantize_error(int64_t N, int64_t K, const awq__scheme *scheme, const awq__range *range,
                           const float *scale, const float *unscale, const float *w, float *error)
{
    look(range);
    look(scale);
    look(unscale);
    look(w);
    look(error);
    inner->quantize_error(N, K, scheme, range, scale, unscale, w, error);
}

static void compare_logits(int64_t rows, int64_t V, const float *logits, const float *reference,
                           const int32_t *targets, awq__logit_stats *stats)
{
    look(logits);
    look(reference);
    inner->compare_logits(rows, V, logits, reference, targets, stats);
}

static awq__compute device_table(void)
{
    awq__compute table = *inner;
    table.name = "device";
    table.memory = &memory;
    table.multiply_nt = multiply_nt;
    table.multiply_nn = multiply_nn;
    table.multiply_tn = multiply_tn;
    table.gram = gram;
    table.rms_norm = rms_norm;
    table.rotate = rotate;
    table.causal_softmax = causal_softmax;
    table.activate = activate;
    table.gather = gather;
    table.scatter = scatter;
    table.combine = combine;
    table.sketch = sketch;
    table.mirror = mirror;
    table.scale = scale;
    table.squared_error = squared_error;
    table.weighted_dot = weighted_dot;
    table.quadratic = quadratic;
    table.group_extents = group_extents;
    table.quantize = quantize;
    table.quantize_error = quantize_error;
    table.compare_logits = compare_logits;
    return table;
}

/* ---- runs ---- */

static void check(const fixture *f, const char *model, const char *const *options)
{
    char kept[1100];
    awq_recipe *recipe = short_recipe(f, model);
    awq_quantize_options how = {.struct_size = sizeof how};
    awq__compute table = device_table();
    for (; *options; options += 2)
        assert_ok(f, awq_recipe_set(recipe, options[0], options[1], NULL));
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, NULL));
    snprintf(kept, sizeof kept, "%s.kept", output);
    assert_int_equal(rename(output, kept), 0);
    operations = elsewhere = 0;
    awq__compute_use(f->ctx, &table);
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, NULL));
    awq_recipe_free(recipe);
    assert_true(operations > 1000);
    assert_int_equal(elsewhere, 0);
    assert_int_equal(arrays, 0); /* all released */
    assert_same_file(f, output, kept, "model.safetensors");
}

static void all_arrays_are_the_tables(void **state)
{
    check(*state, AWQ_TEST_DATA "/mixtral-tiny",
          (const char *const[]){"quantize.modules", "*", "quantize.sketch_rows", "64", NULL});
}

/* A shared expert, and GPTQ's own loops. */
static void other_families_too(void **state)
{
    check(*state, AWQ_TEST_DATA "/qwen2_moe-tiny",
          (const char *const[]){"quantize.rounding", "gptq", NULL});
}

/* And sinks. */
static void fused_experts_too(void **state)
{
    check(*state, AWQ_TEST_DATA "/gpt_oss-tiny", (const char *const[]){NULL});
}

/* What is measured to foretell seconds, too. */
static void plans_too(void **state)
{
    const fixture *f = *state;
    awq_recipe *recipe = short_recipe(f, AWQ_TEST_DATA "/mixtral-tiny");
    awq__compute table = device_table();
    awq_plan *plan;
    awq_estimate estimate;
    operations = elsewhere = 0;
    awq__compute_use(f->ctx, &table);
    assert_ok(f, awq_plan_create(f->ctx, recipe, &plan));
    assert_ok(f, awq_plan_estimate(f->ctx, plan, &estimate));
    awq_plan_free(plan);
    awq_recipe_free(recipe);
    assert_true(operations > 0);
    assert_int_equal(elsewhere, 0);
    assert_int_equal(arrays, 0);
}

static int set_up_device(void **state)
{
    if (set_up_run(state))
        return -1;
    inner = awq__compute_fastest();
    used = 0;
    device = mmap(NULL, ADDRESSES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return device == MAP_FAILED;
}

static int tear_down_device(void **state)
{
    munmap(device, ADDRESSES);
    return tear_down(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_arrays_are_the_tables, set_up_device, tear_down_device),
        cmocka_unit_test_setup_teardown(other_families_too, set_up_device, tear_down_device),
        cmocka_unit_test_setup_teardown(fused_experts_too, set_up_device, tear_down_device),
        cmocka_unit_test_setup_teardown(plans_too, set_up_device, tear_down_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
