/* Finding, loading, refusing and choosing architecture plugins. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch/arch.h"
#include "temp_files.h"

#define MODEL AWQ_TEST_DATA "/mixtral-tiny"
#define MIXTRAL AWQ_TEST_PLUGINS "/awq-arch-mixtral.so"
#define TEMPLATE AWQ_TEST_BAD_PLUGINS "/awq-arch-template.so"
#define WRONG_MAGIC AWQ_TEST_BAD_PLUGINS "/awq-arch-wrong_magic.so"
#define SECOND AWQ_TEST_BAD_PLUGINS "/second_mixtral.so"

static void add_path(fixture *f, const char *path)
{
    assert_int_equal(awq_context_add_plugin_path(f->ctx, path), AWQ_OK);
}

static awq_plugin_list *list_of(fixture *f, size_t expected)
{
    awq_plugin_list *list;
    assert_int_equal(awq_plugin_list_create(f->ctx, &list), AWQ_OK);
    if (awq_plugin_list_count(list) != expected)
        fail_msg("%zu plugins are listed, expected %zu", awq_plugin_list_count(list), expected);
    assert_null(awq_plugin_list_at(list, expected));
    return list;
}

static void assert_refused(const awq_plugin_info *info, const char *reason)
{
    if (!strstr(info->error, reason))
        fail_msg("%s: refused with \"%s\", which does not say \"%s\"", info->path, info->error,
                 reason);
    assert_string_equal(info->id, "");
    assert_string_equal(info->version, "");
    assert_string_equal(info->model_types, "");
}

static void assert_ends(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    if (length < end_length || strcmp(text + length - end_length, end))
        fail_msg("\"%s\" does not end with \"%s\"", text, end);
}

/* Opens the model with the plugins added so far, and expects this plugin to be chosen. */
static void opens_with(fixture *f, const char *wanted, const char *id)
{
    awq_model *model;
    awq_model_info info;
    if (awq_model_open(f->ctx, MODEL, wanted, &model) != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
    awq_model_describe(model, &info);
    assert_string_equal(info.plugin, id);
    assert_string_equal(awq_context_message(f->ctx), "");
    awq_model_free(model);
}

static void fails_with(fixture *f, const char *wanted, awq_status status, const char *message)
{
    awq_model *model;
    assert_int_equal(awq_model_open(f->ctx, MODEL, wanted, &model), status);
    assert_null(model);
    assert_message(f, message);
}

/* ---- files that are refused ---- */

static void refuses(const char *path, const char *reason)
{
    awq_context *ctx;
    awq_plugin_list *list;
    assert_int_equal(awq_context_create(&ctx), AWQ_OK);
    assert_int_equal(awq_context_add_plugin_path(ctx, path), AWQ_OK);
    assert_int_equal(awq_plugin_list_create(ctx, &list), AWQ_OK);
    assert_int_equal(awq_plugin_list_count(list), 1);
    assert_refused(awq_plugin_list_at(list, 0), reason);
    assert_ends(awq_plugin_list_at(list, 0)->path, strrchr(path, '/'));
    awq_plugin_list_free(list);

    awq_model *model;
    assert_int_equal(awq_model_open(ctx, MODEL, NULL, &model), AWQ_ERROR_PLUGIN);
    assert_null(model);
    assert_non_null(strstr(awq_context_message(ctx),
                           "no usable plugin serves model_type \"mixtral\"; refused: "));
    assert_non_null(strstr(awq_context_message(ctx), reason));
    awq_context_free(ctx);
}

static void test_refused_modules(void **state)
{
    (void)state;
    const struct {
        const char *file, *reason;
    } cases[] = {
        {"awq-arch-wrong_magic", "wrong magic 0x0068637261717760, expected 0x0068637261717761"},
        {"short_struct", "its awq_plugin has 48 bytes, expected at least 56"},
        {"half_member", "its awq_plugin has 60 bytes, expected at least 56 and a multiple of 8"},
        {"no_symbol", "has no symbol awq_plugin_v1"},
        {"bad_id", "its id is missing or has characters other than a-z, 0-9, _ and -"},
        {"no_id", "its id is missing or has characters other than"},
        {"no_version", "its version is NULL"},
        {"bad_version", "its version is not UTF-8, expected a text in UTF-8"},
        {"no_model_types", "it serves no model_type"},
        {"no_describe_model", "describe_model or describe_layer is NULL"},
        {"no_describe_layer", "describe_model or describe_layer is NULL"},
        {"many_names", "it has more than 8 other_names"},
        {"unresolved", "undefined symbol: function_that_nobody_has"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s.so", AWQ_TEST_BAD_PLUGINS, cases[i].file);
        refuses(path, cases[i].reason);
    }
}

static void test_refused_files(void **state)
{
    fixture *f = *state;
    refuses(path_of(f, "awq-arch-absent.so"), "No such file or directory");
    write_text(f, "awq-arch-text.so", "This is not a shared object.\n");
    refuses(path_of(f, "awq-arch-text.so"), "not a shared object");
    assert_int_equal(symlink("nowhere", path_of(f, "awq-arch-dangling.so")), 0);
    refuses(path_of(f, "awq-arch-dangling.so"), "No such file or directory");
}

/* ---- finding ---- */

static void test_directory(void **state)
{
    fixture *f = *state;
    add_path(f, AWQ_TEST_BAD_PLUGINS); /* other names than awq-arch-*.so are passed over */
    awq_plugin_list *list = list_of(f, 2);
    const awq_plugin_info *good = awq_plugin_list_at(list, 0), *bad = awq_plugin_list_at(list, 1);
    assert_ends(good->path, "/awq-arch-template.so");
    assert_string_equal(good->id, "demo");
    assert_string_equal(good->version, "1.0");
    assert_string_equal(good->model_types, "demo_moe");
    assert_string_equal(good->error, "");
    assert_ends(bad->path, "/awq-arch-wrong_magic.so");
    assert_refused(bad, "wrong magic");
    awq_plugin_list_free(list);
    awq_plugin_list_free(NULL);
}

static void test_nothing_to_find(void **state)
{
    fixture *f = *state;
    awq_plugin_list_free(list_of(f, 0));
    add_path(f, f->directory);
    write_text(f, "awq-arch-.so", "no name");
    write_text(f, "awq-arch-mixtral.so.bak", "no plugin");
    write_text(f, "libawq-arch-mixtral.so", "no plugin");
    awq_plugin_list_free(list_of(f, 0));
    fails_with(f, NULL, AWQ_ERROR_PLUGIN,
               "no plugin serves model_type \"mixtral\"; 0 plugins were found");
}

static void test_order(void **state)
{
    fixture *f = *state;
    assert_int_equal(symlink(SECOND, path_of(f, "awq-arch-a.so")), 0);
    assert_int_equal(symlink(MIXTRAL, path_of(f, "awq-arch-b.so")), 0);
    assert_int_equal(symlink(TEMPLATE, path_of(f, "awq-arch-c.so")), 0);
    add_path(f, TEMPLATE);
    add_path(f, f->directory);
    awq_plugin_list *list = list_of(f, 3);
    const char *ids[] = {"demo", "second-mixtral_2", "mixtral"};
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(awq_plugin_list_at(list, i)->id, ids[i]);
    assert_string_equal(awq_plugin_list_at(list, 1)->version, "2.5");
    awq_plugin_list_free(list);
}

static void test_same_file_counts_once(void **state)
{
    fixture *f = *state;
    assert_int_equal(symlink(MIXTRAL, path_of(f, "awq-arch-mixtral.so")), 0);
    assert_int_equal(symlink(MIXTRAL, path_of(f, "awq-arch-other.so")), 0);
    add_path(f, MIXTRAL);
    add_path(f, f->directory);
    add_path(f, MIXTRAL);
    awq_plugin_list_free(list_of(f, 1));
    opens_with(f, NULL, "mixtral");
}

static void test_working_directory_is_not_searched(void **state)
{
    fixture *f = *state;
    char before[1024];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(symlink(MIXTRAL, path_of(f, "awq-arch-mixtral.so")), 0);
    assert_int_equal(chdir(f->directory), 0);
    awq_plugin_list *list;
    awq_status status = awq_plugin_list_create(f->ctx, &list);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(status, AWQ_OK);
    assert_int_equal(awq_plugin_list_count(list), 0);
    awq_plugin_list_free(list);
}

/* ---- choosing ---- */

typedef struct logged {
    int warnings;
    char last[1024];
} logged;

static void keep_log(void *user, awq_log_level level, const char *text)
{
    logged *log = user;
    log->warnings += level == AWQ_LOG_WARNING;
    snprintf(log->last, sizeof log->last, "%s", text);
}

static void test_refused_beside_good_is_a_warning(void **state)
{
    fixture *f = *state;
    logged log = {0};
    awq_context_set_log(f->ctx, keep_log, &log);
    add_path(f, WRONG_MAGIC);
    add_path(f, MIXTRAL);
    opens_with(f, NULL, "mixtral");
    assert_int_equal(log.warnings, 1);
    assert_non_null(strstr(log.last, "awq-arch-wrong_magic.so: wrong magic"));
}

static void test_two_for_one_model_type(void **state)
{
    fixture *f = *state;
    add_path(f, MIXTRAL);
    add_path(f, SECOND);
    fails_with(f, NULL, AWQ_ERROR_PLUGIN, "two plugins serve model_type \"mixtral\": ");
    assert_message(f, "awq-arch-mixtral.so (id mixtral) and ");
    assert_message(f, "second_mixtral.so (id second-mixtral_2); name one with the option plugin");
    fails_with(f, "", AWQ_ERROR_PLUGIN, "two plugins serve");
    opens_with(f, "mixtral", "mixtral");
    opens_with(f, "second-mixtral_2", "second-mixtral_2");
    fails_with(f, "third", AWQ_ERROR_PLUGIN,
               "no plugin of id third serves model_type \"mixtral\"; 2 plugins were found, for "
               "mixtral, mixtral");
}

static void test_wanted_serves_another_type(void **state)
{
    fixture *f = *state;
    add_path(f, MIXTRAL);
    add_path(f, TEMPLATE);
    fails_with(f, "demo", AWQ_ERROR_PLUGIN, "no plugin of id demo serves model_type \"mixtral\"");
}

static void test_unknown_model_type(void **state)
{
    fixture *f = *state;
    awq_model *model;
    add_path(f, MIXTRAL);
    write_text(f, "config.json", "{\"model_type\": \"unheard_of\"}");
    assert_int_equal(awq_model_open(f->ctx, f->directory, NULL, &model), AWQ_ERROR_PLUGIN);
    assert_null(model);
    assert_message(f,
                   "no plugin serves model_type \"unheard_of\"; 1 plugins were found, for mixtral");
}

/* ---- linked-in plugins; (host->fail), since cmocka has a macro of this name ---- */

static awq_status failing_model(const awq_host *host, awq_arch_model *model)
{
    (void)model;
    return (host->fail)(host, "of a kind that nobody has seen");
}

static awq_status unused_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    (void)n;
    (void)layer;
    return (host->fail)(host, "never reached");
}

static const char *const two_types[] = {"first_type", "mixtral", NULL};
static const awq_plugin good = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .id = "mixtral",
    .version = "linked",
    .model_types = two_types,
    .describe_model = failing_model,
    .describe_layer = unused_layer,
};

static void test_linked(void **state)
{
    fixture *f = *state;
    assert_int_equal(awq_context_add_plugin(f->ctx, NULL), AWQ_ERROR_ARGUMENT);
    assert_int_equal(awq_context_add_plugin(f->ctx, &good), AWQ_OK);
    awq_plugin_list *list = list_of(f, 1);
    const awq_plugin_info *info = awq_plugin_list_at(list, 0);
    assert_string_equal(info->path, "(linked)");
    assert_string_equal(info->id, "mixtral");
    assert_string_equal(info->version, "linked");
    assert_string_equal(info->model_types, "first_type,mixtral");
    assert_string_equal(info->error, "");
    awq_plugin_list_free(list);
    fails_with(f, NULL, AWQ_ERROR_UNSUPPORTED,
               MODEL "/config.json: of a kind that nobody has seen");
}

static void test_linked_is_checked_too(void **state)
{
    fixture *f = *state;
    awq_plugin bad = good;
    bad.magic = 1;
    assert_int_equal(awq_context_add_plugin(f->ctx, &bad), AWQ_OK);
    assert_int_equal(awq_context_add_plugin(f->ctx, &good), AWQ_OK);
    awq_plugin_list *list = list_of(f, 2);
    assert_refused(awq_plugin_list_at(list, 0), "wrong magic 0x0000000000000001");
    assert_string_equal(awq_plugin_list_at(list, 1)->error, "");
    awq_plugin_list_free(list);
}

static void test_one_id_in_two_places(void **state)
{
    fixture *f = *state;
    add_path(f, MIXTRAL);
    assert_int_equal(awq_context_add_plugin(f->ctx, &good), AWQ_OK);
    fails_with(f, NULL, AWQ_ERROR_PLUGIN, "two plugins serve model_type \"mixtral\"");
    /* Linked-in ones are found first. */
    fails_with(f, "mixtral", AWQ_ERROR_UNSUPPORTED, "of a kind that nobody has seen");
}

static awq_status silent_model(const awq_host *host, awq_arch_model *model)
{
    (void)host;
    (void)model;
    return AWQ_ERROR_FORMAT;
}

static awq_status strange_model(const awq_host *host, awq_arch_model *model)
{
    (void)model;
    (void)(host->fail)(host, "something");
    return (awq_status)7;
}

static void test_failing_without_a_message(void **state)
{
    fixture *f = *state;
    awq_plugin plugin = good;
    assert_int_equal(awq_context_add_plugin(f->ctx, &plugin), AWQ_OK);
    plugin.describe_model = silent_model;
    fails_with(f, NULL, AWQ_ERROR_PLUGIN,
               "plugin mixtral: describe_model returned -4 without a message");
    plugin.describe_model = strange_model;
    fails_with(f, NULL, AWQ_ERROR_PLUGIN,
               "plugin mixtral: describe_model returned 7, which is no status");
}

/* ---- versions of the ABI ---- */

static void test_older_struct(void **state)
{
    fixture *f = *state;
    awq__plugins plugins;
    const awq__plugin *plugin;
    add_path(f, AWQ_TEST_BAD_PLUGINS "/old_minor.so");
    assert_int_equal(awq__plugins_load(f->ctx, &plugins), AWQ_OK);
    assert_int_equal(awq__plugins_choose(f->ctx, &plugins, "mixtral", NULL, &plugin), AWQ_OK);
    assert_string_equal(plugin->table.id, "old-minor");
    assert_null(plugin->table.route); /* which the file does have, after its struct's end */
    assert_null(plugin->table.activate);
    awq__plugins_free(&plugins);
    opens_with(f, NULL, "old-minor");
}

static void test_newer_struct(void **state)
{
    fixture *f = *state;
    struct {
        awq_plugin known;
        void *unknown[4];
    } newer = {.known = good};
    newer.known.struct_size = sizeof newer;
    newer.known.abi_minor = AWQ_PLUGIN_ABI_MINOR + 1;
    assert_int_equal(awq_context_add_plugin(f->ctx, &newer), AWQ_OK);
    awq_plugin_list *list = list_of(f, 1);
    assert_string_equal(awq_plugin_list_at(list, 0)->error, "");
    awq_plugin_list_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_modules),
        cmocka_unit_test_setup_teardown(test_refused_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_to_find, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_same_file_counts_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_working_directory_is_not_searched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused_beside_good_is_a_warning, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_for_one_model_type, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wanted_serves_another_type, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unknown_model_type, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_linked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_linked_is_checked_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_id_in_two_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failing_without_a_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_older_struct, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_newer_struct, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
