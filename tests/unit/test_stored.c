/* Modules told apart by their schemes: when they are written, and when they are read. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "treated.h"

#include <stdio.h>

/* ---- what quantization_config says ---- */

static const awq__stored_scheme four = STORED(4, 128, true), eight = STORED(8, -1, true),
                                rest = STORED(2, 32, false);

static void add_group(awq_context *ctx, awq__stored *stored, const awq__stored_scheme *scheme,
                      const char *const *patterns)
{
    succeeds(ctx, awq__stored_add_group(ctx, stored, scheme != NULL, scheme ? scheme : &rest));
    for (; *patterns; patterns++)
        succeeds(ctx,
                 awq__stored_add_pattern(ctx, stored, "config.json", *patterns, AWQ__NAME_EXACT));
}
#define PATTERNS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void assert_stored(awq_context *ctx, const awq__stored *stored, const char *module,
                          const awq__stored_scheme *expected)
{
    const awq__stored_scheme *found;
    succeeds(ctx, awq__stored_find(ctx, stored, module, &found));
    if (!expected != !found)
        fail_msg("%s is %s", module, found ? "packed" : "not packed");
    if (expected)
        assert_same_stored(found, expected);
}

static void the_first_group_that_names_a_module_counts(void **state)
{
    awq_context *ctx = *state;
    awq__stored stored = {0};
    assert_stored(ctx, &stored, "m.a", NULL); /* nothing is said */
    add_group(ctx, &stored, NULL, PATTERNS("lm_head", "re:.*\\.gate$"));
    add_group(ctx, &stored, &four, PATTERNS("m.a", "re:.*\\.w1$", "m.gate"));
    add_group(ctx, &stored, &eight, PATTERNS("re:m\\.", "lm_head"));
    add_group(ctx, &stored, &four, PATTERNS(NULL));
    assert_stored(ctx, &stored, "m.a", &four);
    assert_stored(ctx, &stored, "x.y.w1", &four);
    assert_stored(ctx, &stored, "m.w1", &four);
    assert_stored(ctx, &stored, "m.b", &eight);
    assert_stored(ctx, &stored, "m.gate", NULL); /* ignored before it is named */
    assert_stored(ctx, &stored, "lm_head", NULL);
    assert_stored(ctx, &stored, "x.m.b", NULL); /* from the beginning, and no rest */
    assert_stored(ctx, &stored, "x.m.a", NULL); /* a whole name is no glob */
    stored.has_rest = true;
    stored.rest = rest;
    assert_stored(ctx, &stored, "x.m.b", &rest);
    assert_stored(ctx, &stored, "", &rest);
    assert_stored(ctx, &stored, "m.b", &eight);
    assert_stored(ctx, &stored, "lm_head", NULL);
    awq__stored_free(&stored);
    assert_null(stored.groups);
    assert_false(stored.has_rest);
    awq__stored_free(&stored);
}

static void many_groups_and_patterns_are_held(void **state)
{
    awq_context *ctx = *state;
    awq__stored stored = {0};
    char name[32];
    for (int g = 0; g < 40; g++) {
        add_group(ctx, &stored, &(awq__stored_scheme)STORED(4, g + 1, true), PATTERNS(NULL));
        for (int i = 0; i < 40; i++) {
            snprintf(name, sizeof name, "m.%d.%d", g, i);
            succeeds(ctx,
                     awq__stored_add_pattern(ctx, &stored, "config.json", name, AWQ__NAME_EXACT));
        }
    }
    for (int g = 0; g < 40; g++)
        for (int i = 0; i < 40; i++) {
            snprintf(name, sizeof name, "m.%d.%d", g, i);
            assert_stored(ctx, &stored, name, &(awq__stored_scheme)STORED(4, g + 1, true));
        }
    assert_stored(ctx, &stored, "m.40.0", NULL);
    awq__stored_free(&stored);
}

static void bad_patterns_are_refused(void **state)
{
    awq_context *ctx = *state;
    awq__stored stored = {0};
    add_group(ctx, &stored, &four, PATTERNS("m.a"));
    fails(ctx, awq__stored_add_pattern(ctx, &stored, "a/config.json", "re:(a", AWQ__NAME_EXACT),
          AWQ_ERROR_FORMAT,
          "a/config.json: the regular expression \"(a\" does not compile at character 2");
    assert_stored(ctx, &stored, "m.a", &four); /* what was there stays */
    add_group(ctx, &stored, &four, PATTERNS("re:(a|aa)+$"));
    const awq__stored_scheme *found = &four;
    fails(
        ctx,
        awq__stored_find(ctx, &stored, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", &found),
        AWQ_ERROR_UNSUPPORTED, "cannot be matched with the name");
    assert_null(found);
    awq__stored_free(&stored);
}

/* ---- what is written ---- */

static const awq__scheme a = {.bits = 4, .group = 128, .symmetric = true},
                         a_too = {.bits = 4,
                                  .group = 128,
                                  .symmetric = true,
                                  .grid = AWQ__GRID_F16},
                         b = {.bits = 8, .group = 128, .symmetric = true},
                         c = {.bits = 4, .group = -1, .symmetric = true},
                         d = {.bits = 4, .group = 128, .symmetric = false},
                         e = {.code = AWQ__CODE_E2M1, .bits = 4, .group = 128, .symmetric = true};

static void schemes_are_the_same_on_disk_or_not(void **state)
{
    (void)state;
    assert_true(awq__same_scheme(&a, &a));
    assert_true(awq__same_scheme(&a, &a_too)); /* the grid follows from the weights */
    const awq__scheme *const others[] = {&b, &c, &d, &e};
    for (int i = 0; i < 4; i++) {
        assert_false(awq__same_scheme(&a, others[i]));
        assert_false(awq__same_scheme(others[i], &a));
    }
}

static const awq__treated modules[] = {
    {"m0", NULL}, {"m1", &c}, {"m2", &a},   {"m3", &b}, {"m4", &a_too},
    {"m5", &c},   {"m6", &a}, {"m7", NULL}, {"m8", &d}, {"m9", &b},
};
enum { MODULES = sizeof modules / sizeof *modules };

/* By how many modules use them, of those alike by the first. */
static void the_most_used_scheme_comes_first(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const awq__scheme *scheme;
        size_t count, first;
    } expected[] = {{&a, 3, 2}, {&c, 2, 1}, {&b, 2, 3}, {&d, 1, 8}};
    awq__scheme_use *uses;
    size_t count;
    succeeds(ctx, awq__scheme_uses(ctx, modules, MODULES, &uses, &count));
    assert_int_equal(count, 4);
    for (size_t i = 0; i < count; i++) {
        assert_ptr_equal(uses[i].scheme, expected[i].scheme);
        assert_int_equal(uses[i].count, expected[i].count);
        assert_int_equal(uses[i].first, expected[i].first);
    }
    awq__free(uses);
    succeeds(ctx, awq__scheme_uses(ctx, modules, 1, &uses, &count)); /* nothing is quantized */
    assert_int_equal(count, 0);
    awq__free(uses);
    succeeds(ctx, awq__scheme_uses(ctx, NULL, 0, &uses, &count));
    assert_int_equal(count, 0);
    awq__free(uses);
}

/* The digits of names, in order. */
static void assert_names(const char **names, size_t count, const char *digits)
{
    assert_int_equal(count, strlen(digits));
    for (size_t i = 0; i < count; i++)
        assert_int_equal(names[i][1], digits[i]);
}

static void names_are_parted_by_scheme(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const awq__scheme *scheme;
        const char *in, *out;
    } cases[] = {{NULL, "07", "12345689"}, {&a, "246", "0135789"}, {&a_too, "246", "0135789"},
                 {&b, "39", "01245678"},   {&c, "15", "02346789"}, {&d, "8", "012345679"},
                 {&e, "", "0123456789"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__partition partition;
        succeeds(ctx, awq__partition_create(ctx, modules, MODULES, cases[i].scheme, &partition));
        assert_names(partition.in, partition.in_count, cases[i].in);
        assert_names(partition.out, partition.out_count, cases[i].out);
        awq__partition_free(&partition);
        assert_null(partition.in);
        awq__partition_free(&partition);
    }
}

/* Formats with one scheme say that of the first that has one; what is kept they list. */
static void formats_with_one_scheme_list_what_is_kept(void **state)
{
    awq_context *ctx = *state;
    static const awq__treated alike[] = {
        {"l.0.gate", NULL}, {"l.0.e.0.w1", &c}, {"lm_head", NULL}, {"l.0.e.1.w1", &c}};
    cJSON *config = awq__disk_format_awq.config(ctx, alike, 4);
    char *text = cJSON_PrintUnformatted(config);
    assert_string_equal(text, "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":-1,"
                              "\"zero_point\":true,\"version\":\"gemm\","
                              "\"modules_to_not_convert\":[\"gate\",\"lm_head\"]}");
    cJSON_free(text);
    cJSON_Delete(config);
}

/* ---- both ---- */

/* Layers, experts and matrices as an architecture names them, with a scheme for each by `choose`;
   written, read, and found again for each. Returns the number of groups. */
typedef const awq__scheme *(*chooser)(int layer, int expert, int part);

static int check_round_trip(awq_context *ctx, chooser choose, int layers, int experts)
{
    enum { PARTS = 3, ATTENTION = 4, MOST = 512 };
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    static const char *const attention[] = {"q_proj", "k_proj", "v_proj", "o_proj"};
    static char names[MOST][96];
    awq__treated list[MOST];
    size_t count = 0;
    for (int layer = 0; layer < layers; layer++) {
        for (int i = 0; i < ATTENTION; i++, count++) {
            snprintf(names[count], sizeof names[0], "model.layers.%d.self_attn.%s", layer,
                     attention[i]);
            list[count] = (awq__treated){names[count], choose(layer, -1, i)};
        }
        snprintf(names[count], sizeof names[0], "model.layers.%d.mlp.gate", layer);
        list[count] = (awq__treated){names[count], NULL};
        count++;
        for (int expert = 0; expert < experts; expert++)
            for (int i = 0; i < PARTS; i++, count++) {
                snprintf(names[count], sizeof names[0], "model.layers.%d.mlp.experts.%d.%s", layer,
                         expert, parts[i]);
                list[count] = (awq__treated){names[count], choose(layer, expert, i)};
            }
    }
    list[count++] = (awq__treated){"lm_head", NULL};
    assert_true(count <= MOST);
    const awq__disk_format *format = &awq__disk_format_compressed;
    cJSON *config = format->config(ctx, list, count);
    if (!config)
        fail_msg("%s", awq_context_message(ctx));
    awq__stored stored;
    succeeds(ctx, format->read_config(ctx, "config.json", config, &stored));
    for (size_t i = 0; i < count; i++) {
        const awq__scheme *scheme = list[i].scheme;
        awq__stored_scheme expected = {0};
        if (scheme)
            expected = (awq__stored_scheme)STORED(scheme->bits, scheme->group, scheme->symmetric);
        assert_stored(ctx, &stored, list[i].name, scheme ? &expected : NULL);
    }
    int groups = cJSON_GetArraySize(cJSON_GetObjectItem(config, "config_groups"));
    awq__stored_free(&stored);
    cJSON_Delete(config);
    return groups;
}

static const awq__scheme *by_layer(int layer, int expert, int part)
{
    (void)part;
    return expert < 0 ? NULL : layer == 0 || layer == 10 ? &b : &a;
}

static const awq__scheme *by_expert(int layer, int expert, int part)
{
    (void)layer;
    (void)part;
    return expert < 0 ? &c : expert % 2 ? NULL : expert == 10 ? &b : &d;
}

static const awq__scheme *by_part(int layer, int expert, int part)
{
    (void)layer;
    return expert < 0 ? part == 3 ? &c : NULL : part == 2 ? &b : &a;
}

static const awq__scheme *by_all(int layer, int expert, int part)
{
    static const awq__scheme *const schemes[] = {&a, &b, &c, &d, NULL};
    return schemes[(layer * 7 + (expert + 1) * 3 + (part == 2)) % 5];
}

static void every_module_gets_its_own_scheme_back(void **state)
{
    awq_context *ctx = *state;
    assert_int_equal(check_round_trip(ctx, by_layer, 12, 2), 2);
    assert_int_equal(check_round_trip(ctx, by_expert, 2, 12), 3);
    assert_int_equal(check_round_trip(ctx, by_part, 3, 4), 3);
    assert_int_equal(check_round_trip(ctx, by_all, 11, 11), 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(the_first_group_that_names_a_module_counts),
        TEST(many_groups_and_patterns_are_held),
        TEST(bad_patterns_are_refused),
        cmocka_unit_test(schemes_are_the_same_on_disk_or_not),
        TEST(the_most_used_scheme_comes_first),
        TEST(names_are_parted_by_scheme),
        TEST(formats_with_one_scheme_list_what_is_kept),
        TEST(every_module_gets_its_own_scheme_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
