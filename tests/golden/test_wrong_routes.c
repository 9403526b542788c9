/* A plugin's routing that goes wrong at any of its calls, in the middle of whatever work. */
#define awq_plugin_v1 mixtral_plugin
#include "../../plugins/mixtral/mixtral.c"
#undef awq_plugin_v1

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "runs.h"

#include <stdatomic.h>

#define TINY AWQ_TEST_DATA "/mixtral-tiny"

static atomic_int calls_left;

/* Every expert gets tokens, until the calls are used up. */
static void route(int64_t layer, const float *logits, int64_t tokens, int64_t experts,
                  int64_t per_token, int32_t *index, float *weight)
{
    bool right = atomic_fetch_sub(&calls_left, 1) > 0;
    (void)layer;
    (void)logits;
    for (int64_t i = 0; i < tokens * per_token; i++) {
        index[i] = right ? (int32_t)((i / per_token + i) % experts) : 99;
        weight[i] = 1 / (float)per_token;
    }
}

static awq_status run(const fixture *f, int calls)
{
    const char *options[] = {"calibration.data",
                             TINY "/calib.jsonl",
                             "calibration.samples",
                             "2",
                             "calibration.sequence_length",
                             "32",
                             NULL};
    awq_recipe *recipe = recipe_of(f, TINY, options);
    awq_quantize_options how = {.struct_size = sizeof how, .restart = true};
    atomic_store(&calls_left, calls);
    awq_status status = awq_quantize(f->ctx, recipe, &how, NULL);
    awq_recipe_free(recipe);
    return status;
}

/* The calls of a run: statistics, and the proof's three, of each layer. */
static void a_wrong_choice_is_an_error_wherever_it_comes(void **state)
{
    fixture *f = *state;
    awq_plugin plugin = mixtral_plugin;
    plugin.route = route;
    assert_ok(f, awq_context_add_plugin(f->ctx, &plugin));
    int calls = 0;
    for (awq_status status; (status = run(f, calls)) != AWQ_OK; calls++) {
        assert_string_equal(awq_status_name(status), "AWQ_ERROR_PLUGIN");
        if (!strstr(awq_context_message(f->ctx), "routed to expert 99, expected 0 to"))
            fail_msg("%d calls: %s", calls, awq_context_message(f->ctx));
    }
    assert_true(calls >= 8);
    assert_true(awq__is_directory(output));
}

static int set_up_alone(void **state)
{
    if (set_up(state))
        return -1;
    snprintf(output, sizeof output, "%s/out", ((fixture *)*state)->directory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_wrong_choice_is_an_error_wherever_it_comes, set_up_alone,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
