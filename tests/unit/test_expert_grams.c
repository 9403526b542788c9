/* What GPTQ is told of an expert's inputs is the same, whether the pass has gathered it, or there
   was no memory for it and the tokens pass once more. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "backend/cpu.h"
#include "unit/layer_run.h"

enum { STARVED = 1 };

static handmade model;
static int gathered, passes;

/* The CPU's, where nothing is left of the memory. */
static awq_status pass_without_memory(awq__block *block)
{
    awq__context_limit_bytes(block->ctx, 0);
    return awq__backend_cpu.pass(block);
}

/* The CPU's, which counts what is gathered. */
static awq_status statistics(awq__block *block)
{
    for (int64_t i = 0; i < block->seen_count && block->kind == AWQ__BLOCK_EXPERTS; i++)
        gathered += block->seen[i].data->whole.cols > 0;
    passes++;
    return awq__backend_cpu.statistics(block);
}

static void run_with(const fixture *f, const awq__backend *backend, const char *const *options)
{
    awq__backend_use(f->ctx, backend);
    gathered = passes = 0;
    awq_recipe *recipe = layer_recipe(f, &model, options);
    assert_ok(f, awq_recipe_set(recipe, "output", output, NULL));
    cJSON_Delete(report_of(f, recipe));
    awq__backend_use(f->ctx, &awq__backend_cpu);
}

static void check(const fixture *f, const char *const *options)
{
    char whole[1024];
    awq__backend counting = awq__backend_cpu, starved;
    counting.statistics = statistics;
    starved = counting;
    starved.pass = pass_without_memory;
    snprintf(whole, sizeof whole, "%s", output);
    run_with(f, &counting, options);
    assert_true(passes > 0 && gathered == 2 * MADE_E);
    snprintf(output, sizeof output, "%.1000s-starved", whole);
    run_with(f, &starved, options);
    assert_true(passes > 0 && gathered == 0);
    assert_same_file(f, whole, output, "model.safetensors");
    snprintf(output, sizeof output, "%.1000s", whole);
}

static void gathered_or_summed_later(void **state)
{
    const fixture *f = *state;
    const char *scaled[] = {"quantize.sketch_rows",
                            "8",
                            "quantize.rounding",
                            "gptq",
                            "calibration.min_expert_tokens",
                            "20",
                            NULL};
    const char *alone[] = {"quantize.sketch_rows", "8", "quantize.method", "gptq", NULL};
    handmade_draw(&model, 43);
    handmade_starve(&model, STARVED);
    check(f, scaled);
    check(f, alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAYER_TEST(gathered_or_summed_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
