/* The list of modules that stay float, as readers of bitsandbytes checkpoints match it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "format/format.h"

#include <stdio.h>

/* ---- three readers ---- */

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), part = strlen(ending);
    return part <= length && !strcmp(name + length - part, ending);
}

/* The entry is the last component, the name, or stands before a dot in it. */
static bool by_components(const char *name, const char *entry)
{
    char with_dot[256];
    const char *dot = strrchr(name, '.');
    snprintf(with_dot, sizeof with_dot, "%s.", entry);
    return !strcmp(dot ? dot + 1 : name, entry) || !strcmp(name, entry) || strstr(name, with_dot);
}

/* The name begins with the entry, a dot of which is any character, or ends with it. */
static bool by_expression(const char *name, const char *entry)
{
    size_t length = strlen(entry), i = 0;
    while (i < length && name[i] && (entry[i] == '.' || entry[i] == name[i]))
        i++;
    return i == length || ends_with(name, entry);
}

/* The entry is a component, or the whole components that the name begins with. */
static bool by_prefix(const char *name, const char *entry)
{
    size_t length = strlen(entry);
    char dotted[256], between[256];
    snprintf(dotted, sizeof dotted, ".%s.", name);
    snprintf(between, sizeof between, ".%s.", entry);
    if (!strchr(entry, '.') && strstr(dotted, between))
        return true;
    return !strncmp(name, entry, length) && (!name[length] || name[length] == '.');
}

typedef bool (*reader)(const char *name, const char *entry);
static const reader readers[] = {by_components, by_expression, by_prefix};

static bool skips(reader by, const char *name, char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (by(name, list[i]))
            return true;
    return false;
}

/* ---- cases ---- */

static size_t length_of(const char *const *list)
{
    size_t count = 0;
    while (list[count])
        count++;
    return count;
}

/* Each ends with NULL. */
static void check(awq_context *ctx, const char *const *kept, const char *const *quantized,
                  const char *const *expected)
{
    char **list;
    size_t count;
    succeeds(ctx, awq__leaf_list(ctx, kept, length_of(kept), quantized, length_of(quantized), &list,
                                 &count));
    assert_int_equal(count, length_of(expected));
    for (size_t i = 0; i < count; i++)
        assert_string_equal(list[i], expected[i]);
    for (size_t r = 0; r < 3; r++) {
        for (size_t i = 0; kept[i]; i++)
            if (!skips(readers[r], kept[i], list, count))
                fail_msg("reader %zu quantizes %s", r, kept[i]);
        for (size_t i = 0; quantized[i]; i++)
            if (skips(readers[r], quantized[i], list, count))
                fail_msg("reader %zu skips %s", r, quantized[i]);
    }
    awq__name_list_free(list, count);
}

#define LAYER(n) "model.layers." #n "."

static void all_readers_agree(void **state)
{
    static const struct {
        const char *kept[8], *quantized[4], *expected[6];
    } cases[] = {
        /* Mixtral's experts */
        {{LAYER(0) "self_attn.q_proj", LAYER(0) "block_sparse_moe.gate",
          LAYER(11) "self_attn.q_proj", LAYER(11) "block_sparse_moe.gate", "lm_head", NULL},
         {LAYER(0) "block_sparse_moe.experts.0.w1", LAYER(11) "block_sparse_moe.experts.7.w2",
          NULL},
         {"q_proj", "qkv_proj", "gate", "lm_head", NULL}},
        /* a gate beside gate_proj, and one whose name ends with it */
        {{LAYER(0) "mlp.gate", LAYER(0) "mlp.shared_expert_gate", "lm_head", NULL},
         {LAYER(0) "mlp.experts.0.gate_proj", LAYER(1) "mlp.gate_proj", NULL},
         {"gate", "shared_expert_gate", "lm_head", NULL}},
        /* some layers alone */
        {{LAYER(1) "self_attn.q_proj", LAYER(1) "self_attn.k_proj", LAYER(1) "mlp.gate", NULL},
         {LAYER(0) "self_attn.q_proj", LAYER(0) "self_attn.k_proj", LAYER(11) "mlp.up_proj", NULL},
         {LAYER(1) "self_attn.q_proj", LAYER(1) "self_attn.qkv_proj", LAYER(1) "self_attn.k_proj",
          "gate", NULL}},
        /* gate and up of the shared expert become one in engines, and those of experts another */
        {{LAYER(0) "mlp.shared_expert.gate_proj", LAYER(0) "mlp.shared_expert.up_proj", NULL},
         {LAYER(0) "mlp.experts.0.gate_proj", LAYER(0) "mlp.experts.0.up_proj", NULL},
         {LAYER(0) "mlp.shared_expert.gate_proj", LAYER(0) "mlp.shared_expert.gate_up_proj",
          LAYER(0) "mlp.shared_expert.up_proj", NULL}},
        /* all experts of a layer, and some of another */
        {{LAYER(0) "mlp.experts.0.w1", LAYER(0) "mlp.experts.1.w2", LAYER(1) "mlp.experts.0.w1",
          NULL},
         {LAYER(1) "mlp.experts.1.w1", LAYER(2) "mlp.experts.0.w2", NULL},
         {LAYER(0) "mlp.experts", LAYER(1) "mlp.experts.0.w1", NULL}},
        /* the last component ends another name, or stands in the middle of one */
        {{"a.one.gate", "a.two.body", NULL},
         {"a.one.big_gate", "a.three.body.w", NULL},
         {"a.one.gate", "a.two.body", NULL}},
        {{"head", NULL}, {"a.head_of.w", NULL}, {"head", NULL}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(*state, cases[i].kept, cases[i].quantized, cases[i].expected);
    static const char *const nothing[] = {NULL};
    check(*state, nothing, cases[0].quantized, nothing);
}

static void names_that_no_entry_tells_apart_are_refused(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const char *kept, *quantized;
    } cases[] = {
        {"a.w", "b.a.w"},      /* at the end */
        {"a.w", "a.w_more"},   /* at the beginning */
        {"a.w", "a.w.deeper"}, /* below it */
        {"a.w", "axw.w"},      /* a dot is any character */
        {"w", "a.w"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        /* The last component is another's too. */
        const char *const kept[] = {cases[i].kept}, *const quantized[] = {cases[i].quantized,
                                                                          "x.w"};
        char **list;
        size_t count;
        fails(ctx, awq__leaf_list(ctx, kept, 1, quantized, 2, &list, &count), AWQ_ERROR_RECIPE,
              "readers of the bitsandbytes format");
        assert_null(list);
        assert_int_equal(count, 0);
    }
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, make_context, free_context)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(all_readers_agree),
        CASE(names_that_no_entry_tells_apart_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
