/* Scales that F16 holds with few digits, or not at all: told with the tensor and a better format.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "core/convert.h"
#include "rules.h"
#include "temp_files.h"

#define MIXTRAL AWQ_TEST_DATA "/mixtral-tiny"
#define SCALED "model.layers.1.block_sparse_moe.experts.2.w2"

static void write_scaled(fixture *f, const awq__tensor *t, awq__output *output, float factor)
{
    size_t count = t->bytes / 2;
    uint16_t *stored = malloc(t->bytes);
    float *values = malloc(count * sizeof *values);
    assert_true(stored && values);
    succeeds(f->ctx, awq__tensor_read(f->ctx, t, 0, t->bytes, stored));
    succeeds(f->ctx, awq__widen(f->ctx, AWQ_BF16, stored, count, values));
    for (size_t i = 0; i < count; i++)
        values[i] *= factor;
    succeeds(f->ctx, awq__narrow(f->ctx, AWQ_BF16, values, count, stored));
    succeeds(f->ctx, awq__output_write(output, t->name, stored, t->bytes));
    free(stored);
    free(values);
}

/* The tiny Mixtral with one matrix times a power of two. */
static void write_model(fixture *f, float factor)
{
    awq__checkpoint *tiny;
    awq__output *output;
    succeeds(f->ctx, awq__checkpoint_open(f->ctx, MIXTRAL, &tiny));
    succeeds(f->ctx, awq__output_begin(f->ctx, path_of(f, "model"), false, &output));
    for (size_t i = 0; i < awq__checkpoint_count(tiny); i++) {
        const awq__tensor *t = awq__checkpoint_at(tiny, i);
        succeeds(f->ctx, awq__output_declare(output, t->name, t->dtype, t->rank, t->shape));
    }
    succeeds(f->ctx, awq__output_layout(output, (uint64_t)1 << 30));
    for (size_t i = 0; i < awq__checkpoint_count(tiny); i++) {
        const awq__tensor *t = awq__checkpoint_at(tiny, i);
        write_scaled(f, t, output, strcmp(t->name, SCALED ".weight") ? 1 : factor);
    }
    succeeds(f->ctx, awq__output_copy(output, MIXTRAL "/config.json"));
    succeeds(f->ctx, awq__output_copy(output, MIXTRAL "/tokenizer.json"));
    succeeds(f->ctx, awq__output_commit(output));
    awq__output_free(output);
    awq__checkpoint_free(tiny);
}

/* The last warning that speaks of 2^-16. */
static void listen(void *user, awq_log_level level, const char *text)
{
    if (level == AWQ_LOG_WARNING && strstr(text, "2^-16"))
        snprintf(user, 512, "%s", text);
}

static awq_status quantize(fixture *f, const char *format, char told[512])
{
    awq_recipe *recipe;
    char place[4096];
    told[0] = 0;
    snprintf(place, sizeof place, "%s-%s", path_of(f, "out"), format);
    succeeds(f->ctx, awq_recipe_create(f->ctx, &recipe));
    set_options(f->ctx, recipe,
                PAIRS("model", path_of(f, "model"), "output", place, "format", format,
                      "quantize.method", "rtn"));
    awq_context_set_log(f->ctx, listen, told);
    awq_status status = awq_quantize(f->ctx, recipe, NULL, NULL);
    awq_context_set_log(f->ctx, NULL, NULL);
    awq_recipe_free(recipe);
    return status;
}

static void small_ones_are_told(void **state)
{
    fixture *f = *state;
    char told[512];
    succeeds(f->ctx, awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS));
    write_model(f, 0x1p-16f);
    static const char *const formats[] = {"awq", "gptq"};
    for (size_t i = 0; i < 2; i++) {
        char expected[512];
        succeeds(f->ctx, quantize(f, formats[i], told));
        snprintf(expected, sizeof expected,
                 SCALED ": is the first with group scales below 2^-16, of which there are 256, and "
                        "where the F16 of the %s format has fewer digits than BF16; better: "
                        "format: compressed-tensors, which stores them in BF16",
                 formats[i]);
        assert_string_equal(told, expected);
    }
    succeeds(f->ctx, quantize(f, "compressed-tensors", told));
    assert_string_equal(told, "");
}

static void large_ones_are_refused_with_a_format(void **state)
{
    fixture *f = *state;
    char told[512];
    succeeds(f->ctx, awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS));
    write_model(f, 0x1p30f);
    fails(f->ctx, quantize(f, "awq", told), AWQ_ERROR_NUMERIC, SCALED ": a group scale in rows ");
    assert_message(f, "F16, which ends at 65504; format: compressed-tensors stores it in BF16");
    succeeds(f->ctx, quantize(f, "compressed-tensors", told));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(small_ones_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_ones_are_refused_with_a_format, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
