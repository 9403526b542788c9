/* The list of modules that stay float, as readers of quantization_config match it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "format/format.h"

#include <stdio.h>

enum { MOST = 64 };

typedef struct names {
    const char *list[MOST];
    char text[MOST][96];
    size_t count;
} names;

static void add(names *n, const char *format, int layer, const char *module)
{
    assert_true(n->count < MOST);
    snprintf(n->text[n->count], sizeof n->text[0], format, layer, module);
    n->list[n->count] = n->text[n->count];
    n->count++;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), part = strlen(ending);
    return part <= length && !strcmp(name + length - part, ending);
}

static bool begins_with(const char *name, const char *entry)
{
    return !strncmp(name, entry, strlen(entry));
}

/* Expects these entries in this order, and that both kinds of reader take them as they are meant.
 */
static void check(awq_context *ctx, const names *kept, const names *quantized, size_t count,
                  const char *const *expected)
{
    char **list;
    size_t found;
    succeeds(ctx, awq__skip_list(ctx, kept->list, kept->count, quantized->list, quantized->count,
                                 &list, &found));
    for (size_t i = 0; i < found; i++)
        if (i >= count || strcmp(list[i], expected[i]))
            fail_msg("entry %zu is \"%s\", expected \"%s\"", i, list[i],
                     i < count ? expected[i] : "none");
    assert_int_equal(found, count);
    for (size_t k = 0; k < kept->count; k++) {
        bool contained = false, at_an_end = false;
        for (size_t i = 0; i < found; i++) {
            contained |= strstr(kept->list[k], list[i]) != NULL;
            at_an_end |= ends_with(kept->list[k], list[i]) || begins_with(kept->list[k], list[i]);
        }
        assert_true(contained && at_an_end);
    }
    for (size_t q = 0; q < quantized->count; q++)
        for (size_t i = 0; i < found; i++)
            assert_null(strstr(quantized->list[q], list[i]));
    for (size_t i = 0; i < found; i++)
        awq__free(list[i]);
    awq__free(list);
}

static void refuse(awq_context *ctx, const names *kept, const names *quantized, const char *message)
{
    char **list;
    size_t found;
    fails(ctx,
          awq__skip_list(ctx, kept->list, kept->count, quantized->list, quantized->count, &list,
                         &found),
          AWQ_ERROR_RECIPE, message);
    assert_null(list);
    assert_int_equal(found, 0);
}

static const char *const attention[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                        "self_attn.o_proj"};

static void mixtral_needs_last_components_alone(void **state)
{
    names kept = {0}, quantized = {0};
    for (int layer = 0; layer < 12; layer++) {
        for (int i = 0; i < 4 && layer < 3; i++)
            add(&kept, "model.layers.%d.%s", layer, attention[i]);
        add(&kept, "model.layers.%d.%s", layer, "block_sparse_moe.gate");
        add(&quantized, "model.layers.%d.%s", layer, "block_sparse_moe.experts.0.w1");
        add(&quantized, "model.layers.%d.%s", layer, "block_sparse_moe.experts.0.w2");
        add(&quantized, "model.layers.%d.%s", layer, "block_sparse_moe.experts.10.w3");
    }
    add(&kept, "%.0d%s", 0, "lm_head");
    check(*state, &kept, &quantized, 6,
          (const char *const[]){"q_proj", "k_proj", "v_proj", "o_proj", "gate", "lm_head"});
}

/* "gate" is part of "gate_proj", and "mlp.gate" of a dense layer's "mlp.gate_proj". */
static void qwen_routers_are_told_from_gate_proj(void **state)
{
    names kept = {0}, quantized = {0};
    add(&kept, "model.layers.%d.%s", 1, "mlp.gate");
    add(&kept, "model.layers.%d.%s", 1, "mlp.shared_expert_gate");
    add(&quantized, "model.layers.%d.%s", 1, "mlp.experts.0.gate_proj");
    add(&quantized, "model.layers.%d.%s", 1, "mlp.shared_expert.gate_proj");
    check(*state, &kept, &quantized, 2, (const char *const[]){"mlp.gate", "shared_expert_gate"});
    add(&kept, "model.layers.%d.%s", 2, "mlp.gate");
    check(*state, &kept, &quantized, 2, (const char *const[]){"mlp.gate", "shared_expert_gate"});
    add(&quantized, "model.layers.%d.%s", 0, "mlp.gate_proj");
    check(*state, &kept, &quantized, 3,
          (const char *const[]){"1.mlp.gate", "shared_expert_gate", "2.mlp.gate"});
}

static void layer_1_is_not_layer_11(void **state)
{
    names kept = {0}, quantized = {0};
    add(&kept, "model.layers.%d.%s", 1, "self_attn.q_proj");
    add(&quantized, "model.layers.%d.%s", 11, "self_attn.q_proj");
    add(&quantized, "model.layers.%d.%s", 2, "self_attn.q_proj");
    check(*state, &kept, &quantized, 1, (const char *const[]){"layers.1.self_attn.q_proj"});
    add(&quantized, "model.layers.%d.%s", 21, "self_attn.q_proj");
    add(&kept, "model.layers.%d.%s", 12, "self_attn.q_proj");
    check(*state, &kept, &quantized, 2,
          (const char *const[]){"layers.1.self_attn.q_proj", "12.self_attn.q_proj"});
}

/* Engines ask for the experts of a layer as one. Readers that take an entry for a regular
   expression find "model.layers.1." in model.layers.10. */
static void layers_are_kept_by_the_beginning_of_their_names(void **state)
{
    static const char *const experts[] = {"mlp.experts.0.up", "mlp.experts.0.down",
                                          "mlp.experts.1.up", "mlp.experts.1.down"};
    names kept = {0}, quantized = {0};
    for (int layer = 0; layer < 12; layer++)
        for (int i = 0; i < 4; i++)
            add(layer % 11 ? &quantized : &kept, "model.layers.%d.%s", layer, experts[i]);
    check(*state, &kept, &quantized, 2,
          (const char *const[]){"model.layers.0.", "model.layers.11."});
    add(&quantized, "model.layers.%d.%s", 0, "self_attn.q_proj");
    add(&quantized, "model.layers.%d.%s", 11, "mlp.shared.up");
    check(*state, &kept, &quantized, 2,
          (const char *const[]){"model.layers.0.mlp.", "model.layers.11.mlp.experts"});
    kept.count = quantized.count = 0;
    for (int layer = 0; layer < 12; layer++)
        for (int i = 0; i < 4; i++)
            add(layer == 1 ? &kept : &quantized, "model.layers.%d.%s", layer, experts[i]);
    check(*state, &kept, &quantized, 1, (const char *const[]){"model.layers.1.mlp."});
}

static void beginnings_are_whole_components_that_name_a_layer(void **state)
{
    names kept = {0}, quantized = {0};
    for (int layer = 0; layer < 2; layer++) {
        names *n = layer ? &quantized : &kept;
        add(n, "model.layers.%d.%s", layer, "experts.0.up");
        add(n, "model.layers.%d.%s", layer, "experts.1.up");
        add(n, "model.layers.%d.%s", layer, "experts_too.up");
        add(&quantized, "model.layers.%d.%s", layer, "q_proj");
    }
    check(*state, &kept, &quantized, 2,
          (const char *const[]){"model.layers.0.experts", "0.experts_too.up"});
    kept.count = quantized.count = 0;
    for (int layer = 0; layer < 2; layer++) {
        add(&kept, "visual.%d.%s", layer, "q_proj");
        add(&quantized, "model.%d.%s", layer, "q_proj");
    }
    check(*state, &kept, &quantized, 2,
          (const char *const[]){"visual.0.q_proj", "visual.1.q_proj"});
}

/* Whatever the layer. */
static void experts_are_kept_by_their_numbers(void **state)
{
    names kept = {0}, quantized = {0};
    for (int layer = 0; layer < 3; layer++) {
        add(&kept, "l.%d.%s", layer, "experts.1.up");
        add(&kept, "l.%d.%s", layer, "experts.13.up");
        add(&quantized, "l.%d.%s", layer, "experts.0.up");
        add(&quantized, "l.%d.%s", layer, "experts.3.up");
    }
    check(*state, &kept, &quantized, 2, (const char *const[]){"1.up", "13.up"});
}

/* An entry in the middle of a name is no help to a reader that looks at its end. */
static void an_entry_covers_only_ends(void **state)
{
    names kept = {0}, quantized = {0};
    add(&kept, "a.%d.%s", 0, "gate");
    add(&kept, "a.%d.%s", 0, "gate.weight_map");
    add(&kept, "b.%d.%s", 0, "late_gate");
    add(&quantized, "a.%d.%s", 0, "w1");
    check(*state, &kept, &quantized, 2, (const char *const[]){"gate", "weight_map"});
}

static void nothing_kept_is_an_empty_list(void **state)
{
    names kept = {0}, quantized = {0};
    check(*state, &kept, &quantized, 0, NULL);
    add(&quantized, "a.%d.%s", 0, "w1");
    check(*state, &kept, &quantized, 0, NULL);
    add(&kept, "b.%d.%s", 1, "w1");
    quantized.count = 0;
    check(*state, &kept, &quantized, 1, (const char *const[]){"w1"});
}

static void a_name_within_another_is_refused(void **state)
{
    names kept = {0}, quantized = {0};
    add(&kept, "model.layers.%d.%s", 0, "good");
    add(&kept, "model.layers.%d.%s", 0, "mlp.gate");
    add(&quantized, "model.layers.%d.%s", 0, "mlp.gate_proj");
    refuse(*state, &kept, &quantized, "model.layers.0.mlp.gate: is kept");
    kept.count = quantized.count = 0;
    add(&kept, "layers.%d.%s", 3, "q_proj");
    add(&quantized, "model.layers.%d.%s", 3, "q_proj");
    refuse(*state, &kept, &quantized, "layers.3.q_proj");
    kept.count = quantized.count = 0;
    add(&kept, "same.%d.%s", 3, "name");
    add(&quantized, "same.%d.%s", 3, "name");
    refuse(*state, &kept, &quantized, "same.3.name");
    kept.count = quantized.count = 0;
    add(&kept, "%d.%s", 3, "name");
    add(&quantized, "%d.%s", 30, "name");
    check(*state, &kept, &quantized, 1, (const char *const[]){"3.name"});
    add(&quantized, "%dx%s", 3, "name"); /* matches, as a regular expression */
    refuse(*state, &kept, &quantized, "3.name: is kept");
    quantized.count = 0;
    add(&kept, "x.%d.%s", 4, "a(b");
    refuse(*state, &kept, &quantized, "x.4.a(b: is kept");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(mixtral_needs_last_components_alone),
        TEST(qwen_routers_are_told_from_gate_proj),
        TEST(layer_1_is_not_layer_11),
        TEST(layers_are_kept_by_the_beginning_of_their_names),
        TEST(beginnings_are_whole_components_that_name_a_layer),
        TEST(experts_are_kept_by_their_numbers),
        TEST(an_entry_covers_only_ends),
        TEST(nothing_kept_is_an_empty_list),
        TEST(a_name_within_another_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
