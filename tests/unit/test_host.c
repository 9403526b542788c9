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
                 {"deep.x.int", 42}, {"deep.absent.int", 42},
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

/* What is no list, or no object, is not taken for an absent one. */
static void test_in_the_way(void **state)
{
    fixture *f = *state;
    asked a;
    const awq_host *host = ask(f, &a, values);
    const int64_t fallback = 42;
    int64_t value;
    static const char *const cases[][3] = {
        {"text.0", "text", "a list"},        {"int.0", "int", "a list"},
        {"yes.more", "yes", "an object"},    {"list.0.more", "list.0", "an object"},
        {"deep.er.0", "deep.er", "a list"},  {"list.x", "list", "an object"},
        {"list.-1", "list", "an object"},    {"list..0", "list", "an object"},
        {"list.2.0.1", "list.2.0", "a list"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char message[128];
        snprintf(message, sizeof message, "dir/config.json: \"%s\" is not %s", cases[i][1],
                 cases[i][2]);
        assert_int_equal(host->config_int(host, cases[i][0], &fallback, &value), AWQ_ERROR_FORMAT);
        assert_message(f, message);
    }
    done(f, &a);
}

/* Keys that nobody asks for, beside those that are not there. */
static void test_misspelt(void **state)
{
    fixture *f = *state;
    asked a;
    const awq_host *host = ask(f, &a,
                               "{\"rope_theeta\": 1, \"sms_norm_eps\": 2, \"kv_lora_rank\": 3, "
                               "\"unlike\": 4, \"tpye\": 5, \"head_dim\": 6}");
    static const char *const keys[] = {"rope_theta",   "rms_norm_eps", "rms_norm_eps",
                                       "kv_lora_rank", "q_lora_rank",  "type",
                                       "head_dims.3",  "vocab_size"};
    const int64_t fallback = 42;
    int64_t value;
    awq__text list = {0};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_int_equal(host->config_int(host, keys[i], &fallback, &value), AWQ_OK);
    assert_int_equal(awq__host_misspelt(&a.host, &list), AWQ_OK);
    assert_string_equal(list.data, "\"rope_theeta\" for \"rope_theta\", \"sms_norm_eps\" for "
                                   "\"rms_norm_eps\", \"head_dim\" for \"head_dims\"");
    awq__text_free(&list);
    assert_int_equal(host->config_int(host, "vocab.size", NULL, &value), AWQ_ERROR_FORMAT);
    assert_int_equal(host->config_int(host, "sms_norm_epss", NULL, &value), AWQ_ERROR_FORMAT);
    assert_message(f, "\"sms_norm_epss\" is missing; is \"sms_norm_eps\" meant for it?");
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
    awq__host_init(&host, f->ctx, "config.json", NULL, NULL); /* without weights */
    assert_false(host.table.has_tensor(&host.table, "lm_head.weight"));
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
    rope_is(f,
            "{\"rope_theta\": 5, \"rope_scaling\": {\"rope_theta\": 700, \"type\": \"linear\", "
            "\"factor\": 3}}",
            700, 3);
    /* Where both are there, the older one counts, and alone. */
    rope_is(f,
            "{\"rope_theta\": 5, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 3}, "
            "\"rope_parameters\": {\"rope_theta\": 700}}",
            5, 3);
    rope_is(f,
            "{\"rope_theta\": 5, \"rope_scaling\": {}, \"rope_parameters\": {\"rope_theta\": 700}}",
            700, 1);
    rope_is(f, "{\"rope_theta\": 5, \"rope_parameters\": {\"rope_type\": \"default\"}}", 5, 1);
}

static void test_rope_refused(void **state)
{
    fixture *f = *state;
    const awq_status format = AWQ_ERROR_FORMAT, unsupported = AWQ_ERROR_UNSUPPORTED;
    rope_fails(f, "{\"rope_parameters\": {\"rope_type\": \"axial\"}}", 8, unsupported,
               "dir/config.json: rope type \"axial\", expected default, linear, yarn, llama3");
    rope_fails(f, "{\"rope_scaling\": \"yarn\"}", 8, format, "\"rope_scaling\" is not an object");
    rope_fails(f, "{\"rope_parameters\": [8]}", 8, format,
               "dir/config.json: \"rope_parameters\" is not an object");
    rope_fails(f,
               "{\"rope_parameters\": {\"rope_theta\": 7}, \"rope_scaling\": {\"type\": "
               "\"default\"}}",
               8, format, "\"rope_scaling.rope_theta\" is missing");
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

/* ---- yarn ---- */

/* What is expected of pairs between low and high of the ramp. */
typedef struct yarn_case {
    const char *config;
    int64_t head_dim;
    double theta, factor, low, high, attention;
} yarn_case;

static void yarn_is(fixture *f, const yarn_case *c)
{
    asked a;
    const awq_host *host = ask(f, &a, c->config);
    awq_rope rope;
    if (host->config_rope(host, c->head_dim, &rope) != AWQ_OK)
        fail_msg("%s: %s", c->config, awq_context_message(f->ctx));
    assert_int_equal(rope.pairs, c->head_dim / 2);
    if (!(fabs(rope.attention_factor - c->attention) <= 1e-14))
        fail_msg("%s: attention factor %.17g, expected %.17g", c->config, rope.attention_factor,
                 c->attention);
    for (int64_t i = 0; i < rope.pairs; i++) {
        double plain = 1 / pow(c->theta, 2 * (double)i / (double)c->head_dim);
        double part = ((double)i - c->low) / (c->high - c->low);
        part = part < 0 ? 0 : part > 1 ? 1 : part;
        double expected = plain / c->factor * part + plain * (1 - part);
        if (!(fabs(rope.inverse_frequency[i] - expected) <= 1e-13 * expected))
            fail_msg("%s: frequency %lld is %.17g, expected %.17g", c->config, (long long)i,
                     rope.inverse_frequency[i], expected);
    }
    done(f, &a);
}

#define GPT_OSS                                                                                    \
    "\"rope_type\": \"yarn\", \"factor\": 32.0, \"original_max_position_embeddings\": 4096"
#define SMALL "\"rope_type\": \"yarn\", \"factor\": 8, \"original_max_position_embeddings\": 512, "

static void test_yarn(void **state)
{
    const double ln8 = log(8);
    const yarn_case cases[] = {
        /* GPT-OSS as it is stored, with each rounding of the ramp's ends. */
        {"{\"rope_theta\": 150000, \"rope_scaling\": {" GPT_OSS ", \"beta_fast\": 32.0, "
         "\"beta_slow\": 1.0, \"truncate\": false}}",
         64, 150000, 32, 8.092779115512402, 17.39802450158856, 1.3465735902799727},
        {"{\"rope_parameters\": {\"rope_theta\": 150000, " GPT_OSS "}}", 64, 150000, 32, 8, 18,
         1.3465735902799727},
        {"{\"rope_theta\": 1e6, \"max_position_embeddings\": 32768, \"rope_scaling\": {\"type\": "
         "\"yarn\", \"factor\": 4.0}}",
         128, 1e6, 4, 23, 40, 1.138629436111989},
        /* Where the factor is missing, the positions tell it. */
        {"{\"max_position_embeddings\": 2048, \"rope_scaling\": {\"type\": \"yarn\", "
         "\"original_max_position_embeddings\": 512}}",
         8, 10000, 4, 0, 2, 1.138629436111989},
        /* The original positions beside the object count before those in it. */
        {"{\"original_max_position_embeddings\": 512, \"rope_scaling\": {\"type\": \"yarn\", "
         "\"factor\": 4, \"original_max_position_embeddings\": 1e9}}",
         8, 10000, 4, 0, 2, 1.138629436111989},
        /* A factor that does not extend has no attention factor. */
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 0.5, "
         "\"original_max_position_embeddings\": 512}}",
         8, 10000, 0.5, 0, 2, 1},
        /* Both ends at pair 0: a ramp of a thousandth. */
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, "
         "\"original_max_position_embeddings\": 5}}",
         8, 10000, 2, 0, 0.001, 1.0693147180559945},
        /* The ramp ends with the head's last channel. */
        {"{\"rope_scaling\": {" SMALL "\"beta_fast\": 512, \"beta_slow\": 1e-6}}", 8, 10000, 8, 0,
         7, 1.2079441541679836},
        /* A beta of 0 means the usual one. */
        {"{\"rope_scaling\": {" SMALL "\"beta_fast\": 0, \"beta_slow\": 0}}", 8, 10000, 8, 0, 2,
         1.2079441541679836},
        {"{\"rope_scaling\": {" SMALL "\"attention_factor\": 0.75, \"mscale\": 2.0, "
         "\"mscale_all_dim\": 1.0}}",
         8, 10000, 8, 0, 2, 0.75},
        {"{\"rope_scaling\": {" SMALL "\"mscale\": 2.0, \"mscale_all_dim\": 0.5}}", 8, 10000, 8, 0,
         2, (0.2 * ln8 + 1) / (0.05 * ln8 + 1)},
        /* One of the two is not enough. */
        {"{\"rope_scaling\": {" SMALL "\"mscale\": 2.0}}", 8, 10000, 8, 0, 2, 0.1 * ln8 + 1},
        {"{\"rope_scaling\": {" SMALL "\"mscale\": 0, \"mscale_all_dim\": 2.0}}", 8, 10000, 8, 0, 2,
         0.1 * ln8 + 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        yarn_is(*state, &cases[i]);
}

static void test_yarn_refused(void **state)
{
    fixture *f = *state;
    const struct {
        const char *config, *message;
    } cases[] = {
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4}}",
         "\"max_position_embeddings\" is missing"},
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"original_max_position_embeddings\": 4}}",
         "\"max_position_embeddings\" is missing"},
        {"{\"max_position_embeddings\": \"4\", \"rope_scaling\": {\"type\": \"yarn\"}}",
         "\"max_position_embeddings\" is not a number"},
        {"{\"max_position_embeddings\": 0, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4}}",
         "dir/config.json: rope_scaling: the number of original positions of yarn is 0, expected "
         "1e-06 to 1e+12"},
        {"{\"rope_scaling\": {" SMALL "\"beta_fast\": 1e13}}", "the beta_fast of yarn is 1e+13"},
        {"{\"rope_scaling\": {" SMALL "\"beta_slow\": -1}}", "the beta_slow of yarn is -1"},
        {"{\"rope_scaling\": {" SMALL "\"beta_slow\": 33}}",
         "dir/config.json: rope_scaling: beta_fast is 32, expected at least beta_slow, 33"},
        {"{\"rope_scaling\": {" SMALL "\"attention_factor\": 0}}",
         "the attention factor of yarn is 0, expected"},
        {"{\"rope_scaling\": {" SMALL "\"mscale\": -9, \"mscale_all_dim\": 1}}",
         "the attention factor of yarn is -0.7"},
        {"{\"rope_scaling\": {" SMALL "\"mscale\": \"1\"}}", "\"rope_scaling.mscale\" is not"},
        {"{\"rope_scaling\": {" SMALL "\"truncate\": 1}}",
         "\"rope_scaling.truncate\" is not true or false"},
        {"{\"max_position_embeddings\": 8, \"rope_parameters\": {\"type\": \"yarn\", \"factor\": "
         "1e999}}",
         "rope_parameters: the factor of yarn is inf"},
        {"{\"rope_theta\": 1, \"rope_scaling\": {\"type\": \"yarn\"}}",
         "rope_theta 1, expected more than 1 with rope type yarn"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        rope_fails(f, cases[i].config, 8, AWQ_ERROR_FORMAT, cases[i].message);
}

/* Numbers at the ends of their ranges give frequencies that are numbers. */
static void test_yarn_extremes(void **state)
{
    fixture *f = *state;
    const char *ends[] = {"1e-6", "1", "1e12"};
    const char *thetas[] = {"1.0000000000000002", "1e4", "1e300"};
    for (int i = 0; i < 81 * 3; i++) {
        asked a;
        awq_rope rope;
        char config[512];
        const char *slow = ends[i / 3 % 3],
                   *fast = ends[i / 9 % 3 > i / 3 % 3 ? i / 9 % 3 : i / 3 % 3];
        snprintf(config, sizeof config,
                 "{\"rope_theta\": %s, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": %s, "
                 "\"original_max_position_embeddings\": %s, \"beta_fast\": %s, \"beta_slow\": %s, "
                 "\"truncate\": %s}}",
                 thetas[i % 3], ends[i / 27 % 3], ends[i / 81], fast, slow,
                 i % 2 ? "true" : "false");
        const awq_host *host = ask(f, &a, config);
        if (host->config_rope(host, 64, &rope) != AWQ_OK)
            fail_msg("%s: %s", config, awq_context_message(f->ctx));
        for (int64_t p = 0; p < rope.pairs; p++)
            if (!(rope.inverse_frequency[p] >= 0 && rope.inverse_frequency[p] <= 1e6))
                fail_msg("%s: frequency %lld is %g", config, (long long)p,
                         rope.inverse_frequency[p]);
        done(f, &a);
    }
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
        cmocka_unit_test_setup_teardown(test_in_the_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_misspelt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_number, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bool, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_string, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_required, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_has_tensor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rope_forms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rope_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_yarn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_yarn_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_yarn_extremes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_largest_rope, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_keys, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
