/* JSON when memory is short: whole, or an error of that class. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"

#include "core/json.h"

#include <stdlib.h>

static long left = -1; /* allocations of cJSON until one fails; negative: none does */

static void *allocate(size_t bytes)
{
    return left >= 0 && left-- == 0 ? NULL : malloc(bytes);
}

static int fail_at_will(void **state)
{
    cJSON_Hooks hooks = {allocate, free};
    cJSON_InitHooks(&hooks);
    left = -1;
    return make_context(state);
}

static int fail_no_more(void **state)
{
    cJSON_InitHooks(NULL);
    return free_context(state);
}

static cJSON *build(awq__json_builder *b, cJSON *shared)
{
    cJSON *root = awq__json_root(b);
    awq__json_add_text(b, root, "text", "a\"b");
    cJSON *object = awq__json_add_object(b, root, "object");
    awq__json_add_number(b, object, "number", 0.5);
    awq__json_add_bool(b, object, "truth", true);
    cJSON *list = awq__json_add_array(b, root, "list");
    awq__json_add_number(b, list, NULL, 1);
    awq__json_add_bool(b, awq__json_add_object(b, list, NULL), "inner", false);
    awq__json_add_text(b, awq__json_add_array(b, list, NULL), NULL, "deep");
    awq__json_add_reference(b, root, "shared", shared);
    awq__json_add_reference(b, list, NULL, shared);
    return root;
}

static void nothing_is_missing(void **state)
{
    static const char whole[] = "{\n\t\"text\":\t\"a\\\"b\",\n\t\"object\":\t{\n\t\t\"number\":\t0."
                                "5,\n\t\t\"truth\":\ttrue\n\t},\n"
                                "\t\"list\":\t[1, {\n\t\t\t\"inner\":\tfalse\n\t\t}, [\"deep\"], "
                                "{\n\t\t\t\"s\":\t7\n\t\t}],\n"
                                "\t\"shared\":\t{\n\t\t\"s\":\t7\n\t}\n}";
    awq_context *ctx = *state;
    cJSON *shared = cJSON_CreateObject();
    assert_non_null(cJSON_AddNumberToObject(shared, "s", 7));
    long failures = 0;
    for (bool enough = false; !enough; failures++) {
        awq__json_builder b = {0};
        awq__text text = {0};
        left = failures;
        awq__clear(ctx);
        cJSON *root = build(&b, shared);
        awq_status status = awq__json_built(ctx, &b, "the test");
        if (status == AWQ_OK)
            status = awq__json_print(ctx, root, "the test", &text);
        enough = left >= 0;
        left = -1;
        if (enough) {
            succeeds(ctx, status);
            assert_string_equal(text.data, whole);
        } else {
            fails(ctx, status, AWQ_ERROR_MEMORY, "out of memory: the test");
        }
        cJSON_Delete(root);
        awq__text_free(&text);
    }
    assert_true(failures > 20);
    cJSON_Delete(shared);
}

/* A text that is right is never said to be wrong. */
static void a_text_is_not_to_blame(void **state)
{
    static const char text[] = "{\"a\": [1, \"b\", {\"c\": NaN}], \"d\": {\"e\": null, \"f\": []}}";
    const awq__json_source source = {.name = "a.json", .allowed = AWQ__JSON_LITERALS};
    awq_context *ctx = *state;
    long failures = 0;
    for (bool enough = false; !enough; failures++) {
        cJSON *root;
        awq__text out = {0};
        left = failures;
        awq__clear(ctx);
        awq_status status = awq__json_parse_from(ctx, &source, text, sizeof text - 1, &root);
        if (status == AWQ_OK)
            status = awq__json_set_member(ctx, "a.json", text, sizeof text - 1, "a", "2", &out);
        enough = left >= 0;
        left = -1;
        if (enough)
            succeeds(ctx, status);
        else
            fails(ctx, status, AWQ_ERROR_MEMORY, "out of memory: the JSON of a.json");
        cJSON_Delete(root);
        awq__text_free(&out);
    }
    assert_true(failures > 20);
}

static void nothing_is_printed_of_nothing(void **state)
{
    awq__text text = {0};
    fails(*state, awq__json_print(*state, NULL, "a file", &text), AWQ_ERROR_MEMORY,
          "out of memory: a file");
    awq__text_free(&text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fail_at_will, fail_no_more)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_missing),
        TEST(a_text_is_not_to_blame),
        TEST(nothing_is_printed_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
