/* What a plugin says of a gated delta net is checked member by member. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch/arch.h"
#include "temp_files.h"

static const awq_arch_model model = {.struct_size = sizeof model,
                                     .layer_count = 2,
                                     .hidden_size = 64,
                                     .vocabulary_size = 128,
                                     .embedding = "embed",
                                     .final_norm = "norm",
                                     .norms_plus_one = 1};

static const awq_arch_layer good = {
    .struct_size = sizeof good,
    .folds = AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_DELTA,
    .attention_norm = {.name = "n1"},
    .delta = {.value_heads = 4,
              .key_heads = 2,
              .key_dim = 8,
              .value_dim = 6,
              .conv_width = 4,
              .qkv = "qkv",
              .z = "z",
              .b = "b",
              .a = "a",
              .conv = "conv",
              .a_log = "a_log",
              .dt_bias = "dt_bias",
              .norm = "n3",
              .out = "out"},
    .moe_norm = {.name = "n2"},
    .shared = {.intermediate_size = 16, .gate = "g", .up = "u", .down = "d"},
};

static void check(const fixture *f, const awq_arch_layer *layer, const char *message)
{
    awq__clear(f->ctx);
    awq_status status = awq__check_layer(f->ctx, "tried", 7, &model, layer);
    assert_int_equal(status, message ? AWQ_ERROR_PLUGIN : AWQ_OK);
    if (message)
        assert_message(f, message);
}

static void numbers(void **state)
{
    const struct {
        size_t offset;
        int64_t value;
        const char *message;
    } changes[] = {
#define DELTA(member) offsetof(awq_arch_delta, member)
        {DELTA(value_heads), -1, "delta.value_heads is -1, expected 1 to 65536"},
        {DELTA(value_heads), 5, "delta.key_heads is not a divisor of value_heads"},
        {DELTA(key_heads), 0, "delta.key_heads is 0, expected 1 to 4"},
        {DELTA(key_heads), 8, "delta.key_heads is 8, expected 1 to 4"},
        {DELTA(key_dim), 0, "delta.key_dim is 0, expected 1 to 65536"},
        {DELTA(value_dim), 65537, "delta.value_dim is 65537"},
        {DELTA(conv_width), 0, "delta.conv_width is 0"},
        {DELTA(key_heads), 1, NULL},
        {DELTA(reserved), 1, "delta is not zero in its reserved space"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        awq_arch_layer layer = good;
        memcpy((char *)&layer.delta + changes[i].offset, &changes[i].value, sizeof(int64_t));
        check(*state, &layer, changes[i].message);
    }
    check(*state, &good, NULL);
}

static void names(void **state)
{
    static const size_t offsets[] = {DELTA(qkv),  DELTA(z),    DELTA(b),
                                     DELTA(a),    DELTA(conv), DELTA(a_log),
                                     DELTA(norm), DELTA(out),  DELTA(dt_bias)};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        awq_arch_layer layer = good;
        ((char *)&layer.delta)[offsets[i]] = 0;
        check(*state, &layer, "is empty, expected a module name");
        memset((char *)&layer.delta + offsets[i], 'x', AWQ_NAME_BYTES);
        check(*state, &layer, "is a name without an end");
    }
}

static void grouped_linears_are_two(void **state)
{
    awq_arch_layer layer = good;
    layer.delta.grouped = 2;
    check(*state, &layer, "delta.grouped is 2, expected 0 to 1");
    layer.delta.grouped = 1;
    check(*state, &layer, "delta.grouped is 1 where there is z or a");
    layer.delta.z[0] = 0;
    check(*state, &layer, "delta.grouped is 1 where there is z or a");
    layer.delta.a[0] = 0;
    check(*state, &layer, NULL);
}

static void no_attention_beside_it(void **state)
{
    awq_arch_layer layer = good;
    layer.attention.heads = 4;
    check(*state, &layer, "attention is there in a layer with a delta net");
    layer.attention.heads = 0;
    strcpy(layer.attention.q, "q");
    check(*state, &layer, "attention is there in a layer with a delta net");
}

static void sizes_too_large_together(void **state)
{
    awq_arch_layer layer = good;
    layer.delta.value_heads = layer.delta.value_dim = 65536;
    check(*state, &layer, "value_heads * value_dim is 4294967296, expected 1 to 16777216");
    layer.delta.value_dim = 1;
    layer.delta.key_heads = layer.delta.key_dim = 65536;
    check(*state, &layer, "key_heads * key_dim is 4294967296, expected 1 to 16777216");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(numbers),
        TEST(names),
        TEST(grouped_linears_are_two),
        TEST(no_attention_beside_it),
        TEST(sizes_too_large_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
