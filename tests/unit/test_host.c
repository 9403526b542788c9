/* What a plugin may ask of config.json and of the checkpoint. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch/arch.h"
#include "temp_files.h"

#include <math.h>

/* A host over a config.json of this text. */
typedef struct asked {
    awq__host host;
    cJSON *config;
} asked;

static const awq_host *ask(fixture *f, asked *a, const char *text)
{
    assert_int_equal(awq__json_parse(f->ctx, "dir/config.json", text, strlen(text), &a->config),
                     AWQ_OK);
    awq__host_init(&a->host, f->ctx, "dir/config.json", a->config, NULL);
    return &a->host.table;
}

static void done(fixture *f, asked *a)
{
    cJSON_Delete(a->config);
    awq__clear(f->ctx);
}

static const char values[] = "{\"int\": 7, \"whole\": 3.0, \"half\": 0.5, \"huge\": 1e300, "
                             "\"text\": \"word\", \"yes\": true,"
                             " \"no\": false, \"nothing\": null, \"list\": [10, 11, [12, null]], "
                             "\"deep\": {\"er\": {\"int\": "
                             "9, \"nothing\": null}, \"3\": 33}}";

static void test_int(void **state)
{
    fixture *f = *state;
    asked a;
    const awq_host *host = ask(f, &a, values);
    int64_t value = -1;
    const int64_t fallback = 42;
    const struct {
        const char *key;
        int64_t value;
    } cases[] = {{"int", 7},         {"whole", 3},
                 {"deep.er.int", 9}, {"deep.3", 33},
                 {"list.0", 10},     {"list.2.0", 12},
                 {"absent", 42},     {"nothing", 42},
                 {"list.3", 42},     {"list.2.1", 42},
                 {"list.-1", 42},    {"list.x", 42},
                 {"list..0", 42},    {"list.0.more", 42},
                 {"int.more", 42},   {"deep.absent.int", 42},
                 {"nothing.x", 42},  {"list.99999999999999999999", 42}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(host->config_int(host, cases[i].key, &fallback, &value), AWQ_OK);
        if (value != cases[i].value)
            fail_msg("%s is %lld", cases[i].key, (long long)value);
    }
    assert_int_equal(host->config_int(host, "int", NULL, &value), AWQ_OK);
    assert_int_equal(value, 7);
    const char *wrong[] = {"half", "huge", "text", "yes", "list", "deep"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char message[128];
        snprintf(message, sizeof message, "dir/config.json: \"%s\" is not an integer", wrong[i]);
        assert_int_equal(host->config_int(host, wrong[i], &fallback, &value), AWQ_ERROR_FORMAT);
        assert_message(f, message);
    }
    done(f, &a);
}

static void test_long_key(void **state)
{
    fixture *f = *state;
    asked a;
    const awq_host *host = ask(f, &a, values);
    char key[1024];
    int64_t value;
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = 0;
    assert_int_equal(host->config_int(host, key, NULL, &value), AWQ_ERROR_FORMAT);
    assert_message(f, "dir/config.json: \"kkkk");
    done(f, &a);
}

static void test_number(void **state)
{
    fixture *f = *state;
    asked a;
    const awq_host *host = ask(f, &a, values);
    const double fallback = 0.25;
    double value;
    assert_int_equal(host->config_number(host, "half", NULL, &value), AWQ_OK);
    assert_true(value == 0.5);
    assert_int_equal(host->config_number(host, "int", NULL, &value), AWQ_OK);
    assert_true(value == 7);
    assert_int_equal(host->config_number(host, "nothing", &fallback, &value), AWQ_OK);
    assert_true(value == 0.25);
    assert_int_equal(host->config_number(host, "text", &fallback, &value), AWQ_ERROR_FORMAT);
    assert_message(f, "dir/config.json: \"text\" is not a number");
    done(f, &a);
}

static void test_bool(void **state)
{
    fixture *f = *state;
    asked a;
    const awq_host *host = ask(f, &a, values);
    const int fallback = 1;
    int value;
    assert_int_equal(host->config_bool(host, "yes", NULL, &value), AWQ_OK);
    assert_true(value == 1);
    assert_int_equal(host->config_bool(host, "no", NULL, &value), AWQ_OK);
    assert_true(value == 0);
    assert_int_equal(host->config_bool(host, "absent", &fallback, &value), AWQ_OK);
    assert_true(value == 1);
    assert_int_equal(host->config_bool(host, "int", &fallback, &value), AWQ_ERROR_FORMAT);
    assert_message(f, "dir/config.json: \"int\" is not true or false");
    done(f, &a);
}

static void test_string(void **state)
{
    fixture *f = *state;
    asked a;
    const awq_host *host = ask(f, &a, values);
    const char *fallback = "other", *none = NULL, *value;
    assert_int_equal(host->config_string(host, "text", NULL, &value), AWQ_OK);
    assert_string_equal(value, "word");
    assert_int_equal(host->config_string(host, "nothing", &fallback, &value), AWQ_OK);
    assert_string_equal(value, "other");
    assert_int_equal(host->config_string(host, "absent", &none, &value), AWQ_OK);
    assert_null(value);
    assert_int_equal(host->config_string(host, "int", &fallback, &value), AWQ_ERROR_FORMAT);
    assert_message(f, "dir/config.json: \"int\" is not a text");
    done(f, &a);
}

static void test_required(void **state)
{
    fixture *f = *state;
    asked a;
    const awq_host *host = ask(f, &a, values);
    int64_t i;
    double d;
    int b;
    const char *s;
    const char *keys[] = {"absent", "nothing", "deep.er.nothing", "list.7"};
    for (size_t n = 0; n < sizeof keys / sizeof *keys; n++) {
        char message[128];
        snprintf(message, sizeof message, "dir/config.json: \"%s\" is missing", keys[n]);
        assert_int_equal(host->config_int(host, keys[n], NULL, &i), AWQ_ERROR_FORMAT);
        assert_message(f, message);
        awq__clear(f->ctx);
        assert_int_equal(host->config_number(host, keys[n], NULL, &d), AWQ_ERROR_FORMAT);
        assert_message(f, message);
        awq__clear(f->ctx);
        assert_int_equal(host->config_bool(host, keys[n], NULL, &b), AWQ_ERROR_FORMAT);
        assert_message(f, message);
        awq__clear(f->ctx);
        assert_int_equal(host->config_string(host, keys[n], NULL, &s), AWQ_ERROR_FORMAT);
        assert_message(f, message);
        awq__clear(f->ctx);
    }
    done(f, &a);
}

static void test_fail(void **state)
{
    fixture *f = *state;
    asked a;
    const awq_host *host = ask(f, &a, "{}");
    assert_true(host->struct_size == sizeof(awq_host));
    assert_int_equal(host->abi_minor, AWQ_PLUGIN_ABI_MINOR);
    assert_int_equal((host->fail)(host, "it is 100%s odd"), AWQ_ERROR_UNSUPPORTED);
    assert_string_equal(awq_context_message(f->ctx), "dir/config.json: it is 100%s odd");
    done(f, &a);
}

static void test_has_tensor(void **state)
{
    fixture *f = *state;
    awq__checkpoint *checkpoint;
    awq__host host;
    assert_int_equal(awq__checkpoint_open(f->ctx, AWQ_TEST_DATA "/mixtral-tiny", &checkpoint),
                     AWQ_OK);
    awq__host_init(&host, f->ctx, "config.json", NULL, checkpoint);
    assert_true(host.table.has_tensor(&host.table, "lm_head.weight"));
    assert_false(host.table.has_tensor(&host.table, "lm_head"));
    assert_false(host.table.has_tensor(&host.table, ""));
    awq__checkpoint_free(checkpoint);
}

/* ---- rope ---- */

static void rope_is(fixture *f, const char *config, double theta, double factor)
{
    asked a;
    const awq_host *host = ask(f, &a, config);
    awq_rope rope;
    memset(&rope, 0x5a, sizeof rope);
    if (host->config_rope(host, 8, &rope) != AWQ_OK)
        fail_msg("%s: %s", config, awq_context_message(f->ctx));
    assert_int_equal(rope.pairs, 4);
    assert_true(rope.attention_factor == 1);
    for (int i = 0; i < 4; i++) {
        double expected = 1 / (pow(theta, i / 4.0) * factor);
        if (!(fabs(rope.inverse_frequency[i] - expected) <= 1e-14 * expected))
            fail_msg("%s: frequency %d is %.17g, expected %.17g", config, i,
                     rope.inverse_frequency[i], expected);
    }
    assert_true(rope.inverse_frequency[4] == 0);
    done(f, &a);
}

static void rope_fails(fixture *f, const char *config, int64_t head_dim, awq_status status,
                       const char *message)
{
    asked a;
    const awq_host *host = ask(f, &a, config);
    awq_rope rope;
    assert_int_equal(host->config_rope(host, head_dim, &rope), status);
    assert_message(f, message);
    done(f, &a);
}

static void test_rope_forms(void **state)
{
    fixture *f = *state;
    rope_is(f, "{}", 10000, 1);
    rope_is(f, "{\"rope_theta\": 1e6}", 1e6, 1);
    rope_is(f, "{\"rope_theta\": 1e6, \"rope_scaling\": null}", 1e6, 1);
    rope_is(f, "{\"rope_theta\": 500, \"rope_scaling\": {\"type\": \"default\"}}", 500, 1);
    rope_is(f, "{\"rope_theta\": 500, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}}",
            500, 4);
    rope_is(f,
            "{\"rope_theta\": 500, \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2}}",
            500, 2);
    rope_is(f, "{\"rope_parameters\": {\"rope_theta\": 700, \"rope_type\": \"default\"}}", 700, 1);
    rope_is(
        f, "{\"rope_parameters\": {\"rope_theta\": 700, \"rope_type\": \"linear\", \"factor\": 8}}",
        700, 8);
    /* Where both are there, the newer one counts. */
    rope_is(f,
            "{\"rope_theta\": 5, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 3}, "
            "\"rope_parameters\": {\"rope_theta\": 700}}",
            700, 1);
    rope_is(f, "{\"rope_theta\": 5, \"rope_parameters\": {\"rope_type\": \"default\"}}", 5, 1);
}

static void test_rope_refused(void **state)
{
    fixture *f = *state;
    const awq_status format = AWQ_ERROR_FORMAT, unsupported = AWQ_ERROR_UNSUPPORTED;
    rope_fails(f, "{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4}}", 8, unsupported,
               "dir/config.json: rope type \"yarn\", expected default or linear");
    rope_fails(f, "{\"rope_parameters\": {\"rope_type\": \"llama3\"}}", 8, unsupported,
               "rope type \"llama3\"");
    rope_fails(f, "{\"rope_scaling\": {\"type\": \"linear\"}}", 8, format,
               "\"rope_scaling.factor\" is missing");
    rope_fails(f, "{\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": \"2\"}}", 8,
               format, "\"rope_parameters.factor\" is not a number");
    rope_fails(f, "{\"rope_parameters\": {\"rope_type\": 1}}", 8, format,
               "\"rope_parameters.rope_type\" is not a text");
    rope_fails(f, "{\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 7}}}", 8,
               unsupported, "rope_parameters has an object \"full_attention\", expected one set");
    rope_fails(f, "{\"rope_theta\": \"big\"}", 8, format, "\"rope_theta\" is not a number");
    rope_fails(f, "{\"rope_theta\": 0}", 8, format, "rope_theta 0 and factor 1 must be positive");
    rope_fails(f, "{\"rope_theta\": -5}", 8, format, "rope_theta -5 and factor 1");
    rope_fails(f, "{\"rope_theta\": 1e999}", 8, format, "rope_theta inf and factor 1");
    rope_fails(f, "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}}", 8, format,
               "rope_theta 10000 and factor 0 must be positive");
    rope_fails(f, "{}", 7, unsupported, "a head dimension of 7, expected an even number up to 512");
    rope_fails(f, "{}", 0, unsupported, "a head dimension of 0");
    rope_fails(f, "{}", -8, unsupported, "a head dimension of -8");
    rope_fails(f, "{}", 514, unsupported, "a head dimension of 514");
    rope_fails(f, "{}", INT64_MAX - 1, unsupported, "a head dimension of 9223372036854775806");
}

static void test_largest_rope(void **state)
{
    fixture *f = *state;
    asked a;
    const awq_host *host = ask(f, &a, "{}");
    awq_rope rope;
    assert_int_equal(host->config_rope(host, 512, &rope), AWQ_OK);
    assert_int_equal(rope.pairs, AWQ_ROPE_MAX_PAIRS);
    assert_true(rope.inverse_frequency[AWQ_ROPE_MAX_PAIRS - 1] > 1e-4);
    done(f, &a);
}

/* A plugin author may name any key: none may crash, whatever config.json is. */
static void test_random_keys(void **state)
{
    fixture *f = *state;
    const char alphabet[] = "..inlisttextdeeper0123-x";
    const char *configs[] = {values, "[1, [2]]", "3", "\"text\"", "null"};
    uint64_t random = 1;
    for (size_t n = 0; n < sizeof configs / sizeof *configs; n++) {
        asked a;
        const awq_host *host = ask(f, &a, configs[n]);
        for (int i = 0; i < 2000; i++) {
            char key[16] = "";
            size_t length = awq__random(&random) % (sizeof key - 1);
            int64_t value = 5;
            for (size_t c = 0; c < length; c++)
                key[c] = alphabet[awq__random(&random) % (sizeof alphabet - 1)];
            awq_status status = host->config_int(host, key, NULL, &value);
            assert_true(status == AWQ_OK || status == AWQ_ERROR_FORMAT);
            assert_true(status == AWQ_OK || awq_context_message(f->ctx)[0]);
        }
        done(f, &a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_int, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_number, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bool, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_string, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_required, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_has_tensor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rope_forms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rope_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_largest_rope, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_keys, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
