/* What a plugin says of attention by latents is checked member by member. */
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
                                     .rope = {.pairs = 4},
                                     .embedding = "embed",
                                     .final_norm = "norm"};

static const awq_arch_layer good = {
    .struct_size = sizeof good,
    .folds = AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_VALUE | AWQ_FOLD_LATENT_Q | AWQ_FOLD_LATENT_KV,
    .attention_norm = {.name = "n1"},
    .attention = {.o = "o", .heads = 4, .kv_heads = 4, .head_dim = 24, .adjacent_pairs = 1},
    .latent = {.kv_rank = 32,
               .q_rank = 48,
               .nope_dim = 16,
               .rope_dim = 8,
               .value_dim = 20,
               .norm_epsilon = 1e-6,
               .q_a = "q_a",
               .q_a_norm = "n3",
               .q_b = "q_b",
               .kv_a = "kv_a",
               .kv_a_norm = "n4",
               .kv_b = "kv_b"},
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

#define LATENT(member) offsetof(awq_arch_layer, latent.member)
#define ATTENTION(member) offsetof(awq_arch_layer, attention.member)

static void numbers(void **state)
{
    const struct {
        size_t offset;
        int64_t value;
        const char *message;
    } changes[] = {
        {LATENT(kv_rank), -1, "latent.kv_rank is -1, expected 0 to 16777216"},
        {LATENT(kv_rank), 0, "attention.q is empty, expected a module name"},
        {LATENT(q_rank), -1, "latent.q_rank is -1"},
        {LATENT(nope_dim), 0, "latent.nope_dim is 0, expected 1 to 24"},
        {LATENT(nope_dim), 15, "nope_dim + rope_dim is 24, expected 23 to 23"},
        {LATENT(rope_dim), 0, "attention.head_dim is too small for rope.pairs"},
        {LATENT(rope_dim), 25, "latent.rope_dim is 25, expected 1 to 24"},
        {LATENT(value_dim), 0, "latent.value_dim is 0, expected 1 to 65536"},
        {LATENT(value_dim), 24, NULL},
        {LATENT(a_bias), 2, "latent.a_bias is 2, expected 0 to 1"},
        {LATENT(reserved), 1, "latent is not zero in its reserved space"},
        {ATTENTION(kv_heads), 2, "attention.kv_heads, heads is 2, expected 4 to 4"},
        {ATTENTION(norm_without_weight), 1, "with norms of heads, sinks, a clip"},
        {ATTENTION(window), 8, NULL},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        awq_arch_layer layer = good;
        bool narrow = changes[i].offset == LATENT(a_bias) ||
                      changes[i].offset == ATTENTION(norm_without_weight);
        memcpy((char *)&layer + changes[i].offset, &changes[i].value,
               narrow ? sizeof(int32_t) : sizeof(int64_t));
        check(*state, &layer, changes[i].message);
    }
    check(*state, &good, NULL);
}

/* What is turned must fit what rotary frequencies there are. */
static void pairs_fit_the_rope_channels(void **state)
{
    awq_arch_layer layer = good;
    layer.latent.nope_dim = 18;
    layer.latent.rope_dim = 6;
    check(*state, &layer, "too small for rope.pairs, expected at least twice as much");
    layer.attention.rope = -1;
    check(*state, &layer, NULL);
}

static void names(void **state)
{
    static const size_t offsets[] = {LATENT(q_a),  LATENT(q_a_norm),  LATENT(q_b),
                                     LATENT(kv_a), LATENT(kv_a_norm), LATENT(kv_b)};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        awq_arch_layer layer = good;
        char *name = (char *)&layer + offsets[i];
        *name = 0;
        check(*state, &layer, "is empty, expected a module name");
        memset(name, 'x', AWQ_NAME_BYTES);
        check(*state, &layer, "is a name without an end");
    }
}

static void names_of_other_kinds(void **state)
{
    static const size_t offsets[] = {ATTENTION(q), ATTENTION(k), ATTENTION(v)};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        awq_arch_layer layer = good;
        *((char *)&layer + offsets[i]) = 'x';
        check(*state, &layer, "is a name, expected none in this kind of attention");
    }
    awq_arch_layer layer = good;
    layer.latent.q_rank = 0;
    check(*state, &layer, "attention.q is empty");
    strcpy(layer.attention.q, "q");
    check(*state, &layer, "latent.q_a is a name, expected none");
}

/* Queries may be made without a latent; then nothing folds into its norm. */
static void queries_without_a_latent(void **state)
{
    awq_arch_layer layer = good;
    layer.latent.q_rank = 0;
    strcpy(layer.attention.q, "q");
    layer.latent.q_a[0] = layer.latent.q_a_norm[0] = layer.latent.q_b[0] = 0;
    check(*state, &layer, "folds is with a bit of a latent");
    layer.folds &= ~(uint32_t)AWQ_FOLD_LATENT_Q;
    check(*state, &layer, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(numbers),
        TEST(pairs_fit_the_rope_channels),
        TEST(names),
        TEST(names_of_other_kinds),
        TEST(queries_without_a_latent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
